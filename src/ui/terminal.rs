//! The terminal that powerdev was called in: raw while a program inside has it, put back afterwards; and standard
//! input, read on a thread of its own.

use std::io::{self, PipeReader, PipeWriter};

use bytes::Bytes;
use powerdev_protocol::control::TerminalSize;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::termios::{self, OptionalActions, Termios};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

const CHUNK: usize = 64 * 1024;
/// Chunks that are read ahead of whom they are for.
const AHEAD: usize = 4;

/// Whether standard input and standard output both are terminals: whether a program inside gets one.
pub fn is_interactive() -> bool {
    termios::isatty(rustix::stdio::stdin()) && termios::isatty(rustix::stdio::stdout())
}

/// The terminal's size. None when there is none, or it doesn't know.
pub fn size() -> Option<TerminalSize> {
    let size = termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some(TerminalSize { rows: size.ws_row, cols: size.ws_col })
}

/// The terminal in raw mode: every key is passed on, Ctrl-C too. Put back when dropped, on a panic as well.
///
/// Who holds one must also catch the signals that would end the process without dropping it.
#[derive(Debug)]
pub struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Switches the terminal of standard input over.
    ///
    /// # Errors
    /// When it isn't a terminal.
    pub fn enter() -> io::Result<Self> {
        let stdin = rustix::stdio::stdin();
        let before = termios::tcgetattr(stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(stdin, OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // The terminal may be gone, and then there is nothing to put back.
        termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before).ok();
    }
}

/// Standard input, read on a thread of its own. The thread takes nothing more once this is dropped: what is typed
/// afterwards is for whoever reads next.
#[derive(Debug)]
pub struct StdinReader {
    chunks: mpsc::Receiver<Bytes>,
    /// The thread holds the other end: closing this one wakes it.
    _stop: PipeWriter,
}

impl StdinReader {
    /// Starts reading.
    ///
    /// # Errors
    /// When the system is out of threads or descriptors.
    pub fn open() -> io::Result<Self> {
        let (stopped, stop) = io::pipe()?;
        let (sender, chunks) = mpsc::channel(AHEAD);
        std::thread::Builder::new().name("stdin".into()).spawn(move || read(&stopped, &sender))?;
        Ok(Self { chunks, _stop: stop })
    }

    /// What was read next. None at the end of input, and when it can't be read any more.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.chunks.recv().await
    }
}

fn read(stopped: &PipeReader, sender: &mpsc::Sender<Bytes>) {
    let stdin = rustix::stdio::stdin();
    let mut buffer = vec![0; CHUNK];
    loop {
        let mut ready = [PollFd::from_borrowed_fd(stdin, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        match rustix::event::poll(&mut ready, None) {
            Err(Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) if !ready[1].revents().is_empty() => return,
            Ok(_) => {}
        }
        match rustix::io::read(stdin, &mut buffer) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(count @ 1..) if sender.blocking_send(Bytes::copy_from_slice(&buffer[..count])).is_ok() => {}
            _ => return,
        }
    }
}

/// Standard output and standard error as bytes, for what a program inside writes.
#[derive(Debug)]
pub struct StandardStreams {
    stdout: tokio::io::Stdout,
    stderr: tokio::io::Stderr,
}

impl StandardStreams {
    /// Both, unbuffered by us: what is written is on its way when the call returns.
    pub fn open() -> Self {
        Self { stdout: tokio::io::stdout(), stderr: tokio::io::stderr() }
    }

    /// Writes all of it to standard output, at once.
    ///
    /// # Errors
    /// When nobody reads it any more, among others.
    pub async fn stdout(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stdout.write_all(bytes).await?;
        self.stdout.flush().await
    }

    /// Writes all of it to standard error, at once.
    ///
    /// # Errors
    /// When nobody reads it any more, among others.
    pub async fn stderr(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stderr.write_all(bytes).await?;
        self.stderr.flush().await
    }
}

/// Finds Ctrl-P Ctrl-Q in what is typed, however it is cut into reads.
///
/// Ctrl-P is passed on at once, since shells and editors use it by itself; only the Ctrl-Q right after it is kept.
#[derive(Debug, Default)]
pub struct DetachSequence {
    after_ctrl_p: bool,
}

impl DetachSequence {
    const CTRL_P: u8 = 0x10;
    const CTRL_Q: u8 = 0x11;

    /// Where in `typed` the keys are complete: what comes before is passed on. None: all of it is.
    pub fn find(&mut self, typed: &[u8]) -> Option<usize> {
        for (at, &byte) in typed.iter().enumerate() {
            if self.after_ctrl_p && byte == Self::CTRL_Q {
                return Some(at);
            }
            self.after_ctrl_p = byte == Self::CTRL_P;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_in_one_read_and_across_two() {
        assert_eq!(DetachSequence::default().find(b"ls\x10\x11x"), Some(3));
        let mut keys = DetachSequence::default();
        assert_eq!(keys.find(b"ls\x10"), None);
        assert_eq!(keys.find(b"\x11"), Some(0));
        let mut keys = DetachSequence::default();
        assert_eq!(keys.find(b"\x10x\x11\x10\x10"), None);
        assert_eq!(keys.find(b"\x11"), Some(0));
        assert_eq!(DetachSequence::default().find(b"\x11"), None);
    }
}
