//! `inbound` against tables, cuts and a naive twin.

#![allow(clippy::arithmetic_side_effects, reason = "a test may fail")]

use proptest::prelude::*;

use super::*;
use crate::proto::close::StatusCode;

#[test]
fn splitting_the_stream_changes_nothing() {
    for role in [Role::Server, Role::Client] {
        let stream = conversation(role);
        let whole = steps(&mut inbound(role), &[&stream]).unwrap();
        assert_eq!(whole.len(), 7);
        for cut in 0..=stream.len() {
            let (a, b) = stream.split_at(cut);
            assert_eq!(steps(&mut inbound(role), &[a, b]).unwrap(), whole, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(steps(&mut inbound(role), &bytes).unwrap(), whole);
    }
}

/// Each breach shows at the last byte of its stream, and not one byte earlier.
#[test]
fn a_breach_is_told_at_the_byte_that_shows_it() {
    use ProtocolError::*;
    let half = "\u{20AC}".as_bytes();
    let huge = (u64::MAX >> 1).to_be_bytes();
    let table: [(Vec<u8>, ProtocolError, u16); 22] = [
        (vec![0x80], UnexpectedContinuation, 1002),
        (vec![0x00], UnexpectedContinuation, 1002),
        // A continuation is out of place before it lacks its key.
        ([text("a"), vec![0x80]].concat(), UnexpectedContinuation, 1002),
        ([begun(b"a"), vec![0x81]].concat(), ExpectedContinuation, 1002),
        ([begun(b"a"), ping(), vec![0x02]].concat(), ExpectedContinuation, 1002),
        ([begun(b"a"), vec![0xB0]].concat(), ReservedBits, 1002),
        ([begun(b"a"), vec![0x80, 0]].concat(), UnmaskedFrame, 1002),
        ([begun(b"a"), vec![0x83]].concat(), ReservedOpcode, 1002),
        ([begun(b"a"), vec![0x09]].concat(), FragmentedControl, 1002),
        ([begun(b"a"), vec![0x89, 0xFE]].concat(), ControlTooLong, 1002),
        (vec![0x88, 0x81], CloseBodyOneByte, 1002),
        (masked_prefix(&[0x88, 0x87], b"\x03\xed"), CloseCodeInvalid, 1002),
        (masked_prefix(&[0x88, 0x87], b"\x03\xe8a\xff"), InvalidUtf8, 1007),
        (masked_prefix(&[0x88, 0x84], b"\x03\xe8\xe2\x82"), InvalidUtf8, 1007),
        (masked_prefix(&[0x81, 0x87], b"a\xed\xa0"), InvalidUtf8, 1007),
        (masked_prefix(&[0x81, 0x82], &half[..2]), InvalidUtf8, 1007),
        (
            [begun(&half[..2]), masked_prefix(&[0x00, 0xE7], b"\x82\xc0")].concat(),
            InvalidUtf8,
            1007,
        ),
        // The limits are 1000 bytes and 3 frames. 1001; 2^63 - 1; the same after one byte; 2^63 - 14.
        (vec![0x82, 0xFE, 0x03, 0xE9], MessageTooBig, 1009),
        ([vec![0x82, 0xFF], huge.to_vec()].concat(), MessageTooBig, 1009),
        ([begun(b"a"), vec![0x80, 0xFF], huge.to_vec()].concat(), MessageTooBig, 1009),
        ([begun(&[b'a'; 900]), vec![0x00, 0xE5]].concat(), MessageTooBig, 1009),
        (
            [begun(b""), continued(b""), ping(), continued(b""), vec![0x80]].concat(),
            TooManyFragments,
            1008,
        ),
    ];
    for (stream, error, status_code) in table {
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        let sound = steps(&mut strict(), &bytes[..bytes.len() - 1]);
        assert!(sound.is_ok(), "{error:?} too early: {stream:x?}");
        assert_eq!(steps(&mut strict(), &bytes), Err(error), "a byte at a time: {stream:x?}");
        assert_eq!(steps(&mut strict(), &[&stream]), Err(error), "in one piece: {stream:x?}");
        assert_eq!(error.status_code().to_wire(), status_code);
    }
    // 2^64 - 14, which with a header of 14 bytes would wrap to zero.
    let wraps = [&[0x82, 0xFF][..], &(u64::MAX - 13).to_be_bytes(), &[0; 4]].concat();
    assert_eq!(steps(&mut strict(), &[&wraps]), Err(LengthTopBit));
    let mut unlimited = Inbound::new(Rules::new(Role::Server, u64::MAX, u32::MAX));
    let longest = [begun(b"a"), vec![0x80, 0xFF], huge.to_vec(), vec![0; 6]].concat();
    assert_eq!(steps(&mut unlimited, &[&longest]), Ok(vec![]));
}

#[test]
fn what_is_at_the_limit_is_taken() {
    let whole = [masked_prefix(&[0x82, 0xFE, 0x03, 0xE8], &[7; 1000]), ping()].concat();
    let pieces = [begun(&[b'a'; 900]), masked_prefix(&[0x80, 0xE4], &[b'b'; 100]), ping()].concat();
    let frames = [begun(b""), continued(b"a"), ping(), masked_prefix(&[0x80, 0x80], b"")].concat();
    for stream in [whole, pieces, frames] {
        assert_eq!(steps(&mut strict(), &[&stream]).map(|steps| steps.len()), Ok(2));
    }
}

#[test]
fn a_message_read_into_its_body_equals_one_that_was_copied() {
    let payload: Vec<u8> = (0..60_000_u32).map(|i| (i % 251) as u8).collect();
    let key = [9, 8, 7, 6];
    let mut stream = Vec::new();
    crate::proto::outbound::append_masked(&mut stream, Opcode::Binary, &payload, key);
    for piece in [1, 7, 1000, 20_000, 59_000] {
        let mut pool = BodyPool::new(1 << 20);
        let mut inbound = Inbound::new(Rules::new(Role::Server, 60_000, 1));
        let (mut used, _) = inbound.step(&mut stream.clone()[..100], &mut pool).unwrap();
        let mut message = None;
        while message.is_none() {
            let space = inbound.body_space().unwrap();
            let len = space.len().min(piece);
            space[..len].copy_from_slice(&stream[used..used + len]);
            used += len;
            inbound.body_arrived(len);
            if let (0, Step::Message(whole)) = inbound.step(&mut [], &mut pool).unwrap() {
                message = Some(whole.payload().to_vec());
            }
        }
        assert_eq!(used, stream.len());
        assert!(message.unwrap() == payload, "pieces of {piece}");
        inbound.settle(&mut pool);
        assert!(pool.idle_bytes() >= 60_000);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever the peer sends and wherever the network cuts it, the steps are those of the naive twin, and
    /// a breach is told in the very read that brings the byte that shows it.
    #[test]
    fn every_stream_means_what_the_naive_twin_says(
        script in script(),
        reads in prop::collection::vec((read_len(), any::<bool>()), 1..20),
    ) {
        let (role, rules, stream) = script.encode();
        let expected = Twin::read(&stream, role, rules);
        let rules = Rules::new(role, rules.0, rules.1);
        let mut reader = Reader::new(Inbound::new(rules), &stream);
        let mut reads = reads.iter().cycle();
        while reader.at < stream.len() && reader.fault.is_none() && !reader.is_closed {
            let &(len, into_body) = reads.next().unwrap();
            let read_from = reader.at;
            reader.read(len, into_body);
            if let Some((shown_at, _)) = expected.fault {
                let is_shown = (read_from..reader.at).contains(&shown_at);
                prop_assert_eq!(reader.fault.is_some(), is_shown, "shown at {}", shown_at);
            }
        }
        prop_assert_eq!(&reader.seen, &expected.seen);
        prop_assert_eq!(reader.fault, expected.fault.map(|(_, error)| error));
        prop_assert_eq!(reader.is_closed, expected.is_closed);
    }
}

/// A stream for `role` to receive: text, a ping inside a fragmented binary message, a large message, a close.
fn conversation(role: Role) -> Vec<u8> {
    let key = match role {
        Role::Server => Some([0x37, 0xfa, 0x21, 0x3d]),
        Role::Client => None,
    };
    let mut out = Vec::new();
    for (fin, opcode, payload) in [
        (Fin::Last, Opcode::Text, "héllo wörld".as_bytes()),
        (Fin::More, Opcode::Binary, &[1, 2, 3, 4, 5][..]),
        (Fin::Last, Opcode::Ping, b"are you there"),
        (Fin::More, Opcode::Continuation, &[]),
        (Fin::Last, Opcode::Continuation, &[6; 300]),
        (Fin::Last, Opcode::Text, b""),
        (Fin::More, Opcode::Text, b"\xF0\x9F"),
        (Fin::Last, Opcode::Pong, b""),
        (Fin::Last, Opcode::Continuation, b"\x9A\x80"),
        (Fin::Last, Opcode::Close, b"\x03\xe8bye"),
    ] {
        out.extend_from_slice(header::encode(fin, opcode, payload.len(), key).as_bytes());
        let start = out.len();
        out.extend_from_slice(payload);
        mask::unmask(&mut out[start..], key.unwrap_or_default(), 0);
    }
    out
}

/// Feeds `pieces` as separate reads, keeping what `NeedBytes` leaves; every step but `Absorbed`, as text.
pub(super) fn steps(inbound: &mut Inbound, pieces: &[&[u8]]) -> Result<Vec<String>, ProtocolError> {
    let mut pool = BodyPool::new(1 << 20);
    let (mut owed, mut seen) = (Vec::new(), Vec::new());
    for piece in pieces {
        owed.extend_from_slice(piece);
        let mut at = 0;
        loop {
            let (used, step) = inbound.step(&mut owed[at..], &mut pool)?;
            at += used;
            match step {
                Step::NeedBytes(len) => {
                    assert!(len > owed.len() - at, "it has what it asks for");
                    break;
                }
                Step::Absorbed => {}
                step => seen.push(format!("{step:?}")),
            }
        }
        owed.drain(..at);
    }
    Ok(seen)
}

fn inbound(role: Role) -> Inbound {
    Inbound::new(Rules::new(role, 1000, 100))
}

/// A server's half that takes 1,000 bytes and 3 frames a message.
fn strict() -> Inbound {
    Inbound::new(Rules::new(Role::Server, 1000, 3))
}

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The bytes before a key, the key, and `payload` masked with it, whatever length was declared.
fn masked_prefix(header: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut payload = payload.to_vec();
    mask::unmask(&mut payload, KEY, 0);
    [header, &KEY, &payload].concat()
}

fn frame(fin: Fin, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let header = header::encode(fin, opcode, payload.len(), Some(KEY));
    let bytes = header.as_bytes();
    masked_prefix(&bytes[..bytes.len() - KEY.len()], payload)
}

fn text(payload: &str) -> Vec<u8> {
    frame(Fin::Last, Opcode::Text, payload.as_bytes())
}

fn begun(payload: &[u8]) -> Vec<u8> {
    frame(Fin::More, Opcode::Text, payload)
}

fn continued(payload: &[u8]) -> Vec<u8> {
    frame(Fin::More, Opcode::Continuation, payload)
}

fn ping() -> Vec<u8> {
    frame(Fin::Last, Opcode::Ping, b"?")
}

/// What a peer does, before it is encoded.
#[derive(Debug, Clone)]
struct Script {
    server: bool,
    message_bytes_max: u64,
    fragments_max: u32,
    frames: Vec<Frame>,
    /// Bytes at these places (modulo the length) are changed by these bits.
    damage: Vec<(prop::sample::Index, u8)>,
}

impl Script {
    fn encode(&self) -> (Role, (u64, u32), Vec<u8>) {
        let role = if self.server { Role::Server } else { Role::Client };
        let mut stream = Vec::new();
        for (fin, opcode, payload, key) in &self.frames {
            let key = self.server.then_some(*key);
            let header = header::encode(*fin, *opcode, payload.len(), key);
            stream.extend_from_slice(header.as_bytes());
            let key = key.unwrap_or_default();
            stream.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        }
        for (place, bits) in &self.damage {
            if !stream.is_empty() {
                *place.get_mut(&mut stream[..]) ^= bits;
            }
        }
        (role, (self.message_bytes_max, self.fragments_max), stream)
    }
}

/// Mostly a sound conversation; in half of the cases with damaged bytes.
fn script() -> impl Strategy<Value = Script> {
    let limits = (prop::sample::select(&[10, 200, 100_000][..]), 1..6_u32);
    let turns = prop::collection::vec(turn(), 0..12).prop_map(|turns| turns.concat());
    let damage = prop_oneof![
        Just(Vec::new()),
        prop::collection::vec((any::<prop::sample::Index>(), damaged_bits()), 1..4),
    ];
    (any::<bool>(), limits, turns, damage).prop_map(|(server, limits, frames, damage)| Script {
        server,
        message_bytes_max: limits.0,
        fragments_max: limits.1,
        frames,
        damage,
    })
}

/// A frame before it is masked with the key.
type Frame = (Fin, Opcode, Vec<u8>, [u8; 4]);

/// A message, whole or in fragments with control frames between, or a control frame; rarely a stray frame.
fn turn() -> impl Strategy<Value = Vec<Frame>> {
    let control = |fin| {
        let opcode = prop::sample::select(&[Opcode::Ping, Opcode::Pong][..]);
        (Just(fin), opcode, prop::collection::vec(any::<u8>(), 0..126), key())
    };
    let close = (prop::sample::select(&[999, 1000, 1005, 3000, 4999][..]), "[aé🚀]{0,30}")
        .prop_map(|(code, reason): (u16, String)| {
            [&code.to_be_bytes(), reason.as_bytes()].concat()
        });
    let stray = prop::sample::select(&[Opcode::Continuation, Opcode::Text, Opcode::Close][..]);
    prop_oneof![
        8 => (payload(), prop::collection::vec((any::<prop::sample::Index>(), key()), 0..5),
            prop::option::weighted(0.3, control(Fin::Last))).prop_map(fragmented),
        2 => control(Fin::Last).prop_map(|frame| vec![frame]),
        1 => (close, key()).prop_map(|(body, key)| vec![(Fin::Last, Opcode::Close, body, key)]),
        1 => (fin(), stray, prop::collection::vec(any::<u8>(), 0..4), key()).prop_map(|f| vec![f]),
    ]
}

type Payload = (Kind, Vec<u8>);

/// Where a fragment ends, and the key that it is masked with.
type Cut = (prop::sample::Index, [u8; 4]);

/// Cuts a message at the places given; the control frame goes behind its first fragment.
fn fragmented(((kind, payload), cuts, control): (Payload, Vec<Cut>, Option<Frame>)) -> Vec<Frame> {
    let mut ends: Vec<(usize, [u8; 4])> =
        cuts.iter().map(|(cut, key)| (cut.index(payload.len() + 1), *key)).collect();
    ends.push((payload.len(), [0x80, 2, 0, 1]));
    ends.sort_unstable();
    let (mut frames, mut at) = (Vec::new(), 0);
    for (count, &(end, key)) in ends.iter().enumerate() {
        let opcode = if count == 0 { kind.opcode() } else { Opcode::Continuation };
        let fin = if count + 1 == ends.len() { Fin::Last } else { Fin::More };
        frames.push((fin, opcode, payload[at..end].to_vec(), key));
        at = end;
    }
    if let Some(control) = control {
        frames.insert(1, control);
    }
    frames
}

fn payload() -> impl Strategy<Value = Payload> {
    let bytes = prop_oneof![0..40_usize, 100..300_usize, Just(70_000_usize)]
        .prop_flat_map(|len| (Just(len), any::<u8>()))
        .prop_map(|(len, seed)| (0..=250).cycle().map(|byte: u8| byte ^ seed).take(len).collect());
    let text = "[ -~éк日🚀]{0,80}".prop_map(|text: String| text.into_bytes());
    let cut = "[a日🚀]{1,8}".prop_map(|text: String| text.as_bytes()[..text.len() - 1].to_vec());
    prop_oneof![
        4 => text.prop_map(|bytes| (Kind::Text, bytes)),
        1 => cut.prop_map(|bytes| (Kind::Text, bytes)),
        4 => bytes.prop_map(|bytes| (Kind::Binary, bytes)),
    ]
}

fn key() -> impl Strategy<Value = [u8; 4]> {
    prop_oneof![4 => any::<[u8; 4]>(), 1 => Just([0; 4])]
}

fn fin() -> impl Strategy<Value = Fin> {
    prop_oneof![Just(Fin::More), Just(Fin::Last)]
}

fn damaged_bits() -> impl Strategy<Value = u8> {
    prop_oneof![(0..8_u32).prop_map(|bit| 1_u8 << bit), 1..=u8::MAX]
}

fn read_len() -> impl Strategy<Value = usize> {
    prop_oneof![2 => Just(1_usize), 3 => 1..20_usize, 2 => 20..400_usize, 1 => 400..100_000_usize]
}

/// Reads a stream as `net` does: behind what is owed, or into the body of the frame that is awaited.
struct Reader<'a> {
    inbound: Inbound,
    pool: BodyPool,
    stream: &'a [u8],
    /// How much of `stream` was read.
    at: usize,
    owed: Vec<u8>,
    seen: Vec<String>,
    fault: Option<ProtocolError>,
    /// Whether a Close came, behind which nothing counts.
    is_closed: bool,
}

impl<'a> Reader<'a> {
    fn new(inbound: Inbound, stream: &'a [u8]) -> Self {
        let (owed, seen) = (Vec::new(), Vec::new());
        let pool = BodyPool::new(1 << 20);
        Self { inbound, pool, stream, at: 0, owed, seen, fault: None, is_closed: false }
    }

    fn read(&mut self, len: usize, into_body: bool) {
        let rest = &self.stream[self.at..];
        match self.inbound.body_space() {
            Some(space) if into_body => {
                assert!(self.owed.is_empty() && !space.is_empty());
                let len = len.min(rest.len()).min(space.len());
                space[..len].copy_from_slice(&rest[..len]);
                self.inbound.body_arrived(len);
                self.at += len;
            }
            _ => {
                let len = len.min(rest.len());
                self.owed.extend_from_slice(&rest[..len]);
                self.at += len;
            }
        }
        let (mut owed, mut used) = (std::mem::take(&mut self.owed), 0);
        while self.fault.is_none() && !self.is_closed {
            match self.inbound.step(&mut owed[used..], &mut self.pool) {
                Ok((0, Step::NeedBytes(need))) => {
                    assert!(need > owed.len() - used, "it has what it asks for");
                    assert!(need <= 14 + CONTROL_BYTES_MAX);
                    break;
                }
                Ok((_, Step::NeedBytes(_))) => panic!("consumed, and asks for more"),
                Ok((len, step)) => {
                    used += len;
                    self.is_closed = matches!(step, Step::Close(_));
                    if step != Step::Absorbed {
                        self.seen.push(format!("{step:?}"));
                    }
                }
                Err(error) => self.fault = Some(error),
            }
        }
        self.owed = owed.split_off(used);
    }
}

/// The same rules for a whole stream, byte by byte, as plainly as they can be written.
#[derive(Default)]
struct Twin<'a> {
    stream: &'a [u8],
    at: usize,
    seen: Vec<String>,
    /// The breach, and the index of the byte that shows it.
    fault: Option<(usize, ProtocolError)>,
    is_closed: bool,
    message: Option<(Kind, Vec<u8>)>,
    frames: u32,
}

impl<'a> Twin<'a> {
    fn read(stream: &'a [u8], role: Role, limits: (u64, u32)) -> Self {
        let mut twin = Self { stream, ..Self::default() };
        while !twin.is_closed && twin.frame(role, limits).is_some() {}
        twin
    }

    /// `None` at the end of the stream and at a breach.
    fn frame(&mut self, role: Role, (bytes_max, frames_max): (u64, u32)) -> Option<()> {
        use ProtocolError::*;
        let first = self.byte()?;
        self.rule(first & 0x70 == 0, ReservedBits)?;
        self.rule(matches!(first & 15, 0..=2 | 8..=10), ReservedOpcode)?;
        let (is_last, opcode) = (first >= 0x80, first & 15);
        let is_control = opcode >= 8;
        self.rule(!is_control || is_last, FragmentedControl)?;
        if !is_control {
            self.rule(self.message.is_some() || opcode != 0, UnexpectedContinuation)?;
            self.rule(self.message.is_none() || opcode == 0, ExpectedContinuation)?;
            self.rule(self.message.is_none() || self.frames < frames_max, TooManyFragments)?;
        }
        let second = self.byte()?;
        self.rule(!is_control || second & 0x7F <= 125, ControlTooLong)?;
        self.rule(opcode != 8 || second & 0x7F != 1, CloseBodyOneByte)?;
        self.rule(role == Role::Client || second >= 0x80, UnmaskedFrame)?;
        self.rule(role == Role::Server || second < 0x80, MaskedFrame)?;
        let payload_len = self.payload_len(second & 0x7F)?;
        if !is_control {
            let held = self.message.as_ref().map_or(0, |(_, bytes)| bytes.len() as u64);
            self.rule(
                u128::from(held) + u128::from(payload_len) <= bytes_max.into(),
                MessageTooBig,
            )?;
        }
        let mut key = [0; 4];
        if role == Role::Server {
            key = [self.byte()?, self.byte()?, self.byte()?, self.byte()?];
        }
        if is_control {
            return self.control(opcode, payload_len, key);
        }
        if self.message.is_none() {
            let kind = if opcode == 1 { Kind::Text } else { Kind::Binary };
            (self.message, self.frames) = (Some((kind, Vec::new())), 0);
        }
        self.frames += 1;
        for _ in 0..payload_len {
            let byte = self.byte()? ^ key[0];
            key.rotate_left(1);
            let (kind, bytes) = self.message.as_mut()?;
            bytes.push(byte);
            let is_sound = *kind == Kind::Binary || may_become_utf8(bytes);
            self.rule(is_sound, InvalidUtf8)?;
        }
        if is_last {
            let (kind, bytes) = self.message.take()?;
            let is_sound = kind == Kind::Binary || std::str::from_utf8(&bytes).is_ok();
            self.rule(is_sound, InvalidUtf8)?;
            let message = match kind {
                Kind::Text => Message::Text(Text::checked(&bytes)),
                Kind::Binary => Message::Binary(&bytes),
            };
            self.seen.push(format!("{:?}", Step::Message(message)));
        }
        Some(())
    }

    fn payload_len(&mut self, short: u8) -> Option<u64> {
        use ProtocolError::*;
        let mut length = 0;
        if short < 126 {
            return Some(short.into());
        }
        let count = if short == 126 { 2 } else { 8 };
        for i in 0..count {
            let byte = self.byte()?;
            self.rule(count == 2 || i > 0 || byte < 0x80, LengthTopBit)?;
            length = length << 8 | u64::from(byte);
            // Six zero bytes of eight leave at most 65,535.
            self.rule(count == 2 || i != 5 || length > 0, LengthNotMinimal)?;
        }
        self.rule(length > 125, LengthNotMinimal)?;
        Some(length)
    }

    fn control(&mut self, opcode: u8, payload_len: u64, mut key: [u8; 4]) -> Option<()> {
        let mut payload = Vec::new();
        for _ in 0..payload_len {
            payload.push(self.byte()? ^ key[0]);
            key.rotate_left(1);
            if let (8, [high, low, reason @ ..]) = (opcode, &payload[..]) {
                let code = u16::from_be_bytes([*high, *low]);
                let may_be_sent = StatusCode::from_wire(code).is_some();
                self.rule(may_be_sent, ProtocolError::CloseCodeInvalid)?;
                self.rule(may_become_utf8(reason), ProtocolError::InvalidUtf8)?;
            }
        }
        let step = match opcode {
            9 => Step::Ping(&payload),
            10 => Step::Pong(&payload),
            _ if payload.is_empty() => Step::Close(None),
            _ => {
                let reason = std::str::from_utf8(&payload[2..]);
                self.rule(reason.is_ok(), ProtocolError::InvalidUtf8)?;
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                let code = StatusCode::from_wire(code)?;
                Step::Close(Some(CloseBody { code, reason: reason.ok()? }))
            }
        };
        self.is_closed = opcode == 8;
        self.seen.push(format!("{step:?}"));
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.stream.get(self.at).copied();
        self.at += usize::from(byte.is_some());
        byte
    }

    fn rule(&mut self, is_kept: bool, error: ProtocolError) -> Option<()> {
        if !is_kept {
            self.fault = Some((self.at - 1, error));
        }
        is_kept.then_some(())
    }
}

fn may_become_utf8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true)
}
