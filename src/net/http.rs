//! Requests that are no opening handshake: body, answer, and the next request on the same connection (RFC 9112 §9.3).
//!
//! ```text
//! head ──► body, if there is one ──► handler ──┬─ Respond ──► next head, or the end
//!                                              ├─ Stream  ──► topics' messages until either side has enough
//!                                              └─ Wait    ──► topics' messages once there are any, or nothing in time ──► next head
//! ```
//!
//! What is served where is the handler's. A body is read whole, and only if it is within its limit; one whose length is not
//! declared is refused.

use crate::net::context::{Context, unsubscribe};
use crate::net::handler::{Closed, Handler, Refusal};
use crate::net::in_place::InPlace;
use crate::net::listener::Arrival;
use crate::net::memory::SHORT_REASON;
use crate::net::opening::Head;
use crate::net::rx::Reading;
use crate::net::server::Server;
use crate::net::topics::{Form, Since, TopicError};
use crate::net::tx::Phase;
use crate::proto::handshake::{BodyLength, HeadLimits, HeadScan, Request, Status};
use crate::proto::http::{self, Body, End, Response};

/// What a request that is no opening handshake comes to.
#[derive(Debug)]
pub enum Answer<S> {
    /// This response; the connection may have another request.
    Respond(Response),
    /// This error, and the end of the connection.
    Refuse(Refusal),
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

/// A request whose body is not whole yet.
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
}

impl Waiting {
    /// Bytes that came and are kept.
    pub(crate) const fn kept_bytes(&self) -> usize {
        self.early.capacity()
    }
}

/// How a request's answer is to be sent.
#[derive(Clone, Copy, Debug)]
struct After {
    end: End,
    body: Body,
}

/// What became of a connection behind an answer.
enum Next {
    /// Another request may follow.
    Request,
    /// It does something else now.
    Other,
}

impl<H: Handler> Server<H> {
    /// Serves the request whose head is the first `head_len` of `bytes`, and those behind it.
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
            let next = self.answer(key, from, &bytes[at..at + len], head_len, limits);
            at += len;
            if self.peers.tx[key].phase == Phase::Doomed {
                // A response was cut: another would be taken for the rest of it.
                return;
            }
            match next {
                Next::Request => {}
                Next::Other => return self.keep_early(key, &bytes[at..]),
            }
            let rest = &bytes[at..];
            match HeadScan::new().scan(rest, limits) {
                Ok(Some(next_len)) if is_http(&rest[..next_len], limits) => head_len = next_len,
                // An opening handshake, an error, or not whole: as on a fresh connection.
                _ => return self.await_request(key, from, bytes.split_off(at)),
            }
            if self.peers.tx[key].is_paused(&self.turn) {
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
        let until_ms = self.turn.now_ms + self.turn.limits.handshake_timeout_ms;
        self.turn.timers.set(key, until_ms);
    }

    /// Takes in `len` bytes that were read into scratch as part of a body.
    pub(crate) fn receive_body(&mut self, key: usize, len: usize) {
        let Reading::Body(mut gathering) =
            std::mem::replace(&mut self.peers.rx[key].reading, Reading::Nothing)
        else {
            return;
        };
        if !self.turn.memory.has_room(len) {
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

    /// Keeps what came behind a request that is not answered yet, up to as much as a head may have.
    fn keep_early(&mut self, key: usize, bytes: &[u8]) {
        let Reading::Waiting(waiting) = &mut self.peers.rx[key].reading else { return };
        if waiting.early.len() + bytes.len() <= self.turn.limits.head_bytes_max {
            return waiting.early.extend_from_slice(bytes);
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
        turn.counters.requests += 1;
        let generation = peers.tx[key].generation;
        let cx = &mut Context::new(key, generation, &mut peers.tx, turn, InPlace::NOTHING);
        match handler.on_request(&request, &bytes[head_len..], from, cx) {
            Answer::Respond(response) => self.respond(key, &response, after),
            Answer::Refuse(Refusal { status, reason }) => {
                let headers = self.handler.refusal_headers(&request, status);
                self.give_refusal(key, status, reason, &headers);
                Next::Other
            }
            Answer::Stream { response, .. } if after.body == Body::LeftOut => {
                self.respond(key, &response, After { end: End::Stream, ..after })
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

    fn respond(&mut self, key: usize, response: &Response, after: After) -> Next {
        let Self { peers, turn, .. } = self;
        http::encode(&mut turn.cork, response, after.end, after.body);
        let tx = &mut peers.tx[key];
        if after.end == End::KeepAlive {
            tx.uncork(key, InPlace::NOTHING, turn);
            return Next::Request;
        }
        peers.rx[key].reading = Reading::Nothing;
        tx.finish(key, turn);
        tx.uncork(key, InPlace::NOTHING, turn);
        tx.finish_if_flushed(key, turn);
        Next::Other
    }

    /// The next request may come, of which `rest` is here already.
    fn await_request(&mut self, key: usize, from: Arrival, rest: Vec<u8>) {
        let timeout_ms = match rest.is_empty() {
            true => self.turn.limits.keep_alive_ms,
            false => self.turn.limits.handshake_timeout_ms,
        };
        self.turn.timers.set(key, self.turn.now_ms + timeout_ms);
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
        rx.reading = Reading::Stream { keep_alive };
        let state = rx.state.insert(state);
        let tx = &mut peers.tx[key];
        tx.phase = Phase::Streaming;
        tx.uncork(key, InPlace::NOTHING, turn);
        match turn.limits.ping_interval_ms {
            0 => turn.timers.clear(key),
            interval => turn.timers.set(key, turn.now_ms + interval),
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
        if let Reading::Stream { keep_alive } = rx.reading {
            let tx = &mut peers.tx[key];
            if tx.is_flushed() {
                turn.cork.extend_from_slice(keep_alive);
                tx.uncork(key, InPlace::NOTHING, turn);
            } else if rx.pinged_ms > rx.last_rx_ms {
                // It took nothing since it was last looked at.
                turn.counters.silent += 1;
                tx.closed = Closed::Silent;
                return tx.doom(key, turn);
            } else {
                rx.pinged_ms = turn.now_ms;
            }
            turn.timers.set(key, turn.now_ms + turn.limits.ping_interval_ms);
        }
    }

    /// Answers with what a topic has, or once it has something.
    fn wait(&mut self, key: usize, mut waiting: Waiting, wait_ms: u64) -> Next {
        let topic = self.turn.topics.find(&waiting.topic);
        let position = topic.map(|topic| topic.position(waiting.since));
        let has_any = position.is_some_and(|at| at.next <= at.last.offset || at.gap.is_some());
        if has_any || wait_ms == 0 {
            return self.respond_with_messages(key, &waiting);
        }
        let Self { peers, turn, .. } = self;
        let generation = peers.tx[key].generation;
        let cx = &mut Context::new(key, generation, &mut peers.tx, turn, InPlace::NOTHING);
        let position = match cx.subscribe(&waiting.topic, waiting.form, false, waiting.since) {
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
            let next = self.respond_with_messages(key, &waiting);
            self.leave_topics(key);
            return next;
        }
        // "Now" is now, and not when there is something.
        waiting.since = Since::Id(position.last);
        turn.timers.set(key, turn.now_ms + wait_ms);
        peers.rx[key].reading = Reading::Waiting(Box::new(waiting));
        Next::Other
    }

    /// The time of a request that waits is over, or its topic has something: it is answered, and the next may follow.
    pub(crate) fn end_wait(&mut self, key: usize) {
        let Reading::Waiting(mut waiting) =
            std::mem::replace(&mut self.peers.rx[key].reading, Reading::Nothing)
        else {
            return;
        };
        self.leave_topics(key);
        let early = std::mem::take(&mut waiting.early);
        if let Next::Request = self.respond_with_messages(key, &waiting) {
            self.await_request(key, waiting.from, early);
        }
    }

    /// Has the peer listen to nothing any more.
    pub(crate) fn leave_topics(&mut self, key: usize) {
        let Some(subscriptions) = self.peers.tx[key].subscriptions.take() else { return };
        for subscription in *subscriptions {
            unsubscribe(&mut self.peers.tx, &mut self.turn.topics, subscription);
        }
    }

    fn respond_with_messages(&mut self, key: usize, waiting: &Waiting) -> Next {
        // Its messages, the response made of them, and a copy of what the kernel does not take of it.
        if !self.turn.memory.has_room(3 * RESPONSE_BYTES_MAX) {
            self.end_for_memory(key);
            return Next::Other;
        }
        let Self { turn, handler, .. } = self;
        let mut body = Vec::new();
        let mut last = None;
        let mut stands_at = None;
        if let Some(topic) = turn.topics.find(&waiting.topic) {
            let position = topic.position(waiting.since);
            stands_at = Some(position.last);
            if let Some(gap) = position.gap {
                // However it ends the connection of others: here the notice is all there is.
                let _told = handler.on_gap(waiting.form, &waiting.topic, gap, &mut body);
            }
            let mut offset = position.next;
            while let Some(message) = topic.message(offset)
                && (last.is_none() || body.len() < RESPONSE_BYTES_MAX)
            {
                handler.encode(waiting.form, message, &mut body);
                last = Some(message.id);
                offset += 1;
            }
            last = last.or(position.gap.map(|gap| gap.to));
        }
        let mut response = match last {
            Some(last) => handler.respond(waiting.form, Some(last), body),
            None => handler.respond(waiting.form, stands_at, body),
        };
        response.headers.extend(waiting.headers.iter().cloned());
        self.respond(key, &response, waiting.after)
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

/// Messages of one response, as they are written; the first is always there.
const RESPONSE_BYTES_MAX: usize = 1 << 20;
