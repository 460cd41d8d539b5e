//! What watchers have told about one environment, on disk: `events.jsonl` in its state folder, one JSON object a line.
//!
//! Bounded: a file that has grown to [`LARGEST`] becomes `events.1.jsonl`, in place of the last one, and a new one
//! begins. A line goes into the file whole, by one write; one that was cut off, by a crash or a full disk, is passed
//! over by readers and ended by the next writer.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::report::Report;
use crate::state::StateDir;

/// How large a file may grow, in bytes: some ten thousand events.
const LARGEST: u64 = 2 << 20;
/// The longest line that is kept, in bytes: what a probe printed may be long.
const LONGEST: usize = 64 << 10;

/// The history of one environment, to be written by its one watcher.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    file: File,
}

impl History {
    /// Opens it, for the user alone, and makes it where there is none.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub fn open(state: &StateDir) -> io::Result<Self> {
        let path = current(state);
        let file = open(&path)?;
        Ok(Self { path, file })
    }

    /// Adds what was told. One that is too long for a line loses its details.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn append(&mut self, report: &Report) -> io::Result<()> {
        let mut line = serde_json::to_vec(report)?;
        if line.len() > LONGEST {
            line = serde_json::to_vec(&report.clone().shortened(LONGEST / 8))?;
        }
        line.push(b'\n');
        if self.file.metadata()?.len() >= LARGEST {
            fs::rename(&self.path, previous(&self.path))?;
            self.file = open(&self.path)?;
        }
        if !ends_whole(&self.file)? {
            line.insert(0, b'\n');
        }
        self.file.write_all(&line)
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new().create(true).append(true).read(true).mode(0o600).custom_flags(flags).open(path)
}

/// Whether the last line has its end.
fn ends_whole(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(true) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte == *b"\n")
}

fn current(state: &StateDir) -> PathBuf {
    state.root().join("events.jsonl")
}

fn previous(path: &Path) -> PathBuf {
    path.with_file_name("events.1.jsonl")
}

/// Reads a history, and goes on reading it.
#[derive(Debug)]
pub struct HistoryReader {
    path: PathBuf,
    /// The file that is read, up to where it stands.
    file: Option<BufReader<File>>,
    /// The beginning of a line whose end isn't written yet.
    begun: Vec<u8>,
}

impl HistoryReader {
    /// Begins with the oldest that is kept.
    pub fn new(state: &StateDir) -> Self {
        let path = current(state);
        let file = File::open(previous(&path)).ok().map(BufReader::new);
        Self { path, file, begun: Vec::new() }
    }

    /// What has been written since the last call, oldest first, from `since_ms` (milliseconds since the Unix epoch) on. What
    /// isn't an event, such as a line that was cut off, is passed over.
    ///
    /// # Errors
    /// When the files can't be read.
    pub fn read(&mut self, since_ms: u64) -> io::Result<Vec<Value>> {
        let mut found = Vec::new();
        loop {
            if let Some(file) = &mut self.file {
                while file.by_ref().take(LONGEST as u64 * 2).read_until(b'\n', &mut self.begun)? > 0 {
                    let whole = self.begun.last() == Some(&b'\n');
                    if whole || self.begun.len() > LONGEST {
                        found.extend(event(&self.begun).filter(|event| at_ms(event) >= since_ms));
                        self.begun.clear();
                    }
                }
            }
            if !self.go_on()? {
                return Ok(found);
            }
        }
    }

    /// Goes over to the file that is written now. False: it is the one that is read.
    fn go_on(&mut self) -> io::Result<bool> {
        let identity = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
        let now = match File::open(&self.path) {
            Ok(now) => now,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if let Some(file) = &self.file
            && identity(file.get_ref())? == identity(&now)?
        {
            return Ok(false);
        }
        self.begun.clear();
        let mut next = BufReader::new(now);
        next.seek(SeekFrom::Start(0))?;
        self.file = Some(next);
        Ok(true)
    }
}

fn event(line: &[u8]) -> Option<Value> {
    let event: Value = serde_json::from_slice(line).ok()?;
    (event["event"].is_string() && event["at_ms"].is_u64()).then_some(event)
}

/// When it happened, in milliseconds since the Unix epoch.
pub fn at_ms(event: &Value) -> u64 {
    event["at_ms"].as_u64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::What;

    fn state(folder: &Path) -> StateDir {
        let state = StateDir::below(folder);
        state.create().expect("made");
        state
    }

    fn unhealthy(at_ms: u64, detail: &str) -> Report {
        Report { at_ms, name: "demo".into(), what: What::Unhealthy { detail: detail.into() } }
    }

    #[test]
    fn a_line_that_was_cut_off_costs_itself_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let state = state(folder.path());
        History::open(&state).expect("opened").append(&unhealthy(1, "a")).expect("written");
        let mut file = OpenOptions::new().append(true).open(current(&state)).expect("there");
        file.write_all(br#"{"at_ms":2,"name":"demo","ev"#).expect("written");
        let mut reader = HistoryReader::new(&state);
        assert_eq!(reader.read(0).expect("read").len(), 1);
        History::open(&state).expect("opened").append(&unhealthy(3, "b")).expect("written");
        let more = reader.read(0).expect("read");
        assert_eq!(more.iter().map(at_ms).collect::<Vec<_>>(), [3], "{more:?}");
        let told: Report = serde_json::from_value(more[0].clone()).expect("it is read as it was written");
        assert_eq!(told, unhealthy(3, "b"));
    }

    #[test]
    fn however_much_is_told_it_stays_within_its_bounds() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let state = state(folder.path());
        let mut history = History::open(&state).expect("opened");
        let mut reader = HistoryReader::new(&state);
        let mut read = 0;
        let long = "x".repeat(LONGEST);
        for at_ms in 0..2000 {
            history.append(&unhealthy(at_ms, if at_ms % 3 == 0 { &long } else { "short" })).expect("written");
            read += reader.read(0).expect("read").len();
        }
        assert_eq!(read, 2000, "whoever follows misses nothing");
        let files = [current(&state), previous(&current(&state))].map(|path| fs::metadata(path).expect("there").len());
        assert!(files.iter().all(|size| *size <= LARGEST + LONGEST as u64), "{files:?}");
        let kept = HistoryReader::new(&state).read(1990).expect("read");
        assert_eq!(kept.iter().map(at_ms).collect::<Vec<_>>(), (1990..2000).collect::<Vec<_>>());
    }
}
