//! `powerdev stop`: stops the environment.

use std::cell::RefCell;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use powerdev_protocol::{EventKind, ExitCode, ServiceState};
use serde::Serialize;

use super::Context;
use crate::clock::Seconds;
use crate::control::Patience;
use crate::engine::Container;
use crate::environment::Environment;
use crate::lifecycle::{self, LOCK_PATIENCE, Stopped};
use crate::reporter::{Reporter, Work};
use crate::ui::Ui;

/// After this it is told without a terminal, too, whom it waits for.
const SLOW: Duration = Duration::from_secs(3);

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
    let grace = args.time.map(Seconds::duration);
    let was_running = stop(&environment, &container, grace, context.ui).await? == Stopped::Now;
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

/// Stops it, and tells meanwhile which services it waits for.
async fn stop(
    environment: &Environment,
    container: &Container,
    grace: Option<Duration>,
    ui: &Ui,
) -> anyhow::Result<Stopped> {
    // Before it is told to stop: what happens between the two would be missed.
    let events = match environment.agent_nearby(Patience::Brief).await {
        Some(Ok(client)) => client.events().await.ok(),
        Some(Err(_)) | None => None,
    };
    let (reporter, left) = (ui as &dyn Reporter, RefCell::new(Vec::new()));
    let what = format!("stopping {}", container.name);
    let task = reporter.task(what.clone(), Work::Wait);
    let following = async {
        let Some(events) = events else { return };
        let mut events = pin!(events);
        while let Some(Ok(event)) = events.next().await {
            let EventKind::Service { name, to, .. } = event.kind else { continue };
            let mut left = left.borrow_mut();
            left.retain(|other| *other != name);
            if to == ServiceState::Stopping {
                left.push(name);
            }
            let waiting =
                if left.is_empty() { what.clone() } else { format!("{what}: waiting for {}", left.join(", ")) };
            task.advanced(0, 0, &waiting, None);
        }
    };
    let telling = async {
        tokio::time::sleep(SLOW).await;
        if !ui.live() && !left.borrow().is_empty() {
            reporter.status(format_args!("waiting for {}", left.borrow().join(", ")));
        }
    };
    let mut stopping = pin!(lifecycle::stop(environment.engine().await?, container, grace));
    let mut told = pin!(async { tokio::join!(following, telling) });
    tokio::select! {
        stopped = &mut stopping => Ok(stopped?),
        _ = &mut told => Ok(stopping.await?),
    }
}
