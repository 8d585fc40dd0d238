//! Flags and environment variables to [`Config`], and the help pages.
//!
//! Opens nothing and raises nothing: what the process may have (descriptors) is `app::descriptors`' business, and so
//! is the final number of connections.

mod admin;
mod client;
mod dev_cert;
mod flags;
mod listens;
mod usage;
mod values;

use std::cmp::Ordering;
use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, ValueEnum};
use wsfast::{Limits, ProxyProtocol};

use crate::app::access::AllowedOrigin;
use crate::app::client::publish::Pub;
use crate::app::client::sub::Sub;
use crate::app::dev_cert::DevCert;
use crate::app::gate::secret::GateConfig;
use crate::app::tls_files::TlsFiles;
use crate::cli::flags::{AFTER_LONG_HELP, Flags};

pub(crate) use crate::cli::listens::{Ask, AskAt};
pub(crate) use crate::cli::usage::UsageError;

/// What the command line and the environment ask for.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listening: Listening,
    /// Within their hard ranges. `peers_max` is the default unless `peers_asked` is given.
    pub(crate) limits: Limits,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Why there is no [`Config`].
#[derive(Debug)]
pub(crate) enum Instead {
    /// `--help`, `-h` or `--version` was asked for: print this and leave.
    Page(Box<clap::Error>),
    /// A certificate to try wss with was asked for: write it and leave.
    DevCert(DevCert),
    /// `pub`: publish, and leave.
    Pub(Box<Pub>),
    /// `sub`: listen, and leave.
    Sub(Box<Sub>),
    /// The arguments make no sense.
    Usage(UsageError),
}

/// Reads `args` (the program's name first), and the environment for what they leave out.
///
/// # Errors
///
/// The page that was asked for, or the first mistake.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Config, Instead> {
    let args: Vec<OsString> = args.into_iter().collect();
    match args.get(1).and_then(|arg| arg.to_str()) {
        Some("dev-cert") => return Err(dev_cert::parse_dev_cert(&args[1..])),
        Some("pub") => return Err(client::parse_pub(&args[1..])),
        Some("sub") => return Err(client::parse_sub(&args[1..])),
        _ => {}
    }
    let mut command = Flags::command();
    if args.iter().any(|arg| arg == "--help") {
        // clap's own long form puts each default on a line of its own, which makes the page twice as long.
        command = command.after_help(AFTER_LONG_HELP);
    }
    let matches = command.try_get_matches_from(&args);
    let matches = matches.map_err(|error| Instead::from_clap(error, &args))?;
    let said_by = said_by(&matches).map_err(Instead::Usage)?;
    let flags =
        Flags::from_arg_matches(&matches).map_err(|error| Instead::from_clap(error, &args))?;
    if flags.proxy_protocol.is_none() && !flags.trust_proxy.is_empty() {
        return Err(Instead::Usage(UsageError::TrustWithoutProtocol));
    }
    let config = flags.into_config(said_by).map_err(Instead::Usage)?;
    config.limits.check().map_err(|error| Instead::Usage(UsageError::Limit(error)))?;
    Ok(config)
}

/// Decides between `--listen` and its short form: flags win over variables, and two of a kind are a mistake.
fn said_by(matches: &ArgMatches) -> Result<SaidBy, UsageError> {
    let weight = |id| match matches.value_source(id) {
        Some(ValueSource::CommandLine) => 2,
        Some(ValueSource::EnvVariable) => 1,
        _ => 0,
    };
    let listen = weight("listen");
    let bind = weight("bind").max(weight("port"));
    match listen.cmp(&bind) {
        Ordering::Greater => Ok(SaidBy::Listen),
        Ordering::Less => Ok(SaidBy::Bind),
        Ordering::Equal if listen > 0 => Err(UsageError::TwoWays { by_variables: listen == 1 }),
        Ordering::Equal => Ok(SaidBy::Nobody),
    }
}

impl Instead {
    fn from_clap(error: clap::Error, args: &[OsString]) -> Self {
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Self::Page(Box::new(error)),
            _ => Self::Usage(UsageError::arguments(error, args)),
        }
    }
}

#[cfg(test)]
mod tests;
