//! `powerdev health`: one word, and an exit code to go with it.
//!
//! The agent is asked directly, over its socket, in a millisecond; through the Engine where that is elsewhere; and the
//! Engine itself only where nobody answers.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use powerdev_protocol::{EventKind, ExitCode, Health, HealthState};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::Context;
use crate::agent::client::AgentError;
use crate::agent::link::Link;
use crate::config::Name;
use crate::engine::{Container, Endpoint, RunState};
use crate::lifecycle;
use crate::state::StateDir;

/// How long the agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a container that isn't there yet is looked for, under `--wait`: the Engine can't be asked to wait for it.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Say in one word how the environment is: healthy, starting, unhealthy or stopped
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Wait up to SECS for it to become healthy
    #[arg(long, value_name = "SECS")]
    wait: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    name: &'a str,
    health: HealthState,
    detail: &'a str,
}

/// Runs `powerdev health`.
///
/// # Errors
/// When there is no such environment, or the Engine doesn't answer either.
pub async fn run(args: Args, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let (name, dir) = context.identity()?;
    let health = match args.wait {
        None => look(&name, &dir, context).await?,
        Some(seconds) => wait(&name, &dir, Duration::from_secs(seconds), context).await?,
    };
    if context.ui.json() {
        context.ui.document(&Document { name: name.as_str(), health: health.state, detail: &health.detail })?;
    } else {
        context.ui.print(&health.state.to_string())?;
        for line in health.detail.lines() {
            context.ui.status(format_args!("  {line}"));
        }
    }
    Ok(health.state.into())
}

/// The health as it is now.
async fn look(name: &Name, dir: &Path, context: &Context<'_>) -> anyhow::Result<Health> {
    let state = StateDir::of(name)?;
    let mut asked = match here() {
        true => Some(ask(&Link::Socket(state.run_dir())).await),
        false => None,
    };
    if let Some(Ok(health)) = asked {
        return Ok(health);
    }
    let engine = context.engine().await?;
    let container = lifecycle::require(&engine, name, dir).await?;
    if container.state == RunState::Running
        && let link @ Link::Exec(..) = Link::to(&engine, &container.name, container.spec.as_ref(), &state)
    {
        asked = Some(ask(&link).await);
    }
    match asked {
        Some(Ok(health)) => Ok(health),
        Some(Err(error)) => Ok(from_engine(&container, &error.to_string())),
        None => Ok(from_engine(&container, "its Engine is elsewhere")),
    }
}

/// Whether the Engine is on this machine, so that most questions can do without it.
fn here() -> bool {
    Endpoint::find().is_ok_and(|endpoint| endpoint.local)
}

async fn ask(link: &Link) -> Result<Health, AgentError> {
    link.connect(PATIENCE).await?.health().await
}

/// What the Engine knows, where the agent doesn't answer.
fn from_engine(container: &Container, error: &str) -> Health {
    match container.state {
        RunState::Running | RunState::Restarting => {
            let detail = format!("{} runs, but can't be asked: {error}", container.name);
            Health { state: HealthState::Unhealthy, detail }
        }
        RunState::Paused => Health { state: HealthState::Unhealthy, detail: format!("{} is paused", container.name) },
        RunState::Created | RunState::Removing | RunState::Exited | RunState::Dead => {
            let why = if container.oom_killed { ", out of memory" } else { "" };
            let detail = format!("{} ended with code {}{why}", container.name, container.exit_code);
            Health { state: HealthState::Stopped, detail }
        }
    }
}

/// Waits on the agent's own events; returns what the health is when it is healthy or the time is over.
async fn wait(name: &Name, dir: &Path, patience: Duration, context: &Context<'_>) -> anyhow::Result<Health> {
    let deadline = Instant::now() + patience;
    let state = StateDir::of(name)?;
    let link = match here() {
        true => Link::Socket(state.run_dir()),
        false => Link::to(&context.engine().await?, &name.container(), None, &state),
    };
    loop {
        let followed = timeout_at(deadline, follow(&link)).await;
        if let Ok(Ok(health)) = followed {
            return Ok(health);
        }
        if Instant::now() >= deadline {
            return look(name, dir, context).await;
        }
        tokio::time::sleep_until(deadline.min(Instant::now() + LOOK_AGAIN)).await;
    }
}

/// Follows one agent until it says healthy. Fails when it hangs up.
async fn follow(link: &Link) -> Result<Health, AgentError> {
    let mut events = Box::pin(link.connect(PATIENCE).await?.events().await?);
    while let Some(event) = events.next().await {
        if let EventKind::Health(health) = event?.kind
            && health.state == HealthState::Healthy
        {
            return Ok(health);
        }
    }
    Err(AgentError::HungUp)
}
