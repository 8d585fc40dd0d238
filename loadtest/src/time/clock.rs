//! Time: CLOCK_MONOTONIC in nanoseconds, and the timer that wakes the measuring thread at a point of it.
//!
//! The one file that reads a clock. `Poll::poll`'s own timeout rounds up to a millisecond, so waiting goes through an
//! absolute timerfd instead.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// Nanoseconds in a second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// Nanoseconds in a millisecond.
pub(crate) const MILLISECOND_NS: u64 = 1_000_000;

/// Nanoseconds since some fixed point before the start of this process. Never zero.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Both parts are positive, since the monotonic clock starts at boot.
    now.tv_sec.unsigned_abs() * SECOND_NS + now.tv_nsec.unsigned_abs()
}

/// Seconds since 1970, to say when a run was.
pub(crate) fn unix_s() -> u64 {
    clock_gettime(ClockId::Realtime).tv_sec.unsigned_abs()
}

/// When a read brought bytes, and how long they had waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// When this client had them.
    pub(crate) at_ns: u64,
    /// How long the last of them lay in the kernel before; `None`: it does not say.
    pub(crate) queued_ns: Option<u64>,
}

impl Reading {
    /// A read that is just over, of bytes that the kernel received at `stamp_ns` of CLOCK_REALTIME.
    pub(crate) fn of(stamp_ns: Option<u64>) -> Self {
        let at_ns = now_ns();
        // Both readings of the same clock, a moment apart: where it is set matters only if that changes in between.
        let queued_ns = stamp_ns.map(|stamp_ns| unix_ns().saturating_sub(stamp_ns));
        Self { at_ns, queued_ns }
    }

    /// A read at `at_ns` of which no more is known.
    pub(crate) const fn at(at_ns: u64) -> Self {
        Self { at_ns, queued_ns: None }
    }
}

/// Nanoseconds since 1970, the clock of the kernel's stamps.
fn unix_ns() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec.unsigned_abs() * SECOND_NS + now.tv_nsec.unsigned_abs()
}

/// Wakes the poll that it is registered with at a point of time.
#[derive(Debug)]
pub(crate) struct Timer {
    fd: OwnedFd,
    /// What the timer is set to; zero before the first time.
    set_to_ns: u64,
}

impl Timer {
    /// A timer that is not set.
    ///
    /// # Errors
    ///
    /// What timerfd_create(2) says.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Self { fd: timerfd_create(TimerfdClockId::Monotonic, flags)?, set_to_ns: 0 })
    }

    /// Sets the timer to `at_ns`; a point in the past fires at once.
    ///
    /// Nobody reads the timer: setting it anew clears the expiry, and each expiry is an edge of its own.
    ///
    /// # Errors
    ///
    /// What timerfd_settime(2) says.
    pub(crate) fn set(&mut self, at_ns: u64) -> io::Result<()> {
        if self.set_to_ns == at_ns {
            return Ok(());
        }
        // Zero would disarm the timer.
        let at = timespec(at_ns.max(1));
        let once = Itimerspec { it_interval: timespec(0), it_value: at };
        timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &once)?;
        self.set_to_ns = at_ns;
        Ok(())
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

fn timespec(ns: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(ns / SECOND_NS).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(ns % SECOND_NS).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_forward_and_the_timer_takes_any_point() {
        let before_ns = now_ns();
        assert!(before_ns > 0 && now_ns() >= before_ns);
        let mut timer = Timer::new().unwrap();
        for at_ns in [0, 1, before_ns, before_ns + SECOND_NS, u64::MAX / 2] {
            timer.set(at_ns).unwrap();
        }
    }
}
