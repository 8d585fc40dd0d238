//! The receiving half of a peer: fill, step, handler, uncork.
//!
//! ```text
//! socket ──read──► scratch: [owed bytes | new bytes]  ──step──► handler ──► in place, or cork ──► one write
//!            └───► the body of a large message, directly
//! ```
//!
//! One scratch buffer serves all peers. A peer keeps bytes only while a frame is cut, or while its turn's share of frames
//! is used up. Does not accept, time out or reap.

use std::ops::Range;

use crate::config::Limits;
use crate::net::api::context::Context;
use crate::net::api::handler::Handler;
use crate::net::peer::in_place::InPlace;
use crate::net::peer::tx::Phase;
use crate::net::phase::http::{Gathering, Waiting};
use crate::net::phase::opening::Head;
use crate::net::phase::proxied::Proxied;
use crate::net::phase::reply::Replying;
use crate::net::server::Server;
use crate::net::socket::link::Fill;
use crate::net::topics::partial::Partial;
use crate::net::turn::memory::SHORT_REASON;
use crate::net::turn::{FAULT, SHARE_BYTES_MIN};
use crate::proto::close::StatusCode;
use crate::proto::error::ProtocolError;
use crate::proto::handshake::Status;
use crate::proto::header;
use crate::proto::inbound::{Inbound, Step};
use crate::state::{Corrupt, Reader, Saved, Writer};

/// The receiving half of a peer.
#[derive(Debug)]
pub(crate) struct Rx<S> {
    pub(crate) reading: Reading,
    /// The application's state, from the opening handshake to `on_close`.
    pub(crate) state: Option<S>,
    /// When the last bytes came; while reading is paused, when the peer last took some.
    pub(crate) last_rx_ms: u64,
    /// When the last Ping of ours left. Later than `last_rx_ms`: nothing came since.
    pub(crate) pinged_ms: u64,
}

/// What the next bytes are.
#[derive(Debug)]
pub(crate) enum Reading {
    /// A part of the header that a proxy sends before anything else.
    Proxied(Box<Proxied>),
    /// A part of the request's head.
    Head(Box<Head>),
    /// A part of a request's body.
    Body(Box<Gathering>),
    /// Of no interest until the request that waits is answered.
    Waiting(Box<Waiting>),
    /// To be read once this request was answered, which waits for work.
    Later(Box<Gathering>),
    /// To be read once this request is answered in full.
    Replying(Box<Replying>),
    /// Of no interest: a response streams.
    Stream {
        /// Is sent when nothing else was for a while.
        keep_alive: &'static [u8],
        /// A long message that is being written.
        partial: Option<Box<Partial>>,
    },
    /// Frames.
    Frames(Frames),
    /// Of no interest: the last word is spoken.
    Nothing,
}

/// The frames of an open connection.
#[derive(Debug)]
pub(crate) struct Frames {
    inbound: Inbound,
    /// Bytes that were read but not stepped over: a cut header or control frame, or what a turn's share left.
    owed: Option<Box<Owed>>,
}

#[derive(Debug)]
struct Owed {
    bytes: Vec<u8>,
    why: Why,
}

/// Why bytes are owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// More bytes are needed to make sense of them.
    Cut,
    /// The turn's share of frames was used up, or the peer does not take its replies; no bytes are missing.
    Share,
    /// The handler put the first frame back until there is work left.
    Work,
}

/// How a walk over bytes ended.
enum Walked {
    /// At the end of the bytes, or at a frame that is cut there.
    Through(usize),
    /// At the end of the turn's share, or where the replies passed the soft bound.
    Share(usize),
    /// Behind a message of which the handler put something back.
    Work(usize),
    /// The connection's input is over: closed, failed, or closed by the handler.
    Over,
}

/// When to stop reading a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadUntil {
    /// A short read: it means that the socket is drained (epoll(7)), so the read that would say so is saved.
    ShortRead,
    /// The socket says that it is empty or ended. Needed when a FIN may wait behind the data, since it raised its edge
    /// together with it, and when an edge was left unread in an earlier turn.
    Empty,
}

impl<S> Rx<S> {
    pub(crate) const fn new(reading: Reading, now_ms: u64) -> Self {
        Self { reading, state: None, last_rx_ms: now_ms, pinged_ms: 0 }
    }
}

impl<S> Rx<S> {
    /// Whether it is between two requests.
    pub(crate) const fn is_idle(&self) -> bool {
        matches!(&self.reading, Reading::Head(head) if head.is_idle())
    }

    /// Whether its request waits for a topic's messages.
    pub(crate) const fn is_waiting(&self) -> bool {
        matches!(&self.reading, Reading::Waiting(_))
    }

    /// Bytes that came and are kept.
    pub(crate) fn kept_bytes(&self) -> usize {
        match &self.reading {
            Reading::Head(head) => head.kept_bytes(),
            Reading::Body(gathering) => gathering.kept_bytes(),
            Reading::Waiting(waiting) => waiting.kept_bytes(),
            Reading::Later(gathering) => gathering.kept_bytes(),
            Reading::Replying(replying) => replying.kept_bytes(),
            Reading::Frames(frames) => {
                frames.inbound.kept_bytes() + frames.owed.as_ref().map_or(0, |it| it.bytes.len())
            }
            Reading::Proxied(_) | Reading::Stream { .. } | Reading::Nothing => 0,
        }
    }
}

impl Frames {
    pub(crate) const fn new(inbound: Inbound) -> Self {
        Self { inbound, owed: None }
    }

    /// Has other limits count from now on.
    pub(crate) const fn limit(&mut self, limits: &Limits) {
        self.inbound.limit(limits.message_bytes_max as u64, limits.fragments_max);
    }
}

saved!(struct Frames { inbound, owed });
saved!(struct Owed { bytes, why });
saved!(enum Why { 0 => Cut, 1 => Share, 2 => Work });

impl Reading {
    /// Whether nothing more is read for now: what came is not answered yet.
    pub(crate) fn is_held(&self) -> bool {
        match self {
            Self::Later(_) | Self::Replying(_) => true,
            Self::Frames(frames) => frames.owed.as_ref().is_some_and(|it| it.why == Why::Work),
            Self::Proxied(_)
            | Self::Head(_)
            | Self::Body(_)
            | Self::Waiting(_)
            | Self::Stream { .. }
            | Self::Nothing => false,
        }
    }

    /// Whether a long message of a topic has begun whose end is not queued.
    pub(crate) const fn is_within_message(&self) -> bool {
        matches!(self, Self::Stream { partial: Some(_), .. })
    }

    /// Whether a response has begun whose end is not queued.
    pub(crate) fn is_within_response(&self) -> bool {
        matches!(self, Self::Replying(replying) if replying.is_begun())
    }

    /// Whether it can be written.
    pub(crate) const fn moves(&self) -> bool {
        match self {
            Self::Frames(frames) => !frames.inbound.has_window(),
            Self::Waiting(_) => false,
            Self::Proxied(_)
            | Self::Head(_)
            | Self::Body(_)
            | Self::Later(_)
            | Self::Replying(_)
            | Self::Stream { .. }
            | Self::Nothing => true,
        }
    }

    /// Writes it; it moves.
    pub(crate) fn save(&self, out: &mut Writer) {
        let tag = match self {
            Self::Waiting(_) | Self::Nothing => 0,
            Self::Proxied(_) => 1,
            Self::Head(_) => 2,
            Self::Body(_) => 3,
            Self::Stream { .. } => 4,
            Self::Frames(_) => 5,
            Self::Later(_) => 6,
            Self::Replying(_) => 7,
        };
        out.push(tag);
        match self {
            Self::Proxied(proxied) => proxied.save(out),
            Self::Head(head) => head.save(out),
            Self::Body(gathering) => gathering.save(out),
            Self::Frames(frames) => frames.save(out),
            Self::Later(gathering) => gathering.save(out),
            Self::Replying(replying) => replying.save(out),
            // What it is kept alive with is asked of the handler again.
            Self::Stream { keep_alive: _, partial } => partial.save(out),
            Self::Waiting(_) | Self::Nothing => {}
        }
    }

    /// Reads what `save` wrote.
    pub(crate) fn restore(
        from: &mut Reader<'_>,
        keep_alive: impl FnOnce() -> &'static [u8],
    ) -> Result<Self, Corrupt> {
        Ok(match u8::restore(from)? {
            0 => Self::Nothing,
            1 => Self::Proxied(Box::restore(from)?),
            2 => Self::Head(Box::restore(from)?),
            3 => Self::Body(Box::restore(from)?),
            4 => Self::Stream { keep_alive: keep_alive(), partial: Option::restore(from)? },
            5 => Self::Frames(Frames::restore(from)?),
            6 => Self::Later(Box::restore(from)?),
            7 => Self::Replying(Box::restore(from)?),
            _ => return Err(Corrupt),
        })
    }
}

impl<H: Handler> Server<H> {
    /// Reads what the peer sent and hands it on, within the turn's share; what is left over comes on the ready list.
    pub(crate) fn receive(&mut self, key: usize, until: ReadUntil) {
        let mut frames_left = FRAMES_PER_TURN_MAX;
        let mut bytes_left = self.turn.share_bytes();
        if self.peers.rx[key].reading.is_held() || !self.resume_share(key, &mut frames_left) {
            return;
        }
        loop {
            let tx = &mut self.peers.tx[key];
            if tx.phase == Phase::Doomed
                || tx.is_paused(&self.turn)
                || self.peers.rx[key].reading.is_held()
            {
                return;
            }
            if tx.link.is_handshaking() && !self.turn.may_shake_hands(tx.address) {
                return tx.mark_ready(key, &mut self.turn);
            }
            let filled = self.fill_and_walk(key, bytes_left, &mut frames_left);
            match filled {
                Filled::Bytes { len, is_drained } => {
                    self.turn.was_read(len);
                    if is_drained && until == ReadUntil::ShortRead {
                        return;
                    }
                    bytes_left = bytes_left.saturating_sub(len);
                    if bytes_left == 0 || frames_left == 0 {
                        return self.peers.tx[key].mark_ready(key, &mut self.turn);
                    }
                }
                Filled::WouldBlock => return,
                Filled::End => return self.input_ended(key),
                Filled::Broken => return self.peers.tx[key].doom(key, &mut self.turn),
                Filled::Failed => {
                    self.tls_failed(key);
                    // Its alert is on its way; what the peer still sends is read and dropped.
                    if until == ReadUntil::ShortRead {
                        return self.peers.tx[key].mark_ready(key, &mut self.turn);
                    }
                }
            }
        }
    }

    /// One read, into the body of a large message or into scratch, and the walk over what it brought.
    fn fill_and_walk(&mut self, key: usize, bytes_left: usize, frames_left: &mut u32) -> Filled {
        if self.turn.memory.is_limited() && !self.has_room_to_read(key) {
            self.end_for_memory(key);
            // What the socket has is read and dropped.
            return Filled::Bytes { len: 0, is_drained: false };
        }
        let Self { peers, scratch, turn, .. } = self;
        let scratch = scratch.bytes();
        let (rx, link) = (&mut peers.rx[key], &mut peers.tx[key].link);
        let mut owed_len = 0;
        let at_most = bytes_left.max(SHARE_BYTES_MIN);
        let (fill, room, in_body) = match &mut rx.reading {
            Reading::Frames(frames) => match frames.inbound.body_space() {
                Some(space) => {
                    let in_body = space.len();
                    let fill = link.read_both(space, &mut scratch[..READ_BYTES_MAX], at_most);
                    (fill, in_body + READ_BYTES_MAX, in_body)
                }
                None => {
                    if let Some(owed) = frames.owed.take() {
                        owed_len = owed.bytes.len();
                        scratch[..owed_len].copy_from_slice(&owed.bytes);
                    }
                    let behind = &mut scratch[owed_len..owed_len + READ_BYTES_MAX];
                    (link.read(behind, at_most), READ_BYTES_MAX, 0)
                }
            },
            Reading::Proxied(_)
            | Reading::Head(_)
            | Reading::Body(_)
            | Reading::Waiting(_)
            | Reading::Later(_)
            | Reading::Replying(_)
            | Reading::Stream { .. }
            | Reading::Nothing => {
                (link.read(&mut scratch[..READ_BYTES_MAX], at_most), READ_BYTES_MAX, 0)
            }
        };
        let len = match fill {
            Fill::Bytes(len) => len,
            Fill::NoData { .. } | Fill::WouldBlock | Fill::End | Fill::Broken | Fill::Failed => {
                if owed_len > 0
                    && let Reading::Frames(frames) = &mut rx.reading
                {
                    frames.owe(&scratch[..owed_len], Why::Cut);
                }
                return self.filled_nothing(key, fill);
            }
        };
        let is_drained = link.is_drained(len, room.min(at_most));
        peers.tx[key].await_writable();
        rx.last_rx_ms = turn.now_ms;
        match &mut rx.reading {
            Reading::Frames(frames) => {
                if in_body > 0 {
                    frames.inbound.body_arrived(len.min(in_body));
                }
                self.walk_scratch(key, owed_len + len.saturating_sub(in_body), frames_left);
            }
            Reading::Proxied(_) => self.receive_proxied(key, len, frames_left),
            Reading::Head(_) => self.receive_head(key, len, frames_left),
            Reading::Body(_) => self.receive_body(key, len),
            Reading::Waiting(_) => self.receive_early(key, len),
            Reading::Later(_)
            | Reading::Replying(_)
            | Reading::Stream { .. }
            | Reading::Nothing => {}
        }
        Filled::Bytes { len, is_drained }
    }

    /// Whether there is memory for what the next read is read into; says how much there is for what it inflates to.
    #[cold]
    fn has_room_to_read(&mut self, key: usize) -> bool {
        let Self { peers, turn, .. } = self;
        turn.pool.set_room(turn.memory.room());
        let Reading::Frames(frames) = &peers.rx[key].reading else { return true };
        let growth = frames.inbound.growth_bytes();
        growth == 0 || turn.memory.has_room(growth)
    }

    /// A read that brought no data. Only TLS has more to it than that.
    fn filled_nothing(&mut self, key: usize, fill: Fill) -> Filled {
        let tx = &mut self.peers.tx[key];
        match fill {
            Fill::Bytes(len) => Filled::Bytes { len, is_drained: false },
            Fill::NoData { made_flight } => {
                self.peers.rx[key].last_rx_ms = self.turn.now_ms;
                if made_flight {
                    self.turn.shook_hands(tx.address);
                }
                tx.await_writable();
                Filled::Bytes { len: NO_DATA_COST_BYTES, is_drained: tx.link.is_drained(0, 1) }
            }
            Fill::WouldBlock => Filled::WouldBlock,
            Fill::End => Filled::End,
            Fill::Broken => Filled::Broken,
            Fill::Failed => Filled::Failed,
        }
    }

    /// Walks over the first `len` bytes of scratch, and keeps what is left.
    fn walk_scratch(&mut self, key: usize, len: usize, frames_left: &mut u32) {
        let mut scratch = std::mem::take(&mut self.scratch);
        self.walk_and_keep(key, &mut scratch.bytes()[..len], frames_left);
        self.scratch = scratch;
    }

    /// Walks over `bytes`, lets the replies leave, and keeps what is left.
    pub(crate) fn walk_and_keep(&mut self, key: usize, bytes: &mut [u8], frames_left: &mut u32) {
        let mut replies = 0..0;
        let walked = self.walk(key, bytes, &mut replies, frames_left);
        let in_place = InPlace::replies(&bytes[replies]);
        self.peers.tx[key].uncork(key, in_place, &mut self.turn);
        let (at, why) = match walked {
            Walked::Through(at) => (at, Why::Cut),
            Walked::Share(at) => (at, Why::Share),
            Walked::Work(at) => return self.keep_put_back(key, &bytes[at..]),
            Walked::Over => return self.finish_if_flushed(key),
        };
        if at < bytes.len()
            && let Reading::Frames(frames) = &mut self.peers.rx[key].reading
        {
            frames.owe(&bytes[at..], why);
        }
        if self.turn.memory.is_short() && self.peers.rx[key].kept_bytes() > SMALL_BYTES {
            return self.end_for_memory(key);
        }
        if why == Why::Share {
            self.peers.tx[key].mark_ready(key, &mut self.turn);
        }
    }

    /// Keeps what the handler put back, and what came behind it, until there is work left.
    #[cold]
    fn keep_put_back(&mut self, key: usize, rest: &[u8]) {
        let Self { peers, turn, .. } = self;
        let mut bytes = std::mem::take(&mut turn.put_back);
        bytes.extend_from_slice(rest);
        if let Reading::Frames(frames) = &mut peers.rx[key].reading {
            frames.owed = Some(Box::new(Owed { bytes, why: Why::Work }));
        }
        peers.tx[key].await_work(key, turn);
        if turn.memory.is_short() {
            self.end_for_memory(key);
        }
    }

    /// It is the turn of a message that was put back.
    pub(crate) fn resume_put_back(&mut self, key: usize) {
        let Reading::Frames(frames) = &mut self.peers.rx[key].reading else { return };
        if frames.owed.as_ref().is_none_or(|owed| owed.why != Why::Work) {
            return;
        }
        if self.peers.tx[key].is_paused(&self.turn) {
            // It is looked at again once it takes its replies, as one whose share was used up.
            if let Some(owed) = &mut frames.owed {
                owed.why = Why::Share;
            }
            return;
        }
        let mut frames_left = FRAMES_PER_TURN_MAX;
        if let Some(mut owed) = frames.owed.take() {
            self.walk_and_keep(key, &mut owed.bytes, &mut frames_left);
        }
        if !self.peers.rx[key].reading.is_held() {
            // Nothing was read meanwhile.
            self.peers.tx[key].mark_ready(key, &mut self.turn);
        }
    }

    /// Ends a connection for the memory that its input takes, which is free again at once.
    #[cold]
    pub(crate) fn end_for_memory(&mut self, key: usize) {
        let Self { peers, turn, .. } = self;
        turn.counters.short_of_memory += 1;
        let tx = &mut peers.tx[key];
        if tx.phase == Phase::Opening {
            return self.answer_refusal(key, Status::ServiceUnavailable, SHORT_REASON);
        }
        // What it sent, and was not read while it was held, is read and dropped.
        tx.mark_ready(key, turn);
        peers.rx[key].reading = Reading::Nothing;
        tx.close(key, StatusCode::TRY_AGAIN_LATER, SHORT_REASON, turn);
        tx.finish(key, turn);
        tx.uncork(key, InPlace::NOTHING, turn);
        tx.finish_if_flushed(key, turn);
    }

    /// Goes on with what an earlier turn's share left. Whether the socket may be read.
    fn resume_share(&mut self, key: usize, frames_left: &mut u32) -> bool {
        let Reading::Frames(frames) = &mut self.peers.rx[key].reading else { return true };
        if frames.owed.as_ref().is_none_or(|owed| owed.why == Why::Cut) {
            return true;
        }
        if self.peers.tx[key].is_paused(&self.turn) {
            return false;
        }
        if let Some(mut owed) = frames.owed.take() {
            self.walk_and_keep(key, &mut owed.bytes, frames_left);
        }
        // Who was ended for want of memory to keep the rest has nothing left over that brings it back here.
        *frames_left > 0 || matches!(self.peers.rx[key].reading, Reading::Nothing)
    }

    /// The inner loop: frame by frame, to the handler or to its answer.
    ///
    /// Replies that were finished in place lie at `replies` in `bytes`.
    fn walk(
        &mut self,
        key: usize,
        bytes: &mut [u8],
        replies: &mut Range<usize>,
        frames_left: &mut u32,
    ) -> Walked {
        let Self { peers, turn, handler, .. } = self;
        let rx = &mut peers.rx[key];
        let (Reading::Frames(frames), Some(state)) = (&mut rx.reading, &mut rx.state) else {
            return Walked::Over;
        };
        let generation = peers.tx[key].generation;
        let base = bytes.as_ptr().addr();
        let mut at = 0;
        loop {
            let (done, rest) = bytes.split_at_mut(replies.end);
            let stepped = frames.inbound.step_down(rest, at - done.len(), 0, &mut turn.pool);
            let (used, step) = match stepped {
                Ok(step) => step,
                Err(error) => {
                    self.fail(key, error);
                    return Walked::Over;
                }
            };
            at += used;
            let tx = &mut peers.tx[key];
            match step {
                // After a Close of ours only the peer's Close counts (§5.5.1).
                Step::Message(_) | Step::Ping(_) if tx.phase != Phase::Open => {}
                Step::Message(message) => {
                    let len = message.payload().len();
                    let end = base + replies.end;
                    let in_place = InPlace::lend(&done[replies.start..], message.payload(), end);
                    let mut cx = Context::new(key, generation, &mut peers.tx, turn, in_place);
                    handler.on_message(state, message, &mut cx);
                    let (are_there, sent_on) = cx.into_in_place().finish();
                    if !are_there {
                        replies.start = replies.end;
                    }
                    if let Some(header) = sent_on {
                        header.write_unmasked(&mut bytes[replies.end..]);
                        replies.end += header::unmasked_len(len) + len;
                    }
                    if !turn.put_back.is_empty() {
                        frames.inbound.settle(&mut turn.pool);
                        return Walked::Work(at);
                    }
                    // The rest of the read waits like what was not read, so that a peer's own messages never make it
                    // overflow.
                    if peers.tx[key].is_behind(turn) {
                        *frames_left = 1;
                    }
                }
                Step::NeedBytes(_) => return Walked::Through(at),
                Step::Absorbed | Step::Pong(_) => {}
                Step::Ping(payload) => tx.pong(payload, turn),
                Step::Close(body) => {
                    tx.answer_close(key, body.map(|body| body.code), turn);
                    rx.reading = Reading::Nothing;
                    return Walked::Over;
                }
            }
            *frames_left -= 1;
            if *frames_left == 0 {
                frames.inbound.settle(&mut turn.pool);
                return Walked::Share(at);
            }
        }
    }

    /// Fails the connection (§7.1.7): a Close that says why, then the end; the peer's answer is not awaited.
    #[cold]
    fn fail(&mut self, key: usize, error: ProtocolError) {
        let Self { peers, turn, .. } = self;
        peers.rx[key].reading = Reading::Nothing;
        let tx = &mut peers.tx[key];
        if error == ProtocolError::OutOfMemory {
            // No fault of the peer's. The replies before it have not left yet, and come before the Close.
            turn.counters.short_of_memory += 1;
            tx.close(key, StatusCode::TRY_AGAIN_LATER, SHORT_REASON, turn);
            return tx.finish(key, turn);
        }
        turn.counters.protocol_errors += 1;
        tx.fail(key, error, turn);
    }

    /// The peer's FIN was read: what is queued still leaves, since the peer may read on.
    #[cold]
    fn input_ended(&mut self, key: usize) {
        self.peers.tx[key].peer_ended(key, &mut self.turn);
        self.peers.rx[key].reading = Reading::Nothing;
        self.finish_if_flushed(key);
    }

    /// The peer broke TLS: the alert that says so is the last it gets.
    #[cold]
    fn tls_failed(&mut self, key: usize) {
        self.turn.counters.tls_failed += 1;
        let (id, address) = (self.peers.id(key), self.peers.addr(key));
        let (why, detail) = self.peers.tx[key].link.breach();
        let detail = detail.map(tracing::field::display);
        tracing::debug!(target: FAULT, %id, %address, why, detail, "TLS failed");
        self.peers.rx[key].reading = Reading::Nothing;
        let tx = &mut self.peers.tx[key];
        tx.finish(key, &mut self.turn);
        tx.drop_output();
        tx.await_writable();
        self.finish_if_flushed(key);
    }

    /// Ends our half of the connection once the last bytes have left.
    pub(crate) fn finish_if_flushed(&mut self, key: usize) {
        self.peers.tx[key].finish_if_flushed(key, &mut self.turn);
    }
}

/// What a fill and its walk came to.
enum Filled {
    Bytes {
        /// Counts against the turn's share.
        len: usize,
        /// Whether nothing was left in the socket.
        is_drained: bool,
    },
    WouldBlock,
    End,
    Broken,
    Failed,
}

impl Frames {
    #[cold]
    fn owe(&mut self, rest: &[u8], why: Why) {
        self.owed = Some(Box::new(Owed { bytes: rest.to_vec(), why }));
    }
}

/// What is kept even where memory is short: a cut header or control frame.
const SMALL_BYTES: usize = 256;

/// Frames of one peer that are handled in one turn.
pub(crate) const FRAMES_PER_TURN_MAX: u32 = 256;

/// What a read without data counts against the turn's share, so that a peer cannot hold the turn with them.
const NO_DATA_COST_BYTES: usize = 8 * 1024;

/// Room of one read into scratch. A large frame's rest is read into its body, whatever its size.
pub(crate) const READ_BYTES_MAX: usize = 128 * 1024 + 1024;

/// Room of scratch: what a cut header or control frame left (at most 139 bytes), and a read.
pub(crate) const SCRATCH_BYTES: usize = READ_BYTES_MAX + 256;
