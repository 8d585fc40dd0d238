//! The load generator as users run it: the real binary against servers that are right, wrong, refusing and stopped.
//!
//! The servers share no code with it: their handshake and their frames are written by hand, so that one mistake cannot
//! cancel itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod ab;
mod broadcast;
mod churn;
mod ci;
mod compression;
mod faults;
mod flags;
mod modes;
mod process;
mod room;
mod run;
mod server;
mod stop;
mod stub;
mod transports;
mod wire;
mod workers;
