//! How fast clients may come and speak: token buckets by connection and by address, where there are limits to that.
//!
//! A bucket is one number: the time at which it is full again. Taking a token moves it on by the time that one takes to come; what is
//! full is as good as not there. Time is the turn's, and without a limit nothing is asked, kept or counted.
//!
//! | rate | a connection | an address |
//! |---|---|---|
//! | messages | as it says | eight times that, so that new connections bring little |
//! | connections | | as it says |
//!
//! Loopback addresses count like others: a proxy on this machine must name its clients (`Listen::proxy`). Whoever has no address, by a
//! Unix socket, has no bucket for it. Refuses nobody: that is up to those who ask.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use crate::config::{Limits, Rate};
use crate::net::terms::peer_id::PeerId;

/// The buckets of one loop.
#[derive(Debug)]
pub(crate) struct Rates {
    messages: Option<MessageRate>,
    connects: Option<AddressRate>,
}

/// What connections say, each and those of an address together.
#[derive(Debug)]
struct MessageRate {
    rate: Rate,
    /// By the peers' keys: whose it is, and its bucket.
    peers: Vec<(u32, Bucket)>,
    addresses: AddressRate,
}

/// A rate that each address has.
#[derive(Debug)]
struct AddressRate {
    rate: Rate,
    buckets: Buckets,
}

/// When a bucket is full again, in nanoseconds of the loop's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bucket(u64);

/// Buckets of addresses, of which there are as many as may be.
#[derive(Debug, Default)]
struct Buckets {
    by_ip: HashMap<IpAddr, Bucket>,
    /// All of them, the next to be looked at first.
    order: VecDeque<IpAddr>,
}

impl Rates {
    pub(crate) fn new(limits: &Limits) -> Self {
        let mut rates = Self { messages: None, connects: None };
        rates.adopt(limits);
        rates
    }

    /// Changes the limits; what was taken stays taken.
    pub(crate) fn adopt(&mut self, limits: &Limits) {
        self.messages = limits.message_rate.map(|rate| {
            let of_address = rate.times(CONNECTIONS_PER_ADDRESS);
            let (peers, buckets) = match self.messages.take() {
                Some(former) => (former.peers, former.addresses.buckets),
                None => Default::default(),
            };
            MessageRate { rate, peers, addresses: AddressRate { rate: of_address, buckets } }
        });
        self.connects = limits.connect_rate.map(|rate| {
            let buckets = self.connects.take().map(|former| former.buckets).unwrap_or_default();
            AddressRate { rate, buckets }
        });
    }

    /// Whether there is a limit for messages.
    pub(crate) const fn has_message_rate(&self) -> bool {
        self.messages.is_some()
    }

    /// Takes a message of a peer's rate and of its address'; false: one of them is used up, and nothing was taken.
    pub(crate) fn take_message(&mut self, peer: PeerId, ip: Option<IpAddr>, now_ms: u64) -> bool {
        let Some(MessageRate { rate, peers, addresses }) = &mut self.messages else { return true };
        let at = peer.key as usize;
        if peers.len() <= at {
            peers.resize(at + 1, Default::default());
        }
        let (generation, bucket) = &mut peers[at];
        if std::mem::replace(generation, peer.generation) != peer.generation {
            *bucket = Bucket::default();
        }
        let Some(after) = bucket.after_one(*rate, now_ms) else { return false };
        if !ip.is_none_or(|ip| addresses.take(ip, now_ms)) {
            return false;
        }
        *bucket = after;
        true
    }

    /// Takes a connection of an address' rate; false: it is used up.
    pub(crate) fn take_connection(&mut self, ip: Option<IpAddr>, now_ms: u64) -> bool {
        match (&mut self.connects, ip) {
            (Some(connects), Some(ip)) => connects.take(ip, now_ms),
            _ => true,
        }
    }
}

impl AddressRate {
    fn take(&mut self, ip: IpAddr, now_ms: u64) -> bool {
        let Self { rate, buckets } = self;
        if let Some(bucket) = buckets.by_ip.get_mut(&ip) {
            let after = bucket.after_one(*rate, now_ms);
            *bucket = after.unwrap_or(*bucket);
            return after.is_some();
        }
        let Some(after) = Bucket::default().after_one(*rate, now_ms) else { return false };
        buckets.add(ip, after, now_ms);
        true
    }
}

impl Buckets {
    /// Adds one, and clears up a little for it: two are looked at, and what is full goes. So there are not many more than are used.
    /// Where there are as many as may be, one goes that is not, and its address may begin anew: it takes that many addresses.
    fn add(&mut self, ip: IpAddr, bucket: Bucket, now_ms: u64) {
        for _ in 0..LOOKED_AT {
            let Some(first) = self.order.pop_front() else { break };
            let is_full = self.by_ip.get(&first).is_none_or(|bucket| bucket.is_full(now_ms));
            if is_full || self.order.len() + 1 >= ADDRESSES_MAX {
                self.by_ip.remove(&first);
            } else {
                self.order.push_back(first);
            }
        }
        self.by_ip.insert(ip, bucket);
        self.order.push_back(ip);
        // What a crowd needed is not kept for the few that stay.
        if self.by_ip.capacity() > KEPT_MIN && self.by_ip.len() < self.by_ip.capacity() / 8 {
            self.by_ip.shrink_to(KEPT_MIN.max(2 * self.by_ip.len()));
            self.order.shrink_to(KEPT_MIN.max(2 * self.by_ip.len()));
        }
    }
}

impl Bucket {
    /// The bucket, less one token; `None`: there is none in it.
    fn after_one(self, rate: Rate, now_ms: u64) -> Option<Self> {
        let now = nanos(now_ms);
        let interval = SECOND / u64::from(rate.per_second.max(1));
        // When it was full last is forgotten. More than it holds is missing where the rate was lowered.
        let after = self.0.max(now) + interval;
        (after - now <= interval * u64::from(rate.burst.max(1))).then_some(Self(after))
    }

    fn is_full(self, now_ms: u64) -> bool {
        self.0 <= nanos(now_ms)
    }
}

/// No loop runs for five hundred years.
const fn nanos(ms: u64) -> u64 {
    ms.saturating_mul(1_000_000)
}

const SECOND: u64 = 1_000_000_000;

/// How many connections' rate an address has.
const CONNECTIONS_PER_ADDRESS: u32 = 8;

/// Addresses of which a bucket is kept, at about 80 bytes each.
const ADDRESSES_MAX: usize = 1 << 16;

/// Buckets that are looked at for each new one.
const LOOKED_AT: usize = 2;

/// Room that is not worth giving back.
const KEPT_MIN: usize = 1024;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn rates(message: Option<Rate>, connect: Option<Rate>) -> Rates {
        Rates::new(&Limits { message_rate: message, connect_rate: connect, ..Limits::default() })
    }

    fn peer(name: &str) -> PeerId {
        name.parse().unwrap()
    }

    fn ip(number: u32) -> Option<IpAddr> {
        Some(Ipv4Addr::from(number).into())
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut rates = rates(Some(Rate::new(10, 3)), None);
        let mut take = |now_ms| rates.take_message(peer("5.1"), None, now_ms);
        assert_eq!([0; 4].map(&mut take), [true, true, true, false]);
        assert_eq!([99, 100, 100, 200, 299].map(&mut take), [false, true, false, true, false]);
        assert_eq!([10_000; 4].map(&mut take), [true, true, true, false]);
        // The next to have the place begins anew, and no other is concerned.
        assert!(rates.take_message(peer("5.2"), None, 10_000));
        assert!(rates.take_message(peer("4.1"), None, 10_000));
    }

    #[test]
    fn an_address_has_the_messages_of_eight_connections() {
        let mut rates = rates(Some(Rate::new(1, 2)), None);
        let taken = |rates: &mut Rates, ip| {
            (0..20).filter(|at| rates.take_message(peer(&format!("{at}.1")), ip, 0)).count()
        };
        assert_eq!((taken(&mut rates, ip(1)), taken(&mut rates, ip(2))), (16, 16));
        assert_eq!(taken(&mut rates, ip(1)), 0);
        // Who is refused takes nothing: its own are there again once its address has some.
        assert!(rates.take_message(peer("19.1"), ip(3), 0));
    }

    #[test]
    fn connections_are_counted_by_address() {
        let mut rates = rates(None, Some(Rate::new(1, 2)));
        let mut take = |number, now_ms| rates.take_connection(ip(number), now_ms);
        assert_eq!([1; 3].map(|number| take(number, 0)), [true, true, false]);
        assert!(take(2, 0) && !take(1, 999) && take(1, 1000));
        assert!(rates.take_connection(None, 0) && rates.take_message(peer("1.1"), ip(1), 0));
    }

    #[test]
    fn what_was_taken_stays_taken_when_the_rate_changes() {
        let mut rates = rates(Some(Rate::new(10, 10)), None);
        let all = |rates: &mut Rates, now_ms| {
            (0..100).filter(|_| rates.take_message(peer("1.1"), None, now_ms)).count()
        };
        assert_eq!(all(&mut rates, 0), 10);
        let limits = |message_rate| Limits { message_rate, ..Limits::default() };
        rates.adopt(&limits(Some(Rate::new(1, 1))));
        assert_eq!((all(&mut rates, 500), all(&mut rates, 1000)), (0, 1));
        rates.adopt(&limits(None));
        assert!(!rates.has_message_rate());
        assert_eq!(all(&mut rates, 1000), 100);
    }

    /// A crowd that changes its address each time, at its worst and when it goes.
    #[test]
    fn addresses_without_end_are_forgotten() {
        let mut rates = rates(None, Some(Rate::new(1, 1)));
        for number in 0..4 * u32::try_from(ADDRESSES_MAX).unwrap() {
            assert!(rates.take_connection(ip(number), 0));
            let buckets = &rates.connects.as_ref().unwrap().buckets;
            assert!(buckets.by_ip.len() <= ADDRESSES_MAX);
            assert_eq!(buckets.by_ip.len(), buckets.order.len());
        }
        for number in 0..100_000 {
            assert!(rates.take_connection(ip(number), 10_000 + u64::from(number)));
        }
        let buckets = &rates.connects.as_ref().unwrap().buckets;
        assert!(buckets.by_ip.len() < 2500, "{}", buckets.by_ip.len());
        assert!(buckets.by_ip.capacity() < 30_000, "{}", buckets.by_ip.capacity());
    }

    proptest! {
        /// Tokens in millionths that are added as time goes by.
        #[test]
        fn a_bucket_is_a_naive_one(
            per_second in prop_oneof![Just(1_u32), Just(4), Just(10), Just(1000), Just(1_000_000)],
            burst in 1..50_u32,
            steps in proptest::collection::vec((0..400_u64, 1..60_usize), 1..60),
        ) {
            let rate = Rate::new(per_second, burst);
            let full = u64::from(burst) * 1000;
            let (mut bucket, mut tokens, mut now_ms) = (Bucket::default(), full, 0);
            for (passed_ms, takes) in steps {
                now_ms += passed_ms;
                tokens = full.min(tokens + passed_ms * u64::from(per_second));
                for _ in 0..takes {
                    let after = bucket.after_one(rate, now_ms);
                    prop_assert_eq!(after.is_some(), tokens >= 1000);
                    if let Some(after) = after {
                        (bucket, tokens) = (after, tokens - 1000);
                    }
                }
                prop_assert_eq!(bucket.is_full(now_ms), tokens == full);
            }
        }
    }
}
