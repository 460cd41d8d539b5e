//! Commands in a running container.
//!
//! bollard takes a terminal's bytes for frames when they begin with 0, 1 or 2, and then waits for ever; so the stream
//! is taken over here.

use std::pin::Pin;
use std::time::Duration;

use bollard::models::ExecConfig;
use bytes::Bytes;
use futures_util::{Stream as FutureStream, StreamExt};
use powerdev_protocol::control::TerminalSize;
use serde_json::json;
use tokio::io::AsyncWrite;

use super::{Engine, EngineError, Operation, Stream, demux, error};

/// What to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecSpec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// On a terminal of its own.
    pub tty: bool,
    /// As this user (`name`, `uid` or `uid:gid`); None: the container's.
    pub user: Option<String>,
    /// It reads [`Exec::input`].
    pub stdin: bool,
    /// The terminal's size at the start.
    pub size: Option<TerminalSize>,
    /// In this folder; None: the container's.
    pub directory: Option<String>,
}

/// What a command writes, as it comes.
pub type ExecOutput = Pin<Box<dyn FutureStream<Item = Result<(Stream, Bytes), EngineError>> + Send>>;

/// A running command.
pub struct Exec {
    /// For [`Engine::exec_resize`] and [`Engine::exec_exit_code`].
    pub id: String,
    /// Its standard input. `shutdown()` ends it while the output goes on.
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
    /// What it writes. Ends when it has ended and all is read.
    pub output: ExecOutput,
}

impl std::fmt::Debug for Exec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exec").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Engine {
    /// Runs a command in a running container.
    ///
    /// A program that isn't there is no error here on every Engine: some report it by exit code 126 or 127 alone.
    ///
    /// # Errors
    /// Among others: the container isn't there ([`EngineError::is_not_found`]), doesn't run, or is paused
    /// ([`EngineError::is_not_running`]).
    pub async fn exec(&self, container: &str, spec: &ExecSpec) -> Result<Exec, EngineError> {
        let operation = || Operation::Exec(container.to_owned());
        let size = spec.size.map(|size| [size.rows, size.cols]);
        let config = ExecConfig {
            cmd: Some(spec.command.clone()),
            tty: Some(spec.tty),
            user: spec.user.clone(),
            working_dir: spec.directory.clone(),
            attach_stdin: Some(spec.stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            // The Engine's own detach keys, Ctrl-P Ctrl-Q, would hold back every Ctrl-P and lose the shell: powerdev leaves
            // on its own side. Keys can't be turned off, so these are ones that nobody types.
            detach_keys: Some("ctrl-^,ctrl-_,ctrl-^,ctrl-_".into()),
            console_size: size.map(|size| size.map(usize::from).to_vec()),
            ..ExecConfig::default()
        };
        let id = self.call(operation(), self.docker.create_exec(container, config)).await?.id;
        // A size that isn't known must not be named: older Engines take no null.
        let mut start = json!({ "Detach": false, "Tty": spec.tty });
        if let Some(size) = size {
            start["ConsoleSize"] = json!(size);
        }
        let path = format!("/exec/{id}/start");
        let stream = self.call(operation(), self.transport.hijack(&path, &start)).await?;
        let (reader, writer) = tokio::io::split(stream);
        let (endpoint, operation) = (self.endpoint.clone(), operation());
        let output = demux::outputs(Box::pin(reader), !spec.tty)
            .map(move |piece| piece.map_err(|error| error::classify(&endpoint, operation.clone(), error.into())));
        Ok(Exec { id, input: Box::pin(writer), output: Box::pin(output) })
    }

    /// Tells a command's terminal its size.
    ///
    /// # Errors
    /// Among others: the command has ended.
    pub async fn exec_resize(&self, id: &str, size: TerminalSize) -> Result<(), EngineError> {
        let path = format!("/exec/{id}/resize?h={}&w={}", size.rows, size.cols);
        self.call(Operation::ExecResize, self.transport.post(&path, &json!({}))).await.map(drop)
    }

    /// Whether a command that has ended ever began. Where it didn't, what it wrote are the Engine's own words.
    ///
    /// # Errors
    /// As every call.
    pub async fn exec_has_begun(&self, id: &str) -> Result<bool, EngineError> {
        let answer = self.call(Operation::ExecInspect, self.docker.inspect_exec(id)).await?;
        Ok(answer.pid.is_some_and(|pid| pid != 0))
    }

    /// A command's exit code. Waits until it has ended: its output may have ended before.
    ///
    /// # Errors
    /// As every call.
    pub async fn exec_exit_code(&self, id: &str) -> Result<i64, EngineError> {
        // The Engine tells nobody when an exec has ended but by closing its streams, which may be a moment too early.
        let mut pause = Duration::from_millis(1);
        loop {
            let answer = self.call(Operation::ExecInspect, self.docker.inspect_exec(id)).await?;
            if let (Some(false) | None, Some(code)) = (answer.running, answer.exit_code) {
                return Ok(code);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }
}
