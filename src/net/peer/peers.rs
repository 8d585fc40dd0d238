//! The two columns of the peer table (one history, two slabs), and the name by which a peer is known outside a turn.
//!
//! While a message is handled, its peer's `rx` entry is borrowed by the message and the whole `tx` column is lent to
//! the handler; with one slab these borrows would conflict. Both columns see the same inserts and removes in the same
//! order, so that they give out the same keys. What only the log asks for has a third column, which no message touches.

#![deny(clippy::arithmetic_side_effects)]

use slab::Slab;

use crate::net::peer::tx::{Tx, to_u32};
use crate::net::phase::receive::Rx;
use crate::net::terms::addr::PeerAddr;
use crate::net::turn::names::Names;

/// Names a peer for as long as it is connected, and nobody afterwards. Its order is for collections that are sorted; it says
/// nothing about the peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId {
    /// The slab key; reused after the peer is gone.
    pub(crate) key: u32,
    /// Tells the key's users apart.
    pub(crate) generation: u32,
}

saved!(struct PeerId { key, generation });

impl std::fmt::Display for PeerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.key, self.generation)
    }
}

impl std::str::FromStr for PeerId {
    type Err = BadPeerId;

    /// Parses what `Display` writes.
    fn from_str(text: &str) -> Result<Self, BadPeerId> {
        let id = text.split_once('.').and_then(|(key, generation)| {
            Some(Self { key: key.parse().ok()?, generation: generation.parse().ok()? })
        });
        // One name each: no sign, and no zero in front.
        id.filter(|id| id.to_string() == text).ok_or(BadPeerId)
    }
}

/// Not a peer's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPeerId;

impl std::fmt::Display for BadPeerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a peer's id, such as 5.17")
    }
}

impl std::error::Error for BadPeerId {}

/// The peer table.
#[derive(Debug)]
pub(crate) struct Peers<S> {
    /// The receiving halves.
    pub(crate) rx: Slab<Rx<S>>,
    /// The sending halves.
    pub(crate) tx: Slab<Tx>,
    names: Names,
}

impl<S> Peers<S> {
    /// Room for `peers` without moving an entry. The memory is touched only as peers come.
    pub(crate) fn with_capacity(peers: usize) -> Self {
        Self {
            rx: Slab::with_capacity(peers),
            tx: Slab::with_capacity(peers),
            names: Names::with_capacity(peers),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.tx.len()
    }

    /// The name that a peer of this generation will have if it is the next that is added.
    pub(crate) fn next_id(&self, generation: u32) -> PeerId {
        PeerId { key: to_u32(self.tx.vacant_key()), generation }
    }

    /// The name of a peer that is there.
    pub(crate) fn id(&self, key: usize) -> PeerId {
        PeerId { key: to_u32(key), generation: self.tx[key].generation }
    }

    /// Who the peer under `key` is, or was until it was removed.
    pub(crate) fn addr(&self, key: usize) -> PeerAddr {
        self.names.get(key)
    }

    /// The peer under `key` is `addr`.
    pub(crate) fn name(&mut self, key: usize, addr: PeerAddr) {
        self.names.set(key, addr);
    }

    /// Adds a peer; its key in both columns.
    pub(crate) fn insert(&mut self, rx: Rx<S>, tx: Tx, addr: PeerAddr) -> usize {
        let key = self.rx.insert(rx);
        let same = self.tx.insert(tx);
        debug_assert_eq!(key, same);
        self.name(key, addr);
        key
    }

    /// Removes a peer that is there.
    pub(crate) fn remove(&mut self, key: usize) -> (Rx<S>, Tx) {
        (self.rx.remove(key), self.tx.remove(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_name_is_read_as_it_is_written() {
        let id = PeerId { key: 5, generation: u32::MAX };
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "5", "5.", ".5", "+5.1", "05.1", "5.1.2", "5.4294967296", "5.-1"] {
            assert_eq!(text.parse::<PeerId>(), Err(BadPeerId), "{text}");
        }
    }
}
