//! `wsfast pub` and `wsfast sub`: small clients of a topic.
//!
//! Blocking sockets of the standard library, one thread, no event loop: a client has one connection to wait for. What goes
//! over it is the crate's own protocol in the client's role. Knows no proxy, no Unix sockets and no compression.

#![deny(clippy::arithmetic_side_effects)]

pub(crate) mod publish;
pub(crate) mod sub;

mod http;
mod link;
mod patience;
mod tls;
mod url;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::rand;
use wsfast::proto::error::ProtocolError;
use wsfast::proto::handshake::client::{ClientError, ClientKey, ClientRequest, encode_request};

use crate::app::gate::secret::Secret;
use crate::app::process::tls_files::read_bounded;
use crate::app::terms::deceptive::is_deceptive;
use crate::client::http::Conn;
use crate::client::link::Link;
use crate::client::tls::{NoTrust, Trust};

pub(crate) use crate::client::url::Url;

/// A topic, and as whom to go there.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) url: Url,
    /// `--cacert`.
    pub(crate) cacert: Option<PathBuf>,
    /// `--token`.
    pub(crate) token: Option<Secret>,
    /// `--key`.
    pub(crate) key: Option<Secret>,
    /// `--header`, name and value.
    pub(crate) headers: Vec<(String, String)>,
    /// `--timeout`: how long a server is waited for that says nothing; never zero.
    pub(crate) timeout: Duration,
}

/// An [`Endpoint`] of which all that has to be read was read.
#[derive(Debug)]
struct Door {
    url: Url,
    trust: Option<Trust>,
    /// Header lines, credentials among them: never shown.
    headers: Vec<(String, String)>,
    timeout: Duration,
}

impl Endpoint {
    /// Reads certificates and secrets, and checks that a request can be made of all.
    fn open(&self) -> Result<Door, BadEndpoint> {
        let trust = match self.url.is_tls {
            true => Some(Trust::load(self.cacert.as_deref()).map_err(BadEndpoint::Trust)?),
            false => None,
        };
        let mut headers = self.headers.clone();
        if let Some(token) = &self.token {
            let token = reveal(token).map_err(|error| BadEndpoint::Secret("--token", error))?;
            headers.push(("Authorization".to_owned(), format!("Bearer {token}")));
        }
        if let Some(key) = &self.key {
            let key = reveal(key).map_err(|error| BadEndpoint::Secret("--key", error))?;
            headers.push(("X-API-Key".to_owned(), key));
        }
        let door = Door { url: self.url.clone(), trust, headers, timeout: self.timeout };
        let target = door.url.target(None);
        door.encode_upgrade(&ClientKey::from_nonce([0; 16]), &target, &mut Vec::new())
            .map_err(BadEndpoint::Request)?;
        Ok(door)
    }
}

/// The secret itself, without the line break at its file's end.
fn reveal(secret: &Secret) -> io::Result<String> {
    let bytes = match secret {
        Secret::Inline(text) => return Ok(text.to_string()),
        Secret::File(path) => read_bounded(path)?,
    };
    let text = String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

impl Door {
    fn connect(&self) -> Result<Conn, Failure> {
        let link = Link::open(&self.url, self.trust.as_ref(), self.timeout)?;
        Ok(Conn::new(link, self.timeout.saturating_mul(ANSWER_TIMEOUTS)))
    }

    fn encode_upgrade(
        &self,
        key: &ClientKey,
        target: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), ClientError> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let request = ClientRequest {
            host: &self.url.authority(),
            target,
            key,
            origin: None,
            subprotocols: &[META],
            deflate: None,
            headers: &headers.collect::<Vec<_>>(),
        };
        encode_request(out, &request)
    }

    /// Appends a request's line and header lines; the caller ends the head.
    fn begin_request(&self, method: &str, target: &str, out: &mut Vec<u8>) {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.url.authority());
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        out.extend_from_slice(head.as_bytes());
    }
}

/// A server that says something all the time has so many times `--timeout` to give an answer.
const ANSWER_TIMEOUTS: u32 = 3;

/// The subprotocol in which each message is preceded by its name.
const META: &str = "wsfast.meta";

/// Flags that no request can be made of. Its `Display` is one line with the remedy.
#[derive(Debug)]
enum BadEndpoint {
    Trust(NoTrust),
    Secret(&'static str, io::Error),
    Request(ClientError),
}

impl fmt::Display for BadEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trust(error) => error.fmt(f),
            Self::Secret(flag, error) => {
                write!(f, "{flag} cannot be read ({error}); give the path of a file behind the @")
            }
            Self::Request(error) => write!(
                f,
                "no request can be made of this ({error}); look at --header, --token and --key"
            ),
        }
    }
}

/// Why a connection is of no use, or no more.
#[derive(Debug)]
enum Failure {
    NoSuchHost,
    /// The system said no: refused, reset, unreachable.
    Io(io::Error),
    /// There is no TLS to be had, or no more; in words.
    Tls(String),
    /// The server ended the connection without a word.
    Ended,
    /// The server said nothing for too long.
    Silent,
    /// What came is no HTTP, or none that a topic's server speaks.
    NotHttp,
    /// Another status than the one that was hoped for, and the server's reason for it.
    Refused {
        status: u16,
        reason: String,
    },
    /// The opening handshake's answer breaks its rules.
    Handshake(ClientError),
    /// It is a WebSocket, but no topic's.
    NoTopic,
    /// The server broke a rule of RFC 6455.
    Protocol(ProtocolError),
    /// The server closed, with a status code and a reason, if it gave them.
    Closed(Option<(u16, String)>),
}

impl Failure {
    fn of(error: io::Error) -> Self {
        match (tls::fault_in(&error), error.kind()) {
            (Some(fault), _) => Self::Tls(fault),
            (None, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Self::Silent,
            (None, _) => Self::Io(error),
        }
    }

    /// A refusal, with the first line of what the server has to say about it.
    fn refused(status: u16, body: &str) -> Self {
        Self::Refused { status, reason: shown(body.lines().next().unwrap_or_default()) }
    }

    /// Whether trying again is of no use.
    const fn is_final(&self) -> bool {
        match self {
            // Too slow, too many: the next try may be in time.
            Self::Refused { status: 408 | 429, .. } => false,
            Self::Refused { status, .. } => *status < 500,
            Self::NoTopic => true,
            Self::NoSuchHost
            | Self::Io(_)
            | Self::Tls(_)
            | Self::Ended
            | Self::Silent
            | Self::NotHttp
            | Self::Handshake(_)
            | Self::Protocol(_)
            | Self::Closed(_) => false,
        }
    }
}

/// What a server says, fit for a terminal: of a reasonable length, and steering nothing.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(SHOWN_CHARS_MAX) {
        match is_deceptive(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

const SHOWN_CHARS_MAX: usize = 300;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchHost => f.write_str("there is no such host"),
            Self::Io(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => f.write_str("nobody listens there"),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                    f.write_str("the connection was cut")
                }
                _ => error.fmt(f),
            },
            Self::Tls(fault) => f.write_str(fault),
            Self::Ended => f.write_str("the server ended the connection"),
            Self::Silent => f.write_str("the server does not answer"),
            Self::NotHttp => {
                f.write_str("what answers there is no wsfast server (or needs wss://)")
            }
            Self::Refused { status, reason } if reason.is_empty() => write!(f, "status {status}"),
            Self::Refused { status, reason } => write!(f, "{reason} (status {status})"),
            Self::Handshake(error) => write!(f, "the opening handshake failed: {error}"),
            Self::NoTopic => {
                f.write_str("there is no topic at this path (wsfast.meta is not spoken)")
            }
            Self::Protocol(error) => write!(f, "the server broke the protocol: {error}"),
            Self::Closed(None) => f.write_str("the server closed the connection"),
            Self::Closed(Some((code, reason))) if reason.is_empty() => {
                write!(f, "the server closed the connection ({code})")
            }
            Self::Closed(Some((code, reason))) => write!(f, "{reason} ({code})"),
        }
    }
}

/// Random bytes that nobody can foresee (RFC 6455 §10.3).
fn random<const LEN: usize>() -> Result<[u8; LEN], Failure> {
    let mut bytes = [0; LEN];
    rand::fill(&mut bytes)
        .map_err(|_| Failure::Io(io::Error::other("the system has no random bytes")))?;
    Ok(bytes)
}

/// Exit code: flags that make no sense.
const USAGE: u8 = 2;

/// Exit code: there was no connection, or it was refused for good.
const REFUSED: u8 = 3;

/// Exit code: not all was published, or it is not known.
const IN_DOUBT: u8 = 4;
