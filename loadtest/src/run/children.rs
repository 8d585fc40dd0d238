//! Processes that this one started and has not seen end: a second signal ends them, too.
//!
//! Ends nothing in the usual course of things; that is done by who started it.

use std::io;
use std::process::{Child, Command};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::result::outcome::Exit;

/// What is ended at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// A process.
    Process,
    /// The process group that it leads.
    Group,
}

/// A process whose end is this one's business, until this is dropped.
#[derive(Debug)]
pub(crate) struct ChildGuard {
    pid: Pid,
}

/// All of them.
static WARDS: Mutex<Vec<(Pid, Extent)>> = Mutex::new(Vec::new());

fn children() -> MutexGuard<'static, Vec<(Pid, Extent)>> {
    WARDS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ChildGuard {
    /// Starts `command`.
    ///
    /// # Errors
    ///
    /// What fork(2) and execve(2) say.
    pub(crate) fn start(command: &mut Command, extent: Extent) -> io::Result<(Child, Self)> {
        // Held meanwhile, so that none starts that would not be ended.
        let mut children = children();
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        children.push((pid, extent));
        Ok((child, Self { pid }))
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        children().retain(|&(pid, _)| pid != self.pid);
    }
}

/// From here on the first signal sets `stop`; the second ends the process, and what it has started.
///
/// # Errors
///
/// What sigaction(2) and pipe(2) say, or that there can be no further thread.
pub(crate) fn watch_signals(stop: &Arc<AtomicBool>) -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(stop))?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    // Not in the handler, where no lock may be taken.
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.forever().nth(1).is_some() {
            end_all();
        }
    })?;
    Ok(())
}

fn end_all() -> ! {
    let children = children();
    for &(pid, extent) in children.iter() {
        // Failing means that there is nothing left to end.
        let _ = match extent {
            Extent::Process => kill_process(pid, Signal::KILL),
            Extent::Group => kill_process_group(pid, Signal::KILL),
        };
    }
    std::process::exit(i32::from(Exit::Interrupted.code()))
}
