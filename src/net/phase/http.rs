//! Requests that are no opening handshake: body, answer, and the next request on the same connection (RFC 9112 §9.3).
//!
//! ```text
//! head ──► body, if there is one ──► handler ──┬─ Respond, Excerpt ──► next head, or the end
//!               ▲                              ├─ Stream  ──► topics' messages until either side has enough
//!               │                              ├─ Wait    ──► topics' messages once there are any, or nothing in time ──► next head
//!               └── once there is work left ───┴─ Later
//! ```
//!
//! What is served where is the handler's; how a topic's messages become a response is `reply`'s. A body is read whole, and only if it is within its limit; one whose length is not
//! declared is refused.

#![deny(clippy::arithmetic_side_effects)]

use crate::net::api::context::{Context, unsubscribe};
use crate::net::api::handler::Handler;
use crate::net::peer::in_place::InPlace;
use crate::net::peer::tx::Phase;
use crate::net::phase::opening::Head;
use crate::net::phase::receive::Reading;
use crate::net::phase::reply::{Replying, Stage};
use crate::net::server::Server;
use crate::net::terms::arrival::Arrival;
use crate::net::terms::closed::Closed;
use crate::net::terms::cursor::{Position, Since};
use crate::net::terms::refusal::Refusal;
use crate::net::terms::topic::{Form, TopicError};
use crate::net::topics::excerpt::{Excerpt, Unmade};
use crate::net::turn::admins::NO_ROOM_TO_STAY;
use crate::net::turn::memory::{Memory, SHORT_REASON};
use crate::net::turn::work::CALL_UNITS;
use crate::proto::handshake::{BodyLength, HeadLimits, HeadScan, Request, Status};
use crate::proto::http::{self, Body, End, Length, Response};

/// What a request that is no opening handshake comes to.
#[derive(Debug)]
pub enum Answer<S> {
    /// This response; the connection may have another request.
    Respond(Response),
    /// This error, and the end of the connection.
    Refuse(Refusal),
    /// This response, and as its body what a topic keeps, made as the client takes it.
    Excerpt {
        /// Its head.
        response: Response,
        /// Its body.
        excerpt: Excerpt,
    },
    /// Not in this turn, whose work is used up ([`Context::has_work_left`]): the request comes again once it is its turn.
    Later,
    /// This response, and then what the peer subscribes to in `on_open`, until either side ends the connection.
    Stream {
        /// Its head, and the first part of its body.
        response: Response,
        /// The application's state for this peer.
        state: S,
        /// What is sent when nothing else was for a while.
        keep_alive: &'static [u8],
    },
    /// A topic's messages from `since` on, in one response (`Handler::respond`), as soon as there are any.
    Wait {
        /// The topic.
        topic: String,
        /// The form in which each message is written, one behind the other.
        form: Form,
        /// From where on.
        since: Since,
        /// How long to wait; then 204.
        wait_ms: u64,
        /// Further header lines of the response, whichever it is.
        headers: Vec<(&'static str, String)>,
    },
}

/// A request whose body is not whole yet, or that is put off and whole, with what came behind it.
#[derive(Debug)]
pub(crate) struct Gathering {
    /// Head and body so far.
    bytes: Vec<u8>,
    head_len: usize,
    /// Of head and body together.
    len: usize,
    from: Arrival,
}

/// A request that waits for a topic's messages.
#[derive(Debug)]
pub(crate) struct Waiting {
    topic: String,
    form: Form,
    since: Since,
    from: Arrival,
    after: After,
    headers: Vec<(&'static str, String)>,
    /// What came of further requests meanwhile.
    early: Vec<u8>,
}

saved!(struct Gathering { bytes, head_len, len, from });

impl Gathering {
    /// Bytes that came and are kept.
    pub(crate) const fn kept_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Makes room for `len` bytes more: as much again as there is, but no more than the request has. False: there is no memory.
    fn grow(&mut self, len: usize, memory: &Memory) -> bool {
        let (needed, has) = (self.bytes.len().saturating_add(len), self.bytes.capacity());
        if needed <= has {
            return true;
        }
        let capacity = has.saturating_mul(2).min(self.len).max(needed);
        // What there is goes only once it was moved.
        let has_room = memory.has_room(capacity);
        if has_room {
            self.bytes.reserve_exact(capacity.saturating_sub(self.bytes.len()));
        }
        has_room
    }
}

impl Waiting {
    /// Its answer, which is due.
    fn into_reply(self) -> Box<Replying> {
        let Self { topic, form, since, from, after, headers, early } = self;
        let stage = Stage::Due { since, headers };
        Box::new(Replying { topic, form, stage, from, after, early })
    }

    /// Bytes that came and are kept.
    pub(crate) const fn kept_bytes(&self) -> usize {
        self.early.capacity()
    }
}

/// How a request's answer is to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct After {
    pub(crate) end: End,
    pub(crate) body: Body,
}

saved!(struct After { end, body });

/// What became of a connection behind an answer.
pub(crate) enum Next {
    /// Another request may follow.
    Request,
    /// The request is to come again.
    Later,
    /// It does something else now.
    Other,
}

impl<H: Handler> Server<H> {
    /// Serves the request whose head is the first `head_len` of `bytes`, and those behind it.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "places in `bytes`, and the length of a body that is within its limit"
    )]
    pub(crate) fn serve_http(
        &mut self,
        key: usize,
        from: Arrival,
        mut bytes: Vec<u8>,
        mut head_len: usize,
        limits: &HeadLimits,
    ) {
        let mut at = 0;
        for _ in 0..PIPELINED_MAX {
            let len = match self.request_len(&bytes[at..at + head_len], limits) {
                Ok(body_len) => head_len + body_len,
                Err((status, reason)) => {
                    let request = Request::parse(&bytes[at..at + head_len], limits);
                    let headers = request.map(|it| self.handler.refusal_headers(&it, status));
                    let headers = headers.unwrap_or_default();
                    return self.answer_refusal_with(key, status, reason, &headers);
                }
            };
            if bytes.len() - at < len {
                let bytes = bytes.split_off(at);
                return self.gather(key, Gathering { bytes, head_len, len, from }, limits);
            }
            if at > 0 && self.peers.tx[key].has_unmade() {
                // It is answered once the client has the answer before it, which is made as it is taken.
                let bytes = bytes.split_off(at);
                return self.put_off(key, Gathering { bytes, head_len, len, from });
            }
            let next = self.answer(key, from, &bytes[at..at + len], head_len, limits);
            if let Next::Later = next {
                let bytes = bytes.split_off(at);
                return self.put_off(key, Gathering { bytes, head_len, len, from });
            }
            at += len;
            if self.peers.tx[key].phase == Phase::Doomed {
                // A response was cut: another would be taken for the rest of it.
                return;
            }
            match next {
                Next::Request => {}
                Next::Other | Next::Later => return self.keep_early(key, &bytes[at..]),
            }
            let rest = &bytes[at..];
            match HeadScan::new().scan(rest, limits) {
                Ok(Some(next_len)) if is_http(&rest[..next_len], limits) => head_len = next_len,
                // An opening handshake, an error, or not whole: as on a fresh connection.
                _ => return self.await_request(key, from, bytes.split_off(at)),
            }
            let tx = &self.peers.tx[key];
            if tx.is_paused(&self.turn) && !tx.has_unmade() {
                break;
            }
        }
        // Nobody sends so many without a look at the answers.
        self.answer_refusal(key, Status::TooManyRequests, "too many requests at once");
    }

    /// The length of a request's body, if it is one that is read.
    fn request_len(
        &self,
        head: &[u8],
        limits: &HeadLimits,
    ) -> Result<usize, (Status, &'static str)> {
        let request =
            Request::parse(head, limits).map_err(|_| (Status::BadRequest, "malformed request"))?;
        match request.body_length() {
            BodyLength::None => Ok(0),
            BodyLength::Chunked => {
                Err((Status::LengthRequired, "send the body with a Content-Length"))
            }
            BodyLength::Bytes(len) => usize::try_from(len)
                .ok()
                .filter(|&len| len <= self.turn.limits.message_bytes_max)
                .ok_or((Status::ContentTooLarge, "the body is larger than max-message-bytes")),
        }
    }

    /// Waits for the rest of a body.
    fn gather(&mut self, key: usize, gathering: Gathering, limits: &HeadLimits) {
        if self.turn.memory.is_short() {
            return self.end_for_memory(key);
        }
        let expects = Request::parse(&gathering.bytes[..gathering.head_len], limits)
            .is_ok_and(|request| request.header("expect").is_some());
        if expects && gathering.bytes.len() == gathering.head_len {
            self.turn.cork.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.peers.tx[key].uncork(key, InPlace::NOTHING, &mut self.turn);
        }
        self.peers.rx[key].reading = Reading::Body(Box::new(gathering));
        let timeout_ms = self.turn.limits.handshake_timeout_ms;
        let until_ms = self.turn.now_ms.saturating_add(timeout_ms);
        self.turn.timers.set(key, until_ms);
    }

    /// Keeps a request, and all behind it, until there is work left for it.
    fn put_off(&mut self, key: usize, gathering: Gathering) {
        let Self { peers, turn, .. } = self;
        if turn.memory.is_short() {
            return self.end_for_memory(key);
        }
        peers.rx[key].reading = Reading::Later(Box::new(gathering));
        peers.tx[key].await_work(key, turn);
        turn.timers.set(key, turn.now_ms.saturating_add(turn.limits.send_timeout_ms));
    }

    /// It is the turn of a request that was put off.
    pub(crate) fn serve_later(&mut self, key: usize) {
        if self.peers.tx[key].is_paused(&self.turn) {
            // It comes back once the client takes what it is owed.
            return;
        }
        let Reading::Later(gathering) =
            std::mem::replace(&mut self.peers.rx[key].reading, Reading::Nothing)
        else {
            return;
        };
        // Nothing was read meanwhile.
        self.peers.tx[key].mark_ready(key, &mut self.turn);
        let Gathering { bytes, head_len, from, .. } = *gathering;
        self.serve_http(key, from, bytes, head_len, &self.head_limits());
    }

    /// Takes in `len` bytes that were read into scratch as part of a body.
    pub(crate) fn receive_body(&mut self, key: usize, len: usize) {
        let Reading::Body(mut gathering) =
            std::mem::replace(&mut self.peers.rx[key].reading, Reading::Nothing)
        else {
            return;
        };
        if !gathering.grow(len, &self.turn.memory) {
            return self.end_for_memory(key);
        }
        gathering.bytes.extend_from_slice(&self.scratch.bytes()[..len]);
        if gathering.bytes.len() < gathering.len {
            self.peers.rx[key].reading = Reading::Body(gathering);
        } else {
            let Gathering { bytes, head_len, from, .. } = *gathering;
            self.serve_http(key, from, bytes, head_len, &self.head_limits());
        }
    }

    /// Takes in `len` bytes that came while a request waits.
    pub(crate) fn receive_early(&mut self, key: usize, len: usize) {
        let mut scratch = std::mem::take(&mut self.scratch);
        self.keep_early(key, &scratch.bytes()[..len]);
        self.scratch = scratch;
    }

    /// Keeps what came behind a request that is not answered yet: while it waits, up to as much as a head may have; while it is
    /// being answered, what was read with it.
    pub(crate) fn keep_early(&mut self, key: usize, bytes: &[u8]) {
        let most = self.turn.limits.head_bytes_max;
        match &mut self.peers.rx[key].reading {
            Reading::Waiting(waiting)
                if waiting.early.len().saturating_add(bytes.len()) <= most =>
            {
                return waiting.early.extend_from_slice(bytes);
            }
            Reading::Waiting(_) => {}
            Reading::Replying(replying) => return replying.early.extend_from_slice(bytes),
            _ => return,
        }
        self.leave_topics(key);
        self.answer_refusal(key, Status::TooManyRequests, "too many requests at once");
    }

    /// Has the handler answer the request `bytes`, whole and nothing behind it.
    fn answer(
        &mut self,
        key: usize,
        from: Arrival,
        bytes: &[u8],
        head_len: usize,
        limits: &HeadLimits,
    ) -> Next {
        let Ok(request) = Request::parse(&bytes[..head_len], limits) else { return Next::Other };
        let is_last = request.headers("connection").any(|value| {
            value
                .split(|&byte| byte == b',')
                .any(|it| it.trim_ascii().eq_ignore_ascii_case(b"close"))
        });
        let after = After {
            end: if is_last { End::Close } else { End::KeepAlive },
            body: if request.method() == "HEAD" { Body::LeftOut } else { Body::Sent },
        };
        let Self { peers, turn, handler, .. } = self;
        let generation = peers.tx[key].generation;
        let cx = &mut Context::new(key, generation, &mut peers.tx, turn, InPlace::NOTHING);
        let answer = handler.on_request(&request, &bytes[head_len..], from, cx);
        // One that is put off is counted once.
        let requests = &mut self.turn.counters.requests;
        *requests = requests.saturating_add(u64::from(!matches!(answer, Answer::Later)));
        match answer {
            Answer::Respond(response) => self.respond(key, response, after),
            Answer::Excerpt { response, excerpt } => {
                self.respond_in_parts(key, &response, excerpt, after)
            }
            Answer::Later => Next::Later,
            Answer::Refuse(Refusal { status, reason }) => {
                let headers = self.handler.refusal_headers(&request, status);
                self.give_refusal(key, status, reason, &headers);
                Next::Other
            }
            Answer::Stream { response, .. } if after.body == Body::LeftOut => {
                self.respond(key, response, After { end: End::Stream, ..after })
            }
            Answer::Stream { .. } if !self.has_room_to_stay(from.side) => {
                self.answer_refusal(key, Status::ServiceUnavailable, NO_ROOM_TO_STAY);
                Next::Other
            }
            Answer::Stream { response, state, keep_alive } => {
                self.stream(key, &response, state, keep_alive);
                Next::Other
            }
            Answer::Wait { topic, form, since, wait_ms, headers } => {
                let early = Vec::new();
                let waiting = Waiting { topic, form, since, from, after, headers, early };
                self.wait(key, waiting, wait_ms)
            }
        }
    }

    fn respond(&mut self, key: usize, response: Response, after: After) -> Next {
        if response.body.len() > COPIED_BYTES_MAX && self.turn.memory.is_short() {
            drop(response);
            self.end_for_memory(key);
            return Next::Other;
        }
        let Self { peers, turn, .. } = self;
        turn.work.spend(response.body.len().saturating_add(CALL_UNITS));
        let tx = &mut peers.tx[key];
        let length = Length::Bytes(response.body.len());
        http::encode_head(&mut turn.cork, &response, length, after.end);
        let body = if after.body == Body::Sent { response.body } else { Vec::new() };
        if body.len() <= COPIED_BYTES_MAX {
            turn.cork.extend_from_slice(&body);
            tx.uncork(key, InPlace::NOTHING, turn);
        } else {
            tx.queue_corked(turn);
            tx.queue_whole(body);
            tx.flush(key, turn);
        }
        self.end_response(key, after)
    }

    /// Responds with what is made as the client takes it.
    fn respond_in_parts(
        &mut self,
        key: usize,
        response: &Response,
        excerpt: Excerpt,
        after: After,
    ) -> Next {
        let Self { peers, turn, .. } = self;
        turn.work.spend(CALL_UNITS);
        http::encode_head(&mut turn.cork, response, Length::Chunked, after.end);
        let tx = &mut peers.tx[key];
        match after.body {
            Body::Sent => {
                tx.queue_corked(turn);
                tx.queue_unmade(key, Unmade::body(excerpt), turn);
            }
            Body::LeftOut => tx.uncork(key, InPlace::NOTHING, turn),
        }
        self.end_response(key, after)
    }

    /// A response is written, as far as the kernel took it.
    pub(crate) fn end_response(&mut self, key: usize, after: After) -> Next {
        if after.end == End::KeepAlive {
            return Next::Request;
        }
        let Self { peers, turn, .. } = self;
        peers.rx[key].reading = Reading::Nothing;
        let tx = &mut peers.tx[key];
        // Nothing was read while the answer was under way.
        tx.mark_ready(key, turn);
        tx.finish(key, turn);
        tx.finish_if_flushed(key, turn);
        Next::Other
    }

    /// The next request may come, of which `rest` is here already.
    pub(crate) fn await_request(&mut self, key: usize, from: Arrival, rest: Vec<u8>) {
        let timeout_ms = match rest.is_empty() {
            _ if !self.peers.tx[key].is_flushed() => {
                self.peers.rx[key].last_rx_ms = self.turn.now_ms;
                self.turn.limits.send_timeout_ms
            }
            true => self.turn.limits.keep_alive_ms,
            false => self.turn.limits.handshake_timeout_ms,
        };
        self.turn.timers.set(key, self.turn.now_ms.saturating_add(timeout_ms));
        self.peers.rx[key].reading = Reading::Head(Head::following(from));
        if !rest.is_empty() {
            self.resume_head(key, rest);
        }
    }

    /// Answers with a response that has no end but the connection's.
    fn stream(
        &mut self,
        key: usize,
        response: &Response,
        state: H::State,
        keep_alive: &'static [u8],
    ) {
        let Self { peers, turn, handler, .. } = self;
        http::encode(&mut turn.cork, response, End::Stream, Body::Sent);
        let rx = &mut peers.rx[key];
        rx.reading = Reading::Stream { keep_alive, partial: None };
        let state = rx.state.insert(state);
        let tx = &mut peers.tx[key];
        tx.phase = Phase::Streaming;
        tx.uncork(key, InPlace::NOTHING, turn);
        match turn.limits.ping_interval_ms {
            0 => turn.timers.clear(key),
            interval => turn.timers.set(key, turn.now_ms.saturating_add(interval)),
        }
        let generation = tx.generation;
        let tx = &mut peers.tx;
        handler.on_open(state, &mut Context::new(key, generation, tx, turn, InPlace::NOTHING));
    }

    /// Nothing was streamed for a while, or something was: either way the peer, and who is between, hear a sign of life. Who
    /// takes nothing between two of them is gone.
    pub(crate) fn keep_stream_alive(&mut self, key: usize) {
        let Self { peers, turn, .. } = self;
        let rx = &mut peers.rx[key];
        if let Reading::Stream { keep_alive, .. } = rx.reading {
            let tx = &mut peers.tx[key];
            if tx.is_flushed() {
                turn.cork.extend_from_slice(keep_alive);
                tx.uncork(key, InPlace::NOTHING, turn);
            } else if rx.pinged_ms > rx.last_rx_ms {
                // It took nothing since it was last looked at.
                turn.counters.silent = turn.counters.silent.saturating_add(1);
                tx.closed = Closed::Silent;
                return tx.doom(key, turn);
            } else {
                rx.pinged_ms = turn.now_ms;
            }
            turn.timers.set(key, turn.now_ms.saturating_add(turn.limits.ping_interval_ms));
        }
    }

    /// Ends a peer that took nothing of its answer for the send timeout; one whose answer is the server's to go on with waits on.
    pub(crate) fn check_taking(&mut self, key: usize) {
        let Self { peers, turn, .. } = self;
        let (rx, tx) = (&mut peers.rx[key], &mut peers.tx[key]);
        let timeout_ms = turn.limits.send_timeout_ms;
        let gone_at_ms = rx.last_rx_ms.saturating_add(timeout_ms);
        if tx.is_flushed() {
            turn.timers.set(key, turn.now_ms.saturating_add(timeout_ms));
        } else if turn.now_ms < gone_at_ms {
            turn.timers.set(key, gone_at_ms);
        } else {
            turn.counters.silent = turn.counters.silent.saturating_add(1);
            tx.closed = Closed::Silent;
            tx.doom(key, turn);
        }
    }

    /// Answers with what a topic has, or once it has something.
    fn wait(&mut self, key: usize, mut waiting: Waiting, wait_ms: u64) -> Next {
        let topic = self.turn.topics.find(&waiting.topic);
        let position = topic.map(|topic| topic.position(waiting.since));
        let has_any = position.is_some_and(|at| at.next <= at.last.offset || at.gap.is_some());
        if has_any && !self.turn.work.is_granted() {
            // A topic that nobody listens to may be forgotten until the answer is begun. One that has no place for this is answered
            // for all the same.
            let _held = self.listen_for(key, &waiting);
        }
        if has_any || wait_ms == 0 {
            return self.reply(key, waiting.into_reply());
        }
        if !self.has_room_to_stay(waiting.from.side) {
            self.answer_refusal(key, Status::ServiceUnavailable, NO_ROOM_TO_STAY);
            return Next::Other;
        }
        let position = match self.listen_for(key, &waiting) {
            Ok(position) => position,
            Err(error) => {
                let (status, reason) = match error {
                    TopicError::OutOfMemory => (Status::ServiceUnavailable, SHORT_REASON),
                    TopicError::TooManyTopicsOfOwner => (Status::TooManyRequests, OWNER_HAS_ENOUGH),
                    _ => (Status::ServiceUnavailable, "there are as many topics as there may be"),
                };
                self.answer_refusal_with(key, status, reason, &waiting.headers);
                return Next::Other;
            }
        };
        if position.gap.is_some() {
            // The gap is told of a topic that is there, which it stays for until the answer is begun.
            return self.reply(key, waiting.into_reply());
        }
        // "Now" is now, and not when there is something.
        waiting.since = Since::Id(position.last);
        let Self { peers, turn, .. } = self;
        turn.timers.set(key, turn.now_ms.saturating_add(wait_ms));
        peers.rx[key].reading = Reading::Waiting(Box::new(waiting));
        Next::Other
    }

    /// Has a request's topic stay, and whoever asked be told of its next message. `begin_reply` ends that.
    fn listen_for(&mut self, key: usize, waiting: &Waiting) -> Result<Position, TopicError> {
        let Self { peers, turn, .. } = self;
        let generation = peers.tx[key].generation;
        let cx = &mut Context::new(key, generation, &mut peers.tx, turn, InPlace::NOTHING);
        cx.subscribe(&waiting.topic, waiting.form, false, waiting.since)
    }

    /// The time of a request that waits is over, or its topic has something: it is answered, and the next may follow.
    pub(crate) fn end_wait(&mut self, key: usize) {
        if !self.peers.rx[key].is_waiting() {
            return;
        }
        let Reading::Waiting(mut waiting) =
            std::mem::replace(&mut self.peers.rx[key].reading, Reading::Nothing)
        else {
            return;
        };
        let (from, early) = (waiting.from, std::mem::take(&mut waiting.early));
        match self.reply(key, waiting.into_reply()) {
            Next::Request => self.await_request(key, from, early),
            Next::Other | Next::Later => self.keep_early(key, &early),
        }
    }

    /// Has the peer listen to nothing any more.
    pub(crate) fn leave_topics(&mut self, key: usize) {
        let Some(subscriptions) = self.peers.tx[key].subscriptions.take() else { return };
        for subscription in *subscriptions {
            unsubscribe(&mut self.peers.tx, &mut self.turn.topics, subscription);
        }
    }
}

/// Whether a whole head is a request that is no opening handshake.
pub(crate) fn is_http(head: &[u8], limits: &HeadLimits) -> bool {
    Request::parse(head, limits).is_ok_and(|request| !request.asks_for_websocket())
}

/// What a client is told that has made as many topics as it may.
pub(crate) const OWNER_HAS_ENOUGH: &str =
    "too many topics of one owner (max-topics-per-owner), and all are listened to";

/// Requests of one read that are answered, and fewer if the answers are not taken.
const PIPELINED_MAX: usize = 256;

/// Bodies up to this size are copied behind their head; larger ones leave from where they are.
const COPIED_BYTES_MAX: usize = 8 * 1024;
