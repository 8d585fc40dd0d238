//! A topic: a bounded ring of messages, and a cursor into it for each subscriber.
//!
//! ```text
//! ring    [ first | ...... | fanned | ...... | next-1 ]      offsets, from 1 on, never used twice in an epoch
//!             ▲         ▲       ▲
//!             │         │       └── everyone who keeps up; the next fan-out starts here
//!             │         └── someone who does not: costs this number, and no queue
//!             └── what lies before is gone; whose cursor is there is told so
//! ```
//!
//! Knows no other topic, and neither limits nor owners: those are `Topics`'.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use crate::net::terms::cursor::{Kept, MessageId, Position, Since};
use crate::net::terms::peer_id::PeerId;
use crate::net::terms::topic::{Class, Form, TopicInfo, TopicMessage};
use crate::net::topics::owners::Standing;
use crate::net::topics::partial::Partial;
use crate::proto::message::Kind;
use crate::state::{Corrupt, Reader, Saved, Writer};

/// A ring, and who listens.
#[derive(Debug, Default)]
pub(crate) struct Topic {
    pub(crate) name: Rc<str>,
    /// Tells this life of the topic from others of its name, so that an offset of another is not taken for one of this.
    pub(crate) epoch: u64,
    pub(super) ring: VecDeque<Entry>,
    /// Bytes of the ring's payloads.
    pub(super) payload_bytes: usize,
    /// The offset of the ring's first message; of the next one published, if there is none.
    pub(crate) first: u64,
    /// Up to here, exclusively, everyone who keeps up was given all.
    pub(crate) fanned: u64,
    /// Up to here, exclusively, some of them were; `None`: none.
    pub(crate) begun: Option<u64>,
    /// Whether what is not fanned out waits for a later turn.
    pub(super) is_put_off: bool,
    pub(crate) subscribers: Vec<Subscriber>,
    /// Where the replays of subscribers end, by their keys; kept for [`LagPolicy::Latest`] alone.
    pub(super) replays: BTreeMap<u32, u64>,
    pub(super) is_dirty: bool,
    /// Since when its standing is what it is, where nothing is left of it.
    pub(super) unused_since_ms: u64,
}

/// A message in a ring.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) kind: Kind,
    pub(super) payload: Rc<[u8]>,
    /// Who published it, if it was a peer.
    pub(crate) from: Option<PeerId>,
    pub(super) at_ms: u64,
    /// Its number among the messages of all topics.
    pub(super) number: u64,
    pub(super) forms: Vec<(Class, Rc<[u8]>)>,
}

/// The cursor of a subscriber that gets nothing more until it subscribes anew: behind every message.
pub(crate) const LOST_TRACK: u64 = u64::MAX;

/// Someone who listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscriber {
    /// The peer's slab key.
    pub(crate) key: u32,
    pub(crate) form: Form,
    /// Whether it does not want to hear what it published itself.
    pub(crate) mutes_own: bool,
    /// The offset of the next message that it is to be given.
    pub(crate) next: u64,
}

/// A peer's hold on its place among a topic's subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) topic: u32,
    pub(crate) at: u32,
}

saved!(struct Subscriber { key, form, mutes_own, next });

saved!(struct Subscription { topic, at });

impl Topic {
    pub(super) fn standing(&self) -> Standing {
        if !self.subscribers.is_empty() {
            Standing::Listened
        } else if self.ring.is_empty() && !self.is_dirty {
            Standing::Lingering
        } else {
            Standing::Kept
        }
    }

    /// How it is.
    pub(crate) fn info(&self) -> TopicInfo<'_> {
        TopicInfo {
            name: &self.name,
            subscribers: self.subscribers.len(),
            messages: self.ring.len(),
            bytes: self.payload_bytes,
            last: self.last(),
        }
    }

    /// Which messages are there.
    pub(crate) fn kept(&self) -> Kept {
        Kept::new(self.epoch, self.first, self.ring.len() as u64)
    }

    /// The offset of the next message that is published.
    pub(crate) fn next(&self) -> u64 {
        self.kept().next()
    }

    /// The last message's name.
    pub(crate) fn last(&self) -> MessageId {
        self.kept().last()
    }

    /// Where who asks for `since` begins.
    pub(crate) fn position(&self, since: Since) -> Position {
        self.kept().position(since)
    }

    /// The message at `offset`, if it is there.
    pub(crate) fn message(&self, offset: u64) -> Option<TopicMessage<'_>> {
        let entry = self.entry(offset)?;
        Some(TopicMessage {
            topic: &self.name,
            id: MessageId { epoch: self.epoch, offset },
            kind: entry.kind,
            payload: &entry.payload,
        })
    }

    pub(crate) fn entry(&self, offset: u64) -> Option<&Entry> {
        let at = usize::try_from(offset.checked_sub(self.first)?).ok()?;
        self.ring.get(at)
    }

    /// The message at `offset`, to be written in parts, if it is there.
    pub(crate) fn partial(&self, offset: u64, form: Form) -> Option<Partial> {
        let entry = self.entry(offset)?;
        let id = MessageId { epoch: self.epoch, offset };
        Some(Partial::new(form, &self.name, id, entry.kind, &entry.payload))
    }

    /// Whether a subscriber is to be given the message at its cursor, however slow it is: it was there when it subscribed.
    pub(crate) fn replays(&mut self, subscriber: &Subscriber) -> bool {
        let Some(&end) = self.replays.get(&subscriber.key) else { return false };
        let goes_on = subscriber.next < end;
        if !goes_on {
            self.replays.remove(&subscriber.key);
        }
        goes_on
    }

    /// Remembers a form of the message at `offset`; how many bytes that are.
    pub(crate) fn keep_form(&mut self, offset: u64, class: Class, bytes: Rc<[u8]>) -> usize {
        let at = offset.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let Some(entry) = at.and_then(|at| self.ring.get_mut(at)) else { return 0 };
        let len = bytes.len();
        entry.forms.push((class, bytes));
        len
    }
}

impl Entry {
    /// What was published.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The encoding for `class`, if it was made.
    pub(crate) fn form(&self, class: Class) -> Option<&Rc<[u8]>> {
        self.forms.iter().find(|(of, _)| *of == class).map(|(_, bytes)| bytes)
    }

    #[expect(clippy::arithmetic_side_effects, reason = "sums over what is in memory")]
    pub(super) fn bytes(&self) -> usize {
        // Forms that come to the same bytes share them.
        let is_shared = |at: usize, bytes: &Rc<[u8]>| {
            self.forms[..at].iter().any(|(_, other)| Rc::ptr_eq(other, bytes))
        };
        let forms = self.forms.iter().enumerate();
        let own = forms.filter(|&(at, (_, bytes))| !is_shared(at, bytes));
        ENTRY_BYTES + self.payload.len() + own.map(|(_, (_, bytes))| bytes.len()).sum::<usize>()
    }
}

impl Topic {
    pub(super) fn save_without_ring(&self, out: &mut Writer) {
        let Self {
            name,
            epoch,
            ring: _,
            payload_bytes,
            first,
            fanned,
            // Whoever has some of a run is given the rest.
            begun: _,
            is_put_off: _,
            subscribers,
            replays,
            is_dirty,
            unused_since_ms,
        } = self;
        name.save(out);
        (*epoch, *payload_bytes).save(out);
        (*first, *fanned).save(out);
        subscribers.save(out);
        replays.save(out);
        is_dirty.save(out);
        unused_since_ms.save(out);
    }

    pub(super) fn restore_without_ring(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let name = Rc::restore(from)?;
        let ((epoch, payload_bytes), (first, fanned)) = Saved::restore(from)?;
        Ok(Self {
            name,
            epoch,
            ring: VecDeque::new(),
            payload_bytes,
            first,
            fanned,
            begun: None,
            is_put_off: false,
            subscribers: Vec::restore(from)?,
            replays: BTreeMap::restore(from)?,
            is_dirty: bool::restore(from)?,
            unused_since_ms: u64::restore(from)?,
        })
    }
}

/// Without its forms, which are made again.
impl Saved for Entry {
    fn save(&self, out: &mut Writer) {
        let Self { kind, payload, from, at_ms, number, forms: _ } = self;
        kind.save(out);
        payload.save(out);
        from.save(out);
        at_ms.save(out);
        number.save(out);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Ok(Self {
            kind: Kind::restore(from)?,
            payload: Rc::restore(from)?,
            from: Option::restore(from)?,
            at_ms: u64::restore(from)?,
            number: u64::restore(from)?,
            forms: Vec::new(),
        })
    }
}

/// What a message costs beyond its bytes.
pub(super) const ENTRY_BYTES: usize = size_of::<Entry>();
