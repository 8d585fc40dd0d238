//! Who compresses what (permessage-deflate, RFC 7692): one compressor for all peers, or one of its own for a peer that
//! agreed on context takeover and whose memory the budget has room for.
//!
//! Writes nothing to a socket and encodes no frame; the DEFLATE stream itself is `proto::deflate`'s.

use std::rc::Rc;

use crate::config::{Compression, CompressionMode};
use crate::net::turn::memory::Memory;
use crate::proto::deflate::{self, Agreed, Deflater, Terms, WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use crate::proto::message::Kind;
use crate::proto::outbound;
use crate::state::{Corrupt, Reader, Saved as _, Writer};

/// The compressors of one loop.
#[derive(Debug)]
pub(crate) struct Compressors {
    config: Compression,
    /// For messages that stand alone, one for each window that a peer asked for; made when first needed.
    shared: [Option<Box<Deflater>>; WINDOWS],
    /// Where compressed messages are made; see [`Compressors::take_room`].
    room: Vec<u8>,
    /// Whether a message needed a large one since the last trim.
    room_is_needed: bool,
    memory: Memory,
    /// Memory that connections with context takeover were granted, used or not.
    granted_bytes: usize,
    /// Whether there may be more of them.
    grants_takeover: bool,
}

/// How one peer's messages are compressed.
#[derive(Debug)]
pub(crate) struct Packing {
    /// Messages below this length go as they are; `NEVER`: all do.
    bytes_min: u32,
    /// Base 2 logarithm of the farthest that a message may refer back.
    window_bits: u8,
    own: Option<Box<Own>>,
}

/// What a peer with context takeover has to itself.
#[derive(Debug)]
struct Own {
    /// Made for its first message; `None` for good if only the client's messages take over.
    deflater: Option<Deflater>,
    server_takeover: bool,
    granted_bytes: usize,
}

impl Packing {
    /// Nothing is compressed.
    pub(crate) const NONE: Self = Self { bytes_min: NEVER, window_bits: 15, own: None };

    /// Whether a message of this length is compressed.
    pub(crate) const fn is_for(&self, len: usize) -> bool {
        len >= self.bytes_min as usize
    }

    /// Whether any message is.
    pub(crate) const fn is_agreed(&self) -> bool {
        self.bytes_min != NEVER
    }

    /// Which of a message's encodings for many peers is this peer's.
    pub(crate) fn window_at(&self) -> usize {
        window_at(self.window_bits)
    }

    /// Bytes of the memory that it owns.
    pub(crate) fn granted_bytes(&self) -> usize {
        self.own.as_ref().map_or(0, |own| own.granted_bytes)
    }

    /// Whether it owns memory, which cannot be handed over.
    pub(crate) const fn is_dedicated(&self) -> bool {
        self.own.is_some()
    }

    /// Writes it; it is not dedicated.
    pub(crate) fn save(&self, out: &mut Writer) {
        let Self { bytes_min, window_bits, own } = self;
        debug_assert!(own.is_none());
        (*bytes_min != NEVER).then_some(*window_bits).save(out);
    }

    /// Says that the peer is sent a compressed message that its own compressor knows nothing of.
    pub(crate) fn forget(&mut self) {
        if let Some(deflater) = self.own.as_mut().and_then(|own| own.deflater.as_mut()) {
            deflater.forget();
        }
    }
}

impl Compressors {
    pub(crate) fn new(config: Compression, memory: Memory) -> Self {
        let (shared, room) = (Default::default(), Vec::new());
        Self {
            config,
            shared,
            room,
            room_is_needed: false,
            memory,
            granted_bytes: 0,
            grants_takeover: true,
        }
    }

    /// What the next handshake may be granted, of a peer whose address was granted `held_bytes`; `None`: no compression.
    ///
    /// An address is granted more while it has no more than what is left: alone it gets about half, and two get a third each. So
    /// there is something left for the next one.
    pub(crate) fn terms(&self, held_bytes: usize) -> Option<Terms> {
        let window_bits = self.config.window_bits;
        // A client that does not know `client_max_window_bits` takes all there is.
        let most = Deflater::memory_bytes(window_bits) + (1 << WINDOW_BITS_MAX);
        match self.config.mode {
            CompressionMode::Off => None,
            CompressionMode::Shared => Some(Terms { takeover: false, window_bits }),
            CompressionMode::Dedicated => {
                let left_bytes = self.config.memory_bytes_max.saturating_sub(self.granted_bytes);
                let is_room = most <= left_bytes && held_bytes <= left_bytes;
                Some(Terms { takeover: self.grants_takeover && is_room, window_bits })
            }
        }
    }

    /// What a peer's messages are compressed with that agreed on these parameters. To be given back with `release`.
    pub(crate) fn grant(&mut self, agreed: Agreed) -> Packing {
        let Agreed { server_takeover, client_takeover, server_window_bits, client_window_bits } =
            agreed;
        let own_bytes =
            if server_takeover { Deflater::memory_bytes(server_window_bits) } else { 0 };
        let window_bytes = if client_takeover { 1 << client_window_bits } else { 0 };
        let granted_bytes = own_bytes + window_bytes;
        self.granted_bytes += granted_bytes;
        let own = (granted_bytes > 0)
            .then(|| Box::new(Own { deflater: None, server_takeover, granted_bytes }));
        Packing { bytes_min: self.bytes_min(), window_bits: server_window_bits, own }
    }

    fn bytes_min(&self) -> u32 {
        u32::try_from(self.config.bytes_min).unwrap_or(NEVER).min(NEVER - 1)
    }

    /// Whether takeover is granted, where there is memory for it.
    pub(crate) const fn grant_takeover(&mut self, grants: bool) {
        self.grants_takeover = grants;
    }

    /// Reads what [`Packing::save`] wrote. What was agreed on holds, whatever is granted now.
    pub(crate) fn restore(&self, from: &mut Reader<'_>) -> Result<Packing, Corrupt> {
        match Option::<u8>::restore(from)? {
            None => Ok(Packing::NONE),
            Some(window_bits) if (WINDOW_BITS_MIN..=WINDOW_BITS_MAX).contains(&window_bits) => {
                Ok(Packing { bytes_min: self.bytes_min(), window_bits, own: None })
            }
            Some(_) => Err(Corrupt),
        }
    }

    /// What all connections were granted.
    #[cfg(test)]
    pub(crate) const fn granted_bytes(&self) -> usize {
        self.granted_bytes
    }

    /// The peer is gone, and with it what it was granted.
    pub(crate) fn release(&mut self, packing: &Packing) {
        self.granted_bytes -= packing.granted_bytes();
    }

    /// The buffer that messages are compressed into; lent out so that what lies in it can be sent while all else of the
    /// loop is in use. To be given back with [`Compressors::give_room`].
    pub(crate) fn take_room(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.room)
    }

    pub(crate) fn give_room(&mut self, room: Vec<u8>) {
        self.room = room;
    }

    /// Frees a large room that was not needed since this was last called. Called every few seconds, it gives memory back after a
    /// peak.
    pub(crate) fn trim(&mut self) {
        if !std::mem::take(&mut self.room_is_needed) && self.room.len() > ROOM_KEPT_BYTES {
            self.room = Vec::new();
        }
    }

    /// Whether there is memory for the room that a message of this length takes. Where there is none, it goes as it is.
    fn affords(&mut self, len: usize) -> bool {
        self.room_is_needed |= len > ROOM_KEPT_BYTES;
        self.memory.has_room(Deflater::room_bytes(len))
    }

    /// Compresses a message for one peer; `None`: it goes as it is.
    pub(crate) fn pack<'a>(
        &mut self,
        packing: &mut Packing,
        payload: &[u8],
        room: &'a mut Vec<u8>,
    ) -> Option<&'a [u8]> {
        if !self.affords(payload.len()) {
            return None;
        }
        let (level, window_bits) = (self.config.level, packing.window_bits);
        match &mut packing.own {
            Some(own) if own.server_takeover => own
                .deflater
                .get_or_insert_with(|| Deflater::new(level, window_bits))
                .deflate_next(payload, room),
            Some(_) | None => self.pack_alone(packing.window_at(), payload, room),
        }
    }

    /// The frame of a message for all peers whose [`Packing::window_at`] is this; `None`: it goes as it is.
    pub(crate) fn encode_for_many(
        &mut self,
        window_at: usize,
        kind: Kind,
        payload: &[u8],
    ) -> Option<Rc<[u8]>> {
        if payload.len() < self.config.bytes_min || !self.affords(payload.len()) {
            return None;
        }
        let mut room = self.take_room();
        let packed = self.pack_alone(window_at, payload, &mut room);
        let frame = packed.map(|packed| compressed_frame(kind, packed));
        self.give_room(room);
        frame
    }

    /// Compresses a message for all peers whose [`Packing::window_at`] is this; `None`: it goes as it is.
    pub(crate) fn pack_alone<'a>(
        &mut self,
        window_at: usize,
        payload: &[u8],
        room: &'a mut Vec<u8>,
    ) -> Option<&'a [u8]> {
        let level = self.config.level;
        self.shared[window_at]
            .get_or_insert_with(|| Box::new(Deflater::new(level, window_bits(window_at))))
            .deflate_alone(payload, room)
    }
}

impl Compressors {
    /// Compresses a fragment of a message for a peer whose [`Packing::window_at`] is this, so that it refers to nothing before it
    /// (RFC 7692 §7.2.1). What becomes no shorter is stored as it is.
    pub(crate) fn pack_part(&mut self, window_at: usize, text: &[u8], is_last: bool) -> Vec<u8> {
        if !self.affords(text.len()) {
            return deflate::stored_fragment(text, is_last);
        }
        let mut room = self.take_room();
        let packed = self.pack_alone(window_at, text, &mut room);
        let fragment = deflate::fragment(text, packed, is_last);
        self.give_room(room);
        fragment
    }
}

/// A compressed message as a server's frame.
pub(crate) fn compressed_frame(kind: Kind, packed: &[u8]) -> Rc<[u8]> {
    let mut frame = Vec::with_capacity(packed.len() + 10);
    outbound::append_compressed(&mut frame, kind, packed);
    frame.into()
}

/// A length that no message reaches.
const NEVER: u32 = u32::MAX;

/// How many windows a compressor can have.
pub(crate) const WINDOWS: usize = (WINDOW_BITS_MAX - WINDOW_BITS_MIN) as usize + 1;

fn window_at(bits: u8) -> usize {
    debug_assert!((WINDOW_BITS_MIN..=WINDOW_BITS_MAX).contains(&bits));
    usize::from(bits.saturating_sub(WINDOW_BITS_MIN)).min(WINDOWS - 1)
}

fn window_bits(at: usize) -> u8 {
    u8::try_from(at).map_or(WINDOW_BITS_MAX, |at| at + WINDOW_BITS_MIN)
}

/// Room that is kept, needed or not.
const ROOM_KEPT_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Agreed = Agreed {
        server_takeover: true,
        client_takeover: true,
        server_window_bits: 15,
        client_window_bits: 15,
    };
    const NONE: Agreed = Agreed { server_takeover: false, client_takeover: false, ..FULL };

    fn compressors(mode: CompressionMode, memory_bytes_max: usize) -> Compressors {
        let config = Compression { mode, memory_bytes_max, ..Compression::default() };
        Compressors::new(config, Memory::new(None))
    }

    #[test]
    fn takeover_is_granted_while_the_budget_lasts() {
        let one = Deflater::memory_bytes(15) + (32 << 10);
        let mut compressors = compressors(CompressionMode::Dedicated, 2 * one);
        let takeover = |compressors: &Compressors| compressors.terms(0).unwrap().takeover;
        assert!(takeover(&compressors));
        let first = compressors.grant(FULL);
        // Half of it is not enough for another in full.
        let half = compressors.grant(Agreed { server_takeover: false, ..FULL });
        assert!(!takeover(&compressors));
        compressors.release(&half);
        assert!(takeover(&compressors));
        let second = compressors.grant(FULL);
        assert!(!takeover(&compressors));
        for packing in [&first, &second] {
            compressors.release(packing);
        }
        assert_eq!(compressors.granted_bytes, 0);
    }

    /// Each takes all that it can get, one after the other.
    #[test]
    fn an_address_leaves_something_for_the_next() {
        let one = Deflater::memory_bytes(15) + (32 << 10);
        let mut compressors = compressors(CompressionMode::Dedicated, 100 * one);
        let mut grants = || {
            let mut held_bytes = 0;
            while compressors.terms(held_bytes).unwrap().takeover {
                held_bytes += compressors.grant(FULL).granted_bytes();
            }
            held_bytes / one
        };
        assert_eq!([grants(), grants(), grants()], [51, 25, 13]);
    }

    #[test]
    fn without_takeover_nothing_is_granted() {
        let mut shared = compressors(CompressionMode::Shared, 1 << 30);
        assert_eq!(shared.terms(0), Some(Terms { takeover: false, window_bits: 15 }));
        assert!(shared.grant(NONE).own.is_none());
        assert_eq!(shared.granted_bytes, 0);
        assert_eq!(compressors(CompressionMode::Off, 1 << 30).terms(0), None);
    }

    #[test]
    fn a_message_for_many_ends_what_a_peer_of_its_own_refers_to() {
        let mut compressors = compressors(CompressionMode::Dedicated, 1 << 30);
        let (mut peer, mut room) = (compressors.grant(FULL), Vec::new());
        let text = b"what was said once is said again with little effort, unless it was forgotten";
        let text = text.repeat(3);
        let mut len = |compressors: &mut Compressors, peer: &mut Packing| {
            compressors.pack(peer, &text, &mut room).unwrap().len()
        };
        let first = len(&mut compressors, &mut peer);
        let again = len(&mut compressors, &mut peer);
        assert!(again < first / 3);
        peer.forget();
        assert_eq!(len(&mut compressors, &mut peer), first);
        assert_eq!(len(&mut compressors, &mut peer), again);
    }
}
