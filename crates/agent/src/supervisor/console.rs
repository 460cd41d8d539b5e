//! The container's log: PID 1's stdout, one line `name | text` at a time. Nobody may be reading it (the Engine gone
//! or stuck), so it is never written to but when it takes bytes; what doesn't fit the queue is dropped and counted.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::poll::{Flags, Poll, PolledFd, Source};

/// Bytes that wait for a reader at most.
const QUEUE: usize = 256 * 1024;
/// On top of that for the supervisor's own lines: what it has to say must not be lost in a service's flood.
const OWN_QUEUE: usize = 32 * 1024;
/// What was dropped is told this often at most.
const TELL: Duration = Duration::from_secs(1);
/// The name that the supervisor's own lines carry.
pub const SELF: &str = "powerdev";

/// The container's log.
#[derive(Debug)]
pub struct Console {
    /// None once nobody can ever read it again.
    fd: Option<Rc<OwnedFd>>,
    queue: VecDeque<u8>,
    poll: Poll,
    /// Set while it waits for the reader.
    waiting: Option<PolledFd<Rc<OwnedFd>>>,
    dropped: u64,
    /// Of these the log itself has been told.
    told: u64,
    told_at: Option<Instant>,
}

impl Console {
    /// Takes over stdout. It gets an open file description of its own where it can, so that it being non-blocking
    /// concerns nobody else.
    pub fn stdout(poll: Poll) -> Self {
        let reopened = rustix::fs::open("/proc/self/fd/1", FLAGS, Mode::empty());
        let fd = reopened.or_else(|_| {
            let fd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
            rustix::io::ioctl_fionbio(&fd, true)?;
            Ok::<_, Errno>(fd)
        });
        let fd = fd.ok().map(Rc::new);
        Self { fd, queue: VecDeque::new(), poll, waiting: None, dropped: 0, told: 0, told_at: None }
    }

    /// Lines that were dropped since nobody took them.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Appends a line of a service.
    pub fn line(&mut self, name: &str, text: &[u8]) {
        self.append(name, text, QUEUE);
    }

    /// Appends a line of the supervisor's own.
    pub fn say(&mut self, text: &str) {
        // Names and reasons may come from inside: what is said stays one line.
        self.append(SELF, text.replace(['\n', '\r'], " ").as_bytes(), QUEUE + OWN_QUEUE);
    }

    fn append(&mut self, name: &str, text: &[u8], limit: usize) {
        let length = name.len() + text.len() + 4;
        if self.fd.is_none() || self.queue.len() + length > limit {
            self.dropped += 1;
            return;
        }
        for part in [name.as_bytes(), b" | ", text, b"\n"] {
            self.queue.extend(part);
        }
    }

    /// Writes what can be written now, and asks to be told when the rest can be.
    pub fn flush(&mut self) {
        self.write();
        let untold = self.dropped - self.told;
        if untold > 0 && self.queue.is_empty() && self.told_at.is_none_or(|at| at.elapsed() >= TELL) {
            self.told = self.dropped;
            self.told_at = Some(Instant::now());
            self.say(&format!("{untold} lines were dropped here: nobody took them in time"));
            self.write();
        }
        let Some(fd) = &self.fd else { return };
        if self.queue.is_empty() {
            self.waiting = None;
        } else if self.waiting.is_none() {
            self.waiting = self.poll.watch(Rc::clone(fd), Flags::OUT, Source::Console).ok();
        }
    }

    /// Whether everything was written, or never can be.
    pub fn is_done(&self) -> bool {
        self.queue.is_empty() || self.fd.is_none()
    }

    fn write(&mut self) {
        while let (Some(fd), false) = (&self.fd, self.queue.is_empty()) {
            match rustix::io::write(&**fd, self.queue.as_slices().0) {
                Ok(written) => drop(self.queue.drain(..written)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(error) => return self.give_up(error),
            }
        }
        if self.queue.capacity() > QUEUE / 4 && self.queue.is_empty() {
            self.queue.shrink_to(4096);
        }
    }

    /// What waits can't be written. A full disk may have room again; a closed pipe stays closed.
    fn give_up(&mut self, error: Errno) {
        self.dropped += self.queue.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.queue.clear();
        if !matches!(error, Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::NOMEM) {
            self.waiting = None;
            self.fd = None;
        }
    }
}

const FLAGS: OFlags =
    OFlags::WRONLY.union(OFlags::APPEND).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);
