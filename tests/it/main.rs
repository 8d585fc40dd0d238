//! Integration tests: the server through real sockets, at a port that the kernel chose, under deadlines.
//!
//! Time is never slept away: a test that must know that the server took something in makes a round trip on another
//! connection behind it (`Witness`).

#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod admin;
mod admin_places;
mod anonymous;
mod backpressure;
mod bounds;
mod bursts;
mod capacity;
mod centrifugo;
mod cli;
mod client;
mod close;
mod config_file;
mod corpus;
mod deflate;
mod expiry;
mod fairness;
mod frames;
mod handler;
mod handover;
mod histories;
mod hostile;
mod hub;
mod idle;
mod interop;
mod layering;
mod listen;
mod logs;
mod memory;
mod metrics;
mod open;
mod pages;
mod presence;
mod rates;
mod readme;
mod reload;
mod replies;
mod shares;
mod signals;
mod stdin;
mod support;
mod this_machine;
mod tls;
mod topics;

/// Where the protocols that `corpus` includes look for what they name of the binary.
use corpus::fuzz::app;
