//! A connection's byte stream: the only place that reads from and writes to a connected socket.
//!
//! An enum, matched once per system call, so that TLS stays off the path of the others. Retries nothing but
//! `Interrupted`, keeps no bytes, and knows neither frames nor time.

use std::io::{self, Read, Write};

use mio::Interest;
use mio::Registry;
use mio::Token;
use mio::net::{TcpStream, UnixStream};

use crate::tls::{Connector, TlsFailure, TlsLink};

/// A socket that connects or is connected, non-blocking.
#[derive(Debug)]
pub(crate) enum Link {
    /// TCP as it is.
    Tcp(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsLink>),
    /// A Unix socket.
    Unix(UnixStream),
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
            Self::Tcp(stream) => registry.register(stream, token, interest),
            Self::Tls(link) => registry.register(link.socket(), token, interest),
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
            Self::Tcp(stream) => (stream.take_error()?, stream.peer_addr().map(drop)),
            Self::Tls(link) => {
                let stream = link.socket();
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
            Self::Tcp(stream) => Ok(Self::Tls(Box::new(connector.wrap(stream)?))),
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
            Self::Tcp(stream) => Ok(read(stream, buf)?),
            Self::Tls(link) => link.read(buf, wire),
            Self::Unix(stream) => Ok(read(stream, buf)?),
        }
    }

    /// Writes `bytes` once, as far as there is room.
    ///
    /// # Errors
    ///
    /// That the connection broke.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<Drained, LinkError> {
        match self {
            Self::Tcp(stream) => Ok(write(stream, bytes)?),
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

/// One read.
pub(crate) fn read(stream: &mut impl Read, buf: &mut [u8]) -> io::Result<Fill> {
    loop {
        match stream.read(buf) {
            Ok(0) => return Ok(Fill::End),
            Ok(len) if len < buf.len() => return Ok(Fill::Bytes { len, rest: Rest::Drained }),
            Ok(len) => return Ok(Fill::Bytes { len, rest: Rest::Unknown }),
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
