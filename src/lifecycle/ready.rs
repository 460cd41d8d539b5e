//! Waiting until an environment is ready: on the agent's own events, with a deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use powerdev_protocol::{AgentStatus, Event, EventKind, ExitCode, HealthState, ServiceState};
use tokio::time::{Instant, timeout_at};

use super::report;
use crate::agent::client::{AgentError, Client};
use crate::agent::link::Link;
use crate::engine::{Engine, RunState};
use crate::failure::Failure;
use crate::ui::services::ServicesProgress;

/// How long the agent may take for one answer.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// First wait between tries to reach an agent that is just starting; it doubles up to [`SLOWEST_RETRY`]. A socket
/// that isn't there yet can't be waited for otherwise.
const FIRST_RETRY: Duration = Duration::from_millis(1);
const SLOWEST_RETRY: Duration = Duration::from_millis(50);
/// How often meanwhile the Engine is asked whether the container still runs.
const CHECK_CONTAINER: Duration = Duration::from_millis(500);
/// A service that failed so often in a row won't come: waiting longer only costs time.
const HOPELESS: u32 = 5;

/// Waits until the agent of a container that was just started listens.
///
/// # Errors
/// When the container dies meanwhile, with the end of its log; when the deadline passes.
pub async fn agent(engine: &Engine, container: &str, link: &Link, deadline: Instant) -> anyhow::Result<Client> {
    let mut retry = FIRST_RETRY;
    let mut check = Instant::now() + CHECK_CONTAINER;
    loop {
        let error = match link.connect(PATIENCE).await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        if Instant::now() >= check {
            still_running(engine, container).await?;
            check = Instant::now() + CHECK_CONTAINER;
        }
        if Instant::now() >= deadline {
            return Err(Failure::new(ExitCode::TimedOut, format!("the agent in {container} doesn't answer"))
                .hint("`powerdev logs --no-follow` shows what it said")
                .source(error)
                .into());
        }
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(SLOWEST_RETRY);
    }
}

/// Fails when the container has ended.
async fn still_running(engine: &Engine, container: &str) -> anyhow::Result<()> {
    let ended = match engine.container(container).await? {
        None => format!("{container} was removed while it started"),
        Some(found) if matches!(found.state, RunState::Exited | RunState::Dead) => {
            let why = if found.oom_killed { " (out of memory)" } else { "" };
            format!("{container} ended with code {} as soon as it started{why}", found.exit_code)
        }
        Some(_) => return Ok(()),
    };
    Err(Failure::new(ExitCode::Failed, ended).hint("`powerdev logs --no-follow` shows what it said").into())
}

/// Waits until the environment is healthy, showing the services on the way. Returns the agent's status then.
///
/// # Errors
/// [`ExitCode::Unhealthy`] when a service won't come, [`ExitCode::TimedOut`] when the deadline passes; both name the
/// services that aren't well.
pub async fn healthy(
    link: &Link,
    deadline: Instant,
    progress: &mut ServicesProgress<'_>,
) -> anyhow::Result<AgentStatus> {
    // Followed before looked at: what happens between the two would be missed otherwise.
    let mut events = Box::pin(link.connect(PATIENCE).await?.events().await?);
    let status = status(link).await?;
    show(&status, progress);
    let mut restarts: BTreeMap<String, (ServiceState, u32)> =
        status.services.iter().map(|service| (service.name.clone(), (service.state, service.restarts))).collect();
    loop {
        let event = match timeout_at(deadline, events.next()).await {
            Ok(Some(event)) => event?,
            Ok(None) => return Err(AgentError::HungUp.into()),
            Err(_) => return Err(unwell(link, ExitCode::TimedOut, "the environment isn't ready in time").await),
        };
        match event {
            Event { kind: EventKind::Health(health), .. } if health.state == HealthState::Healthy => {
                // A service without a probe counts as ready as soon as it runs, and may be gone again by now.
                let status = self::status(link).await?;
                if status.health.state == HealthState::Healthy {
                    show(&status, progress);
                    return Ok(status);
                }
            }
            Event { kind: EventKind::Service { name, to, restarts: count, .. }, .. } => {
                progress.update(&name, to);
                restarts.insert(name, (to, count));
            }
            Event { kind: EventKind::Stopping { .. }, .. } => {
                return Err(Failure::not_running("the environment was stopped while it started").into());
            }
            Event { .. } => {}
        }
        if restarts.values().any(|(state, count)| hopeless(*state, *count)) {
            return Err(unwell(link, ExitCode::Unhealthy, "the environment is unhealthy").await);
        }
    }
}

fn show(status: &AgentStatus, progress: &mut ServicesProgress<'_>) {
    for service in &status.services {
        progress.update(&service.name, service.state);
    }
}

fn hopeless(state: ServiceState, restarts: u32) -> bool {
    state == ServiceState::Failed || (state == ServiceState::Backoff && restarts >= HOPELESS)
}

/// The agent's status, by a connection of its own.
async fn status(link: &Link) -> anyhow::Result<AgentStatus> {
    Ok(link.connect(PATIENCE).await?.status().await?)
}

async fn unwell(link: &Link, code: ExitCode, what: &str) -> anyhow::Error {
    let troubles = match status(link).await {
        Ok(status) => report::troubles(&status).join("; "),
        Err(error) => error.to_string(),
    };
    let hint = "`powerdev logs SERVICE` shows what it says; `powerdev status` shows the rest; it goes on trying";
    Failure::new(code, format!("{what}: {troubles}")).hint(hint).into()
}
