//! Which message goes first where all history is too much: whose, and then which of them.
//!
//! ```text
//! owners by what they hold   ... | 1.5 MiB | 2 MiB | 24 MiB     the last one gives, its oldest first: not whoever came earlier
//! ages, of all and by owner  (number of a topic's first message, topic)     a heap; what it says may be too old, and is put right
//!                                                                            once it comes to its top
//! ```
//!
//! An owner that may make topics without a quota ([`OwnerId::NOBODY`]) gives once nobody else has more than a tenth of what there may be,
//! and it has the most: so a stranger cannot press a whole application's history down to its own.
//!
//! Publishing to a topic that keeps something costs nothing here but an addition. Keeps no message, and drops none: that is `topics`'.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use crate::net::topics::owners::OwnerId;

/// What is kept, by owner and age.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    /// By the topics' keys.
    rows: Vec<Row>,
    /// Of all owners.
    all: Ages,
    /// By the owners' places.
    holdings: Vec<Holding>,
    /// Those that hold something, but for nobody, by its [`level`].
    by_level: BTreeSet<(u8, usize)>,
    bytes: usize,
}

/// What is known of a topic.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// The number of its first message; zero: it keeps none.
    first: u64,
    /// What the ages of all, and of the owner, say of it; zero: nothing.
    listed: [u64; 2],
}

/// What an owner holds.
#[derive(Debug, Default)]
struct Holding {
    bytes: usize,
    ages: Ages,
}

/// Topics by the number of their first message, the lowest first; a topic may have moved on since, or be another one.
#[derive(Debug, Default)]
struct Ages {
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    /// Topics that keep something.
    topics: usize,
}

/// Which of a row's entries.
const ALL: usize = 0;
const OWN: usize = 1;

impl Retention {
    /// Bytes of all owners.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// An owner holds so much more.
    pub(crate) fn grow(&mut self, owner: OwnerId, bytes: usize) {
        self.bytes += bytes;
        let at = owner.at();
        if self.holdings.len() <= at {
            self.holdings.resize_with(at + 1, Holding::default);
        }
        let before = self.holdings[at].bytes;
        self.holdings[at].bytes += bytes;
        self.level(at, before);
    }

    /// An owner holds so much less.
    pub(crate) fn shrink(&mut self, owner: OwnerId, bytes: usize) {
        if bytes == 0 {
            // It may never have held anything.
            return;
        }
        self.bytes -= bytes;
        let at = owner.at();
        let before = self.holdings[at].bytes;
        self.holdings[at].bytes -= bytes;
        self.level(at, before);
    }

    /// The first message of a topic has this number now; `None`: it keeps none. Numbers only grow, and none is zero.
    pub(crate) fn set_first(&mut self, topic: u32, owner: OwnerId, first: Option<u64>) {
        let (at, owner) = (topic as usize, owner.at());
        if self.rows.len() <= at {
            self.rows.resize(at + 1, Row::default());
        }
        if self.holdings.len() <= owner {
            self.holdings.resize_with(owner + 1, Holding::default);
        }
        let Self { rows, all, holdings, .. } = self;
        let row = &mut rows[at];
        let former = std::mem::replace(&mut row.first, first.unwrap_or(0));
        match (former, first) {
            (0, Some(first)) => {
                *row = Row { first, listed: [first; 2] };
                all.list(first, topic);
                holdings[owner].ages.list(first, topic);
            }
            (0, None) | (_, Some(_)) => {}
            (_, None) => {
                row.listed = [0; 2];
                all.topics -= 1;
                holdings[owner].ages.topics -= 1;
                all.compact(rows, ALL);
                holdings[owner].ages.compact(rows, OWN);
            }
        }
    }

    /// The topic with the oldest message of all.
    pub(crate) fn oldest(&mut self) -> Option<u32> {
        self.all.oldest(&mut self.rows, ALL)
    }

    /// The topic that gives its first message where there may be `bytes_max` in all.
    pub(crate) fn gives_first(&mut self, bytes_max: usize) -> Option<u32> {
        let held = |at: usize| self.holdings.get(at).map_or(0, |holding| holding.bytes);
        let nobody = OwnerId::NOBODY.at();
        let owner = match self.by_level.last() {
            Some(&(_, most)) if held(most) > bytes_max / 10 || held(most) >= held(nobody) => most,
            _ => nobody,
        };
        self.holdings.get_mut(owner)?.ages.oldest(&mut self.rows, OWN)
    }

    /// An owner held `before`.
    fn level(&mut self, at: usize, before: usize) {
        let now = self.holdings[at].bytes;
        if level(before) == level(now) || at == OwnerId::NOBODY.at() {
            return;
        }
        self.by_level.remove(&(level(before), at));
        if now > 0 {
            self.by_level.insert((level(now), at));
        }
    }

    /// Each owner holds this much, and these topics keep something, each of its owner and from this message on.
    #[cfg(test)]
    pub(crate) fn audit(&mut self, held: &[(OwnerId, usize)], firsts: &[(u32, OwnerId, u64)]) {
        let mut sums = vec![0; self.holdings.len()];
        for (owner, bytes) in held.iter().filter(|(_, bytes)| *bytes > 0) {
            sums[owner.at()] += bytes;
        }
        let bytes: Vec<_> = self.holdings.iter().map(|holding| holding.bytes).collect();
        assert_eq!(bytes, sums, "bytes of owners");
        assert_eq!(self.bytes, sums.iter().sum());
        let some = (1..).zip(&sums[1.min(sums.len())..]).filter(|(_, sum)| **sum > 0);
        let levels: BTreeSet<_> = some.map(|(at, &sum)| (level(sum), at)).collect();
        assert_eq!(self.by_level, levels);
        let oldest = firsts.iter().min_by_key(|(.., first)| *first).map(|(topic, ..)| *topic);
        assert_eq!(self.oldest(), oldest);
        assert_eq!(self.all.topics, firsts.len());
        for at in 0..self.holdings.len() {
            let own = || firsts.iter().filter(|(_, owner, _)| owner.at() == at);
            let oldest = own().min_by_key(|(.., first)| *first).map(|(topic, ..)| *topic);
            let ages = &mut self.holdings[at].ages;
            assert_eq!(ages.topics, own().count());
            assert_eq!(ages.oldest(&mut self.rows, OWN), oldest);
            assert!(ages.heap.len() <= 2 * ages.topics + STALE_MAX);
        }
    }
}

impl Ages {
    fn list(&mut self, first: u64, topic: u32) {
        self.heap.push(Reverse((first, topic)));
        self.topics += 1;
    }

    /// The topic whose first message has the lowest number.
    fn oldest(&mut self, rows: &mut [Row], which: usize) -> Option<u32> {
        loop {
            let mut top = self.heap.peek_mut()?;
            let Reverse((listed, topic)) = *top;
            let row = &mut rows[topic as usize];
            if row.listed[which] != listed {
                // It is of a topic that is gone, or kept nothing since.
                std::collections::binary_heap::PeekMut::pop(top);
            } else if row.first == listed {
                return Some(topic);
            } else {
                row.listed[which] = row.first;
                *top = Reverse((row.first, topic));
            }
        }
    }

    /// Leaves out what is of topics that are gone, once it is most.
    fn compact(&mut self, rows: &[Row], which: usize) {
        if self.heap.len() > 2 * self.topics + STALE_MAX {
            self.heap
                .retain(|Reverse((listed, topic))| rows[*topic as usize].listed[which] == *listed);
            self.heap.shrink_to(2 * self.topics);
        }
    }
}

/// About how much it is, zero being nothing: four levels to each doubling, so that most messages leave an owner where it was.
fn level(bytes: usize) -> u8 {
    let Some(log) = bytes.checked_ilog2() else { return 0 };
    let quarter = if log < 2 { 0 } else { bytes >> (log - 2) & 3 };
    u8::try_from(1 + log as usize * 4 + quarter).unwrap_or(u8::MAX)
}

/// Entries that are not worth clearing up.
const STALE_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use proptest::prelude::*;

    use super::*;
    use crate::net::topics::owners::{Name, Owners};

    #[test]
    fn a_level_is_a_quarter_of_a_doubling() {
        let levels: Vec<_> = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1000].map(level).into();
        assert_eq!(levels, [1, 5, 5, 9, 10, 11, 12, 13, 13, 14, 40]);
        assert!((1..5000).all(|bytes| level(bytes) <= level(bytes + 1)));
        assert_eq!((level(0), level(usize::MAX)), (0, 255));
    }

    /// Somebody who holds a quarter more than everybody else gives, be others' messages older or not.
    #[test]
    fn who_holds_most_gives_its_oldest() {
        let mut retention = Retention::default();
        let [_, one, other] = owners();
        retention.grow(OwnerId::NOBODY, 500);
        retention.set_first(0, OwnerId::NOBODY, Some(1));
        retention.grow(one, 90);
        retention.set_first(1, one, Some(2));
        retention.grow(other, 200);
        retention.set_first(2, other, Some(3));
        retention.set_first(3, other, Some(4));
        assert_eq!(retention.gives_first(1000), Some(2));
        retention.set_first(2, other, Some(5));
        assert_eq!(retention.gives_first(1000), Some(3));
        // With a tenth and less of all they are left alone as long as nobody has more.
        retention.shrink(other, 110);
        assert_eq!(retention.gives_first(1000), Some(0));
        retention.shrink(OwnerId::NOBODY, 450);
        assert!(matches!(retention.gives_first(1000), Some(1 | 3)));
        assert_eq!(retention.oldest(), Some(0));
    }

    #[derive(Clone, Debug)]
    enum Does {
        Publish(u32, usize),
        DropFirst(u32),
        Clear(u32),
        /// Gives the topic to another owner, once it keeps nothing.
        Rename(u32, usize),
        DropOldest,
        Give(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Does>> {
        let step = prop_oneof![
            4 => (0..8_u32, 1..300_usize).prop_map(|(topic, bytes)| Does::Publish(topic, bytes)),
            1 => (0..8_u32).prop_map(Does::DropFirst),
            1 => (0..8_u32).prop_map(Does::Clear),
            1 => (0..8_u32, 0..3_usize).prop_map(|(topic, owner)| Does::Rename(topic, owner)),
            1 => Just(Does::DropOldest),
            1 => (0..3000_usize).prop_map(Does::Give),
        ];
        proptest::collection::vec(step, 0..400)
    }

    fn owners() -> [OwnerId; 3] {
        let mut owners = Owners::new();
        let [one, other] = ["one", "other"].map(|name| owners.intern(Name::User(name.into())));
        [OwnerId::NOBODY, one, other]
    }

    /// The same as lists of messages that are searched.
    #[derive(Debug, Default)]
    struct Naive {
        /// By topic: its owner, and each message's number and bytes.
        topics: BTreeMap<u32, (usize, VecDeque<(u64, usize)>)>,
    }

    impl Naive {
        fn held(&self, owner: usize) -> usize {
            let own = self.topics.values().filter(|(it, _)| *it == owner);
            own.flat_map(|(_, messages)| messages).map(|(_, bytes)| bytes).sum()
        }

        fn oldest(&self, owner: Option<usize>) -> Option<u32> {
            let own =
                self.topics.iter().filter(|(_, (it, _))| owner.is_none_or(|owner| *it == owner));
            let firsts =
                own.filter_map(|(topic, (_, messages))| Some((messages.front()?.0, *topic)));
            firsts.min().map(|(_, topic)| topic)
        }

        fn gives_first(&self, bytes_max: usize) -> Option<u32> {
            let most =
                [1, 2].into_iter().max_by_key(|&owner| (level(self.held(owner)), owner)).unwrap();
            let held = self.held(most);
            let gives = held > 0 && (held > bytes_max / 10 || held >= self.held(0));
            self.oldest(Some(if gives { most } else { 0 }))
        }
    }

    proptest! {
        #[test]
        fn what_goes_first_is_what_a_naive_twin_says(steps in steps()) {
            let owners = owners();
            let (mut retention, mut naive) = (Retention::default(), Naive::default());
            let mut number = 0;
            for step in steps {
                let dropped = match step {
                    Does::Publish(topic, bytes) => {
                        number += 1;
                        let (owner, messages) = naive.topics.entry(topic).or_default();
                        messages.push_back((number, bytes));
                        retention.grow(owners[*owner], bytes);
                        if messages.len() == 1 {
                            retention.set_first(topic, owners[*owner], Some(number));
                        }
                        None
                    }
                    Does::DropFirst(topic) | Does::Clear(topic) => Some(topic),
                    Does::Rename(topic, owner) => {
                        let (was, messages) = naive.topics.entry(topic).or_default();
                        if messages.is_empty() {
                            *was = owner;
                        }
                        None
                    }
                    Does::DropOldest => {
                        prop_assert_eq!(retention.oldest(), naive.oldest(None));
                        naive.oldest(None)
                    }
                    Does::Give(bytes_max) => {
                        let gives = retention.gives_first(bytes_max);
                        prop_assert_eq!(gives, naive.gives_first(bytes_max));
                        gives
                    }
                };
                let count = if matches!(step, Does::Clear(_)) { usize::MAX } else { 1 };
                if let Some((topic, (owner, messages))) = dropped.and_then(|topic| Some((topic, naive.topics.get_mut(&topic)?))) {
                    for (_, bytes) in messages.drain(..count.min(messages.len())) {
                        retention.shrink(owners[*owner], bytes);
                    }
                    retention.set_first(topic, owners[*owner], messages.front().map(|(first, _)| *first));
                }
                let held: Vec<_> = (0..3).filter(|&owner| naive.held(owner) > 0).map(|owner| (owners[owner], naive.held(owner))).collect();
                let firsts = naive.topics.iter().filter_map(|(topic, (owner, messages))| Some((*topic, owners[*owner], messages.front()?.0)));
                retention.audit(&held, &firsts.collect::<Vec<_>>());
            }
        }
    }

    /// Topics that come and go leave nothing behind, however young what lies on top is.
    #[test]
    fn what_is_gone_is_not_kept() {
        let mut retention = Retention::default();
        retention.set_first(0, OwnerId::NOBODY, Some(1));
        for number in 2..100_000 {
            retention.set_first(1, OwnerId::NOBODY, Some(number));
            retention.set_first(1, OwnerId::NOBODY, None);
        }
        assert!(retention.all.heap.len() <= 2 + STALE_MAX + 1, "{}", retention.all.heap.len());
        assert_eq!(retention.oldest(), Some(0));
    }
}
