//! Puts the agent, the services and the secrets where the container finds them at its next start.
//!
//! The executable is written once per release to `~/.cache/powerdev/agent-<sha256>` and hard-linked from there, so
//! that many environments share its bytes and the same version moves none. On another file system it is copied.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use secrecy::ExposeSecret;

use super::{BINARY, Bundle, Installed, SHA256};
use crate::state::{StateDir, base_folder, make_folder, replace};
use crate::units::User;

/// Where the parts lie in the environment's folder.
const AGENT: &str = "bin/powerdev-agent";
const SERVICES: &str = "config/services.json";
const SECRETS: &str = "config/secrets.json";

/// Makes the environment's folders ready for its next start: agent, services, secrets, control socket's folder. The
/// secrets are readable by the container's user alone.
///
/// # Errors
/// When a folder or file can't be written.
pub fn install(state: &StateDir, bundle: &Bundle) -> anyhow::Result<()> {
    state.create()?;
    let agent = state.agent_dir();
    let config = agent.join("config");
    make_folder(&agent, 0o755, User::own())?;
    make_folder(&agent.join("bin"), 0o755, User::own())?;
    make_folder(&config, 0o755, User::own())?;
    make_folder(&state.run_dir(), 0o700, bundle.owner)?;
    replace(&state.empty_file(), b"", 0o444, None)?;
    place_agent(&agent.join(AGENT))?;
    replace(&agent.join(SERVICES), &bundle.services, 0o644, None)?;
    replace(&agent.join(SECRETS), bundle.secrets.expose_secret(), 0o600, Some(bundle.owner))
}

/// What lies in the environment's folder.
///
/// # Errors
/// When services or secrets can't be read.
pub fn installed(state: &StateDir) -> anyhow::Result<Installed> {
    let read = |file: &str| {
        let path = state.agent_dir().join(file);
        fs::read(&path).with_context(|| format!("can't read {}", path.display()))
    };
    let agent = is_ours(&state.agent_dir().join(AGENT));
    Ok(Installed { agent, services: read(SERVICES)?, secrets: read(SECRETS)?.into() })
}

/// Whether this release's agent lies there. Most others differ in length, which is told without reading them.
fn is_ours(path: &Path) -> bool {
    let length = fs::metadata(path).map(|metadata| metadata.len());
    length.is_ok_and(|length| length == BINARY.len() as u64) && fs::read(path).is_ok_and(|bytes| bytes == BINARY)
}

/// Links or copies the agent to `place`, unless it is there.
fn place_agent(place: &Path) -> anyhow::Result<()> {
    let cached = cached()?;
    if same_file(&cached, place) || is_ours(place) {
        return Ok(());
    }
    let failed = || format!("can't put the agent at {}", place.display());
    let beside = place.with_file_name(format!(".powerdev-agent.{}", std::process::id()));
    let linked = fs::hard_link(&cached, &beside).or_else(|_| fs::copy(&cached, &beside).map(drop));
    linked
        .and_then(|()| fs::rename(&beside, place))
        .inspect_err(|_| drop(fs::remove_file(&beside)))
        .with_context(failed)
}

/// This release's agent in the user's cache, written if it isn't there or isn't whole.
fn cached() -> anyhow::Result<PathBuf> {
    let folder = cache_home()?.join(cache_name());
    let path = folder.join("powerdev-agent");
    let whole = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == BINARY.len() as u64);
    if !whole {
        fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
        replace(&path, BINARY, 0o755, None)?;
    }
    Ok(path)
}

/// The folder of this release's agent in [`cache_home`]; those of others begin with `agent-`, too.
pub fn cache_name() -> String {
    format!("agent-{}", &SHA256[..16])
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

fn same_file(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}
