//! Lines of the log, put together from the Engine's chunks.

use bytes::BytesMut;
use serde::Serialize;

use crate::engine::{LogChunk, Stream};

/// The name that the supervisor's own lines carry.
pub const SUPERVISOR: &str = "powerdev";

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// When the Engine got it: RFC 3339, UTC.
    pub at: String,
    /// Which service wrote it; None: none of them.
    pub service: Option<String>,
    /// What it wrote.
    pub line: String,
}

impl LogLine {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_suffix('\r').unwrap_or(&text);
        let (at, text) = text.split_once(' ').unwrap_or((text, ""));
        let (service, line) = match text.split_once(" | ") {
            Some((name, line)) if is_name(name) => (Some(name.to_owned()), line),
            // An empty line, of which the Engine may have taken the last space.
            _ => match text.strip_suffix(" |").filter(|name| is_name(name)) {
                Some(name) => (Some(name.to_owned()), ""),
                None => (None, text),
            },
        };
        Self { at: at.to_owned(), service, line: line.to_owned() }
    }

    /// When, in nanoseconds since the Unix epoch.
    pub fn at_ns(&self) -> Option<i64> {
        self.at.parse::<jiff::Timestamp>().ok().and_then(|at| i64::try_from(at.as_nanosecond()).ok())
    }

    /// As a person reads it.
    pub fn text(&self, timestamps: bool) -> String {
        let at = if timestamps { format!("{} ", self.at) } else { String::new() };
        match &self.service {
            Some(service) => format!("{at}{service} | {}", self.line),
            None => format!("{at}{}", self.line),
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
}

/// Makes lines of chunks, which end anywhere.
#[derive(Debug, Default)]
pub struct Assembler {
    stdout: BytesMut,
    stderr: BytesMut,
}

impl Assembler {
    /// The lines that this chunk completes.
    pub fn push(&mut self, chunk: &LogChunk) -> Vec<LogLine> {
        let buffer = match chunk.stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        buffer.extend_from_slice(&chunk.bytes);
        let mut lines = Vec::new();
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line = buffer.split_to(end + 1);
            lines.push(LogLine::parse(&line[..end]));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_together_however_they_are_cut() {
        let text = "2026-11-21T01:00:00.5Z web | a | b\n2026-11-21T01:00:01Z no service\n2026-11-21T01:00:02Z web | \n";
        let mut lines = Assembler::default();
        let mut found = Vec::new();
        for byte in text.as_bytes() {
            let bytes = bytes::Bytes::copy_from_slice(&[*byte]);
            found.extend(lines.push(&LogChunk { stream: Stream::Stdout, bytes }));
        }
        let shown: Vec<_> = found.iter().map(|line| (line.service.as_deref(), line.line.as_str())).collect();
        assert_eq!(shown, [(Some("web"), "a | b"), (None, "no service"), (Some("web"), "")]);
        assert_eq!(found[0].at_ns(), Some(1_795_222_800_500_000_000));
        assert_eq!(found[0].text(true), "2026-11-21T01:00:00.5Z web | a | b");
        assert_eq!(found[1].text(false), "no service");
    }

    #[test]
    fn what_only_looks_like_a_service_is_none() {
        for text in ["t Not A Name | x", "t | x", "t plain"] {
            assert_eq!(LogLine::parse(text.as_bytes()).service, None, "{text}");
        }
    }
}
