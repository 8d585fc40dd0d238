//! The file of `--config`: TOML whose keys are the flags' names, without their dashes.
//!
//! Knows no flag by name, and parses no value: each entry is first tried as its flag would be, so that a mistake is found
//! even where a flag or a variable outweighs it, and then takes the place of the flag's default, which is below both.
//! Whether entries fit together, and into their ranges, is asked where it is asked for flags.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::app::config::{Places, shown};
use crate::app::process::tls_files::read_bounded;
use crate::cli::usage::UsageError;

/// What a file sets, each entry a value that its flag takes.
#[derive(Debug)]
pub(super) struct ConfigFile {
    path: PathBuf,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// clap's name of the flag.
    id: String,
    key: String,
    line: usize,
    /// Never empty.
    values: Vec<String>,
}

impl ConfigFile {
    /// Reads the file, and has `command` try each entry.
    ///
    /// # Errors
    ///
    /// The first mistake, with its line.
    pub(super) fn read(path: &Path, command: &Command) -> Result<Self, FileMistake> {
        let blame = |line, mistake| FileMistake { path: path.to_owned(), line, mistake };
        let bytes = read_bounded(path).map_err(|error| blame(None, Mistake::Unreadable(error)))?;
        let text = String::from_utf8(bytes).map_err(|_| blame(None, Mistake::NotUtf8))?;
        Self::parse(path, &text, command)
    }

    fn parse(path: &Path, text: &str, command: &Command) -> Result<Self, FileMistake> {
        let blame = |line, mistake| FileMistake { path: path.to_owned(), line, mistake };
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map(|span| line_of(text, span.start));
            // Its message alone: what it displays has the line itself in it, and so perhaps a secret.
            blame(line, Mistake::Toml(error.message().replace(char::is_control, " ")))
        })?;
        let mut pairs: Vec<_> = table.get_ref().iter().collect();
        pairs.sort_by_key(|(key, _)| key.span().start);
        let mut entries = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            let entry = Entry::parse(text, key, value, command)
                .map_err(|(line, mistake)| blame(Some(line), mistake))?;
            entries.extend(entry);
        }
        Ok(Self { path: path.to_owned(), entries })
    }

    /// Puts the entries below the environment's variables.
    pub(super) fn beneath(&self, command: Command) -> Command {
        self.entries.iter().fold(command, |command, entry| {
            command.mut_arg(&entry.id, |arg| arg.default_values(&entry.values))
        })
    }

    /// Says where the entries stand that nothing outweighed.
    pub(super) fn places(self, matches: &ArgMatches) -> Places {
        let counts = |entry: &Entry| {
            matches.value_source(&entry.id).is_none_or(|it| it == ValueSource::DefaultValue)
        };
        let lines = self.entries.into_iter().filter(counts).map(|it| (it.key, it.line)).collect();
        Places::new(self.path, lines)
    }
}

impl Entry {
    /// Has `command` try the entry of `key`. An empty list is no entry.
    fn parse(
        text: &str,
        key: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
        command: &Command,
    ) -> Result<Option<Self>, (usize, Mistake)> {
        let line = line_of(text, key.span().start);
        let key = key.get_ref().as_ref();
        if value.get_ref().is_table() {
            return Err((line, Mistake::Table(key.to_owned())));
        }
        let arg = setting(command, key).map_err(|mistake| (line, mistake))?;
        let items = match value.get_ref() {
            DeValue::Array(items) if takes_several(arg) => items.iter().collect(),
            DeValue::Array(_) => return Err((line, Mistake::List(key.to_owned()))),
            _ => vec![value],
        };
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            let line = line_of(text, item.span().start);
            let item = scalar(item.get_ref())
                .ok_or_else(|| (line, Mistake::Kind(key.to_owned(), item.get_ref().type_str())))?;
            try_value(command, arg, key, &item).map_err(|mistake| (line, mistake))?;
            values.push(item);
        }
        let entry = Self { id: arg.get_id().to_string(), key: key.to_owned(), line, values };
        Ok(Some(entry).filter(|entry| !entry.values.is_empty()))
    }
}

/// The settings that a file may have: what has a variable, but for the file's own name.
pub(super) fn settings(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| arg.get_env().is_some() && arg.get_id() != "config")
}

/// Whether it may be repeated.
pub(super) fn takes_several(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// Finds the flag that `key` names, or the one that is meant.
fn setting<'a>(command: &'a Command, key: &str) -> Result<&'a Arg, Mistake> {
    let named = |name: &str| settings(command).find(|arg| arg.get_long() == Some(name));
    if let Some(arg) = named(key) {
        return Ok(arg);
    }
    if command.get_arguments().any(|arg| arg.get_long() == Some(key)) {
        return Err(Mistake::NotHere(key.to_owned()));
    }
    let spelt = key.to_lowercase().replace('_', "-");
    let near = match named(&spelt) {
        Some(_) => Some(spelt),
        None => nearest(command, &spelt).filter(|name| named(name).is_some()),
    };
    Err(Mistake::Unknown { key: key.to_owned(), near })
}

/// The flag that clap suggests for one that there is not, without its dashes.
fn nearest(command: &Command, name: &str) -> Option<String> {
    let error =
        command.clone().try_get_matches_from(["wsfast".to_owned(), format!("--{name}")]).err()?;
    match (error.kind(), error.get(ContextKind::SuggestedArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(flag))) => {
            flag.strip_prefix("--").map(str::to_owned)
        }
        _ => None,
    }
}

/// As one would write it behind the flag; `None`: nobody would.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(is_on) => Some(is_on.to_string()),
        // What no `i64` holds, TOML does not promise to hold either; the flag's parser says what it thinks of it.
        DeValue::Integer(number) => {
            let value = i64::from_str_radix(number.as_str(), number.radix());
            Some(value.map_or_else(|_| number.as_str().to_owned(), |value| value.to_string()))
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// Has clap parse `value` as the flag's. A switch is made to take one, as its variable does.
fn try_value(command: &Command, arg: &Arg, key: &str, value: &str) -> Result<(), Mistake> {
    let command = command.clone().mut_arg(arg.get_id(), |arg| match arg.get_action() {
        ArgAction::SetTrue | ArgAction::Count => arg.action(ArgAction::Set).num_args(1),
        _ => arg,
    });
    let tried = command.try_get_matches_from(["wsfast".to_owned(), format!("--{key}={value}")]);
    tried.map(drop).map_err(|error| {
        let error = UsageError::Arguments { error: Box::new(error), variable: Some(key.into()) };
        Mistake::Refused(Box::new(error))
    })
}

/// Counts from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|&byte| byte == b'\n').count() + 1
}

/// A file that sets nothing. Its `Display` is one line with the file, the line, the key and the remedy.
#[derive(Debug)]
pub(crate) struct FileMistake {
    path: PathBuf,
    line: Option<usize>,
    mistake: Mistake,
}

#[derive(Debug)]
enum Mistake {
    Unreadable(io::Error),
    NotUtf8,
    /// In the parser's words.
    Toml(String),
    Unknown {
        key: String,
        near: Option<String>,
    },
    /// A flag that is no setting.
    NotHere(String),
    Table(String),
    /// A list for what is given once.
    List(String),
    /// A kind of value that no flag takes.
    Kind(String, &'static str),
    /// The flag does not take the value.
    Refused(Box<UsageError>),
}

impl fmt::Display for FileMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, mistake } = self;
        if let Mistake::Unreadable(error) = mistake {
            return write!(
                f,
                "--config '{}' cannot be read ({error}); give the path of a TOML file",
                shown(path)
            );
        }
        f.write_str(&shown(path))?;
        if let Some(line) = line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {mistake}")
    }
}

impl std::error::Error for FileMistake {}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => error.fmt(f),
            Self::NotUtf8 => f.write_str("is not UTF-8 text; save it as that"),
            Self::Toml(message) => {
                write!(f, "is not TOML ({message}); write KEY = VALUE, text in double quotes")
            }
            Self::Unknown { key, near: Some(near) } => {
                write!(f, "there is no setting '{}'; did you mean {near}?", key.escape_debug())
            }
            Self::Unknown { key, near: None } => write!(
                f,
                "there is no setting '{}'; 'wsfast --help' lists them all, with dashes in front",
                key.escape_debug()
            ),
            Self::NotHere(key) => {
                write!(f, "{key} belongs on the command line; leave it out here")
            }
            Self::Table(key) => write!(
                f,
                "'{}' is a table; write settings without one, as KEY = VALUE",
                key.escape_debug()
            ),
            Self::List(key) => write!(f, "{key} takes one value, not a list"),
            Self::Kind(key, kind) => {
                write!(f, "{key} takes no {kind}; write text in double quotes, such as \"10s\"")
            }
            Self::Refused(error) => error.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::app::config::SaidBy;
    use crate::cli::flags::Flags;
    use crate::cli::printed;

    use super::*;

    /// By construction: whatever clap knows as a flag with a variable.
    #[test]
    fn every_flag_can_be_set_by_a_file() {
        let command = Flags::command();
        assert!(settings(&command).count() > 35);
        for arg in settings(&command) {
            let key = arg.get_long().unwrap();
            let (written, raw) = example(arg);
            let (matches, places) = read(&format!("# {key}\n\n{key} = {written}\n"));
            assert_eq!(raws(&matches, arg), [raw], "{key}");
            assert_eq!(
                matches.value_source(arg.get_id().as_str()),
                Some(ValueSource::DefaultValue)
            );
            assert_eq!(places.of(key).as_deref(), Some("a.toml:3"));
        }
        let others = command.get_arguments().filter(|arg| arg.get_env().is_none());
        let others: Vec<_> = others.filter_map(Arg::get_long).collect();
        assert_eq!(others, ["print-config", "help", "version"]);
    }

    /// With nothing set, and with everything.
    #[test]
    fn what_is_printed_reads_as_what_it_was_printed_from() {
        let command = Flags::command();
        let all: String = settings(&command)
            .map(|arg| format!("{} = {}\n", arg.get_long().unwrap(), example(arg).0))
            .collect();
        for text in ["", &all, "stdin = \"a\\\"b\"\nallow-origin = [\"https://a.example\", \"*\"]"]
        {
            for said_by in [SaidBy::Nobody, SaidBy::Bind, SaidBy::Listen] {
                let (matches, _) = read(text);
                let printed = printed::print(&command, &matches, &Places::default(), said_by);
                let (again, places) = read(&printed);
                for arg in settings(&command) {
                    let key = arg.get_long().unwrap();
                    let is_said = match key {
                        "listen" => said_by == SaidBy::Listen,
                        "bind" | "port" => said_by == SaidBy::Bind,
                        _ => {
                            assert_eq!(
                                raws(&again, arg),
                                raws(&matches, arg),
                                "{key} in\n{printed}"
                            );
                            continue;
                        }
                    };
                    let is_said = is_said && !raws(&matches, arg).is_empty();
                    assert_eq!(places.of(key).is_some(), is_said, "{key} in\n{printed}");
                }
            }
        }
    }

    #[test]
    fn secrets_in_place_are_not_printed() {
        let text = "publish-key = [\"@/run/key\", \"hunter2\"]\njwt-secret = \"hunter2\"\n";
        let (matches, places) = read(text);
        let printed = printed::print(&Flags::command(), &matches, &places, SaidBy::Nobody);
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(printed.contains("\npublish-key = [\"@/run/key\"]  # a.toml:1\n"), "{printed}");
        assert!(printed.contains("\n# jwt-secret: 1 left out, being secret;"), "{printed}");
    }

    #[test]
    fn an_empty_list_sets_nothing_and_numbers_may_have_any_form() {
        let (_, places) = read("bind = []\nlisten = []\n");
        assert_eq!((places.of("bind"), places.of("listen")), (None, None));
        let (matches, _) = read("max-connections = 0x1_000\nhistory = +7\n\"port\" = '80'\n");
        assert_eq!(matches.get_one::<usize>("max_connections"), Some(&4096));
        assert_eq!(matches.get_one::<usize>("history"), Some(&7));
        assert_eq!(matches.get_one::<u16>("port"), Some(&80));
    }

    /// A value for the flag, as TOML and as clap has it.
    fn example(arg: &Arg) -> (String, String) {
        match arg.get_action() {
            ArgAction::SetTrue => return ("true".to_owned(), "true".to_owned()),
            ArgAction::Count => return ("3".to_owned(), "3".to_owned()),
            _ => {}
        }
        if let Some(last) = arg.get_possible_values().last() {
            return (format!("'{}'", last.get_name()), last.get_name().to_owned());
        }
        let raw = match arg.get_value_names().unwrap()[0].as_str() {
            "PORT" | "COUNT" | "LEVEL" => return ("9".to_owned(), "9".to_owned()),
            "WHERE" => "unix:/a b",
            "ADDRESS" => "::1",
            "CIDR" => "10.0.0.0/8",
            "ORIGIN" => "https://a.example",
            "KEY" | "SECRET" => "@/run/secret",
            "SIZE" => "1K",
            "TIME" => "7s",
            "RATE" => "7/8",
            "FILE" | "TOPIC" => "name",
            other => panic!("{other}: give an example"),
        };
        let written =
            if takes_several(arg) { format!("[\"{raw}\"]") } else { format!("\"{raw}\"") };
        (written, raw.to_owned())
    }

    fn read(text: &str) -> (ArgMatches, Places) {
        let command = Flags::command();
        let file = ConfigFile::parse(Path::new("a.toml"), text, &command);
        let file = file.unwrap_or_else(|mistake| panic!("{mistake}:\n{text}"));
        let matches = file.beneath(command).try_get_matches_from(["wsfast"]).unwrap();
        let places = file.places(&matches);
        (matches, places)
    }

    fn raws(matches: &ArgMatches, arg: &Arg) -> Vec<String> {
        let raw = matches.get_raw(arg.get_id().as_str()).into_iter().flatten();
        raw.map(|raw| raw.to_str().unwrap().to_owned()).collect()
    }
}
