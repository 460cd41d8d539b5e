//! Sockets in a folder that whatever runs here may write to: what lies in a socket's place is neither followed nor waited
//! for, and never keeps it from being made.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Names that are tried for what is put aside.
const TRIES: u32 = 8;

/// A socket and the file that it is reached by.
#[derive(Debug)]
pub struct BoundSocket {
    pub fd: OwnedFd,
    /// Its file's inode.
    pub inode: u64,
    /// What a folder that lay in its place is called now.
    pub put_aside: Option<String>,
}

/// Binds a socket that only its owner may use. The folder is opened first and the socket bound below it, since a socket's
/// address has room for 107 bytes only.
///
/// # Errors
/// When the folder can't be made or opened, or what lies in the socket's place can't be put aside.
pub fn bind(path: &Path, kind: SocketType) -> Result<BoundSocket, Errno> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
    std::fs::create_dir_all(folder).ok(); // Opening it tells why not.
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let put_aside = clear(&folder, name)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    let mask = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = rustix::net::bind(fd.as_fd(), &SocketAddrUnix::new(&short)?);
    rustix::process::umask(mask);
    bound?;
    let inode = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?.st_ino;
    Ok(BoundSocket { fd, inode, put_aside })
}

/// Makes room. A folder is not emptied, which could take for ever, but put aside under another name, which is told.
fn clear(folder: &OwnedFd, name: &OsStr) -> Result<Option<String>, Errno> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(None),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    match rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(None),
        Err(_) => {}
    }
    for _ in 0..TRIES {
        let aside = format!("{}.aside-{:08x}", name.to_string_lossy(), fastrand::u32(..));
        match rustix::fs::renameat_with(folder, name, folder, aside.as_str(), RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(Some(aside)),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::EXIST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_lies_in_its_place_gives_way() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let place = directory.path().join("agent.sock");
        let other = directory.path().join("other");
        std::fs::write(&other, "kept").expect("written");
        let full = || {
            std::fs::create_dir_all(place.join("a/b")).expect("folders");
            std::fs::write(place.join("a/file"), "x").expect("written");
        };
        let puts: [(&dyn Fn(), bool); 5] = [
            (&|| {}, false),
            (&|| std::fs::create_dir(&place).expect("a folder"), false),
            (&|| std::os::unix::fs::symlink(&other, &place).expect("a link"), false),
            (&|| std::fs::write(&place, "a file").expect("written"), false),
            (&full, true),
        ];
        for (put, aside) in puts {
            put();
            let socket = bind(&place, SocketType::STREAM).expect("bound");
            assert_eq!(socket.put_aside.is_some(), aside);
            if let Some(name) = socket.put_aside {
                assert!(directory.path().join(name).join("a/file").exists(), "nothing is lost");
            }
            std::fs::remove_file(&place).expect("it is a socket");
        }
        assert_eq!(std::fs::read(&other).expect("there"), b"kept");
    }

    #[test]
    fn a_long_path_is_no_hindrance() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let place = directory.path().join("x".repeat(200)).join("agent.sock");
        bind(&place, SocketType::DGRAM).expect("bound");
    }
}
