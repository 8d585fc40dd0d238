//! The parts that connections have in a broadcast: how each opens, what it says, what is done with what it hears.
//!
//! Hands messages to the judge and counts what publishers are told; proves nothing itself.

use wsfast::proto::message::Kind;

use super::wrong::{On, Wrong};
use super::{BroadcastJudge, Lane, Part, Seat};
use crate::judge::reach::{Audience, Reach};
use crate::judge::stats::Book;
use crate::judge::{Judge, Opening, Saying, Then};
use crate::plan::broadcast::Via;
use crate::time::clock::Reading;
use crate::time::schedule::Schedule;

impl Judge for BroadcastJudge {
    type Lane = Lane;

    fn lane(&self, conn: u32) -> Lane {
        let part = match conn.checked_sub(self.broadcast.subscribers) {
            Some(number) => Part::Publisher { number, seq: 0, unanswered: 0 },
            None => {
                let (topic, place) = self.broadcast.seat(conn);
                Part::Subscriber(Seat { topic, place, hint: 0 })
            }
        };
        Lane { conn, part }
    }

    fn number(lane: &Lane) -> u32 {
        lane.conn
    }

    fn opening(&self, lane: &Lane) -> Opening {
        let topics = self.broadcast.topics.len();
        match (&lane.part, self.broadcast.via) {
            (Part::Subscriber(seat), _) => Opening::Upgrade(seat.topic),
            (Part::Publisher { number, .. }, via) => {
                let topic = self.broadcast.topic_of_publisher(*number);
                match via {
                    Via::WebSocket => Opening::Upgrade(topics + topic),
                    Via::Http => Opening::Http(topic),
                }
            }
        }
    }

    fn greetings(&self, lane: &Lane) -> &[String] {
        match &lane.part {
            Part::Subscriber(seat) => &self.broadcast.topics[seat.topic].subscriber_greetings,
            Part::Publisher { number, .. } => {
                let topic = self.broadcast.topic_of_publisher(*number);
                &self.broadcast.topics[topic].publisher_greetings
            }
        }
    }

    fn message_bytes_max(&self) -> u64 {
        // An envelope may hold many messages, and each may be escaped.
        self.stamps.size() as u64 * 64 + (1 << 20)
    }

    fn next_message(&mut self, lane: &mut Lane, now_ns: u64, payload: &mut Vec<u8>) -> Saying {
        payload.clear();
        if let Part::Publisher { number, seq, unanswered } = &mut lane.part
            && let Some(mark) = self.publish(*number, *seq, now_ns)
        {
            *seq += 1;
            if self.broadcast.via == Via::Http {
                *unanswered += 1;
                self.book.awaited += 1;
            }
            let topic = &self.broadcast.topics[self.broadcast.topic_of_publisher(*number)];
            payload.extend_from_slice(topic.before.as_bytes());
            self.stamps.append(&self.stamps.stamp(mark), payload);
            payload.extend_from_slice(topic.after.as_bytes());
        }
        Saying::Message(self.kind)
    }

    fn take_in(&mut self, lane: &mut Lane, kind: Kind, payload: &[u8], reading: Reading) -> Then {
        match &mut lane.part {
            Part::Subscriber(seat) => self.hear(lane.conn, seat, kind, payload, reading),
            // A publisher may hear itself and others; it is no subscriber.
            Part::Publisher { .. } if self.stamps.find(payload, 0).is_some() => {
                self.reach.echoes += 1;
                Then::Wait
            }
            Part::Publisher { .. } => self.other(payload),
        }
    }

    fn answer(&self, number: usize) -> &str {
        self.broadcast.answers.get(number).map_or("", |(_, answer)| answer)
    }

    fn answered(&mut self, lane: &mut Lane, status: u16, sent_ns: u64, now_ns: u64) {
        if let Part::Publisher { unanswered, .. } = &mut lane.part {
            *unanswered -= 1;
            self.book.awaited -= 1;
        }
        if (200..300).contains(&status) {
            self.reach.answer.saturating_record(now_ns.saturating_sub(sent_ns));
        } else {
            self.book.counts.refused += 1;
            self.book.wrong(&On(lane.conn, Wrong::Refused(status)));
        }
    }

    fn abandon(&mut self, lane: &Lane) {
        let seat = match &lane.part {
            Part::Subscriber(seat) => seat,
            Part::Publisher { unanswered, .. } => {
                self.book.awaited -= u64::from(*unanswered);
                return;
            }
        };
        let Some(audience) = self.audiences.get_mut(seat.topic) else { return };
        if audience.absent[seat.place / 64] >> (seat.place % 64) & 1 == 1 {
            return;
        }
        audience.alive -= 1;
        for k in self.accounts.numbers() {
            if let Some(account) = self.accounts.get_mut(k)
                && account.topic == seat.topic
                && !account.is_settled(seat.place)
            {
                // It stays open, so that what is lost has the age of the end, not of this one.
                self.book.awaited -= 1;
                account.ceases();
            }
        }
    }

    fn begin<'a>(&mut self, schedule: &Schedule, lanes: impl Iterator<Item = (&'a Lane, bool)>) {
        self.schedule = Some(schedule.clone());
        let mut places = vec![Vec::new(); self.broadcast.topics.len()];
        for (lane, is_open) in lanes {
            if let Part::Subscriber(seat) = &lane.part {
                places[seat.topic].push(is_open);
            }
        }
        self.audiences = places.iter().map(|places| Audience::new(places)).collect();
    }

    fn unsent(&mut self, k: u64) {
        self.book.counts.unsent += 1;
        self.accounts.skip();
        let Some(schedule) = &self.schedule else { return };
        if schedule.is_measured(k) {
            // Nobody will ever have it. Its age at the end of the run is the sample, as for a lost one.
            let publisher = u32::try_from(schedule.turn(k)).unwrap_or_default();
            let topic = self.broadcast.topic_of_publisher(publisher);
            let copies = self.audiences.get(topic).map_or(0, |a| u64::from(a.expected));
            let age_ns = self.book.window_ns.1.saturating_sub(schedule.due_ns(k));
            self.book.latencies.response.saturating_record_n(age_ns, copies);
            self.book.latencies.censored += copies;
        }
    }

    fn sweep(&mut self, now_ns: u64) {
        while let Some(k) = self.accounts.oldest(now_ns.saturating_sub(self.patience_ns)) {
            self.close(k, now_ns);
        }
    }

    fn give_up<'a>(&mut self, lanes: impl Iterator<Item = &'a Lane>, now_ns: u64) {
        for lane in lanes {
            if let Part::Publisher { unanswered: unanswered @ 1.., .. } = lane.part {
                self.book.counts.refused += u64::from(unanswered);
                self.book.wrong(&On(lane.conn, Wrong::Unanswered));
            }
        }
        for k in self.accounts.numbers() {
            self.close(k, now_ns);
        }
    }

    fn book(&self) -> &Book {
        &self.book
    }

    fn book_mut(&mut self) -> &mut Book {
        &mut self.book
    }

    fn into_results(mut self) -> (Book, Option<Reach>) {
        self.reach.short = self.missed.iter().filter(|&&missed| missed > 0).count() as u64;
        let worst = (0..).zip(&self.missed).max_by_key(|&(_, missed)| missed);
        self.reach.worst =
            worst.map(|(conn, &missed)| (conn, missed)).filter(|&(_, missed)| missed > 0);
        (self.book, Some(self.reach))
    }
}
