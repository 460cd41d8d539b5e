//! A build's context: the files that a Dockerfile may copy, in a stable order, hashed and streamed without ever being
//! held in memory.
//!
//! All of it is reached from the folder's descriptor without following a link: whoever can write in the project while it is
//! built must not get a file of the caller's into a layer by a link that takes a folder's place.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::Stream;
use rustix::fs::{FileType, Stat};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::digests::Digests;
use super::ignore::Ignore;
use crate::files::{self, Dir, MAX_DEPTH};

/// How much is read ahead of the Engine: pieces of [`PIECE`].
const PIECES: usize = 16;
const PIECE: usize = 64 * 1024;

/// The files of a build.
#[derive(Debug, Default)]
pub struct BuildContext {
    /// The folder that files are read from. None: all of it is made here.
    root: Option<Dir>,
    /// By path; folders before what lies in them.
    entries: Vec<ContextEntry>,
}

#[derive(Debug)]
struct ContextEntry {
    /// Relative to the context.
    path: PathBuf,
    /// Permissions with the setuid, setgid and sticky bits.
    mode: u32,
    /// Seconds since the Unix epoch.
    modified: u64,
    kind: ContextContent,
}

#[derive(Debug)]
enum ContextContent {
    Folder,
    /// To where, as it stands in the link.
    Link(PathBuf),
    /// A file whose content is made here.
    Bytes(Cow<'static, [u8]>),
    /// A file that is read when it is sent.
    Disk(OnDisk),
}

/// A file on disk, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDisk {
    /// Its path, absolute.
    pub path: PathBuf,
    /// Its length, in bytes.
    pub size: u64,
    /// Changes whenever the content may have: modification time, change time (both in nanoseconds), inode.
    pub stamp: [i64; 3],
}

/// Why a context can't be read.
#[derive(Debug, thiserror::Error)]
#[error("can't read {}", path.display())]
pub struct ContextError {
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl BuildContext {
    /// All of a folder, less what `ignore` leaves out. Sockets, pipes and devices are left out, too: no `COPY` takes
    /// them.
    ///
    /// # Errors
    /// When a folder or a link can't be read.
    pub fn of_folder(root: &Path, ignore: &Ignore) -> Result<Self, ContextError> {
        let error = |source| ContextError { path: root.to_owned(), source };
        let folder = Dir::open_resolved(root).map_err(error)?;
        let mut context = Self::default();
        context.level(&folder, Path::new(""), ignore, 0)?;
        Ok(Self { root: Some(folder), ..context })
    }

    /// A folder's entries, those of `path` in the context.
    fn level(&mut self, folder: &Dir, path: &Path, ignore: &Ignore, depth: usize) -> Result<(), ContextError> {
        let error = |source| ContextError { path: folder.path().to_owned(), source };
        if depth > MAX_DEPTH {
            return Err(error(io::Error::other(format!("nested deeper than {MAX_DEPTH} folders"))));
        }
        for name in folder.names().map_err(error)? {
            let path = path.join(&name);
            let error = |source| ContextError { path: folder.path().join(&name), source };
            let stat = folder.stat(&name).map_err(error)?;
            let text = path.to_string_lossy();
            let left_out = ignore.leaves_out(&text);
            let is_folder = files::kind(&stat) == FileType::Directory;
            let below = is_folder && (!left_out || ignore.may_include_below(&text));
            if !left_out {
                self.entries.extend(ContextEntry::of(folder, &name, path.clone(), &stat).map_err(error)?);
            }
            if below {
                self.level(&folder.dir(&name).map_err(error)?, &path, ignore, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Opens a file of it, which lies where it was seen and nowhere else.
    fn open(&self, entry: &ContextEntry) -> io::Result<File> {
        self.root.as_ref().ok_or(io::ErrorKind::NotFound)?.file_beneath(&entry.path)
    }

    /// Adds a file, or replaces the one that is there.
    pub fn put(&mut self, path: &str, mode: u32, content: impl Into<Cow<'static, [u8]>>) {
        self.put_entry(ContextEntry {
            path: path.into(),
            mode,
            modified: 1,
            kind: ContextContent::Bytes(content.into()),
        });
    }

    fn put_entry(&mut self, entry: ContextEntry) {
        match self.entries.binary_search_by(|other| other.path.cmp(&entry.path)) {
            Ok(at) => self.entries[at] = entry,
            Err(at) => self.entries.insert(at, entry),
        }
    }

    /// SHA-256 of all that a build can see of it: paths, kinds, modes and contents, but not times.
    ///
    /// # Errors
    /// When a file can't be read.
    pub fn digest(&self, digests: &mut Digests) -> Result<[u8; 32], ContextError> {
        let mut hash = Sha256::new();
        for entry in &self.entries {
            let path = entry.path.as_os_str().as_encoded_bytes();
            hash.update((path.len() as u64).to_le_bytes());
            hash.update(path);
            hash.update(entry.mode.to_le_bytes());
            match &entry.kind {
                ContextContent::Folder => hash.update(b"folder"),
                ContextContent::Link(target) => {
                    hash.update(b"link");
                    hash.update(Sha256::digest(target.as_os_str().as_encoded_bytes()));
                }
                ContextContent::Bytes(bytes) => {
                    hash.update(b"file");
                    hash.update(Sha256::digest(bytes));
                }
                ContextContent::Disk(file) => {
                    hash.update(b"file");
                    let digest = digests.of(file, || self.open(entry));
                    hash.update(digest.map_err(|source| ContextError { path: file.path.clone(), source })?);
                }
            }
        }
        Ok(hash.finalize().into())
    }

    /// As a tar stream, made while it is read.
    pub fn into_tar(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let (sender, mut receiver) = mpsc::channel(PIECES);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = self.write_tar(Pieces { sender: sender.clone(), piece: Vec::with_capacity(PIECE) }) {
                // Nobody listens any more when the build was called off: then there is nobody to tell.
                sender.blocking_send(Err(error)).ok();
            }
        });
        futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx))
    }

    fn write_tar(&self, out: Pieces) -> io::Result<()> {
        let mut tar = tar::Builder::new(out);
        for entry in &self.entries {
            entry
                .append_to(&mut tar, || self.open(entry))
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", entry.path.display())))?;
        }
        tar.into_inner()?.flush()
    }
}

impl ContextEntry {
    /// None for what no build can use.
    #[allow(clippy::unnecessary_cast, reason = "nanoseconds are unsigned on Linux and signed on macOS")]
    fn of(folder: &Dir, name: &OsStr, path: PathBuf, stat: &Stat) -> io::Result<Option<Self>> {
        let kind = match files::kind(stat) {
            FileType::Directory => ContextContent::Folder,
            FileType::Symlink => ContextContent::Link(folder.read_link(name)?.into()),
            FileType::RegularFile => {
                let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
                let stamp = [
                    nanos(stat.st_mtime, stat.st_mtime_nsec as i64),
                    nanos(stat.st_ctime, stat.st_ctime_nsec as i64),
                    stat.st_ino.cast_signed(),
                ];
                ContextContent::Disk(OnDisk { path: folder.path().join(name), size: stat.st_size as u64, stamp })
            }
            _ => return Ok(None),
        };
        // A link has no permissions of its own.
        let mode = if matches!(kind, ContextContent::Link(_)) { 0o777 } else { files::permissions(stat) };
        Ok(Some(Self { path, mode, modified: u64::try_from(stat.st_mtime).unwrap_or_default(), kind }))
    }

    fn append_to(&self, tar: &mut tar::Builder<Pieces>, open: impl FnOnce() -> io::Result<File>) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_mode(self.mode);
        header.set_mtime(self.modified);
        // All is root's in a build, whoever it belongs to here.
        header.set_uid(0);
        header.set_gid(0);
        match &self.kind {
            ContextContent::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(0);
                tar.append_data(&mut header, &self.path, io::empty())
            }
            ContextContent::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                tar.append_link(&mut header, &self.path, target)
            }
            ContextContent::Bytes(bytes) => {
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, &self.path, &**bytes)
            }
            ContextContent::Disk(file) => {
                header.set_size(file.size);
                tar.append_data(&mut header, &self.path, Exactly { file: open()?, left: file.size })
            }
        }
    }
}

/// Reads as many bytes as were promised: a file that shrinks meanwhile must not shift all that follows it.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// Passes pieces on to the stream.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use futures_util::TryStreamExt;

    use super::*;

    fn project() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        std::fs::create_dir_all(root.join("src/deep")).expect("made");
        std::fs::create_dir_all(root.join("target/debug")).expect("made");
        std::fs::write(root.join("src/main.rs"), "fn main() {}").expect("written");
        std::fs::write(root.join("src/deep/run.sh"), "#!/bin/sh").expect("written");
        std::fs::set_permissions(root.join("src/deep/run.sh"), PermissionsExt::from_mode(0o750)).expect("set");
        std::fs::write(root.join("target/debug/keep.txt"), vec![b'x'; 3 * PIECE + 17]).expect("written");
        std::fs::write(root.join("target/debug/huge"), "no").expect("written");
        symlink("../nowhere", root.join("src/link")).expect("linked");
        std::os::unix::net::UnixListener::bind(root.join("socket")).expect("bound");
        std::fs::write(root.join("n".repeat(180)), "long name").expect("written");
        folder
    }

    fn context(folder: &tempfile::TempDir) -> BuildContext {
        let ignore = Ignore::parse("target\n!target/debug/keep.txt").expect("valid");
        BuildContext::of_folder(folder.path(), &ignore).expect("readable")
    }

    #[tokio::test]
    async fn the_tar_holds_what_isnt_left_out() {
        let folder = project();
        let bytes: Vec<Bytes> = context(&folder).into_tar().try_collect().await.expect("streamed");
        assert!(bytes.len() > 2, "in pieces");
        let bytes = bytes.concat();
        let mut found = BTreeMap::new();
        for entry in tar::Archive::new(&bytes[..]).entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").to_string_lossy().trim_end_matches('/').to_owned();
            let (mode, uid) = (entry.header().mode().expect("a mode"), entry.header().uid().expect("a user"));
            assert_eq!(uid, 0, "{path}");
            let mut content = String::new();
            entry.read_to_string(&mut content).expect("read");
            let link = entry.link_name().expect("valid").map(|link| link.to_string_lossy().into_owned());
            found.insert(path, (mode, link, content));
        }
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        let long = "n".repeat(180);
        assert_eq!(
            names,
            [&long, "src", "src/deep", "src/deep/run.sh", "src/link", "src/main.rs", "target/debug/keep.txt"]
        );
        assert_eq!(found["src/deep/run.sh"].0, 0o750);
        assert_eq!(found["src/link"].1.as_deref(), Some("../nowhere"));
        assert_eq!(found["target/debug/keep.txt"].2.len(), 3 * PIECE + 17);
    }

    #[test]
    fn the_digest_follows_content_mode_and_links_but_not_time() {
        let folder = project();
        let root = folder.path();
        let digest = || context(&folder).digest(&mut Digests::default()).expect("readable");
        let first = digest();
        let touched = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        File::options().append(true).open(root.join("src/main.rs")).and_then(|f| f.set_modified(touched)).expect("set");
        std::fs::write(root.join("target/debug/huge"), "left out").expect("written");
        assert_eq!(digest(), first);

        std::fs::write(root.join("src/main.rs"), "fn main() {;}").expect("written");
        let second = digest();
        assert_ne!(second, first);
        std::fs::set_permissions(root.join("src/main.rs"), PermissionsExt::from_mode(0o600)).expect("set");
        let third = digest();
        assert_ne!(third, second);
        std::fs::remove_file(root.join("src/link"))
            .and_then(|()| symlink("elsewhere", root.join("src/link")))
            .expect("ok");
        assert_ne!(digest(), third);
    }

    #[tokio::test]
    async fn a_file_that_shrinks_meanwhile_ends_the_stream_with_an_error() {
        let folder = project();
        let context = context(&folder);
        std::fs::write(folder.path().join("src/main.rs"), "").expect("written");
        let error = context.into_tar().try_collect::<Vec<_>>().await.expect_err("cut short");
        assert!(error.to_string().contains("src/main.rs: it became shorter"), "{error}");
    }

    #[tokio::test]
    async fn a_folder_swapped_for_a_link_lets_nothing_from_outside_in() {
        let (folder, outside) = (project(), tempfile::tempdir().expect("a folder"));
        std::fs::write(outside.path().join("main.rs"), "fn secret").expect("written");
        symlink(outside.path(), folder.path().join("swapped")).expect("linked");
        let seen = context(&folder);
        let root = Dir::open(folder.path()).expect("opens");
        root.exchange("src".as_ref(), "swapped".as_ref()).expect("swapped");
        assert!(seen.digest(&mut Digests::default()).is_err());
        let error = seen.into_tar().try_collect::<Vec<_>>().await.expect_err("a link lies in its place");
        assert!(error.to_string().starts_with("src/deep/run.sh: "), "{error}");
    }

    #[test]
    fn put_replaces_and_keeps_the_order() {
        let folder = project();
        let mut context = context(&folder);
        context.put("src/main.rs", 0o644, &b"other"[..]);
        context.put("a", 0o644, &b"first"[..]);
        let paths: Vec<_> = context.entries.iter().map(|entry| entry.path.clone()).collect();
        assert_eq!(paths.first(), Some(&PathBuf::from("a")));
        assert_eq!(paths.iter().filter(|path| path.ends_with("main.rs")).count(), 1);
        assert!(paths.is_sorted());
    }
}
