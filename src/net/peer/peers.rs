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
use crate::net::terms::peer_id::PeerId;
use crate::net::turn::names::Names;

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
