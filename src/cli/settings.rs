//! What each setting is given, so that two readings of flags, variables and file can be told apart.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::app::config::{SaidBy, Settings};
use crate::cli::file::settings;
use crate::cli::printed::is_secret;

/// The values of all settings but secrets, and but for the way to say where to listen that another outweighs.
pub(super) fn settings_of(command: &Command, matches: &ArgMatches, said_by: SaidBy) -> Settings {
    let counts = |arg: &&Arg| match arg.get_id().as_str() {
        "listen" => said_by == SaidBy::Listen,
        "bind" | "port" => said_by == SaidBy::Bind,
        _ => !is_secret(arg),
    };
    let values = settings(command).filter(counts).map(|arg| {
        let id = arg.get_id().as_str();
        let values = match arg.get_action() {
            ArgAction::SetTrue => vec![matches.get_flag(id).to_string().into()],
            ArgAction::Count => vec![matches.get_count(id).to_string().into()],
            _ => matches.get_raw(id).into_iter().flatten().map(OsString::from).collect(),
        };
        (arg.get_long().unwrap_or_default().to_owned(), values)
    });
    Settings::new(values.collect())
}
