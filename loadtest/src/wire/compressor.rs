//! Compression of what is sent (`--compression`; permessage-deflate, RFC 7692), and the account of it.
//!
//! Each message is compressed alone, with one compressor for all connections: whatever a server grants, it may not ask for
//! more. What it sends is inflated by `wsfast::proto`; only who grants a server context takeover keeps a window for it.

use wsfast::proto::deflate::{Agreed, Deflater, Offer, WINDOW_BITS_MAX, WINDOW_BITS_MIN};

/// What every connection offers, as browsers do.
pub(crate) const OFFER: Offer = Offer::FULL;

/// The compressors of the measuring thread.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    /// One for each window that a server granted.
    deflaters: [Option<Box<Deflater>>; WINDOWS],
    room: Vec<u8>,
    pub(crate) account: Account,
}

/// What was compressed, and to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Connections on which the server agreed to compression.
    pub(crate) conns: u32,
    /// Payload bytes of all messages sent on these.
    pub(crate) plain_bytes: u64,
    /// The same as they left.
    pub(crate) sent_bytes: u64,
}

impl Packer {
    /// The server granted a connection this.
    pub(crate) fn agreed(&mut self) {
        self.account.conns += 1;
    }

    /// Compresses `payload` for a connection that agreed; `None`: it goes as it is.
    pub(crate) fn pack(&mut self, agreed: Agreed, payload: &[u8]) -> Option<&[u8]> {
        let Self { deflaters, room, account } = self;
        account.plain_bytes += payload.len() as u64;
        let bits = agreed.client_window_bits;
        // A window of 8 bits is one that no compressor keeps to.
        let at = bits.checked_sub(WINDOW_BITS_MIN).map(usize::from);
        let packed = at.and_then(|at| deflaters.get_mut(at)).and_then(|deflater| {
            let deflater = deflater.get_or_insert_with(|| Box::new(Deflater::new(LEVEL, bits)));
            deflater.deflate_alone(payload, room)
        });
        account.sent_bytes += packed.unwrap_or(payload).len() as u64;
        packed
    }
}

const WINDOWS: usize = (WINDOW_BITS_MAX - WINDOW_BITS_MIN) as usize + 1;

/// The generator's own CPU is the scarce one.
const LEVEL: u8 = 1;
