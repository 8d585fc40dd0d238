//! What the server says when it starts, or cannot: two lines on stdout, or one on stderr.
//!
//! Scripts parse the first line for `ws://ADDRESS:PORT`, so that `--port 0` is of use.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;

use rustix::io::Errno;
use wsfast::Error;

use crate::app::descriptors::TooFew;

/// What the start-up lines tell.
#[derive(Debug)]
pub(crate) struct Announcement<'a> {
    /// Where the server listens, with the ports that the kernel chose.
    pub(crate) addresses: &'a [SocketAddr],
    /// What `Access` displays.
    pub(crate) access: &'a str,
    pub(crate) peers_max: usize,
    /// The limit of open files; `None`: unlimited.
    pub(crate) descriptors: Option<u64>,
}

impl fmt::Display for Announcement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(concat!("wsfast ", env!("CARGO_PKG_VERSION"), " listening on "))?;
        for (at, address) in self.addresses.iter().enumerate() {
            write!(f, "{}ws://{address}", if at == 0 { "" } else { ", " })?;
        }
        write!(
            f,
            "\n{}, to {} connections (--max-connections; ulimit -n ",
            self.access, self.peers_max
        )?;
        match self.descriptors {
            Some(limit) => writeln!(f, "{limit})"),
            None => writeln!(f, "unlimited)"),
        }
    }
}

/// Prints to stdout, at once. Nobody may be reading; that is no reason not to serve.
pub(crate) fn print(announcement: &Announcement<'_>) {
    let mut stdout = io::stdout().lock();
    // In one write, so that a reader gets both lines.
    let _ = stdout.write_all(announcement.to_string().as_bytes());
    let _ = stdout.flush();
}

/// Prints why the process ends to stderr, which may be closed.
pub(crate) fn complain(cause: &impl fmt::Display) {
    let _ = io::stderr().write_all(format!("wsfast: {cause}\n").as_bytes());
}

/// Why the server did not start. Its `Display` is one line with the remedy.
#[derive(Debug)]
pub(crate) enum StartError {
    Descriptors(TooFew),
    Server(Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptors(error) => error.fmt(f),
            Self::Server(Error::Bind(address, error)) => write_bind(f, *address, error),
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

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

fn write_bind(f: &mut fmt::Formatter<'_>, address: SocketAddr, error: &io::Error) -> fmt::Result {
    write!(f, "cannot listen on {address}: ")?;
    match Errno::from_io_error(error) {
        Some(Errno::ADDRINUSE) => {
            f.write_str("the port is taken; stop the program that has it, or take another with --port")
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            f.write_str("not permitted; take a port from 1024 up with --port, or grant CAP_NET_BIND_SERVICE")
        }
        Some(Errno::ADDRNOTAVAIL) => {
            f.write_str("this machine does not have the address; 'ip address' lists those that --bind can take")
        }
        Some(Errno::NODEV) => {
            f.write_str("there is no such interface; 'ip link' lists their numbers for --bind ADDRESS%NUMBER")
        }
        Some(Errno::INVAL) if address.is_ipv6() => {
            f.write_str("the address needs the number of its interface; 'ip link' lists them, --bind ADDRESS%NUMBER")
        }
        Some(Errno::AFNOSUPPORT) => {
            f.write_str("this machine has that address family switched off; take an address of the other with --bind")
        }
        _ => write!(f, "{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_has_an_address_to_connect_to() {
        let addresses = ["127.0.0.1:8002", "[::1]:40000"].map(|text| text.parse().unwrap());
        let mut announcement = Announcement {
            addresses: &addresses,
            access: "open to all",
            peers_max: 928,
            descriptors: Some(1024),
        };
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            announcement.to_string(),
            format!(
                "wsfast {version} listening on ws://127.0.0.1:8002, ws://[::1]:40000\n\
                 open to all, to 928 connections (--max-connections; ulimit -n 1024)\n"
            )
        );
        announcement.descriptors = None;
        assert!(announcement.to_string().ends_with("ulimit -n unlimited)\n"));
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
            let error = Error::Bind("[::1]:80".parse().unwrap(), errno.into());
            assert_eq!(StartError::Server(error).to_string(), expected);
        }
    }
}
