//! What all share: that one connection, one user or one address does not take all of it, and that others get theirs.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use rustix::process::Signal;
use rustls::version::TLS13;
use serde_json::json;

use crate::support::client::{RawClient, Response};
use crate::support::process::Process;
use crate::support::server::{Hooks, TestServer};
use crate::support::tls::Pair;
use crate::support::watch::{self, request, upgrade};
use crate::support::{self, DEADLINE, limits, wire};

const SECRET: &str = "a secret of more than sixteen bytes";
const TOKENS: [&str; 2] = ["--jwt-secret", SECRET];

/// One connection, one token: its topics give way to each other, and no other's does.
#[test]
fn topics_of_one_user_leave_those_of_others_alone() {
    let server = Process::start(&[&TOKENS[..], &["--admin", "127.0.0.1:0"]].concat());
    let admin = server.admin();
    let bob = token("bob");
    assert_eq!(post(server.addr, "u/bob/kept", &bob).status, 200);
    let mut mallory = session(server.addr, "mallory");
    for batch in 0..200 {
        let publish = |at| publish(&format!("u/mallory/{}", batch * 128 + at));
        mallory.send(wire::text(&(0..128).map(publish).collect::<String>()));
        let replies = String::from_utf8(mallory.frame().payload).unwrap();
        assert_eq!(replies.matches(r#""publish":{}"#).count(), 128, "{replies}");
    }
    assert_eq!(watch::json(admin, "/topics?limit=1")["total"], 10_001);
    assert_eq!(watch::json(admin, "/topics?prefix=u/bob/")["topics"][0]["messages"], 1);
    // Her oldest went, her latest are there.
    for (number, status) in [(15_599, 204), (15_600, 200), (25_599, 200)] {
        let target = format!("GET /u/mallory/{number}?since=all&wait=0");
        assert_eq!(
            request(server.addr, &target, &bearer(&token("mallory"))).status,
            status,
            "{number}"
        );
    }
    assert_eq!(post(server.addr, "u/bob/new", &bob).status, 200);
}

/// Those that are listened to cannot give way: the owner is told that it has enough, on every transport.
#[test]
fn an_owner_whose_topics_are_all_listened_to_gets_no_more() {
    let server = Process::start(&[&TOKENS[..], &["--max-topics-per-owner", "300"]].concat());
    let mut sessions: Vec<_> = (0..3).map(|_| session(server.addr, "mallory")).collect();
    let outcomes = sessions
        .iter_mut()
        .enumerate()
        .map(|(at, session)| subscribe_all(session, &format!("u/mallory/{at}"), 128));
    assert_eq!(outcomes.collect::<Vec<_>>(), [(128, None), (128, None), (44, Some(106))]);
    let mallory = token("mallory");
    let refused = post(server.addr, "u/mallory/more", &mallory);
    let reason = "too many topics of one owner (max-topics-per-owner), and all are listened to\n";
    assert_eq!((refused.status, &*refused.body), (429, reason));
    let polled = request(server.addr, "GET /u/mallory/more?wait=9", &bearer(&mallory));
    assert_eq!((polled.status, &*polled.body), (429, reason));
    let mut bare = RawClient::connect(server.addr);
    upgrade(&mut bare, &format!("/u/mallory/more?token={mallory}"), "");
    assert_eq!(bare.expect_close(1008), reason.trim_end());
    let reply = ask(&mut sessions[0], &publish("u/mallory/more"));
    assert!(reply.contains(r#""error":{"code":106"#), "{reply}");
    // What is there goes on, and others are not concerned.
    assert_eq!(post(server.addr, "u/mallory/0.0", &mallory).status, 200);
    let mut bob = session(server.addr, "bob");
    assert_eq!(subscribe_all(&mut bob, "u/bob/", 128), (128, None));
    // One that nobody listens to any more makes room.
    ask(&mut sessions[0], r#"{"unsubscribe":{"channel":"u/mallory/0.0"},"id":4}"#);
    assert_eq!(post(server.addr, "u/mallory/more", &mallory).status, 200);
}

/// As many anonymous connections as it takes, each with all the subscriptions that it can get.
#[test]
fn anonymous_subscribers_leave_a_place_for_the_next() {
    let server = Process::start(&["--max-topics", "10000"]);
    let mut crowd: Vec<_> = (0..78).map(|_| anonymous(server.addr)).collect();
    let mut made = 0;
    for (at, client) in crowd.iter_mut().enumerate() {
        let (count, error) = subscribe_all(client, &format!("crowd/{at}/"), 128);
        assert!(error.is_none_or(|code| code == 111), "{error:?}");
        made += count;
    }
    assert!((9_000..9_900).contains(&made), "{made}");
    for at in 0..5 {
        let stranger =
            request(server.addr, &format!("POST /stranger/{at}"), "Content-Length: 0\r\n");
        assert_eq!(stranger.status, 200, "{}", stranger.body);
        watch::listen(server.addr, &format!("listener/{at}"), "websocket");
        assert_eq!(subscribe_all(&mut anonymous(server.addr), &format!("one/{at}/"), 2), (2, None));
    }
}

/// One connection on a machine that is open to all on it.
#[test]
fn topics_of_one_connection_leave_those_of_others_alone() {
    let server = Process::start(&["--max-topics", "2000"]);
    assert_eq!(request(server.addr, "POST /kept", "Content-Length: 0\r\n").status, 200);
    let mut flood = anonymous(server.addr);
    for batch in 0..20 {
        let publish = |at| publish(&format!("flood/{}", batch * 128 + at));
        flood.send(wire::text(&(0..128).map(publish).collect::<String>()));
        flood.frame();
    }
    assert_eq!(request(server.addr, "GET /kept?since=all&wait=0", "").status, 200);
    assert_eq!(request(server.addr, "GET /flood/0?since=all&wait=0", "").status, 204);
}

/// Where there are as many as there may be: first those that nothing is left of, then the oldest that keep something.
#[test]
fn the_oldest_topic_that_nobody_listens_to_goes_first() {
    let server = Process::start(&["--max-topics", "4"]);
    let addr = server.addr;
    let post =
        |topic: &str| request(addr, &format!("POST /{topic}"), "Content-Length: 0\r\n").status;
    let keeps =
        |topic: &str| request(addr, &format!("GET /{topic}?since=all&wait=0"), "").status == 200;
    let clear = |topic: &str| {
        let body = format!(r#"{{"channel":"{topic}"}}"#);
        let mut client = RawClient::connect(addr);
        client.send(format!(
            "POST /api/history_remove HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert_eq!(client.response().status, 200);
    };
    assert_eq!(["old", "older", "empty"].map(post), [200; 3]);
    let listener = watch::listen(addr, "heard", "websocket");
    assert_eq!(post("heard"), 200);
    clear("empty");
    // It is used, and so is not the oldest any more.
    assert_eq!(post("old"), 200);
    assert_eq!(post("a"), 200);
    assert_eq!(["old", "older", "heard", "a"].map(keeps), [true; 4]);
    assert_eq!(post("b"), 200);
    assert_eq!(["old", "older", "heard", "a", "b"].map(keeps), [true, false, true, true, true]);
    // Those that are listened to stay, and where there is nothing else the next is refused.
    let others = ["old", "a", "b"].map(|topic| watch::listen(addr, topic, "sse"));
    let refused = request(addr, "POST /c", "Content-Length: 0\r\n");
    assert_eq!(
        (refused.status, &*refused.body),
        (503, "there are as many topics as there may be\n")
    );
    drop(others);
    drop(listener);
}

/// An address over all its connections, or a network of IPv6; whoever has a key is not counted.
#[test]
fn topics_are_counted_by_address_behind_a_proxy() {
    let server = Process::start(&[
        "--proxy-protocol=v1",
        "--trust-proxy=127.0.0.0/8",
        "--max-topics-per-owner=2",
        "--publish-key=sixteen-or-more-bytes",
        "--client-publish=on",
    ]);
    let open = |from: &str, topic: &str| {
        let mut client = RawClient::connect(server.addr);
        client.send(format!("PROXY {from} 443\r\n"));
        client.send(wire::request().replacen("GET /", &format!("GET /{topic}"), 1));
        client.expect_open(wire::KEY);
        client
    };
    for (at, (from, same, other)) in [
        ("TCP4 192.0.2.7 192.0.2.1 1", "TCP4 192.0.2.7 192.0.2.1 2", "TCP4 192.0.2.8 192.0.2.1 1"),
        (
            "TCP6 2001:db8::1 2001:db8::2 1",
            "TCP6 2001:db8::ffff:1 2001:db8::2 1",
            "TCP6 2001:db8:0:1::1 2001:db8::2 1",
        ),
        // This machine says nothing of whom it speaks for.
        ("TCP4 127.0.0.1 127.0.0.1 1", "TCP4 127.0.0.1 127.0.0.1 2", "UNKNOWN"),
    ]
    .into_iter()
    .enumerate()
    {
        let topic = |number: usize| format!("{at}/{number}");
        let _first = [open(from, &topic(0)), open(same, &topic(1))];
        let mut third = open(same, &topic(2));
        match from.contains("127.0.0.1") {
            true => third.expect_echo("mine"),
            false => assert!(third.expect_close(1008).starts_with("too many topics of one owner")),
        }
        open(other, &topic(3)).expect_echo("mine");
        let mut trusted = RawClient::connect(server.addr);
        trusted.send(format!("PROXY {from} 443\r\n"));
        for number in 4..12 {
            trusted.send(format!(
                "POST /{} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: sixteen-or-more-bytes\r\nContent-Length: 0\r\n\r\n",
                topic(number)
            ));
            assert_eq!(trusted.response().status, 200);
        }
    }
}

/// Who publishes most gives its own history up, and neither a stranger's nor that of whoever has a key.
#[test]
fn history_of_others_does_not_give_way_to_one_that_publishes_much() {
    let key = "sixteen-or-more-bytes";
    let server =
        Process::start(&[&TOKENS[..], &["--history-bytes=4M", "--publish-key", key]].concat());
    let publish = |topic: &str, credentials: &str, len: usize| {
        let mut client = RawClient::connect(server.addr);
        client.send(format!(
            "POST /{topic} HTTP/1.1\r\nHost: localhost\r\n{credentials}Content-Length: {len}\r\n\r\n{}",
            "x".repeat(len)
        ));
        assert_eq!(client.response().status, 200);
    };
    let with_key = format!("X-API-Key: {key}\r\n");
    publish("u/bob/kept", &bearer(&token("bob")), 1000);
    (0..6).for_each(|at| publish(&format!("u/bob/news/{at}"), &with_key, 400_000));
    let mallory = bearer(&token("mallory"));
    (0..40).for_each(|at| publish(&format!("u/mallory/{}", at % 13), &mallory, 300_000));
    let keeps = |topic: &str, user: &str| {
        let target = format!("GET /{topic}?since=all&wait=0");
        request(server.addr, &target, &bearer(&token(user))).status == 200
    };
    assert!(keeps("u/bob/kept", "bob"));
    assert!((0..6).all(|at| keeps(&format!("u/bob/news/{at}"), "bob")));
    // Her latest is there, her oldest went.
    let kept: Vec<_> = (0..40)
        .rev()
        .take(13)
        .map(|at| keeps(&format!("u/mallory/{}", at % 13), "mallory"))
        .collect();
    assert!(kept[0] && !kept[12] && kept.is_sorted_by(|one, next| one >= next), "{kept:?}");
}

/// An address takes all that it gets, and another gets some all the same.
#[test]
fn compressors_of_one_address_leave_some_for_others() {
    let server = Process::start(&["--compression=dedicated", "--compression-memory=8M"]);
    let is_dedicated = |from: [u8; 4]| {
        let mut client = RawClient::connect_from(from, server.addr);
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
        client.send(wire::request_with(offer));
        let response = client.expect_open(wire::KEY);
        let agreed = response.values("sec-websocket-extensions")[0];
        let is_dedicated = !agreed.contains("server_no_context_takeover");
        (client, is_dedicated)
    };
    let crowd: Vec<_> = (0..40).map(|_| is_dedicated([127, 0, 0, 1])).collect();
    let count = crowd.iter().filter(|(_, is_dedicated)| *is_dedicated).count();
    assert!((5..20).contains(&count), "{count}");
    let others = [is_dedicated([127, 0, 0, 2]), is_dedicated([127, 0, 0, 3])];
    assert!(others.iter().all(|(_, is_dedicated)| *is_dedicated));
}

/// A crowd that all say hello, and a stranger behind them.
#[test]
fn handshakes_of_one_address_let_others_go_first() {
    const CROWD: usize = 600;
    let pair = Pair::new();
    let (held, is_held) = mpsc::channel();
    let (release, is_released) = mpsc::channel();
    let hooks = Hooks::echo().on_message(move |_, _| {
        held.send(()).unwrap();
        is_released.recv_timeout(DEADLINE).unwrap();
    });
    let server = TestServer::start_with(limits(), hooks, Some(pair.server()));
    let tls = server.tls_addr().unwrap();
    let mut hello = Vec::new();
    support::tls::session(&pair.client(&TLS13)).write_tls(&mut hello).unwrap();
    let mut holder = RawClient::open(server.addr);
    let mut crowd: Vec<_> = (0..CROWD).map(|_| RawClient::connect(tls)).collect();
    let mut stranger = RawClient::connect_from([127, 0, 0, 2], tls);
    let mut hold = || {
        holder.send(wire::text("hold"));
        is_held.recv_timeout(DEADLINE).unwrap();
    };
    // All of it is there when the server looks again, the stranger's last.
    hold();
    crowd.iter_mut().for_each(|client| client.send(&hello));
    stranger.send(&hello);
    release.send(()).unwrap();
    assert!(stranger.is_readable_within(DEADLINE));
    hold();
    let is_answered = |client: &mut RawClient| client.is_readable_within(Duration::from_millis(1));
    let answered = crowd.iter_mut().filter_map(|client| is_answered(client).then_some(())).count();
    release.send(()).unwrap();
    assert!(answered < CROWD / 2, "{answered} of {CROWD} came first");
    // Everyone has a turn.
    assert!(crowd.iter_mut().all(|client| client.is_readable_within(DEADLINE)));
}

/// What its owners have made counts on after a restart.
#[test]
fn owners_outlive_a_restart() {
    let server = Process::start(&[&TOKENS[..], &["--max-topics-per-owner", "2"]].concat());
    let mut mallory = session(server.addr, "mallory");
    assert_eq!(subscribe_all(&mut mallory, "u/mallory/", 3), (2, Some(106)));
    server.signal(Signal::USR2);
    let line = server.next_log_line();
    assert!(line.contains("restarted"), "{line}");
    assert_eq!(post(server.addr, "u/mallory/more", &token("mallory")).status, 429);
    let reply = ask(&mut mallory, &publish("u/mallory/more"));
    assert!(reply.contains(r#""error":{"code":106"#), "{reply}");
    assert_eq!(post(server.addr, "u/bob/more", &token("bob")).status, 200);
}

/// Grants what lies under the user's own name.
fn token(user: &str) -> String {
    let own = [format!("u/{user}/*")];
    let claims = json!({ "sub": user, "subscribe": own, "publish": own });
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes()))
        .unwrap()
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn post(addr: SocketAddr, topic: &str, token: &str) -> Response {
    request(addr, &format!("POST /{topic}"), &format!("{}Content-Length: 0\r\n", bearer(token)))
}

/// A Centrifugo client that has said connect.
fn session(addr: SocketAddr, user: &str) -> RawClient {
    connected(addr, &json!({ "connect": { "token": token(user) }, "id": 1 }))
}

fn anonymous(addr: SocketAddr) -> RawClient {
    connected(addr, &json!({ "connect": {}, "id": 1 }))
}

fn connected(addr: SocketAddr, connect: &serde_json::Value) -> RawClient {
    let mut client = RawClient::connect(addr);
    upgrade(&mut client, "/connection/websocket", "");
    let reply = ask(&mut client, &connect.to_string());
    assert!(reply.contains(r#""connect":{"#), "{reply}");
    client
}

fn ask(client: &mut RawClient, command: &str) -> String {
    client.send(wire::text(command));
    String::from_utf8(client.frame().payload).unwrap()
}

fn publish(channel: &str) -> String {
    format!("{}\n", json!({ "publish": { "channel": channel, "data": 1 }, "id": 3 }))
}

/// Subscribes to so many channels, one after the other; how many it got, and the error's code that the next was refused with.
fn subscribe_all(client: &mut RawClient, prefix: &str, count: usize) -> (usize, Option<u64>) {
    for at in 0..count {
        let command = json!({ "subscribe": { "channel": format!("{prefix}.{at}") }, "id": 2 });
        let reply: serde_json::Value =
            serde_json::from_str(&ask(client, &command.to_string())).unwrap();
        if let Some(code) = reply["error"]["code"].as_u64() {
            return (at, Some(code));
        }
    }
    (count, None)
}
