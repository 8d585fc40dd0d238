//! What a turn may produce, in one currency, and who waits for it.
//!
//! A request of fifty bytes can ask for megabytes, and a frame can hold ten thousand commands: to bound what is read bounds
//! neither. So a turn has a budget of work. Whatever makes something of what clients ask draws on it, and what is over waits
//! here for a later turn, first come, first served. Handshakes, echoes and other answers of a fixed cost never wait.
//!
//! A unit is about a nanosecond on a slow core: what a byte costs to encode and to hand to the kernel.
//!
//! What leaves at a turn's end has a budget of its own: live messages to subscribers that keep up, what handlers queued for others,
//! and the ends of connections. What is over goes on in the next turn where it stopped. While a topic's messages are still on their
//! way to those that keep up, a handler that is to publish more to it puts that off (`Context::is_fanning_out`), so that no
//! publisher outruns the topic's ring.

use std::collections::VecDeque;

use crate::net::terms::peer_id::PeerId;

/// The budget, and the list.
#[derive(Debug)]
pub(crate) struct Work {
    /// Units that may still be spent in this phase of the turn.
    left: usize,
    /// Units spent in this turn on what could have waited.
    spent: usize,
    /// Units that may still be spent in this turn on what leaves at its end.
    live_left: usize,
    /// Units spent on that.
    live_spent: usize,
    /// Who waits for work, the first first. Who is gone is passed over.
    waiting: VecDeque<PeerId>,
    /// Whether those who wait are being served now. Who comes new does not overtake them, and they do not wait for each other.
    serves_list: bool,
    /// The budget of a phase.
    units_per_phase: usize,
}

impl Work {
    pub(crate) const fn new(units_per_phase: usize) -> Self {
        Self {
            left: units_per_phase,
            spent: 0,
            live_left: LIVE_UNITS_PER_TURN,
            live_spent: 0,
            waiting: VecDeque::new(),
            serves_list: false,
            units_per_phase,
        }
    }

    /// A turn begins: the budget is for its events, and then anew for those who wait, so that neither starve.
    pub(crate) const fn begin_turn(&mut self) {
        self.left = self.units_per_phase;
        self.spent = 0;
        self.live_left = LIVE_UNITS_PER_TURN;
        self.live_spent = 0;
    }

    /// All that is to leave leaves in this turn: it is the last of the server, or of this image of the program.
    pub(crate) const fn lift(&mut self) {
        self.live_left = usize::MAX;
    }

    /// Begins serving those who wait.
    pub(crate) const fn begin_list(&mut self) {
        self.left = self.units_per_phase;
        self.serves_list = true;
    }

    /// Ends it.
    pub(crate) const fn end_list(&mut self) {
        self.serves_list = false;
    }

    /// Whether something may be begun now that can wait.
    pub(crate) fn is_granted(&self) -> bool {
        self.left > 0 && (self.serves_list || self.waiting.is_empty())
    }

    /// Whether the budget is not used up.
    pub(crate) const fn has_left(&self) -> bool {
        self.left > 0
    }

    /// Takes `units` for what could have waited. What was begun may pass the budget.
    pub(crate) const fn spend(&mut self, units: usize) {
        self.spent = self.spent.saturating_add(units);
        self.left = self.left.saturating_sub(units);
    }

    /// The same for what cannot wait.
    pub(crate) const fn spend_at_once(&mut self, units: usize) {
        self.left = self.left.saturating_sub(units);
    }

    /// Takes `units` for what leaves at the turn's end.
    pub(crate) const fn spend_live(&mut self, units: usize) {
        self.left = self.left.saturating_sub(units);
        self.live_left = self.live_left.saturating_sub(units);
        self.live_spent = self.live_spent.saturating_add(units);
    }

    /// Units that may still be spent on that.
    pub(crate) const fn live_left(&self) -> usize {
        self.live_left
    }

    /// Whether more may leave at the turn's end.
    pub(crate) const fn has_live_left(&self) -> bool {
        self.live_left > 0
    }

    /// Has a peer wait.
    pub(crate) fn push(&mut self, peer: PeerId) {
        self.waiting.push_back(peer);
    }

    /// The next one to be served, while anything is left of the budget.
    pub(crate) fn next(&mut self) -> Option<PeerId> {
        if self.left == 0 { None } else { self.waiting.pop_front() }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What a turn may spend at most: its budgets, and a step that was begun within each.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let most = 2 * (self.units_per_phase + UNITS_PER_STEP_MAX);
        assert!(self.spent <= most, "{} units of work, of {most}", self.spent);
        let most = LIVE_UNITS_PER_TURN + LIVE_UNITS_PER_STEP_MAX;
        let is_lifted = self.live_left > LIVE_UNITS_PER_TURN;
        assert!(is_lifted || self.live_spent <= most, "{} live units, of {most}", self.live_spent);
    }

    /// Those who wait.
    #[cfg(test)]
    pub(crate) fn list(&self) -> impl Iterator<Item = &PeerId> {
        self.waiting.iter()
    }
}

/// What may be produced for a turn's events, and again for those who wait: some 5 ms each, so that a stranger, who needs a few
/// turns, is served within a few dozen.
pub(crate) const UNITS_PER_PHASE: usize = 4 << 20;

/// What may leave at a turn's end: some 12 ms.
const LIVE_UNITS_PER_TURN: usize = if cfg!(test) { 40 << 10 } else { 8 << 20 };

/// What one topic may be given of that while others wait.
pub(crate) const LIVE_UNITS_PER_TOPIC: usize = if cfg!(test) { 12 << 10 } else { 1 << 20 };

/// What the end of a connection costs, and of each of its subscriptions.
pub(crate) const END_UNITS: usize = 8 << 10;
pub(crate) const UNSUBSCRIBE_UNITS: usize = 256;

/// What a look at a subscription costs.
pub(crate) const LOOK_UNITS: usize = 16;

/// The largest step of what leaves at a turn's end: a run of messages to one subscriber.
#[cfg(test)]
const LIVE_UNITS_PER_STEP_MAX: usize = 300 << 10;

/// What a system call costs beside its bytes.
pub(crate) const CALL_UNITS: usize = 4 << 10;

/// The largest step that is begun with something left: a part of a reply, a list.
#[cfg(test)]
const UNITS_PER_STEP_MAX: usize = 2 << 20;
