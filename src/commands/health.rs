//! `powerdev health`: one word, and an exit code to go with it.
//!
//! The agent is asked directly, over its socket, in a millisecond; through the Engine where that is elsewhere; and the
//! Engine itself only where nobody answers.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use powerdev_protocol::{EventKind, ExitCode, Health, HealthState};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::{Context, tell};
use crate::clock::{Deadline, Seconds};
use crate::control::AgentError;
use crate::control::{Client, Patience};
use crate::engine::{Container, RunState};
use crate::environment::Environment;
use crate::watch::{self, Quarantine};

/// How often a container that isn't there yet is looked for, under `--wait`: the Engine can't be asked to wait for it.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Say in one word how the environment is: healthy, starting, unhealthy or stopped
#[derive(Debug, clap::Args)]
pub struct HealthArgs {
    /// Wait up to SECS for it to become healthy; ends with 6 if it doesn't
    #[arg(long, value_name = "SECS")]
    wait: Option<Seconds>,
}

#[derive(Debug, Serialize)]
struct HealthDocument<'a> {
    name: &'a str,
    health: HealthState,
    detail: &'a str,
    /// Why the watcher has given it up, if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    quarantine: Option<Quarantine>,
    /// The state folder that it was started from, where that is another user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_from: Option<PathBuf>,
}

/// What was learnt of an environment.
struct Looked {
    health: Health,
    /// Its container, where the Engine had to be asked.
    container: Option<Container>,
}

/// Runs `powerdev health`.
///
/// # Errors
/// When there is no such environment, or the Engine doesn't answer either.
pub async fn run(args: HealthArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let environment = context.environment()?;
    let looked = match args.wait {
        None => look(&environment).await?,
        Some(seconds) => wait(&environment, seconds.duration()).await?,
    };
    let Looked { health, container } = &looked;
    let quarantine = if health.state == HealthState::Healthy { None } else { given_up(&environment, container).await };
    let started_from = container.as_ref().and_then(|container| environment.started_from(container));
    let code = match health.state {
        HealthState::Healthy => ExitCode::Done,
        _ if args.wait.is_some() => ExitCode::TimedOut,
        state => state.into(),
    };
    if context.ui.json() {
        context.ui.document(&HealthDocument {
            name: environment.name().as_str(),
            health: health.state,
            detail: &health.detail,
            quarantine,
            started_from,
        })?;
        return Ok(code);
    }
    context.ui.print(&health.state.to_string())?;
    for line in health.detail.lines() {
        context.ui.status(format_args!("  {line}"));
    }
    tell::quarantine(context.ui, quarantine.as_ref());
    tell::started_from(context.ui, started_from.as_deref());
    Ok(code)
}

/// Why the watcher has given it up, if nobody has started it since.
async fn given_up(environment: &Environment, container: &Option<Container>) -> Option<Quarantine> {
    // A file on this machine says whether anybody needs to be asked at all.
    watch::quarantine(environment.state(), None)?;
    let started_ms = match container {
        Some(container) => container.started_at_ms,
        None => {
            async { environment.agent(Patience::Glance).await.ok()?.status().await.ok() }.await.map(|s| s.started_ms)
        }
    };
    watch::quarantine(environment.state(), started_ms)
}

/// The health as it is now: the agent's word, and the Engine's where nobody answers.
async fn look(environment: &Environment) -> anyhow::Result<Looked> {
    let engines = |container: Container, error: &str| {
        let health = from_engine(&container, error);
        Ok(Looked { health, container: Some(container) })
    };
    let nearby = environment.agent_nearby(Patience::Glance).await;
    if let Some(connected) = nearby {
        return match ask(connected.map_err(Into::into)).await {
            Ok(health) => Ok(Looked { health, container: None }),
            Err(error) => engines(environment.require().await?, &error.to_string()),
        };
    }
    let container = environment.require().await?;
    if container.state != RunState::Running {
        return engines(container, "it is only just starting");
    }
    match ask(environment.agent_through(Patience::Glance).await).await {
        Ok(health) => Ok(Looked { health, container: Some(container) }),
        Err(error) => engines(container, &error.to_string()),
    }
}

async fn ask(connected: anyhow::Result<Client>) -> anyhow::Result<Health> {
    Ok(connected?.health().await?)
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
            let why = if container.ended_for_want_of_memory() { ", out of memory" } else { "" };
            let detail = format!("{} ended with code {}{why}", container.name, container.exit_code);
            Health { state: HealthState::Stopped, detail }
        }
    }
}

/// Waits on the agent's own events; returns what the health is when it is healthy or the time is over.
async fn wait(environment: &Environment, patience: Duration) -> anyhow::Result<Looked> {
    let deadline = Deadline::after(patience);
    loop {
        let followed = timeout_at(deadline.at(), follow(environment)).await;
        if let Ok(Ok(health)) = followed {
            return Ok(Looked { health, container: None });
        }
        if deadline.has_passed() {
            return look(environment).await;
        }
        tokio::time::sleep_until(deadline.at().min(Instant::now() + LOOK_AGAIN)).await;
    }
}

/// Follows one agent until it says healthy. Fails when it hangs up.
async fn follow(environment: &Environment) -> anyhow::Result<Health> {
    let mut events = Box::pin(environment.agent(Patience::Glance).await?.events().await?);
    while let Some(event) = events.next().await {
        if let EventKind::Health(health) = event?.kind
            && health.state == HealthState::Healthy
        {
            return Ok(health);
        }
    }
    Err(AgentError::HungUp.into())
}
