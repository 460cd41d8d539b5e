//! One service: its configuration, its state, its process and what comes from it.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Instant, SystemTime};

use powerdev_protocol::control::TerminalSize;
use powerdev_protocol::{LastExit, Service, ServiceState, ServiceStatus};

use super::console::Console;
use super::lines::Replay;
use super::logfile::{LogFile, timestamp};
use super::machine::Machine;
use super::poll::{Flags, Key, Poll, Source};
use super::processes::Known;
use super::pty;
use super::readiness::{Preparation, Prober, Verdict};
use super::spawn::{Launch, Place, Plan, Progress, SpawnError};
use super::streams::{Kind, Read, Streams};
use super::sys;

/// A service and all that is known of it.
#[derive(Debug)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// Its index among the services.
    pub index: usize,
    /// Its configuration.
    pub service: Service,
    /// What takes that one's place as soon as nothing runs by it any more.
    pub replacement: Option<Service>,
    /// It was taken out of the services: it is stopped, and its place is free once it is gone.
    pub retired: bool,
    /// Its state.
    pub machine: Machine,
    /// Its process, while its program doesn't run yet.
    pub launch: Option<(Launch, Key)>,
    /// Its main process, until it is reaped.
    pub pid: Option<i32>,
    /// Its last main process: the process group that others may still be in.
    pub leader: Option<i32>,
    /// What leads its terminal's session, and does nothing else.
    pub session: Option<i32>,
    /// Its probe.
    pub prober: Option<Prober>,
    /// Its terminal or pipes.
    pub streams: Streams,
    /// The last of its output.
    pub replay: Replay,
    /// Its log.
    pub log: LogFile,
    /// What was last told of it.
    pub told: (ServiceState, Option<i32>, u32),
    /// Since when it is in its state.
    pub since_ms: u64,
    /// Something that the operator should know.
    pub notice: Option<String>,
    size: TerminalSize,
}

/// What reading from a service brought.
#[derive(Debug, Default)]
pub struct Taken {
    /// Bytes for those who attached.
    pub raw: usize,
    /// The line that it was waited for.
    pub verdict: Option<Verdict>,
    /// There may be more.
    pub more: bool,
}

impl Unit {
    /// A service that hasn't been started.
    pub fn new(name: &str, index: usize, service: &Service, log_dir: &Path, now_ms: u64) -> Self {
        let machine = Machine::new(service);
        Self {
            name: name.into(),
            index,
            service: service.clone(),
            replacement: None,
            retired: false,
            told: (machine.state(), None, 0),
            machine,
            launch: None,
            pid: None,
            leader: None,
            session: None,
            prober: service.ready.as_ref().map(|ready| Prober::new(ready, index)),
            streams: Streams::default(),
            replay: Replay::default(),
            log: LogFile::new(log_dir, name),
            since_ms: now_ms,
            notice: None,
            size: pty::DEFAULT_SIZE,
        }
    }

    /// Where it runs.
    pub fn place(&self, environment: &[(OsString, OsString)]) -> Place {
        if let Some(directory) = &self.service.directory {
            return Place { directory: directory.into(), or_root: false };
        }
        let home = environment.iter().find(|(name, _)| name == "HOME").map(|(_, value)| value.as_os_str());
        Place { directory: home.unwrap_or(OsStr::new("/")).into(), or_root: true }
    }

    /// Makes its process, which is then on its way to its program: see [`Unit::look_at_launch`].
    pub fn spawn(
        &mut self,
        mut environment: Vec<(OsString, OsString)>,
        run_dir: &Path,
        poll: &mut Poll,
    ) -> Result<(), SpawnError> {
        self.release();
        let failed = |error: rustix::io::Errno| SpawnError::Setup(error.into());
        let Preparation { descriptor, notify_socket } = match &mut self.prober {
            Some(prober) => prober.prepare(run_dir, &self.name, poll).map_err(failed)?,
            None => Preparation::default(),
        };
        if let Some(path) = notify_socket {
            environment.push(("NOTIFY_SOCKET".into(), path.into()));
        }
        let terminal = self.service.tty.then_some(self.size);
        self.notice = None;
        let ends = self.streams.open(terminal, self.index, poll).or_else(|error| {
            if terminal.is_some() {
                self.notice = Some(format!("{}: no terminal to be had ({error}): it runs with pipes", self.name));
            }
            self.streams.open(None, self.index, poll)
        });
        let ends = ends.map_err(failed)?;
        let launch = Launch::start(&Plan {
            command: &self.service.command,
            environment: &environment,
            place: &self.place(&environment),
            stdio: ends.stdio(),
            terminal: ends.is_terminal(),
            extra: descriptor.as_ref().map(|(fd, number)| (fd.as_fd(), *number)),
        })?;
        let key = poll.add(&launch, Flags::IN, Source::Launch(self.index)).map_err(|error| {
            launch.kill();
            failed(error)
        })?;
        self.pid = launch.process();
        self.leader = self.pid;
        self.session = launch.session();
        self.launch = Some((launch, key));
        if let Some(prober) = &mut self.prober {
            prober.begin();
        }
        Ok(())
    }

    /// Reads how far its process has come. Some: it is known now whether its program runs.
    pub fn look_at_launch(&mut self, poll: &mut Poll) -> Option<Result<(), SpawnError>> {
        let (launch, _) = self.launch.as_mut()?;
        let progress = launch.read();
        self.pid = launch.process();
        self.leader = self.pid;
        let result = match progress {
            Progress::Pending => return None,
            Progress::Running => Ok(()),
            Progress::Failed(error) => {
                (self.pid, self.leader) = (None, None);
                Err(error)
            }
        };
        self.end_launch(poll);
        Some(result)
    }

    /// What there was to know of it is known. Tells whether it was under way until now.
    pub fn end_launch(&mut self, poll: &mut Poll) -> bool {
        let launch = self.launch.take();
        if let Some((launch, key)) = &launch {
            poll.remove(*key, launch);
        }
        launch.is_some()
    }

    /// Nothing of it runs or is about to, as far as it is known by itself: what it left to others may.
    pub fn is_idle(&self) -> bool {
        self.pid.is_none() && self.launch.is_none()
    }

    /// Its main process was reaped, or could not be made: reads what it left, and closes its input.
    pub fn ended(&mut self, poll: &mut Poll) {
        self.pid = None;
        self.streams.close_input(poll);
        if let Some(prober) = &mut self.prober {
            prober.end(poll);
        }
    }

    /// Takes on its new configuration, if there is one. For when nothing of it runs.
    pub fn renew(&mut self) {
        if let Some(service) = self.replacement.take() {
            self.machine.configure(&service);
            self.prober = service.ready.as_ref().map(|ready| Prober::new(ready, self.index));
            self.service = service;
        }
    }

    /// Forgets what it was, for its place to be free. For when it has gone and is stopped.
    pub fn clear(&mut self, poll: &mut Poll) {
        self.streams.close(poll);
        self.prober = None;
        self.replay = Replay::default();
        self.log.reopen();
        self.notice = None;
        self.name.clear();
    }

    /// Whether its place is free.
    pub fn is_free(&self) -> bool {
        self.name.is_empty()
    }

    /// By what its processes are known.
    pub fn known(&self) -> Known<'_> {
        let probe = self.prober.as_ref().and_then(Prober::process);
        Known { name: &self.name, leader: self.leader, session: self.session, probe }
    }

    /// What leads its terminal's session was reaped: its number may soon be another's.
    pub fn session_ended(&mut self) {
        self.session = None;
        if let Some((launch, _)) = &mut self.launch {
            launch.session_ended();
        }
    }

    /// Nothing of it is left: its terminal's session is let go.
    pub fn release(&mut self) {
        if let Some(session) = self.session.take() {
            sys::kill(session, libc::SIGKILL).ok(); // It is reaped as every child is.
        }
    }

    /// Reads one of its outputs into the buffer, logs the lines, and tells what is for others.
    pub fn take(&mut self, key: Key, buffer: &mut [u8], poll: &mut Poll, console: &mut Console) -> Taken {
        let stamp = timestamp(SystemTime::now());
        let (name, prober) = (&self.name, &mut self.prober);
        let mut verdict = None;
        let mut logged = Vec::new();
        let read = self.streams.read(key, buffer, poll, |line| {
            console.line(name, line);
            for part in [stamp.as_bytes(), b" ", line, b"\n"] {
                logged.extend_from_slice(part);
            }
            verdict = verdict.or_else(|| prober.as_mut()?.line(line));
        });
        if !logged.is_empty() {
            self.log.append(&logged, Instant::now());
        }
        let raw = match read {
            Read::Bytes(Kind::Terminal | Kind::Stdout, count) => count,
            Read::Bytes(Kind::Stderr, _) | Read::Nothing | Read::End => 0,
        };
        self.replay.push(&buffer[..raw]);
        Taken { raw, verdict, more: matches!(read, Read::Bytes(..)) }
    }

    /// Sets its terminal's size, that of a later process included.
    pub fn resize(&mut self, size: TerminalSize) {
        if size.rows > 0 && size.cols > 0 {
            self.size = size;
            self.streams.resize(size);
        }
    }

    /// What its last failed probe said, while that matters.
    pub fn probe(&self) -> Option<String> {
        self.prober.as_ref()?.said().map(Into::into)
    }

    /// What `status` shows of it.
    pub fn status(&self, now: Instant) -> ServiceStatus {
        let state = self.machine.state();
        let retry = (state == ServiceState::Backoff).then(|| self.machine.wake_at()).flatten();
        ServiceStatus {
            name: self.name.clone(),
            state,
            ready: matches!(state, ServiceState::Ready | ServiceState::Completed),
            restarts: self.machine.restarts(),
            pid: self.pid,
            since_ms: self.since_ms,
            retry_in_ms: retry.map(|at| at.saturating_duration_since(now).as_millis() as u64),
            last_exit: self.machine.last_exit().cloned(),
            probe: self.probe(),
            essential: self.service.essential,
        }
    }

    /// One line of why it isn't well: its state, how it ended, what its probe says.
    pub fn complaint(&self) -> String {
        let state = self.machine.state();
        let exit: Option<&LastExit> =
            self.machine.last_exit().filter(|_| matches!(state, ServiceState::Backoff | ServiceState::Failed));
        let mut text = format!("{}: {}", self.name, state_name(state));
        for part in exit.map(|exit| exit.reason.clone()).into_iter().chain(self.probe()) {
            text.push_str(": ");
            text.push_str(&part);
        }
        text
    }
}

/// A state as people read it.
pub fn state_name(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Waiting => "waiting",
        ServiceState::Starting => "starting",
        ServiceState::Ready => "ready",
        ServiceState::Unhealthy => "unhealthy",
        ServiceState::Backoff => "in back-off",
        ServiceState::Stopping => "stopping",
        ServiceState::Stopped => "stopped",
        ServiceState::Completed => "completed",
        ServiceState::Failed => "failed",
    }
}
