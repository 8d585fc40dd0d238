//! Runs the binary and reads what it says.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::server::Server;

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code.
    pub(crate) code: i32,
    /// The JSON.
    pub(crate) json: Value,
}

impl Ran {
    /// The number at `path`, such as `/counts/lost`.
    pub(crate) fn number(&self, path: &str) -> u64 {
        let found = self.json.pointer(path).and_then(Value::as_u64);
        found.unwrap_or_else(|| panic!("no number at {path} in {:#}", self.json))
    }

    /// The counts that are not zero, as `name=count` in the order of the JSON.
    pub(crate) fn counts(&self) -> String {
        let counts = self.json["counts"].as_object().expect("counts");
        let told = counts.iter().filter(|(_, count)| count.as_u64() != Some(0));
        told.map(|(name, count)| format!("{name}={count}")).collect::<Vec<_>>().join(" ")
    }

    /// Why connections failed, as `count × reason`.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failures = self.json["connect"]["failures"].as_array().expect("failures");
        failures
            .iter()
            .map(|f| format!("{} × {}", f["count"], f["reason"].as_str().unwrap()))
            .collect()
    }
}

/// The binary with these flags, separated by spaces.
pub(crate) fn loadtest(flags: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(flags.split_whitespace()).stdin(Stdio::null());
    command
}

/// Runs the binary against what is at `url`, with some flags that hold spaces.
pub(crate) fn run_with(url: &str, flags: &str, spaced: &[&str]) -> Ran {
    let output = loadtest(&format!("{url} {BOUNDS} {flags}")).args(spaced).output().unwrap();
    ran(&output)
}

/// Every wait that could be long is cut short.
const BOUNDS: &str = "--quiet --json --connect-timeout 2s --timeout 2s --drain 3s";

/// Runs the binary against `server`; every wait that could be long is cut short.
pub(crate) fn run(server: &Server, flags: &str) -> Ran {
    run_at(&server.url(), flags)
}

/// The same, against what is at `url`.
pub(crate) fn run_at(url: &str, flags: &str) -> Ran {
    run_with(url, flags, &[])
}

/// What `output` says.
pub(crate) fn ran(output: &Output) -> Ran {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {stderr}{}", output.status));
    Ran { code: output.status.code().unwrap_or(-1), json }
}
