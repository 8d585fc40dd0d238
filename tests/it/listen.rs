//! The ways in: addresses, Unix sockets, inherited descriptors, shared ports, and proxies that name the peer.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::process::Signal;
use tungstenite::{ClientRequestBuilder, Message as Sent, WebSocket};
use wsfast::proto::handshake::{Request, Upgrade};
use wsfast::proto::proxy_protocol::Versions;
use wsfast::{
    Accept, Arrival, Context, Error, Handler, Kind, Limits, Listen, ListenAt, ListenError,
    LocalAddr, Message, Over, PeerAddr, ProxyProtocol, Refusal, Server,
};

use crate::support::client::RawClient;
use crate::support::process::{Output, Process, command, run, run_command};
use crate::support::server::TestServer;
use crate::support::tls::{Pair, TlsClient};
use crate::support::{DEADLINE, limits, wire};

#[test]
fn listeners_of_all_kinds_serve_at_once() {
    let dir = TempDir::new();
    let inherited_tcp = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let inherited_addr = inherited_tcp.local_addr().unwrap();
    let inherited_unix = UnixListener::bind(dir.path("inherited")).unwrap();
    let mut listens = vec![
        tcp_listen(),
        unix_listen(&dir.path("ours"), 0o660),
        Listen::new(ListenAt::Inherited(inherited_tcp.into())),
        Listen::new(ListenAt::Inherited(inherited_unix.into())),
    ];
    let has_ipv6 = TcpListener::bind(("::1", 0)).is_ok();
    if has_ipv6 {
        listens.push("[::1]:0".parse::<SocketAddr>().unwrap().into());
    }
    let server = TestServer::listen(listens, limits(), Teller);

    let addrs = &server.local_addrs;
    assert_eq!(addrs[0].to_string(), format!("ws://{}", server.addr));
    assert_eq!(addrs[1].to_string(), format!("ws+unix:{}", dir.path("ours").display()));
    assert_eq!(addrs[2].to_string(), format!("ws://{inherited_addr}"));
    assert_eq!(addrs[3].to_string(), format!("ws+unix:{}", dir.path("inherited").display()));

    let tcp_addrs: Vec<SocketAddr> = addrs.iter().filter_map(LocalAddr::tcp).collect();
    assert_eq!(tcp_addrs.len(), if has_ipv6 { 3 } else { 2 });
    for addr in tcp_addrs {
        let (mut client, own) = open_tcp(addr);
        assert_eq!(client.read().unwrap(), Sent::text(own.to_string()));
        expect_echoes(&mut client);
    }
    for name in ["ours", "inherited"] {
        let mut client = open_unix(&dir.path(name));
        assert_eq!(client.read().unwrap(), Sent::text("unix"));
        expect_echoes(&mut client);
    }
}

/// A client in the clothes of the other family is known by its own.
#[test]
fn a_socket_for_both_families_tells_ipv4_peers_as_such() {
    let both = match socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None) {
        Ok(socket) => socket,
        Err(_) => return eprintln!("not tested: this machine has no IPv6"),
    };
    both.set_only_v6(false).unwrap();
    both.bind(&"[::]:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    both.listen(8).unwrap();
    let port = both.local_addr().unwrap().as_socket().unwrap().port();
    let listen = Listen::new(ListenAt::Inherited(both.into()));
    let _server = TestServer::listen(vec![listen], limits(), Teller);
    let (mut client, own) = open_tcp((Ipv4Addr::LOCALHOST, port).into());
    assert!(own.is_ipv4());
    assert_eq!(client.read().unwrap(), Sent::text(own.to_string()));
}

/// Far more than the socket's buffers hold, in both directions, so that each edge of both counts.
#[test]
fn a_unix_socket_loses_nothing_under_load() {
    let dir = TempDir::new();
    let listens = vec![unix_listen(&dir.path("s"), 0o600)];
    let _server = TestServer::listen(listens, limits(), Teller);
    let mut stream = open_unix_raw(&dir.path("s"));
    let (count, payload) = (2000_u32, [7; 9_000]);
    thread::scope(|scope| {
        let mut writer = stream.try_clone().unwrap();
        scope.spawn(move || {
            for number in 0..count {
                let message = [&number.to_be_bytes()[..], &payload].concat();
                writer.write_all(&wire::binary(&message)).unwrap();
            }
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut came = Vec::new();
        stream.read_to_end(&mut came).unwrap();
        let frames = came.chunks_exact(4 + 4 + payload.len());
        assert_eq!(frames.remainder().len(), 0);
        let numbers = frames.map(|frame| u32::from_be_bytes(*frame[4..].first_chunk().unwrap()));
        assert!(numbers.eq(0..count));
    });
}

#[test]
fn a_unix_sockets_file_has_its_mode_and_goes_with_the_server() {
    for mode in [0o600, 0o660, 0o666, 0o777] {
        let dir = TempDir::new();
        let path = dir.path("s");
        let server =
            TestServer::listen(vec![tcp_listen(), unix_listen(&path, mode)], limits(), Teller);
        let has = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(has & 0o7777, mode, "{has:o}");
        let (mut client, _) = open_tcp(server.addr);
        client.read().unwrap();
        // Draining waits for the client; the file is gone before.
        server.remote.drain();
        assert!(matches!(client.read().unwrap(), Sent::Close(Some(_))));
        assert!(!path.exists());
        client.flush().unwrap();
        drop(client);
        server.wait();
    }
}

/// Not for a moment has it another, whatever the umask; and nothing is done to the name afterwards, which may lead elsewhere by then.
#[cfg(target_os = "linux")]
#[test]
fn a_unix_sockets_file_comes_into_being_with_its_mode() {
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
    for (umask, mode) in [("022", 0o660), ("077", 0o666), ("000", 0o600), ("027", 0o622)] {
        let dir = TempDir::new();
        let path = dir.path("s");
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
        let flags = WatchFlags::CREATE | WatchFlags::ATTRIB | WatchFlags::MOVED_TO;
        inotify::add_watch(&watch, &dir.0, flags).unwrap();

        let listen = format!("unix:{},mode={mode:o}", path.display());
        let binary = command(&[]);
        let mut shell = Command::new("sh");
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        shell.args(["-c", &script]).arg(binary.get_program()).args(["--listen", &listen]);
        let server = Process::spawn_anywhere(shell.stdout(Stdio::piped()).stderr(Stdio::piped()));

        let has = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(has & 0o7777, mode, "{has:o} with the umask {umask}");
        let status = format!("/proc/{}/status", server.pid().as_raw_nonzero());
        let status = fs::read_to_string(status).unwrap();
        assert!(status.contains(&format!("\nUmask:\t0{umask}\n")), "{status}");
        let mut buf = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&watch, &mut buf);
        let mut happened = Vec::new();
        while let Ok(event) = events.next() {
            happened.push((event.events(), event.file_name().map(ToOwned::to_owned)));
        }
        assert_eq!(happened, [(ReadFlags::CREATE, Some(c"s".to_owned()))]);
    }
}

/// Many servers start at once where a stale socket lies: one has the path, and its socket is never taken for a stale one.
#[test]
fn of_servers_that_start_at_once_one_has_the_path() {
    const SERVERS: usize = 8;
    let dir = TempDir::new();
    let path = dir.path("s");
    for _ in 0..100 {
        drop(UnixListener::bind(&path).unwrap());
        let barrier = Barrier::new(SERVERS + 1);
        let start = || {
            barrier.wait();
            let started =
                Server::listen(vec![unix_listen(&path, 0o600)], Limits::default(), Teller);
            // All have tried; somebody was looked for.
            barrier.wait();
            barrier.wait();
            started.map(drop)
        };
        let (is_served, outcomes) = thread::scope(|scope| {
            let starting: Vec<_> = (0..SERVERS).map(|_| scope.spawn(start)).collect();
            barrier.wait();
            barrier.wait();
            let is_served = UnixStream::connect(&path).is_ok();
            barrier.wait();
            let outcomes = starting.into_iter().map(|it| it.join().unwrap());
            (is_served, outcomes.collect::<Vec<_>>())
        });
        let (serving, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!((serving.len(), is_served), (1, true), "{refused:?}");
        for refused in refused.into_iter().filter_map(Result::err) {
            let Error::Listen { cause: ListenError::SocketFileInUse, .. } = refused else {
                panic!("{refused:?}");
            };
        }
        assert!(!path.exists());
    }
}

#[test]
fn a_file_that_is_no_longer_ours_stays() {
    let dir = TempDir::new();
    let path = dir.path("s");
    let server = TestServer::listen(vec![unix_listen(&path, 0o600)], limits(), Teller);
    fs::remove_file(&path).unwrap();
    let _successor = UnixListener::bind(&path).unwrap();
    server.stop();
    assert!(UnixStream::connect(&path).is_ok());
}

#[test]
fn a_stale_socket_is_replaced_and_nothing_else() {
    let dir = TempDir::new();
    let stale = dir.path("stale");
    drop(UnixListener::bind(&stale).unwrap());
    let server = TestServer::listen(vec![unix_listen(&stale, 0o600)], limits(), Teller);
    assert_eq!(open_unix(&stale).read().unwrap(), Sent::text("unix"));

    let refused = |path: &Path| match Server::listen(
        vec![unix_listen(path, 0o600)],
        Limits::default(),
        Teller,
    ) {
        Err(Error::Listen { index: 0, at: Some(at), cause }) => {
            assert_eq!(at.to_string(), format!("ws+unix:{}", path.display()));
            cause
        }
        other => panic!("{other:?}"),
    };
    assert!(matches!(refused(&stale), ListenError::SocketFileInUse));
    // The probe is no client.
    assert_eq!(open_unix(&stale).read().unwrap(), Sent::text("unix"));
    drop(server);

    let file = dir.path("file");
    fs::write(&file, "precious").unwrap();
    assert!(matches!(refused(&file), ListenError::NotASocketFile));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    let link = dir.path("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert!(matches!(refused(&link), ListenError::NotASocketFile));

    let longest = format!("/run/{}", "x".repeat(200));
    assert!(matches!(
        refused(longest.as_ref()),
        ListenError::PathTooLong { len: 205, most: 103..=107 }
    ));
}

#[test]
fn only_listening_stream_sockets_can_be_inherited() {
    let udp = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let file = fs::File::open("/dev/null").unwrap();
    let refused = |fd: OwnedFd| {
        let listens = vec![tcp_listen(), Listen::new(ListenAt::Inherited(fd))];
        match Server::listen(listens, Limits::default(), Teller) {
            Err(Error::Listen { index: 1, cause, .. }) => cause,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(refused(udp.into()), ListenError::NotListening));
    assert!(matches!(refused(connected.into()), ListenError::NotListening));
    assert!(matches!(refused(file.into()), ListenError::NotASocket));
}

/// What a proxy's header makes of the peer; without one that counts, it is the connection's own address (`None`).
#[test]
fn a_trusted_proxy_names_the_peer() {
    for (versions, header, expected) in [
        (
            Versions::V1,
            &b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\n"[..],
            Some("192.0.2.7:40000"),
        ),
        (Versions::Auto, b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n", Some("[2001:db8::7]:1")),
        (Versions::Auto, b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", Some("192.0.2.7:1")),
        (Versions::Auto, b"PROXY UNKNOWN\r\n", None),
        (Versions::V2, V2_TCP4, Some("192.0.2.7:40000")),
        (Versions::Auto, V2_TCP4, Some("192.0.2.7:40000")),
        (Versions::Auto, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", None),
    ] {
        let server = proxied(versions, "127.0.0.0/8", limits());
        for cuts in [&[][..], &[header.len()], &[1], &[header.len() - 1], &[5, header.len() + 9]] {
            let mut client = RawClient::connect(server.addr);
            let own = client.stream.local_addr().unwrap().to_string();
            send_cut(
                &mut client,
                header,
                &[wire::request().as_bytes(), &wire::text("hello")].concat(),
                cuts,
                &server,
            );
            client.expect_open(wire::KEY);
            client.expect_text(expected.unwrap_or(&own));
            client.expect_text("hello");
        }
    }
}

/// However the header and TLS's first records share reads.
#[test]
fn tls_begins_behind_a_proxys_header() {
    let pair = Pair::new();
    let mut listen = tcp_listen();
    listen.over = Over::Tls(pair.server());
    let trusted = ["127.0.0.0/8".parse().unwrap()].into();
    listen.proxy = Some(ProxyProtocol { versions: Versions::Auto, trusted });
    let server = TestServer::listen(vec![listen], limits(), Teller);
    let config = pair.client(&rustls::version::TLS13);
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\n";
    // Which of the bytes come in a write of their own, and how many of TLS's come with the header's last.
    for (alone, with_last) in
        [(0, 0), (header.len(), 0), (1, 1), (10, 5), (0, 100), (20, usize::MAX)]
    {
        let mut client = TlsClient::begin(server.addr, &config);
        let mut hello = Vec::new();
        client.stream.conn.write_tls(&mut hello).unwrap();
        let together = header.len() + with_last.min(hello.len());
        let stream = [&header[..], &hello].concat();
        for piece in [&stream[..alone], &stream[alone..together], &stream[together..]] {
            client.stream.sock.write_all(piece).unwrap();
            // Another connection's round trip behind it: the piece was read.
            let mut witness = TlsClient::begin(server.addr, &config);
            witness.stream.sock.write_all(header).unwrap();
            witness.send(wire::request());
            witness.expect_open();
        }
        client.send(wire::request());
        client.expect_open();
        client.expect(&wire::Frame::text("192.0.2.7:40000"));
        client.expect_echo("behind a proxy");
    }
    // TLS without the header is no header.
    let mut direct = TlsClient::begin(server.addr, &config);
    let mut hello = Vec::new();
    direct.stream.conn.write_tls(&mut hello).unwrap();
    direct.stream.sock.write_all(&hello).unwrap();
    assert_eq!(direct.stream.sock.read(&mut [0; 10]).unwrap_or(0), 0);
}

#[test]
fn a_header_may_come_a_byte_at_a_time() {
    let server = proxied(Versions::Auto, "127.0.0.1", limits());
    for header in [&b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\n"[..], V2_TCP4] {
        let mut client = RawClient::connect(server.addr);
        let request = wire::request();
        let cuts: Vec<usize> = (1..header.len() + request.len()).collect();
        send_cut(&mut client, header, request.as_bytes(), &cuts, &server);
        client.expect_open(wire::KEY);
        client.expect_text("192.0.2.7:40000");
    }
}

#[test]
fn what_a_trusted_proxy_must_not_say_drops_the_connection() {
    let server = proxied(Versions::V1, "127.0.0.0/8", limits());
    let request = wire::request();
    let bad = [
        request.as_bytes(),
        b"PROXY TCP4 192.0.2.7 192.0.2.1 40000\r\n",
        V2_TCP4,
        &[b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat(),
        b"\x16\x03\x01",
    ];
    for bytes in bad {
        let mut client = RawClient::connect(server.addr);
        client.send(bytes);
        assert!(client.is_over_within(DEADLINE), "{}", bytes.escape_ascii());
        assert!(client.buf.is_empty());
    }
    let counters = server.stop().counters;
    assert_eq!(counters.proxy_headers_refused, bad.len() as u64);
    assert_eq!((counters.refused, counters.opened), (0, 0));
}

#[test]
fn a_header_from_anyone_else_is_a_malformed_request() {
    let server = proxied(Versions::Auto, "10.0.0.0/8", limits());
    for header in [&b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\n"[..], V2_TCP4] {
        let mut client = RawClient::connect(server.addr);
        client.send([header, wire::request().as_bytes()].concat());
        assert_eq!(client.response().status, 400);
        client.expect_eof();
    }
    // Who does not pretend is served.
    let (mut client, own) = open_tcp(server.addr);
    assert_eq!(client.read().unwrap(), Sent::text(own.to_string()));
    assert_eq!(server.stop().counters.proxy_headers_refused, 0);
}

#[test]
fn a_header_that_stalls_is_waited_for_like_a_request() {
    let mut limits = limits();
    limits.handshake_timeout_ms = 150;
    let server = proxied(Versions::Auto, "127.0.0.1", limits);
    for part in [&b""[..], b"PROXY TCP4 192.0.2.7", &V2_TCP4[..20]] {
        let mut client = RawClient::connect(server.addr);
        client.send(part);
        client.expect_eof();
    }
    assert_eq!(server.stop().counters.handshakes_timed_out, 3);
}

#[test]
fn unix_sockets_are_trusted_as_proxies() {
    let dir = TempDir::new();
    let mut listen = unix_listen(&dir.path("s"), 0o600);
    listen.proxy = Some(ProxyProtocol { versions: Versions::Auto, trusted: [].into() });
    let _server = TestServer::listen(vec![listen], limits(), Teller);
    let mut stream = UnixStream::connect(dir.path("s")).unwrap();
    stream.write_all(V2_TCP4).unwrap();
    let mut client = open(stream);
    assert_eq!(client.read().unwrap(), Sent::text("192.0.2.7:40000"));
    expect_echoes(&mut client);
}

#[test]
fn a_drain_does_not_wait_for_a_proxys_header() {
    let server = proxied(Versions::Auto, "127.0.0.1", limits());
    let mut client = RawClient::connect(server.addr);
    client.send(b"PROXY UNKNOWN\r");
    witness(&server, b"PROXY UNKNOWN\r\n");
    server.remote.drain();
    assert_eq!(client.response().status, 503);
    client.expect_eof();
    drop(client);
    server.wait();
}

/// sd_listen_fds(3): the socket is descriptor 3, and LISTEN_PID says for whom.
#[test]
fn sockets_that_systemd_passes_on_are_used_alone() {
    let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let addr = socket.local_addr().unwrap();
    let server = Process::spawn(&mut activated(&["--drain", "1h", "--ping-interval", "0"], socket));
    assert!(server.first_line.ends_with(&format!(" listening on ws://{addr}\n")));
    let mut client = RawClient::open(addr);
    client.expect_echo("hello");
    // Nobody else has the socket, so that a drain closes it.
    server.signal(Signal::TERM);
    client.expect_close(1001);
    let refused = TcpStream::connect_timeout(&addr, DEADLINE).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    client.send(wire::close(1001, ""));
    client.expect_eof();
    drop(client);
    assert_eq!(server.wait().status.code(), Some(0));
}

/// All three ways in of one process, each with a client of its own kind.
#[test]
fn an_inherited_socket_a_unix_socket_and_tls_are_served_side_by_side() {
    let (dir, pair) = (TempDir::new(), Pair::new());
    fs::write(dir.path("cert"), &pair.cert_pem).unwrap();
    fs::write(dir.path("key"), &pair.key_pem).unwrap();
    let path = |name: &str| dir.path(name).display().to_string();
    let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let inherited = socket.local_addr().unwrap();
    let unix = format!("unix:{}", path("s"));
    let (cert, key) = (path("cert"), path("key"));
    let args = ["--listen", "fd:3", "--listen", &unix, "--listen", "tls:127.0.0.1:0"];
    let args = [&args[..], &["--tls-cert", &cert, "--tls-key", &key]].concat();
    let server = Process::spawn(&mut activated(&args, socket));
    let tls = server.first_line.trim_end().rsplit("wss://").next().unwrap().parse().unwrap();

    let mut over_unix = open_unix(&dir.path("s"));
    let (mut over_tcp, _) = open_tcp(inherited);
    let mut over_tls = TlsClient::open(tls, &pair.client(&rustls::version::TLS13));
    for _ in 0..3 {
        expect_echoes(&mut over_unix);
        expect_echoes(&mut over_tcp);
        over_tls.expect_echo("hello");
    }
    server.signal(Signal::TERM);
    over_tls.expect_close(1001);
    assert!(matches!(over_tcp.read().unwrap(), Sent::Close(Some(_))));
    assert!(matches!(over_unix.read().unwrap(), Sent::Close(Some(_))));
}

#[test]
fn an_inherited_unix_socket_outlives_the_server() {
    let dir = TempDir::new();
    let path = dir.path("s");
    let socket = UnixListener::bind(&path).unwrap();
    let ours = socket.try_clone().unwrap();
    for round in ["first", "second"] {
        let server = Process::spawn_anywhere(&mut activated(&[], ours.try_clone().unwrap()));
        let line = format!(" listening on ws+unix:{}\n", path.display());
        assert!(server.first_line.ends_with(&line), "{round}: {}", server.first_line);
        let mut client = open_unix(&path);
        expect_echoes(&mut client);
        server.signal(Signal::TERM);
        assert!(matches!(client.read().unwrap(), Sent::Close(Some(_))));
        client.flush().unwrap();
        drop(client);
        let output = server.wait();
        assert!(output.stdout.contains("\nopen to this machine and its proxies (--listen), "));
        assert!(path.exists(), "{round}");
    }
}

#[test]
fn inherited_sockets_are_known_by_name_and_number() {
    for which in ["fd:web", "fd:3"] {
        let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addr = socket.local_addr().unwrap();
        let args = ["--listen", which, "--listen", "127.0.0.1:0"];
        let server = Process::spawn(activated(&args, socket).env("LISTEN_FDNAMES", "web"));
        assert!(server.first_line.contains(&format!("ws://{addr}, ws://127.0.0.1:")));
        RawClient::open(addr).expect_echo(which);
    }
    let socket = || TcpListener::bind(("127.0.0.1", 0)).unwrap();
    check_refusal(
        &run_command(&mut activated(&["--listen", "fd:web"], socket())),
        "--listen fd:web is no name of LISTEN_FDNAMES; give the socket's FileDescriptorName= of systemd, or its number, \
         such as fd:3",
    );
    check_refusal(
        &run_command(&mut activated(&["--listen", "fd:3,fd:3"], socket())),
        "--listen fd:3 is there twice; leave one out",
    );
    check_refusal(
        &run_command(&mut activated(&[], UdpSocket::bind(("127.0.0.1", 0)).unwrap())),
        "cannot listen on fd:3: it is not a TCP or Unix stream socket that listens; pass one on, in systemd with \
         ListenStream= and Accept=no",
    );
}

#[test]
fn sockets_for_another_process_or_without_end_are_not_taken() {
    let mut for_another = command(&["--listen", "fd:web"]);
    for_another.env("LISTEN_FDS", "1").env("LISTEN_PID", "1").env("LISTEN_FDNAMES", "web");
    check_refusal(
        &run_command(&mut for_another),
        "--listen fd:web is no name of LISTEN_FDNAMES; give the socket's FileDescriptorName= of systemd, or its number, \
         such as fd:3",
    );
    check_refusal(
        &run_command(command(&[]).env("LISTEN_FDS", "1000000000")),
        "LISTEN_FDS is more than 24; pass fewer sockets on",
    );
}

/// Any number, without the environment's help.
#[cfg(target_os = "linux")]
#[test]
fn a_descriptor_is_taken_by_its_number() {
    let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let addr = socket.local_addr().unwrap();
    let mut with_socket = command(&["--listen", "fd:0"]);
    let server = Process::spawn(with_socket.stdin(Stdio::from(OwnedFd::from(socket))));
    assert_eq!(server.addr, addr);
    RawClient::open(addr).expect_echo("hello");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));

    check_refusal(
        &run(&["--listen", "fd:0"]),
        "cannot listen on fd:0: it is not a socket; pass one on that does, in systemd with ListenStream= and Accept=no",
    );
    check_refusal(
        &run(&["--listen", "fd:99"]),
        "--listen fd:99 is not open; let what starts the server pass a listening socket on by that number",
    );
}

#[test]
fn two_processes_share_a_port_if_both_say_so() {
    let first = Process::spawn(&mut command(&["--listen", "127.0.0.1:0", "--reuse-port"]));
    let at = first.addr.to_string();
    let second = Process::spawn(command(&["--listen", &at]).env("WSFAST_REUSE_PORT", "1"));
    assert_eq!(second.addr, first.addr);
    check_refusal(
        &run(&["--listen", &at]),
        &format!(
            "cannot listen on {at}: the port is taken; stop the program that has it, or take another with --listen"
        ),
    );
    // The kernel chooses by the client's port; when one of them is gone, the other has all.
    (0..8).for_each(|_| RawClient::open(first.addr).expect_echo("to either"));
    first.signal(Signal::TERM);
    assert_eq!(first.wait().status.code(), Some(0));
    (0..8).for_each(|_| RawClient::open(second.addr).expect_echo("to the second"));
}

#[test]
fn the_binary_listens_where_it_is_told() {
    let dir = TempDir::new();
    let path = dir.path("s");
    let unix = format!("unix:{},mode=600", path.display());
    let list = format!("127.0.0.1:0,{unix}");
    let server = Process::spawn(command(&[]).env("WSFAST_LISTEN", &list));
    let expected = format!(" listening on ws://{}, ws+unix:{}\n", server.addr, path.display());
    assert!(server.first_line.ends_with(&expected), "{}", server.first_line);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    RawClient::open(server.addr).expect_echo("hello");
    expect_echoes(&mut open_unix(&path));

    check_refusal(
        &run(&["--listen", &unix]),
        &format!(
            "cannot listen on unix:{}: another program listens there; stop it, or take another path with --listen",
            path.display()
        ),
    );
    // Killed, it leaves its file, which does not keep the next one from listening.
    server.signal(Signal::KILL);
    server.wait();
    assert!(path.exists());
    let next = Process::spawn_anywhere(&mut command(&["--listen", &unix]));
    expect_echoes(&mut open_unix(&path));
    next.signal(Signal::TERM);
    assert_eq!(next.wait().status.code(), Some(0));
    assert!(!path.exists());

    // A flag wins over another's variable.
    let by_flag = Process::spawn(
        command(&["--listen", "127.0.0.1:0"]).env("WSFAST_PORT", "1").env("WSFAST_BIND", "::"),
    );
    RawClient::open(by_flag.addr).expect_echo("hello");
    let by_port = Process::spawn(command(&["--port", "0"]).env("WSFAST_LISTEN", "fd:99"));
    RawClient::open(by_port.addr).expect_echo("hello");
}

#[test]
fn mistakes_are_one_line_with_their_remedy() {
    let dir = TempDir::new();
    let nowhere = format!("unix:{}/no/s", dir.0.display());
    let file = dir.path("file");
    fs::write(&file, "precious").unwrap();
    let file = format!("unix:{}", file.display());
    let pair = Pair::new();
    fs::write(dir.path("cert"), &pair.cert_pem).unwrap();
    fs::write(dir.path("key"), &pair.key_pem).unwrap();
    let (cert, key) =
        (dir.path("cert").display().to_string(), dir.path("key").display().to_string());
    for (args, expected) in [
        (
            &["--listen", "127.0.0.1"][..],
            "--listen '127.0.0.1' has no port; write it behind the address, such as 127.0.0.1:8002 or [::1]:8002".into(),
        ),
        (
            &["--listen", "192.0.2.1:0"],
            "cannot listen on 192.0.2.1:0: this machine does not have the address; 'ip address' lists those that \
             --listen can take"
                .into(),
        ),
        (
            &["--listen", &nowhere],
            format!(
                "cannot listen on {nowhere}: there is no such directory; make it, or take another path with --listen"
            ),
        ),
        (
            &["--listen", &file],
            format!(
                "cannot listen on {file}: there is a file that is not a socket; remove it, or take another path with \
                 --listen"
            ),
        ),
        (
            &["--listen", "tls:127.0.0.1:0"],
            "--listen tls:127.0.0.1:0 needs a certificate and its key: give them with --tls-cert and --tls-key ('wsfast \
             dev-cert' writes a pair to try), or leave out tls:"
                .into(),
        ),
        (
            &["--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key],
            "--tls-cert is for no address: put tls: in front of those of --listen that it is for, such as --listen \
             tls:0.0.0.0:443"
                .into(),
        ),
        (
            &["--proxy-protocol", "auto"],
            "--proxy-protocol needs to know whom to believe; name the proxies' addresses with --trust-proxy, such as \
             --trust-proxy 10.0.0.0/8"
                .into(),
        ),
    ] {
        check_refusal(&run(args), &expected);
    }
    check_refusal(
        &run_command(command(&["--listen", "127.0.0.1:0"]).env("WSFAST_REUSE_PORT", "maybe")),
        "WSFAST_REUSE_PORT 'maybe' is neither on nor off; write 1 for on, or 0 for off",
    );
    let both = &mut command(&[]);
    both.env("WSFAST_LISTEN", "127.0.0.1:0").env("WSFAST_PORT", "0");
    check_refusal(
        &run_command(both),
        "WSFAST_LISTEN says where to listen, as WSFAST_BIND and WSFAST_PORT do; leave them out, and write both into \
         WSFAST_LISTEN=ADDRESS:PORT",
    );
}

/// Behind a proxy, localhost is just another page, and a page with the proxy's certificate is at home.
#[test]
fn pages_behind_a_proxy_need_their_own_origin() {
    let dir = TempDir::new();
    let unix = format!("unix:{}", dir.path("s").display());
    let args = ["--listen", &unix, "--proxy-protocol", "v1"];
    let _server = Process::spawn_anywhere(&mut command(&args));
    for (host, origin, status) in [
        ("chat.example", "https://chat.example", "101"),
        ("chat.example", "http://chat.example", "101"),
        ("chat.example:443", "https://chat.example", "101"),
        ("chat.example", "https://other.example", "403"),
        ("chat.example", "http://localhost:3000", "403"),
    ] {
        let mut stream = UnixStream::connect(dir.path("s")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let request = wire::request_with(&format!("Origin: {origin}\r\n"));
        let request = request.replace("Host: localhost", &format!("Host: {host}"));
        stream.write_all(format!("PROXY UNKNOWN\r\n{request}").as_bytes()).unwrap();
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).unwrap();
        assert_eq!(begin[9..], *status.as_bytes(), "{origin} to {host}");
    }
}

/// 192.0.2.7:40000, with a TLV behind the addresses.
const V2_TCP4: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\xc0\0\x02\x07\xc0\0\x02\x01\x9c\x40\x01\xbb\x04\0\x01\0";

/// Tells each peer by which address it is known, then echoes.
#[derive(Debug)]
struct Teller;

impl Handler for Teller {
    type State = PeerAddr;

    fn on_upgrade(
        &mut self,
        _request: &Request<'_>,
        _upgrade: &Upgrade<'_>,
        from: Arrival,
    ) -> Result<Accept<PeerAddr>, Refusal> {
        Ok(Accept::new(from.peer))
    }

    fn on_open(&mut self, peer: &mut PeerAddr, cx: &mut Context<'_>) {
        let _sent = cx.send(Kind::Text, peer.to_string().as_bytes());
    }

    fn on_message(&mut self, _peer: &mut PeerAddr, message: Message<'_>, cx: &mut Context<'_>) {
        let _sent = cx.send(message.kind(), message.payload());
    }
}

fn tcp_listen() -> Listen {
    SocketAddr::from(([127, 0, 0, 1], 0)).into()
}

fn unix_listen(path: &Path, mode: u32) -> Listen {
    Listen::new(ListenAt::Unix { path: path.into(), mode })
}

/// A server on a TCP port that believes proxies from `trusted`.
fn proxied(versions: Versions, trusted: &str, limits: Limits) -> TestServer {
    let mut listen = tcp_listen();
    let trusted = [trusted.parse().unwrap()].into();
    listen.proxy = Some(ProxyProtocol { versions, trusted });
    TestServer::listen(vec![listen], limits, Teller)
}

/// Sends `header` and what is `behind` it in parts that the server reads one by one.
fn send_cut(
    client: &mut RawClient,
    header: &[u8],
    behind: &[u8],
    cuts: &[usize],
    server: &TestServer,
) {
    let stream = [header, behind].concat();
    let mut at = 0;
    for &cut in cuts {
        client.send(&stream[at..cut]);
        at = cut;
        witness(server, header);
    }
    client.send(&stream[at..]);
}

/// Opens a connection behind `header`: whatever was sent to the server before was read then.
fn witness(server: &TestServer, header: &[u8]) {
    let mut witness = RawClient::connect(server.addr);
    witness.send(header);
    witness.send(wire::request());
    witness.expect_open(wire::KEY);
}

fn open_tcp(addr: SocketAddr) -> (WebSocket<TcpStream>, SocketAddr) {
    let stream = TcpStream::connect_timeout(&addr, DEADLINE).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let own = stream.local_addr().unwrap();
    (open(stream), own)
}

fn open_unix(path: &Path) -> WebSocket<UnixStream> {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    open(stream)
}

/// A Unix socket behind the opening handshake and what the handler says first.
fn open_unix_raw(path: &Path) -> UnixStream {
    let mut client = open_unix(path);
    assert_eq!(client.read().unwrap(), Sent::text("unix"));
    client.get_ref().try_clone().unwrap()
}

fn open<S: Read + Write>(stream: S) -> WebSocket<S> {
    let request = ClientRequestBuilder::new("ws://localhost/".parse().unwrap());
    match tungstenite::client(request, stream) {
        Ok((client, _)) => client,
        Err(error) => panic!("{error}"),
    }
}

fn expect_echoes<S: Read + Write>(client: &mut WebSocket<S>) {
    for len in [0, 1, 125, 126, 65_536, 1 << 20] {
        let message = Sent::binary(vec![7; len]);
        client.send(message.clone()).unwrap();
        assert_eq!(client.read().unwrap(), message, "{len} bytes");
    }
}

/// The binary as systemd starts it, with `socket` as descriptor 3. The shell gets it as its standard input.
fn activated(args: &[&str], socket: impl Into<OwnedFd>) -> Command {
    let binary = command(&[]);
    let mut shell = Command::new("sh");
    let script = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" \"$@\"";
    shell.args(["-c", script]).arg(binary.get_program()).args(args);
    shell.stdin(Stdio::from(socket.into())).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

/// It ended with 2 and exactly this line on stderr.
#[track_caller]
fn check_refusal(output: &Output, line: &str) {
    assert_eq!(output.stderr, format!("wsfast: {line}\n"));
    assert_eq!(output.stdout, "");
    assert_eq!(output.status.code(), Some(2));
}

/// A directory for sockets, with a path short enough for them, removed at the end.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("wsfast-{}-{count}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _removed = fs::remove_dir_all(&self.0);
    }
}
