//! What a handler makes of the message it was lent, in any order and any company: the replies are those of a naive
//! twin, however the server saves itself copying them.

use wsfast::{Context, Kind, Message, Sent};

use crate::support::client::{RawClient, Witness};
use crate::support::limits;
use crate::support::server::{Hooks, TestServer};
use crate::support::wire::{self, BINARY, CONTINUATION, FIN, Frame, TEXT, masked};

/// Each script alone, with a message of each size, between two echoes. Nobody else hears the broadcasts.
#[test]
fn every_use_of_a_message_gets_the_replies_of_the_twin() {
    let server = scripted();
    let mut client = RawClient::open(server.addr);
    let uses = [
        "e", "ee", "k", "ke", "ek", "s", "se", "es", "ese", "sese", "l", "le", "el", "lel", "h",
        "he", "eh", "t", "te", "et", "c", "ce", "m", "me", "em", "b", "be", "eb", "bkbe", "",
    ];
    for len in
        [0, 1, 100, 125, 126, 127, 1000, 8192, 8193, 65_535, 65_536, 70_000, 140_000, 300_000]
    {
        for script in uses {
            println!("{script:?} with {len} bytes");
            let message = message_of(script, len);
            let stream = [message_of("e", 5), message, message_of("e", 7)];
            client.send(stream.iter().flat_map(Said::frame).collect::<Vec<u8>>());
            for said in &stream {
                for reply in said.replies() {
                    client.expect(&reply);
                }
            }
        }
    }
}

/// Long conversations of everything, in pieces of any size.
#[test]
fn any_conversation_in_any_pieces_gets_the_replies_of_the_twin() {
    let server = scripted();
    let mut witness = Witness::new(server.addr);
    for seed in 1..=60 {
        println!("seed {seed}");
        let mut dice = Dice(seed);
        let mut client = RawClient::open(server.addr);
        let (mut stream, mut replies) = (Vec::new(), Vec::new());
        for _ in 0..dice.below(30) + 1 {
            match dice.below(10) {
                0 => {
                    stream.extend(wire::ping(b"ping"));
                    replies.push(Frame::pong(b"ping"));
                }
                1 => {
                    let said = random_message(&mut dice);
                    let at = dice.below(said.payload.len() + 1);
                    stream.extend(masked(said.opcode, &said.payload[..at]));
                    stream.extend(wire::ping(b"between"));
                    stream.extend(masked(FIN | CONTINUATION, &said.payload[at..]));
                    replies.push(Frame::pong(b"between"));
                    replies.extend(said.replies());
                }
                _ => {
                    let said = random_message(&mut dice);
                    stream.extend(said.frame());
                    replies.extend(said.replies());
                }
            }
            if replies.iter().map(|reply| reply.payload.len()).sum::<usize>() > UNREAD_BYTES_MAX {
                send_in_pieces(&mut client, &stream, &mut dice, &mut witness);
                stream.clear();
                replies.drain(..).for_each(|reply| client.expect(&reply));
            }
        }
        stream.extend(wire::close(1000, ""));
        replies.push(Frame::close(1000, ""));
        send_in_pieces(&mut client, &stream, &mut dice, &mut witness);
        replies.iter().for_each(|reply| client.expect(reply));
        client.expect_eof();
    }
}

/// What may be due before it is read. With a message's replies on top, some 250 KB, it is less than the kernel takes ahead of a
/// peer (`net::socket::listener`): a Pong that has to wait for room comes later than its place, and only the latest does (RFC 6455
/// section 5.5.3).
const UNREAD_BYTES_MAX: usize = 30_000;

/// In a few pieces, each of which is taken in before the next is sent.
fn send_in_pieces(client: &mut RawClient, stream: &[u8], dice: &mut Dice, witness: &mut Witness) {
    let mut rest = stream;
    for _ in 0..dice.below(6) {
        let (piece, more) = rest.split_at(dice.below(rest.len() + 1));
        client.send(piece);
        witness.round_trip();
        rest = more;
    }
    client.send(rest);
}

#[test]
fn a_message_sent_on_leaves_before_a_breach_behind_it_is_answered() {
    let server = scripted();
    for script in ["e", "es", "se"] {
        let mut client = RawClient::open(server.addr);
        let said = message_of(script, 10);
        client.send([said.frame(), b"\x83".to_vec()].concat());
        for reply in said.replies() {
            client.expect(&reply);
        }
        client.expect_close(1002);
        client.expect_eof();
    }
}

/// A handler may say much at once. It is the peer that is too slow, not what was said before, that gets it closed.
#[test]
fn much_behind_a_message_sent_on_is_sent_as_it_is_without_it() {
    for sends_on in [false, true] {
        println!("sends on: {sends_on}");
        let hooks = Hooks::echo().on_message(move |message, cx| {
            if sends_on {
                assert_eq!(cx.send(message.kind(), message.payload()), Sent::Now);
            }
            for number in 0..4u8 {
                let _a_refusal_closes = cx.send(Kind::Binary, &vec![number; 300_000]);
            }
        });
        let server = TestServer::start(limits(), hooks);
        let mut client = RawClient::open(server.addr);
        client.send(wire::text("go"));
        if sends_on {
            client.expect_text("go");
        }
        for number in 0..4 {
            client.expect(&Frame::binary(&vec![number; 300_000]));
        }
    }
}

/// The same across the messages of one segment.
#[test]
fn much_behind_an_earlier_message_sent_on_is_sent_as_it_is_without_it() {
    let hooks = Hooks::echo().on_message(|message, cx| match message.payload() {
        b"much" => {
            for number in 0..4u8 {
                let _a_refusal_closes = cx.send(Kind::Binary, &vec![number; 300_000]);
            }
        }
        payload => assert_eq!(cx.send(message.kind(), payload), Sent::Now),
    });
    let server = TestServer::start(limits(), hooks);
    let mut client = RawClient::open(server.addr);
    client.send([wire::text("echo"), wire::text("much")].concat());
    client.expect_text("echo");
    for number in 0..4 {
        client.expect(&Frame::binary(&vec![number; 300_000]));
    }
}

/// A server whose handler obeys the script at the start of each message.
fn scripted() -> TestServer {
    // The conversations are about order: what a message's replies may hold is tested in `backpressure`.
    let mut limits = limits();
    limits.queue_bytes_max = 4 << 20;
    TestServer::start(limits, Hooks::echo().on_message(obey))
}

/// What the script says, through the last letter of it: how the message is used, one letter after the other.
fn obey(message: Message<'_>, cx: &mut Context<'_>) {
    let (kind, payload) = (message.kind(), message.payload());
    let script = payload.split(|&byte| byte == b'.').next().unwrap_or_default();
    if payload.first() != Some(&b'>') {
        let _echo_for_the_witness = cx.send(kind, payload);
        return;
    }
    for letter in &script[1..] {
        let sent = match letter {
            b'e' => cx.send(kind, payload),
            b'k' => cx.send(Kind::Binary, payload),
            b'h' => cx.send(Kind::Binary, &payload[..payload.len() / 2]),
            b't' => cx.send(Kind::Binary, &payload[1..]),
            b'c' => {
                let copy = payload.to_vec();
                cx.send(kind, &copy)
            }
            b'm' => cx.send_to(cx.id(), kind, payload),
            b's' => cx.send(Kind::Text, SMALL.as_bytes()),
            b'l' => cx.send(Kind::Binary, &LARGE),
            b'b' => {
                cx.broadcast(kind, payload);
                continue;
            }
            other => panic!("no such letter: {other}"),
        };
        assert!(matches!(sent, Sent::Now | Sent::Queued), "{sent:?}");
    }
}

/// A message that the client sends.
struct Said {
    opcode: u8,
    script: &'static str,
    payload: Vec<u8>,
}

impl Said {
    fn frame(&self) -> Vec<u8> {
        masked(FIN | self.opcode, &self.payload)
    }

    /// What comes back, as the naive twin of `obey` has it.
    fn replies(&self) -> Vec<Frame> {
        let payload = &self.payload;
        let reply = |letter| match letter {
            'e' | 'c' | 'm' | 'b' => Frame { first: FIN | self.opcode, payload: payload.clone() },
            'k' => Frame::binary(payload),
            'h' => Frame::binary(&payload[..payload.len() / 2]),
            't' => Frame::binary(&payload[1..]),
            's' => Frame::text(SMALL),
            'l' => Frame::binary(&LARGE),
            other => panic!("no such letter: {other}"),
        };
        self.script.chars().map(reply).collect()
    }
}

/// A text message of a script and `len` bytes behind it.
fn message_of(script: &'static str, len: usize) -> Said {
    let padding: String = ('a'..='z').cycle().take(len).collect();
    Said { opcode: TEXT, script, payload: format!(">{script}.{padding}").into_bytes() }
}

fn random_message(dice: &mut Dice) -> Said {
    let scripts = [
        "e", "e", "e", "e", "", "ee", "k", "se", "es", "ese", "le", "el", "h", "he", "eh", "te",
        "ce", "em",
    ];
    let most = [10, 130, 1000, 20_000, 70_000][dice.below(5)];
    let mut said = message_of(scripts[dice.below(scripts.len())], dice.below(most));
    if dice.below(2) == 0 {
        said.opcode = BINARY;
    }
    said
}

/// Numbers that look random, and are the same for the same seed (xorshift).
struct Dice(u64);

impl Dice {
    /// A number below `bound`, which must not be zero.
    fn below(&mut self, bound: usize) -> usize {
        for shift in [13, -7, 17i32] {
            self.0 ^= if shift > 0 { self.0 << shift } else { self.0 >> -shift };
        }
        usize::try_from(self.0 >> 20).unwrap() % bound
    }
}

const SMALL: &str = "something small";
static LARGE: [u8; 20_000] = [9; 20_000];
