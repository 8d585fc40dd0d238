//! The loop's scratch buffer: every read that does not go into a message's body goes here.
//!
//! Lent to one peer's event at a time. Keeps nothing between events.

use crate::proto::placement;

/// A buffer that starts where in a page copies are fast (`placement`).
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    memory: Box<[u8]>,
    start: usize,
}

impl Scratch {
    /// A buffer of `len` bytes.
    pub(crate) fn new(len: usize) -> Self {
        let memory = vec![0; len + placement::PAGE_BYTES].into_boxed_slice();
        let start = placement::offset(&memory);
        Self { memory, start }
    }

    /// The buffer.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..]
    }
}
