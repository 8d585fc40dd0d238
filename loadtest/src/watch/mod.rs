//! What is seen of a run while it lasts.
//!
//! Changes nothing of it.

pub(crate) mod history;
pub(crate) mod progress;
pub(crate) mod sample;
