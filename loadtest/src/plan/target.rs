//! Where the load goes: a URL, its parts overridden by flags, and the address it resolves to.
//!
//! ```text
//! ws://host[:port][/path][?query]     TCP
//! wss://host[:port][/path][?query]    TLS over TCP; the certificate must be for the host
//! ws+unix:/socket[:/path[?query]]     a Unix socket, written as npm's ws does; unix: means the same
//! ```
//!
//! Knows no certificates. Does not open anything, except that resolving a name may ask the system's resolver.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// What is loaded when nothing else is said.
pub(crate) const DEFAULT_URL: &str = "ws://127.0.0.1:8002/echo";

/// The same for a broadcast: a path that does not echo.
pub(crate) const BROADCAST_URL: &str = "ws://127.0.0.1:8002/loadtest";

/// A WebSocket endpoint, not yet resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// What to connect to.
    pub(crate) place: Place,
    /// Path and query, starting with a slash.
    pub(crate) path: String,
}

/// What a URL says to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A port of a host.
    Tcp {
        /// What TCP carries.
        scheme: Scheme,
        /// A name or an address; an IPv6 address without its brackets.
        host: String,
        /// The TCP port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// What a TCP connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// WebSocket as it is.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Scheme {
    const fn name(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// The port where a URL gives none (RFC 6455 §3).
    const fn default_port(self) -> u16 {
        match self {
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

impl Target {
    /// Reads a URL; without a scheme, `host:port/path`.
    ///
    /// # Errors
    ///
    /// One line that says what to write instead.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        if let Some(rest) = url.strip_prefix("ws+unix:").or(url.strip_prefix("unix:")) {
            return parse_unix(url, rest);
        }
        let (scheme, rest) = match url.split_once("://") {
            Some(("ws" | "http", rest)) => (Scheme::Ws, rest),
            Some(("wss" | "https", rest)) => (Scheme::Wss, rest),
            Some((scheme, _)) => {
                return Err(format!("{scheme}:// is none of ws://, wss:// and ws+unix:"));
            }
            None => (Scheme::Ws, url),
        };
        let authority_len = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_len);
        if authority.contains('@') {
            return Err(format!("{url}: no user name in the URL; use -H 'Authorization: ...'"));
        }
        let (host, port) = split_port(authority, scheme)
            .ok_or_else(|| format!("{url} is not ws://host:port/path (a file? --json=FILE)"))?;
        let place = Place::Tcp { scheme, host: host.to_owned(), port };
        Ok(Self { place, path: parse_path(path)? })
    }

    /// The target with what the flags say in place of what the URL does.
    ///
    /// # Errors
    ///
    /// One line that says which flag has no meaning here, or holds nonsense.
    pub(crate) fn overridden(
        self,
        host: Option<&str>,
        port: Option<u16>,
        path: Option<&str>,
    ) -> Result<Self, String> {
        let path = match path {
            Some(path) => parse_path(&format!("/{}", path.trim_start_matches('/')))?,
            None => self.path,
        };
        let place = match (self.place, host, port) {
            (place, None, None) => place,
            (Place::Tcp { scheme, host: url_host, port: url_port }, host, port) => {
                let host = host.map_or(url_host, str::to_owned);
                let port = port.unwrap_or(url_port);
                let place = Place::Tcp { scheme, host, port };
                // As a URL it is read with the same suspicion.
                return Self::parse(&Self { place, path }.to_string());
            }
            (Place::Unix(_), Some(_), _) => return Err(meaningless("--host")),
            (Place::Unix(_), None, Some(_)) => return Err(meaningless("--port")),
        };
        Ok(Self { place, path })
    }

    /// The value of the Host header field: the port is left out where it is the default (RFC 6455 §4.1).
    pub(crate) fn host_header(&self) -> String {
        match &self.place {
            Place::Tcp { scheme, host, port } if *port == scheme.default_port() => bracketed(host),
            Place::Tcp { host, port, .. } => format!("{}:{port}", bracketed(host)),
            // There is no host; every other client of Unix sockets names this one.
            Place::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = &self.path;
        match &self.place {
            Place::Tcp { scheme, host, port } => {
                write!(f, "{}://{}:{port}{path}", scheme.name(), bracketed(host))
            }
            Place::Unix(socket) => write!(f, "ws+unix:{}:{path}", socket.display()),
        }
    }
}

/// The address of `host`. A name with addresses of both families gives its IPv4 one, since that is where a server that
/// was told nothing listens.
///
/// # Errors
///
/// One line that says which name has no address.
pub(crate) fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    let found = (host, port).to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
    let found: Vec<SocketAddr> = found.collect();
    let first = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| format!("{host}: no such host"))
}

/// Whether `addr` is one of 127.0.0.0/8, every address of which can be a source as well.
pub(crate) fn is_loopback_v4(addr: SocketAddr) -> bool {
    matches!(addr.ip(), IpAddr::V4(ip) if Ipv4Addr::is_loopback(&ip))
}

fn meaningless(flag: &str) -> String {
    format!("{flag} has no meaning with a Unix socket: write ws+unix:/socket:/path")
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// A path of a file system up to `:/`, then one of HTTP. `///socket` is how it was once written.
fn parse_unix(url: &str, rest: &str) -> Result<Target, String> {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (socket, path) = match rest.find(":/") {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, ""),
    };
    // What sockaddr_un holds, less the NUL at its end (unix(7)).
    if !(2..108).contains(&socket.len()) || !socket.starts_with('/') || socket.contains('\0') {
        return Err(format!("{url} is not ws+unix:/socket:/path with a socket of 2 to 107 bytes"));
    }
    Ok(Target { place: Place::Unix(PathBuf::from(socket)), path: parse_path(path)? })
}

/// A path with its query and without its fragment.
fn parse_path(path: &str) -> Result<String, String> {
    let path = path.split('#').next().unwrap_or_default();
    if path.bytes().any(|byte| byte <= b' ' || byte == 0x7F) {
        return Err(format!("{path:?} is no path: escape spaces and control characters"));
    }
    Ok(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
}

/// Host and port; the scheme's port where none is given. `None`: there is no host, or the port is no number.
fn split_port(authority: &str, scheme: Scheme) -> Option<(&str, u16)> {
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
    let port = port.map_or(Ok(scheme.default_port()), str::parse).ok()?;
    let plausible = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
    (port != 0 && !host.is_empty() && host.chars().all(plausible)).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_split_into_their_parts() {
        use Scheme::{Ws, Wss};
        let table = [
            (DEFAULT_URL, Some((Ws, "127.0.0.1", 8002, "/echo"))),
            ("ws://example.org", Some((Ws, "example.org", 80, "/"))),
            ("ws://h:1?token=x", Some((Ws, "h", 1, "/?token=x"))),
            ("ws://h:1/a/b?c#fragment", Some((Ws, "h", 1, "/a/b?c"))),
            ("ws://[::1]:8002/echo", Some((Ws, "::1", 8002, "/echo"))),
            ("localhost:9001/chat", Some((Ws, "localhost", 9001, "/chat"))),
            ("wss://h", Some((Wss, "h", 443, "/"))),
            ("https://h:8443/x", Some((Wss, "h", 8443, "/x"))),
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
            let parts = target.as_ref().map(|t| match &t.place {
                Place::Tcp { scheme, host, port } => (*scheme, host.as_str(), *port, &*t.path),
                Place::Unix(socket) => panic!("{url}: {}", socket.display()),
            });
            assert_eq!(parts, expected, "{url}");
        }
    }

    #[test]
    fn a_unix_socket_and_a_path_are_told_apart() {
        let long = format!("unix:/{}", "x".repeat(107));
        let table = [
            ("ws+unix:/run/s.sock", Some(("/run/s.sock", "/"))),
            ("ws+unix:/run/s.sock:/chat?x=1", Some(("/run/s.sock", "/chat?x=1"))),
            ("ws+unix:///run/s.sock:/chat", Some(("/run/s.sock", "/chat"))),
            ("unix:/run/a:b.sock:/", Some(("/run/a:b.sock", "/"))),
            ("unix:/run/s.sock", Some(("/run/s.sock", "/"))),
            ("unix:run/s.sock", None),
            ("unix:/", None),
            ("unix:", None),
            ("unix:/s:/a b", None),
            (long.as_str(), None),
        ];
        for (url, expected) in table {
            let target = Target::parse(url).ok();
            let expected = expected.map(|(socket, path)| Target {
                place: Place::Unix(PathBuf::from(socket)),
                path: path.to_owned(),
            });
            assert_eq!(target, expected, "{url}");
        }
    }

    #[test]
    fn the_host_header_leaves_out_the_default_port() {
        let header = |url| Target::parse(url).unwrap().host_header();
        assert_eq!(header("ws://h/"), "h");
        assert_eq!(header("wss://h/"), "h");
        assert_eq!(header("wss://h:80/"), "h:80");
        assert_eq!(header("ws://[::1]:8002/"), "[::1]:8002");
        assert_eq!(header("ws+unix:/run/s.sock"), "localhost");
    }

    #[test]
    fn a_target_is_printed_as_it_can_be_read_again() {
        for url in ["ws://[::1]:8002/", "wss://h:443/a?b", "ws+unix:/run/s.sock:/chat"] {
            assert_eq!(Target::parse(url).unwrap().to_string(), url);
        }
    }
}
