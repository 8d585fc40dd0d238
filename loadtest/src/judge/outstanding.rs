//! One connection's messages that await their replies: a window over its sequence, and what a reply's place says.
//!
//! ```text
//! seq   base            next_reply        base + window.len()
//!        |                   |                   |
//! .......| sent  answered  sent | sent   sent ...|  not sent yet
//! ```
//!
//! Eight bytes a message under way. One that is never answered keeps the window open behind it, so a lost reply
//! costs eight bytes for each later message of its connection; the run's length bounds it.

use std::collections::VecDeque;

/// The messages of a connection from the first unanswered one on.
#[derive(Debug, Default)]
pub(crate) struct Outstanding {
    /// When each message was sent; [`ANSWERED`] where the reply came. The first is unanswered.
    sent_ns: VecDeque<u64>,
    /// The sequence number of the window's first message.
    base: u64,
    /// One past the highest sequence number that was answered.
    next_reply: u64,
}

/// No clock says zero.
const ANSWERED: u64 = 0;

/// What a reply's place in the sequence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// After all earlier replies that came.
    InOrder {
        /// When the message left.
        sent_ns: u64,
    },
    /// After the reply to a later message.
    Reordered {
        /// When the message left.
        sent_ns: u64,
    },
    /// The message was answered before.
    Duplicate,
    /// No such message was sent.
    NeverSent,
}

impl Outstanding {
    /// A window that begins with message `seq`.
    pub(crate) fn from(seq: u64) -> Self {
        Self { sent_ns: VecDeque::new(), base: seq, next_reply: seq }
    }

    /// Whether no message is without a reply.
    pub(crate) fn is_empty(&self) -> bool {
        self.sent_ns.is_empty()
    }

    /// Notes that a message leaves at `now_ns`.
    pub(crate) fn push(&mut self, now_ns: u64) {
        debug_assert_ne!(now_ns, ANSWERED);
        self.sent_ns.push_back(now_ns);
    }

    /// The sequence number of the next message.
    pub(crate) fn next_seq(&self) -> u64 {
        self.base + self.sent_ns.len() as u64
    }

    /// The message whose reply is due next, if one is under way.
    pub(crate) fn expected(&self) -> Option<u64> {
        (self.next_reply < self.next_seq()).then_some(self.next_reply)
    }

    /// Takes in the reply to message `seq`.
    pub(crate) fn settle(&mut self, seq: u64) -> Arrival {
        let Some(at) = seq.checked_sub(self.base) else { return Arrival::Duplicate };
        let slot = usize::try_from(at).ok().and_then(|at| self.sent_ns.get_mut(at));
        let Some(slot) = slot else { return Arrival::NeverSent };
        let sent_ns = std::mem::replace(slot, ANSWERED);
        if sent_ns == ANSWERED {
            return Arrival::Duplicate;
        }
        while self.sent_ns.front() == Some(&ANSWERED) {
            self.sent_ns.pop_front();
            self.base += 1;
        }
        if seq < self.next_reply {
            return Arrival::Reordered { sent_ns };
        }
        self.next_reply = seq + 1;
        Arrival::InOrder { sent_ns }
    }

    /// The messages without a reply: their sequence numbers, and when they left.
    pub(crate) fn unanswered(&self) -> impl Iterator<Item = (u64, u64)> {
        let numbered = (self.base..).zip(self.sent_ns.iter().copied());
        numbered.filter(|&(_, sent_ns)| sent_ns != ANSWERED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(count: u64) -> Outstanding {
        let mut outstanding = Outstanding::default();
        for seq in 0..count {
            assert_eq!(outstanding.next_seq(), seq);
            outstanding.push(100 + seq);
        }
        outstanding
    }

    #[test]
    fn replies_in_order_empty_the_window() {
        let mut outstanding = sent(3);
        for seq in 0..3 {
            assert_eq!(outstanding.expected(), Some(seq));
            assert_eq!(outstanding.settle(seq), Arrival::InOrder { sent_ns: 100 + seq });
        }
        assert_eq!(outstanding.expected(), None);
        assert_eq!((outstanding.next_seq(), outstanding.unanswered().count()), (3, 0));
    }

    #[test]
    fn a_swap_is_one_reordered_reply_and_nothing_lost() {
        let mut outstanding = sent(3);
        assert_eq!(outstanding.settle(1), Arrival::InOrder { sent_ns: 101 });
        assert_eq!(outstanding.settle(0), Arrival::Reordered { sent_ns: 100 });
        assert_eq!(outstanding.settle(2), Arrival::InOrder { sent_ns: 102 });
        assert_eq!(outstanding.unanswered().count(), 0);
    }

    #[test]
    fn a_gap_is_one_lost_reply() {
        let mut outstanding = sent(4);
        for seq in [0, 2, 3] {
            assert!(matches!(outstanding.settle(seq), Arrival::InOrder { .. }));
        }
        assert_eq!(outstanding.unanswered().collect::<Vec<_>>(), [(1, 101)]);
    }

    #[test]
    fn a_second_reply_is_a_duplicate_inside_and_before_the_window() {
        let mut outstanding = sent(4);
        outstanding.settle(0);
        outstanding.settle(2);
        assert_eq!(outstanding.settle(0), Arrival::Duplicate);
        assert_eq!(outstanding.settle(2), Arrival::Duplicate);
        assert_eq!(outstanding.settle(4), Arrival::NeverSent);
        assert_eq!(outstanding.settle(u64::MAX), Arrival::NeverSent);
        assert_eq!(outstanding.unanswered().collect::<Vec<_>>(), [(1, 101), (3, 103)]);
    }
}
