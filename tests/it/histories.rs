//! What a topic keeps, as one answer, and what a client missed: in pages, made as their reader takes them.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::support::DEADLINE;
use crate::support::ask as requests;
use crate::support::client::RawClient;
use crate::support::flood::connect_with_rcvbuf;
use crate::support::process::Process;
use crate::support::session::{ask, between, connect, lines, offsets, post};
use crate::support::wire;

/// Tiny commands ask for megabytes: each reply is cut at 1 MiB, and leaves before the next is made.
#[test]
fn history_comes_in_pages_of_a_megabyte() {
    let server = Process::start(&["--topic-bytes", "8M", "--compression", "off"]);
    let letters = "m".repeat(102_400);
    // In JSON, each is six bytes.
    let controls = "\u{1}".repeat(102_400);
    for (topic, body) in [("letters", &letters), ("controls", &controls)] {
        for _ in 0..30 {
            post(server.addr, &format!("/{topic}"), body);
        }
    }
    let mut client = connect(server.addr);
    for (topic, body, page) in [("letters", &letters, 10), ("controls", &controls, 1)] {
        let history = |id: u64, more: &str| {
            format!(r#"{{"history":{{"channel":"{topic}","limit":-1{more}}},"id":{id}}}"#)
        };
        let all = [history(2, ""), history(3, ""), history(4, r#","reverse":true"#)].join("\n");
        client.send(wire::text(&all));
        let escaped = body.replace('\u{1}', r"\u0001");
        let mut epoch = String::new();
        for expected in
            [(1..=page).collect::<Vec<_>>(), (1..=page).collect(), (31 - page..=30).rev().collect()]
        {
            let reply = client.text();
            assert!(reply.len() <= (1 << 20) + 200, "{} bytes", reply.len());
            assert_eq!(offsets(&reply), expected);
            assert_eq!(reply.matches(&escaped).count() as u64, page);
            between(&reply, r#""epoch":""#, r#"""#).clone_into(&mut epoch);
        }
        // What was cut off is had by asking for it.
        let since = |offset: u64| format!(r#","since":{{"epoch":"{epoch}","offset":{offset}}}"#);
        let mut pages = |first: u64, expected: Vec<u64>, more: &str| {
            let (mut from, mut heard) = (first, Vec::new());
            while heard.len() < expected.len() {
                let reply = ask(&mut client, &history(5, &format!("{}{more}", since(from))));
                let offsets = offsets(&reply);
                assert!((1..=page).contains(&(offsets.len() as u64)), "{offsets:?}");
                from = offsets[offsets.len() - 1];
                heard.extend(offsets);
            }
            assert_eq!(heard, expected);
        };
        pages(page, (page + 1..=30).collect(), "");
        pages(30, (1..=29).rev().collect(), r#","reverse":true"#);
        let at_the_end = ask(&mut client, &history(7, &since(u64::MAX)));
        assert_eq!(offsets(&at_the_end), [0_u64; 0]);
        let over_http = format!(r#"{{"channel":"{topic}","limit":-1}}"#);
        let over_http = post(server.addr, "/api/history", &over_http);
        assert_eq!(offsets(&over_http), (1..=page).collect::<Vec<_>>());
    }
}

/// A recovery's reply has the first of what was missed, up to 16 KiB. The rest follows in its order, and then what is new.
#[test]
fn a_recovery_goes_on_behind_its_reply() {
    for args in [&["--topic-bytes", "8M"][..], &["--topic-bytes", "8M", "--lag", "latest"]] {
        let server = Process::start(args);
        let mut epochs = Vec::new();
        // As JSON, as strings, and one that is larger than a reply's part.
        for (topic, bodies) in [("many", 40..1040), ("large", 102_400..102_430), ("one", 9..10)] {
            for len in bodies {
                let body = if len % 2 == 0 { "7".repeat(len) } else { "\"".repeat(len) };
                post(server.addr, &format!("/{topic}"), &body);
            }
            let asked = format!(r#"{{"channel":"{topic}"}}"#);
            let history = post(server.addr, "/api/history", &asked);
            epochs.push((topic, between(&history, r#""epoch":""#, r#"""#).to_owned()));
        }
        let last_of = |topic: &str| match topic {
            "many" => 1000,
            "large" => 30,
            _ => 1,
        };
        for from in [0, 1] {
            let mut client = connect(server.addr);
            let commands = epochs.iter().enumerate().map(|(at, (topic, epoch))| {
                format!(
                    "{{\"subscribe\":{{\"channel\":\"{topic}\",\"recover\":true,\"epoch\":\"{epoch}\",\"offset\":{from},\"flag\":2}},\"id\":{}}}\n",
                    at + 2
                )
            });
            client.send(wire::text(&commands.collect::<String>()));
            let replies = lines(&mut client, epochs.len());
            let total: usize = replies.iter().map(String::len).sum();
            assert!(total <= (16 << 10) + 1000, "{total} bytes");
            let mut heard = HashMap::new();
            for ((topic, epoch), reply) in epochs.iter().zip(&replies) {
                // From where it is, it moves with each message.
                let here = format!(r#""epoch":"{epoch}","offset":{from},"was_recovering":true,"#);
                assert!(reply.contains(&here), "{reply}");
                assert!(reply.contains(r#""recovered":true,"publications":["#), "{reply}");
                heard.insert(*topic, offsets(reply));
            }
            assert!((50..200).contains(&heard["many"].len()), "{:?}", heard["many"].len());
            assert_eq!(heard["large"], [0_u64; 0]);
            for (topic, _) in &epochs {
                post(server.addr, &format!("/{topic}"), "8");
            }
            let mut left = epochs.len();
            while left > 0 {
                let push = client.text();
                let topic = between(&push, r#""channel":""#, r#"""#);
                let (_, offset) = push.rsplit_once(r#""offset":"#).unwrap();
                let offset: u64 = offset.trim_end_matches('}').parse().unwrap();
                assert_eq!(push.contains(r#""data":8,"#), offset > last_of(topic), "{push}");
                left -= usize::from(offset == last_of(topic) + from + 1);
                heard.get_mut(topic).unwrap().push(offset);
            }
            for (topic, heard) in heard {
                assert_eq!(heard, (from + 1..=last_of(topic) + from + 1).collect::<Vec<_>>());
            }
        }
    }
}

/// A place that fell off while its reader took what it missed: it is told to subscribe anew, and that it cannot recover.
#[test]
fn what_falls_off_while_it_is_recovered_is_told() {
    let server = Process::start(&["--compression", "off"]);
    let body = "m".repeat(100 << 10);
    for _ in 0..9 {
        post(server.addr, "/t", &body);
    }
    let history = post(server.addr, "/api/history", r#"{"channel":"t"}"#);
    let epoch = between(&history, r#""epoch":""#, r#"""#);
    let mut slow = slow_session(server.addr);
    let recover = |id: u32, from: u64| {
        format!(
            r#"{{"subscribe":{{"channel":"t","recover":true,"epoch":"{epoch}","offset":{from}}},"id":{id}}}"#
        )
    };
    assert!(ask(&mut slow, &recover(2, 0)).contains(r#""recovered":true,"publications":[]"#));
    // Ten of them are all that is kept.
    for _ in 0..40 {
        post(server.addr, "/t", &body);
    }
    let mut heard = Vec::new();
    let told = loop {
        let push = slow.text();
        match push.rsplit_once(r#""offset":"#) {
            Some((_, offset)) => heard.push(offset.trim_end_matches('}').parse::<u64>().unwrap()),
            None => break push,
        }
    };
    assert_eq!(
        told,
        r#"{"push":{"channel":"t","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#
    );
    let last = heard.len() as u64;
    assert!((1..40).contains(&last), "{heard:?}");
    assert_eq!(heard, (1..=last).collect::<Vec<_>>());
    assert!(ask(&mut slow, &recover(3, last)).contains(r#""recovered":false,"publications":[]"#));
}

/// A long history is one message in many parts, made as its reader takes them. What the client asked behind it is answered
/// behind it, and what is published meanwhile comes behind that.
#[test]
fn what_is_asked_behind_a_history_is_answered_behind_it() {
    let server = Process::start(&["--topic-bytes", "8M", "--compression", "off"]);
    let body = format!("\"{}\"", "m".repeat(100_000));
    for _ in 0..9 {
        post(server.addr, "/t", &body);
    }
    let mut client = slow_session(server.addr);
    let history = r#"{"history":{"channel":"t","limit":-1},"id":4}"#;
    let first = [r#"{"subscribe":{"channel":"t"},"id":2}"#, r#"{"ping":{},"id":3}"#, history];
    let second = [r#"{"ping":{},"id":5}"#, &history.replace('4', "6"), r#"{"ping":{},"id":7}"#];
    client.send(wire::text(&[&first[..], &second[..1]].concat().join("\n")));
    client.send(wire::text(&second[1..].join("\n")));
    let answers = client.text();
    assert!(answers.starts_with(r#"{"id":2,"subscribe":"#), "{answers}");
    assert!(answers.ends_with("\n{\"id\":3,\"ping\":{}}"), "{answers}");
    for _ in 0..2 {
        post(server.addr, "/t", "1");
    }
    let told = client.text();
    assert!(told.starts_with(r#"{"id":4,"history":"#));
    assert_eq!(told.matches(&body).count(), 9);
    // Each comes before or behind the other history, and none is within.
    let mut rest = Vec::new();
    while rest.len() < 5 {
        rest.extend(client.text().lines().map(str::to_owned));
    }
    let number = |id: usize| {
        let start = format!(r#"{{"id":{id},"#);
        rest.iter().position(|line| line.starts_with(&start)).unwrap()
    };
    assert!(number(5) < number(6) && number(6) < number(7), "{rest:?}");
    assert!(rest[number(6)].matches(&body).count() == 9);
    let pushes = rest.iter().filter(|line| line.starts_with(r#"{"push":"#));
    let offset = |push: &String| push.rsplit_once(r#""offset":"#).unwrap().1.to_owned();
    assert_eq!(pushes.map(offset).collect::<Vec<_>>(), ["10}}}", "11}}}"]);
}

/// Neither two at once, nor one that is not taken yet, are more than a client may ask for.
#[test]
fn histories_that_are_pipelined_are_answered_in_their_order() {
    let server = Process::start(&["--topic-bytes", "8M"]);
    for (topic, letter) in [("a", "a"), ("b", "b")] {
        for _ in 0..9 {
            post(server.addr, &format!("/{topic}"), &letter.repeat(100_000));
        }
    }
    let history = |topic: &str| {
        requests::post("/api/history", &format!(r#"{{"channel":"{topic}","limit":-1}}"#))
    };
    let short = requests::post("/api/presence_stats", r#"{"channel":"a"}"#);
    let mut client = connect_with_rcvbuf(server.addr, 4096);
    let close = history("b").replacen("\r\n", "\r\nConnection: close\r\n", 1);
    client.send([history("a"), short.clone(), history("b"), short, close].concat());
    for letters in ["a", "", "b", "", "b"] {
        let body = client.response().body;
        match letters {
            "" => assert!(body.starts_with(r#"{"result":{"num_clients":"#), "{body}"),
            letter => {
                assert_eq!(offsets(&body), (1..=9).collect::<Vec<_>>());
                assert_eq!(body.matches(&letter.repeat(100_000)).count(), 9);
            }
        }
    }
    client.expect_eof();
}

/// What goes while it is read is not in the answer, which is whole all the same; to ask for what follows tells it.
#[test]
fn a_history_ends_where_the_rest_is_gone() {
    let server = Process::start(&["--compression", "off"]);
    let body = "m".repeat(100_000);
    for order in ["false", "true"] {
        for _ in 0..9 {
            post(server.addr, "/t", &body);
        }
        let mut client = slow_session(server.addr);
        let asked =
            format!(r#"{{"history":{{"channel":"t","limit":-1,"reverse":{order}}},"id":2}}"#);
        client.send(wire::text(&asked));
        // It has begun, and cannot have ended: the kernel has not room for so much.
        assert!(client.is_readable_within(DEADLINE));
        post(server.addr, "/api/history_remove", r#"{"channel":"t"}"#);
        let told = client.text();
        let offsets = offsets(&told);
        assert!((1..9).contains(&offsets.len()), "{offsets:?}");
        assert_eq!(told.matches(&body).count(), offsets.len());
        assert!(told.ends_with("}}"), "{}", &told[told.len() - 100..]);
        if order == "false" {
            let epoch = between(&told, r#""epoch":""#, r#"""#);
            let (id, last) = (3, offsets[offsets.len() - 1]);
            let next = format!(
                r#"{{"history":{{"channel":"t","limit":1,"since":{{"epoch":"{epoch}","offset":{last}}}}},"id":{id}}}"#
            );
            assert!(ask(&mut client, &next).contains(r#""error":{"code":112,"#));
        }
    }
}

/// A session that takes little at a time.
fn slow_session(addr: SocketAddr) -> RawClient {
    let mut client = connect_with_rcvbuf(addr, 4096);
    client.send(wire::request().replacen("GET /", "GET /connection/websocket", 1));
    client.expect_open(wire::KEY);
    ask(&mut client, r#"{"connect":{},"id":1}"#);
    client
}
