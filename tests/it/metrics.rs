//! `/metrics`: read by a parser of another make, and moved by exactly what was done.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use prometheus_parse::{Scrape, Value};
use rustix::process::Signal;

use crate::support::client::RawClient;
use crate::support::process::Process;
use crate::support::watch::{get, listen, request};
use crate::support::wire;

#[test]
fn counters_move_by_exactly_what_was_done() {
    let server = Process::start(&[ADMIN, &["--max-connections", "2"]].concat());
    let mut scraper = Scraper::new(server.admin());
    let before = scraper.scrape();
    let mut echo = RawClient::open(server.addr);
    let posted = request(server.addr, "POST /t", "Connection: close\r\nContent-Length: 0\r\n");
    assert_eq!(posted.status, 200);
    let page = "Origin: https://example.com\r\n";
    scraper.until("wsfast_clients", 1.0);
    assert_eq!(request(server.addr, "GET /health", page).status, 403);
    scraper.until("wsfast_clients", 1.0);
    let _second = listen(server.addr, "t", "sse");
    assert_eq!(request(server.addr, "GET /health", "").status, 503);
    // A frame without a masking key.
    echo.send([0x81, 1, b'a']);
    echo.expect_close(1002);
    drop(echo);
    let after = scraper.until("wsfast_clients", 1.0);
    let moved: BTreeMap<&str, f64> = after
        .iter()
        .filter(|(name, _)| name.ends_with("_total"))
        .map(|(name, value)| (&**name, value - before[name]))
        .filter(|(_, by)| *by != 0.0)
        .collect();
    let scrapes = f64::from(scraper.count - 1);
    assert_eq!(
        moved,
        BTreeMap::from([
            ("wsfast_connections_accepted_total", 5.0),
            ("wsfast_websockets_opened_total", 1.0),
            ("wsfast_http_requests_total", 3.0 + scrapes),
            ("wsfast_requests_refused_total", 2.0),
            ("wsfast_connections_over_capacity_total", 1.0),
            ("wsfast_protocol_errors_total", 1.0),
        ])
    );
}

#[test]
fn gauges_say_how_it_is() {
    let server = Process::start(&[ADMIN, &["--memory-limit", "256M"]].concat());
    let mut scraper = Scraper::new(server.admin());
    let transports = ["websocket", "meta", "sse", "ndjson", "centrifugo"];
    let mut clients: Vec<RawClient> =
        transports.iter().map(|transport| listen(server.addr, "t", transport)).collect();
    clients[0].send(wire::text("hello"));
    clients[0].expect_text("hello");
    clients[1].frame();
    let now = scraper.scrape();
    for (name, value) in [
        ("wsfast_clients", 5.0),
        ("wsfast_topics", 1.0),
        ("wsfast_subscriptions", 5.0),
        ("wsfast_history_messages", 1.0),
        ("wsfast_history_bytes", 5.0),
        ("wsfast_draining", 0.0),
    ] {
        assert_eq!(now[name], value, "{name}");
    }
    for transport in transports {
        assert_eq!(now[&format!("wsfast_connections {transport}")], 1.0, "{transport}");
    }
    let (used, limit) = (now["wsfast_memory_in_use_bytes"], now["wsfast_memory_limit_bytes"]);
    assert!(used > 0.0 && used < limit && limit < f64::from(256 << 20), "{used} of {limit}");
    server.signal(Signal::TERM);
    clients[0].expect_close(1001);
    assert_eq!(scraper.scrape()["wsfast_draining"], 1.0);
}

/// Whoever does not ask for OpenMetrics gets what all understand; each metric says what it is in both.
#[test]
fn the_format_is_the_one_that_was_asked_for() {
    let server = Process::start(ADMIN);
    let admin = server.admin();
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = "text/plain; version=0.0.4; charset=utf-8";
    for (accept, expected) in [
        ("", text),
        ("Accept: */*\r\n", text),
        ("Accept: text/plain;version=0.0.4\r\n", text),
        ("Accept: application/openmetrics-text;q=0, text/plain\r\n", text),
        ("Accept: application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.5\r\n", open),
    ] {
        let response = request(admin, "GET /metrics", accept);
        assert_eq!(response.values("content-type"), [expected], "{accept}");
        assert_eq!(response.body.ends_with("# EOF\n"), expected == open, "{accept}");
        assert_eq!(response.body.contains("# UNIT"), expected == open, "{accept}");
        let lines: Vec<&str> = response.body.lines().collect();
        for sample in lines.iter().filter(|line| !line.starts_with('#')) {
            let name = sample.split(['{', ' ']).next().unwrap();
            let family = if expected == open { name.trim_end_matches("_total") } else { name };
            let says = |what: &str| {
                lines.iter().filter(|it| it.starts_with(&format!("# {what} {family} "))).count()
            };
            assert_eq!((says("HELP"), says("TYPE")), (1, 1), "{name} {accept}");
        }
    }
    // What the parser makes of it: counters are what ends so, and gauges all else.
    let scrape = parse(&request(admin, "GET /metrics", "").body);
    assert!(scrape.samples.len() > 25, "{}", scrape.samples.len());
    for sample in &scrape.samples {
        let is_counter = matches!(sample.value, Value::Counter(_));
        assert_eq!(is_counter, sample.metric.ends_with("_total"), "{sample:?}");
        assert!(is_counter || matches!(sample.value, Value::Gauge(_)), "{sample:?}");
        assert!(scrape.docs.contains_key(&sample.metric), "{sample:?}");
    }
}

/// Scrapes over one connection, which is kept alive: so a scrape is one request and no connection.
struct Scraper {
    client: RawClient,
    count: u32,
}

impl Scraper {
    fn new(admin: SocketAddr) -> Self {
        Self { client: RawClient::connect(admin), count: 0 }
    }

    /// Values by name, with the transport behind it where there is one.
    fn scrape(&mut self) -> BTreeMap<String, f64> {
        self.count += 1;
        get(&mut self.client, "/metrics", "");
        let response = self.client.response();
        assert_eq!(response.status, 200, "{}", response.body);
        let samples = parse(&response.body).samples.into_iter().map(|sample| {
            let name = match sample.labels.get("transport") {
                Some(transport) => format!("{} {transport}", sample.metric),
                None => sample.metric,
            };
            match sample.value {
                Value::Counter(value) | Value::Gauge(value) => (name, value),
                other => panic!("{name}: {other:?}"),
            }
        });
        samples.collect()
    }

    /// Scrapes until a gauge has this value.
    fn until(&mut self, name: &str, value: f64) -> BTreeMap<String, f64> {
        for _ in 0..10_000 {
            let scrape = self.scrape();
            if scrape[name] == value {
                return scrape;
            }
        }
        panic!("{name} does not become {value}");
    }
}

fn parse(text: &str) -> Scrape {
    Scrape::parse(text.lines().map(|line| io::Result::Ok(line.to_owned()))).unwrap()
}

const ADMIN: &[&str] = &["--admin", "127.0.0.1:0"];
