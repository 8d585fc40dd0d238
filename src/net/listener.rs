//! Listening sockets: binding, and accepting within a turn's share.
//!
//! Edge-triggered, so a listener that was left before it said "would block" must be remembered: because its share was
//! used up, or because there was no descriptor (EMFILE), in which case it neither spins nor waits for a new connect.

use std::io;
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    pub(crate) addr: SocketAddr,
    pub(crate) waiting: Waiting,
}

/// What is known of the connections that wait to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// None; an event will come with the next.
    Nothing,
    /// Perhaps some: look again in the next turn.
    Perhaps,
    /// Perhaps some, but there is no descriptor: look again when a peer was reaped, or at `retry_ms`.
    ForDescriptor { retry_ms: u64 },
}

/// What one accept brought.
pub(crate) enum Accepted {
    Stream(TcpStream, SocketAddr),
    /// Nobody waits.
    Nobody,
    /// The connection was gone before it was accepted; the next may not be.
    Gone,
    /// No descriptor, or no memory for one.
    Exhausted(io::Error),
}

impl Listener {
    /// Listens on `addr`. An IPv6 address takes IPv6 alone, so that both families can be bound side by side.
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        // Restarting must not wait for connections in TIME_WAIT.
        socket.set_reuse_address(true)?;
        // Linux hands it on to what is accepted, which saves a system call per connection.
        socket.set_tcp_nodelay(true)?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from_std(socket.into());
        let addr = socket.local_addr()?;
        Ok(Self { socket, addr, waiting: Waiting::Nothing })
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }

    /// Accepts one connection.
    pub(crate) fn accept(&self) -> Accepted {
        loop {
            let error = match self.socket.accept() {
                Ok((stream, addr)) => return Accepted::Stream(stream, addr),
                Err(error) => error,
            };
            return match (error.kind(), error.raw_os_error()) {
                (io::ErrorKind::Interrupted, _) => continue,
                (io::ErrorKind::WouldBlock, _) => Accepted::Nobody,
                (_, Some(EMFILE | ENFILE | ENOBUFS | ENOMEM)) => Accepted::Exhausted(error),
                _ => Accepted::Gone,
            };
        }
    }
}

/// Connections that the kernel completes and keeps for us; it lowers the number to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How long to wait for a descriptor that no peer of ours holds.
pub(crate) const RETRY_MS: u64 = 100;

const EMFILE: i32 = rustix::io::Errno::MFILE.raw_os_error();
const ENFILE: i32 = rustix::io::Errno::NFILE.raw_os_error();
const ENOBUFS: i32 = rustix::io::Errno::NOBUFS.raw_os_error();
const ENOMEM: i32 = rustix::io::Errno::NOMEM.raw_os_error();
