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
fn workers_replace_their_share_of_the_connections() {
    let server = Server::start(Fault::None);
    let flags = "-q --json -c 100 -r 1000 --warmup 0 -d 1s --churn 60/s --connect-window 4";
    let ran = ran(&confined(&format!("{} {flags}", server.url())));
    assert_eq!((ran.counts().as_str(), ran.code), ("sent=1000 verified=1000", 0), "{:#}", ran.json);
    let churn = ["due", "connect/opened", "closed", "connect/failed", "connect/total/samples"];
    let [due, opened, closed, failed, timed] =
        churn.map(|name| ran.number(&format!("/churn/{name}")));
    // Each of three rounds its share, and the last one of each may come too late on a machine that does other work.
    assert!((58..=62).contains(&due) && due - opened <= 3, "{:#}", ran.json["churn"]);
    assert_eq!([closed, failed, timed], [opened, 0, opened], "{:#}", ran.json["churn"]);
    assert_eq!(ran.json["churn"]["rate_per_s"].as_f64().map(f64::round), Some(60.0));
    let (accepted, closed) = server.accepted_and_closed();
    assert_eq!([accepted, closed].map(u64::from), [100 + opened; 2]);

    // Those that come and go at once take more descriptors than any worker has: fewer connections would not help.
    let output = confined(&format!("{} -q -c 100 --churn 60/s", server.url()));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && stderr.contains("--connect-window"), "{stderr}");
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
