//! SIGUSR2: the binary is executed anew, and nobody notices but those who are told.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use rustls::version::TLS13;
use wsfast::proto::handshake::{Request, Upgrade};
use wsfast::state::{Corrupt, Reader, Saved as _, Writer};
use wsfast::{
    Accept, Arrival, Context, Ended, Error, Handler, Kind, Listen, Message, PeerId, Refusal, Server,
};

use crate::support::ask as requests;
use crate::support::client::{RawClient, Witness};
use crate::support::flood::{Flood, connect_with_rcvbuf, open_with_rcvbuf};
use crate::support::process::{Process, command, run_command};
use crate::support::session::{ask, between, post};
use crate::support::tls::{Pair, TlsClient};
use crate::support::watch::{TRANSPORTS, get, listen, request, upgrade};
use crate::support::wire::{self, CONTINUATION, FIN, Frame, TEXT};
use crate::support::{DEADLINE, limits};

/// Wherever in a handshake or a message a connection is, it goes on there; and once more.
#[test]
fn a_connection_goes_on_where_it_was() {
    let server = Process::start(&[]);
    let addr = server.addr;
    let mut witness = Witness::new(addr);
    let text = "grüße, 日本語, and what else there is to say";
    let large: Vec<u8> = (0_u32..300_000).map(|at| at.to_le_bytes()[1]).collect();
    let post = format!(
        "POST /topic HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    // Each is sent in three parts, with a restart between them.
    let streams: [(Vec<u8>, [usize; 2]); 6] = [
        (wire::text(text), [1, 11]),
        (wire::text(text), [8, 9]),
        (wire::binary(&large), [5000, 200_000]),
        (
            [
                wire::masked(TEXT, &text.as_bytes()[..4]),
                wire::ping(b"between"),
                wire::masked(FIN | CONTINUATION, &text.as_bytes()[4..]),
            ]
            .concat(),
            [10, 15],
        ),
        (wire::request().into_bytes(), [3, 40]),
        (post.into_bytes(), [30, 90]),
    ];
    let mut clients: Vec<RawClient> = streams
        .iter()
        .map(|(bytes, _)| {
            let client = || RawClient::open(addr);
            if bytes[0].is_ascii_uppercase() { RawClient::connect(addr) } else { client() }
        })
        .collect();
    for part in 0..3 {
        for (client, (bytes, cuts)) in clients.iter_mut().zip(&streams) {
            let at = [0, cuts[0], cuts[1], bytes.len()];
            client.send(&bytes[at[part]..at[part + 1]]);
        }
        witness.round_trip();
        if part < 2 {
            restart(&server);
        }
    }
    clients[0].expect_text(text);
    clients[1].expect_text(text);
    clients[2].expect(&Frame::binary(&large));
    clients[3].expect(&Frame::pong(b"between"));
    clients[3].expect_text(text);
    clients[4].expect_open(wire::KEY);
    assert_eq!(clients[5].response().status, 200);
    // What they are now, they stay.
    restart(&server);
    for client in &mut clients[..5] {
        client.expect_echo("on we go");
    }
    get(&mut clients[5], "/topic?since=all", "");
    assert_eq!(clients[5].response().status, 200);
}

/// Neither what the server still has to send is lost, nor what it has not read.
#[test]
fn a_slow_reader_gets_every_byte() {
    let server = Process::start(&["--max-queue-bytes", "64k"]);
    let mut witness = Witness::new(server.addr);
    let mut client = open_with_rcvbuf(server.addr, 20 << 10);
    let flood = Flood::new(&[9_000, 20, 16_000]);
    let pushed = flood.push(&client, 100_000, &mut witness);
    assert!(pushed.count < 100_000);
    restart(&server);
    // Not all is unread for long, or the kernel tries again ever more rarely.
    flood.expect(&mut client, 0..20);
    restart(&server);
    let end = pushed.count + 50;
    thread::scope(|scope| {
        let stream = client.stream.try_clone().unwrap();
        let (flood, pushed) = (&flood, &pushed);
        scope.spawn(move || flood.send_on(&stream, pushed, end));
        flood.expect(&mut client, 20..end);
    });
    client.expect_echo("all there");
}

/// What was not made of an answer yet is made by the image that follows.
#[test]
fn a_history_goes_on() {
    let server = Process::start(&["--compression", "shared"]);
    let body = format!("\"{}\"", "\\u0001".repeat(15_000));
    for _ in 0..9 {
        post(server.addr, "/t", &body);
    }
    let asked = r#"{"channel":"t","limit":-1}"#;
    let mut reader = connect_with_rcvbuf(server.addr, 4096);
    reader.send(requests::post("/api/history", asked));
    let mut session = connect_with_rcvbuf(server.addr, 4096);
    session.send(wire::request().replacen("GET /", "GET /connection/websocket", 1));
    session.expect_open(wire::KEY);
    ask(&mut session, r#"{"connect":{},"id":1}"#);
    session.send(wire::text(&format!(r#"{{"history":{asked},"id":2}}"#)));
    assert!(session.is_readable_within(DEADLINE) && reader.is_readable_within(DEADLINE));
    restart(&server);
    let told = session.text();
    assert_eq!(told.matches(&body).count(), 9);
    restart(&server);
    let response = reader.response().body;
    assert_eq!(response.matches(&body).count(), 9);
    let list = |reply: &str| between(reply, r#""publications":["#, "]").to_owned();
    assert_eq!(list(&told), list(&response));
}

/// Where messages stand alone, a compressed one may be cut by a restart, and what was agreed on holds on.
#[test]
fn a_compressed_message_goes_on() {
    let server = Process::start(&["--compress-min-bytes", "10"]);
    let mut client = RawClient::connect(server.addr);
    upgrade(&mut client, "/", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    // RFC 7692 §7.2.3.1.
    let hello = wire::masked(FIN | TEXT | 0x40, &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00]);
    for cut in [1, 7, 9, hello.len()] {
        client.send(&hello[..cut]);
        restart(&server);
        client.send(&hello[cut..]);
        client.expect_text("Hello");
    }
    client.send(wire::text(&"again ".repeat(100)));
    let echo = client.frame();
    assert_eq!((echo.first, echo.payload.len() < 100), (FIN | TEXT | 0x40, true));
}

/// Closing handshakes end as they would have.
#[test]
fn a_connection_that_is_being_closed_is_closed() {
    let server = Process::start(&["--close-timeout", "1h"]);
    let mut client = RawClient::open(server.addr);
    let mut expelled = RawClient::connect(server.addr);
    upgrade(&mut expelled, "/connection/websocket", "");
    expelled.send(wire::text("no command"));
    expelled.expect_close(3501);
    client.send(&wire::close(1000, "")[..3]);
    restart(&server);
    client.send(&wire::close(1000, "")[3..]);
    client.expect_close(1000);
    client.expect_eof();
    expelled.send(wire::close(3501, ""));
    expelled.expect_eof();
}

#[test]
fn subscribers_of_every_transport_hear_on() {
    let server = Process::start(&["--admin", "127.0.0.1:0"]);
    let (addr, admin) = (server.addr, server.admin());
    let mut clients = TRANSPORTS.map(|transport| listen(addr, "news", transport));
    let mut poll = RawClient::connect(addr);
    let mut events = RawClient::connect(admin);
    get(&mut events, "/events", "Accept: application/x-ndjson\r\n");
    assert_eq!(events.response().status, 200);
    events.until(b"\n");
    let first = publish(addr, "one");
    expect_news(&mut clients, "one");
    get(&mut poll, "/news?wait=300", &format!("If-None-Match: \"{first}\"\r\n"));
    let before = connections(admin);
    assert_eq!(before.matches("\"id\"").count(), TRANSPORTS.len(), "{before}");

    restart(&server);
    // A request that waits is answered, and asks again.
    assert_eq!(poll.response().status, 204);
    let second = publish(addr, "two");
    expect_news(&mut clients, "two");
    get(&mut poll, "/news?wait=300", &format!("If-None-Match: \"{first}\"\r\n"));
    assert!(poll.response().body.contains(&second));
    // They are who they were, since when they were, and nobody joined.
    assert_eq!(connections(admin), before);
    let _late = listen(addr, "news", "websocket");
    let joined = events.until(b"\n");
    assert!(joined.contains(r#"\"join\""#) && joined.contains(r#"\"websocket\""#), "{joined}");

    // What was said before a restart can be had behind it, too, by who was away.
    restart(&server);
    let mut resumed = RawClient::connect(addr);
    upgrade(&mut resumed, &format!("/news?since={first}"), "");
    resumed.expect_text("two");
    let offset = first.split_once(':').unwrap();
    let mut recovers = RawClient::connect(addr);
    upgrade(&mut recovers, "/connection/websocket", "");
    recovers.send(wire::text(r#"{"connect":{},"id":1}"#));
    recovers.frame();
    recovers.send(wire::text(&format!(
        r#"{{"subscribe":{{"channel":"news","recover":true,"epoch":"{}","offset":{}}},"id":2}}"#,
        offset.0, offset.1
    )));
    let recovered = String::from_utf8(recovers.frame().payload).unwrap();
    assert!(recovered.contains(r#""recovered":true,"publications":[{"data":"two""#), "{recovered}");
    // A session goes on: its name, its subscription, and presence.
    let session = &mut clients[4];
    session.send(wire::text(r#"{"presence_stats":{"channel":"news"},"id":9}"#));
    let stats = String::from_utf8(session.frame().payload).unwrap();
    assert_eq!(stats, r#"{"id":9,"presence_stats":{"num_clients":8,"num_users":1}}"#);
}

/// Messages that are published while the server restarts again and again arrive once each, and in order.
#[test]
fn nothing_that_is_published_is_lost_or_doubled() {
    let server = Process::start(&[]);
    let addr = server.addr;
    let mut subscribers: Vec<RawClient> =
        (0..20).map(|_| listen(addr, "numbers", "websocket")).collect();
    let is_over = AtomicBool::new(false);
    let said = thread::scope(|scope| {
        let is_over = &is_over;
        let publisher = scope.spawn(move || {
            let mut client = listen(addr, "numbers", "websocket");
            let mut number = 0;
            while !is_over.load(Ordering::Relaxed) {
                client.send(
                    [wire::text(&format!("{number}")), wire::text(&format!("{}", number + 1))]
                        .concat(),
                );
                client.expect_text(&format!("{number}"));
                client.expect_text(&format!("{}", number + 1));
                number += 2;
            }
            number
        });
        for _ in 0..5 {
            restart(&server);
        }
        is_over.store(true, Ordering::Relaxed);
        publisher.join().unwrap()
    });
    assert!(said > 0);
    for subscriber in &mut subscribers {
        for number in 0..said {
            subscriber.expect_text(&format!("{number}"));
        }
    }
}

/// The smaller version of a load test: hundreds of connections with replies under way, and none is lost.
#[test]
fn hundreds_of_connections_with_replies_under_way_move() {
    let server = Process::start(&[]);
    let mut clients: Vec<RawClient> = (0..300).map(|_| RawClient::open(server.addr)).collect();
    for round in 0..3 {
        for (at, client) in clients.iter_mut().enumerate() {
            client.send(wire::text(&format!("{round} of {at}")));
            if at == 150 {
                server.signal(Signal::USR2);
            }
        }
        for (at, client) in clients.iter_mut().enumerate() {
            client.expect_text(&format!("{round} of {at}"));
        }
        assert!(restarted(&server).contains("connections=300 "));
    }
}

/// The other half of them is told to come back, and the log says how many they were.
#[test]
fn who_cannot_move_is_told_to_come_back() {
    let pair = Pair::new();
    let dir = TempDir::new("tls");
    let (cert, key) = (dir.file("cert.pem", &pair.cert_pem), dir.file("key.pem", &pair.key_pem));
    let server = Process::spawn(&mut command(&[
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "tls:127.0.0.1:0",
        "--compression",
        "dedicated",
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
    ]));
    let over_tls = server.first_line.split_once("wss://").unwrap().1;
    let over_tls: SocketAddr = over_tls.trim_end().parse().unwrap();
    let config = pair.client(&TLS13);
    let mut stays = RawClient::open(server.addr);
    let mut secret = TlsClient::open(over_tls, &config);
    let mut packed = RawClient::connect(server.addr);
    upgrade(&mut packed, "/", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    server.signal(Signal::USR2);
    assert_eq!(packed.expect_close(1012), "the server restarts; connect again");
    packed.send(wire::close(1012, ""));
    packed.expect_eof();
    secret.expect_close(1012);
    secret.send(wire::close(1012, ""));
    drop((packed, secret));
    let log = restarted(&server);
    assert!(log.contains(" connections=1 ended_tls=1 ended_compressed=1 ended_other=0 "), "{log}");
    stays.expect_echo("still here");
    let mut again = TlsClient::open(over_tls, &config);
    again.send(wire::text("back"));
    again.expect(&Frame::text("back"));
}

#[test]
fn a_signal_right_behind_another_ends_nobody() {
    let server = Process::start(&[]);
    let mut client = RawClient::open(server.addr);
    for _ in 0..5 {
        server.signal(Signal::USR2);
        server.signal(Signal::USR2);
        client.expect_echo("one");
        server.signal(Signal::USR2);
        restarted(&server);
        server.signal(Signal::USR2);
        client.expect_echo("two");
    }
}

/// Whenever it comes: before the new image is there, while it starts, or behind that.
#[test]
fn a_signal_to_end_is_obeyed_by_either_image() {
    for trips in [0, 1, 10, 40, 100, 300, 1000] {
        let server = Process::start(&[]);
        let mut client = RawClient::open(server.addr);
        server.signal(Signal::USR2);
        for _ in 0..trips {
            client.expect_echo("meanwhile");
        }
        server.signal(Signal::TERM);
        assert_eq!(client.expect_close(1001), "the server is going down", "{trips}");
        client.send(wire::close(1001, ""));
        client.expect_eof();
        drop(client);
        assert_eq!(server.wait().status.code(), Some(0), "{trips}");
    }
}

/// A new binary that is none, does not want to, or vanishes: one line, and all goes on, until there is a good one.
#[test]
fn a_bad_binary_is_not_executed() {
    let dir = TempDir::new("binary");
    let path = dir.0.join("wsfast");
    shell("cp \"$1\" \"$2\"", &[Path::new(env!("CARGO_BIN_EXE_wsfast")), &path]);
    let mut start = Command::new(&path);
    start.args(["--port", "0"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = Process::spawn(&mut start);
    let mut client = RawClient::open(server.addr);
    let said = run_command(command(&["check"]).env("WSFAST_HANDOVER", "check")).stdout;
    let answer = said.lines().find(|line| line.starts_with("takes over format ")).unwrap();
    let vanishes = format!("#!/bin/sh\nrm \"$0\"; echo '{answer}'");
    let table = [
        (
            "#!/bin/sh\necho 'wsfast: no such thing' >&2; exit 2",
            "send SIGUSR2 again: no such thing",
        ),
        ("#!/bin/sh\nexit 0", "it does not take over format"),
        ("no program", "it cannot be executed"),
        // It passes, and is gone when it is to be executed.
        (&vanishes, "No such file or directory"),
    ];
    for (script, expected) in table {
        shell(
            "printf '%s' \"$1\" > \"$2.new\" && chmod +x \"$2.new\" && mv \"$2.new\" \"$2\"",
            &[Path::new(script), &path],
        );
        server.signal(Signal::USR2);
        let line = server.next_log_line();
        assert!(
            line.contains("not restarted, and all goes on") && line.contains(expected),
            "{line}"
        );
        client.expect_echo("on we go");
        assert!(server.is_running());
    }
    shell("ln -s \"$1\" \"$2\"", &[Path::new(env!("CARGO_BIN_EXE_wsfast")), &path]);
    restart(&server);
    client.expect_echo("at last");
}

/// What is listened on is what the file says now; what it says still is never closed.
#[test]
fn addresses_come_and_go_with_the_file() {
    let dir = TempDir::new("listen");
    let (stays, goes, comes) =
        (dir.0.join("stays.sock"), dir.0.join("goes.sock"), dir.0.join("comes.sock"));
    let listening = |also: &Path| {
        format!(
            "listen = [\"127.0.0.1:0\", \"unix:{}\", \"unix:{}\"]\n",
            stays.display(),
            also.display()
        )
    };
    let file = dir.file("wsfast.toml", &listening(&goes));
    let server = Process::spawn(&mut command(&["--config", &file]));
    let mut client = RawClient::open(server.addr);
    assert!(goes.exists());
    dir.file("wsfast.toml", &listening(&comes));
    server.signal(Signal::USR2);
    let line = server.next_log_line();
    assert!(line.contains("no longer listening") && line.contains("goes.sock"), "{line}");
    restarted(&server);
    client.expect_echo("on we go");
    RawClient::open(server.addr).expect_echo("the port is the same");
    assert_eq!([stays.exists(), goes.exists(), comes.exists()], [true, false, true]);
    restart(&server);
    server.signal(Signal::TERM);
    client.expect_close(1001);
    client.send(wire::close(1001, ""));
    client.expect_eof();
    drop(client);
    server.wait();
    assert_eq!([stays.exists(), comes.exists()], [false, false]);
    // What is wrong with it is found before anything happens.
    dir.file("wsfast.toml", "listen = \"127.0.0.1:0\"\n");
    let server = Process::spawn(&mut command(&["--config", &file]));
    dir.file("wsfast.toml", "port = \"x\"\n");
    server.signal(Signal::USR2);
    let line = server.next_log_line();
    assert!(line.contains("its check failed") && line.contains("wsfast.toml"), "{line}");
    RawClient::open(server.addr).expect_echo("unharmed");
}

/// What lies at a socket's path by now may be anybody's: a file, or the socket of a server that was started since. A restart that drops
/// the address leaves it, and so does one that keeps it, and the end.
#[test]
fn what_took_a_sockets_place_stays() {
    let dir = TempDir::new("taken");
    let places = ["file", "socket", "link", "kept", "own"].map(|name| dir.0.join(name));
    let [file, socket, link, kept, own] = &places;
    let listening = |places: &[&PathBuf]| {
        let unix = places.iter().map(|it| format!(", \"unix:{}\"", it.display()));
        format!("listen = [\"127.0.0.1:0\"{}]\n", unix.collect::<String>())
    };
    let config = dir.file("wsfast.toml", &listening(&[file, socket, link, kept, own]));
    let server = Process::spawn(&mut command(&["--config", &config]));
    let mut client = RawClient::open(server.addr);

    for path in [file, socket, link, kept] {
        fs::remove_file(path).unwrap();
    }
    fs::write(file, "precious").unwrap();
    let [at_socket, at_kept] = [socket, kept].map(|path| UnixListener::bind(path).unwrap());
    std::os::unix::fs::symlink(file, link).unwrap();
    let still_there = || {
        assert_eq!(fs::read_to_string(file).unwrap(), "precious");
        assert_eq!(&fs::read_link(link).unwrap(), file);
        for (path, listener) in [(socket, &at_socket), (kept, &at_kept)] {
            let mut to = UnixStream::connect(path).unwrap();
            to.write_all(b"?").unwrap();
            let mut from = [0];
            listener.accept().unwrap().0.read_exact(&mut from).unwrap();
            assert_eq!(&from, b"?");
        }
    };
    dir.file("wsfast.toml", &listening(&[kept]));
    server.signal(Signal::USR2);
    for _ in 0..4 {
        let line = server.next_log_line();
        assert!(line.contains("no longer listening"), "{line}");
    }
    restarted(&server);
    still_there();
    assert!(!own.exists());
    // Nor does the next image believe that it is its own.
    restart(&server);
    client.expect_echo("on we go");
    still_there();
    server.signal(Signal::TERM);
    client.expect_close(1001);
    client.send(wire::close(1001, ""));
    client.expect_eof();
    drop(client);
    server.wait();
    still_there();
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 5);
}

#[test]
fn a_server_with_lines_to_read_stays() {
    let mut start = command(&["--port", "0", "--stdin", "lines"]);
    let mut server = Process::spawn(start.stdin(Stdio::piped()));
    server.signal(Signal::USR2);
    let line = server.next_log_line();
    assert!(line.contains("lines of --stdin"), "{line}");
    RawClient::open(server.addr).expect_echo("here");
    drop(server.take_stdin());
}

/// However often: no descriptor is left behind.
#[test]
fn a_restart_leaves_nothing_open() {
    let server = Process::start(&[]);
    let mut client = RawClient::open(server.addr);
    let open = || fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    restart(&server);
    client.expect_echo("once");
    let once = open();
    for _ in 0..5 {
        restart(&server);
    }
    client.expect_echo("often");
    assert_eq!(open(), once);
}

/// By the crate alone: what a handler writes moves, and what it does not is ended. Whatever is changed in what is written, it is
/// refused or another state, and never a panic.
#[test]
fn a_state_that_is_cut_or_changed_makes_no_panic() {
    let mut server = Server::bind(&[([127, 0, 0, 1], 0).into()], limits(), Names).unwrap();
    let addr = server.local_addrs()[0].tcp().unwrap();
    let remote = server.remote();
    let clients = thread::spawn(move || {
        let [mut stays, mut moves] = [RawClient::open(addr), RawClient::connect(addr)];
        upgrade(&mut moves, "/anna", "");
        moves.send(&wire::text("half")[..8]);
        remote.hand_over();
        assert_eq!(stays.expect_close(1012), "the server restarts; connect again");
        stays.send(wire::close(1012, ""));
        stays.expect_eof();
        moves
    });
    assert_eq!(server.run().unwrap(), Ended::HandOver);
    let mut client = clients.join().unwrap();
    let mut state = Vec::new();
    let handed = server.hand_over(&mut state).unwrap();
    assert_eq!((handed.listeners.len(), handed.connections.len()), (1, 1));
    let take_over = |mut state: &[u8]| {
        let sockets = handed.connections.iter().map(|it| it.try_clone_to_owned().unwrap());
        let listen = Listen::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        Server::take_over(vec![listen], limits(), Names, &mut state, sockets.collect())
    };
    for len in 0..state.len() {
        let refused = take_over(&state[..len]).err();
        assert!(matches!(refused, Some(Error::HandOver(_))), "{len}: {refused:?}");
    }
    let mut refused = 0;
    for at in 0..state.len() {
        for flip in [1, 0x80] {
            let mut changed = state.clone();
            changed[at] ^= flip;
            refused += usize::from(take_over(&changed).is_err());
        }
    }
    assert!(refused > state.len() / 4, "{refused}");
    // As it was, it is whole.
    let (mut server, left_out) = take_over(&state).unwrap();
    assert!(left_out.is_empty());
    let taken_over = server.taken_over().unwrap();
    assert_eq!((taken_over.connections, taken_over.ended.other), (1, 1));
    let remote = server.remote();
    let end = thread::spawn(move || {
        client.send(&wire::text("half")[8..]);
        client.expect_text("anna");
        remote.stop();
    });
    assert_eq!(server.run().unwrap(), Ended::Stopped);
    end.join().unwrap();
}

/// Answers with the path that a client came by. Without one it does not move.
struct Names;

impl Handler for Names {
    type State = String;

    fn on_upgrade(
        &mut self,
        request: &Request<'_>,
        _upgrade: &Upgrade<'_>,
        _from: Arrival,
    ) -> Result<Accept<String>, Refusal> {
        Ok(Accept::new(request.path()[1..].to_owned()))
    }

    fn on_message(&mut self, name: &mut String, _message: Message<'_>, cx: &mut Context<'_>) {
        let _sent = cx.send(Kind::Text, name.as_bytes());
    }

    fn moves(&self, name: &String) -> bool {
        !name.is_empty()
    }

    fn save_peer(&self, name: &String, out: &mut Writer) {
        name.save(out);
    }

    fn restore_peer(
        &mut self,
        _peer: PeerId,
        _now_ms: u64,
        from: &mut Reader<'_>,
    ) -> Result<String, Corrupt> {
        String::restore(from)
    }
}

/// The state is no second copy of all that there is: history goes a message at a time, and what hundreds wait for is written once.
#[test]
fn a_restart_stays_within_the_limit_of_memory() {
    const LIMIT: usize = 64 << 20;
    let server = Process::start(&["--memory-limit", "64M", "--send-timeout", "1m"]);
    let addr = server.addr;
    let text = "m".repeat(1_000_000);
    let mut publisher = RawClient::connect(addr);
    for at in 0..16 {
        let line = format!("Content-Length: {}\r\n", text.len());
        publisher.send(format!("POST /t{at} HTTP/1.1\r\nHost: localhost\r\n{line}\r\n{text}"));
        assert_eq!(publisher.response().status, 200);
    }
    let mut readers: Vec<_> = (0..60)
        .map(|at| {
            let mut reader = connect_with_rcvbuf(addr, 16 << 10);
            reader.send(format!("GET /t{}?since=all HTTP/1.1\r\nHost: localhost\r\n\r\n", at % 16));
            // The answer has begun; nothing more of it is read.
            assert!(reader.is_readable_within(DEADLINE));
            reader
        })
        .collect();
    for _ in 0..2 {
        restart(&server);
        let peak = server.peak_rss_bytes();
        assert!(peak <= LIMIT, "{} KiB", peak >> 10);
    }
    for reader in &mut readers {
        let response = reader.response();
        assert_eq!(response.status, 200);
        assert!(response.body.contains(&text), "{} bytes", response.body.len());
    }
}

/// Restarts the server; returns once it has.
fn restart(server: &Process) {
    server.signal(Signal::USR2);
    restarted(server);
}

/// The line that says that the server has restarted.
#[track_caller]
fn restarted(server: &Process) -> String {
    let line = server.next_log_line();
    assert!(line.contains(" restarted "), "{line}");
    line
}

fn publish(addr: SocketAddr, text: &str) -> String {
    let line = format!("Content-Length: {}\r\n", text.len());
    let mut client = RawClient::connect(addr);
    client.send(format!("POST /news HTTP/1.1\r\nHost: localhost\r\n{line}\r\n{text}"));
    let body = client.response().body;
    let (_, id) = body.split_once(r#""id":""#).unwrap();
    id.split('"').next().unwrap().to_owned()
}

/// All of `TRANSPORTS` hear `text`.
fn expect_news(clients: &mut [RawClient], text: &str) {
    for (client, transport) in clients.iter_mut().zip(TRANSPORTS) {
        let heard = match transport {
            "sse" => client.until(b"\n\n"),
            "ndjson" => client.until(b"\n"),
            _ => String::from_utf8(client.frame().payload).unwrap(),
        };
        assert!(heard.contains(text), "{transport}: {heard}");
    }
}

fn connections(admin: SocketAddr) -> String {
    let body = request(admin, "GET /connections", "").body;
    // How long each lasts is another number each time.
    let fields = body.split(',').filter(|field| !field.contains("age"));
    fields.collect::<Vec<_>>().join(",")
}

/// Runs a script of the shell's, so that no file that is written is open in this process when another one is started.
fn shell(script: &str, args: &[&Path]) {
    let status = Command::new("sh").args(["-c", script, "sh"]).args(args).status().unwrap();
    assert!(status.success(), "{script}");
}

struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> Self {
        let name = format!("wsfast-handover-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    /// Writes a file; its path.
    fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path.into_os_string().into_string().unwrap()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}
