//! What an event tells: the few questions that a turn asks of it.
//!
//! The poll's events cannot be made by hand; a simulation's are its own. Says nothing that mio does not say.

use mio::Token;
use mio::event::Event;

/// An event that a turn acts on.
pub(crate) trait Readiness {
    /// Whose it is.
    fn token(&self) -> Token;
    /// Whether there may be something to read.
    fn is_readable(&self) -> bool;
    /// Whether there may be room to write.
    fn is_writable(&self) -> bool;
    /// Whether the other end has ended its half, or all of it.
    fn is_read_closed(&self) -> bool;
    /// Whether the connection broke.
    fn is_error(&self) -> bool;
}

impl Readiness for &Event {
    fn token(&self) -> Token {
        (*self).token()
    }

    fn is_readable(&self) -> bool {
        (*self).is_readable()
    }

    fn is_writable(&self) -> bool {
        (*self).is_writable()
    }

    fn is_read_closed(&self) -> bool {
        (*self).is_read_closed()
    }

    fn is_error(&self) -> bool {
        (*self).is_error()
    }
}
