//! TLS handshakes that are answered in a turn, and whose: the one thing that costs a peer nothing and the server a tenth of a millisecond
//! or more.
//!
//! There are a few in each phase of a turn. Addresses take turns: while several wait, each is answered a few in a round, and the next round
//! begins once a turn had some to spare, so that everyone who waits was asked. One address alone may have all of them. A crowd of
//! thousands so delays its own, and nobody else by more than a few handshakes for each other address.
//!
//! Within an address the first comes first. Knows no connection, and reads nothing.

/// What is left of a phase's handshakes, and of whose turn it is.
#[derive(Debug)]
pub(crate) struct Handshakes {
    left: u32,
    round: u32,
    /// Addresses that asked in this round, and in the last.
    asked: u32,
    asked_before: u32,
    /// Those whose address is not known, together.
    nameless: Turns,
}

/// What an address had.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turns {
    /// The round in which it last asked.
    round: u32,
    /// Handshakes that it was answered in that.
    answered: u32,
}

impl Handshakes {
    pub(crate) fn new() -> Self {
        let (left, round) = (PER_PHASE_MAX, 1);
        Self { left, round, asked: 0, asked_before: 0, nameless: Turns::default() }
    }

    pub(crate) const fn begin_phase(&mut self) {
        self.left = PER_PHASE_MAX;
    }

    /// All who wait were asked in this turn: if there were some to spare, the next round begins.
    pub(crate) const fn end_turn(&mut self) {
        if self.left > 0 {
            self.round = self.round.wrapping_add(1);
            self.asked_before = self.asked;
            self.asked = 0;
        }
    }

    /// Whether it is an address' turn; `None`: the address is not known.
    pub(crate) fn has_turn(&mut self, address: Option<&mut Turns>) -> bool {
        let Self { left, round, asked, asked_before, nameless } = self;
        let turns = address.unwrap_or(nameless);
        if turns.round != *round {
            *turns = Turns { round: *round, answered: 0 };
            *asked += 1;
        }
        let is_alone = *asked <= 1 && *asked_before <= 1;
        *left > 0 && (is_alone || turns.answered < PER_ROUND_MAX)
    }

    /// One of the address was answered.
    pub(crate) fn answered(&mut self, address: Option<&mut Turns>) {
        self.left = self.left.saturating_sub(1);
        address.unwrap_or(&mut self.nameless).answered += 1;
    }
}

/// Handshakes in a phase. One costs a few tenths of a millisecond (`benches/tls.rs`).
const PER_PHASE_MAX: u32 = 4;

/// Handshakes of one address in a round, where others wait.
const PER_ROUND_MAX: u32 = 2;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// Those who wait, by address, the first first. Each turn asks all of them; whose turn it is not goes to the end.
    struct Queue {
        handshakes: Handshakes,
        turns: Vec<Turns>,
        waiting: VecDeque<usize>,
    }

    impl Queue {
        fn new(addresses: usize) -> Self {
            let turns = vec![Turns::default(); addresses];
            Self { handshakes: Handshakes::new(), turns, waiting: VecDeque::new() }
        }

        /// Who is answered in a turn with these newcomers.
        fn turn(&mut self, come: &[usize]) -> Vec<usize> {
            let mut answered = Vec::new();
            let listed = self.waiting.len();
            self.handshakes.begin_phase();
            come.iter().for_each(|&address| self.ask(address, &mut answered));
            self.handshakes.begin_phase();
            for _ in 0..listed {
                let address = self.waiting.pop_front().unwrap();
                self.ask(address, &mut answered);
            }
            self.handshakes.end_turn();
            answered
        }

        fn ask(&mut self, address: usize, answered: &mut Vec<usize>) {
            let turns = &mut self.turns[address];
            if self.handshakes.has_turn(Some(turns)) {
                self.handshakes.answered(Some(turns));
                answered.push(address);
            } else {
                self.waiting.push_back(address);
            }
        }
    }

    #[test]
    fn one_address_alone_has_all_of_them() {
        let mut queue = Queue::new(1);
        assert_eq!(queue.turn(&[0; 100]).len(), 4);
        assert!((0..12).all(|_| queue.turn(&[]).len() == 4));
    }

    #[test]
    fn a_stranger_does_not_wait_for_a_crowd() {
        let mut queue = Queue::new(2);
        queue.turn(&[0; 1000]);
        let turns = (0..1000).position(|turn| {
            let come: &[usize] = if turn == 0 { &[0, 0, 0, 0, 1] } else { &[0, 0, 0, 0] };
            queue.turn(come).contains(&1)
        });
        assert!(turns.is_some_and(|turns| turns <= 1), "{turns:?}");
    }

    #[test]
    fn the_nameless_are_one() {
        let mut handshakes = Handshakes::new();
        let mut named = Turns::default();
        assert!(handshakes.has_turn(Some(&mut named)) && handshakes.has_turn(None));
        handshakes.answered(None);
        handshakes.answered(None);
        assert!(!handshakes.has_turn(None) && handshakes.has_turn(Some(&mut named)));
    }

    proptest! {
        /// However many come and from wherever: everyone is answered, no turn answers too many, and a lone one of an address waits for a
        /// few of each other address at most.
        #[test]
        fn everyone_has_a_turn(crowds in proptest::collection::vec(1..200_usize, 1..12), endless in any::<bool>()) {
            let mut queue = Queue::new(crowds.len() + 1);
            let come: Vec<usize> = crowds.iter().enumerate().flat_map(|(address, &count)| vec![address; count]).collect();
            let total = come.len();
            let mut answered = queue.turn(&come).len();
            let stranger = crowds.len();
            let mut ahead = None;
            let mut came = total;
            for turn in 0..4 * total + 8 {
                let mut come = if endless { vec![turn % crowds.len(); 4] } else { Vec::new() };
                if turn == 0 {
                    come.push(stranger);
                }
                came += come.len();
                let now = queue.turn(&come);
                prop_assert!(now.len() <= 8);
                if ahead.is_none() && now.contains(&stranger) {
                    ahead = Some(turn);
                }
                answered += now.len();
            }
            // Each turn answers four at least while so many addresses wait that a round lasts.
            prop_assert!(ahead.is_some_and(|turns| turns <= crowds.len() + 2), "{:?}", ahead);
            if !endless {
                prop_assert_eq!(answered, came);
            }
        }
    }
}
