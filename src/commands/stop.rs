//! `powerdev stop`: stops the environment.

use powerdev_protocol::ExitCode;
use serde::Serialize;

use super::Context;
use crate::clock::Seconds;
use crate::lifecycle::{self, LOCK_PATIENCE, Stopped};

/// Stop the environment; its services in reverse order, each with its grace
#[derive(Debug, clap::Args)]
pub struct StopArgs {
    /// Seconds until what is left is killed [default: what the services' graces add up to]
    #[arg(long, short, value_name = "SECS")]
    time: Option<Seconds>,
}

#[derive(Debug, Serialize)]
struct StopDocument<'a> {
    name: &'a str,
    container: &'a str,
    was_running: bool,
}

/// Runs `powerdev stop`.
///
/// # Errors
/// When there is no such environment; otherwise what the Engine says.
pub async fn run(args: StopArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let environment = context.environment()?;
    let container = environment.require().await?;
    let _lock = environment.state().lock(LOCK_PATIENCE).await?;
    // Before it is down: a watcher must not mistake it for an accident.
    environment.state().set_stop_requested(true)?;
    let spinner = context.ui.spinner(&format!("stopping {}", container.name));
    let stopped = lifecycle::stop(environment.engine().await?, &container, args.time.map(Seconds::duration)).await;
    spinner.finish_and_clear();
    let was_running = stopped? == Stopped::Now;
    if context.ui.json() {
        context.ui.document(&StopDocument {
            name: environment.name().as_str(),
            container: &container.name,
            was_running,
        })?;
    } else if was_running {
        context.ui.status(format_args!("Stopped {}", container.name));
    } else {
        context.ui.status(format_args!("{} isn't running", container.name));
    }
    Ok(ExitCode::Done)
}
