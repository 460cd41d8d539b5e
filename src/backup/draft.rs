//! A backup being made: written under a name that no reader takes for a backup, then renamed into place.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;

use super::content::ContentReader;
use super::copy::{Copier, full_or, measure};
use super::manifest::{self, Bytes, EntryKind, Header, Reason, Skipped, Totals, Writer};
use super::store::{PARTIAL, made, there, timestamp};
use super::{BackupError, Folder, Job, Store, TREE};
use crate::files::{self, Dir};

/// A backup being made. Dropped before [`Draft::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct Draft {
    store: Arc<Store>,
    dir: Dir,
    time: String,
    partial: OsString,
    /// Taken by the commit.
    manifest: Option<Writer>,
    changing: Vec<OsString>,
    folders: Vec<Folder>,
}

/// A backup that was made.
#[derive(Debug, Clone, Serialize)]
pub struct Made {
    /// What `restore` and `backups` call it: when it was begun, in UTC.
    pub name: String,
    /// Plain files, the log and the state included.
    pub files: u64,
    /// Bytes in them, as their lengths say: holes count.
    pub bytes: u64,
    /// The folders that were there.
    pub folders: Vec<Folder>,
    /// What was left out.
    pub skipped: Vec<Skipped>,
    /// Files that changed each time that they were copied.
    pub changing: Vec<Bytes>,
    /// Everything that has content is in it.
    pub complete: bool,
}

impl Draft {
    /// Begins a backup.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn begin(store: &Arc<Store>, project: &str, reason: Reason) -> Result<Self, BackupError> {
        let time = timestamp();
        let partial = OsString::from(format!("{PARTIAL}{time}-{}", std::process::id()));
        let full = |error| full_or(error, "write", store.path());
        let dir = store.root.make_dir(&partial).map_err(full)?;
        let header = Header {
            format: manifest::FORMAT,
            project: project.to_owned(),
            reason,
            created_ms: jiff::Timestamp::now().as_millisecond().unsigned_abs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let mut draft = Self {
            store: store.clone(),
            dir,
            time,
            partial,
            manifest: None,
            changing: Vec::new(),
            folders: Vec::new(),
        };
        let file = draft.dir.create(OsStr::new(manifest::FILE)).map_err(full)?;
        draft.manifest = Some(Writer::new(file, &header).map_err(full)?);
        Ok(draft)
    }

    /// A new file beside the folders, e.g. the container's log. It counts once it is [recorded](Self::record).
    ///
    /// # Errors
    /// When it can't be written.
    pub fn file(&self, name: &str) -> Result<File, BackupError> {
        self.dir.create(OsStr::new(name)).map_err(|error| full_or(error, "write", self.dir.path()))
    }

    /// Enters a file made by [`Self::file`] into the manifest, with its checksum.
    ///
    /// # Errors
    /// When it can't be read again.
    pub fn record(&mut self, name: &str, job: &Job) -> Result<(), BackupError> {
        let path = self.dir.path().join(name);
        let read = |error| BackupError::io("read", &path)(error);
        let file = self.dir.file(OsStr::new(name)).map_err(read)?;
        let stat = rustix::fs::fstat(&file).map_err(|error| read(error.into()))?;
        let sum = ContentReader::new(job).sum(&file, &path, (stat.st_size as u64, false))?;
        let kind = EntryKind::File { size: sum.size, sha256: sum.sha256, sparse: false, changing: false };
        let entry = super::copy::entry(OsStr::new(name), &stat, kind);
        self.writer().entry(&entry).map_err(|error| full_or(error, "write the manifest in", self.dir.path()))
    }

    /// Writes a whole file beside the folders and records it.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn add(&mut self, name: &str, content: &[u8], job: &Job) -> Result<(), BackupError> {
        let written = self.file(name)?.write_all(content);
        written.map_err(|error| full_or(error, "write", self.dir.path()))?;
        self.record(name, job)
    }

    /// Bytes that [`Self::copy`] would copy.
    ///
    /// # Errors
    /// When a folder is a link, or the user stops it.
    pub fn measure(&self, folders: &[Folder], job: &Job) -> Result<u64, BackupError> {
        let mut bytes = 0;
        for folder in folders {
            if let Some(from) = self.source(*folder)? {
                bytes += measure(&from, job)?;
            }
        }
        Ok(bytes)
    }

    /// Copies the folders that are there. `total` is what [`Self::measure`] said.
    ///
    /// # Errors
    /// [`BackupError::NoSpace`] before the first byte where the disk can't hold `total`.
    pub fn copy(&mut self, folders: &[Folder], total: u64, job: &Job) -> Result<(), BackupError> {
        let root = || self.store.path().to_owned();
        let available = self.dir.available().map_err(BackupError::io("look at", self.dir.path()))?;
        if let Some(missing) = total.checked_sub(available).filter(|missing| *missing > 0) {
            return Err(BackupError::NoSpace { path: root(), missing });
        }
        let tree = made(&self.dir, OsStr::new(TREE))?;
        let stat = tree.stat_self().map_err(BackupError::io("look at", tree.path()))?;
        let entry = super::copy::entry(OsStr::new(TREE), &stat, EntryKind::Dir);
        self.writer().entry(&entry).map_err(|error| full_or(error, "write the manifest in", tree.path()))?;
        for folder in folders {
            let Some(from) = self.source(*folder)? else { continue };
            let manifest = self.manifest.as_mut().expect("taken by the commit alone");
            let mut copier = Copier::new(manifest, job);
            let path = files::join(OsStr::new(TREE), folder.name());
            let outcome = copier.folder(&from, &tree, folder.name(), &path);
            self.changing.append(&mut copier.changing);
            outcome.map_err(|error| self.how_much(error, total))?;
            self.folders.push(*folder);
        }
        Ok(())
    }

    /// The disk filled up meanwhile: what was written so far tells how much more is needed.
    fn how_much(&self, error: BackupError, total: u64) -> BackupError {
        let BackupError::NoSpace { .. } = error else { return error };
        let written = measure(&self.dir, &Job::default()).unwrap_or(0);
        let left = self.dir.available().unwrap_or(0);
        let missing = total.saturating_sub(written).saturating_sub(left).max(1);
        BackupError::NoSpace { path: self.store.path().to_owned(), missing }
    }

    /// Whether no folder was there.
    pub fn is_empty(&self) -> bool {
        self.folders.is_empty()
    }

    /// The first thing with content that could not be copied.
    pub fn lost(&self) -> Option<&Skipped> {
        self.manifest.as_ref().and_then(|manifest| manifest.skipped().iter().find(|skipped| skipped.lost))
    }

    /// Writes everything to the disk and gives the backup its name.
    ///
    /// # Errors
    /// When the disk can't be written; then there is no backup.
    pub fn commit(mut self) -> Result<Made, BackupError> {
        let path = self.dir.path().to_owned();
        let manifest = self.manifest.take().expect("taken once, here");
        let end = manifest.finish().map_err(|error| full_or(error, "write the manifest in", &path))?;
        self.dir.sync_all().map_err(|error| full_or(error, "write to the disk", &path))?;
        let name = self.rename_into_place()?;
        self.store.root.sync().map_err(BackupError::io("write to the disk", self.store.path()))?;
        let changing = self.changing.drain(..).map(Bytes).collect();
        let folders = std::mem::take(&mut self.folders);
        let complete = end.complete();
        let Totals { files, bytes, skipped, .. } = end;
        Ok(Made { name, files, bytes, folders, skipped, changing, complete })
    }

    fn rename_into_place(&mut self) -> Result<String, BackupError> {
        for number in 1u32.. {
            let name = if number == 1 { self.time.clone() } else { format!("{}-{number}", self.time) };
            match self.store.root.rename(&self.partial, OsStr::new(&name)) {
                Ok(()) => {
                    self.partial.clear();
                    return Ok(name);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(BackupError::io("rename", self.dir.path())(error)),
            }
        }
        unreachable!("some number is free")
    }

    fn source(&self, folder: Folder) -> Result<Option<Dir>, BackupError> {
        there(&self.store.mount, folder.mount())
    }

    fn writer(&mut self) -> &mut Writer {
        self.manifest.as_mut().expect("taken by the commit alone")
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.partial.is_empty() {
            // What can't be removed now is a leftover that the next run removes.
            self.store.root.remove_tree(&self.partial).ok();
        }
    }
}
