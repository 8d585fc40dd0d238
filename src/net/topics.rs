//! The topics of one loop: what is published to each is kept within the limits, and who listens is a cursor (`ring`).
//!
//! Each form of a message (framed, compressed, as a server-sent event ...) is made once, when the first subscriber needs it.
//! Writes to no socket: that is `fan_out`'s. Knows no dialect: what a form looks like is the application's. Where a place that a
//! client names lies is `cursor`'s.

#![deny(clippy::arithmetic_side_effects)]

pub(crate) mod excerpt;
#[expect(clippy::arithmetic_side_effects, reason = "counts of what is in memory")]
pub(crate) mod owners;
pub(crate) mod partial;
#[expect(clippy::arithmetic_side_effects, reason = "sums over what is in memory")]
pub(crate) mod retention;
pub(crate) mod ring;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::ops::Bound;
use std::rc::Rc;

use slab::Slab;

use crate::config::{LagPolicy, TopicLimits};
use crate::net::terms::cursor::{MessageId, Position, Since};
use crate::net::terms::peer_id::PeerId;
use crate::net::terms::topic::{Form, Published, TopicError};
use crate::net::topics::owners::{Name, OwnerId, Owners, Standing};
use crate::net::topics::retention::Retention;
use crate::net::topics::ring::{ENTRY_BYTES, Entry, LOST_TRACK, Subscriber, Subscription, Topic};
use crate::net::turn::addresses::{AddressId, Addresses};
use crate::net::turn::memory::Memory;
use crate::proto::message::Kind;
use crate::state::pieces::{PiecesIn, PiecesOut};
use crate::state::{Corrupt, Saved};

/// The topics of one loop.
#[derive(Debug)]
pub(crate) struct Topics {
    /// Its `history_bytes_max` is above `history_bytes_aim` for a while after that was lowered.
    limits: TopicLimits,
    history_bytes_aim: usize,
    memory: Memory,
    by_name: HashMap<Rc<str>, u32>,
    /// The same names in their order, for lists.
    names: BTreeSet<Rc<str>>,
    slab: Slab<Topic>,
    /// Those with messages that were not fanned out, each once; the first of them comes first.
    pub(crate) dirty: VecDeque<u32>,
    /// Those that go on in the next turn.
    next_turn: Vec<u32>,
    /// How many of those were begun and put off.
    put_off: usize,
    /// Messages that were published; the last one's number.
    published: u64,
    /// Whose the bytes of all rings are, payloads and forms made of them, and which message goes first.
    retention: Retention,
    /// Whose each topic is, and which goes first. One that nothing is left of is kept for a while, so that a client that polls it
    /// goes on where it was.
    pub(crate) owners: Owners,
    /// The time as of this turn.
    pub(crate) now_ms: u64,
    /// Draws the epochs.
    random: RandomState,
    epochs: u64,
}

/// Who publishes or subscribes; asked only where a topic is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maker<'a> {
    /// `None`: nobody, and no topic of it counts.
    pub(crate) peer: Option<PeerId>,
    /// What the handler says of it.
    pub(crate) owner: OwnerId,
    pub(crate) address: AddressId,
    pub(crate) addresses: &'a Addresses,
}

impl Maker<'_> {
    /// The server itself, or another thread.
    pub(crate) const fn nobody(addresses: &Addresses) -> Maker<'_> {
        let (owner, address) = (OwnerId::NOBODY, AddressId::NONE);
        Maker { peer: None, owner, address, addresses }
    }

    /// Whom what it makes counts against; `None`: nobody.
    fn name(&self, owners: &Owners) -> Option<Name> {
        let connection = self.peer?;
        match self.owner {
            OwnerId::NOBODY => None,
            OwnerId::UNSAID => {
                let ip = self.addresses.telling_ip(self.address);
                Some(ip.map_or(Name::Connection(connection), Name::Address))
            }
            said => owners.name(said).cloned(),
        }
    }
}

impl Topics {
    pub(crate) fn new(limits: TopicLimits, memory: Memory) -> Self {
        Self {
            history_bytes_aim: limits.history_bytes_max,
            limits,
            memory,
            by_name: HashMap::new(),
            names: BTreeSet::new(),
            slab: Slab::new(),
            dirty: VecDeque::new(),
            next_turn: Vec::new(),
            put_off: 0,
            published: 0,
            retention: Retention::default(),
            owners: Owners::new(),
            now_ms: 0,
            random: RandomState::new(),
            epochs: 0,
        }
    }

    /// Changes the limits. What is kept beyond them goes in steps, so that no turn is long.
    pub(crate) fn adopt(&mut self, limits: TopicLimits) {
        let kept = self.bytes().min(self.limits.history_bytes_max);
        self.history_bytes_aim = limits.history_bytes_max;
        self.limits = limits;
        self.limits.history_bytes_max = kept.max(self.history_bytes_aim);
    }

    /// Comes nearer to a bound of all history that was lowered, and keeps to it.
    fn bound_all(&mut self, step_bytes: usize) {
        let next = self.limits.history_bytes_max.saturating_sub(step_bytes);
        self.limits.history_bytes_max = next.max(self.history_bytes_aim);
        while self.bytes() > self.limits.history_bytes_max {
            // The newest of all stays, however large it is.
            let Some(at) = self.goes_first(Spares::Newest) else { return };
            self.drop_first(at);
        }
    }

    /// Bytes of all rings.
    pub(crate) const fn bytes(&self) -> usize {
        self.retention.bytes()
    }

    /// Whether who is slow is given the newest message alone.
    pub(crate) const fn gives_latest(&self) -> bool {
        matches!(self.limits.lag, LagPolicy::Latest)
    }

    /// The limit of subscriptions of one peer.
    pub(crate) const fn subscriptions_max(&self) -> usize {
        self.limits.subscriptions_max
    }

    /// The topic of this name, if anyone listens or anything is kept.
    pub(crate) fn find(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name).and_then(|&key| self.slab.get(key as usize))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.slab.iter().map(|(_, topic)| topic)
    }

    /// Topics from a name on, in the order of their names.
    pub(crate) fn iter_from(&self, from: Bound<&str>) -> impl Iterator<Item = &Topic> {
        let names = self.names.range::<str, _>((from, Bound::Unbounded));
        names.filter_map(|name| self.find(name))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn name_of(&self, key: u32) -> Option<&str> {
        self.slab.get(key as usize).map(|topic| &*topic.name)
    }

    pub(crate) fn key_of(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The topic of this key.
    pub(crate) fn get(&self, key: u32) -> Option<&Topic> {
        self.slab.get(key as usize)
    }

    /// Takes a topic out, for as long as its subscribers are written to. To be put back with `put_back`.
    pub(crate) fn take_out(&mut self, topic: u32) -> Option<Topic> {
        self.slab.get_mut(topic as usize).map(std::mem::take)
    }

    /// Puts off what a topic, which was taken out, still has to give to those that keep up; it comes again behind the others.
    pub(crate) fn put_off(&mut self, at: u32, topic: &mut Topic) {
        self.mark_put_off(topic);
        self.dirty.push_back(at);
    }

    /// The same, for the next turn.
    pub(crate) fn put_off_turn(&mut self, at: u32, topic: &mut Topic) {
        self.mark_put_off(topic);
        self.next_turn.push(at);
    }

    fn mark_put_off(&mut self, topic: &mut Topic) {
        let is_new = !std::mem::replace(&mut topic.is_put_off, true);
        self.put_off = self.put_off.saturating_add(usize::from(is_new));
    }

    /// A turn begins.
    pub(crate) fn begin_turn(&mut self) {
        self.dirty.extend(self.next_turn.drain(..));
    }

    /// Whether anything that was published is not fanned out yet.
    pub(crate) fn has_unfanned(&self) -> bool {
        !self.dirty.is_empty() || !self.next_turn.is_empty()
    }

    /// All that a topic had, which was taken out, was fanned out.
    pub(crate) fn fanned_out(&mut self, topic: &mut Topic) {
        let was_put_off = std::mem::replace(&mut topic.is_put_off, false);
        self.put_off = self.put_off.saturating_sub(usize::from(was_put_off));
        topic.fanned = topic.next();
        topic.begun = None;
        topic.is_dirty = false;
    }

    /// Whether what was published to a topic earlier is still on its way to those that keep up.
    pub(crate) fn is_put_off(&self, name: &str) -> bool {
        self.put_off > 0 && self.find(name).is_some_and(|topic| topic.is_put_off)
    }

    /// Whether any topic is put off.
    #[cfg(test)]
    pub(crate) const fn has_put_off(&self) -> bool {
        self.put_off > 0
    }

    /// Whether anything that was published to a topic is not fanned out yet.
    pub(crate) fn is_unfanned(&self, name: &str) -> bool {
        self.has_unfanned() && self.find(name).is_some_and(|topic| topic.is_dirty)
    }

    /// Puts a topic back; `grown` bytes of forms were made meanwhile.
    pub(crate) fn put_back(&mut self, at: u32, topic: Topic, grown: usize) {
        self.retention.grow(self.owners.owner_of(at), grown);
        if let Some(place) = self.slab.get_mut(at as usize) {
            *place = topic;
            self.bound(at);
            // It may have been emptied before it was fanned out.
            self.settle(at);
        }
    }

    /// Appends a message to a topic's ring.
    #[expect(clippy::arithmetic_side_effects, reason = "sums over what is in memory")]
    pub(crate) fn publish(
        &mut self,
        name: &str,
        kind: Kind,
        payload: &[u8],
        maker: Maker<'_>,
        now_ms: u64,
    ) -> Result<Published, TopicError> {
        if payload.len() > self.limits.topic_bytes_max {
            return Err(TopicError::MessageTooBig);
        }
        // Itself, and one form of it.
        if !self.make_room((payload.len() + ENTRY_BYTES).saturating_mul(2)) {
            return Err(TopicError::OutOfMemory);
        }
        let at = self.obtain(name, maker)?;
        let topic = &mut self.slab[at as usize];
        let offset = topic.next();
        let (payload_len, payload) = (payload.len(), payload.into());
        self.published += 1;
        let (from, number) = (maker.peer, self.published);
        let entry = Entry { kind, payload, from, at_ms: now_ms, number, forms: Vec::new() };
        let owner = self.owners.owner_of(at);
        self.retention.grow(owner, entry.bytes());
        if topic.ring.is_empty() {
            self.retention.set_first(at, owner, Some(number));
        }
        topic.payload_bytes += payload_len;
        topic.ring.push_back(entry);
        if !std::mem::replace(&mut topic.is_dirty, true) {
            self.dirty.push_back(at);
        }
        let id = MessageId { epoch: topic.epoch, offset };
        let published = Published { id, subscribers: topic.subscribers.len() };
        if published.subscribers == 0 && !self.owners.stand(at, Standing::Kept) {
            self.owners.touch(at);
        } else if topic.ring.len() > self.limits.history_messages.saturating_add(UNFANNED_MAX / 2)
            || topic.payload_bytes > self.limits.topic_bytes_max.saturating_mul(UNFANNED_RINGS / 2)
        {
            // Half of what is a flood: the rest is for those who do not ask.
            let is_new = !std::mem::replace(&mut topic.is_put_off, true);
            self.put_off = self.put_off.saturating_add(usize::from(is_new));
        }
        self.bound(at);
        Ok(published)
    }

    /// Adds a subscriber, that has `held` subscriptions. Whether there is something to be given to it at once.
    ///
    /// A topic that is listened to cannot give way to others. So the more of them a peer has, the more places it leaves: with all
    /// subscriptions that it may have a quarter of all, or with 128 if these are more. A few that take whatever they can get
    /// leave places for those who want one.
    #[expect(clippy::too_many_arguments, reason = "a subscriber's parts, and who makes the topic")]
    pub(crate) fn subscribe(
        &mut self,
        name: &str,
        key: u32,
        form: Form,
        mutes_own: bool,
        since: Since,
        held: usize,
        maker: Maker<'_>,
    ) -> Result<(Subscription, Position), TopicError> {
        let is_listened = self.find(name).is_some_and(|topic| !topic.subscribers.is_empty());
        let left = self.limits.topics_max.saturating_sub(self.owners.listened());
        let parts = self.limits.subscriptions_max.max(FEW_SUBSCRIPTIONS).saturating_mul(4);
        if !is_listened && held.saturating_mul(self.limits.topics_max) > left.saturating_mul(parts)
        {
            return Err(TopicError::TooManyTopics);
        }
        let at = self.obtain(name, maker)?;
        let topic = &mut self.slab[at as usize];
        let position = topic.position(since);
        let subscription = Subscription { topic: at, at: len_u32(topic.subscribers.len()) };
        topic.subscribers.push(Subscriber { key, form, mutes_own, next: position.next });
        if self.limits.lag == LagPolicy::Latest && position.next <= position.last.offset {
            topic.replays.insert(key, position.last.offset.saturating_add(1));
        }
        self.owners.stand(at, Standing::Listened);
        Ok((subscription, position))
    }

    /// Removes a subscriber. `Some`: this other peer's subscription has its place now.
    pub(crate) fn unsubscribe(
        &mut self,
        subscription: Subscription,
    ) -> Option<(u32, Subscription)> {
        let topic = self.slab.get_mut(subscription.topic as usize)?;
        let left = topic.subscribers.swap_remove(subscription.at as usize);
        topic.replays.remove(&left.key);
        let moved = topic.subscribers.get(subscription.at as usize).map(|moved| {
            let was = Subscription { at: len_u32(topic.subscribers.len()), ..subscription };
            (moved.key, was)
        });
        self.settle(subscription.topic);
        moved
    }

    /// Drops a topic's messages.
    pub(crate) fn clear(&mut self, name: &str) {
        let Some(at) = self.key_of(name) else { return };
        while self.drop_first(at) {}
    }

    /// Drops messages that are older than they may get, and topics that nothing is left of.
    pub(crate) fn trim(&mut self, now_ms: u64) {
        let ttl_ms = self.limits.history_ttl_ms;
        while let Some(at) = self.retention.oldest() {
            let topic = &self.slab[at as usize];
            let is_due = |entry: &Entry| now_ms >= entry.at_ms.saturating_add(ttl_ms);
            // What is put off when time leaps is still for those who keep up.
            if topic.first >= topic.fanned || !topic.ring.front().is_some_and(is_due) {
                break;
            }
            self.drop_first(at);
        }
        self.end_lingering(now_ms);
        self.bound_all(TRIM_STEP_BYTES);
    }

    /// Forgets topics that have lingered for long enough, at `now_ms`.
    fn end_lingering(&mut self, now_ms: u64) {
        while let Some(at) = self.owners.oldest_lingering() {
            if now_ms < self.slab[at as usize].unused_since_ms.saturating_add(LINGER_MS) {
                return;
            }
            self.forget(at);
        }
    }

    /// Forgets a topic that nobody listens to, with what it keeps.
    fn forget(&mut self, at: u32) {
        let topic = self.slab.remove(at as usize);
        debug_assert!(topic.subscribers.is_empty());
        self.put_off = self.put_off.saturating_sub(usize::from(topic.is_put_off));
        let owner = self.owners.owner_of(at);
        self.retention.shrink(owner, topic.ring.iter().map(Entry::bytes).sum());
        self.retention.set_first(at, owner, None);
        self.by_name.remove(&topic.name);
        self.names.remove(&topic.name);
        self.owners.remove(at);
    }

    /// Forgets the topic that goes first, of this owner or of all; false: all are listened to.
    fn forget_oldest(&mut self, owner: Option<OwnerId>) -> bool {
        let oldest = self.owners.oldest(owner);
        oldest.inspect(|&at| self.forget(at)).is_some()
    }

    /// Sums are what they are sums of, and each subscriber knows its place.
    #[cfg(test)]
    pub(crate) fn audit(&mut self, peers: &Slab<crate::net::peer::tx::Tx>) {
        let standings = self.slab.iter().map(|(at, topic)| (len_u32(at), topic.standing()));
        let held: Vec<_> = peers.iter().map(|(_, tx)| tx.owner).collect();
        self.owners.audit(&standings.collect::<Vec<_>>(), &held);
        assert!(self.names.len() == self.slab.len() && self.by_name.len() == self.slab.len());
        assert!(self.slab.len() <= self.limits.topics_max);
        let owned = || {
            self.slab
                .iter()
                .map(|(at, topic)| (len_u32(at), self.owners.owner_of(len_u32(at)), topic))
        };
        let held = owned().map(|(_, owner, it)| (owner, it.ring.iter().map(Entry::bytes).sum()));
        let firsts =
            owned().filter_map(|(at, owner, it)| Some((at, owner, it.ring.front()?.number)));
        self.retention.audit(&held.collect::<Vec<_>>(), &firsts.collect::<Vec<_>>());
        for (_, topic) in &self.slab {
            let payloads: usize = topic.ring.iter().map(|entry| entry.payload.len()).sum();
            assert_eq!(topic.payload_bytes, payloads);
            for subscriber in &topic.subscribers {
                assert!(peers.contains(subscriber.key as usize), "a subscriber that is gone");
            }
        }
        let mut held = 0_usize;
        for (key, tx) in peers {
            for hold in tx.subscriptions.as_deref().into_iter().flatten() {
                held = held.saturating_add(1);
                let topic = &self.slab[hold.topic as usize];
                assert_eq!(topic.subscribers[hold.at as usize].key as usize, key);
            }
        }
        let listed: usize = self.slab.iter().map(|(_, topic)| topic.subscribers.len()).sum();
        assert_eq!(held, listed, "subscriptions and subscribers");
    }

    /// The topic of this name, made if need be.
    fn obtain(&mut self, name: &str, maker: Maker<'_>) -> Result<u32, TopicError> {
        if let Some(&at) = self.by_name.get(name) {
            return Ok(at);
        }
        if name.is_empty() || name.len() > self.limits.name_bytes_max {
            return Err(TopicError::NameTooLong);
        }
        let owner = maker.name(&self.owners);
        self.make_place(owner.as_ref())?;
        if !self.make_room(TOPIC_BYTES) {
            return Err(TopicError::OutOfMemory);
        }
        self.epochs = self.epochs.wrapping_add(1);
        // Of 52 bits, so that it is a number in every language.
        let epoch = self.random.hash_one(self.epochs) >> 12;
        let name: Rc<str> = name.into();
        let topic =
            Topic { name: Rc::clone(&name), epoch, first: 1, fanned: 1, ..Topic::default() };
        let at = len_u32(self.slab.insert(topic));
        self.names.insert(Rc::clone(&name));
        self.by_name.insert(name, at);
        let owner = owner.map_or(OwnerId::NOBODY, |owner| self.owners.intern(owner));
        self.owners.add(at, owner, Standing::Lingering);
        Ok(at)
    }

    /// Has topics that nobody listens to give way to one more: the owner's if it has its share, then anybody's.
    fn make_place(&mut self, owner: Option<&Name>) -> Result<(), TopicError> {
        let owner = owner.and_then(|owner| self.owners.find(owner));
        if let Some(owner) = owner {
            let over = self
                .owners
                .topics_of(owner)
                .saturating_add(1)
                .saturating_sub(self.limits.topics_per_owner());
            if !self.give_way(over, Some(owner)) {
                return Err(TopicError::TooManyTopicsOfOwner);
            }
        }
        let over = self.slab.len().saturating_add(1).saturating_sub(self.limits.topics_max);
        if self.give_way(over, None) { Ok(()) } else { Err(TopicError::TooManyTopics) }
    }

    /// Forgets topics where there are `over` too many, the oldest of this owner or of all; false: there are not fewer now.
    fn give_way(&mut self, over: usize, owner: Option<OwnerId>) -> bool {
        let places = over.min(PLACES_PER_TOPIC);
        over == 0 || (0..places).take_while(|_| self.forget_oldest(owner)).count() > 0
    }

    /// Keeps the ring of the topic that was just published to, and all together, within their bounds. The message itself
    /// stays.
    fn bound(&mut self, at: u32) {
        let limits = &self.limits;
        let (messages_max, topic_bytes_max) = (limits.history_messages, limits.topic_bytes_max);
        // What is left, after a limit was lowered or a large message came, goes with the next ones.
        for _ in 0..DROPS_PER_MESSAGE_MAX {
            let topic = &self.slab[at as usize];
            let (len, bytes) = (topic.ring.len(), topic.payload_bytes);
            let is_over = len > messages_max.max(1) || bytes > topic_bytes_max;
            // What was not fanned out yet is lost to all if it goes: only a flood may have that.
            let is_flood = len > messages_max.saturating_add(UNFANNED_MAX)
                || bytes > topic_bytes_max.saturating_mul(UNFANNED_RINGS);
            if len <= 1 || !is_over || topic.first >= topic.fanned && !is_flood {
                break;
            }
            self.drop_first(at);
        }
        self.bound_all(STEP_BYTES);
    }

    /// Gives history up until so much more memory may be taken; false: it may not be. What was not fanned
    /// out yet stays.
    pub(crate) fn make_room(&mut self, bytes: usize) -> bool {
        while !self.memory.has_room(bytes) {
            if !self.drop_one() {
                return false;
            }
        }
        true
    }

    /// Gives history up while memory is tight and there is more of it than `keep_bytes`.
    pub(crate) fn give_up(&mut self, keep_bytes: usize) {
        while self.memory.is_tight() && self.bytes() > keep_bytes && self.drop_one() {}
    }

    /// Drops the message that goes first, and forgets its topic if nothing is left of it; false: there is none that was fanned out.
    fn drop_one(&mut self) -> bool {
        let Some(at) = self.goes_first(Spares::Unfanned) else { return false };
        self.drop_first(at);
        self.end_lingering(u64::MAX);
        true
    }

    /// The topic whose first message goes first: that of whoever holds most, else the oldest of all.
    fn goes_first(&mut self, spares: Spares) -> Option<u32> {
        let Self { retention, slab, limits, published, .. } = self;
        let may_go = |at: &u32| {
            let topic = &slab[*at as usize];
            match spares {
                Spares::Newest => topic.ring.front().is_some_and(|it| it.number < *published),
                Spares::Unfanned => topic.first < topic.fanned,
            }
        };
        let most = retention.gives_first(limits.history_bytes_max).filter(may_go);
        most.or_else(|| retention.oldest().filter(may_go))
    }

    /// Drops a ring's first message; false: there is none.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "a sum that the message is part of, and an offset below the next"
    )]
    fn drop_first(&mut self, at: u32) -> bool {
        let Some(topic) = self.slab.get_mut(at as usize) else { return false };
        let Some(entry) = topic.ring.pop_front() else { return false };
        topic.payload_bytes -= entry.payload.len();
        topic.first += 1;
        let owner = self.owners.owner_of(at);
        self.retention.shrink(owner, entry.bytes());
        self.retention.set_first(at, owner, topic.ring.front().map(|entry| entry.number));
        self.settle(at);
        true
    }

    /// Has a topic stand where it belongs, if that may have changed.
    fn settle(&mut self, at: u32) {
        let Some(topic) = self.slab.get_mut(at as usize) else { return };
        let standing = topic.standing();
        if self.owners.stand(at, standing) {
            topic.unused_since_ms = self.now_ms;
        }
    }
}

impl Topics {
    /// Writes all topics and who listens.
    pub(crate) fn save(&self, out: &mut PiecesOut<'_>) -> io::Result<()> {
        let Self {
            limits: _,
            history_bytes_aim: _,
            memory: _,
            by_name: _,
            names: _,
            slab,
            dirty: _,
            next_turn: _,
            put_off: _,
            published,
            retention: _,
            owners,
            now_ms: _,
            random: _,
            epochs: _,
        } = self;
        out.write(|out| slab.len().save(out))?;
        for (key, topic) in slab {
            out.write(|out| {
                key.save(out);
                topic.save_without_ring(out);
                topic.ring.len().save(out);
            })?;
            for entry in &topic.ring {
                out.write(|out| entry.save(out))?;
            }
        }
        out.write(|out| {
            published.save(out);
            owners.save(out);
        })
    }

    /// Reads what `save` wrote; there are no topics yet.
    pub(crate) fn restore(&mut self, from: &mut PiecesIn<'_>) -> Result<(), Corrupt> {
        let mut left = from.read(usize::restore)?;
        let mut is_whole = true;
        // Straight into the slab, so that there is no second place for them all.
        let slab: Slab<Topic> = std::iter::from_fn(|| {
            left = left.checked_sub(1)?;
            let topic = self.restore_topic(from);
            is_whole &= topic.is_ok();
            topic.ok()
        })
        .collect();
        if !is_whole {
            return Err(Corrupt);
        }
        self.slab = slab;
        let slab = &self.slab;
        let standing = |at: u32| slab.get(at as usize).map(Topic::standing);
        let (published, count) =
            from.read(|from| Ok((u64::restore(from)?, self.owners.restore(from, standing)?)))?;
        self.published = published;
        if count != self.slab.len() {
            return Err(Corrupt);
        }
        for (at, topic) in &self.slab {
            let at = len_u32(at);
            let owner = self.owners.owner_of(at);
            let mut numbers = topic.ring.iter().map(|entry| entry.number);
            if !numbers.clone().is_sorted_by(|one, next| one < next)
                || numbers.clone().any(|number| number == 0 || number > self.published)
            {
                return Err(Corrupt);
            }
            self.retention.grow(owner, topic.ring.iter().map(Entry::bytes).sum());
            self.retention.set_first(at, owner, numbers.next());
        }
        Ok(())
    }

    /// Reads a topic and its ring, and takes its name in.
    fn restore_topic(&mut self, from: &mut PiecesIn<'_>) -> Result<(usize, Topic), Corrupt> {
        let (key, mut topic, len) = from.read(|from| {
            Ok((usize::restore(from)?, Topic::restore_without_ring(from)?, usize::restore(from)?))
        })?;
        for _ in 0..len {
            topic.ring.push_back(from.read(Entry::restore)?);
        }
        let at = u32::try_from(key).ok().filter(|&at| at < TOPICS_MAX).ok_or(Corrupt)?;
        let next = topic.next();
        let is_place = |place| (1..=next).contains(&place) || place == LOST_TRACK;
        let is_in_order = (1..OFFSETS_MAX).contains(&topic.first)
            && topic.fanned <= next
            && topic.payload_bytes == topic.ring.iter().map(|it| it.payload.len()).sum()
            && topic.subscribers.iter().all(|it| is_place(it.next));
        if !is_in_order || self.by_name.insert(Rc::clone(&topic.name), at).is_some() {
            return Err(Corrupt);
        }
        self.names.insert(Rc::clone(&topic.name));
        if topic.is_dirty {
            self.dirty.push_back(at);
        }
        Ok((key, topic))
    }

    /// Whether a peer's hold on its place is one.
    pub(crate) fn holds(&self, subscription: Subscription, key: usize) -> bool {
        let topic = self.slab.get(subscription.topic as usize);
        let subscriber = topic.and_then(|topic| topic.subscribers.get(subscription.at as usize));
        subscriber.is_some_and(|subscriber| subscriber.key as usize == key)
    }

    /// Who listens, over all topics.
    pub(crate) fn subscriber_count(&self) -> usize {
        self.iter().map(|topic| topic.subscribers.len()).sum()
    }
}

/// Which messages stay, wherever they stand.
#[derive(Clone, Copy)]
enum Spares {
    /// The newest of all.
    Newest,
    /// Those that were not fanned out yet.
    Unfanned,
}

/// More topics than there ever are, and offsets than are ever reached.
const TOPICS_MAX: u32 = 1 << 28;
const OFFSETS_MAX: u64 = 1 << 60;

/// Messages of one turn that a ring holds beyond its bound.
const UNFANNED_MAX: usize = 1 << 16;

/// The same in bytes, as a multiple of what a topic may keep.
const UNFANNED_RINGS: usize = 8;

/// Messages that one new message takes out of its ring: about a millisecond of work.
const DROPS_PER_MESSAGE_MAX: usize = 1 << 13;

/// By how much all history shrinks with each message, where its bound was lowered.
const STEP_BYTES: usize = 1 << 20;

/// The same each time that it is looked after.
const TRIM_STEP_BYTES: usize = 32 << 20;

/// With so many subscriptions a peer leaves a quarter of all places, unless it may have more.
const FEW_SUBSCRIPTIONS: usize = 128;

/// Topics that give way to a new one: two, so that there are fewer in the end where the limit was lowered.
const PLACES_PER_TOPIC: usize = 2;

/// How long a topic is kept that nothing is left of: longer than it takes a client to poll again.
const LINGER_MS: u64 = 60_000;

/// What a topic costs without its messages, at most about.
pub(crate) const TOPIC_BYTES: usize = 512;

/// Topics and subscribers are counted well below 2^32 (`Limits::check`).
fn len_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::terms::topic::{Class, Framing};

    /// One of the first millisecond included. Subscribers are given it first, if the server stands still for so long.
    #[test]
    fn a_message_is_kept_for_its_time() {
        let mut topics = Topics::new(TopicLimits::default(), Memory::new(None));
        let addresses = Addresses::new(None);
        topics.publish("t", Kind::Text, b"first", Maker::nobody(&addresses), 0).unwrap();
        let ttl_ms = TopicLimits::default().history_ttl_ms;
        topics.trim(ttl_ms);
        assert!(topics.bytes() > 0, "not fanned out");
        let at = topics.dirty.pop_front().unwrap();
        let mut topic = topics.take_out(at).unwrap();
        topics.fanned_out(&mut topic);
        topics.put_back(at, topic, 0);
        for (now_ms, is_there) in [(5000, true), (ttl_ms - 1, true), (ttl_ms, false)] {
            topics.trim(now_ms);
            assert_eq!(topics.bytes() > 0, is_there, "{now_ms}");
        }
    }

    /// A short message is sent as it is, also to who agreed on compression: one encoding, kept under two classes.
    #[test]
    fn bytes_that_two_classes_share_are_counted_once() {
        let mut topics = Topics::new(TopicLimits::default(), Memory::new(None));
        let addresses = Addresses::new(None);
        topics.publish("t", Kind::Text, b"short", Maker::nobody(&addresses), 0).unwrap();
        let at = topics.key_of("t").unwrap();
        let without = topics.bytes();
        let mut topic = topics.take_out(at).unwrap();
        let plain = Class { form: Form { id: 0, framing: Framing::Message }, window_at: None };
        let frame: Rc<[u8]> = b"\x81\x05short"[..].into();
        let grown = topic.keep_form(1, plain, Rc::clone(&frame));
        topic.keep_form(1, Class { window_at: Some(6), ..plain }, frame);
        topics.put_back(at, topic, grown);
        assert_eq!(topics.bytes(), without + 7);
        topics.clear("t");
        assert_eq!(topics.bytes(), 0);
    }
}
