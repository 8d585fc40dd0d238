//! Each kind of fault gives its own count and its own exit code, and nothing else.

use crate::run::{Ran, run};
use crate::server::{Fault, Server};

/// Five connections, 20 + 100 messages: 24 on each, of which the first four are the warm-up.
const LOAD: &str = "-c 5 -r 200 --warmup 100ms -d 500ms";

fn against(fault: Fault, flags: &str) -> Ran {
    run(&Server::start(fault), flags)
}

#[test]
fn a_good_server_has_every_message_verified() {
    for flags in ["", "--text", "-s 1", "-s 16", "-s 200", "-s 70000"] {
        let ran = against(Fault::None, &format!("{LOAD} {flags}"));
        assert_eq!(ran.counts(), "sent=120 verified=120", "{flags}: {:#}", ran.json);
        assert_eq!(ran.code, 0, "{flags}");
        for times in ["response", "service", "send_lag"] {
            assert_eq!(ran.number(&format!("/{times}/samples")), 100, "{flags}");
        }
        assert_eq!((ran.number("/connect/opened"), ran.number("/connect/failed")), (5, 0));
    }
}

#[test]
fn messages_larger_than_any_buffer_are_verified_too() {
    for kind in ["--text", "--binary"] {
        let flags = format!("-c 2 -r 20 --warmup 0 -d 500ms -s 1M {kind}");
        let ran = against(Fault::None, &flags);
        assert_eq!((ran.counts().as_str(), ran.code), ("sent=10 verified=10", 0), "{kind}");
    }
}

#[test]
fn a_closed_loop_keeps_its_depth_under_way() {
    let ran = against(Fault::None, "--mode throughput -c 3 -p 8 --warmup 100ms -d 300ms");
    let sent = ran.number("/counts/sent");
    assert_eq!(ran.counts(), format!("sent={sent} verified={sent}"));
    assert!(sent > 3 * 8 && ran.code == 0, "{:#}", ran.json);
    assert!(ran.json["replies_per_s"].as_f64().unwrap() > 100.0, "{:#}", ran.json);
}

#[test]
fn fragments_are_joined_and_pings_are_answered() {
    let ran = against(Fault::Fragments, LOAD);
    assert_eq!(ran.counts(), "pings=120 sent=120 verified=120");
    assert_eq!(ran.code, 0);
}

#[test]
fn a_server_that_refuses_is_no_server() {
    let refusal = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let table = [
        (Fault::Answer(refusal), "5 × HTTP status 400"),
        (Fault::Answer("HTTP/1.1 200 OK\r\n\r\n"), "5 × HTTP status 200"),
        (Fault::Answer("220 smtp.example.org ready\r\n\r\n"), "5 × malformed status line"),
        (Fault::Answer(""), "5 × closed before its response"),
        (Fault::WrongAccept, "5 × wrong Sec-WebSocket-Accept"),
    ];
    for (fault, reason) in table {
        let ran = against(fault, LOAD);
        assert_eq!(ran.failures(), [reason], "{fault:?}");
        assert_eq!((ran.code, ran.counts().as_str()), (3, ""), "{fault:?}");
        assert_eq!(ran.number("/connect/failed"), 5);
    }
}

#[test]
fn a_server_that_says_nothing_times_out() {
    let ran = against(Fault::Silence, &format!("{LOAD} --connect-timeout 300ms"));
    assert_eq!(ran.failures(), ["5 × timed out"]);
    assert_eq!(ran.code, 3);
}

#[test]
fn a_server_that_is_slow_to_accept_has_its_queue_blamed() {
    // The queue holds two; the SYNs of the others are dropped, and sent again a second later.
    let ran = against(Fault::SlowAccept(500), &format!("{LOAD} --connect-timeout 20s"));
    assert_eq!((ran.code, ran.counts().as_str()), (0, "sent=120 verified=120"), "{:#}", ran.json);
    assert!(ran.number("/listen_overflows") > 0, "{:#}", ran.json);
    assert!(ran.number("/connect/tcp/max") > 900_000_000, "{:#}", ran.json);
    let reasons = ran.json["verdict"]["reasons"].to_string();
    assert!(reasons.contains("backlog"), "{reasons}");
    assert_ne!(ran.json["verdict"]["grade"], "VALID");
}

#[test]
fn a_server_that_accepts_too_late_is_no_server() {
    let ran = against(Fault::SlowAccept(1500), &format!("{LOAD} --connect-timeout 300ms"));
    assert_eq!((ran.failures(), ran.code), (vec!["5 × timed out".to_owned()], 3));
}

#[test]
fn nobody_on_the_port_is_said_so() {
    let server = Server::start(Fault::None);
    let url = server.url();
    drop(server);
    let output = crate::run::loadtest(&format!("{url} -q --json {LOAD}")).output().unwrap();
    let ran = crate::run::ran(&output);
    assert_eq!(ran.failures(), ["5 × connection refused"]);
    assert_eq!(ran.code, 3);
}

#[test]
fn each_wrong_reply_has_its_own_count() {
    let table = [
        (Fault::FlippedBit, "corrupt=1 sent=120 verified=119"),
        (Fault::Short, "corrupt=1 sent=120 verified=119"),
        (Fault::Dropped, "lost=1 sent=120 verified=119"),
        (Fault::Duplicated, "duplicated=1 sent=120 verified=120"),
        (Fault::Swapped, "reordered=1 sent=120 verified=119"),
        (Fault::Greeting, "sent=120 unasked=5 verified=120"),
    ];
    for (fault, counts) in table {
        let ran = against(fault, LOAD);
        assert_eq!(ran.counts(), counts, "{fault:?}: {:#}", ran.json);
        assert_eq!(ran.code, 4, "{fault:?}");
        let unanswered = u64::from(fault == Fault::Dropped);
        assert_eq!(ran.number("/censored"), unanswered, "{fault:?}");
    }
}

#[test]
fn text_that_comes_back_as_binary_is_corrupt() {
    let ran = against(Fault::WrongOpcode, &format!("{LOAD} --text"));
    assert_eq!((ran.counts().as_str(), ran.code), ("corrupt=1 sent=120 verified=119", 4));
    assert!(ran.json["first_fault"].as_str().unwrap().contains("opcode"), "{:#}", ran.json);
}

#[test]
fn a_reply_after_the_timeout_is_late_and_its_time_is_kept() {
    let ran = against(Fault::Late(300), &format!("{LOAD} --timeout 250ms"));
    assert!(ran.number("/counts/late") >= 1, "{:#}", ran.json);
    assert!(ran.number("/response/max") >= 290_000_000, "{:#}", ran.json);
    assert_eq!((ran.number("/counts/lost"), ran.code), (0, 4));
}

#[test]
fn a_connection_that_ends_loses_what_was_under_way() {
    let table = [
        (Fault::Reset, "reset"),
        (Fault::Closed, "closed_by_server"),
        (Fault::ReservedBit, "protocol_errors"),
    ];
    for (fault, count) in table {
        let ran = against(fault, LOAD);
        let number = |name: &str| ran.number(&format!("/counts/{name}"));
        assert_eq!(number(count), 1, "{fault:?}: {:#}", ran.json);
        assert_eq!(ran.code, 4, "{fault:?}");
        // Of its 24 messages seven were answered; the others are lost or could not even leave.
        assert!(number("lost") >= 1, "{fault:?}: {:#}", ran.json);
        assert_eq!(number("lost") + number("unsent"), 17, "{fault:?}: {:#}", ran.json);
        assert_eq!((number("verified"), number("sent") + number("unsent")), (103, 120));
    }
}
