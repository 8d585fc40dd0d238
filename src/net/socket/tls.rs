//! TLS under a peer's byte stream (RFC 8446, RFC 5246): the only file that names rustls.
//!
//! ```text
//! socket ──one recv──► scratch: [room | cut record, new records ...]      decrypted in place, then moved down
//!                                │                                        to where the plaintext is wanted
//! socket ◄─one send─── out: [record, record ...] ◄── replies, 16 KiB a record
//!                       └── what the kernel refuses is held by the link
//! ```
//!
//! A read leaves no plaintext behind, so that nothing waits here for an event that does not come. Between events a link
//! keeps only a record that is cut and ciphertext that was refused; an idle one owns no buffer. Reads no files, knows no
//! deadlines, and does not say which peers may go on: see `rx` and `tx`.

use std::cell::Cell;
use std::fmt;
use std::io::IoSlice;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, UnbufferedServerConnection,
};
use rustls::sign::CertifiedKey;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData};
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, ServerConfig};
use x509_parser::time::ASN1Time;

use crate::net::socket::link::{self, Drained, Fill, Stream};

/// A certificate and its key, and all that TLS connections of a server share. Cheap to clone; clones share a swap.
#[derive(Clone)]
pub struct TlsConfig {
    server: Arc<ServerConfig>,
    certificate: Arc<Certificate>,
}

/// The certificate that handshakes begun from here on are answered with.
#[derive(Debug)]
struct Certificate {
    /// Locked for as long as a handshake takes to copy the pointer, or a swap to change it.
    current: Mutex<Arc<CertifiedKey>>,
}

impl TlsConfig {
    /// TLS 1.2 and 1.3 with the certificate chain `cert` and the private key `key`, both PEM; ALPN knows `http/1.1`.
    ///
    /// # Errors
    ///
    /// What is wrong with the pair.
    pub fn from_pem(cert: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certified = certified_key(cert, key, &provider)?;
        let certificate = Arc::new(Certificate { current: Mutex::new(Arc::new(certified)) });
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|_| TlsError::Unsupported)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificate) as Arc<dyn ResolvesServerCert>);
        // A browser may offer h2, even first. WebSocket over it (RFC 8441) is not spoken here.
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Resumption costs the clients' memory, not ours. The keys last as long as this value, whatever is swapped.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.ticketer = aws_lc_rs::Ticketer::new().map_err(|_| TlsError::Unsupported)?;
        Ok(Self { server: Arc::new(server), certificate })
    }

    /// Answers later handshakes with another certificate; connections that are open keep theirs.
    ///
    /// # Errors
    ///
    /// What is wrong with the pair; then nothing changes.
    pub fn swap(&self, cert: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let certified = Arc::new(certified_key(cert, key, self.server.crypto_provider())?);
        self.certificate.swap(certified);
        Ok(())
    }

    /// Whether handshakes are answered with the same certificates as those of `other`.
    pub fn has_certificate_of(&self, other: &Self) -> bool {
        self.certificate.current().cert == other.certificate.current().cert
    }

    /// Answers later handshakes with the certificate of `other`, which cannot fail.
    pub fn swap_with(&self, other: &Self) {
        self.certificate.swap(other.certificate.current());
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConfig")
    }
}

impl Certificate {
    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn swap(&self, certified: Arc<CertifiedKey>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = certified;
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

/// Why a certificate and a key cannot serve. It does not say which files they came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// Where the certificate should be there is this.
    NoCertificate(PemContent),
    /// Where the key should be there is this.
    NoKey(PemContent),
    /// The first certificate cannot be read.
    BadCertificate,
    /// The key is of a kind that cannot be used.
    BadKey,
    /// The key is not that of the first certificate.
    Mismatch,
    /// The certificate ended at this time, in seconds since 1970.
    Expired(i64),
    /// The certificate begins at this time, in seconds since 1970.
    NotYetValid(i64),
    /// The cryptography is not there.
    Unsupported,
}

/// What a PEM file was found to hold in place of what was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PemContent {
    /// No byte.
    Nothing,
    /// A certificate.
    Certificate,
    /// A private key.
    Key,
    /// A private key under a passphrase.
    EncryptedKey,
    /// Nothing of use, or no PEM at all.
    Other,
}

impl TlsError {
    /// Whether it is the key that is at fault, rather than the certificate.
    pub const fn is_about_key(self) -> bool {
        matches!(self, Self::NoKey(_) | Self::BadKey | Self::Mismatch)
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoCertificate(PemContent::Nothing) | Self::NoKey(PemContent::Nothing) => {
                f.write_str("is empty")
            }
            Self::NoCertificate(PemContent::Key | PemContent::EncryptedKey) => {
                f.write_str("holds a private key and no certificate")
            }
            Self::NoCertificate(_) => f.write_str("holds no certificate in PEM form"),
            Self::NoKey(PemContent::Certificate) => {
                f.write_str("holds a certificate and no private key")
            }
            Self::NoKey(PemContent::EncryptedKey) => f.write_str("holds an encrypted key"),
            Self::NoKey(_) => f.write_str("holds no private key in PEM form"),
            Self::BadCertificate => f.write_str("holds a certificate that cannot be read"),
            Self::BadKey => f.write_str("holds a key that cannot be used"),
            Self::Mismatch => f.write_str("holds a key that is not the certificate's"),
            Self::Expired(at) => write!(f, "holds a certificate that expired on {}", Date(at)),
            Self::NotYetValid(at) => {
                write!(f, "holds a certificate that is not valid before {}", Date(at))
            }
            Self::Unsupported => f.write_str("needs cryptography that is not there"),
        }
    }
}

impl std::error::Error for TlsError {}

/// Seconds since 1970, shown as a date and a time.
struct Date(i64);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ASN1Time::from_timestamp(self.0) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => write!(f, "second {}", self.0),
        }
    }
}

/// Checks a pair as far as a server can: a client looks at names and issuers.
fn certified_key(
    cert: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(cert)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::BadCertificate)?;
    let Some(leaf) = chain.first() else { return Err(TlsError::NoCertificate(content_of(cert))) };
    let (_, parsed) =
        x509_parser::parse_x509_certificate(leaf).map_err(|_| TlsError::BadCertificate)?;
    let valid = parsed.validity();
    let (from, until) = (valid.not_before.timestamp(), valid.not_after.timestamp());
    let private = PrivateKeyDer::from_pem_slice(key).map_err(|_| match content_of(key) {
        PemContent::Key => TlsError::BadKey,
        content => TlsError::NoKey(content),
    })?;
    let signing = provider.key_provider.load_private_key(private).map_err(|_| TlsError::BadKey)?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => return Err(TlsError::Mismatch),
        Err(_) => return Err(TlsError::BadCertificate),
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match i64::try_from(now).unwrap_or(i64::MAX) {
        now if now > until => Err(TlsError::Expired(until)),
        now if now < from => Err(TlsError::NotYetValid(from)),
        _ => Ok(certified),
    }
}

/// What a PEM file that lacks what was looked for holds.
fn content_of(pem: &[u8]) -> PemContent {
    if pem.trim_ascii().is_empty() {
        return PemContent::Nothing;
    }
    if pem.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED) {
        return PemContent::EncryptedKey;
    }
    match <(SectionKind, Vec<u8>)>::pem_slice_iter(pem).next() {
        Some(Ok((SectionKind::Certificate, _))) => PemContent::Certificate,
        Some(Ok((
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey,
            _,
        ))) => PemContent::Key,
        _ => PemContent::Other,
    }
}

/// In `BEGIN ENCRYPTED PRIVATE KEY`, and in the `Proc-Type` line of the older form.
const ENCRYPTED: &[u8] = b"ENCRYPTED";

/// A connected socket under TLS, the server's end.
pub struct TlsLink {
    stream: Stream,
    session: UnbufferedServerConnection,
    input: Input,
    /// Records from the first that is not whole on, or from the first of a handshake message that is not.
    cut: Vec<u8>,
    /// Ciphertext that the kernel did not take.
    held: Vec<u8>,
    /// Bytes of `held` that it took since.
    held_at: usize,
    /// Whether the last read from the socket was short: it means that the socket is drained (epoll(7)).
    is_drained: bool,
    /// Whether our close_notify was made.
    is_ending: bool,
    /// What was wrong with the peer's bytes, once something was.
    breach: Option<Box<rustls::Error>>,
}

/// Whose fault it is, and about what.
const fn words_for(error: &rustls::Error) -> &'static str {
    use rustls::Error::{
        AlertReceived, DecryptError, InappropriateHandshakeMessage, InappropriateMessage,
        InvalidMessage, NoApplicationProtocol, PeerIncompatible, PeerMisbehaved,
        PeerSentOversizedRecord,
    };
    match error {
        AlertReceived(_) => "the client ended it with an alert",
        PeerIncompatible(_) => "there is no version, cipher or group in common",
        NoApplicationProtocol => "there is no application protocol in common",
        InvalidMessage(_) | PeerSentOversizedRecord => "what the client sent is not TLS",
        InappropriateMessage { .. } | InappropriateHandshakeMessage { .. } | PeerMisbehaved(_) => {
            "the client broke the rules of TLS"
        }
        DecryptError => "a record of the client's does not decrypt",
        _ => "the session could not go on",
    }
}

/// What the peer's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// What comes before TLS, as it is.
    Proxied,
    /// Records, some of which were read together with that and lie in `cut`.
    Early,
    /// Records.
    Records,
    /// Of no interest: the peer's close_notify came.
    Ended,
    /// Of no interest: the peer broke TLS, or sent an alert that is fatal.
    Failed,
}

/// How a walk over records ended.
enum Stepped {
    /// All whole ones were stepped over.
    Through,
    /// With a close_notify.
    Ended,
    /// At a breach.
    Failed(rustls::Error),
}

impl TlsLink {
    /// The server's end of a TLS connection over `stream`. `is_proxied`: other bytes come first, which are read as they
    /// are until [`TlsLink::begin`].
    ///
    /// `None`: there is no memory or no cryptography for it.
    pub fn new(stream: Stream, config: &TlsConfig, is_proxied: bool) -> Option<Self> {
        let session = UnbufferedServerConnection::new(Arc::clone(&config.server)).ok()?;
        Some(Self {
            stream,
            session,
            input: if is_proxied { Input::Proxied } else { Input::Records },
            cut: Vec::new(),
            held: Vec::new(),
            held_at: 0,
            is_drained: false,
            is_ending: false,
            breach: None,
        })
    }

    /// TLS begins behind the bytes that came first; those that were read of it already are `early`.
    pub fn begin(&mut self, early: &[u8]) {
        debug_assert_eq!(self.input, Input::Proxied);
        // A client has no more to say before it is answered.
        self.input = match early.len() {
            0 => Input::Records,
            1..=HANDSHAKE_BYTES_MAX => Input::Early,
            _ => Input::Failed,
        };
        self.cut = early.to_vec();
    }

    /// Reads once from the socket, at most `at_most` bytes. All plaintext that this brings goes into `first`, then `second`.
    ///
    /// `second` has room for [`READ_ROOM_MIN`] bytes; its contents are lost.
    pub fn read(&mut self, first: &mut [u8], second: &mut [u8], at_most: usize) -> Fill {
        debug_assert!(second.len() >= READ_ROOM_MIN);
        match self.input {
            Input::Proxied => return self.read_as_it_is(second),
            Input::Early | Input::Records => {}
            Input::Ended => return Fill::End,
            Input::Failed => return self.read_in_vain(second),
        }
        let from = RECORD_BYTES_MAX + self.cut.len();
        let room = at_most.min(second.len() - from);
        let len = match link::read_once(&mut self.stream, &mut second[from..from + room]) {
            Fill::Bytes(len) => {
                self.is_drained = len < room;
                len
            }
            fill if self.input == Input::Early => {
                // What was read early is acted on first; then the socket says it again.
                self.is_drained = fill == Fill::WouldBlock;
                0
            }
            // Whoever cuts the stream can send a FIN, but no close_notify.
            Fill::End => return Fill::Broken,
            fill => return fill,
        };
        self.input = Input::Records;
        second[RECORD_BYTES_MAX..from].copy_from_slice(&std::mem::take(&mut self.cut));
        self.take_in(first, second, from + len)
    }

    /// Takes in the records at `RECORD_BYTES_MAX..end` of `second`.
    fn take_in(&mut self, first: &mut [u8], second: &mut [u8], end: usize) -> Fill {
        let held_before = self.held.len();
        let speaks_http = held_before == 0 && second[RECORD_BYTES_MAX].is_ascii_uppercase();
        let mut at = RECORD_BYTES_MAX;
        let mut plain_len = 0;
        let stepped = self.step(first, second, &mut at, end, &mut plain_len);
        let made_flight = self.held.len() > held_before;
        match stepped {
            Stepped::Through if end - at <= HANDSHAKE_BYTES_MAX => {
                if at < end {
                    self.cut = second[at..end].to_vec();
                }
            }
            Stepped::Through => self.input = Input::Failed,
            Stepped::Ended => {
                self.input = Input::Ended;
                self.is_drained = false;
            }
            Stepped::Failed(error) => {
                self.input = Input::Failed;
                self.breach = Some(Box::new(error));
                if speaks_http && self.session.is_handshaking() {
                    self.held = PLAIN_HTTP.to_vec();
                }
            }
        }
        match (self.flush(), self.input) {
            (Drained::Broken, _) => Fill::Broken,
            (_, Input::Failed) => Fill::Failed,
            _ if plain_len > 0 => Fill::Bytes(plain_len),
            (_, Input::Ended) => Fill::End,
            _ => Fill::NoData { made_flight },
        }
    }

    /// Behind [`Fill::Failed`]: what broke TLS, in an operator's words and in the library's.
    pub fn breach(&self) -> (&'static str, Option<&impl fmt::Display>) {
        let error = self.breach.as_deref();
        (error.map_or("the client sent a record that is too long", words_for), error)
    }

    /// Decrypts records in place, and moves their plaintext down: into `first`, then to the front of `second`.
    ///
    /// Plaintext is shorter than its record, and the first record lies behind room for a whole one; so what is written
    /// never reaches what is read.
    fn step(
        &mut self,
        first: &mut [u8],
        second: &mut [u8],
        at: &mut usize,
        end: usize,
        plain_len: &mut usize,
    ) -> Stepped {
        let mut stepped = Stepped::Through;
        // After a breach only its alert counts; the records are stepped over no more.
        while !matches!(stepped, Stepped::Failed(_)) || self.session.wants_write() {
            let (done, records) = second[..end].split_at_mut(*at);
            let status = self.session.process_tls_records(records);
            *at += status.discard;
            match status.state {
                Ok(ConnectionState::EncodeTlsData(flight)) => encode(flight, &mut self.held),
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                *at += record.discard;
                                place(record.payload, first, done, plain_len);
                            }
                            Err(error) => stepped = Stepped::Failed(error),
                        }
                    }
                }
                Ok(ConnectionState::PeerClosed) => stepped = Stepped::Ended,
                // Nothing more can be made of the bytes. Early data is never offered, so it never comes.
                Ok(_) => return stepped,
                Err(error) => stepped = Stepped::Failed(error),
            }
        }
        stepped
    }

    /// Reads what no longer counts, until the peer's FIN.
    /// Reads what comes before TLS.
    fn read_as_it_is(&mut self, buf: &mut [u8]) -> Fill {
        let fill = link::read_once(&mut self.stream, buf);
        self.is_drained = matches!(fill, Fill::Bytes(len) if len < buf.len());
        fill
    }

    fn read_in_vain(&mut self, buf: &mut [u8]) -> Fill {
        match link::read_once(&mut self.stream, buf) {
            Fill::Bytes(len) => {
                self.is_drained = len < buf.len();
                Fill::NoData { made_flight: false }
            }
            fill => fill,
        }
    }

    /// Encrypts and writes `slices`, one write for as many as fit the loop's buffer, until the kernel refuses some.
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> Drained {
        match self.flush() {
            Drained::Bytes(_) => {}
            drained => return drained,
        }
        let mut out = OUT.take();
        out.prepare();
        let drained = self.write_through(slices, &mut out);
        OUT.set(out);
        drained
    }

    fn write_through(&mut self, slices: &[IoSlice<'_>], out: &mut Out) -> Drained {
        let mut plain = Plain { slices, at: 0 };
        let mut taken = 0;
        loop {
            let mut len = 0;
            while out.records.len() - len >= SEALED_BYTES_MAX {
                let record = plain.next(&mut out.gathered);
                if record.is_empty() {
                    break;
                }
                match self.seal(record, &mut out.records[len..]) {
                    Some(sealed) => len += sealed,
                    None => return Drained::Broken,
                }
                taken += record.len();
            }
            if len == 0 {
                return Drained::Bytes(taken);
            }
            match link::write_once(&mut self.stream, &out.records[..len]) {
                Drained::Bytes(sent) if sent == len => {}
                Drained::Bytes(sent) => {
                    self.held = out.records[sent..len].to_vec();
                    return Drained::Held(taken);
                }
                drained => return drained,
            }
        }
    }

    /// Encrypts at most one record's worth of plaintext to the front of `out`; the bytes that it became.
    fn seal(&mut self, plain: &[u8], out: &mut [u8]) -> Option<usize> {
        loop {
            // What is cut stands at the front of the peer's stream, and the session holds offsets into it.
            let status = self.session.process_tls_records(&mut self.cut);
            let discard = status.discard;
            let sealed = match status.state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => traffic.encrypt(plain, out).ok(),
                Ok(ConnectionState::TransmitTlsData(transmit)) => {
                    transmit.done();
                    continue;
                }
                // A read takes all of these; and what is sent before the handshake is over is `opening`'s to prevent.
                _ => None,
            };
            self.cut.drain(..discard);
            return sealed;
        }
    }

    /// Writes what is held. [`Drained::Bytes`]: nothing is, any more.
    pub fn flush(&mut self) -> Drained {
        if self.held.is_empty() {
            return Drained::Bytes(0);
        }
        match link::write_once(&mut self.stream, &self.held[self.held_at..]) {
            Drained::Bytes(len) => {
                self.held_at += len;
                if self.held_at < self.held.len() {
                    return Drained::Held(0);
                }
                self.held = Vec::new();
                self.held_at = 0;
                Drained::Bytes(0)
            }
            drained => drained,
        }
    }

    /// Sends our close_notify, then our FIN. [`Drained::Held`]: call it again once what is held has left.
    pub fn end_output(&mut self) -> Drained {
        let drained = self.end_session();
        if matches!(drained, Drained::Bytes(_)) {
            link::end_once(&self.stream);
        }
        drained
    }

    /// Sends our close_notify alone.
    pub fn end_session(&mut self) -> Drained {
        if self.session.is_handshaking() {
            // It ends here, and what the peer still says to it is not worth a private-key operation.
            self.input = Input::Failed;
        }
        if !self.is_ending && self.input != Input::Failed {
            let status = self.session.process_tls_records(&mut self.cut);
            if let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state {
                let mut alert = [0; ALERT_BYTES_MAX];
                if let Ok(len) = traffic.queue_close_notify(&mut alert) {
                    self.held.extend_from_slice(&alert[..len]);
                }
            }
        }
        self.is_ending = true;
        self.flush()
    }

    /// Bytes of ciphertext that wait for the kernel.
    pub const fn held_bytes(&self) -> usize {
        self.held.len() - self.held_at
    }

    /// Whether the socket had nothing left behind the last read.
    pub const fn is_drained(&self) -> bool {
        self.is_drained
    }

    /// Whether the handshake goes on, so that nothing can be sent.
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking() && self.input != Input::Failed
    }

    /// The socket, for registering it.
    pub const fn source(&mut self) -> &mut Stream {
        &mut self.stream
    }
}

impl fmt::Debug for TlsLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsLink").field("input", &self.input).finish_non_exhaustive()
    }
}

/// Appends a record of the session's own to `held`.
fn encode<Data>(mut flight: EncodeTlsData<'_, Data>, held: &mut Vec<u8>) {
    let Err(EncodeError::InsufficientSize(size)) = flight.encode(&mut []) else { return };
    let at = held.len();
    held.resize(at + size.required_size, 0);
    let encoded = flight.encode(&mut held[at..]);
    debug_assert!(encoded.is_ok());
}

/// Puts a record's plaintext behind what came before it.
fn place(mut plain: &[u8], first: &mut [u8], second: &mut [u8], plain_len: &mut usize) {
    if *plain_len < first.len() {
        let (now, rest) = plain.split_at(plain.len().min(first.len() - *plain_len));
        first[*plain_len..][..now.len()].copy_from_slice(now);
        *plain_len += now.len();
        plain = rest;
    }
    if !plain.is_empty() {
        let at = *plain_len - first.len();
        second[at..][..plain.len()].copy_from_slice(plain);
        *plain_len += plain.len();
    }
}

/// Plaintext to be sent, cut into records.
struct Plain<'a> {
    slices: &'a [IoSlice<'a>],
    /// Bytes of `slices[0]` that were given out.
    at: usize,
}

impl<'a> Plain<'a> {
    /// The next record's plaintext, from where it lies if that is one place, else from `gathered`. Empty: there is none.
    fn next<'b>(&mut self, gathered: &'b mut [u8]) -> &'b [u8]
    where
        'a: 'b,
    {
        let mut len = 0;
        while let Some((slice, others)) = self.slices.split_first() {
            let rest = &slice[self.at..];
            let is_last = others.iter().all(|other| other.is_empty());
            if len == 0 && (is_last || rest.len() >= RECORD_BYTES_MAX) {
                let record = &rest[..rest.len().min(RECORD_BYTES_MAX)];
                self.at += record.len();
                return record;
            }
            let part = &rest[..rest.len().min(RECORD_BYTES_MAX - len)];
            gathered[len..len + part.len()].copy_from_slice(part);
            len += part.len();
            self.at += part.len();
            if len == RECORD_BYTES_MAX {
                break;
            }
            (self.slices, self.at) = (others, 0);
        }
        &gathered[..len]
    }
}

/// A loop's buffers for what it encrypts. Empty between writes of a thread that has no TLS peers.
#[derive(Default)]
struct Out {
    /// Records that leave in one write.
    records: Vec<u8>,
    /// A record's plaintext that lies in several places.
    gathered: Vec<u8>,
}

impl Out {
    fn prepare(&mut self) {
        if self.records.is_empty() {
            self.records = vec![0; OUT_BYTES];
            self.gathered = vec![0; RECORD_BYTES_MAX];
        }
    }
}

thread_local! {
    /// A loop never leaves its thread, and writes to one peer at a time; so its peers share it without a lock.
    static OUT: Cell<Out> = const { Cell::new(Out { records: Vec::new(), gathered: Vec::new() }) };
}

/// Plaintext of one record, at most (RFC 8446 §5.1).
const RECORD_BYTES_MAX: usize = 1 << 14;

/// A record of ours, with header, padding, tag, and perhaps a key update before it.
const SEALED_BYTES_MAX: usize = RECORD_BYTES_MAX + 256;

/// A read brings at most 112 KiB, so that the echo of all of it leaves in one write.
const OUT_BYTES: usize = 8 * SEALED_BYTES_MAX;

/// Bytes of handshake messages that are not whole; certificates of clients are not asked for.
const HANDSHAKE_BYTES_MAX: usize = 1 << 16;

/// What a read needs: room for a record, what is cut, and some more.
pub(crate) const READ_ROOM_MIN: usize = RECORD_BYTES_MAX + HANDSHAKE_BYTES_MAX + RECORD_BYTES_MAX;

/// An alert of ours, and perhaps a key update before it.
const ALERT_BYTES_MAX: usize = 256;

/// For those who speak HTTP where TLS is spoken.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 51\r\n\r\n\
    this port speaks TLS: use wss:// (or https://) here";

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// What was read before TLS began (behind a PROXY header, say) raises no event any more.
    #[test]
    fn bytes_that_were_read_early_are_taken_in_first() {
        let (config, mut client) = server_and_client();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        for early_len in [0, 1, 5, hello.len() / 2, hello.len()] {
            let (mut ours, theirs) = sockets();
            let (early, late) = hello.split_at(early_len);
            let mut link = TlsLink::new(theirs, &config, true).unwrap();
            ours.write_all(b"PROXY").unwrap();
            let mut before = vec![0; READ_ROOM_MIN + 1000];
            assert_eq!(link.read(&mut [], &mut before, usize::MAX), Fill::Bytes(5));
            assert_eq!((&before[..5], link.is_drained()), (&b"PROXY"[..], true));
            link.begin(early);
            let mut scratch = vec![0; READ_ROOM_MIN + 1000];
            let fill = link.read(&mut [], &mut scratch, usize::MAX);
            if early_len == hello.len() {
                assert_eq!(fill, Fill::NoData { made_flight: true });
                assert!(link.is_drained());
            } else {
                let expected = Fill::NoData { made_flight: false };
                assert_eq!(fill, if early_len == 0 { Fill::WouldBlock } else { expected });
                ours.write_all(late).unwrap();
                // Loopback delivers before `write` returns.
                let fill = link.read(&mut [], &mut scratch, usize::MAX);
                assert_eq!(fill, Fill::NoData { made_flight: true });
            }
            assert!(ours.read(&mut [0; 100]).unwrap() > 0);
            assert_eq!(link.read(&mut [], &mut scratch, usize::MAX), Fill::WouldBlock);
        }
    }

    /// The stream's meaning does not depend on where the network cut it, nor on where its plaintext is wanted.
    #[test]
    fn splitting_the_stream_changes_nothing() {
        let mut random = 0x2545_F491_4F6C_DD1D_u64;
        let mut below = |most: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % most as u64).unwrap()
        };
        let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at % 251).to_le_bytes()[0]).collect();
        for piece_max in [7, 300, 5_000, 40_000, 150_000] {
            let (config, mut client) = server_and_client();
            let (mut ours, theirs) = sockets();
            let mut link = TlsLink::new(theirs, &config, false).unwrap();
            let mut scratch = vec![0; 132_096];
            while client.is_handshaking() || client.wants_write() {
                client.write_tls(&mut ours).unwrap();
                let _flight = link.read(&mut [], &mut scratch, usize::MAX);
                if client.is_handshaking() {
                    client.read_tls(&mut ours).unwrap();
                    client.process_new_packets().unwrap();
                }
            }
            let (mut sealed, mut sent) = (Vec::new(), 0);
            // A record a byte at 7 would take long.
            let bytes = &bytes[..bytes.len().min(piece_max * 2000)];
            while sent < bytes.len() {
                let record = &bytes[sent..bytes.len().min(sent + 1 + below(20_000))];
                sent += client.writer().write(record).unwrap();
                client.write_tls(&mut sealed).unwrap();
            }
            let (mut received, mut at) = (Vec::new(), 0);
            while at < sealed.len() {
                let piece = &sealed[at..sealed.len().min(at + 1 + below(piece_max))];
                at += piece.len();
                ours.write_all(piece).unwrap();
                loop {
                    let mut first = vec![0; below(3) * below(30_000)];
                    match link.read(&mut first, &mut scratch, 1 + below(150_000)) {
                        Fill::Bytes(len) => {
                            let in_first = len.min(first.len());
                            received.extend_from_slice(&first[..in_first]);
                            received.extend_from_slice(&scratch[..len - in_first]);
                        }
                        Fill::NoData { made_flight } => assert!(!made_flight),
                        Fill::WouldBlock => break,
                        fill => panic!("{fill:?}"),
                    }
                }
            }
            assert!(received == bytes, "pieces of up to {piece_max}");
            assert!(link.cut.is_empty() && link.held.is_empty(), "an idle link owns no buffer");
            assert_eq!((link.cut.capacity(), link.held.capacity()), (0, 0));
        }
    }

    #[test]
    fn plaintext_is_cut_into_records_without_a_loss() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        let mut gathered = vec![0; RECORD_BYTES_MAX];
        for cuts in [
            &[][..],
            &[0],
            &[100_000],
            &[10],
            &[10, 16_384],
            &[16_384, 16_385, 50_000],
            &[3, 3, 5, 99_999],
            &[99_000],
        ] {
            let starts = [0].into_iter().chain(cuts.iter().copied());
            let ends = cuts.iter().copied().chain([bytes.len()]);
            let slices: Vec<IoSlice<'_>> =
                starts.zip(ends).map(|(start, end)| IoSlice::new(&bytes[start..end])).collect();
            let mut plain = Plain { slices: &slices, at: 0 };
            let mut records = Vec::new();
            let mut count = 0;
            loop {
                let record = plain.next(&mut gathered);
                if record.is_empty() {
                    break;
                }
                records.extend_from_slice(record);
                count += 1;
            }
            assert!(records == bytes, "{cuts:?}");
            assert_eq!(count, bytes.len().div_ceil(RECORD_BYTES_MAX), "{cuts:?}");
        }
    }

    /// What is behind a link may be a Unix socket as well.
    fn sockets() -> (UnixStream, Stream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let theirs = std::net::TcpStream::from(OwnedFd::from(theirs));
        (ours, Stream::from_std(theirs))
    }

    fn server_and_client() -> (TlsConfig, ClientConnection) {
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        let server =
            TlsConfig::from_pem(cert.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        (server, ClientConnection::new(Arc::new(client), name).unwrap())
    }
}
