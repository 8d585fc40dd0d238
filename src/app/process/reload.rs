//! SIGHUP: flags, variables, the file of `--config`, secrets' files and the certificate are read again, and what can change does.
//!
//! All or nothing. A thread of its own reads and checks everything as the start does; only then the loop is handed what is
//! new, limits and gate at once, so that it reads no file and no turn sees half of it. It also has the certificate's files
//! looked after (`tls_files`). Ends no connection: what is open is measured by the new rules at the next thing that it asks for.
//!
//! | takes effect                   | settings                                                                      |
//! |--------------------------------|-------------------------------------------------------------------------------|
//! | from the next request, message | `allow-origin`, `allow-anonymous`, `publish-key`, `client-publish`, `jwt-secret` |
//! | from the next handshake        | `tls-cert`, `tls-key`, unless TLS comes or goes                               |
//! | as `Remote::set_limits` says   | limits and times                                                              |
//! | at once                        | `verbose`                                                                     |
//! | after a restart                | all others: they were bound, laid out or promised to clients (`ping-interval`) |

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use signal_hook::consts::SIGHUP;
use wsfast::{MemoryLimit, Remote};

use crate::app::admin::logs::LogLevel;
use crate::app::config::{Config, Settings};
use crate::app::gate::Gate;
use crate::app::gate::access::Reach;
use crate::app::gate::secret::Credentials;
use crate::app::hub::Renewal;
use crate::app::process::start_up::StartError;
use crate::app::process::tls_files::{Pair, TlsFiles, Watch};
use crate::app::process::{descriptors, inherited, memory};

/// What a configuration comes to that could serve, as far as it can be known without sockets and descriptors.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) memory: Option<MemoryLimit>,
    pub(crate) certificate: Option<Pair>,
    pub(crate) credentials: Credentials,
}

impl Checked {
    /// Reads the files that `config` names, and checks all: at the start, by `wsfast check`, and on SIGHUP.
    ///
    /// # Errors
    ///
    /// The first that cannot serve, with the remedy.
    pub(crate) fn new(config: &Config) -> Result<Self, StartError> {
        let bound = |limit| memory::bound(limit, &config.limits);
        let memory = config.memory_limit.map(bound).transpose()?;
        let certificate = config.tls.as_ref().map(TlsFiles::load).transpose()?;
        inherited::check(&config.listening, certificate.is_some())?;
        let credentials = config.gate.load()?;
        Ok(Self { memory, certificate, credentials })
    }
}

/// A running server, as far as reloading has to do with it.
#[derive(Debug)]
pub(crate) struct Running {
    /// The file of `--config`.
    pub(crate) file: Option<PathBuf>,
    /// Reads again what the server is asked to be; an error is one line, with the remedy.
    pub(crate) read: fn() -> Result<Config, String>,
    /// As they are in force.
    pub(crate) settings: Settings,
    pub(crate) credentials: Credentials,
    pub(crate) memory_limit: Option<usize>,
    /// The limit of open files; `None`: unlimited.
    pub(crate) descriptors: Option<u64>,
    pub(crate) reach: Reach,
    /// `None`: it serves no TLS.
    pub(crate) certificate: Option<Watch>,
    pub(crate) log_level: LogLevel,
    /// The hub's end of it is asked whenever limits are set.
    pub(crate) renew: Sender<Renewal>,
    pub(crate) remote: Remote,
}

/// From here on SIGHUP reloads.
///
/// # Errors
///
/// The signal could not be had, or the thread.
pub(crate) fn watch(mut running: Running) -> io::Result<()> {
    let (mut woken, waker) = UnixStream::pair()?;
    woken.set_read_timeout(running.certificate.is_some().then_some(INTERVAL))?;
    signal_hook::low_level::pipe::register(SIGHUP, waker)?;
    thread::Builder::new().name("reload".into()).spawn(move || {
        loop {
            // A byte for each SIGHUP; else the time-out.
            match woken.read(&mut [0; 64]) {
                Ok(0) => return,
                Ok(_) => running.obey(),
                Err(_) => running.certificate.iter_mut().for_each(Watch::look),
            }
        }
    })?;
    Ok(())
}

/// How often the certificate's files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// What became of a reload.
#[derive(Debug)]
struct Reloaded {
    changed: BTreeSet<String>,
    need_restart: BTreeSet<String>,
}

/// Why nothing was reloaded: one line that names the file and the setting, and the remedy.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    line: String,
    /// The certificate's files, if that is what is wrong.
    tls: Option<TlsFiles>,
}

impl Refused {
    fn new(line: impl Into<String>) -> Self {
        Self { line: line.into(), tls: None }
    }

    fn by(config: &Config, error: &StartError) -> Self {
        let tls = matches!(error, StartError::Tls(_)).then(|| config.tls.clone()).flatten();
        Self { line: config.places.blame(error.flag(), error), tls }
    }
}

impl Running {
    /// SIGHUP came.
    fn obey(&mut self) {
        let read = self.check_file().and_then(|()| read_settled(self.read));
        match read.and_then(|(config, checked)| self.take_over(config, checked)) {
            Ok(Some(reloaded)) => reloaded.log(),
            Ok(None) => {}
            Err(Refused { line, tls }) => {
                tracing::warn!("not reloaded: {line}; everything stays as it was");
                if let (Some(watch), Some(files)) = (&mut self.certificate, tls) {
                    watch.note_failure(&files);
                }
            }
        }
    }

    /// A pipe (`--config <(…)`) would be empty by now, and everything back at its default.
    fn check_file(&self) -> Result<(), Refused> {
        let Some(path) = &self.file else { return Ok(()) };
        // What cannot be looked at is told when it is read.
        if fs::metadata(path).is_ok_and(|it| !it.is_file()) {
            return Err(Refused::new(format!(
                "--config '{}' is no regular file, so that it cannot be read again; restart the server, or give it a file",
                path.display().to_string().escape_debug()
            )));
        }
        Ok(())
    }

    /// Makes the loop, the certificate and the log do as `config` says; `None`: the loop is gone.
    fn take_over(&mut self, config: Config, checked: Checked) -> Result<Option<Reloaded>, Refused> {
        let limits = self.limits(&config)?;
        let has_tls = self.certificate.is_some() && checked.certificate.is_some();
        let Config { origins, log, settings, .. } = config;
        let is_live = |key: &str| match key {
            "tls-cert" | "tls-key" => has_tls,
            key => LIVE.contains(&key),
        };
        let (mut changed, need_restart): (BTreeSet<_>, BTreeSet<_>) =
            self.settings.differences(&settings).map(str::to_owned).partition(|key| is_live(key));
        let secrets = self.credentials.differences(&checked.credentials);
        changed.extend(secrets.map(|flag| flag.trim_start_matches('-').to_owned()));

        let (done, is_done) = mpsc::channel();
        let gate = Gate::new(self.reach, origins, checked.credentials.clone());
        let is_handed_over = self.renew.send(Renewal { gate, done }).is_ok();
        self.remote.set_limits(limits).map_err(|error| Refused::new(error.to_string()))?;
        if !is_handed_over || is_done.recv().is_err() {
            return Ok(None);
        }
        if let (Some(watch), Some(pair)) = (&mut self.certificate, checked.certificate)
            && watch.take_over(pair)
        {
            changed.insert("tls-cert".to_owned());
        }
        self.log_level.set(log.verbosity);
        changed.iter().for_each(|key| self.settings.take_over(key, &settings));
        self.credentials = checked.credentials;
        Ok(Some(Reloaded { changed, need_restart }))
    }

    /// The limits that `config` asks for, within what this process has.
    fn limits(&self, config: &Config) -> Result<wsfast::Limits, Refused> {
        let mut limits = config.limits.clone();
        limits.peers_max =
            descriptors::peers_max(self.descriptors, config.peers_asked, limits.peers_max)
                .map_err(|error| Refused::by(config, &error.into()))?;
        if let Some(limit) = self.memory_limit {
            memory::bound(limit, &limits).map_err(|error| {
                Refused::new(format!("{error}; another --memory-limit needs a restart"))
            })?;
        }
        limits.check().map_err(|error| Refused::new(error.to_string()))?;
        Ok(limits)
    }
}

/// What changes while the server runs. Secrets do, too.
pub(crate) const LIVE: &[&str] = &[
    "allow-origin",
    "allow-anonymous",
    "client-publish",
    "max-connections",
    "message-rate",
    "connect-rate",
    "max-message-bytes",
    "max-fragments",
    "max-head-bytes",
    "max-headers",
    "max-queue-bytes",
    "handshake-timeout",
    "keep-alive",
    "send-timeout",
    "pong-timeout",
    "close-timeout",
    "drain",
    "history",
    "topic-bytes",
    "history-bytes",
    "history-ttl",
    "max-topics",
    "max-topics-per-owner",
    "max-subscriptions",
    "verbose",
];

impl Reloaded {
    /// One line, and another for what was not.
    fn log(&self) {
        if self.changed.is_empty() {
            tracing::info!("reloaded; nothing changed");
        } else {
            tracing::info!("reloaded; changed: {}", join(&self.changed));
        }
        let keys = join(&self.need_restart);
        match self.need_restart.len() {
            0 => {}
            1 => tracing::warn!("{keys} changed in the file but needs a restart"),
            _ => tracing::warn!("{keys} changed in the file but need a restart"),
        }
    }
}

fn join(keys: &BTreeSet<String>) -> String {
    keys.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Reads until two readings agree: files that belong together may be written one after the other, or while they are read.
fn read_settled(read: fn() -> Result<Config, String>) -> Result<(Config, Checked), Refused> {
    let mut last = read_and_check(read);
    for _ in 1..READINGS_MAX {
        let next = read_and_check(read);
        if agree(&last, &next) {
            return next;
        }
        last = next;
    }
    Err(Refused::new("the files change while they are read; send SIGHUP once they are written"))
}

const READINGS_MAX: usize = 5;

fn read_and_check(read: fn() -> Result<Config, String>) -> Result<(Config, Checked), Refused> {
    let config = read().map_err(Refused::new)?;
    let checked = Checked::new(&config).map_err(|error| Refused::by(&config, &error))?;
    Ok((config, checked))
}

fn agree(
    one: &Result<(Config, Checked), Refused>,
    other: &Result<(Config, Checked), Refused>,
) -> bool {
    match (one, other) {
        (Ok((config, checked)), Ok((other_config, other))) => {
            let has_same_certificate = match (&checked.certificate, &other.certificate) {
                (Some(pair), Some(other)) => pair.config.has_certificate_of(&other.config),
                (pair, other) => pair.is_none() && other.is_none(),
            };
            config.settings == other_config.settings
                && checked.credentials.differences(&other.credentials).next().is_none()
                && has_same_certificate
        }
        (Err(one), Err(other)) => one == other,
        _ => false,
    }
}
