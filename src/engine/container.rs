//! Containers: looking at them, and their life from creation to removal.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, Health, HealthStatusEnum, PortMap,
    PortSummaryTypeEnum,
};
use bollard::query_parameters as query;

use super::{Engine, EngineError, Operation, SLOW_CALL, create};
use crate::spec::{ContainerSpec, Published, Role, label, swap};

/// A container, as one look at it shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its ID: 64 hexadecimal digits, as the Engine gives it.
    pub id: String,
    /// Its name, without the slash that the Engine puts before it.
    pub name: String,
    /// The image's name, as it was asked for.
    pub image: String,
    /// The image's ID.
    pub image_id: String,
    /// Where it stands.
    pub state: RunState,
    /// The last exit code; 0 when it hasn't ended yet.
    pub exit_code: i64,
    /// Its main process was killed by the kernel for want of memory.
    pub oom_killed: bool,
    /// Why it couldn't be started, in the Engine's words; empty otherwise.
    pub error: String,
    /// When it was started last, in milliseconds since the Unix epoch. Not known from a list.
    pub started_at_ms: Option<u64>,
    /// When it ended last, in milliseconds since the Unix epoch. Not known from a list.
    pub finished_at_ms: Option<u64>,
    /// Its main process on the Engine's machine, while it runs. Not known from a list.
    pub pid: Option<i64>,
    /// All its labels, those of its image among them.
    pub labels: BTreeMap<String, String>,
    /// What the Engine's health check says, if it has one.
    pub health: Option<EngineHealth>,
    /// TCP ports published on the host: those in effect while it runs, else those it was created with.
    pub ports: Vec<Published>,
    /// What it was created from, as [`label::SPEC`] tells.
    pub spec: Option<ContainerSpec>,
}

/// Where a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Never started, or starting failed.
    Created,
    /// Its main process runs.
    Running,
    /// Its processes are frozen, and keep their memory.
    Paused,
    /// Being restarted by the Engine.
    Restarting,
    /// The Engine is at work removing it.
    Removing,
    /// Its main process has ended.
    Exited,
    /// Half removed, and beyond use.
    Dead,
}

impl RunState {
    /// In one word, as the Engine says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}

/// What the Engine's health check says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct EngineHealth {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: String,
    /// Failed probes in a row. Not known from a list.
    pub failing_streak: i64,
    /// What the last probe wrote. Not known from a list.
    pub last_output: Option<String>,
}

impl Container {
    /// Whether the kernel ended it for want of memory. That it killed some process inside is no reason for an orderly end
    /// long after: the Engine remembers the one until the next start.
    pub fn ended_for_want_of_memory(&self) -> bool {
        self.oom_killed && self.exit_code == 128 + 9
    }

    /// The environment that it belongs to.
    pub fn project(&self) -> Option<&str> {
        self.labels.get(label::PROJECT).map(String::as_str)
    }

    /// Whether it is an environment, and not something made beside one.
    pub fn is_environment(&self) -> bool {
        let role = self.labels.get(label::ROLE).map(String::as_str);
        self.project().is_some() && role.is_none_or(|role| role == Role::Environment.as_str())
    }

    /// Its processes are alive, though perhaps frozen.
    pub fn is_up(&self) -> bool {
        matches!(self.state, RunState::Running | RunState::Paused | RunState::Restarting)
    }
}

impl Engine {
    /// Looks at a container, by name or ID. None when there is none.
    ///
    /// # Errors
    /// As every call: unreachable, refused.
    pub async fn container(&self, name: &str) -> Result<Option<Container>, EngineError> {
        let call = self.docker.inspect_container(name, None);
        match self.call(Operation::InspectContainer(name.into()), call).await {
            Ok(answer) => Ok(Some(inspected(answer))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every environment's container, running or not, in the order of their names. One round trip. One that is being
    /// replaced counts once.
    ///
    /// # Errors
    /// As every call.
    pub async fn environments(&self) -> Result<Vec<Container>, EngineError> {
        let mut containers = self.labelled(label::PROJECT).await?;
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        let names: BTreeSet<String> = containers.iter().map(|container| container.name.clone()).collect();
        containers.retain(|container| match container.name.rsplit_once('.') {
            Some((_, swap::INCOMING)) => false,
            Some((name, swap::OUTGOING)) => !names.contains(name),
            _ => true,
        });
        Ok(containers)
    }

    /// The containers of one environment: its own, and what a replacement of it has made or put aside.
    ///
    /// # Errors
    /// As every call.
    pub async fn containers_of(&self, project: &str) -> Result<Vec<Container>, EngineError> {
        self.labelled(&format!("{}={project}", label::PROJECT)).await
    }

    async fn labelled(&self, wanted: &str) -> Result<Vec<Container>, EngineError> {
        let filters = HashMap::from([("label", vec![wanted])]);
        let options = query::ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let list = self.call(Operation::ListContainers, self.docker.list_containers(Some(options))).await?;
        Ok(list.into_iter().map(listed).filter(Container::is_environment).collect())
    }

    /// Creates a container, with [`label::CONFIG`] and [`label::SPEC`] added. Returns its ID.
    ///
    /// # Errors
    /// Among others: the name is taken, the image isn't there, a folder to mount isn't there.
    pub async fn create_container(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        self.create_container_as(spec, &spec.name).await
    }

    /// [`Engine::create_container`] under another name than the one it is to have.
    ///
    /// # Errors
    /// As [`Engine::create_container`].
    pub async fn create_container_as(&self, spec: &ContainerSpec, name: &str) -> Result<String, EngineError> {
        let options = query::CreateContainerOptionsBuilder::new().name(name).build();
        let call = self.docker.create_container(Some(options), create::body(spec));
        Ok(self.call(Operation::CreateContainer(spec.name.clone()), call).await?.id)
    }

    /// Gives a container, by name or ID, another name. It may run.
    ///
    /// # Errors
    /// Among others: another one has the name.
    pub async fn rename_container(&self, container: &str, name: &str) -> Result<(), EngineError> {
        let options = query::RenameContainerOptionsBuilder::new().name(name).build();
        self.call(Operation::RenameContainer(container.into()), self.docker.rename_container(container, options)).await
    }

    /// Starts a container. One that runs already is fine.
    ///
    /// # Errors
    /// Among others: a port is taken ([`EngineError::is_port_taken`]), or there are no GPUs
    /// ([`EngineError::NoGpuRuntime`]); the container is left as created then.
    pub async fn start_container(&self, name: &str) -> Result<(), EngineError> {
        self.call(Operation::StartContainer(name.into()), self.docker.start_container(name, None)).await
    }

    /// Stops a container: its stop signal, the grace it was created with (or this one), then KILL. One that has
    /// stopped already is fine. Waits as long as that takes.
    ///
    /// # Errors
    /// As every call.
    pub async fn stop_container(&self, name: &str, grace: Option<Duration>) -> Result<(), EngineError> {
        let options = grace.map(|grace| query::StopContainerOptionsBuilder::new().t(whole_seconds(grace)).build());
        self.wait(Operation::StopContainer(name.into()), self.docker.stop_container(name, options)).await
    }

    /// Stops a container as [`Engine::stop_container`] does, then starts it. One that doesn't run is started.
    ///
    /// # Errors
    /// As [`Engine::start_container`].
    pub async fn restart_container(&self, name: &str, grace: Option<Duration>) -> Result<(), EngineError> {
        let options = grace.map(|grace| query::RestartContainerOptionsBuilder::new().t(whole_seconds(grace)).build());
        self.wait(Operation::RestartContainer(name.into()), self.docker.restart_container(name, options)).await
    }

    /// Removes a container with its anonymous volumes; `force` kills it first. One that is gone, or about to be, is
    /// fine.
    ///
    /// # Errors
    /// Among others: it runs, and `force` isn't given.
    pub async fn remove_container(&self, name: &str, force: bool) -> Result<(), EngineError> {
        let options = query::RemoveContainerOptionsBuilder::new().v(true).force(force).build();
        let call = self.docker.remove_container(name, Some(options));
        match self.call_within(SLOW_CALL, Operation::RemoveContainer(name.into()), call).await {
            Err(error) if error.is_not_found() || error.says("already in progress") => Ok(()),
            other => other,
        }
    }

    /// Freezes a container.
    ///
    /// # Errors
    /// Among others: it doesn't run.
    pub async fn pause_container(&self, name: &str) -> Result<(), EngineError> {
        self.call(Operation::PauseContainer(name.into()), self.docker.pause_container(name)).await
    }

    /// Lets a frozen container go on.
    ///
    /// # Errors
    /// Among others: it isn't frozen.
    pub async fn unpause_container(&self, name: &str) -> Result<(), EngineError> {
        self.call(Operation::UnpauseContainer(name.into()), self.docker.unpause_container(name)).await
    }
}

/// Rounded up: a grace of half a second isn't none.
fn whole_seconds(grace: Duration) -> i32 {
    i32::try_from(grace.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
}

fn inspected(answer: ContainerInspectResponse) -> Container {
    let state = answer.state.unwrap_or_default();
    let config = answer.config.unwrap_or_default();
    let labels: BTreeMap<_, _> = config.labels.unwrap_or_default().into_iter().collect();
    let in_effect = answer.network_settings.and_then(|settings| settings.ports).unwrap_or_default();
    let mut ports = published(in_effect);
    if ports.is_empty() {
        ports = published(answer.host_config.and_then(|host| host.port_bindings).unwrap_or_default());
    }
    Container {
        id: answer.id.unwrap_or_default(),
        name: answer.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        image: config.image.unwrap_or_default(),
        image_id: answer.image.unwrap_or_default(),
        state: match state.status {
            Some(ContainerStateStatusEnum::RUNNING) => RunState::Running,
            Some(ContainerStateStatusEnum::PAUSED) => RunState::Paused,
            Some(ContainerStateStatusEnum::RESTARTING) => RunState::Restarting,
            Some(ContainerStateStatusEnum::REMOVING) => RunState::Removing,
            Some(ContainerStateStatusEnum::EXITED) => RunState::Exited,
            Some(ContainerStateStatusEnum::DEAD) => RunState::Dead,
            _ => RunState::Created,
        },
        exit_code: state.exit_code.unwrap_or_default(),
        oom_killed: state.oom_killed.unwrap_or_default(),
        error: state.error.unwrap_or_default(),
        started_at_ms: state.started_at.as_deref().and_then(milliseconds),
        finished_at_ms: state.finished_at.as_deref().and_then(milliseconds),
        pid: state.pid.filter(|pid| *pid > 0),
        health: state.health.and_then(health),
        ports,
        spec: spec_of(&labels),
        labels,
    }
}

fn listed(summary: ContainerSummary) -> Container {
    let labels: BTreeMap<_, _> = summary.labels.unwrap_or_default().into_iter().collect();
    let status = summary.status.unwrap_or_default();
    let spec = spec_of(&labels);
    let ports: Vec<_> = summary.ports.unwrap_or_default();
    let tcp = ports.into_iter().filter(|port| matches!(port.typ, None | Some(PortSummaryTypeEnum::TCP)));
    let mut ports: Vec<_> = tcp
        .filter_map(|port| {
            let address = port.ip.as_deref()?.parse().ok()?;
            Some(Published { container: port.private_port, host: port.public_port?, address })
        })
        .collect();
    sort(&mut ports);
    if let Some(spec) = spec.as_ref().filter(|_| ports.is_empty()) {
        ports.clone_from(&spec.ports);
    }
    Container {
        id: summary.id.unwrap_or_default(),
        name: summary.names.unwrap_or_default().first().map_or("", |name| name.trim_start_matches('/')).to_owned(),
        image: summary.image.unwrap_or_default(),
        image_id: summary.image_id.unwrap_or_default(),
        state: run_state(&summary.state.map(|state| state.to_string()).unwrap_or_default()),
        exit_code: exit_code_in(&status).unwrap_or_default(),
        oom_killed: false,
        error: String::new(),
        started_at_ms: None,
        finished_at_ms: None,
        pid: None,
        health: health_in(&status),
        ports,
        spec,
        labels,
    }
}

fn run_state(word: &str) -> RunState {
    match word {
        "running" => RunState::Running,
        "paused" => RunState::Paused,
        "restarting" => RunState::Restarting,
        "removing" => RunState::Removing,
        "exited" => RunState::Exited,
        "dead" => RunState::Dead,
        _ => RunState::Created,
    }
}

/// `Exited (137) 3 hours ago`.
fn exit_code_in(status: &str) -> Option<i64> {
    let (code, _) = status.strip_prefix("Exited (")?.split_once(')')?;
    code.parse().ok()
}

/// `Up 2 minutes (health: starting)`, `Up 2 minutes (healthy)`.
fn health_in(status: &str) -> Option<EngineHealth> {
    let (_, rest) = status.strip_prefix("Up ")?.split_once('(')?;
    let word = rest.trim_end_matches(')').trim_start_matches("health: ");
    matches!(word, "starting" | "healthy" | "unhealthy").then(|| EngineHealth {
        status: word.into(),
        failing_streak: 0,
        last_output: None,
    })
}

fn health(health: Health) -> Option<EngineHealth> {
    let status = match health.status? {
        HealthStatusEnum::STARTING => "starting",
        HealthStatusEnum::HEALTHY => "healthy",
        HealthStatusEnum::UNHEALTHY => "unhealthy",
        HealthStatusEnum::EMPTY | HealthStatusEnum::NONE => return None,
    };
    Some(EngineHealth {
        status: status.into(),
        failing_streak: health.failing_streak.unwrap_or_default(),
        last_output: health.log.unwrap_or_default().pop().and_then(|probe| probe.output),
    })
}

fn spec_of(labels: &BTreeMap<String, String>) -> Option<ContainerSpec> {
    ContainerSpec::from_json(labels.get(label::SPEC)?)
}

fn published(map: PortMap) -> Vec<Published> {
    let mut ports = Vec::new();
    for (key, bindings) in map {
        let Some(container) = key.strip_suffix("/tcp").and_then(|port| port.parse().ok()) else { continue };
        for binding in bindings.unwrap_or_default() {
            let address = binding.host_ip.filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".into());
            let host = binding.host_port.and_then(|port| port.parse().ok());
            if let (Ok(address), Some(host)) = (address.parse(), host) {
                ports.push(Published { container, host, address });
            }
        }
    }
    sort(&mut ports);
    ports
}

fn sort(ports: &mut Vec<Published>) {
    ports.sort_by_key(|port| (port.container, port.host, port.address));
    ports.dedup();
}

/// The Engine writes the year 1 for never.
fn milliseconds(time: &str) -> Option<u64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok().filter(|ms| *ms > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_tells_exit_codes_and_health_in_words() {
        assert_eq!(exit_code_in("Exited (137) 3 hours ago"), Some(137));
        assert_eq!(exit_code_in("Up 3 hours"), None);
        let word = |status| health_in(status).map(|health| health.status);
        assert_eq!(word("Up 2 minutes (health: starting)").as_deref(), Some("starting"));
        assert_eq!(word("Up 2 minutes (unhealthy)").as_deref(), Some("unhealthy"));
        assert_eq!(word("Up 2 minutes (Paused)"), None);
        assert_eq!(word("Exited (0) 1 second ago"), None);
    }

    #[test]
    fn never_is_no_time() {
        assert_eq!(milliseconds("0001-01-01T00:00:00Z"), None);
        assert_eq!(milliseconds("2026-11-21T00:00:00.5Z"), Some(1_795_219_200_500));
    }

    #[test]
    fn grace_is_rounded_up() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::ZERO), 0);
        assert_eq!(whole_seconds(Duration::MAX), i32::MAX);
    }
}
