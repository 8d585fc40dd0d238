//! The sending half of a peer: its link, its phase, and what waits to be sent.
//!
//! ```text
//! Opening ──► Open ──► Closing ──► Finishing ──► Lingering ──► Doomed
//!    │          │  our Close sent;  queue empties; our FIN is sent;   reaped at the
//!    │          │  theirs awaited   nothing new    theirs awaited     end of the turn
//!    └──────────┴───────────────────► (refused, failed, answered a Close)
//! ```
//!
//! Phases move only to the right. Reads nothing, and runs no handler.

use std::io::IoSlice;
use std::rc::Rc;

use crate::net::peer::compressors::{Compressors, Packing};
use crate::net::peer::in_place::InPlace;
use crate::net::peer::outqueue::{Flushed, OutQueue};
use crate::net::socket::link::{Drained, Link};
use crate::net::terms::arrival::Side;
use crate::net::terms::closed::Closed;
use crate::net::terms::peer_id::PeerId;
use crate::net::terms::sent::Sent;
use crate::net::terms::topic::{Class, Form, Framing};
use crate::net::topics::Maker;
use crate::net::topics::excerpt::{Excerpt, Unmade};
use crate::net::topics::owners::OwnerId;
use crate::net::topics::ring::Subscription;
use crate::net::turn::Turn;
use crate::net::turn::addresses::{AddressId, Addresses};
use crate::net::turn::memory::SHORT_REASON;
use crate::proto::close::StatusCode;
use crate::proto::error::ProtocolError;
use crate::proto::header::{self, Fin};
use crate::proto::message::Kind;
use crate::proto::opcode::Opcode;
use crate::proto::outbound;
use crate::state::{Corrupt, Reader, Saved, Writer};

/// The sending half of a peer.
#[derive(Debug)]
pub(crate) struct Tx {
    pub(crate) link: Link,
    /// What the kernel did not take; none while the peer keeps up. There is one, be it empty, while the link holds bytes.
    backlog: Option<Box<Backlog>>,
    /// How what is sent is compressed, if it is.
    pub(crate) packing: Packing,
    /// What it listens to.
    #[expect(
        clippy::box_collection,
        reason = "most peers listen to nothing, and it is 8 bytes instead of 24"
    )]
    pub(crate) subscriptions: Option<Box<Vec<Subscription>>>,
    /// Tells this peer from earlier users of its key.
    pub(crate) generation: u32,
    pub(crate) phase: Phase,
    /// Why the connection ended, once it has; [`Closed::Lost`] until something better is known.
    pub(crate) closed: Closed,
    /// Whether the connection came past `peers_max`: it is refused, and counts among those who are.
    pub(crate) is_excess: bool,
    /// Whom the listener is for that it came in by.
    pub(crate) side: Side,
    /// Where it comes from, once that is known.
    pub(crate) address: AddressId,
    /// Whom the topics that it makes count against, as the handler says; it is held.
    pub(crate) owner: OwnerId,
    /// Whether the peer's FIN was read: then there is nothing to linger for.
    peer_ended: bool,
    /// Whether the backlog passed the soft bound and the handler was not told yet that it is below it again.
    passed_soft: bool,
    /// On `Turn::dirty`.
    is_dirty: bool,
    /// On `Turn::ready`.
    is_ready: bool,
    /// On the list of `Turn::work`.
    awaits_work: bool,
}

/// Where a connection stands (RFC 6455 §7.1, and TCP's own end behind it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The request head is awaited.
    Opening,
    /// Data flows both ways.
    Open,
    /// A response that has no end but the connection's is under way.
    Streaming,
    /// Our Close is queued or sent, the peer's is awaited; its data no longer counts.
    Closing,
    /// The last bytes are queued: an answer to a Close, a failure's Close, a refusal.
    Finishing,
    /// Our FIN is sent; what is on its way is read and dropped, so that the kernel sends no RST over our last bytes.
    Lingering,
    /// On `Turn::doomed`.
    Doomed,
}

/// A peer's output while the peer is behind.
#[derive(Debug, Default)]
struct Backlog {
    queue: OutQueue,
    /// The latest Ping's payload, still to be answered (§5.5.3: earlier ones need no answer).
    pong_owed: Option<Box<[u8]>>,
    /// Whether the kernel was offered something and did not take it: the peer reads more slowly than it is written to.
    was_refused: bool,
}

saved!(struct Backlog { queue, pong_owed, was_refused });
saved!(enum Phase {
    0 => Opening, 1 => Open, 2 => Streaming, 3 => Closing, 4 => Finishing, 5 => Lingering, 6 => Doomed,
});

impl Tx {
    /// Writes all but the link, which is plain.
    pub(crate) fn save(&self, out: &mut Writer) {
        let Self {
            link: _,
            backlog,
            packing,
            subscriptions,
            generation,
            phase,
            closed,
            is_excess,
            side,
            // Both are the server's tables' to write.
            address: _,
            owner: _,
            peer_ended,
            passed_soft,
            is_dirty: _,
            is_ready,
            awaits_work,
        } = self;
        packing.save(out);
        backlog.save(out);
        subscriptions.save(out);
        generation.save(out);
        phase.save(out);
        closed.save(out);
        is_excess.save(out);
        side.save(out);
        peer_ended.save(out);
        passed_soft.save(out);
        is_ready.save(out);
        awaits_work.save(out);
    }

    /// Reads what `save` wrote. One that was on a list is to be put there again.
    pub(crate) fn restore(
        link: Link,
        compressors: &Compressors,
        from: &mut Reader<'_>,
    ) -> Result<Self, Corrupt> {
        // In the order in which they were written.
        Ok(Self {
            link,
            packing: compressors.restore(from)?,
            backlog: Option::restore(from)?,
            subscriptions: Option::restore(from)?,
            generation: u32::restore(from)?,
            phase: Phase::restore(from)?,
            closed: Closed::restore(from)?,
            is_excess: bool::restore(from)?,
            side: Side::restore(from)?,
            address: AddressId::NONE,
            owner: OwnerId::UNSAID,
            peer_ended: bool::restore(from)?,
            passed_soft: bool::restore(from)?,
            is_dirty: false,
            is_ready: bool::restore(from)?,
            awaits_work: bool::restore(from)?,
        })
    }

    pub(crate) const fn new(link: Link, generation: u32) -> Self {
        Self {
            link,
            backlog: None,
            packing: Packing::NONE,
            subscriptions: None,
            generation,
            phase: Phase::Opening,
            closed: Closed::Lost,
            is_excess: false,
            side: Side::Public,
            address: AddressId::NONE,
            owner: OwnerId::UNSAID,
            peer_ended: false,
            passed_soft: false,
            is_dirty: false,
            is_ready: false,
            awaits_work: false,
        }
    }

    /// It, as who makes topics.
    pub(crate) fn maker<'a>(&self, key: usize, addresses: &'a Addresses) -> Maker<'a> {
        let peer = Some(PeerId { key: to_u32(key), generation: self.generation });
        Maker { peer, owner: self.owner, address: self.address, addresses }
    }

    /// Bytes that wait for the kernel.
    pub(crate) fn backlog_bytes(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.queue.bytes() + self.link.held_bytes())
    }

    /// Bytes that are kept until the kernel takes what waits.
    pub(crate) fn kept_bytes(&self) -> usize {
        match &self.backlog {
            Some(backlog) => backlog.queue.kept_bytes() + self.link.held_bytes(),
            None => 0,
        }
    }

    /// Whether nothing waits.
    pub(crate) const fn is_flushed(&self) -> bool {
        self.backlog.is_none()
    }

    /// Whether the kernel refused some of what waits.
    pub(crate) fn was_refused(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| backlog.was_refused)
    }

    /// Whether what waits does so for the turn's end or for work, where its topics are looked at, and the kernel refused none of it.
    pub(crate) fn waits_for_turn(&self) -> bool {
        (self.is_dirty || self.awaits_work) && self.backlog.is_some() && !self.was_refused()
    }

    /// Sends a message to the peer whose event is handled.
    pub(crate) fn send(
        &mut self,
        key: usize,
        kind: Kind,
        payload: &[u8],
        in_place: &mut InPlace<'_>,
        turn: &mut Turn,
    ) -> Sent {
        if self.phase != Phase::Open {
            return Sent::Gone;
        }
        if self.packing.is_for(payload.len()) {
            return self.send_packed(key, kind, payload, in_place, turn);
        }
        if self.backlog.is_none() && turn.cork.is_empty() && in_place.send_on(kind, payload) {
            return Sent::Now;
        }
        let header = header::encode(Fin::Last, kind.opcode(), payload.len(), None);
        self.send_copy(key, header.as_bytes(), payload, in_place, turn)
    }

    /// Sends a message compressed, unless that makes it no shorter.
    fn send_packed(
        &mut self,
        key: usize,
        kind: Kind,
        payload: &[u8],
        in_place: &mut InPlace<'_>,
        turn: &mut Turn,
    ) -> Sent {
        let mut room = turn.compressors.take_room();
        let sent = match turn.compressors.pack(&mut self.packing, payload, &mut room) {
            Some(packed) => {
                let header = header::encode(Fin::Last, kind.opcode(), packed.len(), None);
                let header = header.compressed();
                self.send_copy(key, header.as_bytes(), packed, in_place, turn)
            }
            None => {
                let header = header::encode(Fin::Last, kind.opcode(), payload.len(), None);
                self.send_copy(key, header.as_bytes(), payload, in_place, turn)
            }
        };
        turn.compressors.give_room(room);
        sent
    }

    /// Sends a whole frame that was encoded for many, to the peer whose event is handled.
    pub(crate) fn send_frame(
        &mut self,
        key: usize,
        frame: &[u8],
        in_place: &mut InPlace<'_>,
        turn: &mut Turn,
    ) -> Sent {
        match self.phase {
            Phase::Open => self.send_copy(key, &[], frame, in_place, turn),
            _ => Sent::Gone,
        }
    }

    /// Sends a frame that does not already lie where it can leave from.
    fn send_copy(
        &mut self,
        key: usize,
        header: &[u8],
        payload: &[u8],
        in_place: &mut InPlace<'_>,
        turn: &mut Turn,
    ) -> Sent {
        if self.backlog.is_some()
            && let Some(excess) = self.excess(turn.cork.len(), payload.len(), turn)
        {
            return self.overflow(key, excess, turn);
        }
        if payload.len() > CORKED_BYTES_MAX {
            self.write(key, in_place, [header, payload], turn);
        } else {
            turn.cork.extend_from_slice(header);
            turn.cork.extend_from_slice(payload);
            if turn.cork.len() > CORK_BYTES_MAX {
                self.write(key, in_place, [&[], &[]], turn);
            }
        }
        self.sent()
    }

    /// Queues an encoded frame for a peer other than the one whose event is handled.
    pub(crate) fn queue_frame(&mut self, key: usize, frame: Rc<[u8]>, turn: &mut Turn) -> Sent {
        if self.phase != Phase::Open {
            return Sent::Gone;
        }
        if let Some(excess) = self.excess(0, frame.len(), turn) {
            return self.overflow_other(key, excess, turn);
        }
        let backlog = self.backlog.get_or_insert_default();
        backlog.queue.push_shared(frame);
        self.passed_soft |= self.is_paused(turn);
        self.mark_dirty(key, turn);
        Sent::Queued
    }

    /// Whether topics' messages may be sent.
    pub(crate) fn takes_topics(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Streaming)
    }

    /// Which of a message's encodings in `form` is this peer's.
    pub(crate) fn class(&self, form: Form) -> Class {
        let compresses = form.framing == Framing::Message && self.packing.is_agreed();
        let window_at = compresses.then(|| u8::try_from(self.packing.window_at()).unwrap_or(0));
        Class { form, window_at }
    }

    /// Whether it is this peer that is named.
    pub(crate) fn is_by(&self, key: usize, from: Option<PeerId>) -> bool {
        from.is_some_and(|id| id.key as usize == key && id.generation == self.generation)
    }

    /// Whether it is this peer that is named, given that the key is its.
    #[cfg(test)]
    pub(crate) const fn is_named(&self, id: &PeerId) -> bool {
        self.generation == id.generation
    }

    /// Its topics have more for it than it was given: the backlog, perhaps empty, stands for that.
    pub(crate) fn lag(&mut self, key: usize, turn: &mut Turn) {
        if self.backlog.is_none() {
            self.backlog = Some(Box::default());
            self.mark_dirty(key, turn);
        }
    }

    /// The same, and the turn's work, or its share of it, is used up.
    pub(crate) fn lag_for_work(&mut self, key: usize, turn: &mut Turn) {
        self.backlog.get_or_insert_default();
        self.await_work(key, turn);
    }

    /// Has what was queued for it leave in a later turn.
    pub(crate) fn put_off_flush(&mut self, key: usize, turn: &mut Turn) {
        self.is_dirty = false;
        // What is to leave may be a FIN alone.
        self.backlog.get_or_insert_default();
        self.await_work(key, turn);
    }

    /// Its topics may have more for a peer that waits for work, even if nothing is queued.
    pub(crate) fn wait_on(&mut self) {
        if self.awaits_work {
            self.backlog.get_or_insert_default();
        }
    }

    /// Whether the kernel refused nothing of what waits, and it is below the soft bound.
    pub(crate) fn has_queue_left(&self, turn: &Turn) -> bool {
        !self.was_refused() && self.backlog_bytes() <= turn.limits.queue_bytes_soft
    }

    /// Has the peer given work in a later turn, once it is its turn.
    pub(crate) fn await_work(&mut self, key: usize, turn: &mut Turn) {
        if !std::mem::replace(&mut self.awaits_work, true) {
            turn.work.push(PeerId { key: to_u32(key), generation: self.generation });
        }
    }

    /// Whether the peer is on the list of those who wait for work.
    pub(crate) const fn awaits_work(&self) -> bool {
        self.awaits_work
    }

    /// Says that it is the peer's turn.
    pub(crate) const fn take_work(&mut self) {
        self.awaits_work = false;
    }

    /// While it has a backlog, what the kernel refused of an earlier one counts on.
    pub(crate) fn stay_slow(&mut self, is_slow: bool) {
        if let Some(backlog) = &mut self.backlog {
            backlog.was_refused |= is_slow;
        }
    }

    /// Queues a topic's message.
    pub(crate) fn queue_shared(&mut self, bytes: Rc<[u8]>, class: Class) {
        if class.window_at.is_some() {
            self.packing.forget();
        }
        self.backlog.get_or_insert_default().queue.push_shared(bytes);
    }

    /// Queues a copy of bytes of a response.
    pub(crate) fn queue_own(&mut self, bytes: &[u8]) {
        self.backlog.get_or_insert_default().queue.push(&[bytes], 0);
    }

    /// Queues bytes of a response that others are given, too.
    pub(crate) fn queue_others(&mut self, bytes: Rc<[u8]>) {
        self.backlog.get_or_insert_default().queue.push_shared(bytes);
    }

    /// Queues bytes of a response as they are.
    pub(crate) fn queue_whole(&mut self, bytes: Vec<u8>) {
        self.backlog.get_or_insert_default().queue.push_whole(bytes);
    }

    /// Queues what the cork has.
    pub(crate) fn queue_corked(&mut self, turn: &mut Turn) {
        self.queue_own(&turn.cork);
        turn.cork.clear();
    }

    /// Sends an excerpt to the peer whose event is handled, behind what it was sent before.
    pub(crate) fn send_excerpt(
        &mut self,
        key: usize,
        kind: Kind,
        excerpt: Excerpt,
        in_place: &mut InPlace<'_>,
        turn: &mut Turn,
    ) -> Sent {
        if self.phase != Phase::Open {
            return Sent::Gone;
        }
        self.write(key, in_place, [&[], &[]], turn);
        if self.phase != Phase::Open {
            return Sent::Gone;
        }
        let window_at = self.packing.is_agreed().then(|| self.packing.window_at());
        // What is sent behind it cannot refer to what is made later.
        self.packing.forget();
        self.queue_unmade(key, Unmade::message(excerpt, kind, window_at), turn);
        Sent::Queued
    }

    /// Queues what is made once it is its turn. Nothing more is read from the peer until it was.
    pub(crate) fn queue_unmade(&mut self, key: usize, unmade: Box<Unmade>, turn: &mut Turn) {
        self.backlog.get_or_insert_default().queue.push_unmade(unmade);
        self.passed_soft = true;
        self.mark_dirty(key, turn);
    }

    /// Takes what is next to leave and is not made yet.
    pub(crate) fn take_unmade(&mut self) -> Option<Box<Unmade>> {
        self.backlog.as_mut()?.queue.take_unmade()
    }

    /// Puts it where it was taken from.
    pub(crate) fn put_back_unmade(&mut self, unmade: Box<Unmade>) {
        self.backlog.get_or_insert_default().queue.put_back_unmade(unmade);
    }

    /// Queues what was made of it, and behind that what is left of it.
    pub(crate) fn queue_made(&mut self, bytes: Vec<u8>, rest: Option<Box<Unmade>>) {
        let queue = &mut self.backlog.get_or_insert_default().queue;
        if let Some(rest) = rest {
            queue.put_back_unmade(rest);
        }
        queue.push_made(bytes);
    }

    /// Whether anything that it is to be sent is not made yet.
    pub(crate) fn has_unmade(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| backlog.queue.has_unmade())
    }

    /// Queues a part of a stream that is no topic's.
    pub(crate) fn queue_bytes(&mut self, key: usize, bytes: &[u8], turn: &mut Turn) -> Sent {
        self.backlog.get_or_insert_default().queue.push(&[bytes], 0);
        self.mark_dirty(key, turn);
        Sent::Queued
    }

    /// Queues what the kernel did not take of a topic's message, if any of it left. Either way there is more to come.
    pub(crate) fn queue_rest(&mut self, message: Option<&Rc<[u8]>>, skip: usize, turn: &mut Turn) {
        let backlog = self.backlog.get_or_insert_default();
        backlog.was_refused = true;
        if let Some(message) = message
            && skip > 0
        {
            backlog.queue.push_rest(Rc::clone(message), skip);
        }
        self.passed_soft |= self.is_paused(turn);
    }

    /// Answers a Ping: at once if the peer keeps up, else the latest of them with the next flush.
    pub(crate) fn pong(&mut self, payload: &[u8], turn: &mut Turn) {
        match &mut self.backlog {
            None => outbound::append(&mut turn.cork, Opcode::Pong, payload),
            Some(backlog) => backlog.pong_owed = Some(payload.into()),
        }
    }

    /// Starts our closing handshake: a Close with `code`, behind what was sent before. The peer's answer is awaited.
    pub(crate) fn close(&mut self, key: usize, code: StatusCode, reason: &str, turn: &mut Turn) {
        if self.phase == Phase::Open {
            outbound::append_close(&mut turn.cork, None, code, reason);
            self.phase = Phase::Closing;
            self.closed = Closed::ByUs(code);
            turn.timers.set(key, turn.now_ms + turn.limits.close_timeout_ms);
        }
    }

    /// As `close`, for a peer other than the one whose event is handled: the Close goes through its queue.
    pub(crate) fn close_other(
        &mut self,
        key: usize,
        code: StatusCode,
        reason: &str,
        turn: &mut Turn,
    ) {
        if self.phase == Phase::Open {
            let corked = std::mem::take(&mut turn.cork);
            self.close(key, code, reason, turn);
            let frame = std::mem::replace(&mut turn.cork, corked);
            self.backlog.get_or_insert_default().queue.push(&[&frame], 0);
            self.mark_dirty(key, turn);
        } else if self.phase == Phase::Streaming {
            // It has no way to be told why.
            self.finish(key, turn);
            self.mark_dirty(key, turn);
        }
    }

    /// The peer's Close came: it is answered with its own code, unless it is the answer to ours (§5.5.1).
    pub(crate) fn answer_close(&mut self, key: usize, code: Option<StatusCode>, turn: &mut Turn) {
        if self.phase == Phase::Open {
            match code {
                Some(code) => outbound::append_close(&mut turn.cork, None, code, ""),
                None => outbound::append(&mut turn.cork, Opcode::Close, &[]),
            }
            self.closed = Closed::ByPeer(code);
        }
        self.finish(key, turn);
    }

    /// The peer broke the protocol: a Close that says so, and the end.
    pub(crate) fn fail(&mut self, key: usize, error: ProtocolError, turn: &mut Turn) {
        if self.phase == Phase::Open {
            outbound::append_close(&mut turn.cork, None, error.status_code(), error.reason());
            self.closed = Closed::Failed(error);
        }
        self.finish(key, turn);
    }

    /// The peer's FIN was read; without a Close before it the connection is lost.
    pub(crate) fn peer_ended(&mut self, key: usize, turn: &mut Turn) {
        self.peer_ended = true;
        match self.phase {
            Phase::Opening | Phase::Lingering => {
                let _refused = self.link.end_session();
                self.doom(key, turn);
            }
            Phase::Open | Phase::Streaming | Phase::Closing | Phase::Finishing => {
                self.finish(key, turn);
            }
            Phase::Doomed => {}
        }
    }

    /// Marks that what was sent is the last; `finish_if_flushed` ends the connection behind it.
    pub(crate) fn finish(&mut self, key: usize, turn: &mut Turn) {
        if self.phase < Phase::Finishing {
            self.phase = Phase::Finishing;
            turn.timers.set(key, turn.now_ms + turn.limits.close_timeout_ms);
        }
    }

    /// Sends our FIN once the last bytes have left. What is on its way is read until the peer's FIN, so that the kernel
    /// has no unread bytes to answer with an RST, which would take our last bytes from the peer.
    pub(crate) fn finish_if_flushed(&mut self, key: usize, turn: &mut Turn) {
        if self.phase == Phase::Finishing && self.is_flushed() {
            let ended =
                if self.peer_ended { self.link.end_session() } else { self.link.end_output() };
            match ended {
                Drained::Held(_) => self.await_writable(),
                _ if self.peer_ended => self.doom(key, turn),
                Drained::Bytes(_) | Drained::Broken => self.phase = Phase::Lingering,
            }
        }
    }

    /// Forgets what waits in the queue, since it can no longer be sent.
    pub(crate) fn drop_output(&mut self) {
        self.backlog = None;
    }

    /// Has the next writable event flush what the link holds, if it holds something.
    pub(crate) fn await_writable(&mut self) {
        if self.link.held_bytes() > 0 {
            self.backlog.get_or_insert_default();
        }
    }

    /// Has the peer removed at the end of the turn.
    pub(crate) fn doom(&mut self, key: usize, turn: &mut Turn) {
        if self.phase != Phase::Doomed {
            self.phase = Phase::Doomed;
            turn.doomed.push_back(to_u32(key));
        }
    }

    /// Lets the replies of an event leave in one write: those in place, then the cork's.
    pub(crate) fn uncork(&mut self, key: usize, mut in_place: InPlace<'_>, turn: &mut Turn) {
        self.write(key, &mut in_place, [&[], &[]], turn);
    }

    /// Lets what lies in place, the cork and the `last` parts leave in one write; what the kernel refuses is queued.
    fn write(&mut self, key: usize, in_place: &mut InPlace<'_>, last: [&[u8]; 2], turn: &mut Turn) {
        let (replies, sent_on) = in_place.take();
        let (header, payload) = match &sent_on {
            Some((header, payload)) => (header.as_bytes(), *payload),
            None => (&[][..], &[][..]),
        };
        let mut cork = std::mem::take(&mut turn.cork);
        let parts = [replies, header, payload, &cork, last[0], last[1]];
        let offered = parts.iter().map(|part| part.len()).sum();
        let taken = match offered {
            0 => Drained::Bytes(0),
            _ if self.backlog.is_some() => Drained::Bytes(0),
            _ if offered == replies.len() => self.link.write(replies),
            _ if offered == cork.len() => self.link.write(&cork),
            _ => self.link.write_vectored(&parts.map(IoSlice::new)),
        };
        match taken {
            Drained::Bytes(len) if len == offered => {}
            Drained::Bytes(len) | Drained::Held(len)
                if offered - len > SMALL_BYTES && !turn.memory.has_room(offered - len) =>
            {
                // A frame may be cut, so nothing could be said behind it.
                self.cut_for_memory(key, turn);
            }
            Drained::Bytes(len) | Drained::Held(len) => {
                let was_asked = self.backlog.is_none();
                let backlog = self.backlog.get_or_insert_default();
                backlog.queue.push(&parts, len);
                backlog.was_refused |= was_asked;
                self.passed_soft |= self.is_paused(turn);
            }
            Drained::Broken => self.doom(key, turn),
        }
        cork.clear();
        cork.shrink_to(CORK_KEPT_BYTES_MAX);
        turn.cork = cork;
    }

    /// Flushes the backlog as far as the kernel takes it, within this turn's share.
    pub(crate) fn flush(&mut self, key: usize, turn: &mut Turn) {
        self.is_dirty = false;
        let was_paused = self.is_paused(turn);
        let Some(backlog) = &mut self.backlog else { return };
        // Nothing follows a Close, which may be in the very chunk whose bytes are leaving.
        if let Some(payload) = backlog.pong_owed.take()
            && self.phase == Phase::Open
        {
            let mut frame = Vec::with_capacity(2 + payload.len());
            outbound::append(&mut frame, Opcode::Pong, &payload);
            backlog.queue.push_ahead(&frame);
        }
        let waiting = backlog.queue.bytes();
        let flushed = backlog.queue.flush(&mut self.link, turn.write_share());
        turn.work.spend_at_once(waiting - backlog.queue.bytes());
        match flushed {
            Flushed::All => self.backlog = None,
            Flushed::Blocked => backlog.was_refused = true,
            // `Server::make_parts` goes on with it.
            Flushed::Unmade => {}
            Flushed::Paused => self.mark_ready(key, turn),
            Flushed::Broken => return self.doom(key, turn),
        }
        // Whoever was over the bound, be it by what its topics had for it, may have unread input, and a handler that waits for
        // `on_drain`.
        if (was_paused || self.passed_soft) && !self.is_paused(turn) {
            self.mark_ready(key, turn);
        }
    }

    /// Whether the peer came back below the soft bound since this was last asked; then its handler is told.
    pub(crate) fn take_drained(&mut self, turn: &Turn) -> bool {
        self.passed_soft && !self.is_paused(turn) && std::mem::take(&mut self.passed_soft)
    }

    /// Whether reading from the peer waits until it takes its replies.
    pub(crate) fn is_paused(&self, turn: &Turn) -> bool {
        self.backlog_bytes() > turn.limits.queue_bytes_soft || self.has_unmade()
    }

    /// Whether so many replies gathered behind a backlog that the walk over the peer's bytes had better end here.
    pub(crate) fn is_behind(&self, turn: &Turn) -> bool {
        self.backlog.is_some()
            && (self.has_unmade()
                || self.backlog_bytes() + turn.cork.len() > turn.limits.queue_bytes_soft)
    }

    /// Has the peer looked at again in this turn or the next, event or not.
    pub(crate) fn mark_ready(&mut self, key: usize, turn: &mut Turn) {
        if !std::mem::replace(&mut self.is_ready, true) {
            turn.ready.push(PeerId { key: to_u32(key), generation: self.generation });
        }
    }

    /// Whether the peer is on the ready list.
    pub(crate) const fn is_marked_ready(&self) -> bool {
        self.is_ready
    }

    /// Says that the peer is being looked at.
    pub(crate) const fn unmark_ready(&mut self) {
        self.is_ready = false;
    }

    fn mark_dirty(&mut self, key: usize, turn: &mut Turn) {
        if !std::mem::replace(&mut self.is_dirty, true) {
            turn.dirty.push(to_u32(key));
        }
    }

    fn sent(&self) -> Sent {
        match (self.phase, &self.backlog) {
            (Phase::Doomed, _) => Sent::Gone,
            (_, None) => Sent::Now,
            (_, Some(_)) => Sent::Queued,
        }
    }

    /// What has no room for `len` more bytes behind the backlog. Below the soft bound one message always fits.
    fn excess(&self, corked: usize, len: usize, turn: &Turn) -> Option<Excess> {
        let waiting = self.backlog_bytes() + corked;
        if waiting > turn.limits.queue_bytes_soft && waiting + len > turn.limits.queue_bytes_max {
            Some(Excess::OfQueue)
        } else if waiting + len > SMALL_BYTES && !turn.memory.has_room(len) {
            Some(Excess::OfMemory)
        } else {
            None
        }
    }

    /// Ends a connection, since there is no memory for what it is to be given next.
    #[cold]
    pub(crate) fn end_for_memory(&mut self, key: usize, turn: &mut Turn) {
        turn.counters.short_of_memory += 1;
        self.close_other(key, StatusCode::TRY_AGAIN_LATER, SHORT_REASON, turn);
    }

    /// Ends a connection for the memory that its output takes.
    #[cold]
    pub(crate) fn cut_for_memory(&mut self, key: usize, turn: &mut Turn) {
        turn.counters.short_of_memory += 1;
        if self.phase < Phase::Finishing {
            self.closed = Closed::Cut;
        }
        self.drop_output();
        self.doom(key, turn);
    }

    #[cold]
    fn overflow(&mut self, key: usize, excess: Excess, turn: &mut Turn) -> Sent {
        let (code, reason) = excess.count(turn);
        self.close(key, code, reason, turn);
        Sent::Refused
    }

    /// As `overflow`, for a peer that the cork does not belong to.
    #[cold]
    fn overflow_other(&mut self, key: usize, excess: Excess, turn: &mut Turn) -> Sent {
        let (code, reason) = excess.count(turn);
        self.close_other(key, code, reason, turn);
        Sent::Refused
    }
}

/// What a message is too much for.
#[derive(Clone, Copy)]
enum Excess {
    OfQueue,
    OfMemory,
}

impl Excess {
    /// Counts it; what the peer is told.
    fn count(self, turn: &mut Turn) -> (StatusCode, &'static str) {
        match self {
            Self::OfQueue => {
                turn.counters.overflowed += 1;
                (StatusCode::POLICY_VIOLATION, OVERFLOW_REASON)
            }
            Self::OfMemory => {
                turn.counters.short_of_memory += 1;
                (StatusCode::TRY_AGAIN_LATER, SHORT_REASON)
            }
        }
    }
}

const OVERFLOW_REASON: &str = "too slow: queued output passed max-queue-bytes";

/// Output up to this size waits even where memory is short: a Close, a refusal.
const SMALL_BYTES: usize = 1024;

/// Payloads up to this size are copied behind each other and leave in one write; larger ones leave from where they are.
const CORKED_BYTES_MAX: usize = 8 * 1024;

/// A cork of this size leaves before the event is over.
const CORK_BYTES_MAX: usize = 256 * 1024;

/// A cork that grew past this size is cut down after use.
const CORK_KEPT_BYTES_MAX: usize = 2 * CORK_BYTES_MAX;

/// Slab keys are below 2^24 (`Limits::check`).
pub(crate) fn to_u32(key: usize) -> u32 {
    debug_assert!(key < 1 << 24);
    u32::try_from(key).unwrap_or(u32::MAX)
}
