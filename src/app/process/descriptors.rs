//! File descriptors: raising the limit, and how many connections it leaves room for.
//!
//! Each connection is one descriptor. Nothing here is per connection: what happens when they run out is `net`'s.

use std::fmt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one and returns what then holds; `None`: unlimited.
///
/// A kernel that refuses leaves the soft limit as it was, which is not an error: the start-up line shows the result.
pub(crate) fn raise_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// Decides how many connections a process with `limit` descriptors takes at a time.
///
/// `asked` is `--max-connections`; without it, it is all that fit, at most `peers_max`.
///
/// # Errors
///
/// The limit has no room for what was asked, or for anything.
pub(crate) fn peers_max(
    limit: Option<u64>,
    asked: Option<usize>,
    peers_max: usize,
) -> Result<usize, TooFew> {
    let room = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit.saturating_sub(RESERVE)).unwrap_or(usize::MAX)
    });
    let least = asked.unwrap_or(1);
    if room < least {
        return Err(TooFew {
            least,
            asked: asked.is_some(),
            room,
            limit: limit.unwrap_or(u64::MAX),
        });
    }
    Ok(asked.unwrap_or(room.min(peers_max)))
}

/// Descriptors that are not for connections: 64 to accept connections past the maximum with, which must get their 503
/// before they are closed (`net::server`'s `REFUSALS_MAX`), and 32 for the standard streams, the poll and its waker,
/// signals, and a listener for each address.
const RESERVE: u64 = 64 + 32;

/// The process may not open as many files as it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooFew {
    /// Connections that there must be room for.
    least: usize,
    /// Whether `least` is what `--max-connections` asked for; otherwise it is the one without which nothing works.
    asked: bool,
    /// Connections that there is room for.
    room: usize,
    limit: u64,
}

impl fmt::Display for TooFew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { least, room, limit, .. } = *self;
        let needed = RESERVE.saturating_add(least as u64);
        if self.asked && room > 0 {
            write!(
                f,
                "--max-connections {least} needs {needed} open files, and the limit is {limit}: raise it (ulimit -n \
                 {needed}, or LimitNOFILE= in systemd), or ask for at most {room}"
            )
        } else {
            write!(
                f,
                "the limit of {limit} open files leaves no room for connections: raise it to at least {needed} \
                 (ulimit -n {needed}, or LimitNOFILE= in systemd)"
            )
        }
    }
}

impl std::error::Error for TooFew {}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: usize = 1 << 24;

    #[test]
    fn connections_are_what_the_limit_leaves() {
        for (limit, asked, expected) in [
            (Some(1024), None, 928),
            (Some(1024), Some(928), 928),
            (Some(1024), Some(1), 1),
            (Some(97), None, 1),
            (Some(u64::MAX), None, CAP),
            (None, None, CAP),
            (None, Some(20_000), 20_000),
        ] {
            assert_eq!(peers_max(limit, asked, CAP), Ok(expected), "{limit:?} {asked:?}");
        }
    }

    #[test]
    fn too_few_descriptors_are_refused_with_the_number_that_would_do() {
        for (limit, asked, expected) in [
            (
                1024,
                Some(929),
                "--max-connections 929 needs 1025 open files, and the limit is 1024: raise it (ulimit -n 1025, or \
                 LimitNOFILE= in systemd), or ask for at most 928",
            ),
            (
                96,
                Some(1),
                "the limit of 96 open files leaves no room for connections: raise it to at least 97 (ulimit -n 97, \
                 or LimitNOFILE= in systemd)",
            ),
            (
                0,
                None,
                "the limit of 0 open files leaves no room for connections: raise it to at least 97 (ulimit -n 97, \
                 or LimitNOFILE= in systemd)",
            ),
        ] {
            let refused = peers_max(Some(limit), asked, CAP).map_err(|error| error.to_string());
            assert_eq!(refused, Err(expected.to_owned()));
        }
    }

    #[test]
    fn raising_leaves_the_soft_limit_at_what_is_reported() {
        let raised = raise_limit();
        assert_eq!(getrlimit(Resource::Nofile).current, raised);
    }
}
