//! An environment's life: made, started, waited for, stopped, removed. What the commands of that name share.

mod delivery;
pub mod ports;
pub mod ready;
pub mod reload;
pub mod report;
mod stop;
mod up;
mod volumes;

use std::time::Duration;

use crate::config::Settings;
use crate::engine::{Engine, EngineInfo};
use crate::environment::Environment;
use crate::host::HostFacts;
use crate::plan::PlaceFacts;
use crate::site::Site;

pub use delivery::refresh;
pub use reload::Applied;
pub use stop::{Stopped, remove, stop};
pub use up::{BringUp, Build, Done, Up, bring_up, drift, dry_run};

/// How long a command waits for another powerdev that changes the same environment: as long as a start may take.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(300);

/// An environment and what is to be deployed as it.
#[derive(Debug)]
pub struct Deployment {
    /// The environment.
    pub environment: Environment,
    /// Its settings.
    pub settings: Settings,
    /// Facts about this machine.
    pub host: HostFacts,
    /// The Engine that it runs on.
    pub engine: Engine,
}

impl Deployment {
    /// Puts the parts together.
    ///
    /// # Errors
    /// When there is no place to keep state.
    pub fn new(settings: Settings, engine: Engine) -> anyhow::Result<Self> {
        let environment = Environment::new(settings.name.clone(), &settings.dir)?.on(engine.clone());
        Ok(Self { environment, host: HostFacts::detect(), settings, engine })
    }

    /// Where its Engine runs.
    pub fn site(&self) -> Site {
        Site::of(self.engine.endpoint())
    }

    /// What is known about the place that is to run it.
    fn place(&self, info: &EngineInfo) -> PlaceFacts {
        self.site().facts(&self.host, info, self.environment.state())
    }
}
