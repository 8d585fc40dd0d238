//! What the fuzz targets hold for all bytes (`tests/fuzz`): for their seeds and what was learned from them, for every input that
//! failed once, and for seeds that were damaged.
//!
//! Finds little new: that is `tests/fuzz/run`'s. A find is committed to `tests/fuzz/finds/TARGET` together with its fix.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::cast_possible_truncation,
    reason = "a crate of its own, for whose functions others' names are public"
)]
#[path = "../fuzz/src/lib.rs"]
pub(crate) mod fuzz;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 12] = [
    ("bodies", fuzz::bodies::check),
    ("cursors", fuzz::cursors::check),
    ("extensions", fuzz::extensions::check),
    ("header", fuzz::header::check),
    ("http", fuzz::http::check),
    ("inbound", fuzz::inbound::check),
    ("inflate", fuzz::inflate::check),
    ("json", fuzz::json::check),
    ("plain", fuzz::plain::check),
    ("proxy", fuzz::proxy::check),
    ("request", fuzz::request::check),
    ("utf8", fuzz::utf8::check),
];

#[test]
fn every_target_is_looked_at() {
    let programs = inputs("fuzz/targets");
    assert_eq!(programs.len(), TARGETS.len());
}

#[test]
fn every_seed_and_every_find_holds() {
    for (name, check) in TARGETS {
        let finds = inputs(&format!("fuzz/finds/{name}"));
        for (path, input) in seeds(name).iter().chain(&finds) {
            // Which one it was, should it panic.
            println!("{name}: {path}");
            check(input);
            // Ends where no message, head or value does; up to a hundred such places, since a check has cuts of its own.
            for len in (0..input.len()).step_by(input.len() / 100 + 1) {
                check(&input[..len]);
            }
        }
        for (path, input) in inputs(&format!("fuzz/learned/{name}")) {
            println!("{name}: {path}");
            check(&input);
        }
    }
}

/// Each codec and its naive twin, on what is nearly right: that gets further than any bytes would.
#[test]
fn every_damaged_seed_holds() {
    for (name, check) in TARGETS {
        let inputs = seeds(name).into_iter().map(|(_, input)| input).collect();
        let mut runner =
            TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(200) });
        let outcome = runner.run(&damaged(inputs), |input| {
            check(&input);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// One of `inputs` with a few bytes taken out, and others put there: any, or a part of another.
fn damaged(inputs: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let others = inputs.clone();
    let part = (any::<Index>(), any::<Index>(), 0..40_usize).prop_map(move |(which, from, len)| {
        let other = which.get(&others);
        let from = from.index(other.len() + 1);
        other[from..other.len().min(from + len)].to_vec()
    });
    let put = prop_oneof![prop::collection::vec(any::<u8>(), 0..4), part];
    let change = (any::<Index>(), 0..4_usize, put);
    (prop::sample::select(inputs), prop::collection::vec(change, 0..4)).prop_map(
        |(mut input, changes)| {
            for (at, len, put) in changes {
                let at = at.index(input.len() + 1);
                let end = input.len().min(at + len);
                input.splice(at..end, put);
            }
            input
        },
    )
}

/// Where fuzzing a target starts. For requests that is also what real clients sent.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut seeds = inputs(&format!("fuzz/seeds/{target}"));
    assert!(!seeds.is_empty(), "{target} has no seeds");
    if ["request", "bodies"].contains(&target) {
        seeds.extend(inputs("it/handshakes"));
    }
    seeds
}

/// The files of a folder, if there is one, and what is in them.
fn inputs(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    paths.map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect()
}
