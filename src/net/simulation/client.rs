//! A client over WebSocket: what it says, how it behaves, and what it must see.
//!
//! It has a plan (how much it says, how it reads, how it goes), and holds every byte from the server against the record of what
//! was said (`truth`). Knows nothing of the server's insides.

use std::collections::VecDeque;

use crate::net::simulation::frames::{self, Deflate, Frame};
use crate::net::simulation::random::Random;
use crate::net::simulation::trace;
use crate::net::simulation::truth::Truth;
use crate::net::simulation::wire::{Seen, SharedWire};
use crate::net::terms::closed::Closed;
use crate::proto::message::Kind;

/// A client of any kind.
pub(crate) trait Client {
    /// Does something: reads in its manner, and says something more if `speaks`.
    fn act(&mut self, truth: &mut Truth, speaks: bool);

    /// What must be so once nothing moves any more.
    fn check_settled(&self, truth: &Truth);
}

/// See the module.
#[derive(Debug)]
pub(crate) struct WebSocket {
    id: usize,
    wire: SharedWire,
    random: Random,
    plan: Plan,
    stage: Stage,
    /// Bytes from the server that are not a whole frame yet.
    input: Vec<u8>,
    /// Fragments of a message that is not whole yet.
    begun: Option<Frame>,
    /// Frames to be said one after the other, with control frames between them at will.
    fragments: VecDeque<Vec<u8>>,
    /// Payloads of Pings that were not answered.
    pings: VecDeque<Vec<u8>>,
    /// What the latest Pong said: it stands for all Pings of that payload.
    ponged: Option<Vec<u8>>,
    deflate: Option<Deflate>,
    /// The number of the last broadcast.
    broadcast: Option<u64>,
    close_sent: Option<Option<u16>>,
    close_seen: Option<Option<u16>>,
    /// How often it says something more.
    turns_left: usize,
}

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) is_hub: bool,
    pub(crate) topic: usize,
    pub(crate) reads: Reads,
    pub(crate) goes: Goes,
    pub(crate) offers_deflate: bool,
    /// Longest message that it says.
    pub(crate) message_bytes_max: usize,
    pub(crate) fragments_max: usize,
    pub(crate) turns: usize,
    /// Of how many clients.
    pub(crate) others: usize,
}

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// All there is.
    All,
    /// A little now and then.
    Little,
    /// Nothing until it has said all, and then all.
    Later,
    /// Nothing any more once it is open.
    Never,
}

/// How a client goes, once it has said what it had to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goes {
    /// It stays until it is sent away.
    Stays,
    /// With a Close of this code.
    Close(Option<u16>),
    /// With a FIN alone.
    Fin,
    /// With an RST.
    Reset,
    /// With a breach of the protocol.
    Breach(Breach),
}

/// A breach, with the bytes for it and the code that it earns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Breach {
    pub(crate) bytes: &'static [u8],
    pub(crate) code: u16,
}

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    Handshaking,
    Open,
    /// It said its last word.
    Going,
    /// It was refused; what follows is text.
    Refused,
    /// It saw the end.
    Over,
}

impl WebSocket {
    pub(crate) fn new(id: usize, wire: SharedWire, random: Random, plan: Plan) -> Self {
        Self {
            id,
            wire,
            random,
            stage: Stage::New,
            input: Vec::new(),
            begun: None,
            fragments: VecDeque::new(),
            pings: VecDeque::new(),
            ponged: None,
            deflate: None,
            broadcast: None,
            close_sent: None,
            close_seen: None,
            turns_left: plan.turns,
            plan,
        }
    }

    fn begin(&mut self) {
        let Plan { is_hub, topic, offers_deflate, .. } = self.plan;
        let path = match is_hub {
            true => format!("/hub/{}/t{topic}", self.id),
            false => format!("/echo/{}", self.id),
        };
        let offer = match offers_deflate {
            true => "Sec-WebSocket-Extensions: permessage-deflate\r\n",
            false => "",
        };
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{offer}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.wire.borrow_mut().send(head.as_bytes());
        self.stage = Stage::Handshaking;
    }

    fn reads_all(&self) -> bool {
        match self.plan.reads {
            Reads::All => true,
            Reads::Later => self.turns_left == 0,
            Reads::Little | Reads::Never => {
                matches!(self.stage, Stage::Handshaking | Stage::Refused)
            }
        }
    }

    /// Whether it takes all that comes, and answers what is to be answered.
    pub(crate) fn is_polite(&self) -> bool {
        matches!(self.plan.reads, Reads::All | Reads::Later)
            && matches!(self.plan.goes, Goes::Stays | Goes::Close(_) | Goes::Breach(_))
    }

    fn read(&mut self, truth: &mut Truth) {
        let most = match self.reads_all() {
            true => usize::MAX,
            false if self.plan.reads == Reads::Little => self.random.some(2000),
            false => 0,
        };
        let mut wire = self.wire.borrow_mut();
        wire.takes_at_once = self.plan.reads == Reads::All;
        wire.take(most);
        self.input.append(&mut wire.inbox);
        truth.clients[self.id].was_slow |= wire.was_short;
        drop(wire);
        self.digest(truth);
        let seen = self.wire.borrow().seen();
        match seen {
            Seen::Open => {}
            Seen::End | Seen::Reset => self.ended(truth, seen),
        }
    }

    fn digest(&mut self, truth: &mut Truth) {
        if self.stage == Stage::Handshaking && !self.digest_head() {
            return;
        }
        if self.stage == Stage::Refused {
            return self.input.clear();
        }
        loop {
            match frames::take(&mut self.input) {
                Ok(None) => return,
                Ok(Some(frame)) => {
                    if let Some(frame) = self.join(frame) {
                        self.heard(frame, truth);
                    }
                }
                Err(error) => panic!("client {}: {error}", self.id),
            }
            if self.stage == Stage::Over {
                return;
            }
        }
    }

    /// Whether the head came, and the connection is open.
    fn digest_head(&mut self) -> bool {
        let Some(end) = self.input.windows(4).position(|it| it == b"\r\n\r\n") else {
            return false;
        };
        let head = String::from_utf8(self.input.drain(..end + 4).collect()).unwrap();
        let (status, fields) = head.split_once("\r\n").unwrap();
        match status {
            "HTTP/1.1 101 Switching Protocols" => {}
            // Full, draining, short of memory, or the request took too long to come.
            "HTTP/1.1 503 Service Unavailable" | "HTTP/1.1 408 Request Timeout" => {
                self.wire.borrow_mut().end();
                self.stage = Stage::Refused;
                return false;
            }
            _ => panic!("client {}: {status}", self.id),
        }
        assert!(
            fields.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            "{fields}"
        );
        let agreed =
            fields.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
        assert!(agreed.is_none() || self.plan.offers_deflate);
        self.deflate = agreed.map(Deflate::new);
        self.stage = Stage::Open;
        true
    }

    /// What is whole: a frame, or the message of which it is the last fragment.
    fn join(&mut self, frame: Frame) -> Option<Frame> {
        let id = self.id;
        if frame.opcode >= 8 {
            return Some(frame);
        }
        let whole = match self.begun.take() {
            None => {
                assert_ne!(frame.opcode, 0, "client {id}: a fragment of nothing");
                frame
            }
            Some(mut begun) => {
                assert_eq!(frame.opcode, 0, "client {id}: a message within a message");
                assert!(!frame.is_compressed, "client {id}: only the first says so");
                begun.payload.extend(frame.payload);
                Frame { is_last: frame.is_last, ..begun }
            }
        };
        if whole.is_last {
            return Some(whole);
        }
        self.begun = Some(whole);
        None
    }

    fn heard(&mut self, frame: Frame, truth: &mut Truth) {
        let Frame { is_compressed, opcode, mut payload, .. } = frame;
        let id = self.id;
        assert!(self.close_seen.is_none(), "client {id}: a frame behind the Close");
        if is_compressed {
            assert!(opcode < 8, "client {id}: a compressed control frame");
            let deflate = self.deflate.as_mut().expect("compression was agreed on");
            let inflated = deflate.inflate(&payload, 1 << 21);
            payload = inflated.unwrap_or_else(|error| panic!("client {id}: {error}"));
        }
        match opcode {
            1 => self.heard_message(Kind::Text, &payload, truth),
            2 => self.heard_message(Kind::Binary, &payload, truth),
            8 => self.heard_close(&payload, truth),
            9 => {
                if self.stage == Stage::Open {
                    self.say(0x8A, &payload);
                }
            }
            _ => {
                // Pings that came behind each other need one answer.
                let at = self.pings.iter().position(|it| *it == payload);
                let at = at.unwrap_or_else(|| panic!("client {id}: a Pong for no Ping"));
                self.pings.drain(..=at);
                self.ponged = Some(payload);
            }
        }
    }

    fn heard_message(&mut self, kind: Kind, payload: &[u8], truth: &mut Truth) {
        let id = self.id;
        if let Some(number) = payload.strip_prefix(b"\x01B") {
            let number: u64 = String::from_utf8_lossy(number).parse().unwrap();
            let last = self.broadcast.replace(number);
            assert!(
                last.is_none_or(|last| number == last + 1),
                "client {id}: broadcast {number} behind {last:?}"
            );
        } else if payload.starts_with(b"\x01") {
            let line = str::from_utf8(payload).unwrap();
            let checked = truth.check_topic_line(id, line);
            checked.unwrap_or_else(|error| panic!("client {id}: {error}"));
        } else if self.plan.is_hub && payload.starts_with(b"\x02E") {
            let told = truth.clients[id].told.pop_front().map(|(_, asked)| asked);
            let body = str::from_utf8(payload).unwrap();
            let asked = body.lines().next().unwrap();
            assert_eq!(told.as_deref(), Some(asked.as_bytes()), "client {id}");
            let checked = truth.check_excerpt(body);
            checked.unwrap_or_else(|error| panic!("client {id}: {error}"));
        } else {
            let told = truth.clients[id].told.pop_front();
            let is_same = told.as_ref().is_some_and(|it| it.0 == kind && it.1 == payload);
            assert!(
                is_same,
                "client {id}: heard {kind:?} of {} bytes, told {:?}",
                payload.len(),
                told.map(|(kind, bytes)| (kind, bytes.len()))
            );
        }
    }

    fn heard_close(&mut self, payload: &[u8], truth: &Truth) {
        let id = self.id;
        let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
        trace::note(|| format!("  {id} saw Close {code:?}"));
        self.close_seen = Some(code);
        let record = &truth.clients[id];
        assert!(record.told.is_empty(), "client {id}: Close ahead of what was sent before it");
        let mut causes: Vec<Option<u16>> = vec![Some(1001)];
        causes.extend(self.close_sent);
        causes.extend(record.sent_away.iter().copied().map(Some));
        if let (Goes::Breach(breach), Stage::Going) = (self.plan.goes, self.stage) {
            causes.push(Some(breach.code));
        }
        // What others send it may be more than it can take.
        if record.was_refused || truth.broadcasts > 0 {
            causes.push(Some(1008));
        }
        if truth.is_lossy || self.plan.is_hub {
            causes.push(Some(1008));
        }
        // Also for a topic's subscriber that is too slow.
        if truth.may_lose(id) {
            causes.push(Some(1013));
        }
        assert!(causes.contains(&code), "client {id}: Close {code:?}, none of {causes:?}");
        if self.stage == Stage::Open {
            self.say(0x88, payload);
            self.close_sent = Some(code);
        }
        self.last_word();
    }

    /// The last word was said: now for the FIN, which may take its time.
    fn last_word(&mut self) {
        if self.stage != Stage::Going || self.close_seen.is_some() {
            self.wire.borrow_mut().end();
        }
        self.stage = Stage::Going;
    }

    fn ended(&mut self, truth: &mut Truth, seen: Seen) {
        trace::note(|| format!("  {} saw the end: {seen:?}", self.id));
        let was = std::mem::replace(&mut self.stage, Stage::Over);
        let record = &truth.clients[self.id];
        let closed = record.closed;
        // Who is polite is told the end, unless it is cut for want of memory or at the drain's deadline.
        let is_cut = closed == Some(Closed::Cut)
            || was == Stage::Refused
            || record.opens == 0
            || truth.was_cut_short
            || truth.is_lossy
            || truth.has_stalled;
        if self.is_polite() && !is_cut {
            let is_told = self.input.is_empty() && self.close_seen.is_some();
            assert!(is_told, "client {}: ended without a Close: {closed:?}", self.id);
        }
        let mut wire = self.wire.borrow_mut();
        if seen == Seen::End {
            wire.end();
        }
    }

    fn say(&mut self, first: u8, payload: &[u8]) {
        let key = self.random.next().to_le_bytes();
        let key = *key.first_chunk().unwrap();
        let frame = frames::masked(first, payload, key);
        self.wire.borrow_mut().send(&frame);
    }

    fn speak(&mut self, truth: &mut Truth) {
        if self.random.once_in(6) {
            let len = self.random.below(126);
            let payload = self.random.bytes(len);
            self.say(0x89, &payload);
            self.pings.push_back(payload);
        }
        if let Some(frame) = self.fragments.pop_front() {
            return self.wire.borrow_mut().send(&frame);
        }
        if self.turns_left == 0 {
            return self.go();
        }
        self.turns_left -= 1;
        // Now and then more than a turn's share of frames.
        let is_burst = self.random.once_in(25);
        let count = if is_burst { self.random.between(200, 700) } else { self.random.some(6) + 1 };
        for _ in 0..count {
            let (kind, payload) = match self.plan.is_hub {
                true => (Kind::Text, self.command(truth)),
                false if is_burst => (Kind::Text, b"*".to_vec()),
                false => self.message(),
            };
            self.say_message(kind, &payload, !is_burst);
            truth.clients[self.id].said.push_back((kind, payload));
            if !self.fragments.is_empty() {
                return;
            }
        }
    }

    fn say_message(&mut self, kind: Kind, payload: &[u8], may_split: bool) {
        let mut first = if kind == Kind::Text { 1 } else { 2 };
        let packed = match &mut self.deflate {
            Some(deflate) if self.random.once_in(2) => {
                first |= 0x40;
                deflate.deflate(payload)
            }
            _ => payload.to_vec(),
        };
        if !may_split || !self.random.once_in(4) {
            return self.say(0x80 | first, &packed);
        }
        let mut rest = &packed[..];
        for _ in 1..self.random.between(1, self.plan.fragments_max.min(9)) {
            let (part, left) = rest.split_at(self.random.some(rest.len()));
            rest = left;
            self.fragments.push_back(frames::masked(first, part, [1, 2, 3, 4]));
            first = 0;
        }
        self.fragments.push_back(frames::masked(0x80 | first, rest, [5, 6, 7, 8]));
    }

    /// Anything, of lengths where something changes.
    fn message(&mut self) -> (Kind, Vec<u8>) {
        let most = self.plan.message_bytes_max;
        let len = match self.random.below(40) {
            0..=5 => self.random.below(3),
            6..=9 => self.random.between(124, 128),
            10 => self.random.between(65_533, 65_537),
            11 | 12 => self.random.some(200_000),
            13..=20 => self.random.some(5_000),
            _ => self.random.some(300),
        };
        let len = len.min(most);
        if self.random.once_in(2) {
            let mut bytes = self.random.bytes(len);
            // What begins so comes from topics.
            if let Some(first @ 1) = bytes.first_mut() {
                *first = 2;
            }
            return (Kind::Binary, bytes);
        }
        let word = self.random.pick(&["a", "wsfast ", "é", "漢字", "😀", "\0"]);
        let mut text = word.repeat(len / word.len());
        text.push_str(&"z".repeat(len - text.len()));
        (Kind::Text, text.into())
    }

    /// One of `App::command`'s.
    fn command(&mut self, truth: &Truth) -> Vec<u8> {
        let id = self.id;
        let other = self.random.below(self.plan.others);
        let most = self.plan.message_bytes_max.min(3000);
        let len = self.random.some(most.saturating_sub(40));
        let (number, filler) = (truth.calls, "-".repeat(len));
        let text = match self.random.below(30) {
            0..=12 => format!("P{id}.{number}{filler}"),
            13..=20 => format!("S{other} {id}.{number}{filler}"),
            21 | 22 => format!("M{} {id}.{number}{filler}", self.random.some(60)),
            23 => "B".to_owned(),
            24 | 25 => "U".to_owned(),
            26 => "R".to_owned(),
            27 => format!("E{} {}", self.random.some(12), self.random.some(12)),
            28 if self.random.once_in(4) => format!("X{}", self.random.pick(&[1000, 4000, 4999])),
            29 if self.random.once_in(4) => format!("K{other}"),
            _ => String::new(),
        };
        text.into()
    }

    fn go(&mut self) {
        match self.plan.goes {
            Goes::Stays => return,
            Goes::Close(code) => {
                let body = code.map(|code| code.to_be_bytes().to_vec()).unwrap_or_default();
                self.say(0x88, &body);
                self.close_sent = Some(code);
            }
            Goes::Fin => self.wire.borrow_mut().end(),
            Goes::Reset => self.wire.borrow_mut().reset(),
            Goes::Breach(breach) => {
                // What follows it must not take the Close away that says what was wrong.
                let len = self.random.some(3000);
                let rest = self.random.bytes(len);
                let mut wire = self.wire.borrow_mut();
                wire.send(breach.bytes);
                wire.send(&rest);
            }
        }
        trace::note(|| format!("  {} goes: {:?}", self.id, self.plan.goes));
        self.stage = Stage::Going;
    }
}

impl Client for WebSocket {
    fn act(&mut self, truth: &mut Truth, speaks: bool) {
        match self.stage {
            Stage::Over => return,
            Stage::New if !speaks => return,
            Stage::New => self.begin(),
            Stage::Handshaking | Stage::Open | Stage::Going | Stage::Refused => {}
        }
        self.read(truth);
        if self.stage == Stage::Open && speaks {
            self.speak(truth);
        }
    }

    fn check_settled(&self, truth: &Truth) {
        let record = &truth.clients[self.id];
        if self.stage != Stage::Open || !self.reads_all() || record.peer.is_none() {
            return;
        }
        let id = self.id;
        let has_said =
            record.said.len() - usize::from(!self.fragments.is_empty()).min(record.said.len());
        assert_eq!(has_said, 0, "client {id}: messages were not heard");
        assert_eq!(record.told.len(), 0, "client {id}: messages were not sent");
        assert!(truth.is_caught_up(id), "client {id}: was not given all, {:?}", record.cursors);
        let unanswered = self.pings.iter().filter(|&ping| Some(ping) != self.ponged.as_ref());
        assert_eq!(unanswered.count(), 0, "client {id}: Pings were not answered");
    }
}

/// Each with the code of `faults.md`. A zero masking key lets the payload stand as it is.
pub(crate) const BREACHES: &[Breach] = &[
    Breach { bytes: b"\x81\x02hi", code: 1002 },
    Breach { bytes: b"\x91\x80\0\0\0\0", code: 1002 },
    Breach { bytes: b"\x83\x80\0\0\0\0", code: 1002 },
    Breach { bytes: b"\x8B\x80\0\0\0\0", code: 1002 },
    Breach { bytes: b"\x09\x80\0\0\0\0", code: 1002 },
    Breach { bytes: b"\x89\xFE\0\x7E\0\0\0\0", code: 1002 },
    Breach { bytes: b"\x81\xFE\0\x05\0\0\0\0hello", code: 1002 },
    Breach { bytes: b"\x82\xFF\x80\0\0\0\0\0\0\0\0\0\0\0", code: 1002 },
    Breach { bytes: b"\x80\x80\0\0\0\0", code: 1002 },
    Breach { bytes: b"\x01\x80\0\0\0\0\x81\x80\0\0\0\0", code: 1002 },
    Breach { bytes: b"\x88\x81\0\0\0\0a", code: 1002 },
    Breach { bytes: b"\x88\x82\0\0\0\0\x03\xED", code: 1002 },
    Breach { bytes: b"\x88\x83\0\0\0\0\x03\xE8\xFF", code: 1007 },
    Breach { bytes: b"\x81\x82\0\0\0\0\xC3\x28", code: 1007 },
    Breach { bytes: b"\x01\x81\0\0\0\0\xF5", code: 1007 },
    Breach { bytes: b"\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0", code: 1009 },
    Breach {
        bytes: b"\x02\x81\0\0\0\0a\x80\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0",
        code: 1009,
    },
];
