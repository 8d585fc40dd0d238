//! Values that several of the handlers share, and the text of each.
//!
//! Pure functions; none names a handler.

#![deny(clippy::arithmetic_side_effects)]

pub(crate) mod deceptive;
pub(crate) mod json_text;
pub(crate) mod topic_name;
pub(crate) mod wall_clock;
