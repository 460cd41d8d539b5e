//! Restarting what is there, with agent, services and secrets as they are now.

use super::{LOCK_PATIENCE, start, stop};
use crate::delivery;
use crate::deployment::Deployment;
use crate::engine::Container;
use crate::trust::Standing;

/// Stops the container and starts it, up to date, and returns as soon as it runs. One powerdev at a time.
///
/// # Errors
/// What the project asks for and nobody has agreed to; when there is no container, or another home folder's; what the
/// Engine says.
pub async fn restart(deployment: &Deployment) -> anyhow::Result<Container> {
    Standing::of(&deployment.settings, None)?.require()?;
    let environment = &deployment.environment;
    let _lock = environment.state().lock(LOCK_PATIENCE).await?;
    environment.settle().await?;
    let container = environment.require().await?;
    environment.refuse_of_another_home(&container)?;
    // Stopped first and written then: a file must not change under an agent that still reads it.
    stop(&deployment.engine, &container, None).await?;
    let gpus = container.spec.as_ref().map(|spec| spec.gpus.clone()).unwrap_or_default();
    delivery::refresh(deployment, &container, &gpus).await?;
    start(environment, &container.name, container.spec.as_ref()).await?;
    Ok(container)
}
