//! What the peers of one loop share during a turn: the time, the cork, the pool, the timers and the lists.
//!
//! Owns no peer and decides nothing.

pub(crate) mod addresses;
pub(crate) mod admins;
pub(crate) mod handshakes;
pub(crate) mod memory;
pub(crate) mod names;
pub(crate) mod rates;
pub(crate) mod scratch;
pub(crate) mod timers;
pub(crate) mod work;

use std::collections::VecDeque;

use crate::config::{Limits, TopicLimits};
use crate::net::peer::compressors::Compressors;
use crate::net::terms::counters::Counters;
use crate::net::terms::peer_id::PeerId;
use crate::net::topics::{TOPIC_BYTES, Topics};
use crate::net::turn::addresses::{AddressId, Addresses};
use crate::net::turn::handshakes::Handshakes;
use crate::net::turn::memory::Memory;
use crate::net::turn::rates::Rates;
use crate::net::turn::timers::Timers;
use crate::net::turn::work::{UNITS_PER_PHASE, Work};
use crate::proto::inbound::BodyPool;

/// Lent to whoever acts in a turn.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) limits: Limits,
    /// Milliseconds since the server was made; read once a turn.
    pub(crate) now_ms: u64,
    /// Replies to the peer whose event is handled; empty between events.
    pub(crate) cork: Vec<u8>,
    pub(crate) memory: Memory,
    pub(crate) pool: BodyPool,
    pub(crate) compressors: Compressors,
    pub(crate) addresses: Addresses,
    pub(crate) rates: Rates,
    pub(crate) topics: Topics,
    pub(crate) timers: Timers,
    /// Peers that another peer's handler queued output for.
    pub(crate) dirty: Vec<u32>,
    /// Peers that have more to do than one turn's share, or that took their replies and may be read from again.
    /// Outlives its turn, as the list of `work` does.
    pub(crate) ready: Vec<PeerId>,
    /// Requests that wait for messages of topics that were published to.
    pub(crate) answered: Vec<u32>,
    /// What may be produced, and who waits for that.
    pub(crate) work: Work,
    /// What a handler put back of the message that it is called for, as a frame; empty otherwise.
    pub(crate) put_back: Vec<u8>,
    /// Peers to reap at the end of the turn, or of a later one.
    pub(crate) doomed: VecDeque<u32>,
    pub(crate) handshakes: Handshakes,
    /// Bytes that may still be read in full shares in this phase of the turn.
    bytes_left: usize,
    /// Whether the server goes down.
    pub(crate) is_draining: bool,
    pub(crate) counters: Counters,
}

impl Turn {
    pub(crate) fn new(limits: Limits) -> Self {
        let memory = Memory::new(limits.memory);
        let topics = share_of_topics(&memory, &limits.topics);
        let mut compression = limits.compression;
        compression.memory_bytes_max = memory.share(25, compression.memory_bytes_max);
        Self {
            compressors: Compressors::new(compression, memory.clone()),
            addresses: Addresses::new(limits.peers_per_ip_max),
            rates: Rates::new(&limits),
            topics: Topics::new(topics, memory.clone()),
            limits,
            now_ms: 0,
            cork: Vec::new(),
            pool: BodyPool::new(memory.share(10, POOL_BYTES_MAX)),
            memory,
            timers: Timers::new(),
            dirty: Vec::new(),
            ready: Vec::new(),
            answered: Vec::new(),
            work: Work::new(UNITS_PER_PHASE),
            put_back: Vec::new(),
            doomed: VecDeque::new(),
            handshakes: Handshakes::new(),
            bytes_left: BYTES_PER_PHASE,
            is_draining: false,
            counters: Counters::default(),
        }
    }

    /// A turn has two phases, its events and those that waited for their turn, so that neither the new nor the old ones
    /// starve.
    pub(crate) const fn begin_phase(&mut self) {
        self.handshakes.begin_phase();
        self.bytes_left = BYTES_PER_PHASE;
    }

    /// Bytes that the next peer may read. Once others took what the phase has, they are few, but enough for a request or a
    /// small message: whoever has more to say waits for a turn, and whoever has little does not wait for those.
    pub(crate) const fn share_bytes(&self) -> usize {
        if self.has_bytes_left() { SHARE_BYTES_MAX } else { SHARE_BYTES_MIN }
    }

    /// Bytes that one peer may be written, so that a fast reader of a long queue delays nobody.
    pub(crate) fn write_share(&self) -> usize {
        if self.work.has_left() { WRITE_BYTES_MAX } else { WRITE_BYTES_MIN }
    }

    /// Whether those who wait for their turn may have it in this one.
    pub(crate) const fn has_bytes_left(&self) -> bool {
        self.bytes_left > 0
    }

    /// A peer read so many.
    pub(crate) const fn was_read(&mut self, len: usize) {
        self.bytes_left = self.bytes_left.saturating_sub(len);
    }

    /// Whether a TLS handshake of this address may be answered.
    pub(crate) fn may_shake_hands(&mut self, address: AddressId) -> bool {
        self.handshakes.has_turn(self.addresses.turns(address))
    }

    /// One was.
    pub(crate) fn shook_hands(&mut self, address: AddressId) {
        self.handshakes.answered(self.addresses.turns(address));
    }

    /// Changes the limits, as far as they can change.
    pub(crate) fn adopt(&mut self, limits: &Limits) {
        self.limits.adopt(limits);
        self.rates.adopt(&self.limits);
        self.topics.adopt(share_of_topics(&self.memory, &self.limits.topics));
    }
}

/// Each has its share, so that none takes the others'; what peers send and do not take has the rest.
fn share_of_topics(memory: &Memory, limits: &TopicLimits) -> TopicLimits {
    let mut topics = limits.clone();
    topics.history_bytes_max = memory.share(50, topics.history_bytes_max);
    topics.topics_max = memory.share(25, usize::MAX).div_ceil(TOPIC_BYTES).min(topics.topics_max);
    topics
}

/// Bytes that are read in a phase in full shares. To take in and to echo a MiB costs up to a millisecond or two, most of it in
/// the kernel.
const BYTES_PER_PHASE: usize = 16 << 20;

/// What is written to one peer: while there is plenty, and when the turn's work is used up.
const WRITE_BYTES_MAX: usize = 1 << 20;
const WRITE_BYTES_MIN: usize = 64 << 10;

/// The share of one peer while there is plenty.
const SHARE_BYTES_MAX: usize = 1 << 20;

/// The share of one peer that comes when the phase's bytes are used up. A TLS record; below this the system call costs more than
/// the bytes.
pub(crate) const SHARE_BYTES_MIN: usize = 16 << 10;

/// Warm bodies kept between messages. What a while did not need is given back (`BodyPool::trim`).
const POOL_BYTES_MAX: usize = 64 << 20;

/// The target of log events that peers can cause at will; whoever writes the log may leave some of them out. All are at DEBUG.
pub const FAULT: &str = "wsfast::fault";
