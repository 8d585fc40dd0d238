//! Where the load goes: a `ws://` URL, its parts overridden by flags, and the address it resolves to.
//!
//! Knows plain WebSocket only. Does not open anything, except that resolving a name may ask the system's resolver.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

/// What is loaded when nothing else is said.
pub(crate) const DEFAULT_URL: &str = "ws://127.0.0.1:8002/echo";

/// A WebSocket endpoint, not yet resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// A name or an address; an IPv6 address without its brackets.
    pub(crate) host: String,
    /// The TCP port.
    pub(crate) port: u16,
    /// Path and query, starting with a slash.
    pub(crate) path: String,
}

impl Target {
    /// Reads `ws://host[:port][/path][?query]`; without a scheme, `host:port/path`.
    ///
    /// # Errors
    ///
    /// One line that says what to write instead.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let rest = match url.split_once("://") {
            Some(("ws" | "http", rest)) => rest,
            Some(("wss" | "https", _)) => {
                return Err(format!("{url}: TLS is not built in; use a ws:// address"));
            }
            Some((scheme, _)) => return Err(format!("{scheme}:// is not ws://")),
            None => url,
        };
        let authority_len = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_len);
        let path = path.split('#').next().unwrap_or_default();
        if authority.contains('@') {
            return Err(format!("{url}: no user name in the URL; use -H 'Authorization: ...'"));
        }
        let (host, port) = split_port(authority)
            .ok_or_else(|| format!("{url} is not ws://host:port/path (a file? --json=FILE)"))?;
        if path.bytes().any(|byte| byte <= b' ' || byte == 0x7F) {
            return Err(format!("{path:?} is no path: escape spaces and control characters"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { host: host.to_owned(), port, path })
    }

    /// The address to connect to. A name with addresses of both families gives its IPv4 one, since that is where
    /// a server that was told nothing listens.
    ///
    /// # Errors
    ///
    /// One line that says which name has no address.
    pub(crate) fn resolve(&self) -> Result<SocketAddr, String> {
        let found: Vec<SocketAddr> = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|error| format!("{}: {error}", self.host))?
            .collect();
        let first = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
        first.copied().ok_or_else(|| format!("{}: no such host", self.host))
    }

    /// The value of the Host header field: the port is left out where it is the default (RFC 6455 §4.1).
    pub(crate) fn host_header(&self) -> String {
        let host = self.bracketed();
        if self.port == 80 { host } else { format!("{host}:{}", self.port) }
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ws://{}:{}{}", self.bracketed(), self.port, self.path)
    }
}

/// Whether `addr` is one of 127.0.0.0/8, every address of which can be a source as well.
pub(crate) fn is_loopback_v4(addr: SocketAddr) -> bool {
    matches!(addr.ip(), IpAddr::V4(ip) if Ipv4Addr::is_loopback(&ip))
}

/// Host and port; port 80 where none is given. `None`: there is no host, or the port is no number.
fn split_port(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = port.map_or(Ok(80), str::parse).ok()?;
    let plausible = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
    (port != 0 && !host.is_empty() && host.chars().all(plausible)).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_split_into_their_parts() {
        let table = [
            (DEFAULT_URL, Some(("127.0.0.1", 8002, "/echo"))),
            ("ws://example.org", Some(("example.org", 80, "/"))),
            ("ws://h:1?token=x", Some(("h", 1, "/?token=x"))),
            ("ws://h:1/a/b?c#fragment", Some(("h", 1, "/a/b?c"))),
            ("ws://[::1]:8002/echo", Some(("::1", 8002, "/echo"))),
            ("localhost:9001/chat", Some(("localhost", 9001, "/chat"))),
            ("wss://h/", None),
            ("ftp://h/", None),
            ("ws://", None),
            ("ws://h:0/", None),
            ("ws://h:70000/", None),
            ("ws://u:p@h/", None),
            ("ws://h/a b", None),
            ("ws://[::1/", None),
        ];
        for (url, expected) in table {
            let target = Target::parse(url).ok();
            let parts = target.as_ref().map(|t| (t.host.as_str(), t.port, t.path.as_str()));
            assert_eq!(parts, expected, "{url}");
        }
    }

    #[test]
    fn the_host_header_leaves_out_the_default_port() {
        let header = |url| Target::parse(url).unwrap().host_header();
        assert_eq!(header("ws://h/"), "h");
        assert_eq!(header("ws://[::1]:8002/"), "[::1]:8002");
        assert_eq!(Target::parse("ws://[::1]:8002").unwrap().to_string(), "ws://[::1]:8002/");
    }
}
