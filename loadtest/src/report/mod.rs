//! What people and programs read of a result.
//!
//! Decides nothing: the figures and the verdict are there already.

pub(crate) mod export;
pub(crate) mod html;
pub(crate) mod svg;
pub(crate) mod text;
