//! Judges every reply: what it proves, which message it answers, how long that took.
//!
//! Sees payloads and the clock's readings; knows no socket and no frame. Connections lend their [`Lane`].

use std::sync::Arc;

use wsfast::proto::message::Kind;

use crate::cli::Verify;
use crate::judge::outstanding::{Arrival, Outstanding};
use crate::judge::payload::{Name, Pattern};
use crate::judge::reach::Reach;
use crate::judge::stats::Book;
use crate::judge::{Judge, Opening, Saying, Then};
use crate::plan::Plan;
use crate::time::clock::Reading;
use crate::time::live::Live;
use crate::time::schedule::Schedule;

/// What a connection lends to have its replies judged.
#[derive(Debug)]
pub(crate) struct Lane {
    /// The connection's number, which its messages carry.
    pub(crate) conn: u32,
    /// Its turn in the schedule.
    pub(crate) turn: u32,
    /// Its messages under way.
    pub(crate) outstanding: Outstanding,
}

/// How messages are paced, once the run has a beginning.
#[derive(Debug)]
pub(crate) enum Pace {
    /// No load yet.
    Waiting,
    /// Open loop.
    Open(Schedule),
    /// Closed loop: messages sent from `from_ns` on, and before `end_ns`, are measured.
    Closed {
        /// End of the warm-up.
        from_ns: u64,
        /// No message leaves from here on.
        end_ns: u64,
    },
}

/// The first reply that was wrong, for a person who debugs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The connection it came on.
    pub(crate) conn: u32,
    /// The message whose reply was due, if one was.
    pub(crate) due: Option<u64>,
    /// What was wrong.
    pub(crate) kind: FaultKind,
}

/// What is wrong with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Text where binary was sent, or the other way round.
    Opcode,
    /// Another length than was sent.
    Length(usize),
    /// The right length, other bytes.
    Bytes,
    /// The payload of another connection's message.
    OtherConnection(u32),
    /// A reply that came before.
    Duplicate(u64),
    /// A reply that a later one overtook.
    Reordered(u64),
    /// A message while no reply was due.
    Unasked,
}

/// Judges replies and keeps count.
#[derive(Debug)]
pub(crate) struct EchoJudge {
    /// What messages say.
    pub(crate) pattern: Pattern,
    /// How they are paced.
    pub(crate) pace: Pace,
    /// What came of them.
    pub(crate) book: Book,
    verify: Verify,
    text: bool,
    timeout_ns: u64,
}

impl EchoJudge {
    /// A judge for `plan`, before the load.
    pub(crate) fn new(plan: &Plan, live: Arc<Live>) -> Self {
        Self {
            pattern: Pattern::new(plan.size, plan.filling()),
            pace: Pace::Waiting,
            book: Book::new(live),
            verify: plan.verify,
            text: plan.text,
            timeout_ns: plan.timeout_ns,
        }
    }

    /// Whether a message that is settled at `now_ns` is followed by the next.
    fn sends_at(&self, now_ns: u64) -> bool {
        matches!(self.pace, Pace::Closed { end_ns, .. } if now_ns < end_ns)
    }

    /// Notes that the next message of `lane` leaves at `now_ns`; returns its name.
    fn sent(&mut self, lane: &mut Lane, now_ns: u64) -> Name {
        let seq = lane.outstanding.next_seq();
        lane.outstanding.push(now_ns);
        self.book.counts.sent += 1;
        self.book.awaited += 1;
        self.book.live.sent.bump();
        if let Pace::Open(schedule) = &self.pace {
            let k = schedule.message(lane.turn, seq);
            if schedule.is_measured(k) {
                let lag_ns = now_ns.saturating_sub(schedule.due_ns(k));
                self.book.latencies.send_lag.saturating_record(lag_ns);
            }
        }
        Name { conn: lane.conn, seq }
    }

    /// Judges a data message that came on `lane` with `reading`. True: it settled a message, so a closed loop may send
    /// the next.
    fn reply(&mut self, lane: &mut Lane, text: bool, payload: &[u8], reading: Reading) -> bool {
        self.book.received(reading.at_ns);
        let due = lane.outstanding.expected();
        let settled = if let Some(seq) = due
            && self.proves(Name { conn: lane.conn, seq }, text, payload)
            && let Arrival::InOrder { sent_ns } = lane.outstanding.settle(seq)
        {
            self.answered(lane, seq, sent_ns, reading);
            self.book.counts.verified += 1;
            true
        } else {
            self.odd_reply(lane, due, text, payload, reading)
        };
        self.book.awaited -= u64::from(settled);
        settled
    }

    /// Settles what `lane` still awaits at the end of the run: it is lost, and each measured message is a sample of
    /// the age it has, which is the least that its reply would have taken.
    fn give_up_on(&mut self, lane: &Lane, now_ns: u64) {
        for (seq, sent_ns) in lane.outstanding.unanswered() {
            self.book.counts.lost += 1;
            if let Some(intended_ns) = self.intended_ns(lane, seq, sent_ns) {
                self.book.latencies.never_came(intended_ns, sent_ns, now_ns, 1);
            }
        }
    }

    /// Whether the payload is all that is asked of the reply to `name`.
    fn proves(&self, name: Name, text: bool, payload: &[u8]) -> bool {
        match self.verify {
            Verify::Full => text == self.text && self.pattern.is(name, payload),
            Verify::Length => text == self.text && payload.len() == self.pattern.size(),
            Verify::Off => true,
        }
    }

    /// Records the times of a message whose reply came.
    fn answered(&mut self, lane: &Lane, seq: u64, sent_ns: u64, reading: Reading) {
        if let Some(intended_ns) = self.intended_ns(lane, seq, sent_ns) {
            self.book.latencies.came(intended_ns, sent_ns, reading);
            self.book.live.response(reading.at_ns.saturating_sub(intended_ns));
        }
        if reading.at_ns.saturating_sub(sent_ns) > self.timeout_ns {
            self.book.counts.late += 1;
        }
    }

    /// When the message was meant to leave. `None`: it is not measured.
    fn intended_ns(&self, lane: &Lane, seq: u64, sent_ns: u64) -> Option<u64> {
        match &self.pace {
            Pace::Waiting => None,
            Pace::Open(schedule) => {
                let k = schedule.message(lane.turn, seq);
                schedule.is_measured(k).then(|| schedule.due_ns(k))
            }
            Pace::Closed { from_ns, .. } => (sent_ns >= *from_ns).then_some(sent_ns),
        }
    }

    /// A reply that is not the one that was due. True: it settled a message all the same.
    #[cold]
    fn odd_reply(
        &mut self,
        lane: &mut Lane,
        due: Option<u64>,
        text: bool,
        payload: &[u8],
        reading: Reading,
    ) -> bool {
        let claimed = match self.verify {
            Verify::Full if text == self.text => self.find(lane, payload),
            Verify::Full | Verify::Length | Verify::Off => None,
        };
        let own = claimed.filter(|name| name.conn == lane.conn);
        match own.map(|name| (name.seq, lane.outstanding.settle(name.seq))) {
            Some((seq, Arrival::InOrder { sent_ns })) => {
                // Its place is right; the replies before it are missing, and may still come.
                self.answered(lane, seq, sent_ns, reading);
                self.book.counts.verified += 1;
                true
            }
            Some((seq, Arrival::Reordered { sent_ns })) => {
                self.answered(lane, seq, sent_ns, reading);
                self.book.counts.reordered += 1;
                self.fault(lane, due, FaultKind::Reordered(seq));
                true
            }
            Some((seq, Arrival::Duplicate)) => {
                self.book.counts.duplicated += 1;
                self.fault(lane, due, FaultKind::Duplicate(seq));
                false
            }
            Some((_, Arrival::NeverSent)) | None => {
                self.wrong_reply(lane, due, text, payload.len(), claimed)
            }
        }
    }

    /// A reply that is no reply of this connection's. It is taken for the one that was due, spoilt on its way.
    fn wrong_reply(
        &mut self,
        lane: &mut Lane,
        due: Option<u64>,
        text: bool,
        len: usize,
        claimed: Option<Name>,
    ) -> bool {
        let Some(seq) = due else {
            self.book.counts.unasked += 1;
            self.fault(lane, due, FaultKind::Unasked);
            return false;
        };
        lane.outstanding.settle(seq);
        self.book.counts.corrupt += 1;
        let kind = match claimed {
            Some(name) => FaultKind::OtherConnection(name.conn),
            None if text != self.text => FaultKind::Opcode,
            None if len != self.pattern.size() => FaultKind::Length(len),
            None => FaultKind::Bytes,
        };
        self.fault(lane, due, kind);
        true
    }

    /// Which message a payload is. One too short to say is sought among those under way, then among the last few
    /// that were answered.
    fn find(&self, lane: &Lane, payload: &[u8]) -> Option<Name> {
        const LOOK_BACK: u64 = 64;
        let conn = lane.conn;
        self.pattern.claimed(payload).or_else(|| {
            let under_way = lane.outstanding.unanswered().map(|(seq, _)| seq);
            let end = lane.outstanding.next_seq();
            let answered = (end.saturating_sub(LOOK_BACK)..end).rev();
            let mut names = under_way.chain(answered).map(|seq| Name { conn, seq });
            names.find(|&name| self.pattern.is(name, payload))
        })
    }

    fn fault(&mut self, lane: &Lane, due: Option<u64>, kind: FaultKind) {
        self.book.wrong(&Fault { conn: lane.conn, due, kind });
    }
}

impl Judge for EchoJudge {
    type Lane = Lane;

    fn lane(&self, conn: u32) -> Lane {
        Lane { conn, turn: 0, outstanding: Outstanding::default() }
    }

    fn number(lane: &Lane) -> u32 {
        lane.conn
    }

    fn opening(&self, _: &Lane) -> Opening {
        Opening::Upgrade(0)
    }

    fn greetings(&self, _: &Lane) -> &[String] {
        &[]
    }

    fn message_bytes_max(&self) -> u64 {
        self.pattern.size() as u64 * 2 + (64 << 10)
    }

    fn next_message(&mut self, lane: &mut Lane, now_ns: u64, payload: &mut Vec<u8>) -> Saying {
        let name = self.sent(lane, now_ns);
        self.pattern.write(name, payload);
        Saying::Message(if self.text { Kind::Text } else { Kind::Binary })
    }

    fn take_in(&mut self, lane: &mut Lane, kind: Kind, payload: &[u8], reading: Reading) -> Then {
        let settled = self.reply(lane, kind == Kind::Text, payload, reading);
        if settled && self.sends_at(reading.at_ns) { Then::Send } else { Then::Wait }
    }

    fn abandon(&mut self, lane: &Lane) {
        self.book.awaited -= lane.outstanding.unanswered().count() as u64;
    }

    fn hand_over(&self, from: &Lane, to: &mut Lane) {
        to.turn = from.turn;
        to.outstanding = Outstanding::from(from.outstanding.next_seq());
    }

    fn awaits(&self, lane: &Lane) -> bool {
        !lane.outstanding.is_empty()
    }

    fn begin<'a>(&mut self, schedule: &Schedule, _: impl Iterator<Item = (&'a Lane, bool)>) {
        self.pace = Pace::Open(schedule.clone());
    }

    fn unsent(&mut self, k: u64) {
        self.book.counts.unsent += 1;
        if let Pace::Open(schedule) = &self.pace
            && schedule.is_measured(k)
        {
            // Nobody will ever answer it. Its age at the end of the run is the sample, as for a lost one.
            let age_ns = self.book.window_ns.1.saturating_sub(schedule.due_ns(k));
            self.book.latencies.response.saturating_record(age_ns);
            self.book.latencies.censored += 1;
        }
    }

    fn give_up<'a>(&mut self, lanes: impl Iterator<Item = &'a Lane>, now_ns: u64) {
        for lane in lanes {
            self.give_up_on(lane, now_ns);
        }
    }

    fn book(&self) -> &Book {
        &self.book
    }

    fn book_mut(&mut self) -> &mut Book {
        &mut self.book
    }

    fn into_results(self) -> (Book, Option<Reach>) {
        (self.book, None)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "connection {}: ", self.conn)?;
        match self.kind {
            FaultKind::Opcode => f.write_str("the reply has the wrong opcode")?,
            FaultKind::Length(len) => write!(f, "the reply has {len} bytes")?,
            FaultKind::Bytes => f.write_str("the reply has the right length and other bytes")?,
            FaultKind::OtherConnection(conn) => {
                write!(f, "the reply belongs to connection {conn}")?;
            }
            FaultKind::Duplicate(seq) => write!(f, "a second reply to message {seq}")?,
            FaultKind::Reordered(seq) => write!(f, "the reply to message {seq} was overtaken")?,
            FaultKind::Unasked => f.write_str("a message that answers nothing")?,
        }
        match self.due {
            Some(seq) => write!(f, ", while the reply to message {seq} was due"),
            None => f.write_str(", while no reply was due"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Args;
    use crate::judge::stats::Counts;
    use crate::plan::Machine;

    fn judge(line: &str) -> EchoJudge {
        let words = std::iter::once("loadtest").chain(line.split_whitespace());
        let machine = Machine {
            fds_max: 20_000,
            ports: (32_768, 60_999),
            memory_bytes: 1 << 30,
            backlog_max: 4096,
        };
        let plan = Plan::new(&Args::try_parse_from(words).unwrap(), machine).unwrap();
        let mut judge = EchoJudge::new(&plan, Arc::new(Live::new()));
        judge.pace = Pace::Closed { from_ns: 0, end_ns: u64::MAX };
        judge
    }

    fn lane(conn: u32) -> Lane {
        Lane { conn, turn: conn, outstanding: Outstanding::default() }
    }

    /// Sends `count` messages and returns their payloads.
    fn send(judge: &mut EchoJudge, lane: &mut Lane, count: u64) -> Vec<Vec<u8>> {
        let send_one = |at: u64| {
            let name = judge.sent(lane, 1 + at);
            let mut payload = Vec::new();
            judge.pattern.write(name, &mut payload);
            payload
        };
        (0..count).map(send_one).collect()
    }

    /// The counts after these replies to four messages; `lost` settled.
    fn counts(line: &str, replies: impl Fn(&[Vec<u8>]) -> Vec<(bool, Vec<u8>)>) -> Counts {
        let (mut judge, mut lane) = (judge(line), lane(7));
        let payloads = send(&mut judge, &mut lane, 4);
        for (text, payload) in replies(&payloads) {
            judge.reply(&mut lane, text, &payload, Reading::at(100));
        }
        judge.give_up_on(&lane, 1000);
        assert_eq!(judge.book.latencies.censored, judge.book.counts.lost);
        assert_eq!(judge.book.counts.sent, 4);
        judge.book.counts
    }

    fn binary(payloads: &[Vec<u8>], order: &[usize]) -> Vec<(bool, Vec<u8>)> {
        order.iter().map(|&at| (false, payloads[at].clone())).collect()
    }

    #[test]
    fn faults_are_counted_apart_at_every_size() {
        for size in [1, 4, 16, 100] {
            let after = |order: &[usize]| counts(&format!("-s {size}"), |p| binary(p, order));
            let expect = Counts { sent: 4, ..Counts::default() };
            assert_eq!(after(&[0, 1, 2, 3]), Counts { verified: 4, ..expect });
            assert_eq!(after(&[0, 2, 3]), Counts { verified: 3, lost: 1, ..expect });
            assert_eq!(after(&[0, 1, 1, 2, 3]), Counts { verified: 4, duplicated: 1, ..expect });
            assert_eq!(after(&[0, 1, 2, 3, 3]), Counts { verified: 4, duplicated: 1, ..expect });
            assert_eq!(after(&[1, 0, 2, 3]), Counts { verified: 3, reordered: 1, ..expect });
            assert_eq!(after(&[]), Counts { lost: 4, ..expect });
        }
    }

    #[test]
    fn a_spoilt_reply_is_corrupt_and_not_lost() {
        let spoil = |change: fn(&mut (bool, Vec<u8>))| {
            counts("-s 32", |payloads| {
                let mut replies = binary(payloads, &[0, 1, 2, 3]);
                change(&mut replies[2]);
                replies
            })
        };
        let expected = Counts { sent: 4, verified: 3, corrupt: 1, ..Counts::default() };
        assert_eq!(spoil(|reply| reply.1[20] ^= 4), expected);
        assert_eq!(spoil(|reply| reply.1[0] ^= 1), expected);
        assert_eq!(spoil(|reply| reply.1.truncate(31)), expected);
        assert_eq!(spoil(|reply| reply.1.push(0)), expected);
        assert_eq!(spoil(|reply| reply.0 = true), expected);
    }

    #[test]
    fn anothers_reply_is_corrupt_and_a_greeting_is_unasked() {
        let mut judge = judge("-s 32");
        let (mut a, mut b) = (lane(1), lane(2));
        let from_a = send(&mut judge, &mut a, 1).remove(0);
        send(&mut judge, &mut b, 1);
        assert!(judge.reply(&mut b, false, &from_a, Reading::at(5)));
        let fault = judge.book.first_fault.clone().unwrap();
        assert!(fault.contains("belongs to connection 1"), "{fault}");
        assert!(!judge.reply(&mut b, true, b"Welcome", Reading::at(6)));
        let expected = Counts { sent: 2, corrupt: 1, unasked: 1, ..Counts::default() };
        assert_eq!(judge.book.counts, expected);
    }

    #[test]
    fn less_proof_finds_less() {
        let one_bit = |payloads: &[Vec<u8>]| {
            let mut replies = binary(payloads, &[0, 1, 2, 3]);
            replies[1].1[31] ^= 1;
            replies[2].1.push(0);
            replies
        };
        let verified = |verify| counts(&format!("--verify {verify}"), one_bit).verified;
        assert_eq!([verified("full"), verified("length"), verified("off")], [2, 3, 4]);
    }

    #[test]
    fn open_loop_latency_runs_from_the_intended_send() {
        let mut judge = judge("-c 1");
        let rate = crate::time::schedule::Rate::new(1000.0).unwrap();
        // Due at 1 s, 1.001 s and so on; the first two are warm-up.
        judge.pace = Pace::Open(Schedule::new(rate, 1_000_000_000, 2_000_000, 8_000_000, 1));
        let mut lane = lane(0);
        for sent_ns in [1_000_000_000, 1_001_000_000, 1_002_500_000] {
            let name = judge.sent(&mut lane, sent_ns);
            let mut payload = Vec::new();
            judge.pattern.write(name, &mut payload);
            judge.reply(&mut lane, false, &payload, Reading::at(sent_ns + 100_000));
        }
        let latencies = &judge.book.latencies;
        assert_eq!(latencies.response.len(), 1);
        assert!(latencies.response.equivalent(latencies.response.max(), 600_000));
        assert!(latencies.service.equivalent(latencies.service.max(), 100_000));
        assert!(latencies.send_lag.equivalent(latencies.send_lag.max(), 500_000));
    }
}
