//! Sessions: terminals that the environment's agent holds. powerdev only looks at them, so they outlive it.

use std::time::Duration;

use anyhow::Context as _;
use powerdev_protocol::signal::{HANG_UP, INTERRUPT, RESIZE, TERMINATE};
use powerdev_protocol::{LastExit, OpenSession, SessionName, SessionStatus, paths};
use powerdev_terminal::{Departure, RawMode, Viewer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::control::Patience;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::ssh;
use crate::ui::terminal::{self, StandardStreams, StdinReader};

/// How long a Ctrl-P waits for its Ctrl-Q.
const KEY_PAUSE: Duration = Duration::from_millis(500);
/// Bytes that wait for the agent, above which nothing more is read from the terminal.
const BACKLOG: usize = 256 * 1024;
const CHUNK: usize = 64 * 1024;

/// How looking at a session came to its end. In all cases but the first it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewEnd {
    /// The session has ended.
    Ended(LastExit),
    /// The user typed the keys that leave.
    Left,
    /// This signal came: the terminal is gone, or powerdev was told to end.
    Signal(i32),
}

/// Refuses what needs a terminal where there is none. `instead` is what the user can do.
///
/// # Errors
/// A [`Failure`] with [`powerdev_protocol::ExitCode::Usage`].
pub fn need_terminal(what: &str, instead: &str) -> Result<(), Failure> {
    if terminal::is_interactive() {
        return Ok(());
    }
    let message = format!("{what} needs a terminal on standard input and output");
    Err(Failure::usage(message).hint(instead))
}

/// Makes a session of the size of the user's terminal, if there is one; in the folder that matches the caller's, unless
/// it says where.
///
/// # Errors
/// When the environment doesn't run, or its agent refuses.
pub async fn open(environment: &Environment, mut session: OpenSession) -> anyhow::Result<SessionStatus> {
    session.size = session.size.or_else(powerdev_terminal::size);
    if session.directory.is_none()
        && !session.environment.contains_key(paths::BEGIN_VARIABLE)
        && let Some(folder) = environment.begin_in().await
    {
        session.environment.insert(paths::BEGIN_VARIABLE.to_owned(), folder);
    }
    for (name, value) in terminal::variables() {
        session.environment.entry(name.to_owned()).or_insert(value);
    }
    ssh::keep(environment).await; // It runs without, too; `up` and `restart` tell.
    // Its program may take a while to begin, on a slow disk.
    Ok(environment.agent(Patience::Unlimited).await?.open_session(session).await?)
}

/// Looks at a session in the user's terminal, which is as before when this returns.
///
/// # Errors
/// When there is no such session, or the environment is stopped meanwhile.
pub async fn attach(environment: &Environment, name: &SessionName) -> anyhow::Result<ViewEnd> {
    let client = environment.agent(Patience::Answer).await?;
    ssh::keep(environment).await;
    let signals = ViewerSignals::catch().context("can't catch signals")?;
    let stream = client.attach_session(name.clone(), powerdev_terminal::size()).await?;
    let raw = RawMode::enter().context("can't use the terminal")?;
    let mut output = StandardStreams::open();
    let mut viewer = Viewer::of_session();
    let end = view(stream, &mut viewer, &mut output, signals).await;
    output.stdout(&viewer.farewell()).await.ok(); // The terminal may be gone.
    drop(raw);
    end
}

async fn view(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    viewer: &mut Viewer,
    output: &mut StandardStreams,
    mut signals: ViewerSignals,
) -> anyhow::Result<ViewEnd> {
    let (mut from_agent, mut to_agent) = tokio::io::split(stream);
    let mut input = StdinReader::open().context("can't read the terminal")?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let screen = std::mem::take(viewer.screen());
        if output.stdout(&screen).await.is_err() {
            return Ok(ViewEnd::Signal(HANG_UP));
        }
        match viewer.departure() {
            Some(Departure::Left) => return Ok(ViewEnd::Left),
            Some(Departure::Ended(exit)) => return Ok(ViewEnd::Ended(exit)),
            Some(Departure::Dismissed(why)) => return Err(gone(why)),
            None => {}
        }
        let (waiting, holds_key) = (viewer.outgoing().len(), viewer.holds_key());
        tokio::select! {
            read = from_agent.read(&mut buffer) => match read {
                Ok(0) => return Err(gone("its agent hung up".to_owned())),
                Ok(count) => viewer.received(&buffer[..count])?,
                Err(error) => return Err(gone(error.to_string())),
            },
            sent = send(&mut to_agent, viewer), if waiting > 0 => {
                sent.map_err(|error| gone(error.to_string()))?;
            }
            typed = input.next(), if waiting < BACKLOG => match typed {
                Some(bytes) => viewer.typed(&bytes),
                None => return Ok(ViewEnd::Signal(HANG_UP)),
            },
            () = tokio::time::sleep(KEY_PAUSE), if holds_key => viewer.nothing_follows(),
            signal = signals.next() => match signal {
                RESIZE => {
                    if let Some(size) = powerdev_terminal::size() {
                        viewer.resized(size);
                    }
                }
                signal => return Ok(ViewEnd::Signal(signal)),
            },
        }
    }
}

/// Sends what waits, as much as is taken now.
async fn send(to: &mut (impl AsyncWrite + Unpin), viewer: &mut Viewer) -> std::io::Result<()> {
    let sent = to.write(viewer.outgoing()).await?;
    viewer.outgoing().drain(..sent);
    to.flush().await
}

fn gone(why: String) -> anyhow::Error {
    Failure::not_running(format!("the environment was stopped, or can't be reached any more: {why}")).into()
}

/// The signals that matter to who looks at a session.
#[derive(Debug)]
struct ViewerSignals {
    resized: Signal,
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl ViewerSignals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            resized: signal(SignalKind::window_change())?,
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.resized.recv() => RESIZE,
            _ = self.hang_up.recv() => HANG_UP,
            _ = self.terminate.recv() => TERMINATE,
            _ = self.interrupt.recv() => INTERRUPT,
        }
    }
}
