//! Feeds one of powerdev's parsers with inputs that libFuzzer makes up: the one that `POWERDEV_FUZZ_TARGET` names. What
//! must hold for every input stands beside each parser, in its module's `fuzzing.rs`.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use powerdev::fuzzing::{TARGETS, Target};

// The agent is a program, and no other crate can reach into it; this part of it is pure.
#[path = "../../crates/agent/src/guard/head.rs"]
#[allow(dead_code, reason = "the guard uses the rest")]
mod head;
mod requests;

fuzz_target!(|input: &[u8]| target()(input));

/// The one that is named.
fn target() -> Target {
    static TARGET: OnceLock<Target> = OnceLock::new();
    *TARGET.get_or_init(|| {
        let name = std::env::var("POWERDEV_FUZZ_TARGET").unwrap_or_default();
        let targets = TARGETS.iter().chain([&("guard-head", requests::head as Target)]);
        let found = targets.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, target)| *target).expect("POWERDEV_FUZZ_TARGET names a folder of fuzz/corpus")
    })
}
