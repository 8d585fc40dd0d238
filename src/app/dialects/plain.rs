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

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wsfast::Lag;
use wsfast::{Form, Framing, Gap, Kind, StatusCode, TopicMessage};

/// The payload and nothing else.
pub(crate) const BARE: Form = Form { id: 0, framing: Framing::Message };
/// The subprotocol `wsfast.meta`.
pub(crate) const META: Form = Form { id: 1, framing: Framing::Message };
/// Server-sent events (HTML §9.2).
pub(crate) const EVENTS: Form = Form { id: 2, framing: Framing::Bytes };
/// JSON lines, streamed.
pub(crate) const LINES: Form = Form { id: 3, framing: Framing::Bytes };
/// JSON lines, as many as there are.
pub(crate) const POLL: Form = Form { id: 4, framing: Framing::Response };

/// Writes a message in one of the forms above.
pub(crate) fn encode(form: Form, message: TopicMessage<'_>, out: &mut Vec<u8>) -> Kind {
    match form {
        META => {
            out.extend_from_slice(format!("id: {}\n\n", message.id).as_bytes());
            out.extend_from_slice(message.payload);
            message.kind
        }
        EVENTS => {
            encode_event(message, out);
            Kind::Text
        }
        LINES | POLL => {
            encode_line(message, out);
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
    if form.id == EVENTS.id { b":\n\n" } else { b"\n" }
}

fn encode_event(message: TopicMessage<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("id: {}\n", message.id).as_bytes());
    match message.kind {
        Kind::Binary => {
            let text = STANDARD.encode(message.payload);
            out.extend_from_slice(format!("event: binary\ndata: {text}\n").as_bytes());
        }
        Kind::Text => {
            // CR, LF and CRLF all end a line (HTML §9.2.6).
            let mut rest = message.payload;
            loop {
                let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
                out.push(b'\n');
                let Some(end) = end else { break };
                // CRLF is one end.
                let behind = &rest[end..];
                rest = behind.strip_prefix(b"\r\n").unwrap_or(&behind[1..]);
            }
        }
    }
    out.push(b'\n');
}

fn encode_line(message: TopicMessage<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(format!(r#"{{"id":"{}","#, message.id).as_bytes());
    match message.kind {
        Kind::Binary => {
            let text = STANDARD.encode(message.payload);
            out.extend_from_slice(format!(r#""base64":"{text}""#).as_bytes());
        }
        Kind::Text => {
            out.extend_from_slice(br#""text":"#);
            encode_string(message.payload, out);
        }
    }
    out.extend_from_slice(b"}\n");
}

/// A JSON string (RFC 8259 §7); `text` is UTF-8.
pub(crate) fn encode_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
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
