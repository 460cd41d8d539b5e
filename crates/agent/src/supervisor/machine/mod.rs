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

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnitEvent {
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
pub enum Effect {
    /// Make its process, and tell [`UnitEvent::Spawned`] or [`UnitEvent::SpawnFailed`] once it is known which.
    Spawn,
    /// Send the stop signal to its whole tree.
    Terminate,
    /// Send KILL to its whole tree.
    Kill,
}

#[derive(Debug, Clone, PartialEq)]
enum UnitPhase {
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
        next: AfterEnd,
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
enum AfterEnd {
    Stop,
    Again,
    /// As the restart policy says.
    Judge,
    /// As above; it was ended since it didn't become ready.
    Late,
    /// As above; it was ended since its program didn't even begin.
    Hung,
}

#[derive(Debug)]
pub struct Machine {
    restart: Restart,
    grace: Duration,
    /// How long it may take to become ready; None where nothing needs to show it.
    readiness: Option<Duration>,
    phase: UnitPhase,
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
            phase: UnitPhase::Waiting { again: false },
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
            UnitPhase::Waiting { .. } => ServiceState::Waiting,
            UnitPhase::Launching { .. } | UnitPhase::Starting { .. } => ServiceState::Starting,
            UnitPhase::Ready { .. } => ServiceState::Ready,
            UnitPhase::Unhealthy => ServiceState::Unhealthy,
            UnitPhase::Ending { .. } => ServiceState::Stopping,
            UnitPhase::Backoff { .. } => ServiceState::Backoff,
            UnitPhase::Stopped => ServiceState::Stopped,
            UnitPhase::Completed => ServiceState::Completed,
            UnitPhase::Failed { .. } => ServiceState::Failed,
        }
    }

    /// Its process is made, but its program doesn't run yet.
    pub fn is_launching(&self) -> bool {
        matches!(self.phase, UnitPhase::Launching { .. })
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
        self.phase == UnitPhase::Failed { by_dependency: true }
    }

    /// When it wants [`UnitEvent::Tick`].
    pub fn wake_at(&self) -> Option<Instant> {
        match self.phase {
            UnitPhase::Launching { deadline } => Some(deadline),
            UnitPhase::Starting { deadline } => deadline,
            UnitPhase::Ending { kill_at, .. } => Some(kill_at),
            UnitPhase::Backoff { until } => Some(until),
            _ => None,
        }
    }

    /// Takes what happened. `chance` is a random number from 0 to 1, for the jitter.
    pub fn step(&mut self, input: UnitEvent, now: Instant, chance: f64) -> Option<Effect> {
        match input {
            UnitEvent::DependenciesMet => self.dependencies_met(now),
            UnitEvent::DependencyFailed(exit) => {
                if matches!(self.phase, UnitPhase::Waiting { .. }) {
                    self.last_exit = Some(exit);
                    self.phase = UnitPhase::Failed { by_dependency: true };
                }
                None
            }
            UnitEvent::DependencyBack => {
                if self.failed_by_dependency() {
                    self.phase = UnitPhase::Waiting { again: false };
                }
                None
            }
            UnitEvent::Spawned => self.spawned(now),
            UnitEvent::SpawnFailed { exit, passing } => self.spawn_failed(exit, passing, now, chance),
            UnitEvent::Good => {
                self.note_start();
                if matches!(self.phase, UnitPhase::Launching { .. } | UnitPhase::Starting { .. } | UnitPhase::Unhealthy)
                {
                    self.phase = UnitPhase::Ready { since: now };
                }
                None
            }
            UnitEvent::Bad => {
                self.note_proof(now);
                if matches!(self.phase, UnitPhase::Ready { .. }) {
                    self.phase = UnitPhase::Unhealthy;
                }
                None
            }
            UnitEvent::Died { exit, alone } => self.died(exit, alone, now, chance),
            UnitEvent::Gone => self.gone(now, chance),
            UnitEvent::Tick => self.tick(now),
            UnitEvent::Start => self.start(),
            UnitEvent::Stop => self.end(AfterEnd::Stop, now),
            UnitEvent::Restart => {
                self.failures = 0;
                self.end(AfterEnd::Again, now).or_else(|| self.start())
            }
            UnitEvent::Hurry => match &mut self.phase {
                UnitPhase::Ending { kill_at, .. } => {
                    *kill_at = now + KILL_AGAIN;
                    Some(Effect::Kill)
                }
                _ => None,
            },
        }
    }

    fn dependencies_met(&mut self, now: Instant) -> Option<Effect> {
        let UnitPhase::Waiting { again } = self.phase else { return None };
        self.restarts += u32::from(again);
        self.phase = UnitPhase::Launching { deadline: now + self.launch_limit() };
        Some(Effect::Spawn)
    }

    /// A program that may not take longer to be ready may not take longer to begin either.
    fn launch_limit(&self) -> Duration {
        let limit = self.readiness.filter(|limit| !limit.is_zero());
        limit.map_or(LAUNCH_LIMIT, |limit| limit.clamp(SHORTEST_LAUNCH, LAUNCH_LIMIT))
    }

    fn spawned(&mut self, now: Instant) -> Option<Effect> {
        match self.phase {
            UnitPhase::Launching { .. } => {}
            // It was told to end before there was anybody to hear it.
            UnitPhase::Ending { .. } => return Some(Effect::Terminate),
            _ => return None,
        }
        self.note_start();
        self.phase = match self.readiness {
            Some(limit) => UnitPhase::Starting { deadline: (!limit.is_zero()).then(|| now + limit) },
            None => UnitPhase::Ready { since: now },
        };
        None
    }

    fn note_start(&mut self) {
        if self.is_launching() {
            self.proven = false;
            self.refusals = 0;
        }
    }

    fn spawn_failed(&mut self, exit: LastExit, passing: bool, now: Instant, chance: f64) -> Option<Effect> {
        if matches!(self.phase, UnitPhase::Ending { .. }) {
            return self.died(exit, true, now, chance);
        }
        self.last_exit = Some(exit);
        if passing {
            self.refusals += 1;
            self.phase = UnitPhase::Backoff { until: now + self.backoff(self.refusals, chance) };
        } else {
            self.judge(true, now, chance);
        }
        None
    }

    fn died(&mut self, mut exit: LastExit, alone: bool, now: Instant, chance: f64) -> Option<Effect> {
        self.note_proof(now);
        if let UnitPhase::Ending { next, .. } = self.phase {
            exit.reason = match next {
                AfterEnd::Stop => "stopped on request".into(),
                AfterEnd::Again => "restarted on request".into(),
                AfterEnd::Late => format!("not ready within {} s", self.readiness.unwrap_or_default().as_secs_f64()),
                AfterEnd::Hung => format!(
                    "its program did not begin within {} s: does the file system that it lies on answer?",
                    self.launch_limit().as_secs_f64()
                ),
                AfterEnd::Judge => exit.reason,
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
        self.phase = UnitPhase::Ending { next: AfterEnd::Judge, kill_at: now + self.grace.min(LEFTOVER_GRACE) };
        Some(Effect::Terminate)
    }

    fn gone(&mut self, now: Instant, chance: f64) -> Option<Effect> {
        let UnitPhase::Ending { next, .. } = self.phase else { return None };
        match next {
            AfterEnd::Stop => self.phase = UnitPhase::Stopped,
            AfterEnd::Again => self.phase = UnitPhase::Waiting { again: false },
            AfterEnd::Judge => self.judge(false, now, chance),
            AfterEnd::Late | AfterEnd::Hung => self.judge(true, now, chance),
        }
        None
    }

    fn tick(&mut self, now: Instant) -> Option<Effect> {
        match self.phase {
            UnitPhase::Launching { deadline } if deadline <= now => self.end(AfterEnd::Hung, now),
            UnitPhase::Starting { deadline: Some(deadline) } if deadline <= now => self.end(AfterEnd::Late, now),
            UnitPhase::Backoff { until } if until <= now => {
                self.phase = UnitPhase::Waiting { again: true };
                None
            }
            UnitPhase::Ending { next, kill_at } if kill_at <= now => {
                self.phase = UnitPhase::Ending { next, kill_at: now + KILL_AGAIN };
                Some(Effect::Kill)
            }
            _ => None,
        }
    }

    fn start(&mut self) -> Option<Effect> {
        match &mut self.phase {
            UnitPhase::Ending { next, .. } => *next = AfterEnd::Again,
            UnitPhase::Backoff { .. } | UnitPhase::Stopped | UnitPhase::Completed | UnitPhase::Failed { .. } => {
                self.phase = UnitPhase::Waiting { again: false };
            }
            UnitPhase::Waiting { .. }
            | UnitPhase::Launching { .. }
            | UnitPhase::Starting { .. }
            | UnitPhase::Ready { .. }
            | UnitPhase::Unhealthy => return None,
        }
        self.failures = 0;
        None
    }

    /// Ends what runs; what doesn't run is stopped at once, if that is what was asked for.
    fn end(&mut self, next: AfterEnd, now: Instant) -> Option<Effect> {
        let kill_at = now + self.grace;
        match &mut self.phase {
            UnitPhase::Launching { .. }
            | UnitPhase::Starting { .. }
            | UnitPhase::Ready { .. }
            | UnitPhase::Unhealthy
            | UnitPhase::Completed => {
                self.note_proof(now);
                self.phase = UnitPhase::Ending { next, kill_at };
                return Some(Effect::Terminate);
            }
            UnitPhase::Ending { next: planned, .. } => *planned = next,
            UnitPhase::Waiting { .. } | UnitPhase::Backoff { .. } | UnitPhase::Failed { .. }
                if next == AfterEnd::Stop =>
            {
                self.phase = UnitPhase::Stopped;
            }
            UnitPhase::Waiting { .. } | UnitPhase::Backoff { .. } | UnitPhase::Failed { .. } | UnitPhase::Stopped => {}
        }
        None
    }

    fn note_proof(&mut self, now: Instant) {
        if let UnitPhase::Ready { since } = self.phase {
            self.proven |= now.saturating_duration_since(since) >= seconds(self.restart.reset);
        }
    }

    /// It ended by itself, or was ended for being late: another try, or not?
    fn judge(&mut self, failed: bool, now: Instant, chance: f64) {
        let success = !failed && self.last_exit.as_ref().is_some_and(|exit| exit.code == Some(0));
        match (self.restart.policy, success) {
            (RestartPolicy::OnFailure | RestartPolicy::Never, true) => self.phase = UnitPhase::Completed,
            (RestartPolicy::Never, false) => self.phase = UnitPhase::Failed { by_dependency: false },
            (RestartPolicy::Always, _) | (RestartPolicy::OnFailure, false) => {
                if self.proven {
                    self.failures = 0;
                }
                self.failures += 1;
                if self.restart.limit > 0 && self.failures >= self.restart.limit {
                    self.phase = UnitPhase::Failed { by_dependency: false };
                    return;
                }
                let wait = if self.proven { Duration::ZERO } else { self.backoff(self.failures, chance) };
                self.phase = UnitPhase::Backoff { until: now + wait };
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
