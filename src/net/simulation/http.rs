//! Clients over HTTP: pages on a connection that is kept, a stream of a topic, and long polls.
//!
//! What they must see is known byte for byte, or line by line where it is a topic's.

use crate::net::simulation::app::{FAR, page};
use crate::net::simulation::client::Client;
use crate::net::simulation::random::Random;
use crate::net::simulation::trace;
use crate::net::simulation::truth::{Cursor, Truth};
use crate::net::simulation::wire::{Seen, SharedWire};

/// See the module.
#[derive(Debug)]
pub(crate) struct Http {
    id: usize,
    wire: SharedWire,
    random: Random,
    asks: Asks,
    goes: bool,
    input: Vec<u8>,
    /// Bytes that must come next, where they are known.
    due: Vec<u8>,
    /// When the request under way was sent.
    asked_at_ms: Option<u64>,
    /// Whether the request under way named a place that never was.
    is_lost: bool,
    /// Whether the request under way asks for what is kept.
    asks_for_excerpt: bool,
    /// Whether the head of the response was read.
    is_streaming: bool,
    is_over: bool,
    turns_left: usize,
    body_bytes_max: usize,
}

/// What it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Pages,
    Stream { topic: usize },
    Polls { topic: usize, wait_ms: u64 },
}

impl Http {
    /// `goes`: whether it ends the connection in the middle of things.
    pub(crate) fn new(
        id: usize,
        wire: SharedWire,
        mut random: Random,
        asks: Asks,
        body_bytes_max: usize,
    ) -> Self {
        let (goes, turns_left) = (random.once_in(4), random.some(10) + 1);
        Self {
            id,
            wire,
            random,
            asks,
            goes,
            input: Vec::new(),
            due: Vec::new(),
            asked_at_ms: None,
            is_lost: false,
            asks_for_excerpt: false,
            is_streaming: false,
            is_over: false,
            turns_left,
            body_bytes_max,
        }
    }

    fn send(&mut self, request: &str) {
        self.wire.borrow_mut().send(request.as_bytes());
    }

    fn ask(&mut self, truth: &mut Truth) {
        if self.turns_left == 0 {
            if self.goes && self.random.once_in(4) {
                let mut wire = self.wire.borrow_mut();
                if self.random.once_in(2) {
                    wire.reset();
                } else {
                    wire.end();
                }
                self.is_over = true;
            }
            return;
        }
        let id = self.id;
        match self.asks {
            Asks::Pages => {
                self.turns_left -= 1;
                for _ in 0..=self.random.some(3) {
                    self.ask_page();
                }
            }
            Asks::Stream { topic } => {
                self.turns_left = 0;
                self.send(&format!("GET /stream/{id}/t{topic} HTTP/1.1\r\nHost: h\r\n\r\n"));
                self.due =
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
                        .to_vec();
            }
            Asks::Polls { topic, wait_ms } => {
                if self.asked_at_ms.is_some() {
                    return;
                }
                self.turns_left -= 1;
                self.asked_at_ms = Some(truth.now_ms);
                self.asks_for_excerpt = self.random.once_in(3);
                if self.asks_for_excerpt {
                    let (back, count) = (self.random.some(12), self.random.some(12));
                    return self.send(&format!(
                        "GET /excerpt/{id}/t{topic}/{back}/{count} HTTP/1.1\r\nHost: h\r\n\r\n"
                    ));
                }
                let cursor = truth.clients[id].cursors.back();
                let (mut life, mut offset) = match cursor {
                    Some(cursor) => (cursor.life.to_string(), cursor.next - 1),
                    None => ("-".to_owned(), 0),
                };
                self.is_lost = self.random.once_in(6);
                if self.is_lost {
                    offset = self.random.pick(&FAR);
                    if life == "-" || self.random.once_in(2) {
                        life = "x".to_owned();
                    }
                }
                self.send(&format!(
                    "GET /wait/{id}/t{topic}/{life}/{offset}/{wait_ms} HTTP/1.1\r\nHost: h\r\n\r\n"
                ));
            }
        }
    }

    fn ask_page(&mut self) {
        let id = self.id;
        let len = self.random.some(4000);
        let body = match self.random.once_in(3) {
            true => {
                let len = len.min(self.body_bytes_max);
                self.send(&format!(
                    "POST /http/{id}/0 HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n\r\n"
                ));
                let body = page(len);
                self.wire.borrow_mut().send(&body);
                body
            }
            false => {
                self.send(&format!("GET /http/{id}/{len} HTTP/1.1\r\nHost: h\r\n\r\n"));
                page(len)
            }
        };
        let len = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n\r\n");
        self.due.extend_from_slice(head.as_bytes());
        self.due.extend_from_slice(&body);
    }

    /// Whether what came is the end that a server may bring about at any time.
    fn is_refusal(&self, truth: &Truth) -> bool {
        // So far it is like any other response.
        let input = self.input.strip_prefix(b"HTTP/1.1 ").unwrap_or(&self.input);
        let is = |line: &str| {
            let line = line.as_bytes();
            input.starts_with(&line[..line.len().min(input.len())])
        };
        is("503 Service Unavailable\r\n")
            && (truth.is_full || truth.is_draining || truth.is_lossy)
            // It asked for more than it took.
            || is("429 Too Many Requests\r\n") && self.asks == Asks::Pages
            // A request that came in part when time jumped.
            || is("408 Request Timeout\r\n") && truth.has_stalled
    }

    fn digest(&mut self, truth: &mut Truth) {
        let pairs = self.input.iter().zip(&self.due);
        let len = pairs.take_while(|(came, due)| came == due).count();
        self.input.drain(..len);
        self.due.drain(..len);
        if !self.input.is_empty() && !self.due.is_empty() {
            assert!(self.is_refusal(truth), "client {}: {:?}", self.id, self.shown());
            self.is_over = true;
            return self.wire.borrow_mut().end();
        }
        if self.input.is_empty() || !self.due.is_empty() {
            return;
        }
        match self.asks {
            Asks::Stream { .. } => {
                self.is_streaming = true;
                self.digest_lines(truth);
            }
            Asks::Polls { topic, .. } => self.digest_answer(topic, truth),
            Asks::Pages => {
                assert!(self.is_refusal(truth), "client {}: {:?}", self.id, self.shown());
                self.is_over = true;
                self.wire.borrow_mut().end();
            }
        }
    }

    fn shown(&self) -> String {
        let first =
            |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        format!("{:?} for {:?}", first(&self.input), first(&self.due))
    }

    fn digest_lines(&mut self, truth: &mut Truth) {
        while let Some(end) = self.input.iter().position(|&byte| byte == b'\n') {
            let line = String::from_utf8(self.input.drain(..=end).collect()).unwrap();
            let line = line.trim_end();
            if line != ":" {
                let checked = truth.check_topic_line(self.id, line);
                checked.unwrap_or_else(|error| panic!("client {}: {error}", self.id));
            }
        }
    }

    fn digest_answer(&mut self, topic: usize, truth: &mut Truth) {
        let Some(end) = self.input.windows(4).position(|it| it == b"\r\n\r\n") else { return };
        let head = String::from_utf8(self.input[..end].to_vec()).unwrap();
        if !head.starts_with("HTTP/1.1 20") {
            assert!(self.is_refusal(truth), "client {}: {head}", self.id);
            self.is_over = true;
            return self.wire.borrow_mut().end();
        }
        let Some((body, len)) = body_of(&head, &self.input[end + 4..]) else { return };
        let is_excerpt = std::mem::take(&mut self.asks_for_excerpt);
        let is_empty = !is_excerpt && len == 0;
        assert_eq!(is_empty, head.starts_with("HTTP/1.1 204 "), "client {}: {head}", self.id);
        assert!(self.asked_at_ms.take().is_some(), "client {}: an answer unasked", self.id);
        self.input.drain(..end + 4 + len);
        let body = String::from_utf8(body).unwrap();
        if is_excerpt {
            let checked = if body.is_empty() { Ok(()) } else { truth.check_excerpt(&body) };
            return checked.unwrap_or_else(|error| panic!("client {}: {error}", self.id));
        }
        if self.is_lost {
            // A topic that is not there has nothing to say, not even this.
            let is_gone = body.is_empty() && matches!(self.asks, Asks::Polls { wait_ms: 0, .. });
            let is_told = body.starts_with("\x01G");
            assert!(is_told || is_gone, "client {}: lost, and not told: {body:.60?}", self.id);
            truth.clients[self.id].cursors.clear();
        }
        for line in body.lines() {
            self.expect_life_of(line, topic, truth);
            let checked = truth.check_topic_line(self.id, line);
            checked.unwrap_or_else(|error| panic!("client {}: {error}", self.id));
        }
    }

    /// The first answer begins anywhere, and so does one behind a notice that the topic is another's now.
    fn expect_life_of(&self, line: &str, topic: usize, truth: &mut Truth) {
        let mut words = line.split(' ').skip(1);
        let life: usize = words.next().unwrap().parse().unwrap();
        let offset: u64 = words.next().unwrap().parse().unwrap();
        let cursors = &mut truth.clients[self.id].cursors;
        let is_notice = line.starts_with("\x01G");
        if cursors.back().is_none_or(|cursor| cursor.life != life && is_notice) {
            cursors.clear();
            let topic = format!("t{topic}");
            cursors.push_back(Cursor {
                topic,
                life,
                next: offset,
                mutes_own: false,
                replays: true,
                end: None,
            });
        }
    }
}

/// A response's body, and how many bytes it has on the wire, once it came whole.
fn body_of(head: &str, bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    if !head.contains("Transfer-Encoding: chunked") {
        let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let len: usize = len.map_or(0, |len| len.parse().unwrap());
        return Some((bytes.get(..len)?.to_vec(), len));
    }
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = bytes[at..].windows(2).position(|it| it == b"\r\n")?;
        let len = usize::from_str_radix(str::from_utf8(&bytes[at..at + line]).unwrap(), 16);
        let (from, len) = (at + line + 2, len.unwrap());
        body.extend_from_slice(bytes.get(from..from + len)?);
        assert_eq!(bytes.get(from + len..from + len + 2)?, b"\r\n");
        at = from + len + 2;
        if len == 0 {
            return Some((body, at));
        }
    }
}

impl Client for Http {
    fn act(&mut self, truth: &mut Truth, speaks: bool) {
        if self.is_over {
            let mut wire = self.wire.borrow_mut();
            wire.take(usize::MAX);
            wire.inbox.clear();
            return;
        }
        let mut wire = self.wire.borrow_mut();
        wire.takes_at_once = true;
        wire.take(usize::MAX);
        self.input.append(&mut wire.inbox);
        // Who polls is not there all the time.
        let is_away = matches!(self.asks, Asks::Polls { .. });
        truth.clients[self.id].was_slow |= is_away || wire.was_short;
        let seen = wire.seen();
        if !wire.is_served() && self.asked_at_ms.is_some() {
            // Time runs once it is accepted.
            self.asked_at_ms = Some(truth.now_ms);
        }
        drop(wire);
        self.digest(truth);
        match seen {
            Seen::Open if speaks && !self.is_over => self.ask(truth),
            Seen::Open => {}
            Seen::End | Seen::Reset => {
                trace::note(|| format!("  {} saw the end: {seen:?}", self.id));
                self.wire.borrow_mut().end();
                self.is_over = true;
            }
        }
    }

    fn check_settled(&self, truth: &Truth) {
        let is_served = self.wire.borrow().is_served();
        if self.is_over || !is_served {
            return;
        }
        let id = self.id;
        assert!(self.due.is_empty(), "client {id}: {} bytes are missing", self.due.len());
        if self.is_streaming {
            assert!(truth.is_caught_up(id), "client {id}: was not given all");
        }
        let Asks::Polls { topic, wait_ms } = self.asks else { return };
        let Some(asked_at_ms) = self.asked_at_ms else { return };
        assert!(!self.asks_for_excerpt, "client {id}: was not answered");
        let waits_ms = truth.now_ms - asked_at_ms;
        assert!(
            waits_ms <= wait_ms + 1000 || truth.has_stalled,
            "client {id}: waits for {waits_ms} ms"
        );
        let cursor = truth.clients[id].cursors.back();
        let has_more = cursor.is_some_and(|cursor| {
            truth.topics[&format!("t{topic}")][cursor.life].messages.len() as u64 >= cursor.next
        });
        assert!(!has_more, "client {id}: waits for what is there");
    }
}
