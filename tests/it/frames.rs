//! Frames and messages (RFC 6455 §5, §8.1): what is answered, and with what each breach closes the connection.

use wsfast::Closed;

use crate::support::client::{RawClient, Witness};
use crate::support::limits;
use crate::support::server::TestServer;
use crate::support::wire::{
    self, BINARY, CLOSE, CONTINUATION, FIN, Frame, MASKING_KEY, PING, PONG, TEXT, masked,
};

#[test]
fn every_kind_of_message_is_echoed() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000, MESSAGE_BYTES_MAX] {
        println!("{len} bytes");
        let text = "é€𝄞x".repeat(len / 10) + &"y".repeat(len % 10);
        client.expect_echo(&text);
        let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
        client.send(wire::binary(&bytes));
        client.expect(&Frame::binary(&bytes));
    }
}

#[test]
fn any_masking_key_unmasks() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    for key in [[0; 4], [0xFF; 4], [1, 0, 0, 0], [0, 0, 0, 1], [0x80, 1, 2, 3]] {
        client.send(wire::masked_with(key, FIN | TEXT, b"masked, or not"));
        client.expect_text("masked, or not");
    }
}

#[test]
fn fragments_make_one_message() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    let table: [(&[&[u8]], &str); 6] = [
        (&[b"a", b"b"], "ab"),
        (&[b"", b"ab"], "ab"),
        (&[b"ab", b""], "ab"),
        (&[b"", b"", b""], ""),
        (&[b"", b"a", b"", b"", b"b", b""], "ab"),
        // A character cut by fragments.
        (&[b"\xF0", b"\x9D\x84", b"", b"\x9E"], "𝄞"),
    ];
    for (fragments, whole) in table {
        client.send(fragmented(TEXT, fragments));
        client.expect_text(whole);
        client.send(fragmented(BINARY, fragments));
        client.expect(&Frame::binary(whole.as_bytes()));
    }
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    for payload in [&b""[..], b"\0", b"not \xFF UTF-8", &[7; 125]] {
        client.send(wire::ping(payload));
        client.expect(&Frame::pong(payload));
    }
}

#[test]
fn a_pong_is_not_answered() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    for payload in [&b""[..], b"nobody asked", &[7; 125]] {
        client.send(wire::pong(payload));
    }
    client.expect_echo("next");
}

#[test]
fn a_ping_between_fragments_is_answered_before_the_message_ends() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    client.send(masked(TEXT, b"before "));
    client.send(wire::ping(b"1"));
    client.expect(&Frame::pong(b"1"));
    client.send([masked(CONTINUATION, b"between "), wire::pong(b"x"), wire::ping(b"2")].concat());
    client.expect(&Frame::pong(b"2"));
    client.send(masked(FIN | CONTINUATION, b"behind"));
    client.expect_text("before between behind");
}

#[test]
fn every_breach_closes_with_its_code_and_reason() {
    let mut table = vec![
        (UNMASKED, b"\x81\x02hi".to_vec()),
        (UNMASKED, b"\x89\x00".to_vec()),
        (UNMASKED, b"\x88\x02\x03\xE8".to_vec()),
        (RESERVED_BITS, masked(0x40 | FIN | TEXT, b"hi")),
        (RESERVED_BITS, masked(0x20 | FIN | BINARY, b"hi")),
        (RESERVED_BITS, masked(0x10 | FIN | TEXT, b"hi")),
        (RESERVED_BITS, masked(0x70 | FIN | BINARY, b"hi")),
        (RESERVED_BITS, masked(0x40 | FIN | PING, b"")),
        (RESERVED_BITS, masked(0x40 | FIN | CLOSE, b"")),
        (RESERVED_BITS, inside_text(masked(0x40 | FIN | CONTINUATION, b""))),
        (FRAGMENTED_CONTROL, masked(PING, b"")),
        (FRAGMENTED_CONTROL, masked(PONG, b"")),
        (FRAGMENTED_CONTROL, masked(CLOSE, b"")),
        (CONTROL_TOO_LONG, masked(FIN | PING, &[0; 126])),
        (CONTROL_TOO_LONG, masked(FIN | PONG, &[0; 126])),
        (CONTROL_TOO_LONG, wire::close(1000, &"x".repeat(124))),
        (CONTROL_TOO_LONG, masked(FIN | PING, &[0; 65_536])),
        (NOT_MINIMAL, [&[FIN | BINARY, 0xFE, 0, 125], &MASKING_KEY[..]].concat()),
        (NOT_MINIMAL, [&[FIN | BINARY, 0xFE, 0, 0], &MASKING_KEY[..]].concat()),
        (NOT_MINIMAL, with_64_bits(FIN | BINARY, 65_535)),
        (NOT_MINIMAL, with_64_bits(FIN | BINARY, 1)),
        (TOP_BIT, with_64_bits(FIN | BINARY, 1 << 63)),
        (TOP_BIT, with_64_bits(FIN | BINARY, u64::MAX)),
        (UNEXPECTED, masked(FIN | CONTINUATION, b"")),
        (UNEXPECTED, masked(CONTINUATION, b"x")),
        (UNEXPECTED, [fragmented(TEXT, &[b"a", b"b"]), masked(FIN | CONTINUATION, b"")].concat()),
        (EXPECTED, inside_text(masked(FIN | TEXT, b"b"))),
        (EXPECTED, inside_text(masked(BINARY, b"b"))),
        (ONE_BYTE, masked(FIN | CLOSE, b"\x03")),
        (NOT_UTF8, masked(FIN | CLOSE, b"\x03\xE8\xFF")),
        (NOT_UTF8, masked(FIN | CLOSE, b"\x03\xE8cut \xE2\x82")),
        (NOT_UTF8, masked(FIN | TEXT, b"\xFF")),
        (NOT_UTF8, masked(FIN | TEXT, b"cut \xE2\x82")),
        // An overlong "/", a surrogate, past U+10FFFF.
        (NOT_UTF8, masked(FIN | TEXT, b"\xC0\xAF")),
        (NOT_UTF8, masked(FIN | TEXT, b"\xED\xA0\x80")),
        (NOT_UTF8, masked(FIN | TEXT, b"\xF4\x90\x80\x80")),
        (NOT_UTF8, fragmented(TEXT, &[b"cut \xE2", b"\x82"])),
        (NOT_UTF8, fragmented(TEXT, &[b"cut \xE2", b"\x82", b"x", b"y"])),
        (NOT_UTF8, [masked(TEXT, &[b'x'; 100_000]), masked(CONTINUATION, b"\xFF")].concat()),
        (TOO_BIG, with_64_bits(FIN | BINARY, (1 << 63) - 1)),
        (TOO_BIG, [masked(BINARY, b"x"), with_64_bits(CONTINUATION, (1 << 63) - 1)].concat()),
        (TOO_BIG, [masked(TEXT, b"x"), with_64_bits(FIN | CONTINUATION, (1 << 63) - 1)].concat()),
        (
            TOP_BIT,
            [masked(BINARY, b"x"), with_64_bits(CONTINUATION, 0u64.wrapping_sub(14))].concat(),
        ),
        (TOP_BIT, [masked(BINARY, b"x"), with_64_bits(CONTINUATION, u64::MAX)].concat()),
    ];
    for opcode in [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF] {
        table.push((RESERVED_OPCODE, masked(FIN | opcode, b"")));
        table.push((RESERVED_OPCODE, masked(opcode, b"x")));
        table.push((RESERVED_OPCODE, inside_text(masked(FIN | opcode, b""))));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        table.push((CLOSE_CODE, wire::close(code, "")));
        table.push((CLOSE_CODE, wire::close(code, "why")));
    }
    let server = TestServer::echo();
    let count = table.len();
    for (expected, bytes) in table {
        breaks(&server, &bytes, expected);
    }
    assert_eq!(server.stop().counters.protocol_errors, count as u64);
}

/// With nothing but the bytes that show it: the server does not wait for what the header declares.
#[test]
fn a_breach_is_answered_as_soon_as_it_shows() {
    let over = MESSAGE_BYTES_MAX as u64 + 1;
    let table = [
        (RESERVED_OPCODE, vec![FIN | 0x3]),
        (RESERVED_BITS, vec![0x40 | FIN | TEXT]),
        (FRAGMENTED_CONTROL, vec![PING]),
        (UNEXPECTED, vec![FIN | CONTINUATION]),
        (EXPECTED, inside_text(vec![FIN | TEXT])),
        (UNMASKED, vec![FIN | TEXT, 100]),
        (CONTROL_TOO_LONG, vec![FIN | PING, 0xFE]),
        (NOT_MINIMAL, vec![FIN | BINARY, 0xFE, 0, 100]),
        (TOP_BIT, with_64_bits(FIN | BINARY, u64::MAX)[..10].to_vec()),
        (TOO_BIG, wire::header(FIN | BINARY, over, MASKING_KEY)[..10].to_vec()),
        (RESERVED_OPCODE, wire::header(FIN | 0xB, 100, MASKING_KEY)),
        (NOT_UTF8, first_bytes(FIN | TEXT, 5, b"a\xFF")),
        (NOT_UTF8, first_bytes(FIN | TEXT, 1_000_000, b"a\xE2\x28")),
        (NOT_UTF8, first_bytes(FIN | TEXT, 300_000, &[&[b'x'; 200_000], &b"\xC0"[..]].concat())),
        (NOT_UTF8, [masked(TEXT, b"\xE2"), first_bytes(FIN | CONTINUATION, 9, b"\x28")].concat()),
        (CLOSE_CODE, first_bytes(FIN | CLOSE, 20, b"\x03\xED")),
        (NOT_UTF8, first_bytes(FIN | CLOSE, 20, b"\x03\xE8\xFF")),
    ];
    let server = TestServer::echo();
    for (expected, bytes) in table {
        breaks(&server, &bytes, expected);
    }
}

#[test]
fn control_frames_may_hold_125_bytes() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    client.send(wire::pong(&[1; 125]));
    client.send(wire::ping(&[2; 125]));
    client.expect(&Frame::pong(&[2; 125]));
    client.send(wire::close(1000, &"x".repeat(123)));
    client.expect(&Frame::close(1000, ""));
    client.expect_eof();
}

#[test]
fn a_message_may_be_as_long_as_its_limit_and_no_longer() {
    let mut limits = limits();
    limits.message_bytes_max = 1000;
    let server = TestServer::echo_with(limits);
    let mut client = RawClient::open(server.addr);
    let most = [7; 1000];
    let at_limit = [
        wire::binary(&most),
        fragmented(BINARY, &[&most[..1], &most[1..]]),
        fragmented(BINARY, &[&most[..999], &most[999..], b""]),
        fragmented(BINARY, &[b"", &most, b""]),
    ];
    for message in at_limit {
        client.send(message);
        client.expect(&Frame::binary(&most));
    }
    let over = [
        wire::binary(&[7; 1001]),
        fragmented(BINARY, &[&most, b"x"]),
        fragmented(BINARY, &[b"x", &most]),
        [masked(BINARY, &most), masked(CONTINUATION, b""), masked(CONTINUATION, b"x")].concat(),
        // It is the header that tells.
        wire::header(FIN | BINARY, 1001, MASKING_KEY),
        [masked(BINARY, &most), wire::header(CONTINUATION, 1, MASKING_KEY)].concat(),
    ];
    for bytes in over {
        breaks(&server, &bytes, TOO_BIG);
    }
}

#[test]
fn a_message_may_have_as_many_fragments_as_their_limit_and_no_more() {
    let mut limits = limits();
    limits.fragments_max = 4;
    let server = TestServer::echo_with(limits);
    let mut client = RawClient::open(server.addr);
    // Twice: the count is each message's own, and control frames do not count.
    for _ in 0..2 {
        let mut frames = [masked(TEXT, b"a"), masked(CONTINUATION, b"b")].concat();
        frames.extend([wire::ping(b""), wire::ping(b"")].concat());
        frames.extend([masked(CONTINUATION, b""), masked(FIN | CONTINUATION, b"c")].concat());
        client.send(frames);
        client.expect(&Frame::pong(b""));
        client.expect(&Frame::pong(b""));
        client.expect_text("abc");
    }
    let four = [masked(TEXT, b""), masked(CONTINUATION, b"").repeat(3)].concat();
    breaks(&server, &[four.clone(), masked(CONTINUATION, b"")].concat(), TOO_MANY);
    breaks(&server, &[four, masked(FIN | CONTINUATION, b"x")].concat(), TOO_MANY);
}

#[test]
fn a_message_of_a_hundred_thousand_fragments_is_echoed() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    let mut frames = masked(BINARY, b"7");
    frames.extend(masked(CONTINUATION, b"7").repeat(99_998));
    frames.extend(masked(FIN | CONTINUATION, b"7"));
    client.send(frames);
    client.expect(&Frame::binary(&[b'7'; 100_000]));
}

/// Whatever the network does to the stream: the answers are the same.
#[test]
fn no_cut_of_a_conversation_changes_the_answers() {
    let server = TestServer::echo();
    let mut witness = Witness::new(server.addr);
    let stream = [
        wire::text("héllo"),
        masked(BINARY, b"first, "),
        wire::ping(b"between"),
        masked(CONTINUATION, b""),
        masked(FIN | CONTINUATION, b"last"),
        wire::binary(&[7; 130]),
        fragmented(TEXT, &[b"\xE2", b"\x82\xAC"]),
        wire::close(3000, "bye"),
    ]
    .concat();
    for cut in 1..stream.len() {
        println!("cut at {cut}");
        let mut client = RawClient::open(server.addr);
        client.send(&stream[..cut]);
        witness.round_trip();
        client.send(&stream[cut..]);
        expect_conversation(&mut client, &[7; 130]);
    }
}

#[test]
fn a_conversation_one_byte_at_a_time_gets_the_same_answers() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    let large = [9; 3000];
    let stream = [
        wire::text("héllo"),
        masked(BINARY, b"first, "),
        wire::ping(b"between"),
        fragmented(CONTINUATION, &[b"", b"last"]),
        wire::binary(&large),
        fragmented(TEXT, &[b"\xE2", b"\x82\xAC"]),
        wire::close(3000, "bye"),
    ]
    .concat();
    for byte in stream {
        client.send([byte]);
    }
    expect_conversation(&mut client, &large);
}

#[test]
fn cuts_around_the_header_of_a_large_message_change_nothing() {
    let server = TestServer::echo();
    let mut witness = Witness::new(server.addr);
    let large: Vec<u8> = (0..=250).cycle().take(300_000).collect();
    let frame = wire::binary(&large);
    let stream = [wire::text("before"), frame.clone(), wire::text("behind")].concat();
    let at = stream.len() - frame.len() - wire::text("behind").len();
    let near_start = at - 2..at + 20;
    let near_end = stream.len() - 30..stream.len();
    let inside = [at + 1000, at + 131_072, at + 132_096, at + 200_001];
    for cut in near_start.chain(near_end).chain(inside) {
        println!("cut at {cut}");
        let mut client = RawClient::open(server.addr);
        client.send(&stream[..cut]);
        witness.round_trip();
        client.send(&stream[cut..]);
        client.expect_text("before");
        client.expect(&Frame::binary(&large));
        client.expect_text("behind");
    }
}

#[test]
fn many_messages_in_one_segment_are_answered_in_order() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    let mut stream = Vec::new();
    for number in 0..5000 {
        stream.extend(wire::text(&number.to_string()));
    }
    client.send(stream);
    for number in 0..5000 {
        client.expect_text(&number.to_string());
    }
}

#[test]
fn messages_of_all_sizes_mixed_are_answered_in_order() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    for round in 0..5u8 {
        let lens = [10, 70_000, 0, 8192, 8193, 1, 500_000, 125, 200_000];
        let messages = lens.map(|len| vec![round; len]);
        client.send(messages.iter().flat_map(|message| wire::binary(message)).collect::<Vec<u8>>());
        for message in &messages {
            client.expect(&Frame::binary(message));
        }
    }
}

/// A breach costs its own connection, and the messages before it were answered.
#[test]
fn what_came_before_a_breach_is_answered_and_what_comes_behind_is_not() {
    let server = TestServer::echo();
    let mut bystander = RawClient::open(server.addr);
    let mut client = RawClient::open(server.addr);
    client.send([wire::text("before"), b"\x81\x00".to_vec(), wire::text("behind")].concat());
    client.expect_text("before");
    client.expect(&Frame::close(1002, UNMASKED.1));
    client.send_in_vain(wire::text("and more"));
    client.expect_eof();
    bystander.expect_echo("unharmed");
}

/// The FIN, and no RST, although much is unread when the breach shows.
#[test]
fn a_breach_in_front_of_much_data_still_gets_its_close() {
    let server = TestServer::echo();
    let mut client = RawClient::open(server.addr);
    client.send([b"\x83\x80".to_vec(), vec![7; 1_000_000]].concat());
    client.expect(&Frame::close(1002, RESERVED_OPCODE.1));
    client.expect_eof();
}

/// Sends `bytes` to a fresh connection, which breaks the protocol with them, and checks how it ends on both sides.
/// Echoes of whole messages before the breach may come first.
fn breaks(server: &TestServer, bytes: &[u8], (code, reason): (u16, &str)) {
    println!("{code} {reason}: {}", bytes[..bytes.len().min(40)].escape_ascii());
    let mut client = RawClient::open(server.addr);
    client.send(bytes);
    let mut frame = client.frame();
    while frame.first != FIN | CLOSE {
        frame = client.frame();
    }
    assert_eq!(frame, Frame::close(code, reason));
    client.expect_eof();
    drop(client);
    match server.closed() {
        Closed::Failed(error) => {
            assert_eq!((error.status_code().to_wire(), error.reason()), (code, reason));
        }
        other => panic!("on_close was told {other:?}"),
    }
}

fn expect_conversation(client: &mut RawClient, large: &[u8]) {
    client.expect_text("héllo");
    client.expect(&Frame::pong(b"between"));
    client.expect(&Frame::binary(b"first, last"));
    client.expect(&Frame::binary(large));
    client.expect_text("€");
    client.expect(&Frame::close(3000, ""));
    client.expect_eof();
}

/// A message in `fragments`, the first with `opcode`.
fn fragmented(opcode: u8, fragments: &[&[u8]]) -> Vec<u8> {
    let mut frames = Vec::new();
    for (at, fragment) in fragments.iter().enumerate() {
        let opcode = if at == 0 { opcode } else { CONTINUATION };
        let fin = if at + 1 == fragments.len() { FIN } else { 0 };
        frames.extend(masked(fin | opcode, fragment));
    }
    frames
}

/// `frame` behind the first fragment of a text message.
fn inside_text(frame: Vec<u8>) -> Vec<u8> {
    [masked(TEXT, b"a"), frame].concat()
}

/// A header with a length of 64 bits, whatever it is.
fn with_64_bits(first: u8, len: u64) -> Vec<u8> {
    [&[first, 0xFF], &len.to_be_bytes()[..], &MASKING_KEY].concat()
}

/// The start of a frame that declares `len` bytes, of which `payload` is all that comes.
fn first_bytes(first: u8, len: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = wire::header(first, len, MASKING_KEY);
    bytes.extend(payload.iter().zip(MASKING_KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

const MESSAGE_BYTES_MAX: usize = 1 << 20;

const UNMASKED: (u16, &str) = (1002, "frame without a masking key");
const RESERVED_BITS: (u16, &str) = (1002, "reserved bit set");
const RESERVED_OPCODE: (u16, &str) = (1002, "reserved opcode");
const FRAGMENTED_CONTROL: (u16, &str) = (1002, "fragmented control frame");
const CONTROL_TOO_LONG: (u16, &str) = (1002, "control frame of more than 125 bytes");
const NOT_MINIMAL: (u16, &str) = (1002, "payload length not in its shortest form");
const TOP_BIT: (u16, &str) = (1002, "payload length with its top bit set");
const UNEXPECTED: (u16, &str) = (1002, "continuation frame without a message to continue");
const EXPECTED: (u16, &str) = (1002, "new message inside a fragmented one");
const ONE_BYTE: (u16, &str) = (1002, "close body of one byte");
const CLOSE_CODE: (u16, &str) = (1002, "close code that may not be sent");
const NOT_UTF8: (u16, &str) = (1007, "not UTF-8");
const TOO_BIG: (u16, &str) = (1009, "message too big");
const TOO_MANY: (u16, &str) = (1008, "too many fragments in one message");
