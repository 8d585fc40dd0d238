//! `inbound` where permessage-deflate was agreed on.

use proptest::prelude::*;

use super::tests::steps;
use super::*;
use crate::proto::deflate::Deflater;
use crate::proto::mask;

const LIMIT: u64 = 1000;

/// Between plain messages, in fragments, around a Ping, empty in both ways; cut anywhere.
#[test]
fn splitting_a_compressed_stream_changes_nothing() {
    for (role, window_bits) in
        [(Role::Server, None), (Role::Server, Some(15)), (Role::Client, None)]
    {
        let hello = deflated("héllo héllo héllo héllo".as_bytes());
        let sevens = deflated(&[7; 900]);
        let stream = [
            frame(role, 0xC1, &hello),
            frame(role, 0x81, b"plain"),
            frame(role, 0x42, &sevens[..3]),
            frame(role, 0x89, b"ping"),
            frame(role, 0x00, b""),
            frame(role, 0x80, &sevens[3..]),
            frame(role, 0xC2, b""),
            frame(role, 0x41, b""),
            frame(role, 0x80, b"\0"),
            frame(role, 0xC1, &hello),
            frame(role, 0x88, b"\x03\xe8"),
        ]
        .concat();
        let open = || Inbound::new(Rules::new(role, LIMIT, 10).with_deflate(window_bits));
        let whole = steps(&mut open(), &[&stream]).unwrap();
        assert_eq!(whole.len(), 8);
        assert!(whole[0] == "Message(Text(\"héllo héllo héllo héllo\"))" && whole[6] == whole[0]);
        assert_eq!((&whole[4][..], &whole[5][..]), ("Message(Binary([]))", "Message(Text(\"\"))"));
        for cut in 0..=stream.len() {
            let (a, b) = stream.split_at(cut);
            assert_eq!(steps(&mut open(), &[a, b]).unwrap(), whole, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(steps(&mut open(), &bytes).unwrap(), whole);
    }
}

#[test]
fn each_breach_has_its_error_whole_or_in_fragments() {
    use ProtocolError::*;
    let (at_limit, over) = (deflated(&[1; 1000]), deflated(&[1; 1001]));
    let table: [(Vec<u8>, Result<usize, ProtocolError>); 14] = [
        (data(0xC2, &at_limit), Ok(1)),
        (fragments(&at_limit), Ok(1)),
        (data(0xC2, &over), Err(MessageTooBig)),
        (data(0xC2, &deflated(&[1; 1002])), Err(MessageTooBig)),
        (fragments(&over), Err(MessageTooBig)),
        // Noise grows when it is compressed, and is not too big for it.
        (data(0xC2, &stored(&[0xA5; 1000])), Ok(1)),
        // From the header: nothing that long can inflate to so little.
        (vec![0xC2, 0xFE, 0x04, 0xA6], Err(MessageTooBig)),
        (data(0xC1, b"\xff\xff\xff"), Err(DeflateInvalid)),
        (fragments(&at_limit[..5]), Err(DeflateInvalid)),
        (data(0xC1, &deflated(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")), Err(InvalidUtf8)),
        (fragments(&deflated(&[0xC0; 900])).tap(|stream| stream[0] = 0x41), Err(InvalidUtf8)),
        // RSV1 where it has no meaning: on a continuation, on control frames. RSV2 and RSV3 never have one.
        ([data(0x42, b""), data(0xC0, b"\0")].concat(), Err(ReservedBits)),
        (data(0xC9, b""), Err(ReservedBits)),
        (data(0xE1, b""), Err(ReservedBits)),
    ];
    for (stream, expected) in table {
        let open = || Inbound::new(Rules::new(Role::Server, LIMIT, 10).with_deflate(None));
        let count = |steps: Result<Vec<String>, _>| steps.map(|seen| seen.len());
        assert_eq!(count(steps(&mut open(), &[&stream])), expected, "{stream:x?}");
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(count(steps(&mut open(), &bytes)), expected, "{stream:x?}");
    }
}

#[test]
fn without_the_extension_a_compressed_message_is_a_breach() {
    let mut inbound = Inbound::new(Rules::new(Role::Server, LIMIT, 10));
    let stream = data(0xC1, &deflated(b"hello hello hello hello hello"));
    assert_eq!(steps(&mut inbound, &[&stream]), Err(ProtocolError::ReservedBits));
}

/// Bodies are warm, and no bomb keeps more than the limit allows.
#[test]
fn a_settled_connection_owns_no_buffer() {
    let mut pool = BodyPool::new(1 << 20);
    let mut inbound = Inbound::new(Rules::new(Role::Server, 1 << 19, 10).with_deflate(None));
    for _ in 0..3 {
        let mut stream = data(0xC2, &deflated(&[1; 100_000]));
        let (used, step) = inbound.step(&mut stream, &mut pool).unwrap();
        assert!(matches!(step, Step::Message(message) if message.payload() == [1; 100_000]));
        assert_eq!(used, stream.len());
        inbound.settle(&mut pool);
        assert!(pool.idle_bytes() > 100_000 && pool.idle_bytes() < 400_000);
    }
    let bomb = data(0xC2, &deflated(&vec![0; 2 << 20]));
    for _ in 0..200 {
        let mut inbound = Inbound::new(Rules::new(Role::Server, 1 << 19, 10).with_deflate(None));
        let mut bomb = bomb.clone();
        let step = inbound.step(&mut bomb, &mut pool);
        assert_eq!(step.err(), Some(ProtocolError::MessageTooBig));
    }
    assert!(pool.idle_bytes() < 1 << 20, "{} bytes", pool.idle_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// What one end compresses the other reads, takeover or not, in fragments and cuts.
    #[test]
    fn compressed_messages_arrive_as_they_were(
        texts in prop::collection::vec("([a-e]{1,6} ){0,120}", 1..8),
        takeover: bool, bits in 9_u8..=15,
        pieces in prop::collection::vec(1_usize..200, 1..6), split in 1_usize..50,
    ) {
        let (mut deflater, mut room) = (Deflater::new(1, bits), Vec::new());
        let mut stream = Vec::new();
        for text in &texts {
            let packed = if takeover {
                deflater.deflate_next(text.as_bytes(), &mut room)
            } else {
                deflater.deflate_alone(text.as_bytes(), &mut room)
            };
            match packed {
                None => stream.extend(data(0x81, text.as_bytes())),
                Some(packed) => {
                    let (first, rest) = packed.split_at(split.min(packed.len()));
                    stream.extend(data(0x41, first));
                    stream.extend(data(0x80, rest));
                }
            }
        }
        let rules = Rules::new(Role::Server, LIMIT, 2).with_deflate(takeover.then_some(bits));
        let mut cuts = Vec::new();
        let (mut rest, mut lens) = (&stream[..], pieces.iter().cycle());
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(*lens.next().unwrap()));
            cuts.push(piece);
            rest = behind;
        }
        let expected: Vec<_> =
            texts.iter().map(|text| format!("Message(Text({text:?}))")).collect();
        prop_assert_eq!(steps(&mut Inbound::new(rules), &cuts).unwrap(), expected);
    }
}

fn frame(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    match role {
        Role::Server => data(first, payload),
        Role::Client => {
            let header = header::encode(Fin::Last, Opcode::Text, payload.len(), None);
            [&[first], &header.as_bytes()[1..], payload].concat()
        }
    }
}

/// A client's frame with this first byte.
fn data(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let header = header::encode(Fin::Last, Opcode::Text, payload.len(), Some(key));
    let mut payload = payload.to_vec();
    mask::unmask(&mut payload, key, 0);
    [&[first], &header.as_bytes()[1..], &payload].concat()
}

/// A compressed binary message in three frames.
fn fragments(payload: &[u8]) -> Vec<u8> {
    let (first, rest) = payload.split_at(1);
    let (second, third) = rest.split_at(rest.len() / 2);
    [data(0x42, first), data(0x00, second), data(0x80, third)].concat()
}

fn deflated(message: &[u8]) -> Vec<u8> {
    let mut room = Vec::new();
    match Deflater::new(6, 15).deflate_alone(message, &mut room) {
        Some(packed) => packed.to_vec(),
        None => stored(message),
    }
}

/// A message in stored blocks (RFC 1951 §3.2.4) of 100 bytes, as a poor compressor writes them.
fn stored(message: &[u8]) -> Vec<u8> {
    let block = |bytes: &[u8]| {
        let len = u16::try_from(bytes.len()).unwrap();
        [&[0][..], &len.to_le_bytes(), &(!len).to_le_bytes(), bytes].concat()
    };
    [message.chunks(100).flat_map(block).collect(), vec![0]].concat()
}

trait Tap: Sized {
    fn tap(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Tap for Vec<u8> {}
