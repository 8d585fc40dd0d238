//! The face: what an application implements, what it may do, and its hold from other threads.

pub(crate) mod context;
pub(crate) mod handler;
pub(crate) mod remote;
