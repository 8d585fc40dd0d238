//! The places of `Side::Admin`: few, so that they take nothing from clients, and never all taken by who stays.
//!
//! ```text
//! 16 places:  who stays (WebSockets, streams, requests that wait): 12 at most  │  who asks and is answered: 4 or more
//! ```
//!
//! Once all are taken, the next connection takes the place of one that does not stay, so that a question is answered whoever else
//! holds a connection: a scrape, or whether the server is ready. Who was just taken in has a moment to ask; until somebody has had
//! that, the next ones wait in the kernel's queue, first come, first served. Who asks for what is not known here.

use crate::net::api::handler::Handler;
use crate::net::peer::tx::{Phase, Tx};
use crate::net::phase::receive::Rx;
use crate::net::server::Server;
use crate::net::terms::arrival::Side;

/// The connections of `Side::Admin`, those that are doomed included, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Admins(Vec<Admin>);

#[derive(Clone, Copy, Debug)]
struct Admin {
    key: usize,
    /// Until when its place is its own, whatever it does with it.
    ///
    /// Zero for one that was handed over.
    own_until_ms: u64,
}

/// What a connection that does not stay is at: the least gives way first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    /// Its last word is spoken; only its FIN is awaited.
    Over,
    /// Between two requests.
    Idle,
    /// A request that is not whole.
    Asking,
    /// An answer that it does not take.
    Reading,
}

/// What there is for one more connection.
enum Place {
    Free,
    /// That of this peer.
    Of(usize),
}

impl Admins {
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// One was handed over, or comes now.
    pub(crate) fn add(&mut self, key: usize, now_ms: Option<u64>) {
        let own_until_ms = now_ms.map_or(0, |now_ms| now_ms + OWN_MS);
        self.0.push(Admin { key, own_until_ms });
    }

    pub(crate) fn remove(&mut self, key: usize) {
        self.0.retain(|it| it.key != key);
    }
}

impl<H: Handler> Server<H> {
    /// Whether there is a place for one more connection of `Side::Admin`, be it another's.
    pub(crate) fn has_admin_place(&self) -> bool {
        self.admin_place().is_some()
    }

    /// Gives one more connection of `Side::Admin` a place; false: there is none.
    pub(crate) fn take_admin_place(&mut self) -> bool {
        match self.admin_place() {
            Some(Place::Free) => true,
            Some(Place::Of(key)) => {
                self.peers.tx[key].doom(key, &mut self.turn);
                true
            }
            None => false,
        }
    }

    /// Whether one more connection of this side may stay.
    pub(crate) fn has_room_to_stay(&self, side: Side) -> bool {
        side == Side::Public
            || self.admins().filter(|(_, rx, tx)| stays(rx, tx)).count() < STAYING_MAX
    }

    fn admin_place(&self) -> Option<Place> {
        if self.admins().count() < ADMINS_MAX {
            return Some(Place::Free);
        }
        let now_ms = self.turn.now_ms;
        let gives_way = self.admins().filter_map(|(admin, rx, tx)| {
            let at = at(rx, tx)?;
            (at <= At::Idle || admin.own_until_ms <= now_ms).then_some((at, admin.key))
        });
        // Of several the first, which came first.
        gives_way.min_by_key(|&(at, _)| at).map(|(_, key)| Place::Of(key))
    }

    /// Those that are not doomed.
    fn admins(&self) -> impl Iterator<Item = (Admin, &Rx<H::State>, &Tx)> {
        let all = self.admins.0.iter();
        all.map(|&admin| (admin, &self.peers.rx[admin.key], &self.peers.tx[admin.key]))
            .filter(|(_, _, tx)| tx.phase != Phase::Doomed)
    }
}

fn stays<S>(rx: &Rx<S>, tx: &Tx) -> bool {
    match tx.phase {
        Phase::Open | Phase::Streaming => true,
        Phase::Opening => rx.is_waiting(),
        Phase::Closing | Phase::Finishing | Phase::Lingering | Phase::Doomed => false,
    }
}

/// What one is at; `None`: it stays.
fn at<S>(rx: &Rx<S>, tx: &Tx) -> Option<At> {
    if stays(rx, tx) {
        return None;
    }
    Some(match tx.phase {
        _ if !tx.is_flushed() => At::Reading,
        Phase::Opening if rx.is_idle() => At::Idle,
        Phase::Opening => At::Asking,
        _ => At::Over,
    })
}

/// Connections of `Side::Admin`, out of those that others are refused with (`server`).
pub(crate) const ADMINS_MAX: usize = 16;

/// Those of them that stay.
const STAYING_MAX: usize = 12;

/// How long one has for its request before it gives way. A browser opens 256 connections at most, all its pages together, so that
/// those take 4 s to go by, if they say nothing.
const OWN_MS: u64 = 250;

/// What one more that would stay is told.
pub(crate) const NO_ROOM_TO_STAY: &str =
    "as many listen here as may; the other places are for /ready and /metrics, say";
