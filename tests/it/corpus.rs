//! What the fuzz targets hold for all bytes (`tests/fuzz`), for their seeds and for every input that failed once.
//!
//! Finds nothing new: that is `tests/fuzz/run`'s. A find is committed to `tests/fuzz/finds/TARGET` together with its fix.

use std::fs;
use std::path::Path;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::cast_possible_truncation,
    reason = "a crate of its own, for whose functions others' names are public"
)]
#[path = "../fuzz/src/lib.rs"]
pub(crate) mod fuzz;

type Check = fn(&[u8]);

#[test]
fn every_seed_and_every_find_holds() {
    let targets: [(&str, Check); 11] = [
        ("bodies", fuzz::bodies::check),
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
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for (name, check) in targets {
        let seeds = inputs(&tests.join("fuzz/seeds").join(name));
        assert!(!seeds.is_empty(), "{name} has no seeds");
        let finds = inputs(&tests.join("fuzz/finds").join(name));
        let captured = if ["request", "bodies"].contains(&name) {
            inputs(&tests.join("it/handshakes"))
        } else {
            vec![]
        };
        for (path, input) in seeds.iter().chain(&finds).chain(&captured) {
            // Which one it was, should it panic.
            println!("{name}: {path}");
            check(input);
            // Ends where no message, head or value does.
            for len in 0..input.len().min(300) {
                check(&input[..len]);
            }
        }
    }
    let programs = inputs(&tests.join("fuzz/targets"));
    assert_eq!(programs.len(), targets.len(), "a target that is not looked at here");
}

/// The files of a folder, if there is one, and what is in them.
fn inputs(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    paths.map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect()
}
