//! Which web pages may connect: rules over the Origin header (RFC 6454, RFC 6455 §10.2).
//!
//! Pure functions. Origin keeps foreign *pages* out of a browser that can reach this server; it stops no other
//! client, since anything but a browser writes what it likes there. Credentials are not this file's business.
//!
//! "Loopback only" is when every listener is a loopback TCP address where peers speak for themselves: behind a Unix socket,
//! as behind the PROXY protocol, there may be a proxy, and the whole network behind that.
//!
//! | Origin                                        | on loopback only       | elsewhere       |
//! |-----------------------------------------------|------------------------|-----------------|
//! | one that is allowed                           | yes                    | yes             |
//! | same as Host                                  | if Host is ours        | yes             |
//! | localhost, 127.0.0.1, `[::1]`, any port       | if Host is ours        | no              |
//! | any other, also `null`                        | no                     | no              |
//! | none, on an upgrade (not a browser)           | yes                    | yes             |
//! | none, on any other request                    | if Host is ours        | yes             |
//!
//! The last row has an exception: where a browser says that a page of another origin makes the request (`fetch_site`), it gets the
//! server's pages, if it goes there, and nothing else. A picture's address, say, makes no topic and holds no place.
//!
//! "Ours" is a Host that only this machine answers to (localhost and names below it, 127.0.0.0/8, `[::1]`; not
//! `[::ffff:127.0.0.1]`, to which browsers send no Sec-Fetch-Site), or the host of an
//! origin that is allowed. Whoever owns a name can have it resolve to 127.0.0.1 once their page is loaded (DNS rebinding);
//! then the page's origin and its Host agree, and only the name itself tells. Browsers send no Origin with a page's GET to its own
//! origin, so that without one the Host counts, too; with an upgrade they always send it.
//!
//! A request with two Origin headers does not come this far: `proto::handshake` refuses it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::app::gate::fetch_site::Site;

/// Who may connect. Built once at start; asked at each opening handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    reach: Reach,
    allowed: Vec<AllowedOrigin>,
}

impl Access {
    /// Rules for a server that can be reached from there, with what `--allow-origin` adds.
    pub(crate) const fn new(reach: Reach, allowed: Vec<AllowedOrigin>) -> Self {
        Self { reach, allowed }
    }

    /// Decides on an upgrade by its Origin, if it has one; `host` is the host that it asks for.
    ///
    /// # Errors
    ///
    /// The rule that keeps this page out.
    pub(crate) fn check(&self, origin: Option<&str>, host: &str) -> Result<(), Denied> {
        let Some(text) = origin else { return Ok(()) };
        if self.allowed.contains(&AllowedOrigin::Any) {
            return Ok(());
        }
        if text == "null" {
            let is_allowed = self.allowed.contains(&AllowedOrigin::Null);
            return if is_allowed { Ok(()) } else { Err(Denied::Null) };
        }
        let origin = Origin::parse(text).ok_or(Denied::Malformed)?;
        let is_listed =
            |it: &AllowedOrigin| matches!(it, AllowedOrigin::Exactly(it) if *it == origin);
        if self.allowed.iter().any(is_listed) {
            return Ok(());
        }
        let is_local = self.reach == Reach::Loopback && origin.is_loopback();
        if is_local || origin.is_same_as_host(host) {
            return self.check_host(host);
        }
        Err(Denied::Foreign)
    }

    /// Decides on a request that asks for no upgrade: as [`Access::check`] does, and without an Origin by its Host and by what the
    /// browser says of the page. `sees_page`: all that it gets is a page.
    ///
    /// # Errors
    ///
    /// The rule that keeps this page out.
    pub(crate) fn check_plain(
        &self,
        origin: Option<&str>,
        host: &str,
        site: Site,
        sees_page: bool,
    ) -> Result<(), Denied> {
        if origin.is_some() {
            return self.check(origin, host);
        }
        self.check_host(host)?;
        match site {
            Site::Own => Ok(()),
            Site::Visit if sees_page => Ok(()),
            Site::Visit | Site::Foreign => Err(Denied::ForeignSite),
        }
    }

    /// Decides on a request for who watches over the server, upgrade or not: no page may but one from the same host.
    ///
    /// # Errors
    ///
    /// The rule that keeps this page out.
    pub(crate) fn check_admin(
        &self,
        origin: Option<&str>,
        host: &str,
        site: Site,
    ) -> Result<(), Denied> {
        self.check_host(host).map_err(|_| Denied::ForeignAdminHost)?;
        if site != Site::Own {
            return Err(Denied::NoPage);
        }
        match origin.map(Origin::parse) {
            None => Ok(()),
            Some(Some(origin)) if origin.is_same_as_host(host) => Ok(()),
            Some(_) => Err(Denied::NoPage),
        }
    }

    /// The Origin that a response may name as allowed to read it (Access-Control-Allow-Origin), if this one is.
    pub(crate) fn readable_by<'a>(&self, origin: &'a str, host: &str) -> Option<&'a str> {
        // Where every origin is allowed, one need not be well-formed to pass; it is not repeated then.
        let is_origin = origin == "null" || Origin::parse(origin).is_some();
        (is_origin && self.check(Some(origin), host).is_ok()).then_some(origin)
    }

    /// Whether a page can have come by `host` without its name being turned to this machine behind the browser's back.
    fn check_host(&self, host: &str) -> Result<(), Denied> {
        if self.reach != Reach::Loopback || self.allowed.contains(&AllowedOrigin::Any) {
            return Ok(());
        }
        let (host, _) = parse_authority(host).ok_or(Denied::ForeignHost)?;
        let is_listed =
            |it: &AllowedOrigin| matches!(it, AllowedOrigin::Exactly(it) if it.host == host);
        if host.is_this_machine() || self.allowed.iter().any(is_listed) {
            return Ok(());
        }
        Err(Denied::ForeignHost)
    }
}

impl fmt::Display for Access {
    /// Says what is open to whom and which flag changes it, for the start-up lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reach {
            Reach::Loopback => "open to loopback addresses only (--listen), ",
            Reach::Local => "open to this machine and its proxies (--listen), ",
            Reach::Network => "open to the network (--listen), ",
        })?;
        if self.allowed.contains(&AllowedOrigin::Any) {
            return f.write_str("to pages of any origin (--allow-origin)");
        }
        f.write_str(match self.reach {
            Reach::Loopback => "to pages of the same origin or of localhost",
            Reach::Local | Reach::Network => "to pages of the same origin",
        })?;
        match self.allowed.as_slice() {
            [] => {}
            [origin] => write!(f, " or of {origin}")?,
            origins => write!(f, " or of {} others", origins.len())?,
        }
        f.write_str(" (--allow-origin)")
    }
}

/// From where a server can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// By loopback TCP addresses alone: whoever connects runs on this machine, be it a proxy that passes on what others say.
    Loopback,
    /// Also by who runs on this machine and may speak for others: by a Unix socket, or by the PROXY protocol.
    Local,
    /// By at least one address that is not a loopback address.
    Network,
}

impl Reach {
    /// The reach of what listens at `ip`; `None`: a Unix socket.
    pub(crate) fn new(ip: Option<IpAddr>, is_proxied: bool) -> Self {
        match ip {
            Some(ip) if !ip.to_canonical().is_loopback() => Self::Network,
            Some(_) if !is_proxied => Self::Loopback,
            Some(_) | None => Self::Local,
        }
    }
}

/// Why an Origin is refused. The reasons go to the client as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// Not an origin as browsers write it.
    Malformed,
    /// `null`: a sandboxed frame or a local file, which any page can produce.
    Null,
    /// An origin that nobody allowed.
    Foreign,
    /// A Host that is not this machine's, on a server that listens on loopback alone.
    ForeignHost,
    /// The same, for who watches over the server.
    ForeignAdminHost,
    /// A page from anywhere, where there is none to come from.
    NoPage,
    /// A page of another origin, which the browser says without naming it.
    ForeignSite,
}

impl Denied {
    /// The response's body: what was wrong, and what would be right.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => {
                "The Origin header is not an origin. It should be like https://example.com"
            }
            Self::Null => {
                "Origin 'null' (a local file or a sandboxed frame) is not allowed. Serve the page over HTTP, or start \
                 the server with --allow-origin null"
            }
            Self::Foreign => {
                "This page's origin is not allowed. Start the server with --allow-origin and the page's origin, such as \
                 --allow-origin https://example.com"
            }
            Self::ForeignAdminHost => {
                "The Host header is not this machine's, which --admin is for. Use localhost or 127.0.0.1"
            }
            Self::NoPage => {
                "Pages of other origins have no access to --admin, whatever --allow-origin says"
            }
            Self::ForeignSite => {
                "A page of another origin may only link to this server's pages. For more it needs an Origin that is allowed: \
                 fetch with mode 'cors', and --allow-origin"
            }
            Self::ForeignHost => {
                "The Host header is not this machine's, which this server is for. Use localhost or 127.0.0.1, or start the \
                 server with --allow-origin and the page's origin, such as --allow-origin https://example.com"
            }
        }
    }
}

/// One value of `--allow-origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AllowedOrigin {
    /// `*`: every page.
    Any,
    /// `null`: local files and sandboxed frames.
    Null,
    /// This origin and no other.
    Exactly(Origin),
}

impl AllowedOrigin {
    /// Whether pages of it come from a web server on this machine. Of the others any can be somewhere else: `null` is what any page
    /// can make itself, and apps on other devices have schemes of their own.
    pub(crate) fn is_this_machines(&self) -> bool {
        match self {
            Self::Any | Self::Null => false,
            Self::Exactly(Origin { scheme, host, .. }) => {
                matches!(&**scheme, "http" | "https") && host.is_this_machine()
            }
        }
    }
}

impl FromStr for AllowedOrigin {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        match text {
            "" => return Err(BadOrigin::Empty),
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Null),
            _ => {}
        }
        let Some((scheme, rest)) = text.split_once("://") else { return Err(BadOrigin::NoScheme) };
        if scheme.eq_ignore_ascii_case("ws") || scheme.eq_ignore_ascii_case("wss") {
            return Err(BadOrigin::WebSocketScheme);
        }
        if rest.contains('/') {
            return Err(BadOrigin::Path);
        }
        if rest.contains('*') {
            return Err(BadOrigin::Wildcard);
        }
        Origin::parse(text).map(Self::Exactly).ok_or(BadOrigin::Malformed)
    }
}

impl fmt::Display for AllowedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any origin"),
            Self::Null => f.write_str("null"),
            Self::Exactly(origin) => origin.fmt(f),
        }
    }
}

/// Why a value of `--allow-origin` is none. The texts say what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadOrigin {
    Empty,
    NoScheme,
    WebSocketScheme,
    Path,
    Wildcard,
    Malformed,
}

impl fmt::Display for BadOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty; give an origin such as https://example.com, null, or *",
            Self::NoScheme => "has no scheme; write it as the page's address begins, such as https://example.com",
            Self::WebSocketScheme => "is a WebSocket address; give the page's origin, which begins with http or https",
            Self::Path => "has a path; an origin ends with its host or port, such as https://example.com",
            Self::Wildcard => "has a wildcard; list each origin, or give * alone to allow all",
            Self::Malformed => "is not an origin; write scheme://host or scheme://host:port (other scripts as xn--…)",
        })
    }
}

impl std::error::Error for BadOrigin {}

/// An origin: scheme, host and port (RFC 6454 §4). Equal origins compare equal however they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// In lower case.
    scheme: Box<str>,
    host: Host,
    /// The scheme's default where the text has none. `None`: the scheme has no default, as `chrome-extension`.
    port: Option<u16>,
}

impl Origin {
    /// Parses what browsers send: `scheme://host` or `scheme://host:port`, nothing before, behind or between.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let mut letters = scheme.bytes();
        let starts_with_letter = letters.next()?.is_ascii_alphabetic();
        if !starts_with_letter
            || !letters.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase().into_boxed_str();
        let (host, port) = parse_authority(authority)?;
        let port = port.or_else(|| default_port(&scheme));
        Some(Self { scheme, host, port })
    }

    /// Whether this origin's page was loaded from where the request goes to.
    ///
    /// A Host header has no scheme, and behind a proxy that ends TLS ours says nothing about the page's. A Host
    /// without a port is therefore taken to have the default port of the page's scheme.
    fn is_same_as_host(&self, host: &str) -> bool {
        let Some((host, port)) = parse_authority(host) else { return false };
        matches!(&*self.scheme, "http" | "https")
            && self.host == host
            && self.port == port.or_else(|| default_port(&self.scheme))
    }

    /// Whether the page comes from a web server on this machine.
    fn is_loopback(&self) -> bool {
        matches!(&*self.scheme, "http" | "https")
            && match &self.host {
                Host::Name(name) => matches!(&**name, "localhost" | "127.0.0.1"),
                Host::Ipv6(address) => address.is_loopback(),
            }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{}://{name}", self.scheme)?,
            Host::Ipv6(address) => write!(f, "{}://[{address}]", self.scheme)?,
        }
        match self.port {
            Some(port) if default_port(&self.scheme) != self.port => write!(f, ":{port}"),
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// A name or an IPv4 address, in lower case.
    Name(Box<str>),
    Ipv6(Ipv6Addr),
}

impl Host {
    /// Whether no other machine can be meant. Names below localhost never leave it (RFC 6761 §6.3).
    fn is_this_machine(&self) -> bool {
        match self {
            Self::Name(name) => {
                &**name == "localhost"
                    || name.ends_with(".localhost")
                    || name.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
            }
            // Not 127.0.0.1 as IPv6 writes it: browsers send no Sec-Fetch-Site there, so that pages could not be told apart.
            Self::Ipv6(ip) => ip.is_loopback(),
        }
    }
}

/// Whether a Host is one of this machine's names, with a port or without.
pub(crate) fn is_this_machines(host: &str) -> bool {
    parse_authority(host).is_some_and(|(host, _)| host.is_this_machine())
}

/// Parses `host[:port]`. User information, paths, spaces and empty parts are all refused.
fn parse_authority(text: &str) -> Option<(Host, Option<u16>)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, rest) = bracketed.split_once(']')?;
            (Host::Ipv6(address.parse().ok()?), rest)
        }
        None => {
            let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
            if name.is_empty() || !name.bytes().all(is_name) {
                return None;
            }
            (Host::Name(name.to_ascii_lowercase().into_boxed_str()), rest)
        }
    };
    if rest.is_empty() {
        return Some((host, None));
    }
    let digits = rest.strip_prefix(':')?;
    // `u16::from_str` takes a plus sign, and browsers write no leading zeros.
    if !digits.bytes().all(|b| b.is_ascii_digit()) || digits.starts_with('0') {
        return None;
    }
    Some((host, Some(digits.parse().ok()?)))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "127.0.0.1:8002";

    #[test]
    fn on_loopback_same_and_loopback_origins_connect() {
        let access = access("127.0.0.1", &[]);
        for origin in [
            "http://127.0.0.1:8002",
            "http://localhost",
            "http://localhost:63342",
            "https://LOCALHOST",
            "HTTPS://LocalHost:1",
            "http://127.0.0.1:65535",
            "http://[::1]:99",
            "https://[0:0:0:0:0:0:0:1]",
        ] {
            assert_eq!(access.check(Some(origin), HOST), Ok(()), "{origin}");
        }
    }

    #[test]
    fn the_admin_side_is_for_no_page_but_its_own() {
        let table = [
            (None, "127.0.0.1:8003", Ok(())),
            (None, "localhost", Ok(())),
            (Some("http://127.0.0.1:8003"), "127.0.0.1:8003", Ok(())),
            (Some("http://localhost:63342"), "127.0.0.1:8003", Err(Denied::NoPage)),
            (Some("https://example.com"), "127.0.0.1:8003", Err(Denied::NoPage)),
            (Some("null"), "127.0.0.1:8003", Err(Denied::NoPage)),
            (Some("nonsense"), "127.0.0.1:8003", Err(Denied::NoPage)),
            (None, "evil.example", Err(Denied::ForeignAdminHost)),
            (None, "[::ffff:7f00:1]:8003", Err(Denied::ForeignAdminHost)),
            (Some("http://evil.example"), "evil.example", Err(Denied::ForeignAdminHost)),
        ];
        for (origin, host, expected) in table {
            let access = Access::new(Reach::Loopback, Vec::new());
            assert_eq!(access.check_admin(origin, host, Site::Own), expected, "{origin:?} {host}");
            for site in [Site::Visit, Site::Foreign] {
                let expected = expected.and(Err(Denied::NoPage));
                assert_eq!(access.check_admin(origin, host, site), expected, "{origin:?} {host}");
            }
        }
        // Behind a Unix socket, or elsewhere, any name may be its own.
        for reach in [Reach::Local, Reach::Network] {
            let access = Access::new(reach, Vec::new());
            let (origin, host) = (Some("https://ops.example"), "ops.example");
            assert_eq!(access.check_admin(origin, host, Site::Own), Ok(()));
            let foreign = Some("https://example.com");
            assert_eq!(access.check_admin(foreign, host, Site::Own), Err(Denied::NoPage));
        }
    }

    #[test]
    fn look_alikes_of_loopback_are_refused() {
        let access = access("127.0.0.1", &[]);
        for (origin, denied) in [
            ("http://localhost.evil.com", Denied::Foreign),
            ("http://127.0.0.1.evil", Denied::Foreign),
            ("http://localhost.", Denied::Foreign),
            ("http://evil-localhost", Denied::Foreign),
            ("http://127.0.0.2", Denied::Foreign),
            ("http://2130706433", Denied::Foreign),
            ("http://0.0.0.0", Denied::Foreign),
            ("http://[::2]", Denied::Foreign),
            ("http://[::ffff:127.0.0.1]", Denied::Foreign),
            ("chrome-extension://localhost", Denied::Foreign),
            ("http://example.com", Denied::Foreign),
            ("null", Denied::Null),
            ("NULL", Denied::Malformed),
            ("", Denied::Malformed),
            (" ", Denied::Malformed),
            ("*", Denied::Malformed),
            ("localhost", Denied::Malformed),
            ("//localhost", Denied::Malformed),
            ("://localhost", Denied::Malformed),
            ("http:/localhost", Denied::Malformed),
            ("http://", Denied::Malformed),
            ("file://", Denied::Malformed),
            ("http://evil@localhost", Denied::Malformed),
            ("http://localhost@evil.com", Denied::Malformed),
            ("http://localhost:80@evil.com", Denied::Malformed),
            ("http://localhost/", Denied::Malformed),
            ("http://localhost/path", Denied::Malformed),
            ("http://localhost?evil.com", Denied::Malformed),
            ("http://localhost#evil.com", Denied::Malformed),
            ("http://localhost\\evil.com", Denied::Malformed),
            ("http://evil.com http://localhost", Denied::Malformed),
            ("http://localhost, http://localhost", Denied::Malformed),
            ("http://localhost ", Denied::Malformed),
            (" http://localhost", Denied::Malformed),
            ("http://localhost:", Denied::Malformed),
            ("http://localhost:0", Denied::Malformed),
            ("http://localhost:080", Denied::Malformed),
            ("http://localhost:+80", Denied::Malformed),
            ("http://localhost:-1", Denied::Malformed),
            ("http://localhost:65536", Denied::Malformed),
            ("http://localhost:99999999999999999999", Denied::Malformed),
            ("http://localhost:80:80", Denied::Malformed),
            ("http://::1", Denied::Malformed),
            ("http://[::1", Denied::Malformed),
            ("http://[::1]evil.com", Denied::Malformed),
            ("http://[::1%25lo]", Denied::Malformed),
            ("http://[localhost]", Denied::Malformed),
            ("http://loc\0alhost", Denied::Malformed),
            ("http://löcalhost", Denied::Malformed),
            ("1http://localhost", Denied::Malformed),
            ("ht tp://localhost", Denied::Malformed),
        ] {
            assert_eq!(access.check(Some(origin), HOST), Err(denied), "{origin:?}");
        }
    }

    #[test]
    fn the_same_origin_is_the_host_with_its_default_port() {
        let access = access("0.0.0.0", &[]);
        for (origin, host, expected) in [
            ("http://example.com", "example.com", Ok(())),
            ("http://EXAMPLE.com", "Example.COM", Ok(())),
            ("http://example.com", "example.com:80", Ok(())),
            ("http://example.com:80", "example.com", Ok(())),
            ("https://example.com", "example.com", Ok(())),
            ("https://example.com", "example.com:443", Ok(())),
            ("http://example.com:8002", "example.com:8002", Ok(())),
            ("http://[2001:db8::1]:8002", "[2001:DB8:0::1]:8002", Ok(())),
            ("http://[::1]", "[::1]", Ok(())),
            ("http://example.com", "example.com:443", Err(Denied::Foreign)),
            ("https://example.com", "example.com:80", Err(Denied::Foreign)),
            ("http://example.com:8003", "example.com:8002", Err(Denied::Foreign)),
            ("http://example.com", "example.com:8002", Err(Denied::Foreign)),
            ("http://sub.example.com", "example.com", Err(Denied::Foreign)),
            ("http://example.com.evil", "example.com", Err(Denied::Foreign)),
            ("http://example.com", "example.com.", Err(Denied::Foreign)),
            ("http://example.com", "user@example.com", Err(Denied::Foreign)),
            ("http://example.com", "", Err(Denied::Foreign)),
            ("chrome-extension://example.com", "example.com", Err(Denied::Foreign)),
            ("http://localhost", HOST, Err(Denied::Foreign)),
            ("http://127.0.0.1", HOST, Err(Denied::Foreign)),
        ] {
            assert_eq!(access.check(Some(origin), host), expected, "{origin} to {host}");
        }
    }

    #[test]
    fn a_request_without_origin_is_no_browsers() {
        for bind in ["127.0.0.1", "0.0.0.0"] {
            assert_eq!(access(bind, &[]).check(None, HOST), Ok(()), "{bind}");
        }
    }

    /// The name's owner lets it resolve to 127.0.0.1: origin and Host agree, and are still not ours.
    #[test]
    fn on_loopback_a_rebound_name_is_refused() {
        let foreign = Err(Denied::ForeignHost);
        let bare = access("127.0.0.1", &[]);
        let listed = access("127.0.0.1", &["https://Chat.example", "null"]);
        let open = access("127.0.0.1", &["*"]);
        for (access, origin, host, upgrade, plain) in [
            (&bare, Some("http://evil.example:8002"), "evil.example:8002", foreign, foreign),
            (&bare, Some("https://evil.example"), "evil.example", foreign, foreign),
            (&bare, Some("http://localhost:3000"), "evil.example:8002", foreign, foreign),
            (&bare, Some("http://192.0.2.1:8002"), "192.0.2.1:8002", foreign, foreign),
            (&bare, Some("http://0.0.0.0:8002"), "0.0.0.0:8002", foreign, foreign),
            (
                &bare,
                Some("http://localhost.evil.example"),
                "localhost.evil.example",
                foreign,
                foreign,
            ),
            (&bare, Some("http://notlocalhost"), "notlocalhost", foreign, foreign),
            (&bare, Some("http://localhost"), "", foreign, foreign),
            (&bare, Some("http://evil.example"), HOST, Err(Denied::Foreign), Err(Denied::Foreign)),
            (&bare, None, "evil.example:8002", Ok(()), foreign),
            (&bare, None, "", Ok(()), foreign),
            // This machine's own names.
            (&bare, Some("http://127.7.7.7:8002"), "127.7.7.7:8002", Ok(()), Ok(())),
            (&bare, Some("http://a.localhost:8002"), "A.localhost:8002", Ok(()), Ok(())),
            (&bare, Some("http://[::1]:8002"), "[::1]:8002", Ok(()), Ok(())),
            // One of which browsers do not say whose page asks for it.
            (&bare, Some("http://localhost:3000"), "[::ffff:127.0.0.1]:8002", foreign, foreign),
            (&bare, None, "[::ffff:7f00:1]:8002", Ok(()), foreign),
            (&bare, None, "localhost:8002", Ok(()), Ok(())),
            (&bare, None, "127.0.0.1", Ok(()), Ok(())),
            // A proxy on this machine that passes its own name on.
            (&listed, Some("https://chat.example"), "chat.example", Ok(()), Ok(())),
            (&listed, Some("https://chat.example"), "behind.example", Ok(()), Ok(())),
            (&listed, Some("null"), "behind.example", Ok(()), Ok(())),
            (&listed, None, "CHAT.example:8443", Ok(()), Ok(())),
            (&listed, None, "sub.chat.example", Ok(()), foreign),
            (&open, Some("http://evil.example"), "evil.example", Ok(()), Ok(())),
            (&open, None, "evil.example", Ok(()), Ok(())),
        ] {
            assert_eq!(access.check(origin, host), upgrade, "{origin:?} to {host:?}");
            let told = access.check_plain(origin, host, Site::Own, false);
            assert_eq!(told, plain, "{origin:?} to {host:?}, plain");
        }
    }

    /// An Origin that is allowed says more than that the page is another's.
    #[test]
    fn a_page_of_another_origin_that_is_not_named_sees_pages_alone() {
        let foreign = Err(Denied::ForeignSite);
        let access = access("127.0.0.1", &["https://chat.example"]);
        for (origin, site, sees_page, expected) in [
            (None, Site::Own, false, Ok(())),
            (None, Site::Visit, true, Ok(())),
            (None, Site::Visit, false, foreign),
            (None, Site::Foreign, true, foreign),
            (None, Site::Foreign, false, foreign),
            (Some("https://chat.example"), Site::Foreign, false, Ok(())),
            (Some("http://localhost:3000"), Site::Foreign, false, Ok(())),
            (Some("https://evil.example"), Site::Own, true, Err(Denied::Foreign)),
        ] {
            let told = access.check_plain(origin, HOST, site, sees_page);
            assert_eq!(told, expected, "{origin:?} {site:?} {sees_page}");
        }
    }

    #[test]
    fn elsewhere_any_host_may_be_ours() {
        for reach in [Reach::Local, Reach::Network] {
            let access = Access::new(reach, Vec::new());
            assert_eq!(access.check(Some("https://chat.example"), "chat.example"), Ok(()));
            assert_eq!(access.check_plain(None, "chat.example", Site::Own, false), Ok(()));
        }
    }

    #[test]
    fn a_response_names_only_origins_that_are_allowed_and_are_some() {
        let bare = access("127.0.0.1", &[]);
        let open = access("0.0.0.0", &["*"]);
        for (access, origin, is_named) in [
            (&bare, "http://localhost:3000", true),
            (&bare, "https://example.com", false),
            (&bare, "null", false),
            (&open, "https://example.com", true),
            (&open, "null", true),
            (&open, "file://", false),
            (&open, "a, b", false),
        ] {
            assert_eq!(access.readable_by(origin, HOST), is_named.then_some(origin), "{origin}");
        }
    }

    #[test]
    fn allowed_origins_connect_and_no_others() {
        let allowed =
            ["https://Example.com", "http://[2001:db8::1]:81", "chrome-extension://abc", "null"];
        for bind in ["127.0.0.1", "192.0.2.1"] {
            let access = access(bind, &allowed);
            for (origin, expected) in [
                ("https://example.com", Ok(())),
                ("https://example.com:443", Ok(())),
                ("http://[2001:db8:0::1]:81", Ok(())),
                ("chrome-extension://abc", Ok(())),
                ("null", Ok(())),
                ("http://example.com", Err(Denied::Foreign)),
                ("https://example.com:444", Err(Denied::Foreign)),
                ("https://www.example.com", Err(Denied::Foreign)),
                ("http://[2001:db8::1]", Err(Denied::Foreign)),
                ("chrome-extension://abcd", Err(Denied::Foreign)),
            ] {
                assert_eq!(access.check(Some(origin), HOST), expected, "{origin} on {bind}");
            }
        }
    }

    #[test]
    fn a_star_allows_every_origin() {
        let access = access("0.0.0.0", &["https://example.com", "*"]);
        for origin in ["https://evil.example", "null", "file://"] {
            assert_eq!(access.check(Some(origin), HOST), Ok(()), "{origin}");
        }
    }

    #[test]
    fn one_address_beyond_loopback_closes_the_door() {
        let reach = |addresses: &[&str]| {
            addresses.iter().map(|a| Reach::new(Some(a.parse().unwrap()), false)).max().unwrap()
        };
        for (addresses, expected) in [
            (&["127.0.0.1"][..], Reach::Loopback),
            (&["127.9.9.9", "::1", "::ffff:127.0.0.1"], Reach::Loopback),
            (&["127.0.0.1", "192.0.2.1"], Reach::Network),
            (&["0.0.0.0"], Reach::Network),
            (&["::"], Reach::Network),
        ] {
            assert_eq!(reach(addresses), expected, "{addresses:?}");
        }
    }

    #[test]
    fn where_a_proxy_may_stand_in_front_localhost_is_just_another_page() {
        let loopback = Some("127.0.0.1".parse().unwrap());
        let network = Some("0.0.0.0".parse().unwrap());
        for (ip, is_proxied, expected) in [
            (loopback, false, Reach::Loopback),
            (loopback, true, Reach::Local),
            (None, false, Reach::Local),
            (None, true, Reach::Local),
            (network, true, Reach::Network),
        ] {
            assert_eq!(Reach::new(ip, is_proxied), expected, "{ip:?} {is_proxied}");
        }
        let access = Access::new(Reach::Local, Vec::new());
        for (origin, host, expected) in [
            ("http://localhost:3000", HOST, Err(Denied::Foreign)),
            ("http://127.0.0.1:8002", HOST, Ok(())),
            // The proxy has the certificate; a Host without a port has the default one of the page's scheme.
            ("https://chat.example", "chat.example", Ok(())),
            ("https://chat.example", "chat.example:443", Ok(())),
            ("https://chat.example:8443", "chat.example:8443", Ok(())),
            ("https://chat.example", "other.example", Err(Denied::Foreign)),
            // A page's scheme is never WebSocket's.
            ("wss://chat.example", "chat.example", Err(Denied::Foreign)),
        ] {
            assert_eq!(access.check(Some(origin), host), expected, "{origin} to {host}");
        }
        assert_eq!(
            access.to_string(),
            "open to this machine and its proxies (--listen), to pages of the same origin (--allow-origin)"
        );
    }

    #[test]
    fn the_flag_says_what_is_wrong_with_its_value() {
        for (text, expected) in [
            ("", BadOrigin::Empty),
            ("example.com", BadOrigin::NoScheme),
            ("localhost:8080", BadOrigin::NoScheme),
            ("wss://example.com", BadOrigin::WebSocketScheme),
            ("https://example.com/", BadOrigin::Path),
            ("https://example.com/app", BadOrigin::Path),
            ("https://*.example.com", BadOrigin::Wildcard),
            ("https://user@example.com", BadOrigin::Malformed),
            ("https://example.com:99999", BadOrigin::Malformed),
            ("https://", BadOrigin::Malformed),
            ("https://bücher.example", BadOrigin::Malformed),
            ("https://a.example https://b.example", BadOrigin::Path),
        ] {
            assert_eq!(text.parse::<AllowedOrigin>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn the_start_up_line_says_what_is_open_to_whom() {
        for (bind, allowed, expected) in [
            (
                "127.0.0.1",
                &[][..],
                "open to loopback addresses only (--listen), to pages of the same origin or of localhost (--allow-origin)",
            ),
            (
                "0.0.0.0",
                &["https://Example.com:443"],
                "open to the network (--listen), to pages of the same origin or of https://example.com (--allow-origin)",
            ),
            (
                "::",
                &["http://[::1]:81", "null"],
                "open to the network (--listen), to pages of the same origin or of 2 others (--allow-origin)",
            ),
            (
                "::1",
                &["*"],
                "open to loopback addresses only (--listen), to pages of any origin (--allow-origin)",
            ),
        ] {
            assert_eq!(access(bind, allowed).to_string(), expected);
        }
    }

    fn access(bind: &str, allowed: &[&str]) -> Access {
        Access::new(
            Reach::new(Some(bind.parse().unwrap()), false),
            allowed.iter().map(|text| text.parse().unwrap()).collect(),
        )
    }
}
