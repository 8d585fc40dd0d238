//! What the peers of one loop share during a turn: the time, the cork, the pool, the timers and the lists.
//!
//! Owns no peer and decides nothing.

use crate::config::Limits;
use crate::net::peers::PeerId;
use crate::net::timers::Timers;
use crate::proto::header::{self, Fin};
use crate::proto::inbound::BodyPool;
use crate::proto::message::Kind;

/// Lent to whoever acts in a turn.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) limits: Limits,
    /// Milliseconds since the server was made; read once a turn.
    pub(crate) now_ms: u64,
    /// Replies to the peer whose event is handled; empty between events.
    pub(crate) cork: Vec<u8>,
    /// The message that is lent to its handler.
    pub(crate) lent: Lent,
    /// Bytes of replies that lie ready in the buffer their messages came in; they leave before the cork.
    pub(crate) in_place_bytes: usize,
    pub(crate) pool: BodyPool,
    pub(crate) timers: Timers,
    /// Peers that another peer's handler queued output for.
    pub(crate) dirty: Vec<u32>,
    /// Peers that have more to do than one turn's share, or that took their replies and may be read from again.
    /// The only list that outlives its turn.
    pub(crate) ready: Vec<PeerId>,
    /// Peers to reap at the end of the turn.
    pub(crate) doomed: Vec<u32>,
    pub(crate) counters: Counters,
}

/// Where the message lies that a handler was lent, for `Tx::send` to see that it is sent on as it is.
///
/// Compared, never read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lent {
    /// No message, or one that does not lie behind room for its reply's header.
    Nothing,
    /// A payload of `len` bytes at this address.
    At { address: usize, len: usize },
    /// The payload was sent on, as this kind of message: its frame is to be finished in place.
    SentOn(Kind),
}

impl Turn {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            now_ms: 0,
            cork: Vec::new(),
            lent: Lent::Nothing,
            in_place_bytes: 0,
            pool: BodyPool::new(POOL_BYTES_MAX),
            timers: Timers::new(),
            dirty: Vec::new(),
            ready: Vec::new(),
            doomed: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Notes where the message lies that a handler is about to be lent, if its reply can be finished there: behind room
    /// for a header, at the end of the replies in the buffer that starts at address `base`.
    pub(crate) fn lend(&mut self, payload: &[u8], base: usize) {
        let (address, len) = (payload.as_ptr().addr(), payload.len());
        let is_in_place = address == base + self.in_place_bytes + header::unmasked_len(len);
        self.lent = if is_in_place { Lent::At { address, len } } else { Lent::Nothing };
    }

    /// The handler returned: if it sent its message of `len` bytes on as it is, the header goes in front of it in `bytes`.
    pub(crate) fn finish_in_place(&mut self, bytes: &mut [u8], len: usize) {
        let Lent::SentOn(kind) = std::mem::replace(&mut self.lent, Lent::Nothing) else { return };
        let header = header::encode(Fin::Last, kind.opcode(), len, None);
        let header = header.as_bytes();
        let at = self.in_place_bytes;
        bytes[at..at + header.len()].copy_from_slice(header);
        self.in_place_bytes = at + header.len() + len;
    }
}

/// Warm bodies kept between messages. What a while did not need is given back (`BodyPool::trim`).
const POOL_BYTES_MAX: usize = 64 << 20;

/// What happened since the server was made. Each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// TCP connections accepted.
    pub accepted: u64,
    /// Opening handshakes completed.
    pub opened: u64,
    /// Requests answered with an HTTP error, those below included.
    pub refused: u64,
    /// Connections that got 503, or were cut at once, because `peers_max` was reached.
    pub over_capacity: u64,
    /// Requests that were not whole within the handshake timeout (408).
    pub handshakes_timed_out: u64,
    /// Times that accepting paused for want of a descriptor.
    pub accepts_paused: u64,
    /// Connections failed for a breach of the protocol.
    pub protocol_errors: u64,
    /// Connections closed because their queue passed `queue_bytes_max`.
    pub overflowed: u64,
    /// Connections dropped for silence.
    pub silent: u64,
    /// Connections that ended without a closing handshake.
    pub lost: u64,
}
