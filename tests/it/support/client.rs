//! A client of bare bytes: sends whatever it is told to, and reads exactly what comes.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::DEADLINE;
use super::wire::{self, CLOSE, CONTINUATION, FIN, Frame, TEXT};

/// One connection. Every expectation has [`DEADLINE`] to come true.
#[derive(Debug)]
pub(crate) struct RawClient {
    pub(crate) stream: TcpStream,
    /// What was read and not taken yet.
    pub(crate) buf: Vec<u8>,
}

/// An HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Without the blank line: `HTTP/1.1 101 …\r\nName: value\r\n…`
    pub(crate) head: String,
    pub(crate) body: String,
}

impl RawClient {
    /// Connects, and says nothing.
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&addr, DEADLINE).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { stream, buf: Vec::new() }
    }

    /// The same from another of this machine's addresses.
    pub(crate) fn connect_from(from: impl Into<IpAddr>, addr: SocketAddr) -> Self {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(from.into(), 0).into()).unwrap();
        socket.connect_timeout(&addr.into(), DEADLINE).unwrap();
        socket.set_tcp_nodelay(true).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { stream: socket.into(), buf: Vec::new() }
    }

    /// Connects and completes the opening handshake.
    pub(crate) fn open(addr: SocketAddr) -> Self {
        let mut client = Self::connect(addr);
        client.send(wire::request());
        client.expect_open(wire::KEY);
        client
    }

    /// Sends `bytes` in one write.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends `bytes` in one write, which the server may refuse to take.
    pub(crate) fn send_in_vain(&mut self, bytes: impl AsRef<[u8]>) {
        let _gone = self.stream.write_all(bytes.as_ref());
    }

    /// Sends `bytes` and the FIN behind them in one segment, so that they raise one event.
    pub(crate) fn send_and_half_close(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let len = socket2::SockRef::from(&self.stream).send_with_flags(bytes, MSG_MORE).unwrap();
        assert_eq!(len, bytes.len());
        self.half_close();
    }

    /// Ends the client's half of the connection (FIN).
    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Ends the connection with an RST.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// The next frame.
    pub(crate) fn frame(&mut self) -> Frame {
        loop {
            if let Some((frame, len)) = Frame::parse(&self.buf) {
                self.buf.drain(..len);
                return frame;
            }
            self.read_more("a frame");
        }
    }

    /// The next message of text, in however many fragments it comes (RFC 6455 §5.4).
    pub(crate) fn text(&mut self) -> String {
        let Frame { mut first, mut payload } = self.frame();
        assert_eq!(first & !FIN, TEXT, "not text: {}", payload.escape_ascii());
        while first & FIN == 0 {
            let next = self.frame();
            assert_eq!(next.first & !FIN, CONTINUATION, "within a message");
            first = next.first;
            payload.extend(next.payload);
        }
        String::from_utf8(payload).unwrap()
    }

    pub(crate) fn expect(&mut self, expected: &Frame) {
        assert_eq!(self.frame(), *expected);
    }

    pub(crate) fn expect_text(&mut self, expected: &str) {
        self.expect(&Frame::text(expected));
    }

    /// The next frame is a Close with `code`; returns its reason.
    pub(crate) fn expect_close(&mut self, code: u16) -> String {
        let Frame { first, payload } = self.frame();
        assert_eq!(first, FIN | CLOSE, "not a Close: {}", payload.escape_ascii());
        let (&sent, reason) = payload.split_first_chunk().expect("a Close with a status code");
        let reason = String::from_utf8(reason.to_vec()).unwrap();
        assert_eq!(u16::from_be_bytes(sent), code, "closed because: {reason}");
        reason
    }

    /// The server ended the connection properly: nothing more came, then a FIN, not an RST.
    pub(crate) fn expect_eof(&mut self) {
        let left = self.read_to_eof();
        assert!(left.is_empty(), "before the end came: {}", left.escape_ascii());
    }

    /// All that comes before the server's FIN.
    pub(crate) fn read_to_eof(&mut self) -> Vec<u8> {
        while self.read_some("the end of the connection") > 0 {}
        std::mem::take(&mut self.buf)
    }

    /// All up to the next `end`, and with it.
    pub(crate) fn until(&mut self, end: &[u8]) -> String {
        loop {
            match self.buf.windows(end.len()).position(|bytes| bytes == end) {
                Some(at) => {
                    let bytes = self.buf.drain(..at + end.len()).collect();
                    return String::from_utf8(bytes).unwrap();
                }
                None => self.read_more("the end of a part"),
            }
        }
    }

    /// The next HTTP response, with as much body as it declares.
    pub(crate) fn response(&mut self) -> Response {
        let head_len = loop {
            match self.buf.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.read_more("a response"),
            }
        };
        let head = String::from_utf8(self.buf.drain(..head_len).collect()).unwrap();
        let status = head.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
        let mut response = Response { status, head, body: String::new() };
        if response.values("transfer-encoding") == ["chunked"] {
            response.body = String::from_utf8(self.chunks()).unwrap();
            return response;
        }
        let body_len =
            response.values("content-length").first().map_or(0, |len| len.parse().unwrap());
        while self.buf.len() < body_len {
            self.read_more("a response's body");
        }
        response.body = String::from_utf8(self.buf.drain(..body_len).collect()).unwrap();
        response
    }

    /// A body in chunks (RFC 9112 §7.1).
    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.until(b"\r\n");
            let len = usize::from_str_radix(line.trim_end(), 16).unwrap();
            while self.buf.len() < len + 2 {
                self.read_more("a chunk");
            }
            body.extend(self.buf.drain(..len));
            assert_eq!(self.buf.drain(..2).collect::<Vec<u8>>(), b"\r\n");
            if len == 0 {
                return body;
            }
        }
    }

    /// The next response is the 101 that answers `key`.
    pub(crate) fn expect_open(&mut self, key: &str) -> Response {
        let response = self.response();
        assert_eq!(response.status, 101, "{}{}", response.head, response.body);
        assert_eq!(response.values("sec-websocket-accept"), [wire::accept_of(key)]);
        response
    }

    /// Sends a text that nobody sent before and waits for its echo.
    pub(crate) fn expect_echo(&mut self, text: &str) {
        self.send(wire::text(text));
        self.expect_text(text);
    }

    /// The same, where Pings may come before it, which are answered.
    pub(crate) fn expect_echo_behind_pings(&mut self, text: &str) {
        self.send(wire::text(text));
        self.expect_behind_pings(&Frame::text(text));
    }

    /// The next frame but for Pings, which are answered as far as the client's half is still open.
    pub(crate) fn expect_behind_pings(&mut self, expected: &Frame) {
        loop {
            let frame = self.frame();
            if frame != Frame::empty_ping() {
                return assert_eq!(frame, *expected);
            }
            self.send_in_vain(wire::pong(b""));
        }
    }

    /// For so long nothing comes but Pings, which are answered.
    pub(crate) fn expect_nothing_but_pings_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.is_readable_within(left) {
                return;
            }
            self.expect(&Frame::empty_ping());
            self.send(wire::pong(b""));
        }
    }

    /// Whether something comes within `time`: an answer, or the end.
    pub(crate) fn is_readable_within(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        match self.stream.peek(&mut [0]) {
            Ok(_) => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                false
            }
            Err(error) => panic!("the connection broke: {error}"),
        }
    }

    /// Whether the connection ends within `time`, be it with an RST.
    pub(crate) fn is_over_within(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        match self.stream.peek(&mut [0]) {
            Ok(len) => len == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    /// Reads at least one byte, which `expected` needs.
    fn read_more(&mut self, expected: &str) {
        let before = self.buf.len();
        let len = self.read_some(expected);
        assert!(
            len > 0,
            "expected {expected}, got the end behind: {}",
            self.buf[..before.min(500)].escape_ascii()
        );
    }

    /// Reads once, under the deadline. Zero: the server's FIN.
    fn read_some(&mut self, expected: &str) -> usize {
        let deadline = Instant::now() + DEADLINE;
        let mut room = vec![0; 256 * 1024];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
            match self.stream.read(&mut room) {
                Ok(len) => {
                    self.buf.extend_from_slice(&room[..len]);
                    return len;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!(
                    "expected {expected}, got {error} behind: {}",
                    self.buf[..self.buf.len().min(500)].escape_ascii()
                ),
            }
        }
    }
}

impl Response {
    /// All values under `name`, which is in lower case.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }
}

/// A second connection, whose round trips show that the server took in whatever was sent before them.
///
/// Loopback delivers before `send` returns, and the loop serves events in their order.
#[derive(Debug)]
pub(crate) struct Witness {
    client: RawClient,
    trips: u32,
}

impl Witness {
    /// The server at `addr` must be an echo.
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self { client: RawClient::open(addr), trips: 0 }
    }

    /// Returns after the server has seen all that was sent to it before.
    pub(crate) fn round_trip(&mut self) {
        self.trips += 1;
        let trip = format!("trip {}", self.trips);
        self.client.expect_echo_behind_pings(&trip);
    }
}

/// Has the kernel wait for more before it sends (send(2)); elsewhere the FIN may come in a segment of its own.
const MSG_MORE: i32 = if cfg!(target_os = "linux") { 0x8000 } else { 0 };
