//! The user's SSH agent inside, through a relay.
//!
//! An agent's socket is another one after each log-in, and a container can't start when what it mounts is gone. So it
//! mounts a folder of the state folder, in which a process of ours listens as long as the container runs. It passes
//! requests on to the socket that a file names; whoever calls powerdev with an agent of his own writes that file anew.
//!
//! ```text
//! ssh/agent.sock     the relay's socket; the folder is there if the environment may use an agent
//! ssh-target         the path of the user's own agent's socket
//! ssh-relay.lock     held by the relay
//! ssh-relay.log      what it had to say since it was started
//! ```

mod frames;
mod known_hosts;
pub mod relay;

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{ffi::OsString, fs, io, io::Read, os::unix::process::CommandExt, thread};

use anyhow::Context as _;

use crate::environment::Environment;
use crate::state::{Lock, StateDir, replace};

/// The relay's command, which nobody types.
pub const COMMAND: &str = "ssh-relay";
/// What the relay gets of the caller's variables: where things lie, and whom it acts for.
const INHERITED: [&str; 10] = [
    "DOCKER_CERT_PATH",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "DOCKER_HOST",
    "HOME",
    "PATH",
    "SUDO_GID",
    "SUDO_UID",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
];
/// How long a relay may take until it listens. It is waited for so that the first command inside finds it.
const START: Duration = Duration::from_secs(3);

/// Has the environment use the SSH agent of whoever calls, if it may use one and there is one, and know the hosts that the
/// user knows. Gives what the user should know: nothing here keeps anything from running.
pub async fn keep(environment: &Environment) -> Option<String> {
    let state = environment.state();
    if !cfg!(target_os = "linux") || !state.ssh_dir().is_dir() {
        return None;
    }
    known_hosts::deliver(state);
    let (own, notice) = match own_agent(state) {
        Ok(own) => (own, None),
        Err(path) => (None, Some(format!("the SSH agent at {} is gone: it can't be used inside", path.display()))),
    };
    let kept = match own.or_else(|| target(state)) {
        Some(socket) => point(environment, &socket).await,
        None => Ok(()),
    };
    kept.err().map(|error| format!("the SSH agent can't be used inside: {error:#}")).or(notice)
}

/// The socket of the caller's agent, as its variable names it: links in it may lead elsewhere tomorrow. An error: it is
/// named, and nobody listens there.
fn own_agent(state: &StateDir) -> Result<Option<PathBuf>, PathBuf> {
    let Some(path) = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()) else { return Ok(None) };
    let path = std::path::absolute(&path).unwrap_or_else(|_| path.into());
    if path.canonicalize().is_ok_and(|real| real.starts_with(state.root())) {
        return Ok(None);
    }
    if UnixStream::connect(&path).is_ok() { Ok(Some(path)) } else { Err(path) }
}

/// The socket that the relay passes requests on to.
fn target(state: &StateDir) -> Option<PathBuf> {
    let path = fs::read(state.ssh_target()).ok().filter(|path| !path.is_empty())?;
    Some(OsString::from_vec(path).into())
}

/// Names the socket, and sees to it that a relay runs. Written before the lock is looked at: one that is about to end
/// looks at the file once more when it has let the lock go.
async fn point(environment: &Environment, socket: &Path) -> anyhow::Result<()> {
    let state = environment.state();
    replace(&state.ssh_target(), socket.as_os_str().as_bytes(), 0o600, None)?;
    if Lock::at(&state.ssh_lock()).context("can't lock")?.is_none() {
        return Ok(());
    }
    let begun = start(environment).context("can't start the relay")?;
    // One that takes longer goes on beginning.
    tokio::time::timeout(START, begun).await.ok();
    Ok(())
}

/// Starts the relay as a process of its own, which outlives this one. What is returned ends when it listens, or has ended.
fn start(environment: &Environment) -> io::Result<impl Future> {
    let program = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe()? };
    let mut command = Command::new(program);
    command.arg0("powerdev").args([COMMAND, environment.name().as_str()]).current_dir("/").env_clear();
    command.envs(INHERITED.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    let mut relay = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut listens = relay.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let begun = tokio::task::spawn_blocking(move || listens.read(&mut [0]));
    // Where this process lives long, somebody must take notice of the relay's end.
    thread::spawn(move || relay.wait());
    Ok(begun)
}
