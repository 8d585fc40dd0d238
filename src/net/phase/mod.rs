//! What a turn does, phase by phase: what came is read, opened, answered; what was published is fanned out.
//!
//! `server` says in which order.

pub(crate) mod fan_out;
pub(crate) mod http;
pub(crate) mod opening;
pub(crate) mod proxied;
pub(crate) mod publication;
pub(crate) mod receive;
pub(crate) mod reply;
