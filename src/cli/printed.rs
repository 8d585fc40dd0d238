//! `--print-config`: all settings, as TOML that `--config` takes, and where each comes from.
//!
//! Knows no flag by name but those that say where to listen, of which only one way may be given. Prints no secret.

use std::fmt::Write as _;

use clap::builder::ValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::app::config::Places;
use crate::app::config::SaidBy;
use crate::app::gate::secret::Secret;
use crate::cli::file::{settings, takes_several};

/// Prints what `matches` come to.
pub(super) fn print(
    command: &Command,
    matches: &ArgMatches,
    places: &Places,
    said_by: SaidBy,
) -> String {
    let mut page = String::from(
        "# Settings of wsfast, to be read with --config. What is commented out is not set.\n",
    );
    let mut heading = None;
    for arg in settings(command) {
        if arg.get_help_heading() != heading {
            heading = arg.get_help_heading();
            let _ = writeln!(page, "\n# {}", heading.unwrap_or_default());
        }
        let key = arg.get_long().unwrap_or_default();
        // Of two ways to say where to listen a file may have one.
        let is_other_way = match key {
            "listen" => said_by != SaidBy::Listen,
            "bind" | "port" => said_by != SaidBy::Bind,
            _ => false,
        };
        let origin = origin(arg, key, matches, places);
        let _ = match value(arg, matches) {
            Value::Given(value) if is_other_way => writeln!(page, "# {key} = {value}"),
            Value::Given(value) => writeln!(page, "{key} = {value}{origin}"),
            Value::Missing => writeln!(page, "# {key} ="),
            Value::Secret { in_files, count } => {
                if let Some(files) = in_files {
                    let _ = writeln!(page, "{key} = {files}{origin}");
                }
                match count {
                    0 => Ok(()),
                    _ => writeln!(
                        page,
                        "# {key}: {count} left out, being secret; \"@FILE\" is shown"
                    ),
                }
            }
        };
    }
    page
}

/// What a setting has, as TOML.
enum Value {
    Given(String),
    Missing,
    /// Secrets: the files that they are in, and how many are in place.
    Secret {
        in_files: Option<String>,
        count: usize,
    },
}

fn value(arg: &Arg, matches: &ArgMatches) -> Value {
    let id = arg.get_id().as_str();
    match arg.get_action() {
        ArgAction::SetTrue => return Value::Given(matches.get_flag(id).to_string()),
        ArgAction::Count => return Value::Given(matches.get_count(id).to_string()),
        _ => {}
    }
    let raw = matches.get_raw(id).into_iter().flatten();
    // Only a path may be something else than UTF-8, which no TOML file could have.
    let texts: Vec<String> = raw.map(|text| text.to_string_lossy().into_owned()).collect();
    if texts.is_empty() {
        return Value::Missing;
    }
    if !is_secret(arg) {
        return Value::Given(written(arg, &texts));
    }
    let (in_files, in_place): (Vec<_>, Vec<_>) =
        texts.into_iter().partition(|text| text.starts_with('@'));
    let in_files = Some(in_files).filter(|it| !it.is_empty());
    Value::Secret { in_files: in_files.map(|it| written(arg, &it)), count: in_place.len() }
}

pub(super) fn is_secret(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == ValueParser::from(value_parser!(Secret)).type_id()
}

fn written(arg: &Arg, texts: &[String]) -> String {
    match texts {
        [text] if !takes_several(arg) => scalar(text),
        texts => {
            let quoted: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
            format!("[{}]", quoted.join(", "))
        }
    }
}

fn scalar(text: &str) -> String {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => number.to_string(),
        _ => quoted(text),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A comment on who said so; empty for a default.
fn origin(arg: &Arg, key: &str, matches: &ArgMatches, places: &Places) -> String {
    match matches.value_source(arg.get_id().as_str()) {
        Some(ValueSource::CommandLine) => format!("  # --{key}"),
        Some(ValueSource::EnvVariable) => {
            let name = arg.get_env().unwrap_or_default().to_string_lossy();
            format!("  # {name}")
        }
        _ => places.of(key).map(|place| format!("  # {place}")).unwrap_or_default(),
    }
}
