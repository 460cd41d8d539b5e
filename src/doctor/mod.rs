//! Looks at everything that an environment needs, and says what is wrong and how to mend it.
//!
//! Nothing here needs the network, nothing changes anything, and nothing hangs: whatever asks has a deadline. A check
//! that can't be made since another failed is skipped, not failed: one cause, one fix.

mod engine;
mod machine;
mod project;
mod registry;

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::config::{self, Name, Settings};
use crate::engine::{Container, Engine, EngineInfo};
use crate::environment::Environment;
use crate::host::HostFacts;
use crate::site::Site;

/// How long the Engine may take for one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// As it should be.
    Ok,
    /// It works, but something should be known.
    Warn,
    /// Environments don't work until this is mended.
    Fail,
    /// Couldn't be looked at, since something else failed, or there is nothing to look at.
    Skip,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable name, for scripts.
    pub name: &'static str,
    /// What came of it.
    pub verdict: CheckStatus,
    /// What was found, in one line.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    fn new(name: &'static str, verdict: CheckStatus, detail: impl Into<String>) -> Self {
        Self { name, verdict, detail: detail.into(), fix: None }
    }

    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, CheckStatus::Ok, detail)
    }

    fn warn(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, CheckStatus::Warn, detail)
    }

    fn fail(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, CheckStatus::Fail, detail)
    }

    fn skip(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, CheckStatus::Skip, detail)
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// What the checks look at, found out once.
struct Facts {
    host: HostFacts,
    settings: anyhow::Result<Settings>,
    identity: anyhow::Result<(Name, std::path::PathBuf)>,
    /// Why the name is not this project's.
    conflict: Option<anyhow::Error>,
    engine: anyhow::Result<(Engine, EngineInfo)>,
    environment: Option<Environment>,
    container: Option<Container>,
    seen: bool,
}

/// Makes every check, in a stable order. `seen`: what the project's Git repository runs is taken as known.
pub async fn examine(project: Option<&Path>, env_file: Option<&Path>, seen: bool) -> Vec<Check> {
    let facts = Facts { seen, ..Facts::gather(project, env_file).await };
    let mut checks = engine::checks(&facts).await;
    checks.extend(machine::checks(&facts).await);
    checks.extend(project::checks(&facts).await);
    checks
}

impl Facts {
    /// Where the Engine runs, or would run if it answered.
    fn site(&self) -> Option<Site> {
        site(&self.engine)
    }

    async fn gather(project: Option<&Path>, env_file: Option<&Path>) -> Self {
        let identity = config::identity_with(project, env_file);
        let engine = reach().await;
        let environment = identity.as_ref().ok().map(|(name, dir)| Environment::new(name.clone(), dir)).transpose();
        let (environment, conflict) = match environment {
            Ok(environment) => (environment, None),
            Err(conflict) => (None, Some(conflict)),
        };
        let environment = engine.as_ref().ok().zip(environment).map(|((engine, _), found)| found.on(engine.clone()));
        let container = match &environment {
            Some(environment) => {
                let looked = tokio::time::timeout(PATIENCE, environment.find()).await;
                looked.ok().and_then(Result::ok).flatten()
            }
            None => None,
        };
        let dir = identity.as_ref().ok().map(|(_, dir)| dir.as_path());
        let dir = dir.and_then(|dir| site(&engine).map_or(Some(dir), |site| site.path(dir)));
        Self {
            host: HostFacts::detect(dir),
            settings: config::load(project, env_file),
            identity,
            conflict,
            engine,
            environment,
            container,
            seen: false,
        }
    }
}

fn site(engine: &anyhow::Result<(Engine, EngineInfo)>) -> Option<Site> {
    engine.as_ref().map_or_else(|_| Site::find(), |(engine, _)| Some(Site::of(engine.endpoint())))
}

/// Does what may block for ever, such as a look at a network drive that is gone, and gives up on it in time.
async fn patiently<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(work)).await.ok()?.ok()
}

/// Connects and asks the Engine about itself.
async fn reach() -> anyhow::Result<(Engine, EngineInfo)> {
    let asked = async {
        let engine = Engine::connect().await?;
        let info = engine.info().await?;
        Ok::<_, crate::engine::EngineError>((engine, info))
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answered) => Ok(answered?),
        Err(_) => anyhow::bail!("the Engine hasn't answered for {} s", PATIENCE.as_secs()),
    }
}
