//! `powerdev status`: everything about one environment, in milliseconds.
//!
//! Engine and agent are asked at the same time, once each. `docker stats` takes two seconds because it waits for a
//! second sample; the agent reads its own cgroup and has one already.

use std::path::PathBuf;

use anstyle::AnsiColor;
use powerdev_protocol::{AgentStatus, ExitCode, HealthState, ServiceStatus, Usage};
use serde::Serialize;

use super::{Context, tell};
use crate::clock::{now_ms, span};
use crate::control::{Client, Patience};
use crate::delivery;
use crate::deployment::Deployment;
use crate::engine::{Container, EngineInfo, RunState};
use crate::environment::Environment;
use crate::host::{self, FileSystem, Gpu};
use crate::lifecycle;
use crate::lifecycle::report::{self, PortReport};
use crate::plan::{self, Difference};
use crate::site::Site;
use crate::spec::Gpus;
use crate::ui::table::Table;
use crate::units::ByteSize;
use crate::watch::{self, Quarantine};

/// Show state, health, services, ports, usage against limits, GPUs and drift
#[derive(Debug, clap::Args)]
pub struct StatusArgs {}

/// What machines get. `name, state, health, ports, services, usage` are there in every case.
#[derive(Debug, Serialize)]
struct StatusDocument {
    name: String,
    dir: String,
    container: String,
    state: &'static str,
    health: HealthState,
    health_detail: String,
    uptime_ms: Option<u64>,
    exit_code: Option<i64>,
    oom_killed: bool,
    image: Option<String>,
    ports: Vec<PortReport>,
    services: Vec<ServiceStatus>,
    /// Open sessions: `powerdev sessions` lists them.
    sessions: usize,
    usage: Option<Usage>,
    disk: Option<Disk>,
    gpus: Vec<Gpu>,
    agent: Option<Agent>,
    /// Why the watcher has given it up, if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    quarantine: Option<Quarantine>,
    /// The state folder that it was started from, where that is another user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_from: Option<PathBuf>,
    drift: Vec<Difference>,
    notices: Vec<String>,
    /// On an Engine elsewhere: the command that brings the ports here.
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnel: Option<String>,
}

/// The file system that `.agent-mount` lies on, in bytes.
#[derive(Debug, Serialize)]
struct Disk {
    used_bytes: u64,
    total_bytes: u64,
}

/// The agent inside, against the one that this powerdev carries.
#[derive(Debug, Serialize)]
struct Agent {
    version: String,
    sha256: String,
    /// Another build than this powerdev's: the next `powerdev restart` replaces it.
    skew: bool,
}

/// Runs `powerdev status`.
///
/// # Errors
/// When the Engine doesn't answer, or a foreign container has our name.
pub async fn run(_: StatusArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let settings = context.settings()?;
    let environment = Environment::new(settings.name.clone(), &settings.dir)?;
    let nearby = async {
        let connected = environment.agent_nearby(Patience::Answer).await?;
        Some(ask(connected.map_err(Into::into)).await)
    };
    let (container, mut asked) = tokio::join!(environment.find(), nearby);
    let container = container?;
    if asked.is_none() && container.as_ref().is_some_and(is_running) {
        asked = Some(ask(environment.agent_through(Patience::Answer).await).await);
    }
    let deployment = Deployment::new(settings, environment.engine().await?.clone())?;
    let (mut drift, mut engine) = (Vec::new(), None);
    if let Some(container) = &container {
        let info = engine.insert(deployment.engine.info().await?);
        drift = lifecycle::drift(&deployment, container, info)?;
    }
    let disks = disks(&deployment, engine.as_ref());
    let document = document(&deployment, container.as_ref(), asked, drift, &disks);
    let code = document.health.into();
    if context.ui.json() {
        context.ui.document(&document)?;
    } else if container.is_none() {
        return Err(environment.absent());
    } else {
        show(&document, context)?;
    }
    Ok(code)
}

async fn ask(connected: anyhow::Result<Client>) -> anyhow::Result<AgentStatus> {
    Ok(connected?.status().await?)
}

fn is_running(container: &Container) -> bool {
    container.state == RunState::Running
}

fn document(
    deployment: &Deployment,
    container: Option<&Container>,
    asked: Option<anyhow::Result<AgentStatus>>,
    drift: Vec<Difference>,
    disks: &[(PathBuf, FileSystem)],
) -> StatusDocument {
    let settings = &deployment.settings;
    let running = container.is_some_and(is_running);
    let state = container.map_or("absent", |container| container.state.as_str());
    let (health, health_detail) = match &asked {
        Some(Ok(status)) if running => (status.health.state, status.health.detail.clone()),
        Some(Err(error)) if running => (HealthState::Unhealthy, format!("the agent can't be asked: {error}")),
        _ if state == "paused" => (HealthState::Unhealthy, "paused".to_owned()),
        _ => (HealthState::Stopped, container.map(ended).unwrap_or_default()),
    };
    let mut notices: Vec<String> = container
        .and_then(|container| plan::openness(&container.spec.as_ref()?.confinement, settings.security))
        .into_iter()
        .collect();
    let status = asked.and_then(Result::ok).filter(|_| running);
    notices.extend(status.iter().flat_map(|status| status.notices.clone()));
    notices.extend(disks.iter().filter_map(nearly_full));
    let now = now_ms();
    let site = deployment.site();
    let ports = container.map(|container| report::published(&container.ports, &report::services_by_port(settings)));
    StatusDocument {
        name: settings.name.to_string(),
        dir: settings.dir.display().to_string(),
        container: settings.container(),
        state,
        health,
        health_detail,
        uptime_ms: container.filter(|_| running).and_then(|c| c.started_at_ms).map(|since| now.saturating_sub(since)),
        exit_code: container.filter(|_| !running).map(|container| container.exit_code),
        oom_killed: container.is_some_and(|container| container.oom_killed),
        image: container.map(|container| container.image.clone()),
        ports: ports.unwrap_or_default(),
        // Of an Engine elsewhere neither the disk nor the GPUs can be seen from here.
        disk: disks.first().map(|(_, disk)| Disk { used_bytes: disk.used, total_bytes: disk.total }),
        gpus: container
            .map(|container| gpus(container, site.visible_gpus(&deployment.host).unwrap_or_default()))
            .unwrap_or_default(),
        tunnel: container.and_then(|container| Site::tunnel(deployment.engine.endpoint(), &container.ports)),
        agent: status.as_ref().map(|status| Agent {
            version: status.version.clone(),
            sha256: status.sha256.clone(),
            skew: status.sha256 != delivery::SHA256,
        }),
        quarantine: container.and_then(|c| watch::quarantine(deployment.environment.state(), c.started_at_ms)),
        started_from: container.and_then(|container| deployment.environment.started_from(container)),
        drift,
        notices,
        usage: status.as_ref().map(|status| status.usage.clone()),
        sessions: status.as_ref().map_or(0, |status| status.sessions),
        services: status.map(|status| status.services).unwrap_or_default(),
    }
}

/// Why a container doesn't run.
fn ended(container: &Container) -> String {
    match container.state {
        RunState::Created => "never started".to_owned(),
        _ if container.ended_for_want_of_memory() => format!("ended with code {}: out of memory", container.exit_code),
        _ if container.error.is_empty() => format!("ended with code {}", container.exit_code),
        _ => format!("ended with code {}: {}", container.exit_code, container.error),
    }
}

/// The file system that `.agent-mount` lies on, and the Engine's own if that is another one. Of an Engine elsewhere
/// neither can be seen from here.
fn disks(deployment: &Deployment, engine: Option<&EngineInfo>) -> Vec<(PathBuf, FileSystem)> {
    let mount = deployment.settings.agent_mount();
    let project = if mount.exists() { mount } else { deployment.settings.dir.clone() };
    let places = std::iter::once(project).chain(engine.map(|info| PathBuf::from(&info.root_dir)));
    let here = places.filter(|place| deployment.site().path(place).is_some());
    let mut disks: Vec<_> = here.filter_map(|place| FileSystem::of(&place).ok().map(|disk| (place, disk))).collect();
    disks.dedup_by(|(_, one), (_, other)| one.id == other.id && one.total == other.total);
    disks
}

fn nearly_full((place, disk): &(PathBuf, FileSystem)) -> Option<String> {
    let (place, left) = (place.display(), ByteSize(disk.available));
    let percent = disk.percent();
    disk.is_nearly_full()
        .then(|| format!("{place} is {percent} % full, {left} left; nothing limits what is written inside"))
}

/// The GPUs that the container was given, as the host names them.
fn gpus(container: &Container, host: &[Gpu]) -> Vec<Gpu> {
    match container.spec.as_ref().map(|spec| &spec.gpus) {
        Some(Gpus::All) => host.to_vec(),
        Some(Gpus::Ids(ids)) => host::selected(host, ids),
        Some(Gpus::None) | None => Vec::new(),
    }
}

fn show(document: &StatusDocument, context: &Context<'_>) -> anyhow::Result<()> {
    let ui = context.ui;
    let since = document.uptime_ms.map(|uptime| format!(", up {}", span(uptime))).unwrap_or_default();
    ui.print(&format!("{}  {} ({}{since})", document.name, paint_health(document.health, context), document.state))?;
    for line in document.health_detail.lines() {
        ui.print(&format!("  {line}"))?;
    }
    if let Some(image) = &document.image {
        ui.print(&format!("image     {image}"))?;
    }
    for port in &document.ports {
        let name = port.service.as_deref().unwrap_or("");
        ui.print(&format!("port      http://{}:{}  -> {} {name}", port.address, port.host, port.container))?;
    }
    if let Some(tunnel) = &document.tunnel {
        ui.print(&format!("reach it  {tunnel}"))?;
    }
    if let Some(usage) = &document.usage {
        show_usage(usage, document.disk.as_ref(), context)?;
    }
    if document.sessions > 0 {
        ui.print(&format!("sessions  {}", document.sessions))?;
    }
    for gpu in &document.gpus {
        ui.print(&format!("gpu       {}: {} ({})", gpu.index, gpu.name, ByteSize(gpu.memory)))?;
    }
    if !document.services.is_empty() {
        ui.print("")?;
        ui.print_table(&services_table(&document.services))?;
    }
    tell::quarantine(ui, document.quarantine.as_ref());
    tell::started_from(ui, document.started_from.as_deref());
    if let Some(agent) = document.agent.as_ref().filter(|agent| agent.skew) {
        ui.notice(format_args!(
            "the agent inside is another build ({}); `powerdev restart` replaces it",
            agent.version
        ));
    }
    for notice in &document.notices {
        ui.notice(notice);
    }
    tell::drift(ui, &document.drift);
    Ok(())
}

fn paint_health(health: HealthState, context: &Context<'_>) -> String {
    let color = match health {
        HealthState::Healthy => AnsiColor::Green,
        HealthState::Starting => AnsiColor::Yellow,
        HealthState::Unhealthy | HealthState::Stopped => AnsiColor::Red,
    };
    context.ui.paint_stdout(color, &health.to_string())
}

fn show_usage(usage: &Usage, disk: Option<&Disk>, context: &Context<'_>) -> anyhow::Result<()> {
    let ui = context.ui;
    let cpu = usage.cpu_percent.map_or("?".to_owned(), |percent| format!("{percent:.0} %"));
    let limit = usage.cpu_limit.map(|limit| format!(" of {:.0} %", limit * 100.0)).unwrap_or_default();
    ui.print(&format!("cpu       {cpu}{limit}"))?;
    let limit = usage.memory_limit_bytes.map(|limit| format!(" of {}", ByteSize(limit))).unwrap_or_default();
    ui.print(&format!("memory    {}{limit}", ByteSize(usage.memory_bytes)))?;
    let limit = usage.pids_limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
    ui.print(&format!("pids      {}{limit}", usage.pids))?;
    ui.print(&format!("network   {} in, {} out", ByteSize(usage.network_rx_bytes), ByteSize(usage.network_tx_bytes)))?;
    if let Some(disk) = disk {
        ui.print(&format!("disk      {} of {}", ByteSize(disk.used_bytes), ByteSize(disk.total_bytes)))?;
    }
    Ok(())
}

/// The services as a table: also what `powerdev services` shows.
pub(super) fn services_table(services: &[ServiceStatus]) -> Table {
    let mut table = Table::new(&["SERVICE", "STATE", "SINCE", "RESTARTS", "PID", "LAST EXIT"]);
    let now = now_ms();
    for service in services {
        let exit = service
            .last_exit
            .as_ref()
            .map(|exit| format!("{}, {} ago", exit.reason, span(now.saturating_sub(exit.at_ms))));
        table.row([
            service.name.clone(),
            service.state.to_string(),
            span(now.saturating_sub(service.since_ms)),
            service.restarts.to_string(),
            service.pid.map_or("-".to_owned(), |pid| pid.to_string()),
            exit.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table
}
