//! What the loop waits for: descriptors (epoll) and times. Neither blocks anything else.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll;
pub use rustix::event::epoll::EventFlags as Flags;
use rustix::io::Errno;

/// Events that one wait returns at most.
const BATCH: usize = 64;

/// Names one registration. Never used twice, so an event of a descriptor that was closed meanwhile finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(u64);

/// Who is to be told of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A signal is pending.
    Signals,
    /// Somebody connects to the control socket.
    Listener,
    /// A client of the control socket.
    Client,
    /// The container's log takes bytes again.
    Console,
    /// A service's terminal or pipes; the index is the service's.
    Stream(usize),
    /// A service's readiness probe.
    Probe(usize),
    /// A service's process, on its way to its program.
    Launch(usize),
}

/// An epoll instance and who registered with it.
#[derive(Debug)]
pub struct Poll {
    epoll: OwnedFd,
    sources: BTreeMap<u64, Source>,
    next: u64,
}

impl Poll {
    /// An empty one.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, sources: BTreeMap::new(), next: 0 })
    }

    /// Registers a descriptor. It must be removed before it is closed.
    pub fn add(&mut self, fd: impl AsFd, flags: Flags, source: Source) -> Result<Key, Errno> {
        let key = self.next;
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(key), flags)?;
        self.next += 1;
        self.sources.insert(key, source);
        Ok(Key(key))
    }

    /// Changes what a registered descriptor waits for.
    pub fn modify(&mut self, key: Key, fd: impl AsFd, flags: Flags) {
        // The descriptor is registered and open: the kernel has no reason to refuse.
        epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(key.0), flags).ok();
    }

    /// Takes a descriptor out.
    pub fn remove(&mut self, key: Key, fd: impl AsFd) {
        self.sources.remove(&key.0);
        epoll::delete(&self.epoll, fd).ok(); // As above.
    }

    /// Who registered under this key, if still registered.
    pub fn source(&self, key: Key) -> Option<Source> {
        self.sources.get(&key.0).copied()
    }

    /// Waits until something happens or the time is over.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Vec<(Key, Flags)> {
        let timeout = timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos().into() });
        let mut buffer = [const { std::mem::MaybeUninit::<epoll::Event>::uninit() }; BATCH];
        match epoll::wait(&self.epoll, &mut buffer, timeout.as_ref()) {
            Ok((events, _)) => events.iter().map(|e| (Key(e.data.u64()), e.flags)).collect(),
            Err(_) => Vec::new(), // EINTR; all else would be a bug that the next turn shows again.
        }
    }
}

/// What a time is for. Each has one time at most: setting it again moves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A service's state machine: back-off, grace, readiness deadline.
    Service(usize),
    /// A service's probe: its start or its timeout.
    Probe(usize),
    /// Looks again for what is left of services that are being stopped.
    Remains,
    /// Samples the cgroup's counters and looks after the control socket.
    Housekeeping,
    /// Takes up listening again after descriptors ran out.
    Listen,
    /// The last part of stopping: what is no service's.
    Rest,
}

/// The times that are set.
#[derive(Debug, Default)]
pub struct Timers {
    at: BTreeMap<Timer, Instant>,
    queue: BTreeSet<(Instant, Timer)>,
}

impl Timers {
    /// Sets or moves a time; None clears it.
    pub fn set(&mut self, timer: Timer, at: Option<Instant>) {
        if let Some(old) = self.at.remove(&timer) {
            self.queue.remove(&(old, timer));
        }
        if let Some(at) = at {
            self.at.insert(timer, at);
            self.queue.insert((at, timer));
        }
    }

    /// Sets a time unless it is set already.
    pub fn set_if_unset(&mut self, timer: Timer, at: Instant) {
        if !self.at.contains_key(&timer) {
            self.set(timer, Some(at));
        }
    }

    /// How long until the next one.
    pub fn next(&self, now: Instant) -> Option<Duration> {
        self.queue.first().map(|(at, _)| at.saturating_duration_since(now))
    }

    /// Takes one whose time has come.
    pub fn due(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = *self.queue.first()?;
        if at > now {
            return None;
        }
        self.set(timer, None);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_in_order_and_can_be_moved_and_cleared() {
        let mut timers = Timers::default();
        let now = Instant::now();
        let at = |ms| Some(now + Duration::from_millis(ms));
        timers.set(Timer::Rest, at(30));
        timers.set(Timer::Service(1), at(10));
        timers.set(Timer::Service(2), at(20));
        timers.set(Timer::Service(1), at(40));
        timers.set(Timer::Rest, None);
        assert_eq!(timers.next(now), Some(Duration::from_millis(20)));
        assert_eq!(timers.due(now), None);
        let later = now + Duration::from_millis(50);
        assert_eq!(timers.due(later), Some(Timer::Service(2)));
        assert_eq!(timers.due(later), Some(Timer::Service(1)));
        assert_eq!(timers.due(later), None);
    }
}
