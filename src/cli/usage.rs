//! A mistake on the command line, in the environment or in a file, said on one line: which flag, what is wrong, what to write.
//!
//! clap's own text has several lines and a usage summary; in a service's log it hides the cause.

use std::ffi::OsString;
use std::fmt;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use wsfast::ConfigError;

use crate::app::config::Ask;
use crate::app::config::Places;
use crate::cli::file::FileMistake;

/// A mistake in the arguments. Its `Display` is one line without control characters.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum UsageError {
    /// clap refused them.
    Arguments {
        /// What clap says.
        error: Box<clap::Error>,
        /// The variable that the refused value came from; `None`: it came from the command line.
        variable: Option<String>,
    },
    /// Both `--listen` and its short form are given, with equal right.
    TwoWays(Layer),
    /// The file of `--config`, or an entry of it.
    File(FileMistake),
    /// One of the others, with what of it stands in a file.
    Located {
        /// `FILE:LINE`.
        place: String,
        /// What is wrong there.
        error: Box<UsageError>,
    },
    /// `--trust-proxy` without `--proxy-protocol`.
    TrustWithoutProtocol,
    /// A mistake in what `pub` or `sub` are given, in words.
    Client(String),
    /// `--admin` at an address that others reach, without a key to ask for.
    AdminOpenToAll(Ask),
    /// The topic of `--stdin` has a longer name than topics may have.
    TopicTooLong {
        /// Its bytes.
        len: usize,
        /// What they may be.
        most: usize,
    },
    /// A limit is out of its range.
    Limit(ConfigError),
    /// A certificate without its key, or the other way round.
    HalfAPair {
        /// The flag that was given.
        given: &'static str,
        /// The flag that belongs to it.
        missing: &'static str,
    },
}

/// Who says something. What is more outweighs what is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    /// The file of `--config`.
    File,
    /// The environment.
    Variables,
    /// The command line.
    Flags,
}

impl UsageError {
    /// Wraps clap's error over `args`.
    pub(super) fn arguments(error: clap::Error, args: &[OsString]) -> Self {
        let variable = flag_name(&error).and_then(|flag| variable_in_use(flag, args));
        Self::Arguments { error: Box::new(error), variable }
    }

    /// Says where in a file it stands, if it does.
    pub(super) fn located(self, places: &Places) -> Self {
        let flag = match &self {
            Self::TwoWays(Layer::File) => "listen",
            Self::TrustWithoutProtocol => "trust-proxy",
            Self::AdminOpenToAll(_) => "admin",
            Self::TopicTooLong { .. } => "stdin",
            Self::Limit(error) => error.name,
            Self::HalfAPair { given, .. } => given,
            Self::Arguments { .. }
            | Self::TwoWays(_)
            | Self::File(_)
            | Self::Located { .. }
            | Self::Client(_) => return self,
        };
        match places.of(flag) {
            Some(place) => Self::Located { place, error: Box::new(self) },
            None => self,
        }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arguments { error, variable } => write_arguments(f, error, variable.as_deref()),
            Self::TwoWays(Layer::Flags) => f.write_str(
                "--listen says where to listen, as --bind and --port do; leave them out, and write both into --listen \
                 ADDRESS:PORT",
            ),
            Self::TwoWays(Layer::Variables) => f.write_str(
                "WSFAST_LISTEN says where to listen, as WSFAST_BIND and WSFAST_PORT do; leave them out, and write both \
                 into WSFAST_LISTEN=ADDRESS:PORT",
            ),
            Self::TwoWays(Layer::File) => f.write_str(
                "listen says where to listen, as bind and port do; leave them out, and write both into listen = \
                 [\"ADDRESS:PORT\"]",
            ),
            Self::File(mistake) => mistake.fmt(f),
            Self::Located { place, error } => {
                let text = error.to_string();
                write!(f, "{place}: {}", text.strip_prefix("--").unwrap_or(&text))
            }
            Self::TrustWithoutProtocol => f.write_str(
                "--trust-proxy is for --proxy-protocol; add --proxy-protocol auto, or leave it out",
            ),
            Self::Client(text) => f.write_str(text),
            Self::AdminOpenToAll(ask) => write!(
                f,
                "--admin {ask} is open to others, who could end connections there; write 127.0.0.1:PORT or unix:PATH, or \
                 give a --publish-key, which it then asks for"
            ),
            Self::TopicTooLong { len, most } => write!(
                f,
                "--stdin names a topic with {len} bytes, and --max-topic-name-bytes is {most}; take a shorter name, or raise that"
            ),
            Self::Limit(error) => write_limit(f, *error),
            Self::HalfAPair { given, missing } => {
                write!(f, "{given} needs {missing}, too; 'wsfast dev-cert' writes a pair to try")
            }
        }
    }
}

impl std::error::Error for UsageError {}

fn write_arguments(
    f: &mut fmt::Formatter<'_>,
    error: &clap::Error,
    variable: Option<&str>,
) -> fmt::Result {
    let flag = variable.or_else(|| flag_name(error)).unwrap_or("the command line");
    let value = text(error, ContextKind::InvalidValue).unwrap_or("").escape_debug();
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let argument = text(error, ContextKind::InvalidArg).unwrap_or("");
            let shown = argument.escape_debug();
            match text(error, ContextKind::SuggestedArg) {
                Some(suggested) => {
                    write!(f, "there is no flag '{shown}'; did you mean {suggested}?")
                }
                None if argument.starts_with('-') => {
                    write!(f, "there is no flag '{shown}'; 'wsfast --help' lists them all")
                }
                None if argument.parse::<u16>().is_ok() => {
                    write!(f, "'{shown}' belongs to no flag; did you mean --port {shown}?")
                }
                None => write!(f, "'{shown}' belongs to no flag; 'wsfast --help' lists them all"),
            }
        }
        ErrorKind::ValueValidation => match std::error::Error::source(error) {
            Some(cause) => write!(f, "{flag} '{value}' {cause}"),
            None => write!(f, "{flag} '{value}' is not a value it takes; see 'wsfast --help'"),
        },
        ErrorKind::InvalidValue => match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(valid)) if !valid.is_empty() && has_value(error) => {
                write!(f, "{flag} '{value}' is unknown; write one of {}", valid.join(", "))
            }
            _ => write!(f, "{flag} needs a value; see 'wsfast --help'"),
        },
        ErrorKind::TooManyValues => write!(f, "{flag} takes no value; see 'wsfast --help'"),
        ErrorKind::InvalidUtf8 => {
            f.write_str("an argument or a WSFAST_ variable is not UTF-8 text; see 'wsfast --help'")
        }
        // `ErrorKind` is non-exhaustive; the flags have no conflicts, groups or subcommands for the others to arise.
        kind => write!(f, "{flag}: {kind}; see 'wsfast --help'"),
    }
}

/// Says a limit's range in the units that its flag takes.
fn write_limit(f: &mut fmt::Formatter<'_>, error: ConfigError) -> fmt::Result {
    let ConfigError { name, value, least, most, .. } = error;
    let units: &[(u64, &str)] = match name {
        name if name.ends_with("-bytes") || name == "compression-memory" => {
            &[(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")]
        }
        "drain" | "ping-interval" | "keep-alive" | "send-timeout" | "history-ttl" => DURATION_UNITS,
        name if name.ends_with("-timeout") => DURATION_UNITS,
        _ => &[],
    };
    let (value, least, most) =
        (in_units(value, units), in_units(least, units), in_units(most, units));
    write!(f, "--{name} is {value}; it must be between {least} and {most}")
}

const DURATION_UNITS: &[(u64, &str)] = &[(3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];

/// Writes `value` with the largest unit that divides it.
fn in_units(value: u64, units: &[(u64, &str)]) -> String {
    match units.iter().find(|(unit, _)| value != 0 && value.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", value / unit),
        None => value.to_string(),
    }
}

/// The flag that clap's error is about, without the value's placeholder: `--port` of `--port <PORT>`.
fn flag_name(error: &clap::Error) -> Option<&str> {
    text(error, ContextKind::InvalidArg)?.split([' ', '=', '.']).next()
}

/// The environment variable that `flag`'s value was taken from, if `args` don't name the flag.
fn variable_in_use(flag: &str, args: &[OsString]) -> Option<String> {
    let name = flag.strip_prefix("--")?;
    let is_flag = |arg: &OsString| arg.to_string_lossy().split('=').next() == Some(flag);
    if args.iter().any(is_flag) {
        return None;
    }
    let variable = format!("WSFAST_{}", name.to_uppercase().replace('-', "_"));
    std::env::var_os(&variable).map(|_| variable)
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    }
}

/// Whether clap saw a value at all, be it an empty one.
fn has_value(error: &clap::Error) -> bool {
    text(error, ContextKind::InvalidValue).is_some()
}
