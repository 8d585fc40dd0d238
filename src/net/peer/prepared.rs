//! A message on its way to many peers: each form of it, plain or compressed, is made once, when the first peer needs it.
//!
//! Queues nothing. A message for the peer whose event is handled alone does not come here; see `Tx::send`.

use std::rc::Rc;

use crate::net::peer::compressors::{WINDOWS, compressed_frame};
use crate::net::peer::tx::Tx;
use crate::net::turn::Turn;
use crate::proto::message::Kind;
use crate::proto::outbound;

/// A message, and those of its frames that were made so far.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    kind: Kind,
    payload: &'a [u8],
    plain: Option<Rc<[u8]>>,
    /// Compressed, by window.
    packed: [Packed; WINDOWS],
}

/// A compressed frame.
#[derive(Clone, Debug, Default)]
enum Packed {
    /// Nobody asked for it yet.
    #[default]
    NotTried,
    /// It would be no shorter.
    Pointless,
    Frame(Rc<[u8]>),
}

impl<'a> Prepared<'a> {
    pub(crate) fn new(kind: Kind, payload: &'a [u8]) -> Self {
        Self { kind, payload, plain: None, packed: Default::default() }
    }

    /// The frame for `tx`, one of many: made for the first of them that needs this form.
    pub(crate) fn for_many(&mut self, tx: &mut Tx, turn: &mut Turn) -> Rc<[u8]> {
        if !tx.packing.is_for(self.payload.len()) {
            return self.plain();
        }
        let window_at = tx.packing.window_at();
        if matches!(self.packed[window_at], Packed::NotTried) {
            self.packed[window_at] = self.pack(window_at, turn);
        }
        match &self.packed[window_at] {
            Packed::Frame(frame) => {
                tx.packing.forget();
                Rc::clone(frame)
            }
            Packed::NotTried | Packed::Pointless => self.plain(),
        }
    }

    /// The frame for `tx` alone, which may refer to what this peer was sent before.
    pub(crate) fn for_one(&mut self, tx: &mut Tx, turn: &mut Turn) -> Rc<[u8]> {
        if !tx.packing.is_for(self.payload.len()) {
            return self.plain();
        }
        let mut room = turn.compressors.take_room();
        let packed = turn.compressors.pack(&mut tx.packing, self.payload, &mut room);
        let frame = packed.map(|packed| compressed_frame(self.kind, packed));
        turn.compressors.give_room(room);
        frame.unwrap_or_else(|| self.plain())
    }

    fn pack(&self, window_at: usize, turn: &mut Turn) -> Packed {
        turn.compressors
            .encode_for_many(window_at, self.kind, self.payload)
            .map_or(Packed::Pointless, Packed::Frame)
    }

    fn plain(&mut self) -> Rc<[u8]> {
        let Self { kind, payload, plain, .. } = self;
        let frame = plain.get_or_insert_with(|| {
            let mut frame = Vec::with_capacity(payload.len() + 10);
            outbound::append(&mut frame, kind.opcode(), payload);
            frame.into()
        });
        Rc::clone(frame)
    }
}
