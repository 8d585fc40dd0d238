//! Replies that nobody takes: what they cost while they wait, what is left of that afterwards, and that a slow reader is not taken
//! for one who takes nothing.
//!
//! Each row of the table is a test; `cargo test -- --nocapture` prints it.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::ask::{api, get, listen, sessions};
use crate::support::crowd::{Crowd, Event};
use crate::support::published::{Form, Published, control_characters, lines_of_text};
use crate::support::siege::{Siege, count, is_full};
use crate::support::wire;

/// What clients ask for, and do not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Poll,
    Stream(Form),
    Recovery,
    History,
    /// Of a client that has its messages compressed.
    PackedHistory,
    ApiHistory,
    Presence,
    ApiPresence,
}

#[test]
fn unread_polls() {
    unread("polls", &[Asked::Poll], ordinary(), count(600, 60));
}

/// The answer is six times the history, for each of them the same.
#[test]
fn unread_polls_of_control_characters() {
    unread("polls of U+0001", &[Asked::Poll], vec![control_characters(MIB)], count(100, 10));
}

#[test]
fn unread_recoveries() {
    unread("recoveries", &[Asked::Recovery], ordinary(), count(500, 50));
}

#[test]
fn unread_histories() {
    let asked = [Asked::History, Asked::PackedHistory];
    unread("histories", &asked, ordinary(), count(250, 25));
}

#[test]
fn unread_histories_of_control_characters() {
    let asked = [Asked::History, Asked::ApiHistory];
    unread("histories of U+0001", &asked, vec![control_characters(MIB)], count(50, 5));
}

#[test]
fn unread_histories_by_the_api() {
    unread("histories by the API", &[Asked::ApiHistory], ordinary(), count(500, 50));
}

/// A list of thousands of those who listen.
#[test]
fn unread_presence() {
    let asked = [Asked::Presence, Asked::ApiPresence];
    unread("lists of presence", &asked, ordinary(), count(250, 25));
}

#[test]
fn unread_streams() {
    let forms = [Form::Bare, Form::Meta, Form::Event, Form::Line];
    unread("streams", &forms.map(Asked::Stream), ordinary(), count(500, 25));
}

/// A KiB a second is not much, and not nothing: whatever the time that a client has that takes nothing, this one gets everything.
#[test]
fn slow_readers_get_everything() {
    let siege = Siege::begin_with_pings(&[TIMES, PATIENT].concat());
    let published = Published::new(siege.addr, "t", ordinary());
    let mut crowd = Crowd::new();
    let (quick, slow) =
        (ask_all(&mut crowd, &siege, &published), ask_all(&mut crowd, &siege, &published));
    let kinds = quick.len();
    let mut came: Vec<Vec<u8>> = vec![Vec::new(); 2 * kinds];
    let mut ended: Vec<Option<Duration>> = vec![None; 2 * kinds];
    let begun = Instant::now();
    let mut hear = |at: usize, event: Event<'_>| match event {
        // The Centrifugo protocol's sign of life.
        Event::Message(b"{}") => {}
        Event::Message(part) | Event::Body(part) => came[at].extend_from_slice(part),
        Event::Close { .. } | Event::End => ended[at] = ended[at].or(Some(begun.elapsed())),
        Event::Head { .. } | Event::BodyEnd => {}
    };
    // Until nothing came for a while.
    while crowd.until_or(quick.clone(), Duration::from_millis(500), |at, event, _| {
        hear(at, event);
        true
    }) > 0
    {}
    let slow_phase = Duration::from_secs(if is_full() { 25 } else { 4 });
    let begun_slowly = Instant::now();
    while begun_slowly.elapsed() < slow_phase {
        for at in slow.clone() {
            crowd.sip(at, SIP_BYTES, |event, _| hear(at, event));
            if matches!(
                ALL[at - slow.start],
                Asked::Stream(Form::Bare | Form::Meta)
                    | Asked::Recovery
                    | Asked::History
                    | Asked::PackedHistory
            ) {
                // A sign of life (RFC 6455 §5.5.3): Pings come behind all that it has not read.
                crowd.say(at, wire::pong(b""));
            }
        }
        // A reader's pace.
        thread::sleep(Duration::from_millis(1000 * SIP_BYTES as u64 / 1024));
    }
    while crowd.until_or(slow.clone(), Duration::from_millis(500), |at, event, _| {
        hear(at, event);
        true
    }) > 0
    {}
    crowd.reset();
    let mut wrong = 0;
    for (at, asked) in ALL.iter().enumerate() {
        let (quick, slow) = (without_signs(&came[at]), without_signs(&came[kinds + at]));
        let is_right = quick.len() >= 900_000 && quick == slow;
        wrong += usize::from(!is_right);
        println!(
            "{asked:?}: {} of {} bytes, ended after {:?}",
            slow.len(),
            quick.len(),
            ended[kinds + at]
        );
    }
    assert_eq!(wrong, 0, "so many did not get the whole answer");
    siege.end(ALL.len() * UNREAD_BYTES_MAX);
}

#[test]
fn those_who_take_nothing_are_ended_in_time() {
    let siege = Siege::begin_with_pings(TIMES);
    let published = Published::new(siege.addr, "t", ordinary());
    let mut crowd = Crowd::new();
    for _ in 0..count(10, 3) {
        ask_all(&mut crowd, &siege, &published);
    }
    let begun = Instant::now();
    // Each of the times that there are, and what is looked at once in one of them.
    let latest = 6 * Duration::from_secs(TIME_S);
    while siege.clients() > 0 {
        assert!(begun.elapsed() < latest, "{} are left of {}", siege.clients(), crowd.len());
        thread::yield_now();
    }
    println!("all were gone after {:?}", begun.elapsed());
    let bound = UNREAD_BYTES_MAX;
    crowd.reset();
    siege.end(bound);
}

/// So many of each kind ask, and do not read.
fn unread(name: &str, kinds: &[Asked], texts: Vec<Vec<u8>>, each: usize) {
    let siege = Siege::begin_strict(&[]);
    let published = Published::new(siege.addr, "t", texts);
    let mut members = Crowd::new();
    if kinds.contains(&Asked::Presence) {
        members.open(siege.addr, count(3000, 300), 4 << 10, |_| listen(Form::Bare, "/t"));
    }
    let mut crowd = Crowd::new();
    // Once, so that what the first of a kind takes is there before.
    for &asked in kinds {
        ask(&mut crowd, &siege, &published, asked, 1);
    }
    siege.expect_rest();
    let (before, peak_before) = (siege.server.rss_bytes(), siege.server.peak_rss_bytes());
    for &asked in kinds {
        ask(&mut crowd, &siege, &published, asked, each);
    }
    siege.expect_rest();
    let (with, peak) = (siege.server.rss_bytes(), siege.server.peak_rss_bytes());
    let (grown, most) = (with.saturating_sub(before), peak - peak_before);
    let clients = kinds.len() * each;
    crowd.reset();
    siege.until_clients(members.len());
    siege.expect_rest();
    let after = given_back(&siege, before);
    println!("| unread | before, KiB | growth of VmRSS | of VmHWM | after, KiB |");
    println!(
        "| {clients} {name} | {} | {} | {} | {} |",
        before >> 10,
        grown >> 10,
        most >> 10,
        after >> 10
    );
    members.reset();
    siege.end(2 * UNREAD_BYTES_MAX);
    assert!(grown < UNREAD_BYTES_MAX, "{} KiB more are resident", grown >> 10);
    assert!(most < UNREAD_BYTES_MAX, "{} KiB more were", most >> 10);
    assert!(after <= 2 * before, "{} KiB stay of {}", after >> 10, before >> 10);
}

/// Resident memory once it is down to twice what it was, or stays above that.
fn given_back(siege: &Siege, before: usize) -> usize {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let now = siege.server.rss_bytes();
        if now <= 2 * before || Instant::now() > deadline {
            return now;
        }
        thread::yield_now();
    }
}

/// One of each kind asks for all there is.
fn ask_all(crowd: &mut Crowd, siege: &Siege, published: &Published) -> std::ops::Range<usize> {
    let first = crowd.len();
    ALL.iter().for_each(|&asked| ask(crowd, siege, published, asked, 1));
    first..crowd.len()
}

/// So many more clients that ask, each with a receive buffer of a few KiB.
fn ask(crowd: &mut Crowd, siege: &Siege, published: &Published, asked: Asked, clients: usize) {
    let request = match asked {
        Asked::Poll => get("/t?since=all", "").into_bytes(),
        Asked::Stream(form) => listen(form, "/t?since=all").into_bytes(),
        Asked::ApiHistory => api("history", r#"{"channel":"t","limit":-1}"#),
        Asked::ApiPresence => api("presence", r#"{"channel":"t"}"#),
        Asked::Recovery | Asked::History | Asked::PackedHistory | Asked::Presence => {
            let offer = if asked == Asked::PackedHistory { DEFLATE } else { "" };
            let those = sessions(crowd, siege.addr, clients, RCVBUF, offer);
            let command = match asked {
                Asked::Recovery => format!(
                    r#"{{"id":2,"subscribe":{{"channel":"t","recover":true,"epoch":"{}","offset":0}}}}"#,
                    published.epoch
                ),
                Asked::History | Asked::PackedHistory => {
                    r#"{"id":2,"history":{"channel":"t","limit":-1}}"#.to_owned()
                }
                _ => r#"{"id":2,"presence":{"channel":"t"}}"#.to_owned(),
            };
            return those.for_each(|at| crowd.say(at, wire::text(&command)));
        }
    };
    let those = crowd.connect(siege.addr, clients, RCVBUF);
    those.for_each(|at| crowd.say(at, &request));
}

/// A stream without what says that it is still there.
fn without_signs(stream: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(stream.to_vec()).unwrap();
    text.lines()
        .filter(|line| !matches!(*line, "" | ":" | "{}"))
        .collect::<Vec<_>>()
        .join("\n")
        .into_bytes()
}

/// Nearly a MiB, of which a recovery gets all.
fn ordinary() -> Vec<Vec<u8>> {
    lines_of_text(1000, 900)
}

/// Those that give a client that history.
const ALL: [Asked; 9] = [
    Asked::Poll,
    Asked::Stream(Form::Bare),
    Asked::Stream(Form::Meta),
    Asked::Stream(Form::Event),
    Asked::Stream(Form::Line),
    Asked::Recovery,
    Asked::History,
    Asked::PackedHistory,
    Asked::ApiHistory,
];

/// All times that could end somebody, so short that a test lives to see it.
const TIMES: &[&str] = &[
    "--ping-interval",
    "3s",
    "--pong-timeout",
    "3s",
    "--keep-alive",
    "3s",
    "--close-timeout",
    "3s",
    "--handshake-timeout",
    "3s",
    "--send-timeout",
    "3s",
];
const TIME_S: u64 = 3;

/// Said behind those, where somebody reads slowly: the kernel lets a reader with a small buffer have it in lumps, seconds apart.
const PATIENT: &[&str] =
    &["--ping-interval", "10s", "--pong-timeout", "10s", "--send-timeout", "10s"];

/// What a slow reader takes at a time.
const SIP_BYTES: usize = 256;

const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

const RCVBUF: usize = 4 << 10;

const MIB: usize = 1 << 20;

/// What a crowd of those may cost.
const UNREAD_BYTES_MAX: usize = 16 << 20;
