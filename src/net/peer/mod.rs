//! A peer: its place in the table, what waits for it, and how its messages are packed.
//!
//! What a turn does with it is `phase`'s.

pub(crate) mod compressors;
pub(crate) mod in_place;
pub mod outqueue;
pub(crate) mod peers;
pub(crate) mod prepared;
pub(crate) mod tx;
