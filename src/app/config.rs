//! What a server is asked to be, as values: whoever reads flags, variables and a file makes it, and the application does it.
//!
//! Reads nothing, and knows nothing of how it is asked for.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use wsfast::{Limits, ProxyProtocol, Scheme};

use crate::app::centrifugo::protocol::json::JsonLimits;
use crate::app::gate::access::AllowedOrigin;
use crate::app::gate::secret::GateConfig;
use crate::app::process::tls_files::TlsFiles;

/// What the command line, the environment and a file ask for.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listening: Listening,
    /// Within their hard ranges. `peers_max` is the default unless `peers_asked` is given.
    pub(crate) limits: Limits,
    /// `--max-json-depth` and `--max-commands`.
    pub(crate) json: JsonLimits,
    /// `--memory-limit`, in bytes.
    pub(crate) memory_limit: Option<usize>,
    /// `--max-connections`; `None`: as many as the descriptors allow.
    pub(crate) peers_asked: Option<usize>,
    /// `--allow-origin`.
    pub(crate) origins: Vec<AllowedOrigin>,
    /// `--publish-key`, `--client-publish` and `--jwt-secret`.
    pub(crate) gate: GateConfig,
    /// The certificate and key to serve wss with.
    pub(crate) tls: Option<TlsFiles>,
    /// The topic of `--stdin`.
    pub(crate) stdin: Option<String>,
    pub(crate) log: Log,
    /// What of it stands in a file, and where.
    pub(crate) places: Places,
    /// What each setting was given, to be compared with a later reading.
    pub(crate) settings: Settings,
}

/// Where to listen, and how.
#[derive(Clone, Debug)]
pub(crate) struct Listening {
    /// Never empty.
    pub(crate) asks: Vec<Ask>,
    pub(crate) said_by: SaidBy,
    pub(crate) reuse_port: bool,
    /// `--admin`: on loopback or a Unix socket, or there are publish keys.
    pub(crate) admin: Option<Ask>,
    /// `--proxy-protocol` and `--trust-proxy`, which may be nobody.
    pub(crate) proxy: Option<ProxyProtocol>,
}

/// What says where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SaidBy {
    /// Nothing: the default, which inherited sockets take the place of.
    Nobody,
    /// `--bind`, `--port` or both.
    Bind,
    /// `--listen`.
    Listen,
    /// `--admin`, for that address alone.
    Admin,
}

/// How to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    /// How often `-v` was given.
    pub(crate) verbosity: u8,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// One thing to listen on, before anything is opened. Displays as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) at: AskAt,
    pub(crate) scheme: Scheme,
}

/// Where connections are to come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AskAt {
    Tcp(SocketAddr),
    Unix {
        path: PathBuf,
        mode: u32,
    },
    /// A descriptor that whoever starts the server passes on, by its number.
    Fd(i32),
    /// All that go by this name in LISTEN_FDNAMES.
    FdName(String),
}

impl From<SocketAddr> for Ask {
    fn from(addr: SocketAddr) -> Self {
        Self { at: AskAt::Tcp(addr), scheme: Scheme::Ws }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Ws => {}
            Scheme::Wss => f.write_str("tls:")?,
        }
        match &self.at {
            AskAt::Tcp(addr) => addr.fmt(f),
            AskAt::Unix { path, .. } => {
                write!(f, "unix:{}", path.to_string_lossy().escape_debug())
            }
            AskAt::Fd(number) => write!(f, "fd:{number}"),
            AskAt::FdName(name) => write!(f, "fd:{}", name.escape_debug()),
        }
    }
}

/// Where in a file the settings stand that come from it. Empty without a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    path: PathBuf,
    lines: BTreeMap<String, usize>,
}

impl Places {
    /// Of the file at `path`, by the settings' names.
    pub(crate) const fn new(path: PathBuf, lines: BTreeMap<String, usize>) -> Self {
        Self { path, lines }
    }

    /// `FILE:LINE` of the setting that `flag` names, with or without its dashes; `None`: it does not come from a file.
    pub(crate) fn of(&self, flag: &str) -> Option<String> {
        let line = self.lines.get(flag.trim_start_matches('-'))?;
        Some(format!("{}:{line}", shown(&self.path)))
    }

    /// The file, if there is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        Some(&*self.path).filter(|path| !path.as_os_str().is_empty())
    }

    /// Puts in front of what is wrong with `flag` where it stands, if it stands in a file.
    pub(crate) fn blame(&self, flag: Option<&str>, error: &impl fmt::Display) -> String {
        let error = error.to_string();
        match flag.and_then(|flag| self.of(flag)) {
            Some(place) => format!("{place}: {}", error.strip_prefix("--").unwrap_or(&error)),
            None => error,
        }
    }
}

/// A path as it is shown in a line.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string()
}

/// The values of all settings, by the flags' names without dashes. Secrets are left out, and the way to say where to listen that
/// another outweighs.
///
/// Whether secrets changed is asked of what they were loaded into (`gate::secret`), since most of them stand in files of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings(BTreeMap<String, Vec<OsString>>);

impl Settings {
    /// By their names.
    pub(crate) const fn new(values: BTreeMap<String, Vec<OsString>>) -> Self {
        Self(values)
    }

    /// The settings that have another value in `new`, or are in one of the two alone.
    pub(crate) fn differences<'a>(&'a self, new: &'a Self) -> impl Iterator<Item = &'a str> {
        let other = |key: &&String| self.0.get(*key) != new.0.get(*key);
        let added = new.0.keys().filter(|key| !self.0.contains_key(*key));
        self.0.keys().filter(other).chain(added).map(String::as_str)
    }

    /// Takes over what `new` has for `key`.
    pub(crate) fn take_over(&mut self, key: &str, new: &Self) {
        if let (Some(values), Some(new)) = (self.0.get_mut(key), new.0.get(key)) {
            values.clone_from(new);
        }
    }
}
