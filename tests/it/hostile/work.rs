//! Small requests that make much work: answers of megabytes, lists of thousands, commands by the hundred thousand. A stranger waits
//! for a quarter of a second at most, everybody gets the right answer, and nothing is lost.
//!
//! Each load runs against a server without a memory limit and one with `--memory-limit 64M`, which refuses nobody here: what is
//! asked for fits. `cargo test -- --nocapture` shows how long scouts waited; what a machine adds to that shows in how late they woke
//! up. Whoever does not read is `unread`'s.

use std::collections::HashSet;
use std::ops::Range;

use memchr::memmem;
use serde_json::Value;

use super::attack::{
    Memory, NO_OFFER, RCVBUF, SESSION_BYTES, SUBSCRIPTION_BYTES, attack, contains, lines,
    subscribe_all,
};
use super::{CONNECTION_BYTES, SOFT_BYTES};
use crate::support::ask::{api, get, listen, message, reply, sessions, sign_of_life, upgrade};
use crate::support::client::RawClient;
use crate::support::crowd::{Asks, Crowd, Event};
use crate::support::published::{Expected, Form, Published, control_characters, lines_of_text};
use crate::support::siege::{Siege, count};
use crate::support::watch;
use crate::support::wire;

/// A message that JSON makes six times as long, in 40 answers.
#[test]
fn polls_of_control_characters() {
    attack(&[], |siege, _| {
        let texts = vec![control_characters(MIB)];
        poll_a_history(siege, texts, count(40, 4))
    });
}

#[test]
fn polls_of_an_ordinary_history() {
    attack(&[], |siege, _| poll_a_history(siege, lines_of_text(1000, 1000), count(400, 20)));
}

#[test]
fn long_polls_that_one_message_wakes() {
    attack(&[], |siege, _| {
        let text = lines_of_text(1, MIB).remove(0);
        wake_long_polls(siege, text, count(400, 20))
    });
}

#[test]
fn long_polls_that_control_characters_wake() {
    attack(&[], |siege, _| wake_long_polls(siege, control_characters(MIB), count(40, 4)));
}

/// The answer has no body, however long it would be.
#[test]
fn pipelined_polls_for_a_head_alone() {
    attack(&[], |siege, _| {
        let published = Published::new(siege.addr, "t", vec![control_characters(MIB)]);
        let (clients, each) = (count(4, 2), 10);
        let mut crowd = Crowd::new();
        for at in crowd.connect(siege.addr, clients, RCVBUF) {
            crowd.set_asks(at, Asks::HeadsAlone);
            crowd.say(at, "HEAD /t?since=all HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(each));
        }
        let etag = format!("ETag: \"{}:1\"\r\n", published.epoch);
        let len = format!("Content-Length: {}\r\n", published.message(1, Form::Line).len());
        let mut answers = vec![0; clients];
        crowd.until(0..clients, |at, event, _| {
            match event {
                Event::Head { status, head } => {
                    assert_eq!(status, 200, "{head}");
                    assert!(head.contains(&etag), "{head}");
                    assert!(!head.contains("Content-Length") || head.contains(&len), "{head}");
                }
                Event::BodyEnd => answers[at] += 1,
                other => panic!("{other:?}"),
            }
            answers[at] == each
        });
        crowd.reset();
        clients * CONNECTION_BYTES
    });
}

/// On every transport that streams.
#[test]
fn replays_of_an_ordinary_history() {
    attack(&[], |siege, _| {
        let published = Published::new(siege.addr, "t", lines_of_text(1000, 1000));
        let each = count(100, 5);
        let forms = [Form::Bare, Form::Meta, Form::Event, Form::Line];
        replay(siege, &published, &forms, each, NO_OFFER)
    });
}

/// What event streams expand is line feeds: each becomes seven bytes.
#[test]
fn replays_of_what_expands_most() {
    attack(&[], |siege, _| {
        let (each, len) = (count(40, 2), count(MIB, MIB / 2));
        let controls = Published::new(siege.addr, "controls", vec![control_characters(len)]);
        let lines = Published::new(siege.addr, "lines", vec![vec![b'\n'; len]]);
        let bytes = replay(siege, &controls, &[Form::Line], each, NO_OFFER);
        bytes.max(replay(siege, &lines, &[Form::Event], each, NO_OFFER))
    });
}

#[test]
fn compressed_replays_and_replies() {
    attack(&[], |siege, _| {
        let published = Published::new(siege.addr, "t", lines_of_text(1000, 900));
        let each = count(100, 5);
        let bytes = replay(siege, &published, &[Form::Meta], each, OFFER);
        bytes.max(ask_for_history(siege, &published, each, OFFER))
    });
}

#[test]
fn histories_by_the_centrifugo_protocol() {
    attack(&[], |siege, _| {
        let published = Published::new(siege.addr, "t", lines_of_text(1000, 1000));
        ask_for_history(siege, &published, count(500, 20), NO_OFFER)
    });
}

#[test]
fn histories_of_control_characters_by_the_centrifugo_protocol() {
    attack(&[], |siege, _| {
        let published = Published::new(siege.addr, "t", vec![control_characters(MIB)]);
        ask_for_history(siege, &published, count(40, 4), NO_OFFER)
    });
}

#[test]
fn recoveries_by_the_centrifugo_protocol() {
    attack(&[], |siege, _| {
        // With what each costs beside it, a connection's share of a turn.
        let published = Published::new(siege.addr, "t", lines_of_text(1000, 900));
        let clients = count(500, 20);
        let mut crowd = Crowd::new();
        sessions(&mut crowd, siege.addr, clients, RCVBUF, NO_OFFER);
        let recover = format!(
            r#"{{"id":2,"subscribe":{{"channel":"t","recover":true,"epoch":"{}","offset":0}}}}"#,
            published.epoch
        );
        (0..clients).for_each(|at| crowd.say(at, wire::text(&recover)));
        let all = published.all(Form::Publication);
        let mut had = vec![0; clients];
        // The reply has the first of them, and the others follow as pushes.
        crowd.until(0..clients, |at, event, _| {
            let had = &mut had[at];
            if *had == 0 {
                let (head, mut rest) = split_publications(reply(event, 2));
                assert!(head.contains(r#""recovered":true"#), "{head}");
                while let Some(behind) = rest.strip_prefix(&all[*had][..]) {
                    *had += 1;
                    rest = behind.strip_prefix(b",").unwrap_or(behind);
                }
                assert!(*had > 0 && rest.starts_with(b"]"), "{had} and then something else");
                return *had == all.len();
            }
            for line in lines(message(event)) {
                let push = br#"{"push":{"channel":"t","pub":"#;
                assert!(line == [push, &all[*had][..], b"}}"].concat(), "no push of {had}");
                *had += 1;
            }
            *had == all.len()
        });
        crowd.reset();
        clients * SESSION_BYTES
    });
}

/// The list of those who listen, for 500 at once.
#[test]
fn presence_of_thousands() {
    attack(&[], |siege, _| {
        let (members, clients) = (count(3000, 300), count(500, 20));
        let mut crowd = Crowd::new();
        crowd.open(siege.addr, members, 4 << 10, |_| upgrade("/room", ""));
        let asking = sessions(&mut crowd, siege.addr, clients, RCVBUF, NO_OFFER);
        let times = 4;
        for at in asking.clone() {
            let ask = (2..2 + times)
                .map(|id| format!("{{\"id\":{id},\"presence\":{{\"channel\":\"room\"}}}}"));
            ask.for_each(|ask| crowd.say(at, wire::text(&ask)));
        }
        let mut had = vec![0; clients];
        crowd.until(asking.clone(), |at, event, _| {
            for line in lines(message(event)) {
                let had = &mut had[at - asking.start];
                let start = format!("{{\"id\":{},\"presence\":{{\"presence\":{{", *had + 2);
                assert!(
                    line.starts_with(start.as_bytes()),
                    "{}",
                    line[..line.len().min(90)].escape_ascii()
                );
                expect_members(line, members);
                *had += 1;
            }
            had[at - asking.start] == times
        });
        crowd.reset();
        members * LISTENER_BYTES + clients * SESSION_BYTES
    });
}

/// As fast as they go, while somebody watches joins and leaves.
#[test]
fn subscribing_and_unsubscribing_that_is_watched() {
    attack(&[], |siege, _| {
        let (clients, frames, pairs) = (count(300, 20), count(16, 4), 64);
        let mut crowd = Crowd::new();
        sessions(&mut crowd, siege.addr, clients, RCVBUF, NO_OFFER);
        let watcher = watchers(&mut crowd, siege, &[Form::Line]);
        for at in 0..clients {
            for frame in 0..frames {
                let commands = (0..pairs).map(|pair| {
                    let id = 2 + 2 * (frame * pairs + pair);
                    format!(
                        "{{\"id\":{id},\"subscribe\":{{\"channel\":\"of-{at}\"}}}}\n\
                         {{\"id\":{},\"unsubscribe\":{{\"channel\":\"of-{at}\"}}}}\n",
                        id + 1
                    )
                });
                crowd.say(at, wire::text(&commands.collect::<String>()));
            }
        }
        let commands = 2 * frames * pairs;
        let mut next_id = vec![2; clients];
        let mut tally = Tally::default();
        crowd.until(0..watcher.end, |at, event, _| {
            if at >= clients {
                // Occupied, join, leave, vacated.
                return tally.add(event) == 2 * clients * commands;
            }
            for line in lines(message(event)) {
                let id = next_id[at];
                let done = ["subscribe\":{\"recoverable\":true", "unsubscribe\":{}}"][id % 2];
                let expected = format!("{{\"id\":{id},\"{done}");
                assert!(line.starts_with(expected.as_bytes()), "{}", line.escape_ascii());
                next_id[at] += 1;
            }
            next_id[at] == 2 + commands
        });
        crowd.reset();
        clients * (SESSION_BYTES + SOFT_BYTES)
    });
}

/// Frames of 128 commands, and of thousands where that is allowed: what counts is commands.
#[test]
fn commands_by_the_hundred_thousand() {
    attack(&["--max-commands", "10000"], |siege, _| {
        let clients = count(40, 4);
        let mut crowd = Crowd::new();
        sessions(&mut crowd, siege.addr, clients, RCVBUF, NO_OFFER);
        let commands = count(128 * 128, 128 * 16);
        for at in 0..clients {
            let in_one = if at % 2 == 0 { 128 } else { 8192.min(commands) };
            for first in (0..commands).step_by(in_one) {
                let lines = (first + 2..first + in_one + 2).map(|id| match id % 2 {
                    0 => format!(
                        "{{\"id\":{id},\"publish\":{{\"channel\":\"of-{at}\",\"data\":{id}}}}}\n"
                    ),
                    _ => {
                        format!("{{\"id\":{id},\"presence_stats\":{{\"channel\":\"of-{at}\"}}}}\n")
                    }
                });
                crowd.say(at, wire::text(&lines.collect::<String>()));
            }
        }
        let mut next_id = vec![2; clients];
        crowd.until(0..clients, |at, event, _| {
            for line in lines(message(event)) {
                let id = next_id[at];
                let stats = r#""presence_stats":{"num_clients":0,"num_users":0}"#;
                let done = [r#""publish":{}"#, stats][id % 2];
                let expected = format!("{{\"id\":{id},{done}}}");
                assert!(line == expected.as_bytes(), "{}", line.escape_ascii());
                next_id[at] += 1;
            }
            next_id[at] == 2 + commands
        });
        for at in 0..clients {
            let topic = &watch::json(siege.admin(), &format!("/topics?prefix=of-{at}&limit=1"));
            assert_eq!(topic["topics"][0]["offset"], commands / 2);
        }
        crowd.reset();
        // The largest message has 8,192 of them, and its replies are as long as the queue may be.
        clients * (SESSION_BYTES + 2 * MIB)
    });
}

/// A few calls to the HTTP API from each of some connections, of every method, each for as much as it gives.
#[test]
fn calls_of_the_api() {
    attack(&[], |siege, _| {
        let (members, clients) = (count(3000, 300), count(32, 4));
        let published = Published::new(siege.addr, "t", lines_of_text(1000, 1000));
        let mut crowd = Crowd::new();
        let listening = sessions(&mut crowd, siege.addr, members, RCVBUF, NO_OFFER);
        subscribe_all(&mut crowd, listening, &|_| vec!["room".to_owned()]);
        let channels: Vec<String> = (0..128).map(|at| format!("\"c-{at}\"")).collect();
        let broadcast = format!(r#"{{"channels":[{}],"data":"hello"}}"#, channels.join(","));
        let calls = [
            api("presence", r#"{"channel":"room"}"#),
            api("history", r#"{"channel":"t","limit":-1}"#),
            api("broadcast", &broadcast),
            api("info", "{}"),
            api("disconnect", r#"{"user":"nobody"}"#),
            api("presence_stats", r#"{"channel":"room"}"#),
        ];
        let rounds = 8;
        let callers = crowd.connect(siege.addr, clients, RCVBUF);
        callers.clone().for_each(|at| crowd.say(at, &calls[0]));
        let mut asked = vec![0; clients];
        let mut body = vec![Vec::new(); clients];
        crowd.until(callers.clone(), |at, event, out| {
            let at = at - callers.start;
            match event {
                Event::Head { status, head } => assert_eq!(status, 200, "{head}"),
                Event::Body(part) => body[at].extend_from_slice(part),
                Event::BodyEnd => {
                    let body = std::mem::take(&mut body[at]);
                    match asked[at] % calls.len() {
                        0 => expect_members(&body, members),
                        1 => {
                            let (_, publications) = split_publications(&body);
                            assert!(
                                publications.starts_with(&published.message(1, Form::Publication))
                            );
                            // A share of a turn: less than all of it.
                            let given = memmem::find_iter(publications, br#"{"data":"#).count();
                            assert!((900..=1000).contains(&given), "{given}");
                        }
                        2 => assert_eq!(memmem::find_iter(&body, br#""offset":"#).count(), 128),
                        3 => assert!(contains(&body, &format!(r#""num_clients":{members},"#))),
                        4 => assert_eq!(body, br#"{"result":{}}"#),
                        _ => assert!(contains(&body, &format!(r#""num_clients":{members},"#))),
                    }
                    asked[at] += 1;
                    if asked[at] == rounds * calls.len() {
                        return true;
                    }
                    out.extend_from_slice(&calls[asked[at] % calls.len()]);
                }
                other => panic!("{other:?}"),
            }
            false
        });
        crowd.reset();
        members * SESSION_BYTES + clients * CONNECTION_BYTES
    });
}

/// One row each of a hundred thousand, which nobody sorts for that.
#[test]
fn lists_of_topics() {
    attack(MANY_TOPICS, |siege, memory| {
        let topics = many_topics(siege, memory);
        let each = 150;
        let ask = get("/topics?limit=1&prefix=topic-", "");
        let expected = format!(r#"{{"total":{topics},"topics":[{{"name":"topic-000000","#);
        pipeline(&mut admins(siege, 1), &ask.repeat(each), each, |body| {
            assert!(body.starts_with(expected.as_bytes()), "{}", body.escape_ascii());
            assert_eq!(memmem::find_iter(body, b"\"name\"").count(), 1);
        });
        topics * TOPIC_BYTES
    });
}

/// All of them, a thousand at a time, as a program does that walks the list; from every place of the admin side that is left.
#[test]
fn walks_through_the_list_of_topics() {
    attack(MANY_TOPICS, |siege, memory| {
        let topics = many_topics(siege, memory);
        let pages = count(20, 5).min(topics / 1000);
        let mut crowd = Crowd::new();
        let clients = crowd.connect(siege.admin(), ADMINS, RCVBUF).len();
        let page =
            |after: &str| get(&format!("/topics?limit=1000&prefix=topic-&after={after}"), "");
        (0..clients).for_each(|at| crowd.say(at, page("")));
        let mut walked = vec![0; clients];
        let mut body = vec![Vec::new(); clients];
        crowd.until(0..clients, |at, event, out| {
            match event {
                Event::Head { status, head } => assert_eq!(status, 200, "{head}"),
                Event::Body(part) => body[at].extend_from_slice(part),
                Event::BodyEnd => {
                    let list: Value = serde_json::from_slice(&body[at]).unwrap();
                    body[at].clear();
                    let rows = list["topics"].as_array().unwrap();
                    let first = walked[at] * 1000;
                    for (number, row) in rows.iter().enumerate() {
                        assert_eq!(row["name"], format!("topic-{:06}", first + number));
                    }
                    assert_eq!(rows.len(), 1000);
                    walked[at] += 1;
                    if walked[at] == pages {
                        return true;
                    }
                    out.extend(page(&format!("topic-{:06}", first + 999)).into_bytes());
                }
                other => panic!("{other:?}"),
            }
            false
        });
        crowd.reset();
        topics * TOPIC_BYTES
    });
}

#[test]
fn scrapes_of_many_topics() {
    attack(MANY_TOPICS, |siege, memory| {
        let topics = many_topics(siege, memory);
        let each = count(20, 3);
        let ask = get("/metrics", "").repeat(each);
        pipeline(&mut admins(siege, ADMINS), &ask, each, |body| {
            assert!(contains(body, &format!("\nwsfast_topics {topics}\n")));
        });
        topics * TOPIC_BYTES
    });
}

#[test]
fn lists_of_connections() {
    attack(&[], |siege, _| {
        let (clients, each) = (count(5000, 500), count(20, 5));
        let mut crowd = Crowd::new();
        crowd.open(siege.addr, clients, 4 << 10, |at| upgrade(&format!("/room-{at}"), ""));
        let one = get("/connections?limit=1", "").repeat(each);
        let mut admins = admins(siege, ADMINS);
        pipeline(&mut admins, &one, each, |body| {
            assert_eq!(memmem::find_iter(body, b"\"id\"").count(), 1);
        });
        let many = get("/connections?limit=1000", "");
        pipeline(&mut admins, &many, 1, |body| {
            let list: Value = serde_json::from_slice(body).unwrap();
            assert!(list["total"].as_u64().unwrap() >= clients as u64);
            let rows = list["connections"].as_array().unwrap();
            let ids: HashSet<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
            // With those of the scouts.
            assert!((clients.min(1000)..=1000).contains(&ids.len()), "{}", ids.len());
        });
        crowd.reset();
        clients * LISTENER_BYTES
    });
}

/// A browser's GET, again and again.
#[test]
fn pages() {
    attack(&[], |siege, _| {
        let (clients, each) = (count(200, 20), count(50, 10));
        let mut crowd = Crowd::new();
        let ask = get("/chat", "Accept: text/html\r\n");
        for at in crowd.connect(siege.addr, clients, RCVBUF) {
            crowd.say(at, &ask);
        }
        let (mut answers, mut len) = (vec![0; clients], vec![0; clients]);
        crowd.until(0..clients, |at, event, out| {
            match event {
                Event::Head { status, head } => assert_eq!(status, 200, "{head}"),
                Event::Body(part) => len[at] += part.len(),
                Event::BodyEnd => {
                    assert_eq!(len[at], include_str!("../../../src/app/hub/page.html").len());
                    len[at] = 0;
                    answers[at] += 1;
                    if answers[at] == each {
                        return true;
                    }
                    out.extend_from_slice(ask.as_bytes());
                }
                other => panic!("{other:?}"),
            }
            false
        });
        crowd.reset();
        clients * CONNECTION_BYTES
    });
}

/// Thousands come and go at once, and a dozen watch.
#[test]
fn joins_and_leaves_that_many_watch() {
    attack(&[], |siege, _| {
        let clients = count(3000, 300);
        let mut crowd = Crowd::new();
        let forms = [Form::Meta, Form::Event, Form::Line];
        let watching = watchers(&mut crowd, siege, &forms.repeat(ADMINS / forms.len()));
        let mut room = Crowd::new();
        room.open(siege.addr, clients, 4 << 10, |_| upgrade("/room", ""));
        room.reset();
        let mut tallies = vec![Tally::default(); watching.len()];
        crowd.until(watching, |at, event, _| tallies[at].add(event) == 2 * clients + 2);
        crowd.reset();
        clients * LISTENER_BYTES
    });
}

/// Each of them listens to as many topics as it may, and all of these are published to at once.
#[test]
fn subscribers_of_many_topics() {
    attack(&[], |siege, _| {
        let (clients, topics, rounds) = (count(100, 8), 128, count(8, 3));
        let mut crowd = Crowd::new();
        let listening = sessions(&mut crowd, siege.addr, clients, RCVBUF, NO_OFFER);
        let name = |topic: usize| format!("c-{topic:03}");
        subscribe_all(&mut crowd, listening, &|_| (0..topics).map(name).collect());
        let texts: Vec<String> = (0..rounds).map(|at| at.to_string().repeat(1000)).collect();
        let channels: Vec<String> = (0..topics).map(|at| format!("\"{}\"", name(at))).collect();
        let list = channels.join(",");
        let calls = texts
            .iter()
            .map(|text| api("broadcast", &format!(r#"{{"channels":[{list}],"data":"{text}"}}"#)));
        let mut publisher = RawClient::connect(siege.addr);
        publisher.send(calls.collect::<Vec<_>>().concat());
        // By session and topic: the offset that is next.
        let mut next = vec![[1; 128]; clients];
        let mut came = vec![0; clients];
        crowd.until(0..clients, |at, event, _| {
            for line in lines(message(event)) {
                let prefix = br#"{"push":{"channel":"c-"#.len();
                let topic: usize =
                    str::from_utf8(&line[prefix..prefix + 3]).unwrap().parse().unwrap();
                let offset = next[at][topic];
                let expected = format!(
                    r#"{{"push":{{"channel":"{}","pub":{{"data":"{}","offset":{offset}}}}}}}"#,
                    name(topic),
                    texts[offset - 1]
                );
                assert!(line == expected.as_bytes(), "{}", line[..60].escape_ascii());
                next[at][topic] += 1;
                came[at] += 1;
            }
            came[at] == topics * rounds
        });
        for _ in 0..rounds {
            assert_eq!(publisher.response().status, 200);
        }
        publisher.reset();
        crowd.reset();
        clients * (SESSION_BYTES + topics * SUBSCRIPTION_BYTES)
    });
}

/// By one call of the API, and by themselves.
#[test]
fn thousands_are_disconnected_at_once() {
    attack(&[], |siege, _| {
        let clients = count(5000, 300);
        let topics =
            |at: usize| vec!["room".to_owned(), format!("a-{}", at % 50), format!("b-{at}")];
        let mut crowd = Crowd::new();
        let those = sessions(&mut crowd, siege.addr, clients, RCVBUF, NO_OFFER);
        subscribe_all(&mut crowd, those.clone(), &topics);
        let mut operator = RawClient::connect(siege.addr);
        operator.send(api("disconnect", r#"{"user":""}"#));
        let mut codes = vec![0; clients];
        crowd.until(those, |at, event, _| match event {
            Event::Close { code, .. } => {
                codes[at] = code;
                false
            }
            Event::End => true,
            other => panic!("{other:?}"),
        });
        assert!(codes.iter().all(|&code| code == 3503), "{codes:?}");
        assert_eq!(operator.response().status, 200);
        operator.reset();
        crowd.reset();
        siege.until_clients(0);

        let mut crowd = Crowd::new();
        let those = sessions(&mut crowd, siege.addr, clients, RCVBUF, NO_OFFER);
        subscribe_all(&mut crowd, those, &topics);
        crowd.reset();
        siege.until_clients(0);
        2 * clients * (SESSION_BYTES + 3 * SUBSCRIPTION_BYTES + TOPIC_BYTES)
    });
}

/// So many clients read all that a topic has, in as many answers as it takes.
fn poll_a_history(siege: &Siege, texts: Vec<Vec<u8>>, clients: usize) -> usize {
    let published = Published::new(siege.addr, "t", texts);
    let mut crowd = Crowd::new();
    crowd.connect(siege.addr, clients, RCVBUF);
    (0..clients).for_each(|at| crowd.say(at, get("/t?since=all", "")));
    poll_on(&mut crowd, &published);
    crowd.reset();
    clients * CONNECTION_BYTES
}

/// So many clients wait for a message, and all get it.
fn wake_long_polls(siege: &Siege, text: Vec<u8>, clients: usize) -> usize {
    let mut crowd = Crowd::new();
    crowd.connect(siege.addr, clients, RCVBUF);
    (0..clients).for_each(|at| crowd.say(at, get("/t?wait=60", "")));
    loop {
        let list = watch::json(siege.admin(), "/topics?prefix=t");
        if list["topics"][0]["subscribers"] == clients {
            break;
        }
    }
    let mut published = Published::none("t");
    let mut publisher = RawClient::connect(siege.addr);
    publisher.send(published.post(&text));
    published.was_published(&publisher.response().body, text);
    publisher.reset();
    poll_on(&mut crowd, &published);
    crowd.reset();
    clients * CONNECTION_BYTES
}

/// Reads answers of `crowd`, each of whom has asked, and asks for more until each has all.
fn poll_on(crowd: &mut Crowd, published: &Published) {
    let whole = published.all(Form::Line).concat();
    let mut came = vec![Expected::default(); crowd.len()];
    let mut etags = vec![String::new(); crowd.len()];
    crowd.until(0..came.len(), |at, event, out| {
        match event {
            Event::Head { status, head } => {
                assert_eq!(status, 200, "{head}");
                let (_, etag) = head.split_once("ETag: ").unwrap();
                etags[at] = etag.lines().next().unwrap().to_owned();
            }
            Event::Body(part) => {
                came[at].take(&whole, part);
            }
            Event::BodyEnd if came[at].at == whole.len() => return true,
            Event::BodyEnd => {
                let resume = format!("If-None-Match: {}\r\n", etags[at]);
                out.extend_from_slice(get("/t", &resume).as_bytes());
            }
            other => panic!("{other:?}"),
        }
        false
    });
}

/// So many clients on each of `forms` are given all that was published.
fn replay(siege: &Siege, published: &Published, forms: &[Form], each: usize, offer: &str) -> usize {
    let mut crowd = Crowd::new();
    let target = format!("/{}?since=all", published.topic);
    crowd.connect(siege.addr, forms.len() * each, RCVBUF);
    for at in 0..crowd.len() {
        let request = listen(forms[at / each], &target);
        crowd.say(at, request.replacen("\r\n", &format!("\r\n{offer}"), 1));
    }
    let streams: Vec<Vec<u8>> = forms
        .iter()
        .map(|&form| [sign_of_life(form), &published.all(form).concat()].concat())
        .collect();
    let mut came = vec![Expected::default(); crowd.len()];
    crowd.until(0..came.len(), |at, event, _| match event {
        Event::Head { status, head } => {
            assert!(matches!(status, 101 | 200), "{head}");
            assert_eq!(head.contains("permessage-deflate"), !offer.is_empty(), "{head}");
            false
        }
        Event::Body(part) | Event::Message(part) => came[at].take(&streams[at / each], part),
        other => panic!("{other:?}"),
    });
    let bytes = crowd.len() * LISTENER_BYTES;
    crowd.reset();
    bytes
}

/// So many sessions ask for all history, and on behind what they got.
fn ask_for_history(siege: &Siege, published: &Published, clients: usize, offer: &str) -> usize {
    let mut crowd = Crowd::new();
    sessions(&mut crowd, siege.addr, clients, RCVBUF, offer);
    let ask = |offset: usize| {
        wire::text(&format!(
            r#"{{"id":2,"history":{{"channel":"t","limit":-1,"since":{{"epoch":"{}","offset":{offset}}}}}}}"#,
            published.epoch
        ))
    };
    (0..clients).for_each(|at| crowd.say(at, ask(0)));
    let publications = published.all(Form::Publication);
    let mut had = vec![0; clients];
    crowd.until(0..clients, |at, event, out| {
        let reply = reply(event, 2);
        let (_, mut rest) = split_publications(reply);
        while rest[0] != b']' {
            let expected = &publications[had[at]];
            assert!(rest.starts_with(expected), "{}", rest[..60.min(rest.len())].escape_ascii());
            rest = &rest[expected.len()..];
            rest = rest.strip_prefix(b",").unwrap_or(rest);
            had[at] += 1;
        }
        let end = format!(r#"],"epoch":"{}","offset":{}}}}}"#, published.epoch, publications.len());
        assert!(rest == end.as_bytes(), "{}", rest.escape_ascii());
        if had[at] == publications.len() {
            return true;
        }
        out.extend(ask(had[at]));
        false
    });
    crowd.reset();
    clients * SESSION_BYTES
}

/// So many topics as there are to be in a load of lists, each with a message.
fn many_topics(siege: &Siege, memory: Memory) -> usize {
    // With the limit a quarter of it is for topics.
    let topics = match memory {
        Memory::Free => count(100_000, 10_000),
        Memory::Limited => count(20_000, 5000),
    };
    let mut client = RawClient::connect(siege.addr);
    for first in (0..topics).step_by(128) {
        let names = (first..topics.min(first + 128)).map(|at| format!("\"topic-{at:06}\""));
        let list = names.collect::<Vec<_>>().join(",");
        client.send(api("broadcast", &format!(r#"{{"channels":[{list}],"data":1}}"#)));
        let response = client.response();
        assert_eq!((response.status, response.body.contains("error")), (200, false));
    }
    client.reset();
    topics
}

/// So many clients of the admin side.
fn admins(siege: &Siege, clients: usize) -> Crowd {
    let mut crowd = Crowd::new();
    // What is not taken at once is refused: nobody sends so many requests without a look at the answers.
    crowd.connect(siege.admin(), clients, 4 << 20);
    crowd
}

/// Each of `crowd` sends its requests at once; each of its `count` answers is looked at.
fn pipeline(crowd: &mut Crowd, requests: &str, count: usize, check: impl Fn(&[u8])) {
    let clients = crowd.len();
    (0..clients).for_each(|at| crowd.say(at, requests));
    let mut answers = vec![0; clients];
    let mut body = vec![Vec::new(); clients];
    crowd.until(0..clients, |at, event, _| {
        match event {
            Event::Head { status, head } => assert_eq!(status, 200, "{head}"),
            Event::Body(part) => body[at].extend_from_slice(part),
            Event::BodyEnd => {
                check(&body[at]);
                body[at].clear();
                answers[at] += 1;
            }
            other => panic!("{other:?}"),
        }
        answers[at] == count
    });
}

/// Clients of the admin side that hear joins and leaves, one in each of `forms`.
fn watchers(crowd: &mut Crowd, siege: &Siege, forms: &[Form]) -> Range<usize> {
    let first = crowd.len();
    for &form in forms {
        crowd.open(siege.admin(), 1, 4 << 20, |_| listen(form, "/events"));
    }
    first..crowd.len()
}

/// How many joins, leaves and the like a client was told of, be it one by one or by what it missed.
#[derive(Clone, Debug, Default)]
struct Tally {
    count: usize,
    rest: Vec<u8>,
}

impl Tally {
    fn add(&mut self, event: Event<'_>) -> usize {
        match event {
            Event::Message(text) => self.line(text),
            Event::Body(part) => {
                self.rest.extend_from_slice(part);
                let end = memchr::memrchr(b'\n', &self.rest).map_or(0, |at| at + 1);
                let whole: Vec<u8> = self.rest.drain(..end).collect();
                whole.split(|&byte| byte == b'\n').for_each(|line| self.line(line));
            }
            Event::Head { .. } => {}
            other => panic!("{other:?}"),
        }
        self.count
    }

    fn line(&mut self, line: &[u8]) {
        if contains(line, r#""lost":"#) {
            let text = str::from_utf8(line).unwrap();
            let (_, lost) = text.split_once(r#""lost":"#).unwrap();
            self.count += lost[..lost.find('}').unwrap()].parse::<usize>().unwrap();
        } else {
            // JSON within JSON has its quotes escaped.
            let is_one = contains(line, r#""event":""#) || contains(line, r#"\"event\":\""#);
            self.count += usize::from(is_one);
        }
    }
}

/// A list of those who listen has so many, each once.
#[track_caller]
fn expect_members(reply: &[u8], expected: usize) {
    let ids: HashSet<&[u8]> = memmem::find_iter(reply, br#"{"client":""#)
        .map(|at| {
            let id = &reply[at + br#"{"client":""#.len()..];
            &id[..memchr::memchr(b'"', id).unwrap()]
        })
        .collect();
    assert_eq!(ids.len(), expected, "{}", reply[..60.min(reply.len())].escape_ascii());
}

/// What stands before the list of publications, and what comes from its first on.
#[track_caller]
fn split_publications(reply: &[u8]) -> (&str, &[u8]) {
    let list = br#""publications":["#;
    let at = memmem::find(reply, list).unwrap_or_else(|| {
        panic!("no publications: {}", reply[..200.min(reply.len())].escape_ascii())
    });
    (str::from_utf8(&reply[..at]).unwrap(), &reply[at + list.len()..])
}

/// As many topics of one owner as there may be at all.
const MANY_TOPICS: &[&str] = &["--max-topics", "110000", "--max-topics-per-owner", "110000"];

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

const MIB: usize = 1 << 20;

/// Clients of the admin side, which has 16 places; one is for `Siege`.
const ADMINS: usize = 12;

/// A connection that listens: its state, its place in the topic and in the list of who listens.
const LISTENER_BYTES: usize = CONNECTION_BYTES + 1024;

/// A topic with a short message.
const TOPIC_BYTES: usize = 1024;
