//! permessage-deflate (RFC 7692) over real sockets, against a codec that is not the server's (miniz).

use std::net::SocketAddr;
use std::sync::mpsc;

use flate2::{Compress, Compression as Level, Decompress, FlushCompress, FlushDecompress};
use wsfast::{Closed, CompressionMode, Kind, Limits, PeerId};

use crate::support::client::RawClient;
use crate::support::limits;
use crate::support::server::{Hooks, TestServer};
use crate::support::wire::{self, BINARY, CONTINUATION, FIN, Frame, TEXT};

const RSV1: u8 = 0x40;

/// What a browser offers.
const BROWSER: &str = "permessage-deflate; client_max_window_bits";

#[test]
fn the_answer_to_an_offer_is_what_the_mode_grants() {
    const NO: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    use CompressionMode::{Dedicated, Off, Shared};
    let table = [
        (Off, BROWSER, None),
        (Shared, "", None),
        (Shared, "x-other", None),
        (Shared, BROWSER, Some(NO)),
        (Shared, "permessage-deflate; server_max_window_bits=8", None),
        (
            Shared,
            "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=9",
            Some(
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9",
            ),
        ),
        // Unknown, doubled, out of range: the next offer is tried.
        (Shared, "permessage-deflate; unknown", None),
        (Shared, "permessage-deflate; unknown, permessage-deflate", Some(NO)),
        (
            Shared,
            "permessage-deflate; client_max_window_bits; client_max_window_bits, permessage-deflate",
            Some(NO),
        ),
        (Shared, "permessage-deflate; client_max_window_bits=16, permessage-deflate", Some(NO)),
        (Shared, "permessage-deflate; server_max_window_bits=7, permessage-deflate", Some(NO)),
        (Dedicated, BROWSER, Some("permessage-deflate")),
        (
            Dedicated,
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=10",
            Some("permessage-deflate; server_no_context_takeover; server_max_window_bits=10"),
        ),
    ];
    for (mode, offer, expected) in table {
        let server = TestServer::echo_with(compressing(mode));
        let mut client = RawClient::connect(server.addr);
        client.send(wire::request_with(&format!("Sec-WebSocket-Extensions: {offer}\r\n")));
        let response = client.expect_open(wire::KEY);
        let granted = response.values("sec-websocket-extensions");
        assert_eq!(granted, expected.into_iter().collect::<Vec<_>>(), "{mode:?} {offer}");
        client.expect_echo("plain as ever");
    }
}

/// Compressed both ways, one way and neither: by what it is, not by how it came.
#[test]
fn messages_are_compressed_where_it_pays() {
    let server = TestServer::echo_with(compressing(CompressionMode::Shared));
    let mut client = Deflating::open(server.addr, BROWSER, false);
    let text = json(3000);
    client.send(TEXT, &text);
    assert!(client.expect(TEXT, &text).is_compressed());
    client.raw.send(wire::text(std::str::from_utf8(&text).unwrap()));
    assert!(client.expect(TEXT, &text).is_compressed());
    // Short ones, and those that don't shrink, come as they are.
    client.send(TEXT, &text[..400]);
    assert!(!client.expect(TEXT, &text[..400]).is_compressed());
    let noise = noise(300_000);
    for len in [600, 60_000, 300_000] {
        client.send(BINARY, &noise[..len]);
        assert!(!client.expect(BINARY, &noise[..len]).is_compressed());
    }
    // Large ones, past every buffer on the way.
    let large = json(1 << 20);
    for _ in 0..3 {
        client.send(BINARY, &large);
        assert!(client.expect(BINARY, &large).is_compressed());
    }
    assert_eq!(server.stop().counters.protocol_errors, 0);
}

/// A burst of compressed messages, cut anywhere, comes back in order among plain ones and Pings.
#[test]
fn a_pipelined_mixture_comes_back_in_order() {
    for mode in [CompressionMode::Shared, CompressionMode::Dedicated] {
        let server = TestServer::echo_with(compressing(mode));
        let takeover = mode == CompressionMode::Dedicated;
        let mut client = Deflating::open(server.addr, BROWSER, takeover);
        let texts: Vec<Vec<u8>> = (0..300).map(|at| json(at * 37 % 5000)).collect();
        let mut stream = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            if at % 4 == 0 {
                // It is not in the window that the others refer to.
                stream.extend(wire::masked(FIN | TEXT, text));
                continue;
            }
            let packed = client.deflate(text);
            match at % 4 {
                1 => stream.extend(wire::masked(FIN | RSV1 | TEXT, &packed)),
                2 => stream.extend(
                    [
                        wire::masked(RSV1 | TEXT, &packed[..packed.len() / 2]),
                        wire::ping(b"between"),
                        wire::masked(FIN | CONTINUATION, &packed[packed.len() / 2..]),
                    ]
                    .concat(),
                ),
                _ => stream.extend(wire::masked(FIN | RSV1 | BINARY, &packed)),
            }
        }
        for piece in stream.chunks(7777) {
            client.raw.send(piece);
        }
        for (at, text) in texts.iter().enumerate() {
            let opcode = if at % 4 == 3 { BINARY } else { TEXT };
            client.expect_among_pongs(opcode, text);
        }
        assert_eq!(server.stop().counters.protocol_errors, 0);
    }
}

#[test]
fn with_takeover_a_repetition_costs_a_few_bytes() {
    let server = TestServer::echo_with(compressing(CompressionMode::Dedicated));
    let mut client = Deflating::open(server.addr, BROWSER, true);
    let text = json(2000);
    let mut lens = Vec::new();
    for _ in 0..5 {
        client.send(TEXT, &text);
        lens.push(client.expect(TEXT, &text).payload.len());
    }
    assert!(lens[0] > 500 && lens[1..].iter().all(|&len| len < 100), "{lens:?}");
    // The context survives messages that are not compressed.
    client.send(TEXT, b"short");
    client.expect(TEXT, b"short");
    client.send(TEXT, &text);
    assert!(client.expect(TEXT, &text).payload.len() < 100);
}

#[test]
fn past_the_memory_budget_connections_share() {
    let mut limits = compressing(CompressionMode::Dedicated);
    limits.compression.memory_bytes_max = 1 << 20;
    let server = TestServer::echo_with(limits);
    let response = |client: &mut RawClient| {
        client.send(wire::request_with(&format!("Sec-WebSocket-Extensions: {BROWSER}\r\n")));
        let response = client.expect_open(wire::KEY);
        response.values("sec-websocket-extensions")[0].contains("server_no_context_takeover")
    };
    let mut clients: Vec<_> = (0..4).map(|_| RawClient::connect(server.addr)).collect();
    let shares: Vec<bool> = clients.iter_mut().map(response).collect();
    assert_eq!(shares, [false, false, true, true]);
    // A place is free again once its peer is gone.
    clients.remove(0).reset();
    assert_eq!(server.closed(), Closed::Lost);
    assert!(!response(&mut RawClient::connect(server.addr)));
}

/// Everybody hears the same, each in the form that was agreed on: plain, shared, a small window, a context of its own.
#[test]
fn a_broadcast_reaches_each_in_its_own_form() {
    let server = TestServer::echo_with(compressing(CompressionMode::Dedicated));
    let mut plain = RawClient::open(server.addr);
    let none = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let small = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9";
    let mut others = [
        Deflating::open(server.addr, none, false),
        Deflating::open(server.addr, small, false),
        Deflating::open(server.addr, BROWSER, true),
        Deflating::open(server.addr, BROWSER, true),
    ];
    let text = json(4000);
    for round in 0..3 {
        // One of them has said something of its own meanwhile.
        others[3].send(TEXT, &text);
        others[3].expect(TEXT, &text);
        server.remote.broadcast(Kind::Text, text.clone());
        plain.expect(&Frame { first: FIN | TEXT, payload: text.clone() });
        let received: Vec<Frame> =
            others.iter_mut().map(|other| other.expect(TEXT, &text)).collect();
        assert!(received.iter().all(Frame::is_compressed), "round {round}");
        // One encoding for all who can take it.
        assert!(received[0] == received[2] && received[0] == received[3]);
        assert!(received[1].payload.len() > received[0].payload.len());
    }
    server.remote.broadcast(Kind::Text, "short");
    plain.expect_text("short");
    for other in &mut others {
        assert!(!other.expect(TEXT, b"short").is_compressed());
    }
}

/// What a handler sends to all while it handles a message reaches its own peer too, behind what it sent before.
#[test]
fn a_handlers_broadcast_includes_its_own_peer() {
    let hooks = Hooks::echo().on_message(|message, cx| {
        let _sent = cx.send(Kind::Text, b"first");
        cx.broadcast(message.kind(), message.payload());
        let _sent = cx.send(Kind::Text, b"last");
    });
    let server = TestServer::start(compressing(CompressionMode::Shared), hooks);
    let mut own = Deflating::open(server.addr, BROWSER, false);
    let mut other = Deflating::open(server.addr, BROWSER, false);
    let text = json(20_000);
    own.send(TEXT, &text);
    own.expect(TEXT, b"first");
    assert!(own.expect(TEXT, &text).is_compressed());
    own.expect(TEXT, b"last");
    assert!(other.expect(TEXT, &text).is_compressed());
}

/// `send_to` may refer to what this peer alone was sent.
#[test]
fn a_message_for_one_other_peer_uses_its_context() {
    let (to_tx, to_rx) = mpsc::channel::<PeerId>();
    let hooks = Hooks::echo().on_message(move |message, cx| {
        for peer in to_rx.try_iter() {
            let _sent = cx.send_to(peer, message.kind(), message.payload());
            let _sent = cx.send_to(peer, message.kind(), message.payload());
        }
    });
    let server = TestServer::start(compressing(CompressionMode::Dedicated), hooks);
    let mut listener = Deflating::open(server.addr, BROWSER, true);
    to_tx.send(server.opened()).unwrap();
    let mut speaker = RawClient::open(server.addr);
    let text = json(3000);
    speaker.send(wire::text(std::str::from_utf8(&text).unwrap()));
    let first = listener.expect(TEXT, &text).payload.len();
    let second = listener.expect(TEXT, &text).payload.len();
    assert!(second < first / 5, "{first} then {second} bytes");
}

#[test]
fn bad_compressed_input_closes_with_its_code() {
    let over = packed(&vec![b'x'; (1 << 20) + 1]);
    let past_over = packed(&vec![b'x'; (1 << 20) + 2]);
    let table: [(&str, Vec<Vec<u8>>, u16); 11] = [
        ("no stream", vec![wire::masked(FIN | RSV1 | TEXT, &[0xFF; 20])], 1007),
        ("cut", vec![wire::masked(FIN | RSV1 | TEXT, &packed(&json(900))[..200])], 1007),
        ("no UTF-8", vec![wire::masked(FIN | RSV1 | TEXT, &packed(&[0xC0; 99]))], 1007),
        ("limit + 1", vec![wire::masked(FIN | RSV1 | BINARY, &over)], 1009),
        (
            "limit + 1 in fragments",
            vec![
                wire::masked(RSV1 | BINARY, &over[..100]),
                wire::masked(FIN | CONTINUATION, &over[100..]),
            ],
            1009,
        ),
        ("limit + 2", vec![wire::masked(FIN | RSV1 | BINARY, &past_over)], 1009),
        (
            "limit + 2 in fragments",
            vec![
                wire::masked(RSV1 | BINARY, &past_over[..100]),
                wire::masked(FIN | CONTINUATION, &past_over[100..]),
            ],
            1009,
        ),
        ("a bomb", vec![wire::masked(FIN | RSV1 | BINARY, &packed(&vec![0; 60 << 20]))], 1009),
        (
            "RSV1 on a continuation",
            vec![wire::masked(RSV1 | TEXT, b""), wire::masked(FIN | RSV1 | CONTINUATION, b"\0")],
            1002,
        ),
        ("RSV1 on a Ping", vec![wire::masked(FIN | RSV1 | 0x9, b"")], 1002),
        ("RSV2", vec![wire::masked(FIN | RSV1 | 0x20 | TEXT, b"\0")], 1002),
    ];
    let server = TestServer::echo_with(compressing(CompressionMode::Shared));
    for (what, frames, code) in table {
        let mut client = Deflating::open(server.addr, BROWSER, false).raw;
        client.send(frames.concat());
        let reason = client.expect_close(code);
        assert!(!reason.is_empty(), "{what}");
        client.expect_eof();
    }
    // At the limit, and empty in each way there is.
    let mut client = Deflating::open(server.addr, BROWSER, false);
    let at_limit = vec![b'x'; 1 << 20];
    client.send(BINARY, &at_limit);
    client.expect(BINARY, &at_limit);
    let at_limit_packed = packed(&at_limit);
    client.raw.send(wire::masked(RSV1 | BINARY, &at_limit_packed[..100]));
    client.raw.send(wire::masked(FIN | CONTINUATION, &at_limit_packed[100..]));
    client.expect(BINARY, &at_limit);
    for empty in [&b""[..], b"\0", b"\x02\0", b"\x03\0\0"] {
        client.raw.send(wire::masked(FIN | RSV1 | TEXT, empty));
        client.expect(TEXT, b"");
    }
    // BFINAL in mid-message.
    let hello = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    client.raw.send(wire::masked(FIN | RSV1 | TEXT, &[&hello[..], &hello, b"\0"].concat()));
    client.expect(TEXT, b"HelloHello");
}

/// A client with a codec of its own.
struct Deflating {
    raw: RawClient,
    deflate: Compress,
    inflate: Decompress,
    takeover: bool,
}

impl Deflating {
    fn open(addr: SocketAddr, offer: &str, takeover: bool) -> Self {
        let mut raw = RawClient::connect(addr);
        raw.send(wire::request_with(&format!("Sec-WebSocket-Extensions: {offer}\r\n")));
        let response = raw.expect_open(wire::KEY);
        let granted = response.values("sec-websocket-extensions").join(",");
        assert!(granted.starts_with("permessage-deflate"), "{granted}");
        assert_eq!(!granted.contains("server_no_context_takeover"), takeover, "{granted}");
        let (deflate, inflate) = (Compress::new(Level::fast(), false), Decompress::new(false));
        Self { raw, deflate, inflate, takeover }
    }

    fn deflate(&mut self, message: &[u8]) -> Vec<u8> {
        if !self.takeover {
            self.deflate.reset();
        }
        deflate_with(&mut self.deflate, message)
    }

    fn send(&mut self, opcode: u8, message: &[u8]) {
        let packed = self.deflate(message);
        self.raw.send(wire::masked(FIN | RSV1 | opcode, &packed));
    }

    /// The next frame is this message; returns the frame as it came.
    fn expect(&mut self, opcode: u8, message: &[u8]) -> Frame {
        let frame = self.raw.frame();
        self.check(&frame, opcode, message);
        frame
    }

    fn expect_among_pongs(&mut self, opcode: u8, message: &[u8]) {
        let pong = Frame::pong(b"between");
        let frame = loop {
            let frame = self.raw.frame();
            if frame != pong {
                break frame;
            }
        };
        self.check(&frame, opcode, message);
    }

    fn check(&mut self, frame: &Frame, opcode: u8, message: &[u8]) {
        assert_eq!(frame.first & !RSV1, FIN | opcode, "{frame:?}");
        let payload = if frame.is_compressed() {
            if !self.takeover {
                self.inflate.reset(false);
            }
            let mut out = Vec::with_capacity(message.len() + 1);
            for part in [&frame.payload[..], &[0, 0, 0xFF, 0xFF]] {
                self.inflate.decompress_vec(part, &mut out, FlushDecompress::None).unwrap();
            }
            out
        } else {
            frame.payload.clone()
        };
        let expected = Frame { first: frame.first, payload: message.to_vec() };
        assert_eq!(Frame { first: frame.first, payload }, expected);
    }
}

impl Frame {
    fn is_compressed(&self) -> bool {
        self.first & RSV1 != 0
    }
}

fn compressing(mode: CompressionMode) -> Limits {
    let mut limits = limits();
    limits.compression.mode = mode;
    limits
}

fn packed(message: &[u8]) -> Vec<u8> {
    deflate_with(&mut Compress::new(Level::best(), false), message)
}

/// A message without the four bytes that end a sync flush (RFC 7692 §7.2.1).
fn deflate_with(deflate: &mut Compress, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 8 + 100);
    deflate.compress_vec(message, &mut out, FlushCompress::Sync).unwrap();
    assert!(out.len() < out.capacity() && out.ends_with(&[0, 0, 0xFF, 0xFF]));
    out.truncate(out.len() - 4);
    out
}

/// Orders of a market, `len` bytes of them.
fn json(len: usize) -> Vec<u8> {
    let order = |at: usize| {
        format!(
            "{{\"id\":{at},\"symbol\":\"ABC{}\",\"price\":{}.{:02}}},",
            at % 7,
            at * 31 % 997,
            at % 100
        )
    };
    let mut text: String = (0..).map(order).take(len / 20 + 2).collect();
    text.truncate(len);
    text.into_bytes()
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(byte).take(len).collect()
}
