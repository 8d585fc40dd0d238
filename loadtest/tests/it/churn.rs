//! Connections that are closed and opened again while messages flow.

use crate::run::{Ran, loadtest, run};
use crate::server::{Fault, Server};

/// 20 + 100 messages, and 30 connections to be replaced.
const LOAD: &str = "-c 5 -r 200 --warmup 100ms -d 500ms --churn 50/s";

fn churned(ran: &Ran) -> [u64; 4] {
    let number = |name: &str| ran.number(&format!("/churn/{name}"));
    [number("due"), number("connect/opened"), number("closed"), number("connect/failed")]
}

#[test]
fn connections_are_replaced_on_time_and_no_message_is_lost_or_late_for_it() {
    let server = Server::start(Fault::None);
    let ran = run(&server, LOAD);
    assert_eq!((ran.counts().as_str(), ran.code), ("sent=120 verified=120", 0), "{:#}", ran.json);
    assert_eq!(churned(&ran), [30, 30, 30, 0], "{:#}", ran.json["churn"]);
    assert_eq!(server.accepted_and_closed(), (35, 35));
    assert_eq!((ran.number("/response/samples"), ran.number("/connect/opened")), (100, 5));
    for handshake in ["tcp", "upgrade", "total"] {
        assert_eq!(ran.number(&format!("/churn/connect/{handshake}/samples")), 30, "{handshake}");
    }
}

#[test]
fn thresholds_speak_of_connections_that_were_opened_again() {
    let table = [
        (Fault::None, "--threshold churn.failed==0 --threshold churn.connect.p50<10s", 0),
        (Fault::None, "--threshold churn.upgrade.p50<1ns", 99),
        (Fault::None, "--threshold churn.closed<30", 99),
    ];
    for (fault, flags, code) in table {
        let ran = run(&Server::start(fault), &format!("{LOAD} {flags}"));
        assert_eq!(ran.code, code, "{flags}: {}", ran.json["thresholds"]);
    }
    // Without --churn the figures are missing, and so missed.
    let load = LOAD.split(" --churn").next().unwrap();
    let ran = run(&Server::start(Fault::None), &format!("{load} --threshold churn.failed==0"));
    assert_eq!(ran.code, 99, "{}", ran.json["thresholds"]);
}

#[test]
fn replies_under_way_are_awaited_before_the_connection_is_closed() {
    // Each reply takes longer than the connection that it comes on has to live.
    let server = Server::start(Fault::Slow(30));
    let ran = run(&server, "-c 4 -r 100 --warmup 0 -d 600ms --churn 1000%/s --connect-window 16");
    assert_eq!((ran.counts().as_str(), ran.code), ("sent=60 verified=60", 0), "{:#}", ran.json);
    let [due, opened, closed, failed] = churned(&ran);
    assert!((due, failed) == (24, 0) && opened == closed && opened > 10, "{:#}", ran.json["churn"]);
}

#[test]
fn a_reply_lost_on_a_connection_that_retires_is_counted_and_the_others_go_on() {
    let server = Server::start(Fault::Dropped);
    // The first connection gets its eighth message after 70 ms, and is to retire after 250.
    let ran = run(&server, "-c 1 -r 100 --warmup 0 -d 1s --churn 2/s");
    assert_eq!(
        (ran.counts().as_str(), ran.code),
        ("lost=1 sent=100 verified=99", 4),
        "{:#}",
        ran.json
    );
    assert_eq!(churned(&ran), [2, 2, 1, 0], "{:#}", ran.json["churn"]);
}

#[test]
fn connections_that_cannot_be_opened_again_are_counted_and_the_old_ones_stay() {
    let server = Server::start(Fault::Full(10));
    let ran = run(&server, LOAD);
    assert_eq!((ran.counts().as_str(), ran.code), ("sent=120 verified=120", 3), "{:#}", ran.json);
    assert_eq!(churned(&ran), [30, 5, 5, 25], "{:#}", ran.json["churn"]);
    assert_eq!(ran.json["churn"]["connect"]["failures"][0]["reason"], "HTTP status 503");
}

#[test]
fn the_report_and_the_page_speak_of_it() {
    let server = Server::start(Fault::None);
    let page = std::env::temp_dir().join(format!("loadtest-churn-{}.html", std::process::id()));
    let flags = format!("{} {LOAD} --html {}", server.url(), page.display());
    let output = loadtest(&flags).output().unwrap();
    let html = std::fs::read_to_string(&page).unwrap();
    std::fs::remove_file(&page).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = " churn    50/s · 30 of 30 opened again, 30 closed cleanly";
    assert!(text.contains(line), "{text}");
    assert!(html.contains("churn: upgrade") && html.contains("closed cleanly"), "{html}");
    for flags in ["--churn 0", "--churn 5/h", "--churn x", "--churn 5/s --mode throughput"] {
        let output = loadtest(flags).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && stderr.contains("--churn"), "{flags}: {stderr}");
    }
}
