//! The control socket's messages: a request is one line of JSON, so is the answer. `events` goes on with one
//! [`Event`] a line; `attach` goes on in [frames](crate::frame).

use serde::{Deserialize, Serialize};

use crate::hello::Hello;
use crate::session::{SessionName, SessionRequest, SessionStatus};
use crate::status::{AgentStatus, Health, LastExit, ServiceState};

/// The longest line that either side accepts, in bytes.
pub const MAX_LINE: usize = 1 << 20;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Who asks, before all else. Answered with [`Response::Hello`].
    Hello(Hello),
    /// Health alone: the cheapest question.
    Health,
    /// Everything. Answered with [`Response::Status`].
    Status,
    /// Start, stop or restart one service. Answered when accepted; `wait` answers when done.
    Service {
        /// The service's name.
        name: String,
        /// What to do.
        action: Action,
        /// Answer when the service is ready (start, restart) or gone (stop), not at once.
        #[serde(default)]
        wait: bool,
    },
    /// Read services and secrets anew, and go over to them: [`Response::Reloaded`], as soon as that has begun. Refused
    /// as a whole, and nothing changes, when either can't be used.
    Reload,
    /// Follow what happens: [`Response::Ok`], then one [`Event`] a line until the client hangs up.
    Events,
    /// Take part in a service's terminal: [`Response::Ok`], then frames both ways.
    Attach {
        /// The service's name.
        name: String,
        /// The client's terminal, to size the service's. None leaves it as it is.
        #[serde(default)]
        size: Option<TerminalSize>,
        /// How many bytes of what was written before to send first, at most.
        #[serde(default)]
        replay: u32,
    },
    /// Said by `powerdev-agent exec` just before it becomes the command: remember my process (taken from the
    /// socket's credentials) under this token, for [`Request::Signal`].
    Register {
        /// Chosen by the host, hard to guess.
        token: String,
    },
    /// Send a signal to what was registered under the token.
    Signal {
        /// The token that it was registered under.
        token: String,
        /// The signal, by Linux's number: 1 to 64.
        signal: i32,
    },
    /// What is asked about sessions; each answer stands with its question.
    Session(SessionRequest),
}

impl Request {
    /// What is asked for, in a word: for logs, which must not hold what a request holds.
    pub fn op(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Health => "health",
            Self::Status => "status",
            Self::Service { .. } => "service",
            Self::Reload => "reload",
            Self::Events => "events",
            Self::Attach { .. } => "attach",
            Self::Register { .. } => "register",
            Self::Signal { .. } => "signal",
            Self::Session(SessionRequest::Open(_)) => "session open",
            Self::Session(SessionRequest::List) => "session list",
            Self::Session(SessionRequest::Rename { .. }) => "session rename",
            Self::Session(SessionRequest::Kill { .. }) => "session kill",
            Self::Session(SessionRequest::Attach { .. }) => "session attach",
        }
    }

    /// The protocol that it came with, or was last changed in.
    pub fn since(&self) -> u32 {
        match self {
            Self::Health
            | Self::Status
            | Self::Service { .. }
            | Self::Events
            | Self::Attach { .. }
            | Self::Register { .. }
            | Self::Signal { .. } => 1,
            Self::Hello(_) | Self::Reload | Self::Session(_) => 2,
        }
    }
}

/// Rows and columns of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Lines of text, one below the other.
    pub rows: u16,
    /// Characters in a line.
    pub cols: u16,
}

/// What to do with one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Start it, and forget its back-off and its failures.
    Start,
    /// Stop it: TERM, grace, KILL. It stays down until started.
    Stop,
    /// Stop, then start.
    Restart,
}

/// What going over to other services means for each of them, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// New ones: they start.
    pub started: Vec<String>,
    /// Those that are gone: they stop.
    pub stopped: Vec<String>,
    /// Changed ones: they restart.
    pub restarted: Vec<String>,
    /// Those that go on as they are: unchanged, or changed while they were stopped on request.
    pub kept: Vec<String>,
}

/// The agent's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Response {
    /// To [`Request::Hello`].
    Hello(Hello),
    /// Done, or accepted.
    Ok,
    /// To [`Request::Health`].
    Health(Health),
    /// To [`Request::Status`].
    Status(Box<AgentStatus>),
    /// To [`Request::Reload`].
    Reloaded(Reloaded),
    /// To [`SessionRequest::Open`].
    Session(SessionStatus),
    /// To [`SessionRequest::List`].
    Sessions {
        /// Those that are open, sorted by their names.
        sessions: Vec<SessionStatus>,
        /// How many there may be at a time.
        limit: usize,
    },
    /// Refused or failed: what, and what to do.
    Error {
        /// One line for people, with what they can do.
        message: String,
        /// What was asked about isn't there: no such service.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        absent: bool,
    },
}

impl Response {
    /// Refused or failed.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Error { message: message.into(), absent: false }
    }

    /// Refused, since what was asked about isn't there.
    pub fn absent(message: impl Into<String>) -> Self {
        Self::Error { message: message.into(), absent: true }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What it was, with what belongs to it.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The kinds of [`Event`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A service went from one state to another.
    Service {
        /// The service's name.
        name: String,
        /// The state that it left.
        from: ServiceState,
        /// The state that it is in now.
        to: ServiceState,
        /// Its process, if one runs now.
        pid: Option<i32>,
        /// Restarts so far.
        restarts: u32,
        /// How it ended, if that is what changed.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        exit: Option<LastExit>,
        /// What the probe said, if that is what changed.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        probe: Option<String>,
    },
    /// The environment's health changed. Also the first event of every stream.
    Health(Health),
    /// The kernel killed something here for want of memory.
    Oom {
        /// Kills since start.
        kills: u64,
    },
    /// The limit of tasks refused one.
    PidsLimit {
        /// Refusals since start.
        refused: u64,
    },
    /// The agent was told to stop and stops its services.
    Stopping {
        /// The signal that told it.
        signal: i32,
    },
    /// A session's program runs.
    SessionOpened {
        /// The session's name.
        name: SessionName,
    },
    /// A session's program has ended, and with it the session.
    SessionEnded {
        /// The session's name.
        name: SessionName,
        /// How it ended: its code, or the signal that killed it.
        exit: LastExit,
    },
    /// A session got another name.
    SessionRenamed {
        /// The name that it has now.
        name: SessionName,
        /// The name that it had.
        from: SessionName,
    },
}

impl EventKind {
    /// The protocol that it came with: who talks an older one isn't told.
    pub fn since(&self) -> u32 {
        match self {
            Self::Service { .. }
            | Self::Health(_)
            | Self::Oom { .. }
            | Self::PidsLimit { .. }
            | Self::Stopping { .. } => 1,
            Self::SessionOpened { .. } | Self::SessionEnded { .. } | Self::SessionRenamed { .. } => 2,
        }
    }
}
