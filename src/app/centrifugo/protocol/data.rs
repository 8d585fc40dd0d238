//! Payloads inside of JSON: what becomes of a message that did not come as JSON, and of JSON on its way into a line.
//!
//! A topic's messages come from anywhere: clients of this protocol, bare WebSockets, POST. Whatever they are, clients of this
//! protocol get them as one JSON value, and hear from its form what it was:
//!
//! - text that is JSON: as it is (with line feeds, which only stand between its tokens, turned to spaces, since a line
//!   feed ends a reply);
//! - other text: as a string;
//! - binary: as a string, `data:application/octet-stream;base64,…` (RFC 2397), which browsers' `fetch` decodes.
//!
//! Decides for one message; to decide it once for all of a topic's subscribers is up to the caller.

use std::ops::Range;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use wsfast::Kind;

use super::json::Reader;
use crate::app::terms::json_text::{escaped_len, push_escaped};

/// A payload, and the form in which it goes into JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Data<'m> {
    /// JSON, and known to be; what [`super::command::Request::Publish`] has.
    Json(&'m [u8]),
    /// UTF-8 that is not JSON.
    Text(&'m [u8]),
    /// Anything.
    Binary(&'m [u8]),
}

impl<'m> Data<'m> {
    /// The form for a message of which no more is known than its kind. Text must be UTF-8, as messages' text is.
    ///
    /// Most text that is not JSON shows it in its first byte; only the rest is parsed. JSON past the reader's limits goes as a
    /// string, so that nothing deeper reaches a client than it could have sent.
    pub(crate) fn of(kind: Kind, payload: &'m [u8], reader: &mut Reader) -> Self {
        match kind {
            Kind::Binary => Self::Binary(payload),
            Kind::Text if may_be_json(payload) && reader.accepts(payload) => Self::Json(payload),
            Kind::Text => Self::Text(payload),
        }
    }

    /// How many bytes it takes as a JSON value.
    pub(crate) fn encoded_len(self) -> usize {
        match self {
            Self::Json(json) => json.len(),
            Self::Text(text) => escaped_len(text).saturating_add(2),
            Self::Binary(bytes) => {
                let marker = BINARY_MARKER.len().saturating_add(1);
                base64_len(bytes).saturating_add(marker)
            }
        }
    }

    /// Bytes of the payload.
    pub(crate) const fn len(self) -> usize {
        match self {
            Self::Json(bytes) | Self::Text(bytes) | Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Appends a part of it as one JSON value without a line feed: what comes of those bytes of the payload, with what precedes the first and follows the last
    /// of them. A part that is not the last ends at a multiple of three bytes.
    pub(crate) fn encode_part(self, part: Range<usize>, out: &mut Vec<u8>) {
        let (is_first, is_last) = (part.start == 0, part.end == self.len());
        match self {
            Self::Json(json) => one_line(out, &json[part]),
            Self::Text(text) => {
                out.extend_from_slice(if is_first { b"\"" } else { b"" });
                push_escaped(out, &text[part]);
                out.extend_from_slice(if is_last { b"\"" } else { b"" });
            }
            Self::Binary(bytes) => {
                out.extend_from_slice(if is_first { BINARY_MARKER } else { b"" });
                base64(out, &bytes[part]);
                out.extend_from_slice(if is_last { b"\"" } else { b"" });
            }
        }
    }
}

/// What the string of a binary message begins with, and its quote.
const BINARY_MARKER: &[u8] = b"\"data:application/octet-stream;base64,";

/// In JSON, a bare line feed can only be white space: in strings it must be escaped.
fn one_line(out: &mut Vec<u8>, json: &[u8]) {
    let start = out.len();
    out.extend_from_slice(json);
    let mut rest = &mut out[start..];
    while let Some(at) = memchr::memchr(b'\n', rest) {
        rest[at] = b' ';
        rest = &mut rest[at..][1..];
    }
}

const fn base64_len(bytes: &[u8]) -> usize {
    bytes.len().div_ceil(3).saturating_mul(4)
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    let len = base64_len(bytes);
    out.resize(start.saturating_add(len), 0);
    let written = BASE64_STANDARD.encode_slice(bytes, &mut out[start..]);
    debug_assert_eq!(written, Ok(len));
}

/// Whether the first byte that is not white space can begin a JSON value.
fn may_be_json(text: &[u8]) -> bool {
    matches!(
        text.trim_ascii_start().first(),
        Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n')
    )
}

#[cfg(test)]
mod tests {
    use super::super::json::JsonLimits;
    use super::*;

    #[test]
    fn the_form_follows_from_kind_and_text() {
        use Kind::{Binary, Text};
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        let deep_as_string = format!("\"{deep}\"");
        let table: [(Kind, &[u8], &[u8]); 26] = [
            (Text, b"{\"n\": 1.50}", b"{\"n\": 1.50}"),
            (Text, b" [1,\t2] ", b" [1,\t2] "),
            (
                Text,
                b"{\n  \"n\": 1,\r\n  \"s\": \"\\n\"\n}\n",
                b"{   \"n\": 1,\r   \"s\": \"\\n\" } ",
            ),
            (Text, b"12345678901234567890123", b"12345678901234567890123"),
            (Text, b"-0.0", b"-0.0"),
            (Text, b"true", b"true"),
            (Text, b"null", b"null"),
            (Text, b"\"quoted\"", b"\"quoted\""),
            (Text, b"", b"\"\""),
            (Text, b" ", b"\" \""),
            (Text, b"hello", b"\"hello\""),
            (Text, b"nothing", b"\"nothing\""),
            (Text, b"1 2", b"\"1 2\""),
            (Text, b"1e999", b"1e999"),
            (Text, b"\"\\ud83d\"", b"\"\\ud83d\""),
            (Text, b"1\x0c", b"\"1\\f\""),
            (Text, b"{\"n\":1", b"\"{\\\"n\\\":1\""),
            (Text, b"{\"n\":1}\n{\"n\":2}", b"\"{\\\"n\\\":1}\\n{\\\"n\\\":2}\""),
            (Text, b"01", b"\"01\""),
            (Text, b"\xc3\xa4\x01\x7f", b"\"\xc3\xa4\\u0001\x7f\""),
            (Text, deep.as_bytes(), deep_as_string.as_bytes()),
            (Text, &deep.as_bytes()[1..129], &deep.as_bytes()[1..129]),
            (Binary, b"", b"\"data:application/octet-stream;base64,\""),
            (Binary, b"1", b"\"data:application/octet-stream;base64,MQ==\""),
            (Binary, b"\x00\xff\xfe", b"\"data:application/octet-stream;base64,AP/+\""),
            (Binary, b"{\"n\":1}", b"\"data:application/octet-stream;base64,eyJuIjoxfQ==\""),
        ];
        let mut reader = Reader::new(JsonLimits::default());
        for (kind, payload, expected) in table {
            let mut out = b"{\"data\":".to_vec();
            let data = Data::of(kind, payload, &mut reader);
            data.encode_part(0..data.len(), &mut out);
            let encoded = &out[b"{\"data\":".len()..];
            assert_eq!(encoded.len(), data.encoded_len());
            assert_eq!(encoded, expected, "{}", payload.escape_ascii());
            let (mut parts, mut at) = (Vec::new(), 0);
            while at < payload.len() {
                let end = payload.len().min(at + 6);
                data.encode_part(at..end, &mut parts);
                at = end;
            }
            assert!(payload.is_empty() || parts == encoded, "{}", parts.escape_ascii());
            let value: Result<&serde_json::value::RawValue, _> = serde_json::from_slice(encoded);
            assert!(value.is_ok() && !encoded.contains(&b'\n'), "{}", encoded.escape_ascii());
        }
    }
}
