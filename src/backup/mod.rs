//! Backups of what the agents made: a point-in-time copy of the folders `analysis`, `output`, `data` and `logs`, with
//! the container's log and state, that is either there whole or not at all.
//!
//! ```text
//! .agent-mount/backups/
//!   .lock                     flock: exclusive for persist and restore, shared for verify
//!   2026-11-21T01-13-49Z/     one backup; `-2`, `-3` … when a second had more than one
//!     tree/analysis/…         the folders
//!     container.log           the container's log, if the Engine answered
//!     state.json              the container's state and the agent's, without secrets
//!     manifest.jsonl          every file with size, SHA-256, mode, owner and times
//!     verified.json           when the copy was last read again and found to be right
//!   .partial-…                being written, or left behind by a killed run: the next one removes it
//!   .retired-…                being removed, likewise
//! ```
//!
//! Files are always copied, never hard-linked to an older backup: a damaged block, or an editor that writes in place,
//! would harm every backup that shares the file, and `verify` would be right about none of them.
//!
//! The container is not trusted: see [`crate::files`].

mod content;
pub mod copy;
mod draft;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod job;
pub mod manifest;
pub mod restore;
mod store;
pub mod verify;

use std::ffi::OsStr;

use serde::Serialize;

pub use draft::{Draft, Made};
pub use error::BackupError;
pub use job::Job;
pub use store::{Backup, Store};

/// The folder of the backups, below `.agent-mount`.
pub const DIR: &str = "backups";
/// The folder of a backup that holds the copied folders.
pub const TREE: &str = "tree";
/// The container's log in a backup.
pub const LOG: &str = "container.log";
/// The container's state in a backup.
pub const STATE: &str = "state.json";

/// A folder that is backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Folder {
    /// `docker_analysis`.
    Analysis,
    /// `docker_output`.
    Output,
    /// `docker_data`.
    Data,
    /// `docker_logs`.
    Logs,
}

impl Folder {
    /// All of them, in the order that they are copied in.
    pub const ALL: [Self; 4] = [Self::Analysis, Self::Output, Self::Data, Self::Logs];

    /// Its name in a backup, and in the container's home.
    pub fn name(self) -> &'static OsStr {
        OsStr::new(match self {
            Self::Analysis => "analysis",
            Self::Output => "output",
            Self::Data => "data",
            Self::Logs => "logs",
        })
    }

    /// Its name in `.agent-mount`.
    pub fn mount(self) -> &'static OsStr {
        OsStr::new(match self {
            Self::Analysis => "docker_analysis",
            Self::Output => "docker_output",
            Self::Data => "docker_data",
            Self::Logs => "docker_logs",
        })
    }
}

#[cfg(test)]
mod tests;
