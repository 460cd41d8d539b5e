//! powerdev's own standard streams as bytes, for what a program inside reads and writes. Standard input is read on a
//! thread of its own.

use std::io::{self, PipeReader, PipeWriter};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::termios;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

const CHUNK: usize = 64 * 1024;
/// Chunks that are read ahead of whom they are for.
const AHEAD: usize = 4;

/// Whether standard input and standard output both are terminals: whether a program inside gets one.
pub fn is_interactive() -> bool {
    termios::isatty(rustix::stdio::stdin()) && termios::isatty(rustix::stdio::stdout())
}

/// What the user's own terminal can do, for a program inside that gets one.
pub fn variables() -> impl Iterator<Item = (&'static str, String)> {
    ["TERM", "COLORTERM"].into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?)))
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
