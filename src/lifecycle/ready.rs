//! Waiting until an environment is ready: on the agent's own events, with a deadline.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use powerdev_protocol::{AgentStatus, EventKind, ExitCode, HealthState, ServiceState, ServiceStatus};
use tokio::time::timeout_at;

use super::report;
use crate::clock::Deadline;
use crate::control::AgentError;
use crate::control::Patience;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::reporter::{Progress, Reporter};

/// A service that failed so often in a row won't come: waiting longer only costs time.
const HOPELESS: u32 = 5;

/// Waits until the environment is healthy, showing the services on the way. Returns the agent's status then.
///
/// # Errors
/// [`ExitCode::Unhealthy`] when a service won't come, [`ExitCode::TimedOut`] when the deadline passes; both name the
/// services that aren't well.
pub async fn healthy(
    environment: &Environment,
    deadline: Deadline,
    reporter: &dyn Reporter,
) -> anyhow::Result<AgentStatus> {
    let status = until_healthy(environment, deadline, reporter).await;
    reporter.report(Progress::ServicesLeft);
    status
}

async fn until_healthy(
    environment: &Environment,
    deadline: Deadline,
    reporter: &dyn Reporter,
) -> anyhow::Result<AgentStatus> {
    // Around all of it: an agent that never stops telling doesn't hold the time up.
    match timeout_at(deadline.at(), follow(environment, reporter)).await {
        Ok(followed) => followed,
        Err(_) => Err(unwell(environment, ExitCode::TimedOut, "the environment isn't ready in time").await),
    }
}

async fn follow(environment: &Environment, reporter: &dyn Reporter) -> anyhow::Result<AgentStatus> {
    // Followed before looked at: what happens between the two would be missed otherwise.
    let mut events = Box::pin(environment.agent(Patience::Answer).await?.events().await?);
    let status = status(environment).await?;
    show(&status, reporter);
    // Those that there are: whatever else is told of has no end, if somebody inside tells it.
    let mut restarts: BTreeMap<String, (ServiceState, u32)> =
        status.services.iter().map(|service| (service.name.clone(), (service.state, service.restarts))).collect();
    while let Some(event) = events.next().await {
        match event?.kind {
            EventKind::Health(health) if health.state == HealthState::Healthy => {
                // A service without a probe counts as ready as soon as it runs, and may be gone again by now.
                let status = self::status(environment).await?;
                if status.health.state == HealthState::Healthy {
                    show(&status, reporter);
                    return Ok(status);
                }
            }
            // Somebody's probe says something else.
            EventKind::Health(_) => show(&self::status(environment).await?, reporter),
            EventKind::Service { name, to, restarts: count, exit, probe, .. } => {
                if let Some(known) = restarts.get_mut(&name) {
                    *known = (to, count);
                    let why = exit.map(|exit| exit.reason).or(probe);
                    reporter.report(Progress::Service { name: &name, state: to, why: why.as_deref() });
                }
            }
            EventKind::Stopping { .. } => {
                return Err(Failure::not_running("the environment was stopped while it started").into());
            }
            _ => {}
        }
        if restarts.values().any(|(state, count)| hopeless(*state, *count)) {
            return Err(unwell(environment, ExitCode::Unhealthy, "the environment is unhealthy").await);
        }
    }
    Err(AgentError::HungUp.into())
}

fn show(status: &AgentStatus, reporter: &dyn Reporter) {
    for service in &status.services {
        reporter.report(Progress::Service { name: &service.name, state: service.state, why: why(service) });
    }
}

/// What is wrong with a service that isn't well yet.
fn why(service: &ServiceStatus) -> Option<&str> {
    let exit = service.last_exit.as_ref().map(|exit| exit.reason.as_str());
    match service.state {
        ServiceState::Backoff | ServiceState::Failed => exit,
        ServiceState::Starting | ServiceState::Unhealthy => service.probe.as_deref(),
        _ => None,
    }
}

fn hopeless(state: ServiceState, restarts: u32) -> bool {
    state == ServiceState::Failed || (state == ServiceState::Backoff && restarts >= HOPELESS)
}

/// The agent's status, by a connection of its own.
async fn status(environment: &Environment) -> anyhow::Result<AgentStatus> {
    Ok(environment.agent(Patience::Answer).await?.status().await?)
}

async fn unwell(environment: &Environment, code: ExitCode, what: &str) -> anyhow::Error {
    let troubles = match status(environment).await {
        Ok(status) => report::troubles(&status).join("; "),
        Err(error) => error.to_string(),
    };
    let troubles = if troubles.is_empty() { "no service says why".to_owned() } else { troubles };
    let hint = "`powerdev logs SERVICE` shows what it says; `powerdev status` shows the rest; it goes on trying";
    Failure::new(code, format!("{what}: {troubles}")).hint(hint).into()
}
