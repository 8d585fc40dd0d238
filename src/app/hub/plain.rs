//! The dialects that need no library: bare WebSocket messages, those with a header (`wsfast.meta`), server-sent events, and
//! JSON lines, which long-poll responses are made of, too.
//!
//! | form | a message | a gap |
//! |---|---|---|
//! | bare | its payload | (Close 1013) |
//! | meta | `id: EPOCH:OFFSET`, a blank line, the payload | `gap: {"from":..,"to":..,"lost":..}`, a blank line |
//! | SSE | `id:`, a `data:` for each line; binary is `event: binary` in base64 | `event: gap`, its `id:` the last that is lost |
//! | lines | `{"id":..,"text":..}` or `{"id":..,"base64":..}` | `{"gap":{"from":..,"to":..,"lost":..}}` |
//!
//! `lost` is null where nobody knows: a client named a place of another life of the topic, or of its future.

#![deny(clippy::arithmetic_side_effects)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wsfast::Lag;
use wsfast::{Form, Framing, Gap, Kind, StatusCode, TopicMessage};

use crate::app::terms::json_text::{escaped_len, push_escaped};

/// The payload and nothing else.
pub(crate) const BARE: Form = Form { id: 0, framing: Framing::Message };
/// The subprotocol `wsfast.meta`.
pub(crate) const META: Form = Form { id: 1, framing: Framing::Message };
/// Server-sent events (HTML §9.2).
pub(crate) const EVENTS: Form = Form { id: EVENTS_ID, framing: Framing::Bytes };
/// JSON lines, streamed.
pub(crate) const LINES: Form = Form { id: LINES_ID, framing: Framing::Bytes };
/// JSON lines, as many as there are: the same bytes.
pub(crate) const POLL: Form = Form { id: LINES_ID, framing: Framing::Response };

const EVENTS_ID: u8 = 2;
const LINES_ID: u8 = 3;

/// Writes a message in one of the forms above.
pub(crate) fn encode(form: Form, message: TopicMessage<'_>, out: &mut Vec<u8>) -> Kind {
    match form {
        META => {
            out.extend_from_slice(format!("id: {}\n\n", message.id).as_bytes());
            out.extend_from_slice(message.payload);
            message.kind
        }
        EVENTS | LINES | POLL => {
            encode_whole(form, message, out);
            Kind::Text
        }
        _ => {
            out.extend_from_slice(message.payload);
            message.kind
        }
    }
}

/// Tells a gap in one of the forms above.
pub(crate) fn encode_gap(form: Form, gap: Gap, out: &mut Vec<u8>) -> Lag {
    let lost = gap.lost().map_or_else(|| "null".to_owned(), |lost| lost.to_string());
    let json = format!(r#"{{"from":"{}","to":"{}","lost":{lost}}}"#, gap.from, gap.to);
    let notice = match form {
        META => format!("gap: {json}\n\n"),
        EVENTS => format!("id: {}\nevent: gap\ndata: {json}\n\n", gap.to),
        LINES | POLL => format!("{{\"gap\":{json}}}\n"),
        _ => {
            let reason = match gap.lost() {
                Some(_) => format!("too slow; go on with ?since={}", gap.from),
                // A client that came back with this place would be told the same again.
                None => format!("nothing is known of {}; go on with ?since={}", gap.from, gap.to),
            };
            return Lag::Close(StatusCode::TRY_AGAIN_LATER, reason);
        }
    };
    out.extend_from_slice(notice.as_bytes());
    Lag::Told(Kind::Text)
}

/// What is sent on a stream when nothing else was for a while.
pub(crate) const fn keep_alive(form: Form) -> &'static [u8] {
    if form.id == EVENTS_ID { b":\n\n" } else { b"\n" }
}

/// A part of a message's payload, and where in it.
struct Part<'m> {
    message: TopicMessage<'m>,
    bytes: &'m [u8],
    is_first: bool,
    is_last: bool,
}

/// Writes a part of a message in one of the forms of streams and responses: what comes of its payload from byte `at` on. Where
/// the next part begins.
#[expect(clippy::arithmetic_side_effects, reason = "sums over what is in memory")]
pub(crate) fn encode_part(
    form: Form,
    message: TopicMessage<'_>,
    at: usize,
    out: &mut Vec<u8>,
) -> usize {
    let TopicMessage { kind, payload, .. } = message;
    let mut end = at + part_len(form, kind, &payload[at..]);
    // They end one line together.
    if kind == Kind::Text && payload[at..end].ends_with(b"\r") && payload.get(end) == Some(&b'\n') {
        end += 1;
    }
    let (is_first, is_last) = (at == 0, end == payload.len());
    let part = Part { message, bytes: &payload[at..end], is_first, is_last };
    match form.id {
        EVENTS_ID => encode_event(&part, out),
        _ => encode_line(&part, out),
    }
    end
}

/// How many bytes `encode` writes, at most about.
#[expect(clippy::arithmetic_side_effects, reason = "sums over what is in memory")]
pub(crate) fn encoded_len(form: Form, message: TopicMessage<'_>) -> usize {
    data_len(form, message.kind, message.payload) + MARKS_BYTES
}

/// What bytes of a payload are written as, in bytes.
#[expect(clippy::arithmetic_side_effects, reason = "sums over what is in memory")]
fn data_len(form: Form, kind: Kind, bytes: &[u8]) -> usize {
    match (form.id, kind) {
        (EVENTS_ID | LINES_ID, Kind::Binary) => bytes.len().div_ceil(3) * 4,
        (EVENTS_ID, Kind::Text) => bytes.len() + count_lines(bytes) * "data: ".len(),
        (LINES_ID, Kind::Text) => escaped_len(bytes),
        _ => bytes.len(),
    }
}

/// How much of what is left of a payload the next part has: less of what becomes much more.
fn part_len(form: Form, kind: Kind, rest: &[u8]) -> usize {
    let part = &rest[..rest.len().min(PART_BYTES)];
    let expands = data_len(form, kind, part) > PART_BYTES / 2 * 3;
    part.len().min(if expands { EXPANDING_PART_BYTES } else { PART_BYTES })
}

fn encode_whole(form: Form, message: TopicMessage<'_>, out: &mut Vec<u8>) {
    out.reserve(encoded_len(form, message));
    let mut at = encode_part(form, message, 0, out);
    while at < message.payload.len() {
        at = encode_part(form, message, at, out);
    }
}

fn encode_event(part: &Part<'_>, out: &mut Vec<u8>) {
    let message = part.message;
    if part.is_first {
        let kind = if message.kind == Kind::Binary { "event: binary\n" } else { "" };
        out.extend_from_slice(format!("id: {}\n{kind}data: ", message.id).as_bytes());
    }
    match message.kind {
        Kind::Binary => push_base64(out, part.bytes),
        Kind::Text => push_lines(out, part.bytes),
    }
    if part.is_last {
        out.extend_from_slice(b"\n\n");
    }
}

/// Begins a line of data behind each CR, LF or CRLF: all end a line (HTML §9.2.6).
#[expect(clippy::arithmetic_side_effects, reason = "sums over what is in memory")]
fn push_lines(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(end) = memchr::memchr2(b'\r', b'\n', rest) {
        out.extend_from_slice(&rest[..end]);
        out.extend_from_slice(b"\ndata: ");
        let len = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + len..];
    }
    out.extend_from_slice(rest);
}

fn count_lines(text: &[u8]) -> usize {
    memchr::memchr2_iter(b'\r', b'\n', text).count()
}

fn encode_line(part: &Part<'_>, out: &mut Vec<u8>) {
    let message = part.message;
    if part.is_first {
        let kind = if message.kind == Kind::Binary { "base64" } else { "text" };
        out.extend_from_slice(format!("{{\"id\":\"{}\",\"{kind}\":\"", message.id).as_bytes());
    }
    match message.kind {
        Kind::Binary => push_base64(out, part.bytes),
        Kind::Text => push_escaped(out, part.bytes),
    }
    if part.is_last {
        out.extend_from_slice(b"\"}\n");
    }
}

/// Without a copy of the text.
#[expect(clippy::arithmetic_side_effects, reason = "sums over what is in memory")]
fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]);
    debug_assert_eq!(written, Ok(out.len() - start));
}

/// What a part has of a payload: a number of bytes that base64 makes four of three of, without a rest. Whoever takes nothing has one
/// part kept for it, and of those readers there may be thousands.
const PART_BYTES: usize = 12 * 1024;

/// The same where it becomes more than half as much again: up to seven times as much.
const EXPANDING_PART_BYTES: usize = 2 * 1023;

/// What stands around a payload in any form.
const MARKS_BYTES: usize = 80;

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test that wraps panics")]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use wsfast::MessageId;

    use super::*;

    #[test]
    fn each_form_is_written_as_its_clients_read_it() {
        let text = (Kind::Text, &b"one\r\ntwo\n\"three\"\x01"[..]);
        let binary = (Kind::Binary, &[0xFF, 0][..]);
        for (form, (kind, payload), expected) in [
            (BARE, text, "one\r\ntwo\n\"three\"\x01"),
            (META, text, "id: e:7\n\none\r\ntwo\n\"three\"\x01"),
            (EVENTS, text, "id: e:7\ndata: one\ndata: two\ndata: \"three\"\x01\n\n"),
            (EVENTS, (Kind::Text, b""), "id: e:7\ndata: \n\n"),
            (EVENTS, (Kind::Text, b"\n\r"), "id: e:7\ndata: \ndata: \ndata: \n\n"),
            (EVENTS, binary, "id: e:7\nevent: binary\ndata: /wA=\n\n"),
            (LINES, text, "{\"id\":\"e:7\",\"text\":\"one\\r\\ntwo\\n\\\"three\\\"\\u0001\"}\n"),
            (POLL, binary, "{\"id\":\"e:7\",\"base64\":\"/wA=\"}\n"),
        ] {
            let id = MessageId { epoch: 14, offset: 7 };
            let mut out = Vec::new();
            let _kind = encode(form, TopicMessage { topic: "t", id, kind, payload }, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{form:?}");
        }
    }

    proptest! {
        /// A long message's parts come to what it is as a whole, written by std alone; no more than it was said to take.
        #[test]
        fn parts_come_to_the_whole(
            runs in vec(("[a-z\r\n\"\\\\\x01]{1,8}", 1usize..20_000), 1..12),
            is_binary in any::<bool>(),
        ) {
            let text: String = runs.iter().map(|(run, times)| run.repeat(*times / 4 + 1)).collect();
            let kind = if is_binary { Kind::Binary } else { Kind::Text };
            let id = MessageId { epoch: 14, offset: 7 };
            let message = TopicMessage { topic: "t", id, kind, payload: text.as_bytes() };
            for form in [EVENTS, LINES] {
                let (mut parts, mut at) = (Vec::new(), 0);
                while at < text.len() || at == 0 {
                    let before = parts.len();
                    at = encode_part(form, message, at, &mut parts);
                    prop_assert!(parts.len() - before <= 18 * 1024 + 100);
                }
                let len = encoded_len(form, message);
                // CRLF counts for two.
                prop_assert!(parts.len() <= len && len <= 2 * parts.len() + 100);
                prop_assert_eq!(&parts, &naive(form, message).into_bytes());
                let mut whole = Vec::new();
                let _kind = encode(form, message, &mut whole);
                prop_assert_eq!(parts, whole);
            }
        }
    }

    fn naive(form: Form, message: TopicMessage<'_>) -> String {
        let text = str::from_utf8(message.payload).unwrap();
        let base64 = STANDARD.encode(text);
        match (form == EVENTS, message.kind) {
            (true, Kind::Binary) => format!("id: e:7\nevent: binary\ndata: {base64}\n\n"),
            (true, Kind::Text) => {
                let lines = text.replace("\r\n", "\n").replace('\r', "\n");
                format!("id: e:7\ndata: {}\n\n", lines.replace('\n', "\ndata: "))
            }
            (false, Kind::Binary) => format!("{{\"id\":\"e:7\",\"base64\":\"{base64}\"}}\n"),
            (false, Kind::Text) => {
                let text = serde_json::to_string(text).unwrap();
                format!("{{\"id\":\"e:7\",\"text\":{text}}}\n")
            }
        }
    }

    #[test]
    fn a_gap_is_told_where_there_is_a_way() {
        let id = |epoch, offset| MessageId { epoch, offset };
        let gap = Gap { from: id(14, 3), to: id(14, 9) };
        for (form, gap, expected) in [
            (META, gap, "gap: {\"from\":\"e:3\",\"to\":\"e:9\",\"lost\":6}\n\n"),
            (
                EVENTS,
                gap,
                "id: e:9\nevent: gap\ndata: {\"from\":\"e:3\",\"to\":\"e:9\",\"lost\":6}\n\n",
            ),
            (
                META,
                Gap { from: id(14, u64::MAX), ..gap },
                "gap: {\"from\":\"e:18446744073709551615\",\"to\":\"e:9\",\"lost\":null}\n\n",
            ),
            (
                LINES,
                Gap { from: id(1, 3), ..gap },
                "{\"gap\":{\"from\":\"1:3\",\"to\":\"e:9\",\"lost\":null}}\n",
            ),
        ] {
            let mut out = Vec::new();
            assert_eq!(encode_gap(form, gap, &mut out), Lag::Told(Kind::Text));
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let far = MessageId { epoch: u64::MAX, offset: u64::MAX };
        for (gap, reason) in [
            (gap, "too slow; go on with ?since=e:3"),
            (Gap { from: id(14, 12), ..gap }, "nothing is known of e:12; go on with ?since=e:9"),
            (
                Gap { from: far, to: MessageId { epoch: u64::MAX - 1, ..far } },
                "nothing is known of ffffffffffffffff:18446744073709551615; \
                 go on with ?since=fffffffffffffffe:18446744073709551615",
            ),
        ] {
            let told = encode_gap(BARE, gap, &mut Vec::new());
            assert_eq!(told, Lag::Close(StatusCode::TRY_AGAIN_LATER, reason.to_owned()));
            assert!(reason.len() <= 123, "a Close frame has room for no more");
        }
    }
}
