//! The loop: one message after the other goes to the policy, and what it decides is carried out.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use powerdev_protocol::{AgentStatus, HealthState};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;

use super::history::History;
use super::memory::{Memory, Watcher};
use super::policy::Policy;
use super::report::Report;
use super::sources::{self, SourceMessage, WatchScope};
use super::terms::{Decision, Observation, RestartLimits};
use crate::clock::now_ms;
use crate::config::Name;
use crate::engine::{Engine, EngineEvent, EngineEventKind};
use crate::environment::Environment;

/// How often a live view asks the agents how they are: for people's eyes alone.
const GLANCE: Duration = Duration::from_secs(2);

/// What `powerdev watch` was asked to do.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// The environments that are watched.
    pub scope: WatchScope,
    /// How far to go.
    pub limits: RestartLimits,
    /// End as soon as nothing is under way.
    pub once: bool,
    /// Forget restarts and quarantine first.
    pub clear: bool,
}

/// Why [`watch`] came back; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The user pressed Ctrl-C.
    Interrupted,
    /// Somebody asked it to end with TERM, as a machine that shuts down does.
    Terminated,
    /// Nothing is under way, and every environment runs well.
    Well,
    /// Nothing is under way, and some environment is quarantined or unhealthy.
    Unwell,
    /// Nothing is under way, and some environment doesn't run.
    Down,
}

/// One environment at a glance.
#[derive(Debug)]
pub struct Glance<'a> {
    /// The environment's name.
    pub name: &'a str,
    /// Where it stands, in a word.
    pub state: &'static str,
    /// Its health, as far as somebody told.
    pub health: Option<HealthState>,
    /// Restarts that the budget still allows.
    pub restarts_left: u32,
    /// What its agent said last.
    pub status: Option<&'a AgentStatus>,
}

/// Whoever shows people or machines what the watcher sees and does.
pub trait Audience {
    /// Something happened.
    ///
    /// # Errors
    /// When it can't be told any more: watching ends.
    fn report(&mut self, report: &Report) -> anyhow::Result<()>;

    /// Something that stops nothing, e.g. that an environment is watched by somebody else.
    fn notice(&mut self, line: String);

    /// How everything is now; only those with a live view want to know.
    fn shown(&mut self, glances: &[Glance<'_>]) {
        let _ = glances;
    }

    /// Whether [`Self::shown`] does anything.
    fn live(&self) -> bool {
        false
    }
}

struct Watched {
    environment: Environment,
    watcher: Watcher,
    policy: Policy,
    remembered: Memory,
    /// None: it can't be written, which was told.
    history: Option<History>,
    agent: Option<JoinHandle<()>>,
    status: Option<Box<AgentStatus>>,
}

impl Watched {
    /// On the Engine that is connected now.
    fn environment(&self, engine: &Engine) -> Environment {
        self.environment.clone().on(engine.clone())
    }

    /// Writes down what the policy must not forget, if that has changed.
    fn remember(&mut self) -> anyhow::Result<()> {
        if self.policy.memory() == &self.remembered {
            return Ok(());
        }
        self.remembered = self.policy.memory().clone();
        self.watcher.remember(&self.remembered)
    }

    /// Writes down what is told. What goes wrong with that is given once: what was told can still be read.
    fn note(&mut self, report: &Report) -> Option<std::io::Error> {
        let error = self.history.as_mut()?.append(report).err()?;
        self.history = None;
        Some(error)
    }

    /// Whoever started it since `powerdev stop`, past powerdev perhaps, means it to run.
    fn started_by_hand(&self, started: SystemTime) -> anyhow::Result<()> {
        let state = self.watcher.state();
        if state.stop_requested_at().is_some_and(|since| since < started) {
            state.set_stop_requested(false)
        } else {
            Ok(())
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.abort();
        }
    }
}

/// Watches until a signal, or with `once` until nothing is under way.
///
/// # Errors
/// A conflict when the one environment is watched already; when nobody can be told any more.
pub async fn watch(engine: Engine, options: WatchOptions, audience: &mut dyn Audience) -> anyhow::Result<Ended> {
    let (to, from) = mpsc::channel(256);
    let mut driver = Driver { options, audience, to, engine: engine.clone(), watched: BTreeMap::new() };
    let mut since = sources::now_ns();
    if let WatchScope::One(name) = driver.options.scope.clone() {
        let memory = driver.adopt(&name)?;
        if memory.running && memory.last_ns > 0 {
            since = memory.last_ns + 1;
        }
    }
    let source = tokio::spawn(sources::engine(engine, driver.options.scope.clone(), since, driver.to.clone()));
    let ended = driver.run(from).await;
    source.abort();
    ended
}

struct Driver<'a> {
    options: WatchOptions,
    audience: &'a mut dyn Audience,
    to: Sender<SourceMessage>,
    engine: Engine,
    watched: BTreeMap<String, Watched>,
}

impl Driver<'_> {
    async fn run(&mut self, mut from: Receiver<SourceMessage>) -> anyhow::Result<Ended> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut glance = tokio::time::interval(GLANCE);
        let live = self.audience.live();
        let mut connected = false;
        loop {
            tokio::select! {
                Some(message) = from.recv() => {
                    connected |= matches!(message, SourceMessage::Connected(..));
                    self.heard(message)?;
                }
                () = until(self.deadline()) => self.tick()?,
                _ = glance.tick(), if live => self.ask_all(),
                _ = interrupt.recv() => return Ok(Ended::Interrupted),
                _ = terminate.recv() => {
                    self.prepare_shutdown();
                    return Ok(Ended::Terminated);
                }
            }
            if live {
                self.show();
            }
            if self.options.once && connected && self.settles().is_some_and(|at| at <= now_ms()) {
                return Ok(self.outcome());
            }
        }
    }

    fn heard(&mut self, message: SourceMessage) -> anyhow::Result<()> {
        match message {
            SourceMessage::Connected(engine, seen) => {
                self.engine = engine;
                for (name, seen) in seen {
                    if self.known(&name) {
                        self.feed(&name, Observation::Connected(seen))?;
                    }
                }
                Ok(())
            }
            SourceMessage::Lost(why) => {
                let names: Vec<_> = self.watched.keys().cloned().collect();
                names.iter().try_for_each(|name| self.feed(name, Observation::Lost(why.clone())))
            }
            SourceMessage::Engine(event) => self.engine_event(event),
            SourceMessage::Agent(name, Some(event)) => self.feed(&name, Observation::Agent(event)),
            SourceMessage::Agent(name, None) => self.feed(&name, Observation::AgentLost),
            SourceMessage::Refused(name, error, gone) => self.feed(&name, Observation::RefusedRestart { error, gone }),
            SourceMessage::Status(name, status) => {
                if let Some(watched) = self.watched.get_mut(&name) {
                    watched.status = Some(status);
                }
                Ok(())
            }
        }
    }

    fn engine_event(&mut self, event: EngineEvent) -> anyhow::Result<()> {
        // Somebody else's container may carry our label, but not our name.
        if event.container != format!("powerdev-{}", event.project) {
            return Ok(());
        }
        let new = !self.watched.contains_key(&event.project);
        if new && (matches!(self.options.scope, WatchScope::One(_)) || event.kind != EngineEventKind::Start) {
            return Ok(());
        }
        if self.known(&event.project) {
            if new {
                self.feed(&event.project, Observation::Connected(None))?;
            }
            self.feed(&event.project, Observation::Engine(event.at_ns, event.kind))?;
        }
        Ok(())
    }

    /// Whether we watch it, from now on if not before.
    fn known(&mut self, name: &str) -> bool {
        if self.watched.contains_key(name) {
            return true;
        }
        match self.adopt(name) {
            Ok(_) => true,
            Err(error) => {
                self.audience.notice(format!("{name} is left out: {error}"));
                false
            }
        }
    }

    fn adopt(&mut self, name: &str) -> anyhow::Result<Memory> {
        let parsed: Name =
            name.parse().map_err(|error: String| anyhow::anyhow!("{name:?} is no environment's name: {error}"))?;
        let environment = Environment::named(parsed, self.engine.clone())?;
        let (watcher, mut memory) = Watcher::of(environment.state().clone(), name)?;
        if self.options.clear {
            memory.running |= memory.quarantine.is_some();
            memory.quarantine = None;
            memory.restarts.clear();
        }
        let policy = Policy::new(self.options.limits, memory.clone());
        let history = match History::open(watcher.state()) {
            Ok(history) => Some(history),
            Err(error) => {
                self.audience.notice(unwritten(name, &error));
                None
            }
        };
        let remembered = Memory::default();
        let watched = Watched { environment, watcher, policy, remembered, history, agent: None, status: None };
        self.watched.insert(name.to_owned(), watched);
        Ok(memory)
    }

    fn feed(&mut self, name: &str, input: Observation) -> anyhow::Result<()> {
        let Some(watched) = self.watched.get_mut(name) else { return Ok(()) };
        let now = now_ms();
        let at_ms = input.at_ms().unwrap_or(now);
        let started = match &input {
            Observation::Engine(at_ns, EngineEventKind::Start) => Some(Duration::from_nanos(at_ns.unsigned_abs())),
            Observation::Connected(Some(seen)) => Some(Duration::from_millis(seen.started_ms)),
            _ => None,
        };
        if let Some(started) = started
            && let Err(error) = watched.started_by_hand(SystemTime::UNIX_EPOCH + started)
        {
            self.audience.notice(format!("{error:#}"));
        }
        watched.policy.set_stop_requested(watched.watcher.state().stop_requested_at().is_some());
        let actions = watched.policy.handle(now, input);
        // Before anything is done or told: a watcher that is killed has forgotten nothing.
        if let Err(error) = watched.remember() {
            // Watching goes on; what a restart of the watcher would forget is only the budget.
            self.audience.notice(format!("{error:#}"));
        }
        for action in actions {
            match action {
                Decision::Tell(what) => {
                    let report = Report { at_ms, name: name.to_owned(), what };
                    if let Some(error) = watched.note(&report) {
                        self.audience.notice(unwritten(name, &error));
                    }
                    self.audience.report(&report)?;
                }
                Decision::Start | Decision::Restart => {
                    let up = action == Decision::Restart;
                    let task = sources::restart(self.engine.clone(), name.to_owned(), up, self.to.clone());
                    tokio::spawn(task);
                }
            }
        }
        self.listen(name);
        Ok(())
    }

    /// Writes down what a machine that shuts down would make the next watcher forget.
    fn prepare_shutdown(&mut self) {
        let now = now_ms();
        for watched in self.watched.values_mut() {
            watched.policy.set_stop_requested(watched.watcher.state().stop_requested_at().is_some());
            watched.policy.blame_shutdown(now);
            if let Err(error) = watched.remember() {
                self.audience.notice(format!("{error:#}"));
            }
        }
    }

    /// The agent is listened to while its container runs.
    fn listen(&mut self, name: &str) {
        let Some(watched) = self.watched.get_mut(name) else { return };
        match (watched.policy.is_up(), &watched.agent) {
            (true, None) => {
                let task = sources::agent(watched.environment(&self.engine), self.to.clone());
                watched.agent = Some(tokio::spawn(task));
            }
            (false, Some(agent)) => {
                agent.abort();
                (watched.agent, watched.status) = (None, None);
            }
            _ => {}
        }
    }

    /// The next moment when something is to be decided without that anything happens.
    fn deadline(&self) -> Option<u64> {
        let settled = self.settles().filter(|_| self.options.once);
        self.watched.values().filter_map(|watched| watched.policy.deadline()).chain(settled).min()
    }

    /// From when on nothing is under way anywhere.
    fn settles(&self) -> Option<u64> {
        self.watched.values().map(|watched| watched.policy.settles()).try_fold(0, |latest, at| Some(latest.max(at?)))
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        let names: Vec<_> = self.watched.keys().cloned().collect();
        names.iter().try_for_each(|name| self.feed(name, Observation::Tick))
    }

    fn ask_all(&self) {
        for watched in self.watched.values().filter(|watched| watched.policy.is_up()) {
            tokio::spawn(sources::status(watched.environment(&self.engine), self.to.clone()));
        }
    }

    fn show(&mut self) {
        let now = now_ms();
        let glances = self.watched.iter().map(|(name, watched)| Glance {
            name,
            state: watched.policy.state(),
            health: watched.policy.health(),
            restarts_left: watched.policy.restarts_left(now),
            status: watched.status.as_deref(),
        });
        let glances: Vec<_> = glances.collect();
        self.audience.shown(&glances);
    }

    fn outcome(&self) -> Ended {
        let policies = || self.watched.values().map(|watched| &watched.policy);
        if policies().any(Policy::quarantined) {
            Ended::Unwell
        } else if policies().any(|policy| !policy.is_up()) || self.watched.is_empty() {
            Ended::Down
        } else {
            Ended::Well
        }
    }
}

fn unwritten(name: &str, error: &std::io::Error) -> String {
    format!("what happens to {name} is not written down from here on: {error}")
}

/// Waits for a moment, in milliseconds since the Unix epoch; for ever where there is none.
async fn until(deadline: Option<u64>) {
    match deadline {
        Some(deadline) => tokio::time::sleep(Duration::from_millis(deadline.saturating_sub(now_ms()))).await,
        None => std::future::pending().await,
    }
}
