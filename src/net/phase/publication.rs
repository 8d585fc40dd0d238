//! Publishing from other threads: many messages for one topic in one command, and a receipt once they were fanned out.
//!
//! The receipt is what bounds a producer: who waits for one before the next but one keeps the loop busy, and never more
//! than two batches in memory. A batch is fanned out in runs that a topic's ring holds, so that however long it is, nothing
//! falls off the ring before it was given to who keeps up; a run that is more than a turn's work has the rest wait. Slows down for no
//! subscriber: that is what history is for.

#![deny(clippy::arithmetic_side_effects)]

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, Sender};

use crate::config::TopicLimits;
use crate::net::api::handler::Handler;
use crate::net::server::Server;
use crate::net::terms::topic::TopicError;
use crate::net::topics::Maker;
use crate::proto::message::Kind;

/// Messages for one topic, to be published in this order by [`crate::Remote::publish`].
#[derive(Clone, Debug, Default)]
pub struct MessageBatch {
    topic: String,
    /// All payloads, one behind the other.
    bytes: Vec<u8>,
    /// What each message is, and where it ends in `bytes`.
    ends: Vec<(Kind, usize)>,
}

impl MessageBatch {
    /// A batch without messages. A topic's name has 1 to 255 bytes.
    pub fn new(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), bytes: Vec::new(), ends: Vec::new() }
    }

    /// Adds a message. One of [`Kind::Text`] must be UTF-8, or whoever gets it ends its connection.
    pub fn push(&mut self, kind: Kind, payload: &[u8]) {
        debug_assert!(kind == Kind::Binary || str::from_utf8(payload).is_ok());
        self.bytes.extend_from_slice(payload);
        self.ends.push((kind, self.bytes.len()));
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The length of all payloads together.
    pub fn payload_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The message of this number, from 0 on.
    fn message(&self, number: usize) -> Option<(Kind, &[u8])> {
        let &(kind, end) = self.ends.get(number)?;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before].1);
        Some((kind, &self.bytes[start..end]))
    }
}

/// What became of a [`MessageBatch`].
#[derive(Debug)]
#[non_exhaustive]
pub struct FannedOut {
    /// The batch, without its messages, for the next ones.
    pub batch: MessageBatch,
    /// How many were published, and written to all subscribers who keep up.
    pub published: usize,
    /// How many were refused, and why the last of them.
    pub refused: Option<(usize, TopicError)>,
}

/// Tells when a batch was fanned out.
#[derive(Debug)]
pub struct Receipt(pub(crate) Receiver<FannedOut>);

impl Receipt {
    /// Waits for it. `None`: the server ended first.
    pub fn wait(self) -> Option<FannedOut> {
        self.0.recv().ok()
    }
}

/// Receipts that are handed out once what they are for was fanned out.
pub(crate) type Receipts = Vec<(Sender<FannedOut>, FannedOut)>;

/// A batch that is being published.
#[derive(Debug)]
pub(crate) struct Publishing {
    receipt: Sender<FannedOut>,
    so_far: FannedOut,
    /// The number of the next message.
    next: usize,
}

impl Publishing {
    pub(crate) const fn new(batch: MessageBatch, receipt: Sender<FannedOut>) -> Self {
        Self { receipt, so_far: FannedOut { batch, published: 0, refused: None }, next: 0 }
    }
}

impl<H: Handler> Server<H> {
    /// Publishes what other threads gave, until a topic has more than the turn may write.
    pub(crate) fn publish_batches(&mut self) {
        while let Some(mut publishing) = self.batches.pop_front() {
            if self.publish_runs(&mut publishing).is_break() {
                return self.batches.push_front(publishing);
            }
            let Publishing { receipt, mut so_far, .. } = publishing;
            so_far.batch.bytes.clear();
            so_far.batch.ends.clear();
            self.receipts.push((receipt, so_far));
        }
    }

    /// Publishes a batch in runs, each of which is fanned out before the next; `Break`: it goes on in another turn.
    fn publish_runs(&mut self, publishing: &mut Publishing) -> ControlFlow<()> {
        let run_max = run_bytes_max(&self.turn.limits.topics);
        let Publishing { so_far: FannedOut { batch, published, refused }, next, .. } = publishing;
        let mut run = 0_usize;
        while let Some((kind, payload)) = batch.message(*next) {
            let cost = payload.len().saturating_add(MESSAGE_COST);
            if run > 0 && run.saturating_add(cost) > run_max {
                self.fan_out();
                run = 0;
            }
            if self.turn.topics.is_put_off(&batch.topic) || !self.turn.work.has_live_left() {
                return ControlFlow::Break(());
            }
            *next = next.saturating_add(1);
            let now_ms = self.turn.now_ms;
            let maker = Maker::nobody(&self.turn.addresses);
            match self.turn.topics.publish(&batch.topic, kind, payload, maker, now_ms) {
                Ok(_) => {
                    *published = published.saturating_add(1);
                    run = run.saturating_add(cost);
                }
                Err(error) => {
                    let (count, last) = refused.get_or_insert((0_usize, error));
                    *count = count.saturating_add(1);
                    *last = error;
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Hands out the receipts of what was fanned out by now.
    pub(crate) fn hand_out_receipts(&mut self) {
        let topics = &self.turn.topics;
        let fanned_out =
            |(_, it): &mut (Sender<FannedOut>, FannedOut)| !topics.is_unfanned(&it.batch.topic);
        for (receipt, fanned_out) in self.receipts.extract_if(.., fanned_out) {
            // Who did not wait does not want to know.
            let _nobody = receipt.send(fanned_out);
        }
    }
}

/// What is published before it is fanned out: less than a ring, and less than what makes rings give way to each other.
fn run_bytes_max(limits: &TopicLimits) -> usize {
    RUN_BYTES_MAX.min(limits.topic_bytes_max).min(limits.history_bytes_max / 2)
}

/// A run of messages, and so of writes to one subscriber.
const RUN_BYTES_MAX: usize = 256 * 1024;

/// What a short message counts for, so that runs of them end, too.
const MESSAGE_COST: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_keeps_its_messages_apart() {
        let mut batch = MessageBatch::new("t");
        assert!(batch.is_empty());
        let messages: [(Kind, &[u8]); 4] = [
            (Kind::Text, b"one"),
            (Kind::Text, b""),
            (Kind::Binary, b"\xFF\0"),
            (Kind::Text, "é".as_bytes()),
        ];
        for (kind, payload) in messages {
            batch.push(kind, payload);
        }
        let all = (0..).map_while(|number| batch.message(number));
        assert_eq!(all.collect::<Vec<_>>(), messages);
        assert_eq!((batch.len(), batch.payload_bytes()), (4, 7));
    }
}
