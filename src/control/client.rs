//! The client of the agent's control socket: one protocol, over the socket itself or over any bytes both ways.
//!
//! The socket lies in a folder that the container can write to, so nothing there is trusted: the file is opened
//! without following links, must be a socket, and is connected to through that very file.

#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::Stream;
use powerdev_protocol::control::{MAX_LINE, TerminalSize};
use powerdev_protocol::hello::{Hello, OtherRelease};
use powerdev_protocol::{
    Action, AgentStatus, Event, ExitCode, Health, OpenSession, Reloaded, Request, Response, SessionName,
    SessionRequest, SessionStatus, paths,
};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use super::Patience;
use crate::clock::Deadline;
use crate::engine::Duplex;
use crate::failure::Diagnostic;

/// Why the agent couldn't be asked.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No socket, or nobody listens on it: the container isn't running.
    #[error("no agent listens {at}")]
    Absent {
        /// Where it was looked for: `at PATH`, `in CONTAINER`.
        at: String,
        /// What the system, or the Engine, says.
        #[source]
        source: std::io::Error,
    },
    /// What is there isn't a socket.
    #[error("{} isn't a socket", .socket.display())]
    NotASocket {
        /// Where it was looked for.
        socket: PathBuf,
    },
    /// The agent didn't answer in time: the container is paused, or its machine is overloaded.
    #[error("the agent didn't answer within {} ms", .after.as_millis())]
    TimedOut {
        /// How long it was given.
        after: Duration,
    },
    /// The connection broke.
    #[error("the connection to the agent broke")]
    Broken(#[source] std::io::Error),
    /// The agent hung up instead of answering.
    #[error("the agent hung up")]
    HungUp,
    /// Its answer can't be read: it is of another release.
    #[error("can't make sense of the agent's answer")]
    Unreadable(#[source] serde_json::Error),
    /// Its answer isn't one to this question.
    #[error("the agent answered another question")]
    Unexpected,
    /// It is of a release that this one can't talk to, or that doesn't know the question.
    #[error(transparent)]
    OtherRelease(#[from] OtherRelease),
    /// It understood, and refused in these words.
    #[error("{0}")]
    Refused(String),
    /// What was asked about isn't there.
    #[error("{0}")]
    NotThere(String),
}

impl AgentError {
    /// Nobody listens where it was looked for. There may be somebody to be reached in another way.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Absent { .. } | Self::NotASocket { .. })
    }
}

impl Diagnostic for AgentError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Absent { .. } | Self::NotASocket { .. } | Self::Broken(_) | Self::HungUp | Self::NotThere(_) => {
                ExitCode::NotRunning
            }
            Self::TimedOut { .. } => ExitCode::TimedOut,
            Self::Unreadable(_) | Self::Unexpected | Self::OtherRelease(_) | Self::Refused(_) => ExitCode::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Absent { .. } | Self::Broken(_) | Self::HungUp => {
                "`powerdev status` shows whether the environment runs; `powerdev up` starts it"
            }
            Self::NotASocket { .. } => "`powerdev restart` makes the socket anew",
            Self::TimedOut { .. } => {
                "`docker unpause` lets a paused container go on; else see what keeps the machine busy"
            }
            Self::OtherRelease(other) => other.remedy(),
            Self::Unreadable(_) | Self::Unexpected => "`powerdev restart` gives the environment this release's agent",
            Self::Refused(_) | Self::NotThere(_) => return None,
        };
        Some(hint.to_owned())
    }
}

/// A connection to one agent.
pub struct Client {
    stream: BufReader<Box<dyn Duplex>>,
    patience: Duration,
    /// What the agent said of itself, once it was asked anything.
    agent: Option<Hello>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to the socket in `run_dir`. Each question may then take `patience`.
    ///
    /// # Errors
    /// [`AgentError::Absent`] when nobody is there, [`AgentError::NotASocket`] when the file is something else.
    pub async fn connect(run_dir: &Path, patience: Duration) -> Result<Self, AgentError> {
        let socket = run_dir.join(paths::SOCKET_NAME);
        let stream = tokio::time::timeout(patience, connect_checked(&socket))
            .await
            .map_err(|_| AgentError::TimedOut { after: patience })??;
        Ok(Self::over(stream, patience))
    }

    /// Over bytes that somebody else passes on.
    pub(super) fn over(stream: impl Duplex + 'static, patience: Duration) -> Self {
        Self { stream: BufReader::new(Box::new(stream)), patience, agent: None }
    }

    /// Takes the word of who passes the bytes on: then the agent is at the other end.
    pub(super) async fn connected(&mut self) -> Result<(), AgentError> {
        match self.answer().await? {
            Response::Ok => Ok(()),
            _ => Err(AgentError::Unexpected),
        }
    }

    /// The environment's health.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn health(&mut self) -> Result<Health, AgentError> {
        match self.ask(&Request::Health).await? {
            Response::Health(health) => Ok(health),
            _ => Err(AgentError::Unexpected),
        }
    }

    /// Everything that the agent knows.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn status(&mut self) -> Result<AgentStatus, AgentError> {
        match self.ask(&Request::Status).await? {
            Response::Status(status) => Ok(*status),
            _ => Err(AgentError::Unexpected),
        }
    }

    /// Starts, stops or restarts a service; with `wait`, answers when that is done, however long it takes within
    /// this client's patience.
    ///
    /// # Errors
    /// [`AgentError::NotThere`] for an unknown service; otherwise see [`AgentError`].
    pub async fn service(&mut self, name: &str, action: Action, wait: bool) -> Result<(), AgentError> {
        self.command(&Request::Service { name: name.to_owned(), action, wait }).await
    }

    /// Sends a signal to what `powerdev-agent exec` registered under `token`.
    ///
    /// # Errors
    /// [`AgentError::Refused`] when nothing is registered under it; otherwise see [`AgentError`].
    pub async fn signal(&mut self, token: &str, signal: i32) -> Result<(), AgentError> {
        self.command(&Request::Signal { token: token.to_owned(), signal }).await
    }

    /// Has it read services and secrets anew, and go over to them.
    ///
    /// # Errors
    /// [`AgentError::Refused`] when they can't be used: then nothing has changed. [`AgentError::OtherRelease`] by an older
    /// agent. Otherwise see [`AgentError`].
    pub async fn reload(&mut self) -> Result<Reloaded, AgentError> {
        match self.ask(&Request::Reload).await? {
            Response::Reloaded(reloaded) => Ok(reloaded),
            _ => Err(AgentError::Unexpected),
        }
    }

    /// Follows what happens inside, until the agent or the reader goes. The first event is the health as it is.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn events(mut self) -> Result<impl Stream<Item = Result<Event, AgentError>> + Send, AgentError> {
        self.command(&Request::Events).await?;
        Ok(futures_util::stream::unfold(Some(self), |client| async move {
            let mut client = client?;
            match client.line().await {
                Ok(None) => None,
                Ok(Some(line)) => {
                    let event = serde_json::from_str(&line).map_err(AgentError::Unreadable);
                    Some((event, Some(client)))
                }
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    /// Makes a session; it runs once this returns.
    ///
    /// # Errors
    /// [`AgentError::Refused`] when there are too many, the name is taken, or its program can't be run.
    pub async fn open_session(&mut self, open: OpenSession) -> Result<SessionStatus, AgentError> {
        match self.ask(&Request::Session(SessionRequest::Open(open))).await? {
            Response::Session(session) => Ok(session),
            _ => Err(AgentError::Unexpected),
        }
    }

    /// The sessions, and how many there may be.
    ///
    /// # Errors
    /// See [`AgentError`].
    pub async fn sessions(&mut self) -> Result<(Vec<SessionStatus>, usize), AgentError> {
        match self.ask(&Request::Session(SessionRequest::List)).await? {
            Response::Sessions { sessions, limit } => Ok((sessions, limit)),
            _ => Err(AgentError::Unexpected),
        }
    }

    /// Gives a session another name.
    ///
    /// # Errors
    /// [`AgentError::NotThere`] when there is none of this name, [`AgentError::Refused`] when the other is taken.
    pub async fn rename_session(&mut self, name: SessionName, to: SessionName) -> Result<(), AgentError> {
        self.command(&Request::Session(SessionRequest::Rename { name, to })).await
    }

    /// Ends a session with all of its processes, and returns when they are gone.
    ///
    /// # Errors
    /// [`AgentError::NotThere`] when there is none of this name.
    pub async fn kill_session(&mut self, name: SessionName) -> Result<(), AgentError> {
        self.command(&Request::Session(SessionRequest::Kill { name })).await
    }

    /// Looks at a session: from here on [frames](powerdev_protocol::frame) go both ways.
    ///
    /// # Errors
    /// [`AgentError::NotThere`] when there is none of this name.
    pub async fn attach_session(
        mut self,
        name: SessionName,
        size: Option<TerminalSize>,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin, AgentError> {
        self.command(&Request::Session(SessionRequest::Attach { name, size })).await?;
        Ok(self.stream)
    }

    async fn command(&mut self, request: &Request) -> Result<(), AgentError> {
        match self.ask(request).await? {
            Response::Ok => Ok(()),
            _ => Err(AgentError::Unexpected),
        }
    }

    async fn ask(&mut self, request: &Request) -> Result<Response, AgentError> {
        let deadline = Deadline::after(self.patience).at();
        let after = self.patience;
        let since = Instant::now();
        let answer = timeout_at(deadline, self.exchange(request)).await.unwrap_or(Err(AgentError::TimedOut { after }));
        let took = since.elapsed();
        match &answer {
            Ok(_) => tracing::debug!(?took, "agent: {}", request.op()),
            Err(error) => tracing::debug!(?took, %error, "agent: {}", request.op()),
        }
        answer
    }

    /// Asks; before the first question, and in one go with it, says who asks.
    async fn exchange(&mut self, request: &Request) -> Result<Response, AgentError> {
        let greeting = self.agent.is_none().then(|| Request::Hello(Hello::ours()));
        let mut lines = Vec::new();
        for request in greeting.iter().chain([request]) {
            serde_json::to_writer(&mut lines, request).map_err(AgentError::Unreadable)?;
            lines.push(b'\n');
        }
        self.stream.get_mut().write_all(&lines).await.map_err(AgentError::Broken)?;
        self.stream.get_mut().flush().await.map_err(AgentError::Broken)?;
        if greeting.is_some() {
            let agent = Hello::of_answer(&self.answer().await?);
            Hello::ours().check(&agent)?;
            self.agent = Some(agent);
        }
        match (self.answer().await?, &self.agent) {
            (Response::Error { message, absent }, Some(agent)) => {
                agent.knows(request)?;
                Err(if absent { AgentError::NotThere(message) } else { AgentError::Refused(message) })
            }
            (response, _) => Ok(response),
        }
    }

    async fn answer(&mut self) -> Result<Response, AgentError> {
        let answer = self.line().await?.ok_or(AgentError::HungUp)?;
        serde_json::from_str(&answer).map_err(AgentError::Unreadable)
    }

    /// One line, without its end; None when the agent hung up. A longer line than the protocol allows is an error.
    async fn line(&mut self) -> Result<Option<String>, AgentError> {
        let mut line = String::new();
        let read = (&mut self.stream).take(MAX_LINE as u64).read_line(&mut line).await.map_err(AgentError::Broken)?;
        if read == 0 {
            return Ok(None);
        }
        if line.pop() != Some('\n') {
            return Err(AgentError::HungUp);
        }
        Ok(Some(line))
    }
}

/// Whether anybody listens on the socket in `run_dir`, whoever it is.
pub async fn listens(run_dir: &Path) -> bool {
    let socket = run_dir.join(paths::SOCKET_NAME);
    let connected = connect_checked(&socket);
    tokio::time::timeout(Patience::Brief.limit(), connected).await.is_ok_and(|connected| connected.is_ok())
}

/// Opens the socket's file itself, so that what is connected to is what was looked at, however long its path is.
#[cfg(target_os = "linux")]
async fn connect_checked(socket: &Path) -> Result<UnixStream, AgentError> {
    use rustix::fs::{FileType, Mode, OFlags};

    let absent = |source: std::io::Error| AgentError::Absent { at: format!("at {}", socket.display()), source };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(socket, flags, Mode::empty()).map_err(|errno| absent(errno.into()))?;
    let stat = rustix::fs::fstat(&file).map_err(|errno| absent(errno.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(AgentError::NotASocket { socket: socket.to_owned() });
    }
    UnixStream::connect(format!("/proc/self/fd/{}", file.as_raw_fd())).await.map_err(absent)
}

/// Elsewhere the Engine runs in a machine of its own and its sockets can't be reached by a file.
#[cfg(not(target_os = "linux"))]
async fn connect_checked(socket: &Path) -> Result<UnixStream, AgentError> {
    let source = std::io::Error::from(std::io::ErrorKind::Unsupported);
    Err(AgentError::Absent { at: format!("at {}", socket.display()), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_link_to_another_socket_is_not_followed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let other = folder.path().join("other.sock");
        let _listener = tokio::net::UnixListener::bind(&other).expect("a socket");
        std::os::unix::fs::symlink(&other, folder.path().join(paths::SOCKET_NAME)).expect("a link");
        let error = Client::connect(folder.path(), PATIENCE).await.expect_err("a link is no socket");
        assert!(matches!(error, AgentError::NotASocket { .. }), "{error:?}");
    }

    /// What comes of `reload` where the agent answers with these lines.
    async fn reload_answered(answers: &[String]) -> Result<Reloaded, AgentError> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = tokio::net::UnixListener::bind(folder.path().join(paths::SOCKET_NAME)).expect("a socket");
        let agent = async {
            let (stream, _) = listener.accept().await.expect("a client");
            let mut stream = BufReader::new(stream);
            let mut lines = String::new();
            stream.read_line(&mut lines).await.expect("a greeting");
            stream.read_line(&mut lines).await.expect("a request in one go with it");
            assert!(lines.starts_with("{\"op\":\"hello\",") && lines.ends_with("\n{\"op\":\"reload\"}\n"), "{lines}");
            for answer in answers {
                stream.write_all(format!("{answer}\n").as_bytes()).await.expect("answered");
            }
        };
        let asked = async { Client::connect(folder.path(), PATIENCE).await.expect("it listens").reload().await };
        tokio::join!(agent, asked).1
    }

    #[tokio::test]
    async fn an_agent_that_does_not_know_the_question_is_told_from_one_that_refuses() {
        let refused = |message: &str| serde_json::to_string(&Response::refused(message)).expect("plain data");
        let hello = |hello| serde_json::to_string(&Response::Hello(hello)).expect("plain data");
        let cause = refused("no services: /opt/powerdev/config/services.json: EOF");

        let error = reload_answered(&[hello(Hello::ours()), cause.clone()]).await.expect_err("refused");
        assert!(matches!(error, AgentError::Refused(_)), "{error:?}");
        // One of before the greeting, and one that is too new.
        let error = reload_answered(&[refused("unknown variant `hello`"), cause]).await.expect_err("refused");
        assert!(error.hint().is_some_and(|hint| hint.contains("`powerdev restart`")), "{error}");
        let newer = Hello { protocol: 9, oldest: 9, release: "9.0".into() };
        let error = reload_answered(&[hello(newer), refused("x")]).await.expect_err("refused");
        assert!(error.hint().is_some_and(|hint| hint.contains("install the newer powerdev")), "{error}");
    }

    #[tokio::test]
    async fn nobody_there_is_absent_and_a_silent_agent_times_out() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = Client::connect(folder.path(), PATIENCE).await.expect_err("nobody is there");
        assert!(matches!(error, AgentError::Absent { .. }), "{error:?}");

        let _listener = tokio::net::UnixListener::bind(folder.path().join(paths::SOCKET_NAME)).expect("a socket");
        let mut client = Client::connect(folder.path(), Duration::from_millis(50)).await.expect("it listens");
        let error = client.health().await.expect_err("it never answers");
        assert!(matches!(error, AgentError::TimedOut { .. }), "{error:?}");
    }
}
