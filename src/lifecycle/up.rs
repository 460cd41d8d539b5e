//! Making, starting and adopting: whatever is there, afterwards the container runs.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Serialize;

use super::ports::{self, Replaced};
use super::{Applied, LOCK_PATIENCE, reload};
use crate::config::Port;
use crate::delivery::{self, Bundle};
use crate::deployment::Deployment;
use crate::engine::{Container, EngineError, EngineInfo, RunState};
use crate::failure::Failure;
use crate::image::{self, BuildOptions};
use crate::interrupt::interruptible;
use crate::plan::{self, Difference, Plan, Selection};
use crate::reporter::Reporter;
use crate::spec::ContainerSpec;

/// How often a port that looked free may turn out to be taken before giving up: others look for ports, too.
const PORT_TRIES: usize = 5;

/// When to build the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// When anything that goes into it has changed.
    IfChanged,
    /// When a container is to be made: one that is there keeps its image.
    IfMissing,
}

/// How to bring an environment up.
#[derive(Debug, Clone, Copy)]
pub struct BringUp {
    /// Replace a container that is there.
    pub recreate: bool,
    /// When to build the image.
    pub build: Build,
}

/// What [`bring_up`] did to the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// Made and started it.
    Created,
    /// Replaced one that was there.
    Recreated,
    /// Started one that was there.
    Started,
    /// It ran already.
    Adopted,
}

/// How an environment came up.
#[derive(Debug)]
pub struct Up {
    /// What was done.
    pub done: Done,
    /// The plan that the configuration asks for now.
    pub plan: Plan,
    /// How the container differs from it.
    pub drift: Vec<Difference>,
    /// Ports that stand in for busy ones.
    pub replaced: Vec<Replaced>,
    /// A running container has these waiting, for its next restart or (in a dry run) to be applied: `agent`, `services`,
    /// `secrets`.
    pub pending: Vec<&'static str>,
    /// What of that was applied while it ran.
    pub applied: Option<Applied>,
}

/// Makes, starts or adopts the container, and returns as soon as it runs. One powerdev at a time.
///
/// # Errors
/// A conflict when a foreign container has our name; a failed build; what the Engine says. A container that was made
/// but can't be started is removed again.
pub async fn bring_up(deployment: &Deployment, reporter: &dyn Reporter, options: BringUp) -> anyhow::Result<Up> {
    let look = || deployment.environment.find();
    let (found, info) = tokio::join!(look(), deployment.engine.info());
    let (found, info) = (found?, info?);
    let image = image(deployment, reporter, options, found.as_ref()).await?;
    let _lock = interruptible("the start", None, deployment.environment.state().lock(LOCK_PATIENCE)).await?;
    match look().await? {
        Some(container) if !options.recreate => adopt(deployment, &container, &image, &info).await,
        found => create(deployment, found, &image, &info).await,
    }
}

/// The plan as it would be carried out now. Touches nothing: an image that would have to be built is named, not built.
///
/// # Errors
/// As [`bring_up`], as far as that can be told beforehand.
pub async fn dry_run(deployment: &Deployment, options: BringUp) -> anyhow::Result<Up> {
    let found = deployment.environment.find().await?;
    let image = match &found {
        Some(container) if options.build == Build::IfMissing && !options.recreate => container.image.clone(),
        _ => image::tag(&deployment.settings, &deployment.host)?,
    };
    let info = deployment.engine.info().await?;
    let current = found.as_ref().and_then(|container| container.spec.as_ref());
    let (ports, replaced) = choose_ports(deployment, current.map(published), &[]);
    let plan = make_plan(deployment, &image, &info, ports)?;
    let drift = current.map(|spec| plan::differences(spec, plan.environment())).unwrap_or_default();
    let done = match &found {
        None => Done::Created,
        Some(_) if options.recreate => Done::Recreated,
        Some(container) if container.state == RunState::Running => Done::Adopted,
        Some(_) => Done::Started,
    };
    let pending = match &found {
        Some(container) if done == Done::Adopted => {
            delivery::pending(deployment, container, &plan.environment().gpus).await?
        }
        _ => Vec::new(),
    };
    Ok(Up { done, plan, drift, replaced, pending, applied: None })
}

/// How a container differs from what the configuration asks for now. Its image counts as the right one: whether that
/// is up to date only a build can tell.
///
/// # Errors
/// As [`plan::plan`]; what the Engine says.
pub async fn drift(deployment: &Deployment, container: &Container) -> anyhow::Result<Vec<Difference>> {
    let Some(spec) = &container.spec else { return Ok(Vec::new()) };
    let info = deployment.engine.info().await?;
    let (ports, _) = choose_ports(deployment, Some(published(spec)), &[]);
    let plan = make_plan(deployment, &container.image, &info, ports)?;
    Ok(plan::differences(spec, plan.environment()))
}

/// The image to run: a container that is there keeps its own unless the build is to be looked at.
async fn image(
    deployment: &Deployment,
    reporter: &dyn Reporter,
    options: BringUp,
    found: Option<&Container>,
) -> anyhow::Result<String> {
    match found {
        Some(container) if options.build == Build::IfMissing && !options.recreate => Ok(container.image.clone()),
        _ => Ok(image::ensure(
            &deployment.engine,
            &deployment.settings,
            &deployment.host,
            reporter,
            BuildOptions::default(),
        )
        .await?
        .tag),
    }
}

/// A container is there: it runs on, or is started as it is.
async fn adopt(deployment: &Deployment, container: &Container, image: &str, info: &EngineInfo) -> anyhow::Result<Up> {
    let (ports, replaced) = choose_ports(deployment, container.spec.as_ref().map(published), &[]);
    let plan = make_plan(deployment, image, info, ports)?;
    let drift = container.spec.as_ref().map(|spec| plan::differences(spec, plan.environment())).unwrap_or_default();
    if container.state == RunState::Running {
        let pending = delivery::pending(deployment, container, &plan.environment().gpus).await?;
        let applied = reload::apply(deployment, container, &plan.environment().gpus, &pending).await?;
        let pending = if applied.is_some() { Vec::new() } else { pending };
        return Ok(Up { done: Done::Adopted, plan, drift, replaced, pending, applied });
    }
    if container.state == RunState::Paused {
        deployment.engine.unpause_container(&container.name).await?;
        return Ok(Up { done: Done::Started, plan, drift, replaced, pending: Vec::new(), applied: None });
    }
    delivery::refresh(deployment, container, &plan.environment().gpus).await?;
    for network in &plan.networks {
        deployment.engine.ensure_network(network).await?;
    }
    deployment
        .engine
        .start_container(&container.name)
        .await
        .map_err(|error| port_taken_since(error, &container.name))?;
    Ok(Up { done: Done::Started, plan, drift, replaced, pending: Vec::new(), applied: None })
}

/// A stopped container's ports are settled; when somebody else has taken one since, only a new container helps.
fn port_taken_since(error: EngineError, container: &str) -> anyhow::Error {
    if !error.is_port_taken() {
        return error.into();
    }
    Failure::conflict(format!("a port of {container} has been taken by another program since it ran last"))
        .hint("free it, or give --recreate: that finds another port; what is in /home/dev and .agent-mount stays")
        .source(error)
        .into()
}

/// Makes a new container, in place of `old` if there is one, and starts it.
async fn create(deployment: &Deployment, old: Option<Container>, image: &str, info: &EngineInfo) -> anyhow::Result<Up> {
    let done = if old.is_some() { Done::Recreated } else { Done::Created };
    let kept = old.as_ref().and_then(|container| container.spec.as_ref()).map(published);
    // Planned before the old one goes: a plan that can't be made must not cost the environment.
    let planned = make_plan(deployment, image, info, choose_ports(deployment, kept, &[]).0)?;
    let bundle = delivery::before_making(deployment, &planned.environment().gpus)?;
    if let Some(old) = &old {
        super::stop(&deployment.engine, old, None).await?;
        deployment.engine.remove_container(&old.name, true).await?;
    }
    let mut taken = Vec::new();
    loop {
        let (ports, replaced) = choose_ports(deployment, None, &taken);
        let plan = make_plan(deployment, image, info, ports.clone())?;
        match create_and_start(deployment, &plan, bundle.as_ref()).await {
            Ok(()) => {
                deployment.environment.state().remember_ports(&ports)?;
                return Ok(Up { done, plan, drift: Vec::new(), replaced, pending: Vec::new(), applied: None });
            }
            Err(error) if error.is_port_taken() && taken.len() < PORT_TRIES * ports.len().max(1) => {
                taken.extend(error.taken_port().map_or_else(|| ports.values().copied().collect(), |port| vec![port]));
            }
            Err(error) => return Err(error).with_context(|| format!("can't start {}", plan.environment().name)),
        }
    }
}

/// All of it, or nothing: a container that can't be started is removed, and so is a network made for it.
async fn create_and_start(deployment: &Deployment, plan: &Plan, bundle: Option<&Bundle>) -> Result<(), EngineError> {
    let engine = &deployment.engine;
    let mut made = Vec::new();
    let started = async {
        for network in &plan.networks {
            if engine.ensure_network(network).await? {
                made.push(network.name.as_str());
            }
        }
        Ok::<_, EngineError>(())
    };
    // Both to their end, whatever becomes of the other: what is made must be known to be removed.
    let (networks, volumes) = tokio::join!(started, delivery::prepare(engine, plan.environment(), bundle));
    let started = async {
        networks?;
        volumes?;
        for container in &plan.containers {
            engine.create_container(container).await?;
            engine.start_container(&container.name).await?;
        }
        Ok(())
    }
    .await;
    if started.is_err() {
        // What went wrong first is what the user needs to hear; leftovers are tried to be removed as well as may be.
        for container in plan.containers.iter().rev() {
            engine.remove_container(&container.name, true).await.ok();
        }
        for network in made {
            engine.remove_network(network).await.ok();
        }
        if bundle.is_some() {
            delivery::withdraw(engine, plan.environment()).await.ok();
        }
    }
    started
}

fn make_plan(
    deployment: &Deployment,
    image: &str,
    info: &EngineInfo,
    ports: BTreeMap<u16, u16>,
) -> anyhow::Result<Plan> {
    let selection = Selection { image: image.to_owned(), ports };
    plan::plan(&deployment.settings, &deployment.host, &deployment.place(info), &selection)
}

/// The ports of a container, container port -> host port.
fn published(spec: &ContainerSpec) -> BTreeMap<u16, u16> {
    spec.ports.iter().map(|port| (port.container, port.host)).collect()
}

/// Ports for the plan: those that a container has already, and found ones for the rest.
fn choose_ports(
    deployment: &Deployment,
    has: Option<BTreeMap<u16, u16>>,
    taken: &[u16],
) -> (BTreeMap<u16, u16>, Vec<Replaced>) {
    let has = has.unwrap_or_default();
    let wished = plan::wished_ports(&deployment.settings).into_iter().map(|(container, host)| Port { container, host });
    let (kept, missing): (Vec<Port>, Vec<Port>) = wished.partition(|port| has.contains_key(&port.container));
    let (site, address) = (deployment.site(), deployment.settings.bind_address);
    let is_free = |port: u16| site.is_port_free(address, port);
    let (mut chosen, replaced) = ports::choose(&missing, &deployment.environment.state().ports(), taken, is_free);
    chosen.extend(kept.iter().map(|port| (port.container, has[&port.container])));
    (chosen, replaced)
}
