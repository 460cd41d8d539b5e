//! `powerdev-agent`
fn main() {}
