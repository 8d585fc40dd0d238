//! `--admin`: what it serves, to whom, and what it keeps to itself.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;

use crate::support::DEADLINE;
use crate::support::client::RawClient;
use crate::support::process::{Process, command, run};
use crate::support::watch::{self, Watch, json, listen, request, upgrade};
use crate::support::wire;

#[test]
fn each_request_gets_its_status() {
    let server = Process::start(ADMIN);
    let admin = server.admin();
    let origin = format!("Origin: http://{admin}\r\nHost: {admin}\r\n");
    for (line, lines, status) in [
        ("GET /ready", "", 200),
        ("GET /topics", "", 200),
        ("GET /topics?limit=1000", "", 200),
        ("GET /topics?limit=1001", "", 400),
        ("GET /topics?limit=0", "", 400),
        ("GET /connections", "", 200),
        ("GET /connections?limit=x", "", 400),
        ("GET /events", "", 204),
        ("GET /metrics", "", 200),
        ("POST /metrics", "Content-Length: 0\r\n", 405),
        ("GET /events?since=yesterday", "", 400),
        ("GET /", "", 404),
        ("GET /echo", "", 404),
        ("GET /health", "", 404),
        ("GET /chat", "", 404),
        ("POST /chat", "Content-Length: 0\r\n", 404),
        ("POST /api/info", "Content-Length: 0\r\n", 404),
        ("POST /events", "Content-Length: 0\r\n", 405),
        ("DELETE /topics", "", 405),
        ("DELETE /connections", "", 405),
        ("GET /connections/5.17", "", 405),
        ("DELETE /connections/5.17", "", 404),
        ("DELETE /connections/", "", 404),
        ("DELETE /connections/nobody", "", 404),
        ("OPTIONS /connections/5.17", "Origin: http://localhost:63342\r\n", 403),
        ("GET /topics", "Origin: http://localhost:63342\r\n", 403),
        ("GET /topics", "Origin: https://example.com\r\n", 403),
        ("GET /topics", "Origin: null\r\n", 403),
        ("GET /events", "Upgrade: websocket\r\nConnection: upgrade\r\n", 426),
    ] {
        let response = request(admin, line, lines);
        assert_eq!(response.status, status, "{line} {lines} {}", response.body);
    }
    let allowed = request(admin, "GET /connections/5.17", "");
    assert_eq!(allowed.values("allow"), ["DELETE"]);
    assert_eq!(
        request(admin, "POST /topics", "Content-Length: 0\r\n").values("allow"),
        ["GET, HEAD"]
    );
    let mut client = RawClient::connect(admin);
    client.send("HEAD /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let head = String::from_utf8(client.read_to_eof()).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    // Names that are not this machine's, and pages of its own.
    for (lines, status) in [("Host: evil.example\r\n", 403), (&origin, 200)] {
        let mut client = RawClient::connect(admin);
        client.send(format!("GET /topics HTTP/1.1\r\n{lines}\r\n"));
        assert_eq!(client.response().status, status, "{lines}");
    }
    // WebSockets: to the events, and without a page.
    for (target, lines, status) in [
        ("/events", "", 101),
        ("/chat", "", 404),
        ("/connection/websocket", "", 404),
        ("/topics", "", 400),
        ("/events", "Origin: http://localhost:63342\r\n", 403),
        ("/events", "Origin: https://example.com\r\n", 403),
    ] {
        let mut client = RawClient::connect(admin);
        client.send(wire::request_with(lines).replacen("GET /", &format!("GET {target}"), 1));
        assert_eq!(client.response().status, status, "{target} {lines}");
    }
}

/// The public side knows nothing of it: the same paths are topics there, and the events' topic has no name.
#[test]
fn nothing_of_it_is_on_the_public_side() {
    let server = Process::start(ADMIN);
    let admin = server.admin();
    let mut listener = listen(server.addr, "events", "websocket");
    for path in ["/ready", "/topics", "/connections", "/metrics", "/events"] {
        assert_eq!(request(server.addr, &format!("GET {path}"), "").status, 204, "{path}");
    }
    assert_eq!(request(server.addr, "DELETE /connections/0.1", "").status, 405);
    let posted = request(server.addr, "POST /events", "Content-Length: 0\r\n");
    assert!(posted.body.contains(r#""subscribers":1"#), "{}", posted.body);
    listener.expect_text("");
    for path in ["/%01events", "/%01EVENTS", "/\u{1}events"] {
        assert_eq!(request(server.addr, &format!("GET {path}"), "").status, 400, "{path:?}");
    }
    let mut session = listen(server.addr, "t", "centrifugo");
    for command in [
        r#"{"subscribe":{"channel":"\u0001events"},"id":3}"#,
        r#"{"publish":{"channel":"\u0001events","data":1},"id":3}"#,
        r#"{"history":{"channel":"\u0001events"},"id":3}"#,
    ] {
        session.send(wire::text(command));
        let reply = String::from_utf8(session.frame().payload).unwrap();
        assert!(reply.starts_with(r#"{"id":3,"error":{"code":107"#), "{command}: {reply}");
    }
    // And nothing public is there, nor can what is there be said by anyone else.
    let names = json(admin, "/topics");
    let names: Vec<&str> =
        names["topics"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["events", "t"]);
    let mut watcher = RawClient::connect(admin);
    upgrade(&mut watcher, "/events", "");
    watcher.send(wire::text(r#"{"event":"join"}"#));
    watcher.expect_close(1008);
}

#[test]
fn topics_are_listed_by_name() {
    let server = Process::start(ADMIN);
    let admin = server.admin();
    let _listener = listen(server.addr, "b/1", "sse");
    let mut id = String::new();
    for (topic, text) in [("b/2", "one"), ("a", "four"), ("b/1", "x"), ("b/2", "three")] {
        let lines = format!("Content-Length: {}\r\n\r\n{text}", text.len());
        let mut client = RawClient::connect(server.addr);
        client.send(format!("POST /{topic} HTTP/1.1\r\nHost: localhost\r\n{lines}"));
        id = client.response().body;
    }
    let listed = |query: &str| {
        let page = json(admin, &format!("/topics{query}"));
        let topics = page["topics"].as_array().unwrap().clone();
        let names: Vec<String> =
            topics.iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect();
        (page["total"].as_u64().unwrap(), names)
    };
    let names = |names: &[&str]| names.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
    assert_eq!(listed(""), (3, names(&["a", "b/1", "b/2"])));
    assert_eq!(listed("?limit=2"), (3, names(&["a", "b/1"])));
    assert_eq!(listed("?limit=2&after=b/1"), (3, names(&["b/2"])));
    assert_eq!(listed("?prefix=b%2F"), (2, names(&["b/1", "b/2"])));
    assert_eq!(listed("?prefix=c"), (0, names(&[])));
    let last = &json(admin, "/topics?prefix=b/2")["topics"][0];
    assert_eq!(
        (&last["subscribers"], &last["messages"], &last["bytes"]),
        (&0.into(), &2.into(), &8.into())
    );
    let name = format!("{}:{}", last["epoch"].as_str().unwrap(), last["offset"]);
    assert!(id.contains(&format!(r#""id":"{name}""#)), "{name} is not in {id}");
    assert_eq!(json(admin, "/topics?prefix=b/1")["topics"][0]["subscribers"], 1);
}

#[test]
fn connections_are_listed_and_ended_in_the_words_of_their_protocol() {
    let server = Process::start(ADMIN);
    let admin = server.admin();
    let mut echo = RawClient::open(server.addr);
    let mut clients = vec![
        ("websocket", listen(server.addr, "t", "websocket")),
        ("meta", listen(server.addr, "t", "meta")),
        ("sse", listen(server.addr, "t", "sse")),
        ("centrifugo", listen(server.addr, "t", "centrifugo")),
    ];
    watch::subscribe(&mut clients[3].1, "u\\\"");
    let page = json(admin, "/connections");
    assert_eq!(page["total"], 5);
    let list = page["connections"].as_array().unwrap().clone();
    let of = |client: &RawClient| {
        let address = client.stream.local_addr().unwrap().to_string();
        list.iter().find(|it| it["address"] == *address).unwrap().clone()
    };
    let row = of(&echo);
    assert_eq!((&row["transport"], &row["topics"]), (&"websocket".into(), &serde_json::json!([])));
    assert!(row.get("user").is_none());
    let path =
        |row: &serde_json::Value| format!("DELETE /connections/{}", row["id"].as_str().unwrap());
    for (transport, client) in &mut clients {
        let row = of(client);
        assert_eq!(row["transport"], *transport);
        let topics = if *transport == "centrifugo" { vec!["t", "u\""] } else { vec!["t"] };
        assert_eq!(
            (&row["topics"], &row["topic_count"]),
            (&topics.clone().into(), &topics.len().into())
        );
        assert!(row["since"].as_u64().unwrap() > 1_600_000_000_000);
        assert_eq!(request(admin, &path(&row), "").status, 204);
        match *transport {
            "sse" => client.expect_eof(),
            "centrifugo" => assert_eq!(client.expect_close(3503), "force disconnect"),
            _ => assert_eq!(client.expect_close(1008), "ended by an operator"),
        }
        if *transport != "sse" {
            client.send(wire::close(1000, ""));
            client.expect_eof();
        }
    }
    // The others are as they were; who is gone cannot be ended twice.
    echo.expect_echo("still here");
    let gone = of(&clients[0].1);
    drop(clients);
    while json(admin, "/connections")["total"] != 1 {}
    assert_eq!(request(admin, &path(&gone), "").status, 404);
    let [first, second] = [0, 1].map(|_| RawClient::open(server.addr));
    let oldest = json(admin, "/connections?limit=2");
    assert_eq!(oldest["total"], 3);
    assert_eq!(oldest["connections"].as_array().unwrap().len(), 2);
    assert_eq!(oldest["connections"][0]["id"], of(&echo)["id"]);
    drop((first, second));
}

/// It is there until the last client is gone, and says what goes on.
#[test]
fn it_watches_the_drain_to_its_end() {
    let server = Process::start(ADMIN);
    let admin = server.admin();
    let mut watch = Watch::start(admin);
    let mut client = listen(server.addr, "t", "websocket");
    let joined = watch.expect_first("t", "websocket");
    assert_eq!(request(admin, "GET /ready", "").body, "ready\n");
    server.signal(Signal::TERM);
    client.expect_close(1001);
    // The client has not answered, so that the drain goes on.
    let ready = request(admin, "GET /ready", "");
    assert_eq!((ready.status, &*ready.body), (503, "draining\n"));
    assert!(TcpStream::connect(server.addr).is_err());
    client.send(wire::close(1001, ""));
    client.expect_eof();
    drop(client);
    watch.expect_last(&joined);
    watch.expect_end();
    assert_eq!(server.wait().status.code(), Some(0));
}

/// Watchers alone do not keep the server from ending.
#[test]
fn a_drain_without_clients_ends_at_once() {
    let server = Process::start(ADMIN);
    let mut stream = RawClient::connect(server.admin());
    watch::get(&mut stream, "/events", "Accept: text/event-stream\r\n");
    stream.until(b":\n\n");
    server.signal(Signal::TERM);
    stream.expect_eof();
    drop(stream);
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn it_has_room_where_clients_have_none() {
    let server = Process::start(&[ADMIN, &["--max-connections", "1"]].concat());
    let admin = server.admin();
    let mut client = RawClient::open(server.addr);
    assert_eq!(request(server.addr, "GET /health", "").status, 503);
    assert_eq!(json(admin, "/connections")["total"], 1);
    let id = json(admin, "/connections")["connections"][0]["id"].as_str().unwrap().to_owned();
    let mut watch = Watch::start(admin);
    assert_eq!(request(admin, &format!("DELETE /connections/{id}"), "").status, 204);
    client.expect_close(1008);
    client.send(wire::close(1008, ""));
    client.expect_eof();
    drop(client);
    while json(admin, "/connections")["total"] != 0 {}
    // Those who watch take no client's place, and have 16 of their own.
    let mut watchers: Vec<RawClient> = (0..15)
        .map(|_| {
            let mut watcher = RawClient::connect(admin);
            watch::get(&mut watcher, "/ready", "");
            assert_eq!(watcher.response().status, 200);
            watcher
        })
        .collect();
    // One more takes the place of the one that has been idle for the longest, and of no other.
    let mut next = RawClient::connect(admin);
    watch::get(&mut next, "/ready", "");
    assert_eq!(next.response().status, 200);
    assert!(watchers.remove(0).is_over_within(DEADLINE));
    for watcher in &mut watchers {
        watch::get(watcher, "/ready", "");
        assert_eq!(watcher.response().status, 200);
    }
    let _next = listen(server.addr, "t", "sse");
    watch.expect_first("t", "sse");
}

/// A proxy connects from this machine, whoever it speaks for.
#[test]
fn a_request_that_shows_a_proxy_needs_the_key() {
    let key = "the-key-of-the-operator";
    let proxied = "X-Forwarded-For: 192.0.2.1\r\n";
    let lines = [
        "GET /topics",
        "GET /connections",
        "GET /metrics",
        "GET /events",
        "DELETE /connections/1.1",
    ];
    for (flags, shown) in [
        (&["--admin", "127.0.0.1:0"][..], ""),
        (&["--admin", "127.0.0.1:0"], "X-API-Key: the-key-of-the-operator\r\n"),
        (&["--admin", "127.0.0.1:0", "--publish-key", key], ""),
        (&["--admin", "127.0.0.1:0", "--publish-key", key], "X-API-Key: another\r\n"),
    ] {
        let server = Process::start(flags);
        let admin = server.admin();
        for line in lines {
            let told = request(admin, line, &format!("{proxied}{shown}"));
            assert_eq!(told.status, 401, "{line} {shown}");
            assert_ne!(request(admin, line, "").status, 401, "{line}, by none");
        }
        let mut client = RawClient::connect(admin);
        let head = wire::request_with(&format!("{proxied}{shown}"));
        client.send(head.replacen("GET /", "GET /events", 1));
        assert_eq!(client.response().status, 401, "{shown}");
        assert_eq!(request(admin, "GET /ready", proxied).status, 200);
    }
    let server = Process::start(&["--admin", "127.0.0.1:0", "--publish-key", key]);
    let admin = server.admin();
    let with_key = format!("{proxied}X-API-Key: {key}\r\n");
    for (line, status) in lines.into_iter().zip([200, 200, 200, 204, 404]) {
        assert_eq!(request(admin, line, &with_key).status, status, "{line}");
    }
}

/// Where others reach it, it asks for the key, but for whether the server is ready.
#[test]
fn beyond_loopback_it_asks_for_the_key() {
    let key = "the-key-of-the-operator";
    let server = Process::start(&["--admin", "0.0.0.0:0", "--publish-key", key]);
    let admin = SocketAddr::from(([127, 0, 0, 1], server.admin().port()));
    let shown = format!("X-API-Key: {key}\r\n");
    for (line, lines, status) in [
        ("GET /ready", "", 200),
        ("GET /topics", "", 401),
        ("GET /events", "", 401),
        ("GET /nothing", "", 401),
        ("DELETE /connections/0.1", "", 401),
        ("GET /topics", "X-API-Key: another\r\n", 401),
        ("GET /topics", &*shown, 200),
        ("DELETE /connections/0.1", &*shown, 404),
        ("GET /topics", &*format!("{shown}Origin: https://example.com\r\n"), 403),
    ] {
        assert_eq!(request(admin, line, lines).status, status, "{line} {lines}");
    }
    for (lines, status) in [("", 401), (&*shown, 101)] {
        let mut client = RawClient::connect(admin);
        client.send(wire::request_with(lines).replacen("GET /", "GET /events", 1));
        assert_eq!(client.response().status, status);
    }
}

#[test]
fn it_listens_on_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("wsfast-admin-{}.sock", std::process::id()));
    let path = path.to_str().unwrap();
    let at = format!("unix:{path},mode=600");
    let server = Process::start(&["--admin", &at]);
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ready\n"), "{answer}");
    drop(stream);
    server.signal(Signal::TERM);
    let output = server.wait();
    assert!(output.stdout.ends_with("to watch over it: a Unix socket (--admin)\n"));
    assert!(!std::path::Path::new(path).exists());
}

/// All its places are taken by those who ask and never read.
#[test]
fn an_unread_unix_socket_holds_nobody_up() {
    let path = std::env::temp_dir().join(format!("wsfast-unread-{}.sock", std::process::id()));
    let at = format!("unix:{}", path.display());
    let server = Process::start(&["--admin", &at, "--drain", "200ms"]);
    let mut unread: Vec<UnixStream> =
        (0..16).map(|_| UnixStream::connect(&path).unwrap()).collect();
    for stream in &mut unread {
        stream.set_nonblocking(true).unwrap();
        while stream.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").is_ok() {}
    }
    RawClient::open(server.addr).expect_echo("a stranger");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn mistakes_and_taken_ports_are_named_with_the_remedy() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for (args, expected) in [
        (
            &["--port", "0", "--admin", &*addr][..],
            format!(
                "cannot listen on {addr}: the port is taken; stop the program that has it, or take another with --admin"
            ),
        ),
        (
            &["--admin", "unix:/nowhere/admin.sock", "--port", "0"],
            "cannot listen on unix:/nowhere/admin.sock: there is no such directory; make it, or take another path with \
             --admin"
                .to_owned(),
        ),
        (
            &["--admin", "0.0.0.0:1"],
            "--admin 0.0.0.0:1 is open to others, who could end connections there; write 127.0.0.1:PORT or unix:PATH, or \
             give a --publish-key, which it then asks for"
                .to_owned(),
        ),
        (
            &["--admin", "tls:127.0.0.1:1"],
            "--admin 'tls:127.0.0.1:1' has no TLS; leave out tls:, and put a proxy in front where it must go over a network"
                .to_owned(),
        ),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(output.stderr, format!("wsfast: {expected}\n"));
    }
    let help = run(&["--help"]).stdout;
    assert!(help.contains("--admin <WHERE>") && help.contains("/ready"), "{help}");
    // By its variable, too.
    let server = Process::spawn(command(&["--port", "0"]).env("WSFAST_ADMIN", "127.0.0.1:0"));
    assert_eq!(request(server.admin(), "GET /ready", "").status, 200);
}

const ADMIN: &[&str] = &["--admin", "127.0.0.1:0"];
