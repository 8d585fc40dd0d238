//! What can be wrong with what a subscriber got, and how it is said.
//!
//! Words only: what is wrong is found by whoever judges.

use std::fmt;

use crate::judge::stamp::Mark;

/// What is wrong with what a subscriber got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// A message that never came.
    Lost(Mark),
    /// One that came before.
    Duplicate(Mark),
    /// One that a later one of the same publisher overtook.
    Reordered(Mark),
    /// One whose bytes are not what was published.
    Bytes(Mark),
    /// One of which not even the name can be read.
    Stamp,
    /// Text where binary was published, or the other way round.
    Kind(Mark),
    /// One of another topic.
    OtherTopic(Mark),
    /// One that was never published.
    Unasked,
    /// One that had been given up.
    AfterTheEnd(Mark),
    /// A publication that the server did not take.
    Refused(u16),
    /// One of which it did not say whether it did.
    Unanswered,
}

/// A fault and the connection that it came on.
pub(super) struct On(pub(super) u32, pub(super) Wrong);

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |f: &mut fmt::Formatter<'_>, mark: Mark, what: &str| {
            write!(f, "message {} of publisher {} {what}", mark.seq, mark.publisher)
        };
        write!(f, "connection {}: ", self.0)?;
        match self.1 {
            Wrong::Lost(mark) => named(f, mark, "never came"),
            Wrong::Duplicate(mark) => named(f, mark, "came twice"),
            Wrong::Reordered(mark) => named(f, mark, "was overtaken"),
            Wrong::Bytes(mark) => named(f, mark, "has other bytes than were published"),
            Wrong::Kind(mark) => named(f, mark, "has the wrong opcode"),
            Wrong::OtherTopic(mark) => named(f, mark, "belongs to another topic"),
            Wrong::AfterTheEnd(mark) => named(f, mark, "came after it was given up"),
            Wrong::Stamp => f.write_str("a message that is damaged, or of another run"),
            Wrong::Unasked => f.write_str("a message that nobody published"),
            Wrong::Unanswered => f.write_str("a publication was never answered"),
            Wrong::Refused(status) => write!(f, "a publication got HTTP status {status}"),
        }
    }
}
