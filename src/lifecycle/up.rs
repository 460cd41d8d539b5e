//! Making, starting and adopting: whatever is there, afterwards the container runs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::ports::{self, Replaced};
use super::{Applied, LOCK_PATIENCE, make, reload};
use crate::agent_mount;
use crate::config::{Port, Settings};
use crate::delivery;
use crate::deployment::Deployment;
use crate::engine::{Container, EngineError, EngineInfo, RunState};
use crate::failure::Failure;
use crate::image::{self, BuildOptions};
use crate::interrupt::interruptible;
use crate::plan::{self, Difference, Plan, Selection};
use crate::reporter::Reporter;
use crate::repository;
use crate::spec::ContainerSpec;
use crate::state::LastPort;
use crate::trust::Standing;

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
    /// What the container was made from, which may be another one than the plan's, with the ports that it has.
    pub made_from: ContainerSpec,
    /// The state folder that it was started from, where that is another user's: what has changed isn't applied there.
    pub started_from: Option<PathBuf>,
    /// How the container differs from the plan.
    pub drift: Vec<Difference>,
    /// Ports that stand in for busy ones.
    pub replaced: Vec<Replaced>,
    /// A running container has these waiting, for its next restart or (in a dry run) to be applied: `agent`, `services`,
    /// `secrets`.
    pub pending: Vec<&'static str>,
    /// What of that was applied while it ran.
    pub applied: Option<Applied>,
}

impl Up {
    /// Made or replaced just now: it is as planned.
    pub(super) fn of(done: Done, plan: Plan, replaced: Vec<Replaced>) -> Self {
        let made_from = plan.environment().clone();
        let (drift, pending) = (Vec::new(), Vec::new());
        Self { done, plan, made_from, started_from: None, drift, replaced, pending, applied: None }
    }
}

/// Makes, starts or adopts the container, and returns as soon as it runs. One powerdev at a time.
///
/// # Errors
/// What the project asks for and nobody has agreed to; a conflict when a foreign container has our name; a failed build;
/// what the Engine says. What was made and can't be started is removed again, and a container that was to be replaced goes
/// on as it was.
pub async fn bring_up(deployment: &Deployment, reporter: &dyn Reporter, options: BringUp) -> anyhow::Result<Up> {
    Standing::of(&deployment.settings, None)?.require()?;
    check_folders(deployment)?;
    let look = || deployment.environment.find();
    let (found, info) = tokio::join!(look(), deployment.engine.info());
    let (found, info) = (found?, info?);
    let image = image(deployment, reporter, options, found.as_ref()).await?;
    let _lock = interruptible("the start", None, deployment.environment.state().lock(LOCK_PATIENCE)).await?;
    deployment.environment.settle().await?;
    remember_programs(deployment)?;
    match look().await? {
        Some(container) if !options.recreate => adopt(deployment, &container, &image, &info).await,
        found => make::make(deployment, found, &image, &info).await,
    }
}

/// The plan as it would be carried out now. Touches nothing: an image that would have to be built is named, not built.
///
/// # Errors
/// As [`bring_up`], as far as that can be told beforehand.
pub async fn dry_run(deployment: &Deployment, options: BringUp) -> anyhow::Result<Up> {
    check_folders(deployment)?;
    let found = deployment.environment.find().await?;
    let image = match &found {
        Some(container) if options.build == Build::IfMissing && !options.recreate => container.image.clone(),
        _ => image::tag(&deployment.settings, &deployment.host)?,
    };
    let info = deployment.engine.info().await?;
    let current = found.as_ref().and_then(|container| container.spec.as_ref());
    let (ports, replaced) = choose_ports(deployment, current.map(published), &[], &[]);
    let mut plan = make_plan(deployment, &image, &info, ports)?;
    if !options.recreate {
        tell_openness(deployment, current, &mut plan);
    }
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
    Ok(Up { drift, pending, ..Up::of(done, plan, replaced) })
}

/// Remembers what the project's Git repository runs, before anything inside can have changed it. What was remembered stays:
/// `powerdev doctor` tells what has come since.
fn remember_programs(deployment: &Deployment) -> anyhow::Result<()> {
    let state = deployment.environment.state();
    let mounts_it = deployment.site().path(&deployment.settings.dir).is_some();
    let folders = repository::mounted(&deployment.settings);
    if !mounts_it || folders.is_empty() || repository::remembered(state).is_some() {
        return Ok(());
    }
    // Where git isn't installed nobody runs it.
    match repository::programs(&folders) {
        Ok(programs) => repository::remember(state, &programs),
        Err(_) => Ok(()),
    }
}

/// Refuses folders of `.agent-mount` that can't be mounted before anything is built.
fn check_folders(deployment: &Deployment) -> anyhow::Result<()> {
    match deployment.site().path(&deployment.settings.dir) {
        Some(dir) => Ok(agent_mount::check(dir, deployment.host.user)?),
        None => Ok(()),
    }
}

/// How a container differs from what the configuration asks for now. Its image counts as the right one: whether that
/// is up to date only a build can tell.
///
/// # Errors
/// As [`plan::plan`].
pub fn drift(deployment: &Deployment, container: &Container, info: &EngineInfo) -> anyhow::Result<Vec<Difference>> {
    let Some(spec) = &container.spec else { return Ok(Vec::new()) };
    let (ports, _) = choose_ports(deployment, Some(published(spec)), &[], &[]);
    let plan = make_plan(deployment, &container.image, info, ports)?;
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
    let (ports, _) = choose_ports(deployment, container.spec.as_ref().map(published), &[], &[]);
    let mut plan = make_plan(deployment, image, info, ports)?;
    tell_openness(deployment, container.spec.as_ref(), &mut plan);
    let drift = container.spec.as_ref().map(|spec| plan::differences(spec, plan.environment())).unwrap_or_default();
    let made_from = container.spec.clone().unwrap_or_else(|| plan.environment().clone());
    let started_from = deployment.environment.started_from(container);
    let made_from = ContainerSpec { ports: container.ports.clone(), ..made_from };
    let of_another_home = started_from.is_some();
    let up = |done| Up { made_from, started_from, drift, ..Up::of(done, plan.clone(), Vec::new()) };
    let gpus = &plan.environment().gpus;
    if container.state == RunState::Running && of_another_home {
        return Ok(up(Done::Adopted));
    }
    if container.state == RunState::Running {
        delivery::refresh_git(deployment, container)?;
        let pending = delivery::pending(deployment, container, gpus).await?;
        let applied = reload::apply(deployment, container, gpus, &pending).await?;
        let pending = if applied.is_some() { Vec::new() } else { pending };
        return Ok(Up { pending, applied, ..up(Done::Adopted) });
    }
    if container.state == RunState::Paused {
        deployment.engine.unpause_container(&container.name).await?;
        return Ok(up(Done::Started));
    }
    deployment.environment.refuse_of_another_home(container)?;
    delivery::refresh(deployment, container, gpus).await?;
    for network in &plan.networks {
        deployment.engine.ensure_network(network).await?;
    }
    let started = super::start(&deployment.environment, &container.name, container.spec.as_ref()).await;
    started.map_err(|error| port_taken_since(error, &container.name))?;
    Ok(up(Done::Started))
}

/// A stopped container's ports are settled; when somebody else has taken one since, only a new container helps.
fn port_taken_since(error: anyhow::Error, container: &str) -> anyhow::Error {
    if !error.downcast_ref().is_some_and(EngineError::is_port_taken) {
        return error;
    }
    Failure::conflict(format!("a port of {container} has been taken by another program since it ran last"))
        .hint("free it, or give --recreate: that finds another port; what is in /home/dev and .agent-mount stays")
        .source(error)
        .into()
}

pub(super) fn make_plan(
    deployment: &Deployment,
    image: &str,
    info: &EngineInfo,
    ports: BTreeMap<u16, u16>,
) -> anyhow::Result<Plan> {
    let selection = Selection { image: image.to_owned(), ports };
    plan::plan(&deployment.settings, &deployment.host, &deployment.place(info), &selection)
}

/// Adds to the notices that a container that stays is open, where the plan doesn't say so anyway.
fn tell_openness(deployment: &Deployment, stays: Option<&ContainerSpec>, plan: &mut Plan) {
    let told = stays.and_then(|spec| plan::openness(&spec.confinement, deployment.settings.security));
    plan.notices.extend(told.filter(|told| !plan.notices.contains(told)));
}

/// The ports of a container, container port -> host port.
pub(super) fn published(spec: &ContainerSpec) -> BTreeMap<u16, u16> {
    spec.ports.iter().map(|port| (port.container, port.host)).collect()
}

/// Ports for the plan: those that a container `has` already, and found ones for the rest. `taken` turned out to be so
/// although they looked free; those that are `held` by what is to be stopped are free, whatever they look like.
pub(super) fn choose_ports(
    deployment: &Deployment,
    has: Option<BTreeMap<u16, u16>>,
    taken: &[u16],
    held: &[u16],
) -> (BTreeMap<u16, u16>, Vec<Replaced>) {
    let (has, last) = (has.unwrap_or_default(), deployment.environment.state().ports());
    let wished = plan::wished_ports(&deployment.settings).into_iter().map(|(container, host)| Port { container, host });
    let as_before = |port: &Port| last.get(&port.container).is_none_or(|last| last.wanted == port.host);
    let (kept, missing): (Vec<Port>, Vec<Port>) =
        wished.partition(|port| has.contains_key(&port.container) && as_before(port));
    let (site, address) = (deployment.site(), deployment.settings.bind_address);
    let is_free = |port: u16| held.contains(&port) || site.is_port_free(address, port);
    let (mut chosen, replaced) = ports::choose(&missing, &last, taken, is_free);
    chosen.extend(kept.iter().map(|port| (port.container, has[&port.container])));
    (chosen, replaced)
}

/// What to remember of the host ports that were found: what was wanted, too.
pub(super) fn found(settings: &Settings, ports: &BTreeMap<u16, u16>) -> BTreeMap<u16, LastPort> {
    let wished = plan::wished_ports(settings);
    let last = |(container, host): (&u16, &u16)| {
        let wanted = wished.get(container).copied().unwrap_or(*host);
        (*container, LastPort { wanted, host: *host })
    };
    ports.iter().map(last).collect()
}
