//! A project's folder that was renamed or moved: by what it is known again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::{StateDir, remove, replace, state_home};
use crate::config::Name;
use crate::files;

/// Beside the path: what a folder keeps when it gets another one.
const MARK: &str = "folder";

impl StateDir {
    /// Remembers by what the project's folder will be known again.
    pub(super) fn remember_mark(&self, folder: &Path) -> anyhow::Result<()> {
        match mark(folder) {
            Some(mark) if self.mark().as_ref() != Some(&mark) => {
                replace(&self.root.join(MARK), mark.as_bytes(), 0o600, None)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn forget_mark(&self) -> anyhow::Result<()> {
        remove(&self.root.join(MARK))
    }

    fn mark(&self) -> Option<String> {
        String::from_utf8(files::read(&self.root.join(MARK)).ok()?).ok()
    }

    /// The environment that this folder had by another path, where nothing is any more, and that path.
    pub fn before_move(folder: &Path) -> Option<(Name, PathBuf)> {
        let mark = mark(folder)?;
        let entries = fs::read_dir(state_home().ok()?).ok()?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<Name>().ok());
        let found = names.filter_map(|name| {
            let state = Self::of(&name).ok().filter(|state| state.mark().as_ref() == Some(&mark))?;
            let was = state.remembered().filter(|was| was.symlink_metadata().is_err())?;
            let when = fs::metadata(state.root.join(MARK)).and_then(|file| file.modified()).ok()?;
            Some((when, name, was))
        });
        found.max_by_key(|(when, ..)| *when).map(|(_, name, was)| (name, was))
    }
}

/// What a folder keeps wherever it is moved on its file system, and no other has: the inode alone is given out again.
/// None: the file system doesn't tell.
fn mark(folder: &Path) -> Option<String> {
    let found = fs::metadata(folder).ok()?;
    let made = found.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{}:{}:{}", found.dev(), found.ino(), made.as_nanos()))
}
