//! The last of a session's output, byte by byte, in a memory file: counted in the container's memory, and not in that of
//! this process, which only passes through what is written and read.

use std::io;
use std::os::fd::OwnedFd;

use powerdev_terminal::Modes;
use rustix::fs::MemfdFlags;

/// What is handled at a time where old output makes way, in bytes.
const PIECE: usize = 4096;
/// Within so many bytes the first line's beginning is looked for.
const LINE: usize = 1024;

/// Where in all of an output a byte stands, from its very beginning on.
pub type Offset = u64;

/// See the module.
#[derive(Debug)]
pub struct Ring {
    file: OwnedFd,
    capacity: u64,
    end: Offset,
    /// The modes that what is no longer kept has put a terminal into.
    modes: Modes,
}

impl Ring {
    /// An empty one that will keep so many bytes.
    ///
    /// # Errors
    /// When no memory file is to be had.
    pub fn new(capacity: u64) -> io::Result<Self> {
        let file = rustix::fs::memfd_create("scrollback", MemfdFlags::CLOEXEC)?;
        Ok(Self { file, capacity, end: 0, modes: Modes::default() })
    }

    /// Appends; the oldest makes way.
    ///
    /// # Errors
    /// When there is no memory left for it: then it isn't kept.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(PIECE.min(self.capacity as usize)) {
            if self.end + piece.len() as u64 > self.capacity {
                self.forget(piece.len())?;
            }
            self.each_part(self.end, piece.len(), |file, at, range| write_all(file, &piece[range], at))?;
            self.end += piece.len() as u64;
        }
        Ok(())
    }

    /// Follows the modes of what is about to be written over.
    fn forget(&mut self, count: usize) -> io::Result<()> {
        let mut old = [0; PIECE];
        let start = self.start();
        let kept = (self.end + count as u64).saturating_sub(self.capacity).saturating_sub(start).min(count as u64);
        let count = self.read(start, &mut old[..kept as usize])?;
        self.modes.follow(&old[..count]);
        Ok(())
    }

    /// Where what is kept begins.
    pub fn start(&self) -> Offset {
        self.end.saturating_sub(self.capacity)
    }

    /// Where the next byte will stand.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Where to begin for somebody who has seen nothing: at a line's beginning, if there is one near, since the first
    /// byte that is kept may stand in the middle of a sequence.
    pub fn first_line(&self) -> Offset {
        let start = self.start();
        if start == 0 {
            return start;
        }
        let mut head = [0; LINE];
        let count = self.read(start, &mut head).unwrap_or_default();
        let newline = head[..count].iter().position(|byte| *byte == b'\n');
        start + newline.map_or(0, |at| at as u64 + 1)
    }

    /// What brings a terminal to where what is kept begins.
    pub fn modes(&self) -> Vec<u8> {
        self.modes.restored()
    }

    /// Reads from there on, as much as there is and fits. What isn't kept any more is the caller's to skip.
    ///
    /// # Errors
    /// When the memory file can't be read.
    pub fn read(&self, from: Offset, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (self.end - from).min(buffer.len() as u64) as usize;
        self.each_part(from, count, |file, at, range| read_all(file, &mut buffer[range], at))?;
        Ok(count)
    }

    /// The one or two stretches of the file in which so many bytes lie.
    fn each_part(
        &self,
        from: Offset,
        count: usize,
        mut act: impl FnMut(&OwnedFd, u64, std::ops::Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let at = from % self.capacity;
        let first = count.min((self.capacity - at) as usize);
        act(&self.file, at, 0..first)?;
        if first < count { act(&self.file, 0, first..count) } else { Ok(()) }
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::pwrite(file, bytes, at))?;
        bytes = &bytes[count..];
        at += count as u64;
    }
    Ok(())
}

fn read_all(file: &OwnedFd, mut buffer: &mut [u8], mut at: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *buffer, at))?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[count..];
        at += count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(ring: &Ring) -> Vec<u8> {
        let mut buffer = vec![0; ring.capacity as usize];
        let count = ring.read(ring.start(), &mut buffer).expect("readable");
        buffer.truncate(count);
        buffer
    }

    #[test]
    fn the_last_bytes_are_kept_wherever_the_writes_fall() {
        let all: Vec<u8> = (0..40_000u32).map(|number| (number % 251) as u8).collect();
        for size in [1, 999, 1000, 1001, 4096, 20_000] {
            let mut ring = Ring::new(1000).expect("a memory file");
            let mut written = 0;
            for part in all.chunks(size) {
                ring.write(part).expect("written");
                written += part.len();
                assert_eq!(ring.end(), written as u64);
                assert_eq!(kept(&ring), all[written.saturating_sub(1000)..written], "{size} {written}");
            }
        }
    }

    #[test]
    fn a_reader_gets_each_byte_once_across_the_end_of_the_file() {
        let mut ring = Ring::new(100).expect("a memory file");
        let mut seen = Vec::new();
        let mut at = 0;
        for number in 0..50 {
            ring.write(format!("line {number}\n").as_bytes()).expect("written");
            let mut buffer = [0; 7];
            while at < ring.end() {
                let count = ring.read(at, &mut buffer).expect("readable");
                seen.extend_from_slice(&buffer[..count]);
                at += count as u64;
            }
        }
        let expected: String = (0..50).map(|number| format!("line {number}\n")).collect();
        assert_eq!(String::from_utf8(seen), Ok(expected));
    }

    #[test]
    fn what_made_way_leaves_its_modes_and_a_new_reader_begins_at_a_line() {
        let mut ring = Ring::new(64).expect("a memory file");
        ring.write(b"\x1b[?1049h\x1b[?25l").expect("written");
        assert_eq!((ring.modes(), ring.first_line()), (Vec::new(), 0));
        ring.write(&[b'x'; 60]).expect("written");
        ring.write(b"\nlast").expect("written");
        assert_eq!(ring.modes(), b"\x1b[?1049h\x1b[?25l");
        let mut buffer = [0; 10];
        let count = ring.read(ring.first_line(), &mut buffer).expect("readable");
        assert_eq!(&buffer[..count], b"last");
    }
}
