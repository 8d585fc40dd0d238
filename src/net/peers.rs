//! The two columns of the peer table (one history, two slabs), and the name by which a peer is known outside a turn.
//!
//! While a message is handled, its peer's `rx` entry is borrowed by the message and the whole `tx` column is lent to
//! the handler; with one slab these borrows would conflict. Both columns see the same inserts and removes in the same
//! order, so that they give out the same keys.

use slab::Slab;

use crate::net::rx::Rx;
use crate::net::tx::Tx;

/// Names a peer for as long as it is connected, and nobody afterwards. Its order is for collections that are sorted; it says
/// nothing about the peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId {
    /// The slab key; reused after the peer is gone.
    pub(crate) key: u32,
    /// Tells the key's users apart.
    pub(crate) generation: u32,
}

impl std::fmt::Display for PeerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.key, self.generation)
    }
}

/// The peer table.
#[derive(Debug)]
pub(crate) struct Peers<S> {
    /// The receiving halves.
    pub(crate) rx: Slab<Rx<S>>,
    /// The sending halves.
    pub(crate) tx: Slab<Tx>,
}

impl<S> Peers<S> {
    /// Room for `peers` without moving an entry. The memory is touched only as peers come.
    pub(crate) fn with_capacity(peers: usize) -> Self {
        Self { rx: Slab::with_capacity(peers), tx: Slab::with_capacity(peers) }
    }

    pub(crate) fn len(&self) -> usize {
        self.tx.len()
    }

    /// Adds a peer; its key in both columns.
    pub(crate) fn insert(&mut self, rx: Rx<S>, tx: Tx) -> usize {
        let key = self.rx.insert(rx);
        let same = self.tx.insert(tx);
        debug_assert_eq!(key, same);
        key
    }

    /// Removes a peer that is there.
    pub(crate) fn remove(&mut self, key: usize) -> (Rx<S>, Tx) {
        (self.rx.remove(key), self.tx.remove(key))
    }
}
