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

use rustix::process::Signal;

use crate::process::Process;
use crate::run::{loadtest, ran};

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
}
