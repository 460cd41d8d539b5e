//! Where the watcher hears from: tasks that listen, and send what they hear to the one loop.

use std::time::Duration;

use futures_util::StreamExt;
use powerdev_protocol::{AgentStatus, Event};
use tokio::sync::mpsc::Sender;

use super::policy::engine_health;
use super::terms::ContainerSnapshot;
use crate::clock::now_ms;
use crate::control::Patience;
use crate::delivery;
use crate::engine::{Container, Engine, EngineError, EngineEvent, RunState};
use crate::environment::Environment;
use crate::failure;
use crate::ssh;

/// How often the Engine is asked whether it still answers: one that hangs keeps its connections open.
const PING: Duration = Duration::from_secs(5);

/// What the loop hears.
pub enum SourceMessage {
    /// The Engine answers; the containers as they are.
    Connected(Engine, Vec<(String, Option<ContainerSnapshot>)>),
    /// The Engine doesn't answer any more.
    Lost(String),
    /// An event of the Engine, about a container that may be ours.
    Engine(EngineEvent),
    /// The agent of this environment tells; nothing: it can't be heard any more.
    Agent(String, Option<Event>),
    /// A restart was refused: what the Engine said, and whether the container is gone.
    Refused(String, String, bool),
    /// How the agent of this environment is.
    Status(String, Box<AgentStatus>),
}

/// The environments that are watched.
#[derive(Debug, Clone)]
pub enum WatchScope {
    /// This one, by its name.
    One(String),
    /// Every one on this Engine, also those to come.
    All,
}

/// Waits that double, for what may never come back. The crates for retries wrap one call that fails; what is tried
/// again here is a stream that lives for days, and each event in it starts the waits anew.
struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    fn new(first_ms: u64, max_ms: u64) -> Self {
        Self { next: Duration::from_millis(first_ms), max: Duration::from_millis(max_ms) }
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(self.max);
    }
}

/// Follows the Engine for ever: looks at the containers, forwards events, and connects again when it went away.
/// Ends when nobody listens any more.
pub async fn engine(first: Engine, scope: WatchScope, mut since_ns: i64, to: Sender<SourceMessage>) {
    let mut engine = Some(first);
    loop {
        let (connected, seen) = connect(&mut engine, &scope).await;
        if to.send(SourceMessage::Connected(connected.clone(), seen)).await.is_err() {
            return;
        }
        let mut events = std::pin::pin!(connected.events(Some(since_ns)));
        let mut silent = std::pin::pin!(silent(&connected));
        let why = loop {
            let event = tokio::select! {
                event = events.next() => event,
                error = &mut silent => break error.to_string(),
            };
            match event {
                Some(Ok(event)) => {
                    since_ns = since_ns.max(event.at_ns + 1);
                    if to.send(SourceMessage::Engine(event)).await.is_err() {
                        return;
                    }
                }
                Some(Err(error)) => break error.to_string(),
                None => break "it hung up".to_owned(),
            }
        };
        if to.send(SourceMessage::Lost(why)).await.is_err() {
            return;
        }
    }
}

/// Waits until the Engine doesn't answer any more.
async fn silent(engine: &Engine) -> EngineError {
    loop {
        tokio::time::sleep(PING).await;
        if let Err(error) = engine.ping().await {
            return error;
        }
    }
}

/// Tries until an Engine answers.
async fn connect(
    engine: &mut Option<Engine>,
    scope: &WatchScope,
) -> (Engine, Vec<(String, Option<ContainerSnapshot>)>) {
    let mut backoff = Backoff::new(50, 2000);
    loop {
        let attempt = match engine.take() {
            Some(engine) => Ok(engine),
            None => Engine::connect().await,
        };
        if let Ok(engine) = attempt
            && let Ok(seen) = look(&engine, scope).await
        {
            return (engine, seen);
        }
        backoff.wait().await;
    }
}

async fn look(engine: &Engine, scope: &WatchScope) -> Result<Vec<(String, Option<ContainerSnapshot>)>, EngineError> {
    let names = match scope {
        WatchScope::One(name) => vec![name.clone()],
        WatchScope::All => {
            let all = engine.environments().await?;
            all.iter().filter_map(Container::project).map(str::to_owned).collect()
        }
    };
    let mut found = Vec::new();
    for name in names {
        let container = engine.container(&format!("powerdev-{name}")).await?;
        let ours = container.filter(|container| container.project() == Some(&name));
        found.push((name, ours.map(|container| seen(&container))));
    }
    Ok(found)
}

fn seen(container: &Container) -> ContainerSnapshot {
    ContainerSnapshot {
        up: container.is_up(),
        paused: container.state == RunState::Paused,
        started_ms: container.started_at_ms.unwrap_or(0),
        exit_code: container.exit_code,
        oom: container.oom_killed,
        health: container.health.as_ref().and_then(|health| engine_health(&health.status)),
    }
}

/// Follows one agent for as long as its container runs: the loop ends this task.
pub async fn agent(environment: Environment, to: Sender<SourceMessage>) {
    let mut backoff = Backoff::new(50, 5000);
    loop {
        if let Ok(client) = environment.agent(Patience::Glance).await
            && let Ok(events) = client.events().await
        {
            let mut events = std::pin::pin!(events);
            while let Some(Ok(event)) = events.next().await {
                backoff = Backoff::new(50, 5000);
                if to.send(SourceMessage::Agent(name(&environment), Some(event))).await.is_err() {
                    return;
                }
            }
            if to.send(SourceMessage::Agent(name(&environment), None)).await.is_err() {
                return;
            }
        }
        backoff.wait().await;
    }
}

/// Asks one agent how it is, once.
pub async fn status(environment: Environment, to: Sender<SourceMessage>) {
    if let Ok(mut client) = environment.agent(Patience::Glance).await
        && let Ok(status) = client.status().await
    {
        // Nobody listens: nobody wants to know.
        to.send(SourceMessage::Status(name(&environment), Box::new(status))).await.ok();
    }
}

/// Starts or restarts a container. Success is told by the Engine's events.
pub async fn restart(engine: Engine, name: String, up: bool, to: Sender<SourceMessage>) {
    let container = format!("powerdev-{name}");
    let Err(error) = start(&engine, &name, &container, up).await else {
        if let Some(environment) = name.parse().ok().and_then(|name| Environment::named(name, engine).ok()) {
            ssh::keep(&environment).await; // It runs without, too.
        }
        return;
    };
    if error.downcast_ref().is_some_and(EngineError::is_unreachable) {
        // The events say so, too, and what is to be done then is decided once it is back.
        return;
    }
    let gone = match engine.container(&container).await {
        Ok(found) => found.is_none_or(|found| matches!(found.state, RunState::Removing | RunState::Dead)),
        Err(_) => false,
    };
    let message = failure::chain(error.as_ref());
    // Nobody listens: nobody wants to know.
    to.send(SourceMessage::Refused(name, message, gone)).await.ok();
}

async fn start(engine: &Engine, name: &str, container: &str, up: bool) -> anyhow::Result<()> {
    let environment = Environment::named(name.parse().map_err(anyhow::Error::msg)?, engine.clone())?;
    let found = engine.container(container).await?;
    let spec = found.as_ref().and_then(|found| found.spec.as_ref());
    let _placeholders = delivery::before_start(&environment, spec)?;
    match up {
        true => engine.restart_container(container, None).await?,
        false => engine.start_container(container).await?,
    }
    Ok(())
}

fn name(environment: &Environment) -> String {
    environment.name().to_string()
}

/// Now, in nanoseconds since the Unix epoch.
pub fn now_ns() -> i64 {
    i64::try_from(now_ms()).unwrap_or(i64::MAX).saturating_mul(1_000_000)
}
