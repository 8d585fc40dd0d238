//! Listening sockets of every kind: making them, and accepting within a turn's share.
//!
//! Edge-triggered, so a listener that was left before it said "would block" must be remembered: because its share was
//! used up, or because there was no descriptor (EMFILE), in which case it neither spins nor waits for a new connect.
//! Who inherited sockets are from, and whether they are the right ones, is the application's to know.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketAddrUnix, SocketType, getsockname, sockopt};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::net::socket::link::{Link, Stream};
use crate::net::socket::tls::{TlsConfig, TlsLink};
use crate::net::socket::trust::ProxyProtocol;
use crate::net::socket::unix_socket::{self, MadeFile, SocketFile};
use crate::net::terms::addr::{LocalAddr, LocalSocket, PeerAddr, Scheme};
use crate::net::terms::arrival::Side;
use crate::proto::proxy_protocol::Versions;

/// One thing to listen on.
#[derive(Debug)]
#[non_exhaustive]
pub struct Listen {
    /// Where connections come in.
    pub at: ListenAt,
    /// What lies between them and HTTP.
    pub over: Over,
    /// Whether proxies say whom they speak for; `None`: every peer is who it is.
    pub proxy: Option<ProxyProtocol>,
    /// Whom it is for.
    pub side: Side,
}

/// Where connections come in.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenAt {
    /// An address and port.
    Tcp {
        /// A port of zero gets a free one. An IPv6 address takes IPv6 alone.
        addr: SocketAddr,
        /// Whether other processes of the same user may listen there, too (SO_REUSEPORT).
        reuse_port: bool,
    },
    /// A Unix socket, made at `path` and removed when the server no longer listens. While it is made, the process has another umask:
    /// what other threads create at that moment may be accessible to others than it should be.
    Unix {
        /// Where nothing is, or a socket that nobody listens on, which is replaced.
        path: PathBuf,
        /// The file's permissions: who may write to it can connect.
        mode: u32,
    },
    /// A socket that listens already, from whoever started the program. If it has a file, that stays.
    Inherited(OwnedFd),
    /// A socket that an earlier image of this program listened on ([`crate::Server::take_over`]).
    HandedOver {
        /// It listens already.
        socket: OwnedFd,
        /// Its file, if that is removed when the server no longer listens ([`Server::made_files`](crate::Server::made_files)).
        file: Option<MadeFile>,
    },
}

/// What lies between a socket and HTTP.
#[derive(Clone, Debug)]
pub enum Over {
    /// Nothing.
    Plain,
    /// TLS, with this certificate.
    Tls(TlsConfig),
}

impl Over {
    const fn scheme(&self) -> Scheme {
        match self {
            Self::Plain => Scheme::Ws,
            Self::Tls(_) => Scheme::Wss,
        }
    }
}

impl Listen {
    /// Listens at `at`, without TLS, for peers that speak for themselves.
    pub const fn new(at: ListenAt) -> Self {
        Self { at, over: Over::Plain, proxy: None, side: Side::Public }
    }

    /// What it is to listen on, with port 0 if the kernel is to choose. `None`: an inherited descriptor without address.
    pub fn local_addr(&self) -> Option<LocalAddr> {
        let socket = match &self.at {
            ListenAt::Tcp { addr, .. } => LocalSocket::Tcp(*addr),
            ListenAt::Unix { path, .. } => LocalSocket::Unix(path.clone()),
            ListenAt::Inherited(socket) | ListenAt::HandedOver { socket, .. } => {
                own_address(socket)?
            }
        };
        Some(LocalAddr { socket, scheme: self.over.scheme() })
    }
}

impl From<SocketAddr> for Listen {
    fn from(addr: SocketAddr) -> Self {
        Self::new(ListenAt::Tcp { addr, reuse_port: false })
    }
}

/// Why something cannot be listened on.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenError {
    /// The kernel refused.
    Io(io::Error),
    /// Somebody listens on the Unix socket.
    SocketFileInUse,
    /// What is at the path is not a socket.
    NotASocketFile,
    /// The path does not fit into a socket's address.
    PathTooLong {
        /// Bytes of the path.
        len: usize,
        /// Bytes that fit.
        most: usize,
    },
    /// What was inherited is no socket.
    NotASocket,
    /// What was inherited is no stream socket (TCP or Unix) that listens.
    NotListening,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::SocketFileInUse => f.write_str("another program listens there"),
            Self::NotASocketFile => f.write_str("there is a file that is not a socket"),
            Self::PathTooLong { len, most } => {
                write!(f, "the path has {len} bytes, and a socket's can have {most}")
            }
            Self::NotASocket => f.write_str("it is not a socket"),
            Self::NotListening => f.write_str("it is not a TCP or Unix stream socket that listens"),
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for ListenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for ListenError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Dropped before the socket, as it asks for.
    file: Option<SocketFile>,
    socket: OwnedFd,
    pub(crate) addr: LocalAddr,
    over: Over,
    proxy: Option<ProxyProtocol>,
    pub(crate) side: Side,
    pub(crate) waiting: Waiting,
    /// What its events are known by, once it is registered.
    pub(crate) token: Token,
    /// Who connects, in a simulation; nobody does to the socket.
    #[cfg(test)]
    pub(crate) script: Option<crate::net::simulation::Arrivals>,
}

/// What is known of the connections that wait to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// None; an event will come with the next.
    Nothing,
    /// Perhaps some: look again in the next turn.
    Perhaps,
    /// Perhaps some, but there is no descriptor, or no place: look again when a peer was reaped, or at `retry_ms`.
    ForRoom { retry_ms: u64 },
}

/// What one accept brought.
pub(crate) enum Accepted {
    Stream(Stream, PeerAddr),
    /// Nobody waits.
    Nobody,
    /// The connection was gone before it was accepted; the next may not be.
    Gone,
    /// No descriptor, or no memory for one.
    Exhausted(io::Error),
}

impl Listener {
    /// Listens; connections are completed by the kernel from here on.
    pub(crate) fn open(listen: Listen) -> Result<Self, ListenError> {
        let Listen { at, over, proxy, side } = listen;
        let (file, socket) = match at {
            ListenAt::Tcp { addr, reuse_port } => (None, listen_tcp(addr, reuse_port)?),
            ListenAt::Unix { path, mode } => {
                let (file, socket) = unix_socket::listen(&path, mode)?;
                (Some(file), socket)
            }
            ListenAt::Inherited(socket) => {
                take_over(&socket)?;
                (None, socket)
            }
            ListenAt::HandedOver { socket, file } => {
                take_over(&socket)?;
                (file.and_then(SocketFile::adopt), socket)
            }
        };
        let own = own_address(&socket).ok_or(ListenError::NotListening)?;
        let addr = LocalAddr { socket: own, scheme: over.scheme() };
        let (waiting, token) = (Waiting::Nothing, Token(0));
        Ok(Self {
            file,
            socket,
            addr,
            over,
            proxy,
            side,
            waiting,
            token,
            #[cfg(test)]
            script: None,
        })
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.token = token;
        registry.register(&mut SourceFd(&self.socket.as_raw_fd()), token, Interest::READABLE)
    }

    /// Stops listening. Others who have an inherited socket go on, so that its registration does not end by itself.
    pub(crate) fn close(self, registry: &Registry) {
        let _closed_all_the_same = registry.deregister(&mut SourceFd(&self.socket.as_raw_fd()));
    }

    /// The socket, to be handed over.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The file that was made for it, if it is still there as far as is known.
    pub(crate) fn file(&self) -> Option<&MadeFile> {
        self.file.as_ref().map(SocketFile::made)
    }

    /// Whether its connections can be handed over to another image of the program.
    pub(crate) const fn is_plain(&self) -> bool {
        matches!(self.over, Over::Plain)
    }

    /// Accepts one connection.
    pub(crate) fn accept(&self) -> Accepted {
        loop {
            let error = match self.accept_once() {
                Ok((stream, from)) => return self.accepted(stream, from),
                Err(error) => error,
            };
            return match error {
                Errno::INTR => continue,
                Errno::AGAIN => Accepted::Nobody,
                // It no longer listens: who shares it with us has shut it down.
                Errno::INVAL => Accepted::Nobody,
                Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => {
                    Accepted::Exhausted(error.into())
                }
                _ => Accepted::Gone,
            };
        }
    }

    fn accept_once(&self) -> rustix::io::Result<(Stream, Option<SocketAddrAny>)> {
        #[cfg(test)]
        if let Some(script) = &self.script {
            return script.accept();
        }
        // Of a Unix socket, too; see `Link::Plain`.
        accept(&self.socket).map(|(socket, from)| (Stream::from_std(socket.into()), from))
    }

    fn accepted(&self, stream: Stream, from: Option<SocketAddrAny>) -> Accepted {
        let peer = match self.addr.socket {
            LocalSocket::Tcp(_) => {
                match from.and_then(|from| SocketAddr::try_from(from).ok()) {
                    Some(addr) => PeerAddr::from(addr),
                    // Connected and gone at once, on some systems.
                    None => return Accepted::Gone,
                }
            }
            LocalSocket::Unix(_) => PeerAddr::Unix,
        };
        Accepted::Stream(stream, peer)
    }

    /// What a connection from here is read from and written to; `None`: there is no memory for TLS.
    ///
    /// `is_proxied`: a proxy's header comes before TLS.
    pub(crate) fn link(&self, stream: Stream, is_proxied: bool) -> Option<Link> {
        match &self.over {
            Over::Plain => Some(Link::Plain(stream)),
            Over::Tls(config) => {
                let link = TlsLink::new(stream, config, is_proxied)?;
                Some(Link::Tls(Box::new(link)))
            }
        }
    }

    /// Which versions of the PROXY protocol a connection from `peer` must begin with; `None`: it begins with HTTP.
    pub(crate) fn proxy_versions(&self, peer: PeerAddr) -> Option<Versions> {
        let proxy = self.proxy.as_ref()?;
        proxy.trusts(peer).then_some(proxy.versions)
    }
}

/// Listens on `addr`. An IPv6 address takes IPv6 alone, so that both families can be bound side by side.
fn listen_tcp(addr: SocketAddr, reuse_port: bool) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Restarting must not wait for connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if reuse_port {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    // Linux hands it on to what is accepted, which saves a system call per connection.
    socket.set_tcp_nodelay(true)?;
    bound_unsent(&socket);
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Checks what was inherited, and sets it up like a socket of our own.
fn take_over(socket: &OwnedFd) -> Result<(), ListenError> {
    let kind = match sockopt::socket_type(socket) {
        Ok(kind) => kind,
        Err(Errno::NOTSOCK) => return Err(ListenError::NotASocket),
        Err(error) => return Err(error.into()),
    };
    if kind != SocketType::STREAM || !sockopt::socket_acceptconn(socket)? {
        return Err(ListenError::NotListening);
    }
    rustix::io::ioctl_fionbio(socket, true)?;
    // A Unix socket has no such option.
    let _not_tcp = sockopt::set_tcp_nodelay(socket, true);
    bound_unsent(&SockRef::from(socket));
    Ok(())
}

/// Bounds what the kernel keeps for a peer that does not read; what is accepted inherits it.
///
/// Without it that is as much as `net.ipv4.tcp_wmem` lets a send buffer grow to, 4 MiB or more, however little the peer takes. A few
/// hundred such peers use up the memory that the kernel has for all TCP (`net.ipv4.tcp_mem`), and then it is everybody who
/// waits. What is on its way to a peer is not counted, so that its window is filled all the same.
#[cfg(target_os = "linux")]
fn bound_unsent(socket: &Socket) {
    // A Unix socket has no such option, and an old kernel may not have it.
    let _not_bounded = socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
}

/// Elsewhere it has another name, or there is none.
#[cfg(not(target_os = "linux"))]
const fn bound_unsent(_socket: &Socket) {}

/// What a socket is bound to, if that can be connected to.
fn own_address(socket: &OwnedFd) -> Option<LocalSocket> {
    let addr = getsockname(socket).ok()?;
    if let Ok(addr) = SocketAddr::try_from(addr.clone()) {
        return Some(LocalSocket::Tcp(addr));
    }
    let addr = SocketAddrUnix::try_from(addr).ok()?;
    let path = match (addr.path_bytes(), abstract_name(&addr)) {
        (Some(path), _) => path.to_vec(),
        (None, Some(name)) => [b"@", name].concat(),
        (None, None) => return None,
    };
    Some(LocalSocket::Unix(std::ffi::OsString::from_vec(path).into()))
}

#[cfg(target_os = "linux")]
fn abstract_name(addr: &SocketAddrUnix) -> Option<&[u8]> {
    addr.abstract_name()
}

/// Linux alone has them.
#[cfg(not(target_os = "linux"))]
fn abstract_name(_addr: &SocketAddrUnix) -> Option<&[u8]> {
    None
}

/// Accepts a connection that does not block, and that programs we might start do not get.
#[cfg(not(target_vendor = "apple"))]
fn accept(socket: &OwnedFd) -> rustix::io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    use rustix::net::SocketFlags;
    rustix::net::acceptfrom_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
}

/// The same in three steps, where there is no accept4.
#[cfg(target_vendor = "apple")]
fn accept(socket: &OwnedFd) -> rustix::io::Result<(OwnedFd, Option<SocketAddrAny>)> {
    let (accepted, from) = rustix::net::acceptfrom(socket)?;
    rustix::io::ioctl_fionbio(&accepted, true)?;
    rustix::io::fcntl_setfd(&accepted, rustix::io::FdFlags::CLOEXEC)?;
    Ok((accepted, from))
}

/// Connections that the kernel completes and keeps for us; it lowers the number to `net.core.somaxconn`.
pub(crate) const BACKLOG: i32 = 4096;

/// Bytes that the kernel takes for a peer ahead of what it can send. At 640 KiB, 2,000 peers that did not read were enough for it to
/// have too little for the others.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 256 * 1024;

/// How long to wait for a descriptor that no peer of ours holds.
pub(crate) const RETRY_MS: u64 = 100;
