//! What happened in a seed, line by line, kept for the run that repeats a failed one.
//!
//! Off by default: nothing is formatted then.

use std::cell::RefCell;
use std::collections::VecDeque;

thread_local! {
    static LINES: RefCell<Option<VecDeque<String>>> = const { RefCell::new(None) };
}

/// From now on lines are kept.
pub(crate) fn begin() {
    LINES.set(Some(VecDeque::new()));
}

/// Keeps a line, if lines are kept.
pub(crate) fn note(line: impl FnOnce() -> String) {
    LINES.with_borrow_mut(|lines| {
        if let Some(lines) = lines {
            if lines.len() == LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(line());
        }
    });
}

/// The last lines; none are kept any more.
pub(crate) fn end() -> Vec<String> {
    LINES.take().unwrap_or_default().into()
}

/// Enough to see how it came about.
const LINES_MAX: usize = 2000;
