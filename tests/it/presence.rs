//! Who listens to each topic, over every transport: joins and leaves as events, and the lists of the Centrifugo protocol.

use crate::hub::GOOD;
use crate::support::client::RawClient;
use crate::support::process::Process;
use crate::support::session::post;
use crate::support::watch::{self, Event, TRANSPORTS, Watch, json, listen, request, upgrade};
use crate::support::wire;

/// However the connection ends, who was there has left, once.
#[test]
fn everyone_joins_and_leaves_once_on_each_transport() {
    let server = Process::start(ADMIN);
    let admin = server.admin();
    let mut watch = Watch::start(admin);
    for transport in TRANSPORTS {
        let is_websocket = !matches!(transport, "sse" | "ndjson");
        for end in [End::Close, End::Reset, End::Fin, End::ByServer, End::Unsubscribe] {
            match end {
                End::Close if !is_websocket => continue,
                End::Unsubscribe if transport != "centrifugo" => continue,
                _ => {}
            }
            let mut client = listen(server.addr, "some/topic", transport);
            let joined = watch.expect_first("some/topic", transport);
            assert_eq!(joined.user, None);
            let id = joined.client.clone().unwrap();
            // To be kept until the event came.
            let client = match end {
                End::Close => {
                    client.send(wire::close(1000, ""));
                    client.expect_close(1000);
                    client.expect_eof();
                    drop(client);
                    None
                }
                End::Reset => {
                    client.reset();
                    None
                }
                End::Fin => {
                    client.half_close();
                    Some(client)
                }
                End::ByServer => {
                    let ended = request(admin, &format!("DELETE /connections/{id}"), "");
                    assert_eq!(ended.status, 204, "{transport}");
                    if is_websocket {
                        client.expect_close(if transport == "centrifugo" { 3503 } else { 1008 });
                        client.send(wire::close(1000, ""));
                    }
                    client.expect_eof();
                    drop(client);
                    None
                }
                End::Unsubscribe => {
                    client.send(wire::text(r#"{"unsubscribe":{"channel":"some/topic"},"id":3}"#));
                    Some(client)
                }
            };
            watch.expect_last(&joined);
            drop(client);
        }
    }
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Close,
    Reset,
    Fin,
    ByServer,
    Unsubscribe,
}

#[test]
fn a_topic_is_occupied_by_its_first_listener_and_vacated_by_its_last() {
    let server = Process::start(ADMIN);
    let admin = server.admin();
    let mut watch = Watch::start(admin);
    let mut clients: Vec<(RawClient, Event)> = Vec::new();
    for transport in TRANSPORTS {
        let client = listen(server.addr, "t", transport);
        let joined = match clients.is_empty() {
            true => watch.expect_first("t", transport),
            false => watch.expect("join", "t", transport),
        };
        clients.push((client, joined));
    }
    let stats = |expected: &str| {
        let stats = post(server.addr, "/api/presence_stats", r#"{"channel":"t"}"#);
        assert_eq!(stats, format!(r#"{{"result":{{{expected}}}}}"#));
    };
    stats(r#""num_clients":5,"num_users":1"#);
    let info = post(server.addr, "/api/info", "{}");
    assert!(info.contains(r#""num_channels":1,"num_subs":5"#), "{info}");
    let members = post(server.addr, "/api/presence", r#"{"channel":"t"}"#);
    for (_, joined) in &clients {
        let id = joined.client.as_deref().unwrap();
        let member = format!(r#""{id}":{{"client":"{id}","user":""}}"#);
        assert!(members.contains(&member), "{member} in {members}");
    }
    let (last, last_joined) = clients.pop().unwrap();
    for (client, joined) in clients {
        drop(client);
        let left = watch.expect("leave", "t", joined.transport.as_deref().unwrap());
        assert_eq!(left.client, joined.client);
    }
    stats(r#""num_clients":1,"num_users":1"#);
    drop(last);
    watch.expect_last(&last_joined);
    stats(r#""num_clients":0,"num_users":0"#);
    let none = post(server.addr, "/api/presence", r#"{"channel":"t"}"#);
    assert_eq!(none, r#"{"result":{"presence":{}}}"#);
}

/// One connection, many topics: it leaves each of them.
#[test]
fn a_session_leaves_all_its_topics() {
    let server = Process::start(ADMIN);
    let mut watch = Watch::start(server.admin());
    let mut client = listen(server.addr, "a", "centrifugo");
    watch::subscribe(&mut client, "b");
    let joined = ["a", "b"].map(|topic| watch.expect_first(topic, "centrifugo"));
    assert_eq!(joined[0].client, joined[1].client);
    // Who fails to subscribe twice does not join twice.
    client.send(wire::text(r#"{"subscribe":{"channel":"b"},"id":4}"#));
    assert!(String::from_utf8(client.frame().payload).unwrap().contains(r#""code":105"#));
    client.reset();
    joined.iter().for_each(|joined| watch.expect_last(joined));
}

#[test]
fn users_are_named_by_their_tokens() {
    let secret = "a secret of more than sixteen bytes";
    let key = "the-key-of-the-operator";
    let server = Process::start(&[ADMIN, &["--jwt-secret", secret, "--publish-key", key]].concat());
    let mut watch = Watch::start(server.admin());
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = RawClient::connect(server.addr);
        upgrade(&mut client, &format!("/news/today?token={GOOD}"), "");
        clients.push(client);
    }
    for event in ["occupied", "join", "join"] {
        let came = watch.next();
        assert_eq!(came.event, event);
        assert_eq!(came.user.as_deref(), (event == "join").then_some("anna"));
    }
    let mut session = RawClient::connect(server.addr);
    upgrade(&mut session, &format!("/connection/websocket?token={GOOD}"), "");
    session.send(wire::text(r#"{"connect":{},"id":1}"#));
    session.frame();
    let ask = |session: &mut RawClient, command: &str| {
        session.send(wire::text(command));
        String::from_utf8(session.frame().payload).unwrap()
    };
    let stats = ask(&mut session, r#"{"presence_stats":{"channel":"news/today"},"id":2}"#);
    assert_eq!(stats, r#"{"id":2,"presence_stats":{"num_clients":2,"num_users":1}}"#);
    let members = ask(&mut session, r#"{"presence":{"channel":"news/today"},"id":3}"#);
    assert_eq!(members.matches(r#""user":"anna""#).count(), 2, "{members}");
    // Who may not listen may not ask who does.
    let refused = ask(&mut session, r#"{"presence":{"channel":"sports"},"id":4}"#);
    assert!(refused.contains(r#""code":103"#), "{refused}");
    drop(clients);
    for event in ["leave", "leave", "vacated"] {
        let came = watch.next();
        assert_eq!(came.event, event);
        assert_eq!(came.user.as_deref(), (event == "leave").then_some("anna"));
    }
}

/// Neither while it waits nor between two requests; the topic itself knows of it.
#[test]
fn a_long_poll_does_not_count() {
    let server = Process::start(ADMIN);
    let admin = server.admin();
    let mut watch = Watch::start(admin);
    let mut poll = RawClient::connect(server.addr);
    watch::get(&mut poll, "/t?wait=300", "");
    while json(admin, "/topics")["topics"][0]["subscribers"] != 1 {}
    let stats = post(server.addr, "/api/presence_stats", r#"{"channel":"t"}"#);
    assert_eq!(stats, r#"{"result":{"num_clients":0,"num_users":0}}"#);
    // Nor is it the first.
    let _listener = listen(server.addr, "t", "sse");
    watch.expect_first("t", "sse");
}

/// 100 listeners come and go while the watcher is cut off again and again: each event reaches it once, in order.
#[test]
fn events_are_resumed_exactly_once_over_cuts() {
    let server = Process::start(ADMIN);
    let admin = server.admin();
    let mut since = "all".to_owned();
    let mut offset = 0;
    let mut events: Vec<Event> = Vec::new();
    for round in 0..100 {
        let transport = TRANSPORTS[round % TRANSPORTS.len()];
        drop(listen(server.addr, &format!("t{round}"), transport));
        if round % 5 != 4 {
            continue;
        }
        // Some of what came so far, and then the connection is cut.
        let mut watcher = RawClient::connect(admin);
        let accept = "Accept: application/x-ndjson\r\n";
        watch::get(&mut watcher, &format!("/events?since={since}"), accept);
        assert_eq!(watcher.response().status, 200);
        watcher.until(b"\n");
        let wanted = if round == 99 { 400 } else { (round + 1) * 4 - 13 };
        while events.len() < wanted {
            let line: Line = serde_json::from_str(&watcher.until(b"\n")).unwrap();
            let number: u64 = line.id.split_once(':').unwrap().1.parse().unwrap();
            assert_eq!(number, offset + 1);
            (since, offset) = (line.id, number);
            events.push(serde_json::from_str(&line.text).unwrap());
        }
        watcher.reset();
    }
    for round in 0..100 {
        let topic = format!("t{round}");
        let of_topic = events.iter().filter(|event| event.topic == topic);
        let names: Vec<&str> = of_topic.map(|event| &*event.event).collect();
        assert_eq!(names, ["occupied", "join", "leave", "vacated"], "{topic}");
    }
}

/// A line of JSON lines.
#[derive(serde::Deserialize)]
struct Line {
    id: String,
    text: String,
}

/// The others of the transports tell the same, from the same place on.
#[test]
fn events_are_heard_on_every_transport() {
    let server = Process::start(ADMIN);
    let admin = server.admin();
    let mut poll = RawClient::connect(admin);
    // It may be served before or behind the listener.
    watch::get(&mut poll, "/events?wait=300&since=all", "");
    let mut listener = listen(server.addr, "chat", "sse");
    let first: Line = serde_json::from_str(poll.response().body.lines().next().unwrap()).unwrap();
    let (epoch, _) = first.id.split_once(':').unwrap();
    let since = format!("{epoch}:1");

    let mut bare = RawClient::connect(admin);
    upgrade(&mut bare, &format!("/events?since={since}"), "");
    let text = |client: &mut RawClient| String::from_utf8(client.frame().payload).unwrap();
    let joined = text(&mut bare);
    let event: Event = serde_json::from_str(&joined).unwrap();
    assert_eq!((&*event.event, &*event.topic), ("join", "chat"));
    let mut meta = RawClient::connect(admin);
    let offer = "Sec-WebSocket-Protocol: wsfast.meta\r\n";
    upgrade(&mut meta, &format!("/events?since={since}"), offer);
    assert_eq!(text(&mut meta), format!("id: {epoch}:2\n\n{joined}"));
    let mut sse = RawClient::connect(admin);
    let lines = format!("Accept: text/event-stream\r\nLast-Event-ID: {since}\r\n");
    watch::get(&mut sse, "/events", &lines);
    assert_eq!(sse.response().status, 200);
    sse.until(b":\n\n");
    assert_eq!(sse.until(b"\n\n"), format!("id: {epoch}:2\ndata: {joined}\n\n"));
    // Those who watch are in nobody's list.
    assert_eq!(json(admin, "/connections")["total"], 1);
    listener.half_close();
    listener.read_to_eof();
    let left = text(&mut bare);
    assert!(left.starts_with(r#"{"event":"leave","topic":"chat","client":""#), "{left}");
    assert_eq!(text(&mut meta), format!("id: {epoch}:3\n\n{left}"));
    assert_eq!(sse.until(b"\n\n"), format!("id: {epoch}:3\ndata: {left}\n\n"));
}

/// More joins than are kept: the watcher is told how many it missed.
#[test]
fn a_flood_of_joins_is_bounded_and_its_loss_declared() {
    let server = Process::start(&[ADMIN, &["--history", "100"]].concat());
    let admin = server.admin();
    let mut session = listen(server.addr, "t0", "centrifugo");
    // Each frame of 100 commands is a flood in one turn; twice the ring in all, with the leaves.
    for leaves in [false, true] {
        let command = |number: usize| match leaves {
            false => format!(r#"{{"subscribe":{{"channel":"t{number}"}},"id":{}}}"#, number + 2),
            true => format!(r#"{{"unsubscribe":{{"channel":"t{number}"}},"id":{}}}"#, number + 2),
        };
        let commands: Vec<String> = (1..=100).map(command).collect();
        session.send(wire::text(&commands.join("\n")));
        let replies = String::from_utf8(session.frame().payload).unwrap();
        assert_eq!(replies.lines().count(), 100);
        assert!(!replies.contains("error"), "{replies}");
    }
    let topics = json(admin, "/topics?limit=1");
    assert_eq!(topics["total"], 101);
    let mut poll = RawClient::connect(admin);
    watch::get(&mut poll, "/events?since=all", "");
    let response = poll.response();
    assert_eq!(response.body.lines().count(), 100);
    let last = response.values("etag")[0].trim_matches('"').to_owned();
    let (epoch, offset) = last.split_once(':').unwrap();
    assert_eq!(offset, "402");
    watch::get(&mut poll, &format!("/events?since={epoch}:1"), "");
    let first_line = poll.response().body.lines().next().unwrap().to_owned();
    assert_eq!(
        first_line,
        format!(r#"{{"gap":{{"from":"{epoch}:1","to":"{epoch}:302","lost":301}}}}"#)
    );
}

const ADMIN: &[&str] = &["--admin", "127.0.0.1:0"];
