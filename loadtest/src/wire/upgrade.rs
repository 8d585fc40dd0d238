//! The opening handshake as a client sees it (RFC 6455 §4.1): the request that all connections send, each with a key of
//! its own, and the proof that the response answers that key.
//!
//! A thin layer over `wsfast::proto::handshake`, which knows the rules. Follows no redirect, offers no extension but
//! permessage-deflate.

use std::io;

use wsfast::proto::deflate::{Agreed, Offer};
use wsfast::proto::handshake::client::{
    ClientError, ClientKey, ClientRequest, check_response, encode_request,
};
use wsfast::proto::handshake::{HeadLimits, HeadScan};

use crate::plan::Plan;
use crate::time::schedule::Random;
use crate::wire::compressor::OFFER;
use crate::wire::link::LinkError;
use crate::wire::tls::TlsFailure;

/// What connections ask for; all the same, or all of a topic.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    host: String,
    target: String,
    origin: Option<String>,
    subprotocols: Vec<String>,
    deflate: Option<Offer>,
    headers: Vec<(String, String)>,
}

impl Request {
    /// The request of `plan` for `path`.
    ///
    /// # Errors
    ///
    /// One line that names what can't stand in a request.
    pub(crate) fn new(plan: &Plan, path: &str) -> Result<Self, String> {
        let request = Self {
            host: plan.target.host_header(),
            target: path.to_owned(),
            origin: plan.origin.clone(),
            subprotocols: plan.subprotocols.clone(),
            deflate: plan.compression.then_some(OFFER),
            headers: plan.headers.clone(),
        };
        request.encode(&ClientKey::from_nonce([0; 16]), &mut Vec::new()).map_err(|error| {
            format!(
                "the upgrade request has an {error}: see --path, -H, --origin and --subprotocol"
            )
        })?;
        Ok(request)
    }

    fn encode(&self, key: &ClientKey, out: &mut Vec<u8>) -> Result<(), ClientError> {
        let subprotocols: Vec<&str> = self.subprotocols.iter().map(String::as_str).collect();
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers: Vec<(&str, &str)> = headers.collect();
        let request = ClientRequest {
            host: &self.host,
            target: &self.target,
            key,
            origin: self.origin.as_deref(),
            subprotocols: &subprotocols,
            deflate: self.deflate,
            headers: &headers,
        };
        encode_request(out, &request)
    }
}

/// Why a connection could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenFailure {
    /// The system said no: refused, reset, unreachable.
    Io(io::ErrorKind),
    /// There is no Unix socket of this path.
    NoSocket,
    /// A Unix socket whose listen queue is full refuses at once; TCP waits.
    QueueFull,
    /// There was no TLS to be had.
    Tls(TlsFailure),
    /// It took longer than `--connect-timeout`.
    Timeout,
    /// The same, and TLS was still being negotiated.
    TlsTimeout,
    /// The server closed before its response was whole.
    ClosedEarly,
    /// The response is not that of a WebSocket server that read our key.
    Response(ClientError),
}

impl From<io::Error> for OpenFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}

impl From<LinkError> for OpenFailure {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Io(kind) => Self::Io(kind),
            LinkError::Tls(failure) => Self::Tls(failure),
        }
    }
}

impl std::fmt::Display for OpenFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(kind) => kind.fmt(f),
            Self::NoSocket => f.write_str("there is no such socket"),
            Self::QueueFull => {
                f.write_str("the server's listen queue is full: lower --connect-window")
            }
            Self::Tls(failure) => failure.fmt(f),
            Self::Timeout => f.write_str("timed out"),
            Self::TlsTimeout => {
                f.write_str("timed out in the TLS handshake (a server without TLS? use ws://)")
            }
            Self::ClosedEarly => f.write_str("closed before its response"),
            Self::Response(ClientError::Refused(status)) => write!(f, "HTTP status {status}"),
            Self::Response(error) => error.fmt(f),
        }
    }
}

/// One connection's opening handshake, from its request on.
#[derive(Debug)]
pub(crate) struct Upgrade {
    key: ClientKey,
    scan: HeadScan,
    /// The response so far.
    head: Vec<u8>,
}

impl Upgrade {
    /// An opening handshake with a key of its own.
    pub(crate) fn new(random: &mut Random) -> Self {
        let nonce = u128::from(random.next()) << 64 | u128::from(random.next());
        let key = ClientKey::from_nonce(nonce.to_le_bytes());
        Self { key, scan: HeadScan::new(), head: Vec::new() }
    }

    /// Appends the request to `out`.
    pub(crate) fn encode_request(&self, request: &Request, out: &mut Vec<u8>) {
        // `Request::new` has proved that it can be encoded.
        let encoded = request.encode(&self.key, out);
        debug_assert_eq!(encoded, Ok(()));
    }

    /// Takes in the next bytes of the response. `Some`: it is whole and proved; the frames start at this byte of `bytes`,
    /// and are compressed as was agreed.
    ///
    /// # Errors
    ///
    /// [`OpenFailure::Response`].
    pub(crate) fn take_in(
        &mut self,
        bytes: &[u8],
        request: &Request,
    ) -> Result<Option<(usize, Option<Agreed>)>, OpenFailure> {
        let before = self.head.len();
        // Past its limit the head is refused whatever follows, so no more of it is kept.
        let limits = HeadLimits::default();
        let kept = bytes.len().min(limits.head_bytes_max + 1 - before.min(limits.head_bytes_max));
        self.head.extend_from_slice(&bytes[..kept]);
        let scanned = self.scan.scan(&self.head, &limits);
        let scanned = scanned.map_err(|error| OpenFailure::Response(error.into()))?;
        let Some(head_len) = scanned else { return Ok(None) };
        let offered: Vec<&str> = request.subprotocols.iter().map(String::as_str).collect();
        let head = &self.head[..head_len];
        let response = check_response(head, &self.key, &offered, request.deflate)
            .map_err(OpenFailure::Response)?;
        Ok(Some((head_len - before, response.deflate)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Args;
    use crate::plan::Machine;

    fn request(args: &[&str]) -> Result<Request, String> {
        let words = std::iter::once("loadtest").chain(args.iter().copied());
        let machine = Machine {
            fds_max: 20_000,
            ports: (32_768, 60_999),
            memory_bytes: 1 << 30,
            backlog_max: 4096,
        };
        let args = Args::try_parse_from(words).unwrap();
        let plan = Plan::new(&args, machine).unwrap();
        Request::new(&plan, &plan.target.path)
    }

    #[test]
    fn the_request_says_what_the_flags_say() {
        let request = request(&[
            "--path",
            "/chat?x=1",
            "-H",
            "X-A: b c",
            "--origin",
            "http://o",
            "--subprotocol",
            "p",
        ])
        .unwrap();
        let mut out = Vec::new();
        Upgrade::new(&mut Random::new(1)).encode_request(&request, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("GET /chat?x=1 HTTP/1.1\r\nHost: 127.0.0.1:8002\r\n"), "{text}");
        for line in ["X-A: b c", "Origin: http://o", "Sec-WebSocket-Protocol: p"] {
            assert!(text.contains(&format!("\r\n{line}\r\n")), "{line} in {text}");
        }
    }

    #[test]
    fn what_cannot_stand_in_a_request_is_refused_at_once() {
        for args in [["-H", "Host: other"], ["-H", "Content-Length: 3"], ["--origin", ""]] {
            let message = request(&args).unwrap_err();
            assert!(message.contains("upgrade request") && !message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn a_response_may_come_in_any_pieces_and_frames_behind_it_are_not_its_own() {
        let request = request(&[]).unwrap();
        let upgrade = || Upgrade::new(&mut Random::new(1));
        let accept = wsfast::proto::handshake::accept_of(upgrade().key.as_bytes());
        let accept = String::from_utf8(accept.to_vec()).unwrap();
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        let stream = [head.as_bytes(), b"\x81\x02hi"].concat();
        for cut in 0..head.len() {
            let mut upgrade = upgrade();
            assert_eq!(upgrade.take_in(&stream[..cut], &request), Ok(None), "cut at {cut}");
            let rest = upgrade.take_in(&stream[cut..], &request);
            assert_eq!(rest, Ok(Some((head.len() - cut, None))), "cut at {cut}");
        }
        let mut other = Upgrade::new(&mut Random::new(2));
        let wrong = other.take_in(&stream, &request);
        assert_eq!(wrong, Err(OpenFailure::Response(ClientError::AcceptWrong)));
    }

    #[test]
    fn a_refusal_names_its_status() {
        let refusal = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        let taken = Upgrade::new(&mut Random::new(1)).take_in(refusal, &request(&[]).unwrap());
        assert_eq!(taken.unwrap_err().to_string(), "HTTP status 400");
    }
}
