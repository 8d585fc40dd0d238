//! Where connections come from: how many each address has, and what else it shares.
//!
//! A connection is entered as soon as it is known whose it is, at accept or behind a proxy's header, and left out when it is reaped;
//! until then its peer has the address' place in this table. Nothing is done for a message. Refuses nobody: that is `server`'s.
//!
//! | who connects | shares with | counts against `peers_per_ip_max` |
//! |---|---|---|
//! | IPv4 | its address | yes |
//! | IPv6 | its /64, which is what one subscriber has | yes |
//! | IPv6 of a link (`fe80::/10`) | its address: all neighbours have one /64 | yes |
//! | IPv4 through NAT64 (`64:ff9b::/96`) | the IPv4 address in it | yes |
//! | loopback | its address | no: one program there may speak for many |
//! | a Unix socket, whom a proxy cannot name | all of them | no |

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use slab::Slab;

use crate::net::terms::addr::PeerAddr;
use crate::net::turn::handshakes::Turns;

/// The addresses that are connected.
#[derive(Debug)]
pub(crate) struct Addresses {
    /// How many connections one may have; `None`: so many times what is left for others.
    count_max: Option<usize>,
    by_ip: HashMap<IpAddr, u32>,
    slab: Slab<Address>,
}

/// What an address has.
#[derive(Debug)]
struct Address {
    ip: IpAddr,
    /// Never zero.
    connections: usize,
    /// Memory of compressors that its connections were granted.
    granted_bytes: usize,
    turns: Turns,
}

/// An address' place in the table, for as long as it has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressId(u32);

impl AddressId {
    /// Not known yet, or of no interest.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

impl Addresses {
    pub(crate) fn new(count_max: Option<usize>) -> Self {
        Self { count_max, by_ip: HashMap::new(), slab: Slab::new() }
    }

    /// Whether one more may come from `peer`, where `free` places are left for all.
    pub(crate) fn has_room(&self, peer: PeerAddr, free: usize) -> bool {
        let ip = shared_ip(peer);
        if !is_counted(ip) {
            return true;
        }
        let count = self.connections_of(ip);
        match self.count_max {
            Some(count_max) => count < count_max,
            // However many one has, there are some left for others.
            None => count <= free.saturating_mul(PER_FREE_MAX),
        }
    }

    fn connections_of(&self, ip: IpAddr) -> usize {
        self.by_ip.get(&ip).map_or(0, |&at| self.slab[at as usize].connections)
    }

    /// Whom `peer` shares rates with; `None`: nobody knows.
    pub(crate) fn rated_ip(peer: PeerAddr) -> Option<IpAddr> {
        Some(shared_ip(peer)).filter(|ip| *ip != NAMELESS)
    }

    /// Enters a connection from `peer`; to be given back with `remove`.
    pub(crate) fn add(&mut self, peer: PeerAddr) -> AddressId {
        let slab = &mut self.slab;
        let at = *self.by_ip.entry(shared_ip(peer)).or_insert_with_key(|&ip| {
            u32::try_from(slab.insert(Address {
                ip,
                connections: 0,
                granted_bytes: 0,
                turns: Turns::default(),
            }))
            .unwrap_or(u32::MAX)
        });
        slab[at as usize].connections += 1;
        AddressId(at)
    }

    /// The address; `None`: it is not known.
    pub(crate) fn ip(&self, id: AddressId) -> Option<IpAddr> {
        self.slab.get(id.0 as usize).map(|address| address.ip)
    }

    /// The address, if its connections share rates.
    pub(crate) fn rated_ip_of(&self, id: AddressId) -> Option<IpAddr> {
        self.ip(id).filter(|ip| *ip != NAMELESS)
    }

    /// The address, if it tells one client from others.
    pub(crate) fn telling_ip(&self, id: AddressId) -> Option<IpAddr> {
        self.ip(id).filter(|&ip| is_counted(ip))
    }

    /// Memory of compressors that the address' connections were granted; none, where it is not known.
    pub(crate) fn granted_bytes(&self, id: AddressId) -> usize {
        self.slab.get(id.0 as usize).map_or(0, |address| address.granted_bytes)
    }

    /// A connection was granted more.
    pub(crate) fn grant(&mut self, id: AddressId, bytes: usize) {
        if let Some(address) = self.slab.get_mut(id.0 as usize) {
            address.granted_bytes += bytes;
        }
    }

    /// A connection gives that back, before it is removed.
    pub(crate) fn release(&mut self, id: AddressId, bytes: usize) {
        if let Some(address) = self.slab.get_mut(id.0 as usize) {
            address.granted_bytes -= bytes;
        }
    }

    /// What the address had of TLS handshakes; `None`: it is not known.
    pub(crate) fn turns(&mut self, id: AddressId) -> Option<&mut Turns> {
        self.slab.get_mut(id.0 as usize).map(|address| &mut address.turns)
    }

    /// The connection is gone, whether it was entered or not.
    pub(crate) fn remove(&mut self, id: AddressId) {
        let Some(address) = self.slab.get_mut(id.0 as usize) else { return };
        address.connections -= 1;
        if address.connections > 0 {
            return;
        }
        let address = self.slab.remove(id.0 as usize);
        self.by_ip.remove(&address.ip);
        // What a crowd needed is not kept for the few that stay.
        if self.by_ip.capacity() > KEPT_MIN && self.by_ip.len() < self.by_ip.capacity() / 8 {
            self.by_ip.shrink_to(KEPT_MIN.max(self.by_ip.len() * 2));
            self.slab.shrink_to_fit();
        }
    }

    /// Each connection is counted once, with what it was granted.
    #[cfg(test)]
    pub(crate) fn audit(&self, connections: impl Iterator<Item = (AddressId, usize)>) {
        let mut sums: HashMap<u32, (usize, usize)> = HashMap::new();
        for (id, bytes) in connections.filter(|(id, _)| *id != AddressId::NONE) {
            let (count, granted) = sums.entry(id.0).or_default();
            *count += 1;
            *granted += bytes;
        }
        assert_eq!(sums.len(), self.slab.len(), "addresses without a connection");
        for (at, sums) in sums {
            let address = &self.slab[at as usize];
            assert_eq!((address.connections, address.granted_bytes), sums);
        }
    }
}

/// What a connection shares with whose others; the unspecified address stands for all that have none.
fn shared_ip(peer: PeerAddr) -> IpAddr {
    let PeerAddr::Ip(addr) = peer else { return NAMELESS };
    match addr.ip() {
        IpAddr::V6(ip) if !ip.is_loopback() && !ip.is_unicast_link_local() => match ip.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
                let [.., a, b, c, d] = ip.octets();
                Ipv4Addr::new(a, b, c, d).into()
            }
            [a, b, c, d, ..] => Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into(),
        },
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    }
}

fn is_counted(ip: IpAddr) -> bool {
    !ip.is_loopback() && ip != NAMELESS
}

const NAMELESS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Connections of one address for each place that is free, where there is no other limit: a proxy that does not name its clients has
/// eight of nine places, and a crowd leaves the ninth.
const PER_FREE_MAX: usize = 8;

/// Room that is not worth giving back.
const KEPT_MIN: usize = 1024;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn an_address_has_room_up_to_its_limit_and_again_when_one_leaves() {
        let mut addresses = Addresses::new(Some(2));
        let (one, other) = (peer("192.0.2.1:1"), peer("192.0.2.2:1"));
        let first = addresses.add(one);
        assert!(addresses.has_room(one, 9));
        let second = addresses.add(one);
        assert_eq!(first, second);
        assert!(!addresses.has_room(one, 9) && addresses.has_room(other, 9));
        // Who is not counted leaves no trace.
        let unix = addresses.add(PeerAddr::Unix);
        assert_eq!(addresses.telling_ip(unix), None);
        addresses.remove(unix);
        addresses.remove(AddressId::NONE);
        assert!(!addresses.has_room(one, 9));
        addresses.remove(first);
        assert!(addresses.has_room(one, 9));
        addresses.remove(second);
        assert!(addresses.by_ip.is_empty() && addresses.slab.is_empty());
    }

    #[test]
    fn who_shares_a_count() {
        for (first, second, is_shared, is_counted) in [
            ("192.0.2.1:1", "192.0.2.1:2", true, true),
            ("192.0.2.1:1", "192.0.2.2:1", false, true),
            ("192.0.2.1:1", "[::ffff:192.0.2.1]:1", true, true),
            ("[2001:db8::1]:1", "[2001:db8::ffff:0:0:2]:1", true, true),
            ("[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false, true),
            ("[fe80::1%1]:1", "[fe80::1%1]:2", true, true),
            ("[fe80::1]:1", "[fe80::2]:1", false, true),
            ("[64:ff9b::192.0.2.1]:1", "192.0.2.1:1", true, true),
            ("[64:ff9b::192.0.2.1]:1", "[64:ff9b::192.0.2.2]:1", false, true),
            ("127.0.0.1:1", "127.0.0.1:2", true, false),
            ("127.0.0.1:1", "127.0.0.2:1", false, false),
            ("[::1]:1", "[::1]:1", true, false),
        ] {
            let mut addresses = Addresses::new(Some(1));
            let id = addresses.add(peer(first));
            assert_eq!(addresses.telling_ip(id).is_some(), is_counted, "{first}");
            let has_room = !(is_shared && is_counted);
            assert_eq!(addresses.has_room(peer(second), 9), has_room, "{first} {second}");
            assert_eq!(addresses.add(peer(second)) == id, is_shared, "{first} {second}");
        }
    }

    #[test]
    fn without_a_limit_there_is_room_while_others_have_some() {
        let mut addresses = Addresses::new(None);
        let (one, other, own) = (peer("192.0.2.1:1"), peer("192.0.2.2:1"), peer("127.0.0.1:1"));
        for _ in 0..16 {
            assert!(addresses.has_room(one, 2));
            addresses.add(one);
            addresses.add(own);
        }
        assert!(addresses.has_room(one, 2));
        addresses.add(one);
        assert!(!addresses.has_room(one, 2));
        assert!(addresses.has_room(other, 1) && addresses.has_room(own, 1));
    }

    #[test]
    fn what_a_crowd_needed_is_given_back() {
        let mut addresses = Addresses::new(Some(1));
        let crowd = (0..50_000_u32).map(|ip| SocketAddr::new(Ipv4Addr::from(ip + 1).into(), 1));
        let crowd: Vec<_> = crowd.map(|addr| addresses.add(PeerAddr::from(addr))).collect();
        crowd.into_iter().for_each(|id| addresses.remove(id));
        assert!(addresses.by_ip.capacity() <= 2 * KEPT_MIN, "{}", addresses.by_ip.capacity());
        assert!(addresses.slab.capacity() <= 2 * KEPT_MIN, "{}", addresses.slab.capacity());
    }

    fn peer(text: &str) -> PeerAddr {
        PeerAddr::from(text.parse::<SocketAddr>().unwrap())
    }
}
