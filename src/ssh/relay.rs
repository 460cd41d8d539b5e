//! The relay: listens in the folder that the container mounts, as long as the container runs.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use futures_util::StreamExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::{frames, target};
use crate::clock::Deadline;
use crate::config::{Name, layout};
use crate::engine::Engine;
use crate::environment::Environment;
use crate::host;
use crate::state::{Lock, StateDir};
use crate::units::User;

/// Connections at a time; more than that wait to be accepted.
const MOST: usize = 16;
/// How long the agent of a container that has just been started may take to answer.
const START: Duration = Duration::from_secs(120);
/// What it may say between its start and its end, in bytes.
const LOG: usize = 32 * 1024;

/// What this process is for, if it was started as a relay: see [`super::keep`]. Asked before anything is opened.
pub fn answer() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let is_relay = arguments.next().is_some_and(|first| first == super::COMMAND);
    let name = arguments.next().filter(|_| is_relay)?.parse().ok()?;
    Some(main(&name))
}

/// Relays until the container ends, away from whoever's terminal and files it was started with.
fn main(name: &Name) -> ExitCode {
    close_what_was_inherited();
    rustix::process::setsid().ok(); // Who leads a session already has no terminal to be rid of.
    let run = || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(relay(name.clone()))
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// A lock or a pipe of whoever called powerdev must not stay with a process that lives for days.
fn close_what_was_inherited() {
    let own = Path::new("/proc/self/fd");
    let number = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse::<i32>().ok();
    let open: Vec<i32> = fs::read_dir(own).into_iter().flatten().filter_map(number).filter(|fd| *fd > 2).collect();
    // That of the listing itself is among them, and closed by now.
    for fd in open.into_iter().filter(|fd| own.join(fd.to_string()).is_symlink()) {
        // SAFETY: it is open, and nothing of this process's own is yet.
        unsafe { rustix::io::close(fd) };
    }
}

async fn relay(name: Name) -> anyhow::Result<()> {
    let engine = Engine::connect().await?;
    let environment = Environment::named(name, engine)?;
    let state = environment.state();
    loop {
        let Some(lock) = Lock::at(&state.ssh_lock())? else { return Ok(()) };
        let log = Log::new(File::create(state.root().join("ssh-relay.log"))?);
        let begun = pointed_at(state);
        if let Err(error) = serve(&environment, &log).await {
            log.line(&format!("{error:#}"));
        }
        fs::remove_file(state.ssh_dir().join(layout::SSH_SOCKET)).ok(); // The folder may be gone, too.
        drop(lock);
        // Somebody may have relied on us while the lock was still held.
        if pointed_at(state).is_none_or(|now| Some(now) == begun) {
            return Ok(());
        }
    }
}

/// When somebody last named a socket.
fn pointed_at(state: &StateDir) -> Option<SystemTime> {
    fs::metadata(state.ssh_target()).ok()?.modified().ok()
}

/// Passes requests on until the container has ended.
async fn serve(environment: &Environment, log: &Log) -> anyhow::Result<()> {
    let container = environment.running().await?;
    let spec = container.spec.context("its container was made by another release")?;
    anyhow::ensure!(spec.folder_at(layout::SSH_AGENT_DIR).is_some(), "its container has no place for an SSH agent");
    let listener = listen(&environment.state().ssh_dir(), spec.user).context("can't listen")?;
    tell_that_it_listens();
    let peers = [spec.user.uid, User::own().uid];
    let slots = Arc::new(Semaphore::new(MOST));
    let mut ended = std::pin::pin!(ended(environment));
    loop {
        let slot = slots.clone().acquire_owned();
        let next = async { (slot.await, listener.accept().await) };
        let (slot, accepted) = tokio::select! {
            () = &mut ended => return Ok(()),
            next = next => next,
        };
        let Ok((client, _)) = accepted else {
            // No descriptor is left: one that ends gives one back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if !client.peer_cred().is_ok_and(|peer| peers.contains(&peer.uid())) {
            log.line("refused a user who is neither the container's nor powerdev's");
            continue;
        }
        let (state, log) = (environment.state().clone(), log.clone());
        tokio::spawn(async move {
            if let Err(error) = pass_on(client, &state, &log).await {
                log.line(&format!("a connection broke: {error}"));
            }
            drop(slot);
        });
    }
}

/// Listens for the container's user alone. A path of any length will do.
fn listen(folder: &Path, user: User) -> io::Result<UnixListener> {
    let opened = File::open(folder)?;
    let folder = if cfg!(target_os = "linux") {
        format!("/proc/self/fd/{}", opened.as_raw_fd()).into()
    } else {
        folder.to_owned()
    };
    let path = folder.join(layout::SSH_SOCKET);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    if user.uid != User::own().uid {
        std::os::unix::fs::lchown(&path, Some(user.uid), Some(user.gid))?;
    }
    Ok(listener)
}

/// Whoever started us waits for it. Nothing is said to anybody afterwards.
fn tell_that_it_listens() {
    io::stdout().write_all(b"\n").and_then(|()| io::stdout().flush()).ok(); // Nobody may wait any more.
    if let Ok(nowhere) = File::options().write(true).open("/dev/null") {
        rustix::stdio::dup2_stdout(&nowhere).ok();
    }
}

/// Waits until the container has ended: its first process, which is asked for its events, hangs up. One that starts again
/// at once is the same to us.
async fn ended(environment: &Environment) {
    while let Ok(agent) = environment.agent_up(None, Deadline::after(START)).await {
        let Ok(events) = agent.events().await else { return };
        let mut events = std::pin::pin!(events);
        while let Some(Ok(_)) = events.next().await {}
    }
}

async fn pass_on(mut client: UnixStream, state: &StateDir, log: &Log) -> io::Result<()> {
    let mut agent = None;
    while let Some(request) = frames::read(&mut client).await? {
        let answer = if frames::may_pass(&request) {
            ask(&mut agent, &request, state).await.unwrap_or_else(|error| {
                log.line(&format!("the user's own agent doesn't answer: {error}"));
                frames::FAILURE.to_vec()
            })
        } else {
            log.line(&format!("refused a request of kind {}", request.first().copied().unwrap_or_default()));
            frames::FAILURE.to_vec()
        };
        frames::write(&mut client, &answer).await?;
    }
    Ok(())
}

/// Asks the user's own agent: the one that is named when a connection first asks. What a connection has told it about
/// itself holds for this connection alone.
async fn ask(agent: &mut Option<UnixStream>, request: &[u8], state: &StateDir) -> io::Result<Vec<u8>> {
    let mut connection = match agent.take() {
        Some(connection) => connection,
        None => connect(state).await?,
    };
    frames::write(&mut connection, request).await?;
    let answer = frames::read(&mut connection).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    *agent = Some(connection);
    Ok(answer)
}

/// Where an agent was, another user may have put a socket of his since.
async fn connect(state: &StateDir) -> io::Result<UnixStream> {
    let path = target(state).ok_or(io::ErrorKind::NotFound)?;
    let connection = UnixStream::connect(path).await?;
    let owner = connection.peer_cred()?.uid();
    let ours = [Some(User::own().uid), Some(0), host::sudo_user().map(|user| user.uid)];
    if ours.contains(&Some(owner)) { Ok(connection) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

/// What it had to say, up to a limit.
#[derive(Debug, Clone)]
struct Log(Arc<Mutex<(File, usize)>>);

impl Log {
    fn new(file: File) -> Self {
        Self(Arc::new(Mutex::new((file, LOG))))
    }

    fn line(&self, line: &str) {
        let mut guard = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (file, left) = &mut *guard;
        let line = format!("{} {line}\n", jiff::Timestamp::now());
        if line.len() <= *left && file.write_all(line.as_bytes()).is_ok() {
            *left -= line.len();
        }
    }
}
