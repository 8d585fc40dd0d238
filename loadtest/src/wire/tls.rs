//! TLS as a client: whom to trust, one connection's handshake and records, and what failed in plain words.
//!
//! The only file that names rustls, whose buffers are fed and drained by hand (`read_tls`, `process_new_packets`,
//! `write_tls`). Offers TLS 1.2 and 1.3 with the protocol `http/1.1`, and resumes no session: every connection pays for
//! a whole handshake, as ten thousand strangers do. Sends no client certificate, checks no revocation, measures nothing.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection, Resumption};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};

use crate::wire::link::{Drained, Fill, LinkError, Rest, Secured, Tcp};

/// Whose certificates are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust<'a> {
    /// Those that an authority of this system vouches for.
    System,
    /// Those that a certificate in this PEM file vouches for.
    File(&'a Path),
    /// All, for any name: whoever answers is believed.
    Anyone,
}

/// What every connection's TLS starts from.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// TLS over a TCP connection of its own.
#[derive(Debug)]
pub(crate) struct TlsLink {
    tcp: Tcp,
    session: ClientConnection,
    /// True: the server's close_notify came, and what is behind it is no part of the stream.
    is_read_closed: bool,
}

/// Why there is no TLS, or none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsFailure {
    /// Nobody who is trusted vouches for the certificate.
    NotTrusted,
    /// The certificate is for another host.
    WrongName,
    /// The certificate's time is over, or has not come.
    Expired,
    /// The certificate is none that a server can have.
    BadCertificate,
    /// What came is not TLS.
    NotTls,
    /// The server hung up in the handshake, without a word.
    HungUp,
    /// The server said why it ends this.
    Alert(AlertDescription),
    /// There is no version, key exchange or cipher that both sides know.
    NothingInCommon,
    /// The server broke a rule of TLS.
    Broken,
}

/// Ciphertext that one read can bring, which is what the buffer for it holds.
pub(crate) const WIRE_BYTES: usize = 64 << 10;

/// Plaintext of a record that earlier reads brought the most of (RFC 8446 §5.1), and hence what a read can bring beyond
/// its own length.
const RECORD_BYTES_MAX: usize = 16 << 10;

impl Connector {
    /// TLS to `host`, an address or a name that goes into the ClientHello (SNI).
    ///
    /// # Errors
    ///
    /// One line that says what can't be read, or be a host.
    pub(crate) fn new(host: &str, trust: Trust<'_>) -> Result<Self, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host:?} is no name that a certificate can be for"))?;
        let builder = ClientConfig::builder();
        let mut config = match trust {
            Trust::System => builder.with_root_certificates(system_roots()?).with_no_client_auth(),
            Trust::File(path) => {
                builder.with_root_certificates(roots_of(path)?).with_no_client_auth()
            }
            Trust::Anyone => {
                let believer = Believer(Arc::clone(builder.crypto_provider()));
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(believer))
                    .with_no_client_auth()
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        let connector = Self { config: Arc::new(config), name };
        // The first session seeds the provider's generator, which takes a while that is no connection's.
        let _seeded = connector.session().map_err(|error| error.to_string())?;
        Ok(connector)
    }

    fn session(&self) -> Result<ClientConnection, Error> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone())
    }

    /// TLS over `tcp`, which is connected.
    ///
    /// # Errors
    ///
    /// That there is no randomness.
    pub(crate) fn wrap(&self, tcp: Tcp) -> io::Result<TlsLink> {
        let mut session = self.session().map_err(io::Error::other)?;
        // What does not fit waits in the connection's own queue, so that there is one bound.
        session.set_buffer_limit(Some(WIRE_BYTES));
        Ok(TlsLink { tcp, session, is_read_closed: false })
    }
}

impl TlsLink {
    /// The socket under it.
    pub(crate) const fn socket(&mut self) -> &mut Tcp {
        &mut self.tcp
    }

    /// Goes on with the handshake.
    ///
    /// # Errors
    ///
    /// Why there will be no TLS.
    pub(crate) fn secure(&mut self, wire: &mut [u8]) -> Result<Secured, LinkError> {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        self.shake_hands(wire).map_err(|error| match error {
            // A server that hangs up with our ClientHello unread resets the connection.
            LinkError::Io(ConnectionReset | BrokenPipe) => LinkError::Tls(TlsFailure::HungUp),
            error => error,
        })
    }

    fn shake_hands(&mut self, wire: &mut [u8]) -> Result<Secured, LinkError> {
        self.flush()?;
        while self.session.is_handshaking() {
            match self.tcp.read(wire)? {
                Fill::Bytes { len, .. } => _ = self.decrypt(&wire[..len], &mut [])?,
                Fill::WouldBlock => return Ok(Secured::NotYet),
                Fill::End => return Err(LinkError::Tls(TlsFailure::HungUp)),
            }
        }
        Ok(Secured::Yes)
    }

    /// Reads once, and decrypts into `buf` what that brought.
    ///
    /// # Errors
    ///
    /// That the connection broke.
    pub(crate) fn read(&mut self, buf: &mut [u8], wire: &mut [u8]) -> Result<Fill, LinkError> {
        if self.is_read_closed {
            return Ok(Fill::End);
        }
        // All that is decrypted has to fit, since no event tells of what would stay behind.
        let room = buf.len().saturating_sub(RECORD_BYTES_MAX).min(wire.len());
        debug_assert!(room > 0);
        match self.tcp.read(&mut wire[..room])? {
            Fill::Bytes { len, rest, stamp_ns } => {
                let len = self.decrypt(&wire[..len], buf)?;
                let rest = if self.is_read_closed { Rest::Unknown } else { rest };
                Ok(Fill::Bytes { len, rest, stamp_ns })
            }
            nothing => Ok(nothing),
        }
    }

    /// Takes in ciphertext, moves plaintext to `buf`; returns how much. Without room it stays inside.
    fn decrypt(&mut self, mut wire: &[u8], buf: &mut [u8]) -> Result<usize, LinkError> {
        let mut at = 0;
        while !wire.is_empty() {
            self.session.read_tls(&mut wire)?;
            match self.session.process_new_packets() {
                Ok(state) => self.is_read_closed |= state.peer_has_closed(),
                Err(error) => {
                    // The alert is a courtesy; the error is what is told.
                    let _gone = self.flush();
                    return Err(LinkError::Tls(TlsFailure::from(&error)));
                }
            }
            while at < buf.len() {
                match self.session.reader().read(&mut buf[at..]) {
                    Ok(0) => break,
                    Ok(len) => at += len,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
            if self.is_read_closed {
                break;
            }
        }
        // A handshake's next flight, an answer to a key update.
        self.flush()?;
        Ok(at)
    }

    /// Encrypts as much of `bytes` as there is room for, and writes it.
    ///
    /// # Errors
    ///
    /// That the connection broke.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<Drained, LinkError> {
        self.flush()?;
        if self.session.wants_write() {
            return Ok(Drained::WouldBlock);
        }
        let len = self.session.writer().write(bytes)?;
        self.flush()?;
        Ok(Drained::Bytes(len))
    }

    /// Writes records until there are none, or no room.
    ///
    /// # Errors
    ///
    /// That the connection broke.
    pub(crate) fn flush(&mut self) -> Result<(), LinkError> {
        while self.session.wants_write() {
            match self.session.write_tls(self.tcp.writer()) {
                Ok(0) => return Err(LinkError::Io(io::ErrorKind::WriteZero)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Sends close_notify, if there is room.
    pub(crate) fn end(&mut self) {
        self.session.send_close_notify();
        let _gone = self.flush();
    }
}

impl From<&Error> for TlsFailure {
    fn from(error: &Error) -> Self {
        use CertificateError as Certificate;
        match error {
            Error::InvalidCertificate(why) => match why {
                Certificate::UnknownIssuer | Certificate::BadSignature => Self::NotTrusted,
                Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                    Self::WrongName
                }
                Certificate::Expired
                | Certificate::ExpiredContext { .. }
                | Certificate::NotValidYet
                | Certificate::NotValidYetContext { .. } => Self::Expired,
                _ => Self::BadCertificate,
            },
            Error::NoCertificatesPresented => Self::BadCertificate,
            Error::InvalidMessage(_) => Self::NotTls,
            Error::AlertReceived(alert) => Self::Alert(*alert),
            Error::PeerIncompatible(_) => Self::NothingInCommon,
            _ => Self::Broken,
        }
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotTrusted => {
                "certificate not trusted: name its authority with --cacert FILE, or accept any with --insecure"
            }
            Self::WrongName => {
                "the certificate is for another name than the URL's: use --host NAME, or --insecure"
            }
            Self::Expired => "the certificate has expired or is not valid yet (--insecure accepts it)",
            Self::BadCertificate => {
                "the certificate is not one for a server (an authority's own?); --insecure accepts it"
            }
            Self::NotTls => "the server does not speak TLS here: use ws://",
            Self::HungUp => "closed in the TLS handshake (a server without TLS? use ws://)",
            Self::Alert(AlertDescription::NoApplicationProtocol) => {
                "the server does not offer http/1.1 over TLS"
            }
            Self::Alert(alert) => return write!(f, "TLS alert from the server: {alert:?}"),
            Self::NothingInCommon => "no TLS version or cipher in common with the server",
            Self::Broken => "the server broke a rule of TLS",
        })
    }
}

/// Authorities that this system trusts; SSL_CERT_FILE and SSL_CERT_DIR name others.
fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some of a system's certificates are always too old for this; the others count.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable > 0 {
        return Ok(roots);
    }
    let why = found.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
    Err(format!("this system trusts no certificate authority ({why}): use --cacert FILE"))
}

/// The certificates in a PEM file.
fn roots_of(path: &Path) -> Result<RootCertStore, String> {
    let told = |why: &dyn fmt::Display| format!("--cacert {}: {why}", path.display());
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| told(&plain(&error)))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| told(&plain(&error)))?;
        roots.add(certificate).map_err(|error| told(&error))?;
    }
    if roots.is_empty() {
        return Err(told(&"there is no BEGIN CERTIFICATE in it"));
    }
    Ok(roots)
}

/// What the system said, where it was the system.
fn plain(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        _ => "not a PEM file".to_owned(),
    }
}

/// Accepts every certificate. Signatures are still checked, so that the handshake costs what it costs.
#[derive(Debug)]
struct Believer(Arc<CryptoProvider>);

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
