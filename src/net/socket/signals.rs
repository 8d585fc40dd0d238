//! SIGTERM and SIGINT as events of the loop.
//!
//! Installed only on request: a program that embeds the server may have handlers of its own. What a signal means is
//! `server`'s to say.

use std::io;

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

/// The signals that end a server.
pub(crate) struct EndSignals(Signals);

/// What an operator calls one of them.
pub(crate) const fn name(signal: i32) -> &'static str {
    match signal {
        SIGTERM => "SIGTERM",
        SIGINT => "SIGINT",
        _ => "another signal",
    }
}

impl std::fmt::Debug for EndSignals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EndSignals")
    }
}

impl EndSignals {
    pub(crate) fn install(registry: &Registry, token: Token) -> io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        registry.register(&mut signals, token, Interest::READABLE)?;
        Ok(Self(signals))
    }

    /// The signals that came since this was last asked.
    pub(crate) fn pending(&mut self) -> impl Iterator<Item = i32> {
        self.0.pending()
    }
}
