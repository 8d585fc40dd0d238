//! `wsfast dev-cert`: a self-signed certificate and its key, to try wss with on this machine.
//!
//! The only file that names rcgen. No certificate for a public server: no browser trusts it unasked.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};

/// What `dev-cert` was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DevCert {
    /// The directory that gets both files.
    pub(crate) dir: PathBuf,
    /// Whether files that are there are replaced.
    pub(crate) force: bool,
}

/// The files that were written. Its `Display` says what to do with them.
#[derive(Debug)]
pub(crate) struct Written {
    cert: PathBuf,
    key: PathBuf,
}

/// Why there is no pair. Its `Display` is one line with the remedy.
#[derive(Debug)]
pub(crate) enum DevCertError {
    /// This file is there.
    Exists(PathBuf),
    /// This file could not be written.
    Unwritable(PathBuf, io::Error),
    /// No certificate could be made.
    Library(rcgen::Error),
}

impl DevCert {
    /// Writes the pair.
    ///
    /// # Errors
    ///
    /// A file that is there or cannot be written. If it is the second, the first was written.
    pub(crate) fn write(&self) -> Result<Written, DevCertError> {
        let written =
            Written { cert: self.dir.join("dev-cert.pem"), key: self.dir.join("dev-key.pem") };
        if !self.force {
            for path in [&written.cert, &written.key] {
                if path.symlink_metadata().is_ok() {
                    return Err(DevCertError::Exists(path.clone()));
                }
            }
        }
        let (cert, key) = pair().map_err(DevCertError::Library)?;
        write_new(&written.key, &key, 0o600)?;
        write_new(&written.cert, &cert, 0o644)?;
        Ok(written)
    }
}

/// A certificate for this machine's own names, and its key, as PEM.
fn pair() -> Result<(String, String), rcgen::Error> {
    let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "wsfast dev-cert");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Clocks differ a little, and browsers refuse certificates for longer than 398 days.
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + 397 * DAY).into();
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Puts a new file at `path`, in place of what is there: never through a link, and never with the mode of an old one.
fn write_new(path: &Path, pem: &str, mode: u32) -> Result<(), DevCertError> {
    let write = || {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(pem.as_bytes())
    };
    write().map_err(|error| DevCertError::Unwritable(path.to_owned(), error))
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cert, key) = (shown(&self.cert), shown(&self.key));
        write!(
            f,
            "wrote {cert} and {key}: for localhost, 127.0.0.1 and ::1, for 397 days, to try wss with\n\
             \n\
             Serve:    wsfast --tls-cert {cert} --tls-key {key}\n\
             Try:      curl --cacert {cert} https://localhost:8002/    (426 is the right answer)\n\
             Browser:  open https://localhost:8002/ and accept the certificate once; then in its console\n\
             \x20         new WebSocket('wss://localhost:8002/')\n"
        )
    }
}

impl fmt::Display for DevCertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(path) => write!(
                f,
                "'{}' is there already; replace it with --force, or choose another directory with --dir",
                shown(path)
            ),
            Self::Unwritable(path, error) => write!(
                f,
                "'{}' cannot be written ({error}); choose a directory with --dir",
                shown(path)
            ),
            Self::Library(error) => write!(f, "no certificate could be made: {error}"),
        }
    }
}

impl std::error::Error for DevCertError {}

fn shown(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string()
}
