//! The files of the certificate and its key: read at start, and again when they change.
//!
//! `reload`'s thread looks after them, so that the loop reads no files: at their times, sizes and inodes once a second, behind
//! symbolic links, which is how certbot and Kubernetes replace them. What makes a good pair is `wsfast::TlsConfig`'s to say; a
//! pair that is none leaves the old one in place. Catches no signal.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use wsfast::{PemContent, TlsConfig, TlsError};

/// Where the certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl TlsFiles {
    /// Reads and checks both.
    ///
    /// # Errors
    ///
    /// The file at fault, with the remedy.
    pub(crate) fn load(&self) -> Result<Pair, FileError> {
        // Before they are read: what comes later is found by the next look.
        let stamps = self.stamps();
        let (cert, key) = self.read()?;
        let config = TlsConfig::from_pem(&cert, &key).map_err(|error| self.blame(error))?;
        Ok(Pair { files: self.clone(), config, stamps })
    }

    /// Reads and checks both, and has later handshakes answered with them.
    fn reload(&self, tls: &TlsConfig) -> Result<(), FileError> {
        let (cert, key) = self.read()?;
        tls.swap(&cert, &key).map_err(|error| self.blame(error))
    }

    fn read(&self) -> Result<(Vec<u8>, Vec<u8>), FileError> {
        let read = |flag, path: &Path| {
            read_bounded(path).map_err(|error| FileError::new(flag, path, Fault::Unreadable(error)))
        };
        Ok((read(CERT, &self.cert)?, read(KEY, &self.key)?))
    }

    fn blame(&self, error: TlsError) -> FileError {
        let (flag, path) = if error.is_about_key() { (KEY, &self.key) } else { (CERT, &self.cert) };
        FileError::new(flag, path, Fault::Unusable(error))
    }

    /// What changes when either file is replaced or written to.
    fn stamps(&self) -> [Option<Stamp>; 2] {
        [&self.cert, &self.key].map(|path| {
            let found = fs::metadata(path).ok()?;
            Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
        })
    }
}

/// A certificate and a key that can serve, and where they are from.
#[derive(Debug)]
pub(crate) struct Pair {
    files: TlsFiles,
    pub(crate) config: TlsConfig,
    stamps: [Option<Stamp>; 2],
}

type Stamp = (u64, u64, u64, i64, i64);

/// Reads a file that ought to be small: a path to a device must not fill the memory.
pub(crate) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

const FILE_BYTES_MAX: u64 = 1 << 20;

const CERT: &str = "--tls-cert";
const KEY: &str = "--tls-key";

/// A file that cannot serve. Its `Display` is one line with the flag, the file and the remedy.
#[derive(Debug)]
pub(crate) struct FileError {
    flag: &'static str,
    path: PathBuf,
    fault: Fault,
}

#[derive(Debug)]
enum Fault {
    Unreadable(io::Error),
    Unusable(TlsError),
}

impl FileError {
    fn new(flag: &'static str, path: &Path, fault: Fault) -> Self {
        Self { flag, path: path.to_owned(), fault }
    }

    /// The flag that named the file.
    pub(crate) const fn flag(&self) -> &'static str {
        self.flag
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}' ", self.flag, self.path.display().to_string().escape_debug())?;
        match &self.fault {
            Fault::Unreadable(error) => match error.kind() {
                io::ErrorKind::NotFound => f.write_str(
                    "does not exist; give the path of a PEM file, or make a pair to try with 'wsfast dev-cert'",
                ),
                io::ErrorKind::PermissionDenied => {
                    f.write_str("may not be read; let the user that runs wsfast read it")
                }
                io::ErrorKind::IsADirectory => {
                    f.write_str("is a directory; give the path of a PEM file in it")
                }
                _ => write!(f, "cannot be read ({error}); give the path of a PEM file"),
            },
            Fault::Unusable(error) => write!(f, "{error}; {}", remedy(*error)),
        }
    }
}

impl std::error::Error for FileError {}

/// What to do about it.
const fn remedy(error: TlsError) -> &'static str {
    match error {
        TlsError::NoCertificate(PemContent::Key | PemContent::EncryptedKey)
        | TlsError::NoKey(PemContent::Certificate) => {
            "--tls-cert takes the certificate and --tls-key the key: are they swapped?"
        }
        TlsError::NoKey(PemContent::EncryptedKey) => {
            "decrypt it with 'openssl pkey -in FILE -out NEW' and give the new file"
        }
        TlsError::NoCertificate(_) => {
            "give a PEM file with the server's certificate first and its issuers' behind it"
        }
        TlsError::NoKey(_) => "give the PEM file with the certificate's private key",
        TlsError::BadCertificate => "have it issued again, in PEM form",
        TlsError::BadKey => {
            "take an ECDSA (P-256, P-384, P-521), Ed25519 or RSA (2048 bits and more) key"
        }
        TlsError::Mismatch => "give the key that the certificate was issued for",
        TlsError::Expired(_) => "renew it",
        TlsError::NotYetValid(_) => "wait until then, or set this machine's clock",
        // `TlsError` is non-exhaustive; `Unsupported` says itself what is wrong.
        _ => "report it with the output of 'wsfast --version'",
    }
}

/// Looks after the files that are served.
#[derive(Debug)]
pub(crate) struct Watch {
    files: TlsFiles,
    tls: TlsConfig,
    /// The files that are served.
    served: [Option<Stamp>; 2],
    /// Newer ones that cannot serve.
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    stamps: [Option<Stamp>; 2],
    /// Whether a warning was logged about these.
    is_known: bool,
}

impl Watch {
    /// `pair` is served.
    pub(crate) fn new(pair: Pair) -> Self {
        Self { files: pair.files, tls: pair.config, served: pair.stamps, failed: None }
    }

    /// Has later handshakes answered with `pair`; whether it is another certificate.
    pub(crate) fn take_over(&mut self, pair: Pair) -> bool {
        let is_other = !self.tls.has_certificate_of(&pair.config);
        self.tls.swap_with(&pair.config);
        *self = Self::new(Pair { config: self.tls.clone(), ..pair });
        is_other
    }

    /// Somebody was told what is wrong with `files`.
    pub(crate) fn note_failure(&mut self, files: &TlsFiles) {
        if self.files == *files {
            self.failed = Some(Failed { stamps: files.stamps(), is_known: true });
        }
    }

    /// Reads the files if they are not those that are served.
    ///
    /// A pair is often written one file after the other, or while it is read. So a failure is only told when the next
    /// look finds the same files; and it is tried again all the same, since a certificate may become valid.
    pub(crate) fn look(&mut self) {
        let stamps = self.files.stamps();
        if stamps == self.served && self.failed.is_none() {
            return;
        }
        let is_second_look = self.failed.as_ref().is_some_and(|failed| failed.stamps == stamps);
        let reloaded = self.files.reload(&self.tls);
        self.record(stamps, reloaded, is_second_look);
    }

    fn record(&mut self, stamps: [Option<Stamp>; 2], reloaded: Result<(), FileError>, tell: bool) {
        match reloaded {
            Ok(()) => {
                tracing::info!(cert = %self.files.cert.display(), "certificate reloaded");
                self.served = stamps;
                self.failed = None;
            }
            Err(error) => {
                let is_known = self
                    .failed
                    .as_ref()
                    .is_some_and(|failed| failed.is_known && failed.stamps == stamps);
                if tell && !is_known {
                    tracing::warn!("{error}; the certificate in use stays");
                }
                self.failed = Some(Failed { stamps, is_known: is_known || tell });
            }
        }
    }
}
