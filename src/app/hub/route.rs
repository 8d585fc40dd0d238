//! What a request's target and headers ask for: a topic, from where on, over which transport.
//!
//! Pure functions over a request. Whether the caller may have it is `access`'.

#![deny(clippy::arithmetic_side_effects)]

use wsfast::proto::handshake::{Request, Status};
use wsfast::saved;
use wsfast::{Kind, MessageId, Refusal, Since};

use crate::app::terms::topic_name::is_topic_name;

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/`: no topic.
    Root,
    /// `/echo`.
    Echo,
    /// `/health`.
    Health,
    /// `/connection/websocket`: many topics, by the Centrifugo protocol.
    Centrifugo,
    /// `/api/METHOD`: its HTTP API.
    Api(String),
    /// Any other path.
    Topic(Target),
}

/// A topic, and how to listen to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) topic: String,
    /// `?since=`, or the header that stands for it.
    pub(crate) since: Since,
    /// `?self=0`.
    pub(crate) mutes_own: bool,
}

saved!(struct Target { topic, since, mutes_own });

impl Route {
    /// What may be done there: the value of Allow (RFC 9110 §10.2.1).
    pub(crate) const fn methods(&self) -> &'static str {
        match self {
            Self::Root | Self::Echo | Self::Health | Self::Centrifugo => "GET, HEAD, OPTIONS",
            Self::Api(_) => "POST, OPTIONS",
            Self::Topic(_) => "GET, HEAD, POST, PUT, OPTIONS",
        }
    }
}

/// How to listen without WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Server-sent events.
    Events,
    /// JSON lines, without end.
    Lines,
    /// JSON lines in one response, which is waited for so long.
    Poll { wait_ms: u64 },
}

/// Finds out what is asked for.
///
/// # Errors
///
/// A path or a `since` that makes no sense.
pub(crate) fn route(request: &Request<'_>) -> Result<Route, Refusal> {
    let topic = match request.path().strip_prefix('/').unwrap_or_default() {
        "" => return Ok(Route::Root),
        "echo" => return Ok(Route::Echo),
        "health" => return Ok(Route::Health),
        "connection/websocket" => return Ok(Route::Centrifugo),
        path if path.starts_with("api/") => return Ok(Route::Api(path[4..].to_owned())),
        path => decode(path).ok_or(bad("the path is not percent-encoded UTF-8"))?,
    };
    if !is_topic_name(&topic) {
        return Err(bad("a topic's name has 1 to 255 bytes, and no control characters"));
    }
    listen_to(topic, request).map(Route::Topic)
}

/// How a request wants to listen to `topic`.
///
/// # Errors
///
/// A `since` that makes no sense.
pub(crate) fn listen_to(topic: String, request: &Request<'_>) -> Result<Target, Refusal> {
    let header = |name| request.header(name).and_then(|value| str::from_utf8(value).ok());
    let asked = query(request, "since");
    let resumed = header("last-event-id").or_else(|| header("if-none-match"));
    let since = match (asked.as_deref(), resumed) {
        // What was heard since the request was first made counts for more.
        (_, Some(text)) if !text.is_empty() => {
            Since::Id(text.trim_matches('"').parse().map_err(|_| {
                bad("Last-Event-ID or If-None-Match is not a message's id, EPOCH:OFFSET")
            })?)
        }
        (Some(text), _) => {
            parse_since(text).ok_or(bad("since is neither EPOCH:OFFSET, last:N nor all"))?
        }
        (None, _) => Since::Now,
    };
    let mutes_own = query(request, "self").is_some_and(|value| value == "0");
    Ok(Target { topic, since, mutes_own })
}

/// Whether a GET is a browser's that goes there, and not a program's that listens.
pub(crate) fn wants_page(request: &Request<'_>) -> bool {
    accepts(request, "text/html") && query(request, "wait").is_none()
}

/// Whether a request is answered with one of the server's pages, or a word on its health, and changes nothing.
pub(crate) fn sees_page(request: &Request<'_>) -> bool {
    matches!(request.method(), "GET" | "HEAD") && wants_page(request)
}

/// Whether Accept lists this media type, however willingly.
fn accepts(request: &Request<'_>, media_type: &str) -> bool {
    let names_it = |value: &[u8]| {
        value.split(|&byte| byte == b',').any(|it| {
            let name = it.split(|&byte| byte == b';').next().unwrap_or_default();
            name.trim_ascii().eq_ignore_ascii_case(media_type.as_bytes())
        })
    };
    request.headers("accept").any(names_it)
}

/// The transport that a GET asks for by its Accept header and `?wait=`.
pub(crate) fn transport(request: &Request<'_>) -> Transport {
    if accepts(request, "text/event-stream") {
        Transport::Events
    } else if accepts(request, "application/x-ndjson") && query(request, "wait").is_none() {
        Transport::Lines
    } else {
        let seconds = query(request, "wait").and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        Transport::Poll { wait_ms: seconds.min(WAIT_S_MAX).saturating_mul(1000) }
    }
}

/// Whether a body is a text message or a binary one; `None`: it says that it is text, and is not.
pub(crate) fn kind_of(request: &Request<'_>, body: &[u8]) -> Option<Kind> {
    let is_utf8 = str::from_utf8(body).is_ok();
    let Some(media_type) = request.header("content-type") else {
        return Some(if is_utf8 { Kind::Text } else { Kind::Binary });
    };
    let name = media_type.split(|&byte| byte == b';').next().unwrap_or_default();
    let name = name.trim_ascii().to_ascii_lowercase();
    // The last is what `curl -d` says of anything.
    let is_text = name.starts_with(b"text/")
        || name == b"application/json"
        || name == b"application/x-www-form-urlencoded";
    match (is_text, is_utf8) {
        (true, true) => Some(Kind::Text),
        (true, false) => None,
        (false, _) => Some(Kind::Binary),
    }
}

const fn bad(reason: &'static str) -> Refusal {
    Refusal { status: Status::BadRequest, reason }
}

fn parse_since(text: &str) -> Option<Since> {
    match text.split_once(':') {
        None if text == "all" => Some(Since::All),
        Some(("last", count)) => count.parse().ok().map(Since::Last),
        _ => text.parse::<MessageId>().ok().map(Since::Id),
    }
}

/// The value of the first parameter `name` of the query, decoded; one that can't be is none.
pub(crate) fn query(request: &Request<'_>, name: &str) -> Option<String> {
    request.query()?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| decode(value)).flatten()
    })
}

/// Undoes percent-encoding (RFC 3986 §2.1).
fn decode(text: &str) -> Option<String> {
    let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first == b'%' {
            let [high, low, behind @ ..] = rest else { return None };
            bytes.push(hex(*high)? << 4 | hex(*low)?);
            rest = behind;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The longest that a long-poll waits, in seconds.
const WAIT_S_MAX: u64 = 300;

#[cfg(test)]
mod tests {
    use wsfast::proto::handshake::HeadLimits;

    use super::*;

    #[test]
    fn targets_are_topics() {
        let target = |topic: &str, since, mutes_own| {
            Ok(Route::Topic(Target { topic: topic.into(), since, mutes_own }))
        };
        let id = Since::Id(MessageId { epoch: 0xAB, offset: 7 });
        for (path, lines, expected) in [
            ("/", "", Ok(Route::Root)),
            ("/?a", "", Ok(Route::Root)),
            ("/echo", "", Ok(Route::Echo)),
            ("/health", "", Ok(Route::Health)),
            ("/xxoo", "", target("xxoo", Since::Now, false)),
            ("/a/b%2Fc%20%C3%A9", "", target("a/b/c é", Since::Now, false)),
            ("/t?since=ab:7&self=0", "", target("t", id, true)),
            ("/t?self=1&since=ab%3A7", "", target("t", id, false)),
            ("/t?since=all", "", target("t", Since::All, false)),
            ("/t?since=last:10", "", target("t", Since::Last(10), false)),
            ("/t?since=all", "Last-Event-ID: ab:7\r\n", target("t", id, false)),
            ("/t", "If-None-Match: \"ab:7\"\r\n", target("t", id, false)),
            ("/t%zz", "", Err(Status::BadRequest)),
            ("/t%c3", "", Err(Status::BadRequest)),
            ("/t%0a", "", Err(Status::BadRequest)),
            ("/t?since=yesterday", "", Err(Status::BadRequest)),
            ("/t?since=last:x", "", Err(Status::BadRequest)),
            ("/t", "Last-Event-ID: 7\r\n", Err(Status::BadRequest)),
        ] {
            let routed = with_request(path, lines, route).map_err(|refusal| refusal.status);
            assert_eq!(routed, expected, "{path} {lines}");
        }
    }

    #[test]
    fn a_transport_is_asked_for_by_accept_and_wait() {
        let poll = |wait_ms| Transport::Poll { wait_ms };
        for (path, lines, expected) in [
            ("/t", "", poll(0)),
            ("/t?wait=25", "", poll(25_000)),
            ("/t?wait=9999", "", poll(300_000)),
            ("/t?wait=x", "", poll(0)),
            ("/t?wait=1", "Accept: application/x-ndjson\r\n", poll(1000)),
            ("/t", "Accept: application/x-ndjson\r\n", Transport::Lines),
            ("/t", "Accept: text/html, Text/Event-Stream;q=0.9\r\n", Transport::Events),
        ] {
            assert_eq!(with_request(path, lines, transport), expected, "{path} {lines}");
        }
    }

    #[test]
    fn a_body_is_what_its_type_says() {
        for (content_type, body, expected) in [
            ("", &b"hi"[..], Some(Kind::Text)),
            ("", b"\xFF", Some(Kind::Binary)),
            ("Content-Type: text/plain; charset=utf-8\r\n", b"hi", Some(Kind::Text)),
            ("Content-Type: text/plain\r\n", b"\xFF", None),
            ("Content-Type: application/json\r\n", b"{}", Some(Kind::Text)),
            ("Content-Type: application/x-www-form-urlencoded\r\n", b"hi", Some(Kind::Text)),
            ("Content-Type: application/octet-stream\r\n", b"hi", Some(Kind::Binary)),
        ] {
            let kind = with_request("/t", content_type, |request| kind_of(request, body));
            assert_eq!(kind, expected, "{content_type}");
        }
    }

    fn with_request<T>(path: &str, lines: &str, read: impl FnOnce(&Request<'_>) -> T) -> T {
        let head = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        read(&Request::parse(head.as_bytes(), &HeadLimits::default()).unwrap())
    }
}
