//! Copying a folder that others write to, and that others may swap under our hands.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, RawMode, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::content::{ContentReader, Sum, is_sparse};
use super::manifest::{Bytes, EntryKind, ManifestEntry, Writer};
use super::{BackupError, Job};
use crate::files::{self, Dir, MAX_DEPTH};
use crate::units::User;

/// How often a file that changes while it is copied is copied again.
const ROUNDS: usize = 3;

/// Why something wasn't copied.
pub(super) enum CopyError {
    /// The original can't be read: a matter of this file alone.
    Source(io::Error),
    /// The backup can't be written, or the user stops it: the end of the whole.
    Fatal(BackupError),
}

impl From<BackupError> for CopyError {
    fn from(error: BackupError) -> Self {
        Self::Fatal(error)
    }
}

/// Copies folders into a backup and writes down what it copied.
pub struct Copier<'a> {
    /// Where each entry goes.
    pub manifest: &'a mut Writer,
    /// Files that never held still.
    pub changing: Vec<OsString>,
    contents: ContentReader<'a>,
}

impl<'a> Copier<'a> {
    pub fn new(manifest: &'a mut Writer, job: &'a Job) -> Self {
        Self { manifest, changing: Vec::new(), contents: ContentReader::new(job) }
    }

    /// Copies the folder `from` to a new folder `name` in `to`; `path` is where it lies in the backup.
    ///
    /// # Errors
    /// When the copy can't be written, or the user stops it. What can't be read is skipped and noted.
    pub fn folder(&mut self, from: &Dir, to: &Dir, name: &OsStr, path: &OsStr) -> Result<(), BackupError> {
        self.level(from, to, name, path, 0)
    }

    fn level(&mut self, from: &Dir, to: &Dir, name: &OsStr, path: &OsStr, depth: usize) -> Result<(), BackupError> {
        let stat = from.stat_self().map_err(BackupError::io("look at", from.path()))?;
        self.record(path, &stat, EntryKind::Dir, to)?;
        let copy = to.make_dir(name).map_err(|error| full_or(error, "make the folder", &to.path().join(name)))?;
        match from.names() {
            Ok(names) => {
                for name in names {
                    self.entry(from, &copy, &name, &files::join(path, &name), depth + 1)?;
                }
            }
            Err(error) => self.manifest.skip(path.to_owned(), error.to_string(), true),
        }
        let attributes = Attributes { mode: readable(&stat), ..Attributes::of(&stat) };
        attributes.apply(&copy).map_err(BackupError::io("set the owner and mode of", copy.path()))
    }

    /// One name, whatever it stands for; looked at again when it turns into something else meanwhile.
    fn entry(&mut self, from: &Dir, to: &Dir, name: &OsStr, path: &OsStr, depth: usize) -> Result<(), BackupError> {
        self.contents.look_up()?;
        for _ in 0..ROUNDS {
            let outcome = match from.stat(name) {
                Ok(stat) => self.by_kind(&stat, from, to, name, path, depth),
                Err(error) => Err(CopyError::Source(error)),
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(CopyError::Fatal(error)) => return Err(error),
                Err(CopyError::Source(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(CopyError::Source(error)) if turned(&error) => {}
                Err(CopyError::Source(error)) => {
                    self.manifest.skip(path.to_owned(), error.to_string(), true);
                    return Ok(());
                }
            }
        }
        self.manifest.skip(path.to_owned(), "it kept turning into something else", true);
        Ok(())
    }

    fn by_kind(
        &mut self,
        stat: &Stat,
        from: &Dir,
        to: &Dir,
        name: &OsStr,
        path: &OsStr,
        depth: usize,
    ) -> Result<(), CopyError> {
        match files::kind(stat) {
            FileType::RegularFile => self.file(from, to, name, path),
            FileType::Directory if depth > MAX_DEPTH => {
                self.manifest.skip(path.to_owned(), format!("nested deeper than {MAX_DEPTH} folders"), true);
                Ok(())
            }
            FileType::Directory => {
                let below = from.dir(name).map_err(CopyError::Source)?;
                Ok(self.level(&below, to, name, path, depth)?)
            }
            FileType::Symlink => self.link(stat, from, to, name, path),
            other => {
                self.manifest.skip(path.to_owned(), format!("a {}", special(other)), false);
                Ok(())
            }
        }
    }

    fn link(&mut self, stat: &Stat, from: &Dir, to: &Dir, name: &OsStr, path: &OsStr) -> Result<(), CopyError> {
        let target = from.read_link(name).map_err(CopyError::Source)?;
        to.make_link(&target, name).map_err(|error| full_or(error, "make the link", &to.path().join(name)))?;
        Attributes::of(stat)
            .apply_to_link(to, name)
            .map_err(BackupError::io("set the owner of the link", &to.path().join(name)))?;
        Ok(self.record(path, stat, EntryKind::Link { target: Bytes(target) }, to)?)
    }

    fn file(&mut self, from: &Dir, to: &Dir, name: &OsStr, path: &OsStr) -> Result<(), CopyError> {
        let original = from.file(name).map_err(CopyError::Source)?;
        let place = to.path().join(name);
        let copy = to.create(name).map_err(|error| full_or(error, "write", &place))?;
        let outcome = self.until_still(&original, &copy, &place);
        let (stat, Sum { size, sha256 }, still) = match outcome {
            Ok(done) => done,
            Err(error) => {
                to.remove_tree(name).map_err(BackupError::io("remove", &place))?;
                return Err(error);
            }
        };
        if !still {
            self.changing.push(path.to_owned());
        }
        let attributes = Attributes { mode: readable(&stat), ..Attributes::of(&stat) };
        attributes.apply(&copy).map_err(BackupError::io("set the owner and mode of", &place))?;
        let kind = EntryKind::File { size, sha256, sparse: is_sparse(&stat), changing: !still };
        Ok(self.record(path, &stat, kind, to)?)
    }

    /// Copies until nobody changed the original meanwhile, a few times at most.
    fn until_still(&mut self, original: &File, copy: &File, place: &Path) -> Result<(Stat, Sum, bool), CopyError> {
        let look = || fs::fstat(original).map_err(|error| CopyError::Source(error.into()));
        for round in 1.. {
            let before = look()?;
            let shape = (before.st_size as u64, is_sparse(&before));
            let sum = self.contents.copy(original, copy, place, shape, round == 1)?;
            let still = unchanged(&before, &look()?);
            if still || round == ROUNDS {
                return Ok((before, sum, still));
            }
            copy.set_len(0).map_err(|error| full_or(error, "write", place))?;
        }
        unreachable!("the last round returns")
    }

    fn record(&mut self, path: &OsStr, stat: &Stat, kind: EntryKind, to: &Dir) -> Result<(), BackupError> {
        let entry = entry(path, stat, kind);
        self.manifest.entry(&entry).map_err(|error| full_or(error, "write the manifest in", to.path()))
    }
}

/// Bytes below a folder, as a bar's length and to know whether the disk has room. What can't be read counts nothing.
///
/// # Errors
/// When the user stops it.
pub fn measure(from: &Dir, job: &Job) -> Result<u64, BackupError> {
    fn level(from: &Dir, job: &Job, depth: usize) -> Result<u64, BackupError> {
        job.advance(0)?;
        let mut bytes = 0;
        for name in from.names().unwrap_or_default() {
            let Ok(stat) = from.stat(&name) else { continue };
            bytes += match files::kind(&stat) {
                FileType::RegularFile => (stat.st_size as u64).min(stat.st_blocks as u64 * 512),
                FileType::Directory if depth < MAX_DEPTH => match from.dir(&name) {
                    Ok(below) => level(&below, job, depth + 1)?,
                    Err(_) => 0,
                },
                _ => 0,
            };
        }
        Ok(bytes)
    }
    level(from, job, 0)
}

/// What the manifest keeps about something.
pub fn entry(path: &OsStr, stat: &Stat, kind: EntryKind) -> ManifestEntry {
    let (mode, mtime) = (harmless(files::permissions(stat)), (stat.st_mtime, stat.st_mtime_nsec as u32));
    ManifestEntry { path: Bytes(path.to_owned()), mode, uid: stat.st_uid, gid: stat.st_gid, mtime, kind }
}

/// Permissions without the setuid and setgid bits: a program in a backup, or in a folder that is put back, must lend
/// nobody its owner's rights.
fn harmless(mode: u32) -> u32 {
    mode & !0o6000
}

/// Permissions, time and owner of something that is written here.
#[derive(Debug, Clone, Copy)]
pub struct Attributes {
    mode: u32,
    mtime: (i64, u32),
    /// Whom it is given to. None: it stays ours.
    owner: Option<User>,
}

impl Attributes {
    /// Those of a copy, which is ours whoever the original belongs to.
    fn of(stat: &Stat) -> Self {
        let mtime = (stat.st_mtime, stat.st_mtime_nsec as u32);
        Self { mode: harmless(files::permissions(stat)), mtime, owner: None }
    }

    /// Those of what is put back for `owner`. Whatever the manifest says of owners: who could write to it must not make
    /// root give files to anybody.
    pub fn restored(entry: &ManifestEntry, owner: Option<User>) -> Self {
        Self { mode: harmless(entry.mode), mtime: entry.mtime, owner }
    }

    /// Gives them to a file or folder.
    ///
    /// # Errors
    /// Those of `fchmod` and `futimens`.
    pub fn apply(&self, to: &impl std::os::fd::AsFd) -> io::Result<()> {
        if let Some(User { uid, gid }) = self.owner {
            granted(fs::fchown(to, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))))?;
        }
        fs::fchmod(to, Mode::from_raw_mode(self.mode as RawMode))?;
        Ok(fs::futimens(to, &self.times())?)
    }

    /// Gives owner and time to a link.
    ///
    /// # Errors
    /// Those of `fchownat` and `utimensat`.
    pub fn apply_to_link(&self, dir: &Dir, name: &OsStr) -> io::Result<()> {
        let itself = AtFlags::SYMLINK_NOFOLLOW;
        if let Some(User { uid, gid }) = self.owner {
            granted(fs::chownat(dir, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), itself))?;
        }
        Ok(fs::utimensat(dir, name, &self.times(), itself)?)
    }

    fn times(&self) -> Timestamps {
        let at = Timespec { tv_sec: self.mtime.0, tv_nsec: self.mtime.1.into() };
        Timestamps { last_access: at, last_modification: at }
    }
}

/// Root of a user namespace may not give files to whom it doesn't know.
fn granted(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Err(Errno::PERM | Errno::INVAL) => Ok(()),
        other => Ok(other?),
    }
}

/// The mode of the copy: as the original's, but who isn't root must be able to read and remove his own backup, and nobody
/// gains rights by it.
fn readable(stat: &Stat) -> u32 {
    let needed = match files::kind(stat) {
        _ if rustix::process::geteuid().is_root() => 0,
        FileType::Directory => 0o700,
        _ => 0o400,
    };
    harmless(files::permissions(stat)) | needed
}

fn unchanged(before: &Stat, after: &Stat) -> bool {
    let what = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec);
    what(before) == what(after)
}

/// Whether an error says that a name stands for something else than a moment ago.
fn turned(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
        || matches!(Errno::from_io_error(error), Some(Errno::LOOP | Errno::NOTDIR | Errno::INVAL))
}

fn special(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "pipe",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        _ => "thing of unknown kind",
    }
}

/// An error of writing; for want of space, how much is missing is found out by whoever knows the total.
pub fn full_or(error: io::Error, action: &'static str, path: &Path) -> BackupError {
    if BackupError::is_no_space(&error) {
        BackupError::NoSpace { path: path.to_owned(), missing: 0 }
    } else {
        BackupError::Io { action, path: path.to_owned(), source: error }
    }
}
