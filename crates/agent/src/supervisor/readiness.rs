//! Shows whether a service is ready, and afterwards whether it still is, without ever blocking the loop. What the
//! service tells by itself (a descriptor, a notification, a line) is listened to; what must be asked for (a port, a
//! page, a command) is tried at intervals.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use powerdev_protocol::Readiness;
use powerdev_protocol::service::Probe;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketType};

use super::attempt::{Attempt, AttemptProgress, Surroundings};
use super::poll::{Flags, Key, Poll, PolledFd, Source};
use super::socket;
use super::units::UnitId;

/// Bytes that a failed probe may say.
pub const SAYING: usize = 1024;
/// A port is tried this soon again at first, and twice as late each time, up to the interval.
const FIRST_INTERVAL: Duration = Duration::from_millis(10);

/// What a service's probing comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeVerdict {
    /// Ready, or well again.
    Good,
    /// Failed so often that it counts.
    Bad,
}

/// What listening needs before the process is made.
#[derive(Debug, Default)]
pub struct Preparation {
    /// A descriptor for the process, and the number that it expects.
    pub descriptor: Option<(OwnedFd, i32)>,
    /// The socket that it is to notify.
    pub notify_socket: Option<PathBuf>,
}

/// The probing of one service.
#[derive(Debug)]
pub struct Prober {
    config: Readiness,
    service: UnitId,
    poll: Poll,
    listening: Option<(PolledFd<OwnedFd>, Option<PathBuf>)>,
    attempt: Option<(Attempt, Instant)>,
    next_at: Option<Instant>,
    tries: u32,
    failures: u32,
    ready: bool,
    running: bool,
    /// What the last failed probe said.
    said: Option<String>,
}

impl Prober {
    /// For this service.
    pub fn new(config: &Readiness, service: UnitId, poll: Poll) -> Self {
        Self {
            config: config.clone(),
            service,
            poll,
            listening: None,
            attempt: None,
            next_at: None,
            tries: 0,
            failures: 0,
            ready: false,
            running: false,
            said: None,
        }
    }

    /// The process of a probe that is under way.
    pub fn process(&self) -> Option<i32> {
        self.attempt.as_ref().and_then(|(attempt, _)| attempt.process())
    }

    /// What the last failed probe said.
    pub fn said(&self) -> Option<&str> {
        self.said.as_deref()
    }

    /// Opens what the service will speak to. To be called before its process is made.
    pub fn prepare(&mut self, run_dir: &Path, name: &str) -> Result<Preparation, Errno> {
        self.end();
        let mut preparation = Preparation::default();
        match self.config.probe {
            Probe::Fd(number) => {
                let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
                rustix::io::ioctl_fionbio(&read, true)?;
                let read = self.poll.watch(read, Flags::IN, Source::Probe(self.service))?;
                self.listening = Some((read, None));
                preparation.descriptor = Some((write, number));
            }
            Probe::Notify(_) => {
                let path = run_dir.join(format!("notify-{name}.sock"));
                let socket = socket::bind(&path, SocketType::DGRAM)?;
                let socket = self.poll.watch(socket.fd, Flags::IN, Source::Probe(self.service))?;
                self.listening = Some((socket, Some(path.clone())));
                preparation.notify_socket = Some(path);
            }
            Probe::Tcp(_) | Probe::Http(_) | Probe::Exec(_) | Probe::Log(_) => {}
        }
        Ok(preparation)
    }

    /// The service's process is made: what it says by itself counts from now on.
    pub fn begin(&mut self) {
        (self.tries, self.failures, self.ready, self.running, self.said) = (0, 0, false, true, None);
        self.next_at = None;
    }

    /// The service's program runs: it may be asked.
    pub fn ask(&mut self, now: Instant) {
        self.next_at = (self.running && self.asks()).then_some(now);
    }

    /// The service's process is gone or going: probing ends. What the last probe said is kept.
    pub fn end(&mut self) {
        self.running = false;
        self.next_at = None;
        if let Some((attempt, _)) = self.attempt.take() {
            attempt.abandon(false);
        }
        self.close_listening();
    }

    /// When [`Prober::tick`] is wanted.
    pub fn wake_at(&self) -> Option<Instant> {
        match &self.attempt {
            Some((_, until)) => Some(*until),
            None => self.next_at,
        }
    }

    /// A time has come: a probe took too long, or the next is due.
    pub fn tick(&mut self, now: Instant, surroundings: Surroundings<'_>) -> Option<ProbeVerdict> {
        if let Some((_, until)) = &self.attempt {
            if *until > now {
                return None;
            }
            let (attempt, _) = self.attempt.take()?;
            let said = attempt.abandon(false);
            let limit = format!("no answer within {} s", self.config.timeout);
            return self.conclude(Err(if said.is_empty() { limit } else { format!("{limit}: {said}") }), now);
        }
        if self.next_at.is_none_or(|at| at > now) || !self.running {
            return None;
        }
        self.next_at = None;
        self.tries += 1;
        match Attempt::start(&self.config.probe, self.service, &self.poll, surroundings) {
            Ok(attempt) => {
                self.attempt = Some((attempt, now + Duration::from_secs_f64(self.config.timeout)));
                None
            }
            Err(said) => self.conclude(Err(said), now),
        }
    }

    /// Something can be read or written.
    pub fn event(&mut self, key: Key, now: Instant) -> Option<ProbeVerdict> {
        if self.listening.as_ref().is_some_and(|(fd, _)| fd.key() == key) {
            return self.listen(now);
        }
        let (attempt, _) = self.attempt.as_mut()?;
        match attempt.event(key) {
            AttemptProgress::Pending => None,
            AttemptProgress::Done(result) => {
                if let Some((attempt, _)) = self.attempt.take() {
                    attempt.abandon(false);
                }
                self.conclude(result, now)
            }
        }
    }

    /// The process of a probe ended. None in the outer place: it wasn't this one's.
    pub fn exited(&mut self, pid: i32, code: Option<i32>, now: Instant) -> Option<Option<ProbeVerdict>> {
        if self.process() != Some(pid) {
            return None;
        }
        let (mut attempt, _) = self.attempt.take()?;
        let unborn = attempt.failure();
        let said = attempt.abandon(true);
        let result = match (unborn, code) {
            (Some(why), _) => Err(why),
            (None, Some(0)) => Ok(()),
            (None, Some(code)) if said.is_empty() => Err(format!("the probe exited with {code}")),
            (None, Some(code)) => Err(format!("the probe exited with {code}: {said}")),
            (None, None) => Err("the probe was killed".into()),
        };
        Some(self.conclude(result, now))
    }

    /// The service wrote a line.
    pub fn line(&mut self, line: &[u8]) -> Option<ProbeVerdict> {
        let Probe::Log(wanted) = &self.config.probe else { return None };
        let wanted = wanted.as_bytes();
        let found = wanted.is_empty() || line.windows(wanted.len()).any(|part| part == wanted);
        (found && self.running && !self.ready).then(|| {
            self.ready = true;
            ProbeVerdict::Good
        })
    }

    /// Whether the service is asked, rather than listened to.
    fn asks(&self) -> bool {
        matches!(self.config.probe, Probe::Tcp(_) | Probe::Http(_) | Probe::Exec(_))
    }

    fn conclude(&mut self, result: Result<(), String>, now: Instant) -> Option<ProbeVerdict> {
        let verdict = match result {
            Ok(()) => {
                let news = !self.ready || self.failures >= self.config.retries.max(1);
                (self.ready, self.failures, self.said) = (true, 0, None);
                news.then_some(ProbeVerdict::Good)
            }
            Err(said) => {
                let end = (0..=SAYING.min(said.len())).rev().find(|at| said.is_char_boundary(*at)).unwrap_or(0);
                self.said = Some(said[..end].into());
                self.failures = self.failures.saturating_add(1);
                (self.ready && self.failures == self.config.retries.max(1)).then_some(ProbeVerdict::Bad)
            }
        };
        self.next_at = self.next_interval().map(|interval| now + interval);
        verdict
    }

    fn next_interval(&self) -> Option<Duration> {
        if !self.asks() {
            return None;
        }
        if self.ready {
            return (self.config.liveness > 0.0).then(|| Duration::from_secs_f64(self.config.liveness));
        }
        let interval = Duration::from_secs_f64(self.config.interval.max(0.01));
        if matches!(self.config.probe, Probe::Exec(_)) {
            return Some(interval);
        }
        Some(interval.min(FIRST_INTERVAL * 2u32.pow(self.tries.saturating_sub(1).min(10))))
    }

    /// Reads what the service says of itself.
    fn listen(&mut self, now: Instant) -> Option<ProbeVerdict> {
        let (fd, socket) = self.listening.as_ref()?;
        let mut buffer = [0; 4096];
        let (read, ready) = match socket {
            Some(_) => match rustix::net::recv(fd, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((_, n)) => (1, buffer[..n.min(4096)].split(|b| *b == b'\n').any(|line| line == b"READY=1")),
                Err(_) => return None,
            },
            None => match rustix::io::read(fd, &mut buffer) {
                Ok(n) => (n, buffer[..n].contains(&b'\n')),
                Err(_) => return None,
            },
        };
        let is_socket = socket.is_some();
        if !is_socket && (ready || read == 0) {
            self.close_listening();
        }
        if read == 0 {
            self.said = Some("it closed the descriptor without a newline".into());
        }
        if ready { self.conclude(Ok(()), now) } else { None }
    }

    fn close_listening(&mut self) {
        if let Some((_, Some(path))) = self.listening.take() {
            std::fs::remove_file(path).ok(); // Its folder may be read-only by now; it is only litter.
        }
    }
}
