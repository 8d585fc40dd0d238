//! A blocking connection, bare or over TLS: the only place of the clients that touches a socket.
//!
//! Time is the kernel's: every wait for the server ends after `--timeout`, and what that means is the caller's to say.
//! So no clock is read here. Retries nothing but what a signal interrupted.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use crate::client::Failure;
use crate::client::tls::{TlsStream, Trust};
use crate::client::url::Url;

/// How long connecting to one address may take.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Debug)]
pub(crate) enum Link {
    Bare(TcpStream),
    Tls(Box<TlsStream>),
}

/// What reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing for as long as it was waited for.
    Nothing,
    /// The server ended it.
    End,
}

impl Link {
    /// Connects to the first address of the host that answers.
    ///
    /// # Errors
    ///
    /// Why none does, or why there is no TLS.
    pub(crate) fn open(
        url: &Url,
        trust: Option<&Trust>,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let addrs = (&*url.host, url.port).to_socket_addrs().map_err(|_| Failure::NoSuchHost)?;
        let mut failure = Failure::NoSuchHost;
        for addr in addrs {
            match TcpStream::connect_timeout(&addr, CONNECT) {
                Ok(stream) => {
                    return Self::prepare(url, trust, stream, timeout).map_err(Failure::of);
                }
                Err(error) => failure = Failure::of(error),
            }
        }
        Err(failure)
    }

    fn prepare(
        url: &Url,
        trust: Option<&Trust>,
        stream: TcpStream,
        timeout: Duration,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        match trust {
            Some(trust) => Ok(Self::Tls(Box::new(trust.wrap(&url.host, stream)?))),
            None => Ok(Self::Bare(stream)),
        }
    }

    /// The socket, to wait on.
    pub(crate) const fn socket(&self) -> &TcpStream {
        match self {
            Self::Bare(stream) => stream,
            Self::Tls(tls) => &tls.sock,
        }
    }

    /// Reads behind what is in `buf`, at most [`READ_BYTES`].
    ///
    /// # Errors
    ///
    /// The connection broke.
    pub(crate) fn read(&mut self, buf: &mut Vec<u8>) -> Result<Heard, Failure> {
        let len = buf.len();
        buf.resize(len.saturating_add(READ_BYTES), 0);
        let heard = loop {
            let read = match self {
                Self::Bare(stream) => stream.read(&mut buf[len..]),
                Self::Tls(tls) => tls.read(&mut buf[len..]),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                heard => break heard,
            }
        };
        buf.truncate(len.saturating_add(*heard.as_ref().unwrap_or(&0)));
        match heard {
            Ok(0) => Ok(Heard::End),
            Ok(len) => Ok(Heard::Bytes(len)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(Heard::Nothing),
                // TLS without a close_notify: nobody vouches for the end, but the messages are vouched for.
                io::ErrorKind::UnexpectedEof => Ok(Heard::End),
                _ => Err(Failure::of(error)),
            },
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    ///
    /// The connection broke, or the server takes nothing.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = match self {
            Self::Bare(stream) => stream.write_all(bytes),
            Self::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        };
        written.map_err(Failure::of)
    }
}

const READ_BYTES: usize = 64 * 1024;
