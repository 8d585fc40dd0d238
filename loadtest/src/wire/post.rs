//! Publishing by HTTP/1.1: POST after POST over a connection that stays, and the statuses that answer them.
//!
//! Requests do not wait for the answers of earlier ones (RFC 9112 §9.3.2, pipelining): a publisher must keep its schedule,
//! whatever the server does. Reads no field of an answer but those that say where it ends, and keeps no body.

use wsfast::proto::handshake::{HeadLimits, HeadScan};

use crate::plan::Plan;

/// The head of every publication to a topic, up to its length.
#[derive(Clone, Debug)]
pub(crate) struct PostHead(String);

impl PostHead {
    /// The head for `path`. What stands in it was checked as part of the upgrade request, which has it too.
    pub(crate) fn new(plan: &Plan, path: &str, before: &str) -> Self {
        let mut head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\n", plan.target.host_header());
        if let Some(origin) = &plan.origin {
            head += &format!("Origin: {origin}\r\n");
        }
        for (name, value) in &plan.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let has_type =
            plan.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if !has_type {
            let content_type = match (before.trim_start().starts_with(['{', '[']), plan.text) {
                (true, _) => "application/json",
                (false, true) => "text/plain; charset=utf-8",
                (false, false) => "application/octet-stream",
            };
            head += &format!("Content-Type: {content_type}\r\n");
        }
        head += "Content-Length: ";
        Self(head)
    }

    /// Appends the request that publishes `body` to `out`.
    pub(crate) fn append(&self, body: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
        out.extend_from_slice(body.len().to_string().as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(body);
    }
}

/// Reads answers off a connection.
#[derive(Debug)]
pub(crate) struct Answers {
    at: At,
    /// A head or a line so far.
    kept: Vec<u8>,
}

/// Where in an answer the stream stands.
#[derive(Debug)]
enum At {
    Head(HeadScan),
    /// So much of the body, or of a chunk with its line end, is to come.
    Body {
        left: u64,
        then: Behind,
    },
    /// The line with a chunk's length.
    ChunkLength,
    /// The fields behind the last chunk, up to an empty line.
    Trailer,
}

/// What follows a stretch of a body.
#[derive(Clone, Copy, Debug)]
enum Behind {
    NextAnswer,
    NextChunk,
}

/// What is no answer (RFC 9112).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The longest line of a chunk's length or a trailer.
const LINE_BYTES_MAX: usize = 4096;

impl Answers {
    /// Nothing was answered yet.
    pub(crate) fn new() -> Self {
        Self { at: At::Head(HeadScan::new()), kept: Vec::new() }
    }

    /// Takes in bytes from the front of `input`. `Some`: an answer with this status has begun; there may be more.
    /// `None`: all of `input` was taken in.
    ///
    /// # Errors
    ///
    /// [`Malformed`]; the connection is of no more use.
    pub(crate) fn next(&mut self, input: &mut &[u8]) -> Result<Option<u16>, Malformed> {
        while !input.is_empty() {
            match &mut self.at {
                At::Head(_) => {
                    if let Some(status) = self.head(input)? {
                        return Ok(Some(status));
                    }
                }
                At::Body { left, then } => {
                    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    *input = &input[len..];
                    *left -= len as u64;
                    if *left == 0 {
                        self.at = match then {
                            Behind::NextAnswer => At::Head(HeadScan::new()),
                            Behind::NextChunk => At::ChunkLength,
                        };
                    }
                }
                At::ChunkLength => {
                    let Some(line) = self.line(input)? else { continue };
                    let digits = line.split(';').next().unwrap_or_default().trim();
                    let len = u64::from_str_radix(digits, 16).map_err(|_| Malformed)?;
                    self.at = match len.checked_add(2) {
                        Some(2) => At::Trailer,
                        Some(left) => At::Body { left, then: Behind::NextChunk },
                        None => return Err(Malformed),
                    };
                }
                At::Trailer => {
                    if self.line(input)?.is_some_and(|line| line.is_empty()) {
                        self.at = At::Head(HeadScan::new());
                    }
                }
            }
        }
        Ok(None)
    }

    /// Goes on with a head; returns its status once it is whole and final.
    fn head(&mut self, input: &mut &[u8]) -> Result<Option<u16>, Malformed> {
        let At::Head(scan) = &mut self.at else { return Ok(None) };
        let before = self.kept.len();
        let limits = HeadLimits::default();
        let room = (limits.head_bytes_max + 1).saturating_sub(before);
        self.kept.extend_from_slice(&input[..input.len().min(room)]);
        let Some(len) = scan.scan(&self.kept, &limits).map_err(|_| Malformed)? else {
            *input = &[];
            return Ok(None);
        };
        *input = &input[len.saturating_sub(before).min(input.len())..];
        let head = std::str::from_utf8(&self.kept[..len]).map_err(|_| Malformed)?;
        let (status, body) = parse_head(head).ok_or(Malformed)?;
        self.kept.clear();
        let is_interim = (100..200).contains(&status);
        self.at = match body {
            _ if is_interim => At::Head(HeadScan::new()),
            Body::Len(0) => At::Head(HeadScan::new()),
            Body::Len(left) => At::Body { left, then: Behind::NextAnswer },
            Body::Chunked => At::ChunkLength,
        };
        Ok((!is_interim).then_some(status))
    }

    /// Goes on with a line; returns it, without its end, once it is whole.
    fn line(&mut self, input: &mut &[u8]) -> Result<Option<String>, Malformed> {
        let end = input.iter().position(|&byte| byte == b'\n');
        let len = end.map_or(input.len(), |end| end + 1);
        self.kept.extend_from_slice(&input[..len]);
        *input = &input[len..];
        if self.kept.len() > LINE_BYTES_MAX {
            return Err(Malformed);
        }
        if end.is_none() {
            return Ok(None);
        }
        let line = String::from_utf8(std::mem::take(&mut self.kept)).map_err(|_| Malformed)?;
        Ok(Some(line.trim_end().to_owned()))
    }
}

/// How long an answer's body is.
enum Body {
    Len(u64),
    Chunked,
}

/// The status of a head, and what follows it. A body without a length lasts as long as the connection does.
fn parse_head(head: &str) -> Option<(u16, Body)> {
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let mut body = Body::Len(u64::MAX);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            body = Body::Len(value.trim().parse().ok()?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Some((status, Body::Chunked));
        }
    }
    Some((status, if matches!(status, 204 | 304) { Body::Len(0) } else { body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
        HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n\
        HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n\
        3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: u\r\n\r\n\
        HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n\
        HTTP/1.1 500 X\r\n\r\nwhatever follows";

    /// The statuses in `pieces`.
    fn statuses(pieces: &[&[u8]]) -> Result<Vec<u16>, Malformed> {
        let mut answers = Answers::new();
        let mut statuses = Vec::new();
        for mut piece in pieces.iter().copied() {
            while let Some(status) = answers.next(&mut piece)? {
                statuses.push(status);
            }
        }
        Ok(statuses)
    }

    #[test]
    fn answers_may_come_in_any_pieces() {
        let stream = STREAM.as_bytes();
        let expected = Ok(vec![200, 204, 202, 403, 500]);
        for cut in 0..stream.len() {
            assert_eq!(statuses(&[&stream[..cut], &stream[cut..]]), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(statuses(&bytes), expected);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for stream in [
            "SMTP ready\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        ] {
            assert_eq!(statuses(&[stream.as_bytes()]), Err(Malformed), "{stream}");
        }
    }

    #[test]
    fn a_request_carries_its_body_and_its_length() {
        let mut out = Vec::new();
        PostHead("POST / HTTP/1.1\r\nContent-Length: ".to_owned()).append(b"hello", &mut out);
        assert_eq!(out, b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello");
    }
}
