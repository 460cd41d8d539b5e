//! One service's life as a state machine: given what happened and when, what is to be done. It knows no process and
//! no clock, so every path through it is tested without either.

use std::time::{Duration, Instant};

use powerdev_protocol::{LastExit, Restart, RestartPolicy, Service, ServiceState};

/// How long the children of a service that died by itself may take to follow it.
const LEFTOVER_GRACE: Duration = Duration::from_secs(1);
/// How long a program may take to begin. Longer takes what lies on a file system that hangs.
const LAUNCH_LIMIT: Duration = Duration::from_secs(10);
/// However soon it is to be ready, a busy machine may need that long to begin.
const SHORTEST_LAUNCH: Duration = Duration::from_secs(1);
/// How often what survives a KILL is killed again: it may have forked in between.
const KILL_AGAIN: Duration = Duration::from_millis(100);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// All that it depends on has come far enough.
    DependenciesMet,
    /// Something that it depends on failed for good.
    DependencyFailed(LastExit),
    /// What failed and it depends on was given another chance.
    DependencyBack,
    /// Its program runs.
    Spawned,
    /// Its program could not be run. `passing`: for want of something that may be there again soon.
    SpawnFailed {
        /// With the code that a shell would give.
        exit: LastExit,
        /// Lack of processes, memory or descriptors.
        passing: bool,
    },
    /// Its probe says that it is ready, or that it still is.
    Good,
    /// Its probe failed too often since it was ready.
    Bad,
    /// Its main process ended.
    Died {
        /// How.
        exit: LastExit,
        /// Nothing else of it is left.
        alone: bool,
    },
    /// Nothing of it is left, the main process included.
    Gone,
    /// The time that [`Machine::wake_at`] told has come.
    Tick,
    /// Start it, on request.
    Start,
    /// Stop it, on request.
    Stop,
    /// Stop it, then start it, on request.
    Restart,
    /// Don't wait for its grace to pass.
    Hurry,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Make its process, and tell [`Input::Spawned`] or [`Input::SpawnFailed`] once it is known which.
    Spawn,
    /// Send the stop signal to its whole tree.
    Terminate,
    /// Send KILL to its whole tree.
    Kill,
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    Waiting {
        again: bool,
    },
    /// Its process is made; its program doesn't run yet.
    Launching {
        deadline: Instant,
    },
    Starting {
        deadline: Option<Instant>,
    },
    Ready {
        since: Instant,
    },
    Unhealthy,
    Ending {
        next: Next,
        kill_at: Instant,
    },
    Backoff {
        until: Instant,
    },
    Stopped,
    Completed,
    Failed {
        by_dependency: bool,
    },
}

/// What comes after the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Stop,
    Again,
    /// As the restart policy says.
    Judge,
    /// As above; it was ended since it didn't become ready.
    Late,
    /// As above; it was ended since its program didn't even begin.
    Hung,
}

/// One service.
#[derive(Debug)]
pub struct Machine {
    restart: Restart,
    grace: Duration,
    /// How long it may take to become ready; None where nothing needs to show it.
    readiness: Option<Duration>,
    phase: Phase,
    restarts: u32,
    /// In a row.
    failures: u32,
    /// How often in a row its process could not be made for want of something.
    refusals: u32,
    /// Was ready for so long that its past is forgotten.
    proven: bool,
    last_exit: Option<LastExit>,
}

impl Machine {
    /// A service that waits for its dependencies.
    pub fn new(service: &Service) -> Self {
        Self {
            restart: service.restart.clone(),
            grace: seconds(service.stop.grace),
            readiness: service.ready.as_ref().map(|ready| seconds(ready.deadline)),
            phase: Phase::Waiting { again: false },
            restarts: 0,
            failures: 0,
            refusals: 0,
            proven: false,
            last_exit: None,
        }
    }

    /// Goes by another configuration from now on. For when nothing of it runs.
    pub fn configure(&mut self, service: &Service) {
        let Self { restart, grace, readiness, .. } = Self::new(service);
        (self.restart, self.grace, self.readiness) = (restart, grace, readiness);
    }

    /// Where it stands.
    pub fn state(&self) -> ServiceState {
        match self.phase {
            Phase::Waiting { .. } => ServiceState::Waiting,
            Phase::Launching { .. } | Phase::Starting { .. } => ServiceState::Starting,
            Phase::Ready { .. } => ServiceState::Ready,
            Phase::Unhealthy => ServiceState::Unhealthy,
            Phase::Ending { .. } => ServiceState::Stopping,
            Phase::Backoff { .. } => ServiceState::Backoff,
            Phase::Stopped => ServiceState::Stopped,
            Phase::Completed => ServiceState::Completed,
            Phase::Failed { .. } => ServiceState::Failed,
        }
    }

    /// Its process is made, but its program doesn't run yet.
    pub fn is_launching(&self) -> bool {
        matches!(self.phase, Phase::Launching { .. })
    }

    /// Restarts by policy so far.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// How it ended last.
    pub fn last_exit(&self) -> Option<&LastExit> {
        self.last_exit.as_ref()
    }

    /// Failed, but only since something that it depends on did.
    pub fn failed_by_dependency(&self) -> bool {
        self.phase == Phase::Failed { by_dependency: true }
    }

    /// When it wants [`Input::Tick`].
    pub fn wake_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Launching { deadline } => Some(deadline),
            Phase::Starting { deadline } => deadline,
            Phase::Ending { kill_at, .. } => Some(kill_at),
            Phase::Backoff { until } => Some(until),
            _ => None,
        }
    }

    /// Takes what happened. `chance` is a random number from 0 to 1, for the jitter.
    pub fn step(&mut self, input: Input, now: Instant, chance: f64) -> Option<Action> {
        match input {
            Input::DependenciesMet => self.dependencies_met(now),
            Input::DependencyFailed(exit) => {
                if matches!(self.phase, Phase::Waiting { .. }) {
                    self.last_exit = Some(exit);
                    self.phase = Phase::Failed { by_dependency: true };
                }
                None
            }
            Input::DependencyBack => {
                if self.failed_by_dependency() {
                    self.phase = Phase::Waiting { again: false };
                }
                None
            }
            Input::Spawned => self.spawned(now),
            Input::SpawnFailed { exit, passing } => self.spawn_failed(exit, passing, now, chance),
            Input::Good => {
                self.note_start();
                if matches!(self.phase, Phase::Launching { .. } | Phase::Starting { .. } | Phase::Unhealthy) {
                    self.phase = Phase::Ready { since: now };
                }
                None
            }
            Input::Bad => {
                self.note_proof(now);
                if matches!(self.phase, Phase::Ready { .. }) {
                    self.phase = Phase::Unhealthy;
                }
                None
            }
            Input::Died { exit, alone } => self.died(exit, alone, now, chance),
            Input::Gone => self.gone(now, chance),
            Input::Tick => self.tick(now),
            Input::Start => self.start(),
            Input::Stop => self.end(Next::Stop, now),
            Input::Restart => {
                self.failures = 0;
                self.end(Next::Again, now).or_else(|| self.start())
            }
            Input::Hurry => match &mut self.phase {
                Phase::Ending { kill_at, .. } => {
                    *kill_at = now + KILL_AGAIN;
                    Some(Action::Kill)
                }
                _ => None,
            },
        }
    }

    fn dependencies_met(&mut self, now: Instant) -> Option<Action> {
        let Phase::Waiting { again } = self.phase else { return None };
        self.restarts += u32::from(again);
        self.phase = Phase::Launching { deadline: now + self.launch_limit() };
        Some(Action::Spawn)
    }

    /// A program that may not take longer to be ready may not take longer to begin either.
    fn launch_limit(&self) -> Duration {
        let limit = self.readiness.filter(|limit| !limit.is_zero());
        limit.map_or(LAUNCH_LIMIT, |limit| limit.clamp(SHORTEST_LAUNCH, LAUNCH_LIMIT))
    }

    fn spawned(&mut self, now: Instant) -> Option<Action> {
        match self.phase {
            Phase::Launching { .. } => {}
            // It was told to end before there was anybody to hear it.
            Phase::Ending { .. } => return Some(Action::Terminate),
            _ => return None,
        }
        self.note_start();
        self.phase = match self.readiness {
            Some(limit) => Phase::Starting { deadline: (!limit.is_zero()).then(|| now + limit) },
            None => Phase::Ready { since: now },
        };
        None
    }

    fn note_start(&mut self) {
        if self.is_launching() {
            self.proven = false;
            self.refusals = 0;
        }
    }

    fn spawn_failed(&mut self, exit: LastExit, passing: bool, now: Instant, chance: f64) -> Option<Action> {
        if matches!(self.phase, Phase::Ending { .. }) {
            return self.died(exit, true, now, chance);
        }
        self.last_exit = Some(exit);
        if passing {
            self.refusals += 1;
            self.phase = Phase::Backoff { until: now + self.backoff(self.refusals, chance) };
        } else {
            self.judge(true, now, chance);
        }
        None
    }

    fn died(&mut self, mut exit: LastExit, alone: bool, now: Instant, chance: f64) -> Option<Action> {
        self.note_proof(now);
        if let Phase::Ending { next, .. } = self.phase {
            exit.reason = match next {
                Next::Stop => "stopped on request".into(),
                Next::Again => "restarted on request".into(),
                Next::Late => format!("not ready within {} s", self.readiness.unwrap_or_default().as_secs_f64()),
                Next::Hung => format!(
                    "its program did not begin within {} s: does the file system that it lies on answer?",
                    self.launch_limit().as_secs_f64()
                ),
                Next::Judge => exit.reason,
            };
            self.last_exit = Some(exit);
            return if alone { self.gone(now, chance) } else { None };
        }
        let completes = exit.code == Some(0) && self.restart.policy != RestartPolicy::Always;
        self.last_exit = Some(exit);
        if completes || alone {
            // What a service that is done leaves behind (say, a daemon) is meant to stay.
            self.judge(false, now, chance);
            return None;
        }
        self.phase = Phase::Ending { next: Next::Judge, kill_at: now + self.grace.min(LEFTOVER_GRACE) };
        Some(Action::Terminate)
    }

    fn gone(&mut self, now: Instant, chance: f64) -> Option<Action> {
        let Phase::Ending { next, .. } = self.phase else { return None };
        match next {
            Next::Stop => self.phase = Phase::Stopped,
            Next::Again => self.phase = Phase::Waiting { again: false },
            Next::Judge => self.judge(false, now, chance),
            Next::Late | Next::Hung => self.judge(true, now, chance),
        }
        None
    }

    fn tick(&mut self, now: Instant) -> Option<Action> {
        match self.phase {
            Phase::Launching { deadline } if deadline <= now => self.end(Next::Hung, now),
            Phase::Starting { deadline: Some(deadline) } if deadline <= now => self.end(Next::Late, now),
            Phase::Backoff { until } if until <= now => {
                self.phase = Phase::Waiting { again: true };
                None
            }
            Phase::Ending { next, kill_at } if kill_at <= now => {
                self.phase = Phase::Ending { next, kill_at: now + KILL_AGAIN };
                Some(Action::Kill)
            }
            _ => None,
        }
    }

    fn start(&mut self) -> Option<Action> {
        match &mut self.phase {
            Phase::Ending { next, .. } => *next = Next::Again,
            Phase::Backoff { .. } | Phase::Stopped | Phase::Completed | Phase::Failed { .. } => {
                self.phase = Phase::Waiting { again: false };
            }
            Phase::Waiting { .. }
            | Phase::Launching { .. }
            | Phase::Starting { .. }
            | Phase::Ready { .. }
            | Phase::Unhealthy => return None,
        }
        self.failures = 0;
        None
    }

    /// Ends what runs; what doesn't run is stopped at once, if that is what was asked for.
    fn end(&mut self, next: Next, now: Instant) -> Option<Action> {
        let kill_at = now + self.grace;
        match &mut self.phase {
            Phase::Launching { .. }
            | Phase::Starting { .. }
            | Phase::Ready { .. }
            | Phase::Unhealthy
            | Phase::Completed => {
                self.note_proof(now);
                self.phase = Phase::Ending { next, kill_at };
                return Some(Action::Terminate);
            }
            Phase::Ending { next: planned, .. } => *planned = next,
            Phase::Waiting { .. } | Phase::Backoff { .. } | Phase::Failed { .. } if next == Next::Stop => {
                self.phase = Phase::Stopped;
            }
            Phase::Waiting { .. } | Phase::Backoff { .. } | Phase::Failed { .. } | Phase::Stopped => {}
        }
        None
    }

    fn note_proof(&mut self, now: Instant) {
        if let Phase::Ready { since } = self.phase {
            self.proven |= now.saturating_duration_since(since) >= seconds(self.restart.reset);
        }
    }

    /// It ended by itself, or was ended for being late: another try, or not?
    fn judge(&mut self, failed: bool, now: Instant, chance: f64) {
        let success = !failed && self.last_exit.as_ref().is_some_and(|exit| exit.code == Some(0));
        match (self.restart.policy, success) {
            (RestartPolicy::OnFailure | RestartPolicy::Never, true) => self.phase = Phase::Completed,
            (RestartPolicy::Never, false) => self.phase = Phase::Failed { by_dependency: false },
            (RestartPolicy::Always, _) | (RestartPolicy::OnFailure, false) => {
                if self.proven {
                    self.failures = 0;
                }
                self.failures += 1;
                if self.restart.limit > 0 && self.failures >= self.restart.limit {
                    self.phase = Phase::Failed { by_dependency: false };
                    return;
                }
                let wait = if self.proven { Duration::ZERO } else { self.backoff(self.failures, chance) };
                self.phase = Phase::Backoff { until: now + wait };
            }
        }
        self.proven = false;
    }

    fn backoff(&self, tries: u32, chance: f64) -> Duration {
        let doublings = tries.saturating_sub(1).min(30) as i32;
        let wait = (self.restart.backoff * 2f64.powi(doublings)).min(self.restart.max_backoff);
        seconds(wait * (1.0 + self.restart.jitter * chance))
    }
}

/// Seconds of the configuration, which has been checked; a day more or less doesn't matter at the upper end.
fn seconds(value: f64) -> Duration {
    Duration::from_secs_f64(value.clamp(0.0, 1e9))
}

#[cfg(test)]
mod tests;
