//! Paths of several components below a folder that is held open, without following a link in any of them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::{Dir, FileError, FileProblem, plain};

/// How a folder is opened on the way to what lies in it: it need not be readable for that.
#[cfg(target_os = "linux")]
const PASSING: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const PASSING: OFlags = OFlags::RDONLY;

impl Dir {
    /// Opens a folder by its path from the root, which must be free of links, as a canonical path is: a link in it was
    /// put there since.
    ///
    /// # Errors
    /// Those of `openat2`; `ELOOP` or `ENOTDIR` for a link.
    pub fn open_resolved(path: &Path) -> io::Result<Self> {
        let root = Self::open(Path::new("/"))?;
        root.beneath(path.strip_prefix("/").map_err(|_| unusable())?)
    }

    /// Opens a folder below it. An empty path is the folder itself.
    ///
    /// # Errors
    /// Those of `openat2`; `ELOOP` or `ENOTDIR` for a link; [`io::ErrorKind::InvalidInput`] for a path with `..`.
    pub fn beneath(&self, path: &Path) -> io::Result<Self> {
        let fd = open(self.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let path = if path.as_os_str().is_empty() { self.path().to_owned() } else { self.path().join(path) };
        Ok(Self { fd, path })
    }

    /// Opens a plain file below it to read, as [`Dir::file`] does.
    ///
    /// # Errors
    /// As [`Dir::beneath`]; [`io::ErrorKind::InvalidInput`] for what isn't a plain file.
    pub fn file_beneath(&self, path: &Path) -> io::Result<File> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(unusable()) };
        let folder = open(self.as_fd(), folder, PASSING | OFlags::DIRECTORY)?;
        plain::open(folder.as_fd(), name.as_ref(), OFlags::NOFOLLOW)
    }
}

/// Reads a plain file of a project, as [`read_if_there`](super::read_if_there) does. A link to one counts where it stays in
/// the project; what is found there is read without following another.
///
/// # Errors
/// What is wrong with it; among others, that it leads out.
pub fn read_within(project: &Path, name: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let path = project.join(name);
    let failed = |problem| FileError { path: path.clone(), problem };
    // A link that leads to nothing, or round in a circle, is told as any other.
    let Ok(target) = path.canonicalize() else { return super::read_if_there(&path) };
    let below = target.strip_prefix(project).map_err(|_| failed(FileProblem::Outside))?;
    plain::within(project, below, &path)
}

/// Whether an absolute path leads through a link, or through what isn't a folder. Anything else, as that nothing is there,
/// is for whoever uses it to find out.
pub fn leads_astray(path: &Path) -> bool {
    let reached = path.strip_prefix("/").map_err(|_| unusable());
    let reached = reached.and_then(|below| open(Dir::open(Path::new("/"))?.as_fd(), below, PASSING));
    reached.is_err_and(|error| matches!(Errno::from_io_error(&error), Some(Errno::LOOP | Errno::NOTDIR)))
}

fn unusable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a path of plain names")
}

/// Opens what lies below, in one step where the kernel can: openat2 came with Linux 5.6, and filters of system calls that
/// don't know it refuse it.
#[cfg(target_os = "linux")]
fn open(below: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    use rustix::fs::ResolveFlags;

    let names = names(path)?;
    if names.is_empty() {
        return walk(below, &names, flags);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match fs::openat2(below, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Err(Errno::NOSYS | Errno::PERM) => walk(below, &names, flags),
        opened => Ok(opened?),
    }
}

/// Opens what lies below, name by name.
#[cfg(not(target_os = "linux"))]
fn open(below: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    walk(below, &names(path)?, flags)
}

/// The names that a path goes through; an error for one that could lead out.
fn names(path: &Path) -> io::Result<Vec<&Path>> {
    let names = path.components().map(|component| match component {
        Component::Normal(name) => Ok(Path::new(name)),
        _ => Err(unusable()),
    });
    names.collect()
}

fn walk(below: BorrowedFd<'_>, names: &[&Path], flags: OFlags) -> io::Result<OwnedFd> {
    let always = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Some((last, way)) = names.split_last() else {
        return Ok(fs::openat(below, ".", flags | always, Mode::empty())?);
    };
    let mut folder: Option<OwnedFd> = None;
    for name in way {
        let from = folder.as_ref().map_or(below, AsFd::as_fd);
        folder = Some(fs::openat(from, *name, PASSING | OFlags::DIRECTORY | always, Mode::empty())?);
    }
    let from = folder.as_ref().map_or(below, AsFd::as_fd);
    Ok(fs::openat(from, *last, flags | always, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

    fn tree() -> tempfile::TempDir {
        let temp = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir_all(temp.path().join("a/b/c")).expect("folders");
        std::fs::write(temp.path().join("a/b/file"), "inside").expect("file");
        symlink("b", temp.path().join("a/inner")).expect("link");
        symlink("/etc", temp.path().join("a/outer")).expect("link");
        symlink("file", temp.path().join("a/b/alias")).expect("link");
        temp
    }

    #[test]
    fn no_link_is_followed_on_either_way() {
        let temp = tree();
        let dir = Dir::open(temp.path()).expect("opens");
        for path in ["", "a", "a/b", "a/b/c"] {
            assert!(open(dir.as_fd(), path.as_ref(), FOLDER).is_ok(), "{path}");
            assert!(walk(dir.as_fd(), &names(path.as_ref()).expect("names"), FOLDER).is_ok(), "{path}");
        }
        for path in ["a/inner", "a/outer", "a/inner/c", "a/outer/ssl", "a/b/file", "a/missing"] {
            assert!(open(dir.as_fd(), path.as_ref(), FOLDER).is_err(), "{path}");
            assert!(walk(dir.as_fd(), &names(path.as_ref()).expect("names"), FOLDER).is_err(), "{path}");
        }
        for path in ["..", "a/../..", "/etc"] {
            assert_eq!(dir.beneath(path.as_ref()).expect_err(path).kind(), io::ErrorKind::InvalidInput, "{path}");
        }
    }

    #[test]
    fn only_a_plain_file_is_read() {
        let temp = tree();
        let dir = Dir::open(temp.path()).expect("opens");
        let mut text = String::new();
        dir.file_beneath("a/b/file".as_ref()).expect("opens").read_to_string(&mut text).expect("reads");
        assert_eq!(text, "inside");
        for path in ["", "a", "a/b/alias", "a/inner/file", "a/outer/passwd", "a/b/file/x"] {
            assert!(dir.file_beneath(path.as_ref()).is_err(), "{path}");
        }
    }

    #[test]
    fn a_resolved_path_has_no_links() {
        let temp = tree();
        let real = temp.path().canonicalize().expect("there");
        assert_eq!(Dir::open_resolved(&real.join("a/b")).expect("opens").path(), real.join("a/b"));
        assert!(Dir::open_resolved(&real.join("a/inner")).is_err());
        assert!(Dir::open_resolved("relative".as_ref()).is_err());
        for (path, astray) in [("a/b/file", false), ("a/b/none", false), ("a/inner", true), ("a/b/file/x", true)] {
            assert_eq!(leads_astray(&real.join(path)), astray, "{path}");
        }
    }

    #[test]
    fn a_folder_that_turns_into_a_link_and_back_never_leads_outside() {
        let temp = tree();
        std::fs::create_dir(temp.path().join("outside")).expect("folder");
        std::fs::write(temp.path().join("outside/file"), "outside").expect("file");
        symlink(temp.path().join("outside"), temp.path().join("a/swapped")).expect("link");
        let stop = Arc::new(AtomicBool::new(false));
        let swapping = {
            let (stop, a) = (stop.clone(), Dir::open(&temp.path().join("a")).expect("opens"));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    a.exchange("b".as_ref(), "swapped".as_ref()).expect("swaps");
                }
            })
        };
        let dir = Dir::open(temp.path()).expect("opens");
        let (mut read, mut refused) = (0, 0);
        for _ in 0..20_000 {
            let Ok(mut file) = dir.file_beneath("a/b/file".as_ref()) else {
                refused += 1;
                continue;
            };
            let mut text = String::new();
            file.read_to_string(&mut text).expect("reads");
            assert_eq!(text, "inside");
            read += 1;
        }
        stop.store(true, Ordering::Relaxed);
        swapping.join().expect("swaps until told");
        assert!(read > 0 && refused > 0, "{read} read, {refused} refused: the swap never came in between");
    }
}
