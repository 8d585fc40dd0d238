//! What is published reaches every subscriber, or the report says whom it did not reach, and how late it was.

use crate::room::{Fault, Protocol, Room};
use crate::run::{Ran, loadtest, ran, run_at, run_with};

/// Five subscribers and a publisher, one after the other, so that the first is known; 20 + 100 messages.
const LOAD: &str = "--mode broadcast -c 5 -r 200 --warmup 100ms -d 500ms --connect-window 1";

fn against(fault: Fault, flags: &str) -> Ran {
    let room = Room::start(Protocol::Bare, fault);
    run_at(&room.url(), &format!("{LOAD} {flags}"))
}

fn reach(ran: &Ran) -> (u64, u64) {
    (ran.number("/broadcast/received"), ran.number("/broadcast/expected"))
}

#[test]
fn a_good_server_reaches_everybody() {
    for flags in ["", "--text", "-s 26", "-s 70000", "--burst 10", "--text --compression -s 200"] {
        let ran = against(Fault::None, flags);
        assert_eq!(ran.counts(), "sent=120 verified=600", "{flags}: {:#}", ran.json);
        assert_eq!((reach(&ran), ran.code), ((600, 600), 0), "{flags}");
        for times in ["response", "service"] {
            assert_eq!(ran.number(&format!("/{times}/samples")), 500, "{flags}");
        }
        for times in ["first", "median", "p99", "last", "spread"] {
            let samples = ran.number(&format!("/broadcast/{times}/samples"));
            assert_eq!(samples, 100, "{flags} {times}");
        }
        assert_eq!(ran.number("/send_lag/samples"), 100, "{flags}");
        // The publisher hears itself, which is no delivery.
        assert_eq!(ran.number("/broadcast/echoes"), 120, "{flags}");
        let time = |name: &str| ran.number(&format!("/broadcast/{name}/max"));
        assert!(time("first") <= time("median") && time("median") <= time("last"), "{flags}");
    }
}

#[test]
fn each_wrong_delivery_has_its_own_count() {
    let table = [
        (Fault::Dropped, "lost=1 sent=120 verified=599", 599),
        (Fault::Duplicated, "duplicated=1 sent=120 verified=600", 600),
        (Fault::Swapped, "reordered=1 sent=120 verified=599", 600),
        (Fault::FlippedBit, "corrupt=1 sent=120 verified=599", 599),
        (Fault::FlippedName, "corrupt=1 sent=120 verified=599", 599),
        (Fault::WrongOpcode, "corrupt=1 sent=120 verified=599", 599),
        (Fault::Greeting, "sent=120 unasked=5 verified=600", 600),
    ];
    for (fault, counts, received) in table {
        let ran = against(fault, "--text --drain 500ms");
        assert_eq!(ran.counts(), counts, "{fault:?}: {:#}", ran.json);
        assert_eq!((reach(&ran), ran.code), ((received, 600), 4), "{fault:?}");
        // The eighth message was before the measurement.
        assert_eq!(ran.number("/censored"), 0, "{fault:?}");
        assert!(ran.json["first_fault"].as_str().unwrap().starts_with("connection "), "{fault:?}");
    }
}

#[test]
fn a_slow_subscriber_is_the_last_and_the_median_does_not_feel_it() {
    let ran = against(Fault::Slow(300), "-d 1s");
    assert_eq!((ran.counts().as_str(), ran.code), ("sent=220 verified=1100", 0), "{:#}", ran.json);
    let time = |name: &str| ran.number(&format!("/broadcast/{name}")) / 1_000_000;
    // Histograms keep three digits.
    assert!(time("last/min") >= 299 && time("spread/p50") >= 250, "{:#}", ran.json);
    assert!(time("median/p50") < 100 && time("first/p50") < 100, "{:#}", ran.json);
    assert!(ran.number("/response/p50") < 100_000_000, "{:#}", ran.json);
}

#[test]
fn a_subscriber_that_hears_nothing_is_named_and_charged() {
    let ran = against(Fault::Deaf, "--drain 300ms");
    assert_eq!(ran.counts(), "lost=120 sent=120 verified=480", "{:#}", ran.json);
    assert_eq!((reach(&ran), ran.code), ((480, 600), 4));
    assert_eq!(ran.number("/broadcast/subscribers_short"), 1);
    let worst = (ran.number("/broadcast/worst/connection"), ran.number("/broadcast/worst/missed"));
    assert_eq!(worst, (0, 120));
    // What never came has at least the age at which it was given up.
    assert_eq!(ran.number("/censored"), 100);
    assert!(ran.number("/broadcast/last/min") >= 250_000_000, "{:#}", ran.json);
    assert!(ran.number("/broadcast/median/p50") < 250_000_000, "{:#}", ran.json);
}

#[test]
fn a_subscriber_that_is_thrown_out_misses_the_rest() {
    let ran = against(Fault::Closed, "");
    assert_eq!(ran.counts(), "closed_by_server=1 lost=113 sent=120 verified=487", "{:#}", ran.json);
    assert_eq!(ran.code, 4);
}

#[test]
fn topics_are_apart_and_publishers_have_an_order_each() {
    let ran = against(Fault::None, "-c 7 --topics 3 --publishers 6");
    // Topics have three, two and two subscribers, and forty messages each.
    assert_eq!((ran.counts(), ran.code), ("sent=120 verified=280".to_owned(), 0), "{:#}", ran.json);
    assert_eq!(reach(&ran), (280, 280));
    // Each of them hears itself and its neighbour.
    assert_eq!(ran.number("/broadcast/echoes"), 240);
}

#[test]
fn publications_by_http_arrive_as_well() {
    for flags in ["", "--text -s 100", "--publishers 3"] {
        let ran = against(Fault::None, &format!("--publish-http {flags}"));
        assert_eq!(ran.counts(), "sent=120 verified=600", "{flags}: {:#}", ran.json);
        assert_eq!((reach(&ran), ran.code), ((600, 600), 0), "{flags}");
        assert_eq!(ran.number("/broadcast/answer/samples"), 120, "{flags}");
        assert_eq!(ran.number("/broadcast/echoes"), 0, "{flags}");
    }
}

#[test]
fn a_publication_that_is_refused_is_said_so() {
    let ran = against(Fault::Forbidden, "--publish-http --drain 200ms");
    assert_eq!(ran.counts(), "lost=600 refused=120 sent=120", "{:#}", ran.json);
    assert_eq!((reach(&ran), ran.code), ((0, 600), 4));
    assert!(ran.json["first_fault"].as_str().unwrap().contains("403"), "{:#}", ran.json);
}

#[test]
fn a_publication_that_is_not_answered_is_said_so() {
    let ran = against(Fault::Mute, "--publish-http --drain 200ms");
    assert_eq!(ran.counts(), "refused=120 sent=120 verified=600", "{:#}", ran.json);
    assert_eq!((reach(&ran), ran.code), ((600, 600), 4));
    assert!(ran.json["first_fault"].as_str().unwrap().contains("never answered"), "{:#}", ran.json);
}

#[test]
fn a_server_with_a_protocol_of_its_own_is_told_by_templates() {
    let templates =
        ["--hello", "hello", "--subscribe", "sub {topic}", "--publish", "pub {topic} {payload}"];
    let table = [
        (Fault::None, "sent=120 verified=600", 600, 0),
        (Fault::Dropped, "lost=1 sent=120 verified=599", 599, 4),
        (Fault::Duplicated, "duplicated=1 sent=120 verified=600", 600, 4),
        (Fault::Swapped, "reordered=1 sent=120 verified=599", 600, 4),
    ];
    for (fault, counts, received, code) in table {
        let room = Room::start(Protocol::Wrapped, fault);
        let flags = format!("{LOAD} -s 100 --drain 500ms");
        let ran = run_with(&room.url(), &flags, &templates);
        assert_eq!(ran.counts(), counts, "{fault:?}: {:#}", ran.json);
        assert_eq!((reach(&ran), ran.code), ((received, 600), code), "{fault:?}");
        // Six answers to hello, five to the subscriptions.
        assert_eq!(ran.number("/broadcast/other_frames"), 11, "{fault:?}");
        assert_eq!(ran.number("/broadcast/echoes"), 0, "{fault:?}");
    }
}

#[test]
fn what_a_protocol_asks_is_answered() {
    let room = Room::start(Protocol::Wrapped, Fault::Insists);
    let templates = ["--subscribe", "sub {topic}", "--publish", "pub {topic} {payload}"];
    for (answer, received) in [(r#"{"subscribed":1}=ack"#, 600), ("nothing=ack", 0)] {
        let flags = format!("{LOAD} --drain 300ms --topic t{received}");
        let words = [&templates[..], &["--answer", answer]].concat();
        let ran = run_with(&room.url(), &flags, &words);
        assert_eq!(reach(&ran), (received, 600), "{answer}: {:#}", ran.json);
    }
}

#[test]
fn the_report_says_whom_it_reached() {
    let room = Room::start(Protocol::Bare, Fault::Dropped);
    let flags = format!("{} {LOAD} --drain 300ms", room.url());
    let output = loadtest(&flags).output().unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    for part in [
        "broadcast · ws://127.0.0.1:",
        "5 subscribers, 1 publisher, 1 topic · open loop 200 msg/s",
        " reach    599/600 deliveries · 1 subscribers missed some, connection 0 most: 1",
        " first ",
        " last ",
        " of 100 messages",
        "message 7 of publisher 0 never came",
    ] {
        assert!(report.contains(part), "{part} in {report}");
    }
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn an_interrupted_broadcast_still_reports() {
    use rustix::process::{Pid, Signal, kill_process};
    let room = Room::start(Protocol::Bare, Fault::None);
    let flags = format!("{} --json --mode broadcast -c 5 -r 200 --warmup 0 -d 60s", room.url());
    let mut command = loadtest(&flags);
    let child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    room.wait_for_messages(20);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = ran(&child.wait_with_output().unwrap());
    let (received, expected) = reach(&ran);
    assert_eq!((ran.code, received), (130, expected), "{:#}", ran.json);
    assert!(received >= 100, "{:#}", ran.json);
}
