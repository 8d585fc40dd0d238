//! What a message says, so that its reply can be proved byte by byte.
//!
//! ```text
//! 0        7        11          16                      size
//! | seq    | conn   | check    | pattern, from a place  |
//! | 42 bit | 24 bit | 30 bit   | that seq and conn pick |
//! ```
//!
//! The first 16 bytes, the stamp, carry six bits each in characters that are valid text. The rest is cut from one
//! shared buffer of noise, so that proving a reply is a comparison of memory and yet no two messages in a row agree.
//! A message shorter than the stamp carries its start: one byte tells 64 messages of a connection apart, two 4,096,
//! seven all; from 11 bytes on connections can't be confused. What does not fit is not proved.
//!
//! Knows no order: which reply was due is `outstanding`'s business.

use crate::judge::stamp::LETTERS;
use crate::time::schedule::{Random, mix};

/// The payloads of a run.
#[derive(Debug)]
pub(crate) struct Pattern {
    noise: Vec<u8>,
    /// Bytes of every message.
    size: usize,
}

/// What a payload is made of behind its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filling {
    /// Any bytes.
    Bytes,
    /// Any of ASCII's printable characters.
    Ascii,
    /// Any of the characters that JSON leaves as they are.
    Letters,
    /// Words and numbers as feeds carry them, which compress to about a third.
    Words,
}

const WORDS: [&str; 32] = [
    "\"id\":",
    "\"price\":",
    "\"user\":",
    "\"text\":\"",
    "\",",
    "},{",
    "true,",
    "null,",
    "the ",
    "and ",
    "of ",
    "server ",
    "message ",
    "order ",
    "1",
    "2",
    "3",
    "40",
    "57",
    "68",
    "79",
    "805",
    "916",
    "0.",
    "alice ",
    "bob ",
    "carol ",
    "room ",
    "open ",
    "close ",
    "again ",
    "now ",
];

/// Which message of which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// The connection, below 2^24.
    pub(crate) conn: u32,
    /// The message's number on its connection, from zero.
    pub(crate) seq: u64,
}

/// The bytes that name a message.
const STAMP_LEN: usize = 16;

/// Where in the noise a message's rest may start.
const STARTS: usize = 256;

impl Pattern {
    /// Payloads of `size` bytes.
    pub(crate) fn new(size: usize, filling: Filling) -> Self {
        let noise = noise(size.saturating_sub(STAMP_LEN) + STARTS, filling);
        Self { noise, size }
    }

    /// Bytes of every message.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Puts the payload of the message `name` into `out`, in place of what was there.
    pub(crate) fn write(&self, name: Name, out: &mut Vec<u8>) {
        let (stamp, start) = stamp(name);
        out.clear();
        out.extend_from_slice(&stamp[..self.size.min(STAMP_LEN)]);
        out.extend_from_slice(self.rest(start));
    }

    /// Whether `payload` is that of the message `name`, every byte of it.
    pub(crate) fn is(&self, name: Name, payload: &[u8]) -> bool {
        let (stamp, start) = stamp(name);
        match payload.split_at_checked(STAMP_LEN) {
            Some((head, rest)) => head == stamp && rest == self.rest(start),
            None => payload.len() == self.size && *payload == stamp[..payload.len()],
        }
    }

    /// Which message `payload` claims to be. `None`: it is too short to say, or damaged.
    pub(crate) fn claimed(&self, payload: &[u8]) -> Option<Name> {
        let (stamp, _) = payload.split_at_checked(STAMP_LEN)?;
        let number = |range: std::ops::Range<usize>| {
            let digits = stamp[range].iter().rev();
            digits.map(|&c| value(c)).try_fold(0, |n, digit| Some(n << 6 | digit?))
        };
        let conn = u32::try_from(number(7..11)?).ok()?;
        let name = Name { conn, seq: number(0..7)? };
        self.is(name, payload).then_some(name)
    }

    fn rest(&self, start: usize) -> &[u8] {
        // `start` is below `STARTS`, and the noise is `STARTS` longer than the rest.
        &self.noise[start..start + self.size.saturating_sub(STAMP_LEN)]
    }
}

/// `len` bytes, the same in every run.
pub(crate) fn noise(len: usize, filling: Filling) -> Vec<u8> {
    let mut random = Random::new(0x5EED);
    let byte = |bits: u64| bits.to_le_bytes()[7];
    let one_of = |bits, of: &[u8]| of[usize::from(byte(bits)) % of.len()];
    match filling {
        Filling::Bytes => (0..len).map(|_| byte(random.next())).collect(),
        Filling::Ascii => (0..len).map(|_| b' ' + byte(random.next()) % 95).collect(),
        Filling::Letters => (0..len).map(|_| one_of(random.next(), &LETTERS)).collect(),
        Filling::Words => {
            let word = |bits| WORDS[usize::from(byte(bits)) % WORDS.len()].bytes();
            let words = std::iter::repeat_with(|| word(random.next()));
            words.flatten().take(len).collect()
        }
    }
}

/// The stamp of a message, and where its rest starts in the noise.
fn stamp(name: Name) -> ([u8; STAMP_LEN], usize) {
    let hash = mix(name.seq ^ mix(u64::from(name.conn)));
    let mut stamp = [0; STAMP_LEN];
    spell(name.seq, &mut stamp[..7]);
    spell(u64::from(name.conn), &mut stamp[7..11]);
    spell(hash, &mut stamp[11..]);
    (stamp, usize::from(hash.to_le_bytes()[7]) % STARTS)
}

/// Writes the low bits of `number`, six a character, the lowest first.
fn spell(mut number: u64, out: &mut [u8]) {
    for byte in out {
        *byte = ALPHABET[usize::from(number.to_le_bytes()[0] & 63)];
        number >>= 6;
    }
}

/// The six bits of a character.
fn value(character: u8) -> Option<u64> {
    (b'0'..b'0' + 64).contains(&character).then(|| u64::from(character - b'0'))
}

/// 64 characters in a row of ASCII, `0` to `o`.
const ALPHABET: [u8; 64] = {
    let mut alphabet = [0; 64];
    let mut at = 0;
    while at < 64 {
        #[expect(clippy::cast_possible_truncation, reason = "below 64")]
        let offset = at as u8;
        alphabet[at] = b'0' + offset;
        at += 1;
    }
    alphabet
};

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [Name; 5] = [
        Name { conn: 0, seq: 0 },
        Name { conn: 0, seq: 1 },
        Name { conn: 1, seq: 0 },
        Name { conn: 9_999, seq: 123_456_789 },
        Name { conn: (1 << 24) - 1, seq: (1 << 42) - 1 },
    ];

    #[test]
    fn every_flipped_bit_shows() {
        let table = [
            (16, Filling::Ascii),
            (32, Filling::Bytes),
            (300, Filling::Ascii),
            (200, Filling::Words),
        ];
        for (size, filling) in table {
            let pattern = Pattern::new(size, filling);
            let mut payload = Vec::new();
            for name in NAMES {
                pattern.write(name, &mut payload);
                assert!(payload.len() == size && pattern.is(name, &payload));
                assert!(filling == Filling::Bytes || payload.is_ascii());
                assert_eq!(pattern.claimed(&payload), Some(name));
                for bit in 0..size * 8 {
                    payload[bit / 8] ^= 1 << (bit % 8);
                    assert!(!pattern.is(name, &payload), "bit {bit} of {size} bytes");
                    assert_eq!(pattern.claimed(&payload), None, "bit {bit} of {size} bytes");
                    payload[bit / 8] ^= 1 << (bit % 8);
                }
            }
        }
    }

    #[test]
    fn a_wrong_length_shows() {
        for size in [0, 1, 15, 16, 17, 100] {
            let pattern = Pattern::new(size, Filling::Bytes);
            let mut payload = Vec::new();
            pattern.write(NAMES[3], &mut payload);
            assert_eq!(payload.len(), size);
            assert!(pattern.is(NAMES[3], &payload));
            assert!(size == 0 || !pattern.is(NAMES[3], &payload[..size - 1]));
            payload.push(b'0');
            assert!(!pattern.is(NAMES[3], &payload), "{size}");
        }
    }

    #[test]
    fn one_byte_tells_64_messages_apart_and_two_4096() {
        for (size, period) in [(1, 64), (2, 4096)] {
            let pattern = Pattern::new(size, Filling::Bytes);
            let mut payload = Vec::new();
            pattern.write(Name { conn: 7, seq: 5 }, &mut payload);
            let same = (0..2 * period).filter(|&seq| pattern.is(Name { conn: 7, seq }, &payload));
            assert_eq!(same.collect::<Vec<_>>(), [5, 5 + period]);
        }
    }

    #[test]
    fn messages_in_a_row_differ_behind_the_stamp() {
        let pattern = Pattern::new(64, Filling::Bytes);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        pattern.write(Name { conn: 3, seq: 10 }, &mut a);
        pattern.write(Name { conn: 3, seq: 11 }, &mut b);
        assert_ne!(a[STAMP_LEN..], b[STAMP_LEN..]);
    }
}
