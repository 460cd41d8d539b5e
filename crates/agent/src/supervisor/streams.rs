//! A service's terminal or pipes, from the supervisor's side.

use std::os::fd::{AsFd, OwnedFd};

use powerdev_protocol::control::TerminalSize;
use rustix::io::Errno;

use super::input::InputQueue;
use super::lines::LineCutter;
use super::poll::{Flags, Key, Poll, PolledFd, Source};
use super::pty;

/// Outputs that are read at a time: that of the process, and those that earlier ones left to others.
const OUTPUTS: usize = 8;

/// What an output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// A terminal: output and errors.
    Terminal,
    /// The output's pipe.
    Stdout,
    /// The errors' pipe: logged, but not passed on to who attaches.
    Stderr,
}

#[derive(Debug)]
struct OutputStream {
    fd: PolledFd<OwnedFd>,
    kind: OutputKind,
    lines: LineCutter,
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub enum OutputRead {
    /// So many bytes.
    Bytes(OutputKind, usize),
    Nothing,
    /// The end: the output is closed.
    End,
}

/// The process's ends of its descriptors.
#[derive(Debug)]
pub struct Ends {
    /// Descriptors 0, 1 and 2: one terminal, or three pipes.
    terminal: Option<OwnedFd>,
    pipes: Option<[OwnedFd; 3]>,
}

impl Ends {
    /// As descriptors 0, 1, 2.
    pub fn stdio(&self) -> [std::os::fd::BorrowedFd<'_>; 3] {
        match (&self.terminal, &self.pipes) {
            (Some(terminal), _) => [terminal.as_fd(); 3],
            (None, Some([a, b, c])) => [a.as_fd(), b.as_fd(), c.as_fd()],
            (None, None) => unreachable!("made with one of them"),
        }
    }

    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.terminal.is_some()
    }
}

/// The supervisor's ends.
#[derive(Debug)]
pub struct Streams {
    poll: Poll,
    /// Who is told of them.
    source: Source,
    outputs: Vec<OutputStream>,
    input: InputQueue,
}

impl Streams {
    /// None are open yet.
    pub fn new(source: Source, poll: Poll) -> Self {
        let input = InputQueue::new(source, poll.clone());
        Self { poll, source, outputs: Vec::new(), input }
    }

    /// Opens a terminal, or pipes where none is wanted.
    pub fn open(&mut self, terminal: Option<TerminalSize>) -> Result<Ends, Errno> {
        self.input.close();
        match terminal {
            Some(size) => {
                let (master, slave) = pty::open(size)?;
                let input = rustix::io::fcntl_dupfd_cloexec(&master, 3)?;
                self.listen(master, OutputKind::Terminal)?;
                self.input.open(input, true);
                Ok(Ends { terminal: Some(slave), pipes: None })
            }
            None => {
                let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
                let ((stdin, input), (output, stdout), (errors, stderr)) = (pipe()?, pipe()?, pipe()?);
                for ours in [&input, &output, &errors] {
                    rustix::io::ioctl_fionbio(ours, true)?;
                }
                self.listen(output, OutputKind::Stdout)?;
                self.listen(errors, OutputKind::Stderr)?;
                self.input.open(input, false);
                Ok(Ends { terminal: None, pipes: Some([stdin, stdout, stderr]) })
            }
        }
    }

    fn listen(&mut self, fd: OwnedFd, kind: OutputKind) -> Result<(), Errno> {
        if self.outputs.len() >= OUTPUTS {
            self.outputs.remove(0);
        }
        let fd = self.poll.watch(fd, Flags::IN, self.source)?;
        self.outputs.push(OutputStream { fd, kind, lines: LineCutter::default() });
        Ok(())
    }

    /// What is typed, or piped in.
    pub fn input(&mut self) -> &mut InputQueue {
        &mut self.input
    }

    /// Whether this key is one of the outputs'.
    pub fn is_output(&self, key: Key) -> bool {
        self.outputs.iter().any(|output| output.fd.key() == key)
    }

    /// The keys of all outputs.
    pub fn outputs(&self) -> Vec<Key> {
        self.outputs.iter().map(|output| output.fd.key()).collect()
    }

    /// Reads from one output; `each` gets the lines that are complete now, and at the end the rest.
    pub fn read(&mut self, key: Key, buffer: &mut [u8], mut each: impl FnMut(&[u8])) -> OutputRead {
        let Some(at) = self.outputs.iter().position(|output| output.fd.key() == key) else {
            return OutputRead::Nothing;
        };
        let output = &mut self.outputs[at];
        match rustix::io::read(&output.fd, &mut *buffer) {
            Ok(n) if n > 0 => {
                output.lines.push(&buffer[..n], &mut each);
                OutputRead::Bytes(output.kind, n)
            }
            Err(Errno::AGAIN | Errno::INTR) => OutputRead::Nothing,
            // A terminal says EIO when its last process is gone.
            Ok(_) | Err(_) => {
                output.lines.finish(&mut each);
                self.outputs.remove(at);
                OutputRead::End
            }
        }
    }
}
