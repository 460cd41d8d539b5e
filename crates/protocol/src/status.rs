//! What the agent says about itself and its services.

use serde::{Deserialize, Serialize};

/// Where a service stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// Waits for the services that it depends on.
    Waiting,
    /// Runs, but isn't ready yet.
    Starting,
    /// Runs and is ready.
    Ready,
    /// Runs, was ready, and now fails its probe.
    Unhealthy,
    /// Died; waits out its back-off before the next try.
    Backoff,
    /// Was told to stop and hasn't gone yet.
    Stopping,
    /// Was stopped on request.
    Stopped,
    /// Ended with code 0 and isn't to be restarted.
    Completed,
    /// Given up on: its restart policy doesn't allow another try, or a dependency failed.
    Failed,
}

impl ServiceState {
    /// Whether a process of the service is alive in this state.
    pub fn is_running(self) -> bool {
        matches!(self, Self::Starting | Self::Ready | Self::Unhealthy | Self::Stopping)
    }
}

impl std::fmt::Display for ServiceState {
    /// In words, for people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Waiting => "waiting for others",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Unhealthy => "unhealthy",
            Self::Backoff => "waiting to restart",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Completed => "completed",
            Self::Failed => "failed",
        })
    }
}

/// How a service's process ended last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastExit {
    /// Exit code, if it exited by itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<i32>,
    /// Signal number, if one killed it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<i32>,
    /// The kernel's out-of-memory killer did it.
    #[serde(default)]
    pub oom: bool,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Why, in words: `exited with 3`, `killed by SIGKILL (out of memory)`, `stopped on request`.
    pub reason: String,
}

impl LastExit {
    /// The exit code that a shell would give it.
    pub fn shell_code(&self) -> u8 {
        let code = self.code.or(self.signal.map(|signal| 128 + signal)).unwrap_or(1);
        (code & 0xff) as u8
    }
}

/// One service, as `status` and the event stream show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Where it stands.
    pub state: ServiceState,
    /// Ready: `state` is [`ServiceState::Ready`] or [`ServiceState::Completed`].
    pub ready: bool,
    /// Restarts by the supervisor since the container started. A restart on request doesn't count.
    pub restarts: u32,
    /// Process ID inside the container, while it runs.
    pub pid: Option<i32>,
    /// Since when it is in this state, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Milliseconds until the next try, while in back-off.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_in_ms: Option<u64>,
    /// How it ended last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_exit: Option<LastExit>,
    /// What the last failed probe said, at most 1 KiB.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub probe: Option<String>,
    /// The last line that it wrote, where it isn't well: its start, without controls.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_line: Option<String>,
    /// When it fails for good the whole environment stops. Health depends on every service, essential or not.
    #[serde(default)]
    pub essential: bool,
}

/// The environment's health in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// Some service hasn't been ready yet, and none has failed.
    Starting,
    /// Every service is ready, completed, or stopped on request.
    Healthy,
    /// Some service failed, is in back-off, or fails its probe.
    Unhealthy,
    /// The container isn't running.
    Stopped,
}

impl std::fmt::Display for HealthState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Stopped => "stopped",
        })
    }
}

/// Health with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The one word.
    pub state: HealthState,
    /// One line a service that isn't well: its name, its state, its last probe's output. Empty when healthy.
    pub detail: String,
}

/// What the container uses, against its limits. Read from its cgroup and `/proc`; bytes unless said otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time used since start, in microseconds.
    pub cpu_usec: u64,
    /// CPU use between the last two samples, at first since the start: 100.0 is one CPU fully used. An older agent has
    /// none until there are two.
    pub cpu_percent: Option<f64>,
    /// CPUs that the container may use, if limited.
    pub cpu_limit: Option<f64>,
    /// Memory in use, page cache that can be dropped not counted.
    pub memory_bytes: u64,
    /// Memory limit, if any.
    pub memory_limit_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// Limit of tasks, if any.
    pub pids_limit: Option<u64>,
    /// How often the limit of tasks refused one.
    pub pids_refused: u64,
    /// How often the kernel killed a process here for want of memory.
    pub oom_kills: u64,
    /// Received over the network since start.
    pub network_rx_bytes: u64,
    /// Sent over the network since start.
    pub network_tx_bytes: u64,
}

/// The answer to [`crate::Request::Status`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// The agent's release.
    pub version: String,
    /// SHA-256 of the agent's executable, in hex: what tells one build from another.
    pub sha256: String,
    /// [`crate::PROTOCOL_VERSION`] that it speaks.
    pub protocol: u32,
    /// Its process ID: 1, unless the Engine put an init of its own before it.
    pub pid: i32,
    /// When it started, in milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// Health, with reasons.
    pub health: Health,
    /// The services, in the order of their start.
    pub services: Vec<ServiceStatus>,
    /// Sessions that are open.
    #[serde(default)]
    pub sessions: usize,
    /// What the container uses.
    pub usage: Usage,
    /// Processes of nobody that the agent has reaped: orphans of services and shells.
    #[serde(default)]
    pub orphans: u64,
    /// Lines of the services' output that were dropped since nobody took them (the Engine gone, the disk full).
    pub dropped_lines: u64,
    /// Notices that the operator should see, e.g. that logs can't be written.
    #[serde(default)]
    pub notices: Vec<String>,
}
