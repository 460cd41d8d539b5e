//! What can go wrong with the Engine, read by meaning: podman answers 500 where Docker says 409.

use std::io;
use std::time::Duration;

use bollard::errors::Error;
use powerdev_protocol::ExitCode;

use super::endpoint::{Endpoint, EndpointError};
use super::refused_pull::RefusedPull;
use crate::failure::Diagnostic;

/// What was asked of the Engine, and of what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each is what its text says; the field is the object's name")]
pub enum Operation {
    #[error("reach the Engine")]
    Connect,
    #[error("ask the Engine about itself")]
    Info,
    #[error("look at the container {0}")]
    InspectContainer(String),
    #[error("list the environments")]
    ListContainers,
    #[error("create the container {0}")]
    CreateContainer(String),
    #[error("start the container {0}")]
    StartContainer(String),
    #[error("stop the container {0}")]
    StopContainer(String),
    #[error("restart the container {0}")]
    RestartContainer(String),
    #[error("remove the container {0}")]
    RemoveContainer(String),
    #[error("rename the container {0}")]
    RenameContainer(String),
    #[error("pause the container {0}")]
    PauseContainer(String),
    #[error("unpause the container {0}")]
    UnpauseContainer(String),
    #[error("get a sign of life")]
    Ping,
    #[error("look at the image {0}")]
    InspectImage(String),
    #[error("remove the image {0}")]
    RemoveImage(String),
    #[error("build the image {0}")]
    BuildImage(String),
    #[error("pull the image {0}")]
    PullImage(String),
    #[error("tag the image {0}")]
    TagImage(String),
    #[error("import the image {0}")]
    ImportImage(String),
    #[error("look at the network {0}")]
    InspectNetwork(String),
    #[error("create the network {0}")]
    CreateNetwork(String),
    #[error("remove the network {0}")]
    RemoveNetwork(String),
    #[error("look at the volume {0}")]
    InspectVolume(String),
    #[error("remove the volume {0}")]
    RemoveVolume(String),
    #[error("list what powerdev made on this Engine")]
    Inventory,
    #[error("clear the Engine of what is unused")]
    Prune,
    #[error("run a command in the container {0}")]
    Exec(String),
    #[error("size the terminal of a command")]
    ExecResize,
    #[error("learn how a command ended")]
    ExecInspect,
    #[error("read the log of the container {0}")]
    Logs(String),
    #[error("follow the Engine's events")]
    Events,
    #[error("copy files into the container {0}")]
    Upload(String),
    #[error("copy files out of the container {0}")]
    Download(String),
}

/// What went wrong with the Engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// `DOCKER_HOST`, the context or its certificates make no sense.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Nobody answers, or the Engine went away in the middle.
    #[error("{} {url} ({origin})", unreachable_message(source))]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// Who said to look there.
        origin: String,
        /// Why, as far as the system tells.
        #[source]
        source: Error,
    },
    /// It accepts connections and says nothing.
    #[error("can't {operation}: the Engine at {url} hasn't answered for {} s", after.as_secs())]
    TimedOut {
        /// What was asked.
        operation: Operation,
        /// The Engine's address.
        url: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// GPUs were asked of an Engine that can't hand them out. The container was created and doesn't run.
    #[error("the Engine can't hand out GPUs, so the container {container} doesn't start")]
    NoGpuRuntime {
        /// The container, which is there and must be removed.
        container: String,
        /// In the Engine's words.
        #[source]
        source: Refusal,
    },
    /// Something that isn't powerdev's has a name that powerdev needs.
    #[error("{what} named {name} is there and isn't powerdev's")]
    Foreign {
        /// `a network`.
        what: &'static str,
        /// The name that both want.
        name: String,
    },
    /// A registry doesn't give an image.
    #[error(transparent)]
    NotPulled(Box<RefusedPull>),
    /// The Engine said no.
    #[error("can't {operation}")]
    Refused {
        /// What was asked.
        operation: Operation,
        /// In the Engine's words.
        #[source]
        source: Refusal,
    },
    /// The Engine's answer makes no sense, or a request couldn't be made.
    #[error("can't {operation}")]
    Other {
        /// What was asked.
        operation: Operation,
        /// What could not be understood, or made.
        #[source]
        source: Error,
    },
}

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// HTTP status. A hint at best: Engines differ.
    pub status: u16,
    /// In the Engine's words.
    pub message: String,
}

impl Refusal {
    fn says(&self, parts: &[&str]) -> bool {
        let message = self.message.to_ascii_lowercase();
        parts.iter().any(|part| message.contains(part))
    }

    fn not_found(&self) -> bool {
        self.status == 404 || self.says(&["no such ", "no container with name", "image not known", "unable to find"])
    }

    fn not_running(&self) -> bool {
        self.says(&["is not running", "is paused", "not running", "container state improper"])
    }

    fn port_taken(&self) -> bool {
        self.says(&["port is already allocated", "address already in use", "ports are not available"])
    }
}

/// Tells an Engine that is gone from one that says no.
pub(super) fn classify(endpoint: &Endpoint, operation: Operation, error: Error) -> EngineError {
    match error {
        Error::DockerResponseServerError { status_code, message } => refused(operation, status_code, message),
        // Streams report in a 200: the status is unknown.
        Error::DockerStreamError { error } => refused(operation, 500, error),
        // Every I/O error comes from the connection: nothing else is read or written here.
        Error::IOError { .. } | Error::HyperResponseError { .. } | Error::RequestTimeoutError => {
            EngineError::Unreachable { url: endpoint.url.clone(), origin: endpoint.origin.clone(), source: error }
        }
        source => EngineError::Other { operation, source },
    }
}

fn refused(operation: Operation, status: u16, message: String) -> EngineError {
    let source = Refusal { status, message };
    match operation {
        Operation::StartContainer(container) | Operation::RestartContainer(container)
            if source.says(&["could not select device driver", "cdi device injection failed", "nvidia-container"]) =>
        {
            EngineError::NoGpuRuntime { container, source }
        }
        operation => EngineError::Refused { operation, source },
    }
}

impl EngineError {
    /// The Engine's message holds this, in lower case.
    pub(super) fn says(&self, part: &str) -> bool {
        matches!(self, Self::Refused { source, .. } if source.says(&[part]))
    }

    /// What was asked for isn't there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.not_found())
    }

    /// The container is there but doesn't run, or is paused.
    pub fn is_not_running(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.not_running())
    }

    /// The Engine is gone, or was never there.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. })
    }

    /// A host port was taken between looking and publishing.
    pub fn is_port_taken(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.port_taken())
    }

    /// The host port that was taken, where the Engine names it: `Bind for 127.0.0.1:3000 failed`, `listen tcp4
    /// 127.0.0.1:3000: bind: address already in use`.
    pub fn taken_port(&self) -> Option<u16> {
        let Self::Refused { source, .. } = self else { return None };
        let words = source.message.split(|c: char| c.is_whitespace() || c == ',');
        let mut ports = words.filter_map(|word| word.trim_end_matches(':').rsplit_once(':')?.1.parse().ok());
        ports.rfind(|_| source.port_taken())
    }

    /// Something has the name already, is in use, or is being removed at this moment.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Foreign { .. } => true,
            Self::Refused { source, .. } => {
                let words = ["already in use", "already exists", "is in use", "being used", "removal in progress"];
                source.port_taken() || source.says(&words) || (source.status == 409 && !source.not_running())
            }
            _ => false,
        }
    }
}

impl Diagnostic for EngineError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Endpoint(_) | Self::NoGpuRuntime { .. } => ExitCode::Usage,
            Self::Unreachable { .. } | Self::TimedOut { .. } => ExitCode::EngineUnreachable,
            _ if self.is_not_found() || self.is_not_running() => ExitCode::NotRunning,
            _ if self.is_conflict() => ExitCode::Conflict,
            _ => ExitCode::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Endpoint(error) => return error.hint(),
            Self::Unreachable { source, origin, .. } => return Some(unreachable_hint(source, origin)),
            Self::TimedOut { .. } => {
                "see whether the Engine is well: `systemctl status docker`; restart it if it hangs"
            }
            Self::NoGpuRuntime { .. } => {
                "install the NVIDIA Container Toolkit and run `nvidia-ctk runtime configure --runtime=docker`, \
                 or go without: GPU=none"
            }
            Self::Foreign { .. } => "rename or remove it, or give this project another `name:` in powerdev.yaml",
            Self::NotPulled(refused) => return refused.hint(),
            Self::Refused { operation, source } => refusal_hint(operation, source)?,
            Self::Other { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

fn refusal_hint(operation: &Operation, refusal: &Refusal) -> Option<&'static str> {
    Some(match operation {
        Operation::CreateContainer(_) if refusal.says(&["no such image", "image not known"]) => {
            "build it first: `powerdev build`"
        }
        Operation::CreateContainer(_) if refusal.says(&["bind source path does not exist"]) => {
            "create that folder, or take the mount out of powerdev.yaml"
        }
        // Of 20.10, and of the newer ones.
        Operation::CreateNetwork(_) if refusal.says(&["address pool"]) => {
            "the Engine has no addresses left for another network: `powerdev cleanup` removes networks that nobody is on"
        }
        _ if refusal.port_taken() => "stop what listens there, or choose another port with `ports:` in powerdev.yaml",
        _ if refusal.says(&["no space left on device"]) => {
            "make room: `powerdev cleanup --dry-run` shows what could go; `docker system df` what takes it"
        }
        _ if refusal.says(&["is paused"]) => "`powerdev restart` brings it back",
        _ if refusal.not_running() => "`powerdev up` starts it",
        _ => return None,
    })
}

fn unreachable_message(error: &Error) -> &'static str {
    match io_kind(error) {
        Some(io::ErrorKind::PermissionDenied) => "not allowed to talk to the Docker Engine at",
        Some(io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => {
            "the connection broke to the Docker Engine at"
        }
        _ => "no Docker Engine answers at",
    }
}

fn unreachable_hint(error: &Error, origin: &str) -> String {
    let start = "start it (`sudo systemctl start docker`), or point DOCKER_HOST at one; `powerdev doctor` looks closer";
    match io_kind(error) {
        Some(io::ErrorKind::PermissionDenied) => {
            "add yourself to the group docker: `sudo usermod -aG docker $USER`, then log in again".into()
        }
        _ if origin.ends_with("socket") => start.into(),
        _ => format!("start it, or point to another one: this address is what {origin} says"),
    }
}

/// The system's own word for it, if it has one.
fn io_kind(error: &Error) -> Option<io::ErrorKind> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    // bollard's wrapper is transparent: it hides the very error that is looked for.
    if let Error::IOError { err } = error {
        return Some(err.kind());
    }
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}
