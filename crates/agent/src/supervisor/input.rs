//! What is typed or piped into a program, kept until it takes it.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use powerdev_protocol::control::TerminalSize;
use rustix::io::Errno;

use super::poll::{Flags, Poll, PolledFd, Source};
use super::pty;

/// Bytes that wait for a program to read its input; above it those who type are not listened to.
const QUEUE: usize = 64 * 1024;

/// The writing end of a program's terminal or input pipe.
#[derive(Debug)]
pub struct InputQueue {
    poll: Poll,
    source: Source,
    fd: Option<Rc<OwnedFd>>,
    is_terminal: bool,
    /// Set while input waits to be taken.
    waiting: Option<PolledFd<Rc<OwnedFd>>>,
    pending: VecDeque<u8>,
    /// Close it once nothing is pending.
    eof: bool,
}

impl InputQueue {
    /// Not open yet.
    pub fn new(source: Source, poll: Poll) -> Self {
        Self { poll, source, fd: None, is_terminal: false, waiting: None, pending: VecDeque::new(), eof: false }
    }

    /// Writes to this from now on.
    pub fn open(&mut self, fd: OwnedFd, is_terminal: bool) {
        self.close();
        self.fd = Some(Rc::new(fd));
        self.is_terminal = is_terminal;
    }

    /// Whether so much is waiting that no more should be taken.
    pub fn is_full(&self) -> bool {
        self.pending.len() >= QUEUE
    }

    /// Passes bytes on. What is written while no process runs is lost, as it would be on a terminal.
    pub fn write(&mut self, bytes: &[u8]) {
        if self.fd.is_some() && !self.eof {
            self.pending.extend(bytes);
            self.flush();
        }
    }

    /// No more of it: closes a pipe once all is written. A terminal has no such end.
    pub fn finish(&mut self) {
        if !self.is_terminal {
            self.eof = true;
            self.flush();
        }
    }

    /// Writes what the program takes now.
    pub fn flush(&mut self) {
        while let (Some(fd), false) = (&self.fd, self.pending.is_empty()) {
            match rustix::io::write(&**fd, self.pending.as_slices().0) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return self.close(),
            }
        }
        if self.eof && self.pending.is_empty() {
            return self.close();
        }
        if self.pending.is_empty() {
            self.waiting = None;
        } else if let (Some(fd), None) = (&self.fd, &self.waiting) {
            self.waiting = self.poll.watch(Rc::clone(fd), Flags::OUT, self.source).ok();
        }
    }

    /// Forgets it: its program is gone.
    pub fn close(&mut self) {
        self.waiting = None;
        self.fd = None;
        self.eof = false;
        self.pending.clear();
    }

    /// Sets the terminal's size, if it is one.
    pub fn resize(&self, size: TerminalSize) {
        if let (true, Some(fd)) = (self.is_terminal, &self.fd) {
            pty::resize(fd, size);
        }
    }
}
