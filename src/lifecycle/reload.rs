//! Changed services and secrets, applied to an environment while it runs.

use powerdev_protocol::Reloaded;
use serde::Serialize;

use crate::control::{AgentError, Patience};
use crate::delivery;
use crate::deployment::Deployment;
use crate::engine::Container;
use crate::failure::Failure;
use crate::spec::Gpus;

/// What was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// What that means for each service.
    #[serde(flatten)]
    pub services: Reloaded,
    /// Secrets have changed: what starts from now on gets them.
    pub secrets: bool,
}

/// Whether what is pending can be applied without a restart, by an agent of this release.
pub fn is_enough(pending: &[&str]) -> bool {
    !pending.is_empty() && !pending.contains(&"agent")
}

/// Applies what is pending. None: it takes a restart, since the agent inside is of another release.
///
/// # Errors
/// When the agent refuses it or can't be asked. Then it finds what it found before.
pub async fn apply(
    deployment: &Deployment,
    container: &Container,
    gpus: &Gpus,
    pending: &[&str],
) -> anyhow::Result<Option<Applied>> {
    if !is_enough(pending) {
        return Ok(None);
    }
    let before = delivery::current(deployment, container).await?;
    let asked = async {
        delivery::refresh(deployment, container, gpus).await?;
        let mut agent = deployment.environment.agent(Patience::Answer).await?;
        anyhow::Ok(agent.reload().await?)
    };
    let error = match asked.await {
        Ok(services) => return Ok(Some(Applied { services, secrets: pending.contains(&"secrets") })),
        Err(error) => error,
    };
    delivery::install(deployment, container, &before).await?;
    match error.downcast::<AgentError>() {
        Ok(AgentError::OtherRelease(_)) => Ok(None),
        Ok(AgentError::Refused(why)) => {
            let message = format!("the agent refuses the changed services: {why}");
            Err(Failure::usage(message).hint("what runs was left as it is").into())
        }
        Ok(error) => Err(error.into()),
        Err(error) => Err(error),
    }
}
