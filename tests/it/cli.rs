//! The binary's command line: what it prints, what it refuses, and with which exit code.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::client::RawClient;
use crate::support::process::{Output, Process, command, run, run_command};
use crate::support::wire;

#[test]
fn it_prints_where_it_listens_and_to_whom_it_is_open_and_nothing_else() {
    let server = Process::start(&["--max-connections", "7"]);
    assert!(server.addr.ip().is_loopback());
    assert_ne!(server.addr.port(), 0);
    RawClient::open(server.addr).expect_echo("hello");
    let expected =
        format!("wsfast {} listening on ws://{}\n", env!("CARGO_PKG_VERSION"), server.addr);
    assert_eq!(server.first_line, expected);
    server.signal(Signal::TERM);
    let output = server.wait();
    let (access, limit) = output.stdout.split_once("ulimit -n ").unwrap();
    assert_eq!(
        access,
        "to subscribe: anyone (--jwt-secret); to publish over HTTP: this machine (--publish-key, --jwt-secret); by message: \
         this machine (--client-publish)\n\
         \"this machine\" is what comes without a sign of a proxy (X-Forwarded-For, Via, another Host): behind one that \
         shows none anyone publishes, so give --publish-key or --jwt-secret there\n\
         open to loopback addresses only (--listen), to pages of the same origin or of localhost (--allow-origin), to 7 \
         connections (--max-connections; "
    );
    let (number, rest) = limit.split_once(')').unwrap();
    assert!(number == "unlimited" || number.parse::<u64>().is_ok(), "{number}");
    assert_eq!(rest, "\n");
}

#[test]
fn a_port_that_is_taken_is_named_with_the_remedy() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let addr = taken.local_addr().unwrap();
    check_refusal(
        &run(&["--port", &addr.port().to_string()]),
        &format!(
            "cannot listen on {addr}: the port is taken; stop the program that has it, or take another with --port"
        ),
    );
}

#[test]
fn a_mistake_is_one_line_that_names_the_flag_and_the_fix() {
    for (args, expected) in [
        (&["--prot", "80"][..], "there is no flag '--prot'; did you mean --port?"),
        (&["--unheard-of"], "there is no flag '--unheard-of'; 'wsfast --help' lists them all"),
        (
            &["--port", "65536"],
            "--port '65536' is not a port; write a number from 1 to 65535, or 0 for any free port",
        ),
        (
            &["--ping-interval", "10"],
            "--ping-interval '10' has no unit; write ms, s, m or h behind it, such as 250ms or 10s",
        ),
        (
            &["--drain", "soon"],
            "--drain 'soon' is not a duration; write a whole number and a unit, such as 250ms, 10s, 2m or 1h",
        ),
        (
            &["--max-message-bytes", "1MB"],
            "--max-message-bytes '1MB' is ambiguous; write K, M or G for powers of 1024, or a plain number of bytes",
        ),
        (
            &["--max-message-bytes", "100"],
            "--max-message-bytes is 100; it must be between 125 and 1G",
        ),
        (
            &["--bind", "example.com"],
            "--bind 'example.com' is not an IP address; write one, such as 127.0.0.1, ::1, or 0.0.0.0 for all of IPv4",
        ),
        (
            &["--bind", "192.0.2.1", "--port", "0"],
            "cannot listen on 192.0.2.1:0: this machine does not have the address; 'ip address' lists those that --bind \
             can take",
        ),
        (
            &["--allow-origin", "example.com"],
            "--allow-origin 'example.com' has no scheme; write it as the page's address begins, such as \
             https://example.com",
        ),
        (&["--port"], "--port needs a value; see 'wsfast --help'"),
        (
            &["a\nb\u{1b}[31m"],
            "'a\\nb\\u{1b}[31m' belongs to no flag; 'wsfast --help' lists them all",
        ),
    ] {
        check_refusal(&run(args), expected);
    }
}

#[test]
fn more_connections_than_descriptors_are_refused_with_the_numbers() {
    for (limit, args, expected) in [
        (
            "200",
            "--max-connections 105",
            "--max-connections 105 needs 201 open files, and the limit is 200: raise it (ulimit -n 201, or LimitNOFILE= \
             in systemd), or ask for at most 104",
        ),
        (
            "40",
            "",
            "the limit of 40 open files leaves no room for connections: raise it to at least 97 (ulimit -n 97, or \
             LimitNOFILE= in systemd)",
        ),
    ] {
        check_refusal(&run_command(&mut under_limit(limit, args)), expected);
    }
}

#[test]
fn the_soft_limit_of_descriptors_is_raised_to_the_hard_one() {
    let server = Process::spawn(&mut under_limit("500 && ulimit -Sn 110", "--port 0"));
    server.signal(Signal::TERM);
    let access = server.wait().stdout;
    assert!(
        access.ends_with("to 404 connections (--max-connections; ulimit -n 500)\n"),
        "{access}"
    );
}

#[test]
fn a_variable_stands_for_its_flag_and_the_flag_wins() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken_port = taken.local_addr().unwrap().port().to_string();

    let by_variable = Process::spawn(command(&[]).env("WSFAST_PORT", "0"));
    RawClient::open(by_variable.addr).expect_echo("hello");

    let by_flag = Process::spawn(command(&["--port", "0"]).env("WSFAST_PORT", &taken_port));
    RawClient::open(by_flag.addr).expect_echo("hello");

    check_refusal(
        &run_command(command(&[]).env("WSFAST_PORT", "http")),
        "WSFAST_PORT 'http' is not a port; write a number from 1 to 65535, or 0 for any free port",
    );
}

#[test]
fn it_listens_on_several_addresses_of_both_families() {
    if TcpListener::bind(("::1", 0)).is_err() {
        eprintln!("not tested: this machine has no IPv6 loopback address");
        return;
    }
    let ipv6 = Process::start(&["--bind", "::1"]);
    assert!(ipv6.addr.is_ipv6());
    RawClient::open(ipv6.addr).expect_echo("hello");
    assert!(ipv6.first_line.contains("ws://[::1]:"), "{}", ipv6.first_line);

    let both = Process::start(&["--bind", "127.0.0.1", "--bind", "[::1]"]);
    let (_, second) = both.first_line.trim_end().split_once(", ws://").unwrap();
    for addr in [both.addr, second.parse::<SocketAddr>().unwrap()] {
        RawClient::open(addr).expect_echo("hello");
    }
}

#[test]
fn help_and_version_are_pages_on_stdout() {
    for (arg, begins) in [
        ("--help", "A fast server that pushes messages to browsers"),
        ("-h", "A fast server that pushes messages to browsers"),
        ("--version", concat!("wsfast ", env!("CARGO_PKG_VERSION"))),
        ("-V", concat!("wsfast ", env!("CARGO_PKG_VERSION"))),
    ] {
        let output = run(&[arg]);
        assert_eq!(output.status.code(), Some(0), "{arg}");
        assert!(output.stdout.starts_with(begins), "{arg}: {}", output.stdout);
        assert_eq!(output.stderr, "", "{arg}");
    }
    assert!(run(&["--help"]).stdout.contains("Exit codes:"));
}

/// As root any port can be had, so that the test becomes someone else there.
#[test]
fn a_privileged_port_is_refused_with_the_remedy() {
    let first_free = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if first_free.is_ok_and(|port| port.trim().parse::<u32>().unwrap() <= 1) {
        eprintln!("not tested: this machine has no privileged ports");
        return;
    }
    let mut unprivileged = command(&["--port", "1"]);
    if rustix::process::geteuid().is_root() {
        unprivileged.uid(NOBODY).gid(NOBODY);
    }
    if let Err(error) = unprivileged.spawn().map(|mut child| child.wait()) {
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        eprintln!("not tested: the binary lies where only root can start it");
        return;
    }
    check_refusal(
        &run_command(&mut unprivileged),
        "cannot listen on 127.0.0.1:1: not permitted; take a port from 1024 up with --port, or grant \
         CAP_NET_BIND_SERVICE",
    );
}

#[test]
fn pages_may_connect_by_their_origin() {
    let open = "Host: localhost:8002";
    for (args, host, origin, status) in [
        (&[][..], open, None, 101),
        (&[], open, Some("http://localhost:3000"), 101),
        (&[], open, Some("https://127.0.0.1"), 101),
        (&[], open, Some("http://[::1]:9"), 101),
        (&[], open, Some("https://example.com"), 403),
        (&[], open, Some("http://localhost.example.com"), 403),
        (&[], open, Some("null"), 403),
        (&[], open, Some("nonsense"), 403),
        // The page's own server, by a name of this machine's; others can be made to resolve to it.
        (&[], "Host: 127.7.7.7:8443", Some("https://127.7.7.7:8443"), 101),
        (&[], "Host: a.localhost", Some("http://a.localhost"), 101),
        (&[], "Host: example.com", Some("http://example.com"), 403),
        (&[], "Host: example.com", Some("http://localhost:3000"), 403),
        (&[], "Host: example.com", None, 101),
        (&["--bind", "0.0.0.0"], "Host: example.com", Some("http://example.com"), 101),
        (&["--bind", "0.0.0.0"], "Host: example.com:8443", Some("https://example.com:8443"), 101),
        (&["--bind", "0.0.0.0"], "Host: example.com:8443", Some("https://example.com"), 403),
        (&["--allow-origin", "https://example.com"], open, Some("https://example.com"), 101),
        (&["--allow-origin", "https://example.com"], open, Some("https://EXAMPLE.com:443"), 101),
        (&["--allow-origin", "https://example.com"], open, Some("http://example.com"), 403),
        (&["--allow-origin", "https://example.com"], open, Some("http://localhost"), 101),
        (&["--allow-origin", "https://a.example,null"], open, Some("null"), 101),
        (&["--allow-origin", "*"], open, Some("https://example.com"), 101),
        // Open to the network, localhost is just another page.
        (&["--bind", "0.0.0.0"], open, Some("http://localhost:3000"), 403),
        (&["--bind", "0.0.0.0"], open, Some("http://localhost:8002"), 101),
        (&["--bind", "0.0.0.0"], open, None, 101),
    ] {
        let server = Process::start(args);
        let mut addr = server.addr;
        addr.set_ip([127, 0, 0, 1].into());
        let mut client = RawClient::connect(addr);
        let origin_line = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
        client.send(wire::request_with(&origin_line).replace("Host: localhost", host));
        let response = client.response();
        assert_eq!(response.status, status, "{args:?} {host} {origin:?}: {}", response.body);
        if status == 403 {
            assert_eq!(response.body.lines().count(), 1, "{}", response.body);
            assert!(response.body.contains("rigin"), "{}", response.body);
            client.expect_eof();
        } else {
            client.expect_echo("hello");
        }
    }
}

/// It ended with 2 and exactly this line on stderr.
#[track_caller]
fn check_refusal(output: &Output, line: &str) {
    assert_eq!(output.stderr, format!("wsfast: {line}\n"));
    assert_eq!(output.stdout, "");
    assert_eq!(output.status.code(), Some(2));
}

/// The binary under a limit of open files, soft and hard.
fn under_limit(limit: &str, args: &str) -> Command {
    let binary = command(&[]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("ulimit -n {limit} && exec \"$0\" {args}")])
        .arg(binary.get_program());
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

/// nobody's number nearly everywhere; what matters is that it is not root's.
const NOBODY: u32 = 65_534;

/// Whatever a client writes into its request, the log has a line for it, and nothing in the line that steers a terminal.
#[test]
fn nothing_of_a_request_reaches_the_log_raw() {
    for format in ["text", "json"] {
        let server = Process::start(&["-v", "--log", format]);
        for (target, origin) in [
            ("/%1b%5b2J%0d%0a%c2%85%e2%80%ae", "https://example.com"),
            ("/t", "https://\u{1b}[31m\u{85}\u{202e}\u{2066}.example"),
            ("/t\u{1b}\u{85}\u{202e}", "https://example.com"),
        ] {
            let mut client = RawClient::connect(server.addr);
            client.send(format!(
                "GET {target} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n"
            ));
            assert!(client.response().status >= 400, "{target:?}");
        }
        // The first is the handler's to refuse, the others break rules before: each kind has had its line.
        let lines = [server.next_log_line(), server.next_log_line()];
        for line in &lines {
            let text = line.strip_suffix('\n').unwrap();
            assert!(text.is_ascii() && !text.contains(|c: char| c.is_control()), "{line:?}");
            assert!(text.contains("refused") && text.contains("status"), "{line:?}");
        }
        assert!(
            lines[0].contains("%1b%5b2J") && lines[0].contains("https://example.com"),
            "{lines:?}"
        );
    }
}
