//! powerdev side by side with what one would use instead, in one run on one machine: `make bench`.
//!
//! Each pair is measured in alternation, so that whatever else the machine does hits both alike. Trust the ratios, not
//! the milliseconds. Nothing here fails on a number; what the project promises stands beside what was measured.

#[path = "../../tests/common/mod.rs"]
mod common;
mod measure;
mod subjects;

use std::io::Write;

use common::reaper;
use measure::Row;

fn main() {
    if reaper::reap_if_told() {
        return;
    }
    // `cargo bench` and `cargo test` hand their own flags on; a word picks the subjects whose name holds it.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    let mut tell = |line: String| writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody reads");
    tell(Row::header());
    for (name, subject) in subjects::ALL {
        if name.contains(&wanted) {
            for row in subject() {
                tell(row.to_string());
            }
        }
    }
}
