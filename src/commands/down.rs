//! `powerdev down`: stops and removes the container, as `docker compose down` does.

use powerdev_protocol::ExitCode;

use super::Context;
use super::rm::{self, RmArgs};

/// Stop the environment and remove its container, as `docker compose down`; .agent-mount and the home folder stay
///
/// `powerdev up` makes it again. What was installed outside of the home folder goes with the container: `powerdev stop`
/// keeps that, too.
#[derive(Debug, clap::Args)]
pub struct DownArgs {
    /// Remove the home folder and the caches, too: as `powerdev rm --volumes`
    #[arg(long)]
    volumes: bool,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
}

/// Runs `powerdev down`.
///
/// # Errors
/// As `rm`.
pub async fn run(args: DownArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    rm::run(RmArgs::of_down(args.volumes, args.yes), context).await
}
