//! How many connections each address has, where there is a limit to that (`Limits::peers_per_ip_max`).
//!
//! The count is exact: a connection is entered as soon as it is known whose it is, at accept or behind a proxy's header, and left
//! out when it is reaped. Nothing is done for a message, and nothing is kept without a limit. Refuses nobody: that is `server`'s.
//!
//! | who connects | counts as |
//! |---|---|
//! | IPv4 | its address |
//! | IPv6 | its /64, which is what one subscriber has |
//! | IPv6 of a link (`fe80::/10`) | its address: all neighbours have one /64 |
//! | IPv4 through NAT64 (`64:ff9b::/96`) | the IPv4 address in it |
//! | loopback, a Unix socket, whom a proxy cannot name | nobody: one program there may speak for many |

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::net::addr::PeerAddr;

/// The connections of each address.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// How many one may have; `None`: there is no limit, and both maps stay empty.
    count_max: Option<usize>,
    /// Never zero.
    counts: HashMap<IpAddr, usize>,
    /// Whose the peer under a key is. Not in the peer table, where it would cost every peer, limit or not.
    owners: HashMap<usize, IpAddr>,
}

impl Addresses {
    pub(crate) fn new(count_max: Option<usize>) -> Self {
        Self { count_max, counts: HashMap::new(), owners: HashMap::new() }
    }

    /// Whether one more may come from `peer`.
    pub(crate) fn has_room(&self, peer: PeerAddr) -> bool {
        let Some(count_max) = self.count_max else { return true };
        owner(peer).and_then(|owner| self.counts.get(&owner)).is_none_or(|&count| count < count_max)
    }

    /// Counts the peer under `key`, which is not counted yet, as one from `peer`.
    pub(crate) fn add(&mut self, key: usize, peer: PeerAddr) {
        if self.count_max.is_some()
            && let Some(owner) = owner(peer)
        {
            *self.counts.entry(owner).or_default() += 1;
            let former = self.owners.insert(key, owner);
            debug_assert_eq!(former, None, "counted twice");
        }
    }

    /// What the peer under `key` counts as; `None`: it does not count.
    pub(crate) fn owner_of(&self, key: usize) -> Option<PeerAddr> {
        let owner = self.owners.get(&key)?;
        Some(SocketAddr::new(*owner, 0).into())
    }

    /// The peer under `key` is gone, whether it was counted or not.
    pub(crate) fn remove(&mut self, key: usize) {
        let Some(owner) = self.owners.remove(&key) else { return };
        if let Some(count) = self.counts.get_mut(&owner) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&owner);
            }
        }
        // What a crowd needed is not kept for the few that stay.
        if self.owners.capacity() > KEPT_MIN && self.owners.len() < self.owners.capacity() / 8 {
            self.owners.shrink_to(KEPT_MIN.max(self.owners.len() * 2));
            self.counts.shrink_to(KEPT_MIN.max(self.counts.len() * 2));
        }
    }
}

/// Whose connection counts against whose others; `None`: it does not count.
fn owner(peer: PeerAddr) -> Option<IpAddr> {
    let PeerAddr::Ip(addr) = peer else { return None };
    let owner = match addr.ip() {
        IpAddr::V6(ip) if !ip.is_loopback() && !ip.is_unicast_link_local() => match ip.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
                let [.., a, b, c, d] = ip.octets();
                Ipv4Addr::new(a, b, c, d).into()
            }
            [a, b, c, d, ..] => Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into(),
        },
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    (!owner.is_loopback()).then_some(owner)
}

/// Room that is not worth giving back.
const KEPT_MIN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_room_up_to_its_limit_and_again_when_one_leaves() {
        let mut addresses = Addresses::new(Some(2));
        let (one, other) = (peer("192.0.2.1:1"), peer("192.0.2.2:1"));
        addresses.add(0, one);
        assert!(addresses.has_room(one));
        addresses.add(7, one);
        assert!(!addresses.has_room(one) && addresses.has_room(other));
        // Who is not counted leaves no trace.
        addresses.add(3, PeerAddr::Unix);
        addresses.remove(3);
        addresses.remove(4);
        assert!(!addresses.has_room(one));
        addresses.remove(0);
        assert!(addresses.has_room(one));
        addresses.remove(7);
        assert!(addresses.counts.is_empty() && addresses.owners.is_empty());
    }

    #[test]
    fn who_shares_a_count() {
        for (first, second, is_shared) in [
            ("192.0.2.1:1", "192.0.2.1:2", true),
            ("192.0.2.1:1", "192.0.2.2:1", false),
            ("192.0.2.1:1", "[::ffff:192.0.2.1]:1", true),
            ("[2001:db8::1]:1", "[2001:db8::ffff:0:0:2]:1", true),
            ("[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false),
            ("[fe80::1%1]:1", "[fe80::1%1]:2", true),
            ("[fe80::1]:1", "[fe80::2]:1", false),
            ("[64:ff9b::192.0.2.1]:1", "192.0.2.1:1", true),
            ("[64:ff9b::192.0.2.1]:1", "[64:ff9b::192.0.2.2]:1", false),
            ("127.0.0.1:1", "127.0.0.1:1", false),
            ("[::1]:1", "[::1]:1", false),
        ] {
            let mut addresses = Addresses::new(Some(1));
            addresses.add(0, peer(first));
            assert_eq!(!addresses.has_room(peer(second)), is_shared, "{first} {second}");
        }
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        let mut addresses = Addresses::new(None);
        addresses.add(0, peer("192.0.2.1:1"));
        assert!(addresses.owners.is_empty() && addresses.counts.is_empty());
        assert!(addresses.has_room(peer("192.0.2.1:1")));
    }

    #[test]
    fn what_a_crowd_needed_is_given_back() {
        let mut addresses = Addresses::new(Some(1));
        for key in 0..50_000_u32 {
            addresses
                .add(key as usize, PeerAddr::from(SocketAddr::new(Ipv4Addr::from(key).into(), 1)));
        }
        (0..50_000).for_each(|key| addresses.remove(key));
        assert!(addresses.owners.capacity() <= 2 * KEPT_MIN, "{}", addresses.owners.capacity());
        assert!(addresses.counts.capacity() <= 2 * KEPT_MIN, "{}", addresses.counts.capacity());
    }

    fn peer(text: &str) -> PeerAddr {
        PeerAddr::from(text.parse::<SocketAddr>().unwrap())
    }
}
