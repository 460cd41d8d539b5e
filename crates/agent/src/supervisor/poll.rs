//! What the loop waits for: descriptors (epoll) and times. Neither blocks anything else.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll;
pub use rustix::event::epoll::EventFlags as Flags;
use rustix::io::Errno;

use super::owner::{Owner, TerminalId};
use super::units::UnitId;

/// Events that one wait returns at most.
const BATCH: usize = 256;

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
    /// A terminal or pipes.
    Stream(Owner),
    /// A service's readiness probe.
    Probe(UnitId),
    /// A process on its way to its program.
    Launch(Owner),
}

/// An epoll instance and who registered with it. Whoever has descriptors to watch holds a handle of it.
#[derive(Debug, Clone)]
pub struct Poll(Rc<Registrations>);

#[derive(Debug)]
struct Registrations {
    epoll: OwnedFd,
    sources: RefCell<BTreeMap<Key, Source>>,
    next: Cell<u64>,
}

impl Poll {
    /// An empty one.
    pub fn new() -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self(Rc::new(Registrations { epoll, sources: RefCell::default(), next: Cell::new(0) })))
    }

    /// Watches a descriptor for as long as what is returned is kept.
    pub fn watch<T: AsFd>(&self, fd: T, flags: Flags, source: Source) -> Result<PolledFd<T>, Errno> {
        let key = Key(self.0.next.get());
        epoll::add(&self.0.epoll, &fd, epoll::EventData::new_u64(key.0), flags)?;
        self.0.next.set(key.0 + 1);
        self.0.sources.borrow_mut().insert(key, source);
        Ok(PolledFd { fd, key, registry: Rc::clone(&self.0) })
    }

    /// Who registered under this key, if still registered.
    pub fn source(&self, key: Key) -> Option<Source> {
        self.0.sources.borrow().get(&key).copied()
    }

    /// Waits until something happens or the time is over.
    pub fn wait(&self, timeout: Option<Duration>) -> Vec<(Key, Flags)> {
        let timeout = timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos().into() });
        let mut buffer = [const { std::mem::MaybeUninit::<epoll::Event>::uninit() }; BATCH];
        match epoll::wait(&self.0.epoll, &mut buffer, timeout.as_ref()) {
            Ok((events, _)) => events.iter().map(|e| (Key(e.data.u64()), e.flags)).collect(),
            Err(_) => Vec::new(), // EINTR; all else would be a bug that the next turn shows again.
        }
    }
}

/// A descriptor that is watched. Dropping it ends that before the descriptor is closed.
#[derive(Debug)]
pub struct PolledFd<T: AsFd> {
    fd: T,
    key: Key,
    registry: Rc<Registrations>,
}

impl<T: AsFd> PolledFd<T> {
    /// What its events are told under.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Changes what it is watched for.
    pub fn want(&self, flags: Flags) {
        // The descriptor is registered and open: the kernel has no reason to refuse.
        epoll::modify(&self.registry.epoll, &self.fd, epoll::EventData::new_u64(self.key.0), flags).ok();
    }

    /// Ends the watching before the descriptor is done with: one that is at its end has events all the time.
    pub fn end(&self) {
        self.registry.sources.borrow_mut().remove(&self.key);
        epoll::delete(&self.registry.epoll, &self.fd).ok(); // It may have been ended before.
    }
}

impl<T: AsFd> Deref for PolledFd<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.fd
    }
}

impl<T: AsFd> DerefMut for PolledFd<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.fd
    }
}

impl<T: AsFd> AsFd for PolledFd<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<T: AsFd> Drop for PolledFd<T> {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a time is for. Each has one time at most: setting it again moves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A service's state machine: back-off, grace, readiness deadline.
    Service(UnitId),
    /// A service's probe: its start or its timeout.
    Probe(UnitId),
    /// Looks again for what is left of services that are being stopped.
    Remains,
    /// Samples the cgroup's counters and looks after the control socket.
    Housekeeping,
    /// Takes up listening again after descriptors ran out.
    Listen,
    /// The last part of stopping: what is no service's.
    Rest,
    /// A session that was told to end: its kill.
    Session(TerminalId),
    /// The end of a moment in which a session's terminal had another size.
    Redraw(TerminalId),
    /// A session's program has waited for a viewer: does that one still take what it is sent?
    Hold(TerminalId),
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
        let [one, two] = [1, 2].map(|id| Timer::Service(UnitId::new(id)));
        let at = |ms| Some(now + Duration::from_millis(ms));
        timers.set(Timer::Rest, at(30));
        timers.set(one, at(10));
        timers.set(two, at(20));
        timers.set(one, at(40));
        timers.set(Timer::Rest, None);
        assert_eq!(timers.next(now), Some(Duration::from_millis(20)));
        assert_eq!(timers.due(now), None);
        let later = now + Duration::from_millis(50);
        assert_eq!(timers.due(later), Some(two));
        assert_eq!(timers.due(later), Some(one));
        assert_eq!(timers.due(later), None);
    }
}
