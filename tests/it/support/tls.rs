//! Certificates made on the spot, and a client that speaks TLS by rustls and WebSocket by bare bytes.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::crypto::cipher::{
    AeadKey, KeyBlockShape, MessageDecrypter, MessageEncrypter, OutboundOpaqueMessage,
    OutboundPlainMessage, Tls12AeadAlgorithm, UnsupportedOperationError,
};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, HandshakeKind,
    RootCertStore, StreamOwned, SupportedCipherSuite, SupportedProtocolVersion, Tls12CipherSuite,
};

use super::DEADLINE;
use super::wire::{self, CLOSE, FIN, Frame};

/// A certificate for `localhost`, and its key.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) cert_pem: String,
    pub(crate) key_pem: String,
    pub(crate) der: CertificateDer<'static>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    /// One whose validity or the like is not the usual.
    pub(crate) fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        Self { cert_pem: cert.pem(), key_pem: key.serialize_pem(), der: cert.der().clone() }
    }

    pub(crate) fn server(&self) -> wsfast::TlsConfig {
        wsfast::TlsConfig::from_pem(self.cert_pem.as_bytes(), self.key_pem.as_bytes()).unwrap()
    }

    /// A client that trusts this certificate alone.
    pub(crate) fn client(&self, version: &'static SupportedProtocolVersion) -> ClientConfig {
        client_of(&[self], version)
    }
}

/// A client that trusts `pairs`.
pub(crate) fn client_of(
    pairs: &[&Pair],
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for pair in pairs {
        roots.add(pair.der.clone()).unwrap();
    }
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// The same for TLS 1.2 with a client that says `marked` as a message of the handshake, in the middle of a session.
pub(crate) fn client_that_slips(pair: &Pair, marked: u8) -> ClientConfig {
    let mut provider = aws_lc_rs::default_provider();
    let of_tls12 = |suite: &SupportedCipherSuite| match suite {
        SupportedCipherSuite::Tls12(suite) => Some(*suite),
        SupportedCipherSuite::Tls13(_) => None,
    };
    let suite = provider.cipher_suites.iter().find_map(of_tls12).unwrap();
    let aead_alg = Box::leak(Box::new(Slips { inner: suite.aead_alg, marked }));
    let suite = Tls12CipherSuite {
        common: rustls::crypto::CipherSuiteCommon {
            suite: suite.common.suite,
            hash_provider: suite.common.hash_provider,
            confidentiality_limit: suite.common.confidentiality_limit,
        },
        prf_provider: suite.prf_provider,
        kx: suite.kx,
        sign: suite.sign,
        aead_alg,
    };
    provider.cipher_suites = vec![SupportedCipherSuite::Tls12(Box::leak(Box::new(suite)))];
    let mut roots = RootCertStore::empty();
    roots.add(pair.der.clone()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Encrypts what begins with `marked` as a message of the handshake instead of application data.
struct Slips {
    inner: &'static dyn Tls12AeadAlgorithm,
    marked: u8,
}

struct SlippingEncrypter {
    inner: Box<dyn MessageEncrypter>,
    marked: u8,
}

impl Tls12AeadAlgorithm for Slips {
    fn encrypter(&self, key: AeadKey, iv: &[u8], extra: &[u8]) -> Box<dyn MessageEncrypter> {
        let inner = self.inner.encrypter(key, iv, extra);
        Box::new(SlippingEncrypter { inner, marked: self.marked })
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        self.inner.decrypter(key, iv)
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        self.inner.key_block_shape()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: &[u8],
        explicit: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.inner.extract_keys(key, iv, explicit)
    }
}

impl MessageEncrypter for SlippingEncrypter {
    fn encrypt(
        &mut self,
        mut message: OutboundPlainMessage<'_>,
        number: u64,
    ) -> Result<OutboundOpaqueMessage, rustls::Error> {
        if message.payload.to_vec().first() == Some(&self.marked) {
            message.typ = ContentType::Handshake;
        }
        self.inner.encrypt(message, number)
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        self.inner.encrypted_payload_len(payload_len)
    }
}

/// The client's half of a TLS session that was not begun.
pub(crate) fn session(config: &ClientConfig) -> ClientConnection {
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::new(config.clone()), name).unwrap()
}

/// One connection. Every expectation has [`DEADLINE`] to come true.
pub(crate) struct TlsClient {
    pub(crate) stream: StreamOwned<ClientConnection, TcpStream>,
    buf: Vec<u8>,
}

/// How a server ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With a close_notify.
    Clean,
    /// Without one: a FIN or an RST alone.
    Cut,
}

impl TlsClient {
    /// Connects and completes the TLS handshake.
    pub(crate) fn connect(addr: SocketAddr, config: &ClientConfig) -> Self {
        let mut client = Self::begin(addr, config);
        let StreamOwned { conn, sock } = &mut client.stream;
        while conn.is_handshaking() {
            conn.complete_io(sock).unwrap();
        }
        client
    }

    /// Connects, and says nothing.
    pub(crate) fn begin(addr: SocketAddr, config: &ClientConfig) -> Self {
        let stream = TcpStream::connect_timeout(&addr, DEADLINE).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { stream: StreamOwned::new(session(config), stream), buf: Vec::new() }
    }

    /// Connects and completes both handshakes.
    pub(crate) fn open(addr: SocketAddr, config: &ClientConfig) -> Self {
        let mut client = Self::connect(addr, config);
        client.send(wire::request());
        client.expect_open();
        client
    }

    /// Encrypts and sends `bytes`.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self.stream.flush().unwrap();
    }

    /// The server's answer to the request is a 101.
    pub(crate) fn expect_open(&mut self) {
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains(&wire::accept_of(wire::KEY)), "{head}");
    }

    /// A response up to its blank line.
    pub(crate) fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.buf.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                return String::from_utf8(self.buf.drain(..at + 4).collect()).unwrap();
            }
            self.read_more();
        }
    }

    pub(crate) fn frame(&mut self) -> Frame {
        loop {
            if let Some((frame, len)) = Frame::parse(&self.buf) {
                self.buf.drain(..len);
                return frame;
            }
            self.read_more();
        }
    }

    pub(crate) fn expect(&mut self, expected: &Frame) {
        // Not `assert_eq!`: a megabyte is not worth showing.
        let frame = self.frame();
        assert!(frame == *expected, "{frame:?} is not {expected:?}");
    }

    pub(crate) fn expect_echo(&mut self, text: &str) {
        self.send(wire::text(text));
        self.expect(&Frame::text(text));
    }

    pub(crate) fn expect_close(&mut self, code: u16) -> String {
        let Frame { first, payload } = self.frame();
        assert_eq!(first, FIN | CLOSE, "not a Close: {}", payload.escape_ascii());
        assert_eq!(payload[..2], code.to_be_bytes(), "{}", payload.escape_ascii());
        String::from_utf8(payload[2..].to_vec()).unwrap()
    }

    /// Nothing more came before the end.
    pub(crate) fn expect_end(&mut self, expected: End) {
        let (left, end) = self.read_to_end();
        assert!(left.is_empty(), "before the end came: {}", left.escape_ascii());
        assert_eq!(end, expected);
    }

    /// All that comes before the server's end, and how that came.
    pub(crate) fn read_to_end(&mut self) -> (Vec<u8>, End) {
        let mut room = vec![0; 64 * 1024];
        let end = loop {
            match self.stream.read(&mut room) {
                Ok(0) => break End::Clean,
                Ok(len) => self.buf.extend_from_slice(&room[..len]),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                    ) =>
                {
                    break End::Cut;
                }
                Err(error) => panic!("expected the end, got {error}"),
            }
        };
        (std::mem::take(&mut self.buf), end)
    }

    /// Ends the client's half: close_notify, then FIN.
    pub(crate) fn half_close(&mut self) {
        self.stream.conn.send_close_notify();
        self.stream.flush().unwrap();
        self.fin();
    }

    /// A FIN alone.
    pub(crate) fn fin(&self) {
        self.stream.sock.shutdown(Shutdown::Write).unwrap();
    }

    pub(crate) fn kind(&self) -> HandshakeKind {
        self.stream.conn.handshake_kind().unwrap()
    }

    /// The certificate that the server showed.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.stream.conn.peer_certificates().unwrap()[0].clone()
    }

    fn read_more(&mut self) {
        let mut room = vec![0; 64 * 1024];
        let len = self.stream.read(&mut room).unwrap();
        assert!(
            len > 0,
            "the end came behind: {}",
            self.buf[..self.buf.len().min(500)].escape_ascii()
        );
        self.buf.extend_from_slice(&room[..len]);
    }
}
