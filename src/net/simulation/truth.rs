//! What was really said: the record that both ends of the simulation are held against.
//!
//! A client writes down what it says and the application crosses it off as it hears it; the application writes down what it
//! sends and the client crosses that off. So a byte that is lost, doubled or somebody else's shows at once, in either direction.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use crate::config::Limits;
use crate::net::simulation::random::Random;
use crate::net::terms::closed::Closed;
use crate::net::terms::cursor::{Gap, MessageId, Position, Since};
use crate::net::terms::peer_id::PeerId;
use crate::net::terms::topic::Published;
use crate::net::topics::excerpt::Order;
use crate::proto::message::Kind;

/// The record, held by all.
pub(crate) type SharedTruth = Rc<RefCell<Truth>>;

/// A message.
pub(crate) type Said = (Kind, Vec<u8>);

/// See the module.
#[derive(Debug)]
pub(crate) struct Truth {
    pub(crate) random: Random,
    /// By client.
    pub(crate) clients: Vec<Record>,
    /// By name.
    pub(crate) topics: BTreeMap<String, Vec<Life>>,
    /// Broadcasts so far, which are numbered.
    pub(crate) broadcasts: u64,
    /// When the application is to be woken.
    pub(crate) wake_at_ms: Option<u64>,
    /// Calls of the application, so that a turn that does something is told from one that does not.
    pub(crate) calls: u64,
    /// Handshakes that the application agreed to.
    pub(crate) upgrades: u64,
    /// Whether memory may be short, so that anybody may be refused or cut.
    pub(crate) is_lossy: bool,
    /// Whether there may be more clients than places.
    pub(crate) is_full: bool,
    /// Whether little may be queued behind what is made for a client.
    queues_little: bool,
    pub(crate) is_draining: bool,
    /// Whether the drain's deadline came first.
    pub(crate) was_cut_short: bool,
    /// Whether the server stood still for a while, so that deadlines passed that were nobody's fault.
    pub(crate) has_stalled: bool,
    pub(crate) now_ms: u64,
}

/// What one client and the application said to each other.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// By the client, and not heard by the application.
    pub(crate) said: VecDeque<Said>,
    /// By the application, and not read by the client.
    pub(crate) told: VecDeque<Said>,
    /// While it is open.
    pub(crate) peer: Option<PeerId>,
    pub(crate) opens: u32,
    pub(crate) closes: u32,
    pub(crate) closed: Option<Closed>,
    /// Codes that the application closed it with; the first of them counts.
    pub(crate) sent_away: Vec<u16>,
    /// Whether something sent to it was refused, so that it is being closed.
    pub(crate) was_refused: bool,
    /// Whether it ever took less than it was offered, or asked for more than may be queued behind, so that its topics may have moved
    /// on.
    pub(crate) was_slow: bool,
    /// Its subscriptions, the latest last; earlier ones may have messages under way.
    pub(crate) cursors: VecDeque<Cursor>,
}

/// Where a subscriber stands, as it sees it.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    pub(crate) topic: String,
    pub(crate) life: usize,
    /// The offset that it has to be given next.
    pub(crate) next: u64,
    pub(crate) mutes_own: bool,
    /// Whether it began with messages that were there before.
    pub(crate) replays: bool,
    /// Where it stopped listening: the offset of the first message that was published then.
    pub(crate) end: Option<u64>,
}

/// One life of a topic: its messages, from offset 1 on.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) epoch: u64,
    pub(crate) messages: Vec<Publication>,
}

/// A message of a topic.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) from: usize,
    pub(crate) payload: String,
}

impl Truth {
    pub(crate) fn new(random: Random, clients: usize, limits: &Limits) -> SharedTruth {
        Rc::new(RefCell::new(Self {
            random,
            clients: (0..clients).map(|_| Record::default()).collect(),
            topics: BTreeMap::new(),
            broadcasts: 0,
            wake_at_ms: None,
            calls: 0,
            upgrades: 0,
            is_lossy: limits.memory.is_some(),
            queues_little: limits.queue_bytes_soft < 64 << 10,
            is_full: clients > limits.peers_max || clients > limits.topics.topics_max,
            is_draining: false,
            was_cut_short: false,
            has_stalled: false,
            now_ms: 0,
        }))
    }

    /// The number of a topic's life, which says more than its epoch, that is drawn by lot.
    pub(crate) fn life_of(&mut self, topic: &str, epoch: u64) -> usize {
        let lives = self.topics.entry(topic.to_owned()).or_default();
        lives.iter().position(|life| life.epoch == epoch).unwrap_or_else(|| {
            lives.push(Life { epoch, messages: Vec::new() });
            lives.len() - 1
        })
    }

    pub(crate) fn published(&mut self, topic: &str, from: usize, payload: String, to: Published) {
        let life = self.life_of(topic, to.id.epoch);
        let messages = &mut self.topics.get_mut(topic).unwrap()[life].messages;
        messages.push(Publication { from, payload });
        assert_eq!(to.id.offset, messages.len() as u64, "an offset was used twice, or left out");
    }

    /// Messages that a topic's life has had, kept or not.
    fn said(&mut self, topic: &str, epoch: u64) -> u64 {
        let life = self.life_of(topic, epoch);
        self.topics[topic][life].messages.len() as u64
    }

    /// Whatever was asked for, a reader begins at a message of this life, or behind its last one.
    pub(crate) fn check_position(&mut self, topic: &str, since: Since, position: Position) {
        let said = self.said(topic, position.last.epoch);
        let (last, next) = (position.last, position.next());
        assert_eq!(last.offset, said, "{position:?} for {since:?}");
        assert!((1..=said + 1).contains(&next), "{position:?} for {since:?} of {said}");
        let Since::Id(from) = since else {
            return assert_eq!(position.gap, None, "{position:?} for {since:?}");
        };
        let follows = from.epoch == last.epoch && from.offset <= said && from.offset + 1 == next;
        assert_eq!(position.gap.is_none(), follows, "{position:?} for {since:?} of {said}");
        let Some(gap) = position.gap else { return };
        assert_eq!((gap.from, gap.to.offset + 1), (from, next), "{position:?}");
        self.check_gap(topic, gap);
    }

    /// What is lost is counted where both ends of the gap were there once, and nowhere else.
    pub(crate) fn check_gap(&mut self, topic: &str, gap: Gap) {
        let Gap { from, to } = gap;
        let said = self.said(topic, to.epoch);
        assert!(to.offset <= said, "{gap:?} of {said}");
        let is_known = from.epoch == to.epoch && from.offset <= said;
        let lost = is_known.then(|| to.offset.checked_sub(from.offset).unwrap());
        assert!(gap.lost() == lost && lost != Some(0), "{gap:?} of {said}: {:?}", gap.lost());
    }

    /// How a message of a topic is written to its subscribers.
    pub(crate) fn topic_line(&mut self, topic: &str, id: MessageId, payload: &[u8]) -> String {
        let life = self.life_of(topic, id.epoch);
        let said = &self.topics[topic][life].messages[usize::try_from(id.offset - 1).unwrap()];
        assert_eq!(
            payload,
            said.payload.as_bytes(),
            "a topic keeps something else than was published"
        );
        format!("\x01T{topic} {life} {} {}", id.offset, said.payload)
    }

    /// A line that `topic_line`, or a notice of a gap, came to: is it what this client has to be given next?
    pub(crate) fn check_topic_line(&mut self, client: usize, line: &str) -> Result<(), String> {
        let (mark, rest) = line.split_at(2);
        let mut words = rest.splitn(4, ' ');
        let (Some(topic), Some(life), Some(offset)) = (words.next(), words.next(), words.next())
        else {
            return Err(format!("malformed line {line:?}"));
        };
        let (life, offset): (usize, u64) = (life.parse().unwrap(), offset.parse().unwrap());
        let may_lose = self.may_lose(client);
        let Self { clients, topics, .. } = self;
        let messages = &topics[topic][life].messages;
        let cursors = &mut clients[client].cursors;
        let next_of = |cursor: &Cursor| {
            let is_own = |at: u64| {
                let at = at.checked_sub(1).and_then(|at| usize::try_from(at).ok());
                let message = at.and_then(|at| messages.get(at));
                cursor.mutes_own && message.is_some_and(|it| it.from == client)
            };
            (cursor.next..).find(|&at| !is_own(at)).unwrap()
        };
        let fits = |cursor: &Cursor| {
            let next = next_of(cursor);
            cursor.topic == topic
                && cursor.end.is_none_or(|end| offset < end)
                && cursor.life == life
                && if mark == "\x01G" { offset >= cursor.next } else { offset == next }
        };
        let Some(at) = cursors.iter().position(fits) else {
            return Err(format!("was given {line:.60?}, and stands at {cursors:?}"));
        };
        // What came of a later subscription ends the earlier ones.
        cursors.drain(..at);
        if mark == "\x01G" && !may_lose {
            return Err(format!("keeps up, and lost what comes before {line:?}: {cursors:?}"));
        }
        cursors[0].next = offset + 1;
        let payload = words.next().unwrap_or_default();
        if mark == "\x01T" && payload != messages[usize::try_from(offset - 1).unwrap()].payload {
            return Err(format!("was given another's payload in {line:?}"));
        }
        Ok(())
    }

    /// Whether a client may lose messages of its topic: others never do.
    pub(crate) fn may_lose(&self, client: usize) -> bool {
        let Record { was_slow, cursors, .. } = &self.clients[client];
        self.is_lossy || *was_slow || cursors.iter().any(|cursor| cursor.replays)
    }

    /// A client is sent an excerpt.
    pub(crate) fn excerpt_sent(&mut self, client: usize) {
        self.clients[client].was_slow |= self.queues_little;
    }

    /// How an excerpt begins: with what was asked for.
    pub(crate) fn excerpt_head(topic: &str, life: usize, first: u64, order: Order) -> String {
        let order = if order == Order::NewestFirst { '-' } else { '+' };
        format!("\x02E{topic} {life} {first} {order}\n")
    }

    /// What an excerpt came to: messages of one life, one behind the other from the first on. It may be short, since messages go.
    pub(crate) fn check_excerpt(&self, body: &str) -> Result<(), String> {
        let list = body.strip_prefix("\x02E").and_then(|rest| rest.strip_suffix("\n\x03"));
        let (asked, list) = list.and_then(|list| list.split_once('\n')).ok_or(body)?;
        let words: Vec<&str> = asked.split(' ').collect();
        let [topic, life, first, order] = words[..] else { return Err(asked.to_owned()) };
        let (life, first): (usize, u64) = (life.parse().unwrap(), first.parse().unwrap());
        let messages = &self.topics[topic][life].messages;
        for (at, line) in list.lines().enumerate() {
            let at = at as u64;
            let offset = if order == "-" { first.checked_sub(at) } else { first.checked_add(at) };
            let place = offset.and_then(|offset| usize::try_from(offset.checked_sub(1)?).ok());
            let message = place.and_then(|place| messages.get(place));
            let expected = message.zip(offset).map(|(message, offset)| {
                format!("\x01T{topic} {life} {offset} {}", message.payload)
            });
            if expected.as_deref() != Some(line) {
                return Err(format!("{line:.60?} is number {at} of {asked:?}"));
            }
        }
        Ok(())
    }

    /// A client's subscriptions end.
    pub(crate) fn unsubscribed(&mut self, client: usize) {
        let Self { clients, topics, .. } = self;
        for cursor in &mut clients[client].cursors {
            let messages = &topics[&cursor.topic][cursor.life].messages;
            cursor.end.get_or_insert(messages.len() as u64 + 1);
        }
    }

    /// Whether a client was given all that it listens to.
    pub(crate) fn is_caught_up(&self, client: usize) -> bool {
        self.clients[client].cursors.iter().filter(|cursor| cursor.end.is_none()).all(|cursor| {
            let life = &self.topics[&cursor.topic][cursor.life];
            let left = life.messages.iter().skip(usize::try_from(cursor.next - 1).unwrap());
            left.into_iter().all(|it| cursor.mutes_own && it.from == client)
        })
    }
}
