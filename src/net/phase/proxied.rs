//! What comes before everything else from a proxy that is trusted: the header that names the peer.
//!
//! Raw bytes of the socket, even if TLS follows. Mandatory there, whole within the handshake timeout. What the bytes mean
//! is `proto::proxy_protocol`'s, who is trusted `trust`'s.

#![deny(clippy::arithmetic_side_effects)]

use crate::net::api::handler::Handler;
use crate::net::phase::opening::Head;
use crate::net::phase::receive::Reading;
use crate::net::server::Server;
use crate::net::terms::addr::PeerAddr;
use crate::net::terms::arrival::Arrival;
use crate::net::turn::FAULT;
use crate::proto::parsed::Parsed;
use crate::proto::proxy_protocol::{self, HEADER_BYTES_MAX, Source, Versions};

/// A connection whose proxy has not said yet whom it speaks for.
#[derive(Debug)]
pub(crate) struct Proxied {
    versions: Versions,
    /// The proxy.
    from: Arrival,
    /// What came of the header so far; fewer than `HEADER_BYTES_MAX`.
    bytes: Vec<u8>,
}

saved!(struct Proxied { versions, from, bytes });

impl Proxied {
    pub(crate) fn new(versions: Versions, from: Arrival) -> Box<Self> {
        Box::new(Self { versions, from, bytes: Vec::new() })
    }
}

impl<H: Handler> Server<H> {
    /// Takes in `len` bytes that were read into scratch while the proxy's header was awaited.
    pub(crate) fn receive_proxied(&mut self, key: usize, len: usize, frames_left: &mut u32) {
        let Reading::Proxied(mut proxied) =
            std::mem::replace(&mut self.peers.rx[key].reading, Reading::Nothing)
        else {
            return;
        };
        let earlier_len = proxied.bytes.len();
        let came = &self.scratch.bytes()[..len];
        // Not to copy what is behind the header.
        proxied
            .bytes
            .extend_from_slice(&came[..len.min(HEADER_BYTES_MAX.saturating_sub(earlier_len))]);
        match proxy_protocol::parse(&proxied.bytes, proxied.versions) {
            Ok(Parsed::NeedBytes(_)) => {
                debug_assert!(proxied.bytes.len() < HEADER_BYTES_MAX);
                self.peers.rx[key].reading = Reading::Proxied(proxied);
            }
            Ok(Parsed::Done(source, header_len)) => {
                let peer = match source {
                    Source::Proxy => proxied.from.peer,
                    Source::Ip(addr) => PeerAddr::from(addr),
                    Source::Unix => PeerAddr::Unix,
                };
                self.peers.name(key, peer);
                let (id, proxy) = (proxied.from.id, proxied.from.peer);
                tracing::debug!(%id, address = %peer, %proxy, "proxied");
                if source != Source::Proxy && !self.count_named(key, peer) {
                    return;
                }
                // It was not whole without bytes of this read.
                self.begin_head(
                    key,
                    Arrival { peer, ..proxied.from },
                    header_len.saturating_sub(earlier_len),
                    len,
                    frames_left,
                );
            }
            Err(error) => {
                let refused = &mut self.turn.counters.proxy_headers_refused;
                *refused = refused.saturating_add(1);
                let (id, proxy) = (proxied.from.id, proxied.from.peer);
                tracing::debug!(target: FAULT, %id, %proxy, why = error.reason(), "no PROXY header");
                self.peers.tx[key].doom(key, &mut self.turn);
            }
        }
    }

    /// Hands over to the request's head what was read behind the header: `at` to `len` in scratch.
    fn begin_head(
        &mut self,
        key: usize,
        from: Arrival,
        at: usize,
        len: usize,
        frames_left: &mut u32,
    ) {
        // The only place where bytes were read that are the next layer's: TLS's first records, or the head's first bytes.
        self.peers.rx[key].reading = Reading::Head(Head::new(from));
        let tx = &mut self.peers.tx[key];
        if tx.link.begin_tls(&self.scratch.bytes()[at..len]) {
            // What is here already raises no event.
            tx.mark_ready(key, &mut self.turn);
        } else if at < len {
            self.scratch.bytes().copy_within(at..len, 0);
            self.receive_head(key, len.saturating_sub(at), frames_left);
        }
    }
}
