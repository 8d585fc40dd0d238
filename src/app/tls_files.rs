//! The files of the certificate and its key: read at start, and again on SIGHUP and when they change.
//!
//! A thread of its own looks after them, so that the loop reads no files; without TLS there is none. It looks at the files'
//! times, sizes and inodes once a second, behind symbolic links, which is how certbot and Kubernetes replace them. What
//! makes a good pair is `wsfast::TlsConfig`'s to say; a pair that is none leaves the old one in place.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use signal_hook::consts::SIGHUP;
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
    pub(crate) fn load(&self) -> Result<TlsConfig, FileError> {
        let (cert, key) = self.read()?;
        TlsConfig::from_pem(&cert, &key).map_err(|error| self.blame(error))
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

/// From here on SIGHUP reloads: `files` if there is TLS, else nothing, but it ends the process no more.
///
/// # Errors
///
/// The signal could not be had, or the thread.
pub(crate) fn watch(tls: Option<(TlsFiles, TlsConfig)>) -> io::Result<()> {
    let Some((files, tls)) = tls else {
        let nobody_looks = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGHUP, nobody_looks)?;
        return Ok(());
    };
    let (mut woken, waker) = UnixStream::pair()?;
    woken.set_read_timeout(Some(INTERVAL))?;
    signal_hook::low_level::pipe::register(SIGHUP, waker)?;
    let mut watch = Watch { served: files.stamps(), files, tls, failed: None };
    thread::Builder::new().name("tls files".into()).spawn(move || {
        loop {
            // A byte for each SIGHUP; else the time-out.
            match woken.read(&mut [0; 64]) {
                Ok(0) => return,
                Ok(_) => watch.obey(),
                Err(_) => watch.look(),
            }
        }
    })?;
    Ok(())
}

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the thread knows.
struct Watch {
    files: TlsFiles,
    tls: TlsConfig,
    /// The files that are served.
    served: [Option<Stamp>; 2],
    /// Newer ones that cannot serve.
    failed: Option<Failed>,
}

struct Failed {
    stamps: [Option<Stamp>; 2],
    /// Whether a warning was logged about these.
    is_known: bool,
}

impl Watch {
    /// SIGHUP came: the files are read, whether or not they changed, and what is wrong is said at once.
    fn obey(&mut self) {
        let stamps = self.files.stamps();
        let reloaded = self.files.reload(&self.tls);
        self.record(stamps, reloaded, true);
    }

    /// Reads the files if they are not those that are served.
    ///
    /// A pair is often written one file after the other, or while it is read. So a failure is only told when the next
    /// look finds the same files; and it is tried again all the same, since a certificate may become valid.
    fn look(&mut self) {
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
