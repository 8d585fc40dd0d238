//! A connection's byte stream: the only place that reads from and writes to a connected socket.
//!
//! An enum, matched once per system call, so that TLS stays off the path of the others. Retries nothing but
//! `Interrupted`, keeps no bytes, reads no clock, and knows no frames.

use std::io::{self, IoSliceMut, Read, Write};
use std::os::fd::AsRawFd as _;

use mio::Interest;
use mio::Registry;
use mio::Token;
use mio::net::{TcpStream, UnixStream};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};

use crate::time::clock::SECOND_NS;

use crate::wire::tls::{Connector, TlsFailure, TlsLink};

/// A socket that connects or is connected, non-blocking.
#[derive(Debug)]
pub(crate) enum Link {
    /// TCP as it is.
    Tcp(Tcp),
    /// TLS over TCP.
    Tls(Box<TlsLink>),
    /// A Unix socket.
    Unix(UnixStream),
}

/// A TCP socket.
#[derive(Debug)]
pub(crate) struct Tcp {
    stream: TcpStream,
    /// The kernel was told to say when it received what a read brings.
    is_stamped: bool,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// So many bytes; with TLS it can be none.
    Bytes {
        /// How many.
        len: usize,
        /// What is behind them.
        rest: Rest,
        /// When the kernel received the last of them, ns of CLOCK_REALTIME; `None`: it does not say.
        stamp_ns: Option<u64>,
    },
    /// Nothing; an event will come.
    WouldBlock,
    /// The server ended its half.
    End,
}

/// Whether there was more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// The read was short, so the socket is drained (epoll(7)), unless its end is there too.
    Drained,
    /// The space was full: read again.
    Unknown,
}

/// What writing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// So many bytes are on their way, at least one.
    Bytes(usize),
    /// There is no room; an event will come.
    WouldBlock,
}

/// How far a link is from carrying bytes of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secured {
    /// It carries them.
    Yes,
    /// An event will come.
    NotYet,
}

/// Why a link is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkError {
    /// The system said no: refused, reset, unreachable.
    Io(io::ErrorKind),
    /// TLS did.
    Tls(TlsFailure),
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}

impl Link {
    /// Has `registry` report every event of the socket under `token`.
    ///
    /// # Errors
    ///
    /// What epoll_ctl(2) says.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(tcp) => registry.register(&mut tcp.stream, token, interest),
            Self::Tls(link) => registry.register(&mut link.socket().stream, token, interest),
            Self::Unix(stream) => registry.register(stream, token, interest),
        }
    }

    /// Whether connect(2) is over, which an event may tell.
    ///
    /// # Errors
    ///
    /// That it failed, and why.
    pub(crate) fn is_connected(&mut self) -> Result<bool, LinkError> {
        let (error, peer) = match self {
            Self::Tcp(Tcp { stream, .. }) => (stream.take_error()?, stream.peer_addr().map(drop)),
            Self::Tls(link) => {
                let stream = &link.socket().stream;
                (stream.take_error()?, stream.peer_addr().map(drop))
            }
            Self::Unix(stream) => (stream.take_error()?, stream.peer_addr().map(drop)),
        };
        match (error, peer) {
            (Some(error), _) => Err(error.into()),
            (None, Ok(())) => Ok(true),
            (None, Err(error)) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            (None, Err(error)) => Err(error.into()),
        }
    }

    /// The link with TLS over it, if it is a bare TCP connection.
    ///
    /// # Errors
    ///
    /// That there is no randomness.
    pub(crate) fn over_tls(self, connector: &Connector) -> io::Result<Self> {
        match self {
            Self::Tcp(tcp) => Ok(Self::Tls(Box::new(connector.wrap(tcp)?))),
            link @ (Self::Tls(_) | Self::Unix(_)) => Ok(link),
        }
    }

    /// Goes on with the TLS handshake, where there is one. `wire` is for what is read.
    ///
    /// # Errors
    ///
    /// Why there will be no TLS.
    pub(crate) fn secure(&mut self, wire: &mut [u8]) -> Result<Secured, LinkError> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(Secured::Yes),
            Self::Tls(link) => link.secure(wire),
        }
    }

    /// Whether [`Self::secure`] has anything to do.
    pub(crate) const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Reads once into `buf`, which must not be empty; by way of `wire`, if it has to be decrypted.
    ///
    /// # Errors
    ///
    /// That the connection broke.
    pub(crate) fn read(&mut self, buf: &mut [u8], wire: &mut [u8]) -> Result<Fill, LinkError> {
        match self {
            Self::Tcp(tcp) => Ok(tcp.read(buf)?),
            Self::Tls(link) => link.read(buf, wire),
            Self::Unix(stream) => Ok(filled(buf.len(), || Ok((stream.read(buf)?, None)))?),
        }
    }

    /// Writes `bytes` once, as far as there is room.
    ///
    /// # Errors
    ///
    /// That the connection broke.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<Drained, LinkError> {
        match self {
            Self::Tcp(tcp) => Ok(write(&mut tcp.stream, bytes)?),
            Self::Tls(link) => link.write(bytes),
            Self::Unix(stream) => Ok(write(stream, bytes)?),
        }
    }

    /// Writes what waits inside the link: records that the kernel had no room for.
    ///
    /// # Errors
    ///
    /// That the connection broke.
    pub(crate) fn flush(&mut self) -> Result<(), LinkError> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
            Self::Tls(link) => link.flush(),
        }
    }

    /// Says goodbye, where the link has a word for it.
    pub(crate) fn end(&mut self) {
        match self {
            Self::Tcp(_) | Self::Unix(_) => {}
            Self::Tls(link) => link.end(),
        }
    }
}

impl Tcp {
    /// `stream`, whose reads tell when the kernel received what they bring, if `is_stamped` and it can say.
    pub(crate) fn new(stream: TcpStream, is_stamped: bool) -> Self {
        let is_stamped =
            is_stamped && setsockopt(&stream, sockopt::ReceiveTimestampns, &true).is_ok();
        Self { stream, is_stamped }
    }

    /// The socket, to be written to.
    pub(crate) const fn writer(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// One read.
    ///
    /// # Errors
    ///
    /// That the connection broke.
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> io::Result<Fill> {
        let room = buf.len();
        if self.is_stamped {
            filled(room, || self.stream.try_io(|| receive(&self.stream, buf)))
        } else {
            filled(room, || Ok((self.stream.read(buf)?, None)))
        }
    }
}

/// Room for a `struct timespec` with its header, aligned as the header has to be.
#[repr(align(8))]
struct Control([u8; 64]);

/// One recvmsg(2): how many bytes, and when the kernel received the last of them (SCM_TIMESTAMPNS).
fn receive(stream: &TcpStream, buf: &mut [u8]) -> io::Result<(usize, Option<u64>)> {
    let mut control = Control([0; 64]);
    let mut spaces = [IoSliceMut::new(buf)];
    let flags = MsgFlags::empty();
    let got = recvmsg::<()>(stream.as_raw_fd(), &mut spaces, Some(&mut control.0), flags)?;
    let stamp_ns = got.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(at) => {
            Some(at.tv_sec().unsigned_abs() * SECOND_NS + at.tv_nsec().unsigned_abs())
        }
        _ => None,
    });
    Ok((got.bytes, stamp_ns))
}

/// What a read into `room` bytes came to; it is tried again where a signal came between.
fn filled(
    room: usize,
    mut read: impl FnMut() -> io::Result<(usize, Option<u64>)>,
) -> io::Result<Fill> {
    loop {
        match read() {
            Ok((0, _)) => return Ok(Fill::End),
            Ok((len, stamp_ns)) => {
                let rest = if len < room { Rest::Drained } else { Rest::Unknown };
                return Ok(Fill::Bytes { len, rest, stamp_ns });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Fill::WouldBlock),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// One write.
fn write(stream: &mut impl Write, bytes: &[u8]) -> io::Result<Drained> {
    loop {
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => return Ok(Drained::Bytes(len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Drained::WouldBlock);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
