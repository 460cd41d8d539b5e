//! Putting a backup's folders back: checked first, what is there saved first, then each folder swapped in one step.
//!
//! A folder is written beside the old one and the two change places, so a run that is killed leaves each folder
//! either old or new, and whole. A container that runs goes on seeing the old one: its mounts were made before.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;
use serde::Serialize;

use super::content::{ContentReader, Sum};
use super::copy::{Attributes, CopyError, full_or};
use super::manifest::{Bytes, EntryKind, Manifest, ManifestEntry, Reason};
use super::store::remove;
use super::verify::Finding;
use super::{BackupError, Draft, Folder, Job, Store, TREE};
use crate::files::{self, Dir};
use crate::units::User;

/// What `restore` did.
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    /// The backup that the folders come from.
    pub backup: String,
    /// The folders that were replaced.
    pub folders: Vec<Folder>,
    /// Plain files put back.
    pub files: u64,
    /// Bytes in them, as their lengths say: holes count.
    pub bytes: u64,
    /// The backup that holds what was there before; none when there was nothing.
    pub saved_as: Option<String>,
}

/// The name under which a folder is put together before it takes its place, and under which the old one is removed.
pub(super) fn staged(folder: Folder) -> OsString {
    let mut name = OsString::from(".restore-");
    name.push(folder.mount());
    name
}

/// The folders that a backup holds, of those that are wanted.
pub fn folders(manifest: &Manifest, wanted: &[Folder]) -> Vec<Folder> {
    let held = |folder: &&Folder| manifest.entries.contains_key(&path_of(**folder));
    wanted.iter().filter(held).copied().collect()
}

fn path_of(folder: Folder) -> OsString {
    files::join(OsStr::new(TREE), folder.name())
}

/// Replaces `folders` by those of the backup `name`, which must have been [verified](Store::verify) under this lock.
///
/// # Errors
/// [`BackupError::Damaged`] when a file changed since it was verified; [`BackupError::Unsaved`] when what would be
/// overwritten can't be read whole. Until all folders are put together, nothing has changed.
pub fn restore(
    store: &Arc<Store>,
    name: &str,
    folders: &[Folder],
    project: &str,
    job: &Job,
) -> Result<Restored, BackupError> {
    let (backup, manifest) = store.manifest(name)?;
    let saved_as = save(store, folders, project, job)?;
    let tree = backup.dir(OsStr::new(TREE)).map_err(BackupError::io("open", backup.path()))?;
    let mut stage =
        Stage { name, manifest: &manifest, contents: ContentReader::new(job), owner: store.owner, files: 0, bytes: 0 };
    for folder in folders {
        let from = tree.dir(folder.name()).map_err(BackupError::io("open", tree.path()))?;
        let outcome = stage.level(&from, &store.mount, &staged(*folder), &path_of(*folder));
        if let Err(error) = outcome {
            for folder in folders {
                remove(&store.mount, &staged(*folder))?;
            }
            return Err(error);
        }
    }
    store.mount.sync_all().map_err(BackupError::io("write to the disk", store.mount.path()))?;
    let (files, bytes) = (stage.files, stage.bytes);
    for folder in folders {
        swap(&store.mount, *folder)?;
    }
    store.mount.sync().map_err(BackupError::io("write to the disk", store.mount.path()))?;
    for folder in folders {
        remove(&store.mount, &staged(*folder))?;
    }
    Ok(Restored { backup: name.to_owned(), folders: folders.to_vec(), files, bytes, saved_as })
}

/// Makes a backup of what is about to be overwritten.
fn save(store: &Arc<Store>, folders: &[Folder], project: &str, job: &Job) -> Result<Option<String>, BackupError> {
    let mut draft = Draft::begin(store, project, Reason::BeforeRestore)?;
    let total = draft.measure(folders, job)?;
    draft.copy(folders, total, job)?;
    if draft.is_empty() {
        return Ok(None);
    }
    if let Some(lost) = draft.lost() {
        let (path, why) = (lost.path.0.display(), &lost.why);
        return Err(BackupError::Unsaved(format!("{path}: {why}")));
    }
    Ok(Some(draft.commit()?.name))
}

fn swap(mount: &Dir, folder: Folder) -> Result<(), BackupError> {
    let place = mount.path().join(folder.mount());
    let swapped = match mount.stat(folder.mount()) {
        Ok(_) => mount.exchange(&staged(folder), folder.mount()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => mount.rename(&staged(folder), folder.mount()),
        Err(error) => Err(error),
    };
    swapped.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::BUSY | Errno::XDEV) => BackupError::MountPoint(place.clone()),
        _ => BackupError::io("replace", &place)(error),
    })
}

/// Puts folders together from a backup.
struct Stage<'a> {
    name: &'a str,
    manifest: &'a Manifest,
    contents: ContentReader<'a>,
    /// Whom root gives it to.
    owner: Option<User>,
    files: u64,
    bytes: u64,
}

impl<'a> Stage<'a> {
    fn level(&mut self, from: &Dir, to: &Dir, name: &OsStr, path: &OsStr) -> Result<(), BackupError> {
        let entry = self.entry(path)?;
        let copy = to.make_dir(name).map_err(|error| full_or(error, "make the folder", &to.path().join(name)))?;
        for name in from.names().map_err(BackupError::io("list", from.path()))? {
            let path = files::join(path, &name);
            let entry = self.entry(&path)?;
            match &entry.kind {
                EntryKind::Dir => {
                    let below = from.dir(&name).map_err(BackupError::io("open", from.path()))?;
                    self.level(&below, &copy, &name, &path)?;
                }
                EntryKind::Link { target } => {
                    let place = copy.path().join(&name);
                    copy.make_link(&target.0, &name).map_err(|error| full_or(error, "make the link", &place))?;
                    let owned = Attributes::restored(entry, self.owner).apply_to_link(&copy, &name);
                    owned.map_err(BackupError::io("set the owner of the link", &place))?;
                }
                EntryKind::File { size, sha256, sparse, .. } => {
                    let sum = Sum { size: *size, sha256: sha256.clone() };
                    self.file(from, &copy, &name, entry, (sum, *sparse))?;
                }
            }
        }
        let attributes = Attributes::restored(entry, self.owner).apply(&copy);
        attributes.map_err(BackupError::io("set the owner and mode of", copy.path()))
    }

    fn file(
        &mut self,
        from: &Dir,
        to: &Dir,
        name: &OsStr,
        entry: &ManifestEntry,
        (sum, sparse): (Sum, bool),
    ) -> Result<(), BackupError> {
        let (source, place) = (from.path().join(name), to.path().join(name));
        let read = |error| BackupError::io("read", &source)(error);
        let original = from.file(name).map_err(read)?;
        let copy = to.create(name).map_err(|error| full_or(error, "write", &place))?;
        let copied = self.contents.copy(&original, &copy, &place, (sum.size, sparse), true);
        if copied.map_err(|error| fatal(error, &source))? != sum {
            return Err(self.damaged(&entry.path.0, "its content changed since it was verified"));
        }
        self.files += 1;
        self.bytes += sum.size;
        let attributes = Attributes::restored(entry, self.owner).apply(&copy);
        attributes.map_err(BackupError::io("set the owner and mode of", &place))
    }

    fn entry(&self, path: &OsStr) -> Result<&'a ManifestEntry, BackupError> {
        let manifest: &'a Manifest = self.manifest;
        manifest.entries.get(path).ok_or_else(|| self.damaged(path, "not in the manifest"))
    }

    fn damaged(&self, path: &OsStr, problem: &str) -> BackupError {
        let finding = Finding { path: Bytes(path.to_owned()), problem: problem.to_owned() };
        BackupError::Damaged { name: self.name.to_owned(), findings: vec![finding] }
    }
}

fn fatal(error: CopyError, source: &Path) -> BackupError {
    match error {
        CopyError::Source(error) => BackupError::io("read", source)(error),
        CopyError::Fatal(error) => error,
    }
}
