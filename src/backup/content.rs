//! The content of files: read once, summed up, and handed on block by block.
//!
//! Holes are neither read nor handed on: a file of half a terabyte without a byte in it is backed up, checked and put back
//! at once, and takes no room. Which blocks are zeros and which are holes depends on the file system, so neither counts:
//! the checksum of a file with holes is that of its blocks that hold anything, each after its number.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{SeekFrom, Stat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::copy::{CopyError, full_or};
use super::{BackupError, Job};

/// Bytes read at once, and the unit of holes. Part of the manifest's form: another size makes other checksums.
const BLOCK: usize = 256 * 1024;

/// Length and checksum of what was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) size: u64,
    /// SHA-256, in hex.
    pub(super) sha256: String,
}

/// Whether a file has holes, as far as its length and its blocks tell.
pub(super) fn is_sparse(stat: &Stat) -> bool {
    (stat.st_blocks as u64).saturating_mul(512) < stat.st_size as u64
}

/// Reads the content of files.
pub(super) struct ContentReader<'a> {
    job: &'a Job,
    buffer: Vec<u8>,
}

impl<'a> ContentReader<'a> {
    pub(super) fn new(job: &'a Job) -> Self {
        Self { job, buffer: vec![0; BLOCK] }
    }

    /// Whoever waits for the work may stop it.
    pub(super) fn look_up(&self) -> Result<(), BackupError> {
        self.job.advance(0)
    }

    /// Copies `length` bytes at most: a log that grows faster than it is copied ends. `sparse`: holes stay holes, and the
    /// checksum is that of a file with holes. `count`: the bytes count as progress.
    pub(super) fn copy(
        &mut self,
        original: &File,
        copy: &File,
        place: &Path,
        (length, sparse): (u64, bool),
        count: bool,
    ) -> Result<Sum, CopyError> {
        let sum = self.read(original, (length, sparse), count, |at, block| {
            copy.write_all_at(block, at).map_err(|error| full_or(error, "write", place))
        })?;
        copy.set_len(sum.size).map_err(|error| full_or(error, "write", place))?;
        Ok(sum)
    }

    /// Reads and sums up.
    pub(super) fn sum(&mut self, file: &File, path: &Path, shape: (u64, bool)) -> Result<Sum, BackupError> {
        self.read(file, shape, true, |_, _| Ok(())).map_err(|error| match error {
            CopyError::Source(error) => BackupError::io("read", path)(error),
            CopyError::Fatal(error) => error,
        })
    }

    fn read(
        &mut self,
        file: &File,
        (length, sparse): (u64, bool),
        count: bool,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), BackupError>,
    ) -> Result<Sum, CopyError> {
        let mut hash = Sha256::new();
        let mut at = 0;
        while at < length {
            if sparse {
                // From the start of the block that the next data lies in.
                let Some(data) = next_data(file, at).map_err(CopyError::Source)? else { break };
                at = (data - data % BLOCK as u64).max(at);
            }
            let wanted = usize::try_from(length - at).unwrap_or(usize::MAX).min(BLOCK);
            let filled = fill_at(file, &mut self.buffer[..wanted], at).map_err(CopyError::Source)?;
            let block = &self.buffer[..filled];
            if !sparse {
                hash.update(block);
                take(at, block)?;
            } else if block.iter().any(|byte| *byte != 0) {
                hash.update((at / BLOCK as u64).to_le_bytes());
                hash.update(block);
                take(at, block)?;
            }
            self.job.advance(if count { filled as u64 } else { 0 })?;
            at += filled as u64;
            if filled < wanted {
                return Ok(Sum { size: at, sha256: hex::encode(hash.finalize()) });
            }
        }
        Ok(Sum { size: length, sha256: hex::encode(hash.finalize()) })
    }
}

/// Where data comes next. None: only a hole follows. File systems that know of no holes have data everywhere.
fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => Ok(Some(data)),
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(at)),
        Err(error) => Err(error.into()),
    }
}

/// Reads until the buffer is full or the file ends.
fn fill_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(file: &File, sparse: bool) -> Sum {
        let length = file.metadata().expect("there").len();
        ContentReader::new(&Job::default()).sum(file, Path::new("x"), (length, sparse)).expect("reads")
    }

    #[test]
    fn zeros_and_holes_are_the_same_and_places_are_not() {
        let block = vec![7; BLOCK];
        let [holes, zeros, elsewhere] = [(); 3].map(|()| tempfile::tempfile().expect("a temporary file"));
        for file in [&holes, &zeros, &elsewhere] {
            file.set_len(5 * BLOCK as u64 + 3).expect("length");
        }
        holes.write_all_at(&block, 2 * BLOCK as u64).expect("writes");
        zeros.write_all_at(&vec![0; 5 * BLOCK], 0).expect("writes");
        zeros.write_all_at(&block, 2 * BLOCK as u64).expect("writes");
        elsewhere.write_all_at(&block, 3 * BLOCK as u64).expect("writes");
        assert_eq!(sum(&holes, true), sum(&zeros, true));
        assert_ne!(sum(&holes, true), sum(&elsewhere, true));
        assert_eq!(sum(&holes, false), sum(&zeros, false));
        assert_eq!(sum(&holes, true).size, 5 * BLOCK as u64 + 3);
    }

    #[test]
    fn half_a_terabyte_of_nothing_takes_no_time() {
        let file = tempfile::tempfile().expect("a temporary file");
        file.set_len(500 << 30).expect("length");
        file.write_all_at(b"end", (500 << 30) - 3).expect("writes");
        let read = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counted = read.clone();
        let job = Job::new(move |bytes| {
            counted.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        });
        let copy = tempfile::tempfile().expect("a temporary file");
        let mut reader = ContentReader::new(&job);
        let sum = reader.copy(&file, &copy, Path::new("x"), (500 << 30, true), true);
        let Ok(sum) = sum else { panic!("it is copied") };
        assert_eq!(sum.size, 500 << 30);
        assert!(read.load(std::sync::atomic::Ordering::Relaxed) <= 2 * BLOCK as u64, "holes were read");
        assert_eq!(copy.metadata().expect("there").len(), 500 << 30);
    }
}
