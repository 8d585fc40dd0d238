//! HTTP/1.1 as the clients need it: heads and short bodies, one answer behind the other.
//!
//! Follows no redirect and decodes no chunks: an answer has a length, or ends with its connection.

use wsfast::proto::handshake::{HeadLimits, HeadScan};

use std::time::Duration;

use crate::client::Failure;
use crate::client::link::{Heard, Link};
use crate::client::patience::Patience;

/// A connection, and what it brought that nobody took yet.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) link: Link,
    buf: Vec<u8>,
    /// Up to here `buf` was taken.
    taken: usize,
    /// How long an answer may take, however little of it comes at a time.
    answer_max: Duration,
    /// For the answer that is awaited.
    patience: Patience,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// Without its quotes.
    pub(crate) etag: Option<String>,
    /// True: the server answers nothing behind this one (RFC 9112 §9.6).
    pub(crate) is_last: bool,
}

/// What a head says about its answer.
struct Head {
    answer: Answer,
    body_len: Option<usize>,
}

#[expect(clippy::arithmetic_side_effects, reason = "places in what came")]
impl Conn {
    pub(crate) fn new(link: Link, answer_max: Duration) -> Self {
        let patience = Patience::of(answer_max);
        Self { link, buf: Vec::new(), taken: 0, answer_max, patience }
    }

    /// The connection and what came behind what was taken.
    pub(crate) fn into_parts(mut self) -> (Link, Vec<u8>) {
        self.buf.drain(..self.taken);
        (self.link, self.buf)
    }

    /// Waits for the head of the next answer. What is only on the way to it (RFC 9110 §15.2) is passed over, within reason.
    ///
    /// # Errors
    ///
    /// It does not come, or is none.
    pub(crate) fn head(&mut self) -> Result<Vec<u8>, Failure> {
        self.patience = Patience::of(self.answer_max);
        for _ in 0..=INTERIM_MAX {
            let head = self.any_head()?;
            if !head.starts_with(b"HTTP/1.1 1") || head.starts_with(b"HTTP/1.1 101") {
                return Ok(head);
            }
        }
        Err(Failure::NotHttp)
    }

    fn any_head(&mut self) -> Result<Vec<u8>, Failure> {
        let mut scan = HeadScan::new();
        let limits = HeadLimits::default();
        loop {
            let rest = &self.buf[self.taken..];
            if let Some(len) = scan.scan(rest, &limits).map_err(|_| Failure::NotHttp)? {
                let head = rest[..len].to_vec();
                self.taken += len;
                return Ok(head);
            }
            self.read_more()?;
        }
    }

    /// Waits for the next answer.
    ///
    /// # Errors
    ///
    /// It does not come, or is none.
    pub(crate) fn answer(&mut self) -> Result<Answer, Failure> {
        let head = self.head()?;
        self.rest_of(&head)
    }

    /// Waits for the body behind a head that was taken.
    ///
    /// # Errors
    ///
    /// It does not come, or is longer than any that a client wants to see.
    pub(crate) fn rest_of(&mut self, head: &[u8]) -> Result<Answer, Failure> {
        let Head { mut answer, body_len } = parse(head).ok_or(Failure::NotHttp)?;
        let len = match body_len {
            Some(len) if len > BODY_BYTES_MAX => return Err(Failure::NotHttp),
            Some(len) => {
                while self.buf.len() - self.taken < len {
                    self.read_more()?;
                }
                len
            }
            None => {
                answer.is_last = true;
                while self.buf.len() - self.taken < BODY_BYTES_MAX && self.read_more().is_ok() {}
                self.buf.len() - self.taken
            }
        };
        let body = &self.buf[self.taken..self.taken + len];
        answer.body = String::from_utf8_lossy(body).into_owned();
        self.taken += len;
        Ok(answer)
    }

    fn read_more(&mut self) -> Result<(), Failure> {
        self.buf.drain(..self.taken);
        self.taken = 0;
        if self.patience.is_over() {
            return Err(Failure::Silent);
        }
        match self.link.read(&mut self.buf)? {
            Heard::Bytes(_) => Ok(()),
            Heard::Nothing => Err(Failure::Silent),
            Heard::End => Err(Failure::Ended),
        }
    }
}

/// Reads what counts in a head.
fn parse(head: &[u8]) -> Option<Head> {
    let head = str::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let mut answer = Answer { status, body: String::new(), etag: None, is_last: false };
    let mut body_len = if matches!(status, 100..200 | 204 | 304) { Some(0) } else { None };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => body_len = Some(value.parse().ok()?),
            "transfer-encoding" => return None,
            "etag" => answer.etag = Some(value.trim_matches('"').to_owned()),
            "connection" => {
                answer.is_last |=
                    value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"));
            }
            _ => {}
        }
    }
    Some(Head { answer, body_len })
}

/// Heads of a server that has not made up its mind.
const INTERIM_MAX: usize = 16;

/// An answer is a line, or the page of something that is no wsfast.
const BODY_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_how_its_answer_ends() {
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Some((200, Some(5), None, false))),
            (
                "HTTP/1.1 204 No Content\r\nETag: \"a:1\"\r\n\r\n",
                Some((204, Some(0), Some("a:1"), false)),
            ),
            ("HTTP/1.1 101\r\nConnection: Upgrade\r\n\r\n", Some((101, Some(0), None, false))),
            (
                "HTTP/1.1 426 Upgrade Required\r\nconnection: close, Upgrade\r\ncontent-length: 9\r\n\r\n",
                Some((426, Some(9), None, true)),
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", Some((200, None, None, false))),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", None),
            ("HTTP/1.0 200 OK\r\n\r\n", None),
            ("SSH-2.0-x\r\n\r\n", None),
        ] {
            let found = parse(head.as_bytes());
            let found = found.as_ref().map(|it| {
                (it.answer.status, it.body_len, it.answer.etag.as_deref(), it.answer.is_last)
            });
            assert_eq!(found, expected, "{head}");
        }
    }
}
