//! What the tests share: a server on a thread, the binary as a process, a client that knows no mercy.
//!
//! Nothing here uses `wsfast::proto` to make or read bytes, so that one mistake cannot cancel itself.

pub(crate) mod ask;
pub(crate) mod client;
pub(crate) mod crowd;
pub(crate) mod flood;
pub(crate) mod jwt;
pub(crate) mod process;
pub(crate) mod published;
pub(crate) mod server;
pub(crate) mod session;
pub(crate) mod siege;
pub(crate) mod tls;
pub(crate) mod watch;
pub(crate) mod wire;

use std::time::Duration;

use wsfast::Limits;

/// How long any one expectation may take to come true. Long, since it is only waited out by a test that fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// The default limits, with time-outs that no test lives to see: what they would do must not pass for an answer.
pub(crate) fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.handshake_timeout_ms = FOREVER_MS;
    limits.close_timeout_ms = FOREVER_MS;
    limits.ping_interval_ms = 0;
    limits.drain_ms = FOREVER_MS;
    limits
}

const FOREVER_MS: u64 = 10 * 60 * 1000;
