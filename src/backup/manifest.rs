//! The manifest of a backup: one JSON document a line. First a [`Header`], then a [`ManifestEntry`] for everything that
//! the backup holds, parents before their children, and last the [`Totals`] with the checksum of all lines before them.
//! A manifest that was cut short or edited is noticed by that.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The manifest's file name in a backup.
pub const FILE: &str = "manifest.jsonl";
/// The form that is written, and the newest that is read.
pub const FORMAT: u32 = 2;

/// The longest manifest that is written and read, in bytes: some five million files. It is held in memory.
const MOST: u64 = 1 << 30;
/// The longest line, in bytes: paths and links are far shorter.
const LONGEST_LINE: u64 = 256 << 10;
/// The longest last line, in bytes, and what of it may tell of things that were left out.
const LONGEST_END: u64 = 32 << 20;
const MOST_SKIPPED: usize = 16 << 20;

/// Why a backup was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Somebody asked for it.
    Persist,
    /// `restore` was about to overwrite this.
    BeforeRestore,
}

/// The first line: what this is a backup of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The form of the lines that follow: [`FORMAT`] where this release wrote them.
    pub format: u32,
    /// The environment's name.
    pub project: String,
    /// Why it was made.
    pub reason: Reason,
    /// When copying began, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// The release of powerdev that made it.
    pub version: String,
}

/// A name or path that need not be UTF-8: a string where it is, `{"hex": "…"}` where it isn't.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub OsString);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Hex {
            hex: String,
        }
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => Hex { hex: hex::encode(self.0.as_bytes()) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Hex { hex: String },
        }
        Ok(Self(match Written::deserialize(deserializer)? {
            Written::Text(text) => text.into(),
            Written::Hex { hex } => {
                let wrong = |_| serde::de::Error::custom("a name's bytes must be pairs of hexadecimal digits");
                OsString::from_vec(hex::decode(hex).map_err(wrong)?)
            }
        }))
    }
}

/// Something that the backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestEntry {
    /// Where, from the backup's folder, e.g. `tree/data/model.bin`.
    pub path: Bytes,
    /// Permissions with the sticky bit.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// When it was changed last: seconds and nanoseconds since the Unix epoch.
    pub mtime: (i64, u32),
    /// Whether it is a file, a folder or a link, with what is particular to it.
    #[serde(flatten)]
    pub kind: EntryKind,
}

/// What a [`ManifestEntry`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EntryKind {
    /// A folder; what lies in it has entries of its own.
    Dir,
    /// A plain file with its content.
    File {
        /// Length, in bytes.
        size: u64,
        /// SHA-256 of the content, in hex.
        sha256: String,
        /// It has holes: then the checksum is that of its blocks of 256 KiB that aren't all zeros, each after its number
        /// (8 bytes, little-endian).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        sparse: bool,
        /// It changed each time that it was copied: this is a state in between.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        changing: bool,
    },
    /// A symbolic link, never followed.
    Link {
        /// The text of the link.
        target: Bytes,
    },
}

/// Something that was there and isn't in the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Where it was, from the backup's folder.
    pub path: Bytes,
    /// The reason, for people.
    pub why: String,
    /// It is content that could not be read, not a socket, pipe or device, which hold none.
    pub lost: bool,
}

/// The last line: the totals, and the seal on all lines before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// How many entries there are.
    pub entries: u64,
    /// Plain files among them.
    pub files: u64,
    /// Bytes in them, as their lengths say: holes count.
    pub bytes: u64,
    /// What was left out.
    pub skipped: Vec<Skipped>,
    /// SHA-256 of every line before this one, in hex.
    pub sha256: String,
}

impl Totals {
    /// Whether everything that has content is in the backup.
    pub fn complete(&self) -> bool {
        !self.skipped.iter().any(|skipped| skipped.lost)
    }
}

#[derive(Serialize, Deserialize)]
struct TotalsLine {
    end: Totals,
}

/// Writes a manifest line by line, and sums up what it wrote.
#[derive(Debug)]
pub struct Writer {
    out: BufWriter<File>,
    hash: Sha256,
    end: Totals,
    /// Bytes so far.
    written: u64,
    /// Bytes of what is told of things that were left out.
    skipped: usize,
}

impl Writer {
    /// Begins with the header.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn new(file: File, header: &Header) -> io::Result<Self> {
        let mut writer =
            Self { out: BufWriter::new(file), hash: Sha256::new(), end: Totals::default(), written: 0, skipped: 0 };
        writer.line(header)?;
        Ok(writer)
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn entry(&mut self, entry: &ManifestEntry) -> io::Result<()> {
        self.end.entries += 1;
        if let EntryKind::File { size, .. } = entry.kind {
            self.end.files += 1;
            self.end.bytes += size;
        }
        self.line(entry)
    }

    /// Notes what is left out. Where that is very much, the last note stands for all that follow.
    pub fn skip(&mut self, path: OsString, why: impl Into<String>, lost: bool) {
        let why = why.into();
        // A name that is no text takes two letters for each byte.
        let length = 2 * path.len() + why.len() + 64;
        match self.end.skipped.last_mut().filter(|_| self.skipped + length > MOST_SKIPPED) {
            Some(last) => *last = Skipped { why: "this and more".to_owned(), lost: last.lost || lost, ..last.clone() },
            None => {
                self.skipped += length;
                self.end.skipped.push(Skipped { path: Bytes(path), why, lost });
            }
        }
    }

    /// What is left out so far.
    pub fn skipped(&self) -> &[Skipped] {
        &self.end.skipped
    }

    /// Writes the last line.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn finish(mut self) -> io::Result<Totals> {
        self.end.sha256 = hex::encode(self.hash.finalize());
        let line = TotalsLine { end: self.end };
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")?;
        self.out.flush()?;
        Ok(line.end)
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(line)?;
        line.push(b'\n');
        self.written += line.len() as u64;
        if line.len() as u64 > LONGEST_LINE || self.written > MOST - LONGEST_END {
            return Err(io::Error::other("there is more than a manifest can hold"));
        }
        self.hash.update(&line);
        self.out.write_all(&line)
    }
}

/// A manifest as read, whole.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// What the backup holds, by path.
    pub entries: BTreeMap<OsString, ManifestEntry>,
    /// What the last line says.
    pub end: Totals,
}

/// What is wrong with a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file can't be read, whatever it says.
    #[error("the manifest can't be read")]
    Read(#[from] io::Error),
    /// A line isn't what it should be.
    #[error("line {0} of the manifest is damaged")]
    Line(usize),
    /// The last line is missing, or its checksum isn't that of the lines before.
    #[error("the manifest was cut short or changed")]
    Altered,
    /// Longer than any that is written.
    #[error("the manifest is too long")]
    TooLong,
    /// Made by a later release.
    #[error("the manifest is of form {0}, which this release of powerdev doesn't know")]
    Newer(u32),
}

impl Manifest {
    /// Reads a manifest and checks it against its last line.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub fn read(file: File) -> Result<Self, ManifestError> {
        let mut lines = Lines::of(file)?;
        let mut hash = Sha256::new();
        let first = lines.next(LONGEST_LINE)?;
        hash.update(first);
        parse_header(first)?;
        let mut entries = BTreeMap::new();
        for number in 2.. {
            let line = lines.next(LONGEST_END)?;
            if line.starts_with(END) {
                let TotalsLine { end } = serde_json::from_slice(line).map_err(|_| ManifestError::Altered)?;
                let whole = end.sha256 == hex::encode(hash.finalize()) && end.entries == entries.len() as u64;
                return if whole && lines.at_end()? { Ok(Self { entries, end }) } else { Err(ManifestError::Altered) };
            }
            hash.update(line);
            let entry = Some(line).filter(|line| line.len() as u64 <= LONGEST_LINE);
            let entry = entry.and_then(|line| serde_json::from_slice::<ManifestEntry>(line).ok());
            let entry = entry.ok_or(ManifestError::Line(number))?;
            entries.insert(entry.path.0.clone(), entry);
        }
        Err(ManifestError::Altered)
    }
}

/// What the last line starts with.
const END: &[u8] = b"{\"end\":";

/// Reads a manifest line by line, none longer than is said.
struct Lines {
    file: BufReader<File>,
    line: Vec<u8>,
}

impl Lines {
    fn of(file: File) -> Result<Self, ManifestError> {
        if file.metadata()?.len() > MOST {
            return Err(ManifestError::TooLong);
        }
        Ok(Self { file: BufReader::new(file), line: Vec::new() })
    }

    /// The next line, with its end. No line, a longer one, or one without an end is not what was written.
    fn next(&mut self, longest: u64) -> Result<&[u8], ManifestError> {
        self.line.clear();
        Read::by_ref(&mut self.file).take(longest).read_until(b'\n', &mut self.line)?;
        if self.line.ends_with(b"\n") { Ok(&self.line) } else { Err(ManifestError::Altered) }
    }

    fn at_end(&mut self) -> io::Result<bool> {
        Ok(self.file.fill_buf()?.is_empty())
    }
}

/// The first and the last line, without what lies between and without its checksum: enough for a list.
///
/// # Errors
/// Whatever is wrong with these two lines.
pub fn summary(file: File) -> Result<(Header, Totals), ManifestError> {
    let length = file.metadata()?.len();
    let mut lines = Lines::of(file)?;
    let header = parse_header(lines.next(LONGEST_LINE)?)?;
    let mut file = lines.file.into_inner();
    let mut window = 4096;
    loop {
        let from = length.saturating_sub(window);
        file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        Read::by_ref(&mut file).take(window).read_to_end(&mut tail)?;
        let body = tail.strip_suffix(b"\n").ok_or(ManifestError::Altered)?;
        if let Some(start) = body.iter().rposition(|byte| *byte == b'\n') {
            let TotalsLine { end } = serde_json::from_slice(&body[start + 1..]).map_err(|_| ManifestError::Altered)?;
            return Ok((header, end));
        }
        if from == 0 || window > LONGEST_END {
            return Err(ManifestError::Altered);
        }
        window *= 8;
    }
}

fn parse_header(line: &[u8]) -> Result<Header, ManifestError> {
    #[derive(Deserialize)]
    struct FormatOnly {
        format: u32,
    }
    let FormatOnly { format } = serde_json::from_slice(line).map_err(|_| ManifestError::Line(1))?;
    if format > FORMAT {
        return Err(ManifestError::Newer(format));
    }
    serde_json::from_slice(line).map_err(|_| ManifestError::Line(1))
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
