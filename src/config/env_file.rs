//! `.env`: dotenvy reads it, with the line of every key. No message here shows a value: it may be a secret.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::text;
use crate::failure::Failure;
use crate::files;

/// One `KEY=value` of a `.env`. Its value may be a secret: there is no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvEntry {
    /// What stands before the `=`: a setting's name, or a secret's.
    pub key: String,
    /// The value, without quotes.
    pub value: String,
    /// The line that it starts on, from 1.
    pub line: usize,
}

/// What a `.env` holds.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EnvFile {
    /// The file that was read, for messages.
    pub path: PathBuf,
    /// Its entries, in order; no key twice.
    pub entries: Vec<EnvEntry>,
}

impl EnvFile {
    /// Reads the file; None where there is none.
    ///
    /// # Errors
    /// A usage [`Failure`] naming file and line; a [`FileError`](files::FileError) naming the file.
    pub fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        let Some(bytes) = files::read_if_there(path)? else { return Ok(None) };
        Ok(Some(Self::parse(path, &bytes)?))
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// A usage [`Failure`] naming file and line.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Failure> {
        let text = text::utf8(path, bytes)?;
        let lines: Vec<&str> = text.lines().collect();
        let lines_read = Rc::new(Cell::new(0));
        let reader = OneLineAtATime { rest: text.as_bytes(), lines_read: Rc::clone(&lines_read) };
        let mut file = Self { path: path.to_owned(), entries: Vec::new() };
        let mut before = 0;
        for item in dotenvy::from_read_iter(reader) {
            let line = before + 1 + skipped(&lines[before.min(lines.len())..]);
            before = lines_read.get();
            let (key, value) = item.map_err(|error| unreadable(path, line, &error))?;
            file.check(&lines, line, before, &key, &value)?;
            file.entries.push(EnvEntry { key, value, line });
        }
        Ok(file)
    }

    /// The entry of this key.
    pub fn get(&self, key: &str) -> Option<&EnvEntry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    fn check(&self, lines: &[&str], first: usize, last: usize, key: &str, value: &str) -> Result<(), Failure> {
        let place = format!("{}:{first}", self.path.display());
        if let Some(other) = self.get(key) {
            return Err(Failure::usage(format!("{place}: {key} stands in line {} already", other.line))
                .hint("keep one of the two"));
        }
        if value.contains('\0') {
            return Err(Failure::usage(format!("{place}: the value of {key} holds a NUL byte"))
                .hint("no variable can hold one: encode the value, e.g. with base64"));
        }
        let inner = lines.get(first..last.min(lines.len())).unwrap_or_default();
        if let Some(at) = inner.iter().position(|line| starts_entry(line)) {
            return Err(Failure::usage(format!("{place}: the quote that {key} opens isn't closed on its line"))
                .hint(format!("it swallows line {}, which starts an entry of its own: close it", first + 1 + at)));
        }
        Ok(())
    }
}

/// The failure for a file that was named and isn't there.
pub fn not_there(path: &Path) -> Failure {
    Failure::usage(format!("there is no {}", path.display())).hint("--env-file takes a file that is there")
}

/// Lines that hold no entry, at the front of these.
fn skipped(lines: &[&str]) -> usize {
    lines.iter().take_while(|line| line.trim().is_empty() || line.trim_start().starts_with('#')).count()
}

/// Whether a line reads `KEY=…`: inside a quoted value that is the sign of a quote forgotten. The last line of a
/// certificate (`Q==`) isn't.
fn starts_entry(line: &str) -> bool {
    line.split_once('=').is_some_and(|(key, value)| {
        key.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
            && key.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
            && !value.is_empty()
            && !value.starts_with('=')
    })
}

fn unreadable(path: &Path, line: usize, error: &dotenvy::Error) -> Failure {
    let place = format!("{}:{line}", path.display());
    let dotenvy::Error::LineParse(text, at) = error else {
        return Failure::usage(format!("{place}: can't be read"));
    };
    // What dotenvy couldn't finish has its whole length as the position.
    if *at == text.len() && text.contains(['"', '\'', '\\']) {
        return Failure::usage(format!("{place}: a quote opens here and is never closed"))
            .hint("close it, or put a value that holds a quote between quotes of the other kind");
    }
    let before: Vec<char> = text.chars().take(*at).collect();
    match before.last() {
        Some(' ' | '\t') => Failure::usage(format!("{place}: the value goes on after a space"))
            .hint("put a value with spaces between quotes"),
        Some('\\') => Failure::usage(format!("{place}: a backslash before something that it doesn't escape"))
            .hint("put the value between single quotes, where a backslash means itself"),
        // What stands before the `=` isn't shown either: it may be a value that lost its key.
        _ if is_colon_pair(text) => {
            Failure::usage(format!("{place}: a `:` where a `=` should be")).hint("write KEY=value")
        }
        _ if text.contains('=') => Failure::usage(format!("{place}: what stands before the `=` can't be a key's name"))
            .hint("use letters, digits, `_` and `.`, a letter or `_` first"),
        _ => Failure::usage(format!("{place}: not of the form KEY=value")).hint("a comment starts with #"),
    }
}

/// `KEY: value`, as YAML writes it.
fn is_colon_pair(text: &str) -> bool {
    text.split_once(": ")
        .is_some_and(|(key, _)| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

/// Hands out one line per read and counts them, since dotenvy keeps no lines: its buffer then never holds more than
/// the line that it works on.
struct OneLineAtATime<'a> {
    rest: &'a [u8],
    lines_read: Rc<Cell<usize>>,
}

impl Read for OneLineAtATime<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line = self.rest.iter().position(|byte| *byte == b'\n').map_or(self.rest.len(), |at| at + 1);
        let length = line.min(buffer.len());
        let (now, later) = self.rest.split_at(length);
        buffer[..length].copy_from_slice(now);
        self.rest = later;
        if now.ends_with(b"\n") || (length > 0 && later.is_empty()) {
            self.lines_read.set(self.lines_read.get() + 1);
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<EnvFile, Failure> {
        EnvFile::parse(Path::new("/p/.env"), text.as_bytes())
    }

    fn entries(text: &str) -> Vec<(String, String, usize)> {
        let file = parse(text).unwrap_or_else(|failure| panic!("{text}: {failure}"));
        file.entries.into_iter().map(|entry| (entry.key, entry.value, entry.line)).collect()
    }

    #[test]
    fn every_entry_knows_its_line() {
        let text =
            "\u{feff}# keys\n\nA=1\n  # more\nexport B='two words' # why\nC=\"line one\nline two\"\n\nD=\nE=x#y\nF=end";
        let expected = [
            ("A", "1", 3),
            ("B", "two words", 5),
            ("C", "line one\nline two", 6),
            ("D", "", 9),
            ("E", "x#y", 10),
            ("F", "end", 11),
        ];
        assert_eq!(entries(text), expected.map(|(k, v, l)| (k.to_owned(), v.to_owned(), l)));
    }

    #[test]
    fn windows_lines_and_long_values_keep_their_lines() {
        let long = "x".repeat(40_000);
        assert_eq!(
            entries(&format!("A=1\r\nB={long}\r\nC=3\r\n")),
            [("A".into(), "1".into(), 1), ("B".into(), long, 2), ("C".into(), "3".into(), 3)]
        );
    }

    #[test]
    fn a_private_key_is_a_value() {
        let pem = "-----BEGIN KEY-----\nMIIEvQ/+9\nQ==\n-----END KEY-----";
        assert_eq!(entries(&format!("KEY=\"{pem}\"\n")), [("KEY".into(), pem.into(), 1)]);
    }

    #[test]
    fn mistakes_name_the_line_and_never_the_value() {
        for (text, part) in [
            ("A=1\nB=\"s3cret\nC=2\n", ":2: a quote opens here and is never closed"),
            ("A=1\nB=\"s3cret\nC=\"2\n", ":2: the quote that B opens isn't closed"),
            ("A='s3cret", ":1: a quote opens here"),
            ("\n\ns3cret\n", ":3: not of the form KEY=value"),
            ("A=s3cret s3cret\n", ":1: the value goes on after a space"),
            ("A=s3cret\\q\n", ":1: a backslash before"),
            ("A=1\n\nA=s3cret\n", ":3: A stands in line 1 already"),
            ("1A=s3cret\n", ":1: what stands before the `=`"),
            ("MY-KEY=s3cret\n", ":1: what stands before the `=`"),
            ("A: s3cret\n", ":1: a `:` where a `=` should be"),
        ] {
            let failure = parse(text).err().unwrap_or_else(|| panic!("{text} was read"));
            assert!(failure.message.contains(part), "{text}: {failure}");
            let hint = failure.hint.unwrap_or_default();
            assert!(!failure.message.contains("s3cret") && !hint.contains("s3cret"), "{text}: {}", failure.message);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_named() {
        let failure = EnvFile::parse(Path::new("/p/.env"), b"A=1\nB=\xff\n").err().expect("0xff is never UTF-8");
        assert_eq!(failure.message, "/p/.env:2: not UTF-8: byte 0xff in column 3");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            EnvFile::parse(Path::new(".env"), &bytes).ok();
        }

        #[test]
        fn any_text_like_an_env_file_is_read_or_refused(text in "([A-C]{1,2}=[ a\"'\\\\$\\{}#\n=]{0,12}\n?){0,12}") {
            if let Ok(file) = parse(&text) {
                let lines: Vec<&str> = text.lines().collect();
                for entry in file.entries {
                    prop_assert!(lines[entry.line - 1].contains(&entry.key), "{} not in line {}", entry.key, entry.line);
                }
            }
        }

        #[test]
        fn quoted_values_come_back_as_they_were(value in "[^'\\\\\0\r\n=]{0,60}") {
            prop_assert_eq!(entries(&format!("A='{value}'\nB=2\n"))[0].1.clone(), value);
        }
    }
}
