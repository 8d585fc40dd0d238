//! The stop test: what coordinated omission would hide.
//!
//! A server that does nothing for 2 s within 12 s at a constant rate is late by 2 s for the message that was due when
//! it stopped, and by nothing for the one that was due when it went on. By arithmetic, the share of messages that took
//! longer than t is (2 s - t) / 12 s: p90 = 0.80 s, p99 = 1.88 s. A tool that waits for replies before it sends
//! says some hundred microseconds.

use std::time::Duration;

use crate::run::run;
use crate::server::{Fault, Server};

#[test]
fn a_stopped_server_is_charged_for_every_message_that_was_due() {
    let stopped = Fault::Stopped { at: Duration::from_secs(4), len: Duration::from_secs(2) };
    let server = Server::start(stopped);
    let ran = run(&server, "-c 50 -r 2000 --warmup 200ms -d 12s --timeout 5s --drain 5s");
    assert_eq!(ran.counts(), "sent=24400 verified=24400");
    assert_eq!(ran.code, 0);
    let p = |name: &str| ran.number(&format!("/response/{name}")) as f64 / 1e9;
    assert!(p("p50") < 0.1, "p50 {}", p("p50"));
    assert!((p("p90") - 0.80).abs() < 0.08, "p90 {}", p("p90"));
    assert!((p("p99") - 1.88).abs() < 0.188, "p99 {}", p("p99"));
    assert!((p("max") - 2.0).abs() < 0.2, "max {}", p("max"));
    // The client itself was never late by anything like it.
    assert!(ran.number("/send_lag/p99") < 200_000_000, "{:#}", ran.json);
}
