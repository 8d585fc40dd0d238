//! Clients that never become anything: slow ones, and those that speak something else.
//!
//! Whatever they send, they are told so with an error of HTTP's or cut off, and gone in time.

use crate::net::simulation::client::Client;
use crate::net::simulation::random::Random;
use crate::net::simulation::truth::Truth;
use crate::net::simulation::wire::{Seen, SharedWire};

/// See the module.
#[derive(Debug)]
pub(crate) struct Stranger {
    id: usize,
    wire: SharedWire,
    random: Random,
    /// What it says, in its own time.
    says: Vec<u8>,
    said: usize,
    /// Bytes that it says at a time.
    most: usize,
    input: Vec<u8>,
    /// By when it must be gone, once it is accepted.
    lasts_ms: u64,
    gone_at_ms: Option<u64>,
    is_over: bool,
}

impl Stranger {
    /// `lasts_ms`: how long the server may put up with it.
    pub(crate) fn new(id: usize, wire: SharedWire, mut random: Random, lasts_ms: u64) -> Self {
        let head =
            "GET /echo/0 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
        let says = match random.below(5) {
            0 => head.as_bytes().to_vec(),
            1 => head.replace('\n', "").into_bytes(),
            2 => b"\x16\x03\x01\x02\0\x01\0\x01\xFC\x03\x03".to_vec(),
            3 => format!("{head}Cookie: {}", "x".repeat(random.some(20_000))).into_bytes(),
            _ => {
                let len = random.some(2000);
                random.bytes(len)
            }
        };
        let most = random.pick(&[1, 20, usize::MAX]);
        Self {
            id,
            wire,
            random,
            says,
            said: 0,
            most,
            input: Vec::new(),
            lasts_ms,
            gone_at_ms: None,
            is_over: false,
        }
    }
}

impl Client for Stranger {
    fn act(&mut self, truth: &mut Truth, speaks: bool) {
        let mut wire = self.wire.borrow_mut();
        wire.take(usize::MAX);
        self.input.append(&mut wire.inbox);
        if wire.is_served() && self.gone_at_ms.is_none() {
            self.gone_at_ms = Some(truth.now_ms + self.lasts_ms);
        }
        match wire.seen() {
            Seen::Open if speaks && !self.is_over => {
                let len = self.most.min(self.says.len() - self.said);
                wire.send(&self.says[self.said..self.said + len]);
                self.said += len;
                if self.random.once_in(40) {
                    wire.end();
                    self.is_over = true;
                }
            }
            Seen::Open => {}
            Seen::End | Seen::Reset => {
                // It does not even end its half, now and then.
                if self.random.once_in(2) {
                    wire.end();
                }
                self.is_over = true;
            }
        }
        let len = self.input.len().min(9);
        let is_error = self.input[..len] == b"HTTP/1.1 "[..len]
            && matches!(self.input.get(9), None | Some(b'4' | b'5'));
        assert!(
            is_error,
            "client {}: was told {:?}",
            self.id,
            String::from_utf8_lossy(&self.input)
        );
    }

    fn check_settled(&self, truth: &Truth) {
        let is_due = self.gone_at_ms.is_some_and(|at_ms| at_ms < truth.now_ms);
        let is_there = self.wire.borrow().is_served();
        assert!(!is_due || !is_there || truth.has_stalled, "client {}: is still there", self.id);
    }
}
