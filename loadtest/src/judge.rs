//! What a mode is to the connections and to the engine: how a connection opens, what it says, what it means that a
//! message came.
//!
//! One implementation for each way of judging, chosen once: every path is compiled for its mode, and none asks at run
//! time which it is. Knows no socket.

pub(crate) mod broadcast;
pub(crate) mod echo;
pub(crate) mod idle;
pub(crate) mod outstanding;
pub(crate) mod payload;
pub(crate) mod reach;
pub(crate) mod stamp;
pub(crate) mod stats;

use std::fmt::Debug;

use wsfast::proto::message::Kind;

use crate::judge::reach::Reach;
use crate::judge::stats::Book;
use crate::time::clock::Reading;
use crate::time::schedule::Schedule;

/// How a connection opens. The numbers are places in the loan's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// As a WebSocket, with this upgrade request.
    Upgrade(usize),
    /// As HTTP with keep-alive, for requests with this head.
    Http(usize),
}

/// What a connection says next; its payload stands beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Saying {
    /// A message.
    Message(Kind),
    /// A Ping, which the server must answer.
    Ping,
}

/// What follows a message that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The connection's next message.
    Send,
    /// The text message of this number, which only answers.
    Answer(usize),
    /// Nothing.
    Wait,
}

/// Judges what comes, says what leaves, and keeps the book.
pub(crate) trait Judge: Debug {
    /// What a connection lends to have its messages judged.
    type Lane: Debug;

    /// The lane of connection `conn`.
    fn lane(&self, conn: u32) -> Self::Lane;

    /// The connection's number.
    fn number(lane: &Self::Lane) -> u32;

    /// How the connection opens.
    fn opening(&self, lane: &Self::Lane) -> Opening;

    /// Text messages that it sends as soon as it is open.
    fn greetings(&self, lane: &Self::Lane) -> &[String];

    /// The text message that a number of [`Then::Answer`] stands for.
    fn answer(&self, _number: usize) -> &str {
        ""
    }

    /// The longest message that may come.
    fn message_bytes_max(&self) -> u64;

    /// Puts the next message of `lane`, which leaves at `now_ns`, into `payload`, in place of what was there.
    fn next_message(&mut self, lane: &mut Self::Lane, now_ns: u64, payload: &mut Vec<u8>)
    -> Saying;

    /// Takes in a data message that came on `lane` with `reading`.
    fn take_in(
        &mut self,
        lane: &mut Self::Lane,
        kind: Kind,
        payload: &[u8],
        reading: Reading,
    ) -> Then;

    /// Takes in a Pong that came on `lane` at `now_ns`.
    fn ponged(&mut self, _lane: &mut Self::Lane, _payload: &[u8], _now_ns: u64) {}

    /// Takes in the HTTP status that answers what left at `sent_ns`.
    fn answered(&mut self, _lane: &mut Self::Lane, _status: u16, _sent_ns: u64, _now_ns: u64) {}

    /// Notes that `lane` has ended: what it awaits will not come, and no one need wait for it.
    fn abandon(&mut self, lane: &Self::Lane);

    /// Has `to`, which has said nothing yet, go on where `from` stands.
    fn hand_over(&self, _from: &Self::Lane, _to: &mut Self::Lane) {}

    /// Whether a reply is due on `lane`.
    fn awaits(&self, _lane: &Self::Lane) -> bool {
        false
    }

    /// The schedule that messages will follow, and the lanes as they stand.
    fn begin<'a>(
        &mut self,
        schedule: &Schedule,
        lanes: impl Iterator<Item = (&'a Self::Lane, bool)>,
    ) where
        Self::Lane: 'a;

    /// Notes that message `k` of the schedule could not leave.
    fn unsent(&mut self, k: u64);

    /// Closes what has been waited for long enough.
    fn sweep(&mut self, _now_ns: u64) {}

    /// Settles what is still awaited at the end of the run: it is lost, and each measured message is a sample of the
    /// age it has, which is the least that it would have taken.
    fn give_up<'a>(&mut self, lanes: impl Iterator<Item = &'a Self::Lane>, now_ns: u64)
    where
        Self::Lane: 'a;

    /// The book.
    fn book(&self) -> &Book;

    /// The book, to write into.
    fn book_mut(&mut self) -> &mut Book;

    /// What is left when all is over.
    fn into_results(self) -> (Book, Option<Reach>);
}
