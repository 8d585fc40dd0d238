//! The bodies of messages that do not come in one piece, and the pool that they are lent from.
//!
//! A body's memory grows with the bytes that arrived, never with the bytes that a header promised. A finished body
//! goes back to the pool warm (its pages are mapped), since a fresh mapping costs more than the message it is for.
//! Knows nothing of frames.

/// Bytes of one message so far.
///
///     [ taken in: unmasked, checked | arrived: as read | space: initialised, unused ]
///       0..len                        len..len + arrivals   ..buf.len()
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// Every byte is initialised, used or not, so that a socket can read into it without a pass that clears it.
    buf: Vec<u8>,
    len: usize,
    arrivals: usize,
}

impl Body {
    /// Bytes taken in.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The bytes taken in.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.buf[..self.len]
    }

    /// Copies `bytes` behind what was taken in. There must be no arrivals.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.arrivals, 0);
        let end = self.len + bytes.len();
        if self.buf.len() < end {
            self.buf.resize(end.max(GROWTH_BYTES_MIN), 0);
        }
        self.buf[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }

    /// Room for arrivals: at most `wanted` bytes, at least one if `wanted` is not zero.
    pub(crate) fn space(&mut self, wanted: u64) -> &mut [u8] {
        let start = self.len + self.arrivals;
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX) - self.arrivals;
        if self.buf.len() - start < wanted.min(GROWTH_BYTES_MIN) {
            // As much again as has arrived.
            let room = wanted.min(start.max(GROWTH_BYTES_MIN));
            self.buf.resize(start + room, 0);
        }
        let end = self.buf.len().min(start.saturating_add(wanted));
        &mut self.buf[start..end]
    }

    /// Says that `len` bytes were read into the space.
    pub(crate) fn arrived(&mut self, len: usize) {
        debug_assert!(self.len + self.arrivals + len <= self.buf.len());
        self.arrivals += len;
    }

    /// Whether bytes were read that are not taken in.
    pub(crate) const fn has_arrivals(&self) -> bool {
        self.arrivals != 0
    }

    /// The bytes that were read and are not taken in.
    pub(crate) fn arrivals(&mut self) -> &mut [u8] {
        &mut self.buf[self.len..self.len + self.arrivals]
    }

    /// Takes the arrivals in.
    pub(crate) const fn settle_arrivals(&mut self) {
        self.len += self.arrivals;
        self.arrivals = 0;
    }
}

/// The least that a body grows by, unless its frame needs less: a read of fewer bytes wastes its system call.
const GROWTH_BYTES_MIN: usize = 16 * 1024;

/// Bodies between two messages, shared by all connections of a loop.
#[derive(Debug)]
pub struct BodyPool {
    idle: Vec<Body>,
    /// Sum of the buffers' lengths.
    idle_bytes: usize,
    idle_bytes_max: usize,
    /// The least `idle_bytes` since the last trim: so much was not needed.
    idle_bytes_low: usize,
}

impl BodyPool {
    /// A pool that keeps at most `idle_bytes_max` bytes between messages.
    pub const fn new(idle_bytes_max: usize) -> Self {
        Self { idle: Vec::new(), idle_bytes: 0, idle_bytes_max, idle_bytes_low: 0 }
    }

    /// Bytes that the pool holds.
    pub const fn idle_bytes(&self) -> usize {
        self.idle_bytes
    }

    /// Lends a body: the one used last, whose bytes are the likeliest to be in cache.
    pub(crate) fn take(&mut self) -> Body {
        let body = self.idle.pop().unwrap_or_default();
        self.idle_bytes -= body.buf.len();
        self.idle_bytes_low = self.idle_bytes_low.min(self.idle_bytes);
        body
    }

    /// Takes a body back, or frees it if the pool is full.
    pub(crate) fn give(&mut self, mut body: Body) {
        if self.idle_bytes + body.buf.len() > self.idle_bytes_max {
            return;
        }
        (body.len, body.arrivals) = (0, 0);
        self.idle_bytes += body.buf.len();
        self.idle.push(body);
    }

    /// Frees what was not needed since the last trim. Called every few seconds, it gives memory back after a peak.
    pub fn trim(&mut self) {
        let keep = self.idle_bytes - self.idle_bytes_low;
        while self.idle_bytes > keep
            && let Some(body) = self.idle.pop()
        {
            self.idle_bytes -= body.buf.len();
        }
        self.idle_bytes_low = self.idle_bytes;
    }
}
