//! The way to an agent whose socket isn't on this machine: an Engine exec of `powerdev-agent connect`, which passes the
//! same bytes on.

use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use powerdev_protocol::paths;
use tokio_util::io::StreamReader;

use super::{AgentError, Client, Patience};
use crate::engine::{Engine, ExecSpec, Stream};

/// What an exec may take to begin, over a slow way to the Engine, on top of the patience with the agent itself.
const EXEC: Duration = Duration::from_secs(10);

/// Connects to the agent in a running container. Each question may then take `patience`.
///
/// # Errors
/// [`AgentError::Absent`] when nobody is there; otherwise see [`AgentError`].
pub async fn connect_through(engine: &Engine, container: &str, patience: Patience) -> Result<Client, AgentError> {
    let after = patience.limit().saturating_add(EXEC);
    let connected = tokio::time::timeout(after, greeted(engine, container, patience));
    connected.await.map_err(|_| AgentError::TimedOut { after })?
}

async fn greeted(engine: &Engine, container: &str, patience: Patience) -> Result<Client, AgentError> {
    let absent = |source| AgentError::Absent { at: format!("in {container}"), source };
    let command = vec![paths::AGENT_BIN.to_owned(), "connect".to_owned()];
    let spec = ExecSpec { command, stdin: true, ..ExecSpec::default() };
    let exec = engine.exec(container, &spec).await.map_err(|error| absent(io::Error::other(error)))?;
    let said = exec.output.map(|piece| match piece {
        Ok((Stream::Stdout, bytes)) => Ok(bytes),
        Ok((Stream::Stderr, bytes)) => Err(io::Error::other(String::from_utf8_lossy(&bytes).trim().to_owned())),
        Err(error) => Err(io::Error::other(error)),
    });
    let mut client = Client::over(tokio::io::join(StreamReader::new(said), exec.input), patience.limit());
    match client.connected().await {
        Ok(()) => Ok(client),
        Err(AgentError::Broken(source)) => Err(absent(source)),
        Err(AgentError::HungUp) => Err(absent(io::ErrorKind::UnexpectedEof.into())),
        // An Engine that can't run the agent says so where the agent would speak.
        Err(AgentError::Unreadable(error)) => Err(absent(io::Error::other(error))),
        Err(other) => Err(other),
    }
}
