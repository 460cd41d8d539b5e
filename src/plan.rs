//! Pure: (settings, host, image) -> the container to ask the Engine for. No I/O, no clock: snapshot-tested.

mod difference;
mod environment;
mod gpus;
mod limits;
mod mounts;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use powerdev_protocol::{Service, ServiceSet, paths};

use crate::config::{Security, Settings};
use crate::engine::spec::{ContainerSpec, Gpus, HealthSpec, PortSpec, label};
use crate::host::HostFacts;

pub use difference::{Difference, differences};
pub use limits::{Limits, limits};
pub use mounts::DELIVERED;

/// What is known about the image and about how the host's folders reach the Engine.
#[derive(Debug, Clone)]
pub struct ImageFacts {
    /// The tag to run.
    pub tag: String,
    /// Where the agent's and the control socket's folders lie on the host.
    pub share: AgentShare,
    /// The Engine can hand out GPUs (its NVIDIA runtime or CDI is there).
    pub gpu_runtime: bool,
    /// Host ports to publish under: container port -> host port, already found to be free.
    pub ports: BTreeMap<u16, u16>,
    /// CPUs that the Engine has; 0: not known.
    pub engine_cpus: u32,
    /// Memory that the Engine has, in bytes; 0: not known.
    pub engine_memory: u64,
    /// The Engine can limit CPUs. One that can't refuses a container with such a limit.
    pub limits_cpus: bool,
    /// The Engine can limit memory.
    pub limits_memory: bool,
}

/// How the agent gets into the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentShare {
    /// Host folders, bind-mounted: an Engine on this machine.
    Folders {
        /// Mounted read-only at [`powerdev_protocol::paths::AGENT_DIR`].
        agent: std::path::PathBuf,
        /// Mounted at [`powerdev_protocol::paths::RUN_DIR`].
        run: std::path::PathBuf,
    },
    /// Named volumes, seeded through the Engine: an Engine elsewhere.
    Volumes,
}

impl AgentShare {
    /// The Engine is on this machine, so that a container can have folders of it.
    fn is_local(&self) -> bool {
        matches!(self, Self::Folders { .. })
    }
}

/// What came of planning.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Plan {
    /// The container.
    pub container: ContainerSpec,
    /// What the user should know: no GPU, a limit clamped.
    pub notices: Vec<String>,
}

/// The capabilities of the profile `dev`: debuggers, package managers, nested containers.
const CAPABILITIES: [&str; 15] = [
    "SYS_ADMIN",
    "SYS_PTRACE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SYS_CHROOT",
    "MKNOD",
    "AUDIT_WRITE",
];

/// Seconds that the agent gets after its services' graces, before the Engine kills it.
const STOP_MARGIN: f64 = 5.0;

/// Makes the plan.
///
/// # Errors
/// [`crate::failure::Failure`] with a usage code: GPUs demanded that aren't there.
pub fn plan(settings: &Settings, host: &HostFacts, image: &ImageFacts) -> anyhow::Result<Plan> {
    let mut notices = Vec::new();
    let limits = limits(settings, host, image.engine_cpus, image.engine_memory, &mut notices);
    for (what, can) in [("CPUs", image.limits_cpus), ("memory", image.limits_memory)] {
        if !can {
            notices.push(format!("the Engine can't limit {what}: `powerdev doctor` says why, under cgroups"));
        }
    }
    let gpus = gpus::choose(settings, host, image, &mut notices)?;
    let (cap_add, security_opt, read_only_root) = security(settings.security);
    let container = ContainerSpec {
        name: settings.container(),
        image: image.tag.clone(),
        hostname: settings.name.to_string(),
        user: format!("{}:{}", host.uid, host.gid),
        entrypoint: vec![paths::AGENT_BIN.into(), "init".into()],
        environment: environment::plain(settings, host, &gpus, &image.share),
        labels: labels(settings),
        mounts: mounts::mounts(settings, host, image, &mut notices),
        tmpfs: mounts::tmpfs(settings.security, host),
        ports: published(settings, &image.ports),
        network: settings.container(),
        cap_drop: vec!["ALL".into()],
        cap_add,
        security_opt,
        read_only_root,
        nano_cpus: if image.limits_cpus { limits.cpus.nano() } else { 0 },
        memory: i64::try_from(limits.memory.0).unwrap_or(i64::MAX),
        pids_limit: settings.pids.into(),
        shm_size: i64::try_from(settings.shm.0).unwrap_or(i64::MAX),
        gpus,
        health: health(&settings.services),
        log_max_size: "10m".into(),
        log_max_files: 3,
        stop_timeout: (longest(&settings.services, |service| service.stop.grace) + STOP_MARGIN).ceil() as i64,
    };
    Ok(Plan { container, notices })
}

/// What the agent runs: every service, with the variables that all of them and every shell get. `HOME`, `USER`,
/// `PATH` and the secrets are the agent's to add.
pub fn service_set(settings: &Settings, host: &HostFacts, gpus: &Gpus, share: &AgentShare) -> ServiceSet {
    let mut set = ServiceSet {
        project: settings.name.to_string(),
        environment: environment::plain(settings, host, gpus, share),
        services: settings.services.clone(),
    };
    // Checked when the settings were read: there is no cycle.
    let names = set.start_order().unwrap_or_default().join(" ");
    set.environment.insert(environment::SERVICES.into(), names);
    set
}

/// The ports to publish, container port and the host's port wished for: those of enabled services, those of
/// `ports:`, which win. By container port.
pub fn wished_ports(settings: &Settings) -> BTreeMap<u16, u16> {
    let enabled = settings.services.values().filter(|service| service.enabled);
    let services = enabled.flat_map(|service| &service.ports).map(|port| (*port, *port));
    services.chain(settings.ports.iter().map(|port| (port.container, port.host))).collect()
}

fn published(settings: &Settings, found: &BTreeMap<u16, u16>) -> Vec<PortSpec> {
    let address = settings.bind_address;
    wished_ports(settings)
        .into_iter()
        .map(|(container, wished)| (container, found.get(&container).copied().unwrap_or(wished)))
        .map(|(container, host)| PortSpec { container, host, address })
        .collect()
}

fn labels(settings: &Settings) -> BTreeMap<String, String> {
    BTreeMap::from([
        (label::PROJECT.into(), settings.name.to_string()),
        (label::DIR.into(), settings.dir.display().to_string()),
        (label::VERSION.into(), env!("CARGO_PKG_VERSION").into()),
    ])
}

/// Capabilities added, security options, whether the root is read-only.
fn security(profile: Security) -> (Vec<String>, Vec<String>, bool) {
    match profile {
        Security::Dev => {
            let options = ["seccomp=unconfined", "apparmor=unconfined"];
            (CAPABILITIES.map(str::to_owned).to_vec(), options.map(str::to_owned).to_vec(), false)
        }
        Security::Strict => (Vec::new(), vec!["no-new-privileges:true".into()], true),
    }
}

fn health(services: &BTreeMap<String, Service>) -> HealthSpec {
    let start = longest(services, |service| service.ready.as_ref().map_or(0.0, |ready| ready.deadline));
    HealthSpec {
        command: vec![paths::AGENT_BIN.into(), "health".into()],
        interval_ms: 10_000,
        timeout_ms: 5_000,
        start_period_ms: (start.max(10.0) * 1000.0) as i64,
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
