//! The arguments of `wsfast dev-cert`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Command, CommandFactory, FromArgMatches, Parser};

use crate::app::process::dev_cert::DevCert;
use crate::cli::Instead;

/// Reads the arguments of `dev-cert`, which comes first in `args`.
pub(super) fn parse_dev_cert(args: &[OsString]) -> Instead {
    let flags = DevCertFlags::command()
        .try_get_matches_from(args)
        .and_then(|matches| DevCertFlags::from_arg_matches(&matches));
    match flags {
        Ok(flags) => Instead::DevCert(DevCert { dir: flags.dir, force: flags.force }),
        Err(error) => Instead::from_clap(error, args),
    }
}

/// What clap knows of it.
pub(super) fn command() -> Command {
    DevCertFlags::command()
}

/// A self-signed certificate.
#[derive(Debug, Parser)]
#[command(
    name = "wsfast dev-cert",
    about = "Writes dev-cert.pem and dev-key.pem: a self-signed certificate for localhost, 127.0.0.1 and ::1, to try wss \
             with. Not for the public: no browser trusts it unasked.",
    max_term_width = 100
)]
struct DevCertFlags {
    /// Directory that gets both files
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    dir: PathBuf,

    /// Replace files that are there
    #[arg(long)]
    force: bool,
}
