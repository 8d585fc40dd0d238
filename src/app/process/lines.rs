//! Lines off a pipe, a file or a terminal: as many as one read brought, and no wait for more than that.
//!
//! A line ends with LF or CRLF, which is no part of it; the last one may lack it. Knows no encoding but to tell what is
//! UTF-8. A line past the bound is passed over without being kept, and counted.

use std::io::{self, Read};

use memchr::memchr;
use wsfast::Kind;

/// Splits what is read from `R`.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    input: R,
    buf: Vec<u8>,
    /// Up to here in `buf` lines were taken.
    taken: usize,
    /// Up to here there is no line end behind `taken`.
    looked: usize,
    line_bytes_max: usize,
    /// True: what comes up to the next line end belongs to a line that is too long.
    is_skipping: bool,
    /// True: nothing more will come, so that what is left is a line.
    is_ended: bool,
    /// Lines that were too long.
    pub(crate) skipped: u64,
}

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brought {
    /// Bytes; take the lines.
    Bytes,
    /// Nothing is there now.
    Nothing,
    /// The end; there may be one more line.
    End,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(input: R, line_bytes_max: usize) -> Self {
        Self {
            input,
            buf: Vec::new(),
            taken: 0,
            looked: 0,
            line_bytes_max,
            is_skipping: false,
            is_ended: false,
            skipped: 0,
        }
    }

    /// Reads once. Every line of before must have been taken.
    ///
    /// # Errors
    ///
    /// What read(2) says; `Interrupted` is repeated.
    pub(crate) fn read(&mut self) -> io::Result<Brought> {
        self.buf.drain(..self.taken);
        self.looked -= self.taken;
        self.taken = 0;
        let len = self.buf.len();
        self.buf.resize(len + READ_BYTES, 0);
        let brought = loop {
            match self.input.read(&mut self.buf[len..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                brought => break brought,
            }
        };
        self.buf.truncate(len + *brought.as_ref().unwrap_or(&0));
        match brought {
            Ok(0) => {
                self.is_ended = true;
                Ok(Brought::End)
            }
            Ok(_) => Ok(Brought::Bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Brought::Nothing),
            Err(error) => Err(error),
        }
    }

    /// The next line of those that were read, without its end.
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        loop {
            let start = self.taken;
            let end = match memchr(b'\n', &self.buf[self.looked..]) {
                Some(at) => {
                    self.taken = self.looked + at + 1;
                    self.taken - 1
                }
                None if self.is_ended && (start < self.buf.len() || self.is_skipping) => {
                    self.taken = self.buf.len();
                    self.taken
                }
                None => {
                    self.looked = self.buf.len();
                    self.skip_if_too_long();
                    return None;
                }
            };
            self.looked = self.taken;
            let was_skipping = std::mem::take(&mut self.is_skipping);
            let line = &self.buf[start..end];
            let len = line.strip_suffix(b"\r").unwrap_or(line).len();
            if !was_skipping && len <= self.line_bytes_max {
                return Some(&self.buf[start..start + len]);
            }
            self.skipped += 1;
        }
    }

    /// Keeps no more of a line than may be published; a CR at its end may still turn out to belong to that.
    fn skip_if_too_long(&mut self) {
        if self.is_skipping || self.buf.len() - self.taken > self.line_bytes_max + 1 {
            self.is_skipping = true;
            self.taken = self.buf.len();
        }
    }
}

/// What a line becomes as a message.
pub(crate) fn kind_of(line: &[u8]) -> Kind {
    if str::from_utf8(line).is_ok() { Kind::Text } else { Kind::Binary }
}

/// What a pipe holds.
const READ_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Each read brings one of the pieces.
    struct Pieces(Vec<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0);
            buf[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    #[test]
    fn lines_may_be_cut_anywhere() {
        let stream = b"one\n\r\ntwo\r\n\xFF\0\nfive5\r\nsixsix\nseven\r\r\n\n\rlast";
        let expected: [&[u8]; 8] =
            [b"one", b"", b"two", b"\xFF\0", b"five5", b"", b"\rlast", b"(2 too long)"];
        for cut in 0..=stream.len() {
            for next in cut..=stream.len() {
                let pieces = [&stream[..cut], &stream[cut..next], &stream[next..]];
                assert_eq!(lines(&pieces, 5), expected, "cut at {cut} and {next}");
            }
        }
    }

    #[test]
    fn an_end_behind_a_line_end_is_no_line() {
        assert_eq!(lines(&[b"one\n"], 9), [&b"one"[..], b"(0 too long)"]);
        assert_eq!(lines(&[b""], 9), [&b"(0 too long)"[..]]);
        assert_eq!(lines(&[b"\n"], 9), [&b""[..], b"(0 too long)"]);
        assert_eq!(lines(&[b"0123456789"], 9), [&b"(1 too long)"[..]]);
        assert_eq!(lines(&[b"0123456789abc", b"\nx"], 9), [&b"x"[..], b"(1 too long)"]);
        assert_eq!(lines(&[b"0123456789abc", b"\n"], 9), [&b"(1 too long)"[..]]);
    }

    #[test]
    fn a_line_without_an_end_is_not_kept() {
        let mut lines = Lines::new(io::repeat(b'x').take(1 << 26), 1 << 10);
        while lines.read().unwrap() == Brought::Bytes {
            assert_eq!(lines.next(), None);
            assert!(lines.buf.capacity() <= 4 * READ_BYTES, "{}", lines.buf.capacity());
        }
        assert_eq!(lines.next(), None);
        assert_eq!(lines.skipped, 1);
    }

    #[test]
    fn what_is_utf8_is_text() {
        assert_eq!((kind_of("é".as_bytes()), kind_of(b"\xC3")), (Kind::Text, Kind::Binary));
    }

    fn lines(pieces: &[&[u8]], line_bytes_max: usize) -> Vec<Vec<u8>> {
        let pieces = pieces.iter().filter(|piece| !piece.is_empty());
        let mut lines =
            Lines::new(Pieces(pieces.map(|piece| piece.to_vec()).collect()), line_bytes_max);
        let mut found = Vec::new();
        loop {
            let brought = lines.read().unwrap();
            while let Some(line) = lines.next() {
                found.push(line.to_vec());
            }
            if brought == Brought::End {
                break;
            }
        }
        found.push(format!("({} too long)", lines.skipped).into_bytes());
        found
    }
}
