//! The modes that send no messages: what opening and holding connections costs.

use serde_json::Value;

use crate::run::{Ran, loadtest, ran, run};
use crate::server::{Fault, Server};

fn samples(ran: &Ran, name: &str) -> u64 {
    ran.number(&format!("/connect/{name}/samples"))
}

#[test]
fn connecting_has_a_histogram_for_each_handshake_and_a_rate_over_time() {
    let server = Server::start(Fault::None);
    let ran = run(&server, "--mode connect -c 200");
    assert_eq!((ran.code, ran.counts().as_str()), (0, ""), "{:#}", ran.json);
    let handshakes = ["tcp", "tls", "upgrade", "total"].map(|name| samples(&ran, name));
    assert_eq!(handshakes, [200, 0, 200, 200]);
    let slots = ran.json["connect"]["opened_by_slot"].as_array().unwrap();
    assert_eq!(slots.iter().map(|n| n.as_u64().unwrap()).sum::<u64>(), 200);
    assert!(ran.json["connect"]["conns_per_s"].as_f64().unwrap() > 10.0);
    assert_eq!(ran.json["connect"]["syn_retries"].as_array().unwrap().len(), 0);
}

#[test]
fn connections_whose_syn_was_lost_stand_apart() {
    let ran =
        run(&Server::start(Fault::SlowAccept(500)), "--mode connect -c 8 --connect-timeout 20s");
    assert_eq!(ran.code, 0, "{:#}", ran.json);
    let clusters = ran.json["connect"]["syn_retries"].as_array().unwrap();
    assert!(
        clusters[0]["seconds"] == 1 && clusters[0]["conns"].as_u64() >= Some(1),
        "{clusters:?}"
    );
}

#[test]
fn a_rate_of_connections_is_kept_and_waiting_for_it_counts() {
    let server = Server::start(Fault::None);
    let ran = run(&server, "--mode connect -c 50 --connect-rate 100");
    assert!(ran.number("/connect/span_ns") > 400_000_000, "{:#}", ran.json);
    assert!(ran.number("/connect/total/max") >= ran.number("/connect/tcp/max"), "{:#}", ran.json);
}

#[test]
fn idle_connections_are_held_priced_and_proved_alive() {
    let server = Server::start(Fault::None);
    let flags = format!(
        "--mode idle -c 100 -d 300ms --connect-rate 200 --server-pid {}",
        std::process::id()
    );
    let ran = run(&server, &flags);
    assert_eq!((ran.code, ran.counts().as_str()), (0, "sent=100 verified=100"), "{:#}", ran.json);
    assert_eq!(ran.number("/response/samples"), 100);
    let fit = &ran.json["server"]["ramp"];
    // A thread for each connection: some kilobytes of stack at the least.
    assert!(fit["bytes_per_conn"].as_f64().unwrap() > 1000.0, "{fit}");
    assert!(fit["samples"].as_u64() >= Some(5), "{fit}");
}

#[test]
fn a_connection_that_does_not_answer_a_ping_is_dead() {
    let server = Server::start(Fault::Mute);
    let ran = run(&server, "--mode idle -c 5 -d 100ms --connect-rate 1000 --drain 300ms");
    assert_eq!((ran.code, ran.counts().as_str()), (4, "lost=5 sent=5"), "{:#}", ran.json);
    assert!(ran.json["first_fault"].as_str().unwrap().contains("Ping"), "{:#}", ran.json);
}

#[test]
fn the_reports_speak_of_what_was_done() {
    let server = Server::start(Fault::None);
    let text = |flags: &str| {
        let output = loadtest(&format!("{} {flags}", server.url())).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{flags}");
        String::from_utf8(output.stdout).unwrap()
    };
    let connect = text("--mode connect -c 50");
    assert!(connect.contains("connections a second") && connect.contains("upgrade"), "{connect}");
    assert!(!connect.contains("msg/s") && !connect.contains("lost"), "{connect}");
    let idle = text("--mode idle -c 20 -d 100ms --connect-rate 1000");
    assert!(idle.contains("20/20 answered a Ping"), "{idle}");
    let json = loadtest(&format!("{} --mode idle -c 3 -q --json -d 50ms", server.url())).output();
    let phases = ran(&json.unwrap()).json["timeline"].to_string();
    assert!(phases.contains("connect") && phases.contains("hold"), "{phases}");
}

#[test]
fn arrivals_may_be_random_or_come_in_bursts_and_every_message_is_proved() {
    let server = Server::start(Fault::None);
    for flags in ["--arrival poisson", "--arrival burst", "--burst 20"] {
        let ran = run(&server, &format!("-c 5 -r 200 --warmup 100ms -d 500ms {flags}"));
        assert_eq!((ran.counts().as_str(), ran.code), ("sent=120 verified=120", 0), "{flags}");
        assert_eq!(ran.number("/response/samples"), 100, "{flags}: {:#}", ran.json);
    }
}

#[test]
fn the_highest_rate_that_keeps_to_a_threshold_is_found() {
    // A connection that takes 5 ms for a reply answers 200 a second at most.
    let server = Server::start(Fault::Slow(5));
    let flags = "-c 2 -r 100 --warmup 0 -d 500ms --drain 2s --find-max latency.p50<30ms";
    let ran = run(&server, flags);
    let found = &ran.json["find_max"];
    let rate = found["rate_per_s"].as_f64().unwrap();
    assert!((100.0..=480.0).contains(&rate), "{found:#}");
    assert!(found["steps"].as_array().unwrap().len() >= 3, "{found:#}");
    assert_eq!((ran.code, ran.json["rate_per_s"].as_f64()), (0, Some(rate)), "{found:#}");

    let hopeless = run(&server, "-c 2 -r 50 --warmup 0 -d 200ms --find-max latency.p50<1us");
    assert_eq!((hopeless.code, &hopeless.json["find_max"]["rate_per_s"]), (99, &Value::Null));
}
