//! Puts the agent, the services and the secrets where the container finds them at its next start.
//!
//! The executable is written once per release to `~/.cache/powerdev/agent-<sha256>` and hard-linked from there, so
//! that many environments share its bytes and the same version moves none. On another file system it is copied.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use powerdev_protocol::ServiceSet;
use secrecy::{ExposeSecret, SecretSlice};

use super::{BINARY, SHA256};
use crate::state::{StateDir, base_folder, make_folder, replace};
use crate::units::User;

/// What [`inject`] found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injected {
    /// This release's agent was there already.
    Unchanged,
    /// There was none, or one of another release.
    Replaced,
}

/// Makes the environment's folders ready for its next start: agent, services, secrets, control socket's folder.
/// `owner` is the container's user: the secrets are readable by it alone.
///
/// # Errors
/// When a folder or file can't be written.
pub fn inject(
    state: &StateDir,
    services: &ServiceSet,
    secrets: &BTreeMap<String, String>,
    owner: User,
) -> anyhow::Result<Injected> {
    state.create()?;
    let agent = state.agent_dir();
    let config = agent.join("config");
    make_folder(&agent, 0o755, User::own())?;
    make_folder(&agent.join("bin"), 0o755, User::own())?;
    make_folder(&config, 0o755, User::own())?;
    make_folder(&state.run_dir(), 0o700, owner)?;
    let injected = place_agent(&agent.join("bin/powerdev-agent"))?;
    Config { services: serde_json::to_vec_pretty(services)?, secrets: serde_json::to_vec(secrets)?.into() }
        .write(state, owner)?;
    Ok(injected)
}

/// Services and secrets as they lie there.
#[derive(Debug)]
pub struct Config {
    services: Vec<u8>,
    secrets: SecretSlice<u8>,
}

impl Config {
    /// Reads them.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn read(state: &StateDir) -> anyhow::Result<Self> {
        let read = |file: &str| {
            let path = state.agent_dir().join(file);
            fs::read(&path).with_context(|| format!("can't read {}", path.display()))
        };
        Ok(Self { services: read("config/services.json")?, secrets: read("config/secrets.json")?.into() })
    }

    /// Writes them, each in one go. `owner` is the container's user.
    ///
    /// # Errors
    /// When one can't be written.
    pub fn write(&self, state: &StateDir, owner: User) -> anyhow::Result<()> {
        let config = state.agent_dir().join("config");
        replace(&config.join("services.json"), &self.services, 0o644, None)?;
        replace(&config.join("secrets.json"), self.secrets.expose_secret(), 0o600, Some(owner))
    }
}

/// Links or copies the agent to `place`, unless it is there.
fn place_agent(place: &Path) -> anyhow::Result<Injected> {
    let cached = cached()?;
    if same_file(&cached, place) || fs::read(place).is_ok_and(|bytes| bytes == BINARY) {
        return Ok(Injected::Unchanged);
    }
    let failed = || format!("can't put the agent at {}", place.display());
    let beside = place.with_file_name(format!(".powerdev-agent.{}", std::process::id()));
    let linked = fs::hard_link(&cached, &beside).or_else(|_| fs::copy(&cached, &beside).map(drop));
    linked
        .and_then(|()| fs::rename(&beside, place))
        .inspect_err(|_| drop(fs::remove_file(&beside)))
        .with_context(failed)?;
    Ok(Injected::Replaced)
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

/// What of a running environment waits for its next restart: `agent`, `services`, `secrets`.
pub fn pending(state: &StateDir, services: &ServiceSet, secrets: &BTreeMap<String, String>) -> Vec<&'static str> {
    let agent = state.agent_dir();
    let differs = |file: &str, wanted: serde_json::Result<Vec<u8>>| {
        wanted.is_ok_and(|wanted| fs::read(agent.join(file)).is_ok_and(|there| there != wanted))
    };
    let mut pending = Vec::new();
    if fs::metadata(agent.join("bin/powerdev-agent")).is_ok_and(|metadata| metadata.len() != BINARY.len() as u64)
        || differs("bin/powerdev-agent", Ok(BINARY.to_vec()))
    {
        pending.push("agent");
    }
    if differs("config/services.json", serde_json::to_vec_pretty(services)) {
        pending.push("services");
    }
    if differs("config/secrets.json", serde_json::to_vec(secrets)) {
        pending.push("secrets");
    }
    pending
}
