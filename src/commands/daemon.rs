//! `powerdev daemon`: starts in the background.

use powerdev_protocol::ExitCode;

use super::Context;
use super::up::{BringArgs, bring_up};
use crate::lifecycle::Build;

/// Start in the background and wait until every service is ready
#[derive(Debug, clap::Args)]
pub struct DaemonArgs {
    #[command(flatten)]
    bring: BringArgs,
}

/// Runs `powerdev daemon`.
///
/// # Errors
/// As `up`.
pub async fn run(args: DaemonArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    bring_up(&args.bring, Build::IfMissing, context).await?;
    Ok(ExitCode::Done)
}
