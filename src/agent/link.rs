//! The way to an agent: its socket, where this machine shares the socket's folder with the container; else an Engine
//! exec of `powerdev-agent connect`, which passes the same bytes on.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use powerdev_protocol::paths;
use tokio_util::io::StreamReader;

use super::client::{AgentError, Client};
use crate::engine::spec::ContainerSpec;
use crate::engine::{Engine, ExecSpec, Stream};
use crate::state::StateDir;

/// What an exec may take to begin, over a slow way to the Engine, on top of the patience with the agent itself.
const EXEC: Duration = Duration::from_secs(10);

/// How one agent is reached.
#[derive(Debug, Clone)]
pub enum Link {
    /// By the socket in this folder.
    Socket(PathBuf),
    /// Through an Engine exec in this container.
    Exec(Engine, String),
}

impl Link {
    /// The way to the agent of a container on this Engine, made from `spec`. None: as powerdev would make it now.
    pub fn to(engine: &Engine, container: &str, spec: Option<&ContainerSpec>, state: &StateDir) -> Self {
        let volume = spec.is_some_and(|spec| spec.volume_at(paths::RUN_DIR).is_some());
        // Where the Engine runs in a machine of its own, as it does beside anything but Linux, no socket crosses over.
        if engine.endpoint().local && cfg!(target_os = "linux") && !volume {
            return Self::Socket(state.run_dir());
        }
        Self::Exec(engine.clone(), container.to_owned())
    }

    /// Connects. Each question may then take `patience`.
    ///
    /// # Errors
    /// [`AgentError::Absent`] when nobody is there; otherwise see [`AgentError`].
    pub async fn connect(&self, patience: Duration) -> Result<Client, AgentError> {
        match self {
            Self::Socket(run_dir) => Client::connect(run_dir, patience).await,
            Self::Exec(engine, container) => {
                let after = patience + EXEC;
                let through = through(engine, container, patience);
                tokio::time::timeout(after, through).await.map_err(|_| AgentError::TimedOut { after })?
            }
        }
    }
}

async fn through(engine: &Engine, container: &str, patience: Duration) -> Result<Client, AgentError> {
    let absent = |source| AgentError::Absent { at: format!("in {container}"), source };
    let command = vec![paths::AGENT_BIN.to_owned(), "connect".to_owned()];
    let spec = ExecSpec { command, stdin: true, ..ExecSpec::default() };
    let exec = engine.exec(container, &spec).await.map_err(|error| absent(io::Error::other(error)))?;
    let said = exec.output.map(|piece| match piece {
        Ok((Stream::Stdout, bytes)) => Ok(bytes),
        Ok((Stream::Stderr, bytes)) => Err(io::Error::other(String::from_utf8_lossy(&bytes).trim().to_owned())),
        Err(error) => Err(io::Error::other(error)),
    });
    let mut client = Client::over(tokio::io::join(StreamReader::new(said), exec.input), patience);
    match client.greeted().await {
        Ok(()) => Ok(client),
        Err(AgentError::Broken(source)) => Err(absent(source)),
        Err(AgentError::HungUp) => Err(absent(io::ErrorKind::UnexpectedEof.into())),
        // An Engine that can't run the agent says so where the agent would speak.
        Err(AgentError::Unreadable(error)) => Err(absent(io::Error::other(error))),
        Err(other) => Err(other),
    }
}
