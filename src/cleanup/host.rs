//! What powerdev left on this machine: agents of other releases, and what it remembers of environments.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Removal, Target};
use crate::config::Name;
use crate::control;
use crate::delivery;
use crate::engine::Inventory;
use crate::state::{self, StateDir};

/// How long what is remembered of an environment must have been left alone. An environment may live on another Engine
/// that is used now and then.
const LEFT_ALONE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is remembered of an environment that is gone; locked, so that nobody brings it back while it is removed.
#[derive(Debug)]
pub struct Remembered {
    /// The folder that can go.
    pub removal: Removal,
    _lock: state::Lock,
}

/// Agents that former releases kept in the user's cache.
pub fn stale_agents() -> Vec<Removal> {
    let Ok(cache) = delivery::cache_home() else { return Vec::new() };
    let stale = |path: &PathBuf| path.file_name().and_then(OsStr::to_str).unwrap_or_default().starts_with("agent-");
    folders(&cache).into_iter().filter(stale).map(|path| removal(path, "a former release's agent")).collect()
}

/// What is remembered of environments that this Engine knows nothing of, and that nobody has used for a week; of one
/// alone where that is given.
pub async fn remembered(inventory: &Inventory, only: Option<&Name>) -> Vec<Remembered> {
    let Ok(home) = state::state_home() else { return Vec::new() };
    let everything = [&inventory.containers, &inventory.networks, &inventory.volumes];
    let known: BTreeSet<&str> = everything.into_iter().flatten().filter_map(|item| item.project.as_deref()).collect();
    let mut found = Vec::new();
    for path in folders(&home) {
        let Some(name) = path.file_name().and_then(OsStr::to_str).and_then(|name| name.parse::<Name>().ok()) else {
            continue;
        };
        if only.is_some_and(|only| *only != name) {
            continue;
        }
        if known.contains(name.as_str()) || !left_alone(&path) {
            continue;
        }
        let Ok(state) = StateDir::of(&name) else { continue };
        // Another Engine on this machine may run it.
        if control::listens(&state.run_dir()).await {
            continue;
        }
        if let Ok(lock) = state.lock(Duration::ZERO).await {
            found.push(Remembered { removal: removal(path, "its environment is gone"), _lock: lock });
        }
    }
    found
}

/// Whether nothing in it, two levels deep, has changed for long. Locks don't count: looking takes them.
fn left_alone(folder: &Path) -> bool {
    let entries = walkdir::WalkDir::new(folder).min_depth(1).max_depth(2).into_iter().filter_map(Result::ok);
    let counts =
        entries.filter(|entry| entry.path().extension() != Some(OsStr::new("lock")) && entry.file_name() != "lock");
    let newest = counts.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max();
    newest.is_none_or(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > LEFT_ALONE))
}

fn folders(home: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(home).into_iter().flatten().filter_map(Result::ok);
    let mut folders: Vec<_> =
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect();
    folders.sort();
    folders
}

fn removal(path: PathBuf, why: &'static str) -> Removal {
    let sizes = walkdir::WalkDir::new(&path).into_iter().filter_map(Result::ok);
    let size = sizes.filter_map(|entry| entry.metadata().ok()).filter(|m| m.is_file()).map(|m| m.len()).sum();
    Removal { name: path.display().to_string(), target: Target::Folder { path }, size: Some(size), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_lately_stays() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("ports.json");
        fs::write(&file, "{}").expect("writable");
        assert!(!left_alone(folder.path()));
        let old = SystemTime::now() - LEFT_ALONE - Duration::from_secs(60);
        fs::File::options().write(true).open(&file).and_then(|file| file.set_modified(old)).expect("ours");
        assert!(left_alone(folder.path()));
        fs::write(folder.path().join("lock"), "").expect("writable");
        assert!(left_alone(folder.path()), "looking takes the lock");
    }
}
