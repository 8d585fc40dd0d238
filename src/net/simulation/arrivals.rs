//! The scripted listener: connections that wait to be accepted, and the descriptors there are for them.
//!
//! Edge-triggered like the sockets: a connection raises an edge, a descriptor that becomes free raises none.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::SocketAddrAny;

use crate::net::simulation::random::Random;
use crate::net::simulation::trace;
use crate::net::simulation::wire::{ScriptedEnd, ServerEnd, SharedWire, Stream};

/// A hold on it; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals(Rc<RefCell<Backlog>>);

#[derive(Debug)]
struct Backlog {
    random: Random,
    waiting: VecDeque<SharedWire>,
    /// All that were accepted.
    accepted: Vec<SharedWire>,
    edge: bool,
    /// Descriptors that there may be of connections.
    descriptors_max: usize,
}

impl Arrivals {
    pub(crate) fn new(random: Random) -> Self {
        Self(Rc::new(RefCell::new(Backlog {
            random,
            waiting: VecDeque::new(),
            accepted: Vec::new(),
            edge: false,
            descriptors_max: usize::MAX,
        })))
    }

    pub(crate) fn connect(&self, wire: SharedWire) {
        let mut backlog = self.0.borrow_mut();
        backlog.waiting.push_back(wire);
        backlog.edge = true;
    }

    pub(crate) fn set_descriptors_max(&self, most: usize) {
        trace::note(|| format!("  descriptors: {most}"));
        self.0.borrow_mut().descriptors_max = most;
    }

    /// Whether an event is due, which is none any more.
    pub(crate) fn take_edge(&self) -> bool {
        let mut backlog = self.0.borrow_mut();
        std::mem::take(&mut backlog.edge) && !backlog.waiting.is_empty()
    }

    pub(crate) fn has_edge(&self) -> bool {
        let backlog = self.0.borrow();
        backlog.edge && !backlog.waiting.is_empty()
    }

    pub(crate) fn waiting_count(&self) -> usize {
        self.0.borrow().waiting.len()
    }

    /// How many descriptors the server holds.
    pub(crate) fn open_count(&self) -> usize {
        self.0.borrow_mut().open_count()
    }

    pub(crate) fn has_descriptor(&self) -> bool {
        let mut backlog = self.0.borrow_mut();
        backlog.open_count() < backlog.descriptors_max
    }

    /// Nobody listens any more: who waits is refused.
    pub(crate) fn refuse_all(&self) {
        self.0.borrow_mut().waiting.clear();
    }

    pub(crate) fn accept(&self) -> rustix::io::Result<(Stream, Option<SocketAddrAny>)> {
        let mut backlog = self.0.borrow_mut();
        match backlog.random.below(32) {
            0 => return Err(Errno::INTR),
            1 if !backlog.waiting.is_empty() => {
                // It is gone before it was accepted, or as good as gone: the rest waits on.
                return Err(Errno::CONNABORTED);
            }
            _ => {}
        }
        if backlog.waiting.is_empty() {
            return Err(Errno::AGAIN);
        }
        if backlog.open_count() >= backlog.descriptors_max {
            trace::note(|| "    accept: no descriptor".to_owned());
            return Err(Errno::MFILE);
        }
        let Some(wire) = backlog.waiting.pop_front() else { return Err(Errno::AGAIN) };
        trace::note(|| format!("    {} accepted", wire.borrow().client));
        backlog.accepted.push(Rc::clone(&wire));
        let from = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 40_000);
        Ok((Stream::Scripted(ScriptedEnd::accept(wire)), Some(from.into())))
    }
}

impl Backlog {
    fn open_count(&mut self) -> usize {
        self.accepted.retain(|wire| wire.borrow().server != ServerEnd::Closed);
        self.accepted.len()
    }
}
