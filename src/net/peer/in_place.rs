//! Replies that lie ready in the buffer their messages came in.
//!
//! ```text
//! buffer   [ left already | replies, finished | room, message lent | ... not stepped over yet ]
//!                           └── they leave together, then the cork ──┘
//! ```
//!
//! A whole message is moved down behind room for its reply's header while it is unmasked (`Inbound::step_down`). If the
//! handler sends it on as it is, its frame is finished by writing that header. Writes nothing itself: `rx` finishes a
//! frame once the handler's borrow is over, `tx` sends.

use crate::proto::header::{self, EncodedHeader, Fin};
use crate::proto::message::Kind;

/// What of the replies to one peer lies in place while its handler runs. They come before the cork's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InPlace<'a> {
    /// Whole frames.
    replies: &'a [u8],
    lent: Lent<'a>,
}

/// What became of the message that the handler was lent.
#[derive(Clone, Copy, Debug)]
enum Lent<'a> {
    /// There is none, or it does not lie behind room for its reply's header, or it has left.
    Nothing,
    /// Its payload could become a reply where it is.
    Message(&'a [u8]),
    /// It was sent on: its frame follows the replies.
    SentOn(Kind, &'a [u8]),
}

impl<'a> InPlace<'a> {
    /// Nothing in place.
    pub(crate) const NOTHING: InPlace<'static> = InPlace { replies: &[], lent: Lent::Nothing };

    /// Finished replies alone.
    pub(crate) const fn replies(replies: &'a [u8]) -> Self {
        Self { replies, lent: Lent::Nothing }
    }

    /// Finished `replies`, and a message that is lent to its handler. `end` is the address behind the replies.
    pub(crate) fn lend(replies: &'a [u8], payload: &'a [u8], end: usize) -> Self {
        let is_in_place = payload.as_ptr().addr() == end + header::unmasked_len(payload.len());
        Self { replies, lent: if is_in_place { Lent::Message(payload) } else { Lent::Nothing } }
    }

    /// Sends the lent message on, if `payload` is it.
    pub(crate) fn send_on(&mut self, kind: Kind, payload: &[u8]) -> bool {
        match self.lent {
            Lent::Message(lent) if std::ptr::eq(lent, payload) => {
                self.lent = Lent::SentOn(kind, lent);
                true
            }
            Lent::Message(_) | Lent::SentOn(..) | Lent::Nothing => false,
        }
    }

    /// Takes all that is to leave: the replies, and the frame of a message that was sent on.
    pub(crate) fn take(&mut self) -> (&'a [u8], Option<(EncodedHeader, &'a [u8])>) {
        let replies = std::mem::take(&mut self.replies);
        let Lent::SentOn(kind, payload) = self.lent else { return (replies, None) };
        self.lent = Lent::Nothing;
        (replies, Some((header::encode(Fin::Last, kind.opcode(), payload.len(), None), payload)))
    }

    /// After the handler: whether the replies are still there, and the header to finish a message with that was sent on.
    pub(crate) fn finish(mut self) -> (bool, Option<EncodedHeader>) {
        let (replies, sent_on) = self.take();
        (!replies.is_empty(), sent_on.map(|(header, _)| header))
    }
}
