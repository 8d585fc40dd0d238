//! A load that takes more file descriptors than one process may have.

use std::process::{Command, Output};

use crate::run::ran;
use crate::server::{Fault, Server};

/// The binary with these flags, where a process may have 64 descriptors: 48 connections.
fn confined(flags: &str) -> Output {
    let binary = env!("CARGO_BIN_EXE_loadtest");
    let command = format!("ulimit -n 64 && exec '{binary}' {flags}");
    Command::new("/bin/sh").args(["-c", &command]).output().unwrap()
}

#[test]
fn several_processes_do_what_one_cannot() {
    let server = Server::start(Fault::None);
    let flags = "-q --json -c 100 -r 1000 --warmup 100ms -d 500ms";
    let ran = ran(&confined(&format!("{} {flags}", server.url())));
    assert_eq!((ran.counts().as_str(), ran.code), ("sent=600 verified=600", 0), "{:#}", ran.json);
    assert_eq!((ran.number("/conns"), ran.number("/connect/opened")), (100, 100));
    assert_eq!((ran.number("/response/samples"), ran.number("/measured_due")), (500, 500));
    assert_eq!(ran.json["rate_per_s"].as_f64().map(f64::round), Some(1000.0));
}

#[test]
fn what_one_worker_meets_all_of_them_report() {
    let server = Server::start(Fault::FlippedBit);
    let output = confined(&format!("{} -c 100 -r 2000 --warmup 0 -d 500ms", server.url()));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(4), "{text}");
    for part in ["3 processes", "100/100", "corrupt 1", "first fault", "send lag"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // Nobody answers there any more.
    let url = server.url();
    drop(server);
    assert_eq!(confined(&format!("{url} -q -c 100 -d 300ms")).status.code(), Some(3));
}

#[test]
fn a_broadcast_is_not_shared_out() {
    let output = confined("--mode broadcast -c 100");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && stderr.lines().count() == 1, "{stderr}");
    for part in ["file descriptors", "worker processes", "prlimit", "48 connections"] {
        assert!(stderr.contains(part), "{part} in {stderr}");
    }
}
