//! The answer to a long-poll, or to a GET with `since`: a cursor over a topic's messages, and the response that is made of it in
//! parts, as the kernel takes them.
//!
//! ```text
//! Due ──► first part ──┬─ all of it: Content-Length                                ──► the next request
//!                      └─ more: chunks (RFC 9112 §7.1) ──► Begun ──► part ──► ... ──► last chunk ──┘
//! ```
//!
//! A part is made of the messages' encodings that all readers share, so that an answer costs, as long as it is not taken, what a
//! stream costs that is not taken. Which messages an answer has is settled with its head, which names the last of them. Messages
//! that fall off the topic's ring before they were written are a gap within the answer.
//!
//! Waits for no topic: that is `http`'s. Whether there is work left for a part is `work`'s.

#![deny(clippy::arithmetic_side_effects)]

use std::rc::Rc;

use crate::net::api::handler::{Found, Handler, Lag};
use crate::net::peer::tx::{Phase, Tx};
use crate::net::phase::fan_out::encoding;
use crate::net::phase::http::{After, Next};
use crate::net::phase::receive::Reading;
use crate::net::server::Server;
use crate::net::terms::arrival::Arrival;
use crate::net::terms::cursor::{Gap, MessageId, Since};
use crate::net::terms::topic::{Class, Form};
use crate::net::topics::partial::Partial;
use crate::net::topics::ring::Topic;
use crate::net::turn::Turn;
use crate::net::turn::work::CALL_UNITS;
use crate::proto::http::{self, Body, End, Length};
use crate::state::{Corrupt, Reader, Saved, Writer};

/// A request that is answered with a topic's messages.
#[derive(Debug)]
pub(crate) struct Replying {
    pub(crate) topic: String,
    pub(crate) form: Form,
    pub(crate) stage: Stage,
    pub(crate) from: Arrival,
    pub(crate) after: After,
    /// What came of further requests.
    pub(crate) early: Vec<u8>,
}

/// How far an answer is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Nothing was made of it.
    Due {
        /// From where on.
        since: Since,
        /// Further header lines.
        headers: Vec<(&'static str, String)>,
    },
    /// Its head has left, and chunks follow.
    Begun(Cursor),
}

/// The messages that are still to be written.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    epoch: u64,
    /// The first of them.
    next: u64,
    /// Behind the last of them.
    end: u64,
    /// What precedes them.
    partial: Option<Partial>,
}

saved!(struct Replying { topic, form, stage, from, after, early });
saved!(struct Cursor { epoch, next, end, partial });

/// One that is due is begun before it is written (`settle`).
impl Saved for Stage {
    fn save(&self, out: &mut Writer) {
        match self {
            Self::Due { .. } => Cursor::default().save(out),
            Self::Begun(cursor) => cursor.save(out),
        }
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Cursor::restore(from).map(Self::Begun)
    }
}

/// What an answer is going to have, as of now.
struct Outlook {
    cursor: Cursor,
    /// What was asked for and is gone, as it is told.
    notice: Vec<u8>,
    /// The last message that it has, or where the topic stands.
    last: Option<MessageId>,
    found: Found,
}

/// Encodings that leave together.
#[derive(Default)]
struct Part {
    pieces: Vec<Rc<[u8]>>,
    /// Of all pieces.
    len: usize,
    /// Of the pieces that are copied.
    copied: usize,
}

/// An answer that cannot be written to its end.
struct Cut;

impl<H: Handler> Server<H> {
    /// Writes an answer as far as the kernel takes it and the peer's share goes. What is left over is kept.
    pub(crate) fn reply(&mut self, key: usize, mut replying: Box<Replying>) -> Next {
        let mut given = 0;
        loop {
            if given >= SHARE_BYTES || !self.turn.work.is_granted() {
                self.peers.tx[key].await_work(key, &mut self.turn);
                return self.keep_replying(key, replying);
            }
            let written = match replying.stage {
                Stage::Due { .. } => self.begin_reply(key, &mut replying),
                Stage::Begun(_) => self.write_chunk(key, &mut replying),
            };
            let Ok(len) = written else { return self.cut_reply(key, &replying) };
            self.turn.work.spend(len.saturating_add(CALL_UNITS));
            given = given.saturating_add(len);
            let tx = &mut self.peers.tx[key];
            tx.flush(key, &mut self.turn);
            if tx.phase == Phase::Doomed {
                return Next::Other;
            }
            if replying.is_whole() {
                return self.end_response(key, replying.after);
            }
            if !self.peers.tx[key].is_flushed() {
                return self.keep_replying(key, replying);
            }
        }
    }

    /// Goes on with an answer whose last part was taken, and then with the requests behind it.
    pub(crate) fn go_on_replying(&mut self, key: usize) {
        if !self.peers.tx[key].is_flushed() {
            // Its writable event brings it back.
            return;
        }
        let Reading::Replying(mut replying) =
            std::mem::replace(&mut self.peers.rx[key].reading, Reading::Nothing)
        else {
            return;
        };
        let (from, early) = (replying.from, std::mem::take(&mut replying.early));
        match self.reply(key, replying) {
            Next::Request => {
                // Nothing was read while it was under way.
                self.peers.tx[key].mark_ready(key, &mut self.turn);
                self.await_request(key, from, early);
            }
            Next::Other | Next::Later => self.keep_early(key, &early),
        }
    }

    /// Answers what waits, and begins what is due, whatever work that is: only what is begun moves to another image.
    pub(crate) fn settle(&mut self, key: usize) {
        loop {
            match &self.peers.rx[key].reading {
                Reading::Waiting(_) => self.end_wait(key),
                Reading::Replying(replying) if !replying.is_begun() => {
                    self.begin_due(key);
                }
                _ => return,
            }
        }
    }

    /// Begins an answer, whether or not what came before it was taken.
    fn begin_due(&mut self, key: usize) {
        let Reading::Replying(mut replying) =
            std::mem::replace(&mut self.peers.rx[key].reading, Reading::Nothing)
        else {
            return;
        };
        if self.begin_reply(key, &mut replying).is_err() {
            self.cut_reply(key, &replying);
        } else if !replying.is_whole() {
            self.keep_replying(key, replying);
        } else if let Next::Request = self.end_response(key, replying.after) {
            self.await_request(key, replying.from, replying.early);
        }
    }

    fn keep_replying(&mut self, key: usize, replying: Box<Replying>) -> Next {
        let Self { peers, turn, .. } = self;
        turn.timers.set(key, turn.now_ms.saturating_add(turn.limits.send_timeout_ms));
        let rx = &mut peers.rx[key];
        rx.last_rx_ms = turn.now_ms;
        rx.reading = Reading::Replying(replying);
        Next::Other
    }

    /// Queues the head, and the first part behind it; how many bytes.
    fn begin_reply(&mut self, key: usize, replying: &mut Replying) -> Result<usize, Cut> {
        let Self { turn, handler, peers, .. } = self;
        let Replying { topic, form, stage, after, .. } = replying;
        let Stage::Due { since, headers } = stage else { return Ok(0) };
        let Outlook { mut cursor, notice, last, found } =
            Outlook::of(turn.topics.find(topic), *since, *form, handler);
        let mut response = handler.respond(*form, last, found);
        response.headers.append(headers);
        let mut part = Part::default();
        part.add(notice.into());
        part.fill(handler, turn, topic, *form, &mut cursor)?;
        let length = match (found, cursor.is_done()) {
            (Found::Nothing, _) => Length::Bytes(0),
            (Found::Messages, true) => Length::Bytes(part.len),
            (Found::Messages, false) => Length::Chunked,
        };
        let mut head = Vec::new();
        http::encode_head(&mut head, &response, length, after.end);
        let tx = &mut peers.tx[key];
        tx.queue_own(&head);
        match (after.body, length) {
            (Body::LeftOut, _) => cursor = Cursor::default(),
            (Body::Sent, Length::Bytes(_)) => part.queue(tx),
            (Body::Sent, Length::Chunked) => part.queue_as_chunk(tx),
        }
        *stage = Stage::Begun(cursor);
        let len = head.len().saturating_add(part.len);
        self.leave_topics(key);
        Ok(len)
    }

    /// Queues the next part as a chunk, and with the last one the end; how many bytes.
    fn write_chunk(&mut self, key: usize, replying: &mut Replying) -> Result<usize, Cut> {
        let Self { turn, handler, peers, .. } = self;
        let Replying { topic, form, stage, .. } = replying;
        let Stage::Begun(cursor) = stage else { return Ok(0) };
        let mut part = Part::default();
        part.fill(handler, turn, topic, *form, cursor)?;
        let tx = &mut peers.tx[key];
        part.queue_as_chunk(tx);
        if cursor.is_done() {
            tx.queue_own(b"0\r\n\r\n");
        }
        Ok(part.len)
    }

    /// Ends an answer that lacks something: behind its head there is no other way to say so.
    #[cold]
    fn cut_reply(&mut self, key: usize, replying: &Replying) -> Next {
        match replying.stage {
            Stage::Due { .. } => self.end_for_memory(key),
            Stage::Begun(_) => self.peers.tx[key].cut_for_memory(key, &mut self.turn),
        }
        Next::Other
    }
}

impl Replying {
    /// Bytes that came and are kept.
    pub(crate) const fn kept_bytes(&self) -> usize {
        self.early.capacity()
    }

    /// Whether its head has left.
    pub(crate) const fn is_begun(&self) -> bool {
        matches!(self.stage, Stage::Begun(_))
    }

    /// It is the last of its connection; what came behind the request is not answered.
    pub(crate) fn be_last(&mut self) {
        self.after.end = End::Close;
        self.early = Vec::new();
    }

    fn is_whole(&self) -> bool {
        matches!(&self.stage, Stage::Begun(cursor) if cursor.is_done())
    }
}

impl Cursor {
    fn is_done(&self) -> bool {
        self.next >= self.end && self.partial.is_none()
    }
}

impl Outlook {
    fn of<H: Handler>(topic: Option<&Topic>, since: Since, form: Form, handler: &H) -> Self {
        let Some(topic) = topic else {
            let (cursor, notice) = (Cursor::default(), Vec::new());
            return Self { cursor, notice, last: None, found: Found::Nothing };
        };
        let position = topic.position(since);
        let (next, end) = (position.next, end_of_reply(topic, position.next));
        let cursor = Cursor { epoch: topic.epoch, next, end, partial: None };
        let mut notice = Vec::new();
        if let Some(gap) = position.gap {
            // However it ends the connection of others: here the notice is all there is.
            let _told = handler.on_gap(form, &topic.name, gap, &mut notice);
        }
        let offset = end.saturating_sub(1);
        let newest = (next < end).then_some(MessageId { epoch: topic.epoch, offset });
        let last = newest.or(position.gap.map(|gap| gap.to)).unwrap_or(position.last);
        let has_any = newest.is_some() || !notice.is_empty();
        let found = if has_any { Found::Messages } else { Found::Nothing };
        Self { cursor, notice, last: Some(last), found }
    }
}

/// Behind the last message of an answer that begins with the one at `next`, which is always in it.
fn end_of_reply(topic: &Topic, next: u64) -> u64 {
    let (mut end, mut len) = (next, 0);
    while let Some(entry) = topic.entry(end)
        && (end == next || len < RESPONSE_BYTES_MAX)
    {
        len = entry.payload().len().saturating_add(MESSAGE_COST).saturating_add(len);
        end = end.saturating_add(1);
    }
    end
}

impl Part {
    fn add(&mut self, piece: Rc<[u8]>) {
        self.len = self.len.saturating_add(piece.len());
        if piece.len() <= COPIED_BYTES_MAX {
            self.copied = self.copied.saturating_add(piece.len());
        }
        self.pieces.push(piece);
    }

    fn is_full(&self) -> bool {
        self.len >= PART_BYTES || self.copied >= COPIED_BYTES || self.pieces.len() >= PIECES_MAX
    }

    /// Takes in what `cursor` has next of a topic, and moves it.
    fn fill<H: Handler>(
        &mut self,
        handler: &H,
        turn: &mut Turn,
        name: &str,
        form: Form,
        cursor: &mut Cursor,
    ) -> Result<(), Cut> {
        while !self.is_full() && !cursor.is_done() {
            if let Some(partial) = &mut cursor.partial {
                let mut bytes = Vec::new();
                partial.encode(handler, &turn.memory, &mut bytes).ok_or(Cut)?;
                let is_enough = bytes.len() >= COPIED_BYTES / 2;
                self.add(bytes.into());
                if partial.is_done() {
                    cursor.partial = None;
                }
                // It is this reader's alone, as copies are.
                if is_enough {
                    return Ok(());
                }
                continue;
            }
            let at = turn.topics.key_of(name);
            let Some((at, mut topic)) = at.and_then(|at| Some((at, turn.topics.take_out(at)?)))
            else {
                // All of it is gone, and nobody is left who could say so: not even a gap can be named.
                return Err(Cut);
            };
            let mut grown = 0;
            let filled = self.fill_from(handler, turn, &mut topic, form, cursor, &mut grown);
            turn.topics.put_back(at, topic, grown);
            filled?;
        }
        Ok(())
    }

    /// The same, up to a long message, of which there are parts.
    fn fill_from<H: Handler>(
        &mut self,
        handler: &H,
        turn: &mut Turn,
        topic: &mut Topic,
        form: Form,
        cursor: &mut Cursor,
        grown: &mut usize,
    ) -> Result<(), Cut> {
        let class = Class { form, window_at: None };
        while !self.is_full() && cursor.next < cursor.end {
            let is_same = cursor.epoch == topic.epoch;
            let Some(entry) = topic.entry(cursor.next).filter(|_| is_same) else {
                self.bridge_gap(handler, topic, form, cursor)?;
                continue;
            };
            let offset = cursor.next;
            cursor.next = cursor.next.saturating_add(1);
            if Partial::suits(form, entry.payload()) {
                cursor.partial = topic.partial(offset, form);
                return Ok(());
            }
            self.add(encoding(handler, turn, topic, offset, class, grown).ok_or(Cut)?);
        }
        Ok(())
    }

    /// Tells what fell off the ring since the answer began, and moves behind it.
    #[cold]
    fn bridge_gap<H: Handler>(
        &mut self,
        handler: &H,
        topic: &Topic,
        form: Form,
        cursor: &mut Cursor,
    ) -> Result<(), Cut> {
        let to = match cursor.epoch == topic.epoch {
            true => topic.first.min(cursor.end),
            false => cursor.end,
        };
        let id = |offset: u64| MessageId { epoch: cursor.epoch, offset: offset.saturating_sub(1) };
        let gap = Gap { from: id(cursor.next), to: id(to) };
        let mut notice = Vec::new();
        match handler.on_gap(form, &topic.name, gap, &mut notice) {
            Lag::Told(_) | Lag::Ended(_) => self.add(notice.into()),
            Lag::Untold => {}
            Lag::Close(..) => return Err(Cut),
        }
        cursor.next = to;
        Ok(())
    }

    fn queue(&self, tx: &mut Tx) {
        for piece in &self.pieces {
            if piece.len() <= COPIED_BYTES_MAX {
                tx.queue_own(piece);
            } else {
                tx.queue_others(Rc::clone(piece));
            }
        }
    }

    fn queue_as_chunk(&self, tx: &mut Tx) {
        if self.len > 0 {
            tx.queue_own(format!("{:x}\r\n", self.len).as_bytes());
            self.queue(tx);
            tx.queue_own(b"\r\n");
        }
    }
}

/// Payloads of one response, with what each message costs beside them; the first is always there.
const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// What a message costs beside its payload.
const MESSAGE_COST: usize = 64;

/// What one answer is given in one turn.
const SHARE_BYTES: usize = 512 * 1024;

/// A part, about; of it only this much is the reader's own: copies of short pieces.
const PART_BYTES: usize = 64 * 1024;
const COPIED_BYTES: usize = 16 * 1024;
const COPIED_BYTES_MAX: usize = 1024;

/// Few pieces, so that a reader that takes nothing costs next to nothing.
const PIECES_MAX: usize = 256;
