//! A WebSocket echo server that can be wrong in one way, once; a thread for each connection.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64::Engine as _;
use sha1::Digest as _;
use socket2::{Domain, Socket, Type};

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
    addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    fault: Fault,
    ends: AtomicBool,
    accepted: AtomicU32,
    /// Connections that ended by a Close frame.
    closed: AtomicU32,
    streams: Mutex<Vec<TcpStream>>,
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
        let listener = listen(port, backlog);
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            fault,
            ends: AtomicBool::new(false),
            accepted: AtomicU32::new(0),
            closed: AtomicU32::new(0),
            streams: Mutex::default(),
            messages: Mutex::new(0),
            message_came: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = thread::spawn(move || accept(&listener, &accepting));
        Self { addr, shared, acceptor: Some(acceptor) }
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
        format!("ws://{}/echo", self.addr)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        for stream in self.shared.streams.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.addr);
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().unwrap();
        }
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

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    if let Fault::SlowAccept(millis) = shared.fault {
        thread::sleep(Duration::from_millis(millis));
    }
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        if shared.ends.load(Ordering::SeqCst) {
            break;
        }
        stream.set_nodelay(true).unwrap();
        shared.streams.lock().unwrap().push(stream.try_clone().unwrap());
        let shared = Arc::clone(shared);
        threads.push(thread::spawn(move || {
            // The client hangs up, or the test does: both are an error here, and neither is one.
            let _ = serve(&stream, &shared);
            if shared.fault != Fault::Reset {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }));
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

/// What a server says that takes no more.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

/// One connection, from its request to its end.
fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
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
            Fault::Reset => return reset(stream, shared),
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
fn reset(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
    let peer = stream.peer_addr()?;
    shared.streams.lock().unwrap().retain(|other| other.peer_addr().ok() != Some(peer));
    Ok(())
}

/// Reads an upgrade request; returns its key.
pub(crate) fn read_request(reader: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        reader.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    Ok(key.expect("a key").to_owned())
}

/// The response that opens the connection.
pub(crate) fn response(key: &str) -> Vec<u8> {
    let hash = sha1::Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    let accept = base64::engine::general_purpose::STANDARD.encode(hash);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes()
}

/// Reads a client's frame: its opcode and its payload, unmasked.
pub(crate) fn read_frame(reader: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    reader.read_exact(&mut head)?;
    assert_eq!((head[0] & 0xF0, head[1] & 0x80), (0x80, 0x80), "FIN and MASK");
    let len = match head[1] & 0x7F {
        126 => {
            let mut bytes = [0; 2];
            reader.read_exact(&mut bytes)?;
            u64::from(u16::from_be_bytes(bytes))
        }
        127 => {
            let mut bytes = [0; 8];
            reader.read_exact(&mut bytes)?;
            u64::from_be_bytes(bytes)
        }
        short => u64::from(short),
    };
    let mut key = [0; 4];
    reader.read_exact(&mut key)?;
    let mut payload = vec![0; usize::try_from(len).unwrap()];
    reader.read_exact(&mut payload)?;
    for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
    Ok((head[0] & 15, payload))
}

/// A server's frame.
pub(crate) fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first_byte];
    match payload.len() {
        len @ 0..126 => frame.push(u8::try_from(len).unwrap()),
        len @ 126..65_536 => {
            frame.push(126);
            frame.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            frame.push(127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}
