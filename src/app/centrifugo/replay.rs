//! What was said on a topic before: history, and what a client missed.
//!
//! A command of 70 bytes can ask for all that a topic keeps. So:
//!
//! - a history is cut at [`HISTORY_BYTES`], and the client asks for what follows by `since`; one that is not short is an excerpt
//!   ([`Excerpt`]), made as the client takes it, so that one that is not read costs what a stream costs that is not read;
//! - of what a client missed its reply has the first few KiB ([`last_that_fits`]). The rest is the subscription's, which begins
//!   there, so that the same is true of a recovery.
//!
//! Places come from clients, and may be any number. One of the future has nothing behind it: a recovery from there is none, and a
//! history is empty, with the topic's own place beside it.
//!
//! Reads topics, and changes nothing. Who may hear them was asked before, and whether there is work left for it, too.

use std::cell::RefCell;

use wsfast::{Context, Excerpt, Form, Framing, MessageId, Order, Since, TopicMessage};

use crate::app::centrifugo::protocol::codes::ReplyError;
use crate::app::centrifugo::protocol::command::History;
use crate::app::centrifugo::protocol::data::Data;
use crate::app::centrifugo::protocol::json::Reader;
use crate::app::centrifugo::protocol::reply::{self, To};
use crate::app::centrifugo::protocol::{Position, Publication};

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

/// Answers a history request: appends the answer, if it is short, or says what it is to have.
///
/// # Errors
///
/// The place that it names is gone.
pub(super) fn history(
    payloads: &RefCell<Reader>,
    to: To,
    asked: &History<'_>,
    out: &mut Vec<u8>,
    cx: &Context<'_>,
) -> Result<Option<Excerpt>, ReplyError> {
    let Some(position) = cx.topic_position(asked.channel, Since::All) else {
        if asked.since.is_some_and(|since| !since.epoch.is_empty()) {
            // The life of the topic that it is of is over.
            return Err(ReplyError::UnrecoverablePosition);
        }
        reply::history(out, to, Position { epoch: "", offset: 0 }, []);
        return Ok(None);
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
    let epoch = format!("{:x}", last.epoch);
    let position = Position { epoch: &epoch, offset: last.offset };
    let order = if asked.reverse { Order::NewestFirst } else { Order::OldestFirst };
    let messages = || {
        let offsets = (0..count).map(|at| match order {
            Order::NewestFirst => until.saturating_sub(at),
            Order::OldestFirst => from.saturating_add(at),
        });
        offsets.map_while(|offset| cx.topic_message(asked.channel, offset))
    };
    if is_short(payloads, messages()) {
        let publications = messages().map(|message| publication(payloads, message));
        reply::history(out, to, position, publications);
        return Ok(None);
    }
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    reply::begin_history(&mut head, to);
    reply::end_history(&mut tail, position);
    let first = if asked.reverse { until } else { from };
    Ok(Some(Excerpt {
        topic: asked.channel.to_owned(),
        form: HISTORY,
        first: MessageId { epoch: last.epoch, offset: first },
        count,
        order,
        bytes_max: HISTORY_BYTES,
        head,
        separator: b',',
        tail,
    }))
}

/// Whether a list of these messages is made at once.
fn is_short<'m>(
    payloads: &RefCell<Reader>,
    mut messages: impl Iterator<Item = TopicMessage<'m>>,
) -> bool {
    let mut left = SHORT_BYTES;
    messages.all(|message| {
        // No form is shorter than the payload.
        let rest = (message.payload.len() <= left)
            .then(|| reply::publication_len(publication(payloads, message)))
            .and_then(|len| left.checked_sub(len));
        left = rest.unwrap_or_default();
        rest.is_some()
    })
}

/// The form that a message of a history is written in: what it is, is known once it was looked at as a whole.
pub(crate) fn form_in_history(payloads: &RefCell<Reader>, message: TopicMessage<'_>) -> Form {
    match publication(payloads, message).data {
        Data::Json(_) => HISTORY_JSON,
        Data::Text(_) => HISTORY_TEXT,
        Data::Binary(_) => HISTORY_BINARY,
    }
}

/// Writes a part of a message of a history, from byte `at` of its payload on; where the next part begins.
pub(crate) fn encode_part(
    form: Form,
    message: TopicMessage<'_>,
    at: usize,
    out: &mut Vec<u8>,
) -> usize {
    let rest = message.payload.len().saturating_sub(at);
    let most = match form {
        // A byte becomes up to six.
        HISTORY_TEXT => EXPANDING_PART_BYTES,
        _ => PART_BYTES,
    };
    let end = at.saturating_add(rest.min(most));
    reply::publication_part(out, data_in(form, message), message.id.offset, at..end);
    end
}

/// How many bytes a message of a history takes.
pub(crate) fn encoded_len(form: Form, message: TopicMessage<'_>) -> usize {
    let data = data_in(form, message);
    reply::publication_len(Publication { data, offset: message.id.offset })
}

fn data_in(form: Form, message: TopicMessage<'_>) -> Data<'_> {
    match form {
        HISTORY_JSON => Data::Json(message.payload),
        HISTORY_BINARY => Data::Binary(message.payload),
        _ => Data::Text(message.payload),
    }
}

/// Whether a form is one of those that the messages of a history are written in.
pub(crate) const fn is_of_history(form: Form) -> bool {
    matches!(form, HISTORY | HISTORY_JSON | HISTORY_TEXT | HISTORY_BINARY)
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

/// A topic's messages in a history, and what they are in it.
const HISTORY: Form = Form { id: 6, framing: Framing::Message };
const HISTORY_JSON: Form = Form { id: 7, ..HISTORY };
const HISTORY_TEXT: Form = Form { id: 8, ..HISTORY };
const HISTORY_BINARY: Form = Form { id: 9, ..HISTORY };

/// Where a history is cut, as it is written.
pub(super) const HISTORY_BYTES: usize = 1 << 20;

/// Up to here it is made at once.
const SHORT_BYTES: usize = 16 << 10;

/// What a part has of a payload: a multiple of three bytes, of which base64 makes four without a rest.
const PART_BYTES: usize = 12 << 10;

/// The same where a byte may become six.
const EXPANDING_PART_BYTES: usize = 3 << 10;
