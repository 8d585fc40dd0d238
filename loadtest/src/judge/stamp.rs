//! What a broadcast message says, so that every subscriber's copy can be proved, wherever a server puts it.
//!
//! ```text
//! 0        4           7        13       21      26                      size
//! | wsf_   | publisher | seq    | due    | check | pattern, from a place  |
//! | marker | 18 bit    | 36 bit | 48 bit | 30 bit| that check picks       |
//! ```
//!
//! The stamp carries six bits a character, in letters that JSON, URLs and HTML leave as they are: a server may wrap the
//! message in an envelope of its own, and it is found there by its marker. `due` is when it was meant to leave, in ns
//! from the start of the run. The check is salted, so that what another run left behind at the server is none of ours.
//!
//! Knows neither order nor subscribers: that is `broadcast`'s.

use crate::judge::payload::{Filling, noise};
use crate::time::schedule::mix;

/// The messages of a run.
#[derive(Debug)]
pub(crate) struct Stamps {
    noise: Vec<u8>,
    /// Bytes of every message.
    size: usize,
    salt: u64,
}

/// Which message of which publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The publisher, below 2^18.
    pub(crate) publisher: u32,
    /// The message's number among the publisher's, from zero.
    pub(crate) seq: u64,
    /// When it was meant to leave, from the start of the run.
    pub(crate) due_ns: u64,
}

/// A message as it must come: all that can't be shared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    bytes: [u8; STAMP_LEN],
    /// Where the rest starts in the noise.
    start: usize,
}

/// The bytes that name a message, and so the shortest message.
pub(crate) const STAMP_LEN: usize = 26;

/// The most publishers that a stamp can tell apart.
pub(crate) const PUBLISHERS_MAX: u32 = 1 << 18;

const MARKER: [u8; 4] = *b"wsf_";

/// Where in the noise a message's rest may start.
const STARTS: usize = 256;

impl Stamps {
    /// Messages of `size` bytes, at least [`STAMP_LEN`]; `salt` is the run's own.
    pub(crate) fn new(size: usize, filling: Filling, salt: u64) -> Self {
        debug_assert!(size >= STAMP_LEN);
        let noise = noise(size.saturating_sub(STAMP_LEN) + STARTS, filling);
        Self { noise, size: size.max(STAMP_LEN), salt }
    }

    /// Bytes of every message.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The stamp of `mark`.
    pub(crate) fn stamp(&self, mark: Mark) -> Stamp {
        let hash = self.hash(mark);
        let mut bytes = [0; STAMP_LEN];
        bytes[..4].copy_from_slice(&MARKER);
        spell(u64::from(mark.publisher), &mut bytes[4..7]);
        spell(mark.seq, &mut bytes[7..13]);
        spell(mark.due_ns, &mut bytes[13..21]);
        spell(hash, &mut bytes[21..]);
        Stamp { bytes, start: usize::from(hash.to_le_bytes()[7]) % STARTS }
    }

    /// Appends the message that `stamp` begins to `out`.
    pub(crate) fn append(&self, stamp: &Stamp, out: &mut Vec<u8>) {
        out.extend_from_slice(&stamp.bytes);
        out.extend_from_slice(self.rest(stamp.start));
    }

    /// Whether `message` is the one that `stamp` begins, every byte of it.
    pub(crate) fn proves(&self, stamp: &Stamp, message: &[u8]) -> bool {
        message
            .split_at_checked(STAMP_LEN)
            .is_some_and(|(head, rest)| head == stamp.bytes && rest == self.rest(stamp.start))
    }

    /// Where a message may begin in `frame`. It is looked for at `hint` first, where the last one was.
    pub(crate) fn find(&self, frame: &[u8], hint: usize) -> Option<usize> {
        if frame.get(hint..).is_some_and(|rest| rest.starts_with(&MARKER)) {
            return Some(hint);
        }
        frame.windows(MARKER.len()).position(|window| window == MARKER)
    }

    /// Which message `bytes` claims to begin; whether it does is for [`Self::proves`] to say.
    pub(crate) fn claimed(&self, bytes: &[u8]) -> Option<Mark> {
        let stamp = bytes.get(..STAMP_LEN)?;
        let number = |range: std::ops::Range<usize>| {
            let digits = stamp[range].iter().rev();
            digits.map(|&c| value(c)).try_fold(0, |n, digit| Some(n << 6 | digit?))
        };
        let publisher = u32::try_from(number(4..7)?).ok()?;
        Some(Mark { publisher, seq: number(7..13)?, due_ns: number(13..21)? })
    }

    /// Which message begins `bytes`. `None`: its stamp is damaged, or not of this run.
    pub(crate) fn read(&self, bytes: &[u8]) -> Option<Mark> {
        let mark = self.claimed(bytes)?;
        (bytes.get(..STAMP_LEN)? == self.stamp(mark).bytes).then_some(mark)
    }

    fn hash(&self, mark: Mark) -> u64 {
        mix(mark.seq ^ mix(u64::from(mark.publisher) ^ mix(mark.due_ns ^ self.salt)))
    }

    fn rest(&self, start: usize) -> &[u8] {
        // `start` is below `STARTS`, and the noise is `STARTS` longer than the rest.
        &self.noise[start..start + self.size - STAMP_LEN]
    }
}

/// Writes the low bits of `number`, six a character, the lowest first.
fn spell(mut number: u64, out: &mut [u8]) {
    for byte in out {
        *byte = LETTERS[usize::from(number.to_le_bytes()[0] & 63)];
        number >>= 6;
    }
}

/// The six bits of a character.
fn value(character: u8) -> Option<u64> {
    match VALUES[usize::from(character)] {
        NO_VALUE => None,
        value => Some(u64::from(value)),
    }
}

/// 64 characters that no envelope escapes: those of base64url (RFC 4648 §5).
pub(crate) const LETTERS: [u8; 64] =
    *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

const NO_VALUE: u8 = u8::MAX;

const VALUES: [u8; 256] = {
    let mut values = [NO_VALUE; 256];
    let mut value = 0;
    while value < 64 {
        values[LETTERS[value as usize] as usize] = value;
        value += 1;
    }
    values
};

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: [Mark; 4] = [
        Mark { publisher: 0, seq: 0, due_ns: 0 },
        Mark { publisher: 0, seq: 1, due_ns: 1 },
        Mark { publisher: 77, seq: 123_456_789, due_ns: 3_600_000_000_000 },
        Mark { publisher: PUBLISHERS_MAX - 1, seq: (1 << 36) - 1, due_ns: (1 << 48) - 1 },
    ];

    fn message(stamps: &Stamps, mark: Mark) -> Vec<u8> {
        let mut message = Vec::new();
        stamps.append(&stamps.stamp(mark), &mut message);
        message
    }

    #[test]
    fn every_flipped_bit_shows_and_one_behind_the_stamp_leaves_the_name() {
        for (size, filling) in [(26, Filling::Bytes), (32, Filling::Letters), (200, Filling::Bytes)]
        {
            let stamps = Stamps::new(size, filling, 7);
            for mark in MARKS {
                let (stamp, mut message) = (stamps.stamp(mark), message(&stamps, mark));
                assert_eq!(message.len(), size);
                assert!(stamps.proves(&stamp, &message));
                for bit in 0..size * 8 {
                    message[bit / 8] ^= 1 << (bit % 8);
                    assert!(!stamps.proves(&stamp, &message), "bit {bit} of {size} bytes");
                    let named = (bit / 8 >= STAMP_LEN).then_some(mark);
                    assert_eq!(stamps.read(&message), named, "bit {bit} of {size} bytes");
                    message[bit / 8] ^= 1 << (bit % 8);
                }
                assert!(!stamps.proves(&stamp, &message[..size - 1]));
            }
        }
    }

    #[test]
    fn a_message_is_found_in_any_envelope_and_needs_no_escape() {
        let stamps = Stamps::new(64, Filling::Letters, 7);
        for mark in MARKS {
            let message = message(&stamps, mark);
            assert!(message.iter().all(|byte| LETTERS.contains(byte)));
            let frame = [br#"{"push":"ws","data":""#, &message[..], br#""}"#].concat();
            for hint in [0, 21, 500] {
                assert_eq!(stamps.find(&frame, hint), Some(21));
            }
            assert_eq!(stamps.read(&frame[21..]), Some(mark));
        }
        assert_eq!(stamps.find(b"{}", 0), None);
        assert_eq!(stamps.find(b"", 21), None);
    }

    #[test]
    fn another_run_s_message_is_none_of_ours() {
        let (ours, theirs) =
            (Stamps::new(26, Filling::Bytes, 1), Stamps::new(26, Filling::Bytes, 2));
        assert_eq!(ours.read(&message(&theirs, MARKS[2])), None);
    }
}
