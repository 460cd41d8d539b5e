//! How the container and its supervisor are: usage, health, what the operator should see.

use std::collections::BTreeSet;

use powerdev_protocol::{Health, HealthState, Usage};

use super::now_ms;
use crate::usage::Sampler;

/// Notices that are kept.
const NOTICES: usize = 16;

/// What was measured and told last.
#[derive(Debug)]
pub struct Vitals {
    sampler: Sampler,
    usage: Usage,
    /// The environment's health, as it was told.
    pub health: Health,
    notices: BTreeSet<String>,
    /// When this process started, in milliseconds since the Unix epoch.
    pub started_ms: u64,
    sha256: Option<String>,
}

/// What a new sample shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct News {
    /// The kernel killed something for want of memory: so many kills since the start.
    pub oom_kills: Option<u64>,
    /// The limit of tasks refused one: so many since the start.
    pub pids_refused: Option<u64>,
}

impl Vitals {
    /// From the first sample on.
    pub fn new() -> Self {
        let mut sampler = Sampler::new();
        Self {
            usage: sampler.sample(),
            sampler,
            health: Health { state: HealthState::Starting, detail: String::new() },
            notices: BTreeSet::new(),
            started_ms: now_ms(),
            sha256: None,
        }
    }

    /// Takes a sample.
    pub fn look(&mut self) -> News {
        let usage = self.sampler.sample();
        let news = News {
            oom_kills: (usage.oom_kills > self.usage.oom_kills).then_some(usage.oom_kills),
            pids_refused: (usage.pids_refused > self.usage.pids_refused).then_some(usage.pids_refused),
        };
        self.usage = usage;
        news
    }

    /// The last sample.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Remembers something that the operator should see. Tells whether it is new.
    pub fn notice(&mut self, text: &str) -> bool {
        self.notices.len() < NOTICES && self.notices.insert(text.to_owned())
    }

    /// What the operator should see.
    pub fn notices(&self) -> impl Iterator<Item = &String> {
        self.notices.iter()
    }

    /// SHA-256 of this executable, in hex; empty if it can't be read.
    pub fn sha256(&mut self) -> &str {
        self.sha256.get_or_insert_with(own_sha256)
    }
}

fn own_sha256() -> String {
    use sha2::{Digest, Sha256};
    use std::io::Read;
    let mut digest = Sha256::new();
    let Ok(mut file) = std::fs::File::open("/proc/self/exe") else { return String::new() };
    let mut buffer = [0; 16 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
            Ok(n) => digest.update(&buffer[..n]),
            Err(_) => break String::new(),
        }
    }
}
