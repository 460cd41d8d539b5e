//! What a place that runs containers is asked for, as plain data: what [`crate::plan`] makes, `--dry-run` prints, and
//! drift is measured in. Nothing here is Docker's: its words for all this are in `engine/create.rs` alone.

pub mod label;
pub mod swap;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::units::{ByteSize, Cpus, User};

/// One container, as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Its name, which nothing else on that Engine has.
    pub name: String,
    /// What it is to its environment.
    pub role: Role,
    /// The environment's name.
    pub project: String,
    /// The project's folder on the host.
    pub project_dir: String,
    /// The release of powerdev that made it.
    pub version: String,
    /// Image, by tag.
    pub image: String,
    /// Host name inside.
    pub hostname: String,
    /// Whom its processes run as.
    pub user: User,
    /// The first process: program and arguments.
    pub entrypoint: Vec<String>,
    /// Plain variables, visible to whoever may look at the container: never a secret.
    pub environment: BTreeMap<String, String>,
    /// Mounts, in the order of their targets.
    pub mounts: Vec<MountSpec>,
    /// Folders in memory, in the order of their targets.
    pub scratch: Vec<ScratchSpec>,
    /// Ports that are reached from outside.
    pub ports: Vec<Published>,
    /// The network that it is on. None: it has none.
    pub network: Option<String>,
    /// Whether it knows the machine that runs it by the name `host.docker.internal`.
    #[serde(default)]
    pub names_host: bool,
    /// What its processes may do.
    pub confinement: Confinement,
    /// CPUs that it may use. None: all.
    pub cpus: Option<Cpus>,
    /// Memory that it may use; swap comes on top of it in no case.
    pub memory: ByteSize,
    /// Processes and threads that it may have at once.
    pub pids: u32,
    /// Size of `/dev/shm`.
    pub shm: ByteSize,
    /// GPUs that it is given.
    pub gpus: Gpus,
    /// How the place that runs it asks whether it is well.
    pub health: HealthCheck,
    /// How its log is kept small.
    pub log: LogRotation,
    /// Seconds between the stop signal and the end by force.
    pub stop_timeout_s: u32,
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
        match &self.mount_at(target)?.source {
            MountSource::Volume { name, .. } => Some(name),
            MountSource::Folder(_) => None,
        }
    }

    /// The host's folder that is mounted there. None: something else is, or nothing.
    pub fn folder_at(&self, target: &str) -> Option<&Path> {
        match &self.mount_at(target)?.source {
            MountSource::Volume { .. } => None,
            MountSource::Folder(source) => Some(Path::new(source)),
        }
    }

    /// Where a path of the host is seen inside: through the mount of the nearest folder above it. None: it isn't.
    pub fn seen_at(&self, path: &Path) -> Option<String> {
        let folders = self.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Folder(source) => Some((Path::new(source), mount)),
            MountSource::Volume { .. } => None,
        });
        let (source, mount) = folders
            .filter(|(source, _)| path.starts_with(source))
            .max_by_key(|(source, _)| source.components().count())?;
        let rest = path.strip_prefix(source).ok().filter(|rest| !rest.as_os_str().is_empty());
        let seen = rest.map_or_else(|| PathBuf::from(&mount.target), |rest| Path::new(&mount.target).join(rest));
        seen.into_os_string().into_string().ok()
    }

    fn mount_at(&self, target: &str) -> Option<&MountSpec> {
        self.mounts.iter().find(|mount| mount.target == target)
    }

    /// SHA-256 of it in hex: what [`label::CONFIG`] holds.
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.to_json()))
    }
}

/// What a container is to its environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The one that the agents work in.
    #[default]
    Environment,
    /// Made for a moment, to write into volumes.
    Helper,
}

impl Role {
    /// In a word: what [`label::ROLE`] holds.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Helper => "helper",
        }
    }
}

/// What the processes of a container may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Linux capabilities that root inside has, without `CAP_`. All others are dropped.
    pub capabilities: Vec<String>,
    /// Neither seccomp nor AppArmor.
    pub unconfined: bool,
    /// No program gains privileges by being set-user-ID.
    pub no_new_privileges: bool,
    /// The root file system can't be written to.
    pub read_only_root: bool,
}

/// What is mounted where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// Absolute path inside.
    pub target: String,
    /// What is seen there.
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
    /// An absolute path on the machine that runs the container.
    Folder(String),
    /// A named volume of the environment, made when it isn't there.
    Volume {
        /// Its name, which tells whose it is.
        name: String,
        /// What it is for.
        kind: VolumeKind,
    },
}

/// What a volume is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeKind {
    /// Holds what can't be made again: removed only when that is asked for.
    State,
    /// Holds what can be made again.
    Cache,
}

impl VolumeKind {
    /// In a word: what [`label::KIND`] holds.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Cache => "cache",
        }
    }
}

/// A folder in memory, empty at each start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScratchSpec {
    /// Absolute path inside.
    pub target: String,
    /// Permissions, as `chmod` takes them.
    pub mode: u32,
    /// Whose it is. None: root's.
    pub owner: Option<User>,
    /// Programs in it can be run.
    pub exec: bool,
}

/// A published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The port inside.
    pub container: u16,
    /// On the machine that runs the container.
    pub host: u16,
    /// The address that it is bound to there.
    pub address: IpAddr,
}

/// A network of an environment's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkSpec {
    /// Its name, which nothing else on that Engine has.
    pub name: String,
    /// The environment's name.
    pub project: String,
}

/// GPUs that a container is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gpus {
    /// It gets none.
    #[default]
    None,
    /// All that its machine has.
    All,
    /// These, by index or UUID.
    Ids(Vec<String>),
}

/// How it is asked whether a container is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// The command, run inside.
    pub command: Vec<String>,
    /// Milliseconds between probes.
    pub interval_ms: u64,
    /// Milliseconds for one probe.
    pub timeout_ms: u64,
    /// Milliseconds during which failures don't count.
    pub start_period_ms: u64,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

/// How a container's log is kept small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRotation {
    /// Size of one file.
    pub max_size: ByteSize,
    /// Files, the one that is written to among them.
    pub max_files: u32,
}
