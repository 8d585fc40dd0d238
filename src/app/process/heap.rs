//! The process' allocator: the system's, and how many bytes are taken from it.
//!
//! An addition for an allocation and one for its end, of which a message that is echoed or fanned out as it is has none. Counts
//! what was asked for, not what the system makes of it, and refuses nothing: `memory` knows of a limit.
//!
//! `GlobalAlloc` can only be implemented in unsafe code; every function here hands its arguments on as they came, and counts beside
//! that. Counting adds up to some 15 ns to the 20 to 65 ns that an allocation and its end take together, and a look at the sum takes
//! 1 ns (`benches/heap.rs`, AMD EPYC, beside other load).
//!
//! The safe twin is `residue::resident_bytes`, a test of which holds this against it. It costs 12 µs for a read of /proc, counts pages, and tells of what
//! was taken only once it is in use: what is asked for could not be refused by it.
#![allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_int;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Hands on to the system's allocator, and counts.
pub(crate) struct Heap {
    bytes: AtomicUsize,
}

impl Heap {
    pub(crate) const fn new() -> Self {
        Self { bytes: AtomicUsize::new(0) }
    }

    /// Bytes that are in use.
    pub(crate) fn bytes_in_use(&self) -> usize {
        // A thread may have freed what another has not counted yet.
        self.bytes.load(Relaxed)
    }

    /// Has pages of which nothing is in use go back to the system, wherever they lie. It looks at all that is free: about a
    /// millisecond for each 50 MB that go back.
    pub(crate) fn give_back(&self) {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        malloc_trim(0);
    }

    /// From here on what is large is taken from the system by itself and goes back at once, so that it leaves no holes.
    pub(crate) fn keep_large_apart(&self) {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
    }

    fn count(&self, at: *mut u8, bytes: usize) -> *mut u8 {
        if !at.is_null() {
            self.bytes.fetch_add(bytes, Relaxed);
        }
        at
    }
}

// SAFETY: each function returns what `System`, which is a `GlobalAlloc`, returns for the arguments that it got itself, and does
// nothing else but to add to a number. It neither allocates nor panics: additions of atomics wrap.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is that of `System`'s.
        self.count(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for `alloc`.
        self.count(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        self.bytes.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller got `at` from here with this layout, and so from `System`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller got `at` from here with this layout, and so from `System`; `size` keeps the contract, too.
        let moved = unsafe { System.realloc(at, layout, size) };
        if !moved.is_null() {
            // Added before it is taken away, so that the sum is never below what is in use.
            self.bytes.fetch_add(size, Relaxed);
            self.bytes.fetch_sub(layout.size(), Relaxed);
        }
        moved
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
// SAFETY: both are glibc's, declared as <malloc.h> has them, and may be called with any arguments, so that they are `safe` here: numbers by
// value, of which nothing is kept. malloc_trim(3) may be called at any time from any thread (MT-Safe); it frees only what nobody
// has. mallopt(3) refuses what it does not know, and is MT-Safe but for races at its first call, which `main` makes before there is
// another thread.
#[expect(unsafe_code, reason = "malloc_trim(3) and mallopt(3) are C's")]
unsafe extern "C" {
    safe fn malloc_trim(pad: usize) -> c_int;
    safe fn mallopt(what: c_int, value: c_int) -> c_int;
}

/// From <malloc.h>, as of glibc's first version.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const M_MMAP_THRESHOLD: c_int = -3;

/// What is large. By itself glibc raises this to whatever was freed, up to 32 MiB.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BYTES: c_int = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way to take memory is counted by its size, and every way to give it back.
    #[test]
    fn what_is_taken_and_given_back_is_counted() {
        let heap = Heap::new();
        let layout = |size| Layout::from_size_align(size, 8).unwrap();
        // SAFETY: no layout is of size zero, and each place is given back once, with the layout that it has by then.
        unsafe {
            let first = heap.alloc(layout(1000));
            assert_eq!(heap.bytes_in_use(), 1000);
            let zeros = heap.alloc_zeroed(layout(24));
            assert_eq!((heap.bytes_in_use(), *zeros), (1024, 0));
            *first = 7;
            let grown = heap.realloc(first, layout(1000), 1 << 20);
            assert_eq!((heap.bytes_in_use(), *grown), ((1 << 20) + 24, 7));
            let shrunk = heap.realloc(grown, layout(1 << 20), 16);
            assert_eq!((heap.bytes_in_use(), *shrunk), (40, 7));
            heap.dealloc(zeros, layout(24));
            heap.dealloc(shrunk, layout(16));
        }
        assert_eq!(heap.bytes_in_use(), 0);
    }

    /// What the system refuses was not taken, and what was there still is.
    #[test]
    fn what_is_refused_is_not_counted() {
        let heap = Heap::new();
        let (most, small) = (Layout::from_size_align(isize::MAX as usize - 7, 8).unwrap(), 16);
        let small = Layout::from_size_align(small, 8).unwrap();
        // SAFETY: as above; what was refused is not given back.
        unsafe {
            assert!(heap.alloc(most).is_null() && heap.alloc_zeroed(most).is_null());
            let kept = heap.alloc(small);
            assert!(heap.realloc(kept, small, most.size()).is_null());
            assert_eq!(heap.bytes_in_use(), 16);
            heap.dealloc(kept, small);
        }
        assert_eq!(heap.bytes_in_use(), 0);
    }
}
