//! One peer's byte stream: the only place that reads from and writes to a connected socket.
//!
//! An enum, matched once per system call, so that TLS can be a second variant and stay off the plain path.
//! Retries nothing but `Interrupted`, keeps no bytes, and knows no deadlines.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;

/// A connected socket, non-blocking, registered once with the loop's poll.
#[derive(Debug)]
pub enum Link {
    /// A stream socket as it is: TCP, or a Unix socket in TCP's type. The calls made here (recv, send, shutdown) are the
    /// same for both, and one type keeps a match off the hot path.
    Plain(TcpStream),
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing now; an event will come.
    WouldBlock,
    /// The peer ended its half of the connection (FIN).
    End,
    /// The connection broke (RST, time-out in the kernel).
    Broken,
}

/// What a write achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// The kernel took so many bytes; fewer than offered means that its buffer is full.
    Bytes(usize),
    /// The connection broke.
    Broken,
}

impl Link {
    /// Reads once into `buf`, which must not be empty.
    pub fn read(&mut self, buf: &mut [u8]) -> Fill {
        let Self::Plain(stream) = self;
        loop {
            match stream.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Fill::from(result),
            }
        }
    }

    /// Reads once into `first`, then `second`.
    pub fn read_both(&mut self, first: &mut [u8], second: &mut [u8]) -> Fill {
        let Self::Plain(stream) = self;
        let mut bufs = [IoSliceMut::new(first), IoSliceMut::new(second)];
        loop {
            match stream.read_vectored(&mut bufs) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Fill::from(result),
            }
        }
    }

    /// Writes `bytes` once, as far as the kernel takes them.
    pub fn write(&mut self, bytes: &[u8]) -> Drained {
        let Self::Plain(stream) = self;
        loop {
            match stream.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Drained::from(result),
            }
        }
    }

    /// Writes all `slices` once (writev), as far as the kernel takes them.
    pub fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> Drained {
        let Self::Plain(stream) = self;
        loop {
            match stream.write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Drained::from(result),
            }
        }
    }

    /// Sends our FIN. An error means that the connection is gone already, which its next event shows.
    pub fn end_output(&mut self) {
        let Self::Plain(stream) = self;
        let _gone = stream.shutdown(Shutdown::Write);
    }

    /// The socket, for registering it.
    pub const fn source(&mut self) -> &mut TcpStream {
        let Self::Plain(stream) = self;
        stream
    }
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
