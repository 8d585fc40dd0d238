//! What the kernel did not take yet: a peer's output, in order.
//!
//! Partial writes move an offset, never the bytes. Bounds are the caller's to check before it pushes. A peer whose
//! output keeps up has no queue at all.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

use crate::net::socket::link::{Drained, Link};
use crate::net::topics::excerpt::Unmade;
use crate::state::{Corrupt, Reader, Saved, Writer};

/// Chunks of encoded frames. Each but the first starts at a frame's first byte.
#[derive(Debug, Default)]
pub struct OutQueue {
    chunks: VecDeque<Chunk>,
    /// Bytes of `chunks[0]` that the kernel already took.
    ///
    /// Invariant: zero if `chunks` is empty, else below `chunks[0].len()`.
    head_at: usize,
    /// Sum of all chunk lengths, less `head_at`.
    bytes: usize,
    /// How many of the chunks are not made yet.
    unmade: usize,
}

/// A run of bytes that leave one after the other.
#[derive(Debug)]
enum Chunk {
    /// This peer's alone.
    Owned(Vec<u8>),
    /// One encoding for many peers.
    Shared(Rc<[u8]>),
    /// A control frame that overtook what follows it.
    Ahead(Box<[u8]>),
    /// What is made once it is its turn. It has no bytes until then.
    Unmade(Box<Unmade>),
}

/// How far a flush came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// The queue is empty, and the link holds nothing.
    All,
    /// The kernel's buffer is full; a writable event will come.
    Blocked,
    /// The turn's share is used up; the socket may take more.
    Paused,
    /// What is next is not made yet.
    Unmade,
    /// The connection broke.
    Broken,
}

impl OutQueue {
    /// Bytes that wait.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that are kept for those that wait: with what has left of the first chunk.
    pub const fn kept_bytes(&self) -> usize {
        self.bytes + self.head_at
    }

    /// Queues a copy of `parts`, one after the other, from byte `skip` of their sum on. They hold whole frames, but for
    /// what is skipped.
    pub fn push(&mut self, parts: &[&[u8]], mut skip: usize) {
        let len = parts.iter().map(|part| part.len()).sum::<usize>() - skip;
        if len == 0 {
            return;
        }
        self.bytes += len;
        let chunk = match self.chunks.back_mut() {
            Some(Chunk::Owned(last)) if last.len() + len <= COALESCED_BYTES_MAX => last,
            _ => {
                self.chunks.push_back(Chunk::Owned(Vec::with_capacity(len)));
                let Some(Chunk::Owned(last)) = self.chunks.back_mut() else { return };
                last
            }
        };
        for part in parts {
            let skipped = skip.min(part.len());
            chunk.extend_from_slice(&part[skipped..]);
            skip -= skipped;
        }
    }

    /// Queues bytes without a copy.
    pub fn push_whole(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.chunks.push_back(Chunk::Owned(bytes));
        }
    }

    /// Queues frames that other peers' queues hold too.
    pub fn push_shared(&mut self, frames: Rc<[u8]>) {
        if !frames.is_empty() {
            self.bytes += frames.len();
            self.chunks.push_back(Chunk::Shared(frames));
        }
    }

    /// Queues the rest of frames that other peers' queues hold too, of which `skip` bytes have left. The queue is empty.
    pub fn push_rest(&mut self, frames: Rc<[u8]>, skip: usize) {
        debug_assert!(self.chunks.is_empty() && skip < frames.len());
        self.bytes += frames.len() - skip;
        self.head_at = skip;
        self.chunks.push_back(Chunk::Shared(frames));
    }

    /// Queues what is made later.
    pub(crate) fn push_unmade(&mut self, unmade: Box<Unmade>) {
        self.unmade += 1;
        self.chunks.push_back(Chunk::Unmade(unmade));
    }

    /// Puts it where it was taken from.
    pub(crate) fn put_back_unmade(&mut self, unmade: Box<Unmade>) {
        self.unmade += 1;
        self.chunks.push_front(Chunk::Unmade(unmade));
    }

    /// Takes what is next and is not made yet.
    pub(crate) fn take_unmade(&mut self) -> Option<Box<Unmade>> {
        match self.chunks.pop_front()? {
            Chunk::Unmade(unmade) => {
                self.unmade -= 1;
                Some(unmade)
            }
            made => {
                self.chunks.push_front(made);
                None
            }
        }
    }

    /// Queues whole frames, made of what was taken, ahead of all else.
    pub(crate) fn push_made(&mut self, bytes: Vec<u8>) {
        debug_assert!(self.head_at == 0 && !bytes.is_empty());
        self.bytes += bytes.len();
        self.chunks.push_front(Chunk::Owned(bytes));
    }

    /// Whether anything is not made yet.
    pub(crate) const fn has_unmade(&self) -> bool {
        self.unmade > 0
    }

    fn is_unmade_next(&self) -> bool {
        matches!(self.chunks.front(), Some(Chunk::Unmade(_)))
    }

    /// Queues a whole control frame behind the chunk whose bytes are leaving, ahead of the rest. It takes the place of
    /// one that was queued so before and is still whole.
    pub fn push_ahead(&mut self, frame: &[u8]) {
        self.bytes += frame.len();
        let frame = Chunk::Ahead(frame.into());
        match self.chunks.get_mut(1) {
            Some(chunk @ Chunk::Ahead(_)) => {
                self.bytes -= chunk.bytes().len();
                *chunk = frame;
            }
            _ => {
                let at = if self.is_unmade_next() { 0 } else { self.chunks.len().min(1) };
                self.chunks.insert(at, frame);
            }
        }
    }

    /// Writes to `link` until the queue is empty or what is next is not made, the kernel takes no more, or `most` bytes went.
    pub fn flush(&mut self, link: &mut Link, most: usize) -> Flushed {
        match link.flush() {
            Drained::Bytes(_) => {}
            Drained::Held(_) => return Flushed::Blocked,
            Drained::Broken => return Flushed::Broken,
        }
        let mut written = 0;
        while self.bytes > 0 {
            if self.is_unmade_next() {
                return Flushed::Unmade;
            }
            if written >= most {
                return Flushed::Paused;
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let (mut offered, mut filled) = (0, 0);
            let mut head_at = self.head_at;
            let made = self.chunks.iter().take_while(|chunk| !matches!(chunk, Chunk::Unmade(_)));
            for (slice, chunk) in slices.iter_mut().zip(made) {
                let bytes = &chunk.bytes()[head_at..];
                *slice = IoSlice::new(bytes);
                offered += bytes.len();
                filled += 1;
                head_at = 0;
            }
            match link.write_vectored(&slices[..filled]) {
                Drained::Broken => return Flushed::Broken,
                Drained::Held(len) => {
                    self.advance(len);
                    return Flushed::Blocked;
                }
                Drained::Bytes(len) => {
                    self.advance(len);
                    written += len;
                    if len < offered {
                        return Flushed::Blocked;
                    }
                }
            }
        }
        if self.chunks.is_empty() { Flushed::All } else { Flushed::Unmade }
    }

    /// Moves past `len` bytes that the kernel took.
    fn advance(&mut self, len: usize) {
        self.bytes -= len;
        let mut head_at = self.head_at + len;
        while let Some(first) = self.chunks.front()
            && !matches!(first, Chunk::Unmade(_))
            && head_at >= first.bytes().len()
        {
            head_at -= first.bytes().len();
            self.chunks.pop_front();
        }
        self.head_at = head_at;
    }
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
            Self::Ahead(bytes) => bytes,
            Self::Unmade(_) => &[],
        }
    }
}

saved!(enum Chunk { 0 => Owned(bytes), 1 => Ahead(bytes), 2 => Shared(bytes), 3 => Unmade(rest) });

/// Without what has left, but for bytes that are for many: those stay theirs.
impl Saved for OutQueue {
    fn save(&self, out: &mut Writer) {
        let Self { chunks, head_at, bytes: _, unmade: _ } = self;
        // What has left of a chunk that is for many stays, so that it is still the same as theirs.
        let skipped = match chunks.front() {
            Some(Chunk::Shared(_)) => *head_at,
            _ => 0,
        };
        skipped.save(out);
        chunks.len().save(out);
        let mut left_at = head_at.saturating_sub(skipped);
        for chunk in chunks {
            match chunk {
                Chunk::Shared(bytes) => {
                    out.push(2);
                    bytes.save(out);
                }
                Chunk::Unmade(rest) => {
                    out.push(3);
                    rest.save(out);
                }
                Chunk::Owned(_) | Chunk::Ahead(_) => {
                    let bytes = &chunk.bytes()[left_at..];
                    matches!(chunk, Chunk::Ahead(_)).save(out);
                    bytes.len().save(out);
                    out.extend_from_slice(bytes);
                }
            }
            left_at = 0;
        }
    }

    fn restore(from: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let head_at = usize::restore(from)?;
        let chunks: Vec<Chunk> = Vec::restore(from)?;
        let bytes: usize = chunks.iter().map(|chunk| chunk.bytes().len()).sum();
        let is_unmade = |chunk: &&Chunk| matches!(chunk, Chunk::Unmade(_));
        let unmade = chunks.iter().filter(is_unmade).count();
        let first = chunks.first().filter(|chunk| !is_unmade(chunk));
        let first = first.map_or(1, |chunk| chunk.bytes().len());
        let has_empty = chunks.iter().any(|it| !is_unmade(&it) && it.bytes().is_empty());
        if head_at >= first || has_empty {
            return Err(Corrupt);
        }
        Ok(Self { chunks: chunks.into(), head_at, bytes: bytes - head_at, unmade })
    }
}

/// Small pushes share a chunk up to this size, so that a chatty handler's queue is not a list of tiny allocations.
const COALESCED_BYTES_MAX: usize = 16 * 1024;

/// Slices of one writev. More gain nothing: 64 chunks of 16 KiB are more than a socket's buffer takes at once.
const SLICES_MAX: usize = 64;
