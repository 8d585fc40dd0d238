//! Who each peer is, for the log: an address and a port, in eight bytes where it is IPv4, as most are.
//!
//! What a key has whose peer is gone is its last user's until it has another. Compares and counts nothing: `addresses` does.

#![deny(clippy::arithmetic_side_effects)]

use std::net::{SocketAddr, SocketAddrV4};

use slab::Slab;

use crate::net::terms::addr::PeerAddr;

/// See the module.
#[derive(Debug)]
pub(crate) struct Names {
    rows: Vec<Name>,
    /// IPv6 addresses.
    long: Slab<SocketAddr>,
}

/// An address, or its place among the long ones.
#[derive(Clone, Copy, Debug)]
enum Name {
    V4([u8; 4], u16),
    Long(u32),
    Unix,
}

impl Names {
    /// Room for `peers` without moving an entry. The memory is touched only as peers come.
    pub(crate) fn with_capacity(peers: usize) -> Self {
        Self { rows: Vec::with_capacity(peers), long: Slab::new() }
    }

    /// Who the peer under `key` is, or was until it was removed.
    pub(crate) fn get(&self, key: usize) -> PeerAddr {
        match self.rows[key] {
            Name::V4(ip, port) => PeerAddr::Ip(SocketAddrV4::new(ip.into(), port).into()),
            Name::Long(at) => PeerAddr::Ip(self.long[at as usize]),
            Name::Unix => PeerAddr::Unix,
        }
    }

    /// The peer under `key` is `addr`.
    pub(crate) fn set(&mut self, key: usize, addr: PeerAddr) {
        if self.rows.len() <= key {
            self.rows.resize(key.saturating_add(1), Name::Unix);
        }
        if let Name::Long(at) = self.rows[key] {
            self.long.remove(at as usize);
        }
        self.rows[key] = match addr {
            PeerAddr::Ip(SocketAddr::V4(addr)) => Name::V4(addr.ip().octets(), addr.port()),
            PeerAddr::Ip(addr) => {
                // There are no more of them than keys, which are below 2^24.
                Name::Long(u32::try_from(self.long.insert(addr)).unwrap_or(u32::MAX))
            }
            PeerAddr::Unix => Name::Unix,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_the_address_that_it_was_given_last() {
        assert_eq!(size_of::<Name>(), 8);
        let addr = |text: &str| PeerAddr::from(text.parse::<SocketAddr>().unwrap());
        let all = [
            addr("192.0.2.7:65535"),
            addr("[2001:db8::7]:1"),
            addr("[fe80::1%3]:443"),
            addr("[::ffff:192.0.2.8]:80"),
            PeerAddr::Unix,
        ];
        let mut names = Names::with_capacity(2);
        for round in 0..all.len() {
            for key in 0..2 * all.len() {
                names.set(key, all[(key + round) % all.len()]);
            }
            for key in 0..2 * all.len() {
                assert_eq!(names.get(key), all[(key + round) % all.len()]);
            }
            // Those that are gone leave nothing behind.
            assert_eq!(names.long.len(), 4);
        }
    }
}
