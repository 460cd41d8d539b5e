//! The folder of backups: its lock, its list, its leftovers.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::manifest::{self, Header, Reason, Totals};
use super::{BackupError, DIR, Folder};
use crate::agent_mount;
use crate::config::layout;
use crate::files::Dir;
use crate::state::Lock;
use crate::units::User;

/// Names of what isn't a backup yet, or no more.
pub(super) const PARTIAL: &str = ".partial-";
const RETIRED: &str = ".retired-";
pub(super) const VERIFIED: &str = "verified.json";
const LOCK: &str = ".lock";
/// The most that is read of the mark of `verify`, in bytes.
const LONGEST_MARK: u64 = 4096;

/// The backups of one project.
#[derive(Debug)]
pub struct Store {
    /// The project's `.agent-mount`, held open.
    pub(super) mount: Dir,
    /// The folder of backups in it, held open.
    pub(super) root: Dir,
    /// Whom root gives what it restores to: the container's user. None: it stays ours.
    pub(super) owner: Option<User>,
    /// Held as long as the store is; none for a mere look.
    _lock: Option<Lock>,
}

/// One backup, as `backups` lists it.
#[derive(Debug, Clone, Serialize)]
pub struct Backup {
    /// What `restore` takes: the name of its folder.
    pub name: String,
    /// The folder that holds its tree and its manifest.
    pub path: PathBuf,
    /// The manifest's first line; none when it can't be read.
    pub header: Option<Header>,
    /// The manifest's last line; none when it can't be read.
    pub end: Option<Totals>,
    /// When it was last read again and found to be right, in milliseconds since the Unix epoch.
    pub verified_ms: Option<u64>,
    /// What is wrong with its manifest.
    pub problem: Option<String>,
}

impl Backup {
    /// Whether everything that had content is in it.
    pub fn complete(&self) -> bool {
        self.end.as_ref().is_some_and(Totals::complete)
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct VerifiedFile {
    pub(super) at_ms: u64,
    /// The manifest's own checksum: a mark copied from another backup proves nothing.
    pub(super) manifest: String,
}

impl Store {
    /// Opens the backups of a project to change them. Leftovers of killed runs go. `user` is the container's.
    ///
    /// # Errors
    /// [`BackupError::Busy`] while another powerdev holds them.
    pub fn open(project: &Path, user: User) -> Result<Self, BackupError> {
        let store = Self::locked(project, user, Lock::exclusive)?;
        store.clear_leftovers()?;
        Ok(store)
    }

    /// Opens the backups of a project to read them, at the same time as other readers.
    ///
    /// # Errors
    /// [`BackupError::Busy`] while another powerdev changes them.
    pub fn open_shared(project: &Path, user: User) -> Result<Self, BackupError> {
        Self::locked(project, user, Lock::shared)
    }

    /// Opens the backups of a project to list them. None when there are none; nothing is made, nothing is locked.
    ///
    /// # Errors
    /// When a folder can't be read, or is a link.
    pub fn look(project: &Path) -> Result<Option<Self>, BackupError> {
        let project = Dir::open(project).map_err(BackupError::io("open", project))?;
        let Some(mount) = there(&project, OsStr::new(layout::AGENT_MOUNT))? else { return Ok(None) };
        let Some(root) = there(&mount, OsStr::new(DIR))? else { return Ok(None) };
        Ok(Some(Self { mount, root, owner: None, _lock: None }))
    }

    fn locked(project: &Path, user: User, lock: fn(File) -> io::Result<Option<Lock>>) -> Result<Self, BackupError> {
        let mount = agent_mount::open(project, user)?;
        let is_root = User::own().uid == User::ROOT.uid;
        // Root may work on the backups of the project's user; whoever else wrote them could have written anything.
        let root = agent_mount::closed(&mount, DIR, User::own(), if is_root { user } else { User::own() })?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = root.path().join(LOCK);
        let file = fs::openat(&root, LOCK, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| BackupError::io("open", &path)(error.into()))?;
        match lock(file.into()).map_err(BackupError::io("lock", &path))? {
            Some(lock) => Ok(Self { mount, root, owner: is_root.then_some(user), _lock: Some(lock) }),
            None => Err(BackupError::Busy(root.path().to_owned())),
        }
    }

    /// The lock is ours alone, so whoever began these is dead.
    fn clear_leftovers(&self) -> Result<(), BackupError> {
        for name in names(&self.root)? {
            if [PARTIAL, RETIRED].iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes())) {
                remove(&self.root, &name)?;
            }
        }
        for folder in Folder::ALL {
            remove(&self.mount, &super::restore::staged(folder))?;
        }
        Ok(())
    }

    /// Where the backups lie.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// All backups, oldest first.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn list(&self) -> Result<Vec<Backup>, BackupError> {
        let mut backups = Vec::new();
        for name in names(&self.root)? {
            // Names of ours are plain; a folder that isn't named as a backup may be anything.
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            if let Ok(dir) = self.root.dir(OsStr::new(name)) {
                backups.push(look(name, &dir));
            }
        }
        backups.sort_by_key(|backup| order(&backup.name));
        Ok(backups)
    }

    /// The backup of that name; for `latest`, or none, the newest that somebody asked for.
    ///
    /// # Errors
    /// [`BackupError::NotFound`], [`BackupError::Empty`].
    pub fn find(&self, name: Option<&str>) -> Result<Backup, BackupError> {
        let mut backups = self.list()?;
        match name.filter(|name| *name != "latest") {
            Some(name) => backups
                .into_iter()
                .find(|backup| backup.name == name)
                .ok_or_else(|| BackupError::NotFound(name.to_owned())),
            None => {
                let saved = |b: &Backup| b.header.as_ref().is_some_and(|h| h.reason == Reason::BeforeRestore);
                backups.retain(|backup| !saved(backup));
                backups.pop().ok_or_else(|| BackupError::Empty(self.path().to_owned()))
            }
        }
    }

    /// Removes all but the newest `keep` backups, and tells which went. Folders that aren't named as powerdev names
    /// its backups don't count and stay.
    ///
    /// # Errors
    /// When one can't be removed.
    pub fn retire(&self, keep: usize) -> Result<Vec<String>, BackupError> {
        let mut backups = self.list()?;
        backups.retain(|backup| order(&backup.name).0);
        let surplus = backups.len().saturating_sub(keep.max(1));
        let mut gone = Vec::new();
        for backup in backups.into_iter().take(surplus) {
            let away = OsString::from(format!("{RETIRED}{}", backup.name));
            let renamed = self.root.rename(OsStr::new(&backup.name), &away);
            renamed.map_err(BackupError::io("rename", &backup.path))?;
            remove(&self.root, &away)?;
            gone.push(backup.name);
        }
        Ok(gone)
    }
}

/// A plain folder, if it is there.
pub(super) fn there(parent: &Dir, name: &OsStr) -> Result<Option<Dir>, BackupError> {
    match parent.dir(name) {
        Ok(dir) => Ok(Some(dir)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(not_a_folder(error, &parent.path().join(name))),
    }
}

/// A plain folder, made where there is none.
pub(super) fn made(parent: &Dir, name: &OsStr) -> Result<Dir, BackupError> {
    let path = parent.path().join(name);
    match parent.dir(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match parent.make_dir(name) {
            // Another one was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => parent.dir(name),
            other => other,
        }
        .map_err(BackupError::io("make the folder", &path)),
        other => other.map_err(|error| not_a_folder(error, &path)),
    }
}

/// An error of opening a folder.
fn not_a_folder(error: io::Error, path: &Path) -> BackupError {
    use rustix::io::Errno;
    match Errno::from_io_error(&error) {
        Some(Errno::LOOP | Errno::NOTDIR) => BackupError::NotAFolder(path.to_owned()),
        _ => BackupError::io("open", path)(error),
    }
}

fn names(dir: &Dir) -> Result<Vec<OsString>, BackupError> {
    dir.names().map_err(BackupError::io("list", dir.path()))
}

pub(super) fn remove(dir: &Dir, name: &OsStr) -> Result<(), BackupError> {
    dir.remove_tree(name).map_err(BackupError::io("remove", &dir.path().join(name)))
}

fn look(name: &str, dir: &Dir) -> Backup {
    let mut backup = Backup {
        name: name.to_owned(),
        path: dir.path().to_owned(),
        header: None,
        end: None,
        verified_ms: None,
        problem: None,
    };
    match dir.file(OsStr::new(manifest::FILE)).map_err(Into::into).and_then(manifest::summary) {
        Ok((header, end)) => {
            backup.verified_ms = verified(dir, &end);
            (backup.header, backup.end) = (Some(header), Some(end));
        }
        Err(error) => backup.problem = Some(error.to_string()),
    }
    backup
}

fn verified(dir: &Dir, end: &Totals) -> Option<u64> {
    let mark: VerifiedFile = serde_json::from_reader(dir.file(OsStr::new(VERIFIED)).ok()?.take(LONGEST_MARK)).ok()?;
    (mark.manifest == end.sha256).then_some(mark.at_ms)
}

/// A name for a backup made now.
pub(super) fn timestamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ").to_string()
}

/// Whether a name is one of ours, its time, and its number within that second: what backups are sorted by.
fn order(name: &str) -> (bool, String, u32) {
    const LENGTH: usize = "2026-11-21T01-13-49Z".len();
    let (time, rest) = name.split_at_checked(LENGTH).unwrap_or((name, ""));
    let shape = |text: &str| text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect::<String>();
    let number = if rest.is_empty() { Some(1) } else { rest.strip_prefix('-').and_then(|n| n.parse().ok()) };
    match number {
        Some(number) if shape(time) == "0000-00-00T00-00-00Z" => (true, time.to_owned(), number),
        _ => (false, name.to_owned(), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_are_in_order_of_time_and_number() {
        let mut names = ["2026-11-21T01-13-49Z-10", "2026-11-21T01-13-49Z-2", "2026-11-21T01-13-49Z", "mine"];
        names.sort_by_key(|name| order(name));
        assert_eq!(names, ["mine", "2026-11-21T01-13-49Z", "2026-11-21T01-13-49Z-2", "2026-11-21T01-13-49Z-10"]);
        assert!(order(&timestamp()).0);
        assert!(!order("2026-11-21T01-13-49Z-old").0);
    }

    #[test]
    fn the_lock_keeps_others_out_and_leftovers_go_only_with_it() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let first = Store::open(temp.path(), User::own()).expect("opens");
        std::fs::create_dir(first.path().join(".partial-live")).expect("folder");
        assert!(matches!(Store::open(temp.path(), User::own()), Err(BackupError::Busy(_))));
        assert!(matches!(Store::open_shared(temp.path(), User::own()), Err(BackupError::Busy(_))));
        assert!(first.path().join(".partial-live").exists());
        drop(first);
        let second = Store::open(temp.path(), User::own()).expect("opens");
        assert!(!second.path().join(".partial-live").exists());
    }

    #[test]
    fn a_linked_folder_is_refused() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(temp.path().join(".agent-mount")).expect("folder");
        std::os::unix::fs::symlink("/tmp", temp.path().join(".agent-mount/backups")).expect("link");
        assert!(matches!(Store::open(temp.path(), User::own()), Err(BackupError::Refused(_))));
    }
}
