//! Whose topics are whose, and which of them goes first where there are too many.
//!
//! ```text
//! all      [ oldest | ... | newest ]   twice: of topics that nothing is left of, and of those that keep messages alone
//! an owner [ oldest | ... | newest ]   the same two, of its own topics; a topic is in one of each, or in none while it is listened to
//! ```
//!
//! The lists are links in one table by the topics' keys, so that whatever happens to a topic is a few stores, however many there are.
//! Knows no limit and drops nothing: that is `topics`'.

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use slab::Slab;

use crate::net::terms::peer_id::PeerId;
use crate::state::{Corrupt, Reader, Saved, Writer};

/// Whom topics that a peer makes count against ([`Context::set_owner`](crate::Context::set_owner)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Owner<'a> {
    /// The peer's address, or its /64 of IPv6; where that says nothing (loopback, a Unix socket), the connection.
    #[default]
    Peer,
    /// A user, over all its connections.
    User(&'a str),
    /// Nobody: the application vouches for it, and there is no quota.
    Nobody,
}

/// Who a topic counts against, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    User(Rc<str>),
    Address(IpAddr),
    Connection(PeerId),
}

saved!(enum Name { 0 => User(name), 1 => Address(ip), 2 => Connection(id) });

/// An owner, by its place in the table. It stays the same while the owner has a topic, or somebody holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnerId(u32);

impl OwnerId {
    /// The owner of what has none.
    pub(crate) const NOBODY: Self = Self(0);
    /// Its place, for what others keep by owner.
    pub(crate) const fn at(self) -> usize {
        self.0 as usize
    }

    /// Not said: what is known of the peer counts.
    pub(crate) const UNSAID: Self = Self(u32::MAX);
}

/// How a topic is used, and so how soon it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing is left of it: it goes first.
    Lingering,
    /// It keeps messages, and nobody listens.
    Kept,
    /// Somebody listens: it stays.
    Listened,
}

/// The owners of one loop's topics.
#[derive(Debug)]
pub(crate) struct Owners {
    by_name: HashMap<Name, u32>,
    slab: Slab<Account>,
    /// By the topics' keys.
    places: Vec<Place>,
    /// Of all owners.
    all: Lists,
    /// Topics that somebody listens to.
    listened: usize,
}

#[derive(Debug, Default)]
struct Account {
    /// `None`: nobody.
    name: Option<Name>,
    topics: usize,
    /// Those who hold it, be it without a topic.
    holders: usize,
    own: Lists,
}

/// A topic's place among others.
#[derive(Clone, Copy, Debug)]
struct Place {
    owner: u32,
    /// `None`: there is no topic under this key.
    standing: Option<Standing>,
    /// In the list of all, and in the owner's.
    links: [Link; 2],
}

#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    behind: u32,
}

/// By [`Standing`], but for those that are listened to.
type Lists = [List; 2];

/// A list's ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct List {
    first: u32,
    last: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { first: NONE, last: NONE }
    }
}

const NONE: u32 = u32::MAX;
const UNLINKED: Link = Link { before: NONE, behind: NONE };
const VACANT: Place = Place { owner: 0, standing: None, links: [UNLINKED; 2] };

/// Which of a place's links.
const ALL: usize = 0;
const OWN: usize = 1;

impl Owners {
    pub(crate) fn new() -> Self {
        let mut slab = Slab::new();
        let nobody = slab.insert(Account { holders: 1, ..Account::default() });
        debug_assert_eq!(nobody, OwnerId::NOBODY.0 as usize);
        Self {
            by_name: HashMap::new(),
            slab,
            places: Vec::new(),
            all: Lists::default(),
            listened: 0,
        }
    }

    /// The owner of this name, if it is there.
    pub(crate) fn find(&self, name: &Name) -> Option<OwnerId> {
        self.by_name.get(name).copied().map(OwnerId)
    }

    /// The owner of this name. If nobody holds it and it gets no topic, it is to be held and released.
    pub(crate) fn intern(&mut self, name: Name) -> OwnerId {
        let slab = &mut self.slab;
        OwnerId(*self.by_name.entry(name).or_insert_with_key(|name| {
            let name = Some(name.clone());
            u32::try_from(slab.insert(Account { name, ..Account::default() })).unwrap_or(NONE)
        }))
    }

    /// The owner's name; `None`: it has none, or was not said.
    pub(crate) fn name(&self, owner: OwnerId) -> Option<&Name> {
        self.slab.get(owner.0 as usize)?.name.as_ref()
    }

    /// Has the owner stay, topics or not.
    pub(crate) fn hold(&mut self, owner: OwnerId) {
        if let Some(account) = self.slab.get_mut(owner.0 as usize) {
            account.holders += 1;
        }
    }

    /// Ends a hold.
    pub(crate) fn release(&mut self, owner: OwnerId) {
        if let Some(account) = self.slab.get_mut(owner.0 as usize) {
            account.holders -= 1;
            self.forget_if_unused(owner.0);
        }
    }

    /// Whose a topic is.
    pub(crate) fn owner_of(&self, topic: u32) -> OwnerId {
        OwnerId(self.places[topic as usize].owner)
    }

    /// Topics of an owner.
    pub(crate) fn topics_of(&self, owner: OwnerId) -> usize {
        self.slab.get(owner.0 as usize).map_or(0, |account| account.topics)
    }

    /// Topics that somebody listens to.
    pub(crate) const fn listened(&self) -> usize {
        self.listened
    }

    /// A topic was made.
    pub(crate) fn add(&mut self, topic: u32, owner: OwnerId, standing: Standing) {
        let at = topic as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, VACANT);
        }
        debug_assert!(self.places[at].standing.is_none());
        self.places[at] = Place { owner: owner.0, standing: None, links: [UNLINKED; 2] };
        self.slab[owner.0 as usize].topics += 1;
        self.put(topic, Some(standing));
    }

    /// A topic is gone.
    pub(crate) fn remove(&mut self, topic: u32) {
        let owner = self.places[topic as usize].owner;
        self.put(topic, None);
        self.slab[owner as usize].topics -= 1;
        self.forget_if_unused(owner);
    }

    /// How a topic is used has changed, or may have: then it is the newest of its kind. Whether it has.
    pub(crate) fn stand(&mut self, topic: u32, standing: Standing) -> bool {
        let changes = self.places[topic as usize].standing != Some(standing);
        if changes {
            self.put(topic, Some(standing));
        }
        changes
    }

    /// A topic was used: it is the newest of its kind.
    pub(crate) fn touch(&mut self, topic: u32) {
        self.put(topic, self.places[topic as usize].standing);
    }

    /// The topic that goes first, of this owner or of all.
    pub(crate) fn oldest(&self, owner: Option<OwnerId>) -> Option<u32> {
        let lists = match owner {
            None => &self.all,
            Some(owner) => &self.slab.get(owner.0 as usize)?.own,
        };
        lists.iter().map(|list| list.first).find(|&first| first != NONE)
    }

    /// The topic that nothing is left of for the longest time.
    pub(crate) fn oldest_lingering(&self) -> Option<u32> {
        let List { first, .. } = self.all[Standing::Lingering as usize];
        (first != NONE).then_some(first)
    }

    /// Moves a topic to the end of the lists of `standing`, from wherever it is.
    fn put(&mut self, topic: u32, standing: Option<Standing>) {
        let Self { places, slab, all, listened, .. } = self;
        let place = &mut places[topic as usize];
        let own = &mut slab[place.owner as usize].own;
        let former = std::mem::replace(&mut place.standing, standing);
        match former.map(Standing::list) {
            Some(Some(at)) => {
                all[at].unlink(places, topic, ALL);
                own[at].unlink(places, topic, OWN);
            }
            Some(None) => *listened -= 1,
            None => {}
        }
        match standing.map(Standing::list) {
            Some(Some(at)) => {
                all[at].push(places, topic, ALL);
                own[at].push(places, topic, OWN);
            }
            Some(None) => *listened += 1,
            None => {}
        }
    }

    fn forget_if_unused(&mut self, owner: u32) {
        let account = &self.slab[owner as usize];
        if account.topics == 0 && account.holders == 0 {
            let account = self.slab.remove(owner as usize);
            if let Some(name) = account.name {
                self.by_name.remove(&name);
            }
        }
    }

    /// The topics of a list, the oldest first.
    fn iter(&self, list: List, which: usize) -> impl Iterator<Item = u32> {
        let some = |at: u32| (at != NONE).then_some(at);
        std::iter::successors(some(list.first), move |&at| {
            some(self.places[at as usize].links[which].behind)
        })
    }
}

impl Standing {
    /// Which of the lists; `None`: it is in none.
    const fn list(self) -> Option<usize> {
        match self {
            Self::Lingering | Self::Kept => Some(self as usize),
            Self::Listened => None,
        }
    }
}

impl List {
    fn push(&mut self, places: &mut [Place], topic: u32, which: usize) {
        places[topic as usize].links[which] = Link { before: self.last, behind: NONE };
        match self.last {
            NONE => self.first = topic,
            last => places[last as usize].links[which].behind = topic,
        }
        self.last = topic;
    }

    fn unlink(&mut self, places: &mut [Place], topic: u32, which: usize) {
        let Link { before, behind } = places[topic as usize].links[which];
        match before {
            NONE => self.first = behind,
            before => places[before as usize].links[which].behind = behind,
        }
        match behind {
            NONE => self.last = before,
            behind => places[behind as usize].links[which].before = before,
        }
    }
}

/// Whom a peer's topics count against.
impl Owners {
    /// Holds the owner that a peer is said to have.
    pub(crate) fn hold_said(&mut self, owner: Owner<'_>) -> OwnerId {
        let id = match owner {
            Owner::Peer => OwnerId::UNSAID,
            Owner::Nobody => OwnerId::NOBODY,
            Owner::User(name) => self.intern(Name::User(name.into())),
        };
        self.hold(id);
        id
    }

    /// Whether it is this user.
    pub(crate) fn is_user(&self, owner: OwnerId, user: &str) -> bool {
        matches!(self.name(owner), Some(Name::User(name)) if **name == *user)
    }

    /// Writes what a peer holds.
    pub(crate) fn save_held(&self, held: OwnerId, out: &mut Writer) {
        (held != OwnerId::UNSAID).then(|| self.name(held).cloned()).save(out);
    }

    /// Reads what `save_held` wrote, and holds it.
    pub(crate) fn restore_held(&mut self, from: &mut Reader<'_>) -> Result<OwnerId, Corrupt> {
        let held = match Option::<Option<Name>>::restore(from)? {
            None => OwnerId::UNSAID,
            Some(None) => OwnerId::NOBODY,
            Some(Some(name)) => self.intern(name),
        };
        self.hold(held);
        Ok(held)
    }
}

/// What the owners of topics are, in the order in which the topics would go.
impl Owners {
    pub(crate) fn save(&self, out: &mut Writer) {
        let listened =
            (0..).zip(&self.places).filter(|(_, it)| it.standing == Some(Standing::Listened));
        let listed = self.all.iter().flat_map(|&list| self.iter(list, ALL));
        let count = self.places.iter().filter(|it| it.standing.is_some()).count();
        count.save(out);
        for topic in listed.chain(listened.map(|(topic, _)| topic)) {
            topic.save(out);
            self.name(OwnerId(self.places[topic as usize].owner)).cloned().save(out);
        }
    }

    /// Reads what `save` wrote; there are no topics yet. `standing` is that of each, once; how many there are.
    pub(crate) fn restore(
        &mut self,
        from: &mut Reader<'_>,
        mut standing: impl FnMut(u32) -> Option<Standing>,
    ) -> Result<usize, Corrupt> {
        let count = usize::restore(from)?;
        for _ in 0..count {
            let (topic, name) = <(u32, Option<Name>)>::restore(from)?;
            let standing = standing(topic).ok_or(Corrupt)?;
            if self.places.get(topic as usize).is_some_and(|place| place.standing.is_some()) {
                return Err(Corrupt);
            }
            let owner = name.map_or(OwnerId::NOBODY, |name| self.intern(name));
            self.add(topic, owner, standing);
        }
        Ok(count)
    }
}

/// Checks for tests of what is built on this.
#[cfg(test)]
impl Owners {
    /// All is as these topics, by key and standing, say. `held`: the owners that are held, each as often as it is.
    pub(crate) fn audit(&self, topics: &[(u32, Standing)], held: &[OwnerId]) {
        let there = self.places.iter().filter(|place| place.standing.is_some()).count();
        assert_eq!(there, topics.len(), "places of topics");
        for &(topic, standing) in topics {
            assert_eq!(self.places[topic as usize].standing, Some(standing), "topic {topic}");
        }
        let count = |standing| topics.iter().filter(|(_, it)| *it == standing).count();
        assert_eq!(self.listened, count(Standing::Listened));
        for standing in [Standing::Lingering, Standing::Kept] {
            let listed = self.iter(self.all[standing as usize], ALL).count();
            assert_eq!(listed, count(standing), "the list of all that are {standing:?}");
        }
        assert_eq!(self.by_name.len() + 1, self.slab.len());
        for (id, account) in &self.slab {
            let id = OwnerId(u32::try_from(id).unwrap());
            let is_own = |topic: u32| self.places[topic as usize].owner == id.0;
            let own: Vec<_> = topics.iter().filter(|(topic, _)| is_own(*topic)).collect();
            assert_eq!(account.topics, own.len(), "topics of {:?}", account.name);
            let holders = held.iter().filter(|it| **it == id).count();
            assert_eq!(account.holders, holders + usize::from(id == OwnerId::NOBODY));
            assert!(account.topics + account.holders > 0, "{:?} is left", account.name);
            for standing in [Standing::Lingering, Standing::Kept] {
                // In the same order as among all.
                let all = self.iter(self.all[standing as usize], ALL).filter(|&it| is_own(it));
                let own = self.iter(account.own[standing as usize], OWN);
                assert_eq!(own.collect::<Vec<_>>(), all.collect::<Vec<_>>());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same with a list that is searched: topics with their owner and standing, the oldest use first.
    #[derive(Debug, Default)]
    struct Naive(Vec<(u32, u8, Standing)>);

    impl Naive {
        fn place(&self, topic: u32) -> Option<usize> {
            self.0.iter().position(|(it, ..)| *it == topic)
        }

        fn oldest(&self, owner: Option<u8>) -> Option<u32> {
            let of_owner = |it: &&(u32, u8, Standing)| owner.is_none_or(|owner| it.1 == owner);
            [Standing::Lingering, Standing::Kept].into_iter().find_map(|standing| {
                self.0.iter().filter(of_owner).find(|it| it.2 == standing).map(|it| it.0)
            })
        }
    }

    #[derive(Clone, Debug)]
    enum Does {
        Add(u32, u8, Standing),
        Remove(u32),
        Stand(u32, Standing),
        Touch(u32),
        DropOldest(Option<u8>),
    }

    fn name(owner: u8) -> Name {
        match owner {
            0 => Name::User("anna".into()),
            1 => Name::Address(IpAddr::from([192, 0, 2, 1])),
            _ => Name::Connection(format!("{owner}.1").parse().unwrap()),
        }
    }

    fn steps() -> impl Strategy<Value = Vec<Does>> {
        let standing = || {
            prop_oneof![Just(Standing::Lingering), Just(Standing::Kept), Just(Standing::Listened)]
        };
        let step = prop_oneof![
            (0..12_u32, 0..4_u8, standing())
                .prop_map(|(topic, owner, it)| Does::Add(topic, owner, it)),
            (0..12_u32).prop_map(Does::Remove),
            (0..12_u32, standing()).prop_map(|(topic, it)| Does::Stand(topic, it)),
            (0..12_u32).prop_map(Does::Touch),
            proptest::option::of(0..4_u8).prop_map(Does::DropOldest),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn lists_are_those_of_a_naive_twin(steps in steps()) {
            let (mut owners, mut naive) = (Owners::new(), Naive::default());
            for step in steps {
                match step {
                    Does::Add(topic, owner, standing) if naive.place(topic).is_none() => {
                        let id = owners.intern(name(owner));
                        owners.add(topic, id, standing);
                        naive.0.push((topic, owner, standing));
                    }
                    Does::Remove(topic) => if let Some(at) = naive.place(topic) {
                        owners.remove(topic);
                        naive.0.remove(at);
                    },
                    Does::Stand(topic, standing) => if let Some(at) = naive.place(topic) {
                        let (_, owner, former) = naive.0[at];
                        prop_assert_eq!(owners.stand(topic, standing), former != standing);
                        if former != standing {
                            naive.0.remove(at);
                            naive.0.push((topic, owner, standing));
                        }
                    },
                    Does::Touch(topic) => if let Some(at) = naive.place(topic) {
                        owners.touch(topic);
                        let it = naive.0.remove(at);
                        naive.0.push(it);
                    },
                    Does::DropOldest(owner) => {
                        let oldest = match owner {
                            None => owners.oldest(None),
                            Some(owner) => owners.find(&name(owner)).and_then(|it| owners.oldest(Some(it))),
                        };
                        prop_assert_eq!(oldest, naive.oldest(owner));
                        if let Some(topic) = oldest {
                            owners.remove(topic);
                            naive.0.remove(naive.place(topic).unwrap());
                        }
                    }
                    Does::Add(..) => {}
                }
                let topics: Vec<_> = naive.0.iter().map(|it| (it.0, it.2)).collect();
                owners.audit(&topics, &[]);
            }
            // Written and read, they would go in the same order.
            let mut out = Writer::new();
            owners.save(&mut out);
            let mut read = Owners::new();
            let standing = |topic| naive.place(topic).map(|at| naive.0[at].2);
            let mut reader = Reader::new(out.bytes());
            prop_assert_eq!(read.restore(&mut reader, standing), Ok(naive.0.len()));
            prop_assert_eq!(reader.end(), Ok(()));
            while let Some(topic) = owners.oldest(None) {
                prop_assert_eq!(read.oldest(None), Some(topic));
                owners.remove(topic);
                read.remove(topic);
            }
            prop_assert_eq!(read.oldest(None), None);
        }
    }

    #[test]
    fn an_owner_is_forgotten_with_its_last_topic_or_holder() {
        let mut owners = Owners::new();
        let anna = owners.intern(name(0));
        owners.hold(anna);
        owners.add(7, anna, Standing::Kept);
        owners.release(anna);
        assert_eq!((owners.find(&name(0)), owners.topics_of(anna)), (Some(anna), 1));
        owners.remove(7);
        assert_eq!(owners.find(&name(0)), None);
        // What has no owner is nobody's, and nobody stays.
        owners.add(7, OwnerId::NOBODY, Standing::Kept);
        owners.remove(7);
        owners.release(OwnerId::UNSAID);
        owners.audit(&[], &[]);
    }

    #[test]
    fn what_was_saved_and_is_not_there_is_refused() {
        let mut owners = Owners::new();
        owners.add(3, OwnerId::NOBODY, Standing::Kept);
        let mut out = Writer::new();
        owners.save(&mut out);
        let bytes = out.bytes();
        let absent = Owners::new().restore(&mut Reader::new(bytes), |_| None);
        assert_eq!(absent, Err(Corrupt));
        // Twice the same.
        let mut twice = 2_u64.to_le_bytes().to_vec();
        twice.extend_from_slice(&[&bytes[8..], &bytes[8..]].concat());
        let doubled = Owners::new().restore(&mut Reader::new(&twice), |_| Some(Standing::Kept));
        assert_eq!(doubled, Err(Corrupt));
    }
}
