//! `powerdev rm`: removes the container, never `.agent-mount`.

use powerdev_protocol::ExitCode;
use serde::Serialize;

use super::Context;
use crate::delivery;
use crate::lifecycle::{self, LOCK_PATIENCE};
use crate::site::Site;

/// Remove the stopped container; .agent-mount and the home folder stay
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// Stop it first if it runs
    #[arg(long, short)]
    force: bool,
    /// Remove the home folder and the caches too: logins, histories, what the tools keep there; on an Engine elsewhere
    /// also the workspace and what else is in volumes there
    #[arg(long)]
    volumes: bool,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
}

impl RmArgs {
    /// As `down` does it: whatever runs.
    pub(super) fn of_down(volumes: bool, yes: bool) -> Self {
        Self { force: true, volumes, yes }
    }
}

#[derive(Debug, Serialize)]
struct RmDocument<'a> {
    name: &'a str,
    removed: bool,
    volumes_removed: bool,
}

/// Runs `powerdev rm`.
///
/// # Errors
/// A conflict when it runs and `--force` isn't given; when there is nothing to remove.
pub async fn run(args: RmArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let environment = context.environment()?;
    let (name, engine) = (environment.name(), environment.engine().await?);
    let site = Site::of(engine.endpoint());
    let _lock = environment.state().lock(LOCK_PATIENCE).await?;
    environment.settle().await?;
    let container = environment.find().await?;
    if container.is_none() && !args.volumes {
        return Err(environment.absent());
    }
    if args.volumes && !args.yes {
        let question = format!("Remove the home folder of {name}, {}?", site.what_volumes_hold());
        if !context.ui.confirm(&question, "--yes")? {
            return Ok(ExitCode::Interrupted);
        }
    }
    lifecycle::remove(&environment, container.as_ref(), args.force, args.volumes).await?;
    // They come from .env: the next `up` writes them anew.
    delivery::withdraw_secrets(environment.state())?;
    let document = RmDocument { name: name.as_str(), removed: container.is_some(), volumes_removed: args.volumes };
    if context.ui.json() {
        context.ui.document(&document)?;
    } else {
        let kept = site.what_stays(args.volumes);
        context.ui.status(format_args!("Removed {}; {kept}", name.container()));
    }
    Ok(ExitCode::Done)
}
