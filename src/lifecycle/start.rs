//! The one way to start a container: what it mounts is looked at right before.

use crate::delivery;
use crate::environment::Environment;
use crate::spec::ContainerSpec;

/// Starts a container that is there, made from `spec` as far as that is known.
///
/// # Errors
/// As [`delivery::before_start`]; what the Engine says.
pub async fn start(environment: &Environment, container: &str, spec: Option<&ContainerSpec>) -> anyhow::Result<()> {
    let _placeholders = delivery::before_start(environment, spec)?;
    Ok(environment.engine().await?.start_container(container).await?)
}
