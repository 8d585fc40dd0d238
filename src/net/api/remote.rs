//! A hold on a running server from other threads.
//!
//! Commands go through a channel and take effect in the loop's next turn. Waits for nothing, and tells no result but that of
//! publishing, which comes by a receipt.

use std::sync::Arc;
use std::sync::mpsc::{self, Sender};

use mio::Waker;

use crate::config::{ConfigError, Limits};
use crate::net::phase::publication::{FannedOut, MessageBatch, Receipt};
use crate::net::terms::peer_id::PeerId;
use crate::proto::message::Kind;

/// Sends to a server's peers, and ends it, from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Remote {
    commands: Sender<Command>,
    waker: Arc<Waker>,
}

/// What another thread asks for.
#[derive(Debug)]
pub(crate) enum Command {
    Send(PeerId, Kind, Vec<u8>),
    Broadcast(Kind, Vec<u8>),
    Publish(MessageBatch, Sender<FannedOut>),
    SetLimits(Box<Limits>),
    Drain,
    HandOver,
    Stop,
}

impl Remote {
    pub(crate) const fn new(commands: Sender<Command>, waker: Arc<Waker>) -> Self {
        Self { commands, waker }
    }

    /// Queues a message for one peer; it is dropped if the peer is gone by then.
    pub fn send(&self, peer: PeerId, kind: Kind, payload: impl Into<Vec<u8>>) {
        self.tell(Command::Send(peer, kind, payload.into()));
    }

    /// Queues a message for every open peer. It is encoded once.
    pub fn broadcast(&self, kind: Kind, payload: impl Into<Vec<u8>>) {
        self.tell(Command::Broadcast(kind, payload.into()));
    }

    /// Publishes messages to their topic. The receipt tells when all were fanned out: a producer that waits for it before it
    /// hands over the next but one is as fast as the loop, and no memory grows.
    pub fn publish(&self, batch: MessageBatch) -> Receipt {
        let (receipt, fanned_out) = mpsc::channel();
        self.tell(Command::Publish(batch, receipt));
        Receipt(fanned_out)
    }

    /// Changes the limits of the running server, and has [`Handler::on_limits`](crate::Handler::on_limits) told.
    ///
    /// Those of a message hold for connections that open from here on, `peers_max` for those that are accepted, all others from
    /// the next time on that they are asked; nobody is closed for a limit that was lowered. History that is too much goes as
    /// messages come. `ping_interval_ms`, `compression`, `memory` and `topics.lag` stay what they were.
    ///
    /// # Errors
    ///
    /// A limit out of its range; then nothing changes.
    pub fn set_limits(&self, limits: Limits) -> Result<(), ConfigError> {
        limits.check()?;
        self.tell(Command::SetLimits(Box::new(limits)));
        Ok(())
    }

    /// Stops accepting and closes all connections with 1001, as a first SIGTERM does; see [`crate::Limits::drain_ms`].
    pub fn drain(&self) {
        self.tell(Command::Drain);
    }

    /// Prepares to hand the server over to another image of the program: connections that cannot be are told to come back
    /// (1012), the others are served meanwhile; then its run ends with [`crate::Ended::HandOver`].
    pub fn hand_over(&self) {
        self.tell(Command::HandOver);
    }

    /// Ends the loop at once.
    pub fn stop(&self) {
        self.tell(Command::Stop);
    }

    fn tell(&self, command: Command) {
        // Either fails only after the server is gone, when there is nobody to tell.
        if self.commands.send(command).is_ok() {
            let _gone = self.waker.wake();
        }
    }
}
