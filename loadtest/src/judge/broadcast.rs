//! Judges a broadcast: which message a subscriber's frame carries, whether it is whole, in order and the first of its
//! kind, and what publishers say.
//!
//! Sees payloads and the clock's readings; knows no socket and no frame. How connections open and what publishers hear is
//! `parts`' business, whom a message reached is `reach`'s account, what it says is `stamp`'s.

mod parts;
mod wrong;

use std::sync::Arc;

use wsfast::proto::message::Kind;

use self::wrong::{On, Wrong};
use crate::judge::Then;
use crate::judge::reach::{Accounts, Audience, Reach};
use crate::judge::stamp::{Mark, Stamps};
use crate::judge::stats::Book;
use crate::plan::Plan;
use crate::plan::broadcast::{BroadcastPlan, Envelope};
use crate::time::clock::Reading;
use crate::time::live::Live;
use crate::time::schedule::Schedule;

/// What a connection is in a broadcast.
#[derive(Debug)]
pub(crate) struct Lane {
    /// The connection's number.
    conn: u32,
    part: Part,
}

#[derive(Debug)]
enum Part {
    Subscriber(Seat),
    Publisher {
        /// Its number among the publishers.
        number: u32,
        /// The number of its next message.
        seq: u64,
        /// Publications by HTTP that are not answered.
        unanswered: u32,
    },
}

/// A subscriber's place.
#[derive(Debug)]
struct Seat {
    topic: usize,
    /// Its number among the topic's subscribers.
    place: usize,
    /// Where in a frame the last message began.
    hint: usize,
}

/// Judges a broadcast and keeps count.
#[derive(Debug)]
pub(crate) struct BroadcastJudge {
    book: Book,
    reach: Reach,
    broadcast: BroadcastPlan,
    stamps: Stamps,
    kind: Kind,
    /// `None` before the load.
    schedule: Option<Schedule>,
    audiences: Vec<Audience>,
    accounts: Accounts,
    /// For each subscriber and each publisher of its topic, the number of the message that is due next.
    due: Vec<u64>,
    /// For each subscriber, messages that never came.
    missed: Vec<u64>,
    /// From when on a copy is late.
    timeout_ns: u64,
    /// How long after it left a message's account stays open.
    patience_ns: u64,
}

impl BroadcastJudge {
    /// A judge for the broadcast of `plan`, before the load. `salt` is the run's own.
    pub(crate) fn new(plan: &Plan, broadcast: &BroadcastPlan, live: Arc<Live>, salt: u64) -> Self {
        let due_len = broadcast.subscribers as usize * broadcast.publishers_per_topic();
        Self {
            book: Book::new(live),
            reach: Reach::new(),
            stamps: Stamps::new(plan.size, plan.filling(), salt),
            kind: if plan.text { Kind::Text } else { Kind::Binary },
            schedule: None,
            audiences: Vec::new(),
            accounts: Accounts::default(),
            due: vec![0; due_len],
            missed: vec![0; broadcast.subscribers as usize],
            timeout_ns: plan.timeout_ns,
            patience_ns: plan.timeout_ns.saturating_add(plan.drain_ns),
            broadcast: broadcast.clone(),
        }
    }

    /// The number in the schedule of a publisher's message.
    fn number(&self, mark: Mark) -> Option<u64> {
        let publishers = u64::from(self.broadcast.publishers);
        let publisher = u64::from(mark.publisher);
        (publisher < publishers).then(|| mark.seq * publishers + publisher)
    }

    /// Opens the account of a publisher's next message.
    fn publish(&mut self, publisher: u32, seq: u64, now_ns: u64) -> Option<Mark> {
        let schedule = self.schedule.as_ref()?;
        let k = schedule.message(publisher, seq);
        debug_assert_eq!(k, self.accounts.next_number());
        let due_ns = schedule.due_ns(k);
        let is_measured = schedule.is_measured(k);
        let mark = Mark { publisher, seq, due_ns: due_ns - schedule.start_ns() };
        let topic = self.broadcast.topic_of_publisher(publisher);
        let audience = self.audiences.get(topic)?;
        let stamp = self.stamps.stamp(mark);
        self.accounts.open(mark, stamp, topic, audience, now_ns, is_measured);
        self.reach.expected += u64::from(audience.expected);
        self.book.awaited += u64::from(audience.alive);
        self.book.counts.sent += 1;
        self.book.live.sent.bump();
        if is_measured {
            let lag_ns = now_ns.saturating_sub(due_ns);
            self.book.latencies.send_lag.saturating_record(lag_ns);
        }
        if audience.expected == 0 {
            self.close(k, now_ns);
        }
        Some(mark)
    }

    /// Takes in a message, from where its marker is, that came for `seat`.
    fn deliver(&mut self, conn: u32, seat: &Seat, kind: Kind, message: &[u8], reading: Reading) {
        self.book.received(reading.at_ns);
        // A damaged name leads to another account or to none, whose bytes are then others: `odd` looks closer.
        if let Some(mark) = self.stamps.claimed(message)
            && let Some(k) = self.number(mark)
            && let Some(account) = self.accounts.get_mut(k)
            && account.topic == seat.topic
            && !account.is_settled(seat.place)
            && (kind == self.kind || self.broadcast.envelope == Envelope::Unknown)
            && self.stamps.proves(&account.stamp, message)
        {
            self.proved(conn, seat, k, mark, reading);
        } else {
            self.odd(conn, seat, kind, message, reading.at_ns);
        }
    }

    /// Records the time of a message that is as it must be, and minds its order.
    fn proved(&mut self, conn: u32, seat: &Seat, k: u64, mark: Mark, reading: Reading) {
        let at = self.broadcast.pair(seat.topic, seat.place, mark.publisher);
        let due = &mut self.due[at];
        if mark.seq < *due {
            self.book.counts.reordered += 1;
            self.book.wrong(&On(conn, Wrong::Reordered(mark)));
        } else {
            *due = mark.seq + 1;
            self.book.counts.verified += 1;
        }
        let (Some(account), Some(schedule)) = (self.accounts.get_mut(k), &self.schedule) else {
            return;
        };
        let intended_ns = schedule.start_ns() + mark.due_ns;
        let response_ns = reading.at_ns.saturating_sub(intended_ns);
        if account.is_measured {
            self.book.latencies.came(intended_ns, account.sent_ns, reading);
            self.book.live.response(response_ns);
        }
        if reading.at_ns.saturating_sub(account.sent_ns) > self.timeout_ns {
            self.book.counts.late += 1;
        }
        self.reach.arrived(account, response_ns);
        self.book.awaited -= 1;
        if account.settle(seat.place) {
            self.close(k, reading.at_ns);
        }
    }

    /// A message that is not as it must be, or was not awaited.
    #[cold]
    fn odd(&mut self, conn: u32, seat: &Seat, kind: Kind, message: &[u8], now_ns: u64) {
        let Some(mark) = self.stamps.read(message) else {
            return self.damaged(conn, seat, now_ns);
        };
        let Some(k) = self.number(mark).filter(|&k| k < self.accounts.next_number()) else {
            return self.unasked(conn);
        };
        let Some(account) = self.accounts.get_mut(k) else { return self.after(conn, seat, mark) };
        if account.topic != seat.topic {
            self.book.counts.unasked += 1;
            return self.book.wrong(&On(conn, Wrong::OtherTopic(mark)));
        }
        if account.is_settled(seat.place) {
            self.book.counts.duplicated += 1;
            return self.book.wrong(&On(conn, Wrong::Duplicate(mark)));
        }
        let is_right_kind = kind == self.kind || self.broadcast.envelope == Envelope::Unknown;
        let wrong = if is_right_kind { Wrong::Bytes(mark) } else { Wrong::Kind(mark) };
        self.book.counts.corrupt += 1;
        self.book.wrong(&On(conn, wrong));
        self.settle(k, seat.place, now_ns);
    }

    /// Settles a copy that is worth nothing.
    fn settle(&mut self, k: u64, place: usize, now_ns: u64) {
        let Some(account) = self.accounts.get_mut(k) else { return };
        self.book.awaited -= 1;
        if account.settle(place) {
            self.close(k, now_ns);
        }
    }

    /// Closes the account of message `k`: what is missing is lost.
    fn close(&mut self, k: u64, now_ns: u64) {
        let Some(account) = self.accounts.close(k) else { return };
        self.book.awaited -= u64::from(account.awaited());
        let start_ns = self.schedule.as_ref().map_or(now_ns, Schedule::start_ns);
        let intended_ns = start_ns + account.mark.due_ns;
        self.reach.closed(&account, now_ns.saturating_sub(intended_ns));
        let mut lost = 0;
        for place in account.missing() {
            let subscriber = self.broadcast.subscriber(account.topic, place);
            self.missed[subscriber] += 1;
            lost += 1;
            let conn = u32::try_from(subscriber).unwrap_or(u32::MAX);
            self.book.wrong(&On(conn, Wrong::Lost(account.mark)));
        }
        self.book.counts.lost += lost;
        if account.is_measured && lost > 0 {
            self.book.latencies.never_came(intended_ns, account.sent_ns, now_ns, lost);
        }
        self.accounts.recycle(account);
    }

    /// A message whose account is closed. Whoever has had all that was published, has had this one.
    #[cold]
    fn after(&mut self, conn: u32, seat: &Seat, mark: Mark) {
        let had_all = self.missed[self.broadcast.subscriber(seat.topic, seat.place)] == 0;
        let (count, wrong) = if had_all {
            (&mut self.book.counts.duplicated, Wrong::Duplicate(mark))
        } else {
            (&mut self.book.counts.late, Wrong::AfterTheEnd(mark))
        };
        *count += 1;
        self.book.wrong(&On(conn, wrong));
    }

    #[cold]
    fn unasked(&mut self, conn: u32) {
        self.book.counts.unasked += 1;
        self.book.wrong(&On(conn, Wrong::Unasked));
    }

    /// A message whose name can't be read. If only one can be meant, it is that one, spoilt on its way; else what it
    /// was will be lost as well.
    #[cold]
    fn damaged(&mut self, conn: u32, seat: &Seat, now_ns: u64) {
        self.book.counts.corrupt += 1;
        self.book.wrong(&On(conn, Wrong::Stamp));
        if let Some((k, due)) = self.only_due(seat) {
            self.due[due] += 1;
            self.settle(k, seat.place, now_ns);
        }
    }

    /// The message that is due next at `seat`, and its place in `due`, if its topic has but one publisher.
    fn only_due(&mut self, seat: &Seat) -> Option<(u64, usize)> {
        let publisher = self.broadcast.only_publisher(seat.topic)?;
        let at = self.broadcast.pair(seat.topic, seat.place, publisher);
        let k = self.number(Mark { publisher, seq: self.due[at], due_ns: 0 })?;
        let account = self.accounts.get_mut(k)?;
        (!account.is_settled(seat.place)).then_some((k, at))
    }

    /// A frame for a subscriber in which no message was found.
    #[cold]
    fn strange(&mut self, conn: u32, seat: &Seat, payload: &[u8], now_ns: u64) -> Then {
        match self.broadcast.envelope {
            // It has a protocol of its own, which says more than was published.
            Envelope::Unknown => return self.other(payload),
            Envelope::None => match self.only_due(seat) {
                Some(_) => self.damaged(conn, seat, now_ns),
                None => self.unasked(conn),
            },
        }
        Then::Wait
    }

    /// A frame of the protocol's own, which may want an answer.
    #[cold]
    fn other(&mut self, payload: &[u8]) -> Then {
        self.reach.other_frames += 1;
        let answers = &self.broadcast.answers;
        let asked = answers.iter().position(|(frame, _)| frame.as_bytes() == payload);
        asked.map_or(Then::Wait, Then::Answer)
    }

    /// Takes in a frame for a subscriber.
    fn hear(
        &mut self,
        conn: u32,
        seat: &mut Seat,
        kind: Kind,
        payload: &[u8],
        reading: Reading,
    ) -> Then {
        let size = self.stamps.size();
        match self.broadcast.envelope {
            Envelope::None if self.stamps.find(payload, 0) == Some(0) => {
                self.deliver(conn, seat, kind, payload, reading);
            }
            Envelope::None => return self.strange(conn, seat, payload, reading.at_ns),
            Envelope::Unknown => {
                let Some(found) = self.stamps.find(payload, seat.hint) else {
                    return self.strange(conn, seat, payload, reading.at_ns);
                };
                seat.hint = found;
                // An envelope may hold several.
                let mut next = Some(found);
                let mut at = 0;
                while let Some(found) = next {
                    at += found;
                    let end = (at + size).min(payload.len());
                    self.deliver(conn, seat, kind, &payload[at..end], reading);
                    at = end;
                    next = self.stamps.find(&payload[at..], 0);
                }
            }
        }
        Then::Wait
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Args;
    use crate::judge::Judge as _;
    use crate::judge::stats::Counts;
    use crate::plan::{LoadPlan, Machine};
    use crate::time::schedule::Rate;

    const SECOND_NS: u64 = 1_000_000_000;
    const START_NS: u64 = 7 * SECOND_NS;

    /// A broadcast that has begun, and its lanes: a message a second, all of them measured.
    fn begun(words: &[&str]) -> (BroadcastJudge, Vec<Lane>) {
        let machine = Machine {
            fds_max: 20_000,
            ports: (32_768, 60_999),
            memory_bytes: 1 << 30,
            backlog_max: 4096,
        };
        let words = ["loadtest", "--mode", "broadcast"].into_iter().chain(words.iter().copied());
        let plan = Plan::new(&Args::try_parse_from(words).unwrap(), machine).unwrap();
        let LoadPlan::Broadcast(broadcast) = &plan.load else { panic!("a broadcast") };
        let mut judge = BroadcastJudge::new(&plan, broadcast, Arc::new(Live::new()), 5);
        let lanes: Vec<Lane> = (0..plan.conns).map(|conn| judge.lane(conn)).collect();
        let rate = Rate::new(1.0).unwrap();
        let schedule = Schedule::new(rate, START_NS, 0, 100 * SECOND_NS, broadcast.publishers);
        judge.begin(&schedule, lanes.iter().map(|lane| (lane, true)));
        (judge, lanes)
    }

    /// What publishers publish, in turn, each message as it is due.
    fn publish(judge: &mut BroadcastJudge, lanes: &mut [Lane], count: u64) -> Vec<Vec<u8>> {
        let subscribers = judge.broadcast.subscribers as usize;
        let publishers = u64::from(judge.broadcast.publishers);
        let mut one = |k: u64| {
            let lane = &mut lanes[subscribers + usize::try_from(k % publishers).unwrap()];
            let mut payload = Vec::new();
            judge.next_message(lane, START_NS + k * SECOND_NS, &mut payload);
            payload
        };
        (0..count).map(&mut one).collect()
    }

    fn hear(judge: &mut BroadcastJudge, lane: &mut Lane, payload: &[u8], now_ns: u64) {
        let kind = judge.kind;
        assert_eq!(judge.take_in(lane, kind, payload, Reading::at(now_ns)), Then::Wait);
    }

    #[test]
    fn a_frame_may_hold_several_messages_in_any_envelope() {
        let template = r#"{"to":"{topic}","data":"{payload}"}"#;
        let (mut judge, mut lanes) = begun(&["-c", "2", "--publish", template]);
        let messages = publish(&mut judge, &mut lanes, 3);
        assert!(messages[0].starts_with(br#"{"to":"loadtest","data":"wsf_"#));
        let joined = messages.join(&b'\n');
        for lane in &mut lanes[..2] {
            hear(&mut judge, lane, b"{}", START_NS);
            hear(&mut judge, lane, &joined, START_NS + 3 * SECOND_NS);
        }
        assert_eq!(judge.book.counts, Counts { sent: 3, verified: 6, ..Counts::default() });
        assert_eq!((judge.reach.other_frames, judge.book.awaited), (2, 0));
        // The last is cut off, and the one before is spoilt where the envelope does not show it.
        let (mut judge, mut lanes) = begun(&["-c", "1", "--publish", template]);
        let messages = publish(&mut judge, &mut lanes, 3);
        let mut joined = messages.concat();
        joined[2 * messages[0].len() - 4] ^= 1;
        joined.truncate(3 * messages[0].len() - 5);
        hear(&mut judge, &mut lanes[0], &joined, START_NS);
        let expected = Counts { sent: 3, verified: 1, corrupt: 2, ..Counts::default() };
        assert_eq!((judge.book.counts, judge.book.awaited), (expected, 0));
    }

    #[test]
    fn order_is_that_of_each_publisher() {
        let (mut judge, mut lanes) = begun(&["-c", "1", "--publishers", "2"]);
        let messages = publish(&mut judge, &mut lanes, 6);
        // One publisher's messages are 0, 2 and 4, the other's 1, 3 and 5.
        for at in [1, 3, 0, 4, 2, 5] {
            hear(&mut judge, &mut lanes[0], &messages[at], START_NS);
        }
        let expected = Counts { sent: 6, verified: 5, reordered: 1, ..Counts::default() };
        assert_eq!(judge.book.counts, expected);
        assert_eq!((judge.reach.received, judge.reach.expected), (6, 6));
        let fault = judge.book.first_fault.unwrap();
        assert_eq!(fault, "connection 0: message 1 of publisher 0 was overtaken");
    }

    #[test]
    fn another_topic_s_message_and_one_that_nobody_published_are_unasked() {
        let (mut judge, mut lanes) = begun(&["-c", "2", "--topics", "2"]);
        let messages = publish(&mut judge, &mut lanes, 2);
        hear(&mut judge, &mut lanes[0], &messages[1], START_NS);
        let mut never = Vec::new();
        let mark = Mark { publisher: 0, seq: 40, due_ns: 40 * SECOND_NS };
        judge.stamps.append(&judge.stamps.stamp(mark), &mut never);
        hear(&mut judge, &mut lanes[0], &never, START_NS);
        let mark = Mark { publisher: 2, ..mark };
        never.clear();
        judge.stamps.append(&judge.stamps.stamp(mark), &mut never);
        hear(&mut judge, &mut lanes[0], &never, START_NS);
        assert_eq!(judge.book.counts, Counts { sent: 2, unasked: 3, ..Counts::default() });
        assert_eq!(judge.book.awaited, 2);
    }

    #[test]
    fn what_is_not_heard_in_time_is_lost_and_late_if_it_comes_then() {
        let (mut judge, mut lanes) =
            begun(&["-c", "3", "--timeout", "1s", "--drain", "1s", "-r", "1"]);
        let messages = publish(&mut judge, &mut lanes, 2);
        for at in [0, 1] {
            hear(&mut judge, &mut lanes[at], &messages[0], START_NS + 1);
        }
        judge.sweep(START_NS + 2 * SECOND_NS);
        assert_eq!((judge.book.counts.lost, judge.book.awaited), (0, 4));
        judge.sweep(START_NS + 2 * SECOND_NS + 1);
        assert_eq!((judge.book.counts.lost, judge.book.awaited), (1, 3));
        // Who missed it gets it late; who had it gets it twice.
        for at in [1, 2] {
            hear(&mut judge, &mut lanes[at], &messages[0], START_NS + 3 * SECOND_NS);
        }
        let counts = judge.book.counts;
        assert_eq!((counts.lost, counts.late, counts.duplicated), (1, 1, 1));
        // A second and a half after it left is late, and counts.
        for lane in &mut lanes[..3] {
            hear(&mut judge, lane, &messages[1], START_NS + 2 * SECOND_NS + SECOND_NS / 2);
        }
        let counts = judge.book.counts;
        assert_eq!((counts.verified, counts.late, counts.lost), (5, 4, 1));
        let (book, reach) = judge.into_results();
        let reach = reach.unwrap();
        assert_eq!((reach.received, reach.expected, reach.short), (5, 6, 1));
        assert_eq!((reach.worst, book.latencies.censored), (Some((2, 1)), 1));
    }

    #[test]
    fn nobody_waits_for_who_has_left_but_its_deliveries_stay_due() {
        let (mut judge, mut lanes) = begun(&["-c", "2"]);
        let messages = publish(&mut judge, &mut lanes, 1);
        judge.abandon(&lanes[0]);
        assert_eq!(judge.book.awaited, 1);
        hear(&mut judge, &mut lanes[1], &messages[0], START_NS + 1);
        assert_eq!(judge.book.awaited, 0);
        judge.abandon(&lanes[1]);
        let mut payload = Vec::new();
        judge.next_message(&mut lanes[2], START_NS + SECOND_NS, &mut payload);
        assert_eq!((judge.book.awaited, judge.book.counts.lost), (0, 0));
        judge.give_up(lanes.iter(), START_NS + 9 * SECOND_NS);
        assert_eq!((judge.book.awaited, judge.book.counts.lost), (0, 3));
        assert_eq!((judge.reach.received, judge.reach.expected), (1, 4));
        // Its last subscriber has waited nine seconds for the first message, and eight for the second.
        assert!(judge.reach.last.min() >= 7 * SECOND_NS && judge.reach.last.len() == 2);
        assert_eq!(judge.book.latencies.censored, 3);
    }

    #[test]
    fn a_damaged_name_is_the_only_one_that_can_be_meant() {
        let spoilt = |publishers: &str| {
            let (mut judge, mut lanes) = begun(&["-c", "1", "--publishers", publishers]);
            let mut messages = publish(&mut judge, &mut lanes, 2);
            messages[0][8] ^= 1;
            for message in &messages {
                hear(&mut judge, &mut lanes[0], message, START_NS);
            }
            judge.give_up(lanes.iter(), START_NS + 9 * SECOND_NS);
            judge.book.counts
        };
        let expected = Counts { sent: 2, verified: 1, corrupt: 1, ..Counts::default() };
        assert_eq!(spoilt("1"), expected);
        // With two publishers it may be either's.
        assert_eq!(spoilt("2"), Counts { lost: 1, ..expected });
    }
}
