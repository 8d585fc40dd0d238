//! What a handler may do: send, close, and know who and when it is.
//!
//! Lends the handler the sending halves of all peers. What it does to another peer than its own is queued, and leaves at
//! the end of the turn; no handler runs inside a handler.

use std::ops::Bound;

use slab::Slab;

use crate::config::Limits;
use crate::net::peer::in_place::InPlace;
use crate::net::peer::prepared::Prepared;
use crate::net::peer::tx::{Phase, Tx, to_u32};
use crate::net::terms::arrival::Side;
use crate::net::terms::counters::Counters;
use crate::net::terms::cursor::{Position, Since};
use crate::net::terms::peer_id::PeerId;
use crate::net::terms::sent::Sent;
use crate::net::terms::topic::{Form, Published, TopicError, TopicInfo, TopicMessage};
use crate::net::topics::excerpt::Excerpt;
use crate::net::topics::owners::{Owner, OwnerId};
use crate::net::topics::ring::{LOST_TRACK, Subscription, Topic};
use crate::net::topics::{Maker, Topics};
use crate::net::turn::Turn;
use crate::proto::close::StatusCode;
use crate::proto::header::{self, Fin};
use crate::proto::message::Kind;

/// A handler's hold on the loop while it is called for one peer.
#[derive(Debug)]
pub struct Context<'a> {
    key: usize,
    generation: u32,
    tx: &'a mut Slab<Tx>,
    turn: &'a mut Turn,
    in_place: InPlace<'a>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        key: usize,
        generation: u32,
        tx: &'a mut Slab<Tx>,
        turn: &'a mut Turn,
        in_place: InPlace<'a>,
    ) -> Self {
        Self { key, generation, tx, turn, in_place }
    }

    /// Nobody's event is handled.
    pub(crate) fn for_nobody(tx: &'a mut Slab<Tx>, turn: &'a mut Turn) -> Self {
        Self { key: usize::MAX, generation: 0, tx, turn, in_place: InPlace::NOTHING }
    }

    /// What lies in place once the handler is done.
    pub(crate) const fn into_in_place(self) -> InPlace<'a> {
        self.in_place
    }

    /// The peer that the handler is called for; in [`Handler::on_wake`](crate::Handler::on_wake) a name that nobody has.
    pub fn id(&self) -> PeerId {
        PeerId { key: u32::try_from(self.key).unwrap_or(u32::MAX), generation: self.generation }
    }

    /// Milliseconds since the server was made, as of the start of this turn.
    pub const fn now_ms(&self) -> u64 {
        self.turn.now_ms
    }

    /// Whether the server goes down: clients are being sent away, and no new ones let in.
    pub const fn is_draining(&self) -> bool {
        self.turn.is_draining
    }

    /// What happened since the server was made.
    pub const fn counters(&self) -> Counters {
        self.turn.counters
    }

    /// The limits that the server holds its peers to.
    pub const fn limits(&self) -> &Limits {
        &self.turn.limits
    }

    /// Connections on [`Side::Public`], be they open or not yet. Counted anew with each call.
    pub fn connection_count(&self) -> usize {
        let is_client = |tx: &Tx| tx.side == Side::Public && !tx.is_excess;
        self.tx.iter().filter(|(_, tx)| is_client(tx)).count()
    }

    /// Whether this turn's work is not used up, and nobody waits for it who came before. What answers a client at a cost that
    /// grows with what is asked for asks this first, and puts itself off: a message by [`Context::put_back`], a request by
    /// [`Answer::Later`](crate::Answer::Later). So nobody waits long for what others ask for.
    pub fn has_work_left(&self) -> bool {
        self.turn.work.is_granted()
    }

    /// Takes `units` of the turn's work, each about a nanosecond, or a byte that is written. What topics send, and a response,
    /// is counted without this.
    pub fn spend_work(&mut self, units: usize) {
        self.turn.work.spend(units);
    }

    /// Whether `bytes` more may be kept within the memory limit ([`Limits::memory`]), which what is made for a client asks before it is
    /// made. True without a limit.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.turn.memory.has_room(bytes)
    }

    /// Has `rest`, of the message that the handler is called for, come again as a message once there is work left and it is the
    /// peer's turn. What the peer sends meanwhile comes behind it. Called a second time, it takes the first one's place.
    pub fn put_back(&mut self, kind: Kind, rest: &[u8]) {
        // It is copied, unmasked and checked once more.
        self.turn.work.spend(rest.len() / 4);
        let frame = &mut self.turn.put_back;
        frame.clear();
        // As the peer would have sent it; a key of zeros changes nothing.
        let header = header::encode(Fin::Last, kind.opcode(), rest.len(), Some([0; 4]));
        frame.extend_from_slice(header.as_bytes());
        frame.extend_from_slice(rest);
    }

    /// Sends a message to the peer that the handler is called for. All that is sent in one event leaves in one write.
    pub fn send(&mut self, kind: Kind, payload: &[u8]) -> Sent {
        match self.tx.get_mut(self.key) {
            Some(tx) => tx.send(self.key, kind, payload, &mut self.in_place, self.turn),
            None => Sent::Gone,
        }
    }

    /// Sends what a topic keeps as one message to the peer that the handler is called for, behind what it was sent before. It is
    /// made as the peer takes it, and what is sent later waits for it. Until the peer has all of it, no message more of the
    /// peer is handled.
    pub fn send_excerpt(&mut self, kind: Kind, excerpt: Excerpt) -> Sent {
        match self.tx.get_mut(self.key) {
            Some(tx) => tx.send_excerpt(self.key, kind, excerpt, &mut self.in_place, self.turn),
            None => Sent::Gone,
        }
    }

    /// Whether the peer that the handler is called for has yet to take so much that its further messages wait for that. One that
    /// holds several requests had better be put back ([`Context::put_back`]) with those that are left.
    pub fn is_behind(&self) -> bool {
        self.tx.get(self.key).is_some_and(|tx| tx.is_paused(self.turn))
    }

    /// Sends what is no message of a topic to a peer that was just opened, ahead of the topics' messages: as a message over
    /// WebSocket, as it is on a stream.
    pub fn send_notice(&mut self, kind: Kind, notice: &[u8]) -> Sent {
        match self.tx.get_mut(self.key) {
            Some(tx) if tx.phase == Phase::Streaming => tx.queue_bytes(self.key, notice, self.turn),
            _ => self.send(kind, notice),
        }
    }

    /// Closes the connection of the peer that the handler is called for, behind what was sent (RFC 6455 §7.1.2).
    ///
    /// `reason` is cut at 123 bytes; a stream just ends. Messages that are still on their way from the peer are not handled.
    pub fn close(&mut self, code: StatusCode, reason: &str) {
        match self.tx.get_mut(self.key) {
            Some(tx) if tx.phase == Phase::Streaming => {
                tx.close_other(self.key, code, reason, self.turn);
            }
            Some(tx) => tx.close(self.key, code, reason, self.turn),
            None => {}
        }
    }

    /// Queues a message for any peer; it leaves at the end of the turn.
    pub fn send_to(&mut self, peer: PeerId, kind: Kind, payload: &[u8]) -> Sent {
        if peer == self.id() {
            return self.send(kind, payload);
        }
        match find(self.tx, peer) {
            Some(tx) => {
                let frame = Prepared::new(kind, payload).for_one(tx, self.turn);
                tx.queue_frame(peer.key as usize, frame, self.turn)
            }
            None => Sent::Gone,
        }
    }

    /// Closes the connection of any peer, behind what was sent to it.
    pub fn close_peer(&mut self, peer: PeerId, code: StatusCode, reason: &str) {
        if peer == self.id() {
            self.close(code, reason);
        } else if let Some(tx) = find(self.tx, peer) {
            tx.close_other(peer.key as usize, code, reason, self.turn);
        }
    }

    /// Queues a message for every open peer, the handler's own included. It is encoded once, and compressed once for each
    /// window that peers asked for, which is nearly always one.
    pub fn broadcast(&mut self, kind: Kind, payload: &[u8]) {
        let mut message = Prepared::new(kind, payload);
        for (key, tx) in self.tx.iter_mut() {
            if tx.phase != Phase::Open {
                continue;
            }
            let frame = message.for_many(tx, self.turn);
            let _counted = if key == self.key {
                tx.send_frame(key, &frame, &mut self.in_place, self.turn)
            } else {
                tx.queue_frame(key, frame, self.turn)
            };
        }
    }

    /// Publishes a message to a topic; its subscribers are sent it at the end of the turn.
    ///
    /// # Errors
    ///
    /// A [`TopicError`].
    pub fn publish(
        &mut self,
        topic: &str,
        kind: Kind,
        payload: &[u8],
    ) -> Result<Published, TopicError> {
        let Turn { topics, addresses, now_ms, .. } = &mut *self.turn;
        let maker = match self.tx.get(self.key) {
            Some(tx) => tx.maker(self.key, addresses),
            None => Maker::nobody(addresses),
        };
        topics.publish(topic, kind, payload, maker, *now_ms)
    }

    /// Publishes a message that is the application's own, and no peer's: its topic counts against nobody.
    ///
    /// # Errors
    ///
    /// A [`TopicError`].
    pub fn publish_own(
        &mut self,
        topic: &str,
        kind: Kind,
        payload: &[u8],
    ) -> Result<Published, TopicError> {
        let Turn { topics, addresses, now_ms, .. } = &mut *self.turn;
        topics.publish(topic, kind, payload, Maker::nobody(addresses), *now_ms)
    }

    /// Whether what was published to a topic earlier is still on its way to those that keep up with it. A handler that is to publish
    /// more for a client puts that off ([`Context::put_back`], [`Answer::Later`](crate::Answer::Later)): so no client publishes faster
    /// than subscribers can be written to, and none of them loses what the topic's history has no room for.
    pub fn is_fanning_out(&self, topic: &str) -> bool {
        self.turn.topics.is_put_off(topic)
    }

    /// Takes a message of what the peer may say ([`Limits::message_rate`]); false: it said too much, and is to be refused. What is a
    /// message is the handler's to know, so that nothing is taken unless it asks. [`Owner::Nobody`] may say what it likes.
    pub fn take_message(&mut self) -> bool {
        !self.turn.rates.has_message_rate() || self.take_rated_message()
    }

    fn take_rated_message(&mut self) -> bool {
        let id = self.id();
        let Some(tx) = self.tx.get(self.key).filter(|tx| tx.owner != OwnerId::NOBODY) else {
            return true;
        };
        let ip = self.turn.addresses.rated_ip_of(tx.address);
        let is_taken = self.turn.rates.take_message(id, ip, self.turn.now_ms);
        self.turn.counters.over_rate += u64::from(!is_taken);
        is_taken
    }

    /// Says whom the topics count against that the peer makes from now on, by publishing or listening to what is not there
    /// ([`TopicLimits::topics_per_owner_max`](crate::TopicLimits::topics_per_owner_max)). What is not said is [`Owner::Peer`].
    ///
    /// It holds for the connection, and so for the requests that follow on it.
    pub fn set_owner(&mut self, owner: Owner<'_>) {
        let Some(tx) = self.tx.get_mut(self.key) else { return };
        let owners = &mut self.turn.topics.owners;
        if matches!(owner, Owner::User(user) if owners.is_user(tx.owner, user)) {
            return;
        }
        let held = owners.hold_said(owner);
        owners.release(std::mem::replace(&mut tx.owner, held));
    }

    /// Has the peer that the handler is called for listen to a topic, in `form`. Messages that are there already follow by
    /// themselves. `mutes_own`: not what it publishes itself.
    ///
    /// # Errors
    ///
    /// A [`TopicError`].
    pub fn subscribe(
        &mut self,
        topic: &str,
        form: Form,
        mutes_own: bool,
        since: Since,
    ) -> Result<Position, TopicError> {
        let Some(tx) = self.tx.get_mut(self.key) else { return Err(TopicError::Gone) };
        let subscriptions = tx.subscriptions.get_or_insert_default();
        if subscriptions.len() >= self.turn.topics.subscriptions_max() {
            return Err(TopicError::TooManySubscriptions);
        }
        let Turn { topics, addresses, .. } = &mut *self.turn;
        if topics.key_of(topic).is_some_and(|at| subscriptions.iter().any(|it| it.topic == at)) {
            return Err(TopicError::Subscribed);
        }
        let held = subscriptions.len();
        let maker = tx.maker(self.key, addresses);
        let (subscription, position) =
            topics.subscribe(topic, to_u32(self.key), form, mutes_own, since, held, maker)?;
        let Some(tx) = self.tx.get_mut(self.key) else { return Err(TopicError::Gone) };
        tx.subscriptions.get_or_insert_default().push(subscription);
        if position.next <= position.last.offset {
            tx.lag(self.key, self.turn);
        }
        Ok(position)
    }

    /// Has it listen no more; false: it did not.
    pub fn unsubscribe(&mut self, topic: &str) -> bool {
        let Some(at) = self.turn.topics.key_of(topic) else { return false };
        let Some(tx) = self.tx.get_mut(self.key) else { return false };
        let Some(subscriptions) = &mut tx.subscriptions else { return false };
        let Some(place) = subscriptions.iter().position(|it| it.topic == at) else { return false };
        let subscription = subscriptions.swap_remove(place);
        unsubscribe(self.tx, &mut self.turn.topics, subscription);
        true
    }

    /// Drops a topic's messages; who was not given them is told of the gap.
    pub fn clear_topic(&mut self, topic: &str) {
        self.turn.topics.clear(topic);
    }

    /// Whether the peer listens to a topic and gets nothing of it any more, since it lost messages (`Lag::Ended`).
    pub fn has_lost_track(&self, topic: &str) -> bool {
        let Some(at) = self.turn.topics.key_of(topic) else { return false };
        let subscriptions = self.tx.get(self.key).and_then(|tx| tx.subscriptions.as_ref());
        let mine = subscriptions.and_then(|mine| mine.iter().find(|it| it.topic == at));
        let next = mine.and_then(|it| {
            Some(self.turn.topics.find(topic)?.subscribers.get(it.at as usize)?.next)
        });
        next == Some(LOST_TRACK)
    }

    /// All topics, in no order: those that somebody listens to, that keep a message, or that did a minute ago.
    pub fn topics(&self) -> impl Iterator<Item = TopicInfo<'_>> {
        self.turn.topics.iter().map(Topic::info)
    }

    /// Topics from a name on, in the order of their names.
    pub fn topics_from(&self, from: Bound<&str>) -> impl Iterator<Item = TopicInfo<'_>> {
        self.turn.topics.iter_from(from).map(Topic::info)
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.turn.topics.len()
    }

    /// Names of the topics that a peer listens to.
    pub fn topics_of(&self, peer: PeerId) -> impl Iterator<Item = &str> {
        let tx = self.tx.get(peer.key as usize).filter(|tx| tx.generation == peer.generation);
        let subscriptions = tx.and_then(|tx| tx.subscriptions.as_deref());
        let topics = &self.turn.topics;
        subscriptions.into_iter().flatten().filter_map(|it| topics.name_of(it.topic))
    }

    /// Where a topic stands: its last message, and what would follow `since`. `None`: nobody listens and nothing is kept.
    pub fn topic_position(&self, topic: &str, since: Since) -> Option<Position> {
        self.turn.topics.find(topic).map(|topic| topic.position(since))
    }

    /// A topic's message, if it is there.
    pub fn topic_message(&self, topic: &str, offset: u64) -> Option<TopicMessage<'_>> {
        self.turn.topics.find(topic)?.message(offset)
    }

    /// Bytes that wait for the peer that the handler is called for to take them.
    pub fn queued_bytes(&self) -> usize {
        self.tx.get(self.key).map_or(0, Tx::backlog_bytes)
    }
}

/// Removes a subscriber from its topic, and tells who is moved to its place.
pub(crate) fn unsubscribe(tx: &mut Slab<Tx>, topics: &mut Topics, subscription: Subscription) {
    let Some((key, was)) = topics.unsubscribe(subscription) else { return };
    let others = tx.get_mut(key as usize).and_then(|tx| tx.subscriptions.as_mut());
    let moved = others.and_then(|others| others.iter_mut().find(|other| **other == was));
    debug_assert!(moved.is_some());
    if let Some(moved) = moved {
        *moved = subscription;
    }
}

/// The sending half of `peer`, if it is still the same peer.
pub(crate) fn find(tx: &mut Slab<Tx>, peer: PeerId) -> Option<&mut Tx> {
    tx.get_mut(peer.key as usize).filter(|tx| tx.generation == peer.generation)
}
