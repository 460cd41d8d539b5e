//! What to do about what happens: pure, with the time given from outside.

use powerdev_protocol::{EventKind, Health, HealthState};

use super::memory::{Memory, Quarantine};
use super::report::{Cause, What};
use super::terms::{ContainerSnapshot, Decision, Observation, RestartLimits};
use crate::engine::EngineEventKind;

/// How long a container must run to count as running well.
const STEADY_MS: u64 = 2_000;
/// How long after the watcher's start the Engine may still tell of what happened before.
const REPLAY_MS: u64 = 250;
/// How long before its going an Engine that shuts down stops its containers: its own patience with them.
const SHUTDOWN_MS: u64 = 20_000;
/// How long before an end a kill for want of memory counts as its reason.
const OOM_MS: u64 = 5_000;
/// How long before a restart a refused task counts as its reason.
const PIDS_MS: u64 = 120_000;
/// Signals that ask a process to end: whoever sends one means it. The last is systemd's, SIGRTMIN+3.
const ASKS_TO_END: [i32; 4] = [2, 3, 15, 37];

/// Where an environment stands between running and given up on.
#[derive(Debug, Clone, PartialEq)]
enum WatchPhase {
    Unknown,
    Absent,
    /// Somebody's wish; since when, as far as we saw it happen.
    Stopped(Option<u64>),
    Running,
    /// Found down: what the Engine tells next may say whose wish it was.
    Judging {
        until: u64,
        cause: Cause,
    },
    /// Waits for its restart. `up`: it runs, but badly.
    Waiting {
        until: u64,
        cause: Cause,
        since: u64,
        up: bool,
    },
    /// The restart was asked for.
    Restarting {
        cause: Cause,
        since: u64,
    },
    Quarantined,
}

/// The policy for one environment.
#[derive(Debug)]
pub struct Policy {
    limits: RestartLimits,
    memory: Memory,
    phase: WatchPhase,
    /// When the container as we know it was looked at, and when it was started; what is older is history.
    looked_ns: i64,
    started_ns: i64,
    /// Somebody asked it to end.
    asked: bool,
    oom_ms: Option<u64>,
    pids_ms: Option<u64>,
    health: Option<HealthState>,
    unhealthy_since: Option<u64>,
    detail: String,
    agent: bool,
    paused: bool,
    /// The Engine went away since we looked last.
    lost: bool,
    /// `powerdev stop` had the last word.
    stop_requested: bool,
}

impl Policy {
    /// Begins with what the last watcher left.
    pub fn new(limits: RestartLimits, memory: Memory) -> Self {
        Self {
            limits,
            memory,
            phase: WatchPhase::Unknown,
            looked_ns: 0,
            started_ns: 0,
            asked: false,
            oom_ms: None,
            pids_ms: None,
            health: None,
            unhealthy_since: None,
            detail: String::new(),
            agent: false,
            paused: false,
            lost: false,
            stop_requested: false,
        }
    }

    /// Tells whether `powerdev stop` had the last word: then that it is down is no accident, whatever it looks like.
    pub fn set_stop_requested(&mut self, meant: bool) {
        self.stop_requested = meant;
    }

    /// What must outlive the watcher.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Whether the container runs, so that its agent can be listened to.
    pub fn is_up(&self) -> bool {
        matches!(self.phase, WatchPhase::Running | WatchPhase::Waiting { up: true, .. })
            || (self.quarantined() && self.health.is_some())
    }

    /// Whether it was given up on.
    pub fn quarantined(&self) -> bool {
        self.phase == WatchPhase::Quarantined
    }

    /// Where it stands, in a word.
    pub fn state(&self) -> &'static str {
        match self.phase {
            WatchPhase::Unknown => "unknown",
            WatchPhase::Absent => "absent",
            WatchPhase::Stopped(_) => "stopped",
            WatchPhase::Running if self.paused => "paused",
            WatchPhase::Running => "running",
            WatchPhase::Judging { .. } => "down",
            WatchPhase::Waiting { .. } => "waiting",
            WatchPhase::Restarting { .. } => "restarting",
            WatchPhase::Quarantined => "quarantined",
        }
    }

    /// Its health, as far as somebody told.
    pub fn health(&self) -> Option<HealthState> {
        self.health.filter(|_| self.is_up())
    }

    /// Restarts that the budget still allows.
    pub fn restarts_left(&self, now: u64) -> u32 {
        let from = now.saturating_sub(self.limits.window_ms);
        let used = self.memory.restarts.iter().filter(|at| **at > from).count();
        self.limits.restarts.saturating_sub(used as u32)
    }

    /// From when on nothing is under way, if nothing else happens: none while something is. What runs must have run
    /// for a moment: a crash loop runs now and then, too.
    pub fn settles(&self) -> Option<u64> {
        let waiting = matches!(self.health, Some(HealthState::Starting | HealthState::Unhealthy));
        match self.phase {
            WatchPhase::Running if !waiting => Some((self.started_ns / 1_000_000).unsigned_abs() + STEADY_MS),
            WatchPhase::Absent | WatchPhase::Stopped(_) | WatchPhase::Quarantined => Some(0),
            _ => None,
        }
    }

    /// When to come back with [`Observation::Tick`], in milliseconds since the Unix epoch.
    pub fn deadline(&self) -> Option<u64> {
        match self.phase {
            WatchPhase::Judging { until, .. } | WatchPhase::Waiting { until, .. } => Some(until),
            WatchPhase::Running => self.unhealthy_since.map(|since| since + self.limits.unhealthy_ms),
            _ => None,
        }
    }

    /// Decides. `now` is in milliseconds since the Unix epoch.
    pub fn handle(&mut self, now: u64, input: Observation) -> Vec<Decision> {
        let mut actions = Vec::new();
        match input {
            Observation::Connected(seen) => self.connected(now, seen, &mut actions),
            Observation::Lost(why) => self.lost(now, why, &mut actions),
            Observation::Engine(at_ns, kind) => {
                self.memory.last_ns = self.memory.last_ns.max(at_ns);
                self.engine(now, at_ns, kind, &mut actions);
            }
            Observation::Agent(event) => self.agent(now, event.kind, &mut actions),
            Observation::AgentLost => self.agent = false,
            Observation::RefusedRestart { gone: true, .. } => self.removed(&mut actions),
            Observation::RefusedRestart { error, .. } => self.refused(now, error, &mut actions),
            Observation::Tick => self.tick(now, &mut actions),
        }
        actions
    }

    fn connected(&mut self, now: u64, seen: Option<ContainerSnapshot>, actions: &mut Vec<Decision>) {
        self.looked_ns = ms_to_ns(now);
        let lost = std::mem::take(&mut self.lost);
        let Some(seen) = seen else {
            if self.memory.running {
                return self.removed(actions);
            }
            self.phase = WatchPhase::Absent;
            return actions.push(Decision::Tell(What::Watching { state: "absent".into() }));
        };
        self.started_ns = ms_to_ns(seen.started_ms);
        if self.memory.quarantine.as_ref().is_some_and(|q| seen.up && seen.started_ms > q.since_ms) {
            self.forgive();
        }
        self.paused = seen.paused;
        if self.memory.quarantine.is_some() {
            self.phase = WatchPhase::Quarantined;
            self.health = seen.health.filter(|_| seen.up);
        } else if seen.up {
            self.begin(seen.started_ms);
            self.paused = seen.paused;
            self.engine_health(now, seen.health, actions);
        } else if self.stop_requested {
            self.memory.running = false;
            self.phase = WatchPhase::Stopped(None);
        } else if self.memory.running && lost {
            // An Engine that was killed stops what still runs when it starts again, as if somebody had asked for it.
            self.started_ns = self.looked_ns;
            return self.crashed(now, Cause::EngineRestart, String::new(), false, actions);
        } else if self.memory.running {
            let cause = Cause::of_exit(seen.exit_code, seen.oom);
            self.phase = WatchPhase::Judging { until: now + REPLAY_MS, cause };
            return;
        } else {
            self.phase = WatchPhase::Stopped(None);
        }
        actions.push(Decision::Tell(What::Watching { state: self.state().into() }));
    }

    /// The Engine goes, or the watcher is told to end, as everybody is when the machine shuts down. Who shuts down
    /// stops the containers first: a stop just before wasn't anybody's wish for this one.
    pub fn blame_shutdown(&mut self, now: u64) {
        match self.phase {
            WatchPhase::Stopped(Some(at)) if now.saturating_sub(at) < SHUTDOWN_MS && !self.stop_requested => {
                self.memory.running = true;
            }
            _ => {}
        }
    }

    fn lost(&mut self, now: u64, why: String, actions: &mut Vec<Decision>) {
        self.blame_shutdown(now);
        self.lost = true;
        self.agent = false;
        self.unhealthy_since = None;
        if self.phase != WatchPhase::Unknown {
            actions.push(Decision::Tell(What::EngineLost { why }));
        }
        self.phase = WatchPhase::Unknown;
    }

    fn engine(&mut self, now: u64, at_ns: i64, kind: EngineEventKind, actions: &mut Vec<Decision>) {
        let history = match kind {
            EngineEventKind::Start | EngineEventKind::Create | EngineEventKind::Destroy => at_ns <= self.looked_ns,
            _ => at_ns < self.started_ns,
        };
        if history {
            return;
        }
        match kind {
            EngineEventKind::Start => self.started(now, at_ns, actions),
            EngineEventKind::Kill { signal } => self.asked |= ASKS_TO_END.contains(&signal),
            EngineEventKind::Oom => {
                self.oom_ms = Some(now);
                if !self.agent {
                    actions.push(Decision::Tell(What::Oom { kills: None }));
                }
            }
            EngineEventKind::Die { exit_code } => self.died(now, exit_code, actions),
            EngineEventKind::Stop => self.stopped_after_all(now, actions),
            EngineEventKind::Destroy => self.removed(actions),
            EngineEventKind::Create if self.phase == WatchPhase::Absent => self.phase = WatchPhase::Stopped(None),
            EngineEventKind::Pause => {
                (self.paused, self.unhealthy_since) = (true, None);
                actions.push(Decision::Tell(What::Paused));
            }
            EngineEventKind::Unpause => {
                self.paused = false;
                actions.push(Decision::Tell(What::Unpaused));
            }
            // The agent knows sooner, and why.
            EngineEventKind::Health(_) if self.agent => {}
            EngineEventKind::Health(status) => self.engine_health(now, engine_health(&status), actions),
            EngineEventKind::Create | EngineEventKind::Restart | EngineEventKind::Other(_) => {}
        }
    }

    fn started(&mut self, now: u64, at_ns: i64, actions: &mut Vec<Decision>) {
        let what = match self.phase {
            WatchPhase::Running => return,
            WatchPhase::Restarting { since, .. } => What::Restarted { after_ms: now.saturating_sub(since) },
            _ => {
                self.forgive();
                What::Started
            }
        };
        self.begin((at_ns / 1_000_000).unsigned_abs());
        self.started_ns = at_ns;
        actions.push(Decision::Tell(what));
    }

    /// A run begins: what was known about the last one is history.
    fn begin(&mut self, started_ms: u64) {
        self.phase = WatchPhase::Running;
        self.started_ns = ms_to_ns(started_ms);
        self.memory.running = true;
        (self.asked, self.paused) = (false, false);
        (self.oom_ms, self.pids_ms, self.health, self.unhealthy_since) = (None, None, None, None);
        self.detail.clear();
    }

    fn died(&mut self, now: u64, exit_code: i64, actions: &mut Vec<Decision>) {
        let oom = self.oom_ms.is_some_and(|at| now.saturating_sub(at) < OOM_MS) && exit_code == 137;
        match self.phase {
            WatchPhase::Running | WatchPhase::Judging { .. } | WatchPhase::Waiting { up: true, .. } => {}
            WatchPhase::Quarantined => {
                self.health = None;
                return;
            }
            _ => return,
        }
        if self.asked {
            return self.stopped(now, exit_code, actions);
        }
        self.crashed(now, Cause::of_exit(exit_code, oom), String::new(), false, actions);
    }

    fn stopped(&mut self, now: u64, exit_code: i64, actions: &mut Vec<Decision>) {
        self.phase = WatchPhase::Stopped(Some(now));
        self.memory.running = false;
        self.unhealthy_since = None;
        actions.push(Decision::Tell(What::Stopped { exit_code }));
    }

    /// `stop` comes after `die`: a stop that asked by a signal that we don't know is still one.
    fn stopped_after_all(&mut self, now: u64, actions: &mut Vec<Decision>) {
        if let WatchPhase::Waiting { cause, up: false, .. } | WatchPhase::Judging { cause, .. } = &self.phase {
            let exit_code = match cause {
                Cause::Exit { code } => *code,
                Cause::Signal { signal } => signal + 128,
                _ => 0,
            };
            self.stopped(now, exit_code, actions);
        }
    }

    fn crashed(&mut self, now: u64, cause: Cause, detail: String, up: bool, actions: &mut Vec<Decision>) {
        let from = now.saturating_sub(self.limits.window_ms);
        self.memory.restarts.retain(|at| *at > from);
        self.memory.running = true;
        self.unhealthy_since = None;
        let used = self.memory.restarts.len() as u32;
        // The Engine's own going is not the environment's fault.
        let free = cause == Cause::EngineRestart;
        if used >= self.limits.restarts && !free {
            let quarantine = Quarantine { since_ms: now, cause: cause.clone(), detail: detail.clone() };
            self.memory.quarantine = Some(quarantine);
            self.phase = WatchPhase::Quarantined;
            self.health = self.health.filter(|_| up);
            let window_ms = self.limits.window_ms;
            return actions.push(Decision::Tell(What::Quarantined { cause, detail, restarts: used, window_ms }));
        }
        let wait = if free { 0 } else { self.wait(used) };
        let restarts_left = if free { self.limits.restarts - used } else { self.limits.restarts - used - 1 };
        let told = What::Down { cause: cause.clone(), detail, restart_in_ms: wait, restarts_left };
        actions.push(Decision::Tell(told));
        self.phase = WatchPhase::Waiting { until: now + wait, cause, since: now, up };
        if wait == 0 {
            self.tick(now, actions);
        }
    }

    fn wait(&self, used: u32) -> u64 {
        let Some(doublings) = used.checked_sub(1) else { return 0 };
        let wait = self.limits.backoff_ms.saturating_mul(1 << doublings.min(20)).min(self.limits.max_backoff_ms);
        wait + (wait as f64 * 0.2 * (self.limits.jitter)()) as u64
    }

    fn refused(&mut self, now: u64, error: String, actions: &mut Vec<Decision>) {
        let WatchPhase::Restarting { cause, .. } = &self.phase else { return };
        let cause = cause.clone();
        actions.push(Decision::Tell(What::RestartFailed { error: error.clone() }));
        // Whatever brought it down: from here on it is a restart like any other, and counts.
        let cause = if cause == Cause::EngineRestart { Cause::RestartRefused } else { cause };
        self.crashed(now, cause, error, false, actions);
    }

    fn removed(&mut self, actions: &mut Vec<Decision>) {
        if self.phase == WatchPhase::Absent {
            return;
        }
        self.phase = WatchPhase::Absent;
        self.memory.running = false;
        self.forgive();
        actions.push(Decision::Tell(What::Removed));
    }

    /// Somebody took the matter in hand: it gets a whole budget again.
    fn forgive(&mut self) {
        self.memory.quarantine = None;
        self.memory.restarts.clear();
    }

    fn agent(&mut self, now: u64, event: EventKind, actions: &mut Vec<Decision>) {
        self.agent = true;
        match event {
            EventKind::Health(health) => self.health_is(now, health, actions),
            EventKind::Service { name, from, to, restarts, exit, probe, .. } => {
                actions.push(Decision::Tell(What::Service { service: name, from, to, restarts, exit, probe }));
            }
            EventKind::Oom { kills } => {
                self.oom_ms = Some(now);
                actions.push(Decision::Tell(What::Oom { kills: Some(kills) }));
            }
            EventKind::PidsLimit { refused } => {
                self.pids_ms = Some(now);
                actions.push(Decision::Tell(What::PidsLimit { refused }));
            }
            // Told by whom, the Engine's events say.
            EventKind::Stopping { .. } => {}
            // What somebody does in a terminal is no matter of the environment's health.
            EventKind::SessionOpened { .. } | EventKind::SessionEnded { .. } | EventKind::SessionRenamed { .. } => {}
        }
    }

    fn engine_health(&mut self, now: u64, state: Option<HealthState>, actions: &mut Vec<Decision>) {
        if let Some(state) = state {
            self.health_is(now, Health { state, detail: String::new() }, actions);
        }
    }

    fn health_is(&mut self, now: u64, health: Health, actions: &mut Vec<Decision>) {
        let before = self.health.replace(health.state);
        match health.state {
            HealthState::Unhealthy => {
                self.detail = health.detail;
                if before != Some(HealthState::Unhealthy) {
                    actions.push(Decision::Tell(What::Unhealthy { detail: self.detail.clone() }));
                }
                if self.phase == WatchPhase::Running && !self.paused {
                    self.unhealthy_since.get_or_insert(now);
                }
            }
            state => {
                self.unhealthy_since = None;
                if matches!(self.phase, WatchPhase::Waiting { up: true, .. }) {
                    self.phase = WatchPhase::Running;
                }
                if state == HealthState::Healthy && before != Some(HealthState::Healthy) {
                    actions.push(Decision::Tell(What::Healthy));
                }
            }
        }
    }

    fn tick(&mut self, now: u64, actions: &mut Vec<Decision>) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.phase.clone() {
            WatchPhase::Judging { cause, .. } => self.crashed(now, cause, String::new(), false, actions),
            WatchPhase::Running => {
                let pids = self.pids_ms.is_some_and(|at| now.saturating_sub(at) < PIDS_MS);
                let cause = if pids { Cause::PidsLimit } else { Cause::Unhealthy };
                let detail = self.detail.clone();
                self.crashed(now, cause, detail, true, actions);
            }
            WatchPhase::Waiting { cause, since, up, .. } => {
                if cause != Cause::EngineRestart {
                    self.memory.restarts.push(now);
                }
                self.phase = WatchPhase::Restarting { cause, since };
                actions.push(if up { Decision::Restart } else { Decision::Start });
            }
            _ => {}
        }
    }
}

fn ms_to_ns(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000_000)
}

/// The Engine's word for a health.
pub fn engine_health(status: &str) -> Option<HealthState> {
    match status {
        "starting" => Some(HealthState::Starting),
        "healthy" => Some(HealthState::Healthy),
        "unhealthy" => Some(HealthState::Unhealthy),
        _ => None,
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
