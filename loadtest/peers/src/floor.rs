//! The floor: an echo by one thread and one poll, with nothing checked. Not a conforming server.
//!
//! Takes whole frames of up to 64 KiB; what is less than a frame waits for its rest, what the kernel refuses is lost.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::{Result, response};

struct Conn {
    stream: TcpStream,
    is_open: bool,
    /// Bytes of a frame, or of a request, that is not whole.
    part: Vec<u8>,
}

const LISTENER: Token = Token(usize::MAX);

pub fn serve(port: u16) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (mut events, mut conns) = (Events::with_capacity(1024), Vec::<Option<Conn>>::new());
    let (mut buf, mut out) = (vec![0; 256 << 10], Vec::new());
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() != LISTENER {
                let conn = &mut conns[event.token().0];
                if !conn.as_mut().is_none_or(|conn| turn(conn, &mut buf, &mut out)) {
                    *conn = None;
                }
                continue;
            }
            while let Ok((mut stream, _)) = listener.accept() {
                stream.set_nodelay(true)?;
                let free = conns.iter().position(Option::is_none).unwrap_or(conns.len());
                poll.registry().register(&mut stream, Token(free), Interest::READABLE)?;
                let conn = Some(Conn { stream, is_open: false, part: Vec::new() });
                if free == conns.len() { conns.push(conn) } else { conns[free] = conn }
            }
        }
    }
}

/// Reads until there is no more; false: the connection has ended.
fn turn(conn: &mut Conn, buf: &mut [u8], out: &mut Vec<u8>) -> bool {
    loop {
        let have = conn.part.len();
        buf[..have].copy_from_slice(&conn.part);
        conn.part.clear();
        let len = match conn.stream.read(&mut buf[have..]) {
            Ok(0) => return false,
            Ok(len) => have + len,
            Err(error) => {
                conn.part.extend_from_slice(&buf[..have]);
                return error.kind() == ErrorKind::WouldBlock;
            }
        };
        out.clear();
        if conn.is_open {
            let used = echo(&mut buf[..len], out);
            conn.part.extend_from_slice(&buf[used..len]);
        } else if buf[..len].ends_with(b"\r\n\r\n") {
            out.extend_from_slice(response(&buf[..len]).as_bytes());
            conn.is_open = true;
        } else {
            conn.part.extend_from_slice(&buf[..len]);
        }
        if !out.is_empty() && conn.stream.write_all(out).is_err() {
            return false;
        }
        if len < buf.len() {
            return true;
        }
    }
}

/// Appends the frames at the front of `input` to `out` without their masks; returns how much was used.
fn echo(input: &mut [u8], out: &mut Vec<u8>) -> usize {
    let mut at = 0;
    while let [first, second, rest @ ..] = &mut input[at..] {
        let short = usize::from(*second & 127);
        let (len, extended) = match (short, &*rest) {
            (126, [high, low, ..]) => (usize::from(*high) << 8 | usize::from(*low), 2),
            (126.., _) => break,
            (len, _) => (len, 0),
        };
        if rest.len() < extended + 4 + len {
            break;
        }
        out.push(*first);
        out.push(*second & 127);
        out.extend_from_slice(&rest[..extended]);
        let key: [u8; 4] = std::array::from_fn(|n| rest[extended + n]);
        let payload = &mut rest[extended + 4..extended + 4 + len];
        for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
            *byte ^= key;
        }
        out.extend_from_slice(payload);
        at += 2 + extended + 4 + len;
    }
    at
}
