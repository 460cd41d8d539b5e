//! The only user of bollard: one method and one error variant per operation, in powerdev's words.

pub mod spec;

use powerdev_protocol::ExitCode;

/// A connection to a Docker Engine.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: bollard::Docker,
}

/// What went wrong with the Engine, one variant per operation.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nobody answers.
    #[error("no Docker Engine answers at {host}")]
    Unreachable {
        /// Where it was looked for.
        host: String,
        /// Why.
        #[source]
        source: bollard::errors::Error,
    },
}

impl EngineError {
    /// How the process ends.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Unreachable { .. } => ExitCode::EngineUnreachable,
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => Some(
                "start it (`systemctl start docker`), or point DOCKER_HOST at one; `powerdev doctor` looks closer"
                    .into(),
            ),
        }
    }
}

impl Engine {
    /// Connects to the Engine that the docker CLI would use.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`].
    pub async fn connect() -> Result<Self, EngineError> {
        let unreachable = |source| EngineError::Unreachable { host: "unix:///var/run/docker.sock".into(), source };
        let docker = bollard::Docker::connect_with_defaults().map_err(unreachable)?;
        let docker = docker.negotiate_version().await.map_err(unreachable)?;
        Ok(Self { docker })
    }
}
