//! What a topic keeps, as one list that is made in parts as its reader takes them.
//!
//! ```text
//! head, message, separator, message, ... tail      parts of about 8 KiB: fragments of one message, or chunks of one response
//! ```
//!
//! Fifty bytes can ask for all that a topic keeps. A handler that answers with it therefore says what the list has, and makes
//! nothing: the excerpt lies in the reader's queue behind what was sent before it, and what lies behind it waits. So a list that is
//! not taken costs one part.
//!
//! Which messages it has is settled as they are written. A message that fell off the topic's ring meanwhile ends the list, as the
//! bound on its bytes does: a reader that asks for what follows is told then that it is gone.
//!
//! Decides nothing about who may read, and writes to no socket but through the peer's queue.

#![deny(clippy::arithmetic_side_effects)]

use crate::net::api::handler::Handler;
use crate::net::peer::compressors::Compressors;
use crate::net::peer::tx::Phase;
use crate::net::server::Server;
use crate::net::terms::cursor::MessageId;
use crate::net::terms::topic::Form;
use crate::net::topics::partial::Partial;
use crate::net::turn::Turn;
use crate::net::turn::work::CALL_UNITS;
use crate::proto::header::{self, Fin};
use crate::proto::message::Kind;
use crate::proto::opcode::Opcode;

/// Messages that a topic keeps, as one list. What is in it is read from the topic as the reader takes it.
#[derive(Clone, Debug)]
pub struct Excerpt {
    /// The topic.
    pub topic: String,
    /// The form of each message ([`Handler::excerpt_form`], [`Handler::encode_part`]).
    pub form: Form,
    /// The first message of the list.
    pub first: MessageId,
    /// How many messages there are at most.
    pub count: u64,
    /// Which message follows another.
    pub order: Order,
    /// Bytes of all messages as they are written ([`Handler::encoded_len`]): one that would pass them ends the list. The first
    /// message is always there.
    pub bytes_max: usize,
    /// What stands in front of the list.
    pub head: Vec<u8>,
    /// What stands between two messages.
    pub separator: u8,
    /// What stands behind the list.
    pub tail: Vec<u8>,
}

/// Which message of a list follows another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The one that was published after it.
    OldestFirst,
    /// The one that was published before it.
    NewestFirst,
}

/// What is left of an excerpt, in its reader's queue.
#[derive(Debug)]
pub(crate) struct Unmade {
    excerpt: Excerpt,
    wrap: Wrap,
    /// The message that is being written.
    partial: Option<Partial>,
    /// Whether a part of it has been made.
    is_begun: bool,
    /// Whether a message has been begun.
    has_any: bool,
}

/// What a part is wrapped in.
#[derive(Clone, Copy, Debug)]
enum Wrap {
    /// It is a fragment of a message (RFC 6455 §5.4), compressed for the window of that number, if there is one (RFC 7692 §6.1).
    Message { kind: Kind, window_at: Option<usize> },
    /// It is a chunk of a body (RFC 9112 §7.1).
    Body,
}

/// A part of an excerpt, and whether it is the last.
struct Made {
    bytes: Vec<u8>,
    is_last: bool,
}

saved!(struct Excerpt { topic, form, first, count, order, bytes_max, head, separator, tail });
saved!(enum Order { 0 => OldestFirst, 1 => NewestFirst });
saved!(struct Unmade { excerpt, wrap, partial, is_begun, has_any });
saved!(enum Wrap { 0 => Message { kind, window_at }, 1 => Body });

impl<H: Handler> Server<H> {
    /// Makes and writes what is next in a peer's queue and was not made yet, as far as the kernel takes it and the peer's share
    /// goes. Whether the kernel took all of a part.
    pub(crate) fn make_parts(&mut self, key: usize) -> bool {
        let Self { peers, turn, handler, .. } = self;
        let tx = &mut peers.tx[key];
        let (mut given, mut was_taken) = (0_usize, false);
        while tx.phase != Phase::Doomed
            && let Some(mut unmade) = tx.take_unmade()
        {
            was_taken |= given > 0;
            if given >= SHARE_BYTES || !turn.work.is_granted() {
                tx.put_back_unmade(unmade);
                tx.await_work(key, turn);
                break;
            }
            let Some(made) = unmade.part(handler, turn) else {
                // Behind its first part there is no other way to say so.
                tx.cut_for_memory(key, turn);
                break;
            };
            given = given.saturating_add(made.bytes.len());
            turn.work.spend(made.bytes.len().saturating_mul(2).saturating_add(CALL_UNITS));
            let is_last = made.is_last;
            tx.queue_made(made.bytes, (!is_last).then_some(unmade));
            tx.flush(key, turn);
        }
        was_taken || given > 0 && tx.is_flushed()
    }
}

impl Unmade {
    /// An excerpt as a message, compressed for the window of that number, if there is one.
    pub(crate) fn message(excerpt: Excerpt, kind: Kind, window_at: Option<usize>) -> Box<Self> {
        Self::new(excerpt, Wrap::Message { kind, window_at })
    }

    /// An excerpt as the body of a response, in chunks.
    pub(crate) fn body(excerpt: Excerpt) -> Box<Self> {
        Self::new(excerpt, Wrap::Body)
    }

    fn new(excerpt: Excerpt, wrap: Wrap) -> Box<Self> {
        Box::new(Self { excerpt, wrap, partial: None, is_begun: false, has_any: false })
    }

    /// The next part; `None`: there is no memory for it.
    fn part<H: Handler>(&mut self, handler: &H, turn: &mut Turn) -> Option<Made> {
        let mut text = std::mem::take(&mut self.excerpt.head);
        let is_last = loop {
            if let Some(partial) = &mut self.partial {
                partial.encode(handler, &turn.memory, &mut text)?;
                if partial.is_done() {
                    self.partial = None;
                }
            }
            if text.len() >= PART_BYTES {
                break false;
            }
            if self.partial.is_none() {
                let is_first = !self.has_any;
                let Some(next) = self.next(handler, turn) else {
                    text.append(&mut self.excerpt.tail);
                    break true;
                };
                if !is_first {
                    text.push(self.excerpt.separator);
                }
                self.partial = Some(next);
            }
        };
        let bytes = self.wrap.around(&text, !self.is_begun, is_last, &mut turn.compressors);
        self.is_begun = true;
        Some(Made { bytes, is_last })
    }

    /// The message that follows, if there is one.
    fn next<H: Handler>(&mut self, handler: &H, turn: &mut Turn) -> Option<Partial> {
        let Excerpt { topic, form, first, count, order, bytes_max, .. } = &mut self.excerpt;
        let left = count.checked_sub(1)?;
        let offset = first.offset;
        let topic = turn.topics.find(topic).filter(|topic| topic.epoch == first.epoch)?;
        let message = topic.message(offset)?;
        // It is looked at as a whole.
        turn.work.spend(message.payload.len().saturating_add(MESSAGE_UNITS));
        let form = handler.excerpt_form(*form, message);
        match bytes_max.checked_sub(handler.encoded_len(form, message)) {
            Some(left) => *bytes_max = left,
            None if !self.has_any => *bytes_max = 0,
            None => return None,
        }
        self.has_any = true;
        let next = match order {
            Order::OldestFirst => offset.checked_add(1),
            Order::NewestFirst => offset.checked_sub(1),
        };
        *count = next.map_or(0, |_| left);
        first.offset = next.unwrap_or(offset);
        topic.partial(offset, form)
    }
}

impl Wrap {
    /// A part as it leaves.
    fn around(
        self,
        text: &[u8],
        is_first: bool,
        is_last: bool,
        compressors: &mut Compressors,
    ) -> Vec<u8> {
        match self {
            Self::Message { kind, window_at: None } => {
                let header = fragment_header(kind, is_first, is_last, text.len());
                [header.as_bytes(), text].concat()
            }
            Self::Message { kind, window_at: Some(window_at) } => {
                let packed = compressors.pack_part(window_at, text, is_last);
                let header = fragment_header(kind, is_first, is_last, packed.len());
                // The bit is the message's, which its first frame has (RFC 7692 §6).
                let header = if is_first { header.compressed() } else { header };
                [header.as_bytes(), &packed].concat()
            }
            Self::Body => {
                let end: &[u8] = if is_last { b"0\r\n\r\n" } else { b"" };
                if text.is_empty() {
                    // A chunk of nothing is the last.
                    return end.to_vec();
                }
                let len = format!("{:x}\r\n", text.len());
                [len.as_bytes(), text, b"\r\n", end].concat()
            }
        }
    }
}

fn fragment_header(kind: Kind, is_first: bool, is_last: bool, len: usize) -> header::EncodedHeader {
    let opcode = if is_first { kind.opcode() } else { Opcode::Continuation };
    let fin = if is_last { Fin::Last } else { Fin::More };
    header::encode(fin, opcode, len, None)
}

/// Past so many bytes a part is whole: at most a part of a message beyond them is kept for a reader that takes nothing.
const PART_BYTES: usize = if cfg!(test) { 100 } else { 8 * 1024 };

/// What one peer is given in one turn.
const SHARE_BYTES: usize = 512 * 1024;

/// What a message costs beside its bytes.
const MESSAGE_UNITS: usize = 128;
