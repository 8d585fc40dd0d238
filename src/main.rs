//! The `wsfast` binary.
fn main() {}
