//! What each setting is given, so that two readings of flags, variables and file can be told apart.
//!
//! Has no secret in it: whether secrets changed is asked of what they were loaded into (`app::gate::secret`), since most of
//! them stand in files of their own.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::cli::SaidBy;
use crate::cli::file::settings;
use crate::cli::printed::is_secret;

/// The values of all settings, by the flags' names without dashes. Secrets are left out, and the way to say where to listen that
/// another outweighs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings(BTreeMap<String, Vec<OsString>>);

impl Settings {
    pub(super) fn new(command: &Command, matches: &ArgMatches, said_by: SaidBy) -> Self {
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
        Self(values.collect())
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
