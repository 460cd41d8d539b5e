//! `powerdev restart`: stops, brings agent, services and secrets up to date, starts, waits until ready.

use powerdev_protocol::{ExitCode, HealthState, ServiceStatus};
use serde::Serialize;

use super::{Context, agree};
use crate::clock::{Deadline, Seconds};
use crate::config::Overrides;
use crate::deployment::Deployment;
use crate::lifecycle::{self, ready};
use crate::ssh;

/// Restart the environment, with changed services and secrets, and wait until ready
#[derive(Debug, clap::Args)]
pub struct RestartArgs {
    /// Agree to what the project's files ask for beyond its folder: `powerdev trust` shows it
    #[arg(long)]
    trust: bool,
    /// Return as soon as the container runs
    #[arg(long)]
    no_wait: bool,
    /// Seconds to wait until every service is ready
    #[arg(long, value_name = "SECS", default_value_t = Seconds::whole(300))]
    timeout: Seconds,
}

#[derive(Debug, Serialize)]
struct RestartDocument<'a> {
    name: &'a str,
    container: &'a str,
    health: HealthState,
    services: &'a [ServiceStatus],
}

/// Runs `powerdev restart`.
///
/// # Errors
/// When there is no such environment; when a service won't come.
pub async fn run(args: RestartArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let settings = context.settings_with(&Overrides::default())?;
    agree::to_wants(&settings, args.trust, context)?;
    let deployment = Deployment::new(settings, context.engine().await?)?;
    let environment = &deployment.environment;
    let name = environment.name();
    let spinner = context.ui.spinner(&format!("restarting {}", name.container()));
    let restarted = lifecycle::restart(&deployment).await;
    spinner.finish_and_clear();
    let container = restarted?;
    if let Some(notice) = ssh::keep(environment).await {
        context.ui.notice(notice);
    }
    let deadline = Deadline::after(args.timeout.duration());
    let mut client = environment.agent_up(container.spec.as_ref(), deadline).await?;
    let status =
        if args.no_wait { client.status().await? } else { ready::healthy(environment, deadline, context.ui).await? };
    let health = status.health.state;
    if context.ui.json() {
        let (name, container) = (name.as_str(), container.name.as_str());
        context.ui.document(&RestartDocument { name, container, health, services: &status.services })?;
    } else {
        context.ui.status(format_args!("{name} is {health}"));
    }
    Ok(ExitCode::Done)
}
