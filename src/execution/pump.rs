//! Bytes between powerdev's standard streams and a command's, each way in a task of its own: neither waits for the
//! other.

use std::io;
use std::pin::Pin;

use futures_util::TryStreamExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::engine::{EngineError, Exec, ExecOutput, Stream};
use crate::ui::terminal::{self, StdinReader};

/// Where the command's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// To powerdev's own standard output and standard error.
    Inherit,
    /// Kept, up to so many bytes a stream.
    Capture(usize),
}

/// What a command wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// From its standard output.
    pub stdout: Vec<u8>,
    /// From its standard error.
    pub stderr: Vec<u8>,
    /// Something of either is missing: it was more than the limit.
    pub truncated: bool,
}

/// Why the bytes stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// The command wrote all that it will.
    OutputEnded,
    /// The user's terminal is gone.
    HungUp,
    /// Who read powerdev's output is gone.
    NobodyReads,
}

/// The two tasks. Dropping it ends them.
pub struct StreamPump {
    output: JoinHandle<Result<(Finished, Captured), EngineError>>,
    input: JoinHandle<()>,
    /// Told by the input's task.
    left: mpsc::Receiver<Finished>,
    captured: Captured,
}

impl StreamPump {
    /// Starts both. With `tty`, the end of input is a terminal that hung up.
    ///
    /// # Errors
    /// When standard input can't be read.
    pub fn start(exec: Exec, sink: Sink, tty: bool) -> io::Result<Self> {
        let (tell, left) = mpsc::channel(1);
        let input = StdinReader::open()?;
        let output = tokio::spawn(drain(exec.output, sink));
        let input = tokio::spawn(feed(input, exec.input, tty, tell));
        Ok(Self { output, input, left, captured: Captured::default() })
    }

    /// Waits for the first reason to stop.
    ///
    /// # Errors
    /// When the Engine goes away.
    pub async fn finished(&mut self) -> Result<Finished, EngineError> {
        tokio::select! {
            done = &mut self.output => {
                let (finished, captured) = done.expect("the task neither panics nor is cancelled")?;
                self.captured = captured;
                Ok(finished)
            }
            Some(why) = self.left.recv() => Ok(why),
        }
    }

    /// What was kept.
    pub fn captured(&mut self) -> Captured {
        std::mem::take(&mut self.captured)
    }
}

impl Drop for StreamPump {
    fn drop(&mut self) {
        self.output.abort();
        self.input.abort();
    }
}

async fn drain(mut output: ExecOutput, sink: Sink) -> Result<(Finished, Captured), EngineError> {
    let mut captured = Captured::default();
    let mut own = terminal::StandardStreams::open();
    while let Some((stream, bytes)) = output.try_next().await? {
        let written = match (sink, stream) {
            (Sink::Inherit, Stream::Stdout) => own.stdout(&bytes).await,
            (Sink::Inherit, Stream::Stderr) => own.stderr(&bytes).await,
            (Sink::Capture(limit), stream) => {
                captured.keep(stream, &bytes, limit);
                Ok(())
            }
        };
        if written.is_err() {
            return Ok((Finished::NobodyReads, captured));
        }
    }
    Ok((Finished::OutputEnded, captured))
}

impl Captured {
    fn keep(&mut self, stream: Stream, bytes: &[u8], limit: usize) {
        let kept = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let room = limit.saturating_sub(kept.len()).min(bytes.len());
        kept.extend_from_slice(&bytes[..room]);
        self.truncated |= room < bytes.len();
    }
}

async fn feed(
    mut input: StdinReader,
    mut to: Pin<Box<dyn AsyncWrite + Send>>,
    tty: bool,
    tell: mpsc::Sender<Finished>,
) {
    while let Some(bytes) = input.next().await {
        // A command that reads no more is no reason to stop showing what it writes.
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
    if tty {
        tell.send(Finished::HungUp).await.ok(); // Nobody waits when the command has just ended.
    } else {
        to.shutdown().await.ok(); // The command may have ended meanwhile.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_up_to_the_limit_of_each_stream() {
        let mut captured = Captured::default();
        captured.keep(Stream::Stdout, b"abc", 4);
        captured.keep(Stream::Stderr, b"1234", 4);
        assert!(!captured.truncated);
        captured.keep(Stream::Stdout, b"def", 4);
        assert_eq!((captured.stdout.as_slice(), captured.truncated), (b"abcd".as_slice(), true));
        assert_eq!(captured.stderr, b"1234");
    }
}
