//! The receiving half: whatever the peer sends, and wherever the network cuts it, is what the naive twin says that has all
//! of it at once: the same messages, the same breach. And what is kept meanwhile is bounded by what came.
//!
//! An input's first byte says under which rules it is read, its second where reads end; the rest is the stream.

use wsfast::proto::error::ProtocolError;
use wsfast::proto::header::Role;
use wsfast::proto::inbound::{BodyPool, Inbound, Rules, Step};

use super::input::{Dice, Input};
use super::twin::{self, Seen, Setting};

/// Checks it.
pub fn check(bytes: &[u8]) {
    let mut input = Input(bytes);
    let choice = input.byte();
    let setting = Setting {
        role: if choice & 1 == 0 { Role::Server } else { Role::Client },
        bytes_max: [100, 1000, 5, 70_000][usize::from(choice >> 1 & 3)],
        frames_max: [3, 1, 100, u32::MAX][usize::from(choice >> 3 & 3)],
        deflate: [None, Some(None), Some(Some(9)), Some(Some(15))][usize::from(choice >> 5 & 3)],
    };
    let dice = Dice(input.byte().into());
    agrees_with_twin(setting, dice, input.0);
}

/// Checks one stream.
pub(crate) fn agrees_with_twin(setting: Setting, dice: Dice, stream: &[u8]) {
    let expected = twin::read(stream, setting);
    for cuts in [Cuts::None, Cuts::EveryByte, Cuts::Some(dice)] {
        assert_eq!(read(setting, stream, cuts), expected);
    }
    assert_eq!(read_down(setting, stream), expected);
}

enum Cuts {
    None,
    EveryByte,
    Some(Dice),
}

fn rules(setting: Setting) -> Rules {
    let rules = Rules::new(setting.role, setting.bytes_max as u64, setting.frames_max);
    match setting.deflate {
        Some(window_bits) => rules.with_deflate(window_bits),
        None => rules,
    }
}

/// As the server reads: behind what is owed, or into the body of the frame that is awaited.
fn read(setting: Setting, stream: &[u8], mut cuts: Cuts) -> (Vec<Seen>, Option<ProtocolError>) {
    let mut inbound = Inbound::new(rules(setting));
    let mut pool = BodyPool::new(1 << 20);
    let (mut at, mut owed, mut seen) = (0, Vec::new(), Vec::new());
    while at < stream.len() {
        let rest = &stream[at..];
        let (len, into_body) = match &mut cuts {
            Cuts::None => (rest.len(), false),
            Cuts::EveryByte => (1, false),
            Cuts::Some(dice) => (dice.roll(40).min(rest.len()), dice.roll(2) == 1),
        };
        match inbound.body_space() {
            Some(space) if into_body => {
                assert!(owed.is_empty() && !space.is_empty());
                let len = len.min(space.len());
                space[..len].copy_from_slice(&rest[..len]);
                inbound.body_arrived(len);
                at += len;
            }
            _ => {
                owed.extend_from_slice(&rest[..len]);
                at += len;
            }
        }
        let mut used = 0;
        loop {
            match inbound.step(&mut owed[used..], &mut pool) {
                Ok((taken, Step::NeedBytes(need))) => {
                    assert!(taken == 0 && need > owed.len() - used && need <= 14 + 125);
                    break;
                }
                Ok((taken, step)) => {
                    used += taken;
                    seen.extend(told(&step));
                    if matches!(step, Step::Close(_)) {
                        return (seen, None);
                    }
                }
                Err(error) => return (seen, Some(error)),
            }
        }
        owed.drain(..used);
        // Room for a read (16 KiB, or the next step of a vector's growth), and four times what came, whatever was declared.
        assert!(inbound.kept_bytes() <= 36 * 1024 + 4 * at, "{} for {at}", inbound.kept_bytes());
        inbound.settle(&mut pool);
        // What a message inflates to is bounded by its limit, not by what came.
        assert!(pool.idle_bytes() <= 1 << 20);
    }
    (seen, None)
}

/// As the server reads what came whole: messages are moved down, one behind the other.
fn read_down(setting: Setting, stream: &[u8]) -> (Vec<Seen>, Option<ProtocolError>) {
    let mut inbound = Inbound::new(rules(setting));
    let mut pool = BodyPool::new(1 << 20);
    let mut bytes = stream.to_vec();
    let (mut at, mut floor, mut seen) = (0, 0, Vec::new());
    loop {
        match inbound.step_down(&mut bytes, at, floor, &mut pool) {
            Ok((_, Step::NeedBytes(_))) => return (seen, None),
            Ok((taken, step)) => {
                at += taken;
                seen.extend(told(&step));
                match step {
                    Step::Close(_) => return (seen, None),
                    Step::Message(message) if setting.deflate.is_none() => {
                        // Where a reply in its place would end, if the message came whole.
                        let len = message.payload().len();
                        floor = (floor + wsfast::proto::header::unmasked_len(len) + len).min(at);
                    }
                    _ => {}
                }
            }
            Err(error) => return (seen, Some(error)),
        }
    }
}

fn told(step: &Step<'_>) -> Option<Seen> {
    Some(match step {
        Step::NeedBytes(_) | Step::Absorbed => return None,
        Step::Message(message) => Seen::Message(message.kind(), message.payload().to_vec()),
        Step::Ping(payload) => Seen::Ping(payload.to_vec()),
        Step::Pong(payload) => Seen::Pong(payload.to_vec()),
        Step::Close(body) => {
            Seen::Close(body.map(|body| (body.code.to_wire(), body.reason.to_owned())))
        }
    })
}
