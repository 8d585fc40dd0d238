//! Two results, or two servers, held against each other.
//!
//! Measures nothing itself: it asks `run` for that.

pub(crate) mod ab;
pub(crate) mod baseline;
pub(crate) mod find;
pub(crate) mod permutation;
