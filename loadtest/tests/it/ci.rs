//! What a pipeline asks for: thresholds, baselines, files for other programs.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::run::{loadtest, run};
use crate::server::{Fault, Server};

const LOAD: &str = "-c 5 -r 200 --warmup 0 -d 500ms";

/// A file that is gone with this.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        let unique = format!("loadtest-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(unique))
    }

    fn read(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_threshold_that_is_missed_decides_the_exit_code() {
    let server = Server::start(Fault::None);
    let table = [
        ("--threshold lost==0 --threshold latency.p50<10s", 0, vec![true, true]),
        ("--threshold lost==0 --threshold latency.p50<1ns", 99, vec![true, false]),
        // 100 samples have no p99.9: that is no consent.
        ("--threshold latency.p99.9<10s", 99, vec![false]),
    ];
    for (flags, code, holds) in table {
        let ran = run(&server, &format!("{LOAD} {flags}"));
        let told: Vec<bool> = ran.json["thresholds"]
            .as_array()
            .unwrap()
            .iter()
            .map(|checked| checked["holds"] == true)
            .collect();
        assert_eq!((ran.code, told), (code, holds), "{flags}: {}", ran.json["thresholds"]);
        assert_eq!(ran.json["exit_code"], code, "{flags}");
    }
    // What is wrong is worse than what is slow.
    let ran = run(&Server::start(Fault::Dropped), &format!("{LOAD} --threshold lost==0"));
    assert_eq!(ran.code, 4);
}

#[test]
fn a_regression_is_found_against_a_baseline() {
    let server = Server::start(Fault::None);
    let file = File::new("baseline.json");
    let path = file.0.display().to_string();
    assert_eq!(run(&server, &format!("{LOAD} --save-baseline {path}")).code, 0);
    let against = |flags: &str| run(&server, &format!("{LOAD} --baseline {path} {flags}"));
    let same = against("--fail-on-regression=100000");
    assert_eq!((same.code, same.json["changes"][0]["name"].as_str()), (0, Some("latency.p50")));

    // As if it had been answered at once and twice as often.
    let mut document: Value = serde_json::from_str(&file.read()).unwrap();
    document["replies_per_s"] = json!(1000.0);
    std::fs::write(&file.0, document.to_string()).unwrap();
    assert_eq!(against("").code, 0);
    let worse = against("--fail-on-regression=40");
    assert_eq!(worse.code, 6, "{}", worse.json["changes"]);
    let rate = worse.json["changes"].as_array().unwrap().iter().find(|c| c["name"] == "rate");
    assert_eq!(rate.unwrap()["is_regression"], true);

    let other = loadtest(&format!("{} -q -c 3 -r 5 -d 300ms --baseline {path}", server.url()));
    let output = { other }.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("conns was 5 and is 3"));
}

#[test]
fn two_documents_are_put_side_by_side() {
    let server = Server::start(Fault::None);
    let file = File::new("compare.json");
    let path = file.0.display().to_string();
    run(&server, &format!("{LOAD} --save-baseline {path}"));
    let output = loadtest(&format!("compare {path} {path}")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("latency.p50") && text.contains("0.0%"), "{text}");
    assert!(!text.contains("REGRESSION") && output.status.success(), "{text}");
    let output = loadtest(&format!("compare {path} /nowhere.json")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn other_programs_get_their_files() {
    let server = Server::start(Fault::None);
    let (csv, hgrm) = (File::new("run.csv"), File::new("run.hgrm"));
    run(&server, &format!("{LOAD} --csv {} --hgrm {}", csv.0.display(), hgrm.0.display()));
    let csv = csv.read();
    let mut lines = csv.lines();
    assert!(lines.next().unwrap().starts_with("at_s,span_s,phase,"), "{csv}");
    let column = |line: &str, at: usize| line.split(',').nth(at).unwrap().parse::<u64>().unwrap();
    assert_eq!(lines.map(|line| column(line, 5)).sum::<u64>(), 100, "{csv}");
    assert!(hgrm.read().contains("Total count    =          100"), "{}", hgrm.read());
}

#[test]
fn the_doctor_looks_at_the_machine() {
    let output = loadtest("doctor").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("file descriptors"), "{text}");
}

#[test]
fn a_page_is_written_and_can_be_written_again() {
    let server = Server::start(Fault::None);
    let (page, json) = (File::new("page.html"), File::new("page.json"));
    let (page_path, json_path) = (page.0.display().to_string(), json.0.display().to_string());
    let flags = format!("-q {} {LOAD} --html {page_path} --json={json_path}", server.url());
    assert!(loadtest(&flags).status().unwrap().success());
    let written = page.read();
    assert!(written.starts_with("<!doctype html>") && written.ends_with("</html>\n"), "{written}");
    assert!(written.contains("Response times over time"), "{written}");
    let again = loadtest(&format!("report {json_path}")).output().unwrap();
    assert!(String::from_utf8(again.stdout).unwrap() == written);
    assert!(
        loadtest(&format!("report {json_path} --html {page_path}")).status().unwrap().success()
    );
    assert!(page.read() == written);
}
