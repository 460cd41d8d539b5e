//! A service's log on disk: size-bounded, rotated, and never in the way. A disk that is full, a folder that is missing,
//! or a pipe that somebody put in the file's place costs the lines, nothing else.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// A file is rotated when it would grow over this many bytes.
const MAX_SIZE: u64 = 10 * 1024 * 1024;
/// Older files that are kept: `web.log.1`, the newest of them, and `web.log.2`.
const KEPT: u32 = 2;
/// After a failure it is tried again this much later.
const RETRY: Duration = Duration::from_secs(5);
const FLAGS: OFlags = OFlags::WRONLY
    .union(OFlags::APPEND)
    .union(OFlags::CREATE)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
const NO_FILE: &str = "what lies there is no file: it is tried again once it is gone";

/// One service's log.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    retry_at: Option<Instant>,
    trouble: Option<String>,
    dropped: u64,
}

impl LogFile {
    /// `<directory>/<service>.log`. Opened at the first line.
    pub fn new(directory: &Path, service: &str) -> Self {
        let path = directory.join(format!("{service}.log"));
        Self { path, file: None, size: 0, retry_at: None, trouble: None, dropped: 0 }
    }

    /// Appends whole lines.
    pub fn append(&mut self, lines: &[u8], now: Instant) {
        if self.file.is_none() && self.retry_at.is_some_and(|at| now < at) {
            self.dropped += count(lines);
            return;
        }
        match self.try_append(lines) {
            Ok(()) => {
                self.trouble = None;
                self.retry_at = None;
            }
            Err(error) => {
                self.trouble = Some(format!("{} can't be written: {error}", self.path.display()));
                self.dropped += count(lines);
                self.file = None;
                self.retry_at = Some(now + RETRY);
            }
        }
    }

    /// Closes the file, so that the next line opens it anew (it may have been moved away).
    pub fn reopen(&mut self) {
        self.file = None;
        self.retry_at = None;
    }

    /// What keeps it from being written, if anything.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Lines that could not be written.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn try_append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.file.is_some() && self.size + lines.len() as u64 > MAX_SIZE {
            self.file = None;
            self.rotate()?;
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.open()?,
        };
        file.write_all(lines)?;
        self.size += lines.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    fn open(&mut self) -> io::Result<File> {
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        // Whatever runs here may write to this folder: what lies there is neither followed nor waited for.
        let file = rustix::fs::open(&self.path, FLAGS, Mode::from_raw_mode(0o640)).map_err(in_the_way)?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other(NO_FILE));
        }
        self.size = u64::try_from(stat.st_size).unwrap_or_default();
        Ok(file.into())
    }

    fn rotate(&self) -> io::Result<()> {
        let numbered = |n: u32| PathBuf::from(format!("{}.{n}", self.path.display()));
        for n in (1..KEPT).rev() {
            match std::fs::rename(numbered(n), numbered(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, numbered(1))
    }
}

/// What lies in the file's place and is none.
fn in_the_way(error: Errno) -> io::Error {
    match error {
        // A folder, a link, a pipe that nobody reads or a socket.
        Errno::ISDIR | Errno::LOOP | Errno::NXIO => io::Error::other(NO_FILE),
        other => other.into(),
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// A line's time as the log shows it: `2026-11-21T01:13:47.123Z`.
pub fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// Year, month and day, so many days after 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_utc() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_795_223_627, "2026-11-21T01:13:47.007Z"),
        ] {
            let at = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(7);
            assert_eq!(timestamp(at), expected);
        }
    }

    #[test]
    fn files_are_rotated_and_only_so_many_kept() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let mut log = LogFile::new(directory.path(), "web");
        let mut block = vec![b'x'; 4 * 1024 * 1024];
        block.push(b'\n');
        for _ in 0..9 {
            log.append(&block, Instant::now());
        }
        assert_eq!(log.trouble(), None);
        let mut names: Vec<_> =
            std::fs::read_dir(directory.path()).expect("lists").map(|e| e.expect("entry").file_name()).collect();
        names.sort();
        assert_eq!(names, ["web.log", "web.log.1", "web.log.2"]);
        for name in names {
            let size = std::fs::metadata(directory.path().join(name)).expect("is there").len();
            assert!(size <= MAX_SIZE, "{size}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told_and_forgotten_when_it_can() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let blocked = directory.path().join("logs");
        std::fs::write(&blocked, "a file in the folder's place").expect("writes");
        let mut log = LogFile::new(&blocked, "web");
        let now = Instant::now();
        log.append(b"one\n", now);
        assert!(log.trouble().is_some_and(|t| t.contains("web.log can't be written")), "{:?}", log.trouble());
        std::fs::remove_file(&blocked).expect("removes");
        log.append(b"two\n", now);
        assert_eq!(log.dropped(), 2, "it isn't tried again at once");
        log.append(b"three\n", now + RETRY);
        assert_eq!(log.trouble(), None);
        assert_eq!(std::fs::read(blocked.join("web.log")).expect("reads"), b"three\n");
    }

    #[test]
    fn what_is_no_file_is_told_and_not_touched() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let place = directory.path().join("web.log");
        let other = directory.path().join("other");
        let fifo = || {
            let mode = Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, &place, FileType::Fifo, mode, 0).expect("a pipe");
        };
        let puts: [(&str, &dyn Fn()); 4] = [
            ("a pipe", &fifo),
            ("a folder", &|| std::fs::create_dir(&place).expect("a folder")),
            ("a link", &|| std::os::unix::fs::symlink(&other, &place).expect("a link")),
            ("a socket", &|| drop(std::os::unix::net::UnixListener::bind(&place).expect("a socket"))),
        ];
        for (what, put) in puts {
            put();
            let mut log = LogFile::new(directory.path(), "web");
            let now = Instant::now();
            log.append(b"one\n", now);
            assert!(log.trouble().is_some_and(|trouble| trouble.ends_with(NO_FILE)), "{what}: {:?}", log.trouble());
            assert!(!other.exists(), "a link isn't followed");
            std::fs::rename(&place, directory.path().join(what)).expect("moved away");
            log.append(b"two\n", now + RETRY);
            assert_eq!(std::fs::read(&place).expect("written"), b"two\n", "{what}");
            std::fs::remove_file(&place).expect("removed");
        }
    }

    #[test]
    fn a_pipe_that_somebody_reads_is_no_log_either() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let place = directory.path().join("web.log");
        rustix::fs::mknodat(rustix::fs::CWD, &place, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a pipe");
        let _reader = rustix::fs::open(&place, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).expect("a reader");
        let mut log = LogFile::new(directory.path(), "web");
        log.append(b"one\n", Instant::now());
        assert!(log.trouble().is_some_and(|trouble| trouble.ends_with(NO_FILE)), "{:?}", log.trouble());
    }
}
