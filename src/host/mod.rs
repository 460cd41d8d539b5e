//! Facts about this machine: CPUs, memory, GPUs, user and group. Read once, then passed around as data.

use std::path::PathBuf;

use serde::Serialize;

/// What is known about this machine.
#[derive(Debug, Clone, Serialize)]
pub struct HostFacts {
    /// CPUs that the Engine's containers can use.
    pub cpus: u32,
    /// Memory, in bytes.
    pub memory: u64,
    /// The user that the container's `dev` stands for: that of whoever runs powerdev, 1000 for root.
    pub uid: u32,
    /// The group, likewise.
    pub gid: u32,
    /// GPUs that NVML names.
    pub gpus: Vec<Gpu>,
    /// `~/.ssh`, where there is one.
    pub ssh_dir: Option<PathBuf>,
    /// The SSH agent's socket, where there is one.
    pub ssh_agent: Option<PathBuf>,
    /// The user's time zone, such as `Europe/Zurich`.
    pub timezone: Option<String>,
}

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Index, as NVML counts.
    pub index: u32,
    /// UUID.
    pub uuid: String,
    /// The maker's name for it.
    pub name: String,
    /// Memory, in bytes.
    pub memory: u64,
}

impl HostFacts {
    /// Looks at this machine. What can't be found out is left out; nothing here fails.
    pub fn detect() -> Self {
        unimplemented!()
    }
}
