//! A service's terminal or pipes, from the supervisor's side.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use powerdev_protocol::control::TerminalSize;
use rustix::io::Errno;

use super::lines::Lines;
use super::poll::{Flags, Key, Poll, Source};
use super::pty;

/// Bytes that wait for a service to read its input; above it those who type are not listened to.
const INPUT_QUEUE: usize = 64 * 1024;
/// Outputs that are read at a time: that of the process, and those that earlier ones left to others.
const OUTPUTS: usize = 8;

/// What an output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A terminal: output and errors.
    Terminal,
    /// The output's pipe.
    Stdout,
    /// The errors' pipe: logged, but not passed on to who attaches.
    Stderr,
}

#[derive(Debug)]
struct Output {
    fd: OwnedFd,
    key: Key,
    kind: Kind,
    lines: Lines,
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// So many bytes.
    Bytes(Kind, usize),
    /// Nothing now.
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
#[derive(Debug, Default)]
pub struct Streams {
    outputs: Vec<Output>,
    input: Option<OwnedFd>,
    is_terminal: bool,
    /// Registered while input waits to be taken.
    input_key: Option<Key>,
    pending: VecDeque<u8>,
    /// Close the input once nothing is pending.
    eof: bool,
}

impl Streams {
    /// Opens a terminal, or pipes where none is wanted.
    pub fn open(&mut self, terminal: Option<TerminalSize>, service: usize, poll: &mut Poll) -> Result<Ends, Errno> {
        self.close_input(poll);
        self.is_terminal = terminal.is_some();
        match terminal {
            Some(size) => {
                let (master, slave) = pty::open(size)?;
                let input = rustix::io::fcntl_dupfd_cloexec(&master, 3)?;
                self.listen(master, Kind::Terminal, service, poll)?;
                self.input = Some(input);
                Ok(Ends { terminal: Some(slave), pipes: None })
            }
            None => {
                let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
                let ((stdin, input), (output, stdout), (errors, stderr)) = (pipe()?, pipe()?, pipe()?);
                for ours in [&input, &output, &errors] {
                    rustix::io::ioctl_fionbio(ours, true)?;
                }
                self.listen(output, Kind::Stdout, service, poll)?;
                self.listen(errors, Kind::Stderr, service, poll)?;
                self.input = Some(input);
                Ok(Ends { terminal: None, pipes: Some([stdin, stdout, stderr]) })
            }
        }
    }

    fn listen(&mut self, fd: OwnedFd, kind: Kind, service: usize, poll: &mut Poll) -> Result<(), Errno> {
        if self.outputs.len() >= OUTPUTS {
            let oldest = self.outputs.remove(0);
            poll.remove(oldest.key, &oldest.fd);
        }
        let key = poll.add(&fd, Flags::IN, Source::Stream(service))?;
        self.outputs.push(Output { fd, key, kind, lines: Lines::default() });
        Ok(())
    }

    /// Whether this key is one of the outputs'.
    pub fn is_output(&self, key: Key) -> bool {
        self.outputs.iter().any(|output| output.key == key)
    }

    /// The keys of all outputs.
    pub fn outputs(&self) -> Vec<Key> {
        self.outputs.iter().map(|output| output.key).collect()
    }

    /// Reads from one output; `each` gets the lines that are complete now, and at the end the rest.
    pub fn read(&mut self, key: Key, buffer: &mut [u8], poll: &mut Poll, mut each: impl FnMut(&[u8])) -> Read {
        let Some(at) = self.outputs.iter().position(|output| output.key == key) else { return Read::Nothing };
        let output = &mut self.outputs[at];
        match rustix::io::read(&output.fd, &mut *buffer) {
            Ok(n) if n > 0 => {
                output.lines.push(&buffer[..n], &mut each);
                Read::Bytes(output.kind, n)
            }
            Err(Errno::AGAIN | Errno::INTR) => Read::Nothing,
            // A terminal says EIO when its last process is gone.
            Ok(_) | Err(_) => {
                output.lines.finish(&mut each);
                let output = self.outputs.remove(at);
                poll.remove(output.key, &output.fd);
                Read::End
            }
        }
    }

    /// Whether so much input is waiting that no more should be taken.
    pub fn is_full(&self) -> bool {
        self.pending.len() >= INPUT_QUEUE
    }

    /// Passes input on. What is written while no process runs is lost, as it would be on a terminal.
    pub fn write(&mut self, bytes: &[u8], service: usize, poll: &mut Poll) {
        if self.input.is_some() && !self.eof {
            self.pending.extend(bytes);
            self.flush(service, poll);
        }
    }

    /// No more input: closes the pipe once all is written. A terminal has no such end.
    pub fn finish_input(&mut self, service: usize, poll: &mut Poll) {
        if !self.is_terminal {
            self.eof = true;
            self.flush(service, poll);
        }
    }

    /// Writes what the service takes now.
    pub fn flush(&mut self, service: usize, poll: &mut Poll) {
        while let (Some(input), false) = (&self.input, self.pending.is_empty()) {
            match rustix::io::write(input, self.pending.as_slices().0) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return self.close_input(poll),
            }
        }
        if self.eof && self.pending.is_empty() {
            return self.close_input(poll);
        }
        let Some(input) = &self.input else { return };
        match self.input_key {
            None if !self.pending.is_empty() => {
                self.input_key = poll.add(input, Flags::OUT, Source::Stream(service)).ok();
            }
            Some(key) if self.pending.is_empty() => {
                poll.remove(key, input);
                self.input_key = None;
            }
            _ => {}
        }
    }

    /// Forgets the input: its process is gone.
    pub fn close_input(&mut self, poll: &mut Poll) {
        if let (Some(key), Some(input)) = (self.input_key.take(), &self.input) {
            poll.remove(key, input);
        }
        self.input = None;
        self.eof = false;
        self.pending.clear();
    }

    /// Closes all of it.
    pub fn close(&mut self, poll: &mut Poll) {
        self.close_input(poll);
        for output in self.outputs.drain(..) {
            poll.remove(output.key, &output.fd);
        }
    }

    /// Sets the terminal's size, if it is one.
    pub fn resize(&self, size: TerminalSize) {
        if let (true, Some(input)) = (self.is_terminal, &self.input) {
            pty::resize(input, size);
        }
    }
}
