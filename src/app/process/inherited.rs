//! What is asked for becomes what is listened on, with the sockets that whoever started the server passed on.
//!
//! Those of LISTEN_FDS (systemd's socket activation, sd_listen_fds(3)) are taken over; any other is duplicated, since its
//! number may be in use by who knows what. Whether they are sockets that listen is `net`'s to check.

#![deny(clippy::arithmetic_side_effects)]

use std::fmt;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use listenfd::ListenFd;
use rustix::io::Errno;
use wsfast::{Listen, ListenAt, MadeFile, Over, Scheme, Side, TlsConfig, saved};

use crate::app::config::{Ask, AskAt, Listening, SaidBy};

/// Makes of everything that is asked for what a server takes, and the name by which it was asked for.
///
/// Without any flag that says where to listen, inherited sockets are used alone. What `--admin` asks for comes last.
///
/// # Errors
///
/// A descriptor that is not there; TLS without a certificate, or the other way round; proxies to be believed, and none
/// named.
///
/// `left` are the sockets of an earlier image of this program: those that are asked for are taken from there.
pub(crate) fn listens(
    asked: Listening,
    certificate: Option<&TlsConfig>,
    left: &mut Vec<LeftSocket>,
) -> Result<Vec<Heard>, Unheard> {
    let Listening { asks, said_by, reuse_port, admin, proxy } = asked;
    let mut inherited = Inherited::from_env(left)?;
    let asks = match said_by {
        SaidBy::Nobody if !inherited.numbers.is_empty() => inherited.all(),
        SaidBy::Nobody | SaidBy::Bind | SaidBy::Listen | SaidBy::Admin => {
            inherited.by_number(asks)?
        }
    };
    let mut listens = Vec::with_capacity(asks.len());
    for mut ask in asks {
        // The short form has no `tls:`; the certificate alone asks for it.
        if said_by != SaidBy::Listen && certificate.is_some() {
            ask.scheme = Scheme::Wss;
        }
        let mut listen = Listen::new(inherited.listen_at(&ask, reuse_port)?);
        listen.over = match (ask.scheme, certificate) {
            (Scheme::Ws, _) => Over::Plain,
            (Scheme::Wss, Some(certificate)) => Over::Tls(certificate.clone()),
            (Scheme::Wss, None) => return Err(Unheard::NoCertificate(ask)),
        };
        listen.proxy = proxy.clone();
        listens.push(inherited.heard(ask, listen));
    }
    if certificate.is_some() && listens.iter().all(|it: &Heard| it.ask.scheme == Scheme::Ws) {
        return Err(Unheard::CertificateUnused);
    }
    let trusts_nobody = proxy.is_some_and(|proxy| proxy.trusted.is_empty());
    if trusts_nobody && listens.iter().all(|it| ip(&it.listen).is_some()) {
        return Err(Unheard::NobodyTrusted);
    }
    if let Some(ask) = admin {
        // A port that is shared would show each time another process.
        let mut listen = Listen::new(inherited.listen_at(&ask, false)?);
        listen.side = Side::Admin;
        listens.push(inherited.heard(ask, listen));
    }
    Ok(listens)
}

/// Says what `listens` would refuse whatever is passed on; looks at no descriptor.
///
/// # Errors
///
/// TLS without a certificate, or the other way round; proxies to be believed, and none named.
pub(crate) fn check(asked: &Listening, has_certificate: bool) -> Result<(), Unheard> {
    let Listening { asks, said_by, proxy, .. } = asked;
    if *said_by == SaidBy::Listen {
        let over_tls = asks.iter().find(|ask| ask.scheme == Scheme::Wss);
        match over_tls {
            Some(ask) if !has_certificate => return Err(Unheard::NoCertificate(ask.clone())),
            None if has_certificate => return Err(Unheard::CertificateUnused),
            Some(_) | None => {}
        }
    }
    let trusts_nobody = proxy.as_ref().is_some_and(|proxy| proxy.trusted.is_empty());
    // What is passed on may be a Unix socket, which counts as trusted.
    let is_tcp = |ask: &Ask| matches!(ask.at, AskAt::Tcp(_));
    if trusts_nobody && *said_by != SaidBy::Nobody && asks.iter().all(is_tcp) {
        return Err(Unheard::NobodyTrusted);
    }
    Ok(())
}

/// The IP address that connections come in at; `None`: a Unix socket's.
pub(crate) fn ip(listen: &Listen) -> Option<IpAddr> {
    listen.local_addr()?.tcp().map(|addr| addr.ip())
}

/// What is listened on.
#[derive(Debug)]
pub(crate) struct Heard {
    /// By what it was asked for; its descriptor's number in place of a name.
    pub(crate) ask: Ask,
    /// What LISTEN_FDNAMES called its descriptor, if it is one of those.
    pub(crate) name: String,
    pub(crate) listen: Listen,
}

/// A socket that an earlier image of this program listened on.
#[derive(Debug)]
pub(crate) struct LeftSocket {
    pub(crate) known_as: KnownAs,
    /// The file that was made for it.
    pub(crate) file: Option<MadeFile>,
    pub(crate) socket: OwnedFd,
}

impl LeftSocket {
    /// Nobody asks for it any more: its file goes, if it was made for it and is still that one.
    pub(crate) fn forget(self) {
        // While the socket is open.
        if let Some(file) = &self.file {
            file.remove();
        }
        tracing::info!(address = self.known_as.key, "no longer listening");
    }
}

/// By what it is found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownAs {
    /// What asked for it, without a scheme or a mode.
    key: String,
    /// As `Heard::name`.
    name: String,
}

saved!(struct KnownAs { key, name });

impl KnownAs {
    pub(crate) fn new(heard: &Heard) -> Self {
        Self { key: key_of(&heard.ask), name: heard.name.clone() }
    }

    /// The number of a descriptor that was passed on.
    fn number(&self) -> Option<i32> {
        self.key.strip_prefix("fd:")?.parse().ok()
    }
}

fn key_of(ask: &Ask) -> String {
    Ask { scheme: Scheme::Ws, ..ask.clone() }.to_string()
}

/// The socket that an earlier image of this program passes its descriptors through, if it does.
pub(crate) fn passage() -> Option<OwnedFd> {
    // A stream of a Unix socket is all that is asked of it there.
    let mut listen_fds = ListenFd::from_env();
    listen_fds.take_unix_listener(0).ok()?.map(OwnedFd::from)
}

/// The descriptors of LISTEN_FDS.
struct Inherited<'a> {
    left: &'a mut Vec<LeftSocket>,
    listen_fds: ListenFd,
    first: i32,
    /// All of them, be it that an earlier image of this program got them, with their names of LISTEN_FDNAMES.
    numbers: Vec<(i32, String)>,
}

impl<'a> Inherited<'a> {
    /// Those that are for this process, by LISTEN_PID. To be called once, before the process opens anything that might
    /// get one of their numbers.
    fn from_env(left: &'a mut Vec<LeftSocket>) -> Result<Self, Unheard> {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
        if number("LISTEN_FDS").is_some_and(|count| count > COUNT_MAX) {
            return Err(Unheard::TooMany);
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let first = number("LISTEN_FDS_FIRST_FD").unwrap_or(FIRST);
        let listen_fds = ListenFd::from_env();
        let count = i32::try_from(listen_fds.len()).map_err(|_| Unheard::TooMany)?;
        let names = names.split(':').chain(std::iter::repeat("")).map(str::to_owned);
        let passed_on = (first..first.saturating_add(count)).zip(names);
        let of_left = |it: &LeftSocket| Some((it.known_as.number()?, it.known_as.name.clone()));
        let numbers = passed_on.chain(left.iter().filter_map(of_left)).collect();
        Ok(Self { left, listen_fds, first, numbers })
    }

    fn all(&self) -> Vec<Ask> {
        let ask = |(number, _): &(i32, _)| Ask { at: AskAt::Fd(*number), scheme: Scheme::Ws };
        self.numbers.iter().map(ask).collect()
    }

    fn heard(&self, ask: Ask, listen: Listen) -> Heard {
        let number = match &ask.at {
            AskAt::Fd(number) => Some(*number),
            AskAt::Tcp(_) | AskAt::Unix { .. } | AskAt::FdName(_) => None,
        };
        let named = self.numbers.iter().find(|(it, _)| Some(*it) == number);
        let name = named.map_or_else(String::new, |(_, name)| name.clone());
        Heard { ask, name, listen }
    }

    /// Puts the numbers in for the names.
    fn by_number(&self, asks: Vec<Ask>) -> Result<Vec<Ask>, Unheard> {
        let mut by_number = Vec::with_capacity(asks.len());
        for ask in asks {
            let AskAt::FdName(wanted) = &ask.at else {
                by_number.push(ask);
                continue;
            };
            let named = self.numbers.iter().filter(|(_, name)| name == wanted);
            let len = by_number.len();
            by_number.extend(
                named.map(|&(number, _)| Ask { at: AskAt::Fd(number), scheme: ask.scheme }),
            );
            if by_number.len() == len {
                return Err(Unheard::NoSuchName(wanted.clone()));
            }
        }
        Ok(by_number)
    }

    fn listen_at(&mut self, ask: &Ask, reuse_port: bool) -> Result<ListenAt, Unheard> {
        let key = key_of(ask);
        if let Some(at) = self.left.iter().position(|it| it.known_as.key == key) {
            let LeftSocket { file, socket, .. } = self.left.remove(at);
            return Ok(ListenAt::HandedOver { socket, file });
        }
        Ok(match &ask.at {
            AskAt::Tcp(addr) => ListenAt::Tcp { addr: *addr, reuse_port },
            AskAt::Unix { path, mode } => ListenAt::Unix { path: path.clone(), mode: *mode },
            AskAt::Fd(number) => ListenAt::Inherited(self.take(*number)?),
            AskAt::FdName(name) => return Err(Unheard::NoSuchName(name.clone())),
        })
    }

    fn take(&mut self, number: i32) -> Result<OwnedFd, Unheard> {
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        match at.filter(|&at| at < self.listen_fds.len()) {
            Some(at) => match self.take_over(at) {
                Ok(Some(socket)) => Ok(socket),
                Ok(None) => Err(Unheard::Twice(number)),
                Err(_) => Err(Unheard::NotListening(number)),
            },
            None => duplicate(number).map_err(|errno| Unheard::NoDescriptor(number, errno)),
        }
    }

    fn take_over(&mut self, at: usize) -> std::io::Result<Option<OwnedFd>> {
        match self.listen_fds.take_tcp_listener(at) {
            Ok(socket) => Ok(socket.map(OwnedFd::from)),
            Err(_) => Ok(self.listen_fds.take_unix_listener(at)?.map(OwnedFd::from)),
        }
    }
}

/// SD_LISTEN_FDS_START.
const FIRST: i32 = 3;

/// More than anyone passes on, and few enough to have room in the reserve of descriptors.
const COUNT_MAX: i32 = 24;

/// Takes a descriptor by its number. The number itself stays open until the process ends: to close it by its number
/// would need `unsafe`.
#[cfg(target_os = "linux")]
fn duplicate(number: i32) -> Result<OwnedFd, Errno> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    pidfd_getfd(&own, number, PidfdGetfdFlags::empty())
}

/// Elsewhere only LISTEN_FDS passes descriptors on.
#[cfg(not(target_os = "linux"))]
fn duplicate(_number: i32) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

/// Why something cannot be listened on before it was tried. The texts say what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unheard {
    NoDescriptor(i32, Errno),
    NotListening(i32),
    Twice(i32),
    NoSuchName(String),
    TooMany,
    NobodyTrusted,
    NoCertificate(Ask),
    /// All of `--listen` is without `tls:`.
    CertificateUnused,
}

impl Unheard {
    /// The flag that it is about; `None`: none is, or it may be `--listen` or `--admin`.
    pub(crate) const fn flag(&self) -> Option<&'static str> {
        match self {
            Self::NoCertificate(_) => Some("--listen"),
            Self::CertificateUnused => Some("--tls-cert"),
            Self::NobodyTrusted => Some("--proxy-protocol"),
            Self::NoDescriptor(..)
            | Self::NotListening(_)
            | Self::Twice(_)
            | Self::NoSuchName(_)
            | Self::TooMany => None,
        }
    }
}

impl fmt::Display for Unheard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDescriptor(number, Errno::BADF) => write!(
                f,
                "--listen fd:{number} is not open; let what starts the server pass a listening socket on by that number"
            ),
            Self::NoDescriptor(number, errno) => write!(
                f,
                "--listen fd:{number} cannot be taken ({errno}); pass it on by LISTEN_FDS, as systemd does"
            ),
            Self::NotListening(number) => write!(
                f,
                "cannot listen on fd:{number}: it is not a TCP or Unix stream socket that listens; pass one on, in \
                 systemd with ListenStream= and Accept=no"
            ),
            Self::Twice(number) => write!(f, "--listen fd:{number} is there twice; leave one out"),
            Self::NoSuchName(name) => {
                let name = name.escape_debug();
                write!(
                    f,
                    "--listen fd:{name} is no name of LISTEN_FDNAMES; give the socket's FileDescriptorName= of systemd, \
                     or its number, such as fd:3"
                )
            }
            Self::TooMany => write!(f, "LISTEN_FDS is more than {COUNT_MAX}; pass fewer sockets on"),
            Self::NoCertificate(ask) => write!(
                f,
                "--listen {ask} needs a certificate and its key: give them with --tls-cert and --tls-key ('wsfast dev-cert' \
                 writes a pair to try), or leave out tls:"
            ),
            Self::CertificateUnused => f.write_str(
                "--tls-cert is for no address: put tls: in front of those of --listen that it is for, such as --listen \
                 tls:0.0.0.0:443",
            ),
            Self::NobodyTrusted => f.write_str(
                "--proxy-protocol needs to know whom to believe; name the proxies' addresses with --trust-proxy, such as \
                 --trust-proxy 10.0.0.0/8",
            ),
        }
    }
}

impl std::error::Error for Unheard {}
