//! A bounded way out: lines for a descriptor that nobody may be reading, written by a thread of their own.
//!
//! ```text
//! push ─► lines ──taken whole──► in hand ──a few at a time──► write(2)
//!           └ full: dropped, until the writer comes for them
//! ```
//!
//! Whoever pushes waits for nobody but for a memory copy. Both buffers are there from the start, so that a writer that is stuck takes
//! no memory that was not counted. Lines that are dropped are counted, and told to whoever opened the outlet behind the lines that
//! came before them. Knows nothing of what a line says; does not end with its process: `flush` waits for what is under way, and for
//! no longer than it is told to.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use memchr::{memchr_iter, memrchr};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use wsfast::saved;

/// A hold on the lines. The thread ends once this is dropped and all is written.
#[derive(Debug)]
pub(crate) struct Outlet(Arc<Shared>);

/// What was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Lines in all.
    pub(crate) total: u64,
    /// Those of them that nobody was told of.
    untold: u64,
}

saved!(struct Dropped { total, untold });

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There are lines, or the end.
    more: Condvar,
    /// Everything is written.
    idle: Condvar,
    /// Of `State::lines`.
    bytes_max: usize,
}

#[derive(Debug)]
struct State {
    /// Whole lines that the writer has not taken; at most `bytes_max`, and what the writer says by itself.
    lines: Vec<u8>,
    /// How many it has taken and not written.
    in_hand: u64,
    /// True: there was no room for a line, and so there is none for any behind it, until the writer takes all.
    is_full: bool,
    dropped: Dropped,
    /// True: nothing more will come.
    is_ended: bool,
}

impl Outlet {
    /// Starts a thread of this name that writes to `to`. It keeps twice `bytes_max` bytes at most. `tell` is called by it with how
    /// many lines were dropped; what `tell` pushes has room.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub(crate) fn open(
        name: &str,
        to: impl AsFd + Send + 'static,
        bytes_max: usize,
        tell: fn(u64),
    ) -> io::Result<Self> {
        let buffer = || Vec::with_capacity(bytes_max + NOTICE_BYTES);
        let (lines, in_hand) = (buffer(), buffer());
        let state = State {
            lines,
            in_hand: 0,
            is_full: false,
            dropped: Dropped::default(),
            is_ended: false,
        };
        let shared = Shared {
            state: Mutex::new(state),
            more: Condvar::new(),
            idle: Condvar::new(),
            bytes_max,
        };
        let this = Self(Arc::new(shared));
        let shared = Arc::clone(&this.0);
        let write = move || shared.write_all(in_hand, to.as_fd(), tell);
        thread::Builder::new().name(name.into()).spawn(write)?;
        Ok(this)
    }

    /// Has whole lines written, or counts them as dropped.
    pub(crate) fn push(&self, lines: &[u8]) {
        let mut state = self.0.lock();
        let fits = !state.is_full && state.lines.len() + lines.len() <= self.0.bytes_max;
        if fits || IS_WRITER.get() {
            self.0.take_in(state, lines);
        } else {
            state.is_full = true;
            state.dropped.add(count(lines));
        }
    }

    /// The same for the last words of a process, which there is always room for.
    pub(crate) fn push_last(&self, lines: &[u8]) {
        self.0.take_in(self.0.lock(), lines);
    }

    /// Waits until all is written, for so long at most.
    pub(crate) fn flush(&self, time_max: Duration) {
        let waiting = self.0.idle.wait_timeout_while(self.0.lock(), time_max, |it| !it.is_idle());
        drop(waiting.unwrap_or_else(PoisonError::into_inner));
    }

    /// Lines that were dropped.
    pub(crate) fn dropped(&self) -> Dropped {
        self.0.lock().dropped
    }

    /// The same, if this process ended now.
    pub(crate) fn lost_at_end(&self) -> Dropped {
        let state = self.0.lock();
        let mut dropped = state.dropped;
        dropped.add(state.in_hand + count(&state.lines));
        dropped
    }

    /// Counts lines that were dropped elsewhere.
    pub(crate) fn add_dropped(&self, dropped: Dropped) {
        let mut state = self.0.lock();
        state.dropped.total += dropped.total;
        state.dropped.untold += dropped.untold;
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.0.lock().is_ended = true;
        self.0.more.notify_one();
    }
}

impl State {
    const fn is_idle(&self) -> bool {
        self.lines.is_empty() && self.in_hand == 0
    }
}

impl Dropped {
    const fn add(&mut self, count: u64) {
        self.total += count;
        self.untold += count;
    }
}

thread_local! {
    /// True on the thread of an outlet.
    static IS_WRITER: Cell<bool> = const { Cell::new(false) };
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_in(&self, mut state: MutexGuard<'_, State>, lines: &[u8]) {
        // The writer waits for the first line alone, and to wake somebody is a system call.
        let is_awaited = state.lines.is_empty();
        state.lines.extend_from_slice(lines);
        drop(state);
        if is_awaited {
            self.more.notify_one();
        }
    }

    /// Writes all that comes, until the end.
    fn write_all(&self, mut in_hand: Vec<u8>, to: BorrowedFd<'_>, tell: fn(u64)) {
        IS_WRITER.set(true);
        // What cannot be written would be told by what cannot be written either.
        let mut is_told = true;
        while let Some(untold) = self.take(&mut in_hand, is_told) {
            if untold > 0 {
                tell(untold);
            }
            let mut rest = &*in_hand;
            while !rest.is_empty() {
                let lines;
                (lines, rest) = rest.split_at(end_of_lines(rest));
                is_told = write(to, lines).is_ok();
                self.put_down(count(lines), is_told);
            }
        }
    }

    /// Waits for lines, and takes them in hand. `Some`: with how many that were dropped since this was last asked, if that
    /// `is_told`; `None`: there will be no more.
    fn take(&self, in_hand: &mut Vec<u8>, is_told: bool) -> Option<u64> {
        let is_empty = |state: &mut State| state.lines.is_empty() && !state.is_ended;
        let state = self.more.wait_while(self.lock(), is_empty);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        in_hand.clear();
        std::mem::swap(&mut state.lines, in_hand);
        state.in_hand = count(in_hand);
        state.is_full = false;
        let untold = if is_told { std::mem::take(&mut state.dropped.untold) } else { 0 };
        (!in_hand.is_empty()).then_some(untold)
    }

    /// So many lines are out of hand: they are written, or lost.
    fn put_down(&self, count: u64, is_written: bool) {
        let mut state = self.lock();
        state.in_hand -= count;
        if !is_written {
            state.dropped.add(count);
        }
        if state.is_idle() {
            self.idle.notify_all();
        }
    }
}

/// As many whole lines as a pipe takes at once (PIPE_BUF), so that those of two processes do not mix; one at least.
fn end_of_lines(lines: &[u8]) -> usize {
    let most = lines.len().min(PIPE_BYTES);
    let end = memrchr(b'\n', &lines[..most]).or_else(|| memchr::memchr(b'\n', lines));
    end.map_or(lines.len(), |at| at + 1)
}

/// How many lines there are.
fn count(lines: &[u8]) -> u64 {
    memchr_iter(b'\n', lines).count() as u64
}

/// Writes all of `bytes`, and waits where they wait.
fn write(to: BorrowedFd<'_>, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(len) => bytes = &bytes[len..],
            Err(Errno::INTR) => {}
            // Whoever shares the descriptor made it non-blocking.
            Err(Errno::AGAIN) => {
                let _ready = poll(&mut [PollFd::new(&to, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

const PIPE_BYTES: usize = 4096;

/// Room for what is told of dropped lines, and for last words.
const NOTICE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read as _, pipe};
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn a_reader_that_reads_gets_every_line_in_order() {
        let (mut reader, writer) = pipe().unwrap();
        let outlet = Outlet::open("test", writer, 1 << 20, never).unwrap();
        let expected: String = (0..20_000).map(|at| format!("line {at}\n")).collect();
        let read = thread::spawn(move || read_all(&mut reader));
        expected.split_inclusive('\n').for_each(|line| outlet.push(line.as_bytes()));
        outlet.flush(LONG);
        assert_eq!(outlet.lost_at_end(), Dropped::default());
        // The reader's end comes with the thread's.
        drop(outlet);
        assert_eq!(read.join().unwrap(), expected.as_bytes());
    }

    #[test]
    fn what_nobody_reads_takes_no_more_than_its_bound_and_is_counted() {
        static TOLD: AtomicU64 = AtomicU64::new(0);
        let (mut reader, writer) = pipe().unwrap();
        let tell = |count| _ = TOLD.fetch_add(count, Ordering::Relaxed);
        let outlet = Outlet::open("test", writer, BYTES_MAX, tell).unwrap();
        let line = [&[b'x'; 99][..], b"\n"].concat();
        let pushed = 100_000;
        (0..pushed).for_each(|_| outlet.push(&line));
        outlet.flush(Duration::from_millis(1));
        let capacity = outlet.0.lock().lines.capacity();
        assert!(capacity <= BYTES_MAX + NOTICE_BYTES, "{capacity}");
        let dropped = outlet.dropped();
        assert!(dropped.total > 90_000 && dropped.total < pushed, "{dropped:?}");
        assert!(outlet.lost_at_end().total > dropped.total);
        outlet.push_last(b"last\n");
        drop(outlet);
        let text = read_all(&mut reader);
        assert!(text.ends_with(b"x\nlast\n"));
        assert_eq!(count(&text) - 1 + dropped.total, pushed);
        assert_eq!(TOLD.load(Ordering::Relaxed), dropped.total);
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_not_told_in_vain() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let outlet = Outlet::open("test", writer, BYTES_MAX, |_| ()).unwrap();
        for pushed in 1..=100 {
            outlet.push(b"line\n");
            outlet.flush(LONG);
            assert_eq!(outlet.dropped(), Dropped { total: pushed, untold: pushed });
        }
    }

    #[test]
    fn lines_leave_whole_and_as_many_at_once_as_a_pipe_takes() {
        let long = [b'x'; PIPE_BYTES];
        for (lines, expected) in [
            (&b"one\n"[..], 4),
            (b"one\ntwo\n", 8),
            (&[b"one\n", &long[..], b"\n"].concat(), 4),
            (&[&long[..], b"\ntwo\n"].concat(), PIPE_BYTES + 1),
            (&[&long[4..], b"one\ntwo\n"].concat(), PIPE_BYTES),
            (b"no end", 6),
        ] {
            assert_eq!(end_of_lines(lines), expected, "{}", lines.len());
        }
    }

    /// Whoever shares a pipe may make it non-blocking at any time.
    #[test]
    fn a_pipe_that_does_not_block_is_waited_for() {
        let (mut reader, writer) = pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let outlet = Outlet::open("test", writer, 1 << 20, never).unwrap();
        let lines = b"line\n".repeat(40_000);
        outlet.push(&lines);
        outlet.flush(Duration::from_millis(1));
        assert_eq!(outlet.dropped(), Dropped::default());
        drop(outlet);
        assert_eq!(read_all(&mut reader), lines);
    }

    fn read_all(reader: &mut PipeReader) -> Vec<u8> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn never(count: u64) {
        panic!("{count} lines were dropped");
    }

    const BYTES_MAX: usize = 10_000;

    const LONG: Duration = Duration::from_secs(10);
}
