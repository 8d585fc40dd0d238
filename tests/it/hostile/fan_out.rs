//! Live messages to thousands: what one client publishes is many writes, and many topics at once are more of them. A stranger waits
//! for a quarter of a second at most, and who keeps up loses nothing, however fast it is published.

use std::collections::HashMap;
use std::thread;

use super::attack::{
    NO_OFFER, RCVBUF, SESSION_BYTES, SUBSCRIPTION_BYTES, attack, lines, subscribe_all,
};
use crate::support::ask::{api, listen, post, sessions};
use crate::support::client::RawClient;
use crate::support::crowd::{Crowd, Event};
use crate::support::flood::connect_with_rcvbuf;
use crate::support::published::{Expected, Form, Published, lines_of_text};
use crate::support::session;
use crate::support::siege::{Siege, count};
use crate::support::wire;

/// One topic, and ten thousand who listen in five ways: a burst of small messages, and a large one.
#[test]
fn ten_thousand_subscribers_in_five_forms() {
    attack(&[], |siege, _| {
        let each = count(2000, 60);
        let mut crowd = Crowd::new();
        let forms = [Form::Bare, Form::Meta, Form::Event, Form::Line];
        for form in forms {
            crowd.open(siege.addr, each, 16 << 10, |_| listen(form, "/room"));
        }
        let those = sessions(&mut crowd, siege.addr, each, RCVBUF, NO_OFFER);
        subscribe_all(&mut crowd, those, &|_| vec!["room".to_owned()]);
        let all = 0..crowd.len();
        let mut published = Published::none("room");
        let mut texts = lines_of_text(20, 256);
        texts.extend(lines_of_text(1, 16 << 10));
        let mut publisher = RawClient::connect(siege.addr);
        publisher.send(texts.iter().map(|text| published.post(text)).collect::<Vec<_>>().concat());
        for text in texts {
            published.was_published(&publisher.response().body, text);
        }
        publisher.reset();
        let streams = forms.map(|form| published.all(form).concat());
        let pushes: Vec<Vec<u8>> = published.all(Form::Publication);
        let mut came = vec![Expected::default(); all.len()];
        crowd.until(all, |at, event, _| match event {
            Event::Body(part) | Event::Message(part) if at < forms.len() * each => {
                came[at].take(&streams[at / each], part)
            }
            Event::Message(text) => {
                for line in lines(text) {
                    let body = &pushes[came[at].at];
                    let start = br#"{"push":{"channel":"room","pub":"#;
                    assert!(line == [&start[..], body, b"}}"].concat(), "{}", line.escape_ascii());
                    came[at].at += 1;
                }
                came[at].at == pushes.len()
            }
            other => panic!("{other:?}"),
        });
        crowd.reset();
        5 * each * (SESSION_BYTES + SUBSCRIPTION_BYTES)
    });
}

/// A thousand sessions listen to a hundred topics each, and a few publish to all of them, again and again, in frames of one message for
/// each topic.
#[test]
fn a_hundred_topics_of_a_thousand_each() {
    attack(&[], |siege, _| {
        let (clients, topics) = (count(1000, 60), count(100, 20));
        let name = |topic: usize| format!("room{topic}");
        let mut crowd = Crowd::new();
        let those = sessions(&mut crowd, siege.addr, clients, RCVBUF, NO_OFFER);
        subscribe_all(&mut crowd, those, &|_| (0..topics).map(name).collect());
        let mut publishers: Vec<RawClient> =
            (0..PUBLISHERS).map(|_| session::connect(siege.addr)).collect();
        for (number, publisher) in publishers.iter_mut().enumerate() {
            for round in 0..ROUNDS {
                let commands = (0..topics).map(|topic| {
                    format!(
                        "{{\"id\":{},\"publish\":{{\"channel\":\"room{topic}\",\"data\":\"{number}.{round}\"}}}}\n",
                        topic + 2
                    )
                });
                publisher.send(wire::text(&commands.collect::<String>()));
            }
        }
        // Of each publisher and topic, in its order.
        let mut came: Vec<HashMap<(String, String), usize>> = vec![HashMap::new(); clients];
        let mut counts = vec![0; clients];
        crowd.until(0..clients, |at, event, _| {
            let Event::Message(text) = event else { panic!("{event:?}") };
            for line in lines(text) {
                let line = str::from_utf8(line).unwrap();
                let channel = session::between(line, r#""channel":""#, r#"""#).to_owned();
                let data = session::between(line, r#""data":""#, r#"""#);
                let (number, round) = data.split_once('.').unwrap();
                let expected = came[at].entry((channel, number.to_owned())).or_default();
                assert_eq!(round, expected.to_string(), "{line}");
                *expected += 1;
                counts[at] += 1;
            }
            counts[at] == PUBLISHERS * ROUNDS * topics
        });
        for publisher in &mut publishers {
            assert_eq!(session::lines(publisher, ROUNDS * topics).len(), ROUNDS * topics);
        }
        publishers.into_iter().for_each(RawClient::reset);
        crowd.reset();
        clients * (SESSION_BYTES + topics * SUBSCRIPTION_BYTES)
    });
}

/// Each way to publish, as fast as it goes, to a topic that keeps eight messages: who keeps up gets all of them, since whoever publishes
/// waits for what is on its way.
#[test]
fn who_keeps_up_loses_nothing_however_fast_it_is_published() {
    let mut siege = Siege::begin(&["--history", "8", "--memory-limit", "256M"]);
    // They would wait for clients that get all they are to get, which is the machine's limit here.
    siege.dismiss_scouts();
    let each = count(2000, 100);
    let mut crowd = Crowd::new();
    crowd.open(siege.addr, each, MIB, |_| listen(Form::Bare, "/room"));
    let addr = siege.addr;
    let total = 4 * MESSAGES;
    let publishers: Vec<_> = ["bare", "post", "session", "api"]
        .into_iter()
        .map(|way| {
            let mut client = match way {
                "bare" => {
                    let mut client = connect_with_rcvbuf(addr, MIB);
                    client.send(wire::request().replacen("GET /", "GET /room?self=0", 1));
                    client.expect_open(wire::KEY);
                    client
                }
                "session" => session::connect(addr),
                _ => RawClient::connect(addr),
            };
            thread::spawn(move || {
                // A subscriber that publishes hears the others. If it did not read, the server would close it as too slow.
                let hears = (way == "bare").then(|| {
                    let stream = client.stream.try_clone().unwrap();
                    let mut ears = RawClient { stream, buf: Vec::new() };
                    thread::spawn(move || {
                        (0..total - MESSAGES).for_each(|_| assert!(!ears.text().contains(way)));
                    })
                });
                for number in 0..MESSAGES {
                    let text = format!("{way} {number} {}", "-".repeat(MESSAGE_BYTES));
                    let channel = format!(r#""channel":"room","data":"{text}""#);
                    match way {
                        "bare" => client.send(wire::text(&text)),
                        "post" => client.send(post("/room", &text)),
                        "session" => client.send(wire::text(&format!(
                            r#"{{"id":{},"publish":{{{channel}}}}}"#,
                            number + 2
                        ))),
                        _ => client.send(api("publish", &format!("{{{channel}}}"))),
                    }
                }
                for number in 0..MESSAGES {
                    match way {
                        "bare" => {}
                        "session" => {
                            let id = format!(r#"{{"id":{},"publish":"#, number + 2);
                            assert!(client.text().starts_with(&id));
                        }
                        _ => assert_eq!(client.response().status, 200),
                    }
                }
                if let Some(hears) = hears {
                    hears.join().unwrap();
                }
                client
            })
        })
        .collect();
    let mut came: Vec<HashMap<String, usize>> = vec![HashMap::new(); each];
    crowd.until(0..each, |at, event, _| {
        let Event::Message(text) = event else { panic!("client {at}: {event:?}") };
        let text = str::from_utf8(text).unwrap().trim_matches('"');
        let (way, rest) = text.split_once(' ').unwrap();
        let expected = came[at].entry(way.to_owned()).or_default();
        assert_eq!(rest.split(' ').next().unwrap(), expected.to_string(), "client {at}, {way}");
        *expected += 1;
        came[at].values().sum::<usize>() == total
    });
    for publisher in publishers {
        publisher.join().unwrap().reset();
    }
    crowd.reset();
    siege.end(256 * MIB);
}

/// Messages so long that streams are given them in parts, to a topic that keeps one: who keeps up gets all of them, be they published in
/// one write.
#[test]
fn who_keeps_up_loses_no_message_that_is_written_in_parts() {
    let siege = Siege::begin(&["--history", "1", "--memory-limit", "256M"]);
    let mut published = Published::new(siege.addr, "room", lines_of_text(1, 16));
    let each = count(100, 20);
    let mut crowd = Crowd::new();
    let forms = [Form::Event, Form::Line];
    for form in forms {
        crowd.open(siege.addr, each, MIB, |_| listen(form, "/room"));
    }
    let texts = lines_of_text(LONG_MESSAGES, LONG_MESSAGE_BYTES);
    let requests: Vec<_> = texts.iter().map(|text| published.post(text)).collect();
    published.texts.extend(texts);
    let mut publisher = RawClient::connect(siege.addr);
    let publisher = thread::spawn(move || {
        publisher.send(requests.concat());
        requests.iter().for_each(|_| assert_eq!(publisher.response().status, 200));
        publisher
    });
    let streams = forms.map(|form| published.all(form)[1..].concat());
    let mut came = vec![Expected::default(); crowd.len()];
    crowd.until(0..crowd.len(), |at, event, _| {
        let Event::Body(part) = event else { panic!("client {at}: {event:?}") };
        came[at].take(&streams[at / each], part)
    });
    publisher.join().unwrap().reset();
    crowd.reset();
    siege.end(256 * MIB);
}

/// Sessions that publish, and how often to each topic.
const PUBLISHERS: usize = 4;
const ROUNDS: usize = 5;

/// What each of four publishers says, and how long each message is at least: all of it fits what the kernel keeps for a reader, so that
/// no reader is slow, however busy the machine is.
const MESSAGES: usize = 100;
const MESSAGE_BYTES: usize = 2200;

/// The same of messages in parts, which are longer than what leaves in one write.
const LONG_MESSAGES: usize = 3;
const LONG_MESSAGE_BYTES: usize = 260 << 10;

const MIB: usize = 1 << 20;
