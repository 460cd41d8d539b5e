//! Everything that reads what others wrote, by name, for `scripts/fuzz.sh` and for the corpora that it keeps.

use powerdev_protocol::frame::{self, Decoder};
use powerdev_protocol::{Event, Hello, Request, Response, ServiceSet};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::{Deadline, Seconds};
use crate::{backup, config, image};

/// What is done with an input. It panics where something doesn't hold.
pub type Target = fn(&[u8]);

/// What is tried, each by the name of its folder in `fuzz/corpus`, and what must hold for every input.
pub const TARGETS: &[(&str, Target)] = &[
    ("powerdev-yaml", config::fuzzing::powerdev_yaml),
    ("env-file", config::fuzzing::env_file),
    ("values", values),
    ("control", control),
    ("services", services),
    ("manifest", backup::fuzzing::manifest),
    ("dockerignore", image::fuzzing::dockerignore),
    ("dockerfile", image::fuzzing::dockerfile),
];

/// What is written in a setting or a flag.
fn values(input: &[u8]) {
    config::fuzzing::values(input);
    if let Ok(seconds) = String::from_utf8_lossy(input).parse::<Seconds>() {
        Deadline::after(seconds.duration());
    }
}

/// The control protocol, either way: what is understood means the same once it is said again, and frames are cut out
/// alike however they come.
fn control(input: &[u8]) {
    for line in input.split(|byte| *byte == b'\n') {
        said_again::<Request>(line);
        said_again::<Response>(line);
        said_again::<Event>(line);
        said_again::<Hello>(line);
    }
    let whole = frames(input, input.len().max(1));
    assert_eq!(whole, frames(input, 1), "cut out otherwise byte by byte");
    let encoded: Vec<u8> = whole.iter().flat_map(|(kind, payload)| frame::encode(*kind, payload)).collect();
    assert!(input.starts_with(&encoded), "frames that were never sent");
}

fn said_again<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(line: &[u8]) {
    let Ok(heard) = serde_json::from_slice::<T>(line) else { return };
    let said = serde_json::to_vec(&heard).expect("plain data");
    assert!(!said.contains(&b'\n'), "more than one line");
    assert_eq!(serde_json::from_slice::<T>(&said).expect("what is said is understood"), heard);
}

fn frames(input: &[u8], size: usize) -> Vec<(frame::FrameKind, Vec<u8>)> {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for part in input.chunks(size) {
        decoder.push(part);
        loop {
            match decoder.next() {
                Ok(Some((kind, payload))) => frames.push((kind, payload.to_vec())),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    frames
}

/// What the agent reads: a set that passes has an order with every service once, after all that it depends on.
fn services(input: &[u8]) {
    let Ok(services) = serde_json::from_slice(input) else { return };
    let set = ServiceSet { services, ..ServiceSet::default() };
    let Ok(()) = set.check() else { return };
    let order = set.start_order().expect("what passes has an order");
    assert_eq!(order.len(), set.enabled().count());
    for (place, name) in order.iter().enumerate() {
        assert!(set.services[*name].depends_on.keys().all(|other| order[..place].contains(&other.as_str())));
    }
    let said = serde_json::to_vec(&set).expect("plain data");
    assert_eq!(serde_json::from_slice::<ServiceSet>(&said).expect("what is said is understood"), set);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Every kept input, those that found something among them.
    #[test]
    fn what_was_found_stays_mended() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, target) in TARGETS {
            let folder = std::fs::read_dir(corpus.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let inputs: Vec<_> = folder.map(|entry| entry.expect("readable").path()).collect();
            assert!(!inputs.is_empty(), "{name} has no inputs");
            for path in inputs {
                let input = std::fs::read(&path).expect("readable");
                let held = std::panic::catch_unwind(|| target(&input));
                assert!(held.is_ok(), "{}", path.display());
            }
        }
    }
}
