//! One session: a terminal with a program on it, the last of what that wrote, and who looks at it.
//!
//! A viewer is a place in the output. What it hasn't seen yet is read for it when its connection takes more, so that one
//! who is slow costs no memory and holds nobody up; when what it would see next is no longer kept, it is told so and goes
//! on where the output stands.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use powerdev_protocol::control::TerminalSize;
use powerdev_protocol::frame::FrameKind;
use powerdev_protocol::session::SCROLLBACK;
use powerdev_protocol::{LastExit, SessionName, SessionStatus};
use rustix::io::Errno;

use super::input::InputQueue;
use super::job::MainProcess;
use super::owner::{Mark, Owner, TerminalId};
use super::poll::{Flags, Key, Poll, PolledFd, Source};
use super::processes::KnownProcesses;
use super::ring::{Offset, Ring};
use super::spawn::{LaunchPlan, SpawnError, WorkingDirectory};
use super::{now_ms, pty};

/// As long as its fastest viewer took something this short a time ago, the program waits for it, as it would for any
/// terminal, rather than have it miss what it writes in a flood. One that takes nothing holds nobody up.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// So many bytes behind, the fastest viewer is waited for.
const AHEAD: u64 = SCROLLBACK / 2;
/// A viewer of a session that has ended, and that takes nothing for this long, is let go.
const LAST_LOOK: Duration = Duration::from_secs(30);

/// Bytes of its command that are shown.
const SHOWN: usize = 4096;

/// A session and all that is known of it.
#[derive(Debug)]
pub struct Terminal {
    pub id: TerminalId,
    pub name: SessionName,
    pub job: MainProcess,
    /// What is typed.
    pub input: InputQueue,
    /// It was told to end, and is killed then.
    pub kill_at: Option<Instant>,
    /// How its main process ended, while others of it are still being ended.
    pub last_exit: Option<LastExit>,
    command: Vec<String>,
    directory: String,
    created_ms: u64,
    output: Option<PolledFd<OwnedFd>>,
    /// The output isn't read until a viewer has caught up.
    held: bool,
    ring: Ring,
    size: TerminalSize,
    viewers: BTreeMap<Key, Onlooker>,
    exit: Option<LastExit>,
    mark: Mark,
}

/// Somebody who looks at it.
#[derive(Debug)]
struct Onlooker {
    size: Option<TerminalSize>,
    /// What it has seen.
    seen: Offset,
    /// What was there before it came ends here; None once it has been told so.
    replay_end: Option<Offset>,
    /// It was told the modes that its replay begins with.
    begun: bool,
    /// Whether it was told that it leads.
    leads: bool,
    /// When it last took something.
    taken_at: Instant,
}

/// What a viewer is to get next.
#[derive(Debug, PartialEq, Eq)]
pub enum NextFrame {
    Frame(FrameKind, Vec<u8>),
    /// So many bytes of data, which are in the buffer.
    Data(usize),
    /// The last frame: then it is hung up on.
    Last(FrameKind, Vec<u8>),
    /// It has seen all that there is.
    Nothing,
}

/// A session to be made, with all that was settled about it.
#[derive(Debug)]
pub struct SessionSpec<'a> {
    pub name: SessionName,
    pub command: Vec<String>,
    pub environment: &'a [(OsString, OsString)],
    pub place: WorkingDirectory,
    pub size: Option<TerminalSize>,
}

impl Terminal {
    /// Makes its terminal and its process, which is then on its way to its program.
    ///
    /// # Errors
    /// When no terminal, memory or process is to be had.
    pub fn open(id: TerminalId, opening: SessionSpec<'_>, poll: &Poll) -> Result<Self, SpawnError> {
        let failed = |error: Errno| SpawnError::Setup(error.into());
        let size = opening.size.filter(|size| size.rows > 0 && size.cols > 0).unwrap_or(pty::DEFAULT_SIZE);
        let ring = Ring::new(SCROLLBACK).map_err(SpawnError::Setup)?;
        let (master, slave) = pty::open(size).map_err(failed)?;
        let owner = Owner::Terminal(id);
        let mut input = InputQueue::new(Source::Stream(owner), poll.clone());
        input.open(rustix::io::fcntl_dupfd_cloexec(&master, 3).map_err(failed)?, true);
        let output = poll.watch(master, Flags::IN, Source::Stream(owner)).map_err(failed)?;
        let mut job = MainProcess::default();
        let plan = LaunchPlan {
            command: &opening.command,
            environment: opening.environment,
            place: &opening.place,
            stdio: [slave.as_fd(); 3],
            terminal: true,
            extra: None,
        };
        job.start(&plan, Source::Launch(owner), poll)?;
        Ok(Self {
            id,
            name: opening.name,
            job,
            input,
            kill_at: None,
            last_exit: None,
            command: start_of(opening.command),
            directory: opening.place.directory.display().to_string(),
            created_ms: now_ms(),
            output: Some(output),
            held: false,
            ring,
            size,
            viewers: BTreeMap::new(),
            exit: None,
            mark: Mark::Session(id.to_string()),
        })
    }

    /// By what its processes are known.
    pub fn known(&self) -> KnownProcesses<'_, Owner> {
        let (leader, session) = (self.job.leader(), self.job.session());
        KnownProcesses { owner: Owner::Terminal(self.id), mark: &self.mark, leader, session, probe: None }
    }

    /// What `sessions` shows of it.
    pub fn status(&self) -> SessionStatus {
        SessionStatus {
            name: self.name.clone(),
            command: self.command.clone(),
            directory: self.directory.clone(),
            pid: self.job.pid(),
            created_ms: self.created_ms,
            viewers: self.viewers.len(),
            size: self.size,
            scrollback_bytes: self.ring.end() - self.ring.start(),
        }
    }

    /// Whether its program runs, or is about to. What has ended is there for its viewers' last look only.
    pub fn is_open(&self) -> bool {
        self.exit.is_none()
    }

    /// Whether this is its output's key; else it is its input's.
    pub fn is_output(&self, key: Key) -> bool {
        self.output.as_ref().is_some_and(|output| output.key() == key)
    }

    /// Reads once from it. Tells whether there may be more.
    pub fn take(&mut self, buffer: &mut [u8]) -> bool {
        let Some(output) = &self.output else { return false };
        match rustix::io::read(&**output, &mut *buffer) {
            Ok(count) if count > 0 => {
                // No memory for it: what doesn't fit is lost, the program goes on.
                self.ring.write(&buffer[..count]).ok();
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => false,
            // A terminal says EIO when its last process is gone.
            Ok(_) | Err(_) => {
                self.output = None;
                false
            }
        }
    }

    /// Whether the fastest viewer is far behind, and on its way.
    fn is_ahead(&self) -> bool {
        let fastest = self.viewers.values().max_by_key(|viewer| viewer.seen);
        fastest.is_some_and(|viewer| self.ring.end() - viewer.seen > AHEAD && viewer.taken_at.elapsed() < PATIENCE)
    }

    /// Reads its output, or waits with that until a viewer has caught up. True: it waits from now on.
    pub fn hold(&mut self) -> bool {
        let held = self.is_ahead();
        let Some(output) = self.output.as_ref().filter(|_| held != self.held) else { return false };
        output.want(if held { Flags::empty() } else { Flags::IN });
        self.held = held;
        held
    }

    /// Whether its program waits for a viewer.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Its program has ended, and all was read.
    pub fn ended(&mut self, exit: LastExit) {
        self.job.release();
        self.input.close();
        self.output = None;
        self.exit = Some(exit);
        self.viewers.values_mut().for_each(|viewer| viewer.taken_at = Instant::now());
    }

    /// Somebody comes. They see what is kept, then what comes.
    pub fn add_viewer(&mut self, key: Key, size: Option<TerminalSize>) {
        let viewer = Onlooker {
            size,
            seen: self.ring.first_line(),
            replay_end: Some(self.ring.end()),
            begun: false,
            leads: false,
            taken_at: Instant::now(),
        };
        self.viewers.insert(key, viewer);
    }

    pub fn remove_viewer(&mut self, key: Key) {
        self.viewers.remove(&key);
    }

    /// Whether nobody looks.
    pub fn is_unseen(&self) -> bool {
        self.viewers.is_empty()
    }

    pub fn viewers(&self) -> Vec<Key> {
        self.viewers.keys().copied().collect()
    }

    /// Those who haven't taken anything since it ended, for too long.
    pub fn late_viewers(&self) -> Vec<Key> {
        let late = self.viewers.iter().filter(|(_, viewer)| viewer.taken_at.elapsed() > LAST_LOOK);
        if self.is_open() { Vec::new() } else { late.map(|(key, _)| *key).collect() }
    }

    /// A viewer's terminal has this size now.
    pub fn resize_viewer(&mut self, key: Key, size: TerminalSize) {
        if let Some(viewer) = self.viewers.get_mut(&key) {
            viewer.size = Some(size);
        }
    }

    /// Gives the terminal the smallest of its viewers' sizes. Tells whether that is another than before.
    pub fn fit(&mut self) -> bool {
        let fitting = smallest(self.viewers.values().filter_map(|viewer| viewer.size));
        let Some(size) = fitting.filter(|size| *size != self.size) else { return false };
        self.size = size;
        self.input.resize(size);
        true
    }

    /// Has the program draw its screen anew for somebody who came. True: [`Terminal::redrawn`] is due in a moment.
    ///
    /// Some programs look whether the size has changed: those that draw (and so read key by key) see it change and
    /// change back.
    pub fn redraw(&self) -> bool {
        let Some(output) = &self.output else { return false };
        let draws = rustix::termios::tcgetattr(&**output)
            .is_ok_and(|mode| !mode.local_modes.contains(rustix::termios::LocalModes::ICANON));
        if draws && self.size.rows > 1 {
            self.input.resize(TerminalSize { rows: self.size.rows - 1, ..self.size });
            return true;
        }
        if let Ok(group) = rustix::termios::tcgetpgrp(&**output) {
            rustix::process::kill_process_group(group, rustix::process::Signal::WINCH).ok(); // Gone meanwhile is as good.
        }
        false
    }

    /// The moment is over.
    pub fn redrawn(&self) {
        self.input.resize(self.size);
    }

    /// What a viewer is to get next; data is read into the buffer.
    pub fn next_for(&mut self, key: Key, buffer: &mut [u8]) -> NextFrame {
        let leader = self.viewers.keys().next() == Some(&key);
        let Some(viewer) = self.viewers.get_mut(&key) else { return NextFrame::Nothing };
        if !std::mem::replace(&mut viewer.begun, true) {
            let modes = self.ring.modes();
            if !modes.is_empty() {
                return NextFrame::Frame(FrameKind::Data, modes);
            }
        }
        if viewer.seen < self.ring.start() {
            let from = self.ring.end();
            let missed = from - std::mem::replace(&mut viewer.seen, from);
            let text = format!("{missed} bytes of output were skipped: they weren't taken in time");
            return NextFrame::Frame(FrameKind::Notice, text.into());
        }
        let until = viewer.replay_end.unwrap_or(self.ring.end());
        let count = (until.saturating_sub(viewer.seen)).min(buffer.len() as u64) as usize;
        if count > 0 {
            viewer.taken_at = Instant::now();
            return match self.ring.read(viewer.seen, &mut buffer[..count]) {
                Ok(count) => {
                    viewer.seen += count as u64;
                    NextFrame::Data(count)
                }
                Err(error) => NextFrame::Last(FrameKind::Notice, cannot_read(&error)),
            };
        }
        if viewer.replay_end.take().is_some() {
            return NextFrame::Frame(FrameKind::Replayed, Vec::new());
        }
        if viewer.leads != leader {
            viewer.leads = leader;
            return NextFrame::Frame(FrameKind::Lead, vec![u8::from(leader)]);
        }
        match self.exit.as_ref().map(serde_json::to_vec) {
            Some(exit) => NextFrame::Last(FrameKind::Exit, exit.unwrap_or_default()),
            None => NextFrame::Nothing,
        }
    }
}

/// What is shown of a command: one that is as long as the kernel takes must not make the list longer than a line may be.
fn start_of(mut command: Vec<String>) -> Vec<String> {
    let mut left = SHOWN;
    let count = command.iter().take_while(|word| {
        let fits = word.len() < left;
        left = left.saturating_sub(word.len() + 1);
        fits
    });
    let count = count.count();
    if count < command.len() {
        command.truncate(count);
        command.push("…".into());
    }
    command
}

fn cannot_read(error: &io::Error) -> Vec<u8> {
    format!("what the session shows can't be read: {error}").into()
}

/// The largest that fits all of these.
fn smallest(sizes: impl Iterator<Item = TerminalSize>) -> Option<TerminalSize> {
    sizes
        .filter(|size| size.rows > 0 && size.cols > 0)
        .reduce(|one, other| TerminalSize { rows: one.rows.min(other.rows), cols: one.cols.min(other.cols) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_command_is_shown_by_its_start() {
        let words = |count: usize| vec!["x".repeat(9); count];
        assert_eq!(start_of(words(400)), words(400));
        let shown = start_of(words(10_000));
        assert_eq!((shown.len(), shown.last().map(String::as_str)), (410, Some("…")));
        assert_eq!(start_of(vec!["sh".into(), "-c".into(), "x".repeat(10_000)]), ["sh", "-c", "…"]);
    }

    #[test]
    fn the_smallest_size_is_that_of_each_side() {
        let size = |rows, cols| TerminalSize { rows, cols };
        assert_eq!(smallest([].into_iter()), None);
        assert_eq!(smallest([size(24, 80)].into_iter()), Some(size(24, 80)));
        assert_eq!(smallest([size(24, 100), size(0, 10), size(50, 80)].into_iter()), Some(size(24, 80)));
    }
}
