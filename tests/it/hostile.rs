//! Hostile load against the binary: thousands who drip, idle, reset, burst, flood, explode or do not read.
//!
//! Throughout each a stranger is served (connect, handshake, echo) within a second; memory stays in a bound that each test adds up
//! from the limits; and when the load stands still, and when it is gone, the server rests, and has let go of every descriptor.
//!
//! `cargo test` runs them with some counts scaled down, beside all other tests and unoptimised, where "within a second" would be
//! a matter of luck: it is five there. The full counts, each test alone, and the strict second:
//!
//! ```text
//! WSFAST_HOSTILE=full CARGO_PROFILE_RELEASE_LTO=off cargo test --release --test it hostile -- --nocapture
//! ```
//!
//! What a breach is answered with is `frames`' and `deflate`'s to test, and what the handler sees `backpressure`'s and
//! `capacity`'s. Looks into other processes and limits them, which is Linux's way alone.

#![cfg(target_os = "linux")]

mod attack;
mod fan_out;
mod unread;
mod work;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use flate2::{Compress, Compression as Level, FlushCompress};
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

use crate::support::DEADLINE;
use crate::support::client::{RawClient, Witness};
use crate::support::flood::{Flood, Pushed, connect_with_rcvbuf, open_with_rcvbuf};
use crate::support::siege::{Siege, count, is_full, patience};
use crate::support::wire::{self, BINARY, CONTINUATION, FIN, Frame, PONG, TEXT};

/// 5,000 requests that come a byte at a time, each half of what a head may have from the start.
#[test]
fn slow_handshakes_end_in_time_however_they_drip() {
    let timeout = Duration::from_secs(if is_full() { 10 } else { 3 });
    let siege = Siege::begin(&["--handshake-timeout", &format!("{}s", timeout.as_secs())]);
    let start = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "a".repeat(4000));
    let mut dripping: Vec<(RawClient, Instant)> = Vec::new();
    for _ in 0..count(5000, 1000) {
        let begun = Instant::now();
        let mut client = RawClient::connect(siege.addr);
        client.send(&start);
        client.stream.set_nonblocking(true).unwrap();
        dripping.push((client, begun));
    }
    let count = dripping.len();
    let latest = timeout + patience();
    let mut drips = 0;
    while !dripping.is_empty() {
        drips += usize::from(drips < 4000);
        dripping.retain_mut(|(client, begun)| {
            if drips < 4000 {
                let _refused = client.stream.write(b"a");
            }
            if !take_all(client) {
                assert!(begun.elapsed() < latest, "not over after {:?}", begun.elapsed());
                return true;
            }
            // The server counts from the start of the turn in which it accepts.
            let soonest = timeout - A_TURN;
            assert!(begun.elapsed() >= soonest, "over after {:?}", begun.elapsed());
            assert!(client.buf.starts_with(b"HTTP/1.1 408 "), "{}", client.buf.escape_ascii());
            false
        });
    }
    println!("{count} were dripped {drips} bytes");
    // What a head may have, in a buffer that doubles as it grows.
    siege.end(count * (CONNECTION_BYTES + 2 * HEAD_BYTES_MAX));
}

#[test]
fn idle_connections_cost_nothing_until_their_time_is_up() {
    let siege = Siege::begin(&["--handshake-timeout", "8s"]);
    let mut idle: Vec<RawClient> =
        (0..count(5000, 5000)).map(|_| RawClient::connect(siege.addr)).collect();
    siege.until_clients(idle.len());
    siege.expect_rest();
    for client in &mut idle {
        assert_eq!(client.response().status, 408);
        client.expect_eof();
    }
    let bound = idle.len() * CONNECTION_BYTES;
    drop(idle);
    siege.end(bound);
}

/// In every phase, from two directions.
#[test]
fn a_storm_of_resets_leaves_nothing_behind() {
    let siege = Siege::begin(&["--handshake-timeout", "1h"]);
    let rounds = count(20_000, 6000) / 2;
    let addr = siege.addr;
    let storm = move || {
        let echoes = wire::binary(&[7; 1000]).repeat(20);
        for round in 0..rounds {
            let mut client = RawClient::connect(addr);
            match round % 6 {
                0 => {}
                1 => client.send_in_vain(&wire::request()[..20]),
                2 => client.send_in_vain(wire::request()),
                3 => client.send_in_vain([wire::request().as_bytes(), &echoes].concat()),
                4 => {
                    client.send_in_vain(wire::request());
                    client.expect_open(wire::KEY);
                    client.send_in_vain(&echoes[..1500]);
                }
                _ => {
                    client.send_in_vain("GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
                    assert!(client.is_readable_within(DEADLINE));
                }
            }
            client.reset();
        }
    };
    thread::scope(|scope| {
        scope.spawn(storm);
        scope.spawn(storm);
    });
    siege.until_clients(0);
    // As many as the kernel keeps for us before they are accepted, were they all there at once.
    siege.end(BACKLOG * (CONNECTION_BYTES + HEAD_BYTES_MAX) + SLACK_BYTES);
}

/// 3,000 SYNs at once, before anyone waits for an answer; again and again.
#[test]
fn bursts_of_connections_are_all_served() {
    let siege = Siege::begin(&[]);
    let size = count(3000, 3000);
    for _ in 0..count(5, 1) {
        let sockets: Vec<socket2::Socket> =
            (0..size).map(|_| connect_at_once(siege.addr)).collect();
        let mut clients: Vec<RawClient> = sockets.into_iter().map(connected).collect();
        for client in &mut clients {
            client.send(wire::request());
        }
        for client in &mut clients {
            client.expect_open(wire::KEY);
        }
        for client in &mut clients {
            client.send(wire::text("burst"));
        }
        for mut client in clients {
            client.expect_text("burst");
            client.reset();
        }
    }
    siege.end(2 * size * CONNECTION_BYTES + SLACK_BYTES);
}

/// Handshakes and messages that arrive in a million pieces, of many clients in turn.
#[test]
fn a_byte_a_segment_is_understood() {
    let siege = Siege::begin(&[]);
    let message = vec![b'm'; count(9800, 800)];
    let bytes =
        [wire::request().as_bytes(), &wire::text("first"), &wire::binary(&message)].concat();
    let mut clients: Vec<RawClient> = (0..100).map(|_| RawClient::connect(siege.addr)).collect();
    for byte in &bytes {
        for client in &mut clients {
            client.send([*byte]);
        }
    }
    for client in &mut clients {
        client.expect_open(wire::KEY);
        client.expect_text("first");
        client.expect(&Frame::binary(&message));
    }
    println!("{} segments", bytes.len() * clients.len());
    let bound = clients.len() * (CONNECTION_BYTES + 2 * bytes.len()) + SLACK_BYTES;
    drop(clients);
    siege.end(bound);
}

/// The pongs of a million pings are not kept for one who does not read: the latest is.
#[test]
fn a_million_pings_whose_pongs_are_not_read_cost_one_pong() {
    let siege = Siege::begin(&[]);
    let count = u32::try_from(count(1_000_000, 300_000)).unwrap();
    let mut client = open_with_rcvbuf(siege.addr, 4 << 10);
    let payload = |number: u32| [&number.to_be_bytes(), &[b'p'; 121][..]].concat();
    for first in (0..count).step_by(1000) {
        let pings: Vec<u8> = (first..first + 1000).flat_map(|n| wire::ping(&payload(n))).collect();
        client.send(pings);
    }
    siege.expect_rest();
    let (mut pongs, mut latest) = (0, None);
    while latest != Some(count - 1) {
        let frame = client.frame();
        assert_eq!((frame.first, frame.payload.len()), (FIN | PONG, 125));
        let number = u32::from_be_bytes(*frame.payload.first_chunk().unwrap());
        assert!(latest < Some(number), "{number} behind {latest:?}");
        (latest, pongs) = (Some(number), pongs + 1);
    }
    println!("{pongs} pongs for {count} pings");
    assert!(pongs < count, "all were kept");
    client.expect_echo("all is well");
    drop(client);
    siege.end(SOFT_BYTES + READ_BYTES_MAX + SLACK_BYTES);
}

/// In ten messages that are in order, and in one that has too many.
#[test]
fn a_million_empty_fragments_make_messages_or_a_breach() {
    let siege = Siege::begin(&[]);
    let addr = siege.addr;
    let message = |fragments: usize| {
        let between = wire::masked(CONTINUATION, b"").repeat(fragments - 2);
        [wire::masked(TEXT, b""), between, wire::masked(FIN | CONTINUATION, b"")].concat()
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut orderly = RawClient::open(addr);
            let whole = message(100_000);
            for _ in 0..10 {
                orderly.send(&whole);
                orderly.expect_text("");
            }
        });
        scope.spawn(|| {
            let mut endless = RawClient::open(addr);
            endless.send_in_vain(message(1_000_000));
            assert_eq!(endless.expect_close(1008), "too many fragments in one message");
        });
    });
    siege.end(2 * (CONNECTION_BYTES + 2 * READ_BYTES_MAX) + SLACK_BYTES);
}

/// 200 bombs of 64 KiB that would be 64 MiB each, whole and in fragments, all at once.
#[test]
fn bombs_cost_the_wire_their_bytes_and_the_server_a_message() {
    let siege = Siege::begin(&[]);
    let bomb = bomb(64 << 20);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let mut clients: Vec<RawClient> = (0..200)
        .map(|_| {
            let mut client = RawClient::connect(siege.addr);
            client.send(wire::request_with(offer));
            client.expect_open(wire::KEY);
            client
        })
        .collect();
    // All are half there before the first is whole.
    let (first, rest) = bomb.split_at(60_000);
    let whole = wire::masked(FIN | RSV1 | BINARY, &bomb);
    let halves = |at: usize| match at % 2 {
        0 => (whole[..60_000].to_vec(), whole[60_000..].to_vec()),
        _ => {
            let fragments = first.chunks(10_000).enumerate().map(|(at, part)| match at {
                0 => wire::masked(RSV1 | BINARY, part),
                _ => wire::masked(CONTINUATION, part),
            });
            (fragments.collect::<Vec<_>>().concat(), wire::masked(FIN | CONTINUATION, rest))
        }
    };
    for (at, client) in clients.iter_mut().enumerate() {
        client.send_in_vain(halves(at).0);
    }
    thread::scope(|scope| {
        for (at, client) in clients.iter_mut().enumerate() {
            let rest = halves(at).1;
            scope.spawn(move || {
                client.send_in_vain(rest);
                client.expect_close(1009);
                client.expect_eof();
            });
        }
    });
    let bound =
        clients.len() * (CONNECTION_BYTES + 2 * bomb.len()) + 2 * MESSAGE_BYTES_MAX + SLACK_BYTES;
    drop(clients);
    siege.end(bound);
}

/// Each is due echoes without end, and is kept as many as pass the soft bound, and no more.
#[test]
fn those_who_never_read_are_not_read_from() {
    let siege = Siege::begin(&[]);
    let message = wire::binary(&vec![7; 64 << 10]);
    let stream = message.repeat(4);
    let mut sent: Vec<usize> = Vec::new();
    let mut clients: Vec<RawClient> = Vec::new();
    for _ in 0..count(2000, 200) {
        let client = open_with_rcvbuf(siege.addr, 4 << 10);
        socket2::SockRef::from(&client.stream).set_send_buffer_size(64 << 10).unwrap();
        client.stream.set_nonblocking(true).unwrap();
        clients.push(client);
        sent.push(0);
    }
    // Until nobody got rid of a byte for as long as it takes to serve somebody else, twice.
    let mut witness = Witness::new(siege.addr);
    let mut in_vain = 0;
    while in_vain < 2 {
        let mut taken = 0;
        for (client, sent) in clients.iter_mut().zip(&mut sent) {
            while *sent < DEAF_SENDS_MAX
                && let Ok(len) = client.stream.write(&stream[*sent % message.len()..])
            {
                *sent += len;
                taken += len;
            }
        }
        witness.round_trip();
        in_vain = if taken == 0 { in_vain + 1 } else { 0 };
    }
    println!("{} bytes were sent by each", sent.iter().sum::<usize>() / sent.len());
    siege.expect_rest();
    // The kernel keeps no more for each, of which it has less than we have.
    let queued = send_queues(siege.addr);
    println!(
        "{} of {} KiB are the longest in the kernel",
        queued.iter().max().unwrap() >> 10,
        UNSENT_BYTES_MAX >> 10
    );
    assert!(queued.len() >= clients.len());
    assert!(queued.iter().all(|&bytes| bytes <= UNSENT_BYTES_MAX), "{queued:?}");
    // Who reads at last gets everything.
    for (client, sent) in clients.iter_mut().zip(&sent).step_by(count(100, 20)) {
        client.stream.set_nonblocking(false).unwrap();
        let rest = (message.len() - sent % message.len()) % message.len();
        thread::scope(|scope| {
            let mut stream = client.stream.try_clone().unwrap();
            let rest = &message[message.len() - rest..];
            scope.spawn(move || stream.write_all(rest).unwrap());
            for _ in 0..sent.div_ceil(message.len()) {
                assert_eq!(client.frame().payload.len(), 64 << 10);
            }
        });
        client.expect_echo("at last");
    }
    let each = SOFT_BYTES + message.len() + READ_BYTES_MAX + CONNECTION_BYTES;
    // A message that came in pieces lay in a body, and the pool of these is trimmed every few seconds only.
    let pooled = POOL_BYTES_MAX.min(clients.len() * message.len());
    let bound = clients.len() * each + pooled + SLACK_BYTES;
    drop((clients, witness));
    siege.end(bound);
}

/// Centrifugo's clients recover a megabyte each, and read none of it: they cost what a stream costs. One that reads at last gets all
/// of it.
#[test]
fn recoveries_that_nobody_reads_cost_what_a_stream_costs() {
    const MESSAGES: u64 = 10;
    let siege = Siege::begin(&["--compression", "off"]);
    let mut poster = RawClient::connect(siege.addr);
    let body = "m".repeat(100 << 10);
    let mut epoch = String::new();
    for _ in 0..MESSAGES {
        let head = format!("POST /t HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}", body.len());
        poster.send(format!("{head}\r\n\r\n{body}"));
        let published = poster.response().body;
        let (_, id) = published.split_once(r#"{"id":""#).unwrap();
        id.split_once(':').unwrap().0.clone_into(&mut epoch);
    }
    let commands = format!(
        "{{\"connect\":{{}},\"id\":1}}\n{{\"subscribe\":{{\"channel\":\"t\",\"recover\":true,\"epoch\":\"{epoch}\",\"offset\":0}},\"id\":2}}"
    );
    let mut clients: Vec<RawClient> = Vec::new();
    for _ in 0..count(1000, 200) {
        let mut client = connect_with_rcvbuf(siege.addr, 4 << 10);
        client.send(wire::request().replacen("GET /", "GET /connection/websocket", 1));
        client.expect_open(wire::KEY);
        client.send(wire::text(&commands));
        clients.push(client);
    }
    siege.expect_rest();
    for client in clients.iter_mut().step_by(count(100, 20)) {
        let replies = String::from_utf8(client.frame().payload).unwrap();
        assert!(replies.contains(r#""recovered":true,"publications":[]"#), "{replies}");
        for offset in 1..=MESSAGES {
            let push = format!(
                r#"{{"push":{{"channel":"t","pub":{{"data":"{body}","offset":{offset}}}}}}}"#
            );
            client.expect_text(&push);
        }
    }
    // The pushes are made once for all of them.
    let bound = clients.len() * CONNECTION_BYTES + (4 << 20) + SLACK_BYTES;
    drop((clients, poster));
    siege.end(bound);
}

#[test]
fn one_who_is_due_256_mib_is_kept_a_message_of_it() {
    let siege = Siege::begin(&[]);
    let mut witness = Witness::new(siege.addr);
    let mut client = open_with_rcvbuf(siege.addr, 4 << 10);
    let flood = Flood::new(&[256 << 10]);
    let end = count(1024, 256) as u64;
    let pushed = flood.push(&client, end, &mut witness);
    assert!(pushed.count < end, "all were taken in");
    siege.expect_rest();
    thread::scope(|scope| {
        let stream = client.stream.try_clone().unwrap();
        scope.spawn(|| flood.send_on(&{ stream }, &pushed, end));
        flood.expect(&mut client, 0..end);
    });
    client.expect_echo("all is well");
    drop((client, witness));
    siege.end(SOFT_BYTES + 2 * (256 << 10) + READ_BYTES_MAX + SLACK_BYTES);
}

/// They end their half and keep the other: who is due nothing, who takes what is due, and who never does. What these sent last
/// is not read, their FIN with it, so that it is their silence that ends them.
#[test]
fn half_closed_clients_are_let_go() {
    let siege = Siege::begin_with_pings(&["--ping-interval", "3s", "--pong-timeout", "3s"]);
    let message = vec![7; 64 << 10];
    let frame = wire::binary(&message);
    let count = count(1000, 100);
    let open = |rcvbuf: usize| (0..count).map(move |_| open_with_rcvbuf(siege.addr, rcvbuf));
    let mut deaf: Vec<RawClient> = open(4 << 10).collect();
    for client in &mut deaf {
        client.stream.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while sent < DEAF_SENDS_MAX
            && let Ok(len) = client.stream.write(&frame[sent % frame.len()..])
        {
            sent += len;
        }
        client.half_close();
    }
    let mut reading: Vec<RawClient> = open(128 << 10).collect();
    for client in &mut reading {
        client.send(&frame);
        client.half_close();
    }
    let mut with_nothing_due: Vec<RawClient> = open(128 << 10).collect();
    for client in &mut with_nothing_due {
        client.send_and_half_close(wire::text("bye"));
    }
    for client in &mut with_nothing_due {
        client.expect_text("bye");
        client.expect_eof();
    }
    for client in &mut reading {
        client.expect_behind_pings(&Frame::binary(&message));
        client.expect_eof();
    }
    siege.expect_rest();
    // All are still there, on this side.
    siege.until_clients(0);
    let bound = 3 * count * CONNECTION_BYTES
        + count * message.len()
        + count * (SOFT_BYTES + message.len() + READ_BYTES_MAX)
        + SLACK_BYTES;
    drop((with_nothing_due, reading, deaf));
    siege.end(bound);
}

#[test]
fn a_firehose_of_tiny_messages_does_not_drown_the_others() {
    let siege = Siege::begin(&[]);
    exchange(siege.addr, &Flood::new(&[1, 2, 0, 3, 2, 9]), count(1_000_000, 60_000) as u64);
    siege.end(FLOODERS * (SOFT_BYTES + 2 * READ_BYTES_MAX) + SLACK_BYTES);
}

#[test]
fn large_echoes_as_fast_as_they_go_do_not_drown_the_others() {
    let siege = Siege::begin(&[]);
    exchange(siege.addr, &Flood::new(&[256 << 10]), count(2000, 60) as u64);
    siege.end(FLOODERS * (SOFT_BYTES + 3 * (256 << 10) + READ_BYTES_MAX) + SLACK_BYTES);
}

/// The descriptors run out under thousands: who is there does not notice, and who waits is served as each comes free, without a
/// new connect.
#[test]
fn without_descriptors_the_next_is_served_as_soon_as_one_is_free() {
    let mut siege = Siege::begin(&["--handshake-timeout", "1h"]);
    let half = count(5000, 500);
    let mut guests: Vec<RawClient> = (0..half).map(|_| RawClient::open(siege.addr)).collect();
    siege.dismiss_scouts();
    siege.until_clients(half);
    // Two round trips, so that the turn is over in which the last of the others left.
    guests[0].expect_echo("is anybody");
    guests[0].expect_echo("on the way out?");
    // The limit is one of numbers, so that none below it may be free.
    let mut used = siege.server.descriptors();
    while used.len() as u64 <= *used.last().unwrap() {
        guests.push(RawClient::open(siege.addr));
        used = siege.server.descriptors();
    }
    let limit = Some(used.len() as u64);
    let pid = Some(siege.server.pid());
    let hard = getrlimit(Resource::Nofile).maximum;
    prlimit(pid, Resource::Nofile, Rlimit { current: limit, maximum: hard }).unwrap();
    // The kernel completes as many as its queue takes; the server cannot take one.
    let waiting = count(3000, 500);
    let mut waiting: Vec<RawClient> = (0..waiting)
        .map(|_| {
            let mut client = RawClient::connect(siege.addr);
            client.send(wire::request());
            client
        })
        .collect();
    for guest in &mut guests {
        guest.expect_echo("I notice nothing");
    }
    siege.expect_rest();
    assert!(waiting.iter_mut().all(|it| !it.is_readable_within(NOW)), "somebody was served");
    // Each takes the place of one that leaves, in the order that they came.
    for (at, client) in waiting.iter_mut().enumerate() {
        let begun = Instant::now();
        match at % 3 {
            0 => drop(guests.pop()),
            1 => guests.pop().unwrap().reset(),
            _ => {
                let mut guest = guests.pop().unwrap();
                guest.send(wire::close(1000, ""));
                guest.expect_close(1000);
                guest.expect_eof();
            }
        }
        client.expect_open(wire::KEY);
        client.expect_echo("my turn");
        assert!(begun.elapsed() < patience(), "{:?}", begun.elapsed());
        if guests.is_empty() {
            break;
        }
    }
    prlimit(pid, Resource::Nofile, Rlimit { current: hard, maximum: hard }).unwrap();
    let bound = 2 * half * CONNECTION_BYTES + SLACK_BYTES;
    drop((guests, waiting));
    siege.end(bound);
}

/// What the kernel holds to be sent, or sent and not acknowledged, on each connection of the server at `addr`.
fn send_queues(addr: SocketAddr) -> Vec<usize> {
    let port = format!(":{:04X}", addr.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = rows.filter(|row| row[1].ends_with(&port) && row[3] == "01");
    ours.map(|row| usize::from_str_radix(row[4].split_once(':').unwrap().0, 16).unwrap()).collect()
}

/// Takes what came, without waiting. Whether the end was among it.
fn take_all(client: &mut RawClient) -> bool {
    let mut room = [0; 4096];
    loop {
        match client.stream.read(&mut room) {
            Ok(0) => return true,
            Ok(len) => client.buf.extend_from_slice(&room[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("the connection broke: {error}"),
        }
    }
}

/// Sends a SYN, and does not wait for what becomes of it.
fn connect_at_once(addr: SocketAddr) -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    match socket.connect(&addr.into()) {
        Err(error)
            if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
        {
            panic!("no connection: {error}")
        }
        _ => socket,
    }
}

fn connected(socket: socket2::Socket) -> RawClient {
    socket.set_nonblocking(false).unwrap();
    socket.set_write_timeout(Some(DEADLINE)).unwrap();
    RawClient { stream: socket.into(), buf: Vec::new() }
}

/// So many messages from each of some clients, as fast as they go, and every byte of their echoes.
fn exchange(addr: SocketAddr, flood: &Flood, count: u64) {
    thread::scope(|scope| {
        for _ in 0..FLOODERS {
            scope.spawn(|| {
                let mut client = RawClient::open(addr);
                let nothing = Pushed { count: 0, rest: Vec::new() };
                thread::scope(|scope| {
                    let stream = client.stream.try_clone().unwrap();
                    let nothing = &nothing;
                    scope.spawn(move || flood.send_on(&stream, nothing, count));
                    flood.expect(&mut client, 0..count);
                });
            });
        }
    });
}

/// A compressed message of so many zeros, without the four bytes that end a sync flush (RFC 7692 §7.2.1).
fn bomb(len: usize) -> Vec<u8> {
    let zeros = vec![0; len];
    let mut out = Vec::with_capacity(len / 100);
    Compress::new(Level::best(), false)
        .compress_vec(&zeros, &mut out, FlushCompress::Sync)
        .unwrap();
    assert!(out.ends_with(&[0, 0, 0xFF, 0xFF]) && (60_000..70_000).contains(&(out.len() - 4)));
    out.truncate(out.len() - 4);
    out
}

const RSV1: u8 = 0x40;

/// What was sent on loopback is there.
const NOW: Duration = Duration::from_millis(1);

/// What a turn may take under load.
const A_TURN: Duration = Duration::from_millis(100);

/// Clients that flood at a time.
const FLOODERS: usize = 4;

/// What a connection takes, whatever it does: its places in the tables, its head's or its frames' state.
const CONNECTION_BYTES: usize = 1 << 10;

/// `--max-head-bytes`.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// `--max-message-bytes`.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Queued output at which reading from a peer pauses (`Limits::queue_bytes_soft`).
const SOFT_BYTES: usize = 64 << 10;

/// What each of those who never read sends: more than the server takes in, and little more. What it does not read waits in the
/// kernel's receive buffers, and thousands of those, grown to what `tcp_rmem` lets them, are all the memory that it has for TCP
/// (`tcp_mem`): no server is served then.
const DEAF_SENDS_MAX: usize = 640 << 10;

/// What the kernel takes ahead of what it can send (`net::socket::listener`), the segment that passes this, and what the peer's
/// window of a few KiB lets through.
const UNSENT_BYTES_MAX: usize = (256 << 10) + (64 << 10) + (16 << 10);

/// What one read brings (`net::phase::receive`).
const READ_BYTES_MAX: usize = 129 << 10;

/// What the bodies of messages may take that nobody uses (`net::turn`).
const POOL_BYTES_MAX: usize = 64 << 20;

/// Connections that the kernel keeps for us (`net::socket::listener`).
const BACKLOG: usize = 4096;

/// What the loop owns itself and takes when it first needs it: scratch, cork, the list of events, the pages of code that runs
/// for the first time, and what an allocator keeps between.
const SLACK_BYTES: usize = 4 << 20;
