//! Puts the agent, the services and the secrets where the container finds them at its next start.
//!
//! Every environment has a copy of the executable of its own, compared byte for byte with the one in this program before
//! each start. A copy that environments share, by a hard link or in a cache, would be one that the first of them to write
//! to it puts into all others as PID 1.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use secrecy::ExposeSecret;

use super::{BINARY, Bundle, Installed};
use crate::files::{self, Dir};
use crate::state::{self, StateDir, base_folder, replace};
use crate::units::User;

/// Where the parts lie in the environment's folder.
const AGENT: &str = "bin/powerdev-agent";
const SERVICES: &str = "config/services.json";
const SECRETS: &str = "config/secrets.json";
const GIT: &str = "config/gitconfig";

/// The agent's permissions: nobody writes to it, whoever owns it.
const AGENT_MODE: u32 = 0o555;
/// The folder of the control socket.
const RUN: &str = "run";
/// Former ones, out of the way.
const FORMER: &str = ".run-";

/// Makes the environment's folders ready for its next start: agent, services, secrets, control socket's folder. The
/// secrets are readable by the container's user alone.
///
/// # Errors
/// When a folder or file can't be written.
pub fn install(state: &StateDir, bundle: &Bundle) -> anyhow::Result<()> {
    let agent = agent_folder(state)?;
    ensured(&agent, "config", 0o755, User::own())?;
    ensured(&opened(state.root())?, RUN, 0o700, bundle.owner)?;
    replace(&state.empty_file(), b"", 0o444, None)?;
    let agent = agent.path();
    replace(&agent.join(SERVICES), &bundle.services, 0o644, None)?;
    bundle.git.iter().try_for_each(|config| install_git(state, config))?;
    replace(&agent.join(SECRETS), bundle.secrets.expose_secret(), 0o600, Some(bundle.owner))
}

/// The configuration for Git alone.
///
/// # Errors
/// As [`install`].
pub fn install_git(state: &StateDir, config: &[u8]) -> anyhow::Result<()> {
    let place = state.agent_dir().join(GIT);
    if files::read(&place).is_ok_and(|there| there == config) {
        return Ok(());
    }
    replace(&place, config, 0o644, None)
}

/// What is right before a start, whatever was left: this release's agent, the empty file that hides others, and an empty
/// folder for the control socket, `owner`'s.
///
/// # Errors
/// When it can't be written.
pub fn renew(state: &StateDir, owner: User) -> anyhow::Result<()> {
    agent_folder(state)?;
    replace(&state.empty_file(), b"", 0o444, None)?;
    let root = opened(state.root())?;
    // Root inside may have left what only root can remove: then it is out of the way at least.
    let former = root.names().with_context(|| format!("can't list {}", state.root().display()))?;
    let former = former.iter().filter(|name| name.to_string_lossy().starts_with(FORMER));
    former.for_each(|name| drop(root.remove_tree(name)));
    let aside = format!("{FORMER}{:08x}", fastrand::u32(..));
    match root.rename(OsStr::new(RUN), aside.as_ref()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(state::unusable(&state.run_dir(), error).into());
        }
        moved => moved.into_iter().for_each(|()| drop(root.remove_tree(aside.as_ref()))),
    }
    ensured(&root, RUN, 0o700, owner).map(drop)
}

/// Removes the secrets.
///
/// # Errors
/// When they can't be removed. Gone already is fine.
pub fn withdraw(state: &StateDir) -> anyhow::Result<()> {
    let path = state.agent_dir().join(SECRETS);
    match std::fs::remove_file(&path) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(state::unusable(&path, error).into())
        }
        _ => Ok(()),
    }
}

/// What lies in the environment's folder.
///
/// # Errors
/// When services or secrets can't be read.
pub fn installed(state: &StateDir) -> anyhow::Result<Installed> {
    let read = |file: &str| files::read(&state.agent_dir().join(file));
    let agent = opened(&state.agent_dir()).is_ok_and(|folder| is_ours(&folder));
    Ok(Installed { agent, services: read(SERVICES)?, secrets: read(SECRETS)?.into(), git: Vec::new() })
}

/// The folder that is mounted read-only, with this release's agent in it.
fn agent_folder(state: &StateDir) -> anyhow::Result<Dir> {
    state.create()?;
    let agent = ensured(&opened(state.root())?, "agent", 0o755, User::own())?;
    ensured(&agent, "bin", 0o755, User::own())?;
    if !is_ours(&agent) {
        replace(&agent.path().join(AGENT), BINARY, AGENT_MODE, None)?;
    }
    Ok(agent)
}

/// Whether this release's agent lies there, byte for byte, as a file that nobody writes to and that lies nowhere else.
fn is_ours(folder: &Dir) -> bool {
    let compared = || -> io::Result<bool> {
        let file = folder.file_beneath(Path::new(AGENT))?;
        let metadata = file.metadata()?;
        if metadata.len() != BINARY.len() as u64 || metadata.mode() & 0o7777 != AGENT_MODE || metadata.nlink() != 1 {
            return Ok(false);
        }
        let mut bytes = Vec::with_capacity(BINARY.len());
        file.take(BINARY.len() as u64).read_to_end(&mut bytes)?;
        Ok(bytes == BINARY)
    };
    compared().unwrap_or(false)
}

fn opened(path: &Path) -> anyhow::Result<Dir> {
    Ok(Dir::open(path).map_err(|error| state::unusable(path, error))?)
}

fn ensured(parent: &Dir, name: &str, mode: u32, owner: User) -> anyhow::Result<Dir> {
    let made = parent.ensure_dir(name.as_ref(), mode, owner);
    Ok(made.map_err(|error| state::unusable(&parent.path().join(name), error))?)
}

/// `~/.cache/powerdev`.
///
/// # Errors
/// When neither `XDG_CACHE_HOME` nor `HOME` says where.
pub fn cache_home() -> anyhow::Result<PathBuf> {
    base_folder("XDG_CACHE_HOME", ".cache")
        .map(|cache| cache.join("powerdev"))
        .context("can't tell where the cache is: neither HOME nor XDG_CACHE_HOME is set")
}
