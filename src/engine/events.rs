//! What happens to powerdev's containers, as the Engine tells it.

use std::collections::HashMap;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream as FutureStream, StreamExt, stream};

use super::{Engine, EngineError, Operation, error, logs};
use crate::spec::label;

/// One thing that happened to a container of powerdev's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineEvent {
    /// When, in nanoseconds since the Unix epoch, by the Engine's clock.
    pub at_ns: i64,
    /// The container's name.
    pub container: String,
    /// The container's ID.
    pub id: String,
    /// The environment that it belongs to.
    pub project: String,
    /// What happened to it.
    pub kind: EngineEventKind,
}

/// The kinds of [`EngineEvent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineEventKind {
    /// It was created, and doesn't run yet.
    Create,
    /// Its main process was started.
    Start,
    /// Its main process ended.
    Die {
        /// Exit code; 128 and the signal's number when one killed it.
        exit_code: i64,
    },
    /// The kernel killed a process of it for want of memory. Engines with cgroup v2 tell of every process, others of
    /// the main one.
    Oom,
    /// Somebody had the Engine send it a signal.
    Kill {
        /// The signal's number.
        signal: i32,
    },
    /// Stopped on request. Comes after [`EngineEventKind::Die`].
    Stop,
    /// Restarted on request. Comes after [`EngineEventKind::Start`].
    Restart,
    /// It is gone.
    Destroy,
    /// The Engine's health check came to another verdict: `healthy`, `unhealthy`, `starting`.
    Health(String),
    /// Its processes were frozen.
    Pause,
    /// Its frozen processes go on.
    Unpause,
    /// Anything else, in the Engine's words.
    Other(String),
}

impl Engine {
    /// What happens to powerdev's containers from now on, or from `since_ns` (nanoseconds since the Unix epoch) on.
    /// Ends with an error when the Engine goes away, and only then. Probes and other commands run in containers are
    /// left out.
    pub fn events(
        &self,
        since_ns: Option<i64>,
    ) -> impl FutureStream<Item = Result<EngineEvent, EngineError>> + Send + use<> {
        let filters = HashMap::from([("type", vec!["container"]), ("label", vec![label::PROJECT])]);
        let mut options = EventsOptionsBuilder::new().filters(&filters);
        if let Some(since) = since_ns {
            options = options.since(&logs::seconds(since));
        }
        tracing::debug!("engine: {}", Operation::Events);
        let endpoint = self.endpoint.clone();
        let gone = stream::once(async { Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()) });
        self.docker.events(Some(options.build())).chain(gone).filter_map(move |message| {
            std::future::ready(match message {
                Ok(message) => event(message).map(Ok),
                Err(error) => Some(Err(error::classify(&endpoint, Operation::Events, error))),
            })
        })
    }
}

fn event(message: EventMessage) -> Option<EngineEvent> {
    let actor = message.actor?;
    let attributes = actor.attributes.unwrap_or_default();
    let kind = kind(&message.action?, &attributes)?;
    Some(EngineEvent {
        at_ns: message.time_nano.or(message.time.map(|seconds| seconds * 1_000_000_000))?,
        container: attributes.get("name")?.clone(),
        project: attributes.get(label::PROJECT)?.clone(),
        id: actor.id.unwrap_or_default(),
        kind,
    })
}

fn kind(action: &str, attributes: &HashMap<String, String>) -> Option<EngineEventKind> {
    let number = |names: &[&str]| names.iter().find_map(|name| attributes.get(*name)?.parse::<i64>().ok());
    Some(match action {
        "create" => EngineEventKind::Create,
        "start" => EngineEventKind::Start,
        "die" | "died" => {
            EngineEventKind::Die { exit_code: number(&["exitCode", "containerExitCode"]).unwrap_or_default() }
        }
        "oom" => EngineEventKind::Oom,
        "kill" => EngineEventKind::Kill { signal: number(&["signal"]).unwrap_or_default() as i32 },
        "stop" => EngineEventKind::Stop,
        "restart" => EngineEventKind::Restart,
        "destroy" | "remove" => EngineEventKind::Destroy,
        "pause" => EngineEventKind::Pause,
        "unpause" => EngineEventKind::Unpause,
        _ if action.starts_with("exec_") => return None,
        _ => match action.strip_prefix("health_status") {
            Some(status) => EngineEventKind::Health(status.trim_start_matches([':', ' ']).to_owned()),
            None => EngineEventKind::Other(action.to_owned()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_become_kinds() {
        let attributes = HashMap::from([("exitCode".to_owned(), "137".to_owned()), ("signal".into(), "9".into())]);
        for (action, expected) in [
            ("die", Some(EngineEventKind::Die { exit_code: 137 })),
            ("kill", Some(EngineEventKind::Kill { signal: 9 })),
            ("health_status: unhealthy", Some(EngineEventKind::Health("unhealthy".into()))),
            ("exec_create: /bin/sh -c true", None),
            ("rename", Some(EngineEventKind::Other("rename".into()))),
        ] {
            assert_eq!(kind(action, &attributes), expected, "{action}");
        }
    }
}
