//! Many messages of one turn: more than one write to a subscriber holds, or than the topic keeps.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::DEADLINE;
use crate::support::ask::{get, post};
use crate::support::client::RawClient;
use crate::support::process::Process;
use crate::support::session::open;
use crate::support::watch::json;
use crate::support::wire::{self, Frame};

/// They leave in several runs, and a request that waits is answered with the first: once, and the next request is read.
#[test]
fn a_poll_is_answered_once_however_much_comes() {
    let server = Process::start(&["--admin", "127.0.0.1:0"]);
    let mut polls: Vec<RawClient> = (0..3).map(|_| RawClient::connect(server.addr)).collect();
    for poll in &mut polls {
        poll.send(get("/t?wait=60", ""));
    }
    let deadline = std::time::Instant::now() + DEADLINE;
    while json(server.admin(), "/topics?prefix=t")["topics"][0]["subscribers"] != 3 {
        assert!(std::time::Instant::now() < deadline, "they do not wait");
    }
    let mut publishers: Vec<RawClient> = (0..5).map(|_| open(server.addr, "/t?self=0")).collect();
    let messages = wire::text(&"m".repeat(1900)).repeat(64);
    // All in one turn.
    server.signal(Signal::STOP);
    for publisher in &mut publishers {
        publisher.send(&messages);
    }
    server.signal(Signal::CONT);
    for poll in &mut polls {
        assert_eq!(poll.response().status, 200);
        poll.send(get("/health", ""));
        assert_eq!(poll.response().body, "ok\n");
    }
}

/// What a publisher does not want to hear is nothing that it could be too slow for, and what others say between that is given to it.
#[test]
fn who_mutes_itself_is_not_too_slow_for_what_it_says() {
    let server = Process::start(&["--history", "8", "--topic-bytes", "64K"]);
    let mut publisher = open(server.addr, "/t?self=0");
    let mut listener = open(server.addr, "/t");
    // Little enough that nobody is slow, however busy the machine is, and more than the topic keeps.
    let own = wire::text(&"-".repeat(1000)).repeat(20);
    for round in 0..5 {
        server.signal(Signal::STOP);
        publisher.send(&own);
        let text = format!("round {round}");
        let mut other = RawClient::connect(server.addr);
        other.send(post("/t", &text));
        publisher.send(&own);
        server.signal(Signal::CONT);
        assert_eq!(other.response().status, 200);
        publisher.expect(&Frame::text(&text));
        let mut heard = 0;
        while heard < 41 {
            heard += usize::from(!listener.text().is_empty());
        }
    }
    publisher.expect_nothing_but_pings_for(Duration::from_millis(50));
}
