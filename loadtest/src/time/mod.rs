//! Time: what the clock says, and when something is due.
//!
//! Knows nothing of connections.

pub(crate) mod clock;
pub(crate) mod live;
pub(crate) mod schedule;
