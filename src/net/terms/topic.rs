//! What is said of topics: in which form a message is, what is lent of it, how a topic is, and what can go wrong.

use crate::net::terms::cursor::MessageId;
use crate::proto::message::Kind;

/// A way to write a topic's messages, of the application's own making.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// What the application knows it by; below 32.
    pub id: u8,
    /// What is done to what it writes.
    pub framing: Framing,
}

/// What is done to what the application writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// It is the payload of a WebSocket message.
    Message,
    /// It leaves as it is.
    Bytes,
    /// It is a part of the body of a request's one response.
    Response,
}

/// Which of a message's encodings: a form, and how it is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) form: Form,
    /// `Packing::window_at`, where compression was agreed on.
    pub(crate) window_at: Option<u8>,
}

impl Class {
    /// Streams and responses are made of the same bytes.
    pub(crate) const fn of_one_message(self) -> Self {
        let framing = match self.form.framing {
            Framing::Response => Framing::Bytes,
            framing => framing,
        };
        Self { form: Form { framing, ..self.form }, ..self }
    }
}

saved!(struct Form { id, framing });

saved!(enum Framing { 0 => Message, 1 => Bytes, 2 => Response });

/// A message of a topic, as it is lent to who writes it.
#[derive(Clone, Copy, Debug)]
pub struct TopicMessage<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// Its name.
    pub id: MessageId,
    /// Whether it is text or binary.
    pub kind: Kind,
    /// What was published.
    pub payload: &'a [u8],
}

/// How a topic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicInfo<'a> {
    /// Its name.
    pub name: &'a str,
    /// Who listens, be it for one response only.
    pub subscribers: usize,
    /// Messages that it keeps.
    pub messages: usize,
    /// Bytes of their payloads.
    pub bytes: usize,
    /// Its last message, kept or not.
    pub last: MessageId,
}

/// What became of a message that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its name.
    pub id: MessageId,
    /// Who listened at that moment.
    pub subscribers: usize,
}

/// Why something was not published or subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicError {
    /// The name is empty or longer than [`TopicLimits::name_bytes_max`](crate::TopicLimits::name_bytes_max).
    NameTooLong,
    /// There are as many topics as there may be, and they are listened to; or so few places are left that a peer with so many
    /// subscriptions may not take one.
    TooManyTopics,
    /// The peer's owner ([`Context::set_owner`](crate::Context::set_owner)) has as many topics as one may have, and they are
    /// listened to.
    TooManyTopicsOfOwner,
    /// The peer has as many subscriptions as it may have.
    TooManySubscriptions,
    /// The message is larger than a topic's ring.
    MessageTooBig,
    /// The memory that the server may take is used up.
    OutOfMemory,
    /// The peer listens already.
    Subscribed,
    /// The peer is not open, or gone.
    Gone,
}
