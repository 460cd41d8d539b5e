//! The only user of bollard: one method and one [`Operation`] per thing that is asked of a Docker Engine, in
//! powerdev's words.
//!
//! Works with API 1.41 and up. No call hangs for ever but those that wait by nature: streams, stopping, restarting.

mod archive;
mod build;
mod buildkit;
mod container;
mod create;
mod demux;
mod docker_config;
mod endpoint;
mod error;
mod events;
mod exec;
mod image;
mod info;
mod inventory;
mod login;
mod logs;
mod network;
mod pool;
mod proxies;
mod pull;
mod redact;
mod reference;
mod refused_pull;
mod tls;
mod transport;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::errors::Error;
use tracing::Instrument as _;

pub use build::{BuildEvent, BuildRequest, BuildSecrets, BuildStep, StepState};
pub use container::{Container, EngineHealth, RunState};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{EngineError, Operation};
pub use events::{EngineEvent, EngineEventKind};
pub use exec::{Exec, ExecOutput, ExecSpec};
pub use image::Image;
pub use info::EngineInfo;
pub use inventory::{Inventory, Item, Volume};
pub use login::{Login, LoginError, LoginSource, Logins};
pub use logs::{LogChunk, LogOptions};
pub use proxies::container_proxies;
pub use pull::Pulled;
pub use redact::Hidden;
pub use reference::Registry;
pub use refused_pull::PullTrouble;
pub use transport::Duplex;

use crate::failure::chain;
use transport::Transport;

/// What a call may take that neither streams nor waits for a container to end.
const CALL: Duration = Duration::from_secs(60);
/// What removing and measuring may take: the Engine walks through every file then.
const SLOW_CALL: Duration = Duration::from_secs(600);
/// What the first answer may take.
const FIRST_ANSWER: Duration = Duration::from_secs(30);
/// What a mere sign of life may take.
const PING: Duration = Duration::from_secs(10);

/// A connection to a Docker Engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    transport: Transport,
    endpoint: Arc<Endpoint>,
    api_version: ApiVersion,
}

/// Version of the Engine's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion(pub u16, pub u16);

/// Which of a process's two outputs something came from. A terminal has one: [`Stream::Stdout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output, and all that a terminal shows.
    Stdout,
    /// Standard error of a process without a terminal.
    Stderr,
}

impl Engine {
    /// Connects to the Engine that the docker CLI would use: `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context of
    /// the docker CLI's configuration, the default socket, a rootless one. One round trip.
    ///
    /// # Errors
    /// [`EngineError::Endpoint`] when the variables or the context make no sense, [`EngineError::Unreachable`] when
    /// nobody answers, with what to do about it.
    pub async fn connect() -> Result<Self, EngineError> {
        Self::connect_to(Endpoint::find()?).await
    }

    /// Connects to this Engine.
    ///
    /// # Errors
    /// As [`Engine::connect`].
    pub async fn connect_to(endpoint: Endpoint) -> Result<Self, EngineError> {
        let endpoint = Arc::new(endpoint);
        let transport = Transport::new(&endpoint)?;
        let docker = transport.docker().map_err(|error| error::classify(&endpoint, Operation::Connect, error))?;
        let mut engine = Self { docker, transport, endpoint, api_version: ApiVersion(1, 41) };
        let answer = engine.call_within(FIRST_ANSWER, Operation::Connect, engine.transport.get("/_ping")).await?;
        let version = answer.headers().get("api-version").and_then(|value| value.to_str().ok());
        engine.api_version = version.and_then(ApiVersion::parse).unwrap_or(engine.api_version);
        Ok(engine)
    }

    /// Asks whether it still answers.
    ///
    /// # Errors
    /// When it doesn't, or not in time.
    pub async fn ping(&self) -> Result<(), EngineError> {
        self.call_within(PING, Operation::Ping, self.transport.get("/_ping")).await.map(drop)
    }

    /// Where it answers.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    async fn call<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, EngineError> {
        self.call_within(CALL, operation, call).await
    }

    async fn call_within<T>(
        &self,
        limit: Duration,
        operation: Operation,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, EngineError> {
        let limited = async {
            match tokio::time::timeout(limit, call).await {
                Ok(answer) => answer.map_err(|error| error::classify(&self.endpoint, operation.clone(), error)),
                Err(_) => Err(EngineError::TimedOut {
                    operation: operation.clone(),
                    url: self.endpoint.url.clone(),
                    after: limit,
                }),
            }
        };
        logged(&operation, limited).await
    }

    /// For what waits by nature.
    async fn wait<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, EngineError> {
        let answered = async { call.await.map_err(|error| error::classify(&self.endpoint, operation.clone(), error)) };
        logged(&operation, answered).await
    }
}

/// Logs a call with the time that its answer took. What was sent and what came back stay out of the log: either may
/// hold a secret.
async fn logged<T>(
    operation: &Operation,
    call: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let since = Instant::now();
    let answer = call.instrument(tracing::trace_span!("engine", %operation)).await;
    let took = since.elapsed();
    match &answer {
        Ok(_) => tracing::debug!(?took, "engine: {operation}"),
        Err(error) => tracing::debug!(?took, error = chain(error), "engine: {operation}"),
    }
    answer
}

impl ApiVersion {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}
