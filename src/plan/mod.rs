//! Pure: (settings, host, place, selection) -> what to ask the place for. No I/O, no clock: snapshot-tested.

mod confinement;
mod difference;
mod environment;
mod gpus;
mod limits;
mod mounts;
mod project;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use powerdev_protocol::{Service, ServiceSet, paths};

use crate::config::{SecurityProfile, Settings};
use crate::host::{Gpu, HostFacts};
use crate::spec::{ContainerSpec, Gpus, HealthCheck, LogRotation, NetworkSpec, Published, Role};
use crate::units::ByteSize;

pub use confinement::{confinement, openness};
pub use difference::{Difference, differences};
pub use limits::limits;
pub use mounts::DELIVERED;

/// What is known about the place that is to run it.
#[derive(Debug, Clone)]
pub struct PlaceFacts {
    /// How agent and folders get into the container.
    pub share: AgentShare,
    /// The GPUs of its machine. None: that can't be looked into from here.
    pub gpus: Option<Vec<Gpu>>,
    /// Folders of this machine with a Git repository that has hooks.
    pub repositories: Vec<PathBuf>,
    /// The user who owns the project's folder, where `dev` is another and can't write to it.
    pub project_owner: Option<u32>,
    /// The folder of the socket of the SSH agent's relay, where a container can have it.
    pub ssh_relay: Option<PathBuf>,
    /// It can hand out GPUs (NVIDIA's runtime or CDI is there).
    pub gpu_runtime: bool,
    /// CPUs; 0: not known.
    pub cpus: u32,
    /// Memory, in bytes; 0: not known.
    pub memory: u64,
    /// It can limit CPUs. One that can't refuses a container with such a limit.
    pub limits_cpus: bool,
    /// It can limit memory.
    pub limits_memory: bool,
    /// It can tell a container the address of its machine.
    pub names_host: bool,
}

/// What was selected for this start.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The image, by tag.
    pub image: String,
    /// Host ports to publish under, found to be free: container port -> host port.
    pub ports: BTreeMap<u16, u16>,
}

/// How the agent gets into the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentShare {
    /// Folders of this machine, mounted.
    Folders {
        /// Mounted read-only at [`powerdev_protocol::paths::AGENT_DIR`].
        agent: PathBuf,
        /// Mounted at [`powerdev_protocol::paths::RUN_DIR`].
        run: PathBuf,
        /// An empty file, mounted read-only over what nobody inside may read.
        empty: PathBuf,
    },
    /// Named volumes, seeded through the Engine.
    Volumes,
}

/// What came of planning.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Plan {
    /// Networks, which are made first.
    pub networks: Vec<NetworkSpec>,
    /// Containers, in the order in which they start; their mounts name the volumes. One of them is the environment's.
    pub containers: Vec<ContainerSpec>,
    /// What the user should know: no GPU, a limit clamped.
    pub notices: Vec<String>,
}

impl Plan {
    /// The container that the agents work in.
    pub fn environment(&self) -> &ContainerSpec {
        let found = self.containers.iter().find(|container| container.role == Role::Environment);
        found.expect("every plan has the environment's container")
    }
}

/// The most seconds that the Engine is asked to wait, whatever the times along a chain of services add up to: it counts
/// nanoseconds in 64 bits.
const YEAR: f64 = 365.0 * 24.0 * 3600.0;
/// Seconds that the agent gets after its services' graces, before the Engine kills it.
const STOP_MARGIN: f64 = 5.0;

/// Makes the plan.
///
/// # Errors
/// [`crate::failure::Failure`] with a usage code: GPUs demanded that aren't there.
pub fn plan(settings: &Settings, host: &HostFacts, place: &PlaceFacts, selection: &Selection) -> anyhow::Result<Plan> {
    let mut notices = Vec::new();
    let limits = limits(settings, host, place.cpus, place.memory, &mut notices);
    for (what, can) in [("CPUs", place.limits_cpus), ("memory", place.limits_memory)] {
        if !can {
            notices.push(format!("the Engine can't limit {what}: `powerdev doctor` says why, under cgroups"));
        }
    }
    let gpus = gpus::choose(settings, place, &mut notices)?;
    let user = host.user;
    let confinement = confinement(settings.security);
    notices.extend(openness(&confinement, settings.security));
    let network = NetworkSpec { name: settings.container(), project: settings.name.to_string() };
    let mut mounts = mounts::mounts(settings, host, place, &mut notices);
    let mut scratch = mounts::scratch(settings.security, user);
    project::guard_hooks(place, &mut mounts);
    project::mask(settings, &place.share, &mut mounts, &mut scratch);
    let container = ContainerSpec {
        name: settings.container(),
        role: Role::Environment,
        project: settings.name.to_string(),
        project_dir: settings.dir.display().to_string(),
        version: env!("CARGO_PKG_VERSION").into(),
        image: selection.image.clone(),
        hostname: settings.name.to_string(),
        user,
        entrypoint: vec![paths::AGENT_BIN.into(), "init".into()],
        environment: environment::plain(settings, host, place.ssh_relay.is_some(), &gpus),
        mounts,
        scratch,
        ports: published(settings, &selection.ports),
        network: Some(network.name.clone()),
        // Its address is that of the network's gateway, which nothing hides; but who wants it strict asked for no help.
        names_host: place.names_host && settings.security != SecurityProfile::Strict,
        confinement,
        cpus: place.limits_cpus.then_some(limits.cpus),
        memory: limits.memory,
        pids: settings.pids,
        shm: settings.shm,
        gpus,
        health: health(&settings.services),
        log: LogRotation { max_size: ByteSize(10 << 20), max_files: 3 },
        stop_timeout_s: stop_timeout(&settings.services),
    };
    Ok(Plan { networks: vec![network], containers: vec![container], notices })
}

/// What the agent runs: every service, with the variables that all of them and every shell get. `HOME`, `USER`,
/// `PATH` and the secrets are the agent's to add.
pub fn service_set(settings: &Settings, host: &HostFacts, ssh_relay: bool, gpus: &Gpus) -> ServiceSet {
    let mut set = ServiceSet {
        project: settings.name.to_string(),
        environment: environment::plain(settings, host, ssh_relay, gpus),
        services: settings.services.clone(),
    };
    // Checked when the settings were read: there is no cycle.
    let names = set.start_order().unwrap_or_default().join(" ");
    set.environment.insert(environment::SERVICES.into(), names);
    // Others open its pages by this machine's name, where they can reach them.
    if let Some(name) = host.name.as_ref().filter(|_| !settings.bind_address.is_loopback()) {
        set.environment.insert(paths::HOST_NAME_VARIABLE.into(), name.clone());
    }
    set
}

/// The ports to publish, container port and the host's port wished for: those of enabled services, those of
/// `ports:`, which win. By container port.
pub fn wished_ports(settings: &Settings) -> BTreeMap<u16, u16> {
    let enabled = settings.services.values().filter(|service| service.enabled);
    let services = enabled.flat_map(|service| &service.ports).map(|port| (*port, *port));
    services.chain(settings.ports.iter().map(|port| (port.container, port.host))).collect()
}

fn published(settings: &Settings, found: &BTreeMap<u16, u16>) -> Vec<Published> {
    let address = settings.bind_address;
    wished_ports(settings)
        .into_iter()
        .map(|(container, wished)| (container, found.get(&container).copied().unwrap_or(wished)))
        .map(|(container, host)| Published { container, host, address })
        .collect()
}

fn stop_timeout(services: &BTreeMap<String, Service>) -> u32 {
    (longest(services, |service| service.stop.grace).min(YEAR) + STOP_MARGIN).ceil() as u32
}

fn health(services: &BTreeMap<String, Service>) -> HealthCheck {
    let start = longest(services, |service| service.ready.as_ref().map_or(0.0, |ready| ready.deadline));
    HealthCheck {
        command: vec![paths::AGENT_BIN.into(), "health".into()],
        interval_ms: 10_000,
        timeout_ms: 5_000,
        start_period_ms: (start.clamp(10.0, YEAR) * 1000.0) as u64,
        retries: 3,
    }
}

/// The longest sum of `seconds` along a chain of enabled services that depend on each other: services that don't
/// come and go at the same time.
fn longest(services: &BTreeMap<String, Service>, seconds: impl Fn(&Service) -> f64) -> f64 {
    let set = ServiceSet { services: services.clone(), ..ServiceSet::default() };
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for name in set.start_order().unwrap_or_default() {
        let service = &services[name];
        let before = service.depends_on.keys().filter_map(|name| sums.get(name.as_str()).copied());
        let sum = before.fold(0.0, f64::max) + seconds(service);
        sums.insert(name, sum);
    }
    sums.into_values().fold(0.0, f64::max)
}
