//! An attack on a server without a memory limit and on one with `--memory-limit 64M`, and what its loads have in common.
//!
//! Makes no load itself.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use memchr::memmem;

use super::{CONNECTION_BYTES, SLACK_BYTES};
use crate::support::ask::message;
use crate::support::crowd::Crowd;
use crate::support::siege::Siege;
use crate::support::wire;

/// Whether the server has a memory limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    Free,
    /// `--memory-limit 64M`
    Limited,
}

/// Has `load` attack a server of each kind, and then says what came of it. `load` tells what its clients may take in memory.
pub(super) fn attack(args: &[&str], load: impl Fn(&Siege, Memory) -> usize) {
    let outcomes = [Memory::Free, Memory::Limited].map(|memory| {
        catch_unwind(AssertUnwindSafe(|| {
            let limit = ["--memory-limit", "64M"];
            let limit = if memory == Memory::Limited { &limit[..] } else { &[] };
            println!("memory is {memory:?}:");
            let siege = Siege::begin_strict(&[args, limit].concat());
            match catch_unwind(AssertUnwindSafe(|| load(&siege, memory))) {
                Ok(clients_bytes) => {
                    let bound = match memory {
                        Memory::Free => clients_bytes + HISTORY_BYTES_MAX + SLACK_BYTES,
                        Memory::Limited => siege.room_below(LIMIT_BYTES),
                    };
                    siege.end(bound);
                }
                Err(panic) => {
                    siege.tell();
                    resume_unwind(panic);
                }
            }
        }))
    });
    // Both were to be seen, even if the first fails.
    if let Some(panic) = outcomes.into_iter().find_map(Result::err) {
        resume_unwind(panic);
    }
}

/// Has each session subscribe to its topics, in one frame.
pub(super) fn subscribe_all(
    crowd: &mut Crowd,
    those: Range<usize>,
    topics: &dyn Fn(usize) -> Vec<String>,
) {
    for at in those.clone() {
        let commands = topics(at).into_iter().enumerate().map(|(number, topic)| {
            format!("{{\"id\":{},\"subscribe\":{{\"channel\":\"{topic}\"}}}}\n", number + 2)
        });
        crowd.say(at, wire::text(&commands.collect::<String>()));
    }
    let mut had = vec![0; those.len()];
    crowd.until(those.clone(), |at, event, _| {
        for line in lines(message(event)) {
            assert!(contains(line, "\"subscribe\":{"), "{}", line.escape_ascii());
            had[at - those.start] += 1;
        }
        had[at - those.start] == topics(at).len()
    });
}

pub(super) fn lines(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    message.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

pub(super) fn contains(text: &[u8], part: &str) -> bool {
    memmem::find(text, part.as_bytes()).is_some()
}

pub(super) const NO_OFFER: &str = "";

/// A client's receive buffer: what a browser's connection has at first, and less than a reply.
pub(super) const RCVBUF: usize = 64 << 10;

/// What `Memory::Limited` has.
pub(super) const LIMIT_BYTES: usize = 64 << 20;

/// `--history-bytes`: messages, in all forms that they were sent in.
pub(super) const HISTORY_BYTES_MAX: usize = 64 << 20;

/// One of the Centrifugo protocol.
pub(super) const SESSION_BYTES: usize = CONNECTION_BYTES + 2048;

/// A further topic of it.
pub(super) const SUBSCRIPTION_BYTES: usize = 512;
