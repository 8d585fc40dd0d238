//! A server in a process of its own: this test binary, told to run but the test below.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::server::{Fault, Server};

/// The test that serves.
const SERVES: &str = "process::serves_until_it_is_ended";

/// What says on which port, and how a server is wrong.
const PORT: &str = "LOADTEST_SERVER_PORT";
const FAULT: &str = "LOADTEST_SERVER_FAULT";

/// A server that ends with this.
pub(crate) struct Process {
    child: Child,
    /// Where it is.
    pub(crate) url: String,
}

impl Process {
    /// A good server on a port of its own.
    pub(crate) fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", SERVES, "--ignored", "--nocapture"])
            .env(PORT, "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, told) = mpsc::channel();
        // Reads to the end, so that the process never waits for a reader.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(at) = line.find("ws://") {
                    let _ = tell.send(line[at..].to_owned());
                }
            }
        });
        let url = told.recv_timeout(Duration::from_secs(30)).unwrap();
        Self { child, url }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A shell command that serves on `{port}`; each reply takes so many milliseconds.
pub(crate) fn command(slow_millis: u64) -> String {
    let binary = std::env::current_exe().unwrap();
    let binary = binary.display();
    format!("{PORT}={{port}} {FAULT}={slow_millis} exec '{binary}' --exact {SERVES} --ignored")
}

#[test]
#[ignore = "a server for other tests, which run it as a process"]
fn serves_until_it_is_ended() {
    let number = |name| std::env::var(name).ok().and_then(|value: String| value.parse().ok());
    let fault = match number(FAULT) {
        None | Some(0) => Fault::None,
        Some(millis) => Fault::Slow(u64::from(millis)),
    };
    let server = Server::start_on(number(PORT).expect("a port"), fault);
    println!("{}", server.url());
    loop {
        std::thread::park();
    }
}
