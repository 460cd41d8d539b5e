//! One service: its configuration, its state, its process and what comes from it.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Instant, SystemTime};

use powerdev_protocol::control::TerminalSize;
use powerdev_protocol::{LastExit, Service, ServiceState, ServiceStatus};

use super::console::Console;
use super::job::MainProcess;
use super::lines::Replay;
use super::logfile::{LogFile, timestamp};
use super::machine::Machine;
use super::owner::{Mark, Owner};
use super::poll::{Key, Poll, Source};
use super::processes::KnownProcesses;
use super::readiness::{Preparation, ProbeVerdict, Prober};
use super::spawn::{LaunchPlan, SpawnError, WorkingDirectory};
use super::streams::{OutputKind, OutputRead, Streams};
use super::units::UnitId;
use super::{now_ms, pty};

/// Bytes that are kept of a service's last line.
const LAST_LINE: usize = 240;

/// A service and all that is known of it.
#[derive(Debug)]
pub struct Unit {
    pub name: String,
    /// What names it here.
    pub id: UnitId,
    pub service: Service,
    /// What takes that one's place as soon as nothing runs by it any more.
    pub replacement: Option<Service>,
    /// It was taken out of the services: it is stopped, and its place is free once it is gone.
    pub retired: bool,
    pub machine: Machine,
    pub job: MainProcess,
    pub prober: Option<Prober>,
    /// Its terminal or pipes.
    pub streams: Streams,
    /// The last of its output.
    pub replay: Replay,
    pub log: LogFile,
    /// What was last told of it.
    pub told: (ServiceState, Option<i32>, u32),
    /// Since when it is in its state.
    pub since_ms: u64,
    /// Something that the operator should know.
    pub notice: Option<String>,
    /// The start of the last line that its process wrote, blank ones not counted.
    last_line: String,
    size: TerminalSize,
    poll: Poll,
    mark: Mark,
}

/// What reading from a service brought.
#[derive(Debug, Default)]
pub struct Taken {
    /// Bytes for those who attached.
    pub raw: usize,
    /// The line that it was waited for.
    pub verdict: Option<ProbeVerdict>,
    /// There may be more.
    pub more: bool,
}

impl Unit {
    /// A service that hasn't been started.
    pub fn new(id: UnitId, name: &str, service: &Service, log_dir: &Path, poll: &Poll) -> Self {
        let machine = Machine::new(service);
        Self {
            name: name.into(),
            id,
            service: service.clone(),
            replacement: None,
            retired: false,
            told: (machine.state(), None, 0),
            machine,
            job: MainProcess::default(),
            prober: service.ready.as_ref().map(|ready| Prober::new(ready, id, poll.clone())),
            streams: Streams::new(Source::Stream(Owner::Unit(id)), poll.clone()),
            replay: Replay::default(),
            log: LogFile::new(log_dir, name),
            since_ms: now_ms(),
            notice: None,
            last_line: String::new(),
            size: pty::DEFAULT_SIZE,
            poll: poll.clone(),
            mark: Mark::Service(name.into()),
        }
    }

    /// Where it runs.
    pub fn place(&self, environment: &[(OsString, OsString)]) -> WorkingDirectory {
        if let Some(directory) = &self.service.directory {
            return WorkingDirectory { directory: directory.into(), otherwise: None };
        }
        let home = environment.iter().find(|(name, _)| name == "HOME").map(|(_, value)| value.as_os_str());
        WorkingDirectory { directory: home.unwrap_or(OsStr::new("/")).into(), otherwise: Some("/".into()) }
    }

    /// Makes its process, which is then on its way to its program: see [`MainProcess::look`].
    pub fn spawn(&mut self, mut environment: Vec<(OsString, OsString)>, run_dir: &Path) -> Result<(), SpawnError> {
        self.job.release();
        let failed = |error: rustix::io::Errno| SpawnError::Setup(error.into());
        let Preparation { descriptor, notify_socket } = match &mut self.prober {
            Some(prober) => prober.prepare(run_dir, &self.name).map_err(failed)?,
            None => Preparation::default(),
        };
        if let Some(path) = notify_socket {
            environment.push(("NOTIFY_SOCKET".into(), path.into()));
        }
        let terminal = self.service.tty.then_some(self.size);
        self.notice = None;
        self.last_line.clear();
        let ends = self.streams.open(terminal).or_else(|error| {
            if terminal.is_some() {
                self.notice = Some(format!("{}: no terminal to be had ({error}): it runs with pipes", self.name));
            }
            self.streams.open(None)
        });
        let ends = ends.map_err(failed)?;
        let plan = LaunchPlan {
            command: &self.service.command,
            environment: &environment,
            place: &self.place(&environment),
            stdio: ends.stdio(),
            terminal: ends.is_terminal(),
            extra: descriptor.as_ref().map(|(fd, number)| (fd.as_fd(), *number)),
        };
        self.job.start(&plan, Source::Launch(Owner::Unit(self.id)), &self.poll)?;
        if let Some(prober) = &mut self.prober {
            prober.begin();
        }
        Ok(())
    }

    /// Its main process was reaped, or could not be made: reads what it left, and closes its input.
    pub fn ended(&mut self) {
        self.job.ended();
        self.streams.input().close();
        if let Some(prober) = &mut self.prober {
            prober.end();
        }
    }

    /// Takes on its new configuration, if there is one. For when nothing of it runs.
    pub fn renew(&mut self) {
        if let Some(service) = self.replacement.take() {
            self.machine.configure(&service);
            self.prober = service.ready.as_ref().map(|ready| Prober::new(ready, self.id, self.poll.clone()));
            self.service = service;
        }
    }

    /// By what its processes are known.
    pub fn known(&self) -> KnownProcesses<'_, Owner> {
        let probe = self.prober.as_ref().and_then(Prober::process);
        KnownProcesses {
            owner: Owner::Unit(self.id),
            mark: &self.mark,
            leader: self.job.leader(),
            session: self.job.session(),
            probe,
        }
    }

    /// Reads one of its outputs into the buffer, logs the lines, and tells what is for others.
    pub fn take(&mut self, key: Key, buffer: &mut [u8], console: &mut Console) -> Taken {
        let stamp = timestamp(SystemTime::now());
        let (name, prober, last_line) = (&self.name, &mut self.prober, &mut self.last_line);
        let mut verdict = None;
        let mut logged = Vec::new();
        let read = self.streams.read(key, buffer, |line| {
            console.line(name, line);
            for part in [stamp.as_bytes(), b" ", line, b"\n"] {
                logged.extend_from_slice(part);
            }
            keep_start(line, last_line);
            verdict = verdict.or_else(|| prober.as_mut()?.line(line));
        });
        if !logged.is_empty() {
            self.log.append(&logged, Instant::now());
        }
        let raw = match read {
            OutputRead::Bytes(OutputKind::Terminal | OutputKind::Stdout, count) => count,
            OutputRead::Bytes(OutputKind::Stderr, _) | OutputRead::Nothing | OutputRead::End => 0,
        };
        self.replay.push(&buffer[..raw]);
        Taken { raw, verdict, more: matches!(read, OutputRead::Bytes(..)) }
    }

    /// Sets its terminal's size, that of a later process included.
    pub fn resize(&mut self, size: TerminalSize) {
        if size.rows > 0 && size.cols > 0 {
            self.size = size;
            self.streams.input().resize(size);
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
            pid: self.job.pid(),
            since_ms: self.since_ms,
            retry_in_ms: retry.map(|at| at.saturating_duration_since(now).as_millis() as u64),
            last_exit: self.machine.last_exit().cloned(),
            probe: self.probe(),
            last_line: self.last_words().map(Into::into),
            essential: self.service.essential,
        }
    }

    /// What it wrote last, where that may say what is wrong.
    fn last_words(&self) -> Option<&str> {
        let state = self.machine.state();
        let unwell = matches!(state, ServiceState::Backoff | ServiceState::Failed | ServiceState::Unhealthy);
        Some(self.last_line.as_str()).filter(|line| unwell && !line.is_empty())
    }

    /// One line of why it isn't well: its state, how it ended, what its probe says, what it wrote last.
    pub fn complaint(&self) -> String {
        let state = self.machine.state();
        let exit: Option<&LastExit> =
            self.machine.last_exit().filter(|_| matches!(state, ServiceState::Backoff | ServiceState::Failed));
        let mut text = format!("{}: {}", self.name, state_name(state));
        for part in exit.map(|exit| exit.reason.clone()).into_iter().chain(self.probe()) {
            text.push_str(": ");
            text.push_str(&part);
        }
        if let Some(line) = self.last_words() {
            text.push_str(&format!("; its last line: {line}"));
        }
        text
    }
}

/// Keeps as much of a line as a person reads, unless it is blank.
fn keep_start(line: &[u8], kept: &mut String) {
    let start = String::from_utf8_lossy(&line[..line.len().min(LAST_LINE)]);
    let shown = powerdev_terminal::plain(&start, |_| None);
    if !shown.trim().is_empty() {
        kept.clear();
        kept.push_str(shown.trim());
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
