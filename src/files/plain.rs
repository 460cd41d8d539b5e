//! Plain files: opened without blocking, and read only as far as is sensible.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use powerdev_protocol::ExitCode;
use rustix::fs::{self, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Dir;
use crate::failure::Diagnostic;
use crate::units::ByteSize;

/// The most that is read of a file that people or programs configure something with, in bytes.
pub const MOST: u64 = 4 << 20;

/// Why a file that configures something can't be used.
#[derive(Debug, thiserror::Error)]
#[error("can't read {}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub problem: FileProblem,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// There is none.
    #[error("it isn't there")]
    Missing,
    /// A link to what isn't there.
    #[error("it is a link to nothing")]
    Dangling,
    /// A link that leads back to itself.
    #[error("its links lead in a circle")]
    Loop,
    /// A link that leads out of the project that it lies in.
    #[error("it leads out of the project")]
    Outside,
    /// Something that isn't a plain file.
    #[error("it is a {0}, not a file")]
    Kind(&'static str),
    /// Longer than [`MOST`].
    #[error("it is longer than {}", ByteSize(MOST))]
    TooLong,
    /// The user may not read it, or not enter its folder.
    #[error("permission denied")]
    Denied,
    /// Anything else that the system says.
    #[error(transparent)]
    System(io::Error),
}

impl Diagnostic for FileError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }

    fn hint(&self) -> Option<String> {
        let path = self.path.display();
        Some(match &self.problem {
            FileProblem::Missing => format!("make {path}, or name another file"),
            FileProblem::Dangling => "make the file that it points to, or remove the link".to_owned(),
            FileProblem::Loop => "remove the link, or point it to a file".to_owned(),
            FileProblem::Outside => "put the file itself there, or point the link to one in the project".to_owned(),
            FileProblem::Kind(_) => "put a plain file there, or move it away".to_owned(),
            FileProblem::TooLong => "nothing that is read there is that long: is it the right file?".to_owned(),
            FileProblem::Denied => format!("let yourself read it: `ls -l {path}` shows whose it is"),
            FileProblem::System(_) => "look at the disk that it is on".to_owned(),
        })
    }
}

/// Reads a plain file of at most [`MOST`] bytes. Links to one are followed: the user's own files may lie anywhere.
///
/// # Errors
/// What is wrong with it.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    told(path, open(CWD, path, OFlags::empty()).and_then(bounded))
}

/// As [`read`]; None where nothing is there. A link to nothing is something.
///
/// # Errors
/// What is wrong with it.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match read(path) {
        Err(FileError { problem: FileProblem::Missing, .. }) => Ok(None),
        other => other.map(Some),
    }
}

/// As [`read`], as text. Bytes that are no UTF-8 are replaced.
///
/// # Errors
/// What is wrong with it.
pub fn text(path: &Path) -> Result<String, FileError> {
    Ok(String::from_utf8_lossy(&read(path)?).into_owned())
}

/// Reads a file below a project's folder, following no link; `path` is what it is called in messages. None: there is none.
pub(super) fn within(project: &Path, below: &Path, path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let opened = Dir::open_resolved(project).and_then(|project| project.file_beneath(below));
    match told(path, opened.and_then(bounded)) {
        Err(FileError { problem: FileProblem::Missing, .. }) => Ok(None),
        other => other.map(Some),
    }
}

/// None: it is longer than [`MOST`].
fn bounded(file: File) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(MOST + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= MOST).then_some(bytes))
}

fn told(path: &Path, read: io::Result<Option<Vec<u8>>>) -> Result<Vec<u8>, FileError> {
    let failed = |problem| FileError { path: path.to_owned(), problem };
    match read {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(failed(FileProblem::TooLong)),
        Err(error) => Err(failed(problem(path, error))),
    }
}

fn problem(path: &Path, error: io::Error) -> FileProblem {
    let is_link = || path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT) if is_link() => FileProblem::Dangling,
        // Below what is no folder there is nothing.
        Some(Errno::NOENT | Errno::NOTDIR) => FileProblem::Missing,
        Some(Errno::LOOP) => FileProblem::Loop,
        Some(Errno::ACCESS | Errno::PERM) => FileProblem::Denied,
        None if error.kind() == io::ErrorKind::InvalidInput => {
            FileProblem::Kind(fs::stat(path).map_or("changing thing", |stat| word(super::kind(&stat))))
        }
        _ => FileProblem::System(error),
    }
}

/// Opens a plain file. Anything else is never opened to read: the bare handle is looked at first.
#[cfg(target_os = "linux")]
pub(super) fn open(from: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<File> {
    let handle = fs::openat(from, path, OFlags::PATH | OFlags::CLOEXEC | flags, Mode::empty())?;
    check(&fs::fstat(&handle)?)?;
    let opened = fs::open(known(&handle), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    match opened {
        Err(Errno::NOENT) => Err(io::Error::other("/proc isn't mounted")),
        other => Ok(other?.into()),
    }
}

/// Opens a plain file. Other systems have no bare handles: a pipe that takes the name's place is opened without waiting
/// for who writes to it, and what was opened is looked at again. Containers run in a virtual machine there, whose devices
/// don't appear in the user's folders.
#[cfg(not(target_os = "linux"))]
pub(super) fn open(from: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<File> {
    let look = if flags.contains(OFlags::NOFOLLOW) { fs::AtFlags::SYMLINK_NOFOLLOW } else { fs::AtFlags::empty() };
    check(&fs::statat(from, path, look)?)?;
    let file = fs::openat(from, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | flags, Mode::empty())?;
    check(&fs::fstat(&file)?)?;
    Ok(file.into())
}

/// Another path to what a handle stands for, which nobody can swap.
#[cfg(target_os = "linux")]
pub(super) fn known(handle: &std::os::fd::OwnedFd) -> String {
    format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(handle))
}

/// An error for everything but a plain file.
fn check(stat: &fs::Stat) -> io::Result<()> {
    match super::kind(stat) {
        FileType::RegularFile => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file")),
    }
}

fn word(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "folder",
        FileType::Fifo => "pipe",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        _ => "thing of unknown kind",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_no_readable_file_is_told_and_never_waited_for() {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| temp.path().join(name);
        std::fs::write(at("file"), "text").expect("written");
        symlink("file", at("link")).expect("link");
        symlink("nowhere", at("dangling")).expect("link");
        symlink("loop", at("loop")).expect("link");
        symlink("/dev/zero", at("zero")).expect("link");
        std::fs::create_dir(at("folder")).expect("folder");
        super::super::make_pipe(&at("pipe"));
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("binds");
        File::create(at("long")).and_then(|file| file.set_len(MOST + 1)).expect("written");
        File::create(at("longest")).and_then(|file| file.set_len(MOST)).expect("written");

        assert_eq!(read(&at("link")).expect("a link to a file"), b"text");
        assert_eq!(read(&at("longest")).expect("just short enough").len() as u64, MOST);
        assert!(matches!(read_if_there(&at("missing")), Ok(None)));
        assert!(matches!(read_if_there(&at("file/below")), Ok(None)));
        for (name, said) in [
            ("dangling", "it is a link to nothing"),
            ("loop", "its links lead in a circle"),
            ("zero", "it is a device, not a file"),
            ("folder", "it is a folder, not a file"),
            ("pipe", "it is a pipe, not a file"),
            ("socket", "it is a socket, not a file"),
            ("long", "it is longer than 4 MiB"),
        ] {
            let error = read_if_there(&at(name)).expect_err(name);
            assert_eq!(crate::failure::chain(&error), format!("can't read {}: {said}", at(name).display()));
            assert_eq!((error.exit_code(), error.hint().is_some()), (ExitCode::Usage, true));
        }
    }
}
