//! What was said on a topic before: history, and what a client missed.
//!
//! A command of 70 bytes can ask for all that a topic keeps. So:
//!
//! - a history is cut at [`HISTORY_BYTES`], and the client asks for what follows by `since`; memory for it is asked for before it is
//!   made;
//! - of what a client missed its reply has the first few KiB ([`last_that_fits`]). The rest is the subscription's, which begins there,
//!   so that a recovery that is not read costs what a stream costs that is not read.
//!
//! Places come from clients, and may be any number. One of the future has nothing behind it: a recovery from there is none, and a
//! history is empty, with the topic's own place beside it.
//!
//! Reads topics, and changes nothing. Who may hear them was asked before, and whether there is work left for it, too.

use std::cell::RefCell;

use wsfast::{Context, MessageId, Since, TopicMessage};

use crate::app::dialects::centrifugo::codes::ReplyError;
use crate::app::dialects::centrifugo::command::History;
use crate::app::dialects::centrifugo::data::Data;
use crate::app::dialects::centrifugo::json::Reader;
use crate::app::dialects::centrifugo::reply::{self, To};
use crate::app::dialects::centrifugo::{Position, Publication};

/// The place that a client names, if all that was said behind it is there.
pub(super) fn place(channel: &str, from: Position<'_>, cx: &Context<'_>) -> Option<MessageId> {
    let last = cx.topic_position(channel, Since::Now)?.last;
    let place = MessageId { epoch: last.epoch, offset: from.offset };
    let position = cx.topic_position(channel, Since::Id(place))?;
    (may_be_of(from.epoch, last) && position.gap.is_none()).then_some(place)
}

/// Of the messages behind `from` the last one that `room` bytes of a reply hold, with all before it; `from` itself if there is none.
pub(super) fn last_that_fits(
    payloads: &RefCell<Reader>,
    channel: &str,
    from: MessageId,
    room: usize,
    cx: &Context<'_>,
) -> MessageId {
    let (mut fits, mut left) = (from, room);
    let offsets = from.offset.saturating_add(1)..=u64::MAX;
    let messages = offsets.map_while(|offset| cx.topic_message(channel, offset));
    for message in messages {
        // No form is shorter than the payload.
        if message.payload.len() > left {
            break;
        }
        let len = reply::publication_len(publication(payloads, message));
        let Some(rest) = left.checked_sub(len) else { break };
        left = rest;
        fits.offset = message.id.offset;
    }
    fits
}

/// The messages behind `from`, up to `last`.
pub(super) fn between<'m>(
    payloads: &RefCell<Reader>,
    channel: &str,
    from: MessageId,
    last: MessageId,
    cx: &'m Context<'_>,
) -> impl Iterator<Item = Publication<'m>> {
    (from.offset.saturating_add(1)..=last.offset)
        .filter_map(|offset| cx.topic_message(channel, offset))
        .map(|message| publication(payloads, message))
}

/// Answers a history request.
///
/// # Errors
///
/// The place that it names is gone, or there is no memory for it now.
pub(super) fn history(
    payloads: &RefCell<Reader>,
    to: To,
    asked: &History<'_>,
    out: &mut Vec<u8>,
    cx: &Context<'_>,
) -> Result<(), ReplyError> {
    let Some(position) = cx.topic_position(asked.channel, Since::All) else {
        if asked.since.is_some_and(|since| !since.epoch.is_empty()) {
            // The life of the topic that it is of is over.
            return Err(ReplyError::UnrecoverablePosition);
        }
        reply::history(out, to, Position { epoch: "", offset: 0 }, []);
        return Ok(());
    };
    let (first, last) = (position.next(), position.last);
    let (mut from, mut until) = (first, last.offset);
    if let Some(since) = asked.since {
        let behind = since.offset.saturating_add(1);
        if !may_be_of(since.epoch, last) || !asked.reverse && behind < first {
            return Err(ReplyError::UnrecoverablePosition);
        }
        match asked.reverse {
            false => from = from.max(behind),
            true => until = until.min(since.offset.saturating_sub(1)),
        }
    }
    let there_are = until.saturating_add(1).saturating_sub(from);
    let count = there_are.min(asked.limit.map_or(u64::MAX, u64::from));
    let messages = || {
        let offsets = (0..count).map(|at| match asked.reverse {
            true => until.saturating_sub(at),
            false => from.saturating_add(at),
        });
        offsets.filter_map(|offset| cx.topic_message(asked.channel, offset))
    };
    let len_max = len_max(messages());
    // It is copied once, to where it waits for the client.
    if !cx.has_room_for(len_max.saturating_mul(2)) {
        return Err(ReplyError::TooManyRequests);
    }
    out.reserve(len_max);
    let mut left = HISTORY_BYTES;
    let mut is_first = true;
    let messages = messages().map(|message| publication(payloads, message)).take_while(|it| {
        let rest = left.checked_sub(reply::publication_len(*it));
        left = rest.unwrap_or_default();
        // One message of any size can be had.
        std::mem::take(&mut is_first) || rest.is_some()
    });
    let epoch = format!("{:x}", last.epoch);
    reply::history(out, to, Position { epoch: &epoch, offset: last.offset }, messages);
    Ok(())
}

/// What a history of these messages takes at most.
fn len_max<'m>(messages: impl Iterator<Item = TopicMessage<'m>>) -> usize {
    let mut len = 0_usize;
    for (at, message) in messages.enumerate() {
        let escaped = message.payload.len().saturating_mul(ESCAPE_BYTES);
        len = len.saturating_add(escaped).saturating_add(reply::PUBLICATION_BYTES);
        if at == 0 && len >= HISTORY_BYTES {
            // What it has beyond that is not made.
            return super::encoded_len(message).max(HISTORY_BYTES);
        }
        if len >= HISTORY_BYTES {
            return HISTORY_BYTES;
        }
    }
    len
}

/// A topic's message as this protocol has it.
pub(super) fn publication<'m>(
    payloads: &RefCell<Reader>,
    message: TopicMessage<'m>,
) -> Publication<'m> {
    let data = Data::of(message.kind, message.payload, &mut payloads.borrow_mut());
    Publication { data, offset: message.id.offset }
}

/// Whether `epoch`, as a client names it, is that of `id`. An empty one stands for any.
fn may_be_of(epoch: &str, id: MessageId) -> bool {
    let is_hex = epoch.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_its = |epoch| u64::from_str_radix(epoch, 16).is_ok_and(|epoch| epoch == id.epoch);
    epoch.is_empty() || is_hex && is_its(epoch)
}

/// Where a history is cut, as it is written.
pub(super) const HISTORY_BYTES: usize = 1 << 20;

/// What a byte of a payload takes at most (`\u0001`).
const ESCAPE_BYTES: usize = 6;

#[cfg(test)]
mod tests {
    use wsfast::Kind;

    use super::*;

    /// It is made for nobody before there is memory for the whole.
    #[test]
    fn a_historys_bound_is_known_before_it_is_made() {
        let message = |payload| TopicMessage {
            topic: "t",
            id: MessageId { epoch: 1, offset: u64::MAX },
            kind: Kind::Text,
            payload,
        };
        let payloads = RefCell::new(Reader::new(Default::default()));
        let controls = vec![1; HISTORY_BYTES];
        let letters = vec![b'x'; 1000];
        for (many, expected) in [
            (vec![], 0..=0),
            (vec![&controls[..]], 6 * HISTORY_BYTES..=6 * HISTORY_BYTES + 1000),
            (vec![&controls[..], &controls], 6 * HISTORY_BYTES..=6 * HISTORY_BYTES + 1000),
            (vec![&letters[..], &controls], HISTORY_BYTES..=HISTORY_BYTES),
            (vec![&letters[..]; 10_000], HISTORY_BYTES..=HISTORY_BYTES),
            (vec![&letters[..]; 10], 10_000..=70_000),
        ] {
            let messages = || many.iter().map(|payload| message(payload));
            let bound = len_max(messages());
            assert!(expected.contains(&bound), "{bound} for {} messages", many.len());
            let first = messages().next().map(|first| publication(&payloads, first));
            assert!(first.is_none_or(|first| reply::publication_len(first) <= bound));
        }
    }
}
