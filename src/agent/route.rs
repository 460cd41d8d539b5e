//! The way to an agent: its socket, where this machine shares the socket's folder with the container; else an Engine
//! exec of `powerdev-agent connect`, which passes the same bytes on.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use powerdev_protocol::paths;
use tokio_util::io::StreamReader;

use super::client::{AgentError, Client};
use crate::engine::{Endpoint, Engine, ExecSpec, Stream};
use crate::site::Site;
use crate::spec::ContainerSpec;
use crate::state::StateDir;

/// What an exec may take to begin, over a slow way to the Engine, on top of the patience with the agent itself.
const EXEC: Duration = Duration::from_secs(10);

/// How long an agent may take for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// 0.5 s: somebody waits for what comes after the answer.
    Brief,
    /// 2 s: there is somebody else to ask, or it is asked again soon.
    Glance,
    /// 5 s: the answer is what was asked for.
    Answer,
    /// As long as it takes: whoever asks has a deadline of his own.
    Unlimited,
}

impl Patience {
    /// As a span of time.
    pub fn limit(self) -> Duration {
        match self {
            Self::Brief => Duration::from_millis(500),
            Self::Glance => Duration::from_secs(2),
            Self::Answer => Duration::from_secs(5),
            Self::Unlimited => Duration::from_secs(365 * 24 * 3600),
        }
    }
}

/// How one agent is reached.
#[derive(Debug, Clone)]
pub enum Route {
    /// By the socket in this folder.
    Socket(PathBuf),
    /// Through an Engine exec in this container.
    Exec(Engine, String),
}

impl Route {
    /// What can be tried before any container is looked at: the socket in the environment's own folder. None: the
    /// Engine runs where this machine's sockets don't reach.
    pub fn without_looking(endpoint: &Endpoint, state: &StateDir) -> Option<Self> {
        Site::of(endpoint).socket_folder(state).map(Self::Socket)
    }

    /// The way to the agent of a container on this Engine, made from `spec`. None: as powerdev would make it now.
    pub fn to(engine: &Engine, container: &str, spec: Option<&ContainerSpec>, state: &StateDir) -> Self {
        let folder = spec.is_none_or(|spec| spec.folder_at(paths::RUN_DIR) == Some(&state.run_dir()));
        match Self::without_looking(engine.endpoint(), state) {
            Some(socket) if folder => socket,
            // In a volume, or in the folder of another user who started it.
            _ => Self::Exec(engine.clone(), container.to_owned()),
        }
    }

    /// Connects. Each question may then take `patience`.
    ///
    /// # Errors
    /// [`AgentError::Absent`] when nobody is there; otherwise see [`AgentError`].
    pub async fn connect(&self, patience: Patience) -> Result<Client, AgentError> {
        let patience = patience.limit();
        match self {
            Self::Socket(run_dir) => Client::connect(run_dir, patience).await,
            Self::Exec(engine, container) => {
                let after = patience.saturating_add(EXEC);
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
