//! Building images with the Engine's BuildKit.
//!
//! bollard builds either with progress or with secrets. Here both: the build's progress comes in its answer, and
//! secrets and logins are handed out over a session of ours (see [`super::buildkit`]) that the build is told about.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use bollard::moby::buildkit::v1::{StatusResponse, Vertex};
use bollard::models::{BuildInfo, BuildInfoAux};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use hyper::body::Incoming;

use super::buildkit::{BuildkitSession, Offers};
use super::login::Logins;
use super::transport::{escape, json_lines};
use super::{Engine, EngineError, Operation, error};

/// What to build.
#[derive(Debug, Clone, Default)]
pub struct BuildRequest {
    /// Path of the Dockerfile in the context.
    pub dockerfile: String,
    /// Which stage; None: the last.
    pub target: Option<String>,
    /// Tags that the image gets.
    pub tags: Vec<String>,
    /// Build arguments. Those that the Dockerfile declares show in the image's history: never a secret.
    pub arguments: BTreeMap<String, String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Take nothing from the build cache.
    pub no_cache: bool,
    /// Look for newer ones of the images that are here already.
    pub pull: bool,
    /// For `RUN --mount=type=secret,id=KEY`: handed out while the build runs, and kept nowhere.
    pub secrets: BuildSecrets,
    /// For images that the Dockerfile asks registries for: handed out likewise.
    pub logins: Logins,
}

/// A build's secrets by key. `Debug` shows the keys alone.
#[derive(Clone, Default)]
pub struct BuildSecrets(pub BTreeMap<String, String>);

impl std::fmt::Debug for BuildSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What a build tells.
#[derive(Debug, Clone, PartialEq)]
pub enum BuildEvent {
    /// A step is known, begins, ends.
    Step(BuildStep),
    /// A step wrote this.
    Output {
        /// The step that it belongs to, by its [`BuildStep::id`].
        step: String,
        /// Not always whole lines.
        bytes: Bytes,
    },
    /// A step moves data: an image's layers, files.
    Transfer {
        /// The step that it belongs to, by its [`BuildStep::id`].
        step: String,
        /// What, e.g. `extracting sha256:…`.
        what: String,
        /// Bytes so far.
        current: u64,
        /// Bytes in all; 0 when it isn't known.
        total: u64,
    },
    /// The image is there: its ID.
    Image(String),
    /// The build failed, in the Engine's words. Nothing follows.
    Failed(String),
}

/// A step of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildStep {
    /// Names it in the other events.
    pub id: String,
    /// E.g. `[core 3/9] RUN make`.
    pub name: String,
    /// How far it is.
    pub state: StepState,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepState {
    /// Waits for others.
    Waiting,
    /// Has begun and not ended.
    Running,
    /// Came from the build cache.
    Cached,
    /// Done, and how long it ran.
    Done(Duration),
    /// Failed, and why.
    Failed(String),
}

/// The events of a build, in order.
pub type BuildEvents = Pin<Box<dyn Stream<Item = Result<BuildEvent, EngineError>> + Send>>;

impl Engine {
    /// Builds an image from a context: a tar stream. Dropping the stream of events calls the build off.
    ///
    /// # Errors
    /// When the Engine can't be reached or refuses; a build that fails is an event ([`BuildEvent::Failed`]).
    pub async fn build(
        &self,
        request: BuildRequest,
        context: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<BuildEvents, EngineError> {
        let operation = Operation::BuildImage(request.tags.first().cloned().unwrap_or_default());
        // What of it the Dockerfile needs BuildKit alone knows. Before a registry that wants a login it needs a session
        // even to hear that there is no login; an Engine that has none builds without.
        let offers = Offers { secrets: request.secrets.clone(), logins: request.logins.clone() };
        let needed = !offers.is_empty();
        let session = match self.call(operation.clone(), BuildkitSession::open(&self.transport, offers)).await {
            Ok(session) => Some(session),
            Err(error) if needed => return Err(error),
            Err(_) => None,
        };
        let path = request.path(session.as_ref().map(BuildkitSession::id));
        let send = self.transport.post_stream(&path, "application/x-tar", context);
        let answer = self.wait(operation.clone(), send).await?;
        let endpoint = self.endpoint.clone();
        let events = events(answer)
            .map(move |event| event.map_err(|error| error::classify(&endpoint, operation.clone(), error.into())))
            .inspect(move |_| {
                // Secrets and logins are handed out for as long as the build is listened to.
                let _ = &session;
            });
        Ok(Box::pin(events))
    }
}

impl BuildRequest {
    /// Path and query of the Engine's API.
    fn path(&self, session: Option<&str>) -> String {
        let mut path = format!("/build?version=2&rm=1&dockerfile={}", escape(&self.dockerfile));
        let mut add = |name: &str, value: &str| path.push_str(&format!("&{name}={}", escape(value)));
        if let Some(target) = &self.target {
            add("target", target);
        }
        for tag in &self.tags {
            add("t", tag);
        }
        let json = |map: &BTreeMap<String, String>| serde_json::to_string(map).expect("strings are valid JSON");
        add("buildargs", &json(&self.arguments));
        add("labels", &json(&self.labels));
        if self.no_cache {
            add("nocache", "1");
        }
        if self.pull {
            add("pull", "1");
        }
        if let Some(session) = session {
            add("session", session);
        }
        path
    }
}

fn events(answer: hyper::Response<Incoming>) -> impl Stream<Item = io::Result<BuildEvent>> + Send {
    json_lines(answer)
        .map_ok(|document| futures_util::stream::iter(events_of(document).into_iter().map(Ok)))
        .try_flatten()
}

fn events_of(document: BuildInfo) -> Vec<BuildEvent> {
    if let Some(error) = document.error_detail {
        return vec![BuildEvent::Failed(error.message.unwrap_or_default())];
    }
    match document.aux {
        Some(BuildInfoAux::BuildKit(status)) => progress(status),
        Some(BuildInfoAux::Default(image)) => image.id.into_iter().map(BuildEvent::Image).collect(),
        None => Vec::new(),
    }
}

fn progress(status: StatusResponse) -> Vec<BuildEvent> {
    let steps = status.vertexes.into_iter().map(|vertex| {
        let state = state(&vertex);
        BuildEvent::Step(BuildStep { id: vertex.digest, name: vertex.name, state })
    });
    let transfers = status.statuses.into_iter().map(|status| BuildEvent::Transfer {
        step: status.vertex,
        what: if status.name.is_empty() { status.id } else { status.name },
        current: u64::try_from(status.current).unwrap_or_default(),
        total: u64::try_from(status.total).unwrap_or_default(),
    });
    let output = status.logs.into_iter().map(|log| BuildEvent::Output { step: log.vertex, bytes: log.msg.into() });
    steps.chain(transfers).chain(output).collect()
}

fn state(vertex: &Vertex) -> StepState {
    match (&vertex.started, &vertex.completed) {
        _ if !vertex.error.is_empty() => StepState::Failed(vertex.error.clone()),
        _ if vertex.cached => StepState::Cached,
        (Some(from), Some(to)) => {
            let seconds = (to.seconds - from.seconds) as f64 + f64::from(to.nanos - from.nanos) / 1e9;
            StepState::Done(Duration::try_from_secs_f64(seconds).unwrap_or_default())
        }
        (Some(_), None) => StepState::Running,
        (None, _) => StepState::Waiting,
    }
}

#[cfg(test)]
mod tests {
    use bollard_buildkit_proto::google::protobuf::Timestamp;

    use super::*;

    #[test]
    fn a_request_is_one_query() {
        let request = BuildRequest {
            dockerfile: "a b/Dockerfile".into(),
            target: Some("core".into()),
            tags: vec!["x/y:1".into(), "x/y:latest".into()],
            arguments: BTreeMap::from([("A".into(), "1&2".into())]),
            ..BuildRequest::default()
        };
        assert_eq!(
            request.path(Some("id")),
            "/build?version=2&rm=1&dockerfile=a%20b/Dockerfile&target=core&t=x/y:1&t=x/y:latest\
             &buildargs=%7B%22A%22:%221%262%22%7D&labels=%7B%7D&session=id"
        );
    }

    #[test]
    fn secrets_are_not_in_the_query() {
        let secrets = BuildSecrets(BTreeMap::from([("TOKEN".to_owned(), "canary".to_owned())]));
        let path = BuildRequest { secrets, ..BuildRequest::default() }.path(None);
        assert!(!path.contains("TOKEN") && !path.contains("canary"), "{path}");
    }

    #[test]
    fn a_step_is_read_by_what_is_known_of_it() {
        let at = |seconds, nanos| Some(Timestamp { seconds, nanos });
        let vertex = |started, completed, cached, error: &str| Vertex {
            started,
            completed,
            cached,
            error: error.into(),
            ..Vertex::default()
        };
        assert_eq!(state(&vertex(None, None, false, "")), StepState::Waiting);
        assert_eq!(state(&vertex(at(1, 0), None, false, "")), StepState::Running);
        assert_eq!(state(&vertex(at(1, 0), at(1, 0), true, "")), StepState::Cached);
        assert_eq!(
            state(&vertex(at(1, 900_000_000), at(3, 400_000_000), false, "")),
            StepState::Done(Duration::from_millis(1500))
        );
        assert_eq!(state(&vertex(at(1, 0), at(2, 0), false, "no")), StepState::Failed("no".into()));
    }
}
