//! What an error means to the user: an exit code and a hint, carried along anyhow's chain.

use powerdev_protocol::ExitCode;
pub use powerdev_protocol::causes::chain;

/// What an error means to whoever reads it. Every error of ours that can reach a user has one; [`crate::diagnostics`]
/// finds it in a chain of causes.
pub trait Diagnostic: std::error::Error {
    /// How the process ends.
    fn exit_code(&self) -> ExitCode;

    /// What to do next, in one line.
    fn hint(&self) -> Option<String>;
}

/// An error as it is told: what happened with its causes, what to do next, and how the process ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// What happened, to what, and why: one line.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// How the process ends.
    pub code: ExitCode,
}

/// An error that knows how the process should end and what the user can do next.
///
/// Put one anywhere in an [`anyhow::Error`]'s chain.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// How the process ends.
    pub code: ExitCode,
    /// What happened, to what: one line.
    pub message: String,
    /// What to do next: one line.
    pub hint: Option<String>,
    /// What caused it.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Diagnostic for Failure {
    fn exit_code(&self) -> ExitCode {
        self.code
    }

    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

impl Failure {
    /// A failure without hint or cause.
    pub fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, source: None }
    }

    /// Adds what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The configuration or the command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, message)
    }

    /// Something that should be there or running isn't.
    pub fn not_running(message: impl Into<String>) -> Self {
        Self::new(ExitCode::NotRunning, message)
    }

    /// Something is in the way.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Conflict, message)
    }
}
