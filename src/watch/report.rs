//! What the watcher tells, for machines and for people.

use std::fmt;

use powerdev_protocol::signal::signal_name;
use powerdev_protocol::{LastExit, ServiceState};
use serde::{Deserialize, Serialize};

use crate::clock::span;
use crate::units::counted;

/// The exit code of a main process that the kernel killed for want of memory, which is that of any KILL.
pub const KILLED: i64 = 137;

/// Why an environment had to be restarted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// The kernel killed its main process for want of memory.
    Oom,
    /// Its main process exited by itself.
    Exit {
        /// Its exit code.
        code: i64,
    },
    /// A signal killed its main process.
    Signal {
        /// The number of the signal, as Linux counts them.
        signal: i64,
    },
    /// It was unhealthy for too long.
    Unhealthy,
    /// It was unhealthy for too long, and had reached its limit of tasks.
    PidsLimit,
    /// The Engine went away, and the container with it.
    EngineRestart,
    /// The Engine is back and refuses to start it again.
    RestartRefused,
}

impl Cause {
    /// What an exit code says. The Engine adds 128 to a signal's number.
    pub fn of_exit(code: i64, oom: bool) -> Self {
        match code {
            // The kernel may have killed another process long before: the main one's end by that is a KILL.
            KILLED if oom => Self::Oom,
            129..=192 => Self::Signal { signal: code - 128 },
            _ => Self::Exit { code },
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Oom => f.write_str("out of memory"),
            Self::Exit { code } => write!(f, "exited with code {code}"),
            Self::Signal { signal } => write!(f, "killed by {}", signal_name(*signal as i32)),
            Self::Unhealthy => f.write_str("unhealthy for too long"),
            Self::PidsLimit => f.write_str("unhealthy for too long, at its limit of tasks"),
            Self::EngineRestart => f.write_str("stopped with the Engine"),
            Self::RestartRefused => f.write_str("the Engine refuses to start it again"),
        }
    }
}

/// One thing that the watcher tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The environment's name.
    pub name: String,
    /// What happened, and what is done about it.
    #[serde(flatten)]
    pub what: What,
}

impl Report {
    /// With no more than so many bytes of what others said.
    pub(super) fn shortened(mut self, most: usize) -> Self {
        let detail = match &mut self.what {
            What::Down { detail, .. } | What::Quarantined { detail, .. } | What::Unhealthy { detail } => detail,
            What::EngineLost { why: detail } | What::RestartFailed { error: detail } => detail,
            What::Service { probe: Some(probe), .. } => probe,
            _ => return self,
        };
        let fits = |end: &usize| detail.is_char_boundary(*end);
        detail.truncate((0..=most.min(detail.len())).rev().find(fits).unwrap_or(0));
        self
    }
}

/// How much a report means to whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// All goes on as it should.
    Plain,
    /// Something is well again.
    Good,
    /// Something went wrong, and is being mended.
    Trouble,
    /// It stays wrong until somebody mends it.
    Grave,
}

/// The kinds of [`Report`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// Watching begins, or goes on after the Engine was away.
    Watching {
        /// `running`, `stopped`, `absent` or `quarantined`.
        state: String,
    },
    /// The Engine went away.
    EngineLost {
        /// What the connection's end said.
        why: String,
    },
    /// Somebody started it.
    Started,
    /// Somebody stopped it: it stays stopped.
    Stopped {
        /// How its main process ended.
        exit_code: i64,
    },
    /// It ended by accident, or is to be restarted since it is unhealthy.
    Down {
        /// What brought it down.
        #[serde(flatten)]
        cause: Cause,
        /// The last probe's output, the Engine's error; empty when there is none.
        detail: String,
        /// Milliseconds until it is restarted.
        restart_in_ms: u64,
        /// Restarts that the budget still allows after this one.
        restarts_left: u32,
    },
    /// It runs again.
    Restarted {
        /// Milliseconds from its end to now.
        after_ms: u64,
    },
    /// It could not be restarted.
    RestartFailed {
        /// What the Engine said.
        error: String,
    },
    /// The budget is used up: it is left as it is until somebody starts it.
    Quarantined {
        /// Why it would have been restarted.
        #[serde(flatten)]
        cause: Cause,
        /// The last probe's output, the Engine's error; empty when there is none.
        detail: String,
        /// Restarts within the window.
        restarts: u32,
        /// The window, in milliseconds.
        window_ms: u64,
    },
    /// It was removed: it is not made again.
    Removed,
    /// Its health is bad.
    Unhealthy {
        /// What the probe said.
        detail: String,
    },
    /// Its health is good again.
    Healthy,
    /// Frozen on request.
    Paused,
    /// Somebody let its frozen processes go on.
    Unpaused,
    /// The kernel killed a process in it for want of memory.
    Oom {
        /// Kills since it started; none when the Engine doesn't count.
        kills: Option<u64>,
    },
    /// Its limit of tasks refused one.
    PidsLimit {
        /// Refusals since it started.
        refused: u64,
    },
    /// One of its services went from one state to another.
    Service {
        /// The service's name.
        service: String,
        /// Its state before.
        from: ServiceState,
        /// Its state now.
        to: ServiceState,
        /// How often the agent has restarted it since the container started.
        restarts: u32,
        /// How it ended, if that is what changed.
        #[serde(skip_serializing_if = "Option::is_none")]
        exit: Option<LastExit>,
        /// What the probe said, if that is what changed.
        #[serde(skip_serializing_if = "Option::is_none")]
        probe: Option<String>,
    },
}

impl What {
    /// How much it means.
    pub fn weight(&self) -> Weight {
        match self {
            Self::Quarantined { .. } | Self::Removed => Weight::Grave,
            Self::Service { to: ServiceState::Failed, .. } => Weight::Grave,
            Self::Down { .. } | Self::Unhealthy { .. } | Self::RestartFailed { .. } | Self::EngineLost { .. } => {
                Weight::Trouble
            }
            Self::Oom { .. } | Self::PidsLimit { .. } => Weight::Trouble,
            Self::Service { to: ServiceState::Backoff | ServiceState::Unhealthy, .. } => Weight::Trouble,
            Self::Restarted { .. } | Self::Healthy | Self::Started => Weight::Good,
            Self::Watching { .. } | Self::Stopped { .. } | Self::Paused | Self::Unpaused | Self::Service { .. } => {
                Weight::Plain
            }
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Watching { state } => write!(f, "watching: {state}"),
            Self::EngineLost { why } => write!(f, "the Engine went away, waiting for it: {why}"),
            Self::Started => f.write_str("started"),
            Self::Stopped { exit_code } => write!(f, "stopped on request (exit code {exit_code}); left stopped"),
            Self::Down { cause, detail, restart_in_ms: 0, .. } => write!(f, "{cause}{}; restarting", after(detail)),
            Self::Down { cause, detail, restart_in_ms, restarts_left } => {
                let (wait, detail) = (seconds(*restart_in_ms), after(detail));
                write!(f, "{cause}{detail}; restarting in {wait}, {restarts_left} more allowed")
            }
            Self::Restarted { after_ms } => write!(f, "runs again, {} later", seconds(*after_ms)),
            Self::RestartFailed { error } => write!(f, "could not be restarted: {error}"),
            Self::Quarantined { cause, detail, restarts, window_ms } => {
                let (detail, window) = (after(detail), span(*window_ms));
                let restarts = counted(u64::from(*restarts), "restart");
                write!(f, "quarantined after {restarts} in {window}: {cause}{detail}; `powerdev restart` ends that")
            }
            Self::Removed => f.write_str("removed; not made again"),
            Self::Unhealthy { detail } => write!(f, "unhealthy{}", after(detail)),
            Self::Healthy => f.write_str("healthy"),
            Self::Paused => f.write_str("paused"),
            Self::Unpaused => f.write_str("unpaused"),
            Self::Oom { .. } => f.write_str("the kernel killed a process for want of memory"),
            Self::PidsLimit { refused } => write!(f, "the limit of tasks refused {refused}"),
            Self::Service { service, from, to, exit, probe, .. } => {
                let why = exit.as_ref().map(|exit| exit.reason.as_str()).or(probe.as_deref()).unwrap_or_default();
                write!(f, "{service}: {from} -> {to}{}", after(why))
            }
        }
    }
}

/// In brackets, on one line, where there is anything.
pub(super) fn after(detail: &str) -> String {
    let detail: Vec<_> = detail.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if detail.is_empty() { String::new() } else { format!(" ({})", detail.join("; ")) }
}

fn seconds(milliseconds: u64) -> String {
    if milliseconds < 10_000 { format!("{:.1} s", milliseconds as f64 / 1000.0) } else { span(milliseconds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_for_want_of_memory_is_told_from_an_end_after_one() {
        assert_eq!(Cause::of_exit(137, true), Cause::Oom);
        assert_eq!(Cause::of_exit(137, false), Cause::Signal { signal: 9 });
        assert_eq!(Cause::of_exit(0, true), Cause::Exit { code: 0 });
        assert_eq!(Cause::of_exit(143, true), Cause::Signal { signal: 15 });
    }
}
