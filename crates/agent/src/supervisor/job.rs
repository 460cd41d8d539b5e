//! A program that was started with a process group of its own, and mostly a terminal: from its making until nothing of
//! it is left.

use super::poll::{Flags, Poll, PolledFd, Source};
use super::spawn::{Launch, LaunchPlan, LaunchProgress, SpawnError};
use super::sys;

/// One program's processes, as far as they are known by themselves.
#[derive(Debug, Default)]
pub struct MainProcess {
    /// Its process, while its program doesn't run yet.
    launch: Option<PolledFd<Launch>>,
    pid: Option<i32>,
    leader: Option<i32>,
    session: Option<i32>,
}

impl MainProcess {
    /// Makes its process, which is then on its way to its program: see [`MainProcess::look`]. `source` is told of news.
    pub fn start(&mut self, plan: &LaunchPlan<'_>, source: Source, poll: &Poll) -> Result<(), SpawnError> {
        let launch = Launch::start(plan)?;
        let (pid, session) = (launch.process(), launch.session());
        let launch = poll.watch(launch, Flags::IN, source).map_err(|error| {
            for pid in pid.into_iter().chain(session) {
                sys::kill(pid, libc::SIGKILL).ok(); // Gone already is as good.
            }
            SpawnError::Setup(error.into())
        })?;
        *self = Self { launch: Some(launch), pid, leader: pid, session };
        Ok(())
    }

    /// Reads how far its process has come. Some: it is known now whether its program runs.
    pub fn look(&mut self) -> Option<Result<(), SpawnError>> {
        let launch = self.launch.as_mut()?;
        let progress = launch.read();
        self.pid = launch.process();
        self.leader = self.pid;
        let result = match progress {
            LaunchProgress::Pending => return None,
            LaunchProgress::Running => Ok(()),
            LaunchProgress::Failed(error) => {
                (self.pid, self.leader) = (None, None);
                Err(error)
            }
        };
        self.launch = None;
        Some(result)
    }

    /// What there was to know of its launch is known. Tells whether it was under way until now.
    pub fn end_launch(&mut self) -> bool {
        self.launch.take().is_some()
    }

    /// Kills what is on its way to its program.
    pub fn kill_launch(&self) {
        if let Some(launch) = &self.launch {
            launch.kill();
        }
    }

    /// Its main process, until it is reaped.
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Its last main process: the process group that others may still be in.
    pub fn leader(&self) -> Option<i32> {
        self.leader
    }

    /// What leads its terminal's session, and does nothing else.
    pub fn session(&self) -> Option<i32> {
        self.session
    }

    /// The processes that were made for it.
    pub fn made(&self) -> impl Iterator<Item = i32> {
        self.pid.into_iter().chain(self.session)
    }

    /// Nothing of it runs or is about to, as far as it is known by itself: what it left to others may.
    pub fn is_idle(&self) -> bool {
        self.pid.is_none() && self.launch.is_none()
    }

    /// Its main process was reaped.
    pub fn ended(&mut self) {
        self.pid = None;
    }

    /// What leads its terminal's session was reaped: its number may soon be another's.
    pub fn session_ended(&mut self) {
        self.session = None;
        if let Some(launch) = &mut self.launch {
            launch.session_ended();
        }
    }

    /// Nothing of it is left: its terminal's session is let go.
    pub fn release(&mut self) {
        if let Some(session) = self.session.take() {
            sys::kill(session, libc::SIGKILL).ok(); // It is reaped as every child is.
        }
    }
}
