//! Topics: fan-out, cursors, replay, and what slow subscribers lose.

use std::sync::mpsc;

use wsfast::proto::handshake::{Request, Upgrade};
use wsfast::{
    Accept, Arrival, Closed, CompressionMode, Context, Form, Framing, Gap, Handler, Kind, Lag,
    LagPolicy, Limits, Message, MessageBatch, MessageId, Refusal, Since, StatusCode, TopicError,
    TopicMessage,
};

use crate::support::client::RawClient;
use crate::support::flood::connect_with_rcvbuf;
use crate::support::limits;
use crate::support::server::TestServer;
use crate::support::wire::{self, CLOSE, FIN, Frame, TEXT};

/// Each path is a topic; what a client says is published there.
struct Hub {
    told: mpsc::Sender<String>,
}

struct Listener {
    topic: String,
    form: Form,
    mutes_own: bool,
    since: Since,
}

const BARE: Form = Form { id: 0, framing: Framing::Message };
const NUMBERED: Form = Form { id: 1, framing: Framing::Message };
/// Is told nothing of what it lost.
const QUIET: Form = Form { id: 2, framing: Framing::Message };
/// Needs every message.
const WHOLE: Form = Form { id: 3, framing: Framing::Message };

impl Handler for Hub {
    type State = Listener;

    /// `/TOPIC?numbered&mute&all&last=N&since=ID`
    fn on_upgrade(
        &mut self,
        request: &Request<'_>,
        _upgrade: &Upgrade<'_>,
        _from: Arrival,
    ) -> Result<Accept<Listener>, Refusal> {
        let (mut form, mut mutes_own, mut since) = (BARE, false, Since::Now);
        for word in request.query().unwrap_or_default().split('&') {
            match word.split_once('=') {
                Some(("last", count)) => since = Since::Last(count.parse().unwrap()),
                Some(("since", id)) => since = Since::Id(id.parse().unwrap()),
                _ if word == "all" => since = Since::All,
                _ if word == "numbered" => form = NUMBERED,
                _ if word == "quiet" => form = QUIET,
                _ if word == "whole" => form = WHOLE,
                _ if word == "mute" => mutes_own = true,
                _ => {}
            }
        }
        let topic = request.path()[1..].to_owned();
        Ok(Accept::new(Listener { topic, form, mutes_own, since }))
    }

    fn on_open(&mut self, state: &mut Listener, cx: &mut Context<'_>) {
        let position = cx.subscribe(&state.topic, state.form, state.mutes_own, state.since);
        let told = match position.map(|position| position.gap) {
            Ok(None) => "open".to_owned(),
            other => format!("{other:?}"),
        };
        self.told.send(told).unwrap();
    }

    fn on_message(&mut self, state: &mut Listener, message: Message<'_>, cx: &mut Context<'_>) {
        if message.payload() == b"leave" {
            assert!(cx.unsubscribe(&state.topic) && !cx.unsubscribe(&state.topic));
        } else {
            let burst = if message.payload() == b"burst" { 16 } else { 1 };
            for _ in 0..burst {
                cx.publish(&state.topic, message.kind(), message.payload()).unwrap();
            }
        }
    }

    fn encode(&self, form: Form, message: TopicMessage<'_>, out: &mut Vec<u8>) -> Kind {
        if form == NUMBERED {
            out.extend_from_slice(format!("{} ", message.id.offset).as_bytes());
        }
        out.extend_from_slice(message.payload);
        message.kind
    }

    fn on_gap(&self, form: Form, topic: &str, gap: Gap, out: &mut Vec<u8>) -> Lag {
        assert_eq!(topic, "t");
        if form == NUMBERED {
            out.extend_from_slice(format!("lost {:?}", gap.lost()).as_bytes());
            Lag::Told(Kind::Text)
        } else if form == QUIET {
            Lag::Untold
        } else {
            Lag::Close(StatusCode::TRY_AGAIN_LATER, format!("go on from {}", gap.from.offset))
        }
    }

    fn conflates(&self, form: Form) -> bool {
        form != WHOLE
    }

    fn on_limits(&mut self, cx: &mut Context<'_>) {
        let topics = &cx.limits().topics;
        self.told.send(format!("{} {:?}", topics.history_bytes_max, topics.lag)).unwrap();
    }

    /// The topic hears of who leaves.
    fn on_close(&mut self, state: Listener, closed: Closed, cx: &mut Context<'_>) {
        if state.topic == "farewell" && closed != Closed::Cut {
            cx.publish(&state.topic, Kind::Text, b"one left").unwrap();
        }
    }
}

struct Running {
    server: TestServer,
    told: mpsc::Receiver<String>,
}

impl Running {
    fn start(limits: Limits) -> Self {
        let (told_tx, told) = mpsc::channel();
        Self { server: TestServer::start(limits, Hub { told: told_tx }), told }
    }

    fn open(&self, target: &str) -> RawClient {
        let mut client = RawClient::connect(self.server.addr);
        self.upgrade(&mut client, target, "");
        client
    }

    fn upgrade(&self, client: &mut RawClient, target: &str, lines: &str) {
        client.send(wire::request_with(lines).replacen("GET /", &format!("GET {target}"), 1));
        client.expect_open(wire::KEY);
        assert_eq!(self.told.recv().unwrap(), "open", "{target}");
    }
}

#[test]
fn what_is_published_reaches_every_subscriber_of_its_topic_in_order() {
    let running = Running::start(limits());
    let mut inside: Vec<_> = (0..20).map(|_| running.open("/t")).collect();
    let mut outside = running.open("/other");
    for number in 0..100 {
        let text = format!("message {number} {}", "x".repeat(number * 37));
        inside[number % 20].send(wire::text(&text));
        for client in &mut inside {
            client.expect_text(&text);
        }
    }
    // A burst leaves in one piece, and all of it in order.
    inside[3].send([wire::text("burst"), wire::text("end")].concat());
    for client in &mut inside {
        (0..16).for_each(|_| client.expect_text("burst"));
        client.expect_text("end");
    }
    outside.send(wire::binary(b"mine"));
    outside.expect(&Frame::binary(b"mine"));
    // Who left hears no more; who is moved to its place does.
    inside[0].send(wire::text("leave"));
    inside.remove(7).reset();
    assert_eq!(running.server.closed(), Closed::Lost);
    inside[5].send(wire::text("still here"));
    for client in &mut inside[1..] {
        client.expect_text("still here");
    }
    inside[0].send(wire::ping(b"?"));
    inside[0].expect(&Frame::pong(b"?"));
}

#[test]
fn forms_windows_and_plain_clients_share_a_topic() {
    let mut limits = limits();
    limits.compression.mode = CompressionMode::Dedicated;
    let running = Running::start(limits);
    let mut plain = running.open("/t");
    let mut numbered = running.open("/t?numbered");
    let mut mute = running.open("/t?mute");
    let mut packed = RawClient::connect(running.server.addr);
    running.upgrade(&mut packed, "/t", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    let text = "the same thing over and over; ".repeat(50);
    plain.send(wire::text(&text));
    mute.send(wire::text("mine"));
    plain.expect_text(&text);
    plain.expect_text("mine");
    numbered.expect_text(&format!("1 {text}"));
    numbered.expect_text("2 mine");
    let frame = packed.frame();
    assert!(frame.first == FIN | 0x40 | TEXT && frame.payload.len() < text.len() / 5);
    packed.expect_text("mine");
    mute.expect_text(&text);
    plain.send(wire::text("after"));
    mute.expect_text("after");
}

#[test]
fn who_comes_late_is_given_what_it_asks_for() {
    let mut limits = limits();
    limits.topics.history_messages = 5;
    let running = Running::start(limits);
    let mut first = running.open("/t?numbered");
    for number in 1..=8 {
        first.send(wire::text("m"));
        first.expect_text(&format!("{number} m"));
    }
    for (target, expected) in [
        ("/t?numbered&all", &[4, 5, 6, 7, 8][..]),
        ("/t?numbered&last=2", &[7, 8]),
        ("/t?numbered&last=100", &[4, 5, 6, 7, 8]),
        ("/t?numbered&last=0", &[]),
        ("/t?numbered", &[]),
    ] {
        let mut late = running.open(target);
        for number in expected {
            late.expect_text(&format!("{number} m"));
        }
        late.send(wire::ping(b"?"));
        late.expect(&Frame::pong(b"?"));
    }
    // By a name that is whole, behind, ahead, and of another life of the topic.
    let epoch = {
        let mut stale = RawClient::connect(running.server.addr);
        stale.send(wire::request().replacen("GET /", "GET /t?numbered&since=0:8", 1));
        stale.expect_open(wire::KEY);
        let told = running.told.recv().unwrap();
        assert!(told.contains("from: MessageId { epoch: 0, offset: 8 }"), "{told}");
        let epoch = told.rsplit("epoch: ").next().unwrap().split(',').next().unwrap();
        (4..=8).for_each(|number| stale.expect_text(&format!("{number} m")));
        epoch.parse().unwrap()
    };
    let resume = |offset| format!("/t?numbered&since={}", MessageId { epoch, offset });
    let mut exact = running.open(&resume(6));
    exact.expect_text("7 m");
    exact.expect_text("8 m");
    running.open(&resume(8));
    running.open(&resume(3)).expect_text("4 m");
    let mut behind = RawClient::connect(running.server.addr);
    behind.send(wire::request().replacen("GET /", &format!("GET {}", resume(1)), 1));
    behind.expect_open(wire::KEY);
    assert!(running.told.recv().unwrap().contains("offset: 1 }, to: MessageId"));
}

/// A slow subscriber costs a cursor; what it lost is told to it in its place, or closes it, and the others notice nothing.
#[test]
fn who_reads_slowly_is_told_exactly_what_it_lost() {
    let mut limits = limits();
    limits.topics.history_messages = 100;
    let running = Running::start(limits);
    let mut numbered = connect_with_rcvbuf(running.server.addr, 4096);
    running.upgrade(&mut numbered, "/t?numbered", "");
    let mut bare = connect_with_rcvbuf(running.server.addr, 4096);
    running.upgrade(&mut bare, "/t", "");
    let mut reader = running.open("/t?numbered");
    let payload = "y".repeat(20_000);
    const COUNT: u64 = 2000;
    for number in 1..=COUNT {
        reader.send(wire::text(&payload));
        reader.expect_text(&format!("{number} {payload}"));
    }
    let mut next = 1;
    let mut lost = 0;
    while next <= COUNT {
        let text = String::from_utf8(numbered.frame().payload).unwrap();
        if let Some(count) = text.strip_prefix("lost Some(") {
            let count: u64 = count.trim_end_matches(')').parse().unwrap();
            (next, lost) = (next + count, lost + count);
        } else {
            assert_eq!(text, format!("{next} {payload}"));
            next += 1;
        }
    }
    assert!(lost > 100, "only {lost} lost: it was not slow");
    // The bare one has no way to be told but the end.
    let mut given = 0;
    let reason = loop {
        let frame = bare.frame();
        if frame.first == FIN | CLOSE {
            assert_eq!(frame.payload[..2], 1013_u16.to_be_bytes());
            break String::from_utf8(frame.payload[2..].to_vec()).unwrap();
        }
        assert!(frame == Frame::text(&payload));
        given += 1;
    };
    assert_eq!(reason, format!("go on from {given}"));
    drop((numbered, bare, reader));
    assert_eq!(running.server.stop().counters.gaps, 2);
}

/// With `LagPolicy::Latest` who does not read skips to the newest message and is told how many that were, once; who needs every
/// message gets every message.
#[test]
fn who_reads_slowly_goes_on_with_the_newest() {
    let running = Running::start(latest());
    let [mut numbered, mut quiet, mut whole] = ["numbered", "quiet", "whole"].map(|form| {
        let mut client = connect_with_rcvbuf(running.server.addr, 4096);
        running.upgrade(&mut client, &format!("/t?{form}"), "");
        client
    });
    let mut reader = running.open("/t?numbered");
    let payload = |number: u64| format!("{number} {}", "y".repeat(20_000));
    const COUNT: u64 = 600;
    for number in 1..=COUNT {
        reader.send(wire::text(&payload(number)));
        reader.expect_text(&format!("{number} {}", payload(number)));
    }
    let (mut next, mut lost) = (1, Vec::new());
    while next <= COUNT {
        let text = String::from_utf8(numbered.frame().payload).unwrap();
        if let Some(count) = text.strip_prefix("lost Some(") {
            let count: u64 = count.trim_end_matches(')').parse().unwrap();
            next += count;
            lost.push(count);
        } else {
            assert_eq!(text, format!("{next} {}", payload(next)));
            next += 1;
        }
    }
    assert!(matches!(lost[..], [count] if count > 100), "{lost:?} lost");
    let mut given = 0;
    loop {
        let frame = quiet.frame();
        given += 1;
        if frame == Frame::text(&payload(COUNT)) {
            break;
        }
        assert!(frame == Frame::text(&payload(given)));
    }
    assert!(given < COUNT - 100, "{given} given");
    (1..=COUNT).for_each(|number| whole.expect_text(&payload(number)));
    // Whoever has caught up hears all that follows.
    reader.send(wire::text("burst"));
    (0..16).for_each(|_| quiet.expect_text("burst"));
    (1..=16).for_each(|number| numbered.expect_text(&format!("{} burst", COUNT + number)));
    assert_eq!(running.server.stop().counters.gaps, 2);
}

/// What was there when it subscribed is given to it, however slowly it reads; then it is behind as others are.
#[test]
fn a_replay_is_not_skipped() {
    let running = Running::start(latest());
    let mut reader = running.open("/t?numbered");
    let payload = "y".repeat(20_000);
    let mut publish = |number: u64| {
        reader.send(wire::text(&payload));
        reader.expect_text(&format!("{number} {payload}"));
    };
    (1..=300).for_each(&mut publish);
    let mut late = connect_with_rcvbuf(running.server.addr, 4096);
    running.upgrade(&mut late, "/t?numbered&all", "");
    (301..=600).for_each(&mut publish);
    for number in 1..=300 {
        late.expect_text(&format!("{number} {payload}"));
    }
    late.expect_text("lost Some(299)");
    late.expect_text(&format!("600 {payload}"));
    // Nobody else is given anything but all.
    let mut whole = running.open("/t?numbered&last=100");
    (501..=600).for_each(|number| whole.expect_text(&format!("{number} {payload}")));
    assert_eq!(running.server.stop().counters.gaps, 1);
}

/// Being written to message by message, as who mutes itself is, is no slowness.
#[test]
fn who_keeps_up_skips_nothing() {
    let running = Running::start(latest());
    let mut mute = running.open("/t?mute");
    let mut speaker = running.open("/t");
    for round in 0..50 {
        mute.send(wire::text("mine"));
        speaker.send([wire::text("burst"), wire::text(&format!("end of {round}"))].concat());
        (0..16).for_each(|_| mute.expect_text("burst"));
        mute.expect_text(&format!("end of {round}"));
        (0..18).for_each(|_| assert!(!speaker.frame().payload.is_empty()));
    }
    assert_eq!(running.server.stop().counters.gaps, 0);
}

fn latest() -> Limits {
    let mut limits = limits();
    limits.topics.topic_bytes_max = 64 << 20;
    limits.topics.history_messages = 10_000;
    limits.topics.history_bytes_max = 1 << 30;
    limits.topics.lag = LagPolicy::Latest;
    limits
}

/// A client that reads in small sips gets each byte once, through every kind of cut.
#[test]
fn a_sipping_subscriber_within_the_history_loses_nothing() {
    let mut limits = limits();
    limits.topics.topic_bytes_max = 64 << 20;
    limits.topics.history_messages = 10_000;
    limits.topics.history_bytes_max = 1 << 30;
    let running = Running::start(limits);
    let mut slow = connect_with_rcvbuf(running.server.addr, 2048);
    running.upgrade(&mut slow, "/t?numbered", "");
    let mut speaker = running.open("/t?numbered");
    let len = |number: usize| number * 7919 % 30_000;
    const COUNT: usize = 600;
    for number in 1..=COUNT {
        speaker.send(wire::text(&"z".repeat(len(number))));
        speaker.expect_text(&format!("{number} {}", "z".repeat(len(number))));
    }
    for number in 1..=COUNT {
        slow.expect_text(&format!("{number} {}", "z".repeat(len(number))));
    }
    slow.send(wire::text("alive"));
    slow.expect_text(&format!("{} alive", COUNT + 1));
}

/// However short the history, who keeps up is given all.
#[test]
fn a_burst_beyond_the_history_reaches_who_keeps_up() {
    let mut limits = limits();
    limits.topics.history_messages = 3;
    let running = Running::start(limits);
    let mut listener = running.open("/t?numbered");
    let mut speaker = running.open("/t");
    for round in 0..10 {
        speaker.send(wire::text("burst").repeat(20));
        for number in 1..=320 {
            listener.expect_text(&format!("{} burst", round * 320 + number));
            speaker.expect_text("burst");
        }
    }
    running.open("/t?numbered&all").expect_text("3198 burst");
    assert_eq!(running.server.stop().counters.gaps, 0);
}

/// A batch is as long as another thread likes; what the ring and all rings hold is less.
#[test]
fn a_batch_of_another_thread_reaches_who_keeps_up() {
    const COUNT: usize = 10_000;
    let mut limits = limits();
    limits.topics.history_messages = 2;
    limits.topics.topic_bytes_max = 1 << 10;
    limits.topics.history_bytes_max = 1 << 16;
    limits.topics.topics_max = 1;
    let running = Running::start(limits);
    let mut client = running.open("/t?numbered");
    let mut batch = MessageBatch::new("t");
    for number in 0..COUNT {
        batch.push(Kind::Text, number.to_string().as_bytes());
    }
    batch.push(Kind::Binary, &[0; 1025]);
    let fanned_out = running.server.remote.publish(batch).wait().unwrap();
    assert_eq!(fanned_out.published, COUNT);
    assert_eq!(fanned_out.refused, Some((1, TopicError::MessageTooBig)));
    assert!(fanned_out.batch.is_empty());
    for number in 0..COUNT {
        client.expect_text(&format!("{} {number}", number + 1));
    }
    let mut elsewhere = MessageBatch::new("elsewhere");
    elsewhere.push(Kind::Text, b"?");
    let refused = running.server.remote.publish(elsewhere).wait().unwrap().refused;
    assert_eq!(refused, Some((1, TopicError::TooManyTopics)));
    // Nobody is kept waiting by a server that is gone.
    let remote = running.server.remote.clone();
    drop(running);
    assert!(remote.publish(fanned_out.batch).wait().is_none());
}

/// What is kept beyond them goes as messages come; a limit that cannot change does not, nor does any if one is bad.
#[test]
fn limits_change_while_the_server_runs() {
    let mut limits = limits();
    limits.topics.topic_bytes_max = 8 << 20;
    let running = Running::start(limits.clone());
    let mut client = running.open("/t?mute");
    let large = "x".repeat(100_000);
    (0..40).for_each(|_| client.send(wire::text(&large)));
    running.open("/t?numbered&last=1").expect_text(&format!("40 {large}"));

    limits.topics.topics_max = 0;
    let refused = running.server.remote.set_limits(limits.clone()).unwrap_err();
    assert_eq!((refused.name, refused.value), ("max-topics", 0));
    limits.topics.topics_max = 1;
    limits.topics.history_bytes_max = 1 << 16;
    limits.topics.lag = LagPolicy::Latest;
    limits.message_bytes_max = 125;
    running.server.remote.set_limits(limits).unwrap();
    assert_eq!(running.told.recv().unwrap(), "65536 Gap");

    for number in 41..=44 {
        client.send(wire::text(&large));
        running.open("/t?numbered&last=1").expect_text(&format!("{number} {large}"));
    }
    client.send(wire::text("small"));
    running.open("/t?numbered&all").expect_text("45 small");
    let mut other = RawClient::connect(running.server.addr);
    other.send(wire::request().replacen("GET /", "GET /other", 1));
    other.expect_open(wire::KEY);
    assert_eq!(running.told.recv().unwrap(), "Err(TooManyTopics)");
    other.send(wire::text(&large[..126]));
    other.expect_close(1009);
}

#[test]
fn what_is_published_when_a_peer_leaves_is_heard() {
    let running = Running::start(limits());
    let mut stays = running.open("/farewell");
    for _ in 0..3 {
        running.open("/farewell").reset();
        stays.expect_text("one left");
    }
}

#[test]
fn topics_and_subscriptions_have_their_limits() {
    let mut limits = limits();
    limits.topics.topics_max = 2;
    let running = Running::start(limits);
    let (mut a, _b) = (running.open("/a"), running.open("/b"));
    let mut refused = RawClient::connect(running.server.addr);
    refused.send(wire::request().replacen("GET /", "GET /c", 1));
    refused.expect_open(wire::KEY);
    assert_eq!(running.told.recv().unwrap(), "Err(TooManyTopics)");
    // A topic that nobody listens to and that keeps nothing is forgotten.
    a.send(wire::close(1000, ""));
    a.expect_close(1000);
    drop(a);
    running.server.closed();
    running.open("/c");
}
