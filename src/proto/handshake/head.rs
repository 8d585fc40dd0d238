//! Where a head ends (RFC 9112 §2.2): finds the blank line in a stream that arrives in pieces.
//!
//! ```text
//! Start ──CRLF──► AfterCrlf ──line──► Fields ──blank line──► Whole
//!   └─────────────line────────────────►┘ └─line─┘
//! ```
//!
//! Looks at every byte once, however the stream is cut, so that a client that sends one byte at a time costs what
//! one costs that sends its head at once. Fits requests and responses. Holds no bytes and parses no line: what the
//! lines say is `request`'s and `client`'s business. Stops early at what no line may contain, and at the limits.

use memchr::memchr3;

use crate::proto::handshake::error::HandshakeError;
use crate::proto::handshake::list;

/// What a head may grow to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes from the first to the end of the blank line. Past it: [`HandshakeError::HeadTooLong`], or
    /// [`HandshakeError::RequestLineTooLong`] where the request line has no end within it.
    pub head_bytes_max: usize,
    /// Header lines. Past it: [`HandshakeError::TooManyHeaders`].
    pub headers_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { head_bytes_max: 8 * 1024, headers_max: 100 }
    }
}

/// How far a head was scanned. Belongs to one head; the next one on a connection gets its own.
#[derive(Clone, Debug)]
pub struct HeadScan {
    /// Bytes from the head's start that need no second look.
    seen: usize,
    /// Where the line that is being scanned starts.
    line_at: usize,
    /// Header lines that ended.
    headers: usize,
    part: Part,
    /// Whether the last byte seen was a CR, whose LF is awaited.
    after_cr: bool,
    /// Bytes that were looked at, by whichever means.
    #[cfg(test)]
    looks: usize,
}

/// Which part of the head the scan stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Before or in the request line; nothing came before it.
    Start,
    /// Before or in the request line; one CRLF came before it, which is tolerated once (RFC 9112 §2.2).
    AfterCrlf,
    /// Behind the request line.
    Fields,
    /// Behind the blank line.
    Whole,
}

impl HeadScan {
    /// A scan that has seen nothing.
    pub const fn new() -> Self {
        Self {
            seen: 0,
            line_at: 0,
            headers: 0,
            part: Part::Start,
            after_cr: false,
            #[cfg(test)]
            looks: 0,
        }
    }

    /// Scans what is new in `head`: all bytes received so far, from the head's first one on.
    ///
    /// `Some`: the head is whole, and this many bytes long, the leading CRLF and the blank line included; bytes
    /// behind it are not looked at. `None`: call again with more. After an error there is nothing to call again for.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::TlsOnPlainPort`], [`HandshakeError::NotHttp`], [`HandshakeError::BareCr`],
    /// [`HandshakeError::BareLf`], [`HandshakeError::Nul`], [`HandshakeError::HttpVersionUnsupported`] for the HTTP/2
    /// preface, and those of [`HeadLimits`]; whichever the stream shows first.
    #[expect(clippy::arithmetic_side_effects, reason = "places in the head that is there")]
    pub fn scan(
        &mut self,
        head: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<usize>, HandshakeError> {
        if self.part == Part::Whole {
            return Ok(Some(self.seen));
        }
        let window = &head[..head.len().min(limits.head_bytes_max)];
        while let Some(rest @ [first, ..]) = window.get(self.seen..) {
            if self.after_cr {
                self.look(1);
                if *first != b'\n' {
                    return Err(HandshakeError::BareCr);
                }
                self.after_cr = false;
                self.seen += 1;
                self.end_line(window, limits)?;
                if self.part == Part::Whole {
                    return Ok(Some(self.seen));
                }
                continue;
            }
            if self.is_before_request() {
                self.look(1);
                match check_first_byte(rest, self.part)? {
                    FirstByte::Fits => {}
                    FirstByte::NeedsSecond => break,
                }
            }
            match memchr3(b'\r', b'\n', 0, rest) {
                None => {
                    self.look(rest.len());
                    self.seen = window.len();
                }
                Some(at) => {
                    self.look(at + 1);
                    match rest[at] {
                        b'\r' => self.after_cr = true,
                        b'\n' => return Err(HandshakeError::BareLf),
                        _ => return Err(HandshakeError::Nul),
                    }
                    self.seen += at + 1;
                }
            }
        }
        if head.len() <= limits.head_bytes_max {
            return Ok(None);
        }
        match self.part {
            Part::Start | Part::AfterCrlf => Err(HandshakeError::RequestLineTooLong),
            Part::Fields | Part::Whole => Err(HandshakeError::HeadTooLong),
        }
    }

    /// Takes note of the line that ends at `seen`.
    fn end_line(&mut self, window: &[u8], limits: &HeadLimits) -> Result<(), HandshakeError> {
        let line = window.get(self.line_at..self.seen).unwrap_or_default();
        let is_blank = line.len() == 2;
        self.line_at = self.seen;
        self.part = match (self.part, is_blank) {
            (Part::Start, true) => Part::AfterCrlf,
            (Part::AfterCrlf, true) => return Err(HandshakeError::NotHttp),
            (Part::Start | Part::AfterCrlf, false) if line == HTTP2_PREFACE => {
                return Err(HandshakeError::HttpVersionUnsupported);
            }
            (Part::Start | Part::AfterCrlf, false) => Part::Fields,
            (Part::Fields | Part::Whole, true) => Part::Whole,
            (Part::Fields | Part::Whole, false) => {
                if self.headers >= limits.headers_max {
                    return Err(HandshakeError::TooManyHeaders);
                }
                self.headers = self.headers.saturating_add(1);
                self.part
            }
        };
        Ok(())
    }

    /// Whether the next byte is the first of a request line, or the CRLF before it.
    fn is_before_request(&self) -> bool {
        self.seen == self.line_at && matches!(self.part, Part::Start | Part::AfterCrlf)
    }

    /// Counts bytes that were looked at, for the test of linearity.
    fn look(&mut self, bytes: usize) {
        #[cfg(test)]
        {
            self.looks = self.looks.saturating_add(bytes);
        }
        let _ = bytes;
    }
}

impl Default for HeadScan {
    fn default() -> Self {
        Self::new()
    }
}

/// What the first byte of a stream says.
enum FirstByte {
    /// A request line may begin with it.
    Fits,
    /// TLS or rubbish; the second byte will tell.
    NeedsSecond,
}

/// Tells TLS and rubbish from HTTP by the first byte or two, so that neither waits for a line that never ends.
fn check_first_byte(rest: &[u8], part: Part) -> Result<FirstByte, HandshakeError> {
    match *rest {
        [TLS_HANDSHAKE] if part == Part::Start => Ok(FirstByte::NeedsSecond),
        [TLS_HANDSHAKE, TLS_MAJOR, ..] if part == Part::Start => {
            Err(HandshakeError::TlsOnPlainPort)
        }
        // These have errors of their own.
        [b'\r' | b'\n' | 0, ..] => Ok(FirstByte::Fits),
        [first, ..] if list::is_tchar(first) => Ok(FirstByte::Fits),
        _ => Err(HandshakeError::NotHttp),
    }
}

/// The first line that an HTTP/2 client sends (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// Content type of a handshake record (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// First byte of every TLS record's version (RFC 8446 §5.1).
const TLS_MAJOR: u8 = 0x03;

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may fail")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Outcome = Result<Option<usize>, HandshakeError>;

    #[test]
    fn a_head_ends_behind_its_blank_line() {
        let table: [(&[u8], Outcome); 29] = [
            (b"", Ok(None)),
            (b"GET / HTTP/1.1", Ok(None)),
            (b"GET / HTTP/1.1\r", Ok(None)),
            (b"GET / HTTP/1.1\r\n", Ok(None)),
            (b"GET / HTTP/1.1\r\n\r", Ok(None)),
            (b"GET / HTTP/1.1\r\n\r\n", Ok(Some(18))),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(Some(27))),
            // One CRLF before it; no more.
            (b"\r\n", Ok(None)),
            (b"\r\nGET / HTTP/1.1\r\n\r\n", Ok(Some(20))),
            (b"\r\n\r\n", Err(HandshakeError::NotHttp)),
            (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", Err(HandshakeError::NotHttp)),
            // What stands behind the head is not looked at.
            (b"GET / HTTP/1.1\r\n\r\n\0\n\r\x81", Ok(Some(18))),
            (b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81", Ok(Some(36))),
            // Line ends and NUL, in each part.
            (b"GET / HTTP/1.1\n", Err(HandshakeError::BareLf)),
            (b"GET / HTTP/1.1\r\nHost: a\n", Err(HandshakeError::BareLf)),
            (b"GET / HTTP/1.1\r\n\n", Err(HandshakeError::BareLf)),
            (b"\nGET / HTTP/1.1\r\n\r\n", Err(HandshakeError::BareLf)),
            (b"GET /\r HTTP/1.1", Err(HandshakeError::BareCr)),
            (b"GET / HTTP/1.1\r\nHost: a\rb", Err(HandshakeError::BareCr)),
            (b"GET / HTTP/1.1\r\n\rHost: a", Err(HandshakeError::BareCr)),
            (b"GET / HTTP/1.1\r\r\n", Err(HandshakeError::BareCr)),
            (b"GET /\0 HTTP/1.1", Err(HandshakeError::Nul)),
            (b"GET / HTTP/1.1\r\nHost: a\0", Err(HandshakeError::Nul)),
            // Other protocols.
            (b"\x16", Ok(None)),
            (b"\x16\x03\x01\x02\0\x01\0", Err(HandshakeError::TlsOnPlainPort)),
            (b"\x16\x04", Err(HandshakeError::NotHttp)),
            (b"\r\n\x16\x03", Err(HandshakeError::NotHttp)),
            (b"\x81\x85", Err(HandshakeError::NotHttp)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Err(HandshakeError::HttpVersionUnsupported)),
        ];
        for (stream, expected) in table {
            check_every_cut(stream, &HeadLimits::default(), expected);
        }
    }

    #[test]
    fn limits_hold_at_the_limit_and_one_past_it() {
        let limits = |head_bytes_max, headers_max| HeadLimits { head_bytes_max, headers_max };
        let whole = b"GET / HTTP/1.1\r\nA: b\r\nC: d\r\n\r\n";
        let table: [(&[u8], HeadLimits, Outcome); 14] = [
            (whole, limits(30, 2), Ok(Some(30))),
            (whole, limits(29, 2), Err(HandshakeError::HeadTooLong)),
            (whole, limits(16, 2), Err(HandshakeError::HeadTooLong)),
            (whole, limits(15, 2), Err(HandshakeError::RequestLineTooLong)),
            (whole, limits(0, 2), Err(HandshakeError::RequestLineTooLong)),
            (whole, limits(30, 1), Err(HandshakeError::TooManyHeaders)),
            (whole, limits(30, 0), Err(HandshakeError::TooManyHeaders)),
            (b"GET / HTTP/1.1\r\n\r\n", limits(18, 0), Ok(Some(18))),
            // Bytes behind the head don't count.
            (b"GET / HTTP/1.1\r\n\r\n\x81\x85", limits(18, 0), Ok(Some(18))),
            // Full, but not yet past it.
            (b"GET /", limits(5, 9), Ok(None)),
            (b"GET /\r", limits(5, 9), Err(HandshakeError::RequestLineTooLong)),
            (b"GET /\0", limits(5, 9), Err(HandshakeError::RequestLineTooLong)),
            (b"GET /\0", limits(6, 9), Err(HandshakeError::Nul)),
            (b"\r\nGET /", limits(6, 9), Err(HandshakeError::RequestLineTooLong)),
        ];
        for (stream, limits, expected) in table {
            check_every_cut(stream, &limits, expected);
        }
        let long = [b"GET /", &[b'a'; 9000][..]].concat();
        check_bytewise(&long, &HeadLimits::default(), Err(HandshakeError::RequestLineTooLong));
    }

    #[test]
    fn a_scan_that_is_done_stays_done() {
        let mut scan = HeadScan::new();
        let mut stream = b"GET / HTTP/1.1\r\n\r\n".to_vec();
        assert_eq!(scan.scan(&stream, &HeadLimits::default()), Ok(Some(18)));
        stream.extend_from_slice(b"\0\0\0\r\n\r\n");
        assert_eq!(scan.scan(&stream, &HeadLimits::default()), Ok(Some(18)));
    }

    /// A client that sends one byte at a time costs what one costs that sends all at once.
    #[test]
    fn every_byte_is_looked_at_once() {
        let head = |len: usize| {
            let mut head = b"GET /any HTTP/1.1\r\n".to_vec();
            while head.len() + 62 <= len {
                head.extend_from_slice(b"X-Filler: ");
                head.extend_from_slice(&[b'x'; 48]);
                head.extend_from_slice(b"\r\n");
            }
            head.extend_from_slice(b"\r\n");
            head
        };
        let limits = HeadLimits { head_bytes_max: 1 << 20, headers_max: 1 << 20 };
        for len in [500, 8 * 1024, 64 * 1024] {
            let head = head(len);
            for step in [1, 2, 3, 7, 64, head.len()] {
                let mut scan = HeadScan::new();
                for end in (step..head.len()).step_by(step) {
                    assert_eq!(scan.scan(&head[..end], &limits), Ok(None));
                }
                assert_eq!(scan.scan(&head, &limits), Ok(Some(head.len())));
                // The first byte is asked what protocol it is, too.
                assert_eq!(scan.looks, head.len() + 1, "{len} bytes by {step}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_scan_agrees_with_a_naive_one(
            stream in proptest::collection::vec(
                prop_oneof![
                    8 => Just(&b"a"[..]), 8 => Just(&b"\r\n"[..]), 1 => Just(&b"\r"[..]), 1 => Just(&b"\n"[..]),
                    1 => Just(&b"\0"[..]), 1 => Just(&b"\x16"[..]), 1 => Just(&b"\x03"[..]), 1 => Just(&b" "[..]),
                    1 => Just(HTTP2_PREFACE),
                ],
                0..20,
            ),
            head_bytes_max in 0_usize..40,
            headers_max in 0_usize..4,
        ) {
            let stream = stream.concat();
            let limits = HeadLimits { head_bytes_max, headers_max };
            check_every_cut(&stream, &limits, naive(&stream, &limits));
        }
    }

    /// The scan's rules over a stream that is all there, a line at a time.
    fn naive(stream: &[u8], limits: &HeadLimits) -> Outcome {
        let window = &stream[..stream.len().min(limits.head_bytes_max)];
        let mut rest = window;
        let mut has_leading = false;
        let mut lines_count = 0;
        loop {
            let out_of_bytes = match (window.len() == stream.len(), lines_count) {
                (true, _) => Ok(None),
                (false, 0) => Err(HandshakeError::RequestLineTooLong),
                (false, _) => Err(HandshakeError::HeadTooLong),
            };
            match (lines_count, rest, rest.len() == window.len()) {
                (0, [0x16], true) => return out_of_bytes,
                (0, [0x16, 3, ..], true) => return Err(HandshakeError::TlsOnPlainPort),
                (0, [first, ..], _) if !b"\r\n\0aP".contains(first) => {
                    return Err(HandshakeError::NotHttp);
                }
                _ => {}
            }
            let Some(len) = rest.iter().position(|byte| b"\r\n\0".contains(byte)) else {
                return out_of_bytes;
            };
            match rest[len..] {
                [b'\r', b'\n', ..] => {}
                [b'\r'] => return out_of_bytes,
                [b'\r', ..] => return Err(HandshakeError::BareCr),
                [b'\n', ..] => return Err(HandshakeError::BareLf),
                _ => return Err(HandshakeError::Nul),
            }
            let line = &rest[..len];
            rest = &rest[len + 2..];
            match (lines_count, line) {
                (0, b"") if has_leading => return Err(HandshakeError::NotHttp),
                (0, b"") => has_leading = true,
                (0, b"PRI * HTTP/2.0") => return Err(HandshakeError::HttpVersionUnsupported),
                (_, b"") => return Ok(Some(window.len() - rest.len())),
                (headers, _) if headers > limits.headers_max => {
                    return Err(HandshakeError::TooManyHeaders);
                }
                _ => lines_count += 1,
            }
        }
    }

    /// Whole, in two pieces at every cut, and a byte at a time: the outcome is `expected`.
    fn check_every_cut(stream: &[u8], limits: &HeadLimits, expected: Outcome) {
        for cut in 0..=stream.len() {
            let mut scan = HeadScan::new();
            let outcome = match scan.scan(&stream[..cut], limits) {
                Ok(None) => scan.scan(stream, limits),
                early => early,
            };
            assert_eq!(outcome, expected, "cut at {cut}: {}", stream.escape_ascii());
        }
        check_bytewise(stream, limits, expected);
    }

    fn check_bytewise(stream: &[u8], limits: &HeadLimits, expected: Outcome) {
        let mut scan = HeadScan::new();
        let outcome = (0..=stream.len())
            .map(|end| scan.scan(&stream[..end], limits))
            .find(|outcome| *outcome != Ok(None))
            .unwrap_or(Ok(None));
        assert_eq!(outcome, expected, "bytewise: {}", stream.escape_ascii());
    }
}
