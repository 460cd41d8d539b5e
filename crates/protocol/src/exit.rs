//! The exit codes of `powerdev`, one enum, documented in the reference and stable across releases.

use crate::status::HealthState;

/// How a `powerdev` command ended. `exec` passes the command's own code through instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// What was asked for is done, or was so already.
    Done = 0,
    /// Failed for a reason that no other code names.
    Failed = 1,
    /// The command line or the configuration is wrong. Nothing was created or changed.
    Usage = 2,
    /// No Docker Engine answers.
    EngineUnreachable = 3,
    /// The environment, service or backup isn't there, or isn't running.
    NotRunning = 4,
    /// The environment is there, but not healthy: unhealthy, or still starting.
    Unhealthy = 5,
    /// A deadline passed first (`--wait`, `--timeout`).
    TimedOut = 6,
    /// The image could not be built.
    BuildFailed = 7,
    /// Something is in the way: a foreign container with our name, or another powerdev at work in this project.
    Conflict = 8,
    /// A backup is damaged or incomplete.
    Damaged = 9,
    /// Stopped by the user (Ctrl-C).
    Interrupted = 130,
}

impl ExitCode {
    /// Every code with its one-line meaning, for the reference and the man page.
    pub const ALL: &[(ExitCode, &str)] = &[
        (ExitCode::Done, "done"),
        (ExitCode::Failed, "failed for a reason that no other code names"),
        (ExitCode::Usage, "the command line or the configuration is wrong; nothing was created or changed"),
        (ExitCode::EngineUnreachable, "no Docker Engine answers"),
        (ExitCode::NotRunning, "the environment, service or backup isn't there, or isn't running"),
        (ExitCode::Unhealthy, "the environment is unhealthy, or still starting"),
        (ExitCode::TimedOut, "a deadline passed first"),
        (ExitCode::BuildFailed, "the image could not be built"),
        (
            ExitCode::Conflict,
            "something is in the way: a foreign container, or another powerdev at work in this project",
        ),
        (ExitCode::Damaged, "a backup is damaged or incomplete"),
        (ExitCode::Interrupted, "stopped by the user"),
    ];
}

/// The one mapping of healths to codes: only what is healthy is done.
impl From<HealthState> for ExitCode {
    fn from(health: HealthState) -> Self {
        match health {
            HealthState::Healthy => Self::Done,
            HealthState::Starting | HealthState::Unhealthy => Self::Unhealthy,
            HealthState::Stopped => Self::NotRunning,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
