//! A folder held open, and everything in it reached by name from there.
//!
//! Whoever works in the container can swap a folder for a symbolic link, or a file for a device, between two of our
//! looks. So nothing here takes a path of more than one component, nothing follows a link, and what is opened is
//! opened as a bare handle first and read only once it is known to be a plain file.
//!
//! Straight on system calls, one a method: cap-std keeps paths of many components inside of a root, which aren't used
//! here, and has none of what is: bare handles, renames that exchange or never replace, owners of links, free space,
//! `syncfs`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

/// Deeper than this nobody looks: each level holds a folder open on both sides.
pub const MAX_DEPTH: usize = 200;

/// A folder held open.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    /// For messages only: what lies there may have changed since.
    path: PathBuf,
}

impl Dir {
    /// Opens a folder by its path, which must be beyond the container's reach.
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
    #[cfg(target_os = "linux")]
    pub fn file(&self, name: &OsStr) -> io::Result<File> {
        let handle = fs::openat(&self.fd, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        plain(&fs::fstat(&handle)?)?;
        let known = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&handle));
        Ok(File::from(fs::open(known, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Opens a plain file to read. Other systems have no bare handles: the name is looked at first, a pipe that takes
    /// its place at that moment is opened without waiting for who writes to it, and what was opened is looked at again.
    /// Containers run in a virtual machine there, whose devices don't appear in the user's folders.
    ///
    /// # Errors
    /// Those of `openat`; [`io::ErrorKind::InvalidInput`] for what isn't a plain file.
    #[cfg(not(target_os = "linux"))]
    pub fn file(&self, name: &OsStr) -> io::Result<File> {
        plain(&self.stat(name)?)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.fd, name, flags, Mode::empty())?;
        plain(&fs::fstat(&file)?)?;
        Ok(File::from(file))
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
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        self.empty_dir(name)?;
        Ok(fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)?)
    }

    fn empty_dir(&self, name: &OsStr) -> io::Result<()> {
        let dir = match self.dir(name) {
            // Ours, but closed to ourselves: the owner may open it again.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                fs::chmodat(&self.fd, name, Mode::RWXU, AtFlags::empty())?;
                self.dir(name)?
            }
            other => other?,
        };
        let names = dir.names()?;
        if !names.is_empty() && permissions(&dir.stat_self()?) & 0o300 != 0o300 {
            // Root needs no permission; for everybody else the next step tells.
            fs::fchmod(&dir.fd, Mode::RWXU).ok();
        }
        names.iter().try_for_each(|name| dir.remove_tree(name))
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

/// An error for everything but a plain file.
fn plain(stat: &Stat) -> io::Result<()> {
    match kind(stat) {
        FileType::RegularFile => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file")),
    }
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
}
