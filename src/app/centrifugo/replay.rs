//! What was said on a topic before: history, and what a client missed.
//!
//! A command of 70 bytes can ask for all that a topic keeps, a frame has many commands, and a turn many frames. So what such
//! replies hold is paid for out of the connection's [`Share`] of the turn, before anything is made. What does not fit:
//!
//! - history is cut, and the client asks for what follows by `since`;
//! - a recovery that a whole share would not hold is none: `recovered` is false;
//! - one that a whole share would hold, of which others took something, is refused for now: clients ask again by themselves.
//!
//! Places come from clients, and may be any number. One of the future has nothing behind it: a recovery from there is none, and a
//! history is empty, with the topic's own place beside it.
//!
//! Reads topics, and changes nothing. Who may hear them was asked before.

use std::cell::RefCell;

use wsfast::{Context, MessageId, Since, TopicMessage, saved};

use crate::app::dialects::centrifugo::codes::ReplyError;
use crate::app::dialects::centrifugo::command::History;
use crate::app::dialects::centrifugo::data::Data;
use crate::app::dialects::centrifugo::json::Reader;
use crate::app::dialects::centrifugo::reply::{self, Recovery, To};
use crate::app::dialects::centrifugo::{Position, Publication};

/// What is left of what one connection's large replies may hold in one turn.
///
/// Messages count as they were published, and take up to six times that as JSON strings. The last one may pass the bound, so
/// that a message of any size can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    turn_ms: u64,
    left: usize,
}

saved!(struct Share { turn_ms, left });

impl Share {
    /// A whole one, of the turn at `turn_ms`.
    pub(super) const fn new(turn_ms: u64) -> Self {
        Self { turn_ms, left: SHARE_BYTES }
    }

    /// Makes it a whole one if it is another turn's.
    pub(super) const fn renew(&mut self, turn_ms: u64) {
        if self.turn_ms != turn_ms {
            *self = Self::new(turn_ms);
        }
    }

    /// Pays for a reply of `len` bytes.
    ///
    /// # Errors
    ///
    /// It never fits, or not in this turn.
    pub(super) fn pay(&mut self, len: usize) -> Result<(), ReplyError> {
        if len > SHARE_BYTES {
            return Err(ReplyError::LimitExceeded);
        }
        self.left = self.left.checked_sub(len).ok_or(ReplyError::TooManyRequests)?;
        Ok(())
    }

    /// Pays for a message, if anything is left.
    const fn takes(&mut self, message: &TopicMessage<'_>) -> bool {
        let takes = self.left > 0;
        self.left =
            self.left.saturating_sub(message.payload.len().saturating_add(PUBLICATION_BYTES));
        takes
    }
}

/// Whether what was said behind `from` can be given to a client that subscribes now, and is paid for.
///
/// # Errors
///
/// It can, but not in this turn.
pub(super) fn recovery(
    channel: &str,
    from: Position<'_>,
    share: &mut Share,
    cx: &Context<'_>,
) -> Result<Recovery, ReplyError> {
    let Some(last) = cx.topic_position(channel, Since::Now).map(|position| position.last) else {
        return Ok(Recovery::Failed);
    };
    if !may_be_of(from.epoch, last) || from.offset > last.offset {
        return Ok(Recovery::Failed);
    }
    let was_whole = share.left == SHARE_BYTES;
    for offset in from.offset.saturating_add(1)..=last.offset {
        let Some(message) = cx.topic_message(channel, offset) else {
            return Ok(Recovery::Failed);
        };
        if !share.takes(&message) {
            return if was_whole { Ok(Recovery::Failed) } else { Err(ReplyError::TooManyRequests) };
        }
    }
    Ok(Recovery::Complete)
}

/// What [`recovery`] found complete.
pub(super) fn missed<'m>(
    payloads: &RefCell<Reader>,
    channel: &str,
    from: Option<Position<'_>>,
    last: MessageId,
    cx: &'m Context<'_>,
) -> impl Iterator<Item = Publication<'m>> {
    let offsets =
        from.into_iter().flat_map(move |from| from.offset.saturating_add(1)..=last.offset);
    offsets
        .filter_map(|offset| cx.topic_message(channel, offset))
        .map(|message| publication(payloads, message))
}

/// Answers a history request.
///
/// # Errors
///
/// The place that it names is gone, or nothing is left of the share.
pub(super) fn history(
    payloads: &RefCell<Reader>,
    to: To,
    asked: &History<'_>,
    share: &mut Share,
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
    if count > 0 && share.left == 0 {
        return Err(ReplyError::TooManyRequests);
    }
    let messages = (0..count)
        .map(|at| match asked.reverse {
            true => until.saturating_sub(at),
            false => from.saturating_add(at),
        })
        .filter_map(|offset| cx.topic_message(asked.channel, offset))
        .take_while(|message| share.takes(message))
        .map(|message| publication(payloads, message));
    let epoch = format!("{:x}", last.epoch);
    reply::history(out, to, Position { epoch: &epoch, offset: last.offset }, messages);
    Ok(())
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

/// What a turn writes to one peer (`wsfast`'s own share of a turn).
const SHARE_BYTES: usize = 1 << 20;

/// What a message costs beyond its payload: `{"data":,"offset":12345678}`, and a look at it.
const PUBLICATION_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use wsfast::Kind;

    use super::*;

    #[test]
    fn a_share_pays_for_replies_up_to_its_end() {
        let mut share = Share::new(1);
        assert_eq!(share.pay(SHARE_BYTES + 1), Err(ReplyError::LimitExceeded));
        assert_eq!(share.pay(SHARE_BYTES), Ok(()));
        assert_eq!(share.pay(1), Err(ReplyError::TooManyRequests));
        assert_eq!(share.pay(0), Ok(()));
        share.renew(1);
        assert_eq!(share.pay(1), Err(ReplyError::TooManyRequests));
        share.renew(2);
        assert_eq!(share.pay(1), Ok(()));
    }

    #[test]
    fn only_the_last_message_may_pass_the_bound() {
        let large = vec![b'x'; 2 * SHARE_BYTES];
        let message = |payload| TopicMessage {
            topic: "t",
            id: MessageId { epoch: 1, offset: 1 },
            kind: Kind::Text,
            payload,
        };
        let mut share = Share::new(1);
        assert!(share.takes(&message(b"x")));
        assert!(share.takes(&message(&large)));
        assert!(!share.takes(&message(b"x")));
    }
}
