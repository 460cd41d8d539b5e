//! A folder held open, and everything in it reached by name from there.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, RawMode, RenameFlags, Stat, Uid};
use rustix::io::Errno;

use super::plain;
use crate::units::User;

/// Deeper than this nobody looks: each level holds a folder open, a copy one on both sides.
pub const MAX_DEPTH: usize = 200;

/// A folder held open.
#[derive(Debug)]
pub struct Dir {
    pub(super) fd: OwnedFd,
    /// For messages only: what lies there may have changed since.
    pub(super) path: PathBuf,
}

impl Dir {
    /// Opens a folder by its path, links and all: for paths that nobody but the user can change.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { fd: fs::open(path, flags, Mode::empty())?, path: path.to_owned() })
    }

    /// Where it was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a folder in it. A link to a folder is an error.
    ///
    /// # Errors
    /// Those of `openat`; `ELOOP` or `ENOTDIR` for what isn't a folder.
    pub fn dir(&self, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self { fd: fs::openat(&self.fd, name, flags, Mode::empty())?, path: self.path.join(name) })
    }

    /// Makes a folder that nobody else can enter, and opens it.
    ///
    /// # Errors
    /// Those of `mkdirat`; `EEXIST` where something of that name is there.
    pub fn make_dir(&self, name: &OsStr) -> io::Result<Self> {
        fs::mkdirat(&self.fd, name, Mode::RWXU)?;
        self.dir(name)
    }

    /// The names in it, sorted by their bytes.
    ///
    /// # Errors
    /// Those of `getdents`.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.fd)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort();
        Ok(names)
    }

    /// What a name stands for now; a link stands for itself.
    ///
    /// # Errors
    /// Those of `fstatat`.
    pub fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Whose the folder is.
    ///
    /// # Errors
    /// Those of `fstat`.
    pub fn owner(&self) -> io::Result<User> {
        let stat = self.stat_self()?;
        Ok(User { uid: stat.st_uid, gid: stat.st_gid })
    }

    /// What the folder itself is.
    ///
    /// # Errors
    /// Those of `fstat`.
    pub fn stat_self(&self) -> io::Result<Stat> {
        Ok(fs::fstat(&self.fd)?)
    }

    /// Opens a plain file to read. Anything else is never opened: reading a pipe may block for ever, opening a device
    /// may do things.
    ///
    /// # Errors
    /// Those of `openat`; [`io::ErrorKind::InvalidInput`] for what isn't a plain file.
    pub fn file(&self, name: &OsStr) -> io::Result<File> {
        plain::open(self.fd.as_fd(), name.as_ref(), OFlags::NOFOLLOW)
    }

    /// Makes a file that nobody else can read.
    ///
    /// # Errors
    /// Those of `openat`; `EEXIST` where something of that name is there.
    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)?))
    }

    /// Where a link points.
    ///
    /// # Errors
    /// Those of `readlinkat`; `EINVAL` for what isn't a link.
    pub fn read_link(&self, name: &OsStr) -> io::Result<OsString> {
        Ok(OsString::from_vec(fs::readlinkat(&self.fd, name, Vec::new())?.into_bytes()))
    }

    /// Makes a link.
    ///
    /// # Errors
    /// Those of `symlinkat`.
    pub fn make_link(&self, target: &OsStr, name: &OsStr) -> io::Result<()> {
        Ok(fs::symlinkat(target, &self.fd, name)?)
    }

    /// Renames within the folder. What is already there under the new name stays, and is an error.
    ///
    /// # Errors
    /// Those of `renameat2`.
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(fs::renameat_with(&self.fd, from, &self.fd, to, RenameFlags::NOREPLACE)?)
    }

    /// Renames over whatever file is there.
    ///
    /// # Errors
    /// Those of `renameat`.
    pub fn replace(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(fs::renameat(&self.fd, from, &self.fd, to)?)
    }

    /// Two names change places at once.
    ///
    /// # Errors
    /// Those of `renameat2`.
    pub fn exchange(&self, one: &OsStr, other: &OsStr) -> io::Result<()> {
        Ok(fs::renameat_with(&self.fd, one, &self.fd, other, RenameFlags::EXCHANGE)?)
    }

    /// Removes a name and all that is below it. Gone already is fine.
    ///
    /// # Errors
    /// The first that stopped it.
    pub fn remove_tree(&self, name: &OsStr) -> io::Result<()> {
        self.remove_below(name, 0)
    }

    fn remove_below(&self, name: &OsStr, depth: usize) -> io::Result<()> {
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        self.empty_dir(name, depth)?;
        Ok(fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)?)
    }

    fn empty_dir(&self, name: &OsStr, depth: usize) -> io::Result<()> {
        // What powerdev makes is never that deep: this must not exhaust descriptors or the stack.
        if depth > 2 * MAX_DEPTH {
            return Err(io::Error::other(format!("nested deeper than {} folders", 2 * MAX_DEPTH)));
        }
        let dir = match self.dir(name) {
            // Ours, but closed to ourselves: the owner may open it again.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.unlock(name)?;
                self.dir(name)?
            }
            other => other?,
        };
        let names = dir.names()?;
        if !names.is_empty() && permissions(&dir.stat_self()?) & 0o300 != 0o300 {
            // Root needs no permission; for everybody else the next step tells.
            fs::fchmod(&dir.fd, Mode::RWXU).ok();
        }
        names.iter().try_for_each(|name| dir.remove_below(name, depth + 1))
    }

    /// Lets its owner into a folder. Whatever else took its place meanwhile stays as it is.
    #[cfg(target_os = "linux")]
    fn unlock(&self, name: &OsStr) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = fs::openat(&self.fd, name, flags, Mode::empty())?;
        Ok(fs::chmod(plain::known(&handle), Mode::RWXU)?)
    }

    /// Lets its owner into a folder. Whatever else took its place meanwhile stays as it is, but for its mode.
    #[cfg(not(target_os = "linux"))]
    fn unlock(&self, name: &OsStr) -> io::Result<()> {
        Ok(fs::chmodat(&self.fd, name, Mode::RWXU, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Opens a folder in it; where there is none, it is made for `owner` with this mode. What is there stays as it is.
    ///
    /// # Errors
    /// Those of `mkdirat`, `openat` and `fchown`; when something else took the new folder's place meanwhile.
    pub fn ensure_dir(&self, name: &OsStr, mode: u32, owner: User) -> io::Result<Self> {
        match self.dir(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let made = match self.make_dir(name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return self.dir(name),
            made => made?,
        };
        // Only what was just made is handed over: root must not give away what somebody moved into its place.
        let stat = made.stat_self()?;
        let untouched = stat.st_uid == User::own().uid && permissions(&stat) & 0o077 == 0 && made.names()?.is_empty();
        if !untouched {
            return Err(io::Error::other("something else took its place"));
        }
        made.set_mode(mode)?;
        give(&made.fd, owner)?;
        Ok(made)
    }

    /// Sets the folder's own permissions.
    ///
    /// # Errors
    /// Those of `fchmod`.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        Ok(fs::fchmod(&self.fd, Mode::from_raw_mode(mode as RawMode))?)
    }

    /// Bytes that are free here for us.
    ///
    /// # Errors
    /// Those of `fstatvfs`.
    pub fn available(&self) -> io::Result<u64> {
        let stat = fs::fstatvfs(&self.fd)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Writes everything of this file system to the disk.
    ///
    /// # Errors
    /// Those of `syncfs`: some write failed.
    #[cfg(target_os = "linux")]
    pub fn sync_all(&self) -> io::Result<()> {
        Ok(fs::syncfs(&self.fd)?)
    }

    /// Has the system write everything to the disk. Others than Linux know no single file system to wait for, and tell
    /// nothing of writes that fail.
    ///
    /// # Errors
    /// None; as on Linux for whoever calls it.
    #[cfg(not(target_os = "linux"))]
    pub fn sync_all(&self) -> io::Result<()> {
        fs::sync();
        Ok(())
    }

    /// Writes the folder itself, its names, to the disk.
    ///
    /// # Errors
    /// Those of `fsync`.
    pub fn sync(&self) -> io::Result<()> {
        Ok(fs::fsync(&self.fd)?)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What kind of thing it is.
pub fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Changes the owner of something open where that is somebody else.
///
/// # Errors
/// Those of `fchown`: only root may give files away.
pub fn give(fd: impl AsFd, to: User) -> io::Result<()> {
    let stat = fs::fstat(&fd)?;
    if (User { uid: stat.st_uid, gid: stat.st_gid }) != to {
        fs::fchown(&fd, Some(Uid::from_raw(to.uid)), Some(Gid::from_raw(to.gid)))?;
    }
    Ok(())
}

/// Permissions with the setuid, setgid and sticky bits.
#[allow(clippy::useless_conversion, reason = "modes have 16 bits on macOS")]
pub fn permissions(stat: &Stat) -> u32 {
    Mode::from_raw_mode(stat.st_mode).bits().into()
}

/// A path below a root, with `/` between the names; empty for the root itself.
pub fn join(parent: &OsStr, name: &OsStr) -> OsString {
    if parent.is_empty() {
        return name.to_owned();
    }
    let mut path = parent.as_bytes().to_vec();
    path.push(b'/');
    path.extend_from_slice(name.as_bytes());
    OsString::from_vec(path)
}

/// Makes a named pipe. By its program: rustix has no call for it on macOS.
#[cfg(test)]
pub fn make_pipe(path: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_devices_are_never_opened() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        std::os::unix::fs::symlink("/etc", temp.path().join("dir")).expect("link");
        std::os::unix::fs::symlink("/etc/passwd", temp.path().join("file")).expect("link");
        make_pipe(&temp.path().join("pipe"));
        let dir = Dir::open(temp.path()).expect("opens");
        assert!(dir.dir(OsStr::new("dir")).is_err());
        assert!(dir.file(OsStr::new("file")).is_err());
        assert_eq!(dir.file(OsStr::new("pipe")).expect_err("a pipe").kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_tree_is_removed_and_a_link_in_it_harms_nothing() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let outside = temp.path().join("outside");
        std::fs::create_dir_all(temp.path().join("in/a/b")).expect("folders");
        std::fs::create_dir(&outside).expect("folder");
        std::fs::write(outside.join("kept"), "x").expect("file");
        std::os::unix::fs::symlink(&outside, temp.path().join("in/a/link")).expect("link");
        std::fs::set_permissions(temp.path().join("in/a"), std::os::unix::fs::PermissionsExt::from_mode(0o500))
            .expect("mode");
        let dir = Dir::open(temp.path()).expect("opens");
        dir.remove_tree(OsStr::new("in")).expect("removes");
        dir.remove_tree(OsStr::new("in")).expect("gone already is fine");
        assert!(!temp.path().join("in").exists());
        assert!(outside.join("kept").exists());
    }

    #[test]
    fn root_hands_over_only_the_folder_that_it_made() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let temp = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| temp.path().join(name);
        std::fs::create_dir_all(at("precious/kept")).expect("folders");
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let swapping = {
            let (stop, dir) = (stop.clone(), Dir::open(temp.path()).expect("opens"));
            std::thread::spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    // Nothing to swap is fine: the folder comes and goes.
                    dir.exchange(OsStr::new("new"), OsStr::new("precious")).ok();
                }
            })
        };
        let dir = Dir::open(temp.path()).expect("opens");
        for _ in 0..2_000 {
            dir.ensure_dir(OsStr::new("new"), 0o755, User { uid: 1000, gid: 1000 }).ok();
            for name in ["new", "precious"] {
                let owner = dir.dir(OsStr::new(name)).and_then(|found| Ok((found.names()?.len(), found.owner()?)));
                assert!(!matches!(owner, Ok((1, User { uid: 1000, .. }))), "what was there was given away");
                // The empty one goes, the other one can't.
                fs::unlinkat(&dir, name, AtFlags::REMOVEDIR).ok();
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        swapping.join().expect("swaps until told");
    }
}
