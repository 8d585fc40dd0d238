//! `wsfast pub`: publishes messages to a topic, each by a POST whose answer says that it was.
//!
//! Requests do not wait for the answers of earlier ones (RFC 9112 §9.3.2), up to a bound that the server and the kernel's
//! buffers hold with ease. Before there is nothing more to send for now, all answers are waited for.
//!
//! Nothing is sent twice unless it is certain that the first time came to nothing: behind an answer that was the
//! connection's last. Where a connection breaks, the messages whose answers did not come may have been published or not;
//! they are named, and the exit code says so.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use simd_json::prelude::{ValueAsScalar as _, ValueObjectAccess as _};
use wsfast::Kind;

use crate::app::process::lines::{Brought, Lines, kind_of};
use crate::app::process::start_up::complain;
use crate::client::http::{Answer, Conn};
use crate::client::{Door, Endpoint, Failure, IN_DOUBT, REFUSED, USAGE, shown};

/// What `wsfast pub` is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Pub {
    pub(crate) endpoint: Endpoint,
    /// `MESSAGE`s; none: the lines of standard input.
    pub(crate) messages: Vec<String>,
    /// `--binary`: none of them is text.
    pub(crate) is_binary: bool,
    /// `--ids`: print the id of each.
    pub(crate) shows_ids: bool,
}

impl Pub {
    /// Does it; the exit code.
    pub(crate) fn run(&self) -> ExitCode {
        let door = match self.endpoint.open() {
            Ok(door) => door,
            Err(error) => {
                complain(&error);
                return ExitCode::from(USAGE);
            }
        };
        let mut publisher = Publisher {
            what: if self.messages.is_empty() { "line" } else { "message" },
            shows_ids: self.shows_ids,
            has_type: door.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(TYPE)),
            door,
            conn: None,
            was_connected: false,
            in_flight: VecDeque::new(),
            unsent: Vec::new(),
            ids: Vec::new(),
            number: 0,
            too_large: 0,
        };
        let ended = match self.messages.is_empty() {
            true => self.publish_lines(&mut publisher),
            false => self.publish_messages(&mut publisher),
        };
        // Ids that came before the end are ids.
        publisher.print_ids();
        match ended {
            Ok(()) if publisher.too_large == 0 => ExitCode::SUCCESS,
            Ok(()) => ExitCode::from(IN_DOUBT),
            Err(stop) => publisher.explain(&stop),
        }
    }

    fn publish_messages(&self, publisher: &mut Publisher) -> Result<(), Stop> {
        for message in &self.messages {
            let kind = if self.is_binary { Kind::Binary } else { Kind::Text };
            publisher.publish(kind, message.as_bytes())?;
        }
        publisher.settle()
    }

    fn publish_lines(&self, publisher: &mut Publisher) -> Result<(), Stop> {
        let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(Stop::Stdin)?;
        // Without a buffer of its own, so that poll(2) tells all that there is.
        let mut lines = Lines::new(File::from(stdin), LINE_BYTES_MAX);
        loop {
            publisher.wait_for_input();
            let brought = lines.read().map_err(Stop::Stdin)?;
            while let Some(line) = lines.next() {
                let kind = if self.is_binary { Kind::Binary } else { kind_of(line) };
                publisher.publish(kind, line)?;
            }
            publisher.settle()?;
            if brought == Brought::End {
                publisher.too_large = publisher.too_large.saturating_add(lines.skipped);
                if lines.skipped > 0 {
                    complain(&format_args!("{} lines were too long to be sent", lines.skipped));
                }
                return Ok(());
            }
        }
    }
}

/// Why publishing stopped.
#[derive(Debug)]
enum Stop {
    Stdin(io::Error),
    /// There was no connection. Nothing that waits for an answer was sent.
    Unconnected(Failure),
    /// The first of those that wait for an answer was refused.
    Refused {
        failure: Failure,
        /// True: that was the connection's last answer, so that those behind it were not looked at.
        is_last: bool,
    },
    /// The connection broke with answers still to come.
    Broken(Failure),
}

/// A message that waits for its answer.
#[derive(Debug)]
struct Pending {
    number: u64,
    /// As it is sent.
    request: Vec<u8>,
    /// Of the message alone.
    len: usize,
}

/// Messages on their way.
struct Publisher {
    /// What a message is to who gave it.
    what: &'static str,
    shows_ids: bool,
    /// Whether `--header` gives a Content-Type.
    has_type: bool,
    door: Door,
    conn: Option<Conn>,
    was_connected: bool,
    /// In the order in which they are answered.
    in_flight: VecDeque<Pending>,
    /// Requests of `in_flight`'s last ones, which are not written yet.
    unsent: Vec<u8>,
    /// Ids to be printed.
    ids: Vec<u8>,
    /// Messages so far.
    number: u64,
    /// Messages that the server did not take for their length.
    too_large: u64,
}

impl Publisher {
    /// Sends a message, soon, and waits for answers of earlier ones if there are too many to come.
    fn publish(&mut self, kind: Kind, payload: &[u8]) -> Result<(), Stop> {
        if self.in_flight.len() >= IN_FLIGHT_MAX || self.in_flight_bytes() >= IN_FLIGHT_BYTES_MAX {
            self.send()?;
            while self.in_flight.len() > IN_FLIGHT_MAX / 2
                || self.in_flight_bytes() > IN_FLIGHT_BYTES_MAX / 2
            {
                self.take_answer()?;
            }
        }
        self.number = self.number.saturating_add(1);
        let mut request = Vec::with_capacity(payload.len().saturating_add(256));
        self.door.begin_request("POST", &self.door.url.target(None), &mut request);
        if !self.has_type {
            let media_type = match kind {
                Kind::Text => "text/plain; charset=utf-8",
                Kind::Binary => "application/octet-stream",
            };
            request.extend_from_slice(format!("{TYPE}: {media_type}\r\n").as_bytes());
        }
        let length = format!("Content-Length: {}\r\n\r\n", payload.len());
        request.extend_from_slice(length.as_bytes());
        request.extend_from_slice(payload);
        self.unsent.extend_from_slice(&request);
        self.in_flight.push_back(Pending { number: self.number, request, len: payload.len() });
        Ok(())
    }

    /// Sends what is not sent, and waits for all answers.
    fn settle(&mut self) -> Result<(), Stop> {
        self.send()?;
        while !self.in_flight.is_empty() {
            self.take_answer()?;
        }
        self.print_ids();
        Ok(())
    }

    /// Writes what is not written.
    fn send(&mut self) -> Result<(), Stop> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let conn = match &mut self.conn {
            Some(conn) => conn,
            None => {
                let conn = self.door.connect().map_err(Stop::Unconnected)?;
                self.was_connected = true;
                self.conn.insert(conn)
            }
        };
        let written = conn.link.write(&self.unsent);
        self.unsent.clear();
        if written.is_err() {
            // Behind half a request nothing can be written, but what was answered counts. If no answer is the connection's
            // last, its end comes, or silence.
            while !self.in_flight.is_empty() {
                self.take_answer()?;
            }
        }
        Ok(())
    }

    /// Waits for the answer to the first of those in flight.
    fn take_answer(&mut self) -> Result<(), Stop> {
        let Some(conn) = &mut self.conn else { return Err(Stop::Broken(Failure::Ended)) };
        let answer = conn.answer().map_err(Stop::Broken)?;
        let is_last = answer.is_last;
        match answer.status {
            200..300 => {
                self.in_flight.pop_front();
                self.keep_id(&answer);
            }
            CONTENT_TOO_LARGE => {
                let Some(pending) = self.in_flight.pop_front() else { return Ok(()) };
                let Pending { number, len, .. } = pending;
                let failure = Failure::refused(answer.status, &answer.body);
                complain(&format_args!(
                    "{} {number} of {len} bytes is not published: {failure}",
                    self.what
                ));
                self.too_large = self.too_large.saturating_add(1);
            }
            status => {
                let failure = Failure::refused(status, &answer.body);
                return Err(Stop::Refused { failure, is_last });
            }
        }
        if is_last {
            // What was sent behind it was not looked at, and is sent over the next connection.
            self.conn = None;
            self.unsent.clear();
            for pending in &self.in_flight {
                self.unsent.extend_from_slice(&pending.request);
            }
            self.send()?;
        }
        Ok(())
    }

    fn keep_id(&mut self, answer: &Answer) {
        if !self.shows_ids {
            return;
        }
        let mut json = answer.body.clone().into_bytes();
        let value = simd_json::to_borrowed_value(&mut json).ok();
        let id = value.as_ref().and_then(|value| value.get("id")?.as_str()).unwrap_or("?");
        self.ids.extend_from_slice(shown(id).as_bytes());
        self.ids.push(b'\n');
    }

    /// Prints the ids that came. Nobody may be reading; that is no reason not to publish.
    fn print_ids(&mut self) {
        let mut stdout = io::stdout().lock();
        let _closed = stdout.write_all(&self.ids).and_then(|()| stdout.flush());
        self.ids.clear();
    }

    /// Waits until standard input has something, and keeps a connection no longer than the server does: one that is ended
    /// meanwhile, or was idle for a while, is let go before a message is trusted to it.
    fn wait_for_input(&mut self) {
        let stdin = io::stdin();
        loop {
            let mut ready = vec![PollFd::new(&stdin, PollFlags::IN)];
            if let Some(conn) = &self.conn {
                ready.push(PollFd::new(conn.link.socket(), PollFlags::IN));
            }
            let patience = self.conn.as_ref().map(|_| &IDLE_MAX);
            let count = match poll(&mut ready, patience) {
                Ok(count) => count,
                Err(rustix::io::Errno::INTR) => continue,
                // Reading tells what is wrong.
                Err(_) => return,
            };
            let has_input = !ready[0].revents().is_empty();
            let is_over = ready.get(1).is_some_and(|socket| !socket.revents().is_empty());
            drop(ready);
            if is_over || count == 0 {
                self.conn = None;
            }
            if has_input {
                return;
            }
        }
    }

    fn in_flight_bytes(&self) -> usize {
        self.in_flight.iter().map(|pending| pending.request.len()).sum()
    }

    /// Says why publishing stopped, and which messages that concerns; the exit code.
    fn explain(&self, stop: &Stop) -> ExitCode {
        let Self { what, door, .. } = self;
        let url = &door.url;
        let first = self.in_flight.front().map_or(self.number, |pending| pending.number);
        let range = match self.number {
            last if last > first => format!("{what}s {first} to {last}"),
            _ => format!("{what} {first}"),
        };
        match stop {
            Stop::Stdin(error) => {
                complain(&format_args!("standard input cannot be read: {error}"));
                ExitCode::from(IN_DOUBT)
            }
            Stop::Unconnected(failure) if !self.was_connected => {
                complain(&format_args!("{url}: {failure}; nothing is published"));
                ExitCode::from(REFUSED)
            }
            Stop::Unconnected(failure) => {
                complain(&format_args!(
                    "{url}: {failure}; {range} and what follows is not published"
                ));
                ExitCode::from(IN_DOUBT)
            }
            Stop::Refused { failure, is_last: false } if self.number > first => {
                complain(&format_args!(
                    "{url}: {failure}; {what} {first} is not published, and whether those up to {} are is not known",
                    self.number
                ));
                ExitCode::from(REFUSED)
            }
            Stop::Refused { failure, .. } => {
                complain(&format_args!(
                    "{url}: {failure}; {range} and what follows is not published"
                ));
                ExitCode::from(REFUSED)
            }
            Stop::Broken(failure) => {
                complain(&format_args!(
                    "{url}: {failure}; whether {range} was published is not known, and what follows is not"
                ));
                ExitCode::from(IN_DOUBT)
            }
        }
    }
}

/// Requests that wait for their answers: half of what the server answers of one read.
const IN_FLIGHT_MAX: usize = 128;

/// Their bytes, if it is more than one.
const IN_FLIGHT_BYTES_MAX: usize = 1 << 20;

/// How long a connection is kept without a request: less than servers do, wsfast's being 30 s.
const IDLE_MAX: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// What no server takes.
const LINE_BYTES_MAX: usize = 1 << 30;

const CONTENT_TOO_LARGE: u16 = 413;

const TYPE: &str = "Content-Type";
