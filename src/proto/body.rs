//! The bodies of messages that do not come in one piece, and the pool that they are lent from.
//!
//! A body's memory grows with the bytes that arrived, never with the bytes that a header promised. A finished body
//! goes back to the pool warm (its pages are mapped), since a fresh mapping costs more than the message it is for.
//! Knows nothing of frames.

use crate::proto::deflate::{Inflater, Window};
use crate::proto::error::ProtocolError;
use crate::proto::placement;
use crate::state::{Corrupt, Reader, Saved, Writer};

/// Bytes of one message so far.
///
/// ```text
/// [ unused | taken in: unmasked, checked | arrived: as read | space: initialised, unused ]
///          start                         start + len        ..+ arrivals   ..buf.len()
/// ```
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// Every byte is initialised, used or not, so that a socket can read into it without a pass that clears it.
    buf: Vec<u8>,
    /// Where in `buf` the message starts: zero in a small buffer, where `placement` wants it in a large one.
    start: usize,
    len: usize,
    arrivals: usize,
}

#[expect(
    clippy::arithmetic_side_effects,
    reason = "places in a buffer, and lengths of bytes that came"
)]
impl Body {
    /// Bytes taken in.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The bytes taken in.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.buf[self.start..self.start + self.len]
    }

    /// Copies `bytes` behind what was taken in. There must be no arrivals.
    ///
    /// The first bytes get no more room than they need. A body that goes on growing grows to twice its size, so that a message of
    /// many small fragments is not copied once for each of them.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.arrivals, 0);
        let len = self.len + bytes.len();
        if self.buf.len() - self.start < len {
            self.grow_to(len.max(self.grown_len()));
        }
        let at = self.start + self.len;
        self.buf[at..at + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Room for arrivals: at most `wanted` bytes, at least one if `wanted` is not zero.
    pub(crate) fn space(&mut self, wanted: u64) -> &mut [u8] {
        let used = self.len + self.arrivals;
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX).saturating_sub(self.arrivals);
        if self.buf.len() - self.start - used < wanted.min(GROWTH_BYTES_MIN) {
            // As much again as has arrived.
            self.grow_to(used + wanted.min(used.max(GROWTH_BYTES_MIN)));
        }
        let at = self.start + used;
        let end = self.buf.len().min(at.saturating_add(wanted));
        &mut self.buf[at..end]
    }

    /// What a body of a size that is worth it grows to.
    const fn grown_len(&self) -> usize {
        if self.len < GROWTH_BYTES_MIN { 0 } else { 2 * self.len }
    }

    /// Bytes that [`Body::space`] or [`Body::append`] takes from the allocator for `wanted` bytes more; zero if they fit. What it
    /// has now is given back only then.
    pub(crate) fn growth_bytes(&self, wanted: u64) -> usize {
        let used = self.len + self.arrivals;
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX).min(GROWTH_BYTES_MIN.max(used));
        let has = self.buf.len() - self.start - used;
        if has >= wanted.min(GROWTH_BYTES_MIN) { 0 } else { used + wanted + placement::PAGE_BYTES }
    }

    /// Makes room for a message of `len` bytes, if there is less.
    fn grow_to(&mut self, len: usize) {
        if self.buf.len() - self.start >= len {
            return;
        }
        if len < PLACED_BYTES_MIN {
            return self.buf.resize(len, 0);
        }
        let mut buf = vec![0; len + placement::PAGE_BYTES];
        let start = placement::offset(&buf);
        let used = self.len + self.arrivals;
        buf[start..start + used].copy_from_slice(&self.buf[self.start..self.start + used]);
        (self.buf, self.start) = (buf, start);
    }

    /// Says that `len` bytes were read into the space.
    pub(crate) fn arrived(&mut self, len: usize) {
        debug_assert!(self.start + self.len + self.arrivals + len <= self.buf.len());
        self.arrivals += len;
    }

    /// Whether bytes were read that are not taken in.
    pub(crate) const fn has_arrivals(&self) -> bool {
        self.arrivals != 0
    }

    /// The bytes that were read and are not taken in.
    pub(crate) fn arrivals(&mut self) -> &mut [u8] {
        let at = self.start + self.len;
        &mut self.buf[at..at + self.arrivals]
    }

    /// Takes the arrivals in.
    pub(crate) const fn settle_arrivals(&mut self) {
        self.len += self.arrivals;
        self.arrivals = 0;
    }

    /// The bytes taken in, and those that were read and are not.
    fn parts(&self) -> (&[u8], &[u8]) {
        let Self { buf, start, len, arrivals } = self;
        buf[*start..start + len + arrivals].split_at(*len)
    }

    /// How many bytes were read that are not taken in.
    pub(crate) const fn arrivals_len(&self) -> usize {
        self.arrivals
    }

    /// Bytes of memory that it owns.
    pub(crate) const fn memory_bytes(&self) -> usize {
        self.buf.capacity()
    }
}

impl Saved for Body {
    fn save(&self, out: &mut Writer) {
        let (taken_in, arrivals) = self.parts();
        taken_in.len().save(out);
        arrivals.len().save(out);
        out.extend_from_slice(taken_in);
        out.extend_from_slice(arrivals);
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let (len, arrivals) = <(usize, usize)>::restore(from)?;
        let bytes = from.take(len.checked_add(arrivals).ok_or(Corrupt)?)?;
        let mut body = Self::default();
        body.append(bytes);
        (body.len, body.arrivals) = (len, arrivals);
        Ok(body)
    }
}

/// The least room to read into, unless the frame needs less: a read of fewer bytes wastes its system call.
const GROWTH_BYTES_MIN: usize = 16 * 1024;

/// Messages from this size on start where copies are fast; below, the page that this may leave unused costs more.
const PLACED_BYTES_MIN: usize = 64 * 1024;

/// Bodies between two messages, and the decompressor that fills them, shared by all connections of a loop.
#[derive(Debug)]
pub struct BodyPool {
    /// Made for the first compressed message, and kept.
    inflater: Option<Box<Inflater>>,
    /// The body used last is at the end. None is empty, so that none hides a warm one.
    idle: Vec<Body>,
    /// Bytes of memory that the idle bodies own.
    idle_bytes: usize,
    idle_bytes_max: usize,
    /// The least `idle_bytes` since the last trim. Exactly the bodies at the front that make up this sum were not lent.
    idle_bytes_low: usize,
    /// What may be taken from the allocator.
    room_bytes: usize,
}

#[expect(clippy::arithmetic_side_effects, reason = "sums of the memory that bodies own")]
impl BodyPool {
    /// A pool that keeps at most `idle_bytes_max` bytes between messages.
    pub const fn new(idle_bytes_max: usize) -> Self {
        Self {
            inflater: None,
            idle: Vec::new(),
            idle_bytes: 0,
            idle_bytes_max,
            idle_bytes_low: 0,
            room_bytes: usize::MAX,
        }
    }

    /// Says how many bytes more may be taken from the allocator until this is said again. A compressed message that would take
    /// more is refused, [`ProtocolError::OutOfMemory`].
    pub const fn set_room(&mut self, bytes: usize) {
        self.room_bytes = bytes;
    }

    /// Bytes of memory that the pool holds.
    pub const fn idle_bytes(&self) -> usize {
        self.idle_bytes
    }

    /// Lends a body: the one used last, whose bytes are the likeliest to be in cache.
    pub(crate) fn take(&mut self) -> Body {
        let body = self.idle.pop().unwrap_or_default();
        self.idle_bytes -= body.memory_bytes();
        self.idle_bytes_low = self.idle_bytes_low.min(self.idle_bytes);
        body
    }

    /// A body with what the compressed `payload` inflates to, at most `bytes_max`.
    ///
    /// # Errors
    ///
    /// As of `Inflater::inflate`; the body is back in the pool then.
    pub(crate) fn take_inflated(
        &mut self,
        payload: &[u8],
        window: Option<&mut Window>,
        bytes_max: u64,
    ) -> Result<Body, ProtocolError> {
        let mut body = self.take();
        let inflater = self.inflater.get_or_insert_default();
        // A body that grows is there twice for a moment.
        let affordable = (self.room_bytes / 2).max(body.memory_bytes()) as u64;
        match inflater.inflate(payload, window, bytes_max.min(affordable), &mut body) {
            Ok(()) => Ok(body),
            Err(error) => {
                self.give(body);
                let is_ours = error == ProtocolError::MessageTooBig && affordable < bytes_max;
                Err(if is_ours { ProtocolError::OutOfMemory } else { error })
            }
        }
    }

    /// Takes a body back, or frees it if the pool is full.
    pub(crate) fn give(&mut self, mut body: Body) {
        let bytes = body.memory_bytes();
        if bytes == 0 || bytes > self.idle_bytes_max - self.idle_bytes {
            return;
        }
        (body.len, body.arrivals) = (0, 0);
        self.idle_bytes += bytes;
        self.idle.push(body);
    }

    /// Frees what was not needed since the last trim. Called every few seconds, it gives memory back after a peak.
    pub fn trim(&mut self) {
        let (mut unused_bytes, mut unused_count) = (0, 0);
        while unused_bytes < self.idle_bytes_low
            && let Some(body) = self.idle.get(unused_count)
        {
            unused_bytes += body.memory_bytes();
            unused_count += 1;
        }
        debug_assert_eq!(unused_bytes, self.idle_bytes_low);
        self.idle.drain(..unused_count);
        self.idle_bytes -= unused_bytes;
        self.idle_bytes_low = self.idle_bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_with_what_arrived() {
        let mut body = Body::default();
        body.append(b"x");
        assert!(body.memory_bytes() <= 64, "{} bytes for one", body.memory_bytes());
        // 2^63 bytes were promised; there is room for one read, and then for as much again as came.
        assert_eq!(body.space(1 << 63).len(), GROWTH_BYTES_MIN);
        for _ in 0..10 {
            let len = body.space(1 << 63).len();
            body.arrived(len);
            body.settle_arrivals();
            assert!(body.memory_bytes() <= 4 * body.len());
        }
        assert!(body.len() >= 1 << 20);
    }

    /// A message of many small fragments is copied a few times, not once for each of them.
    #[test]
    fn small_pieces_take_few_growths() {
        let mut body = Body::default();
        let (mut growths, mut asked) = (0, 0);
        for at in 0..1 << 17 {
            let (before, growth) = (body.buf.as_ptr(), body.growth_bytes(8));
            body.append(&[u8::try_from(at % 251).unwrap(); 8]);
            if body.buf.as_ptr() != before {
                growths += 1;
                asked = asked.max(growth);
            }
        }
        assert!(growths < 32, "{growths} growths");
        assert!(body.memory_bytes() <= 2 * body.len() + placement::PAGE_BYTES);
        let whole: Vec<u8> =
            (0..1 << 17).flat_map(|at| [u8::try_from(at % 251).unwrap(); 8]).collect();
        assert!(body.bytes() == whole);
    }

    /// Whoever asks first asks for what is then taken, and more only by what cannot be told.
    #[test]
    fn growth_is_told_beforehand() {
        let mut body = Body::default();
        for wanted in [1, 100, 20_000, 1, 70_000, 1 << 40, 1 << 40, 5] {
            let growth = body.growth_bytes(wanted);
            let before = body.buf.as_ptr();
            let len = body.space(wanted).len();
            let has_grown = body.buf.as_ptr() != before;
            assert!(!has_grown || body.memory_bytes() <= growth, "{wanted}: {growth}");
            body.arrived(len);
            body.settle_arrivals();
        }
    }

    /// What a compressed message comes to is bounded by what there is memory for, and said to be no fault of the peer's.
    #[test]
    fn what_there_is_no_memory_for_is_not_inflated() {
        use crate::proto::deflate::Deflater;
        let mut room = Vec::new();
        let packed = Deflater::new(1, 15).deflate_alone(&[b'a'; 100_000], &mut room);
        let packed = packed.unwrap().to_vec();
        let mut pool = BodyPool::new(1 << 20);
        pool.set_room(100_000);
        let refused = pool.take_inflated(&packed, None, 1 << 20);
        assert_eq!(refused.unwrap_err(), ProtocolError::OutOfMemory);
        let refused = pool.take_inflated(&packed, None, 10_000);
        assert_eq!(refused.unwrap_err(), ProtocolError::MessageTooBig);
        pool.set_room(400_000);
        assert_eq!(pool.take_inflated(&packed, None, 1 << 20).unwrap().len(), 100_000);
    }

    #[test]
    fn the_space_ends_where_the_frame_does() {
        let mut body = Body::default();
        body.append(&[1; 10]);
        assert_eq!(body.space(5).len(), 5);
        body.space(5)[..3].copy_from_slice(&[2; 3]);
        body.arrived(3);
        assert_eq!((body.space(5).len(), body.arrivals()), (2, &mut [2; 3][..]));
        body.arrived(2);
        assert_eq!((body.space(5).len(), body.has_arrivals()), (0, true));
        body.settle_arrivals();
        assert_eq!((body.len(), body.has_arrivals()), (15, false));
        body.append(&[3; 100_000]);
        assert_eq!(body.bytes()[..16], [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 0, 0, 3]);
    }

    /// A body that was used before holds foreign bytes: none of them shows.
    #[test]
    fn a_pooled_body_shows_only_what_was_put_in() {
        let mut pool = BodyPool::new(1 << 20);
        pool.give(filled(1000));
        let mut body = pool.take();
        assert_eq!(
            (body.len(), body.has_arrivals(), body.space(1 << 20).len()),
            (0, false, 16_384)
        );
        body.append(b"abc");
        assert_eq!(body.bytes(), b"abc");
    }

    #[test]
    fn the_pool_keeps_its_bound_and_not_a_byte_more() {
        let one = filled(100_000).memory_bytes();
        let mut pool = BodyPool::new(2 * one);
        for expected in [one, 2 * one, 2 * one] {
            pool.give(filled(100_000));
            assert_eq!(pool.idle_bytes(), expected);
        }
        let mut short = BodyPool::new(2 * one - 1);
        for expected in [one, one] {
            short.give(filled(100_000));
            assert_eq!(short.idle_bytes(), expected);
        }
        let mut none = BodyPool::new(0);
        none.give(filled(1));
        assert_eq!(none.idle_bytes(), 0);
    }

    #[test]
    fn what_the_pool_counts_is_what_its_bodies_own() {
        let mut pool = BodyPool::new(1 << 20);
        for len in [1, 100, 17_000, 100_000, 0] {
            let mut body = filled(len);
            // Lengths grow in other steps than memory does.
            body.append(&[0; 3]);
            pool.give(body);
        }
        let owned: usize = pool.idle.iter().map(|body| body.buf.capacity()).sum();
        assert_eq!(pool.idle_bytes(), owned);
        while !pool.idle.is_empty() {
            drop(pool.take());
        }
        assert_eq!(pool.idle_bytes(), 0);
    }

    #[test]
    fn an_empty_body_does_not_hide_a_warm_one() {
        let mut pool = BodyPool::new(1 << 20);
        pool.give(filled(50_000));
        pool.give(Body::default());
        assert!(pool.take().memory_bytes() >= 50_000);
    }

    #[test]
    fn trim_frees_the_bodies_that_were_not_lent_and_only_those() {
        let mut pool = BodyPool::new(1 << 20);
        let peak: Vec<Body> = [20_000, 100_000, 30_000, 40_000].map(filled).into();
        let [_, _, c, d] = [0, 1, 2, 3].map(|at: usize| peak[at].memory_bytes());
        for body in peak {
            pool.give(body);
        }
        pool.trim();
        assert_eq!(pool.idle.len(), 4, "all were in use since the pool began");
        // Two of four suffice from here on.
        let (last, before) = (pool.take(), pool.take());
        pool.give(before);
        pool.give(last);
        pool.trim();
        assert_eq!(pool.idle_bytes(), c + d);
        assert_eq!(pool.take().memory_bytes(), d, "the one used last is still there");
        pool.trim();
        pool.trim();
        assert_eq!((pool.idle_bytes(), pool.idle.len()), (0, 0));
    }

    fn filled(len: usize) -> Body {
        let mut body = Body::default();
        body.append(&vec![0xEE; len]);
        body
    }
}
