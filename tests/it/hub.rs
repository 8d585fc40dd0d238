//! The hub as it is started: each path a topic, over WebSocket, server-sent events, JSON lines and long-poll.

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr};
use std::thread::{self, JoinHandle};

use crate::support::client::{RawClient, Response};
use crate::support::flood::connect_with_rcvbuf;
use crate::support::process::Process;
use crate::support::wire::{self, Frame};

#[test]
fn what_is_published_is_heard_on_every_transport() {
    let server = Process::start(&[]);
    let addr = server.addr;
    let mut bare = open(addr, "/news", "");
    let mut meta = open(addr, "/news", META);
    let mut events = Stream::open(addr, "/news", "text/event-stream", "");
    let mut lines = Stream::open(addr, "/news", "application/x-ndjson", "");
    let mut poll = RawClient::connect(addr);
    get(&mut poll, "/news?wait=300", "");
    let mut elsewhere = open(addr, "/other", "");

    // The long-poll is waiting once the topic has five subscribers.
    let mut publisher = RawClient::connect(addr);
    let first = loop {
        let published = publish(&mut publisher, "/news", "text/plain", b"one\ntwo \"three\"");
        if published.subscribers == 5 {
            break published.id;
        }
        assert!(published.subscribers >= 4, "{}", published.subscribers);
        bare.expect_text("one\ntwo \"three\"");
        meta.expect_text(&format!("id: {}\n\none\ntwo \"three\"", published.id));
        events.expect_event(&published.id, "one\ntwo \"three\"");
        lines.expect_line(&format!(r#"{{"id":"{}","text":"one\ntwo \"three\""}}"#, published.id));
    };
    bare.expect_text("one\ntwo \"three\"");
    meta.expect_text(&format!("id: {first}\n\none\ntwo \"three\""));
    events.expect_event(&first, "one\ntwo \"three\"");
    let line = format!(r#"{{"id":"{first}","text":"one\ntwo \"three\""}}"#);
    lines.expect_line(&line);
    let response = poll.response();
    assert_eq!((response.status, &*response.body), (200, &*format!("{line}\n")));
    assert_eq!(response.values("etag"), [format!("\"{first}\"")]);

    // A client speaks, and hears itself; binary stays binary.
    bare.send(wire::binary(&[0xFF, 0]));
    bare.expect(&Frame::binary(&[0xFF, 0]));
    let next = next_of(&first);
    meta.expect(&Frame::binary(&[format!("id: {next}\n\n").as_bytes(), &[0xFF, 0]].concat()));
    assert_eq!(events.until(b"\n\n"), format!("id: {next}\nevent: binary\ndata: /wA=\n\n"));
    lines.expect_line(&format!(r#"{{"id":"{next}","base64":"/wA="}}"#));
    // On the same connection the long-poll goes on from where it was.
    get(&mut poll, "/news?wait=300", &format!("If-None-Match: \"{first}\"\r\n"));
    assert_eq!(poll.response().body, format!("{{\"id\":\"{next}\",\"base64\":\"/wA=\"}}\n"));
    elsewhere.send(wire::ping(b"?"));
    elsewhere.expect(&Frame::pong(b"?"));
}

/// What `curl -d hello` sends reaches the three-line client of a page as text.
#[test]
fn what_curl_posts_is_text_and_keeps_its_connection() {
    let server = Process::start(&[]);
    let mut page = open(server.addr, "/xxoo", "Origin: http://localhost:63342\r\n");
    let mut curl = RawClient::connect(server.addr);
    let form = "application/x-www-form-urlencoded";
    for text in ["hello", "", "héllo"] {
        assert_eq!(publish(&mut curl, "/xxoo", form, text.as_bytes()).subscribers, 1);
        page.expect_text(text);
    }
    // Two in one segment, the second's body cut.
    let two = [post("/xxoo", form, b"a"), post("/xxoo", form, b"bcd")].concat();
    curl.send(&two[..two.len() - 2]);
    page.expect_text("a");
    assert_eq!(curl.response().status, 200);
    curl.send(&two[two.len() - 2..]);
    page.expect_text("bcd");
    assert_eq!(curl.response().status, 200);
    // 100-continue is answered before the body is sent.
    let large = vec![b'x'; 500_000];
    curl.send(
        format!("POST /xxoo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n", large.len()),
    );
    assert_eq!(curl.response().status, 100);
    curl.send(&large);
    assert_eq!(curl.response().status, 200);
    page.expect(&Frame::text(str::from_utf8(&large).unwrap()));
}

#[test]
fn requests_that_make_no_sense_get_their_status() {
    let server = Process::start(&["--max-message-bytes", "1000"]);
    for (request, status) in [
        ("GET /health HTTP/1.1\r\n", 200),
        ("GET / HTTP/1.1\r\n", 200),
        ("GET /t HTTP/1.1\r\n", 204),
        ("GET /t?wait=0 HTTP/1.1\r\n", 204),
        ("OPTIONS /t HTTP/1.1\r\nOrigin: http://localhost:1\r\n", 204),
        ("GET /echo HTTP/1.1\r\n", 426),
        ("GET /t?since=yesterday HTTP/1.1\r\n", 400),
        ("GET /t%zz HTTP/1.1\r\n", 400),
        ("DELETE /t HTTP/1.1\r\n", 405),
        ("POST / HTTP/1.1\r\nContent-Length: 0\r\n", 405),
        ("POST /t HTTP/1.1\r\nContent-Length: 1001\r\n", 413),
        ("POST /t HTTP/1.1\r\nContent-Length: 99999999999999\r\n", 413),
        ("POST /t HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", 411),
        ("POST /t HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\n\u{80}", 400),
        ("GET /t HTTP/1.1\r\nOrigin: https://example.com\r\n", 403),
        ("POST /t HTTP/1.1\r\nOrigin: https://example.com\r\nContent-Length: 0\r\n", 403),
    ] {
        let mut client = RawClient::connect(server.addr);
        let (line, rest) = request.split_once("\r\n").unwrap();
        client.send(format!("{line}\r\nHost: {}\r\n{rest}\r\n", server.addr));
        client.stream.shutdown(Shutdown::Write).unwrap();
        let response = client.response();
        assert_eq!(response.status, status, "{request}: {}", response.body);
    }
}

/// Whatever of a request comes back in a response stays where it belongs, and a head has nothing raw in it.
#[test]
fn nothing_of_a_request_becomes_a_header_line() {
    let server = Process::start(&["--allow-origin", "*"]);
    let evil = "%0d%0aX-Injected:%201%0d%0a";
    let upgrade = |line: &str| {
        format!(
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {}\r\n{line}\r\n",
            wire::KEY
        )
    };
    for (target, lines) in [
        (format!("/t{evil}"), String::new()),
        (format!("/t{evil}"), "Accept: text/html\r\n".to_owned()),
        (format!("/t?since={evil}"), String::new()),
        (format!("/t?wait=0&token={evil}"), String::new()),
        (format!("/api/{evil}"), String::new()),
        ("/t?wait=0".to_owned(), format!("Origin: https://{evil}.example\r\n")),
        ("/t?wait=0".to_owned(), format!("If-None-Match: \"{evil}\"\r\n")),
        ("/t?wait=0".to_owned(), format!("Last-Event-ID: {evil}\r\n")),
        ("/t?wait=0".to_owned(), format!("Accept: {evil}\r\n")),
        ("/t".to_owned(), upgrade(&format!("Sec-WebSocket-Protocol: {evil}"))),
        ("/t".to_owned(), upgrade(&format!("Sec-WebSocket-Extensions: {evil}"))),
        ("/t".to_owned(), upgrade("Sec-WebSocket-Protocol: bearer.%0d%0a, wsfast.meta")),
    ] {
        for method in ["GET", "HEAD", "OPTIONS", "POST"] {
            let request = format!(
                "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{lines}\r\n"
            );
            let mut client = RawClient::connect(server.addr);
            client.send(&request);
            let head = client.response().head;
            assert!(!head.to_lowercase().contains("\nx-injected"), "{request}{head}");
            let bare = head.replace("\r\n", "");
            assert!(bare.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{request}{head}");
        }
    }
}

/// A stream says that it is alive, and who takes nothing from it is dropped.
#[test]
fn a_stream_shows_signs_of_life_and_expects_some() {
    let server = Process::start(&["--ping-interval", "100ms"]);
    let mut alive = Stream::open(server.addr, "/t", "text/event-stream", "");
    (0..3).for_each(|_| assert_eq!(alive.until(b"\n\n"), ":\n\n"));
    let mut dead = connect_with_rcvbuf(server.addr, 4096);
    get(&mut dead, "/t", "Accept: text/event-stream\r\n");
    let mut publisher = RawClient::connect(server.addr);
    let large = "x".repeat(500_000);
    loop {
        let published = publish(&mut publisher, "/t", "text/plain", large.as_bytes());
        alive.until(&[large.as_bytes(), b"\n\n"].concat());
        if published.subscribers == 1 {
            break;
        }
    }
}

/// Many requests in one segment are answered in order, if the answers are taken; more than anyone needs end the connection.
#[test]
fn pipelined_requests_are_answered_in_order_within_reason() {
    let server = Process::start(&[]);
    let mut client = RawClient::connect(server.addr);
    let posts: Vec<u8> = (0..200)
        .flat_map(|number| post("/t", "text/plain", number.to_string().as_bytes()))
        .collect();
    client.send(&posts);
    let ids: Vec<String> = (0..200).map(|_| client.response().body).collect();
    let offsets =
        ids.iter().map(|body| body.split([':', '"', ',']).nth(5).unwrap().parse().unwrap());
    assert_eq!(offsets.collect::<Vec<usize>>(), (1..=200).collect::<Vec<_>>());
    // The root's page is a hundred times as long as the request for it.
    let flood = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2000);
    client.send_in_vain(&flood);
    let answers = String::from_utf8(client.read_to_eof()).unwrap();
    assert!(answers.contains("HTTP/1.1 429 Too Many Requests\r\n"));
    assert!(answers.matches("HTTP/1.1 200 OK").count() <= 256);
    // HEAD has the head of what GET would bring, be it a stream, and no more.
    let mut client = RawClient::connect(server.addr);
    client.send("HEAD /t HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n");
    let head = String::from_utf8(client.read_to_eof()).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
}

/// 10,000 numbered messages, the client cut off at 50 random moments: each arrives exactly once, in order.
#[test]
fn a_bare_client_that_keeps_count_resumes_over_meta() {
    resume(|addr, since| Box::new(MetaReader::open(addr, since)));
}

#[test]
fn an_event_source_resumes_by_its_last_event_id() {
    resume(|addr, since| Box::new(EventReader::open(addr, since)));
}

#[test]
fn a_reader_of_lines_resumes_by_since() {
    resume(|addr, since| Box::new(LineReader::open(addr, since)));
}

#[test]
fn a_long_poll_resumes_by_its_etag() {
    resume(|addr, since| Box::new(PollReader::open(addr, since)));
}

/// What fell off the history is declared on every transport, and the stream goes on behind it.
#[test]
fn what_is_gone_is_declared() {
    let server = Process::start(&["--history", "10"]);
    let mut publisher = RawClient::connect(server.addr);
    let ids: Vec<String> = (0..30)
        .map(|number| publish(&mut publisher, "/t", "text/plain", number.to_string().as_bytes()).id)
        .collect();
    let gap = format!(r#"{{"from":"{}","to":"{}","lost":14}}"#, ids[5], ids[19]);
    let mut meta = open(server.addr, &format!("/t?since={}", ids[5]), META);
    meta.expect_text(&format!("gap: {gap}\n\n"));
    meta.expect_text(&format!("id: {}\n\n20", ids[20]));
    let last_id = format!("Last-Event-ID: {}\r\n", ids[5]);
    let mut events = Stream::open(server.addr, "/t", "text/event-stream", &last_id);
    assert_eq!(events.until(b"\n\n"), format!("id: {}\nevent: gap\ndata: {gap}\n\n", ids[19]));
    events.expect_event(&ids[20], "20");
    let mut poll = RawClient::connect(server.addr);
    get(&mut poll, &format!("/t?wait=10&since={}", ids[5]), "");
    let body = poll.response().body;
    assert!(body.starts_with(&format!("{{\"gap\":{gap}}}\n{{\"id\":\"{}\"", ids[20])), "{body}");
    assert_eq!(body.lines().count(), 11);
    // A bare one is told by its end.
    let mut bare = open(server.addr, &format!("/t?since={}", ids[5]), "");
    assert_eq!(bare.expect_close(1013), format!("too slow; go on with ?since={}", ids[5]));
    // A topic that nothing is left of: the long-poll does not wait for what will never come.
    get(&mut poll, "/fresh?wait=300&since=abc:5", "");
    assert!(poll.response().body.starts_with("{\"gap\":{\"from\":\"abc:5\","));
    // And so is a restart: an id of another life.
    let stale = "Last-Event-ID: abc:5\r\n";
    let mut events = Stream::open(server.addr, "/t", "text/event-stream", stale);
    let notice = events.until(b"\n\n");
    assert!(notice.contains("event: gap\ndata: {\"from\":\"abc:5\",") && notice.contains("null"));
}

/// A place that no message of the topic ever had: beyond the last one, be it by one or by all that a number can hold, or of
/// another life. The gap is declared, of a length that nobody knows, and what is there follows, on every transport.
#[test]
fn a_place_that_never_was_is_a_gap_of_unknown_length() {
    let server = Process::start(&["--history", "2"]);
    let addr = server.addr;
    let mut publisher = RawClient::connect(addr);
    let mut say = |text: &str| publish(&mut publisher, "/t", "text/plain", text.as_bytes()).id;
    let ids: Vec<String> = ["0", "1", "2", "3"].map(&mut say).into();
    let (epoch, _) = ids[0].split_once(':').unwrap();
    let (to, third, fourth) = (&ids[1], &ids[2], &ids[3]);
    let line = |id: &str, text: &str| format!("{{\"id\":\"{id}\",\"text\":\"{text}\"}}");
    for place in [
        format!("{epoch}:5"),
        format!("{epoch}:999999"),
        format!("{epoch}:{}", 1_u64 << 60),
        format!("{epoch}:{}", u64::MAX - 1),
        format!("{epoch}:{}", u64::MAX),
        "0:0".to_owned(),
        "0:4".to_owned(),
        format!("0:{}", u64::MAX),
        format!("{:x}:{}", u64::MAX, u64::MAX),
    ] {
        let gap = format!(r#"{{"from":"{place}","to":"{to}","lost":null}}"#);
        let since = format!("/t?since={place}");
        let mut meta = open(addr, &since, META);
        meta.expect_text(&format!("gap: {gap}\n\n"));
        meta.expect_text(&format!("id: {third}\n\n2"));
        meta.expect_text(&format!("id: {fourth}\n\n3"));
        let mut bare = open(addr, &since, "");
        let advice = format!("nothing is known of {place}; go on with ?since={to}");
        assert_eq!(bare.expect_close(1013), advice);
        let resumed = format!("Last-Event-ID: {place}\r\n");
        for (target, lines) in [(&*since, ""), ("/t", &*resumed)] {
            let mut events = Stream::open(addr, target, "text/event-stream", lines);
            let notice = events.until(b"\n\n");
            assert_eq!(notice, format!("id: {to}\nevent: gap\ndata: {gap}\n\n"));
            events.expect_event(third, "2");
            events.expect_event(fourth, "3");
            let mut lines = Stream::open(addr, target, "application/x-ndjson", lines);
            lines.expect_line(&format!("{{\"gap\":{gap}}}"));
            lines.expect_line(&line(third, "2"));
            lines.expect_line(&line(fourth, "3"));
        }
        let tag = format!("If-None-Match: \"{place}\"\r\n");
        for (target, lines) in [
            (&*since, ""),
            (&*format!("{since}&wait=300"), ""),
            ("/t", &tag),
            ("/t?wait=300", &tag),
        ] {
            let mut poll = RawClient::connect(addr);
            get(&mut poll, target, lines);
            let response = poll.response();
            let expected =
                format!("{{\"gap\":{gap}}}\n{}\n{}\n", line(third, "2"), line(fourth, "3"));
            assert_eq!((response.status, &*response.body), (200, &*expected), "{target} {lines}");
            assert_eq!(response.values("etag"), [format!("\"{fourth}\"")]);
        }
    }
    // Those who stayed are given what comes then, and who follows the advice misses nothing any more.
    let mut stays = open(addr, &format!("/t?since={epoch}:{}", u64::MAX), META);
    let mut bare = open(addr, &format!("/t?since={to}"), "");
    (0..3).for_each(|_| drop(stays.frame()));
    ["2", "3"].iter().for_each(|text| bare.expect_text(text));
    let fifth = say("4");
    stays.expect_text(&format!("id: {fifth}\n\n4"));
    bare.expect_text("4");

    // At the end, before the first, and as many as there may be.
    for (since, expected) in [
        (
            format!("{epoch}:0"),
            format!("{{\"gap\":{{\"from\":\"{epoch}:0\",\"to\":\"{}\",\"lost\":3}}}}", ids[2]),
        ),
        (fifth.clone(), String::new()),
        (format!("last:{}", u64::MAX), line(&ids[3], "3")),
        ("last:0".to_owned(), String::new()),
    ] {
        let mut poll = RawClient::connect(addr);
        get(&mut poll, &format!("/t?since={since}"), "");
        let response = poll.response();
        assert_eq!(response.body.lines().next().unwrap_or_default(), expected, "{since}");
        assert_eq!(response.values("etag"), [format!("\"{fifth}\"")]);
    }
}

/// What is no place at all is refused, on every transport.
#[test]
fn a_place_that_makes_no_sense_is_refused() {
    let server = Process::start(&[]);
    let upgrade = format!(
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n",
        wire::KEY
    );
    for place in [
        "1",
        ":",
        "1:",
        ":1",
        "1:-1",
        "-1:1",
        "1:+1",
        "+1:1",
        "1:1:1",
        "1: 1",
        "1:0x1",
        "g:1",
        "1:18446744073709551616",
        "10000000000000000:1",
        "last",
        "last:",
        "last:-1",
        "last:18446744073709551616",
        "All",
        "1:\u{661}",
    ] {
        let encoded = place.replace(' ', "%20").replace('\u{661}', "%D9%A1").replace('+', "%2B");
        for accept in ["*/*", "text/event-stream", "application/x-ndjson"] {
            for lines in [&*format!("Accept: {accept}\r\n"), &upgrade] {
                let mut client = RawClient::connect(server.addr);
                get(&mut client, &format!("/t?since={encoded}"), lines);
                assert_eq!(client.response().status, 400, "{place} {lines}");
            }
        }
        for name in ["Last-Event-ID", "If-None-Match"] {
            let mut client = RawClient::connect(server.addr);
            get(&mut client, "/t", &format!("{name}: {place}\r\n"));
            assert_eq!(client.response().status, 400, "{name}: {place}");
        }
    }
}

/// 500 subscribers that never read while 256 MiB are published cost a cursor each; who reads beside them gets all of it,
/// and each of them is told exactly what it lost once it reads.
#[test]
fn five_hundred_that_never_read_cost_next_to_nothing() {
    const SLOW: usize = 500;
    const LEN: usize = 64 << 10;
    const COUNT: usize = (256 << 20) / LEN;
    let server =
        Process::start(&["--ping-interval", "0", "--history", "8", "--memory-limit", "64M"]);
    let addr = server.addr;
    let mut slow: Vec<RawClient> = (0..SLOW)
        .map(|_| {
            let mut client = connect_with_rcvbuf(addr, 4096);
            client.send(wire::request_with(META).replacen("GET /", "GET /t", 1));
            client.expect_open(wire::KEY);
            client
        })
        .collect();
    let mut speaker = open(addr, "/t", "");
    let payload = |number: usize| format!("{number:8}{}", "x".repeat(LEN - 8));
    let mut before = 0;
    for number in 1..=COUNT {
        let text = payload(number);
        speaker.send(wire::text(&text));
        speaker.expect_text(&text);
        // By then the kernel's buffers are full, and everyone is behind.
        if number == 200 {
            before = server.rss_bytes();
        }
    }
    let grown = server.rss_bytes().saturating_sub(before);
    assert!(grown < SLOW << 10, "grown by {} bytes each", grown / SLOW);
    for client in slow.iter_mut().step_by(50) {
        let mut next = 1;
        let mut lost = 0;
        while next <= COUNT {
            let text = String::from_utf8(client.frame().payload).unwrap();
            if let Some(gap) = text.strip_prefix("gap: ") {
                let count = gap.split("\"lost\":").nth(1).unwrap().trim_end().trim_end_matches('}');
                let count: usize = count.parse().unwrap();
                (next, lost) = (next + count, lost + count);
            } else {
                let (_, body) = text.split_once("\n\n").unwrap();
                assert!(body == payload(next), "not message {next}: {}", &body[..20]);
                next += 1;
            }
        }
        assert!(lost > COUNT / 2, "only {lost} of {COUNT} lost: it was not slow");
    }
    assert!(server.peak_rss_bytes() < 64 << 20, "{} bytes", server.peak_rss_bytes());
}

/// Where the newest is all that counts, who does not read skips to it: an event source is told how many it skipped, a bare
/// WebSocket just goes on.
#[test]
fn who_wants_the_latest_skips_what_it_did_not_read() {
    const COUNT: usize = 400;
    let server = Process::start(&["--ping-interval", "0", "--lag", "latest"]);
    let mut bare = connect_with_rcvbuf(server.addr, 4096);
    bare.send(wire::request().replacen("GET /", "GET /t", 1));
    bare.expect_open(wire::KEY);
    let mut events = connect_with_rcvbuf(server.addr, 4096);
    get(&mut events, "/t", "Accept: text/event-stream\r\n");
    assert_eq!((events.response().status, &*events.until(b"\n\n")), (200, ":\n\n"));
    let mut speaker = open(server.addr, "/t", "");
    let payload = |number: usize| format!("{number:8}{}", "x".repeat(50_000));
    for number in 1..=COUNT {
        speaker.send(wire::text(&payload(number)));
        speaker.expect_text(&payload(number));
    }
    let mut next = 1;
    let mut lost: Vec<usize> = Vec::new();
    while next <= COUNT {
        let event = events.until(b"\n\n");
        if event.contains("event: gap\n") {
            let count = event.split("\"lost\":").nth(1).unwrap().trim_end().trim_end_matches('}');
            lost.push(count.parse().unwrap());
            next += lost[lost.len() - 1];
        } else {
            assert!(event.contains(&payload(next)), "not event {next}: {}", &event[..40]);
            next += 1;
        }
    }
    assert!(matches!(lost[..], [count] if count > 50), "{lost:?} lost");
    let mut given = 1;
    while bare.frame() != Frame::text(&payload(COUNT)) {
        given += 1;
    }
    assert!(given < COUNT - 50, "{given} given");
    bare.send(wire::ping(b"?"));
    bare.expect(&Frame::pong(b"?"));
}

/// Nothing is lost if a subscriber does not want to hear itself, and the others do.
#[test]
fn who_mutes_itself_hears_the_others() {
    let server = Process::start(&[]);
    let mut mute = open(server.addr, "/t?self=0", "");
    let mut other = open(server.addr, "/t", "");
    for round in 0..20 {
        mute.send([wire::text("mine"), wire::text("mine too")].concat());
        other.expect_text("mine");
        other.expect_text("mine too");
        other.send(wire::text(&format!("theirs {round}")));
        other.expect_text(&format!("theirs {round}"));
        mute.expect_text(&format!("theirs {round}"));
    }
}

/// Keys and tokens, on each way in. The token is for `news/*`, and publishes to `news/today` alone.
#[test]
fn keys_and_tokens_say_who_may() {
    let secret = "a secret of more than sixteen bytes";
    let server =
        Process::start(&["--jwt-secret", secret, "--publish-key", "the-key-of-the-operator"]);
    let addr = server.addr;
    let status = |target: &str, lines: &str| {
        let mut client = RawClient::connect(addr);
        get(&mut client, target, lines);
        client.response().status
    };
    let bearer = format!("Authorization: Bearer {GOOD}\r\n");
    for (target, lines, expected) in [
        ("/news/today?wait=0", "", 401),
        ("/news/today?wait=0", "Authorization: Bearer x.y.z\r\n", 401),
        ("/news/today?wait=0", &format!("Authorization: Bearer {EXPIRED}\r\n"), 401),
        ("/news/today?wait=0", &bearer, 204),
        (&format!("/news/today?wait=0&token={GOOD}"), "", 204),
        ("/sports?wait=0", &bearer, 403),
        ("/health", "", 200),
    ] {
        assert_eq!(status(target, lines), expected, "{target} {lines}");
    }
    let post = |target: &str, lines: &str| {
        let mut client = RawClient::connect(addr);
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\n{lines}Content-Length: 2\r\n\r\nhi"
        ));
        client.response().status
    };
    for (target, lines, expected) in [
        ("/news/today", "", 401),
        ("/news/today", &bearer, 200),
        ("/news/other", &bearer, 403),
        ("/sports", "X-API-Key: the-key-of-the-operator\r\n", 200),
        ("/sports", "X-API-Key: another\r\n", 401),
    ] {
        assert_eq!(post(target, lines), expected, "{target} {lines}");
    }
    // By WebSocket: the token as a subprotocol is not repeated, another that is offered is chosen.
    let offer = format!("Sec-WebSocket-Protocol: bearer.{GOOD}, wsfast.meta\r\n");
    let mut client = RawClient::connect(addr);
    client.send(wire::request_with(&offer).replacen("GET /", "GET /news/today", 1));
    assert_eq!(client.expect_open(wire::KEY).values("sec-websocket-protocol"), ["wsfast.meta"]);
    client.send(wire::text("mine"));
    assert!(String::from_utf8(client.frame().payload).unwrap().ends_with("\n\nmine"));
    let mut listener = open(addr, &format!("/news/other?token={GOOD}"), "");
    listener.send(wire::text("may I?"));
    assert!(listener.expect_close(1008).contains("does not grant publishing"));
    let mut refused = RawClient::connect(addr);
    refused.send(wire::request().replacen("GET /", "GET /news/today", 1));
    assert_eq!(refused.response().status, 401);
}

/// What a page from elsewhere may read, and what it gets without being let in.
#[test]
fn pages_from_elsewhere_need_to_be_allowed() {
    let server = Process::start(&["--allow-origin", "https://example.com"]);
    for (origin, expected) in [("https://example.com", 204), ("https://evil.example", 403)] {
        let mut client = RawClient::connect(server.addr);
        get(&mut client, "/t?wait=0", &format!("Origin: {origin}\r\n"));
        let response = client.response();
        assert_eq!(response.status, expected);
        let named = response.values("access-control-allow-origin");
        assert_eq!(named, if expected == 204 { vec![origin] } else { vec![] });
    }
}

/// A page from an origin that is allowed reads why it is refused, whoever refuses it; another page reads nothing. Each status has
/// the header lines that it must come with.
#[test]
fn pages_from_elsewhere_read_why_they_are_refused() {
    let secret = "a secret of more than sixteen bytes";
    let server = Process::start(&[
        "--allow-origin",
        "https://example.com",
        "--jwt-secret",
        secret,
        "--max-message-bytes",
        "1000",
        "--max-topics",
        "1",
    ]);
    let bearer = format!("Authorization: Bearer {GOOD}\r\n");
    let _fills = open(server.addr, &format!("/news/one?token={GOOD}"), "");
    for (line, lines, status, header, value) in [
        ("GET /news/today", "", 401, "www-authenticate", "Bearer"),
        ("GET /news/today", "Authorization: Bearer x.y.z\r\n", 401, "www-authenticate", "Bearer"),
        ("GET /sports", &*bearer, 403, "connection", "close"),
        ("POST /news/other", &bearer, 403, "connection", "close"),
        ("GET /t%zz", &bearer, 400, "connection", "close"),
        ("GET /echo", "", 426, "upgrade", "websocket"),
        ("DELETE /t", &bearer, 405, "allow", "GET, HEAD, POST, PUT, OPTIONS"),
        ("POST /", &bearer, 405, "allow", "GET, HEAD, OPTIONS"),
        ("GET /api/publish", &bearer, 405, "allow", "POST, OPTIONS"),
        ("POST /t", "Transfer-Encoding: chunked\r\n", 411, "connection", "close"),
        ("POST /t", "Content-Length: 1001\r\n", 413, "connection", "close"),
        ("POST /news/today", &bearer, 503, "retry-after", "1"),
        ("GET /news/today?wait=9", &bearer, 503, "retry-after", "1"),
    ] {
        for (origin, is_allowed) in [("https://example.com", true), ("https://evil.example", false)]
        {
            let mut client = RawClient::connect(server.addr);
            client.send(format!(
                "{line} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n{lines}\r\n"
            ));
            let response = client.response();
            let named = response.values("access-control-allow-origin");
            if is_allowed {
                assert_eq!((response.status, named), (status, vec![origin]), "{line} {lines}");
                assert_eq!(response.values("vary"), ["Origin"], "{line} {lines}");
                assert_eq!(response.values(header), [value], "{line} {lines}");
                assert!(response.body.ends_with('\n'), "{line}: {}", response.body);
            } else {
                assert!(matches!(response.status, 403 | 411 | 413), "{}", response.status);
                assert_eq!(named, [""; 0], "{line} {lines}");
            }
        }
    }
}

/// HS256, without `exp`.
pub(crate) const GOOD: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm5hIiwic3Vic2NyaWJlIjpbIm5ld3MvKiJdLCJwdWJsaXNoIjpbIm5ld3MvdG9kYXkiXX0._Mu6R-ziJ0pUOb8bb8WUcxqDI4a1ZZwMyne-FBhqgas";
/// Of 2001.
const EXPIRED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbm5hIiwiZXhwIjoxMDAwMDAwMDAwLCJzdWJzY3JpYmUiOlsiKiJdfQ.2kgHoXHdNIimsG4XOANJwtELjWWpsAI-sEqj7E5LBNg";

const META: &str = "Sec-WebSocket-Protocol: wsfast.meta\r\n";
const COUNT: usize = 10_000;

/// Reads messages one after the other: each its id and number.
trait Reader {
    fn next(&mut self) -> (String, usize);
}

fn resume(open: fn(SocketAddr, &str) -> Box<dyn Reader>) {
    let server = Process::start(&["--history", "20000", "--memory-limit", "64M"]);
    let addr = server.addr;
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = |most: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % most as u64).unwrap()
    };
    let mut reader = open(addr, "since=last:0");
    let mut publisher = RawClient::connect(addr);
    let first = publish(&mut publisher, "/t", "text/plain", b"0").id;
    assert_eq!(reader.next(), (first.clone(), 0));
    let publishing = publish_all(addr);
    let mut cuts: Vec<usize> = (0..50).map(|_| 1 + below(COUNT - 2)).collect();
    cuts.sort_unstable();
    let (mut last, mut expected) = (first, 1);
    for cut in cuts.into_iter().chain([COUNT - 1]) {
        while expected <= cut {
            let (id, number) = reader.next();
            assert_eq!((number, &*id), (expected, &*next_of(&last)));
            (last, expected) = (id, expected + 1);
        }
        drop(reader);
        reader = open(addr, &format!("since={last}"));
    }
    publishing.join().unwrap();
    // Nothing comes twice behind the last.
    let end = publish(&mut publisher, "/t", "text/plain", b"10000").id;
    assert_eq!(reader.next(), (end, COUNT));
}

/// Publishes 1 to 9,999 by a WebSocket, hearing itself, so that it is never far ahead.
fn publish_all(addr: SocketAddr) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut speaker = open(addr, "/t", "");
        for numbers in (1..COUNT).collect::<Vec<_>>().chunks(50) {
            let burst: Vec<u8> =
                numbers.iter().flat_map(|number| wire::text(&number.to_string())).collect();
            speaker.send(burst);
            numbers.iter().for_each(|number| speaker.expect_text(&number.to_string()));
        }
    })
}

struct MetaReader(RawClient);

impl MetaReader {
    fn open(addr: SocketAddr, since: &str) -> Self {
        Self(open(addr, &format!("/t?{since}"), META))
    }
}

impl Reader for MetaReader {
    fn next(&mut self) -> (String, usize) {
        let text = String::from_utf8(self.0.frame().payload).unwrap();
        let (id, number) = text.strip_prefix("id: ").unwrap().split_once("\n\n").unwrap();
        (id.to_owned(), number.parse().unwrap())
    }
}

struct EventReader(Stream);

impl EventReader {
    fn open(addr: SocketAddr, since: &str) -> Self {
        let line = match since.strip_prefix("since=").filter(|id| !id.starts_with("last")) {
            Some(id) => format!("Last-Event-ID: {id}\r\n"),
            None => String::new(),
        };
        Self(Stream::open(addr, "/t", "text/event-stream", &line))
    }
}

impl Reader for EventReader {
    fn next(&mut self) -> (String, usize) {
        let event = self.0.until(b"\n\n");
        let (id, data) = event.strip_prefix("id: ").unwrap().split_once("\ndata: ").unwrap();
        (id.to_owned(), data.trim_end().parse().unwrap())
    }
}

struct LineReader(Stream);

impl LineReader {
    fn open(addr: SocketAddr, since: &str) -> Self {
        Self(Stream::open(addr, &format!("/t?{since}"), "application/x-ndjson", ""))
    }
}

impl Reader for LineReader {
    fn next(&mut self) -> (String, usize) {
        id_and_number(&self.0.until(b"\n"))
    }
}

/// One request after the other on one connection.
struct PollReader {
    client: RawClient,
    since: String,
    lines: Vec<String>,
}

impl PollReader {
    fn open(addr: SocketAddr, since: &str) -> Self {
        let mut client = RawClient::connect(addr);
        // Without a position to go on from, the first request is sent before there is anything to hear.
        if since == "since=last:0" {
            get(&mut client, "/t?wait=100", "");
        }
        Self { client, since: since.to_owned(), lines: Vec::new() }
    }
}

impl Reader for PollReader {
    fn next(&mut self) -> (String, usize) {
        if self.lines.is_empty() {
            if self.since != "since=last:0" {
                let etag = format!("If-None-Match: \"{}\"\r\n", &self.since["since=".len()..]);
                get(&mut self.client, "/t?wait=100", &etag);
            }
            let response = self.client.response();
            assert_eq!(response.status, 200, "{}", response.head);
            let etag = response.values("etag")[0].trim_matches('"').to_owned();
            self.since = format!("since={etag}");
            self.lines = response.body.lines().rev().map(str::to_owned).collect();
        }
        id_and_number(&self.lines.pop().unwrap())
    }
}

fn id_and_number(line: &str) -> (String, usize) {
    let (id, text) = line.strip_prefix(r#"{"id":""#).unwrap().split_once(r#"","text":""#).unwrap();
    (id.to_owned(), text.trim_end().strip_suffix("\"}").unwrap().parse().unwrap())
}

/// A response without an end.
struct Stream(RawClient);

impl Stream {
    fn open(addr: SocketAddr, target: &str, accept: &str, lines: &str) -> Self {
        let mut client = RawClient::connect(addr);
        get(&mut client, target, &format!("Accept: {accept}\r\n{lines}"));
        let response = client.response();
        assert_eq!(response.status, 200, "{}", response.body);
        assert_eq!(response.values("content-type"), [accept]);
        assert_eq!(response.values("cache-control"), ["no-cache"]);
        let mut stream = Self(client);
        // The first sign of life says that it is open.
        let sign = if accept == "text/event-stream" { ":\n\n" } else { "\n" };
        assert_eq!(stream.until(&sign.as_bytes()[sign.len().saturating_sub(2)..]), sign);
        stream
    }

    fn until(&mut self, end: &[u8]) -> String {
        self.0.until(end)
    }

    fn expect_event(&mut self, id: &str, text: &str) {
        let data: String = text.lines().map(|line| format!("data: {line}\n")).collect();
        assert_eq!(self.until(b"\n\n"), format!("id: {id}\n{data}\n"));
    }

    fn expect_line(&mut self, line: &str) {
        assert_eq!(self.until(b"\n"), format!("{line}\n"));
    }
}

struct Published {
    id: String,
    subscribers: usize,
}

fn publish(client: &mut RawClient, target: &str, content_type: &str, body: &[u8]) -> Published {
    client.send(post(target, content_type, body));
    let Response { status, body, .. } = client.response();
    assert_eq!(status, 200, "{body}");
    let json: HashMap<&str, &str> = body
        .trim()
        .trim_matches(['{', '}'])
        .split(',')
        .map(|pair| pair.split_once("\":").unwrap())
        .map(|(key, value)| (key.trim_matches('"'), value.trim_matches('"')))
        .collect();
    Published { id: json["id"].to_owned(), subscribers: json["subscribers"].parse().unwrap() }
}

fn post(target: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn get(client: &mut RawClient, target: &str, lines: &str) {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n"));
}

fn open(addr: SocketAddr, target: &str, lines: &str) -> RawClient {
    let mut client = RawClient::connect(addr);
    client.send(wire::request_with(lines).replacen("GET /", &format!("GET {target}"), 1));
    client.expect_open(wire::KEY);
    client
}

fn next_of(id: &str) -> String {
    let (epoch, offset) = id.split_once(':').unwrap();
    format!("{epoch}:{}", offset.parse::<u64>().unwrap() + 1)
}
