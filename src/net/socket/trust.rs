//! Whose PROXY headers are believed.
//!
//! Decides by the address that a connection comes from. Reads nothing: that is `proxied`'s.

#![deny(clippy::arithmetic_side_effects)]

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::net::terms::addr::PeerAddr;
use crate::proto::proxy_protocol::Versions;

/// That connections begin with a header which names the peer, where they come from a proxy that is trusted.
///
/// From there the header is mandatory. From elsewhere it is not looked for: who says `PROXY` there gets the 400 that any
/// malformed request gets. Connections by Unix sockets are trusted, since their file's mode decides who can connect.
#[derive(Clone, Debug)]
pub struct ProxyProtocol {
    /// Which versions of the header are taken.
    pub versions: Versions,
    /// Where proxies connect from.
    pub trusted: Arc<[Cidr]>,
}

impl ProxyProtocol {
    /// Whether who connects from `peer` must say whom it speaks for.
    pub(crate) fn trusts(&self, peer: PeerAddr) -> bool {
        match peer {
            PeerAddr::Ip(addr) => self.trusted.iter().any(|cidr| cidr.contains(addr.ip())),
            PeerAddr::Unix => true,
        }
    }
}

/// A range of addresses, such as `10.0.0.0/8`, `2001:db8::/32`, or a single `192.0.2.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr(IpNet);

impl Cidr {
    /// Whether `ip` is in the range; an IPv4-mapped IPv6 address counts as the IPv4 address that it is.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip.to_canonical())
    }
}

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Self, BadCidr> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self(ip.to_canonical().into()));
        }
        let net: IpNet = text.parse().map_err(|_| BadCidr::Malformed)?;
        if net.addr() != net.network() {
            // More likely a slip than a range, and too many would be trusted.
            return Err(BadCidr::HostBits(net.trunc()));
        }
        match (net.addr().to_canonical(), net.prefix_len().checked_sub(MAPPED_PREFIX_LEN)) {
            (IpAddr::V4(ip), Some(len)) if net.addr().is_ipv6() => {
                IpNet::new(ip.into(), len).map(Self).map_err(|_| BadCidr::Malformed)
            }
            _ => Ok(Self(net)),
        }
    }
}

/// Bits of `::ffff:0:0/96`, in which all IPv4 addresses are.
const MAPPED_PREFIX_LEN: u8 = 96;

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is no [`Cidr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadCidr {
    /// Neither an address nor one with the length of a prefix.
    Malformed,
    /// The address has bits behind its prefix; this is the range without them.
    HostBits(IpNet),
}

impl fmt::Display for BadCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str(
                "is not a range of addresses; write one such as 10.0.0.0/8 or 2001:db8::/32, or a single address",
            ),
            Self::HostBits(net) => {
                write!(f, "has bits behind its prefix; write {net}, or the address alone")
            }
        }
    }
}

impl std::error::Error for BadCidr {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_addresses_of_their_family() {
        for (cidr, ip, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::10.1.2.3", false),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.1.2.3", false),
            ("::ffff:10.1.2.3", "10.1.2.3", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1/32", "192.0.2.1", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ] {
            let range: Cidr = cidr.parse().unwrap();
            assert_eq!(range.contains(ip.parse().unwrap()), expected, "{cidr} {ip}");
        }
    }

    #[test]
    fn what_is_no_range() {
        for text in [
            "",
            "10",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "::/129",
            "localhost",
            "*",
            "10.0.0.0/255.0.0.0",
        ] {
            assert_eq!(text.parse::<Cidr>(), Err(BadCidr::Malformed), "{text:?}");
        }
        let error = "10.1.0.0/8".parse::<Cidr>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "has bits behind its prefix; write 10.0.0.0/8, or the address alone"
        );
    }
}
