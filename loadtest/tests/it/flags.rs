//! What the flags do to output and exit codes.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::run::{loadtest, ran};
use crate::server::{Fault, Server};

#[test]
fn what_makes_no_sense_is_refused_in_one_line() {
    let table = [
        ("-c 0", "--conns"),
        ("--frobnicate", "--frobnicate"),
        ("--insecure", "wss://"),
        ("wss://127.0.0.1/ --cacert /dev/null", "BEGIN CERTIFICATE"),
        ("wss://-/ --insecure", "name"),
        ("-c 1000000", "file descriptors"),
        ("-p 4", "--mode throughput"),
        ("-H Host:x", "upgrade request"),
        ("out.json:", "--json=FILE"),
    ];
    for (flags, part) in table {
        let output = loadtest(flags).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags}: {stderr}");
        assert!(stderr.contains(part) && stderr.lines().count() == 1, "{flags}: {stderr}");
        assert!(output.stdout.is_empty(), "{flags}");
    }
}

#[test]
fn help_teaches_and_is_no_error() {
    let output = loadtest("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    for part in ["--conns", "Examples:", "Exit codes:", "send lag"] {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn the_report_goes_to_stdout_and_makes_room_for_json() {
    let server = Server::start(Fault::None);
    let flags = format!("{} -c 5 -r 100 --warmup 0 -d 300ms", server.url());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();

    let plain = loadtest(&flags).output().unwrap();
    let report = text(plain.stdout);
    for part in
        ["echo · ws://127.0.0.1:", " plan ", " connect  5/5", "lost 0", "response", "client"]
    {
        assert!(report.contains(part), "{part} in {report}");
    }
    // 30 samples: ten lie above the median, and fewer above anything else.
    assert!(report.contains("p50") && !report.contains("p90"), "{report}");
    assert_eq!(text(plain.stderr), "");

    let json = loadtest(&format!("{flags} --json")).output().unwrap();
    assert!(text(json.stderr.clone()).contains("response"));
    assert_eq!(ran(&json).number("/schema"), 1);

    let path = std::env::temp_dir().join(format!("loadtest-{}.json", std::process::id()));
    let file = loadtest(&format!("{flags} -q --json={}", path.display())).output().unwrap();
    let document = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(file.stdout.is_empty() && file.stderr.is_empty());
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["counts"]["sent"], 30);
}

#[test]
fn too_few_samples_are_invalid_and_strict_says_so() {
    let server = Server::start(Fault::None);
    let flags = format!("{} -q --json -c 1 -r 10 --warmup 0 -d 300ms", server.url());
    for (strict, code) in [("", 0), ("--strict", 5)] {
        let ran = ran(&loadtest(&format!("{flags} {strict}")).output().unwrap());
        assert_eq!(ran.json["verdict"]["grade"], "INVALID");
        assert_eq!(ran.code, code);
    }
}

#[test]
fn a_rate_that_cannot_be_reached_ends_all_the_same_and_is_invalid() {
    let server = Server::start(Fault::None);
    let flags = "-q --json -c 1 -r 5000000 --warmup 0 -d 200ms --drain 300ms";
    let started = Instant::now();
    let ran = ran(&loadtest(&format!("{} {flags}", server.url())).output().unwrap());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(ran.number("/measured_due"), 1_000_000);
    assert!(ran.number("/measured_sent") < 1_000_000, "{:#}", ran.json);
    assert_eq!(ran.json["verdict"]["grade"], "INVALID");
}

#[test]
fn an_interrupted_run_still_reports() {
    let server = Server::start(Fault::None);
    let flags = format!("{} --json -c 5 -r 100 --warmup 0 -d 60s", server.url());
    let child = loadtest(&flags).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    server.wait_for_messages(20);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = ran(&child.wait_with_output().unwrap());
    assert_eq!((ran.code, &ran.json["interrupted"]), (130, &true.into()));
    let (sent, verified) = (ran.number("/counts/sent"), ran.number("/counts/verified"));
    assert!(sent > 10 && sent == verified && sent < 6000, "{:#}", ran.json);
    let reasons = ran.json["verdict"]["reasons"].to_string();
    assert!(reasons.contains("interrupted"), "{reasons}");
}

#[test]
fn a_machine_that_is_busy_with_something_else_spoils_a_run_and_is_blamed() {
    let server = Server::start(Fault::None);
    let ends = AtomicBool::new(false);
    let hogs = 4 * std::thread::available_parallelism().unwrap().get();
    std::thread::scope(|scope| {
        for _ in 0..hogs {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let flags = "--mode throughput -c 20 -p 8 --warmup 100ms -d 1s -q --json --strict";
        let output = loadtest(&format!("{} {flags}", server.url())).output();
        ends.store(true, Ordering::Relaxed);
        let ran = ran(&output.unwrap());
        let verdict = &ran.json["verdict"];
        assert_ne!(verdict["grade"], "VALID", "{verdict}");
        assert!(verdict["reasons"].to_string().contains("other work runs here"), "{verdict}");
    });
}
