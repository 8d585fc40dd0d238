//! Header lines (RFC 9112 §5) and the values that requests and responses share.
//!
//! Parses nothing before the head is whole, and knows no header by name.

use crate::proto::handshake::error::HandshakeError;

/// The header lines of one head, in order.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    lines: Vec<httparse::Header<'a>>,
}

impl<'a> Fields<'a> {
    /// Parses `block`: everything behind the first line, through the blank line and no further.
    ///
    /// Refuses what httparse forgives in a line's end; httparse refuses the rest.
    pub(crate) fn parse(block: &'a [u8], headers_max: usize) -> Result<Self, HandshakeError> {
        let mut lines_count = 0_usize;
        let mut before = None;
        for at in memchr::memchr_iter(b'\n', block) {
            if at.checked_sub(1).and_then(|at| block.get(at)) != Some(&b'\r') {
                return Err(HandshakeError::BareLf);
            }
            lines_count = lines_count.saturating_add(1);
            before = Some(at);
        }
        if before != block.len().checked_sub(1) {
            return Err(HandshakeError::HeadNotWhole);
        }
        // The last line is the blank one.
        let headers_count = lines_count.saturating_sub(1);
        if headers_count > headers_max {
            return Err(HandshakeError::TooManyHeaders);
        }
        let mut lines = vec![httparse::EMPTY_HEADER; headers_count];
        match httparse::parse_headers(block, &mut lines) {
            Ok(httparse::Status::Complete((len, parsed)))
                if len == block.len() && parsed.len() == headers_count =>
            {
                Ok(Self { lines })
            }
            Ok(_) | Err(httparse::Error::TooManyHeaders) => Err(HandshakeError::HeadNotWhole),
            Err(httparse::Error::NewLine) => Err(HandshakeError::BareCr),
            Err(httparse::Error::HeaderValue) => Err(HandshakeError::HeaderValueInvalid),
            Err(
                httparse::Error::HeaderName
                | httparse::Error::Status
                | httparse::Error::Token
                | httparse::Error::Version,
            ) => Err(HandshakeError::HeaderNameInvalid),
        }
    }

    /// All values under `name`, in order.
    pub(crate) fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        self.lines
            .iter()
            .filter(move |line| line.name.eq_ignore_ascii_case(name))
            .map(|line| line.value)
    }

    /// All names, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.lines.iter().map(|line| line.name)
    }

    /// The only value under `name`; `duplicate` if there are more.
    pub(crate) fn single(
        &self,
        name: &str,
        duplicate: HandshakeError,
    ) -> Result<Option<&'a [u8]>, HandshakeError> {
        let mut values = self.values(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(duplicate),
        }
    }
}

/// `text` as a string, if it is all printable ASCII, the space included.
pub(crate) fn printable(text: &[u8]) -> Option<&str> {
    if !text.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return None;
    }
    str::from_utf8(text).ok()
}

/// `text` as a host with an optional port, if it is one (RFC 3986 §3.2.2, §3.2.3, without user information).
pub(crate) fn authority(text: &[u8]) -> Option<&str> {
    let after_host = if let Some(bracketed) = text.strip_prefix(b"[") {
        let end = bracketed.iter().position(|&byte| byte == b']')?;
        let is_ip6 = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        if end == 0 || !bracketed[..end].iter().all(is_ip6) {
            return None;
        }
        &bracketed[end..][1..]
    } else {
        let end = text.iter().position(|&byte| !is_reg_name(byte)).unwrap_or(text.len());
        &text[end..]
    };
    match after_host {
        [] => {}
        [b':', port @ ..] if port.len() <= 5 && port.iter().all(u8::is_ascii_digit) => {}
        _ => return None,
    }
    str::from_utf8(text).ok()
}

/// Whether `byte` may stand in a registered name (RFC 3986 §3.2.2).
const fn is_reg_name(byte: u8) -> bool {
    matches!(byte,
        b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may fail")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::handshake::{HeadLimits, HeadScan, Request, list};

    proptest! {
        /// Long enough for every width that httparse reads at once.
        #[test]
        fn a_line_parses_if_each_of_its_bytes_may_stand_there(
            mut name in "[a-zA-Z0-9-]{0,70}",
            mut value in proptest::collection::vec(prop_oneof![9 => b' '..=b'~', 1 => any::<u8>()], 0..140),
            odd in proptest::option::of((any::<prop::sample::Index>(), 0_u8..0x80)),
        ) {
            value.retain(|byte| !matches!(byte, b'\r' | b'\n'));
            if let Some((at, byte)) = odd && !matches!(byte, b'\r' | b'\n' | b':') {
                name.insert(at.index(name.len() + 1), char::from(byte));
            }
            let block = [name.as_bytes(), b":", &value, b"\r\nLast: x\r\n\r\n"].concat();
            let is_text = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
            match Fields::parse(&block, 2) {
                Err(HandshakeError::HeaderNameInvalid) => {
                    prop_assert_eq!(list::token(name.as_bytes()), None);
                }
                Err(error) => {
                    prop_assert_eq!(error, HandshakeError::HeaderValueInvalid);
                    prop_assert!(!value.iter().all(is_text));
                }
                Ok(fields) => {
                    prop_assert_eq!(list::token(name.as_bytes()), Some(&name[..]));
                    prop_assert!(value.iter().all(is_text));
                    // What is_text lets through of ASCII white space is what is trimmed.
                    prop_assert_eq!(fields.values(&name).next(), Some(value.trim_ascii()));
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut stream = b"\r\nGET http://a:1/b?c HTTP/1.1\r\nHost: [::1]:8\r\nUpgrade: a, websocket\r\n\
                Connection: upgrade\r\nContent-Length: 0\r\nOrigin: x\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: a,b\r\n\r\n"
                .to_vec();
            for (at, byte) in changes {
                let at = at.index(stream.len());
                stream[at] = byte;
            }
            let limits = HeadLimits::default();
            let scanned = HeadScan::new().scan(&stream, &limits);
            // On bytes that the scan refused, or did not see, the parser stands alone.
            for len in [stream.len(), cut.index(stream.len()), scanned.ok().flatten().unwrap_or(0)] {
                if let Ok(request) = Request::parse(&stream[..len], &limits) {
                    prop_assert_eq!(scanned, Ok(Some(len)));
                    let _ = request.upgrade();
                }
            }
        }
    }

    #[test]
    fn printable_is_ascii_from_space_to_tilde() {
        for byte in 0..=u8::MAX {
            assert_eq!(printable(&[byte]).is_some(), (0x20..=0x7e).contains(&byte), "{byte}");
        }
        assert_eq!(printable(b""), Some(""));
    }
}
