//! `wsfast man` and `wsfast completions`: what packages ship beside the binary, made by clap from the flags themselves.
//!
//! Not in the help: they are for who packages (`.ci/dist/run`). They are in the binary and no program of their own, so
//! that a page is always of the flags that the binary has, and whoever has only that can make them.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use clap::{Command, CommandFactory as _, Parser, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::flags::{AFTER_LONG_HELP, Flags};
use crate::cli::{Instead, client, dev_cert};

/// Reads the arguments of `man`, which comes first in `args`, and makes the page.
pub(super) fn parse_man(args: &[OsString]) -> Instead {
    parse::<ManFlags>(args).map_or_else(|it| it, |flags| Instead::Text(man(flags.page)))
}

/// Reads the arguments of `completions`, which comes first in `args`, and makes the script.
pub(super) fn parse_completions(args: &[OsString]) -> Instead {
    parse::<CompletionsFlags>(args).map_or_else(|it| it, |it| Instead::Text(completions(it.shell)))
}

fn parse<F: Parser>(args: &[OsString]) -> Result<F, Instead> {
    let flags = F::command().try_get_matches_from(args).and_then(|it| F::from_arg_matches(&it));
    flags.map_err(|mut error| {
        // Its name is no flag's, and is shown as one.
        if let Some(ContextValue::String(name)) =
            error.get(ContextKind::InvalidArg).cloned().as_ref()
        {
            let bare = name.trim_matches(['<', '>', '[', ']']).to_owned();
            error.insert(ContextKind::InvalidArg, ContextValue::String(bare));
        }
        Instead::from_clap(error, args)
    })
}

/// A manual page for man(1).
#[derive(Debug, Parser)]
#[command(name = "wsfast man", about = "Prints a manual page, in roff.")]
struct ManFlags {
    /// Whose
    #[arg(value_enum, default_value = "wsfast")]
    page: Page,
}

/// A script for a shell.
#[derive(Debug, Parser)]
#[command(name = "wsfast completions", about = "Prints a script that completes flags and values.")]
struct CompletionsFlags {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// The pages that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Page {
    Wsfast,
    Check,
    DevCert,
    Pub,
    Sub,
}

fn man(page: Page) -> String {
    let command = match page {
        Page::Wsfast => Flags::command().after_help(AFTER_LONG_HELP),
        Page::Check => check(),
        Page::DevCert => dev_cert::command().name("wsfast-dev-cert"),
        Page::Pub => client::pub_command().name("wsfast-pub"),
        Page::Sub => client::sub_command().name("wsfast-sub"),
    };
    let command = command.version(env!("CARGO_PKG_VERSION"));
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    let _ = Man::new(command).manual("wsfast").render(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn completions(shell: Shell) -> String {
    let mut command = Flags::command().subcommands([
        check().name("check"),
        dev_cert::command().name("dev-cert"),
        client::pub_command().name("pub"),
        client::sub_command().name("sub"),
    ]);
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut command, "wsfast", &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn check() -> Command {
    Flags::command()
        .name("wsfast-check")
        .about("Tries the server's flags, variables and file without listening: 0 if it could be started with them, else 2.")
        .after_help("Descriptors and sockets are not tried, since they are the starting process' to have. What \
             it refuses, SIGHUP would refuse, too: then nothing is reloaded.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_names_its_flags() {
        for (page, title, flag) in [
            (Page::Wsfast, "wsfast", "max\\-connections"),
            (Page::Check, "wsfast\\-check", "config"),
            (Page::DevCert, "wsfast\\-dev\\-cert", "force"),
            (Page::Pub, "wsfast\\-pub", "ids"),
            (Page::Sub, "wsfast\\-sub", "since"),
        ] {
            let text = man(page);
            assert!(text.contains(&format!("\n{title} \\- ")), "{text}");
            assert!(text.contains(&format!("\\-\\-{flag}")), "{page:?}: {text}");
        }
    }

    #[test]
    fn every_shell_completes_flags_and_commands() {
        for shell in Shell::value_variants() {
            let script = completions(*shell);
            for word in ["max-connections", "dev-cert", "since", "dedicated"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
