//! Floods: numbered messages, sent faster than anyone reads, and checked byte by byte when they come back.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;

use super::DEADLINE;
use super::client::{RawClient, Witness};
use super::wire::{self, BINARY, CLOSE, FIN, Frame};

/// Messages without end. Message `n` is made of `n` alone, and has the length `lens[n % lens.len()]`.
#[derive(Clone, Debug)]
pub(crate) struct Flood {
    lens: Vec<usize>,
    pattern: Vec<u8>,
}

/// How far a client came that sent without reading.
#[derive(Debug)]
pub(crate) struct Pushed {
    /// Messages of which at least one byte was sent.
    pub(crate) count: u64,
    /// What is left to send of the last of them.
    pub(crate) rest: Vec<u8>,
}

impl Flood {
    pub(crate) fn new(lens: &[usize]) -> Self {
        let pattern_len = lens.iter().max().unwrap() + SHIFTS;
        let pattern = (0..pattern_len).map(|at| (at ^ (at >> 8)).to_le_bytes()[0]);
        Self { lens: lens.into(), pattern: pattern.collect() }
    }

    /// A client's frame with message `number`, under the masking key 0, which the server must remove all the same.
    pub(crate) fn message(&self, number: u64) -> Vec<u8> {
        let payload = self.payload(number);
        [wire::header(FIN | BINARY, payload.len() as u64, [0; 4]), payload].concat()
    }

    /// The server's frame with message `number`.
    pub(crate) fn echo(&self, number: u64) -> Vec<u8> {
        let payload = self.payload(number);
        let mut frame = wire::header(FIN | BINARY, payload.len() as u64, [0; 4]);
        frame.truncate(frame.len() - 4);
        frame[1] &= 0x7F;
        [frame, payload].concat()
    }

    fn payload(&self, number: u64) -> Vec<u8> {
        let len = self.lens[usize::try_from(number).unwrap() % self.lens.len()];
        let shift = usize::try_from(number).unwrap() % SHIFTS;
        let mut payload = self.pattern[shift..shift + len].to_vec();
        let numbered = len.min(8);
        payload[..numbered].copy_from_slice(&number.to_le_bytes()[..numbered]);
        payload
    }

    /// Sends messages from 0 on, below `most`, and reads nothing, until the server takes no more for good: for as long
    /// as it takes to serve `witness` many times.
    pub(crate) fn push(&self, client: &RawClient, most: u64, witness: &mut Witness) -> Pushed {
        client.stream.set_nonblocking(true).unwrap();
        let mut pushed = Pushed { count: 0, rest: Vec::new() };
        let mut in_vain = 0;
        while in_vain < IN_VAIN_MAX && (pushed.count < most || !pushed.rest.is_empty()) {
            if pushed.rest.is_empty() {
                pushed.rest = self.message(pushed.count);
                pushed.count += 1;
            }
            match (&client.stream).write(&pushed.rest) {
                Ok(len) => {
                    pushed.rest.drain(..len);
                    in_vain = 0;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    witness.round_trip();
                    in_vain += 1;
                }
                Err(error) => panic!("the connection broke: {error}"),
            }
        }
        client.stream.set_nonblocking(false).unwrap();
        pushed
    }

    /// Sends the rest of what was pushed, then the messages up to `end`; waits while the server does not read.
    pub(crate) fn send_on(&self, mut stream: &TcpStream, pushed: &Pushed, end: u64) {
        stream.write_all(&pushed.rest).unwrap();
        let mut batch = Vec::new();
        for number in pushed.count..end {
            batch.extend(self.message(number));
            if batch.len() > BATCH_BYTES || number + 1 == end {
                stream.write_all(&batch).unwrap();
                batch.clear();
            }
        }
    }

    /// The next bytes are the echoes of these messages, and nothing between them.
    pub(crate) fn expect(&self, client: &mut RawClient, numbers: Range<u64>) {
        client.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut numbers = numbers.peekable();
        let mut room = vec![0; BATCH_BYTES];
        while let Some(first) = numbers.peek().copied() {
            let mut expected = Vec::new();
            while expected.len() < BATCH_BYTES
                && let Some(number) = numbers.next()
            {
                expected.extend(self.echo(number));
            }
            while client.buf.len() < expected.len() {
                let len = client.stream.read(&mut room).unwrap();
                assert!(len > 0, "the end came within the echoes from number {first} on");
                client.buf.extend_from_slice(&room[..len]);
            }
            let wrong = expected.iter().zip(&client.buf).position(|(a, b)| a != b);
            assert_eq!(wrong, None, "the first wrong byte of the echoes from number {first} on");
            client.buf.drain(..expected.len());
        }
    }

    /// Expects echoes from number 0 on until a Close is next, and tells how many they were.
    pub(crate) fn expect_until_close(&self, client: &mut RawClient) -> u64 {
        for number in 0.. {
            let frame = client.frame();
            if frame.first == FIN | CLOSE {
                let len = u8::try_from(frame.payload.len()).unwrap();
                client.buf.splice(..0, [&[frame.first, len][..], &frame.payload].concat());
                return number;
            }
            let expected = Frame { first: FIN | BINARY, payload: self.payload(number) };
            assert_eq!(frame, expected, "number {number}");
        }
        unreachable!("there are fewer numbers than that")
    }
}

/// Connects with a receive buffer of about `rcvbuf` bytes, and completes the opening handshake.
pub(crate) fn open_with_rcvbuf(addr: SocketAddr, rcvbuf: usize) -> RawClient {
    let mut client = connect_with_rcvbuf(addr, rcvbuf);
    client.send(wire::request());
    client.expect_open(wire::KEY);
    client
}

/// Connects with a receive buffer of about `rcvbuf` bytes, and says nothing.
pub(crate) fn connect_with_rcvbuf(addr: SocketAddr, rcvbuf: usize) -> RawClient {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(rcvbuf).unwrap();
    socket.connect_timeout(&addr.into(), DEADLINE).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    socket.set_write_timeout(Some(DEADLINE)).unwrap();
    RawClient { stream: socket.into(), buf: Vec::new() }
}

/// Messages of the same length differ from each other in more than their number.
const SHIFTS: usize = 251;

/// Round trips of the witness without a byte taken after which none will be.
const IN_VAIN_MAX: usize = 50;

const BATCH_BYTES: usize = 256 * 1024;
