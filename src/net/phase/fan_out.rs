//! Topics' messages to their subscribers.
//!
//! Once a turn each topic that was published to is written to all who keep up with it: one write each, however many
//! messages came, and the same bytes for all who take the same form. Who does not keep up stays a cursor, and is given
//! what follows when the kernel takes it (`catch_up`), or is told what is gone.
//!
//! Not to keep up is to read slowly: the kernel refused something. Whoever has output that is the server's to write yet loses nothing for
//! it. What is queued leaves first; behind what is being made, messages queue up to the soft bound; and in the midst of a long message
//! the topic waits for it, and with the topic those who publish.
//!
//! A turn has a budget for that (`work`). A topic with more subscribers than it pays for, or many topics, go on in the next turn
//! where they stopped, a share each: a run that was begun has the same messages for all.
//!
//! Where the newest message is all that counts (`LagPolicy::Latest`), who did not take what it was written skips to that one, and
//! is told how many it skipped. Not taking is the kernel's word, so that a replay, a burst or other output ahead are no slowness.
//!
//! What a form looks like, and what becomes of who lost messages, is the handler's to say.

#![deny(clippy::arithmetic_side_effects)]

use std::rc::Rc;

use crate::net::api::handler::{Handler, Lag};
use crate::net::peer::tx::Tx;
use crate::net::phase::receive::Reading;
use crate::net::server::Server;
use crate::net::socket::link::Drained;
use crate::net::terms::cursor::{Gap, MessageId};
use crate::net::terms::topic::{Class, Form, Framing, TopicMessage};
use crate::net::topics::partial::Partial;
use crate::net::topics::ring::{Entry, LOST_TRACK, Subscriber, Subscription, Topic};
use crate::net::turn::Turn;
use crate::net::turn::work::{CALL_UNITS, LIVE_UNITS_PER_TOPIC, LOOK_UNITS};
use crate::proto::header::{self, Fin};
use crate::proto::message::Kind;

/// How far a topic's messages went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// All who keep up have them.
    Done,
    /// The topic's share of this turn, or the turn's budget, is used up.
    Share,
    /// Some who keep up are in the midst of a long message, which goes on in later turns.
    Awaits,
}

/// A run of messages in one form.
struct Batch {
    class: Class,
    /// Each message's encoding.
    parts: Vec<Rc<[u8]>>,
    /// Where each ends in `joined`.
    ends: Vec<usize>,
    /// All of them, one after the other; unused for a single one.
    joined: Vec<u8>,
}

impl Batch {
    /// All but the first `skipped`, one after the other.
    fn bytes(&self, skipped: usize) -> &[u8] {
        match &self.parts[..] {
            [one] => one,
            _ => &self.joined[self.start_of(skipped)..],
        }
    }

    /// Where a message begins in `joined`.
    fn start_of(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |last| self.ends[last])
    }
}

impl<H: Handler> Server<H> {
    /// Writes what was published to those who keep up.
    pub(crate) fn fan_out(&mut self) {
        while self.turn.work.has_live_left()
            && let Some(at) = self.turn.topics.dirty.pop_front()
        {
            let Some(mut topic) = self.turn.topics.take_out(at) else { continue };
            let mut grown = 0;
            match self.fan_out_share(&mut topic, &mut grown) {
                Progress::Done => self.turn.topics.fanned_out(&mut topic),
                Progress::Share => self.turn.topics.put_off(at, &mut topic),
                Progress::Awaits => self.turn.topics.put_off_turn(at, &mut topic),
            }
            self.turn.topics.put_back(at, topic, grown);
        }
        let mut answered = std::mem::take(&mut self.turn.answered);
        for key in answered.drain(..) {
            self.end_wait(key as usize);
        }
        // Answering publishes nothing, so nothing was added meanwhile; the list's memory is kept.
        self.turn.answered = answered;
    }

    /// Writes a topic's share of what it has to those who keep up, or all if no other topic waits.
    fn fan_out_share(&mut self, topic: &mut Topic, grown: &mut usize) -> Progress {
        let is_alone = self.turn.topics.dirty.is_empty();
        let mut share = if is_alone { usize::MAX } else { LIVE_UNITS_PER_TOPIC };
        while topic.fanned < topic.next() {
            if share == 0 || !self.turn.work.has_live_left() {
                return Progress::Share;
            }
            let from = topic.fanned;
            let to = topic.begun.unwrap_or_else(|| self.end_of_run(topic, from));
            let progress = self.fan_out_run(topic, from, to, &mut share, grown);
            if progress != Progress::Done {
                topic.begun = Some(to);
                return progress;
            }
            topic.begun = None;
            topic.fanned = to;
        }
        Progress::Done
    }

    /// How many messages from `from` on leave in one write: what fits a socket's buffer easily, or one that is long.
    #[expect(clippy::arithmetic_side_effects, reason = "sums over what is in memory")]
    fn end_of_run(&self, topic: &Topic, from: u64) -> u64 {
        let mut to = from.max(topic.first);
        let mut len = 0;
        while let Some(message) = topic.message(to)
            && (len == 0 || len + message.payload.len() <= RUN_BYTES_MAX)
        {
            if Partial::is_long(message.payload) {
                return if len == 0 { to.saturating_add(1) } else { to };
            }
            len += message.payload.len() + 1;
            to = to.saturating_add(1);
        }
        to
    }

    /// Writes the messages `from..to` to everyone who has all before them, as far as the share and the turn's budget go. `grown`:
    /// bytes of the forms that were made.
    #[expect(clippy::arithmetic_side_effects, reason = "sums over what is in memory")]
    fn fan_out_run(
        &mut self,
        topic: &mut Topic,
        from: u64,
        to: u64,
        share: &mut usize,
        grown: &mut usize,
    ) -> Progress {
        let Self { peers, turn, handler, .. } = self;
        let mut batches: Vec<(Class, Option<Batch>)> = Vec::new();
        let mut progress = Progress::Done;
        let most = turn.work.live_left().min(*share);
        let mut spent = 0;
        let is_whole = from >= topic.first;
        for at in 0..topic.subscribers.len() {
            let subscriber = topic.subscribers[at];
            if subscriber.next >= to {
                continue;
            }
            if spent >= most {
                turn.work.spend_live(spent);
                *share -= most;
                return Progress::Share;
            }
            spent += LOOK_UNITS;
            let key = subscriber.key as usize;
            if subscriber.form.framing == Framing::Response {
                turn.answered.push(subscriber.key);
                // Once, however many runs follow.
                topic.subscribers[at].next = LOST_TRACK;
                continue;
            }
            let tx = &mut peers.tx[key];
            if !tx.takes_topics() {
                continue;
            }
            // It may have caught up with some of the run already.
            let has_all_before = is_whole && subscriber.next >= from;
            if has_all_before && !tx.is_flushed() && !tx.was_refused() {
                // It keeps up, and would lose what the ring has no room for, be it that the server has something left for it.
                if peers.rx[key].reading.is_within_message() {
                    progress = Progress::Awaits;
                } else if tx.waits_for_turn() {
                    spent += tx.backlog_bytes() + CALL_UNITS;
                    tx.flush(key, turn);
                }
            }
            let keeps_up = has_all_before && tx.is_flushed() && tx.takes_topics();
            // It asked for what is being made for it, and for nothing that is lost meanwhile.
            let queues = has_all_before && tx.has_unmade() && tx.has_queue_left(turn);
            if !keeps_up && !queues {
                tx.lag(key, turn);
                continue;
            }
            let class = tx.class(subscriber.form);
            let batch = match batches.iter().position(|(of, _)| *of == class) {
                Some(at) => &batches[at].1,
                None => {
                    let batch = batch_of(handler, turn, topic, class, from..to, grown);
                    batches.push((class, batch));
                    &batches[batches.len() - 1].1
                }
            };
            let Some(batch) = batch else {
                if let Some(partial) = long_at(topic, from, class.form)
                    && let Reading::Stream { partial: under_way, .. } = &mut peers.rx[key].reading
                {
                    *under_way = Some(partial);
                    topic.subscribers[at].next = to;
                }
                tx.lag(key, turn);
                continue;
            };
            let skipped = usize::try_from(subscriber.next - from).unwrap_or(0);
            if queues || subscriber.mutes_own && says_any(topic, subscriber.next, to, key, tx) {
                tx.queue_batch(key, batch, topic, from, subscriber, turn);
                topic.subscribers[at].next = to;
            } else {
                spent += batch.bytes(skipped).len() + CALL_UNITS;
                let given = tx.give(key, batch, skipped, turn);
                topic.subscribers[at].next = from.saturating_add(given);
            }
            tx.wait_on();
        }
        turn.work.spend_live(spent);
        *share = share.saturating_sub(spent);
        progress
    }

    /// Gives a peer whose output is flushed what its topics have for it, as far as the kernel takes it. `is_slow`: the kernel
    /// refused something before.
    #[expect(clippy::arithmetic_side_effects, reason = "sums over what is in memory")]
    pub(crate) fn catch_up(&mut self, key: usize, is_slow: bool) {
        let skips = is_slow && self.turn.topics.gives_latest();
        let mut given = 0;
        loop {
            if given >= CATCH_UP_BYTES_PER_TURN_MAX || !self.turn.work.is_granted() {
                let tx = &mut self.peers.tx[key];
                tx.lag_for_work(key, &mut self.turn);
                tx.stay_slow(is_slow);
                return;
            }
            let pulled = self.pull(key, skips);
            if pulled == 0 {
                return;
            }
            given += pulled;
            self.turn.work.spend(pulled + CALL_UNITS);
            let tx = &mut self.peers.tx[key];
            tx.stay_slow(is_slow);
            tx.flush(key, &mut self.turn);
            if !tx.is_flushed() || !tx.takes_topics() {
                return;
            }
        }
    }

    /// Queues a few of the messages that a peer's topics have for it; how many bytes.
    fn pull(&mut self, key: usize, skips: bool) -> usize {
        let mut room = Room { chunks: PULLED_CHUNKS_MAX, bytes: PULLED_BYTES_MAX, pulled: 0 };
        let Some(subscriptions) = self.peers.tx[key].subscriptions.take() else { return 0 };
        self.turn.work.spend(subscriptions.len().saturating_mul(LOOK_UNITS));
        let mut is_between = self.pull_partial(key, &mut room);
        for &subscription in subscriptions.iter() {
            let has_room = room.chunks > 0 && room.bytes > 0;
            if !is_between || !has_room || !self.peers.tx[key].takes_topics() {
                break;
            }
            self.make_room_for(subscription);
            self.pull_from(key, subscription, skips, &mut room);
            is_between = self.pull_partial(key, &mut room);
        }
        self.peers.tx[key].subscriptions = Some(subscriptions);
        room.pulled
    }

    /// Queues the next part of a long message, if one is under way; whether another message may follow.
    fn pull_partial(&mut self, key: usize, room: &mut Room) -> bool {
        let Self { peers, turn, handler, .. } = self;
        let Reading::Stream { partial: under_way, .. } = &mut peers.rx[key].reading else {
            return true;
        };
        let Some(partial) = under_way else { return true };
        let tx = &mut peers.tx[key];
        let mut bytes = Vec::new();
        if partial.encode(handler, &turn.memory, &mut bytes).is_none() {
            tx.cut_for_memory(key, turn);
            return false;
        }
        room.take(bytes.len());
        tx.queue_whole(bytes);
        if partial.is_done() {
            *under_way = None;
        }
        under_way.is_none()
    }

    /// Where memory is limited, gives up the oldest history until the encoding that a subscriber needs next can be made.
    fn make_room_for(&mut self, subscription: Subscription) {
        let Self { turn, handler, .. } = self;
        if !turn.memory.is_limited() {
            return;
        }
        let Some(topic) = turn.topics.get(subscription.topic) else { return };
        let Subscriber { next, form, .. } = topic.subscribers[subscription.at as usize];
        let Some(message) = topic.message(next.max(topic.first)) else { return };
        if Partial::suits(form, message.payload) {
            // Each of its parts asks for itself.
            return;
        }
        // It is looked at as a whole.
        turn.work.spend(message.payload.len());
        let len = encoding_bytes(handler, form, message);
        turn.topics.make_room(len);
    }

    /// `skips`: all but the newest message, as far as they may be.
    fn pull_from(&mut self, key: usize, subscription: Subscription, skips: bool, room: &mut Room) {
        let Self { peers, turn, handler, .. } = self;
        let Some(mut topic) = turn.topics.take_out(subscription.topic) else { return };
        let (rx, tx) = (&mut peers.rx[key], &mut peers.tx[key]);
        let mut grown = 0;
        let mut subscriber = topic.subscribers[subscription.at as usize];
        let skips = skips && subscriber.next < topic.next() && handler.conflates(subscriber.form);
        let class = tx.class(subscriber.form);
        while subscriber.next < topic.next()
            && room.chunks > 0
            && room.bytes > 0
            && tx.takes_topics()
        {
            let offset = subscriber.next;
            if subscriber.mutes_own && is_own(&topic, offset, key, tx) {
                subscriber.next = subscriber.next.saturating_add(1);
                continue;
            }
            let from = match skips && !topic.replays(&subscriber) {
                true => newest_for(&topic, &subscriber, key, tx),
                false => topic.first,
            };
            if offset < from {
                bridge_gap(handler, tx, key, turn, &topic, from, &mut subscriber, room);
                continue;
            }
            if let Some(long) = long_at(&topic, offset, class.form)
                && let Reading::Stream { partial, .. } = &mut rx.reading
            {
                *partial = Some(long);
                subscriber.next = subscriber.next.saturating_add(1);
                break;
            }
            let Some(bytes) = encoding(handler, turn, &mut topic, offset, class, &mut grown) else {
                tx.end_for_memory(key, turn);
                break;
            };
            subscriber.next = subscriber.next.saturating_add(1);
            room.take(bytes.len());
            tx.queue_shared(bytes, class);
        }
        topic.subscribers[subscription.at as usize] = subscriber;
        turn.topics.put_back(subscription.topic, topic, grown);
    }
}

/// What one pull may queue: few chunks, so that a peer that takes nothing costs next to nothing.
struct Room {
    chunks: usize,
    bytes: usize,
    pulled: usize,
}

impl Room {
    fn take(&mut self, len: usize) {
        self.chunks = self.chunks.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(len);
        self.pulled = self.pulled.saturating_add(len);
    }
}

/// The newest message for a subscriber; what lies before it may be skipped. If none is left, where the ring begins.
fn newest_for(topic: &Topic, subscriber: &Subscriber, key: usize, tx: &Tx) -> u64 {
    let is_for_it = |&offset: &u64| !(subscriber.mutes_own && is_own(topic, offset, key, tx));
    let left = subscriber.next.max(topic.first)..topic.next();
    left.rev().find(is_for_it).unwrap_or(topic.first)
}

/// Whether a message was said by this peer.
fn is_own(topic: &Topic, offset: u64, key: usize, tx: &Tx) -> bool {
    topic.entry(offset).is_some_and(|entry| tx.is_by(key, entry.from))
}

/// Tells a subscriber of what it is not given before `to`, since it fell off the ring or is skipped, or ends its connection.
#[cold]
#[expect(clippy::too_many_arguments, reason = "the parts of a topic and a peer, borrowed apart")]
fn bridge_gap<H: Handler>(
    handler: &H,
    tx: &mut Tx,
    key: usize,
    turn: &mut Turn,
    topic: &Topic,
    to: u64,
    subscriber: &mut Subscriber,
    room: &mut Room,
) {
    turn.counters.gaps = turn.counters.gaps.saturating_add(1);
    let before = |offset: u64| MessageId { epoch: topic.epoch, offset: offset.saturating_sub(1) };
    let gap = Gap { from: before(subscriber.next), to: before(to) };
    let mut notice = vec![0; room_for_header(subscriber.form)];
    match handler.on_gap(subscriber.form, &topic.name, gap, &mut notice) {
        lag @ (Lag::Told(kind) | Lag::Ended(kind)) => {
            let class = Class { form: subscriber.form, window_at: None };
            let bytes = frame(subscriber.form, kind, &mut notice);
            room.take(bytes.len());
            tx.queue_shared(bytes, class);
            subscriber.next = if matches!(lag, Lag::Ended(_)) { LOST_TRACK } else { to };
        }
        Lag::Untold => subscriber.next = to,
        Lag::Close(code, reason) => tx.close_other(key, code, &reason, turn),
    }
}

/// Whether any of the messages `from..to` was said by this peer.
fn says_any(topic: &Topic, from: u64, to: u64, key: usize, tx: &Tx) -> bool {
    (from..to).any(|offset| is_own(topic, offset, key, tx))
}

/// A message that is written in parts, if it is one.
fn long_at(topic: &Topic, offset: u64, form: Form) -> Option<Box<Partial>> {
    let is_long = |entry: &&Entry| Partial::suits(form, entry.payload());
    topic.entry(offset).filter(is_long)?;
    topic.partial(offset, form).map(Box::new)
}

/// A run of messages for all who take this form and keep up; `None`: it is made for each as it takes it, being long, or memory
/// short.
#[expect(clippy::arithmetic_side_effects, reason = "sums over what is in memory")]
fn batch_of<H: Handler>(
    handler: &H,
    turn: &mut Turn,
    topic: &mut Topic,
    class: Class,
    offsets: std::ops::Range<u64>,
    grown: &mut usize,
) -> Option<Batch> {
    if long_at(topic, offsets.start, class.form).is_some() {
        return None;
    }
    let parts: Option<Vec<_>> =
        offsets.map(|offset| encoding(handler, turn, topic, offset, class, grown)).collect();
    let parts = parts?;
    let ends = parts.iter().scan(0, |end, part| {
        *end += part.len();
        Some(*end)
    });
    let ends: Vec<usize> = ends.collect();
    let joined = match parts.len() {
        1 => Vec::new(),
        _ if !turn.memory.has_room(ends.last().copied().unwrap_or(0)) => return None,
        _ => parts.concat(),
    };
    Some(Batch { class, parts, ends, joined })
}

/// A message's encoding, made if need be; `None`: there is no memory for it.
#[expect(clippy::arithmetic_side_effects, reason = "sums over what is in memory")]
pub(crate) fn encoding<H: Handler>(
    handler: &H,
    turn: &mut Turn,
    topic: &mut Topic,
    offset: u64,
    class: Class,
    grown: &mut usize,
) -> Option<Rc<[u8]>> {
    let class = class.of_one_message();
    if let Some(bytes) = topic.entry(offset).and_then(|entry| entry.form(class)) {
        return Some(Rc::clone(bytes));
    }
    let Some(message) = topic.message(offset) else { return Some(Rc::default()) };
    let room_len = room_for_header(class.form);
    let mut written_len = message.payload.len() + room_len;
    if turn.memory.is_limited() {
        let bytes = encoding_bytes(handler, class.form, message);
        if !turn.memory.has_room(bytes) {
            return None;
        }
        // So that it grows to no more than was asked for.
        written_len = bytes / 2;
    }
    let mut written = Vec::with_capacity(written_len);
    written.resize(room_len, 0);
    let kind = handler.encode(class.form, message, &mut written);
    turn.work.spend_at_once(written.len());
    if let Some(window_at) = class.window_at {
        let text = &written[room_len..];
        let packed = turn.compressors.encode_for_many(usize::from(window_at), kind, text);
        if let Some(bytes) = packed {
            *grown += topic.keep_form(offset, class, Rc::clone(&bytes));
            return Some(bytes);
        }
    }
    // It is no other than that of those who agreed on nothing.
    let plain = Class { window_at: None, ..class };
    let known = topic.entry(offset).and_then(|entry| entry.form(plain)).cloned();
    let bytes = known.unwrap_or_else(|| {
        let bytes = frame(class.form, kind, &mut written);
        *grown += topic.keep_form(offset, plain, Rc::clone(&bytes));
        bytes
    });
    if class.window_at.is_some() {
        topic.keep_form(offset, class, Rc::clone(&bytes));
    }
    Some(bytes)
}

/// What an encoding takes while it is made: what the handler writes, and what is shared.
fn encoding_bytes<H: Handler>(handler: &H, form: Form, message: TopicMessage<'_>) -> usize {
    let len = handler.encoded_len(form, message).saturating_add(room_for_header(form));
    len.saturating_mul(2)
}

/// Bytes in front of what the handler writes, for the header of its frame.
const fn room_for_header(form: Form) -> usize {
    match form.framing {
        Framing::Bytes | Framing::Response => 0,
        Framing::Message => header::UNMASKED_BYTES_MAX,
    }
}

/// What the handler wrote behind the room for its header, as it leaves.
#[expect(clippy::arithmetic_side_effects, reason = "the room, and a header that fits it")]
fn frame(form: Form, kind: Kind, written: &mut [u8]) -> Rc<[u8]> {
    let room_len = room_for_header(form);
    if room_len == 0 {
        return written.as_ref().into();
    }
    let header = header::encode(Fin::Last, kind.opcode(), written.len() - room_len, None);
    let header = header.as_bytes();
    let start = room_len - header.len();
    written[start..room_len].copy_from_slice(header);
    written[start..].into()
}

impl Tx {
    /// Queues the messages of a batch that begins at `from`, but for those that the subscriber has or does not want.
    fn queue_batch(
        &mut self,
        key: usize,
        batch: &Batch,
        topic: &Topic,
        from: u64,
        subscriber: Subscriber,
        turn: &mut Turn,
    ) {
        for (offset, part) in (from..).zip(&batch.parts) {
            let is_muted = subscriber.mutes_own && is_own(topic, offset, key, self);
            if offset >= subscriber.next && !is_muted {
                self.lag(key, turn);
                self.queue_shared(Rc::clone(part), batch.class);
            }
        }
    }

    /// Writes a batch to a peer whose output is flushed, but for the first `skipped`, which it has; how many of its messages it has
    /// now, be it that the last of them waits for the kernel.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "the last end within what was taken, and parts of a batch"
    )]
    fn give(&mut self, key: usize, batch: &Batch, skipped: usize, turn: &mut Turn) -> u64 {
        if batch.class.window_at.is_some() {
            self.packing.forget();
        }
        let bytes = batch.bytes(skipped);
        let taken = match self.link.write(bytes) {
            Drained::Bytes(len) if len == bytes.len() => return batch.parts.len() as u64,
            Drained::Bytes(len) => len,
            Drained::Held(len) => {
                self.await_writable();
                len
            }
            Drained::Broken => {
                self.doom(key, turn);
                return batch.parts.len() as u64;
            }
        };
        // The message that was cut waits in full, the others are the topic's to keep.
        let taken = batch.start_of(skipped) + taken;
        let whole = batch.ends.partition_point(|&end| end <= taken);
        let start = batch.start_of(whole);
        self.queue_rest(batch.parts.get(whole), taken - start, turn);
        whole as u64 + u64::from(taken > start)
    }
}

/// What is written to a subscriber at once, as payloads.
const RUN_BYTES_MAX: usize = 256 * 1024;

/// What a peer that catches up is given in one turn.
const CATCH_UP_BYTES_PER_TURN_MAX: usize = 512 * 1024;

const PULLED_CHUNKS_MAX: usize = 16;
const PULLED_BYTES_MAX: usize = 64 * 1024;
