//! Places in a topic: how clients name them, and what follows them there.
//!
//! ```text
//! offsets  0 | gone ...... | first ...... next-1 | next ...
//!            └── Trimmed ──┴────── Whole ────────┴── Future      the place of another epoch: OtherLife
//! ```
//!
//! Offsets and epochs come from clients, and may be any number: whatever is named, a reader begins at a message that the topic
//! has, or behind its last one, and what it missed is declared. Pure arithmetic, without a message in sight: the ring itself is
//! `topics`'.

#![deny(clippy::arithmetic_side_effects)]

use std::fmt;

/// Names a message of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId {
    /// Which life of the topic.
    pub epoch: u64,
    /// Which message of it, from 1 on; 0 is before the first.
    pub offset: u64,
}

saved!(struct MessageId { epoch, offset });

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}:{}", self.epoch, self.offset)
    }
}

impl std::str::FromStr for MessageId {
    type Err = BadMessageId;

    /// Parses what `Display` writes.
    fn from_str(text: &str) -> Result<Self, BadMessageId> {
        let (epoch, offset) = text.split_once(':').ok_or(BadMessageId)?;
        let is_hex = |byte: u8| byte.is_ascii_hexdigit();
        if !epoch.bytes().all(is_hex) || !offset.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BadMessageId);
        }
        let epoch = u64::from_str_radix(epoch, 16).map_err(|_| BadMessageId)?;
        let offset = offset.parse().map_err(|_| BadMessageId)?;
        Ok(Self { epoch, offset })
    }
}

/// Not a message's name, `EPOCH:OFFSET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadMessageId;

impl fmt::Display for BadMessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a message's id, EPOCH:OFFSET")
    }
}

impl std::error::Error for BadMessageId {}

/// Where to begin listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// With the next message.
    Now,
    /// Behind this one.
    Id(MessageId),
    /// With the last so many that are there.
    Last(u64),
    /// With all that are there.
    All,
}

saved!(enum Since { 0 => Now, 1 => Id(id), 2 => Last(count), 3 => All });

/// Messages that a reader is not given, since they fell off the ring first, or since the topic never had the place that the
/// reader names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last message before the gap, as the reader names it.
    pub from: MessageId,
    /// The last message in it: a reader that goes on behind this one misses nothing more.
    pub to: MessageId,
}

impl Gap {
    /// How many messages are gone; `None`: nobody knows, since `from` is of another life of the topic, or of its future.
    pub const fn lost(&self) -> Option<u64> {
        if self.from.epoch == self.to.epoch {
            // What is of the future lies behind everything that is gone.
            self.to.offset.checked_sub(self.from.offset)
        } else {
            None
        }
    }
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The topic's last message so far.
    pub last: MessageId,
    /// The offset of the first message that the reader is given.
    pub(crate) next: u64,
    /// What it asked for and is gone.
    pub gap: Option<Gap>,
}

impl Position {
    /// The offset of the first message that is there and was asked for; one behind the last, if there is none.
    pub const fn next(&self) -> u64 {
        self.next
    }
}

/// Which messages a topic keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    epoch: u64,
    /// At least 1.
    first: u64,
    /// At least `first`.
    next: u64,
}

/// Where the place that a reader names lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Before the first message that is kept, behind the last one, or between: nothing that follows is missing.
    Whole,
    /// Before messages that are gone.
    Trimmed,
    /// At a message that this life of the topic has not had yet. What the reader heard, if it heard anything, was said elsewhere.
    Future,
    /// In another life of the topic.
    OtherLife,
}

impl Kept {
    /// `count` messages from the offset `first` on, in the life `epoch` of a topic.
    pub const fn new(epoch: u64, first: u64, count: u64) -> Self {
        let first = if first == 0 { 1 } else { first };
        Self { epoch, first, next: first.saturating_add(count) }
    }

    /// The offset of the next message that is published.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// The last message so far, kept or not.
    pub const fn last(&self) -> MessageId {
        self.before(self.next)
    }

    /// Where a reader that asks for `since` begins.
    pub fn position(&self, since: Since) -> Position {
        let (next, gap) = match since {
            Since::Now => (self.next, None),
            Since::All => (self.first, None),
            Since::Last(count) => (self.next.saturating_sub(count).max(self.first), None),
            Since::Id(from) => match self.standing(from) {
                Standing::Whole => (from.offset.saturating_add(1), None),
                Standing::Trimmed | Standing::Future | Standing::OtherLife => {
                    (self.first, Some(Gap { from, to: self.before(self.first) }))
                }
            },
        };
        Position { last: self.last(), next, gap }
    }

    const fn standing(&self, place: MessageId) -> Standing {
        if place.epoch != self.epoch {
            Standing::OtherLife
        } else if place.offset >= self.next {
            Standing::Future
        } else if place.offset.saturating_add(1) < self.first {
            Standing::Trimmed
        } else {
            Standing::Whole
        }
    }

    /// The message before the one at `offset`.
    const fn before(&self, offset: u64) -> MessageId {
        MessageId { epoch: self.epoch, offset: offset.saturating_sub(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: u64 = 0xE;

    fn here(offset: u64) -> MessageId {
        MessageId { epoch: HERE, offset }
    }

    #[test]
    fn each_place_has_its_standing() {
        use Standing::{Future, OtherLife, Trimmed, Whole};
        // Messages 4 to 8 are kept; none of 8; none ever; as many as there may be.
        let some = Kept::new(HERE, 4, 5);
        let none = Kept::new(HERE, 9, 0);
        let new = Kept::new(HERE, 1, 0);
        let full = Kept::new(HERE, u64::MAX - 1, 5);
        for (kept, place, standing, lost) in [
            (some, here(0), Trimmed, Some(3)),
            (some, here(2), Trimmed, Some(1)),
            (some, here(3), Whole, None),
            (some, here(7), Whole, None),
            (some, here(8), Whole, None),
            (some, here(9), Future, None),
            (some, here(u64::MAX), Future, None),
            (some, MessageId { epoch: 0, offset: 0 }, OtherLife, None),
            (some, MessageId { epoch: u64::MAX, offset: u64::MAX }, OtherLife, None),
            (none, here(7), Trimmed, Some(1)),
            (none, here(8), Whole, None),
            (none, here(9), Future, None),
            (new, here(0), Whole, None),
            (new, here(1), Future, None),
            (new, MessageId { epoch: 1, offset: 0 }, OtherLife, None),
            (full, here(0), Trimmed, Some(u64::MAX - 2)),
            (full, here(u64::MAX - 1), Whole, None),
            (full, here(u64::MAX), Future, None),
        ] {
            assert_eq!(kept.standing(place), standing, "{place} in {kept:?}");
            let Position { gap, next, .. } = kept.position(Since::Id(place));
            assert_eq!(gap.is_none(), standing == Whole, "{place} in {kept:?}");
            assert_eq!(gap.and_then(|gap| gap.lost()), lost, "{place} in {kept:?}");
            assert!(kept.first <= next && next <= kept.next, "{place} in {kept:?}: {next}");
        }
    }

    #[test]
    fn what_is_asked_for_without_a_place_is_what_is_there() {
        let kept = Kept::new(HERE, 4, 5);
        for (since, next) in [
            (Since::Now, 9),
            (Since::All, 4),
            (Since::Last(0), 9),
            (Since::Last(2), 7),
            (Since::Last(5), 4),
            (Since::Last(6), 4),
            (Since::Last(u64::MAX), 4),
        ] {
            assert_eq!(kept.position(since), Position { last: here(8), next, gap: None });
        }
    }
}
