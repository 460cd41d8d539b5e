//! Stopping and removing. What holds the user's data, `.agent-mount` and the volumes, stays unless asked for.

use std::time::Duration;

use crate::engine::{Container, Engine, EngineError, RunState, Volume};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::plan::DELIVERED;

/// What [`stop`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It ran, and doesn't any more.
    Now,
    /// It didn't run.
    Already,
}

/// Stops the container: the agent stops the services in reverse order, each with its own grace.
///
/// `grace` overrides the time until the Engine kills what is left.
///
/// # Errors
/// What the Engine says.
pub async fn stop(engine: &Engine, container: &Container, grace: Option<Duration>) -> Result<Stopped, EngineError> {
    match container.state {
        RunState::Paused => engine.unpause_container(&container.name).await?,
        RunState::Running | RunState::Restarting => {}
        RunState::Created | RunState::Removing | RunState::Exited | RunState::Dead => return Ok(Stopped::Already),
    }
    engine.stop_container(&container.name, grace).await?;
    Ok(Stopped::Now)
}

/// Removes the container; where the agent lies in volumes, those with the secrets, too. With `volumes` also what the
/// tools keep in their home folder, every other volume of the environment (on an Engine elsewhere its workspace is one),
/// and the network.
///
/// The network stays otherwise: making one costs as much as half a start, and `powerdev cleanup` removes what nobody
/// is on.
///
/// # Errors
/// A conflict when it runs and `force` isn't given, or a volume is another project's; otherwise what the Engine says.
pub async fn remove(
    environment: &Environment,
    container: Option<&Container>,
    force: bool,
    volumes: bool,
) -> anyhow::Result<()> {
    let (name, engine) = (environment.name(), environment.engine().await?);
    let kept = environment.volumes().await?;
    if let Some(container) = container {
        if container.state == RunState::Running && !force {
            return Err(Failure::conflict(format!("{} is running", container.name))
                .hint("`powerdev stop` it first, or give --force")
                .into());
        }
        if force {
            stop(engine, container, None).await?;
        }
        engine.remove_container(&container.name, true).await?;
    }
    let prefix = name.container();
    if volumes && engine.has_network(&prefix).await? {
        engine.remove_network(&prefix).await?;
    }
    for Volume { name: volume, .. } in kept {
        // What agent and secrets were delivered in is made anew by the next `up`: no secret stays where nothing runs.
        let delivered = DELIVERED.iter().any(|what| volume == format!("{prefix}-{what}"));
        if delivered || volumes {
            engine.remove_volume(&volume).await?;
        }
    }
    if volumes {
        environment.state().forget_project()?;
    }
    Ok(())
}
