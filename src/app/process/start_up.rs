//! What the server says when it starts, or cannot: two lines on stdout, or one on stderr.
//!
//! Scripts parse the first line for `ws://ADDRESS:PORT` or `wss://ADDRESS:PORT`, so that `--port 0` is of use; Unix sockets
//! are `ws+unix:PATH`.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use rustix::io::Errno;
use wsfast::{Error, ListenError, LocalAddr, LocalSocket};

use crate::app::admin::logs;
use crate::app::config::{Ask, AskAt, SaidBy};
use crate::app::gate::secret::SecretError;
use crate::app::process::descriptors::TooFew;
use crate::app::process::inherited::Unheard;
use crate::app::process::memory::TooLittle;
use crate::app::process::outlet::Outlet;
use crate::app::process::tls_files::FileError;

/// What the start-up lines tell.
#[derive(Debug)]
pub(crate) struct Announcement<'a> {
    /// Where the server listens, with the ports that the kernel chose.
    pub(crate) addresses: &'a [LocalAddr],
    /// Where `--admin` does.
    pub(crate) admin: Option<&'a LocalAddr>,
    /// What `Gate` displays.
    pub(crate) access: &'a str,
    pub(crate) peers_max: usize,
    /// The limit of open files; `None`: unlimited.
    pub(crate) descriptors: Option<u64>,
}

impl fmt::Display for Announcement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(concat!("wsfast ", env!("CARGO_PKG_VERSION"), " listening on "))?;
        for (at, address) in self.addresses.iter().enumerate() {
            write!(f, "{}{address}", if at == 0 { "" } else { ", " })?;
        }
        write!(
            f,
            "\n{}, to {} connections (--max-connections; ulimit -n ",
            self.access, self.peers_max
        )?;
        match self.descriptors {
            Some(limit) => writeln!(f, "{limit})")?,
            None => writeln!(f, "unlimited)")?,
        }
        match self.admin.map(|addr| &addr.socket) {
            Some(LocalSocket::Tcp(addr)) => {
                writeln!(f, "to watch over it: http://{addr} (--admin)")
            }
            Some(_) => writeln!(f, "to watch over it: a Unix socket (--admin)"),
            None => Ok(()),
        }
    }
}

/// Prints to stdout, at once, and waits for its reader: before a tool ends.
pub(crate) fn print(page: &impl fmt::Display) {
    let mut stdout = io::stdout().lock();
    // In one write, so that a reader gets all lines.
    let _ = stdout.write_all(page.to_string().as_bytes());
    let _ = stdout.flush();
}

/// Prints the start-up lines to stdout. Nobody may be reading; that is no reason not to serve.
///
/// # Errors
///
/// There is no thread to be had.
pub(crate) fn announce(announcement: &Announcement<'_>) -> io::Result<()> {
    let lines = announcement.to_string();
    let outlet = Outlet::open("start-up lines", io::stdout(), lines.len(), |_dropped| ())?;
    outlet.push(lines.as_bytes());
    outlet.flush(ANNOUNCEMENT_TIME_MAX);
    Ok(())
}

/// How long a reader that is there may take at most.
const ANNOUNCEMENT_TIME_MAX: Duration = Duration::from_secs(1);

/// Says on stderr, which may be closed, why the process ends.
pub(crate) fn complain(cause: &impl fmt::Display) {
    logs::write_last(&format!("wsfast: {cause}\n"));
}

/// Why the server did not start. Its `Display` is one line with the remedy.
#[derive(Debug)]
pub(crate) enum StartError {
    Descriptors(TooFew),
    Memory(TooLittle),
    Unheard(Unheard),
    Tls(FileError),
    Secret(SecretError),
    /// `what` was asked for so, and cannot be listened on.
    Listen {
        what: Ask,
        said_by: SaidBy,
        cause: ListenError,
    },
    Server(Error),
}

impl StartError {
    /// The flag that it is about, or the setting of that name; `None`: it is about no single one.
    pub(crate) const fn flag(&self) -> Option<&'static str> {
        match self {
            Self::Descriptors(_) => Some("--max-connections"),
            Self::Memory(_) => Some("--memory-limit"),
            Self::Unheard(error) => error.flag(),
            Self::Tls(error) => Some(error.flag()),
            Self::Secret(error) => Some(error.flag()),
            Self::Listen { said_by: SaidBy::Listen, .. } => Some("--listen"),
            Self::Listen { said_by: SaidBy::Admin, .. } => Some("--admin"),
            Self::Listen { said_by: SaidBy::Bind | SaidBy::Nobody, .. } | Self::Server(_) => None,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptors(error) => error.fmt(f),
            Self::Memory(error) => error.fmt(f),
            Self::Unheard(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
            Self::Secret(error) => error.fmt(f),
            Self::Listen { what, said_by, cause } => write_listen(f, what, *said_by, cause),
            Self::Server(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl From<TooFew> for StartError {
    fn from(error: TooFew) -> Self {
        Self::Descriptors(error)
    }
}

impl From<TooLittle> for StartError {
    fn from(error: TooLittle) -> Self {
        Self::Memory(error)
    }
}

impl From<Unheard> for StartError {
    fn from(error: Unheard) -> Self {
        Self::Unheard(error)
    }
}

impl From<SecretError> for StartError {
    fn from(error: SecretError) -> Self {
        Self::Secret(error)
    }
}

impl From<FileError> for StartError {
    fn from(error: FileError) -> Self {
        Self::Tls(error)
    }
}

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

fn write_listen(
    f: &mut fmt::Formatter<'_>,
    what: &Ask,
    said_by: SaidBy,
    cause: &ListenError,
) -> fmt::Result {
    write!(f, "cannot listen on {what}: ")?;
    let flag = match said_by {
        SaidBy::Admin => "--admin",
        SaidBy::Nobody | SaidBy::Bind | SaidBy::Listen => "--listen",
    };
    let error = match cause {
        ListenError::Io(error) => error,
        ListenError::SocketFileInUse => {
            return write!(
                f,
                "another program listens there; stop it, or take another path with {flag}"
            );
        }
        ListenError::NotASocketFile => {
            return write!(
                f,
                "there is a file that is not a socket; remove it, or take another path with {flag}"
            );
        }
        ListenError::PathTooLong { .. } => {
            return write!(f, "{cause}; take a shorter one with {flag}");
        }
        ListenError::NotASocket | ListenError::NotListening => {
            return write!(
                f,
                "{cause}; pass one on that does, in systemd with ListenStream= and Accept=no"
            );
        }
        _ => return write!(f, "{cause}"),
    };
    match &what.at {
        AskAt::Tcp(addr) => write_bind(f, addr.is_ipv6(), said_by, error),
        AskAt::Unix { .. } => write_unix(f, flag, error),
        AskAt::Fd(_) | AskAt::FdName(_) => write!(f, "{error}"),
    }
}

fn write_bind(
    f: &mut fmt::Formatter<'_>,
    is_ipv6: bool,
    said_by: SaidBy,
    error: &io::Error,
) -> fmt::Result {
    let (address, port) = match said_by {
        SaidBy::Listen => ("--listen", "--listen"),
        SaidBy::Admin => ("--admin", "--admin"),
        SaidBy::Nobody | SaidBy::Bind => ("--bind", "--port"),
    };
    match Errno::from_io_error(error) {
        Some(Errno::ADDRINUSE) => {
            write!(
                f,
                "the port is taken; stop the program that has it, or take another with {port}"
            )
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            write!(
                f,
                "not permitted; take a port from 1024 up with {port}, or grant CAP_NET_BIND_SERVICE"
            )
        }
        Some(Errno::ADDRNOTAVAIL) => {
            write!(
                f,
                "this machine does not have the address; 'ip address' lists those that {address} can take"
            )
        }
        Some(Errno::NODEV) => {
            write!(
                f,
                "there is no such interface; 'ip link' lists their numbers for {address} ADDRESS%NUMBER"
            )
        }
        Some(Errno::INVAL) if is_ipv6 => {
            write!(
                f,
                "the address needs the number of its interface; 'ip link' lists them, {address} ADDRESS%NUMBER"
            )
        }
        Some(Errno::AFNOSUPPORT) => {
            write!(
                f,
                "this machine has that address family switched off; take an address of the other with {address}"
            )
        }
        _ => write!(f, "{error}"),
    }
}

fn write_unix(f: &mut fmt::Formatter<'_>, flag: &str, error: &io::Error) -> fmt::Result {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NOTDIR) => {
            write!(f, "there is no such directory; make it, or take another path with {flag}")
        }
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => write!(
            f,
            "not permitted; take a path that this user may write to with {flag}, or change its directory's owner",
        ),
        Some(Errno::ADDRINUSE) => {
            write!(f, "another program listens there; stop it, or take another path with {flag}")
        }
        _ => write!(f, "{error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use wsfast::Scheme;

    use super::*;

    #[test]
    fn the_first_line_has_an_address_to_connect_to() {
        let socket = |text: &str| LocalSocket::Tcp(text.parse().unwrap());
        let addresses = [
            LocalAddr { socket: socket("127.0.0.1:8002"), scheme: Scheme::Ws },
            LocalAddr { socket: socket("[::1]:40000"), scheme: Scheme::Wss },
            LocalAddr { socket: LocalSocket::Unix("/run/a.sock".into()), scheme: Scheme::Ws },
        ];
        let mut announcement = Announcement {
            addresses: &addresses,
            admin: None,
            access: "open to all",
            peers_max: 928,
            descriptors: Some(1024),
        };
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            announcement.to_string(),
            format!(
                "wsfast {version} listening on ws://127.0.0.1:8002, wss://[::1]:40000, ws+unix:/run/a.sock\n\
                 open to all, to 928 connections (--max-connections; ulimit -n 1024)\n"
            )
        );
        announcement.descriptors = None;
        assert!(announcement.to_string().ends_with("ulimit -n unlimited)\n"));
        announcement.admin = addresses.first();
        let shown = announcement.to_string();
        assert!(
            shown.ends_with("\nto watch over it: http://127.0.0.1:8002 (--admin)\n"),
            "{shown}"
        );
    }

    #[test]
    fn a_failed_bind_is_one_line_with_its_remedy() {
        for (errno, expected) in [
            (
                Errno::ADDRINUSE,
                "cannot listen on [::1]:80: the port is taken; stop the program that has it, or take another with \
                 --port",
            ),
            (
                Errno::ACCESS,
                "cannot listen on [::1]:80: not permitted; take a port from 1024 up with --port, or grant \
                 CAP_NET_BIND_SERVICE",
            ),
            (
                Errno::ADDRNOTAVAIL,
                "cannot listen on [::1]:80: this machine does not have the address; 'ip address' lists those that \
                 --bind can take",
            ),
            (
                Errno::NODEV,
                "cannot listen on [::1]:80: there is no such interface; 'ip link' lists their numbers for --bind \
                 ADDRESS%NUMBER",
            ),
            (Errno::NOBUFS, "cannot listen on [::1]:80: No buffer space available (os error 105)"),
        ] {
            let what = Ask::from("[::1]:80".parse::<SocketAddr>().unwrap());
            let refused = |said_by| {
                let cause = ListenError::Io(errno.into());
                StartError::Listen { what: what.clone(), said_by, cause }.to_string()
            };
            assert_eq!(refused(SaidBy::Bind), expected);
            let by_listen = expected.replace("--port", "--listen").replace("--bind", "--listen");
            assert_eq!(refused(SaidBy::Listen), by_listen);
        }
    }
}
