//! The end of a connection (RFC 6455 §7): closing handshakes from both sides, FIN, RST, silence, and what `on_close`
//! is told of each.

use std::time::Duration;

use wsfast::{Closed, Kind, Limits, StatusCode};

use crate::support::client::{RawClient, Witness};
use crate::support::limits;
use crate::support::server::{Hooks, TestServer};
use crate::support::wire::{self, BINARY, FIN, Frame, KEY, PING, TEXT, masked, request};

#[test]
fn a_close_is_answered_with_its_own_code() {
    let server = TestServer::echo();
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000,
        4999,
    ] {
        let mut client = RawClient::open(server.addr);
        client.send(wire::close(code, "a reason that is not sent back"));
        client.expect(&Frame::close(code, ""));
        client.expect_eof();
        drop(client);
        assert_eq!(server.closed(), Closed::ByPeer(StatusCode::from_wire(code)));
    }
    assert_eq!(server.stop().counters.lost, 0);
}

#[test]
fn a_close_without_a_code_is_answered_without_a_code() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    client.send(wire::empty_close());
    client.expect(&Frame::empty_close());
    client.expect_eof();
    drop(client);
    assert_eq!(server.closed(), Closed::ByPeer(None));
}

#[test]
fn a_close_inside_a_fragmented_message_ends_the_connection() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    client.send([masked(TEXT, b"never to be whole"), wire::close(1001, "")].concat());
    client.expect(&Frame::close(1001, ""));
    client.expect_eof();
    drop(client);
    assert_eq!(server.closed(), Closed::ByPeer(Some(StatusCode::GOING_AWAY)));
}

#[test]
fn what_comes_behind_a_close_is_ignored() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    let behind = [
        wire::text("ignored"),
        wire::ping(b"ignored"),
        wire::close(1001, "a second time"),
        b"\xFF\xFF not even a frame".to_vec(),
    ]
    .concat();
    client.send([wire::text("before"), wire::close(1000, ""), behind.clone()].concat());
    client.expect_text("before");
    client.expect(&Frame::close(1000, ""));
    client.send_in_vain(behind);
    client.send_in_vain(vec![7; 500_000]);
    client.expect_eof();
    drop(client);
    assert_eq!(server.closed(), Closed::ByPeer(Some(StatusCode::NORMAL)));
    assert_eq!(server.stop().counters.protocol_errors, 0);
}

#[test]
fn the_server_ends_the_tcp_connection_first() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    client.send(wire::close(1000, ""));
    client.expect(&Frame::close(1000, ""));
    // The client's half is still open when the server's FIN comes.
    client.expect_eof();
    client.half_close();
    assert_eq!(server.closed(), Closed::ByPeer(Some(StatusCode::NORMAL)));
}

#[test]
fn the_handler_closes_behind_what_it_sent() {
    let server = TestServer::start(limits(), closing(4000, "enough"));
    let mut client = RawClient::open(server.addr);
    client.send(wire::text("last"));
    client.expect_text("last");
    client.expect(&Frame::close(4000, "enough"));
    client.send(wire::close(4000, ""));
    client.expect_eof();
    drop(client);
    assert_eq!(server.closed(), Closed::ByUs(StatusCode::from_wire(4000).unwrap()));
}

#[test]
fn the_reason_of_a_close_is_cut_at_a_character_to_fit() {
    let server = TestServer::start(
        limits(),
        closing(1000, "éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé"),
    );
    let mut client = RawClient::open(server.addr);
    client.send(wire::text("last"));
    client.expect_text("last");
    assert_eq!(client.expect_close(1000), "é".repeat(61));
}

/// After our Close nothing is sent and nothing but the peer's Close counts (§5.5.1).
#[test]
fn the_server_answers_nothing_between_its_close_and_the_peers() {
    let server = TestServer::start(limits(), closing(1000, ""));
    let mut client = RawClient::open(server.addr);
    client.send([wire::text("last"), wire::text("too late"), wire::ping(b"too late")].concat());
    client.expect_text("last");
    client.expect(&Frame::close(1000, ""));
    client.send([wire::ping(b"too late"), masked(BINARY, b"too"), masked(FIN, b" late")].concat());
    client.send(wire::close(1001, "some other code"));
    client.expect_eof();
    drop(client);
    assert_eq!(server.closed(), Closed::ByUs(StatusCode::NORMAL));
}

#[test]
fn a_breach_behind_our_close_ends_the_connection_without_a_second_close() {
    let server = TestServer::start(limits(), closing(1000, ""));
    let mut client = RawClient::open(server.addr);
    client.send(wire::text("last"));
    client.expect_text("last");
    client.expect(&Frame::close(1000, ""));
    client.send(b"\xFF\xFF");
    client.expect_eof();
    drop(client);
    assert_eq!(server.closed(), Closed::ByUs(StatusCode::NORMAL));
}

#[test]
fn a_handler_may_close_in_on_open() {
    let hooks = Hooks::echo().on_open(|cx| {
        assert_eq!(cx.send(Kind::Text, b"full"), wsfast::Sent::Now);
        cx.close(StatusCode::TRY_AGAIN_LATER, "full");
    });
    let server = TestServer::start(limits(), hooks);
    let mut client = RawClient::connect(server.addr);
    client.send([request().into_bytes(), wire::text("ignored")].concat());
    client.expect_open(KEY);
    client.expect_text("full");
    client.expect(&Frame::close(1013, "full"));
    client.send(wire::close(1013, ""));
    client.expect_eof();
    drop(client);
    assert_eq!(server.closed(), Closed::ByUs(StatusCode::TRY_AGAIN_LATER));
}

#[test]
fn a_peer_that_does_not_answer_a_close_is_dropped_in_time() {
    let server = TestServer::start(short_close(), closing(1000, ""));
    let mut client = RawClient::open(server.addr);
    client.send(wire::text("last"));
    client.expect_text("last");
    client.expect(&Frame::close(1000, ""));
    client.expect_eof();
    assert_eq!(server.closed(), Closed::ByUs(StatusCode::NORMAL));
}

#[test]
fn a_peer_that_talks_on_instead_of_answering_a_close_is_dropped_in_time() {
    let server = TestServer::start(short_close(), closing(1000, ""));
    let mut client = RawClient::open(server.addr);
    client.send(wire::text("last"));
    client.expect_text("last");
    client.expect(&Frame::close(1000, ""));
    while !client.is_over_within(Duration::from_millis(5)) {
        client.send_in_vain(wire::text("I have not finished"));
    }
    assert_eq!(server.closed(), Closed::ByUs(StatusCode::NORMAL));
}

/// After the closing handshake, too: our FIN is sent, and theirs does not come.
#[test]
fn a_peer_that_does_not_end_tcp_is_dropped_in_time() {
    let server = TestServer::echo_with(short_close());
    let mut closing = RawClient::open(server.addr);
    closing.send(wire::close(1000, ""));
    closing.expect(&Frame::close(1000, ""));
    closing.expect_eof();
    assert_eq!(server.closed(), Closed::ByPeer(Some(StatusCode::NORMAL)));

    let mut failing = RawClient::open(server.addr);
    failing.send(masked(0x40 | FIN | PING, b""));
    failing.expect(&Frame::close(1002, "reserved bit set"));
    failing.expect_eof();
    assert!(matches!(server.closed(), Closed::Failed(_)));

    let mut refused = RawClient::connect(server.addr);
    refused.send("BAD\r\n\r\n");
    assert_eq!(refused.response().status, 400);
    refused.expect_eof();
    // Its connection was not open, so nothing is told of its end; but there is nobody left to drain.
    server.remote.drain();
    let report = server.wait();
    assert_eq!((report.ended, report.counters.closes_timed_out), (wsfast::Ended::Drained, 3));
}

#[test]
fn a_half_closed_peer_that_does_not_read_is_dropped_in_time() {
    let mut limits = room_for_much();
    limits.queue_bytes_soft = limits.queue_bytes_max;
    limits.close_timeout_ms = 100;
    let server = TestServer::start(limits, much_on_demand());
    let mut client = RawClient::open(server.addr);
    client.send_and_half_close(wire::text("much"));
    assert_eq!(server.closed(), Closed::Lost);
}

/// Its FIN waits unread, since reading pauses: it is its silence that ends it.
#[test]
fn a_half_closed_peer_that_is_paused_and_does_not_read_is_dropped_in_time() {
    let mut limits = room_for_much();
    limits.ping_interval_ms = 60;
    limits.pong_timeout_ms = 60;
    let server = TestServer::start(limits, much_on_demand());
    let mut client = RawClient::open(server.addr);
    client.send_and_half_close(wire::text("much"));
    assert_eq!(server.closed(), Closed::Silent);
}

/// Their one event says both "readable" and "ended" (epoll's edge).
#[test]
fn a_message_and_a_fin_in_one_segment_get_the_reply_and_the_end() {
    let server = TestServer::echo();
    ends_together(&server, &wire::text("last"), &Frame::text("last"), Closed::Lost);
    assert_eq!(server.stop().counters.lost, u64::from(TOGETHER));
}

#[test]
fn a_close_and_a_fin_in_one_segment_get_the_reply_and_the_end() {
    let server = TestServer::echo();
    let closed = Closed::ByPeer(Some(StatusCode::NORMAL));
    ends_together(&server, &wire::close(1000, ""), &Frame::close(1000, ""), closed);
    assert_eq!(server.stop().counters.lost, 0);
}

#[test]
fn a_breach_and_a_fin_in_one_segment_get_the_reply_and_the_end() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    client.send_and_half_close(b"\x83");
    client.expect(&Frame::close(1002, "reserved opcode"));
    client.expect_eof();
    assert!(matches!(server.closed(), Closed::Failed(_)));
}

#[test]
fn a_whole_conversation_in_one_segment_is_answered() {
    let server = TestServer::echo();
    for _ in 0..50 {
        let mut client = RawClient::connect(server.addr);
        let frames = [wire::text("hi"), wire::close(1000, "")].concat();
        client.send_and_half_close([request().into_bytes(), frames].concat());
        client.expect_open(KEY);
        client.expect_text("hi");
        client.expect(&Frame::close(1000, ""));
        client.expect_eof();
        assert_eq!(server.closed(), Closed::ByPeer(Some(StatusCode::NORMAL)));
    }
}

/// More frames than a turn's share, and the FIN behind them.
#[test]
fn thousands_of_messages_and_a_fin_are_all_answered_before_the_end() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    let frames: Vec<u8> = (0..3000).flat_map(|number| wire::text(&number.to_string())).collect();
    client.send_and_half_close(frames);
    for number in 0..3000 {
        client.expect_text(&number.to_string());
    }
    client.expect_eof();
    assert_eq!(server.closed(), Closed::Lost);
}

#[test]
fn a_half_closed_peer_gets_all_the_output_that_is_due() {
    let server = TestServer::start(room_for_much(), much_on_demand());
    let mut witness = Witness::new(server.addr);
    let mut client = RawClient::open(server.addr);
    client.send_and_half_close(wire::text("much"));
    // The server has seen the FIN before the first byte is taken.
    witness.round_trip();
    expect_much(&mut client);
    client.expect_eof();
    assert_eq!(server.closed(), Closed::Lost);
}

/// Reading pauses while much output is due; what waits unread then must not be forgotten.
#[test]
fn a_message_and_a_fin_behind_a_paused_peers_output_are_answered() {
    let server = TestServer::start(room_for_much(), much_on_demand());
    let mut witness = Witness::new(server.addr);
    let mut client = RawClient::open(server.addr);
    client.send(wire::text("much"));
    witness.round_trip();
    client.send_and_half_close(wire::text("and one more"));
    witness.round_trip();
    expect_much(&mut client);
    client.expect_text("and one more");
    client.expect_eof();
    assert_eq!(server.closed(), Closed::Lost);
}

#[test]
fn a_close_is_answered_behind_all_the_output_that_is_due() {
    let server = TestServer::start(room_for_much(), much_on_demand());
    let mut witness = Witness::new(server.addr);
    let mut client = RawClient::open(server.addr);
    client.send([wire::text("much"), wire::close(1000, "")].concat());
    witness.round_trip();
    expect_much(&mut client);
    client.expect(&Frame::close(1000, ""));
    client.expect_eof();
    drop(client);
    assert_eq!(server.closed(), Closed::ByPeer(Some(StatusCode::NORMAL)));
}

#[test]
fn a_fin_in_the_middle_of_something_is_a_loss() {
    let table = [
        ("nothing", Vec::new()),
        ("a header", wire::text("hello")[..1].to_vec()),
        ("a long header", wire::binary(&[7; 70_000])[..9].to_vec()),
        ("a payload", wire::text("hello")[..8].to_vec()),
        ("a large payload", wire::binary(&[7; 500_000])[..400_000].to_vec()),
        ("a message", masked(TEXT, b"first fragment")),
        ("a close", wire::close(1000, "bye")[..7].to_vec()),
        ("a ping", wire::ping(b"1234")[..7].to_vec()),
    ];
    let server = TestServer::echo();
    for (name, bytes) in table {
        println!("in the middle of {name}");
        let mut client = RawClient::open(server.addr);
        client.send(&bytes);
        client.half_close();
        client.expect_eof();
        assert_eq!(server.closed(), Closed::Lost);

        let mut at_once = RawClient::open(server.addr);
        // The kernel may take less than a large payload at once.
        let at = bytes.len().saturating_sub(1000);
        at_once.send(&bytes[..at]);
        at_once.send_and_half_close(&bytes[at..]);
        at_once.expect_eof();
        assert_eq!(server.closed(), Closed::Lost);
    }
}

#[test]
fn a_reset_is_a_loss() {
    let server = TestServer::start(room_for_much(), much_on_demand());
    let mut witness = Witness::new(server.addr);
    let table = [
        ("idle", Vec::new()),
        ("in mid-frame", wire::binary(&[7; 1000])[..500].to_vec()),
        ("in mid-message", masked(TEXT, b"first fragment")),
        ("with output due", wire::text("much")),
    ];
    for (name, bytes) in table {
        println!("{name}");
        let mut client = RawClient::open(server.addr);
        client.send(&bytes);
        witness.round_trip();
        client.reset();
        assert_eq!(server.closed(), Closed::Lost);
    }
    drop(witness);
    assert_eq!(server.closed(), Closed::Lost);
    assert_eq!(server.stop().counters.lost, 5);
}

#[test]
fn a_silent_peer_is_pinged_and_then_dropped() {
    let mut limits = limits();
    limits.ping_interval_ms = 60;
    limits.pong_timeout_ms = 60;
    let server = TestServer::echo_with(limits);
    let mut client = RawClient::open(server.addr);
    // Anything that it sends keeps it: here a Pong.
    for _ in 0..3 {
        client.expect(&Frame { first: FIN | PING, payload: Vec::new() });
        client.send(wire::pong(b""));
    }
    client.expect(&Frame { first: FIN | PING, payload: Vec::new() });
    client.expect_eof();
    assert_eq!(server.closed(), Closed::Silent);
    assert_eq!(server.stop().counters.silent, 1);
}

#[test]
fn on_close_comes_exactly_once_for_each_on_open() {
    let server = TestServer::echo();
    let mut opened = Vec::new();
    for round in 0..10 {
        let mut clients: Vec<RawClient> = (0..5).map(|_| RawClient::open(server.addr)).collect();
        opened.extend((0..5).map(|_| server.opened()));
        clients[0].send(wire::close(1000, ""));
        clients[0].expect_close(1000);
        clients[1].send_and_half_close(wire::text("last"));
        clients[2].send([b"\x83\x80".to_vec(), wire::close(1000, "")].concat());
        clients[3].send(wire::text("last"));
        if round % 2 == 0 {
            clients.pop().unwrap().reset();
        }
    }
    // The clients are dropped by then, so that all connections end.
    let mut closed: Vec<_> = opened.iter().map(|_| server.closed_peer().0).collect();
    let report = server.stop();
    assert_eq!(report.closed, []);
    assert_eq!(report.counters.opened, opened.len() as u64);
    let by_name = |id: &wsfast::PeerId| id.to_string();
    opened.sort_by_key(by_name);
    closed.sort_by_key(by_name);
    assert_eq!(closed, opened);
}

/// `TOGETHER` clients send `bytes` and a FIN in one segment: each gets `reply` and the end, and none is left over.
fn ends_together(server: &TestServer, bytes: &[u8], reply: &Frame, closed: Closed) {
    const AT_ONCE: u32 = 50;
    for _ in 0..TOGETHER / AT_ONCE {
        let mut clients: Vec<RawClient> =
            (0..AT_ONCE).map(|_| RawClient::open(server.addr)).collect();
        for client in &mut clients {
            client.send_and_half_close(bytes);
        }
        for client in &mut clients {
            client.expect(reply);
            client.expect_eof();
            assert_eq!(server.closed(), closed);
        }
    }
}

/// An echo that closes behind its first reply.
fn closing(code: u16, reason: &'static str) -> Hooks {
    Hooks::echo().on_message(move |message, cx| {
        assert_eq!(cx.send(message.kind(), message.payload()), wsfast::Sent::Now);
        cx.close(StatusCode::from_wire(code).unwrap(), reason);
    })
}

/// An echo that sends much more than sockets hold when it is told `much`.
fn much_on_demand() -> Hooks {
    Hooks::echo().on_message(|message, cx| {
        if message.payload() == b"much" {
            for number in 0..MUCH_COUNT {
                let _refused_past_the_limit = cx.send(Kind::Binary, &much(number));
            }
        } else {
            let _sent = cx.send(message.kind(), message.payload());
        }
    })
}

fn expect_much(client: &mut RawClient) {
    for number in 0..MUCH_COUNT {
        client.expect(&Frame::binary(&much(number)));
    }
}

fn much(number: usize) -> Vec<u8> {
    vec![u8::try_from(number).unwrap(); MUCH_LEN]
}

fn room_for_much() -> Limits {
    let mut limits = limits();
    limits.queue_bytes_max = 2 * MUCH_COUNT * MUCH_LEN;
    limits
}

fn short_close() -> Limits {
    let mut limits = limits();
    limits.close_timeout_ms = 100;
    limits
}

const MUCH_COUNT: usize = 64;
const MUCH_LEN: usize = 256 * 1024;
const TOGETHER: u32 = 300;
