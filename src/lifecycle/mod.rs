//! An environment's life: found, made, started, waited for, stopped, removed. What the commands of that name share.

mod delivery;
pub mod ports;
pub mod ready;
pub mod reload;
pub mod report;
mod stop;
mod up;
mod volumes;

use std::path::Path;
use std::time::Duration;

use crate::config::{Name, Settings};
use crate::engine::spec::label;
use crate::engine::{Container, Engine};
use crate::failure::Failure;
use crate::host::HostFacts;
use crate::state::StateDir;

pub use delivery::refresh;
pub use reload::Applied;
pub use stop::{Stopped, remove, stop};
pub use up::{BringUp, Build, Done, Up, bring_up, drift, dry_run};

/// How long a command waits for another powerdev that changes the same environment: as long as a start may take.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(300);

/// One environment, with all that is needed to change it.
#[derive(Debug)]
pub struct Environment {
    /// Its settings.
    pub settings: Settings,
    /// Facts about this machine.
    pub host: HostFacts,
    /// The Engine that it runs on.
    pub engine: Engine,
    /// What is remembered about it.
    pub state: StateDir,
}

impl Environment {
    /// Puts the parts together.
    ///
    /// # Errors
    /// When there is no place to keep state.
    pub fn new(settings: Settings, engine: Engine) -> anyhow::Result<Self> {
        let state = StateDir::of(&settings.name)?;
        Ok(Self { host: HostFacts::detect(), settings, engine, state })
    }
}

/// The environment's container, if there is one.
///
/// # Errors
/// A conflict when a container of that name isn't powerdev's, or is another project's: it is left alone.
pub async fn find(engine: &Engine, name: &Name, dir: &Path) -> anyhow::Result<Option<Container>> {
    let container_name = name.container();
    let Some(container) = engine.container(&container_name).await? else { return Ok(None) };
    if container.project() != Some(name.as_str()) {
        let message = format!("there is a container named {container_name} that isn't powerdev's");
        let hint = "it is left alone: rename it, or give this project another name (POWERDEV_NAME, or `name:` in powerdev.yaml)";
        return Err(Failure::conflict(message).hint(hint).into());
    }
    // A project that was moved takes its container along: its old folder is gone.
    let home = container.labels.get(label::DIR).map(Path::new);
    if let Some(other) = home.filter(|home| *home != dir && home.exists()) {
        let message = format!("{container_name} belongs to the project in {}", other.display());
        let hint = "give this project another name (POWERDEV_NAME, or `name:` in powerdev.yaml)";
        return Err(Failure::conflict(message).hint(hint).into());
    }
    Ok(Some(container))
}

/// The environment's container, which must be there.
///
/// # Errors
/// As [`find`]; not there is a failure that says how to make it.
pub async fn require(engine: &Engine, name: &Name, dir: &Path) -> anyhow::Result<Container> {
    find(engine, name, dir).await?.ok_or_else(|| absent(name))
}

/// The failure that says that there is no such environment.
pub fn absent(name: &Name) -> anyhow::Error {
    Failure::not_running(format!("there is no environment {name} on this Engine")).hint("`powerdev up` makes it").into()
}
