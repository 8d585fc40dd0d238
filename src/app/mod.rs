//! What the standalone server does: its handlers, who may reach them, and what it takes from the process.
//!
//! Knows nothing of the command line.

pub(crate) mod admin;
pub(crate) mod centrifugo;
pub(crate) mod config;
pub(crate) mod gate;
pub(crate) mod hub;
pub(crate) mod process;
pub(crate) mod terms;
