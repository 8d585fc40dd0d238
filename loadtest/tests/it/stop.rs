//! The stop test: what coordinated omission would hide.
//!
//! A server that is stopped for 2 s within 12 s at a constant rate is late by 2 s for the message that was due when it
//! stopped, and by nothing for the one that was due when it went on. By arithmetic, the share of messages that took
//! longer than t is (2 s - t) / 12 s: p90 = 0.80 s, p99 = 1.88 s. A tool that waits for replies before it sends has one
//! such message on each of 50 connections, 0.2 % of all: it says some hundred microseconds for both.
//!
//! The server is a process of its own, stopped by SIGSTOP as a debugger or a frozen container would. How long it was
//! stopped is measured, so that a busy machine moves what is expected, not what is proved; what remains is the time that
//! the server takes to work off two seconds of messages.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::Process;
use crate::run::{loadtest, ran};
use crate::server::{Fault, Server};

/// How long the server is stopped, and how long the measurement takes.
const STOPPED: Duration = Duration::from_secs(2);
const MEASURED_S: f64 = 12.0;

/// Half a second is a quarter of the effect, and a thousand times what a tool that omits it would say.
const TOLERANCE_S: f64 = 0.5;

#[test]
fn a_stopped_server_is_charged_for_every_message_that_was_due() {
    let server = Process::start();
    let flags = "-q --json -c 50 -r 2000 --warmup 200ms -d 12s --timeout 10s --drain 10s";
    let child = loadtest(&format!("{} {flags}", server.url)).stdout(Stdio::piped()).spawn();
    // Somewhere within the measurement: what is proved does not depend on where.
    std::thread::sleep(Duration::from_secs(5));
    let stopped = Instant::now();
    server.signal(Signal::STOP);
    std::thread::sleep(STOPPED);
    server.signal(Signal::CONT);
    let stopped_s = stopped.elapsed().as_secs_f64();

    let ran = ran(&child.unwrap().wait_with_output().unwrap());
    assert_eq!(ran.counts(), "sent=24400 verified=24400");
    assert_eq!(ran.code, 0);
    let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)];
    for (name, quantile) in quantiles {
        let expected_s = (stopped_s - (1.0 - quantile) * MEASURED_S).max(0.0);
        let told_s = ran.number(&format!("/response/{name}")) as f64 / 1e9;
        let off_s = (told_s - expected_s).abs();
        assert!(off_s < TOLERANCE_S, "{name}: {told_s} s, by arithmetic {expected_s} s");
    }
    // The client itself was never late by anything like it.
    assert!(ran.number("/send_lag/p99") < 300_000_000, "{:#}", ran.json);
    assert!(ran.number("/client_queue/p99") < 300_000_000, "{:#}", ran.json);
    assert!(ran.number("/arrival/max") > 1_500_000_000, "{:#}", ran.json);
}

/// The other way round: replies that come while the client is stopped wait for it, and no server could help that.
///
/// At 200 messages a second that take 0.1 s each, some 20 are under way when the client stops: a sixtieth of the
/// 1,200 that are measured, and so more than their p99.
#[test]
fn a_stopped_client_does_not_charge_the_server_for_what_it_did_not_read() {
    let server = Server::start(Fault::Slow(100));
    let flags = "--json -c 200 -r 200 --warmup 0 -d 6s --timeout 10s --drain 10s";
    let mut command = loadtest(&format!("{} {flags}", server.url()));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    server.wait_for_messages(400);
    let signal = |signal| kill_process(Pid::from_child(&child), signal).unwrap();
    signal(Signal::STOP);
    std::thread::sleep(STOPPED);
    signal(Signal::CONT);

    let output = child.wait_with_output().unwrap();
    let ran = ran(&output);
    assert_eq!(ran.counts(), "sent=1200 verified=1200");
    for name in ["service", "client_queue"] {
        assert!(ran.number(&format!("/{name}/p99")) > 1_500_000_000, "{name}: {:#}", ran.json);
    }
    // What was due meanwhile is sent all at once, so that some replies take twice as long.
    assert!(ran.number("/arrival/min") >= 100_000_000, "{:#}", ran.json);
    assert!(ran.number("/arrival/max") < 1_300_000_000, "{:#}", ran.json);
    let reasons = ran.json["verdict"]["reasons"].to_string();
    assert!(reasons.contains("service p99") && reasons.contains("own queue"), "{reasons}");
    let report = String::from_utf8(output.stderr).unwrap();
    assert!(report.contains("\n arrival ") && report.contains("\n client q "), "{report}");
}
