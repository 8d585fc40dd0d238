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
            lines_count += 1;
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
        &bracketed[end + 1..]
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
