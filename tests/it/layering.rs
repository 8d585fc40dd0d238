//! Who may name whom: the invariants of the architecture, as scans of the sources.
//!
//! Names are looked for in code, not in comments. A scan is no proof, but it keeps a slip from going unseen.

use std::fs;
use std::path::{Path, PathBuf};

/// Sans-IO: no socket, no file, no clock, no log, and no layer above.
#[test]
fn proto_names_nothing_that_does_io_or_reads_a_clock() {
    let forbidden = [
        "crate::net",
        "crate::config",
        "crate::app",
        "crate::client",
        "crate::cli",
        "mio",
        "socket2",
        "rustix",
        "signal_hook",
        "signal_hook_mio",
        "tracing",
        "clap",
        "std::net",
        "std::io",
        "std::fs",
        "std::time",
        "std::thread",
        "std::process",
        "std::env",
        "Instant",
        "SystemTime",
        "TcpStream",
        "TcpListener",
        // Names of what they hold would be hidden.
        "std::{",
        "super::super",
    ];
    names_none("src/proto", &forbidden);
}

#[test]
fn net_names_nothing_above_it() {
    names_none(
        "src/net",
        &[
            "crate::app",
            "crate::client",
            "crate::cli",
            "clap",
            "tracing_subscriber",
            "std::process",
        ],
    );
    // A simulation is told which seeds to live through.
    assert_eq!(files_that_name("src/net", "std::env"), ["src/net/simulation/mod.rs"]);
    names_none("src/lib.rs", &["app", "cli", "clap"]);
    names_none(
        "src/config.rs",
        &["crate::net", "crate::proto", "crate::app", "crate::cli", "clap", "std::env"],
    );
}

/// Rooms from the lowest floor up, as far as nothing is named upwards yet: each names none of those behind it.
#[test]
fn values_and_sockets_name_nothing_above_them() {
    let floors = [
        ("src/net", "crate::net", &["terms", "socket"][..], &NET_ABOVE[..]),
        ("src/app", "crate::app", &["terms"], &["admin", "centrifugo", "gate", "hub", "process"]),
        ("loadtest/src", "crate", &["time"], &LOADTEST_ABOVE),
    ];
    for (folder, path, rooms, above) in floors {
        for (floor, room) in rooms.iter().enumerate() {
            let higher = rooms[floor + 1..].iter().chain(above);
            let forbidden: Vec<String> = higher.map(|room| format!("{path}::{room}")).collect();
            let forbidden: Vec<&str> = forbidden.iter().map(String::as_str).collect();
            names_none(&format!("{folder}/{room}"), &forbidden);
        }
    }
    names_none("src/app/terms", &["crate::client", "crate::cli"]);
    for below in ["src/app", "src/client"] {
        names_none(below, &["crate::cli", "clap"]);
    }
}

const NET_ABOVE: [&str; 7] = ["turn", "topics", "peer", "phase", "api", "handover", "server"];

const LOADTEST_ABOVE: [&str; 9] =
    ["wire", "plan", "engine", "judge", "watch", "result", "compare", "report", "run"];

#[test]
fn the_clock_is_read_in_one_file() {
    assert_eq!(files_that_name("src", "Instant::now"), ["src/net/socket/clock.rs"]);
    assert_eq!(files_that_name("src", "Instant"), ["src/net/socket/clock.rs"]);
}

#[test]
fn two_files_are_unsafe() {
    assert_eq!(files_that_name("src", "unsafe"), ["src/app/process/heap.rs", "src/proto/avx2.rs"]);
    assert_eq!(files_that_name("loadtest/src", "unsafe"), [""; 0]);
}

#[test]
fn sockets_are_read_and_written_in_one_file() {
    for (call, clients_too) in [
        ("read", true),
        ("read_vectored", false),
        ("write", false),
        ("write_all", true),
        ("write_vectored", false),
        ("shutdown", false),
    ] {
        let mut files = files_that_name("src", &format!("stream.{call}"));
        if clients_too {
            // `pub` and `sub` block, and have a link of their own.
            assert!(files.remove(0) == "src/client/link.rs", "{call}");
        }
        files.retain(|file| file != "src/net/socket/link.rs");
        assert_eq!(files, [""; 0], "{call}");
    }
}

/// Numbers of strangers: an addition that may wrap does not compile there, unless a reason says what bounds it. In a module with
/// others in it, it holds for all of them.
#[test]
fn numbers_from_outside_are_not_added_up_unlooked_at() {
    for file in [
        "src/proto/mod.rs",
        "src/state.rs",
        "src/net/terms/cursor.rs",
        "src/net/phase/fan_out.rs",
        "src/net/handover.rs",
        "src/net/phase/http.rs",
        "src/net/peer/peers.rs",
        "src/net/terms/peer_id.rs",
        "src/net/phase/proxied.rs",
        "src/net/phase/publication.rs",
        "src/net/topics.rs",
        "src/net/socket/trust.rs",
        "src/app/admin.rs",
        "src/app/centrifugo/mod.rs",
        "src/client/mod.rs",
        "src/app/hub/plain.rs",
        "src/app/terms/mod.rs",
        "src/app/hub/deadlines.rs",
        "src/app/gate.rs",
        "src/app/process/inherited.rs",
        "src/app/hub/route.rs",
        "src/cli/values.rs",
    ] {
        let source = fs::read_to_string(root().join(file)).unwrap();
        let denies = source.lines().any(|it| it == "#![deny(clippy::arithmetic_side_effects)]");
        assert!(denies, "{file} does not deny it");
    }
}

/// HTTP is parsed in one place, and so is a WebSocket key proved.
#[test]
fn libraries_stay_behind_the_files_that_wrap_them() {
    let table = [
        ("httparse", "src/proto/handshake"),
        ("sha1", "src/proto/handshake"),
        ("simdutf8", "src/proto"),
        ("slab", "src/net"),
        ("mio", "src/net"),
        ("socket2", "src/net"),
        ("ipnet", "src/net/socket/trust.rs"),
        ("listenfd", "src/app/process/inherited.rs"),
        ("nix", "src/app/process/handover.rs"),
        ("signal_hook_mio", "src/net"),
        ("x509_parser", "src/net/socket/tls.rs"),
        ("zlib_rs", "src/proto/deflate/codec.rs"),
        ("jsonwebtoken", "src/app/gate/token.rs"),
        ("aws_lc_rs::digest", "src/app/gate/key.rs"),
        ("rustls_native_certs", "src/client/tls.rs"),
        ("prometheus_client", "src/app/admin/metrics.rs"),
        ("clap", "src/cli"),
        ("tracing_subscriber", "src/app/admin/logs.rs"),
    ];
    for (library, home) in table {
        for file in files_that_name("src", library) {
            assert!(file.starts_with(home), "{file} names {library}, which belongs into {home}");
        }
    }
    for file in files_that_name("src", "simd_json") {
        let homes = ["src/app", "src/client"];
        assert!(homes.iter().any(|home| file.starts_with(home)), "{file} names simd_json");
    }
}

/// One for the server, one for the clients of the binary.
#[test]
fn tls_is_in_two_files() {
    assert_eq!(files_that_name("src", "rustls"), ["src/client/tls.rs", "src/net/socket/tls.rs"]);
}

/// For keys in handshakes, and for binary messages inside of JSON.
#[test]
fn base64_has_two_uses() {
    for file in files_that_name("src", "base64::") {
        let homes = ["src/proto/handshake", "src/app/hub/plain.rs", "src/app/centrifugo/protocol"];
        assert!(homes.iter().any(|home| file.starts_with(home)), "{file} names base64");
    }
}

/// Tests may make certificates anywhere.
#[test]
fn certificates_are_made_in_one_file() {
    let served: Vec<String> = files_that_name("src", "rcgen")
        .into_iter()
        .filter(|file| {
            let code = code_of(&root().join(file));
            names(code.split("#[cfg(test)]").next().unwrap(), "rcgen")
        })
        .collect();
    assert_eq!(served, ["src/app/process/dev_cert.rs"]);
}

/// An operator reads words, not the names of variants: no event has a field with `?` in front.
#[test]
fn no_line_of_the_log_is_debug_text() {
    let mut events = 0;
    for file in sources("src") {
        let code = code_of(&file);
        let code = code.split("#[cfg(test)]").next().unwrap();
        for (at, _) in code.match_indices("tracing::") {
            let event = code[at..].split(';').next().unwrap();
            events += usize::from(event.contains("!("));
            let is_debug =
                ["(?", " ?", "=?", "\n?", "{:?}", ":?}"].iter().any(|it| event.contains(it));
            assert!(!is_debug, "{}: {event}", file.display());
        }
    }
    assert!(events > 20, "{events}");
}

/// Ends are the loop's business, SIGHUP the settings', SIGUSR2 the restart's, Ctrl-C that of who listens.
#[test]
fn signals_are_caught_in_four_files() {
    let files = files_that_name("src", "signal_hook");
    let homes = [
        "src/app/process/handover.rs",
        "src/app/process/reload.rs",
        "src/client/sub.rs",
        "src/net/socket/signals.rs",
    ];
    assert_eq!(files, homes);
}

#[test]
fn the_load_generator_is_built_on_proto_alone() {
    for file in sources("loadtest/src") {
        let code = code_of(&file);
        for (at, _) in code.match_indices("wsfast::") {
            let path = &code[at..];
            assert!(
                path.starts_with("wsfast::proto::"),
                "{}: {}",
                file.display(),
                path.lines().next().unwrap()
            );
        }
    }
}

/// A scanner that finds nothing would be satisfied with everything.
#[test]
fn the_scan_sees_names_in_code_and_only_there() {
    let code = without_comments("use std::io; // mio\n/// Instant\nlet x = \"mio\"; // unsafe\n");
    assert!(names(&code, "std::io"));
    assert!(names(&code, "mio"));
    assert!(!names(&code, "io::Read"));
    assert!(!names(&code, "Instant"));
    assert!(!names(&code, "unsafe"));
    assert!(!names("unsafe_code cramio mion", "unsafe") && !names("cramio mion", "mio"));
    assert_eq!(files_that_name("src", "acceptfrom_with"), ["src/net/socket/listener.rs"]);
    assert!(sources("src").len() > 30);
}

fn names_none(folder: &str, forbidden: &[&str]) {
    for name in forbidden {
        assert_eq!(files_that_name(folder, name), [""; 0], "{name}");
    }
}

/// The sources under `folder` whose code names `name`, sorted.
fn files_that_name(folder: &str, name: &str) -> Vec<String> {
    let root = root();
    sources(folder)
        .iter()
        .filter(|file| names(&code_of(file), name))
        .map(|file| file.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/"))
        .collect()
}

/// Whether `code` contains `name` as whole words.
fn names(code: &str, name: &str) -> bool {
    let is_word = |at: char| at.is_alphanumeric() || at == '_';
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let behind = code[at + name.len()..].chars().next();
        let goes_on = name.ends_with(is_word) && behind.is_some_and(is_word);
        !before.is_some_and(is_word) && !goes_on
    })
}

/// `path` itself if it is a file, else every `.rs` below it; sorted.
fn sources(path: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut paths = vec![root().join(path)];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    assert!(!files.is_empty(), "no sources in {path}");
    files.sort();
    files
}

fn code_of(file: &Path) -> String {
    without_comments(&fs::read_to_string(file).unwrap())
}

/// `source` without what follows `//` in each line. In a string, too, where no name of interest can stand.
fn without_comments(source: &str) -> String {
    source
        .lines()
        .map(|line| line.split("//").next().unwrap_or(line))
        .fold(String::new(), |code, line| code + line + "\n")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
