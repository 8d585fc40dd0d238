//! Many connections on one thread, so that a load of thousands costs the machine little beside the server that it is for.
//!
//! Decodes what comes (responses, bodies of every framing, messages in fragments or compressed) and hands it on in pieces. What
//! it should be is the test's to say. Connects and sends without mercy; how quickly it reads is for the test to choose.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use flate2::{Decompress, FlushDecompress};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustls::{ClientConfig, ClientConnection};

use super::flood::connect_with_rcvbuf;
use super::wire::{self, CLOSE, CONTINUATION, FIN, PING, PONG};
use super::{client::RawClient, tls};

/// Connections, each by its number.
pub(crate) struct Crowd {
    poll: Poll,
    members: Vec<Member>,
    /// Members that may have something to read, or room to write, which nobody looked after yet.
    awake: VecDeque<usize>,
    room: Vec<u8>,
}

/// A piece of what came.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A response's head, with its blank line. Behind a 101 come messages.
    Head { status: u16, head: &'a str },
    /// A part of its body.
    Body(&'a [u8]),
    /// Its body is whole.
    BodyEnd,
    /// A text or binary message, whole, and without compression.
    Message(&'a [u8]),
    /// A Close.
    Close { code: u16, reason: &'a str },
    /// The connection is over.
    End,
}

/// What the methods of its requests are; a HEAD's response has no body whatever its head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Bodies,
    HeadsAlone,
}

struct Member {
    link: Link,
    asks: Asks,
    /// What is not sent yet, from `sent` on.
    out: Vec<u8>,
    sent: usize,
    /// What came and is not decoded yet.
    buf: Vec<u8>,
    decoder: Decoder,
    is_over: bool,
}

struct Link {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

/// How far a connection is.
struct Decoder {
    at: At,
    /// The message whose fragments come.
    fragments: Vec<u8>,
    /// Whether they are compressed.
    is_compressed: bool,
    inflater: Option<Inflater>,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Head,
    /// So much of a body is to come.
    Body(usize),
    BodyToEnd,
    /// A chunk's length, with its line end, is to come (RFC 9112 §7.1).
    ChunkHead,
    Chunk(usize),
    /// The line end behind a chunk.
    ChunkEnd,
    Frames,
}

struct Inflater {
    state: Decompress,
    /// Whether each message stands alone (RFC 7692 §7.1.1.1).
    forgets: bool,
    message: Vec<u8>,
}

impl Crowd {
    pub(crate) fn new() -> Self {
        Self {
            poll: Poll::new().unwrap(),
            members: Vec::new(),
            awake: VecDeque::new(),
            room: vec![0; 256 << 10],
        }
    }

    /// Connects `count` more, each with a receive buffer of about `rcvbuf` bytes; their numbers.
    pub(crate) fn connect(
        &mut self,
        addr: SocketAddr,
        count: usize,
        rcvbuf: usize,
    ) -> Range<usize> {
        let first = self.members.len();
        (0..count).for_each(|_| self.add(connect_with_rcvbuf(addr, rcvbuf), None));
        first..self.members.len()
    }

    /// The same over TLS.
    pub(crate) fn connect_tls(
        &mut self,
        addr: SocketAddr,
        count: usize,
        rcvbuf: usize,
        config: &ClientConfig,
    ) -> Range<usize> {
        let first = self.members.len();
        for _ in 0..count {
            let session = Box::new(tls::session(config));
            self.add(connect_with_rcvbuf(addr, rcvbuf), Some(session));
        }
        first..self.members.len()
    }

    fn add(&mut self, client: RawClient, tls: Option<Box<ClientConnection>>) {
        client.stream.set_nonblocking(true).unwrap();
        let mut stream = TcpStream::from_std(client.stream);
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(self.members.len()), both).unwrap();
        self.members.push(Member {
            link: Link { stream, tls },
            asks: Asks::Bodies,
            out: Vec::new(),
            sent: 0,
            buf: client.buf,
            decoder: Decoder::new(),
            is_over: false,
        });
    }

    /// Connects `count` more that open a WebSocket, or a stream, with `request`; returns once each has its head.
    pub(crate) fn open(
        &mut self,
        addr: SocketAddr,
        count: usize,
        rcvbuf: usize,
        request: impl Fn(usize) -> String,
    ) -> Range<usize> {
        let first = self.members.len();
        // Not more than the kernel keeps for a server that is busy.
        for wave in (0..count).step_by(1000) {
            let wave = self.connect(addr, (count - wave).min(1000), rcvbuf);
            wave.clone().for_each(|at| self.say(at, request(at - first)));
            self.until(wave, |_, event, _| match event {
                Event::Head { status, head } => {
                    assert!(matches!(status, 101 | 200), "{head}");
                    true
                }
                _ => false,
            });
        }
        first..self.members.len()
    }

    /// What its requests are, from now on.
    pub(crate) fn set_asks(&mut self, at: usize, asks: Asks) {
        self.members[at].asks = asks;
    }

    /// Sends `bytes`, as far as they go at once; the rest goes while others are waited for.
    pub(crate) fn say(&mut self, at: usize, bytes: impl AsRef<[u8]>) {
        let member = &mut self.members[at];
        member.out.extend_from_slice(bytes.as_ref());
        member.flush();
    }

    /// Hands on what comes to `members`, and sends what `hear` adds for each, until it has said true once for every one of them.
    /// Others are not read from.
    #[track_caller]
    pub(crate) fn until(
        &mut self,
        members: Range<usize>,
        hear: impl FnMut(usize, Event<'_>, &mut Vec<u8>) -> bool,
    ) {
        let count = members.len();
        let done = self.until_or(members, PATIENCE, hear);
        assert_eq!(done, count, "so many have what they are to get after {PATIENCE:?}");
    }

    /// The same, for so long at most; how many it said true of.
    pub(crate) fn until_or(
        &mut self,
        members: Range<usize>,
        patience: Duration,
        mut hear: impl FnMut(usize, Event<'_>, &mut Vec<u8>) -> bool,
    ) -> usize {
        let deadline = Instant::now() + patience;
        let mut left: Vec<bool> = members.clone().map(|_| true).collect();
        let mut count = left.len();
        let mut events = Events::with_capacity(1024);
        // What came before is not told again (edge-triggered).
        self.awake.clear();
        self.awake.extend(members.clone());
        while count > 0 && Instant::now() < deadline {
            while let Some(at) = self.awake.pop_front() {
                if members.contains(&at) {
                    let is_left = &mut left[at - members.start];
                    self.members[at].serve(&mut self.room, &mut |event, out| {
                        if hear(at, event, out) && *is_left {
                            *is_left = false;
                            count -= 1;
                        }
                    });
                }
            }
            if count > 0 {
                let rest = deadline.saturating_duration_since(Instant::now());
                match self.poll.poll(&mut events, Some(rest)) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    polled => polled.unwrap(),
                }
                self.awake.extend(events.iter().map(|event| event.token().0));
            }
        }
        left.len() - count
    }

    /// Reads once from a member, at most `len` bytes, and hands on what came of it; how many came. Zero: nothing is there.
    pub(crate) fn sip(
        &mut self,
        at: usize,
        len: usize,
        mut hear: impl FnMut(Event<'_>, &mut Vec<u8>),
    ) -> usize {
        self.members[at].sip(&mut self.room[..len], &mut hear)
    }

    /// Whether its connection is over, as far as was looked.
    pub(crate) fn is_over(&self, at: usize) -> bool {
        self.members[at].is_over
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// All end with an RST, so that they leave no port in TIME_WAIT.
    pub(crate) fn reset(self) {
        let Self { members, .. } = self;
        members.iter().for_each(Member::reset);
    }

    /// One ends with an RST, if it is not over yet.
    pub(crate) fn reset_one(&mut self, at: usize) {
        self.members[at].reset();
        self.members[at].is_over = true;
        let _gone = self.members[at].link.stream.shutdown(std::net::Shutdown::Both);
    }
}

impl Member {
    /// Sends what is to be sent, and reads until nothing is there.
    fn serve(&mut self, room: &mut [u8], hear: &mut impl FnMut(Event<'_>, &mut Vec<u8>)) {
        self.flush();
        // What was decoded in part before, for another.
        self.decode(hear);
        while !self.is_over && self.sip(room, hear) > 0 {}
        self.flush();
    }

    fn sip(&mut self, room: &mut [u8], hear: &mut impl FnMut(Event<'_>, &mut Vec<u8>)) -> usize {
        if self.is_over {
            return 0;
        }
        let len = match self.link.read(room) {
            Ok(Some(0)) => {
                self.is_over = true;
                hear(Event::End, &mut self.out);
                return 0;
            }
            Ok(Some(len)) => len,
            Ok(None) => return 0,
            Err(_) => {
                self.is_over = true;
                hear(Event::End, &mut self.out);
                return 0;
            }
        };
        if self.buf.is_empty() {
            let used = self.decoder.decode(&room[..len], self.asks, &mut self.out, hear);
            self.buf.extend_from_slice(&room[used..len]);
        } else {
            self.buf.extend_from_slice(&room[..len]);
            self.decode(hear);
        }
        self.flush();
        len
    }

    fn decode(&mut self, hear: &mut impl FnMut(Event<'_>, &mut Vec<u8>)) {
        let used = self.decoder.decode(&self.buf, self.asks, &mut self.out, hear);
        self.buf.drain(..used);
    }

    fn flush(&mut self) {
        while !self.is_over && self.sent < self.out.len() {
            match self.link.write(&self.out[self.sent..]) {
                Ok(Some(len)) => self.sent += len,
                Ok(None) => return,
                // What the server said before it ended the connection may still be read.
                Err(_) => self.sent = self.out.len(),
            }
        }
        self.out.clear();
        self.sent = 0;
    }

    fn reset(&self) {
        let _gone = socket2::SockRef::from(&self.link.stream).set_linger(Some(Duration::ZERO));
    }
}

impl Link {
    /// `None`: nothing is there.
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<Option<usize>> {
        let Self { stream, tls } = self;
        let Some(session) = tls else { return now(stream.read(room)) };
        loop {
            match session.reader().read(room) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done.map(Some),
            }
            match now(session.read_tls(stream))? {
                None => return Ok(None),
                Some(0) => return Ok(Some(0)),
                Some(_) => {
                    session.process_new_packets().map_err(std::io::Error::other)?;
                    // A handshake has its own to say.
                    while session.wants_write() && now(session.write_tls(stream))?.is_some() {}
                }
            }
        }
    }

    /// `None`: there is no room.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<Option<usize>> {
        let Self { stream, tls } = self;
        let Some(session) = tls else { return now(stream.write(bytes)) };
        while session.wants_write() {
            if now(session.write_tls(stream))?.is_none() {
                return Ok(None);
            }
        }
        if session.is_handshaking() {
            return Ok(None);
        }
        let len = session.writer().write(bytes)?;
        let _rest_waits = now(session.write_tls(stream))?;
        Ok(Some(len))
    }
}

/// `None`: it would block.
fn now(done: std::io::Result<usize>) -> std::io::Result<Option<usize>> {
    match done {
        Ok(len) => Ok(Some(len)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => Ok(None),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}

impl Decoder {
    const fn new() -> Self {
        Self { at: At::Head, fragments: Vec::new(), is_compressed: false, inflater: None }
    }

    /// Decodes what is whole in `input`; how much of it that was.
    fn decode(
        &mut self,
        input: &[u8],
        asks: Asks,
        out: &mut Vec<u8>,
        hear: &mut impl FnMut(Event<'_>, &mut Vec<u8>),
    ) -> usize {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            let len = match self.at {
                At::Head => self.head(rest, asks, out, hear),
                At::Body(left) | At::Chunk(left) => {
                    let part = &rest[..rest.len().min(left)];
                    if !part.is_empty() {
                        hear(Event::Body(part), out);
                    }
                    match (left - part.len(), self.at) {
                        (0, At::Body(_)) => {
                            self.at = At::Head;
                            hear(Event::BodyEnd, out);
                        }
                        (0, _) => self.at = At::ChunkEnd,
                        (left, At::Body(_)) => self.at = At::Body(left),
                        (left, _) => self.at = At::Chunk(left),
                    }
                    part.len()
                }
                At::BodyToEnd => {
                    if !rest.is_empty() {
                        hear(Event::Body(rest), out);
                    }
                    rest.len()
                }
                At::ChunkEnd if rest.len() >= 2 => {
                    assert_eq!(&rest[..2], b"\r\n", "the end of a chunk");
                    self.at = At::ChunkHead;
                    2
                }
                At::ChunkEnd => 0,
                At::ChunkHead => self.chunk_head(rest, out, hear),
                At::Frames => self.frame(rest, out, hear),
            };
            if len == 0 {
                return used;
            }
            used += len;
        }
    }

    fn head(
        &mut self,
        bytes: &[u8],
        asks: Asks,
        out: &mut Vec<u8>,
        hear: &mut impl FnMut(Event<'_>, &mut Vec<u8>),
    ) -> usize {
        let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return 0 };
        let head = str::from_utf8(&bytes[..end + 4]).unwrap();
        let value = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.into_iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let status: u16 = head.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
        let len = value("content-length").map(|len| len.parse().unwrap());
        let is_chunked = value("transfer-encoding").is_some_and(|it| it == "chunked");
        self.at = match (status, len) {
            (101, _) => {
                let extensions = value("sec-websocket-extensions");
                self.inflater = extensions.map(Inflater::agreed_on);
                At::Frames
            }
            (204 | 304, _) => At::Body(0),
            _ if asks == Asks::HeadsAlone => At::Body(0),
            _ if is_chunked => At::ChunkHead,
            (_, Some(len)) => At::Body(len),
            (_, None) => At::BodyToEnd,
        };
        hear(Event::Head { status, head }, out);
        if let At::Body(0) = self.at {
            self.at = At::Head;
            hear(Event::BodyEnd, out);
        }
        end + 4
    }

    fn chunk_head(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        hear: &mut impl FnMut(Event<'_>, &mut Vec<u8>),
    ) -> usize {
        let Some(end) = memchr::memmem::find(bytes, b"\r\n") else { return 0 };
        let digits = str::from_utf8(&bytes[..end]).unwrap();
        let len = usize::from_str_radix(digits, 16).unwrap();
        if len > 0 {
            self.at = At::Chunk(len);
            return end + 2;
        }
        // No trailers, and a blank line.
        if bytes.len() < end + 4 {
            return 0;
        }
        assert_eq!(&bytes[end..end + 4], b"\r\n\r\n", "the end of a chunked body");
        self.at = At::Head;
        hear(Event::BodyEnd, out);
        end + 4
    }

    fn frame(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        hear: &mut impl FnMut(Event<'_>, &mut Vec<u8>),
    ) -> usize {
        let Some((first, payload, len)) = split_frame(bytes) else { return 0 };
        match first & 0x0F {
            PING => out.extend(wire::pong(payload)),
            PONG => {}
            CLOSE => {
                let (code, reason) = match payload {
                    [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
                    _ => (1005, &b""[..]),
                };
                out.extend(wire::close(code, ""));
                hear(Event::Close { code, reason: str::from_utf8(reason).unwrap() }, out);
            }
            opcode => {
                let is_last = first & FIN != 0;
                if opcode != CONTINUATION {
                    assert!(self.fragments.is_empty(), "a message within another");
                    self.is_compressed = first & RSV1 != 0;
                }
                if is_last && opcode != CONTINUATION {
                    self.message(payload, out, hear);
                } else {
                    self.fragments.extend_from_slice(payload);
                    if is_last {
                        let whole = std::mem::take(&mut self.fragments);
                        self.message(&whole, out, hear);
                    }
                }
            }
        }
        len
    }

    fn message(
        &mut self,
        payload: &[u8],
        out: &mut Vec<u8>,
        hear: &mut impl FnMut(Event<'_>, &mut Vec<u8>),
    ) {
        match &mut self.inflater {
            Some(inflater) if self.is_compressed => {
                hear(Event::Message(inflater.inflate(payload)), out);
            }
            _ => {
                assert!(!self.is_compressed, "a message is compressed, which was not agreed on");
                hear(Event::Message(payload), out);
            }
        }
    }
}

impl Inflater {
    fn agreed_on(extensions: &str) -> Self {
        assert!(extensions.starts_with("permessage-deflate"), "{extensions}");
        let forgets = extensions.contains("server_no_context_takeover");
        Self { state: Decompress::new(false), forgets, message: Vec::new() }
    }

    /// A message of `payload` (RFC 7692 §7.2.2).
    fn inflate(&mut self, payload: &[u8]) -> &[u8] {
        let Self { state, forgets, message } = self;
        message.clear();
        for mut part in [payload, &[0, 0, 0xFF, 0xFF]] {
            loop {
                message.reserve(64 << 10);
                let before = state.total_in();
                state.decompress_vec(part, message, FlushDecompress::None).unwrap();
                part = &part[usize::try_from(state.total_in() - before).unwrap()..];
                if part.is_empty() && message.len() < message.capacity() {
                    break;
                }
            }
        }
        if *forgets {
            state.reset(false);
        }
        message
    }
}

/// First byte, payload and length of the frame that `bytes` begins with, once it is whole.
fn split_frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&[first, second], _) = bytes.split_first_chunk()?;
    assert_eq!(second & 0x80, 0, "a server masked a frame");
    let (len, at) = match second {
        126 => (usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).unwrap(), 10),
        len => (usize::from(len), 2),
    };
    Some((first, bytes.get(at..at + len)?, at + len))
}

const RSV1: u8 = 0x40;

/// How long a whole load may take.
const PATIENCE: Duration = Duration::from_secs(60);
