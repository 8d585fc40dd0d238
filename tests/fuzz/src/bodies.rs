//! Requests with bodies, one behind the other, and what they ask for: a naive reading of the same lines finds the same bodies,
//! targets, transports and kinds; and where the bytes end so far changes nothing of what was read.
//!
//! Whether a body is gathered in time and within its limit is the server's, and not looked at here.

use wsfast::proto::handshake::{BodyLength, HeadLimits, HeadScan, Request};
use wsfast::{Kind, MessageId, Since};

use super::naive_request;
use super::route::{Route, Transport, kind_of, route, transport};

/// Checks it, as what one connection brings.
pub fn check(bytes: &[u8]) {
    let whole = read(bytes);
    for len in 0..bytes.len().min(400) {
        let part = read(&bytes[..len]);
        assert!(whole.starts_with(&part), "cut at {len}");
    }
    for range in whole {
        let (head_len, request) = (range.head_end - range.start, &bytes[range.start..range.end]);
        means_the_same(&request[..head_len], &request[head_len..]);
    }
}

/// Where a request lies.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    start: usize,
    head_end: usize,
    end: usize,
}

/// As the server reads: up to what is not whole, or is refused.
fn read(bytes: &[u8]) -> Vec<Range> {
    let limits = HeadLimits::default();
    let (mut ranges, mut start) = (Vec::new(), 0);
    while let Ok(Some(head_len)) = HeadScan::new().scan(&bytes[start..], &limits) {
        let head_end = start + head_len;
        let Ok(request) = Request::parse(&bytes[start..head_end], &limits) else { break };
        let body_len = match request.body_length() {
            BodyLength::None => 0,
            BodyLength::Bytes(len) => len,
            BodyLength::Chunked => break,
        };
        let end = usize::try_from(body_len).ok().and_then(|len| head_end.checked_add(len));
        let Some(end) = end.filter(|&end| end <= bytes.len()) else { break };
        ranges.push(Range { start, head_end, end });
        start = end;
    }
    ranges
}

/// What a head's lines ask for.
struct Naive(naive_request::Naive);

impl Naive {
    fn of(head: &[u8]) -> Self {
        Self(naive_request::Naive::of(head).expect("it was read"))
    }

    /// The first value under `name`, if it is UTF-8.
    fn text(&self, name: &str) -> Option<String> {
        // One character a byte, as they were read.
        let bytes = self.0.all(name).first()?.chars().map(|byte| byte as u8).collect();
        String::from_utf8(bytes).ok()
    }

    /// Path and query.
    fn path(&self) -> (&str, Option<&str>) {
        let local = match self.0.target.split_once("://") {
            // A target that starts with a slash may hold anything behind it.
            Some((_, rest)) if !self.0.target.starts_with('/') => {
                rest.find(['/', '?']).map_or("", |at| &rest[at..])
            }
            _ => &*self.0.target,
        };
        match local.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (local, None),
        }
    }

    fn query(&self, name: &str) -> Option<String> {
        let pairs = self.path().1?.split('&');
        let values = pairs.filter_map(|pair| match pair.split_once('=') {
            Some((key, value)) => (key == name).then_some(value),
            None => (pair == name).then_some(""),
        });
        values.filter_map(decoded).next()
    }

    fn accepts(&self, media_type: &str) -> bool {
        let listed = self.0.all("accept").join(",").to_ascii_lowercase();
        let names = listed.split(',').filter_map(|it| it.split(';').next());
        names.map(|name| name.trim_matches(is_space)).any(|name| name == media_type)
    }

    fn since(&self) -> Option<Since> {
        let resumed = self.text("last-event-id").or_else(|| self.text("if-none-match"));
        if let Some(text) = resumed.filter(|text| !text.is_empty()) {
            return message_id(text.trim_matches('"')).map(Since::Id);
        }
        let Some(text) = self.query("since") else { return Some(Since::Now) };
        match text.strip_prefix("last:") {
            _ if text == "all" => Some(Since::All),
            Some(count) => count.parse().ok().map(Since::Last),
            None => message_id(&text).map(Since::Id),
        }
    }
}

fn means_the_same(head: &[u8], body: &[u8]) {
    let request = Request::parse(head, &HeadLimits::default()).expect("it was read");
    let naive = Naive::of(head);
    let length = naive.text("content-length");
    assert_eq!(length.as_deref().unwrap_or("0").parse(), Ok(body.len()));
    assert!(
        naive.0.all("transfer-encoding").is_empty() && naive.0.all("content-length").len() <= 1
    );

    let name = naive.path().0.strip_prefix('/').unwrap_or_default();
    match route(&request) {
        Ok(Route::Root) => assert!(name.is_empty()),
        Ok(Route::Echo) => assert_eq!(name, "echo"),
        Ok(Route::Health) => assert_eq!(name, "health"),
        Ok(Route::Centrifugo) => assert_eq!(name, "connection/websocket"),
        Ok(Route::Api(method)) => assert_eq!(name, ["api/", &method].concat()),
        Ok(Route::Topic(target)) => {
            assert_eq!(Some(&target.topic), decoded(name).as_ref());
            assert!((1..=255).contains(&target.topic.len()));
            assert!(!target.topic.chars().any(char::is_control));
            assert_eq!(Some(target.since), naive.since());
            assert_eq!(target.mutes_own, naive.query("self").as_deref() == Some("0"));
        }
        Err(_) => {
            let is_name = decoded(name).is_some_and(|name| {
                (1..=255).contains(&name.len()) && !name.chars().any(char::is_control)
            });
            assert!(!is_name || naive.since().is_none(), "it makes sense");
        }
    }
    let wait = naive.query("wait");
    let expected = match (naive.accepts("text/event-stream"), &wait) {
        (true, _) => Transport::Events,
        (false, None) if naive.accepts("application/x-ndjson") => Transport::Lines,
        (false, wait) => {
            let seconds = wait.as_ref().and_then(|text| text.parse().ok()).unwrap_or(0_u64);
            Transport::Poll { wait_ms: seconds.min(300) * 1000 }
        }
    };
    assert_eq!(transport(&request), expected);
    assert_eq!(kind_of(&request, body), naive_kind(naive.0.all("content-type").first(), body));
}

fn naive_kind(media_type: Option<&&str>, body: &[u8]) -> Option<Kind> {
    let is_utf8 = std::str::from_utf8(body).is_ok();
    let Some(media_type) = media_type else {
        return Some(if is_utf8 { Kind::Text } else { Kind::Binary });
    };
    let name = media_type.split(';').next().unwrap_or_default();
    let name = name.trim_matches(is_space).to_ascii_lowercase();
    let is_text = ["application/json", "application/x-www-form-urlencoded"].contains(&&*name);
    match is_text || name.starts_with("text/") {
        false => Some(Kind::Binary),
        true if is_utf8 => Some(Kind::Text),
        true => None,
    }
}

/// EPOCH in hexadecimal digits, OFFSET in decimal ones.
pub(crate) fn message_id(text: &str) -> Option<MessageId> {
    let (epoch, offset) = text.split_once(':')?;
    let mut id = MessageId { epoch: 0, offset: 0 };
    for (digits, radix, number) in [(epoch, 16, &mut id.epoch), (offset, 10, &mut id.offset)] {
        if digits.is_empty() {
            return None;
        }
        for digit in digits.chars() {
            let digit = digit.to_digit(radix)?;
            *number = number.checked_mul(radix.into())?.checked_add(digit.into())?;
        }
    }
    Some(id)
}

/// Each `%` with its two digits as the byte that they stand for.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = (part.get(..2)?, part.get(2..)?);
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn is_space(character: char) -> bool {
    character.is_ascii_whitespace()
}
