//! A long message on its way to one reader, part by part.
//!
//! In some forms a message takes up to six times its size. One that is long is therefore never made whole in them, but in parts,
//! as the reader takes them: what is kept for a reader is the message as it was published, which all share, and one part. A short
//! one is made once for all (`fan_out`). Only for streams and responses, where nothing comes between two parts.

use std::rc::Rc;

use crate::net::api::handler::Handler;
use crate::net::terms::cursor::MessageId;
use crate::net::terms::topic::{Form, Framing, TopicMessage};
use crate::net::turn::memory::Memory;
use crate::proto::message::Kind;

/// See the module.
#[derive(Debug)]
pub(crate) struct Partial {
    form: Form,
    topic: Rc<str>,
    id: MessageId,
    kind: Kind,
    payload: Rc<[u8]>,
    /// How much of the payload was written.
    at: usize,
}

saved!(struct Partial { form, topic, id, kind, payload, at });

impl Partial {
    /// A message of which nothing was written yet.
    pub(crate) fn new(
        form: Form,
        topic: &Rc<str>,
        id: MessageId,
        kind: Kind,
        payload: &Rc<[u8]>,
    ) -> Self {
        let (topic, payload) = (Rc::clone(topic), Rc::clone(payload));
        Self { form, topic, id, kind, payload, at: 0 }
    }

    /// Whether a message is written so.
    pub(crate) fn suits(form: Form, payload: &[u8]) -> bool {
        form.framing != Framing::Message && Self::is_long(payload)
    }

    /// Whether there are forms in which a message is written so.
    pub(crate) const fn is_long(payload: &[u8]) -> bool {
        payload.len() > WHOLE_BYTES_MAX
    }

    /// Appends the next part to `out`; `None`: there is no memory for it.
    pub(crate) fn encode<H: Handler>(
        &mut self,
        handler: &H,
        memory: &Memory,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let Self { form, topic, id, kind, payload, at } = self;
        if !memory.has_room(PART_BYTES_MAX) {
            return None;
        }
        let message = TopicMessage { topic, id: *id, kind: *kind, payload };
        let next = handler.encode_part(*form, message, *at, out);
        // A handler that does not move on would be asked for ever.
        *at = if next > *at { next } else { payload.len() };
        Some(())
    }

    /// Whether that was the last.
    pub(crate) fn is_done(&self) -> bool {
        self.at >= self.payload.len()
    }
}

/// Up to here a message is made whole: what a run of messages is at most, too.
const WHOLE_BYTES_MAX: usize = if cfg!(test) { 300 } else { 256 * 1024 };

/// What a part takes as it is made, and a copy of it that is shared.
const PART_BYTES_MAX: usize = 64 * 1024;
