//! `--stdin TOPIC`: every line of standard input is published.
//!
//! A thread of its own reads, so that the loop waits for no pipe. At most two batches are under way, and then the pipe is
//! left full: its writer waits, and no memory grows. Lines that are there leave together, one that comes alone leaves at
//! once. When the input ends, the server goes on.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use wsfast::{MessageBatch, Receipt, Remote, TopicError};

use crate::app::process::lines::{Brought, Lines, kind_of};

/// Begins to publish standard input's lines to `topic`; those with more than `line_bytes_max` bytes are skipped.
///
/// # Errors
///
/// There is no thread to be had, or no descriptor.
pub(crate) fn publish(topic: String, remote: Remote, line_bytes_max: usize) -> io::Result<()> {
    // Without a buffer of its own, so that poll(2) tells all that there is.
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    thread::Builder::new().name("stdin".into()).spawn(move || {
        let batch = MessageBatch::new(&*topic);
        let mut publisher = Publisher {
            topic,
            remote,
            batch,
            under_way: None,
            published: 0,
            refused: 0,
            is_skipping_told: false,
        };
        let mut lines = Lines::new(input, line_bytes_max);
        if publisher.publish_all(&mut lines, line_bytes_max).is_ok() {
            let Publisher { topic, published, refused, .. } = publisher;
            let skipped = lines.skipped;
            tracing::info!(
                topic,
                published,
                skipped,
                refused,
                "standard input ended; the server goes on"
            );
        }
    })?;
    Ok(())
}

/// Hands lines over to the loop.
struct Publisher {
    topic: String,
    remote: Remote,
    /// Gathers lines.
    batch: MessageBatch,
    /// The batch before, which may not be fanned out yet.
    under_way: Option<Receipt>,
    published: usize,
    refused: usize,
    is_skipping_told: bool,
}

/// The server's run is over.
struct ServerGone;

impl Publisher {
    fn publish_all(
        &mut self,
        lines: &mut Lines<impl Read>,
        line_bytes_max: usize,
    ) -> Result<(), ServerGone> {
        loop {
            let brought = lines.read().unwrap_or_else(|error| {
                tracing::warn!(%error, "standard input cannot be read");
                Brought::End
            });
            while let Some(line) = lines.next() {
                self.batch.push(kind_of(line), line);
                if self.batch.len() >= BATCH_MESSAGES_MAX {
                    self.hand_over()?;
                }
            }
            if !self.batch.is_empty() {
                self.hand_over()?;
            }
            if lines.skipped > 0 && !std::mem::replace(&mut self.is_skipping_told, true) {
                tracing::warn!(
                    skipped = lines.skipped,
                    "a line of standard input has more than {line_bytes_max} bytes (--topic-bytes, \
                     --max-message-bytes); it is skipped, and so are others like it"
                );
            }
            match brought {
                Brought::Bytes => {}
                Brought::Nothing => wait_for_input(),
                Brought::End => break,
            }
        }
        match self.under_way.take() {
            Some(receipt) => self.take_back(receipt),
            None => Ok(()),
        }
    }

    /// Hands the batch over, once at most one other is under way.
    fn hand_over(&mut self) -> Result<(), ServerGone> {
        let next = MessageBatch::new(&*self.topic);
        let receipt = self.remote.publish(std::mem::replace(&mut self.batch, next));
        match self.under_way.replace(receipt) {
            Some(before) => self.take_back(before),
            None => Ok(()),
        }
    }

    /// Waits until a batch is fanned out, and uses it again.
    fn take_back(&mut self, receipt: Receipt) -> Result<(), ServerGone> {
        let fanned_out = receipt.wait().ok_or(ServerGone)?;
        self.published += fanned_out.published;
        if let Some((count, error)) = fanned_out.refused {
            if self.refused == 0 {
                let why = match error {
                    TopicError::TooManyTopics => "there are as many as --max-topics",
                    _ => "the topic does not take it",
                };
                tracing::warn!(
                    topic = self.topic,
                    why,
                    "a line of standard input is not published"
                );
            }
            self.refused += count;
        }
        self.batch = fanned_out.batch;
        Ok(())
    }
}

/// Waits where whoever shares standard input made it non-blocking.
fn wait_for_input() {
    let stdin = io::stdin();
    // If it fails, reading tells why.
    let _ready = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None);
}

/// Lines of a batch: so few that the loop, which publishes them at once, is soon back with everybody else.
const BATCH_MESSAGES_MAX: usize = 4096;
