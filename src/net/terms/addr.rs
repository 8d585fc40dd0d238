//! Both ends' addresses: who connected, and what is listened on.
//!
//! Values; no socket is asked here.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The other end of a connection, as its proxy names it if there is one that is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerAddr {
    /// An IP address. One that is IPv4 in IPv6's clothes (`::ffff:192.0.2.7`) is here as IPv4.
    Ip(SocketAddr),
    /// A process of this machine, or of the proxy's, by a Unix socket. Its other end has no name.
    Unix,
}

saved!(enum PeerAddr { 0 => Ip(addr), 1 => Unix });

impl From<SocketAddr> for PeerAddr {
    /// Takes an IPv4-mapped IPv6 address, which a socket for both families gives, for the IPv4 address that it is.
    fn from(mut addr: SocketAddr) -> Self {
        let ip = addr.ip().to_canonical();
        // A true IPv6 address keeps its zone.
        if ip.is_ipv4() {
            addr.set_ip(ip);
        }
        Self::Ip(addr)
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(addr) => addr.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// Something that is listened on. Displays as a client writes it, such as `ws://127.0.0.1:8002`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalAddr {
    /// The socket's own address, with the port that the kernel chose.
    pub socket: LocalSocket,
    /// How clients name what is spoken there.
    pub scheme: Scheme,
}

/// The scheme of a WebSocket URL (RFC 6455 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `ws`.
    Ws,
    /// `wss`: over TLS.
    Wss,
}

/// The address of a socket that is listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LocalSocket {
    /// TCP over IPv4 or IPv6.
    Tcp(SocketAddr),
    /// A file's path, or `@` and the name of an inherited socket that has no file.
    Unix(PathBuf),
}

impl LocalAddr {
    /// Its address and port, unless it is a Unix socket.
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self.socket {
            LocalSocket::Tcp(addr) => Some(addr),
            LocalSocket::Unix(_) => None,
        }
    }
}

impl fmt::Display for LocalAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.scheme {
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
        })?;
        match &self.socket {
            LocalSocket::Tcp(addr) => write!(f, "://{addr}"),
            LocalSocket::Unix(path) => write!(f, "+unix:{}", path.to_string_lossy().escape_debug()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_by_both_families_is_known_by_its_own() {
        for (text, expected) in [
            ("192.0.2.7:1", "192.0.2.7:1"),
            ("[::ffff:192.0.2.7]:1", "192.0.2.7:1"),
            ("[::192.0.2.7]:1", "[::c000:207]:1"),
            ("[fe80::1%2]:1", "[fe80::1%2]:1"),
        ] {
            assert_eq!(PeerAddr::from(text.parse::<SocketAddr>().unwrap()).to_string(), expected);
        }
        assert_eq!(PeerAddr::Unix.to_string(), "unix");
    }

    #[test]
    fn what_is_listened_on_is_shown_as_a_client_writes_it() {
        let tcp = LocalSocket::Tcp("[::1]:8002".parse().unwrap());
        let unix = LocalSocket::Unix("/run/a\nb.sock".into());
        for (socket, scheme, expected) in [
            (tcp.clone(), Scheme::Ws, "ws://[::1]:8002"),
            (tcp, Scheme::Wss, "wss://[::1]:8002"),
            (unix.clone(), Scheme::Ws, "ws+unix:/run/a\\nb.sock"),
            (unix, Scheme::Wss, "wss+unix:/run/a\\nb.sock"),
        ] {
            assert_eq!(LocalAddr { socket, scheme }.to_string(), expected);
        }
    }
}
