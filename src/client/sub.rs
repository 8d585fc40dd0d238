//! `wsfast sub`: prints what a topic is told, a line a message, without end and without loss.
//!
//! ```text
//! where does the topic stand? ──► open, from there on ──► print ──► (cut off) wait, open behind the last ──► print ──► ...
//! ```
//!
//! The first question is asked so that what is published while the very first connection breaks is not lost either. What
//! the server cannot give any more, its history being short, is said on stderr; it is never passed over in silence. After
//! silence the server is sent a Ping; after as much again it counts as gone. The first connection must come about: a typing
//! mistake ought to end at once.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use signal_hook::consts::SIGINT;
use signal_hook::flag;
use simd_json::prelude::{ValueAsScalar, ValueObjectAccess as _};
use wsfast::proto::close::StatusCode;
use wsfast::proto::handshake::client::{ClientError, ClientKey, check_response};
use wsfast::proto::header::Role;
use wsfast::proto::inbound::{BodyPool, Inbound, Rules, Step};
use wsfast::proto::opcode::Opcode;
use wsfast::proto::outbound;
use wsfast::{Kind, MessageId, TopicMessage};

use crate::app::hub::plain;
use crate::app::process::start_up::complain;
use crate::app::terms::deceptive::{self, is_deceptive};
use crate::client::link::{Heard, Link};
use crate::client::{Door, Endpoint, Failure, META, REFUSED, USAGE, random, shown};

/// What `wsfast sub` is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Sub {
    pub(crate) endpoint: Endpoint,
    /// `--since`, or that of the URL, as the server takes it; `None`: what is published from now on.
    pub(crate) since: Option<String>,
    /// `--count`.
    pub(crate) count: Option<u64>,
    pub(crate) format: Format,
}

/// How messages are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Each as it is, and a line end.
    Text,
    /// Each as JSON in a line of its own, as the server's `application/x-ndjson` has it.
    Json,
    /// Each as it is, and nothing between them.
    Raw,
}

impl Sub {
    /// Does it; the exit code.
    pub(crate) fn run(&self) -> ExitCode {
        // What was printed is complete up to a write, so that there is nothing to tidy up.
        let armed = Arc::new(AtomicBool::new(true));
        let door = match self.endpoint.open() {
            Ok(door) => door,
            Err(error) => {
                complain(&error);
                return ExitCode::from(USAGE);
            }
        };
        // Without it Ctrl-C ends the process all the same, with another code.
        let _uncaught = flag::register_conditional_shutdown(SIGINT, 0, armed);
        let mut listener = Listener {
            door,
            format: self.format,
            is_terminal: io::stdout().is_terminal(),
            left: self.count,
            since: self.since.clone(),
            is_known: false,
            waits: 0,
            printed: Vec::new(),
        };
        if self.count == Some(0) {
            return ExitCode::SUCCESS;
        }
        loop {
            let failure = match listener.listen() {
                Ok(_) | Err(End::NobodyReads) => return ExitCode::SUCCESS,
                Err(End::Failed(failure)) => failure,
            };
            let url = &listener.door.url;
            if !listener.is_known || failure.is_final() {
                complain(&format_args!("{url}: {failure}"));
                return ExitCode::from(REFUSED);
            }
            complain(&format_args!("{url}: {failure}; trying again"));
            thread::sleep(backoff(listener.waits));
            listener.waits = listener.waits.saturating_add(1);
        }
    }
}

/// How long to wait before the next try, the first being 0: twice as long each time up to a bound, less up to a half by
/// chance, so that a server that comes back does not meet everybody at once.
#[expect(clippy::arithmetic_side_effects, reason = "a part of at most half")]
fn backoff(tries: u32) -> Duration {
    let longest = BACKOFF_MIN.saturating_mul(1 << tries.min(16)).min(BACKOFF_MAX);
    let chance = random::<2>().map_or(0, u16::from_le_bytes);
    longest - longest / 2 * u32::from(chance) / u32::from(u16::MAX)
}

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// All messages that were asked for are printed.
struct Complete;

/// Why listening ended otherwise.
enum End {
    /// Stdout is closed.
    NobodyReads,
    Failed(Failure),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A place in a topic, kept from one connection to the next.
struct Listener {
    door: Door,
    format: Format,
    /// Whether what is printed is shown to somebody, who must not be taken in by control characters.
    is_terminal: bool,
    /// Messages that are still to be printed.
    left: Option<u64>,
    /// Where to go on: the last message, or what was asked for.
    since: Option<String>,
    /// Whether the server has let us in before.
    is_known: bool,
    /// Tries since the server last said something behind the opening handshake.
    waits: u32,
    /// Messages that are not written to stdout yet.
    printed: Vec<u8>,
}

impl Listener {
    /// Listens over one connection, until it ends.
    fn listen(&mut self) -> Result<Complete, End> {
        let (link, early) = self.open()?;
        let again = if self.is_known { " again" } else { "" };
        complain(&format_args!("listening{again} to {}", self.door.url));
        self.is_known = true;
        let rules = Rules::new(Role::Client, MESSAGE_BYTES_MAX, u32::MAX);
        let mut session =
            Session { link, inbound: Inbound::new(rules), pool: BodyPool::new(0), buf: early };
        let mut is_asked = false;
        loop {
            let walked = session.walk(self);
            // What came before the end counts.
            self.print()?;
            match walked? {
                Some(complete) => return Ok(complete),
                None => match session.link.read(&mut session.buf)? {
                    Heard::Bytes(_) => {
                        is_asked = false;
                        self.waits = 0;
                    }
                    Heard::Nothing if is_asked => return Err(Failure::Silent.into()),
                    Heard::Nothing => {
                        is_asked = true;
                        session.say(Opcode::Ping, &[])?;
                    }
                    Heard::End => return Err(Failure::Ended.into()),
                },
            }
        }
    }

    /// Opens a WebSocket; what came behind the handshake.
    fn open(&mut self) -> Result<(Link, Vec<u8>), Failure> {
        let mut conn = self.door.connect()?;
        let mut out = Vec::new();
        if self.since.is_none() {
            // With no `since` this asks for what comes next; without waiting, it tells where that will be.
            let target = self.door.url.target(Some("wait=0"));
            self.door.begin_request("GET", &target, &mut out);
            out.extend_from_slice(b"\r\n");
            conn.link.write(&out)?;
            let answer = conn.answer()?;
            match answer.status {
                200 | 204 => {}
                // There is a WebSocket, and nothing to poll.
                426 => return Err(Failure::NoTopic),
                status => return Err(Failure::refused(status, &answer.body)),
            }
            // A topic that is not there yet will have nothing but what comes from now on.
            self.since = Some(answer.etag.unwrap_or_else(|| "all".to_owned()));
            if answer.is_last {
                conn = self.door.connect()?;
            }
            out.clear();
        }
        let since = self.since.as_ref().map(|since| format!("since={since}"));
        let key = ClientKey::from_nonce(random()?);
        let target = self.door.url.target(since.as_deref());
        self.door.encode_upgrade(&key, &target, &mut out).map_err(Failure::Handshake)?;
        conn.link.write(&out)?;
        let head = conn.head()?;
        match check_response(&head, &key, &[META], None) {
            Ok(response) if response.subprotocol == Some(META) => Ok(conn.into_parts()),
            Ok(_) => Err(Failure::NoTopic),
            Err(ClientError::Refused(status)) => {
                let answer = conn.rest_of(&head)?;
                Err(Failure::refused(status, &answer.body))
            }
            Err(error) => Err(Failure::Handshake(error)),
        }
    }

    /// Takes in a message; whether it was the last that was asked for.
    fn take_in(&mut self, kind: Kind, payload: &[u8]) -> Option<Complete> {
        // It may have come together with the handshake's answer.
        self.waits = 0;
        let Note { id, gap, body } = read_note(payload);
        if let Some(gap) = gap {
            self.since = Some(gap.to.to_string());
            complain(&gap);
            return None;
        }
        // A message without a name is nothing that can be resumed from, but still one.
        let unnamed = MessageId { epoch: 0, offset: 0 };
        if let Some(id) = id {
            self.since = Some(id.to_string());
        }
        match self.format {
            Format::Text => {
                match self.is_terminal {
                    true => append_harmless(body, &mut self.printed),
                    false => self.printed.extend_from_slice(body),
                }
                self.printed.push(b'\n');
            }
            Format::Raw => self.printed.extend_from_slice(body),
            Format::Json => {
                let message =
                    TopicMessage { topic: "", id: id.unwrap_or(unnamed), kind, payload: body };
                let mut line = Vec::new();
                plain::encode(plain::LINES, message, &mut line);
                match self.is_terminal {
                    true => append_harmless_json(&line, &mut self.printed),
                    false => self.printed.append(&mut line),
                }
            }
        }
        let left = self.left.as_mut()?;
        *left = left.saturating_sub(1);
        (*left == 0).then_some(Complete)
    }

    /// Writes to stdout what is to be printed.
    fn print(&mut self) -> Result<(), End> {
        if self.printed.is_empty() {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&self.printed).and_then(|()| stdout.flush());
        self.printed.clear();
        written.map_err(|_| End::NobodyReads)
    }
}

/// An open WebSocket.
struct Session {
    link: Link,
    inbound: Inbound,
    pool: BodyPool,
    /// What came and is less than a frame.
    buf: Vec<u8>,
}

impl Session {
    /// Takes in all that came.
    fn walk(&mut self, listener: &mut Listener) -> Result<Option<Complete>, Failure> {
        let mut at = 0_usize;
        let mut complete = None;
        let mut answers = Vec::new();
        while complete.is_none() {
            let step = self.inbound.step(&mut self.buf[at..], &mut self.pool);
            let (used, step) = step.map_err(Failure::Protocol)?;
            at = at.saturating_add(used);
            match step {
                Step::NeedBytes(_) => break,
                Step::Absorbed | Step::Pong(_) => {}
                Step::Message(message) => {
                    complete = listener.take_in(message.kind(), message.payload());
                }
                Step::Ping(payload) => {
                    outbound::append_masked(&mut answers, Opcode::Pong, payload, random()?);
                }
                Step::Close(body) => {
                    let code = body.map_or(StatusCode::NORMAL, |body| body.code);
                    outbound::append_close(&mut answers, Some(random()?), code, "");
                    // It may be gone already; what it said counts.
                    let _gone = self.link.write(&answers);
                    let closed = body.map(|body| (body.code.to_wire(), shown(body.reason)));
                    return Err(Failure::Closed(closed));
                }
            }
        }
        self.buf.drain(..at);
        if complete.is_some() {
            outbound::append_close(&mut answers, Some(random()?), StatusCode::NORMAL, "");
            let _gone = self.link.write(&answers);
        } else if !answers.is_empty() {
            self.link.write(&answers)?;
        }
        Ok(complete)
    }

    fn say(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), Failure> {
        let mut out = Vec::new();
        outbound::append_masked(&mut out, opcode, payload, random()?);
        self.link.write(&out)
    }
}

/// A message of `wsfast.meta`: header lines, a blank line, the payload.
#[derive(Debug, PartialEq, Eq)]
struct Note<'a> {
    id: Option<MessageId>,
    gap: Option<Lost>,
    body: &'a [u8],
}

/// A stretch of messages that the server has no more.
#[derive(Debug, PartialEq, Eq)]
struct Lost {
    from: String,
    to: MessageId,
    /// `None`: nobody knows.
    count: Option<u64>,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, to, count } = self;
        match count {
            Some(count) => {
                write!(f, "{count} messages are lost, those behind {from} up to {to}: ")?;
                f.write_str("the server's history is too short for them (its --history)")
            }
            None => {
                write!(f, "messages behind {from} are lost: the server has no such history, ")?;
                write!(f, "having been restarted perhaps; on behind {to}")
            }
        }
    }
}

/// Splits a message into its parts; one without header lines is all payload.
fn read_note(payload: &[u8]) -> Note<'_> {
    let mut note = Note { id: None, gap: None, body: payload };
    let Some(end) = memchr::memmem::find(payload, b"\n\n") else { return note };
    let Ok(head) = str::from_utf8(&payload[..end]) else { return note };
    for line in head.lines() {
        match line.split_once(": ") {
            Some(("id", id)) => note.id = id.parse().ok(),
            Some(("gap", json)) => note.gap = read_gap(json),
            _ => {}
        }
    }
    note.body = &payload[end..][2..];
    note
}

fn read_gap(json: &str) -> Option<Lost> {
    let mut json = json.as_bytes().to_vec();
    let gap = simd_json::to_borrowed_value(&mut json).ok()?;
    let text = |name: &str| gap.get(name).and_then(|value| value.as_str());
    Some(Lost {
        from: text("from")?.parse::<MessageId>().ok()?.to_string(),
        to: text("to")?.parse().ok()?,
        count: gap.get("lost").and_then(ValueAsScalar::as_u64),
    })
}

/// Writes a message for a terminal: what would move the cursor, colour or rename it, turn the text round or hide in it, is
/// spelled out, but for tabs and line ends.
fn append_harmless(body: &[u8], out: &mut Vec<u8>) {
    for chunk in body.utf8_chunks() {
        for c in chunk.valid().chars() {
            match is_deceptive(c) && c != '\n' && c != '\t' {
                true => out.extend(c.escape_default().map(|c| u8::try_from(c).unwrap_or(b'?'))),
                false => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        out.extend(chunk.invalid().escape_ascii());
    }
}

/// Writes a line of JSON for a terminal. What deceives is in its strings alone, where each character may be named by its number.
fn append_harmless_json(line: &[u8], out: &mut Vec<u8>) {
    let mut harmless = String::with_capacity(line.len());
    for c in String::from_utf8_lossy(line).chars() {
        match is_deceptive(c) && c != '\n' {
            true => deceptive::escape(c, &mut harmless),
            false => harmless.push(c),
        }
    }
    out.extend_from_slice(harmless.as_bytes());
}

/// What a server may be set to send at most (`Limits::check`), with the header lines in front.
const MESSAGE_BYTES_MAX: u64 = (1 << 30) + 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_shown_no_control_characters() {
        let mut out = Vec::new();
        append_harmless("a\tb\n\x1b[31m\u{9b}1m\r\u{e9}\x7f".as_bytes(), &mut out);
        append_harmless(b"\xff\x9b", &mut out);
        append_harmless("\u{202e}a\u{2066}b\u{200b}c\u{feff}\u{e0041}".as_bytes(), &mut out);
        let expected = "a\tb\n\\u{1b}[31m\\u{9b}1m\\r\u{e9}\\u{7f}\\xff\\x9b\
                        \\u{202e}a\\u{2066}b\\u{200b}c\\u{feff}\\u{e0041}";
        assert_eq!(String::from_utf8(out).unwrap(), expected);

        let text = "\u{1b}\u{9b}1m\u{7f}\u{202e}\u{e9}\u{200d}\u{e0041}\"";
        let line = format!("{}\n", serde_json::json!({ "text": text }));
        let mut out = Vec::new();
        append_harmless_json(line.as_bytes(), &mut out);
        let out = String::from_utf8(out).unwrap();
        let shown = out.strip_suffix('\n').unwrap();
        assert!(!shown.chars().any(is_deceptive), "{shown}");
        let read: serde_json::Value = serde_json::from_str(shown).unwrap();
        assert_eq!(read["text"], text);
    }

    #[test]
    fn a_note_is_its_header_lines_and_its_payload() {
        let id = |epoch, offset| Some(MessageId { epoch, offset });
        let lost = |count| {
            let to = MessageId { epoch: 0xab, offset: 9 };
            Some(Lost { from: "ab:2".to_owned(), to, count })
        };
        for (text, expected) in [
            ("id: ab:7\n\nhello", (id(0xab, 7), None, "hello")),
            ("id: ab:7\n\n", (id(0xab, 7), None, "")),
            ("id: ab:7\n\na\n\nb", (id(0xab, 7), None, "a\n\nb")),
            ("x: y\nid: ab:7\n\nhello", (id(0xab, 7), None, "hello")),
            ("gap: {\"from\":\"ab:2\",\"to\":\"ab:9\",\"lost\":7}\n\n", (None, lost(Some(7)), "")),
            ("gap: {\"from\":\"ab:2\",\"to\":\"ab:9\",\"lost\":null}\n\n", (None, lost(None), "")),
            ("hello", (None, None, "hello")),
        ] {
            let Note { id, gap, body } = read_note(text.as_bytes());
            assert_eq!((id, gap, str::from_utf8(body).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn waits_grow_up_to_a_bound() {
        for (tries, most_ms) in [(0, 100), (1, 200), (2, 400), (6, 6400), (7, 10_000), (99, 10_000)]
        {
            let wait_ms = backoff(tries).as_millis();
            assert!(wait_ms <= most_ms && wait_ms >= most_ms / 2, "{tries}: {wait_ms}");
        }
    }
}
