//! Placeholder of the load generator.
fn main() {}
