//! Cuts a service's output into lines, and keeps the last of it for those who attach later.

use std::collections::VecDeque;

/// The longest line; what is longer is cut into several.
const MAX_LINE: usize = 8 * 1024;
/// Bytes of output kept for who attaches later.
const REPLAY: usize = 64 * 1024;

/// Bytes in, lines out.
#[derive(Debug, Default)]
pub struct LineCutter {
    partial: Vec<u8>,
}

impl LineCutter {
    /// Takes bytes, and gives each line that they complete, without its end. Of a line that a terminal would have
    /// overwritten (`10 %\r20 %\r`) only what was left standing is given.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.partial.is_empty() {
                each_piece(standing(line), &mut each);
            } else {
                self.partial.extend_from_slice(line);
                each_piece(standing(&self.partial), &mut each);
                self.partial.clear();
            }
            bytes = rest;
        }
        self.partial.extend_from_slice(bytes);
        while self.partial.len() > MAX_LINE {
            each(&self.partial[..MAX_LINE]);
            self.partial.drain(..MAX_LINE);
        }
    }

    /// Gives what came after the last line's end.
    pub fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        let rest = std::mem::take(&mut self.partial);
        let rest = standing(&rest);
        if !rest.is_empty() {
            each(rest);
        }
    }
}

fn each_piece(line: &[u8], each: &mut impl FnMut(&[u8])) {
    if line.is_empty() {
        return each(line);
    }
    line.chunks(MAX_LINE).for_each(each);
}

fn standing(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
    let line = &line[..end];
    let start = line.iter().rposition(|byte| *byte == b'\r').map_or(0, |at| at + 1);
    &line[start..]
}

/// The last bytes of an output.
#[derive(Debug, Default)]
pub struct Replay {
    bytes: VecDeque<u8>,
}

impl Replay {
    /// Appends, and forgets the oldest.
    pub fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(REPLAY)..];
        let surplus = (self.bytes.len() + bytes.len()).saturating_sub(REPLAY);
        self.bytes.drain(..surplus);
        self.bytes.extend(bytes);
    }

    /// The last `count` bytes, or as many as there are.
    pub fn last(&self, count: usize) -> Vec<u8> {
        self.bytes.range(self.bytes.len().saturating_sub(count)..).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = LineCutter::default();
        let mut got = Vec::new();
        let mut keep = |line: &[u8]| got.push(String::from_utf8_lossy(line).into_owned());
        for chunk in chunks {
            lines.push(chunk, &mut keep);
        }
        lines.finish(&mut keep);
        got
    }

    #[test]
    fn lines_are_cut_wherever_the_reads_fall() {
        assert_eq!(lines_of(&[b"a\nb", b"c\r\n", b"\n", b"10 %\r20 %\r\nend"]), ["a", "bc", "", "20 %", "end"]);
        assert_eq!(lines_of(&[b"only\r"]), ["only"]);
        assert!(lines_of(&[b""]).is_empty());
    }

    #[test]
    fn a_line_without_end_is_cut_and_not_hoarded() {
        let long = vec![b'x'; 3 * MAX_LINE + 5];
        for chunks in [vec![&long[..]], vec![&long[..100], &long[100..]], vec![&long[..], b"\n"]] {
            let lines = lines_of(&chunks);
            assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [MAX_LINE, MAX_LINE, MAX_LINE, 5]);
        }
    }

    #[test]
    fn the_replay_keeps_the_last() {
        let mut replay = Replay::default();
        replay.push(b"abc");
        assert_eq!(replay.last(2), b"bc");
        assert_eq!(replay.last(9), b"abc");
        replay.push(&vec![b'x'; REPLAY - 1]);
        assert_eq!(replay.last(REPLAY + 1).len(), REPLAY);
        assert_eq!(replay.last(REPLAY)[0], b'c');
        replay.push(&vec![b'y'; 2 * REPLAY]);
        assert_eq!(replay.last(1), b"y");
    }
}
