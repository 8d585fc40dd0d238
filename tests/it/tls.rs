//! wss: TLS under the same server, its faults, and the certificate's life.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rcgen::date_time_ymd;
use rustix::process::Signal;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, Error, HandshakeKind, SupportedProtocolVersion};
use wsfast::proto::close::StatusCode;
use wsfast::{Closed, Kind, Limits};

use crate::support::client::{RawClient, Witness};
use crate::support::process::{Process, command, run};
use crate::support::server::{Hooks, TestServer};
use crate::support::tls::{End, Pair, TlsClient, client_of, client_that_slips, session};
use crate::support::wire::{self, BINARY, CONTINUATION, FIN, Frame};
use crate::support::{DEADLINE, limits};

#[test]
fn messages_of_every_size_come_back_over_both_versions() {
    for version in VERSIONS {
        let (server, client) = echo_with(large(), version);
        let mut client = TlsClient::open(server.tls(), &client);
        for size in
            [0, 1, 125, 126, 1000, 16_371, 16_372, 16_384, 16_385, 65_535, 65_536, 1 << 20, 4 << 20]
        {
            let payload = pattern(size);
            client.send(wire::binary(&payload));
            client.expect(&Frame::binary(&payload));
        }
        let (first, middle, last) = (pattern(5), pattern(100_000), pattern(17_000));
        client.send(
            [
                wire::masked(BINARY, &first),
                wire::masked(CONTINUATION, &middle),
                wire::masked(FIN | CONTINUATION, &last),
            ]
            .concat(),
        );
        client.expect(&Frame::binary(&[first, middle, last].concat()));
        let deep: Vec<Vec<u8>> = (0..64).map(|at| pattern(1024 + at)).collect();
        client.send(deep.iter().flat_map(|payload| wire::binary(payload)).collect::<Vec<u8>>());
        for payload in &deep {
            client.expect(&Frame::binary(payload));
        }
        client.send(wire::close(1000, ""));
        client.expect_close(1000);
        client.expect_end(End::Clean);
    }
}

/// Handlers send what is not in place, too: small and large, from several places at once.
#[test]
fn replies_from_several_places_leave_in_order() {
    let pair = Pair::new();
    let hooks = Hooks::echo().on_message(|message, cx| {
        for size in [0, 1, 16_370, 100_000, 7] {
            let _sent = cx.send(Kind::Binary, &pattern(size));
            let _sent = cx.send(message.kind(), message.payload());
        }
    });
    // More than is due at once.
    let mut limits = large();
    limits.queue_bytes_max = 4 << 20;
    let server = TestServer::start_with(limits, hooks, Some(pair.server()));
    let mut client = TlsClient::open(server.tls(), &pair.client(&TLS13));
    for payload in [pattern(3), pattern(300_000)] {
        client.send(wire::binary(&payload));
        for size in [0, 1, 16_370, 100_000, 7] {
            client.expect(&Frame::binary(&pattern(size)));
            client.expect(&Frame::binary(&payload));
        }
    }
}

#[test]
fn a_handshake_may_come_byte_by_byte() {
    for version in VERSIONS {
        let (server, config) = echo(version);
        let mut client = TlsClient::begin(server.tls(), &config);
        let mut hello = Vec::new();
        client.stream.conn.write_tls(&mut hello).unwrap();
        for byte in hello {
            client.stream.sock.write_all(&[byte]).unwrap();
        }
        client.send(wire::request());
        client.expect_open();
        client.expect_echo("hello");
    }
}

#[test]
fn frames_behind_the_request_in_one_record_are_not_forgotten() {
    for version in VERSIONS {
        let (server, config) = echo(version);
        let mut client = TlsClient::connect(server.tls(), &config);
        let messages = [wire::text("one"), wire::binary(&pattern(5000)), wire::text("three")];
        client.send([wire::request().into_bytes(), messages.concat()].concat());
        client.expect_open();
        client.expect(&Frame::text("one"));
        client.expect(&Frame::binary(&pattern(5000)));
        client.expect(&Frame::text("three"));
    }
}

/// Records end where they please: between frames, in headers, and in the request.
#[test]
fn frames_may_be_cut_into_records_anywhere() {
    let (server, config) = echo(&TLS13);
    let mut client = TlsClient::connect(server.tls(), &config);
    let stream =
        [wire::request().into_bytes(), wire::text("héllo"), wire::binary(&pattern(300))].concat();
    for byte in stream {
        // A record for each byte; some leave in one segment.
        client.stream.write_all(&[byte]).unwrap();
    }
    client.stream.flush().unwrap();
    client.expect_open();
    client.expect(&Frame::text("héllo"));
    client.expect(&Frame::binary(&pattern(300)));
}

#[test]
fn a_client_that_ended_its_half_gets_what_is_due() {
    for version in VERSIONS {
        let (server, config) = echo_with(large(), version);
        let mut client = TlsClient::open(server.tls(), &config);
        let payload = pattern(3 << 20);
        client.send(wire::binary(&payload));
        client.half_close();
        client.expect(&Frame::binary(&payload));
        client.expect_end(End::Clean);
        assert_eq!(server.closed(), Closed::Lost);
    }
}

/// All of it in one segment, so that there is one event.
#[test]
fn the_end_may_come_with_the_data() {
    let (server, config) = echo(&TLS13);
    for _ in 0..100 {
        let mut client = TlsClient::open(server.tls(), &config);
        client.stream.conn.writer().write_all(&wire::text("last words")).unwrap();
        client.stream.conn.send_close_notify();
        let mut bytes = Vec::new();
        while client.stream.conn.wants_write() {
            client.stream.conn.write_tls(&mut bytes).unwrap();
        }
        let socket = socket2::SockRef::from(&client.stream.sock);
        let len = socket.send_with_flags(&bytes, MSG_MORE).unwrap();
        assert_eq!(len, bytes.len());
        client.fin();
        client.expect(&Frame::text("last words"));
        client.expect_end(End::Clean);
        assert_eq!(server.closed(), Closed::Lost);
    }
}

#[test]
fn a_fin_without_close_notify_is_an_abnormal_end() {
    let (server, config) = echo(&TLS13);
    let mut client = TlsClient::open(server.tls(), &config);
    client.expect_echo("hello");
    client.fin();
    client.expect_end(End::Cut);
    assert_eq!(server.closed(), Closed::Lost);
    let counters = server.stop().counters;
    assert_eq!((counters.lost, counters.tls_failed), (1, 0));
}

#[test]
fn a_closing_handshake_ends_with_close_notify() {
    for version in VERSIONS {
        let pair = Pair::new();
        let hooks = Hooks::echo().on_message(|_, cx| cx.close(StatusCode::NORMAL, "enough"));
        let server = TestServer::start_with(limits(), hooks, Some(pair.server()));
        let mut client = TlsClient::open(server.tls(), &pair.client(version));
        client.send(wire::text("hello"));
        assert_eq!(client.expect_close(1000), "enough");
        client.send(wire::close(1000, ""));
        client.expect_end(End::Clean);
        client.half_close();
        assert_eq!(server.closed(), Closed::ByUs(StatusCode::NORMAL));
    }
}

/// What breaks TLS before there is a session gets this and a FIN.
#[test]
fn who_does_not_speak_tls_is_told_so() {
    let (server, _) = echo(&TLS13);
    let record = |kind: u8, len: u16| [&[kind, 3, 3][..], &len.to_be_bytes(), &[0; 300]].concat();
    let tests: &[(&str, Vec<u8>, u8)] = &[
        ("garbage", vec![0xA5; 1000], 50),
        ("an oversized record", record(22, u16::MAX), 50),
        ("data before the handshake", record(23, 200), 10),
        ("TLS 1.0", old_hello(1), 40),
        ("TLS 1.1", old_hello(2), 40),
        ("SSL 3", old_hello(0), 40),
    ];
    for (what, bytes, alert) in tests {
        let mut client = RawClient::connect(server.tls());
        client.send(bytes);
        assert_eq!(client.read_to_eof(), [21, 3, 3, 0, 2, 2, *alert], "{what}");
    }
    let mut client = RawClient::connect(server.tls());
    client.send(wire::request());
    let response = client.response();
    assert_eq!(response.status, 400);
    assert_eq!(response.body, "this port speaks TLS: use wss:// (or https://) here");
    client.expect_eof();
    let counters = server.stop().counters;
    assert_eq!(counters.tls_failed, tests.len() as u64 + 1);
}

/// Nobody vouches for it yet, so that it is the FIN behind it that counts, or the handshake's deadline.
#[test]
fn a_close_notify_before_the_handshake_changes_nothing() {
    let (server, _) = echo(&TLS13);
    let mut client = RawClient::connect(server.tls());
    client.send_and_half_close(CLOSE_NOTIFY);
    client.expect_eof();
}

#[test]
fn a_record_that_was_tampered_with_ends_the_connection() {
    for version in VERSIONS {
        let (server, config) = echo(version);
        let mut client = TlsClient::open(server.tls(), &config);
        client.stream.conn.writer().write_all(&wire::text("hello")).unwrap();
        let mut record = Vec::new();
        client.stream.conn.write_tls(&mut record).unwrap();
        *record.last_mut().unwrap() ^= 1;
        client.stream.sock.write_all(&record).unwrap();
        let error = client.stream.read(&mut [0; 10]).unwrap_err();
        assert_eq!(alert_in(&error), Some(AlertDescription::BadRecordMac), "{error}");
        client.fin();
        assert_eq!(server.closed(), Closed::Lost);
        assert_eq!(server.stop().counters.tls_failed, 1);
    }
}

/// The time to a whole request is absolute, TLS included.
#[test]
fn a_handshake_that_stalls_is_ended_in_time() {
    let pair = Pair::new();
    let mut limits = limits();
    limits.handshake_timeout_ms = 200;
    let server = TestServer::start_with(limits, Hooks::echo(), Some(pair.server()));
    let mut silent = RawClient::connect(server.tls());
    let mut said_goodbye = RawClient::connect(server.tls());
    said_goodbye.send(CLOSE_NOTIFY);
    let mut in_hello = RawClient::connect(server.tls());
    in_hello.send(&hello(&pair.client(&TLS13))[..50]);
    let mut in_flight = RawClient::connect(server.tls());
    in_flight.send(hello(&pair.client(&TLS13)));
    let mut in_head = TlsClient::connect(server.tls(), &pair.client(&TLS13));
    in_head.send(&wire::request()[..40]);
    silent.expect_eof();
    said_goodbye.expect_eof();
    in_hello.expect_eof();
    assert_eq!(in_flight.read_to_eof()[0], 22, "the server's flight");
    assert!(in_head.head().starts_with("HTTP/1.1 408 "));
    assert_eq!(in_head.read_to_end().1, End::Clean);
    assert_eq!(server.stop().counters.handshakes_timed_out, 5);
}

#[test]
fn only_http_1_1_is_agreed_on() {
    for version in VERSIONS {
        let (server, config) = echo(version);
        let with = |protocols: &[&str]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
            config
        };
        for (offered, chosen) in [
            (&["h2", "http/1.1"][..], Some(&b"http/1.1"[..])),
            (&["http/1.1"], Some(b"http/1.1")),
            (&[], None),
        ] {
            let mut client = TlsClient::open(server.tls(), &with(offered));
            assert_eq!(client.stream.conn.alpn_protocol(), chosen, "{offered:?}");
            client.expect_echo("hello");
        }
        let mut client = TlsClient::begin(server.tls(), &with(&["h2"]));
        let error = client.stream.write_all(b"PRI").and_then(|()| client.stream.flush());
        let error = error.and_then(|()| client.stream.read(&mut [0; 10])).unwrap_err();
        assert_eq!(alert_in(&error), Some(AlertDescription::NoApplicationProtocol), "{error}");
        assert_eq!(server.stop().counters.tls_failed, 1);
    }
}

/// TLS 1.2 lets a client shake hands anew in the middle: it is told no, once, and then it is ended.
#[test]
fn renegotiation_is_refused() {
    const CLIENT_HELLO: u8 = 1;
    let pair = Pair::new();
    let server = TestServer::start_with(limits(), Hooks::echo(), Some(pair.server()));
    let mut client = TlsClient::open(server.tls(), &client_that_slips(&pair, CLIENT_HELLO));
    client.expect_echo("before");
    // Without the record's header.
    let hello = &old_hello(3)[5..];
    assert_eq!(hello[0], CLIENT_HELLO);
    client.send(hello);
    client.expect_echo("nothing changed");
    client.send(hello);
    client.expect_end(End::Cut);
    client.fin();
    assert_eq!(server.closed(), Closed::Lost);
    assert_eq!(server.stop().counters.tls_failed, 1);
}

#[test]
fn sessions_are_resumed() {
    for version in VERSIONS {
        let pair = Pair::new();
        let tls = pair.server();
        let server = TestServer::start_with(limits(), Hooks::echo(), Some(tls.clone()));
        let config = pair.client(version);
        let mut first = TlsClient::open(server.tls(), &config);
        first.expect_echo("takes the tickets in, too");
        assert_ne!(first.kind(), HandshakeKind::Resumed);
        let mut second = TlsClient::open(server.tls(), &config);
        assert_eq!(second.kind(), HandshakeKind::Resumed);
        second.expect_echo("hello");
        // A renewed certificate does not take the tickets away.
        let renewed = Pair::new();
        tls.swap(renewed.cert_pem.as_bytes(), renewed.key_pem.as_bytes()).unwrap();
        let third = TlsClient::open(server.tls(), &config);
        assert_eq!(third.kind(), HandshakeKind::Resumed);
        let fresh = TlsClient::open(server.tls(), &renewed.client(version));
        assert_eq!(fresh.certificate(), renewed.der);
    }
}

/// Saying so over TLS would cost a handshake.
#[test]
fn connections_past_the_limit_are_ended_without_a_word() {
    let mut limits = limits();
    limits.peers_max = 1;
    let (server, config) = echo_with(limits, &TLS13);
    let mut first = TlsClient::open(server.tls(), &config);
    let mut second = RawClient::connect(server.tls());
    second.expect_eof();
    first.expect_echo("undisturbed");
    let counters = server.stop().counters;
    assert_eq!((counters.opened, counters.over_capacity, counters.refused), (1, 1, 1));
}

#[test]
fn plain_and_tls_are_served_side_by_side() {
    let (server, config) = echo(&TLS13);
    let mut plain = RawClient::open(server.addr);
    let mut tls = TlsClient::open(server.tls(), &config);
    for at in 0..10 {
        plain.expect_echo(&format!("plain {at}"));
        tls.expect_echo(&format!("tls {at}"));
    }
    // Each port speaks its own.
    let mut astray = RawClient::connect(server.addr);
    astray.send(hello(&config));
    assert_eq!(astray.read_to_eof().first(), None);
}

#[test]
fn a_client_that_does_not_read_is_paused_and_loses_nothing() {
    let (server, config) = echo(&TLS13);
    let mut witness = Witness::new(server.addr);
    let mut client = TlsClient::open(server.tls(), &config);
    let message = wire::binary(&pattern(30_000));
    let mut sent = 0;
    client.stream.sock.set_nonblocking(true).unwrap();
    'push: loop {
        client.stream.conn.writer().write_all(&message).unwrap();
        sent += 1;
        while client.stream.conn.wants_write() {
            match client.stream.conn.write_tls(&mut client.stream.sock) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    witness.round_trip();
                    if client.stream.conn.write_tls(&mut client.stream.sock).is_err() {
                        break 'push;
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(sent < 10_000, "the server reads on");
    }
    client.stream.sock.set_nonblocking(false).unwrap();
    // A read first writes what is still to be sent, and must not wait for it.
    client.stream.sock.set_write_timeout(Some(Duration::from_millis(1))).unwrap();
    for at in 0..sent {
        let frame = client.frame();
        assert!(frame == Frame::binary(&pattern(30_000)), "{at}: {frame:?}");
    }
    client.stream.sock.set_write_timeout(Some(DEADLINE)).unwrap();
    client.expect_echo("undisturbed");
    let counters = server.stop().counters;
    assert_eq!((counters.overflowed, counters.tls_failed), (0, 0));
}

#[test]
fn output_that_waits_counts_towards_the_bound() {
    let (server, config) = echo(&TLS13);
    let mut client = TlsClient::open(server.tls(), &config);
    let peer = server.opened();
    let mut witness = Witness::new(server.addr);
    // More than the kernels' buffers and the queue hold.
    let sent = 400;
    for _ in 0..sent {
        server.remote.send(peer, Kind::Binary, pattern(60_000));
        witness.round_trip();
    }
    let mut received = 0;
    loop {
        let frame = client.frame();
        if frame.first != FIN | BINARY {
            assert_eq!(frame, Frame::close(1008, "too slow: queued output passed max-queue-bytes"));
            break;
        }
        assert!(frame == Frame::binary(&pattern(60_000)), "{frame:?}");
        received += 1;
    }
    assert!(received > 0 && received < sent, "{received} of {sent}");
    client.send(wire::close(1008, ""));
    client.expect_end(End::Clean);
    assert_eq!(server.stop().counters.overflowed, 1);
}

#[test]
fn a_drain_says_goodbye_over_tls() {
    let (server, config) = echo(&TLS13);
    let mut open = TlsClient::open(server.tls(), &config);
    let mut in_hello = RawClient::connect(server.tls());
    in_hello.send(&hello(&config)[..50]);
    let mut in_head = TlsClient::connect(server.tls(), &config);
    in_head.send(&wire::request()[..40]);
    Witness::new(server.addr).round_trip();
    server.remote.drain();
    assert_eq!(open.expect_close(1001), "the server is going down");
    in_hello.expect_eof();
    assert!(in_head.head().starts_with("HTTP/1.1 503 "));
    in_head.read_to_end();
    drop((in_hello, in_head));
    open.send(wire::close(1001, ""));
    open.expect_end(End::Clean);
    drop(open);
    assert_eq!(server.wait().ended, wsfast::Ended::Drained);
}

#[test]
fn a_thousand_half_open_handshakes_delay_nobody() {
    let (server, config) = echo(&TLS13);
    let hello = hello(&config);
    let half: Vec<RawClient> = (0..1000)
        .map(|_| {
            let mut client = RawClient::connect(server.tls());
            client.send(&hello[..hello.len() / 2]);
            client
        })
        .collect();
    let began = Instant::now();
    TlsClient::open(server.tls(), &config).expect_echo("hello");
    RawClient::open(server.addr).expect_echo("hello");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    // They all begin at once, and never finish.
    for mut client in half {
        client.send(&hello[hello.len() / 2..]);
        std::mem::forget(client.stream.try_clone().unwrap());
    }
    let began = Instant::now();
    RawClient::open(server.addr).expect_echo("plain");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    TlsClient::open(server.tls(), &config).expect_echo("in turn");
}

#[test]
fn a_renewed_certificate_drops_no_connection() {
    let files = Files::new("renewed");
    let (old, renewed, third) = (Pair::new(), Pair::new(), Pair::new());
    files.write(&old);
    let server = files.serve(&[]);
    let config = client_of(&[&old, &renewed, &third], &TLS13);
    let mut clients: Vec<TlsClient> =
        (0..1000).map(|_| TlsClient::open(server.addr, &config)).collect();
    assert_eq!(clients[0].certificate(), old.der);

    // As certbot does it: new files, and the names moved over to them. Nobody is told.
    files.replace(&renewed);
    files.expect_certificate(&server, &renewed, &config);
    // In place, and a SIGHUP.
    files.write(&third);
    server.signal(Signal::HUP);
    files.expect_certificate(&server, &third, &config);
    for (at, client) in clients.iter_mut().enumerate() {
        client.expect_echo(&format!("still here {at}"));
    }
    drop(clients);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn a_bad_pair_leaves_the_old_one_in_place() {
    let files = Files::new("bad");
    let (old, other, renewed) = (Pair::new(), Pair::new(), Pair::new());
    files.write(&old);
    let server = files.serve(&[]);
    let config = client_of(&[&old, &other, &renewed], &TLS13);
    fs::write(&files.cert, &other.cert_pem).unwrap();
    server.signal(Signal::HUP);
    let warning = server.next_log_line();
    assert!(warning.contains("WARN"), "{warning}");
    let expected = format!(
        "not reloaded: --tls-key '{}' holds a key that is not the certificate's; give the key that the certificate was \
         issued for; everything stays as it was",
        files.key.display()
    );
    assert!(warning.contains(&expected), "{warning}");
    assert_eq!(TlsClient::open(server.addr, &fresh(&config)).certificate(), old.der);
    files.write(&renewed);
    files.expect_certificate(&server, &renewed, &config);
    let line = server.next_log_line();
    assert!(line.contains("certificate reloaded"), "{line}");
}

#[test]
fn a_failure_is_logged_in_words_with_who_caused_it() {
    let files = Files::new("log");
    files.write(&Pair::new());
    let server = files.serve(&["-v"]);
    let mut client = RawClient::connect(server.addr);
    client.send("GET / HTTP/1.1\r\n\r\n");
    let line = server.next_log_line();
    let address = client.stream.local_addr().unwrap();
    let expected = format!(
        "TLS failed id=0.1 address={address} why=\"what the client sent is not TLS\" detail="
    );
    assert!(line.contains(&expected), "{line}");
}

#[test]
fn sighup_ends_no_server_without_tls() {
    let mut server = Process::start(&[]);
    server.signal(Signal::HUP);
    RawClient::open(server.addr).expect_echo("hello");
    server.signal(Signal::HUP);
    RawClient::open(server.addr).expect_echo("again");
    assert!(server.is_running());
}

#[test]
fn a_pair_that_cannot_serve_is_one_line_with_the_remedy() {
    let files = Files::new("refused");
    let good = Pair::new();
    let (other, expired, early) = (
        Pair::new(),
        Pair::with(|params| params.not_after = date_time_ymd(2020, 1, 1)),
        Pair::with(|params| params.not_before = date_time_ymd(4000, 1, 1)),
    );
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIB\n\
                  -----END RSA PRIVATE KEY-----\n";
    let swapped = "--tls-cert takes the certificate and --tls-key the key: are they swapped?";
    let decrypt = "holds an encrypted key; decrypt it with 'openssl pkey -in FILE -out NEW' and give the new file";
    let leaf = "give a PEM file with the server's certificate first and its issuers' behind it";
    let key = "give the PEM file with the certificate's private key";
    for (cert_pem, key_pem, flag, expected) in [
        (&good.key_pem[..], &good.cert_pem[..], "cert", format!("holds a private key and no certificate; {swapped}")),
        (&good.cert_pem, &good.cert_pem, "key", format!("holds a certificate and no private key; {swapped}")),
        ("", &good.key_pem, "cert", format!("is empty; {leaf}")),
        (&good.cert_pem, " \n", "key", format!("is empty; {key}")),
        ("hello", &good.key_pem, "cert", format!("holds no certificate in PEM form; {leaf}")),
        (&good.cert_pem, "hello", "key", format!("holds no private key in PEM form; {key}")),
        (&good.cert_pem, encrypted, "key", decrypt.to_owned()),
        (&good.cert_pem, legacy, "key", decrypt.to_owned()),
        (
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
            &good.key_pem,
            "cert",
            "holds a certificate that cannot be read; have it issued again, in PEM form".to_owned(),
        ),
        (
            &good.cert_pem,
            "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
            "key",
            "holds a key that cannot be used; take an ECDSA (P-256, P-384, P-521), Ed25519 or RSA (2048 bits and more) \
             key"
            .to_owned(),
        ),
        (
            &good.cert_pem,
            &other.key_pem,
            "key",
            "holds a key that is not the certificate's; give the key that the certificate was issued for".to_owned(),
        ),
        (
            &expired.cert_pem,
            &expired.key_pem,
            "cert",
            "holds a certificate that expired on Jan  1 00:00:00 2020 +00:00; renew it".to_owned(),
        ),
        (
            &early.cert_pem,
            &early.key_pem,
            "cert",
            "holds a certificate that is not valid before Jan  1 00:00:00 4000 +00:00; wait until then, or set this \
             machine's clock"
                .to_owned(),
        ),
    ] {
        fs::write(&files.cert, cert_pem).unwrap();
        fs::write(&files.key, key_pem).unwrap();
        let path = if flag == "cert" { &files.cert } else { &files.key };
        files.check_refusal(&format!("--tls-{flag} '{}' {expected}", path.display()));
    }
    fs::write(&files.cert, &good.cert_pem).unwrap();
    fs::remove_file(&files.key).unwrap();
    files.check_refusal(&format!(
        "--tls-key '{}' does not exist; give the path of a PEM file, or make a pair to try with 'wsfast dev-cert'",
        files.key.display()
    ));
    fs::create_dir(&files.key).unwrap();
    files.check_refusal(&format!(
        "--tls-key '{}' is a directory; give the path of a PEM file in it",
        files.key.display()
    ));
}

#[test]
fn dev_cert_writes_a_pair_that_serves() {
    let files = Files::new("dev");
    let dir = files.dir.to_str().unwrap();
    let output = run(&["dev-cert", "--dir", dir]);
    assert_eq!((output.status.code(), output.stderr.as_str()), (Some(0), ""));
    let (cert, key) = (files.dir.join("dev-cert.pem"), files.dir.join("dev-key.pem"));
    let serve = format!("wsfast --tls-cert {} --tls-key {}\n", cert.display(), key.display());
    assert!(output.stdout.contains(&serve), "{}", output.stdout);
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    let before = fs::read(&cert).unwrap();
    let again = run(&["dev-cert", "--dir", dir]);
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(
        again.stderr,
        format!(
            "wsfast: '{}' is there already; replace it with --force, or choose another directory with --dir\n",
            cert.display()
        )
    );
    assert_eq!(fs::read(&cert).unwrap(), before);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(run(&["dev-cert", "--force", "--dir", dir]).status.code(), Some(0));
    assert_ne!(fs::read(&cert).unwrap(), before);
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    let server = Process::spawn(
        command(&["--port", "0", "--tls-cert"]).arg(&cert).arg("--tls-key").arg(&key),
    );
    assert!(server.first_line.contains(" wss://127.0.0.1:"), "{}", server.first_line);
    let der = rustls::pki_types::pem::PemObject::from_pem_file(&cert).unwrap();
    let pair = Pair { cert_pem: String::new(), key_pem: String::new(), der };
    TlsClient::open(server.addr, &pair.client(&TLS13)).expect_echo("hello");
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// As an alert that nothing protects.
const CLOSE_NOTIFY: [u8; 7] = [21, 3, 3, 0, 2, 1, 0];

/// Has the kernel wait for more before it sends (send(2)).
const MSG_MORE: i32 = if cfg!(target_os = "linux") { 0x8000 } else { 0 };

fn echo(version: &'static SupportedProtocolVersion) -> (TestServer, ClientConfig) {
    echo_with(limits(), version)
}

/// An echo at two addresses, and a client that trusts it.
fn echo_with(
    limits: Limits,
    version: &'static SupportedProtocolVersion,
) -> (TestServer, ClientConfig) {
    let pair = Pair::new();
    let server = TestServer::start_with(limits, Hooks::echo(), Some(pair.server()));
    (server, pair.client(version))
}

fn large() -> Limits {
    let mut limits = limits();
    limits.message_bytes_max = 4 << 20;
    limits
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// The first flight of a client.
fn hello(config: &ClientConfig) -> Vec<u8> {
    let mut bytes = Vec::new();
    session(config).write_tls(&mut bytes).unwrap();
    bytes
}

/// A ClientHello of SSL 3 (`minor` 0), TLS 1.0 (1) or 1.1 (2), without extensions.
fn old_hello(minor: u8) -> Vec<u8> {
    let body = [&[3, minor][..], &[7; 32], &[0], &[0, 4, 0xC0, 0x13, 0, 0x2F], &[1, 0]].concat();
    let body_len = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, body_len + 4, 1, 0, 0, body_len][..], &body].concat()
}

/// The alert behind an I/O error of a rustls stream.
fn alert_in(error: &std::io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<Error>()? {
        Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// The same trust, without the sessions to resume, in which no certificate is shown.
fn fresh(config: &ClientConfig) -> ClientConfig {
    let mut config = config.clone();
    config.resumption = rustls::client::Resumption::disabled();
    config
}

impl TestServer {
    fn tls(&self) -> std::net::SocketAddr {
        self.tls_addr().unwrap()
    }
}

/// A directory with a pair of files, removed in the end.
struct Files {
    dir: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new(name: &str) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self { cert: dir.join("cert.pem"), key: dir.join("key.pem"), dir }
    }

    fn write(&self, pair: &Pair) {
        fs::write(&self.cert, &pair.cert_pem).unwrap();
        fs::write(&self.key, &pair.key_pem).unwrap();
    }

    /// Puts links to new files in place of the files.
    fn replace(&self, pair: &Pair) {
        for (path, pem) in [(&self.cert, &pair.cert_pem), (&self.key, &pair.key_pem)] {
            let (file, link) = (path.with_extension("1"), path.with_extension("link"));
            fs::write(&file, pem).unwrap();
            symlink(&file, &link).unwrap();
            fs::rename(&link, path).unwrap();
        }
    }

    fn serve(&self, args: &[&str]) -> Process {
        let mut command = command(&["--port", "0", "--tls-cert"]);
        Process::spawn(command.arg(&self.cert).arg("--tls-key").arg(&self.key).args(args))
    }

    /// New connections get `pair`'s certificate before the deadline; none fails meanwhile.
    fn expect_certificate(&self, server: &Process, pair: &Pair, config: &ClientConfig) {
        let deadline = Instant::now() + DEADLINE;
        while TlsClient::open(server.addr, &fresh(config)).certificate() != pair.der {
            assert!(Instant::now() < deadline, "the old certificate stays");
        }
    }

    fn check_refusal(&self, expected: &str) {
        let (cert, key) = (self.cert.to_str().unwrap(), self.key.to_str().unwrap());
        let output = run(&["--port", "0", "--tls-cert", cert, "--tls-key", key]);
        assert_eq!(output.stderr, format!("wsfast: {expected}\n"));
        assert_eq!((output.status.code(), output.stdout.as_str()), (Some(2), ""));
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _left_over = fs::remove_dir_all(&self.dir);
    }
}
