//! A WebSocket echo server that can be wrong in one way, once; a thread for each connection.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::stub::{Streams, Stub};
use crate::wire::{frame, read_frame, read_request, response};

/// How a server is wrong. What happens once happens to the eighth message of the first connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not at all.
    None,
    /// Answers every upgrade with this.
    Answer(&'static str),
    /// Accepts and says nothing.
    Silence,
    /// Answers every upgrade with another key's proof.
    WrongAccept,
    /// Answers no Ping.
    Mute,
    /// Greets every connection.
    Greeting,
    /// Sends every reply in three fragments, with a Ping between, whose Pong it insists on.
    Fragments,
    /// Flips one bit of a reply, once.
    FlippedBit,
    /// Changes the opcode of a reply, once.
    WrongOpcode,
    /// Leaves the last byte of a reply out, once.
    Short,
    /// Sends a frame with a reserved bit, once.
    ReservedBit,
    /// Keeps a reply to itself, once.
    Dropped,
    /// Sends a reply twice, once.
    Duplicated,
    /// Sends a reply after the next one, once.
    Swapped,
    /// Sends a reply late by this many milliseconds, once.
    Late(u64),
    /// Takes this many milliseconds for every reply.
    Slow(u64),
    /// Breaks the connection, once.
    Reset,
    /// Closes the connection, once.
    Closed,
    /// Answers the upgrades of all but the first so many connections with 503.
    Full(u32),
    /// Lets few connections wait to be accepted, and accepts none for this many milliseconds.
    SlowAccept(u64),
}

/// A server on a port of its own. Ends, with its threads, when it is dropped.
pub(crate) struct Server {
    stub: Stub,
    shared: Arc<Shared>,
}

struct Shared {
    fault: Fault,
    accepted: AtomicU32,
    /// Connections that ended by a Close frame.
    closed: AtomicU32,
    /// Messages that came, on all connections.
    messages: Mutex<u32>,
    message_came: Condvar,
}

impl Server {
    /// A server with this fault.
    pub(crate) fn start(fault: Fault) -> Self {
        Self::start_on(0, fault)
    }

    /// The same, on this port.
    pub(crate) fn start_on(port: u16, fault: Fault) -> Self {
        let backlog = if matches!(fault, Fault::SlowAccept(_)) { 1 } else { 1024 };
        let shared = Arc::new(Shared {
            fault,
            accepted: AtomicU32::new(0),
            closed: AtomicU32::new(0),
            messages: Mutex::new(0),
            message_came: Condvar::new(),
        });
        let delay = match fault {
            Fault::SlowAccept(millis) => Duration::from_millis(millis),
            _ => Duration::ZERO,
        };
        let serving = Arc::clone(&shared);
        let stub = Stub::start(listen(port, backlog), delay, move |stream, streams| {
            // The client hangs up, or the test does: both are an error here, and neither is one.
            let _ = serve(stream, streams, &serving);
            if serving.fault != Fault::Reset {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        Self { stub, shared }
    }

    /// Waits until so many messages came, half a minute at the most.
    pub(crate) fn wait_for_messages(&self, count: u32) {
        let messages = self.shared.messages.lock().unwrap();
        let came = &self.shared.message_came;
        let deadline = Duration::from_secs(30);
        let waited = came.wait_timeout_while(messages, deadline, |came| *came < count).unwrap();
        assert!(!waited.1.timed_out(), "no {count} messages came");
    }

    /// Connections that were accepted, and those of them that ended by a Close frame.
    pub(crate) fn accepted_and_closed(&self) -> (u32, u32) {
        let read = |count: &AtomicU32| count.load(Ordering::SeqCst);
        (read(&self.shared.accepted), read(&self.shared.closed))
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}/echo", self.stub.addr())
    }
}

/// A listener with a queue of this length.
fn listen(port: u16, backlog: i32) -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
    socket.listen(backlog).unwrap();
    socket.into()
}

/// What a server says that takes no more.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

/// One connection, from its request to its end.
fn serve(stream: &TcpStream, streams: &Streams, shared: &Shared) -> io::Result<()> {
    let index = shared.accepted.fetch_add(1, Ordering::SeqCst);
    let mut reader = BufReader::new(stream);
    let key = read_request(&mut reader)?;
    let mut writer = stream;
    match shared.fault {
        Fault::Answer(answer) => return writer.write_all(answer.as_bytes()),
        Fault::Full(first) if index >= first => return writer.write_all(FULL),
        Fault::Silence => return reader.read_exact(&mut [0]),
        Fault::WrongAccept => writer.write_all(&response("bm90IHRoZSBrZXkgYXQgYWxs"))?,
        _ => writer.write_all(&response(&key))?,
    }
    if shared.fault == Fault::Greeting {
        writer.write_all(&frame(0x81, b"Welcome"))?;
    }
    let (mut held, mut out) = (Vec::new(), Vec::new());
    for number in 0.. {
        let (opcode, payload) = read_frame(&mut reader)?;
        if opcode == 9 {
            if shared.fault != Fault::Mute {
                writer.write_all(&frame(0x8A, &payload))?;
            }
            continue;
        }
        if opcode == 8 {
            shared.closed.fetch_add(1, Ordering::SeqCst);
            return writer.write_all(&frame(0x88, &payload));
        }
        if shared.fault == Fault::Fragments {
            return serve_fragments(reader, writer, (opcode, payload));
        }
        *shared.messages.lock().unwrap() += 1;
        shared.message_came.notify_all();
        if let Fault::Slow(millis) = shared.fault {
            thread::sleep(Duration::from_millis(millis));
        }
        let faulty = if index == 0 && number == 7 { shared.fault } else { Fault::None };
        let mut reply = reply(faulty, opcode, payload)?;
        match faulty {
            Fault::Reset => return reset(stream, streams),
            Fault::Swapped => held = std::mem::take(&mut reply),
            _ => reply.append(&mut held),
        }
        out.append(&mut reply);
        // What came at once is answered at once, so that a backlog is soon worked off.
        if reader.buffer().is_empty() {
            writer.write_all(&out)?;
            out.clear();
        }
    }
    Ok(())
}

/// The reply to a message, spoilt by `fault`.
fn reply(fault: Fault, opcode: u8, mut payload: Vec<u8>) -> io::Result<Vec<u8>> {
    let first_byte = 0x80 | opcode;
    let last = payload.len() - 1;
    Ok(match fault {
        Fault::FlippedBit => {
            payload[last] ^= 1;
            frame(first_byte, &payload)
        }
        Fault::WrongOpcode => frame(first_byte ^ 3, &payload),
        Fault::Short => frame(first_byte, &payload[..last]),
        Fault::ReservedBit => frame(first_byte | 0x40, &payload),
        Fault::Dropped => Vec::new(),
        Fault::Duplicated => [frame(first_byte, &payload), frame(first_byte, &payload)].concat(),
        Fault::Late(millis) => {
            thread::sleep(Duration::from_millis(millis));
            frame(first_byte, &payload)
        }
        Fault::Closed => return Err(io::Error::other("closes")),
        _ => frame(first_byte, &payload),
    })
}

/// Answers `first`, and what follows, in three fragments with a Ping before the last; every Ping must be answered.
fn serve_fragments(
    mut reader: BufReader<&TcpStream>,
    mut writer: &TcpStream,
    first: (u8, Vec<u8>),
) -> io::Result<()> {
    let mut unanswered_pings = 0;
    let mut next = first;
    loop {
        let (opcode, payload) = next;
        match opcode {
            8 => {
                assert_eq!(unanswered_pings, 0);
                return writer.write_all(&frame(0x88, &payload));
            }
            10 => {
                assert_eq!(payload, b"there?");
                unanswered_pings -= 1;
            }
            _ => {
                let (a, rest) = payload.split_at(payload.len() / 3);
                let (b, c) = rest.split_at(rest.len() / 2);
                let parts = [frame(opcode, a), frame(0, b), frame(0x89, b"there?"), frame(0x80, c)];
                writer.write_all(&parts.concat())?;
                unanswered_pings += 1;
            }
        }
        next = read_frame(&mut reader)?;
    }
}

/// Ends the connection with an RST: lingering for no time, once the last handle is dropped.
fn reset(stream: &TcpStream, streams: &Streams) -> io::Result<()> {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
    streams.forget(stream);
    Ok(())
}
