//! TLS for the clients: whom to trust, and what failed in plain words.
//!
//! The one file of the binary that names rustls; its blocking stream does the work. Shows no client certificate, asks
//! nobody whether one was revoked.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, Error, RootCertStore, StreamOwned};

use crate::app::process::tls_files::read_bounded;

/// TLS over a TCP connection.
pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Whose certificates are accepted.
#[derive(Clone, Debug)]
pub(crate) struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Those that a certificate in this PEM file vouches for; without one, those that the system trusts.
    ///
    /// # Errors
    ///
    /// There is nobody to trust.
    pub(crate) fn load(cacert: Option<&Path>) -> Result<Self, NoTrust> {
        let roots = match cacert {
            Some(path) => roots_of(path)?,
            None => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                roots
            }
        };
        if roots.is_empty() {
            return Err(if cacert.is_some() { NoTrust::NoCertificate } else { NoTrust::NoSystem });
        }
        let mut config =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// Has `socket` speak TLS to `host`.
    ///
    /// # Errors
    ///
    /// Why it does not; see [`fault_in`].
    pub(crate) fn wrap(&self, host: &str, socket: TcpStream) -> io::Result<TlsStream> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let session = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        let mut tls = StreamOwned::new(session, socket);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock)?;
        }
        Ok(tls)
    }
}

fn roots_of(path: &Path) -> Result<RootCertStore, NoTrust> {
    let pem = read_bounded(path).map_err(NoTrust::Unreadable)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| NoTrust::NoCertificate)?;
        roots.add(certificate).map_err(|_| NoTrust::NoCertificate)?;
    }
    Ok(roots)
}

/// Why nobody is trusted.
#[derive(Debug)]
pub(crate) enum NoTrust {
    /// `--cacert` cannot be read.
    Unreadable(io::Error),
    /// `--cacert` has no certificate, or one that is none.
    NoCertificate,
    /// The system has no certificates.
    NoSystem,
}

impl fmt::Display for NoTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => {
                write!(f, "--cacert cannot be read ({error}); give the path of a PEM file")
            }
            Self::NoCertificate => f.write_str(
                "--cacert has no certificates, or one that is none; give a PEM file of CERTIFICATE blocks",
            ),
            Self::NoSystem => f.write_str(
                "this system trusts nobody; install its ca-certificates, or name a file with --cacert",
            ),
        }
    }
}

/// What TLS has to say about an error of its stream, if the error is TLS's.
pub(crate) fn fault_in(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        // The signature is bad where somebody else of the same name is trusted.
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => {
            "nobody who is trusted vouches for the server's certificate (--cacert names a file of those who do)".into()
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the server's certificate is for another host".into(),
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "the server's certificate has expired".into(),
        Error::InvalidMessage(_) => "the server does not speak TLS (ws:// or http://?)".into(),
        error => format!("TLS: {error}"),
    })
}
