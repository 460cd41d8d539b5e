//! What to ask the Engine for, as plain data: what `plan` makes, `--dry-run` prints, and drift is measured in.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Labels that powerdev puts on what it creates. What has none of them is never touched.
pub mod label {
    /// On everything: the environment's name.
    pub const PROJECT: &str = "dev.powerdev.project";
    /// On containers: the project's folder on the host.
    pub const DIR: &str = "dev.powerdev.dir";
    /// On everything: the release that made it.
    pub const VERSION: &str = "dev.powerdev.version";
    /// On containers: SHA-256 of the [`super::ContainerSpec`], what drift is noticed by.
    pub const CONFIG: &str = "dev.powerdev.config";
    /// On containers: the [`super::ContainerSpec`] itself as JSON, what drift is told by. Holds no secret.
    pub const SPEC: &str = "dev.powerdev.spec";
    /// On images: hash of everything that went into the build.
    pub const BUILD: &str = "dev.powerdev.build";
    /// On images: ID of the image that they were built on.
    pub const BASE: &str = "dev.powerdev.base";
    /// On volumes: `state` (never removed unless asked for by name or `--volumes`) or `cache`.
    pub const KIND: &str = "dev.powerdev.kind";
}

/// One container, in powerdev's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Container's name.
    pub name: String,
    /// Image, by tag.
    pub image: String,
    /// Host name inside.
    pub hostname: String,
    /// `uid:gid`.
    pub user: String,
    /// The agent, as `init`.
    pub entrypoint: Vec<String>,
    /// Plain variables, visible in `docker inspect`: never a secret.
    pub environment: BTreeMap<String, String>,
    /// Labels, without [`label::CONFIG`] and [`label::SPEC`], which are made from this.
    pub labels: BTreeMap<String, String>,
    /// Mounts, in the order of their targets.
    pub mounts: Vec<MountSpec>,
    /// tmpfs by target, with options.
    pub tmpfs: BTreeMap<String, String>,
    /// Published ports.
    pub ports: Vec<PortSpec>,
    /// The network of its own.
    pub network: String,
    /// Capabilities dropped.
    pub cap_drop: Vec<String>,
    /// Capabilities added.
    pub cap_add: Vec<String>,
    /// Security options, as the Engine spells them.
    pub security_opt: Vec<String>,
    /// Root file system not writable.
    pub read_only_root: bool,
    /// CPU limit, in billionths.
    pub nano_cpus: i64,
    /// Memory limit, in bytes.
    pub memory: i64,
    /// Limit of tasks.
    pub pids_limit: i64,
    /// Size of `/dev/shm`, in bytes.
    pub shm_size: i64,
    /// GPUs.
    pub gpus: Gpus,
    /// The Engine's health check, which asks the agent.
    pub health: HealthSpec,
    /// Size of one file of the container's log, in the Engine's words, e.g. `10m`.
    pub log_max_size: String,
    /// Files of the container's log.
    pub log_max_files: u32,
    /// Seconds that the Engine waits after the stop signal before it kills.
    pub stop_timeout: i64,
}

impl ContainerSpec {
    /// As JSON, always in the same order: what [`label::SPEC`] holds.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a specification is plain data")
    }

    /// Reads [`label::SPEC`]. None when it was written by a release that knew other fields.
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The volume that is mounted there. None: something else is, or nothing.
    pub fn volume_at(&self, target: &str) -> Option<&str> {
        self.mounts.iter().find(|mount| mount.target == target).and_then(|mount| match &mount.source {
            MountSource::Volume { name, .. } => Some(name.as_str()),
            MountSource::Bind(_) => None,
        })
    }

    /// The host's folder that is mounted there. None: something else is, or nothing.
    pub fn folder_at(&self, target: &str) -> Option<&Path> {
        self.mounts.iter().find(|mount| mount.target == target).and_then(|mount| match &mount.source {
            MountSource::Volume { .. } => None,
            MountSource::Bind(source) => Some(Path::new(source)),
        })
    }

    /// SHA-256 of it in hex: what [`label::CONFIG`] holds.
    pub fn hash(&self) -> String {
        Sha256::digest(self.to_json().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What is mounted where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// Absolute path inside.
    pub target: String,
    /// From where.
    #[serde(flatten)]
    pub source: MountSource,
    /// Not writable inside.
    #[serde(default)]
    pub read_only: bool,
}

/// Where a mount comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// An absolute path on the host.
    Bind(String),
    /// A named volume, made with labels when it isn't there.
    Volume {
        /// Its name.
        name: String,
        /// Labels that it is made with.
        labels: BTreeMap<String, String>,
    },
}

/// A published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// Inside.
    pub container: u16,
    /// On the host.
    pub host: u16,
    /// Address on the host.
    pub address: IpAddr,
}

/// GPUs asked of the Engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gpus {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// These, by index or UUID.
    Ids(Vec<String>),
}

/// The Engine's health check. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthSpec {
    /// The command.
    pub command: Vec<String>,
    /// Between probes.
    pub interval_ms: i64,
    /// For one probe.
    pub timeout_ms: i64,
    /// During which failures don't count.
    pub start_period_ms: i64,
    /// Failures in a row.
    pub retries: i64,
}
