//! One peer's byte stream: the only place that reads from and writes to a connected socket.
//!
//! An enum, matched once per system call, so that TLS stays off the plain path. Retries nothing but `Interrupted`, and
//! knows no deadlines. Over plain TCP it keeps no bytes; what it keeps over TLS is told in `tls`.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;

use crate::net::socket::tls::TlsLink;

/// A connected socket of the kernel's.
#[cfg(not(test))]
pub type Stream = mio::net::TcpStream;
/// The same, or in tests one of a script.
#[cfg(test)]
pub use crate::net::simulation::Stream;

/// A connected socket, non-blocking, registered once with the loop's poll.
#[derive(Debug)]
pub enum Link {
    /// A stream socket as it is: TCP, or a Unix socket in TCP's type. The calls made here (recv, send, shutdown) are the
    /// same for both, and one type keeps a match off the hot path.
    Plain(Stream),
    /// TLS over it.
    Tls(Box<TlsLink>),
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Over TLS: bytes, but no data in them, such as a part of a record or of the TLS handshake.
    NoData {
        /// Whether they were answered with handshake messages, which costs private-key operations.
        made_flight: bool,
    },
    /// Nothing now; an event will come.
    WouldBlock,
    /// The peer ended its half of the connection (FIN; over TLS close_notify).
    End,
    /// The connection broke (RST, time-out in the kernel; over TLS also a FIN without close_notify).
    Broken,
    /// The peer broke TLS. The alert that says so is written or held; data will not come any more.
    Failed,
}

/// What a write achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// The kernel took so many bytes; fewer than offered means that its buffer is full.
    Bytes(usize),
    /// Over TLS: the link took so many bytes, and holds ciphertext that the kernel did not take.
    Held(usize),
    /// The connection broke.
    Broken,
}

impl Link {
    /// Reads once into `buf`, at most `at_most` bytes of the socket. Neither may be empty, and over TLS `buf` must have
    /// `tls::READ_ROOM_MIN` bytes.
    pub fn read(&mut self, buf: &mut [u8], at_most: usize) -> Fill {
        match self {
            Self::Plain(stream) => {
                let room = buf.len().min(at_most);
                read_once(stream, &mut buf[..room])
            }
            Self::Tls(tls) => tls.read(&mut [], buf, at_most),
        }
    }

    /// Reads once into `first`, then `second`, of which the same is asked as of `read`'s.
    pub fn read_both(&mut self, first: &mut [u8], second: &mut [u8], at_most: usize) -> Fill {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => return tls.read(first, second, at_most),
        };
        let in_first = first.len().min(at_most);
        let in_second = second.len().min(at_most - in_first);
        let mut bufs =
            [IoSliceMut::new(&mut first[..in_first]), IoSliceMut::new(&mut second[..in_second])];
        loop {
            match stream.read_vectored(&mut bufs) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Fill::from(result),
            }
        }
    }

    /// Whether the socket was empty behind a read that brought `len` bytes for `room`: a short read means so (epoll(7)).
    pub const fn is_drained(&self, len: usize, room: usize) -> bool {
        match self {
            Self::Plain(_) => len < room,
            Self::Tls(tls) => tls.is_drained(),
        }
    }

    /// Writes `bytes` once, as far as the kernel takes them.
    pub fn write(&mut self, bytes: &[u8]) -> Drained {
        match self {
            Self::Plain(stream) => write_once(stream, bytes),
            Self::Tls(tls) => tls.write(&[IoSlice::new(bytes)]),
        }
    }

    /// Writes all `slices` once (writev), as far as the kernel takes them.
    pub fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> Drained {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => return tls.write(slices),
        };
        loop {
            match stream.write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Drained::from(result),
            }
        }
    }

    /// Writes what the link holds. [`Drained::Bytes`]: it holds nothing.
    pub fn flush(&mut self) -> Drained {
        match self {
            Self::Plain(_) => Drained::Bytes(0),
            Self::Tls(tls) => tls.flush(),
        }
    }

    /// Bytes that were taken, and wait in the link for the kernel.
    pub const fn held_bytes(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(tls) => tls.held_bytes(),
        }
    }

    /// Whether it is a TLS session.
    pub const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether nothing can be sent yet, since the TLS handshake goes on.
    pub fn is_handshaking(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.is_handshaking(),
        }
    }

    /// Sends our FIN, over TLS behind a close_notify. [`Drained::Held`]: call it again once nothing is held.
    ///
    /// An error means that the connection is gone already, which its next event shows.
    pub fn end_output(&mut self) -> Drained {
        match self {
            Self::Plain(stream) => {
                end_once(stream);
                Drained::Bytes(0)
            }
            Self::Tls(tls) => tls.end_output(),
        }
    }

    /// Says over TLS that nothing more comes, to a peer that ended its half already. The FIN comes with the socket's end.
    pub fn end_session(&mut self) -> Drained {
        match self {
            Self::Plain(_) => Drained::Bytes(0),
            Self::Tls(tls) => tls.end_session(),
        }
    }

    /// Behind [`Fill::Failed`]: what broke TLS, in an operator's words and in the library's.
    pub fn breach(&self) -> (&'static str, Option<&impl fmt::Display>) {
        match self {
            Self::Plain(_) => ("there is no TLS", None),
            Self::Tls(tls) => tls.breach(),
        }
    }

    /// Where TLS was to begin behind a proxy's header, it begins now, with the `early` bytes that were read of it. False:
    /// there is no TLS, and these bytes are the caller's.
    pub fn begin_tls(&mut self, early: &[u8]) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => {
                tls.begin(early);
                true
            }
        }
    }

    /// The socket, for registering it.
    pub const fn source(&mut self) -> &mut Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => tls.source(),
        }
    }
}

/// Reads once.
pub(crate) fn read_once(stream: &mut Stream, buf: &mut [u8]) -> Fill {
    loop {
        match stream.read(buf) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return Fill::from(result),
        }
    }
}

/// Writes once.
pub(crate) fn write_once(stream: &mut Stream, bytes: &[u8]) -> Drained {
    loop {
        match stream.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return Drained::from(result),
        }
    }
}

/// Sends our FIN.
pub(crate) fn end_once(stream: &Stream) {
    let _gone = stream.shutdown(Shutdown::Write);
}

impl From<io::Result<usize>> for Fill {
    fn from(result: io::Result<usize>) -> Self {
        match result {
            Ok(0) => Self::End,
            Ok(len) => Self::Bytes(len),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Self::WouldBlock,
            Err(_) => Self::Broken,
        }
    }
}

impl From<io::Result<usize>> for Drained {
    fn from(result: io::Result<usize>) -> Self {
        match result {
            Ok(len) => Self::Bytes(len),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Self::Bytes(0),
            Err(_) => Self::Broken,
        }
    }
}
