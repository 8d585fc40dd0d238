//! `--config`, `wsfast check` and `--print-config`, by the real binary.
//!
//! That each flag can be set by a file is shown where the flags are (`src/cli/file.rs`).

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::support::client::RawClient;
use crate::support::process::{Output, Process, command, run, run_command};

#[test]
fn a_file_sets_what_no_flag_and_no_variable_says() {
    let file = File::new(
        "layers",
        "max-connections = 1\ndrain = \"1s\"\nhistory = 1\nlisten = [\"127.0.0.1:0\"]\n",
    );
    let printed = run_command(
        command(&["--config", file.path(), "--print-config", "--drain", "3s"])
            .env("WSFAST_DRAIN", "2s")
            .env("WSFAST_HISTORY", "2"),
    );
    let text = printed.stdout;
    assert_eq!((printed.status.code(), printed.stderr.as_str()), (Some(0), ""));
    for line in [
        format!("max-connections = 1  # {}:1", file.path()),
        "drain = \"3s\"  # --drain".to_owned(),
        "history = 2  # WSFAST_HISTORY".to_owned(),
        format!("listen = [\"127.0.0.1:0\"]  # {}:4", file.path()),
        "# port = 8002".to_owned(),
        "topic-bytes = \"1M\"".to_owned(),
        "# tls-cert =".to_owned(),
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
}

/// A port by a flag outweighs the file's addresses, and the file counts for the rest.
#[test]
fn a_server_runs_with_a_file_named_by_a_variable() {
    let file = File::new("runs", "listen = \"192.0.2.1:1\"\nmax-connections = 3\nverbose = 1\n");
    let server = Process::spawn(command(&["--port", "0"]).env("WSFAST_CONFIG", file.path()));
    RawClient::open(server.addr).expect_echo("hello");
    assert!(server.next_log_line().contains("DEBUG"));
    server.signal(Signal::TERM);
    let said = server.wait().stdout;
    assert!(said.contains("to 3 connections (--max-connections; "), "{said}");
}

#[test]
fn what_is_printed_can_be_read_back() {
    let first = run(&["--print-config", "--bind", "::1", "--bind", "127.0.0.1", "--port=0", "-vv"]);
    let file = File::new("back", &first.stdout);
    let second = run(&["--print-config", "--config", file.path()]);
    let bare = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  #").next().unwrap().to_owned()).collect()
    };
    assert_eq!(bare(&first.stdout), bare(&second.stdout));
    assert!(second.stdout.contains("\nverbose = 2  #"), "{}", second.stdout);
    assert_eq!(Process::start(&["--config", file.path()]).first_line.matches("ws://").count(), 2);
}

#[test]
fn a_mistake_in_a_file_names_the_file_the_line_and_the_key() {
    for (at, (text, line, expected)) in [
        ("\nprot = 1\n", 2, "there is no setting 'prot'; did you mean port?"),
        ("Max_Connections = 1", 1, "there is no setting 'Max_Connections'; did you mean max-connections?"),
        ("xyzzy = 1", 1, "there is no setting 'xyzzy'; 'wsfast --help' lists them all, with dashes in front"),
        ("\"a\\u001b=b\" = 1", 1, "there is no setting 'a\\u{1b}=b'; 'wsfast --help' lists them all, with dashes in front"),
        ("config = 'a'", 1, "config belongs on the command line; leave it out here"),
        ("help = true", 1, "help belongs on the command line; leave it out here"),
        ("[limits]\nport = 1", 1, "'limits' is a table; write settings without one, as KEY = VALUE"),
        ("port = [1]", 1, "port takes one value, not a list"),
        ("drain = 1.5", 1, "drain takes no float; write text in double quotes, such as \"10s\""),
        ("port = 99999", 1, "port '99999' is not a port; write a number from 1 to 65535, or 0 for any free port"),
        ("port = -1", 1, "port '-1' is not a port; write a number from 1 to 65535, or 0 for any free port"),
        (
            "listen = [\n  'fd:3',\n  '8002',\n]",
            3,
            "listen '8002' has no address; write 127.0.0.1:PORT, or 0.0.0.0:PORT for all of IPv4",
        ),
        ("reuse-port = 'maybe'", 1, "reuse-port 'maybe' is neither on nor off; write 1 for on, or 0 for off"),
        ("log = ''", 1, "log '' is unknown; write one of text, json"),
        ("# a\n\ndrain = '25h'", 3, "drain is 25h; it must be between 0 and 24h"),
        ("port = 1\nport = 2", 2, "is not TOML (duplicate key); write KEY = VALUE, text in double quotes"),
        ("tls-cert = 'a'", 1, "tls-cert needs --tls-key, too; 'wsfast dev-cert' writes a pair to try"),
        (
            "listen = '127.0.0.1:1'\nport = 1",
            1,
            "listen says where to listen, as bind and port do; leave them out, and write both into listen = \
             [\"ADDRESS:PORT\"]",
        ),
        (
            "\njwt-secret = 'short'",
            2,
            "jwt-secret is shorter than 16 bytes, so that it can be guessed; 'openssl rand -hex 32' makes one",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let file = File::new(&format!("mistake-{at}"), text);
        for args in [&["--config", file.path()][..], &["check", "--config", file.path()]] {
            check_refusal(&run(args), &format!("{}:{line}: {expected}", file.path()));
        }
    }
}

#[test]
fn a_mistake_counts_though_a_flag_outweighs_it() {
    let file = File::new("outweighed", "port = 'x'\n");
    let output = run(&["--config", file.path(), "--port", "0"]);
    let expected = "port 'x' is not a port; write a number from 1 to 65535, or 0 for any free port";
    check_refusal(&output, &format!("{}:1: {expected}", file.path()));
}

#[test]
fn a_secret_in_a_file_is_in_no_complaint() {
    for (at, text) in [
        "publish-key = hunter2",
        "publish-key = ['hunter2', ['hunter2']]",
        "jwt-secret = 'hunter2'\njwt-secret = 'hunter2'",
        "publish-keys = 'hunter2'",
        "jwt-secret = 'hunter2'",
    ]
    .into_iter()
    .enumerate()
    {
        let file = File::new(&format!("secret-{at}"), text);
        let output = run(&["check", "--config", file.path()]);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let output = run(&["--config", "/nowhere/a.toml"]);
    check_refusal(
        &output,
        "--config '/nowhere/a.toml' cannot be read (No such file or directory (os error 2)); give the path of a TOML file",
    );
}

#[test]
fn check_tries_what_needs_no_socket() {
    let secret = File::new("check-secret", "0123456789abcdef\n");
    let good = File::new(
        "check-good",
        &format!(
            "listen = '192.0.2.1:1'\njwt-secret = '@{}'\nmemory-limit = '64M'\n",
            secret.path()
        ),
    );
    let output = run(&["check", "--config", good.path()]);
    assert_eq!((output.status.code(), output.stderr.as_str()), (Some(0), ""));
    assert_eq!(output.stdout, "a server can be started with this\n");

    for (at, (text, expected)) in [
        ("jwt-secret = '@/nowhere'", "jwt-secret '@/nowhere' cannot be read ("),
        ("tls-cert = '/nowhere'\ntls-key = '/nowhere'", "tls-cert '/nowhere' does not exist; "),
        ("memory-limit = '1M'", "memory-limit 1M is too little: "),
    ]
    .into_iter()
    .enumerate()
    {
        let bad = File::new(&format!("check-bad-{at}"), text);
        let output = run(&["check", "--config", bad.path()]);
        assert_eq!(output.status.code(), Some(2), "{text}");
        let expected = format!("wsfast: {}:1: {expected}", bad.path());
        assert!(output.stderr.starts_with(&expected), "{}", output.stderr);
    }
    let tls = run(&["check", "--listen", "tls:127.0.0.1:1"]);
    assert_eq!(tls.status.code(), Some(2));
    assert!(
        tls.stderr.starts_with("wsfast: --listen tls:127.0.0.1:1 needs a certificate"),
        "{}",
        tls.stderr
    );
    let proxy = run(&["check", "--proxy-protocol", "v1", "--bind", "127.0.0.1"]);
    assert_eq!(proxy.status.code(), Some(2), "{}", proxy.stdout);
}

/// What packages ship (`.ci/dist/run`).
#[test]
fn the_binary_makes_its_manual_and_completions() {
    for (args, first, part) in [
        (&["man"][..], ".ie ", "\\-\\-max\\-connections"),
        (&["man", "sub"], ".ie ", ".TH wsfast-sub 1"),
        (&["completions", "bash"], "_wsfast() {", "--max-connections"),
        (&["completions", "zsh"], "#compdef wsfast", "dev-cert"),
    ] {
        let output = run(args);
        assert_eq!((output.status.code(), output.stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(output.stdout.starts_with(first), "{args:?}");
        assert!(output.stdout.contains(part), "{args:?}");
    }
    check_refusal(
        &run(&["man", "nope"]),
        "PAGE 'nope' is unknown; write one of wsfast, check, dev-cert, pub, sub",
    );
}

/// A file that is removed with its test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("wsfast-config-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

#[track_caller]
fn check_refusal(output: &Output, line: &str) {
    assert_eq!(output.stderr, format!("wsfast: {line}\n"));
    assert_eq!(output.stdout, "");
    assert_eq!(output.status.code(), Some(2));
}
