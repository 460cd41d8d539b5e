//! An environment together with what it is to be: its settings, and the facts about this machine.

use crate::config::Settings;
use crate::engine::{Engine, EngineInfo};
use crate::environment::Environment;
use crate::host::{self, HostFacts};
use crate::plan::PlaceFacts;
use crate::repository;
use crate::site::Site;

/// An environment and what is to be deployed as it.
#[derive(Debug)]
pub struct Deployment {
    pub environment: Environment,
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
        let host = HostFacts::detect(Site::of(engine.endpoint()).path(&settings.dir));
        Ok(Self { environment, host, settings, engine })
    }

    /// Where its Engine runs.
    pub fn site(&self) -> Site {
        Site::of(self.engine.endpoint())
    }

    /// What is known about the place that is to run it.
    pub fn place(&self, info: &EngineInfo) -> PlaceFacts {
        let repositories = repository::with_hooks(repository::mounted(&self.settings));
        let project = self.site().path(&self.settings.dir);
        let project_owner = project.and_then(|project| host::foreign_owner(project, self.host.user));
        PlaceFacts { repositories, project_owner, ..self.site().facts(&self.host, info, self.environment.state()) }
    }
}
