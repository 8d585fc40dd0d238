//! Why a request is not served.

use crate::proto::handshake::Status;

/// An opening handshake that the application refuses.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    /// The HTTP status of the response.
    pub status: Status,
    /// The response's body, one line: what was wrong, and what would be right.
    pub reason: &'static str,
}
