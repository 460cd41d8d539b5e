//! Facts about this machine: CPUs, memory, GPUs, disks, user and group. Read once, then passed around as data.

mod disk;
mod gpu;
mod platform;
mod user;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::units::User;

pub use disk::FileSystem;
pub use platform::{kernel, runs};
pub use user::{container_user, foreign_owner, sudo_user};

/// What is known about this machine.
#[derive(Debug, Clone, Serialize)]
pub struct HostFacts {
    /// CPUs that the Engine's containers can use.
    pub cpus: u32,
    /// Memory, in bytes.
    pub memory: u64,
    /// The user that the container's `dev` stands for: see [`container_user`].
    pub user: User,
    /// GPUs that NVML names.
    pub gpus: Vec<Gpu>,
    /// The home folder of whoever runs powerdev, without links.
    pub home: Option<PathBuf>,
    /// `~/.ssh`, where there is one.
    pub ssh_dir: Option<PathBuf>,
    /// The SSH agent's socket, where there is one.
    pub ssh_agent: Option<PathBuf>,
    /// What this machine is called, by itself and by others.
    pub name: Option<String>,
    /// The user's time zone, such as `Europe/Zurich`.
    pub timezone: Option<String>,
}

/// A GPU of this machine, as NVIDIA's driver tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Index, as NVML counts.
    pub index: u32,
    /// `GPU-…`: the same after a reboot, which the index needn't be.
    pub uuid: String,
    /// The maker's name for it.
    pub name: String,
    /// Memory, in bytes.
    pub memory: u64,
}

impl HostFacts {
    /// Looks at this machine, and at the folder of a project on it. What can't be found out is left out; nothing here
    /// fails.
    pub fn detect(project: Option<&Path>) -> Self {
        let (cpus, memory) = cpus_and_memory();
        Self {
            cpus,
            memory,
            user: container_user(project),
            gpus: gpu::detect(),
            home: std::env::home_dir().and_then(|home| home.canonicalize().ok()),
            ssh_dir: user::ssh_dir(),
            ssh_agent: user::ssh_agent(),
            name: rustix::system::uname().nodename().to_str().ok().map(str::to_owned),
            timezone: jiff::tz::TimeZone::try_system().ok().and_then(|zone| zone.iana_name().map(str::to_owned)),
        }
    }
}

fn cpus_and_memory() -> (u32, u64) {
    let Ok(mut system) = sysinfo::System::new() else { return (1, 0) };
    system.refresh_memory();
    system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
    // A machine has a CPU, whatever could be read of it.
    (u32::try_from(system.cpus().len()).unwrap_or(u32::MAX).max(1), system.total_memory())
}

/// The GPUs that a container was given, among those of this machine.
pub fn selected(gpus: &[Gpu], given: &[String]) -> Vec<Gpu> {
    let is_given = |gpu: &&Gpu| given.iter().any(|id| *id == gpu.uuid || *id == gpu.index.to_string());
    gpus.iter().filter(is_given).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something() {
        let facts = HostFacts::detect(None);
        assert!(facts.cpus >= 1 && facts.memory > 64 << 20, "{facts:?}");
        assert_ne!(facts.user.uid, 0, "the container's user is never root");
    }
}
