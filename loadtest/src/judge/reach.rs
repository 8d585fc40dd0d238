//! Whom a broadcast reached: one account for each message that is under way, and what all of them came to.
//!
//! A message's copies are taken in as they come, so that the n-th to come is the n-th fastest: the median and the 99th
//! percentile over its subscribers are read off when their turn comes, and nothing is kept for each copy but one bit.
//! Knows neither payloads nor order.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use crate::judge::stamp::{Mark, Stamp};
use crate::judge::stats::histogram;

/// What a broadcast came to, but for what every mode has.
#[derive(Debug)]
pub(crate) struct Reach {
    /// Deliveries that were due: for each message, the subscribers that its topic had.
    pub(crate) expected: u64,
    /// Those that came and were right.
    pub(crate) received: u64,
    /// Messages that publishers heard; no deliveries.
    pub(crate) echoes: u64,
    /// Frames without a message of ours: a protocol's own.
    pub(crate) other_frames: u64,
    /// Subscribers that missed at least one message.
    pub(crate) short: u64,
    /// The connection that missed most, and how many.
    pub(crate) worst: Option<(u32, u64)>,
    /// For each measured message, how long until its first subscriber had it, and so on.
    pub(crate) first: Histogram<u64>,
    /// Until half of them had it.
    pub(crate) median: Histogram<u64>,
    /// Until 99 of 100 had it.
    pub(crate) p99: Histogram<u64>,
    /// Until the last had it.
    pub(crate) last: Histogram<u64>,
    /// From the first to the last.
    pub(crate) spread: Histogram<u64>,
    /// From sending a publication by HTTP to its answer.
    pub(crate) answer: Histogram<u64>,
}

impl Reach {
    /// Nothing was published yet.
    pub(crate) fn new() -> Self {
        Self {
            expected: 0,
            received: 0,
            echoes: 0,
            other_frames: 0,
            short: 0,
            worst: None,
            first: histogram(),
            median: histogram(),
            p99: histogram(),
            last: histogram(),
            spread: histogram(),
            answer: histogram(),
        }
    }

    /// Notes that `account` has one more subscriber, `age_ns` after it was due.
    pub(crate) fn arrived(&mut self, account: &mut Account, age_ns: u64) {
        let before = account.received;
        account.received += 1;
        self.received += 1;
        if before == 0 {
            account.first_ns = age_ns;
        }
        self.settle(account, before, account.received, age_ns);
    }

    /// Notes that `account` is closed, `age_ns` after it was due. What is missing has at least this age.
    pub(crate) fn closed(&mut self, account: &Account, age_ns: u64) {
        self.settle(account, account.received, account.expected, age_ns);
    }

    /// Records what is settled by the subscribers behind number `from`, up to number `to`.
    fn settle(&mut self, account: &Account, from: u32, to: u32, age_ns: u64) {
        if !account.is_measured || from == to {
            return;
        }
        let ranks = [1, account.median_rank, account.p99_rank, account.expected];
        let times = [&mut self.first, &mut self.median, &mut self.p99, &mut self.last];
        for (rank, times) in ranks.into_iter().zip(times) {
            if from < rank && rank <= to {
                times.saturating_record(age_ns);
            }
        }
        if to == account.expected {
            self.spread.saturating_record(age_ns.saturating_sub(account.first_ns));
        }
    }
}

/// A message under way, and who has it.
#[derive(Debug)]
pub(crate) struct Account {
    /// Which message it is.
    pub(crate) mark: Mark,
    /// What it must say.
    pub(crate) stamp: Stamp,
    /// Its topic.
    pub(crate) topic: usize,
    /// When it left.
    pub(crate) sent_ns: u64,
    /// Whether it counts in percentiles: it was due after the warm-up.
    pub(crate) is_measured: bool,
    /// Right copies that came.
    received: u32,
    /// Copies that were due when it left.
    expected: u32,
    /// Copies that are not settled.
    due: u32,
    /// Those of them that may still come: their subscribers' connections are open.
    awaited: u32,
    median_rank: u32,
    p99_rank: u32,
    /// The age of the first copy.
    first_ns: u64,
    /// A bit for each place at the topic: set where nothing is awaited any more, or never was.
    settled: Vec<u64>,
}

/// What a topic has.
#[derive(Debug)]
pub(crate) struct Audience {
    /// Subscribers that were there when the load began.
    pub(crate) expected: u32,
    /// Those of them that still are.
    pub(crate) alive: u32,
    /// A bit for each place: set where nobody was there.
    pub(crate) absent: Vec<u64>,
}

impl Audience {
    /// The audience of a topic with these places, some of them empty.
    pub(crate) fn new(places: &[bool]) -> Self {
        let mut absent = vec![!0; places.len().div_ceil(64)];
        let mut expected = 0;
        for (place, _) in places.iter().enumerate().filter(|&(_, &is_there)| is_there) {
            absent[place / 64] &= !(1 << (place % 64));
            expected += 1;
        }
        Self { expected, alive: expected, absent }
    }
}

impl Account {
    /// Whether the copy for `place` was settled before.
    pub(crate) fn is_settled(&self, place: usize) -> bool {
        self.settled.get(place / 64).is_none_or(|word| word >> (place % 64) & 1 == 1)
    }

    /// Settles the copy for `place`, whose subscriber is there. True: it was the last that was due.
    pub(crate) fn settle(&mut self, place: usize) -> bool {
        debug_assert!(!self.is_settled(place));
        self.settled[place / 64] |= 1 << (place % 64);
        self.awaited = self.awaited.saturating_sub(1);
        self.due = self.due.saturating_sub(1);
        self.due == 0
    }

    /// A subscriber without its copy is gone: the copy stays due, and won't come.
    pub(crate) fn ceases(&mut self) {
        self.awaited = self.awaited.saturating_sub(1);
    }

    /// Copies that may still come.
    pub(crate) fn awaited(&self) -> u32 {
        self.awaited
    }

    /// The places whose copies never came.
    pub(crate) fn missing(&self) -> impl Iterator<Item = usize> + '_ {
        let words = self.settled.iter().enumerate();
        words.flat_map(|(at, &word)| {
            let bits = (0..64).filter(move |bit| word >> bit & 1 == 0);
            bits.map(move |bit| at * 64 + bit)
        })
    }
}

/// The accounts of a run, from the oldest open one on.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    /// `None`: closed, or the message never left.
    open: VecDeque<Option<Account>>,
    /// The number of the first of them.
    base: u64,
    /// Lists of bits to be used again.
    spare: Vec<Vec<u64>>,
}

impl Accounts {
    /// The number of the next message.
    pub(crate) fn next_number(&self) -> u64 {
        self.base + self.open.len() as u64
    }

    /// Opens the account of the next message, which leaves at `sent_ns` for `audience`.
    pub(crate) fn open(
        &mut self,
        mark: Mark,
        stamp: Stamp,
        topic: usize,
        audience: &Audience,
        sent_ns: u64,
        is_measured: bool,
    ) {
        let mut settled = self.spare.pop().unwrap_or_default();
        settled.clone_from(&audience.absent);
        self.open.push_back(Some(Account {
            mark,
            stamp,
            topic,
            sent_ns,
            is_measured,
            received: 0,
            expected: audience.expected,
            due: audience.expected,
            awaited: audience.alive,
            median_rank: rank_of(audience.expected, 50),
            p99_rank: rank_of(audience.expected, 99),
            first_ns: 0,
            settled,
        }));
    }

    /// Passes over the next message, which does not leave.
    pub(crate) fn skip(&mut self) {
        // An account behind a gap at the front would never be the oldest.
        if self.open.is_empty() {
            self.base += 1;
        } else {
            self.open.push_back(None);
        }
    }

    /// The account of message `number`, if it is open.
    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut Account> {
        let at = usize::try_from(number.checked_sub(self.base)?).ok()?;
        self.open.get_mut(at)?.as_mut()
    }

    /// The numbers of the accounts that may be open, from the oldest on.
    pub(crate) fn numbers(&self) -> std::ops::Range<u64> {
        self.base..self.next_number()
    }

    /// Closes the account of message `number`.
    pub(crate) fn close(&mut self, number: u64) -> Option<Account> {
        let at = usize::try_from(number.checked_sub(self.base)?).ok()?;
        let account = self.open.get_mut(at)?.take();
        while let Some(None) = self.open.front() {
            self.open.pop_front();
            self.base += 1;
        }
        account
    }

    /// The number of the oldest open account, if it left before `before_ns`.
    pub(crate) fn oldest(&self, before_ns: u64) -> Option<u64> {
        let oldest = self.open.front()?.as_ref()?;
        (oldest.sent_ns < before_ns).then_some(self.base)
    }

    /// Takes back what a closed account was made of.
    pub(crate) fn recycle(&mut self, account: Account) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(account.settled);
        }
    }
}

/// Lists of bits that are kept for later.
const SPARE_MAX: usize = 64;

/// Which of `count` subscribers is the one at the percentile: the first with at least so many of a hundred up to it.
fn rank_of(count: u32, percent: u64) -> u32 {
    let rank = (u64::from(count) * percent).div_ceil(100);
    u32::try_from(rank).unwrap_or(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::payload::Filling;
    use crate::judge::stamp::Stamps;

    const MARK: Mark = Mark { publisher: 0, seq: 0, due_ns: 0 };

    fn opened(audience: &Audience) -> Accounts {
        let stamp = Stamps::new(26, Filling::Bytes, 0).stamp(MARK);
        let mut accounts = Accounts::default();
        accounts.open(MARK, stamp, 0, audience, 5, true);
        accounts
    }

    #[test]
    fn the_nth_copy_to_come_is_the_nth_fastest() {
        let mut accounts = opened(&Audience::new(&[true; 200]));
        let mut reach = Reach::new();
        let account = accounts.get_mut(0).unwrap();
        for place in 0..200 {
            assert!(!account.is_settled(place));
            assert_eq!(account.settle(place), place == 199);
            reach.arrived(account, 1000 + place as u64);
            assert!(account.is_settled(place));
        }
        let only = |times: &Histogram<u64>| (times.len(), times.max());
        assert_eq!((only(&reach.first), only(&reach.median)), ((1, 1000), (1, 1099)));
        assert_eq!((only(&reach.p99), only(&reach.last)), ((1, 1197), (1, 1199)));
        assert_eq!((only(&reach.spread), reach.received), ((1, 199), 200));
        let account = accounts.close(0).unwrap();
        reach.closed(&account, 5000);
        assert_eq!((reach.last.len(), account.missing().count()), (1, 0));
    }

    #[test]
    fn what_never_came_is_named_and_has_the_age_of_the_account() {
        let mut places = [true; 70];
        places[3] = false;
        let audience = Audience::new(&places);
        assert_eq!((audience.expected, audience.alive), (69, 69));
        let mut accounts = opened(&audience);
        let mut reach = Reach::new();
        let account = accounts.get_mut(0).unwrap();
        assert!(account.is_settled(3) && account.is_settled(128));
        for place in (0..70).filter(|place| ![3, 65, 69].contains(place)) {
            assert!(!account.settle(place));
            reach.arrived(account, 10);
        }
        account.ceases();
        assert_eq!(account.awaited(), 1);
        let account = accounts.close(0).unwrap();
        reach.closed(&account, 1500);
        assert_eq!(account.missing().collect::<Vec<_>>(), [65, 69]);
        assert_eq!((reach.median.max(), reach.last.min()), (10, 1500));
        assert_eq!((reach.received, reach.spread.max()), (67, 1490));
    }

    #[test]
    fn accounts_close_in_any_order_and_the_oldest_can_be_found() {
        let audience = Audience::new(&[true]);
        let mut accounts = opened(&audience);
        let stamp = accounts.get_mut(0).unwrap().stamp;
        accounts.skip();
        accounts.open(MARK, stamp, 0, &audience, 7, true);
        accounts.open(MARK, stamp, 0, &audience, 9, true);
        assert_eq!((accounts.numbers(), accounts.oldest(6)), (0..4, Some(0)));
        let account = accounts.close(2).unwrap();
        accounts.recycle(account);
        assert!(accounts.get_mut(1).is_none() && accounts.get_mut(2).is_none());
        assert_eq!(accounts.numbers(), 0..4);
        assert!(accounts.close(0).is_some() && accounts.close(0).is_none());
        assert_eq!(
            (accounts.numbers(), accounts.oldest(9), accounts.oldest(10)),
            (3..4, None, Some(3))
        );
        accounts.close(3);
        accounts.skip();
        assert_eq!((accounts.numbers(), accounts.oldest(u64::MAX)), (5..5, None));
    }
}
