//! SHA-256 of files, remembered by size, times and inode, so that an unchanged large context is not read again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::context::OnDisk;
use crate::files;

/// A file that changed this shortly before it was hashed may change again without its times showing it: file systems
/// count time in steps.
const SETTLED: Duration = Duration::from_millis(100);

/// The digests that are known.
#[derive(Debug, Default)]
pub struct Digests {
    /// Where they are remembered; None: nowhere.
    file: Option<PathBuf>,
    known: HashMap<PathBuf, CachedDigest>,
    used: HashMap<PathBuf, CachedDigest>,
    changed: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct CachedDigest {
    size: u64,
    stamp: [i64; 3],
    digest: [u8; 32],
}

impl Digests {
    /// Those remembered for the context in `root`, in a file of the folder `cache`. One that can't be read is as good
    /// as none.
    pub fn load(cache: &Path, root: &Path) -> Self {
        let name = &hex::encode(Sha256::digest(root.as_os_str().as_encoded_bytes()))[..16];
        let file = cache.join(format!("context-{name}.json"));
        let known = files::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { file: Some(file), known, ..Self::default() }
    }

    /// A file's digest: remembered, or read from what `open` opens.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn of(&mut self, file: &OnDisk, open: impl FnOnce() -> io::Result<File>) -> io::Result<[u8; 32]> {
        if let Some(known) = self.known.get(&file.path)
            && (known.size, known.stamp) == (file.size, file.stamp)
        {
            self.used.insert(file.path.clone(), known.clone());
            return Ok(known.digest);
        }
        let mut hash = Sha256::new();
        io::copy(&mut open()?, &mut HashWriter(&mut hash))?;
        let digest = hash.finalize().into();
        self.changed = true;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let latest = file.stamp[0].max(file.stamp[1]);
        if now.saturating_sub(SETTLED).as_nanos() > latest.max(0).unsigned_abs().into() {
            self.used.insert(file.path.clone(), CachedDigest { size: file.size, stamp: file.stamp, digest });
        }
        Ok(digest)
    }

    /// Remembers what was used since it was loaded, and forgets the rest. Failing to costs time at the next build,
    /// nothing else.
    pub fn save(self) -> io::Result<()> {
        let Some(file) = self.file.filter(|_| self.changed || self.used.len() != self.known.len()) else {
            return Ok(());
        };
        let folder = file.parent().expect("it lies in the cache's folder");
        fs::create_dir_all(folder)?;
        let beside = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(io::BufWriter::new(&beside), &self.used)?;
        beside.persist(&file)?;
        Ok(())
    }
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(path: &Path, stamp: i64) -> OnDisk {
        OnDisk { path: path.to_owned(), size: fs::metadata(path).expect("there").len(), stamp: [stamp, stamp, 1] }
    }

    #[test]
    fn what_did_not_change_is_not_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, "one").expect("written");
        let mut digests = Digests::load(folder.path(), folder.path());
        let first = digests.of(&seen(&path, 7), || File::open(&path)).expect("readable");
        digests.save().expect("saved");

        fs::write(&path, "two").expect("written");
        let mut digests = Digests::load(folder.path(), folder.path());
        assert_eq!(digests.of(&seen(&path, 7), || File::open(&path)).expect("remembered"), first);
        assert_ne!(digests.of(&seen(&path, 8), || File::open(&path)).expect("readable"), first);
    }

    #[test]
    fn what_changed_just_now_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, "one").expect("written");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as i64;
        let mut digests = Digests::load(folder.path(), folder.path());
        let first = digests.of(&seen(&path, now), || File::open(&path)).expect("readable");
        digests.save().expect("saved");
        fs::write(&path, "two").expect("written");
        assert_ne!(
            Digests::load(folder.path(), folder.path()).of(&seen(&path, now), || File::open(&path)).expect("readable"),
            first
        );
    }

    #[test]
    fn a_damaged_memory_is_as_good_as_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, "one").expect("written");
        let mut digests = Digests::load(folder.path(), folder.path());
        digests.of(&seen(&path, 7), || File::open(&path)).expect("readable");
        let memory = digests.file.clone().expect("named");
        digests.save().expect("saved");
        fs::write(memory, "{").expect("written");
        assert!(Digests::load(folder.path(), folder.path()).of(&seen(&path, 7), || File::open(&path)).is_ok());
    }
}
