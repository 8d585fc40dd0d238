//! Pages that stay with the process though next to nothing is in them, and when they are given back.
//!
//! What is freed stays with the allocator, and between what is still in use lie pages of which nothing is: after a peak they are most of
//! what is resident. Every few seconds after clients came or went (`Handler::on_trim`) both figures are compared, and where it is worth
//! it the allocator is told. Frees nothing itself.

use std::fs;

use crate::app::process::memory;

/// Has the allocator give pages back if much more is resident than is in use.
pub(crate) fn give_back() {
    let is_worth_it = |resident: usize| {
        resident > memory::bytes_in_use().saturating_add(FIXED_BYTES).saturating_add(RESIDUE_BYTES)
    };
    if resident_bytes().is_some_and(is_worth_it) {
        memory::give_back();
    }
}

/// What of the process is in memory; `None`: it cannot be had.
fn resident_bytes() -> Option<usize> {
    // proc_pid_statm(5): the second number, in pages.
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = statm.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size())
}

/// What is resident besides the heap: code and stacks.
const FIXED_BYTES: usize = 5 << 20;

/// Less is not worth a look at all that is free.
const RESIDUE_BYTES: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// The count against what the system says, which is had without unsafe code, in pages, and once it is too late to refuse anything.
    #[test]
    fn what_is_counted_is_what_becomes_resident() {
        const MUCH: usize = 256 << 20;
        let (counted, resident) = (memory::bytes_in_use(), resident_bytes().unwrap());
        let much = vec![1_u8; MUCH];
        let grown = memory::bytes_in_use().saturating_sub(counted);
        let became = resident_bytes().unwrap().saturating_sub(resident);
        drop(much);
        let is_about_that = |bytes: usize| bytes.abs_diff(MUCH) < MUCH / 4;
        assert!(
            is_about_that(grown) && is_about_that(became),
            "{grown} counted, {became} resident"
        );
    }

    /// What lies between pieces that stay in use goes back, too.
    #[test]
    fn pages_between_what_stays_are_given_back() {
        const LEN: usize = 64 << 10;
        let mut all: Vec<Option<Box<[u8]>>> =
            (0..2048).map(|_| Some(vec![1; LEN].into_boxed_slice())).collect();
        let peak = resident_bytes().unwrap();
        let mut at = 0;
        all.retain(|_| {
            at += 1;
            at % 64 == 0
        });
        give_back();
        let after = resident_bytes().unwrap();
        // Other tests take memory meanwhile.
        assert!(peak >= 2048 * LEN && after <= peak - 1024 * LEN, "{peak} {after}");
        assert_eq!(all.len(), 32);
    }
}
