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
                self.headers += 1;
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
            self.looks += bytes;
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
