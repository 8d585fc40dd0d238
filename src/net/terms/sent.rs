//! What became of a message that was sent.

/// What became of a message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message that was refused or came too late is not sent"]
pub enum Sent {
    /// It leaves with this event.
    Now,
    /// It waits until the peer takes what came before.
    Queued,
    /// The peer's queue is full; the peer is being closed with 1008.
    Refused,
    /// The connection is closing or gone.
    Gone,
}
