//! What the host, the agent in the container and the web workspace say to each other.
//!
//! Everything here is data: no I/O, no clock, no threads. The host renders a [`ServiceSet`] into a file that the
//! agent reads at its start; afterwards the two talk over the control socket, one JSON document a line
//! ([`Request`], [`Response`], [`Event`]), and in [frames](frame) once a terminal is attached.

pub mod causes;
pub mod control;
pub mod exit;
pub mod frame;
pub mod hello;
pub mod paths;
pub mod service;
pub mod session;
pub mod signal;
pub mod status;

pub use control::{Action, Event, EventKind, Reloaded, Request, Response};
pub use exit::ExitCode;
pub use hello::{Hello, PROTOCOL_VERSION};
pub use service::{CommandLine, Condition, Readiness, Restart, RestartPolicy, Service, ServiceError, ServiceSet, Stop};
pub use session::{OpenSession, SessionName, SessionRequest, SessionStatus};
pub use status::{AgentStatus, Health, HealthState, LastExit, ServiceState, ServiceStatus, Usage};

/// Version of the JSON documents that commands print with `--json`.
pub const SCHEMA_VERSION: u32 = 1;
