//! SIGHUP: what is reloaded, what waits for a restart, and that a mistake changes nothing.
//!
//! What becomes of a certificate whose files change by themselves is in `tls`.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::process::Signal;
use rustls::version::TLS13;

use crate::support::client::RawClient;
use crate::support::process::{Process, command, run};
use crate::support::tls::{Pair, TlsClient};
use crate::support::watch::{listen, request, upgrade};
use crate::support::wire;

/// By paths that are relative, as `--config wsfast.toml` is.
#[test]
fn a_token_secret_is_rotated_and_open_connections_stay() {
    let dir = Dir::new("rotated");
    dir.write("secret", "the first secret of all\n");
    let server = dir.serve("jwt-secret = '@secret'\n");
    let (old, new) = (token("the first secret of all"), token("the second secret of all"));
    let mut open = RawClient::connect(server.addr);
    upgrade(&mut open, &format!("/t?token={old}"), "");
    assert_eq!(upgrade_status(server.addr, "", &new), 401);

    dir.write("secret", "the second secret of all\n");
    assert_eq!(reload(&server), ["INFO reloaded; changed: jwt-secret"]);
    assert_eq!(upgrade_status(server.addr, "", &old), 401);
    let mut other = RawClient::connect(server.addr);
    upgrade(&mut other, &format!("/t?token={new}"), "");
    for text in ["from the new", "from the new again"] {
        other.send(wire::text(text));
        open.expect_text(text);
        other.expect_text(text);
    }
    open.send(wire::text("from the old"));
    other.expect_text("from the old");
    assert_eq!(reload(&server), ["INFO reloaded; nothing changed"]);
}

/// Nor does it for who showed it when its connection opened.
#[test]
fn a_key_that_is_removed_publishes_nothing_more() {
    let dir = Dir::new("keys");
    let server = dir.serve("publish-key = ['first-key-of-all', 'other-key-of-all']\n");
    let mut listener = listen(server.addr, "t", "websocket");
    let [mut removed, mut kept] = ["first-key-of-all", "other-key-of-all"].map(|key| {
        let mut client = RawClient::connect(server.addr);
        upgrade(&mut client, "/t", &format!("X-API-Key: {key}\r\n"));
        client
    });
    removed.send(wire::text("before"));
    for client in [&mut listener, &mut removed, &mut kept] {
        client.expect_text("before");
    }
    dir.configure("publish-key = ['other-key-of-all', 'third-key-of-all']\n");
    assert_eq!(reload(&server), ["INFO reloaded; changed: publish-key"]);

    for (key, status) in
        [("first-key-of-all", 401), ("other-key-of-all", 200), ("third-key-of-all", 200)]
    {
        let lines = format!("X-API-Key: {key}\r\nContent-Length: 0\r\n");
        assert_eq!(request(server.addr, "POST /other", &lines).status, status, "{key}");
    }
    removed.send(wire::text("with a key that is none"));
    removed.expect_close(1008);
    kept.send(wire::text("after"));
    listener.expect_text("after");
}

#[test]
fn origins_limits_and_the_log_change_at_once_and_nobody_is_closed() {
    let dir = Dir::new("live");
    let server = dir.serve("allow-origin = 'https://a.example'\nmax-connections = 9\n");
    let page = |name| format!("Origin: https://{name}.example\r\n");
    let mut open = RawClient::connect(server.addr);
    upgrade(&mut open, "/echo", &page("a"));
    assert_eq!(upgrade_status(server.addr, &page("b"), ""), 403);

    dir.configure(
        "allow-origin = 'https://b.example'\nmax-connections = 2\nmax-message-bytes = 125\nverbose = 1\n",
    );
    assert_eq!(
        reload(&server),
        ["INFO reloaded; changed: allow-origin, max-connections, max-message-bytes, verbose"]
    );
    // In force for who comes; who is there keeps to what it was told.
    assert_eq!(upgrade_status(server.addr, &page("a"), ""), 403);
    until_it_logs(&server, "DEBUG refused");
    let large = "x".repeat(126);
    open.expect_echo(&large);
    let mut other = RawClient::connect(server.addr);
    upgrade(&mut other, "/echo", &page("b"));
    assert_eq!(upgrade_status(server.addr, &page("b"), ""), 503);
    other.send(wire::text(&large));
    other.expect_close(1009);

    // What the file says no more is at its default again.
    dir.configure("max-connections = 9\n");
    server.signal(Signal::HUP);
    let expected = "reloaded; changed: allow-origin, max-connections, max-message-bytes, verbose";
    until_it_logs(&server, expected);
    assert_eq!(upgrade_status(server.addr, &page("b"), ""), 403);
    open.expect_echo(&large);
    // Nothing of that was logged.
    assert_eq!(reload(&server), ["INFO reloaded; nothing changed"]);
}

#[test]
fn a_flag_outweighs_the_file_still() {
    let dir = Dir::new("outweighed");
    dir.configure("history = 1\nverbose = 0\n");
    let mut command = command(&["--config", "wsfast.toml", "--history", "7", "--port", "0"]);
    let server = Process::spawn(command.current_dir(&dir.0).env("WSFAST_DRAIN", "7s"));
    dir.configure("history = 2\ndrain = '2s'\nlisten = '127.0.0.1:1'\nkeep-alive = '1m'\n");
    assert_eq!(reload(&server), ["INFO reloaded; changed: keep-alive"]);
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_is_reloaded() {
    let dir = Dir::new("restart");
    let server = dir.serve("ping-interval = '1h'\n");
    let addr = server.addr;
    dir.configure("ping-interval = '1h'\nbind = '127.0.0.2'\ndrain = '9s'\n");
    let warning = "WARN bind changed in the file but needs a restart";
    assert_eq!(reload(&server), ["INFO reloaded; changed: drain", warning]);
    RawClient::open(addr).expect_echo("here still");
    assert_eq!(reload(&server), ["INFO reloaded; nothing changed", warning]);

    dir.write("wsfast.toml", "listen = '127.0.0.1:0'\nmemory-limit = '64M'\ndrain = '9s'\n");
    let warning = "WARN bind, listen, memory-limit, ping-interval, port changed in the file but need a restart";
    assert_eq!(reload(&server), ["INFO reloaded; nothing changed", warning]);
    RawClient::open(addr).expect_echo("and still");
    dir.configure("ping-interval = '1h'\ndrain = '9s'\n");
    assert_eq!(reload(&server), ["INFO reloaded; nothing changed"]);
}

/// The mistakes are those of `wsfast check`, and none lets the rest of the file through.
#[test]
fn a_mistake_changes_nothing_and_names_file_and_key() {
    let dir = Dir::new("mistakes");
    let server = dir.serve("publish-key = 'first-key-of-all'\n");
    let mut open = RawClient::open(server.addr);
    let file = dir.path("wsfast.toml");
    for (text, expected) in [
        ("port = ", ":1: is not TOML (string values must be quoted, expected literal string); "),
        ("drian = '1s'", ":1: there is no setting 'drian'; did you mean drain?"),
        ("drain = '25h'", ":1: drain is 25h; it must be between 0 and 24h"),
        ("jwt-secret = '@nowhere'", ":1: jwt-secret '@nowhere' cannot be read ("),
        ("jwt-secret = 'hunter2'", ":1: jwt-secret is shorter than 16 bytes, "),
        ("tls-cert = 'a'", ":1: tls-cert needs --tls-key, too; "),
        (
            "listen = 'tls:127.0.0.1:0'",
            ":1: listen tls:127.0.0.1:0 needs a certificate and its key: ",
        ),
        (
            "proxy-protocol = 'v1'\nbind = '::1'",
            ":1: proxy-protocol needs to know whom to believe; ",
        ),
        ("memory-limit = '1M'", ":1: memory-limit 1M is too little: "),
        ("max-connections = 16777216", ":1: max-connections 16777216 needs 16777312 open files, "),
    ] {
        dir.write("wsfast.toml", &format!("{text}\nallow-origin = '*'\npublish-key = []\n"));
        server.signal(Signal::HUP);
        let line = until_it_logs(&server, "not reloaded: ");
        let expected = format!("WARN not reloaded: wsfast.toml{expected}");
        assert!(line.contains(&expected), "{line} is not {expected}");
        assert!(line.ends_with("; everything stays as it was\n"), "{line}");
        assert!(!line.contains("hunter2"), "{line}");
        // Descriptors are the running process'.
        if !text.starts_with("max-connections") {
            let check = run(&["check", "--config", &file]);
            let (_, mistake) = line.split_once("wsfast.toml").unwrap();
            let mistake = mistake.strip_suffix("; everything stays as it was\n").unwrap();
            assert_eq!(check.stderr, format!("wsfast: {file}{mistake}\n"));
            assert_eq!(check.status.code(), Some(2));
        }
        assert_eq!(upgrade_status(server.addr, "Origin: https://a.example\r\n", ""), 403);
        let lines = "X-API-Key: first-key-of-all\r\nContent-Length: 0\r\n";
        assert_eq!(request(server.addr, "POST /t", lines).status, 200);
        open.expect_echo(text);
    }
    fs::remove_file(&file).unwrap();
    server.signal(Signal::HUP);
    let line = until_it_logs(&server, "not reloaded: ");
    assert!(line.contains("--config 'wsfast.toml' cannot be read (No such file"), "{line}");
    dir.configure("publish-key = 'first-key-of-all'\n");
    assert_eq!(reload(&server), ["INFO reloaded; nothing changed"]);
}

/// A limit that would not fit into the memory that the running server may take, whatever the file says of that.
#[test]
fn what_the_running_server_cannot_hold_is_refused() {
    let dir = Dir::new("memory");
    let server = dir.serve("memory-limit = '64M'\n");
    dir.configure("memory-limit = '4G'\nmax-message-bytes = '64M'\ndrain = '1s'\n");
    server.signal(Signal::HUP);
    let line = until_it_logs(&server, "not reloaded: ");
    assert!(line.contains("--memory-limit 64M is too little: "), "{line}");
    assert!(line.contains("; another --memory-limit needs a restart; everything stays"), "{line}");
    dir.configure("memory-limit = '4G'\nmax-message-bytes = '2M'\n");
    let warning = "WARN memory-limit changed in the file but needs a restart";
    assert_eq!(reload(&server), ["INFO reloaded; changed: max-message-bytes", warning]);
}

#[test]
fn the_certificate_and_the_file_are_reloaded_in_one_go() {
    let dir = Dir::new("tls");
    let (old, renewed) = (Pair::new(), Pair::new());
    dir.write_pair("old", &old);
    let server = dir.serve("tls-cert = 'old.crt'\ntls-key = 'old.key'\n");
    let mut open = TlsClient::open(server.addr, &old.client(&TLS13));
    dir.write_pair("new", &renewed);
    // Another path, and a mistake: the old pair stays.
    dir.configure("tls-cert = 'new.crt'\ntls-key = 'old.key'\ndrain = '1s'\n");
    server.signal(Signal::HUP);
    let line = until_it_logs(&server, "not reloaded: ");
    assert!(line.contains("wsfast.toml:3: tls-key 'old.key' holds a key that is not"), "{line}");
    TlsClient::open(server.addr, &old.client(&TLS13)).expect_echo("old");

    dir.configure("tls-cert = 'new.crt'\ntls-key = 'new.key'\ndrain = '1s'\n");
    assert_eq!(reload(&server), ["INFO reloaded; changed: drain, tls-cert, tls-key"]);
    TlsClient::open(server.addr, &renewed.client(&TLS13)).expect_echo("new");
    open.expect_echo("still here");

    dir.configure("drain = '2s'\n");
    let warning = "WARN tls-cert, tls-key changed in the file but need a restart";
    assert_eq!(reload(&server), ["INFO reloaded; changed: drain", warning]);
    TlsClient::open(server.addr, &renewed.client(&TLS13)).expect_echo("new still");
}

/// Read again it would be empty, and no key would be asked for any more.
#[test]
fn a_file_that_is_a_pipe_is_not_read_again() {
    let (reader, mut writer) = io::pipe().unwrap();
    writer.write_all(b"port = 0\npublish-key = 'first-key-of-all'\n").unwrap();
    drop(writer);
    let server = Process::spawn(command(&["--config", "/dev/stdin"]).stdin(reader));
    server.signal(Signal::HUP);
    let line = until_it_logs(&server, "not reloaded: ");
    assert!(line.contains("--config '/dev/stdin' is no regular file"), "{line}");
    assert_eq!(request(server.addr, "POST /t", "Content-Length: 0\r\n").status, 401);
}

/// Sends SIGHUP; what is logged on it, levels and texts, with nothing before.
#[track_caller]
fn reload(server: &Process) -> Vec<String> {
    server.signal(Signal::HUP);
    let mut said = vec![bare(&server.next_log_line())];
    // Whether there is a warning shows when the next line is known: that of a mistake which is none of the file's.
    if said[0].contains("reloaded") {
        server.signal(Signal::HUP);
        loop {
            let line = bare(&server.next_log_line());
            if line.starts_with("INFO reloaded; nothing changed") {
                break;
            }
            said.push(line);
        }
        if said.len() > 1 {
            assert_eq!(Some(&bare(&server.next_log_line())), said.last());
        }
    }
    said
}

/// A line without its time.
fn bare(line: &str) -> String {
    line.trim_end().split_once(' ').unwrap().1.trim_start().to_owned()
}

#[track_caller]
fn until_it_logs(server: &Process, text: &str) -> String {
    loop {
        let line = server.next_log_line();
        if line.contains(text) {
            return line;
        }
    }
}

/// The status of an opening handshake for `/t`, with a token if there is one.
fn upgrade_status(addr: SocketAddr, lines: &str, token: &str) -> u16 {
    let mut client = RawClient::connect(addr);
    let target = if token.is_empty() { "/t".to_owned() } else { format!("/t?token={token}") };
    client.send(wire::request_with(lines).replacen("GET /", &format!("GET {target}"), 1));
    client.response().status
}

/// A token for every topic, valid for ever.
fn token(secret: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!(
        "{}.{}",
        part(r#"{"alg":"HS256"}"#),
        part(r#"{"subscribe":["*"],"publish":["*"]}"#)
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A directory with `wsfast.toml`, that is removed with its test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("reload-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn write_pair(&self, name: &str, pair: &Pair) {
        self.write(&format!("{name}.crt"), &pair.cert_pem);
        self.write(&format!("{name}.key"), &pair.key_pem);
    }

    /// Writes the file of settings, with any free port.
    fn configure(&self, text: &str) {
        self.write("wsfast.toml", &format!("port = 0\n{text}"));
    }

    fn serve(&self, text: &str) -> Process {
        self.configure(text);
        Process::spawn(command(&["--config", "wsfast.toml"]).current_dir(&self.0))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _left_over = fs::remove_dir_all(&self.0);
    }
}
