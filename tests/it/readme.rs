//! What the README says, against what there is: the tests that its table of faults names, and the flags.

use std::fs;
use std::path::Path;

use crate::support::process::run;

/// `FILE::NAME`, in `tests/it` or in `src`; under load the file is always the same.
#[test]
fn every_test_that_the_tables_of_faults_name_exists() {
    let readme = read("README.md");
    let faults = section(&readme, "## What misbehaving clients get");
    let (faults, under_load) = faults.split_once("\n### Under load\n").unwrap();
    let (rows, loads) = (rows(faults), rows(under_load));
    assert!(rows.len() > 40 && loads.len() > 10, "{} {}", rows.len(), loads.len());
    let rows = rows.into_iter().map(|row| (row, None));
    for (row, home) in rows.chain(loads.into_iter().map(|row| (row, Some("hostile")))) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [_fault, _answer, tests] = cells[..] else { panic!("not three cells: {row}") };
        for test in tests.trim().split(", ") {
            let name = test.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).expect(row);
            let named = home.map(|home| (home, name)).or_else(|| name.split_once("::"));
            let (file, test) = named.expect(row);
            let path = match file.contains('/') {
                true => format!("src/{file}.rs"),
                false => format!("tests/it/{file}.rs"),
            };
            assert!(is_test(&read(&path), test), "{path} has no test {test}");
        }
    }
}

/// Those of the tables in `text`, but for their heads.
fn rows(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("| ")).skip(1).collect()
}

/// Whatever can stand in a file has a row that begins with its flag.
#[test]
fn every_flag_has_its_row() {
    let readme = read("README.md");
    let flags = section(&readme, "## Flags");
    let first_cells: Vec<&str> =
        flags.lines().filter_map(|line| line.split(" | ").next()).collect();
    let printed = run(&["--print-config"]).stdout;
    let keys = printed.lines().filter_map(|line| line.trim_start_matches("# ").split_once(" ="));
    let keys: Vec<&str> = keys.map(|(key, _)| key).filter(|key| !key.contains(' ')).collect();
    assert!(keys.len() > 40, "{keys:?}");
    for key in keys {
        let flag = if key == "verbose" { "`-v`".to_owned() } else { format!("`--{key}`") };
        let has_row = first_cells.iter().any(|cell| cell.starts_with("| ") && cell.contains(&flag));
        assert!(has_row, "{flag} has no row");
    }
}

#[test]
fn the_scan_tells_tests_from_what_only_looks_like_them() {
    let source = "/// So.\n#[test]\n#[cfg(unix)]\nfn a_test() {\n}\n\nfn a_helper() {}\n    #[test]\n    fn inner() {";
    for (name, expected) in
        [("a_test", true), ("inner", true), ("a_helper", false), ("a", false), ("test", false)]
    {
        assert_eq!(is_test(source, name), expected, "{name}");
    }
}

/// Whether `source` has a test of this name: a function with its attributes in the lines before it.
fn is_test(source: &str, name: &str) -> bool {
    let head = format!("fn {name}(");
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    (0..lines.len()).filter(|&at| lines[at].starts_with(&head)).any(|at| {
        let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
        attributes.into_iter().any(|line| line.starts_with("#[test]"))
    })
}

/// What stands between a heading and the next one of its level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("{heading}\n")).expect(heading);
    rest.split("\n## ").next().unwrap_or(rest)
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
