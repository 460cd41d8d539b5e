//! What can go wrong with backups, and what it means to the user.

use std::io;
use std::path::{Path, PathBuf};

use powerdev_protocol::ExitCode;

use super::verify::Finding;
use crate::failure::{Diagnostic, Failure};
use crate::units::ByteSize;

/// What went wrong with a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Reading or writing failed.
    #[error("can't {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder that it was tried on.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The disk is full, or the user's quota is used up.
    #[error("not enough space in {} : {} more are needed", path.display(), ByteSize(*missing))]
    NoSpace {
        /// The folder of backups whose disk is full.
        path: PathBuf,
        /// Bytes that are missing.
        missing: u64,
    },
    /// Another powerdev makes, checks or restores a backup here.
    #[error("another powerdev is at work on the backups in {}", .0.display())]
    Busy(PathBuf),
    /// A folder that should be plain is a link or something else.
    #[error("{} is not a plain folder", .0.display())]
    NotAFolder(PathBuf),
    /// `.agent-mount`, or the folder of backups in it, can't be used as it is.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// There is no such backup.
    #[error("there is no backup {0:?}")]
    NotFound(String),
    /// There is none at all.
    #[error("there are no backups in {}", .0.display())]
    Empty(PathBuf),
    /// What it holds isn't what was written.
    #[error("backup {name} is damaged: {}", summary(findings))]
    Damaged {
        /// The name of the backup.
        name: String,
        /// All that differs from the manifest, in order of the walk.
        findings: Vec<Finding>,
    },
    /// What would be overwritten can't be saved.
    #[error("what would be overwritten can't be saved completely: {0}")]
    Unsaved(String),
    /// A folder can't be swapped, since something is mounted on it.
    #[error("{} is a mount point and can't be replaced", .0.display())]
    MountPoint(PathBuf),
    /// The user stopped it.
    #[error("stopped; nothing was changed")]
    Cancelled,
}

impl BackupError {
    pub(super) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// Whether a write failed for want of space.
    pub(super) fn is_no_space(error: &io::Error) -> bool {
        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

impl Diagnostic for BackupError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Io { .. } | Self::NoSpace { .. } | Self::NotAFolder(_) | Self::Unsaved(_) | Self::MountPoint(_) => {
                ExitCode::Failed
            }
            Self::Refused(failure) => failure.code,
            Self::Busy(_) => ExitCode::Conflict,
            Self::NotFound(_) | Self::Empty(_) => ExitCode::NotRunning,
            Self::Damaged { .. } => ExitCode::Damaged,
            Self::Cancelled => ExitCode::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoSpace { .. } => {
                "nothing was written; free some space, or retire old backups with `powerdev persist --keep N`"
            }
            Self::Busy(_) => "wait until it is done; a killed one leaves no lock behind",
            Self::NotAFolder(_) => "links are not followed; mount the other folder there with `mount --bind` instead",
            Self::NotFound(_) => "`powerdev backups` lists what there is",
            Self::Empty(_) => "`powerdev persist` makes one",
            Self::Damaged { .. } => "`powerdev backups --verify` checks all of them; restore an older one by its name",
            Self::Unsaved(_) => "run as a user who may read these files, or move them away first",
            Self::MountPoint(_) => "unmount it, or copy the files from the backup's tree/ by hand",
            Self::Refused(failure) => return failure.hint.clone(),
            Self::Io { .. } | Self::Cancelled => return None,
        };
        Some(hint.to_owned())
    }
}

fn summary(findings: &[Finding]) -> String {
    const SHOWN: usize = 5;
    let mut text = findings.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if findings.len() > SHOWN {
        text.push_str(&format!("; and {} more", findings.len() - SHOWN));
    }
    text
}
