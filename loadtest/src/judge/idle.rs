//! Judges connections that are only held: whether each still answers a Ping (RFC 6455 §5.5.2) at the end.
//!
//! Every server must answer one, so nothing need be known of what it does with messages; those that come are counted and
//! not looked at. Sends each connection one Ping, and knows no socket.

use std::fmt;
use std::sync::Arc;

use wsfast::proto::message::Kind;

use crate::judge::reach::Reach;
use crate::judge::stats::Book;
use crate::judge::{Judge, Opening, Saying, Then};
use crate::time::clock::Reading;
use crate::time::live::Live;
use crate::time::schedule::Schedule;

/// What a connection keeps of its probe.
#[derive(Debug)]
pub(crate) struct Lane {
    /// The connection's number.
    conn: u32,
    /// Its turn among the probes.
    pub(crate) turn: u32,
    probe: Probe,
}

/// How far a connection's probe is. Moves only downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    NotYet,
    /// It left at this time.
    Sent(u64),
    Answered,
}

/// Sends the probes and counts the answers.
#[derive(Debug)]
pub(crate) struct IdleJudge {
    book: Book,
    schedule: Option<Schedule>,
    timeout_ns: u64,
}

/// A connection that did not answer.
struct Mute(u32);

impl IdleJudge {
    /// Nothing was asked yet; an answer that takes longer than `timeout_ns` is late.
    pub(crate) fn new(live: Arc<Live>, timeout_ns: u64) -> Self {
        Self { book: Book::new(live), schedule: None, timeout_ns }
    }

    /// When the probe of `lane` was to leave.
    fn due_ns(&self, lane: &Lane) -> Option<u64> {
        self.schedule.as_ref().map(|schedule| schedule.due_ns(u64::from(lane.turn)))
    }

    fn record(&mut self, lane: &Lane, sent_ns: u64, now_ns: u64) {
        let due_ns = self.due_ns(lane).unwrap_or(sent_ns);
        let latencies = &mut self.book.latencies;
        latencies.response.saturating_record(now_ns.saturating_sub(due_ns));
        latencies.service.saturating_record(now_ns.saturating_sub(sent_ns));
    }
}

impl Judge for IdleJudge {
    type Lane = Lane;

    fn lane(&self, conn: u32) -> Lane {
        Lane { conn, turn: 0, probe: Probe::NotYet }
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
        16 << 20
    }

    fn next_message(&mut self, lane: &mut Lane, now_ns: u64, payload: &mut Vec<u8>) -> Saying {
        payload.clear();
        payload.extend_from_slice(&lane.conn.to_be_bytes());
        lane.probe = Probe::Sent(now_ns);
        self.book.counts.sent += 1;
        self.book.awaited += 1;
        self.book.live.sent.bump();
        if let Some(due_ns) = self.due_ns(lane) {
            self.book.latencies.send_lag.saturating_record(now_ns.saturating_sub(due_ns));
        }
        Saying::Ping
    }

    fn take_in(&mut self, _: &mut Lane, _: Kind, _: &[u8], reading: Reading) -> Then {
        self.book.received(reading.at_ns);
        Then::Wait
    }

    fn ponged(&mut self, lane: &mut Lane, payload: &[u8], now_ns: u64) {
        // A Pong that answers nothing may be sent (RFC 6455 §5.5.3).
        let Probe::Sent(sent_ns) = lane.probe else { return };
        if payload != lane.conn.to_be_bytes() {
            return;
        }
        lane.probe = Probe::Answered;
        self.book.awaited -= 1;
        self.book.received(now_ns);
        self.book.counts.verified += 1;
        self.record(lane, sent_ns, now_ns);
        if now_ns.saturating_sub(sent_ns) > self.timeout_ns {
            self.book.counts.late += 1;
        }
    }

    fn abandon(&mut self, lane: &Lane) {
        self.book.awaited -= u64::from(matches!(lane.probe, Probe::Sent(_)));
    }

    fn begin<'a>(&mut self, schedule: &Schedule, _: impl Iterator<Item = (&'a Lane, bool)>) {
        self.schedule = Some(schedule.clone());
    }

    fn unsent(&mut self, _: u64) {
        self.book.counts.unsent += 1;
    }

    fn give_up<'a>(&mut self, lanes: impl Iterator<Item = &'a Lane>, now_ns: u64) {
        for lane in lanes {
            if let Probe::Sent(sent_ns) = lane.probe {
                self.book.counts.lost += 1;
                self.book.wrong(&Mute(lane.conn));
                self.book.latencies.censored += 1;
                self.record(lane, sent_ns, now_ns);
            }
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

impl fmt::Display for Mute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}: a Ping was never answered", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_its_own_ping_proves_a_connection_alive() {
        let mut judge = IdleJudge::new(Arc::new(Live::new()), 1000);
        let mut lanes = [judge.lane(3), judge.lane(4)];
        let mut payload = Vec::new();
        judge.ponged(&mut lanes[0], &3_u32.to_be_bytes(), 5);
        for lane in &mut lanes {
            assert_eq!(judge.next_message(lane, 10, &mut payload), Saying::Ping);
        }
        assert_eq!(payload, 4_u32.to_be_bytes());
        judge.ponged(&mut lanes[0], &4_u32.to_be_bytes(), 20);
        judge.ponged(&mut lanes[0], &3_u32.to_be_bytes(), 2010);
        judge.ponged(&mut lanes[0], &3_u32.to_be_bytes(), 2020);
        let counts = &judge.book.counts;
        assert_eq!((counts.verified, counts.late, judge.book.awaited), (1, 1, 1));
        judge.give_up(lanes.iter(), 5010);
        assert_eq!((judge.book.counts.lost, judge.book.latencies.censored), (1, 1));
        assert!(judge.book.latencies.service.max() >= 5000);
    }
}
