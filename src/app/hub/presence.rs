//! Who listens to each topic, over whichever transport, and telling so to who watches.
//!
//! Counts connections that stay: WebSockets (bare, `wsfast.meta`, Centrifugo's), server-sent events, streamed JSON lines. A
//! long-poll client is not there between two requests, and does not count while it waits either. Joining and leaving touch
//! one entry each; a listener costs a [`PeerId`] and a pointer to its user's name, which it shares with its connection.
//!
//! Delivers nothing, and asks nobody whether they may listen.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use wsfast::state::{Corrupt, Reader, Saved, Writer};
use wsfast::{Context, Kind, PeerId, saved};

use crate::app::terms::json_text::push_string;
use crate::app::terms::wall_clock;

/// Who listens to each topic.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    topics: HashMap<Rc<str>, Room>,
    /// Listeners of all topics.
    listeners: usize,
    watch: Watch,
}

/// Whether anybody can hear of joins and leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Nobody can: they are not published.
    #[default]
    Off,
    /// They are messages of [`EVENTS`].
    On,
}

/// By what a connection listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// WebSocket without a subprotocol, the echo's included.
    WebSocket,
    /// The subprotocol `wsfast.meta`.
    Meta,
    /// Server-sent events.
    Sse,
    /// JSON lines.
    Ndjson,
    /// The Centrifugo protocol.
    Centrifugo,
}

impl Transport {
    /// Every one of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::WebSocket, Self::Meta, Self::Sse, Self::Ndjson, Self::Centrifugo];

    /// As events and lists name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Meta => "meta",
            Self::Sse => "sse",
            Self::Ndjson => "ndjson",
            Self::Centrifugo => "centrifugo",
        }
    }
}

/// How many listen to a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) clients: usize,
    /// Those without a user are one together.
    pub(crate) users: usize,
}

/// The listeners of one topic; at least one.
#[derive(Debug, Default)]
struct Room {
    members: HashMap<PeerId, Option<Rc<str>>>,
    /// How many of them belong to each user; empty where tokens are not asked for.
    users: HashMap<Rc<str>, u32>,
    /// Members without a user.
    nameless: usize,
}

saved!(enum Transport { 0 => WebSocket, 1 => Meta, 2 => Sse, 3 => Ndjson, 4 => Centrifugo });

impl Presence {
    /// Writes who listens.
    pub(crate) fn save(&self, out: &mut Writer) {
        let Self { topics, listeners, watch: _ } = self;
        listeners.save(out);
        for (topic, room) in topics {
            for (peer, user) in &room.members {
                topic.save(out);
                peer.save(out);
                user.save(out);
            }
        }
    }

    /// Reads what `save` wrote. Nobody joins by that.
    pub(crate) fn restore(&mut self, from: &mut Reader<'_>) -> Result<(), Corrupt> {
        let mut users: HashSet<Rc<str>> = HashSet::new();
        for _ in 0..usize::restore(from)? {
            let topic: Rc<str> = Rc::restore(from)?;
            let (peer, user) = <(PeerId, Option<Rc<str>>)>::restore(from)?;
            // One of each name, as it was.
            let user = user.map(|user| match users.get(&user) {
                Some(same) => Rc::clone(same),
                None => {
                    users.insert(Rc::clone(&user));
                    user
                }
            });
            if !self.add(&topic, peer, user) {
                return Err(Corrupt);
            }
        }
        Ok(())
    }

    pub(crate) fn new(watch: Watch) -> Self {
        Self { watch, ..Self::default() }
    }

    /// The peer that `cx` is for listens to `topic` from now on.
    pub(crate) fn join(
        &mut self,
        topic: &str,
        user: Option<&Rc<str>>,
        transport: Transport,
        cx: &mut Context<'_>,
    ) {
        cx.spend_work(LISTENER_UNITS);
        if self.add(topic, cx.id(), user.cloned()) && self.watch == Watch::On {
            if self.topics.get(topic).is_some_and(|room| room.members.len() == 1) {
                publish(topic, "occupied", None, cx);
            }
            publish(topic, "join", Some((user.map(AsRef::as_ref), transport)), cx);
        }
    }

    /// The peer that `cx` is for, which may be gone, listens to `topic` no more, if it did.
    pub(crate) fn leave(&mut self, topic: &str, transport: Transport, cx: &mut Context<'_>) {
        let Some(user) = self.remove(topic, cx.id()) else { return };
        cx.spend_work(LISTENER_UNITS);
        if self.watch == Watch::On {
            publish(topic, "leave", Some((user.as_deref(), transport)), cx);
            if !self.topics.contains_key(topic) {
                publish(topic, "vacated", None, cx);
            }
        }
    }

    /// Those who listen to a topic, in no order: the connection and its user.
    pub(crate) fn members(&self, topic: &str) -> impl Iterator<Item = (PeerId, &str)> {
        let members = self.topics.get(topic).map(|room| &room.members);
        members.into_iter().flatten().map(|(&peer, user)| (peer, user.as_deref().unwrap_or("")))
    }

    /// How many listen to a topic.
    pub(crate) fn stats(&self, topic: &str) -> Stats {
        self.topics.get(topic).map_or(Stats { clients: 0, users: 0 }, |room| Stats {
            clients: room.members.len(),
            users: room.users.len() + usize::from(room.nameless > 0),
        })
    }

    /// Topics that somebody listens to.
    pub(crate) fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Listeners of all topics; who listens to two of them counts twice.
    pub(crate) const fn listener_count(&self) -> usize {
        self.listeners
    }

    /// False: it was there.
    pub(crate) fn add(&mut self, topic: &str, peer: PeerId, user: Option<Rc<str>>) -> bool {
        let room = match self.topics.get_mut(topic) {
            Some(room) => room,
            None => self.topics.entry(topic.into()).or_default(),
        };
        if room.members.contains_key(&peer) {
            return false;
        }
        match &user {
            Some(user) => *room.users.entry(Rc::clone(user)).or_default() += 1,
            None => room.nameless += 1,
        }
        room.members.insert(peer, user);
        self.listeners += 1;
        true
    }

    /// Whose it was; `None`: it was not there.
    fn remove(&mut self, topic: &str, peer: PeerId) -> Option<Option<Rc<str>>> {
        let room = self.topics.get_mut(topic)?;
        let user = room.members.remove(&peer)?;
        match &user {
            Some(user) => {
                if let Some(count) = room.users.get_mut(user) {
                    *count -= 1;
                    if *count == 0 {
                        room.users.remove(user);
                    }
                }
            }
            None => room.nameless -= 1,
        }
        self.listeners -= 1;
        if room.members.is_empty() {
            self.topics.remove(topic);
        } else if room.members.capacity() > 8 * room.members.len() + SPARE {
            // Not more often than members go by halves, so that it costs nothing that counts.
            room.members.shrink_to(2 * room.members.len());
            room.users.shrink_to(2 * room.users.len());
        }
        Some(user)
    }
}

/// Publishes what happened to `topic`.
fn publish(
    topic: &str,
    event: &str,
    member: Option<(Option<&str>, Transport)>,
    cx: &mut Context<'_>,
) {
    let mut json = Vec::with_capacity(128);
    json.extend_from_slice(format!(r#"{{"event":"{event}","topic":"#).as_bytes());
    push_string(&mut json, topic.as_bytes());
    if let Some((user, transport)) = member {
        json.extend_from_slice(format!(r#","client":"{}""#, cx.id()).as_bytes());
        if let Some(user) = user {
            json.extend_from_slice(br#","user":"#);
            push_string(&mut json, user.as_bytes());
        }
        json.extend_from_slice(format!(r#","transport":"{}""#, transport.name()).as_bytes());
    }
    json.extend_from_slice(format!(r#","at":{}}}"#, wall_clock::now_ms()).as_bytes());
    cx.spend_work(EVENT_UNITS);
    // It fails where there are as many topics as there may be; nobody watches then, since who does holds a place.
    let _nobody_watches = cx.publish_own(EVENTS, Kind::Text, &json);
}

/// What it costs to note who listens, in units of work (`Context::spend_work`).
const LISTENER_UNITS: usize = 512;
/// What it costs to tell of it.
const EVENT_UNITS: usize = 2 << 10;

/// Room that a topic keeps for listeners to come.
const SPARE: usize = 64;

/// The topic of joins and leaves. No path and no channel can name it, since it begins with a control character.
pub(crate) const EVENTS: &str = "\u{1}events";

/// Whether a topic is the server's own.
pub(crate) fn is_internal(topic: &str) -> bool {
    topic.starts_with(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_and_their_users_are_counted_once_each() {
        let mut presence = Presence::default();
        let user = |name: &str| Some(Rc::from(name));
        let peer = |text: &str| text.parse::<PeerId>().unwrap();
        assert!(presence.add("a", peer("0.1"), None));
        assert!(presence.add("a", peer("1.2"), None));
        assert!(presence.add("a", peer("2.3"), user("anna")));
        assert!(presence.add("a", peer("3.4"), user("anna")));
        assert!(presence.add("b", peer("3.4"), user("anna")));
        assert!(!presence.add("b", peer("3.4"), user("anna")));
        assert_eq!(presence.stats("a"), Stats { clients: 4, users: 2 });
        assert_eq!(presence.stats("b"), Stats { clients: 1, users: 1 });
        assert_eq!(presence.stats("c"), Stats { clients: 0, users: 0 });
        assert_eq!((presence.topic_count(), presence.listener_count()), (2, 5));

        assert_eq!(presence.remove("a", peer("0.9")), None);
        assert_eq!(presence.remove("a", peer("0.1")), Some(None));
        assert_eq!(presence.remove("a", peer("0.1")), None);
        assert_eq!(presence.stats("a"), Stats { clients: 3, users: 2 });
        assert_eq!(presence.remove("a", peer("1.2")), Some(None));
        assert_eq!(presence.remove("a", peer("2.3")), Some(user("anna")));
        assert_eq!(presence.stats("a"), Stats { clients: 1, users: 1 });
        let members: Vec<_> = presence.members("a").collect();
        assert_eq!(members, [(peer("3.4"), "anna")]);
        assert_eq!(presence.remove("a", peer("3.4")), Some(user("anna")));
        assert_eq!(presence.remove("b", peer("3.4")), Some(user("anna")));
        assert_eq!((presence.topic_count(), presence.listener_count()), (0, 0));
        assert!(presence.topics.is_empty());
    }

    #[test]
    fn the_servers_own_topics_have_names_that_no_path_has() {
        assert!(is_internal(EVENTS));
        assert!(!is_internal("events"));
    }
}
