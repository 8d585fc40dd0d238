//! Flags, environment variables and the file of `--config` to [`Config`], and the help pages.
//!
//! Opens nothing but that file, and raises nothing: what the process may have (descriptors) is `app::descriptors`' business, and so
//! is the final number of connections.

mod admin;
mod client;
mod dev_cert;
mod file;
mod flags;
mod listens;
mod pages;
mod printed;
mod settings;
mod usage;
mod values;

use std::cmp::Ordering;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _};

use crate::app::config::{Config, Places, SaidBy};
use crate::app::process::dev_cert::DevCert;
use crate::cli::file::ConfigFile;
use crate::cli::flags::{AFTER_LONG_HELP, Flags};
use crate::cli::settings::settings_of;
use crate::cli::usage::Layer;
use crate::client::publish::Pub;
use crate::client::sub::Sub;

pub(crate) use crate::cli::usage::UsageError;

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
    /// `check`: try what can be tried without serving, and leave.
    Check(Box<Config>),
    /// `--print-config`, `man` or `completions`: print this and leave.
    Text(String),
    /// The arguments make no sense.
    Usage(UsageError),
}

impl From<UsageError> for Instead {
    fn from(error: UsageError) -> Self {
        Self::Usage(error)
    }
}

/// Reads `args` (the program's name first), for what they leave out the environment, and for the rest the file that either
/// names.
///
/// # Errors
///
/// The page that was asked for, or the first mistake.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Config, Instead> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    match args.get(1).and_then(|arg| arg.to_str()) {
        Some("check") => {
            args.remove(1);
            Err(parse_server(&args).map_or_else(|it| it, |it| Instead::Check(Box::new(it))))
        }
        Some("completions") => Err(pages::parse_completions(&args[1..])),
        Some("dev-cert") => Err(dev_cert::parse_dev_cert(&args[1..])),
        Some("man") => Err(pages::parse_man(&args[1..])),
        Some("pub") => Err(client::parse_pub(&args[1..])),
        Some("sub") => Err(client::parse_sub(&args[1..])),
        _ => parse_server(&args),
    }
}

/// Reads what started this server once more: its arguments and variables, and the file, which may have changed.
///
/// # Errors
///
/// One line, with the remedy.
pub(crate) fn parse_again() -> Result<Config, String> {
    parse(std::env::args_os()).map_err(|instead| match instead {
        Instead::Usage(error) => error.to_string(),
        // These arguments started a server; what the file says does not make a page of it.
        _ => "the arguments ask for no server".to_owned(),
    })
}

fn parse_server(args: &[OsString]) -> Result<Config, Instead> {
    let mut command = Flags::command();
    if args.iter().any(|arg| arg == "--help") {
        // clap's own long form puts each default on a line of its own, which makes the page twice as long.
        command = command.after_help(AFTER_LONG_HELP);
    }
    let matches = command.clone().try_get_matches_from(args);
    let matches = matches.map_err(|error| Instead::from_clap(error, args))?;
    let (matches, places) = match matches.get_one::<PathBuf>("config") {
        Some(path) => with_file(path, &command, args)?,
        None => (matches, Places::default()),
    };
    let said_by = said_by(&matches, &places).map_err(|error| error.located(&places))?;
    let flags =
        Flags::from_arg_matches(&matches).map_err(|error| Instead::from_clap(error, args))?;
    let mut config = config(flags, said_by).map_err(|error| error.located(&places))?;
    if matches.get_flag("print_config") {
        return Err(Instead::Text(printed::print(&command, &matches, &places, said_by)));
    }
    config.settings = settings_of(&command, &matches, said_by);
    config.places = places;
    Ok(config)
}

/// Reads everything again, with a file beneath.
fn with_file(
    path: &Path,
    command: &Command,
    args: &[OsString],
) -> Result<(ArgMatches, Places), Instead> {
    let file = ConfigFile::read(path, command).map_err(UsageError::File)?;
    let matches = file.beneath(command.clone()).try_get_matches_from(args);
    let matches = matches.map_err(|error| Instead::from_clap(error, args))?;
    let places = file.places(&matches);
    Ok((matches, places))
}

fn config(flags: Flags, said_by: SaidBy) -> Result<Config, UsageError> {
    if flags.proxy_protocol.is_none() && !flags.trust_proxy.is_empty() {
        return Err(UsageError::TrustWithoutProtocol);
    }
    let config = flags.into_config(said_by)?;
    config.limits.check().map_err(UsageError::Limit)?;
    let most = config.limits.topics.name_bytes_max;
    if let Some(len) = config.stdin.as_ref().map(String::len).filter(|&len| len > most) {
        return Err(UsageError::TopicTooLong { len, most });
    }
    Ok(config)
}

/// Decides between `--listen` and its short form: flags win over variables, those over a file, and two of a kind are a
/// mistake.
fn said_by(matches: &ArgMatches, places: &Places) -> Result<SaidBy, UsageError> {
    let layer = |id| match matches.value_source(id) {
        Some(ValueSource::CommandLine) => Some(Layer::Flags),
        Some(ValueSource::EnvVariable) => Some(Layer::Variables),
        _ => places.of(id).map(|_| Layer::File),
    };
    let listen = layer("listen");
    let bind = layer("bind").max(layer("port"));
    match (listen.cmp(&bind), listen) {
        (Ordering::Greater, _) => Ok(SaidBy::Listen),
        (Ordering::Less, _) => Ok(SaidBy::Bind),
        (Ordering::Equal, Some(layer)) => Err(UsageError::TwoWays(layer)),
        (Ordering::Equal, None) => Ok(SaidBy::Nobody),
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
