//! What the policy hears, and what it orders: the words between it and the loop that carries them out.

use powerdev_protocol::{Event, HealthState};

use super::report::What;
use crate::engine::EngineEventKind;

/// How far the watcher goes.
#[derive(Debug, Clone, Copy)]
pub struct RestartLimits {
    /// Restarts allowed within the window.
    pub restarts: u32,
    /// The window, in milliseconds.
    pub window_ms: u64,
    /// The wait before the second restart within the window, in milliseconds; it doubles with each further one. The
    /// first comes at once.
    pub backoff_ms: u64,
    /// The longest wait, in milliseconds.
    pub max_backoff_ms: u64,
    /// How long it may be unhealthy, in milliseconds.
    pub unhealthy_ms: u64,
    /// A number from 0 to 1 for each wait, so that many don't restart at the same moment: up to a fifth is added.
    pub jitter: fn() -> f64,
}

/// The container, as one look at it shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSnapshot {
    /// Runs, frozen or not.
    pub up: bool,
    /// Frozen by `docker pause`: it runs and does nothing.
    pub paused: bool,
    /// When it was started last, in milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// How it ended last.
    pub exit_code: i64,
    /// Its end was for want of memory.
    pub oom: bool,
    /// What the Engine's health check says.
    pub health: Option<HealthState>,
}

/// What the policy hears.
#[derive(Debug, Clone)]
pub enum Observation {
    /// The Engine answers; the container as it is, if it is there.
    Connected(Option<ContainerSnapshot>),
    /// The Engine doesn't answer any more.
    Lost(String),
    /// The Engine tells, with its time in nanoseconds since the Unix epoch.
    Engine(i64, EngineEventKind),
    /// The agent tells, with its time.
    Agent(Event),
    /// The agent can't be heard.
    AgentLost,
    /// The restart was refused.
    RefusedRestart {
        /// What the Engine said.
        error: String,
        /// There is no such container any more.
        gone: bool,
    },
    /// The time of [`Policy::deadline`](super::policy::Policy::deadline) has come.
    Tick,
}

impl Observation {
    /// When it happened, in milliseconds since the Unix epoch, where whoever tells it says so. It may be long ago: the
    /// Engine tells what a watcher that is started again has missed. For what is told, not for what is decided: an
    /// Engine on another machine may have another time.
    pub fn at_ms(&self) -> Option<u64> {
        match self {
            Self::Engine(at_ns, _) => u64::try_from(at_ns / 1_000_000).ok(),
            Self::Agent(event) => Some(event.at_ms),
            _ => None,
        }
    }
}

/// What the policy orders.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Start the container, which is down.
    Start,
    /// Stop it and start it.
    Restart,
    /// Tell whoever listens.
    Tell(What),
}
