//! What a run came to, as values: the figures, the document that is kept, what was asked of them, and the verdict.
//!
//! Measures and prints nothing.

pub(crate) mod document;
pub(crate) mod metric;
pub(crate) mod outcome;
pub(crate) mod threshold;
pub(crate) mod verdict;
