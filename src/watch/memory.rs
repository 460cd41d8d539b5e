//! What outlives the watcher, and the lock that keeps a second one out.

use std::fmt;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::report::{Cause, after};
use crate::clock::{now_ms, span};
use crate::failure::Failure;
use crate::files;
use crate::state::{self, Lock, StateDir};

/// What one watcher leaves to the next, in `watch.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// When it was restarted, in milliseconds since the Unix epoch; what is older than the window is forgotten.
    #[serde(default)]
    pub restarts: Vec<u64>,
    /// Set while it is quarantined.
    #[serde(default)]
    pub quarantine: Option<Quarantine>,
    /// It is meant to run: whoever finds it down starts it.
    #[serde(default)]
    pub running: bool,
    /// The newest of the Engine's events that was seen, in nanoseconds since the Unix epoch.
    #[serde(default)]
    pub last_ns: i64,
}

/// Why and since when an environment is left alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Why it would have been restarted.
    #[serde(flatten)]
    pub cause: Cause,
    /// The last probe's output, or the Engine's error.
    pub detail: String,
}

impl Quarantine {
    /// How to go on.
    pub const REMEDY: &str =
        "`powerdev events` shows what led to it, `powerdev logs` what it says; `powerdev restart` ends it";
}

impl fmt::Display for Quarantine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = span(now_ms().saturating_sub(self.since_ms));
        write!(f, "quarantined by `powerdev watch` for {since}: {}{}", self.cause, after(&self.detail))
    }
}

/// Whether the watcher has given an environment up, and why. `started_ms` is when it was started last (milliseconds since
/// the Unix epoch), where that is known: whoever started it since has taken the matter in hand.
pub fn quarantine(state: &StateDir, started_ms: Option<u64>) -> Option<Quarantine> {
    let given_up = remembered(state).quarantine?;
    started_ms.is_none_or(|started| started <= given_up.since_ms).then_some(given_up)
}

/// What the last watcher left. A file that can't be read is as good as none: watching is more important than the past.
fn remembered(state: &StateDir) -> Memory {
    let read = files::read(&state.watch_file()).ok();
    read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Held by the one watcher of an environment.
#[derive(Debug)]
pub struct Watcher {
    state: StateDir,
    _lock: Lock,
}

impl Watcher {
    /// Takes the lock and reads what the last watcher left.
    ///
    /// # Errors
    /// A conflict when the environment is watched already.
    pub fn of(state: StateDir, name: &str) -> anyhow::Result<(Self, Memory)> {
        state.create()?;
        let path = state.root().join("watch.lock");
        let lock = Lock::at(&path).with_context(|| format!("can't lock {}", path.display()))?;
        let watched = || Failure::conflict(format!("{name} is watched already")).hint("one `powerdev watch` is enough");
        let lock = lock.ok_or_else(watched)?;
        let memory = remembered(&state);
        Ok((Self { state, _lock: lock }, memory))
    }

    /// Writes it down.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn remember(&self, memory: &Memory) -> anyhow::Result<()> {
        state::replace(&self.state.watch_file(), &serde_json::to_vec(memory)?, 0o600, None)
    }

    /// The environment's folder.
    pub fn state(&self) -> &StateDir {
        &self.state
    }
}
