//! `wsfast pub` and `wsfast sub`: the real binary against the real binary, and against servers that misbehave.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::DEADLINE;
use crate::support::client::RawClient;
use crate::support::process::{Output, Process, Tool, command, run, run_command};
use crate::support::tls::Pair;
use crate::support::wire::{self, PING};

#[test]
fn what_is_published_in_any_way_is_printed() {
    let server = Process::start(&["--max-message-bytes", "2M", "--topic-bytes", "2M"]);
    let text = sub(server.addr, "/chat", &["--count", "5"]);
    let json = sub(server.addr, "/chat", &["--format", "json", "--timeout", "100ms"]);
    let raw = sub(server.addr, "/chat", &["--format=raw", "--count=3"]);
    let mut curl = RawClient::connect(server.addr);
    curl.send("POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(curl.response().status, 200);
    assert_eq!(text.line(), "hello");
    let line = json.line();
    let epoch = line.split(['"', ':']).nth(4).unwrap().to_owned();
    assert_eq!(line, format!(r#"{{"id":"{epoch}:1","text":"hello"}}"#));
    let url = url(server.addr, "/chat").replace("ws://", "http://");
    let published = run(&["pub", &url, "one\ntwo", "--ids", "", "--", "-3"]);
    assert_eq!(published.stdout, format!("{epoch}:2\n{epoch}:3\n{epoch}:4\n"));
    check(&published, 0, "");
    let lines = [text.line(), text.line(), text.line(), text.line()];
    assert_eq!(lines, ["one", "two", "", "-3"]);
    assert_eq!(json.line(), format!(r#"{{"id":"{epoch}:2","text":"one\ntwo"}}"#));
    assert_eq!((json.line(), json.line()).1, format!(r#"{{"id":"{epoch}:4","text":"-3"}}"#));
    let raw = raw.wait();
    assert_eq!((raw.status.code(), &*raw.stdout), (Some(0), "helloone\ntwo"));
    // Lines of any kind, the last without an end; larger than any buffer.
    let large = "x".repeat(1_500_000);
    let input = format!("\r\n{large}\n\u{e9}").into_bytes();
    let input = [&input[..input.len() - 1], b"\xFF"].concat();
    check(&publish(server.addr, "/chat", &[], &input), 0, "");
    assert_eq!(json.line(), format!(r#"{{"id":"{epoch}:5","text":""}}"#));
    assert_eq!(json.line(), format!(r#"{{"id":"{epoch}:6","text":"{large}"}}"#));
    assert_eq!(json.line(), format!(r#"{{"id":"{epoch}:7","base64":"w/8="}}"#));
    let text = text.wait();
    assert_eq!((text.status.code(), &*text.stdout), (Some(0), "\n"));
    json.signal(Signal::INT);
    assert_eq!(json.wait().status.code(), Some(0));
}

/// From where the topic stood when it began, be it before the first message.
#[test]
fn what_comes_between_two_connections_is_not_lost() {
    let server = Process::start(&[]);
    let proxy = Proxy::start(server.addr);
    for topic in ["/fresh", "/old"] {
        if topic == "/old" {
            check(&publish(server.addr, topic, &[], b"before"), 0, "");
        }
        proxy.cut_behind(usize::MAX);
        let listener = sub(proxy.addr, topic, &["--count", "3"]);
        proxy.cut_behind(0);
        proxy.cut_all();
        listener.until_it_says("trying again");
        check(&publish(server.addr, topic, &[], b"1\n2\n3\n"), 0, "");
        proxy.cut_behind(usize::MAX);
        let output = listener.wait();
        assert_eq!(output.stdout, "1\n2\n3\n");
        assert!(output.stderr.contains("listening again to"), "{}", output.stderr);
    }
}

#[test]
fn a_listener_that_is_cut_off_misses_and_doubles_nothing() {
    const COUNT: usize = 2000;
    let server = Process::start(&["--history", "4096"]);
    let proxy = Proxy::start(server.addr);
    let listener = sub(proxy.addr, "/t", &["--count", "2000"]);
    let addr = server.addr;
    // At odd places: in the handshake's answer, in headers, in messages.
    proxy.cut_behind_random();
    proxy.cut_all();
    let speaker = thread::spawn(move || {
        let mut speaker = RawClient::connect(addr);
        for number in 0..COUNT {
            let body = format!("message {number} {}", "x".repeat(number % 97));
            speaker.send(format!(
                "POST /t HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
            assert_eq!(speaker.response().status, 200);
        }
    });
    for number in 0..COUNT {
        assert_eq!(listener.line(), format!("message {number} {}", "x".repeat(number % 97)));
    }
    speaker.join().unwrap();
    let output = listener.wait();
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), ""));
    assert!(!output.stderr.contains("lost"), "{}", output.stderr);
    let cuts = proxy.accepted.load(Ordering::Relaxed);
    assert!(cuts > 20, "{cuts}");
}

#[test]
fn a_restart_is_survived_and_what_it_took_is_said() {
    let server = Process::start(&[]);
    let addr = server.addr;
    let listener = sub(addr, "/t", &[]);
    check(&publish(addr, "/t", &[], b"before"), 0, "");
    assert_eq!(listener.line(), "before");
    server.signal(Signal::KILL);
    drop(server);
    listener.until_it_says("trying again");
    let server = Process::spawn(&mut command(&["--port", &addr.port().to_string()]));
    let said = listener.until_it_says("lost");
    assert!(said.contains("having been restarted perhaps"), "{said}");
    check(&publish(server.addr, "/t", &[], b"after"), 0, "");
    assert_eq!(listener.line(), "after");
    // Draining is no reason to leave either.
    server.signal(Signal::TERM);
    listener.until_it_says("the server is going down (1001); trying again");
}

#[test]
fn what_is_gone_is_said() {
    let server = Process::start(&["--history", "10"]);
    let ids = publish(server.addr, "/t", &["-v"], "x\n".repeat(30).as_bytes()).stdout;
    let fifth = ids.lines().nth(4).unwrap();
    let listener = sub(server.addr, "/t", &["--count=10", "--since", fifth]);
    let output = listener.wait();
    assert_eq!(output.stdout, "x\n".repeat(10));
    let said = format!("wsfast: 15 messages are lost, those behind {fifth} up to ");
    assert!(output.stderr.contains(&said), "{}", output.stderr);
    let latest = sub(server.addr, "/t?since=last:2", &["--count=2", "--format=json"]).wait();
    assert!(latest.stdout.contains(ids.lines().last().unwrap()), "{}", latest.stdout);
}

#[test]
fn many_lines_arrive_whole_and_in_order() {
    const COUNT: usize = 10_000;
    let server = Process::start(&["--history", "20000", "--topic-bytes", "16M"]);
    let input: String = (0..COUNT).map(|number| format!("line {number}\n")).collect();
    let output = publish(server.addr, "/t", &["--ids"], input.as_bytes());
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), ""));
    let offsets = output.stdout.lines().map(|id| id.split_once(':').unwrap().1.parse().unwrap());
    assert_eq!(offsets.collect::<Vec<usize>>(), (1..=COUNT).collect::<Vec<_>>());
    let count = COUNT.to_string();
    assert_eq!(sub(server.addr, "/t", &["--since=all", "--count", &count]).wait().stdout, input);
}

/// The connection's last answer is its refusal; what was under way behind it is sent again.
#[test]
fn a_message_too_large_is_the_only_one_that_is_missing() {
    let server = Process::start(&["--max-message-bytes", "1000"]);
    let large = "x".repeat(1001);
    let output =
        publish(server.addr, "/t", &[], format!("one\n{large}\ntwo\n{large}\nthree").as_bytes());
    check(
        &output,
        4,
        "wsfast: line 2 of 1001 bytes is not published: the body is larger than max-message-bytes (status 413)\n\
         wsfast: line 4 of 1001 bytes is not published: the body is larger than max-message-bytes (status 413)\n",
    );
    let heard = sub(server.addr, "/t", &["--since=all", "--count=3"]).wait().stdout;
    assert_eq!(heard, "one\ntwo\nthree\n");
}

/// What is idle for longer than the server likes is not trusted with a message.
#[test]
fn a_connection_that_was_ended_meanwhile_costs_no_message() {
    let server = Process::start(&["--keep-alive", "50ms"]);
    let mut command = command(&["pub", "-v", &url(server.addr, "/t")]);
    let mut publisher = Tool::start(command.stdin(Stdio::piped()));
    let mut stdin = publisher.child.stdin.take().unwrap();
    for _ in 0..5 {
        stdin.write_all(b"line\n").unwrap();
        publisher.line();
        // Those that fell idle later are ended later: not all in one turn, if there are two in a row.
        for _ in 0..2 {
            let mut witness = RawClient::connect(server.addr);
            witness.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert_eq!(witness.response().status, 200);
            witness.expect_eof();
        }
    }
    drop(stdin);
    check(&publisher.wait(), 0, "");
    assert_eq!(
        sub(server.addr, "/t", &["--since=all", "--count=5"]).wait().stdout,
        "line\n".repeat(5)
    );
}

#[test]
fn an_answer_that_does_not_come_is_in_doubt() {
    for (answers, expected) in [(0, "lines 1 to 3 was"), (1, "lines 2 to 3 was"), (2, "line 3 was")]
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let mut client = RawClient { stream: listener.accept().unwrap().0, buf: Vec::new() };
            client.until(b"three");
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            client.send(answer.repeat(answers));
        });
        let output = publish(addr, "/t", &[], b"one\ntwo\nthree\n");
        server.join().unwrap();
        check(
            &output,
            4,
            &format!(
                "wsfast: ws://{addr}/t: the server ended the connection; whether {expected} published is not known, \
                 and what follows is not\n"
            ),
        );
    }
}

/// Whoever is between may answer and keep the connection, and what is behind may have got through.
#[test]
fn what_is_behind_a_refusal_is_in_doubt_unless_it_was_the_last() {
    for (line, expected) in [
        ("Connection: close\r\n", "lines 1 to 3 and what follows is not published"),
        ("", "line 1 is not published, and whether those up to 3 are is not known"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let mut client = RawClient { stream: listener.accept().unwrap().0, buf: Vec::new() };
            client.until(b"three");
            client.send(format!(
                "HTTP/1.1 403 Forbidden\r\n{line}Content-Length: 8\r\n\r\n\x1b[1mno\nx"
            ));
        });
        let output = publish(addr, "/t", &[], b"one\ntwo\nthree\n");
        server.join().unwrap();
        let said = format!("wsfast: ws://{addr}/t: \\u{{1b}}[1mno (status 403); {expected}\n");
        check(&output, 3, &said);
    }
}

/// A message of which half was written is in doubt, and nothing is written behind it.
#[test]
fn a_connection_that_breaks_in_a_message_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let mut client = RawClient { stream: listener.accept().unwrap().0, buf: Vec::new() };
        client.until(b"Content-Length: ");
        client.reset();
        // Nobody comes again.
        listener.set_nonblocking(true).unwrap();
        listener
    });
    let large = "x".repeat(20 << 20);
    let output = publish(addr, "/t", &[], format!("{large}\ntwo\n").as_bytes());
    let listener = server.join().unwrap();
    assert!(
        output.stderr.contains("whether line 1 was published is not known"),
        "{}",
        output.stderr
    );
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn who_is_refused_is_told_why() {
    let server = Process::start(&["--jwt-secret", "a secret of more than sixteen bytes"]);
    let url = url(server.addr, "/t");
    let refused = run(&["sub", &url]);
    let reason = refused.stderr.strip_prefix(&format!("wsfast: {url}: ")).unwrap();
    assert!(reason.ends_with(" (status 401)\n") && reason.len() > 20, "{reason}");
    assert_eq!((refused.status.code(), &*refused.stdout), (Some(3), ""));
    for args in [&["sub", &url, "--since=all"][..], &["pub", &url, "hello"]] {
        let output = run_command(command(args).env("WSFAST_TOKEN", "a.b.c"));
        assert!(output.stderr.contains("(status 401)"), "{}", output.stderr);
        assert!(!output.stderr.contains("a.b.c"), "{}", output.stderr);
        assert_eq!(output.status.code(), Some(3));
    }
    // A path that is no topic, and a port that nobody is at.
    let server = Process::start(&[]);
    for since in [&[][..], &["--since=all"]] {
        let url = self::url(server.addr, "/echo");
        let output = run(&[&["sub", &url], since].concat());
        let said = "there is no topic at this path (wsfast.meta is not spoken)";
        check(&output, 3, &format!("wsfast: {url}: {said}\n"));
    }
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = self::url(nowhere, "/t");
    check(&run(&["sub", &url]), 3, &format!("wsfast: {url}: nobody listens there\n"));
    check(
        &run(&["pub", &url, "hello"]),
        3,
        &format!("wsfast: {url}: nobody listens there; nothing is published\n"),
    );
    check(
        &run(&["pub", &url, "--header", "Host: x", "hello"]),
        2,
        "wsfast: no request can be made of this (header that the handshake itself writes); look at --header, --token \
         and --key\n",
    );
}

#[test]
fn keys_and_tokens_come_from_files_too() {
    let key = "the-key-of-the-operator";
    let server = Process::start(&["--publish-key", key]);
    let dir = temp_dir("key");
    let path = dir.join("key");
    fs::write(&path, format!("{key}\n")).unwrap();
    let key_file = format!("@{}", path.display());
    assert_eq!(publish(server.addr, "/t", &[], b"x").status.code(), Some(3));
    check(&publish(server.addr, "/t", &["--key", &key_file], b"by key"), 0, "");
    check(&publish(server.addr, "/t", &["--token", key], b"by token"), 0, "");
    let output = sub(server.addr, "/t", &["--since=all", "--count=2"]).wait();
    assert_eq!(output.stdout, "by key\nby token\n");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_server_that_falls_silent_is_asked_and_left() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let mut command = command(&["sub", &url(addr, "/t"), "--since=all", "--timeout", "50ms"]);
    let tool = Tool::start(&mut command);
    for _ in 0..2 {
        let mut client = RawClient { stream: listener.accept().unwrap().0, buf: Vec::new() };
        let head = client.until(b"\r\n\r\n");
        let key = head.split_once("Sec-WebSocket-Key: ").unwrap().1.lines().next().unwrap();
        client.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Protocol: wsfast.meta\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            wire::accept_of(key)
        ));
        tool.until_it_says("listening");
        let asked = client.read_to_eof();
        assert_eq!(asked[..2], [wire::FIN | PING, 0x80], "{}", asked.escape_ascii());
        assert_eq!(asked.len(), 6);
        tool.until_it_says("the server does not answer; trying again");
    }
}

/// As `| head -1` does it.
/// Heads that are only on the way to an answer, without end; an answer of which a byte comes now and then: neither is waited for
/// for ever.
#[test]
fn an_answer_that_never_comes_is_not_waited_for() {
    const INTERIM: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let without_end: fn(&mut TcpStream) = |stream| while stream.write_all(INTERIM).is_ok() {};
    let drop_by_drop: fn(&mut TcpStream) = |stream| {
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut head = b"HTTP/1.1 200 OK\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
        // Until the client has ended; each look at that takes its time.
        while !matches!(stream.read(&mut [0; 4096]), Ok(0))
            && stream.write_all(&[*head.next().unwrap()]).is_ok()
        {}
    };
    for (misbehave, expected) in [
        (without_end, "what answers there is no wsfast server"),
        (drop_by_drop, "the server does not answer"),
    ] {
        for (command, more) in [("sub", None), ("pub", Some("hello"))] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = url(listener.local_addr().unwrap(), "/t");
            let server = thread::spawn(move || misbehave(&mut listener.accept().unwrap().0));
            let output = run(&[&[command, "--timeout", "500ms", &url], more.as_slice()].concat());
            assert!(output.stderr.contains(expected), "{command}: {}", output.stderr);
            server.join().unwrap();
        }
    }
}

/// A proxy may say that it is on its way, in front of each answer and of the handshake's.
#[test]
fn what_is_on_the_way_to_an_answer_is_passed_over() {
    let server = Process::start(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap();
    let addr = server.addr;
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let to = TcpStream::connect(addr).unwrap();
            let (mut from, mut back) = (to.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut &client, &mut &to));
            thread::spawn(move || {
                let mut buf = [0; 65_536];
                while let Ok(len @ 1..) = from.read(&mut buf) {
                    if buf.starts_with(b"HTTP/1.1 ") {
                        back.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").unwrap();
                    }
                    back.write_all(&buf[..len]).unwrap();
                }
            });
        }
    });
    let heard = sub(proxy, "/t", &["--count", "2"]);
    check(&publish(proxy, "/t", &[], b"one\ntwo\n"), 0, "");
    assert_eq!([heard.line(), heard.line()], ["one", "two"]);
}

#[test]
fn nobody_who_reads_is_a_reason_to_leave() {
    let server = Process::start(&[]);
    let mut child = command(&["sub", &url(server.addr, "/t"), "--since=all"]).spawn().unwrap();
    drop(child.stdout.take());
    check(&publish(server.addr, "/t", &[], b"hello"), 0, "");
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(said, format!("wsfast: listening to {}\n", url(server.addr, "/t")));
}

#[test]
fn wss_is_spoken_with_who_is_vouched_for() {
    let dir = temp_dir("wss");
    let (pair, other) = (Pair::new(), Pair::new());
    let write = |name: &str, pem: &str| {
        let path = dir.join(name);
        fs::write(&path, pem).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let cert = write("cert.pem", &pair.cert_pem);
    let key = write("key.pem", &pair.key_pem);
    let other = write("other.pem", &other.cert_pem);
    let server = Process::start(&["--tls-cert", &cert, "--tls-key", &key]);
    let url = format!("wss://localhost:{}/t", server.addr.port());
    let input: String = (0..1000).map(|number| format!("line {number}\n")).collect();
    let published = run_with(&mut command(&["pub", &url, "--cacert", &cert]), input.as_bytes());
    check(&published, 0, "");
    let heard = run(&["sub", &url, "--cacert", &cert, "--since=all", "--count=1000"]);
    assert_eq!((heard.status.code(), heard.stdout), (Some(0), input));
    for (command, said) in [
        (&mut command(&["sub", &url, "--cacert", &other]), "nobody who is trusted vouches"),
        (command(&["sub", &url]).env("SSL_CERT_FILE", &other), "nobody who is trusted vouches"),
        (
            &mut command(&["sub", &url.replace("localhost", "127.0.0.1"), "--cacert", &cert]),
            "is for another host",
        ),
        (&mut command(&["sub", &url.replace("wss", "ws")]), "this port speaks TLS"),
    ] {
        let output = run_command(command);
        assert!(output.stderr.contains(said), "{}", output.stderr);
        assert_eq!(output.status.code(), Some(3), "{}", output.stderr);
    }
    let none = run(&["sub", &url, "--cacert", &key]);
    assert!(none.stderr.starts_with("wsfast: --cacert has no certificates"), "{}", none.stderr);
    assert_eq!(none.status.code(), Some(2));
    fs::remove_dir_all(dir).unwrap();
}

/// It ended with this code, and said this on stderr.
#[track_caller]
fn check(output: &Output, code: i32, stderr: &str) {
    assert_eq!(output.stderr, stderr);
    assert_eq!(output.status.code(), Some(code));
}

/// A listener that listens.
fn sub(addr: SocketAddr, target: &str, args: &[&str]) -> Tool {
    let tool = Tool::start(command(&["sub", &url(addr, target)]).args(args));
    tool.until_it_says("listening to");
    tool
}

/// `wsfast pub` with this standard input.
fn publish(addr: SocketAddr, target: &str, args: &[&str], input: &[u8]) -> Output {
    run_with(command(&["pub", &url(addr, target)]).args(args), input)
}

fn run_with(command: &mut Command, input: &[u8]) -> Output {
    let mut tool = Tool::start(command.stdin(Stdio::piped()));
    let mut stdin = tool.child.stdin.take().unwrap();
    let input = input.to_vec();
    // It may end before it has read all.
    let writer = thread::spawn(move || {
        let _gone = stdin.write_all(&input);
    });
    let output = tool.wait();
    writer.join().unwrap();
    output
}

fn url(addr: SocketAddr, target: &str) -> String {
    format!("ws://{addr}{target}")
}

fn temp_dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("wsfast-client-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// Passes on what is said between clients and a server, and cuts them off.
struct Proxy {
    addr: SocketAddr,
    /// Connections so far.
    accepted: Arc<AtomicUsize>,
    rule: Arc<Mutex<Rule>>,
}

struct Rule {
    /// Bytes to the client after which a connection is cut.
    bytes_max: usize,
    /// Where the places to cut at come from; `None`: it is always the same.
    random: Option<u64>,
    open: Vec<TcpStream>,
}

impl Proxy {
    fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let rule = Rule { bytes_max: usize::MAX, random: None, open: Vec::new() };
        let rule = Arc::new(Mutex::new(rule));
        let (counter, rules) = (Arc::clone(&accepted), Arc::downgrade(&rule));
        thread::spawn(move || {
            // The connection that `drop` makes is the last.
            while let Ok((client, _)) = listener.accept() {
                let Some(rule) = rules.upgrade() else { return };
                counter.fetch_add(1, Ordering::Relaxed);
                let upstream = TcpStream::connect(server).unwrap();
                let mut rule = rule.lock().unwrap();
                let bytes_max = rule.next_bytes_max();
                rule.open.extend([client.try_clone().unwrap(), upstream.try_clone().unwrap()]);
                drop(rule);
                let pair = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                thread::spawn(move || pass_on(&pair.0, &pair.1, usize::MAX));
                thread::spawn(move || pass_on(&upstream, &client, bytes_max));
            }
        });
        Self { addr, accepted, rule }
    }

    fn cut_behind(&self, bytes_max: usize) {
        self.rule.lock().unwrap().bytes_max = bytes_max;
    }

    fn cut_behind_random(&self) {
        self.rule.lock().unwrap().random = Some(1);
    }

    fn cut_all(&self) {
        for stream in self.rule.lock().unwrap().open.drain(..) {
            let _gone = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut_all();
        self.rule = Arc::new(Mutex::new(Rule { bytes_max: 0, random: None, open: Vec::new() }));
        let _woken = TcpStream::connect_timeout(&self.addr, DEADLINE);
    }
}

impl Rule {
    fn next_bytes_max(&mut self) -> usize {
        let Some(random) = &mut self.random else { return self.bytes_max };
        // Knuth's MMIX; its high bits are good enough for this.
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        100 + usize::try_from(*random >> 33).unwrap() % 8000
    }
}

/// Copies at most `bytes_max` bytes, and then cuts both off.
fn pass_on(mut from: &TcpStream, mut to: &TcpStream, bytes_max: usize) {
    let mut buf = [0; 4096];
    let mut left = bytes_max;
    while left > 0 {
        let room = left.min(buf.len());
        match from.read(&mut buf[..room]) {
            Ok(len) if len > 0 && to.write_all(&buf[..len]).is_ok() => left -= len,
            _ => break,
        }
    }
    for stream in [from, to] {
        let _gone = stream.shutdown(Shutdown::Both);
    }
}
