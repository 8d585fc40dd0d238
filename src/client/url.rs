//! Where a topic is: the URL, split and made fit for a request line.
//!
//! ```text
//! ws://host[:port]/topic[?query]     http:// means the same, and so does no scheme
//! wss://host[:port]/topic[?query]    https:// means the same
//! ```
//!
//! Shown again without its query, in which there may be a token. Resolves no name, and knows no Unix sockets.

use std::fmt;

/// A topic's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// Whether TLS is spoken there.
    pub(crate) is_tls: bool,
    /// A name or an address; an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Begins with a slash, and names more than that; percent-encoded where it has to be.
    pub(crate) path: String,
    /// Without `since`; percent-encoded like the path.
    pub(crate) query: String,
    /// The value of `since` in the query.
    pub(crate) since: Option<String>,
}

/// What keeps a text from being a topic's URL. Its `Display` follows the text, and says what to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadUrl {
    Scheme,
    User,
    Host,
    Port,
    Control,
    NoTopic,
}

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "has another scheme; write ws://, wss://, http:// or https://",
            Self::User => "has a user in it; leave that out, and write --token or --header",
            Self::Host => "has no host; write one as in ws://127.0.0.1:8002/chat",
            Self::Port => "has a port that is none; write a number from 1 to 65535",
            Self::Control => "has a control character; write it as %0A is written",
            Self::NoTopic => {
                "names no topic; write it behind the host, as in ws://127.0.0.1:8002/chat"
            }
        })
    }
}

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// What it lacks, or has too much.
    pub(crate) fn parse(text: &str) -> Result<Self, BadUrl> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("ws", text));
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return Err(BadUrl::Scheme),
        };
        if rest.contains(char::is_control) {
            return Err(BadUrl::Control);
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(BadUrl::User);
        }
        let (host, port) = split_port(authority)?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path.len() < 2 {
            return Err(BadUrl::NoTopic);
        }
        let (since, others): (Vec<&str>, Vec<&str>) =
            query.split('&').partition(|pair| pair.starts_with("since="));
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port: port.unwrap_or(if is_tls { 443 } else { 80 }),
            path: encode(path),
            query: encode(&others.join("&")),
            since: since.first().map(|pair| pair["since=".len()..].replace("%3A", ":")),
        })
    }

    /// Path and query, with one more parameter, if there is one.
    pub(crate) fn target(&self, parameter: Option<&str>) -> String {
        let mut target = self.path.clone();
        let parameters = [Some(&*self.query).filter(|query| !query.is_empty()), parameter];
        for (at, parameter) in parameters.into_iter().flatten().enumerate() {
            target.push(if at == 0 { '?' } else { '&' });
            target.push_str(parameter);
        }
        target
    }

    /// The value of Host: without the port, where it is the scheme's own (RFC 6455 §4.1).
    pub(crate) fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.is_tls, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// Host and port. A host may be anything that has no other meaning: what it stands for is the resolver's to know.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), BadUrl> {
    let (host, port) = match authority.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((host, rest))) => (host, (!rest.is_empty()).then_some(rest)),
        Some(None) => return Err(BadUrl::Host),
        None => match authority.find(':') {
            Some(at) => (&authority[..at], Some(&authority[at..])),
            None => (authority, None),
        },
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
    if host.is_empty() || !host.chars().all(is_host) {
        return Err(BadUrl::Host);
    }
    let port = port.map(|port| match port.strip_prefix(':').map(str::parse) {
        Some(Ok(port)) if port > 0 => Ok(port),
        _ => Err(BadUrl::Port),
    });
    Ok((host, port.transpose()?))
}

/// Percent-encodes what may not stand in a request line (RFC 3986 §2.1); what is encoded already stays.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_into_their_parts() {
        for (text, expected) in [
            ("ws://127.0.0.1:8002/chat", Ok((false, "127.0.0.1", 8002, "/chat"))),
            ("http://h/a/b", Ok((false, "h", 80, "/a/b"))),
            ("127.0.0.1:8002/chat", Ok((false, "127.0.0.1", 8002, "/chat"))),
            ("WSS://h/chat#x", Ok((true, "h", 443, "/chat"))),
            ("https://h:8443/chat?self=0", Ok((true, "h", 8443, "/chat?self=0"))),
            ("ws://h/t?since=ab:7&a=b&since=cd:8", Ok((false, "h", 80, "/t?a=b"))),
            ("ws://[::1]:8002/t", Ok((false, "::1", 8002, "/t"))),
            ("ws://[::1]/t", Ok((false, "::1", 80, "/t"))),
            ("ws://h/a b/é%20?x=ü", Ok((false, "h", 80, "/a%20b/%C3%A9%20?x=%C3%BC"))),
            ("ftp://h/t", Err(BadUrl::Scheme)),
            ("ws://u:p@h/t", Err(BadUrl::User)),
            ("ws:///t", Err(BadUrl::Host)),
            ("/t", Err(BadUrl::Host)),
            ("ws://[::1/t", Err(BadUrl::Host)),
            ("ws://a b/t", Err(BadUrl::Host)),
            ("ws://h:0/t", Err(BadUrl::Port)),
            ("ws://h:70000/t", Err(BadUrl::Port)),
            ("ws://[::1]8002/t", Err(BadUrl::Port)),
            ("ws://h/a\nb", Err(BadUrl::Control)),
            ("ws://h", Err(BadUrl::NoTopic)),
            ("ws://h/", Err(BadUrl::NoTopic)),
            ("ws://h/?since=all", Err(BadUrl::NoTopic)),
        ] {
            let url = Url::parse(text);
            let parts =
                url.as_ref().map(|url| (url.is_tls, &*url.host, url.port, url.target(None)));
            let expected = expected.map(|(a, b, c, target)| (a, b, c, target.to_owned()));
            assert_eq!(parts.map_err(|error| *error), expected, "{text}");
        }
    }

    #[test]
    fn a_url_is_shown_without_its_query() {
        let url = Url::parse("wss://[::1]:9/t?token=secret&since=ab%3A7").unwrap();
        assert_eq!(url.to_string(), "wss://[::1]:9/t");
        assert_eq!(url.since.as_deref(), Some("ab:7"));
        assert_eq!(url.target(Some("since=all")), "/t?token=secret&since=all");
        let url = Url::parse("ws://h:80/t").unwrap();
        assert_eq!((&*url.authority(), &*url.target(Some("wait=0"))), ("h", "/t?wait=0"));
    }
}
