//! The arguments of `wsfast pub` and `wsfast sub`, and their help pages.
//!
//! Reads no file: secrets and certificates are read when they are needed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory as _, Parser, ValueEnum};
use wsfast::MessageId;

use crate::app::gate::secret::Secret;
use crate::cli::usage::UsageError;
use crate::cli::values::Millis;
use crate::cli::{Instead, values};
use crate::client::publish::Pub;
use crate::client::sub::{Format, Sub};
use crate::client::{Endpoint, Url};

/// Reads the arguments of `pub`, which comes first in `args`.
pub(super) fn parse_pub(args: &[OsString]) -> Instead {
    parse::<PubFlags>(args, "wsfast pub").and_then(PubFlags::into_pub).unwrap_or_else(|it| it)
}

/// Reads the arguments of `sub`, which comes first in `args`.
pub(super) fn parse_sub(args: &[OsString]) -> Instead {
    parse::<SubFlags>(args, "wsfast sub").and_then(SubFlags::into_sub).unwrap_or_else(|it| it)
}

/// What clap knows of `pub`.
pub(super) fn pub_command() -> Command {
    PubFlags::command()
}

/// What clap knows of `sub`.
pub(super) fn sub_command() -> Command {
    SubFlags::command()
}

/// Publishes messages to a topic.
#[derive(Debug, Parser)]
#[command(
    name = "wsfast pub",
    override_usage = "wsfast pub [OPTIONS] URL [MESSAGE]...",
    about = "Publishes each MESSAGE to a topic or, without any, each line of standard input.",
    args_override_self = true,
    max_term_width = 100,
    after_help = AFTER_PUB
)]
struct PubFlags {
    /// The topic, such as ws://127.0.0.1:8002/chat; wss://, http:// and https:// are fine, too
    #[arg(value_name = "URL")]
    url: Option<String>,

    /// What to publish
    #[arg(value_name = "MESSAGE")]
    messages: Vec<String>,

    /// Print the id of each message once it is published
    #[arg(short = 'v', long)]
    ids: bool,

    /// Publish binary messages; otherwise what is UTF-8 is text
    #[arg(long)]
    binary: bool,

    /// The server's --publish-key, or @FILE that has it
    #[arg(
        long,
        env = "WSFAST_KEY",
        hide_env = true,
        value_name = "KEY",
        allow_hyphen_values = true
    )]
    key: Option<Secret>,

    #[command(flatten)]
    access: AccessFlags,
}

/// Listens to a topic.
#[derive(Debug, Parser)]
#[command(
    name = "wsfast sub",
    override_usage = "wsfast sub [OPTIONS] URL",
    about = "Prints what is published to a topic, a line a message, and resumes where it was when it is cut off.",
    args_override_self = true,
    max_term_width = 100,
    after_help = AFTER_SUB
)]
struct SubFlags {
    /// The topic, such as ws://127.0.0.1:8002/chat; wss://, http:// and https:// are fine, too
    #[arg(value_name = "URL")]
    url: Option<String>,

    /// Begin with what is there: all, last:N, or behind the message EPOCH:OFFSET
    #[arg(long, value_name = "WHERE", value_parser = since)]
    since: Option<String>,

    /// End after so many messages
    #[arg(long, value_name = "COUNT", value_parser = values::count::<u64>, allow_hyphen_values = true)]
    count: Option<u64>,

    /// How to print messages: text, json or raw
    #[arg(
        long,
        value_name = "FORM",
        value_enum,
        default_value = "text",
        hide_possible_values = true
    )]
    format: FormatFlag,

    #[command(flatten)]
    access: AccessFlags,
}

/// As whom to go where.
#[derive(Debug, clap::Args)]
struct AccessFlags {
    /// A token (JWT) that the server's --jwt-secret signed, or @FILE that has it
    #[arg(
        long,
        env = "WSFAST_TOKEN",
        hide_env = true,
        value_name = "TOKEN",
        allow_hyphen_values = true
    )]
    token: Option<Secret>,

    /// Another header of the request; repeat it for several
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,

    /// PEM file of who vouches for a wss:// server [default: whom the system trusts]
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,

    /// How long a server is waited for that says nothing
    #[arg(long, value_name = "TIME", value_parser = timeout, default_value = "15s", allow_hyphen_values = true)]
    timeout: Duration,
}

/// The values of `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatFlag {
    Text,
    Json,
    Raw,
}

impl AccessFlags {
    fn endpoint(
        self,
        url: Option<&str>,
        page: &str,
        key: Option<Secret>,
    ) -> Result<Endpoint, Instead> {
        let mistake = |text| Instead::Usage(UsageError::Client(text));
        let Some(text) = url else {
            return Err(mistake(format!(
                "{} needs the URL of a topic, such as ws://127.0.0.1:8002/chat; see '{page} --help'",
                page.trim_start_matches("wsfast ")
            )));
        };
        let url = Url::parse(text).map_err(|error| {
            // There may be a token in its query.
            let shown = text.split('?').next().unwrap_or_default().escape_debug();
            mistake(format!("'{shown}' {error}"))
        })?;
        let Self { token, header: headers, cacert, timeout } = self;
        Ok(Endpoint { url, cacert, token, key, headers, timeout })
    }
}

impl PubFlags {
    fn into_pub(self) -> Result<Instead, Instead> {
        let endpoint = self.access.endpoint(self.url.as_deref(), "wsfast pub", self.key)?;
        Ok(Instead::Pub(Box::new(Pub {
            endpoint,
            messages: self.messages,
            is_binary: self.binary,
            shows_ids: self.ids,
        })))
    }
}

impl SubFlags {
    fn into_sub(self) -> Result<Instead, Instead> {
        let mut endpoint = self.access.endpoint(self.url.as_deref(), "wsfast sub", None)?;
        let since = match (self.since, endpoint.url.since.take()) {
            (Some(since), _) => Some(since),
            (None, Some(text)) => Some(since(&text).map_err(|error| {
                Instead::Usage(UsageError::Client(format!("since in the URL {error}")))
            })?),
            (None, None) => None,
        };
        let format = match self.format {
            FormatFlag::Text => Format::Text,
            FormatFlag::Json => Format::Json,
            FormatFlag::Raw => Format::Raw,
        };
        Ok(Instead::Sub(Box::new(Sub { endpoint, since, count: self.count, format })))
    }
}

/// Has clap read `args`; its mistakes name this command's `page`.
fn parse<F: Parser>(args: &[OsString], page: &str) -> Result<F, Instead> {
    let flags = F::command().try_get_matches_from(args).and_then(|it| F::from_arg_matches(&it));
    flags.map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp => Instead::Page(Box::new(error)),
        ErrorKind::UnknownArgument if !is_flag(&error) => {
            Instead::Usage(UsageError::Client(format!(
                "there is one argument too many; quote what belongs together, and see '{page} --help'"
            )))
        }
        _ => {
            let text = UsageError::arguments(error, args).to_string();
            let text = text.replace("'wsfast --help'", &format!("'{page} --help'"));
            Instead::Usage(UsageError::Client(text))
        }
    })
}

/// Whether what clap does not know is meant to be a flag.
fn is_flag(error: &clap::Error) -> bool {
    matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(text)) if text.starts_with('-'))
}

/// Checks what `?since=` takes.
fn since(text: &str) -> Result<String, &'static str> {
    let is_known = match text.split_once(':') {
        None => text == "all",
        Some(("last", count)) => count.parse::<u64>().is_ok(),
        Some(_) => text.parse::<MessageId>().is_ok(),
    };
    if is_known {
        Ok(text.to_owned())
    } else {
        Err("is no place in a topic; write all, last:N or EPOCH:OFFSET")
    }
}

/// Parses a time longer than none.
fn timeout(text: &str) -> Result<Duration, String> {
    match values::duration(text).map_err(|error| error.to_string())? {
        Millis(0) => Err("is no time to wait; write one such as 15s".to_owned()),
        Millis(millis) => Ok(Duration::from_millis(millis)),
    }
}

/// Splits `Name: value`. What may stand in them is checked where the request is made.
fn header(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once(':') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.trim().to_owned())),
        _ => Err("is no header; write 'NAME: VALUE'"),
    }
}

const AFTER_PUB: &str = "\
Each message is sent by a POST, and is published once that is answered. Many are under way at a
time; their order is kept. If the connection breaks, it is not known whether those that were not
answered are published: stderr says which, nothing is sent twice, and the exit code is 4.

A line's CR LF or LF is no part of its message. A message that begins with '-' goes behind '--'.
--token is also WSFAST_TOKEN, and --key is WSFAST_KEY.

Examples:
  date | wsfast pub ws://127.0.0.1:8002/chat
  wsfast pub ws://127.0.0.1:8002/chat hello 'hello again'
  tail -F app.log | wsfast pub wss://example.com/log --key @/run/secrets/publish-key

Exit codes:
  0  all is published
  2  bad arguments
  3  no connection, or refused: the server's reason is on stderr
  4  not all is published (a message too large, a connection lost), or it is not known";

const AFTER_SUB: &str = "\
It begins with what is published from now on, or with --since. Cut off, it connects again, after
0.1 s at first and 10 s at last, and goes on behind the last message that it has: nothing is lost
or doubled. What the server does not keep any more (its --history) is told on stderr, and so is
each connection. A server that is silent for --timeout is sent a Ping, and is gone after as much
again.

Forms:
  text  the message and a line end; a binary message as it is. On a terminal, control characters
        are spelled out
  json  {\"id\":\"EPOCH:OFFSET\",\"text\":\"...\"}, or \"base64\" in place of \"text\" if it is binary
  raw   the message as it is, without a line end

--token is also WSFAST_TOKEN.

Examples:
  wsfast sub ws://127.0.0.1:8002/chat
  wsfast sub ws://127.0.0.1:8002/chat --since last:10 --count 10
  wsfast sub wss://example.com/log --token @token --format json | jq .text

Exit codes:
  0  --count messages are printed, Ctrl-C, or nobody reads what is printed
  2  bad arguments
  3  no connection at first, or refused: the server's reason is on stderr";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_what_is_asked_for() {
        let Instead::Sub(sub) = sub(&[
            "ws://h/t?since=all&x=y",
            "--since=ab:7",
            "--count",
            "3",
            "--format=json",
            "--header",
            "X-A: b: c",
            "--token=@/run/token",
        ]) else {
            panic!("not taken")
        };
        assert_eq!(sub.endpoint.url.target(None), "/t?x=y");
        assert_eq!((sub.since.as_deref(), sub.count), (Some("ab:7"), Some(3)));
        assert_eq!(sub.format, Format::Json);
        assert_eq!(sub.endpoint.headers, [("X-A".to_owned(), "b: c".to_owned())]);
        assert_eq!(sub.endpoint.token, Some(Secret::File("/run/token".into())));
        let Instead::Sub(sub) = self::sub(&["h/t?since=last:2"]) else { panic!("not taken") };
        assert_eq!((sub.since.as_deref(), sub.format), (Some("last:2"), Format::Text));

        let args = ["https://h/t", "-v", "--key=k", "one", "--", "-two"];
        let Instead::Pub(publish) = publish(&args) else { panic!("not taken") };
        assert_eq!(publish.messages, ["one", "-two"]);
        assert!(publish.shows_ids && !publish.is_binary && publish.endpoint.url.is_tls);
        assert!(!format!("{publish:?}").contains("\"k\""));
    }

    #[test]
    fn mistakes_are_one_line_with_their_remedy() {
        for (args, expected) in [
            (
                &[][..],
                "sub needs the URL of a topic, such as ws://127.0.0.1:8002/chat; see 'wsfast sub --help'",
            ),
            (
                &["ftp://h/t?token=x"],
                "'ftp://h/t' has another scheme; write ws://, wss://, http:// or https://",
            ),
            (
                &["ws://h/t", "ws://h/u"],
                "there is one argument too many; quote what belongs together, and see 'wsfast sub --help'",
            ),
            (&["ws://h/t", "--cuont=3"], "there is no flag '--cuont'; did you mean --count?"),
            (
                &["ws://h/t", "--xyzzy"],
                "there is no flag '--xyzzy'; 'wsfast sub --help' lists them all",
            ),
            (
                &["ws://h/t", "--count=x"],
                "--count 'x' is not a count; write a whole number, such as 10000",
            ),
            (
                &["ws://h/t", "--since=yesterday"],
                "--since 'yesterday' is no place in a topic; write all, last:N or EPOCH:OFFSET",
            ),
            (
                &["ws://h/t?since=yesterday"],
                "since in the URL is no place in a topic; write all, last:N or EPOCH:OFFSET",
            ),
            (
                &["ws://h/t", "--format=xml"],
                "--format 'xml' is unknown; write one of text, json, raw",
            ),
            (&["ws://h/t", "--header=X"], "--header 'X' is no header; write 'NAME: VALUE'"),
            (&["ws://h/t", "--cacert"], "--cacert needs a value; see 'wsfast sub --help'"),
        ] {
            match sub(args) {
                Instead::Usage(error) => assert_eq!(error.to_string(), expected, "{args:?}"),
                other => panic!("{args:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_pages_fit_a_terminal() {
        for command in [PubFlags::command(), SubFlags::command()] {
            command.clone().debug_assert();
            let page = command.term_width(100).render_long_help().to_string();
            for line in page.lines() {
                assert!(line.chars().count() <= 100, "{line}");
            }
        }
        assert!(matches!(sub(&["--help"]), Instead::Page(_)));
        assert!(matches!(publish(&["-h"]), Instead::Page(_)));
    }

    fn sub(args: &[&str]) -> Instead {
        parse_sub(&[&["sub"], args].concat().iter().map(OsString::from).collect::<Vec<_>>())
    }

    fn publish(args: &[&str]) -> Instead {
        parse_pub(&[&["pub"], args].concat().iter().map(OsString::from).collect::<Vec<_>>())
    }
}
