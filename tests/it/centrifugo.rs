//! The Centrifugo JSON protocol over a real socket, byte for byte as stock clients speak it, and its HTTP API.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::support::DEADLINE;
use crate::support::client::RawClient;
use crate::support::process::Process;
use crate::support::session::{ask, between, connect, lines, offsets, open, post};
use crate::support::wire;

#[test]
fn a_session_subscribes_publishes_and_recovers() {
    let server = Process::start(&[]);
    let mut client = connect(server.addr);
    let mut bare = open(server.addr, "/news");
    let subscribed = ask(&mut client, r#"{"subscribe":{"channel":"news","flag":1},"id":2}"#);
    let epoch = between(&subscribed, r#""epoch":""#, r#"""#);
    assert_eq!(
        subscribed,
        format!(
            r#"{{"id":2,"subscribe":{{"recoverable":true,"positioned":true,"epoch":"{epoch}","offset":0}}}}"#
        )
    );
    // What is said in one way is heard in the other; numbers keep their digits.
    client.send(wire::text(r#"{"publish":{"channel":"news","data":{"n": 1.50}},"id":3}"#));
    assert_eq!(client.text(), r#"{"id":3,"publish":{}}"#);
    let push = r#"{"push":{"channel":"news","pub":{"data":{"n": 1.50},"offset":1}}}"#;
    assert_eq!(client.text(), push);
    assert_eq!(bare.text(), r#"{"n": 1.50}"#);
    bare.send(wire::text("not JSON \"at all\""));
    let push = r#"{"push":{"channel":"news","pub":{"data":"not JSON \"at all\"","offset":2}}}"#;
    assert_eq!(client.text(), push);
    // Twice is once too often; several commands come in one frame, and so do their replies.
    client.send(wire::text(
        "{\"subscribe\":{\"channel\":\"news\"},\"id\":4}\n{\"presence_stats\":{\"channel\":\"news\"},\"id\":5}\n{\"nonsense\":{},\"id\":6}\n{\"rpc\":{\"method\":\"x\"},\"id\":7}",
    ));
    let replies = client.text();
    let lines: Vec<&str> = replies.lines().collect();
    assert!(lines[0].starts_with(r#"{"id":4,"error":{"code":105,"#), "{replies}");
    assert_eq!(lines[1], r#"{"id":5,"presence_stats":{"num_clients":2,"num_users":1}}"#);
    assert!(lines[2].starts_with(r#"{"id":6,"error":{"code":104,"#), "{replies}");
    assert!(lines[3].starts_with(r#"{"id":7,"error":{"code":108,"#), "{replies}");

    // The connection drops, two messages are published, and the next one recovers both.
    client.reset();
    bare.send([wire::text("3"), wire::text("4")].concat());
    assert_eq!((bare.text(), bare.text()), ("not JSON \"at all\"".into(), "3".into()));
    assert_eq!(bare.text(), "4");
    let mut again = connect(server.addr);
    let recovered = ask(
        &mut again,
        &format!(
            r#"{{"subscribe":{{"channel":"news","recover":true,"offset":2,"epoch":"{epoch}"}},"id":2}}"#
        ),
    );
    assert_eq!(
        recovered,
        format!(
            r#"{{"id":2,"subscribe":{{"recoverable":true,"positioned":true,"epoch":"{epoch}","offset":2,"was_recovering":true,"recovered":true,"publications":[{{"data":3,"offset":3}},{{"data":4,"offset":4}}]}}}}"#
        )
    );
    let history =
        ask(&mut again, r#"{"history":{"channel":"news","limit":1,"reverse":true},"id":3}"#);
    assert!(history.contains(r#""publications":[{"data":4,"offset":4}]"#), "{history}");
    let unsubscribed = ask(&mut again, r#"{"unsubscribe":{"channel":"news"},"id":4}"#);
    assert_eq!(unsubscribed, r#"{"id":4,"unsubscribe":{}}"#);
    // Of another life nothing can be recovered.
    let failed = ask(
        &mut again,
        r#"{"subscribe":{"channel":"news","recover":true,"offset":1,"epoch":"abc"},"id":5}"#,
    );
    assert!(failed.contains(r#""was_recovering":true,"recovered":false,"publications":[]"#));
}

#[test]
fn what_is_not_the_protocol_ends_with_its_code() {
    let server = Process::start(&[]);
    for (message, code) in [
        ("nonsense", 3501),
        ("", 3501),
        (r#"{"subscribe":{"channel":"news"},"id":1}"#, 3501),
        (r#"{"connect":{},"id":1}{}"#, 3501),
    ] {
        let mut client = open(server.addr, "/connection/websocket");
        client.send(wire::text(message));
        client.expect_close(code);
    }
    let mut client = connect(server.addr);
    client.send(wire::text(r#"{"connect":{},"id":2}"#));
    client.expect_close(3501);
}

/// At the limit and one past it; a place that is left may be taken again.
#[test]
fn a_session_has_as_many_subscriptions_as_it_may() {
    for (args, most) in [(&["--max-subscriptions", "3"][..], 3), (&[], 128)] {
        let server = Process::start(args);
        let mut client = connect(server.addr);
        let mut subscribe = |channel: usize| {
            let command = format!(r#"{{"subscribe":{{"channel":"c{channel}"}},"id":2}}"#);
            ask(&mut client, &command)
        };
        for channel in 1..=most {
            let reply = subscribe(channel);
            assert!(reply.starts_with(r#"{"id":2,"subscribe":{"#), "{channel}: {reply}");
        }
        let refused = r#"{"id":2,"error":{"code":106,"message":"limit exceeded"}}"#;
        assert_eq!(subscribe(most + 1), refused);
        let left = ask(&mut client, r#"{"unsubscribe":{"channel":"c1"},"id":3}"#);
        assert_eq!(left, r#"{"id":3,"unsubscribe":{}}"#);
        let late = ask(&mut client, r#"{"subscribe":{"channel":"late"},"id":4}"#);
        assert!(late.starts_with(r#"{"id":4,"subscribe":{"#), "{late}");
        let again = ask(&mut client, r#"{"subscribe":{"channel":"later"},"id":2}"#);
        assert_eq!(again, refused);
    }
}

/// Silence is broken by the protocol's own ping, which its clients wait for.
#[test]
fn a_silent_session_is_sent_its_own_ping() {
    let server = Process::start(&["--ping-interval", "100ms"]);
    let mut client = connect(server.addr);
    for _ in 0..3 {
        assert_eq!(client.text(), "{}");
        client.send(wire::text("{}"));
    }
}

#[test]
fn the_http_api_publishes_tells_and_ends() {
    let server = Process::start(&["--publish-key", "the-key-of-the-operator"]);
    let mut client = connect(server.addr);
    ask(&mut client, r#"{"subscribe":{"channel":"news"},"id":2}"#);
    let mut api = RawClient::connect(server.addr);
    let mut call = |method: &str, body: &str| {
        api.send(format!(
            "POST /api/{method} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: the-key-of-the-operator\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let response = api.response();
        assert_eq!(response.status, 200, "{}", response.body);
        response.body
    };
    let published = call("publish", r#"{"channel":"news","data":{"a":1}}"#);
    assert!(
        published.starts_with(r#"{"result":{"epoch":""#) && published.contains(r#""offset":1"#)
    );
    assert_eq!(client.text(), r#"{"push":{"channel":"news","pub":{"data":{"a":1},"offset":1}}}"#);
    let stats = call("presence_stats", r#"{"channel":"news"}"#);
    assert_eq!(stats, r#"{"result":{"num_clients":1,"num_users":1}}"#);
    assert!(call("history", r#"{"channel":"news","limit":5}"#).contains(r#""data":{"a":1}"#));
    assert_eq!(call("history_remove", r#"{"channel":"news"}"#), r#"{"result":{}}"#);
    assert!(call("history", r#"{"channel":"news","limit":5}"#).contains(r#""publications":[]"#));
    assert!(call("publish", "{}").starts_with(r#"{"error":{"code":107,"#));
    assert!(call("info", "{}").contains(r#""num_clients":1"#));
    assert_eq!(call("disconnect", r#"{"user":""}"#), r#"{"result":{}}"#);
    client.expect_close(3503);
    let mut stranger = RawClient::connect(server.addr);
    stranger.send("POST /api/info HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}");
    assert_eq!(stranger.response().status, 401);
}

/// At each limit, and one past it. Commands have none: a message's bytes are theirs.
#[test]
fn commands_depth_names_and_subscriptions_are_limited() {
    let server = Process::start(&[]);
    let mut client = connect(server.addr);
    let pings: String = (1..=10_000).map(|id| format!("{{\"ping\":{{}},\"id\":{id}}}\n")).collect();
    client.send(wire::text(&pings));
    let replies = lines(&mut client, 10_000);
    let expected = (1..=10_000).map(|id| format!(r#"{{"id":{id},"ping":{{}}}}"#));
    assert!(replies.into_iter().eq(expected));

    let deep = |depth: usize| {
        // The command and the request are two of them.
        let (open, close) = ("[".repeat(depth - 2), "]".repeat(depth - 2));
        format!(r#"{{"publish":{{"channel":"deep","data":{open}{close}}},"id":2}}"#)
    };
    assert_eq!(ask(&mut client, &deep(64)), r#"{"id":2,"publish":{}}"#);
    for depth in [65, 100_000] {
        assert_eq!(ask(&mut client, &deep(depth)), bad_request(2), "{depth}");
    }

    let mut client = connect(server.addr);
    let subscribe = |name: &str| format!(r#"{{"subscribe":{{"channel":"{name}"}},"id":2}}"#);
    for name in ["", &"n".repeat(256), "a\\nb", "\\u0000"] {
        let refused = ask(&mut client, &subscribe(name));
        assert_eq!(refused, bad_request(2), "{name}");
    }
    for number in 1..128 {
        let subscribed = ask(&mut client, &subscribe(&format!("topic/{number}")));
        assert!(subscribed.starts_with(r#"{"id":2,"subscribe":"#), "{number}: {subscribed}");
    }
    let longest = subscribe(&"n".repeat(255));
    assert!(ask(&mut client, &longest).starts_with(r#"{"id":2,"subscribe":"#));
    let past = ask(&mut client, &subscribe("one too many"));
    assert_eq!(past, r#"{"id":2,"error":{"code":106,"message":"limit exceeded"}}"#);
    // What was given up may be used again.
    ask(&mut client, r#"{"unsubscribe":{"channel":"topic/1"},"id":3}"#);
    assert!(ask(&mut client, &subscribe("another")).starts_with(r#"{"id":2,"subscribe":"#));
}

/// RFC 8259's grammar allows it all, whatever a JavaScript engine makes of it.
const VALID: [&str; 20] = [
    r#""\ud83d""#,
    r#""\ude00""#,
    r#""\ude00\ud83d""#,
    r#"{"\ud83d":{"\udfff\u0000":["\uD800\n\ud800"]}}"#,
    "1e400",
    "-1E+400",
    "1e-400",
    "[1e99999999999999999999,0e0,-0.0]",
    "-0",
    "18446744073709551616",
    "-9223372036854775809",
    "123456789012345678901234567890123456789012345678901234567890",
    r#"{"a":1,"a":[2],"a":{"a":3}}"#,
    r#"{"":0,"":{"":[]}}"#,
    "{ \"x\" : [ 1 ,\t2 ] }",
    r#""\u0000\u001f\u2028\u2029\ufffe\uffff""#,
    "\"\u{7f}\u{80}\u{2028}\u{feff}\u{ffff}\u{10ffff}\"",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[{\"\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    "null",
    r#""""#,
];

/// Whichever way it is published, and whichever way it is heard.
#[test]
fn valid_json_is_passed_on_byte_for_byte() {
    let server = Process::start(&[]);
    let mut client = connect(server.addr);
    let mut bare = open(server.addr, "/valid");
    let mut lines = RawClient::connect(server.addr);
    lines.send("GET /valid HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n\r\n");
    assert_eq!(lines.response().status, 200);
    let subscribed = ask(&mut client, r#"{"subscribe":{"channel":"valid"},"id":2}"#);
    let epoch = between(&subscribed, r#""epoch":""#, r#"""#);
    let mut poster = RawClient::connect(server.addr);
    let mut post = |target: &str, body: &str| {
        poster.send(format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let response = poster.response();
        assert_eq!(response.status, 200, "{}", response.body);
        response.body
    };
    let mut offset = 0;
    let mut publications = Vec::new();
    let mut expect = |client: &mut RawClient, bare: &mut RawClient, data: &str| {
        offset += 1;
        let publication = format!(r#"{{"data":{data},"offset":{offset}}}"#);
        let push = format!(r#"{{"push":{{"channel":"valid","pub":{publication}}}}}"#);
        assert_eq!(client.text(), push);
        assert_eq!(bare.text(), data);
        let line = loop {
            match lines.until(b"\n") {
                // A sign of life.
                line if line == "\n" => {}
                line => break line,
            }
        };
        let escaped = data.replace('\\', r"\\").replace('"', r#"\""#).replace('\t', r"\t");
        assert!(line.contains(&format!(r#""text":"{escaped}""#)), "{line}");
        publications.push(publication);
    };
    for data in VALID {
        let command = format!(r#"{{"publish":{{"channel":"valid","data":{data}}},"id":3}}"#);
        client.send(wire::text(&command));
        client.expect_text(r#"{"id":3,"publish":{}}"#);
        expect(&mut client, &mut bare, data);
        let body = format!(r#"{{"channel":"valid","data":{data}}}"#);
        assert!(post("/api/publish", &body).starts_with(r#"{"result":"#), "{data}");
        expect(&mut client, &mut bare, data);
        post("/valid", data);
        expect(&mut client, &mut bare, data);
        bare.send(wire::text(data));
        expect(&mut client, &mut bare, data);
    }
    let all = format!(r#""publications":[{}]"#, publications.join(","));
    let history = ask(&mut client, r#"{"history":{"channel":"valid","limit":-1},"id":4}"#);
    assert!(history.contains(&all), "{history}");
    let history = post("/api/history", r#"{"channel":"valid","limit":-1}"#);
    assert!(history.contains(&all), "{history}");
    let mut again = connect(server.addr);
    let recover = format!(
        r#"{{"subscribe":{{"channel":"valid","recover":true,"offset":0,"epoch":"{epoch}"}},"id":2}}"#
    );
    let recovered = ask(&mut again, &recover);
    assert!(recovered.contains(r#""recovered":true"#) && recovered.contains(&all), "{recovered}");
}

/// What is wrong with one is no other's fault.
#[test]
fn a_command_that_is_refused_leaves_the_rest_alone() {
    let server = Process::start(&[]);
    let mut client = connect(server.addr);
    let (open, close) = ("[".repeat(70), "]".repeat(70));
    let refused = [
        r#"{"subscribe":{"channel":"\ud83d"},"id":ID}"#.to_owned(),
        r#"{"id":ID,"subscribe":{"channel":1e400}}"#.to_owned(),
        r#"{"id":ID,"subscribe":{"channel":"c","recover":true,"offset":1e400}}"#.to_owned(),
        r#"{"id":ID,"subscribe":{"channel":"c","epoch":"\udc00"}}"#.to_owned(),
        r#"{"id":ID,"subscribe":["c"]}"#.to_owned(),
        r#"{"id":ID,"publish":{"channel":"c"}}"#.to_owned(),
        r#"{"history":{"channel":"c","limit":18446744073709551616},"id":ID}"#.to_owned(),
        format!(r#"{{"publish":{{"channel":"c","data":{open}{close}}},"id":ID}}"#),
        format!(r#"{{"id":ID,"x":{open}{close},"ping":{{}}}}"#),
    ];
    let mut message = String::new();
    let mut expected = String::new();
    for (number, command) in refused.iter().enumerate() {
        let (id, ping) = (2 * number + 2, 2 * number + 3);
        message += &command.replace("ID", &id.to_string());
        // Members that nobody asks for may be whatever JSON may be.
        message +=
            &format!("\n{{\"\\ud83d\":\"\\ude00\",\"x\":1e400,\"ping\":{{}},\"id\":{ping}}}\n");
        expected += &format!("{}\n{{\"id\":{ping},\"ping\":{{}}}}\n", bad_request(id));
    }
    assert_eq!(ask(&mut client, &message), expected.trim_end());

    // The API refuses in its own words.
    let mut api = RawClient::connect(server.addr);
    for body in
        [r#"{"channel":"\ud83d","data":1}"#, &format!(r#"{{"channel":"c","data":{open}{close}}}"#)]
    {
        api.send(format!(
            "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        assert!(api.response().body.starts_with(r#"{"error":{"code":107,"#), "{body}");
    }
}

/// Connect and all subscriptions in one frame, as stock clients come back; and what else they may want with it.
#[test]
fn as_many_subscriptions_as_there_may_be_fit_one_frame() {
    // The longest names there are, escaped as far as JSON asks for; and everyday ones.
    for (args, most, quotes) in [
        (&[][..], 128, 240),
        (&["--max-subscriptions", "1000", "--max-commands", "1"], 1000, 0),
        // More bytes than a message may have where nobody asks for so many.
        (&["--max-subscriptions", "2500"], 2500, 240),
    ] {
        let server = Process::start(args);
        let name = |number: usize| format!("topic/{number:09}{}", r#"\""#.repeat(quotes));
        let mut epochs = Vec::new();
        for recovers in [false, true] {
            let mut client = open(server.addr, "/connection/websocket");
            let mut message = String::from("{\"connect\":{\"name\":\"js\"},\"id\":1}\n");
            for number in 0..most {
                let from = match epochs.get(number) {
                    Some(epoch) => format!(r#","recover":true,"offset":0,"epoch":"{epoch}""#),
                    None => String::new(),
                };
                message += &format!(
                    "{{\"subscribe\":{{\"channel\":\"{}\",\"positioned\":true,\"recoverable\":true,\"join_leave\":true,\"flag\":1{from}}},\"id\":{}}}\n",
                    name(number),
                    number + 2
                );
            }
            let mut next = most + 2;
            let asks = if quotes == 0 { most } else { 0 };
            for number in 0..asks {
                message += &format!(
                    "{{\"presence\":{{\"channel\":\"{}\"}},\"id\":{next}}}\n{{\"ping\":{{}},\"id\":{}}}\n",
                    name(number),
                    next + 1
                );
                next += 2;
            }
            client.send(wire::text(&message));
            let replies = lines(&mut client, next - 1);
            let refused = replies.iter().find(|line| line.contains(r#""error""#));
            assert_eq!(refused, None, "{args:?}");
            let subscribed = replies.iter().filter(|line| line.contains(r#","subscribe":{"#));
            epochs =
                subscribed.map(|line| between(line, r#""epoch":""#, r#"""#).to_owned()).collect();
            assert_eq!(epochs.len(), most, "{args:?}");
            let recovered = replies.iter().filter(|it| it.contains(r#""recovered":true"#)).count();
            assert_eq!(recovered, if recovers { most } else { 0 }, "{args:?}");
        }
    }
}

/// However small a message may be, a client gets no subscription that it could not come back with.
#[test]
fn what_would_not_fit_one_message_is_not_subscribed() {
    let server = Process::start(&["--max-message-bytes", "2K"]);
    let mut client = connect(server.addr);
    let mut subscribed: Vec<(String, String)> = Vec::new();
    let refused = loop {
        let channel = format!("{:a>100}", subscribed.len());
        let command = format!(r#"{{"subscribe":{{"channel":"{channel}"}},"id":2}}"#);
        let reply = ask(&mut client, &command);
        if reply.contains("error") {
            break reply;
        }
        let epoch = between(&reply, r#""epoch":""#, r#"""#).to_owned();
        subscribed.push((channel, epoch));
    };
    assert_eq!(refused, r#"{"id":2,"error":{"code":106,"message":"limit exceeded"}}"#);
    assert!((6..10).contains(&subscribed.len()), "{}", subscribed.len());
    // One goes, and another one comes.
    let (gone, _) = subscribed.swap_remove(2);
    ask(&mut client, &format!(r#"{{"unsubscribe":{{"channel":"{gone}"}},"id":3}}"#));
    for expected in ["subscribe", "error"] {
        let other = format!("{expected:b>100}");
        let reply = ask(&mut client, &format!(r#"{{"subscribe":{{"channel":"{other}"}},"id":4}}"#));
        assert!(reply.starts_with(&format!(r#"{{"id":4,"{expected}":"#)), "{reply}");
    }
    let mut again = open(server.addr, "/connection/websocket");
    let mut message = String::from(r#"{"connect":{"name":"js"},"id":1}"#);
    for (at, (channel, epoch)) in subscribed.iter().enumerate() {
        message += &format!(
            "\n{{\"subscribe\":{{\"channel\":\"{channel}\",\"recover\":true,\"epoch\":\"{epoch}\",\"offset\":0}},\"id\":{}}}",
            at + 2
        );
    }
    again.send(wire::text(&message));
    let replies = lines(&mut again, 1 + subscribed.len());
    let recovered = replies.iter().filter(|it| it.contains(r#""recovered":true"#)).count();
    assert_eq!(recovered, subscribed.len());
}

/// Stock clients send their subscriptions along with connect. Where its token has expired they get a new one and come back, and
/// so do they where it is not valid yet.
#[test]
fn what_follows_a_refused_connect_is_not_fatal() {
    let server = Process::start(&["--jwt-secret", SECRET]);
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = |more: String| format!(r#"{{"sub":"anna","subscribe":["*"],{more}}}"#);
    let expired = token(&claims(format!(r#""exp":{}"#, now_s - 60)));
    let early = token(&claims(format!(r#""exp":{},"nbf":{}"#, now_s + 900, now_s + 600)));
    let good = token(&claims(format!(r#""exp":{}"#, now_s + 900)));
    let later = r#""error":{"code":101,"message":"unauthorized","temporary":true}}"#;
    let expired_reply = r#""error":{"code":109,"message":"token expired"}}"#;
    for (bad, first) in [(expired, expired_reply), (early, later)] {
        let mut client = open(server.addr, "/connection/websocket");
        let message = |token: &str| {
            format!(
                "{{\"connect\":{{\"token\":\"{token}\"}},\"id\":1}}\n{{\"subscribe\":{{\"channel\":\"c\"}},\"id\":2}}\n{{\"ping\":{{}},\"id\":3}}\n{{}}"
            )
        };
        client.send(wire::text(&message(&bad)));
        let expected = format!("{{\"id\":1,{first}\n{{\"id\":2,{later}\n{{\"id\":3,{later}");
        assert_eq!(client.text(), expected);
        // On the same connection, too.
        client.send(wire::text(&message(&good)));
        let replies = client.text();
        let replies: Vec<&str> = replies.lines().collect();
        assert!(replies[0].starts_with(r#"{"id":1,"connect":"#), "{replies:?}");
        assert!(replies[1].starts_with(r#"{"id":2,"subscribe":"#), "{replies:?}");
        assert_eq!(replies[2], r#"{"id":3,"ping":{}}"#);
    }
}

/// Tens of thousands of commands in a few frames are some turns' work, between which others are served; and all are answered, in
/// their order.
#[test]
fn who_commands_much_takes_turns_with_the_others() {
    let server = Process::start(&["--admin", "127.0.0.1:0"]);
    let churn: String = (0..500)
        .flat_map(|round| {
            let id = 2 * round + 2;
            [
                format!("{{\"subscribe\":{{\"channel\":\"c\"}},\"id\":{id}}}\n"),
                format!("{{\"unsubscribe\":{{\"channel\":\"c\"}},\"id\":{}}}\n", id + 1),
            ]
        })
        .collect();
    let mut many: Vec<RawClient> = (0..120).map(|_| connect(server.addr)).collect();
    for client in &mut many {
        client.send(wire::text(&churn));
    }
    // A stranger of each kind, and one whose first command costs nothing.
    let mut longest = Duration::ZERO;
    while longest.is_zero() || !many[119].is_readable_within(Duration::from_millis(1)) {
        let begun = Instant::now();
        open(server.addr, "/echo").expect_echo("who is there?");
        connect(server.addr);
        longest = longest.max(begun.elapsed());
    }
    println!("a stranger was served in {longest:?}");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    for client in &mut many {
        let replies = lines(client, 1000);
        for (at, reply) in replies.iter().enumerate() {
            assert!(reply.starts_with(&format!("{{\"id\":{},", at + 2)), "{reply}");
            assert!(!reply.contains("error"), "{reply}");
        }
    }
}

/// As many bytes as a broadcast writes at most, and more.
#[test]
fn a_broadcast_is_bounded_by_its_bytes() {
    let server = Process::start(&["--max-commands", "10000", "--topic-bytes", "8K"]);
    let broadcast = |channels: usize, len: usize| {
        let names: Vec<String> = (0..channels).map(|at| format!("\"c{at}\"")).collect();
        let body = format!(r#"{{"channels":[{}],"data":{}}}"#, names.join(","), "7".repeat(len));
        post(server.addr, "/api/broadcast", &body)
    };
    let done = broadcast(4096, 4096);
    assert_eq!(done.matches(r#"{"result":{"#).count(), 4097, "{:?}", done.get(..200));
    for (channels, len) in [(4097, 4096), (10_000, 4096), (10_001, 1)] {
        let refused = r#"{"error":{"code":106,"message":"limit exceeded"}}"#;
        assert_eq!(broadcast(channels, len).trim_end(), refused, "{channels} times {len}");
    }
}

/// A place of the future, of another life, or of none: nothing is recovered from there, the subscription goes on with what comes,
/// and history has nothing behind it.
#[test]
fn a_place_that_never_was_recovers_nothing() {
    let server = Process::start(&["--history", "2"]);
    let mut bare = open(server.addr, "/t");
    for text in ["1", "2", "3"] {
        bare.send(wire::text(text));
        assert_eq!(bare.text(), text);
    }
    let mut client = connect(server.addr);
    let history = ask(&mut client, r#"{"history":{"channel":"t","limit":-1},"id":2}"#);
    assert_eq!(offsets(&history), [2, 3]);
    let epoch = between(&history, r#""epoch":""#, r#"""#).to_owned();
    let subscribe = |epoch: &str, offset: &str, flag: u32| {
        format!(
            r#"{{"subscribe":{{"channel":"t","recover":true,"epoch":"{epoch}","offset":{offset},"flag":{flag}}},"id":3}}"#
        )
    };
    let far = [4, 999_999, 1 << 60, u64::MAX - 1, u64::MAX].map(|offset| offset.to_string());
    let future = far.iter().flat_map(|offset| [(&*epoch, &**offset), ("", &**offset)]);
    let others =
        [("abc", "3"), ("abc", "0"), ("ffffffffffffffff", &*far[4]), ("+1", "3"), ("x", "3")];
    for (epoch_named, offset) in future.chain(others).chain([(&*epoch, "0")]) {
        let refused = ask(&mut client, &subscribe(epoch_named, offset, 2));
        assert!(refused.starts_with(r#"{"id":3,"error":{"code":112,"#), "{refused}");
        let subscribed = ask(&mut client, &subscribe(epoch_named, offset, 0));
        assert_eq!(
            subscribed,
            format!(
                r#"{{"id":3,"subscribe":{{"recoverable":true,"positioned":true,"epoch":"{epoch}","offset":3,"was_recovering":true,"recovered":false,"publications":[]}}}}"#
            ),
            "{epoch_named}:{offset}"
        );
        ask(&mut client, r#"{"unsubscribe":{"channel":"t"},"id":4}"#);
    }
    // One that follows what comes; one that is at the end already.
    ask(&mut client, &subscribe(&epoch, &far[4], 0));
    bare.send(wire::text("4"));
    assert_eq!(client.text(), r#"{"push":{"channel":"t","pub":{"data":4,"offset":4}}}"#);
    ask(&mut client, r#"{"unsubscribe":{"channel":"t"},"id":4}"#);
    let whole = ask(&mut client, &subscribe(&epoch, "4", 2));
    assert!(whole.contains(r#""recovered":true,"publications":[]"#), "{whole}");

    for (query, expected) in [
        (r#""limit":-1,"since":{"offset":18446744073709551615}"#, Ok(&[][..])),
        (r#""limit":-1,"since":{"offset":18446744073709551615},"reverse":true"#, Ok(&[4, 3])),
        (r#""limit":-1,"since":{"offset":5}"#, Ok(&[])),
        (r#""limit":-1,"since":{"offset":4}"#, Ok(&[])),
        (r#""limit":-1,"since":{"offset":4},"reverse":true"#, Ok(&[3])),
        (r#""limit":-1,"since":{"offset":2}"#, Ok(&[3, 4])),
        (r#""limit":-1,"since":{"offset":1}"#, Err(112)),
        (r#""limit":-1,"since":{"offset":0}"#, Err(112)),
        (r#""limit":-1,"since":{"offset":0},"reverse":true"#, Ok(&[])),
        (r#""limit":-1,"since":{"offset":2,"epoch":"abc"}"#, Err(112)),
        (r#""limit":-1,"since":{"offset":2,"epoch":"abc"},"reverse":true"#, Err(112)),
        (r#""limit":9223372036854775807"#, Ok(&[3, 4])),
        (r#""limit":-9223372036854775808,"reverse":true"#, Ok(&[4, 3])),
        (r#""limit":4294967296"#, Ok(&[3, 4])),
        (r#""limit":1,"reverse":true"#, Ok(&[4])),
        (r#""limit":0,"since":{"offset":18446744073709551615}"#, Ok(&[])),
        (r#""limit":-1,"since":{"offset":18446744073709551616}"#, Err(107)),
        (r#""limit":-1,"since":{"offset":-1}"#, Err(107)),
        (r#""limit":-1,"since":{"offset":1.5}"#, Err(107)),
        (r#""limit":9223372036854775808"#, Err(107)),
    ] {
        let body = format!(r#"{{"channel":"t",{query}}}"#);
        let over_websocket = ask(&mut client, &format!(r#"{{"history":{body},"id":5}}"#));
        let over_http = post(server.addr, "/api/history", &body);
        for reply in [over_websocket, over_http] {
            match expected {
                Ok(expected) => assert_eq!(offsets(&reply), expected, "{query}: {reply}"),
                Err(code) => assert!(
                    reply.contains(&format!(r#""error":{{"code":{code},"#)),
                    "{query}: {reply}"
                ),
            }
        }
    }
    // A topic that is not there had no such life.
    let gone = r#"{"channel":"none","limit":1,"since":{"offset":3,"epoch":"abc"}}"#;
    assert!(post(server.addr, "/api/history", gone).contains(r#""error":{"code":112,"#));
}

/// Whichever way it is published, binary is binary to who can have it, and a `data:` URL inside of JSON.
#[test]
fn binary_messages_are_readable_as_json() {
    let server = Process::start(&[]);
    let mut client = connect(server.addr);
    let mut bare = open(server.addr, "/blobs");
    ask(&mut client, r#"{"subscribe":{"channel":"blobs"},"id":2}"#);
    let url = r#""data:application/octet-stream;base64,AP/+""#;
    let push = |offset: u64| {
        format!(r#"{{"push":{{"channel":"blobs","pub":{{"data":{url},"offset":{offset}}}}}}}"#)
    };
    let mut api = RawClient::connect(server.addr);
    let body = r#"{"channel":"blobs","b64data":"AP/+"}"#;
    api.send(format!(
        "POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(api.response().status, 200);
    assert_eq!(client.text(), push(1));
    bare.expect(&wire::Frame::binary(&[0, 255, 254]));
    bare.send(wire::binary(&[0, 255, 254]));
    assert_eq!(client.text(), push(2));
    let history = ask(&mut client, r#"{"history":{"channel":"blobs","limit":9},"id":3}"#);
    let two = format!(r#"[{{"data":{url},"offset":1}},{{"data":{url},"offset":2}}]"#);
    assert!(history.contains(&two), "{history}");
}

/// Stock clients show their token with connect. What it grants ends when it does.
#[test]
fn a_token_comes_with_connect() {
    let server = Process::start(&["--jwt-secret", SECRET]);
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let connect = |token: &str| {
        let mut client = open(server.addr, "/connection/websocket");
        client.send(wire::text(&format!(r#"{{"connect":{{"token":"{token}"}},"id":1}}"#)));
        client
    };
    let claims = |exp: u64| {
        format!(r#"{{"sub":"anna","exp":{exp},"subscribe":["news"],"publish":["news"]}}"#)
    };
    let mut client = connect(&token(&claims(now_s + 600)));
    assert!(client.text().starts_with(r#"{"id":1,"connect":"#));
    for (command, expected) in [
        (r#"{"subscribe":{"channel":"news"},"id":2}"#, r#"{"id":2,"subscribe":{"#),
        (r#"{"subscribe":{"channel":"sports"},"id":3}"#, r#"{"id":3,"error":{"code":103,"#),
        (r#"{"publish":{"channel":"sports","data":1},"id":4}"#, r#"{"id":4,"error":{"code":103,"#),
        (r#"{"history":{"channel":"sports"},"id":5}"#, r#"{"id":5,"error":{"code":103,"#),
        (r#"{"presence":{"channel":"news"},"id":6}"#, r#"{"id":6,"presence":{"#),
        (r#"{"publish":{"channel":"news","data":1},"id":7}"#, r#"{"id":7,"publish":{}}"#),
    ] {
        let reply = ask(&mut client, command);
        assert!(reply.starts_with(expected), "{command}: {reply}");
        assert!(command.contains("sports") || !reply.contains("error"), "{reply}");
    }
    // Who comes too late may try again with a new one; who forges may not.
    let mut late = connect(&token(&claims(now_s - 60)));
    assert_eq!(late.text(), r#"{"id":1,"error":{"code":109,"message":"token expired"}}"#);
    connect(&token(&claims(now_s + 600)).replace('.', ".x")).expect_close(3500);
    let nothing = "{\"connect\":{},\"id\":1}\n{\"subscribe\":{\"channel\":\"news\"},\"id\":2}";
    let mut nobody = open(server.addr, "/connection/websocket");
    nobody.send(wire::text(nothing));
    nobody.expect_close(3500);
    // Where it may stay all the same, it has no rights.
    let lenient = Process::start(&["--jwt-secret", SECRET, "--allow-anonymous"]);
    let mut nobody = open(lenient.addr, "/connection/websocket");
    nobody.send(wire::text(nothing));
    assert!(
        nobody.text().ends_with(r#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#)
    );

    // Ten seconds are for clocks that are off, so that this one has about two left.
    let mut ending = connect(&token(&claims(now_s - 8)));
    assert!(ending.text().starts_with(r#"{"id":1,"connect":"#));
    let deadline = Instant::now() + DEADLINE;
    let last = loop {
        assert!(Instant::now() < deadline, "it never ends");
        ending.send_in_vain(wire::text(r#"{"ping":{},"id":2}"#));
        let frame = ending.frame();
        if frame.payload != br#"{"id":2,"ping":{}}"# {
            break frame;
        }
        // Not as fast as it goes.
        let _in_vain = ending.is_readable_within(Duration::from_millis(20));
    };
    assert_eq!(last, wire::Frame::close(3005, "connection expired"));
}

/// A token of these claims.
fn token(claims: &str) -> String {
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", encode(r#"{"alg":"HS256","typ":"JWT"}"#), encode(claims));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

const SECRET: &str = "a secret of more than sixteen bytes";

/// What a command of that id gets that is not as it should be.
fn bad_request(id: usize) -> String {
    format!(r#"{{"id":{id},"error":{{"code":107,"message":"bad request"}}}}"#)
}
