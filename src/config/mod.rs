//! Settings: default < `powerdev.yaml` < `.env` < environment < flag. Parsed once, here, into types; each value
//! knows where it came from.

pub mod layout;
pub mod table;
pub mod template;
pub mod yaml;

mod entries;
mod env_file;
mod forms;
mod layers;
mod load;
mod locate;
mod overlay;
mod project;
pub mod suggest;
#[cfg(test)]
mod tests;
mod text;
mod types;
mod variables;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use powerdev_protocol::Service;

pub use crate::units::{ByteSize, Cpus};
pub use layers::Overrides;
pub use project::{find_project, identity, identity_with};
pub use suggest::did_you_mean;
pub use types::{
    CaBundle, Choice, GpuRequest, Mount, Name, Origin, Port, Profile, Secrets, SecurityProfile, ShownValue,
};

/// Everything that is settled about one environment before this machine is looked at.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The environment's name: its container is `powerdev-<name>`.
    pub name: Name,
    /// The project's folder, absolute and without links.
    pub dir: PathBuf,
    /// Which stage of the Dockerfile.
    pub profile: Profile,
    /// Which security profile.
    pub security: SecurityProfile,
    /// CPU limit; None: detect.
    pub cpus: Option<Cpus>,
    /// Memory limit; None: detect.
    pub memory: Option<ByteSize>,
    /// Shared memory.
    pub shm: ByteSize,
    /// Limit of tasks.
    pub pids: u32,
    /// Which GPUs.
    pub gpu: GpuRequest,
    /// Where published ports listen on the host.
    pub bind_address: IpAddr,
    /// The folder that becomes `/workspace/ext`; None: `.agent-mount/ext`.
    pub external_dir: Option<PathBuf>,
    /// The image to run instead of one of ours.
    pub image: Option<String>,
    /// The image to build on; None: Debian, bootstrapped where it can't be pulled.
    pub base_image: Option<String>,
    /// The host's extra CA certificates.
    pub ca_bundle: CaBundle,
    /// Ports published besides those of the services.
    pub ports: Vec<Port>,
    /// Folders mounted besides those of the contract.
    pub mounts: Vec<Mount>,
    /// The services: built-in ones of the profile, overlaid by the project's.
    pub services: BTreeMap<String, Service>,
    /// Plain variables of every service and shell.
    pub environment: BTreeMap<String, String>,
    /// Every key of `.env` that is not a setting.
    pub secrets: Secrets,
    /// The file that they are in, if there is one.
    pub env_file: Option<PathBuf>,
    /// What `powerdev config` shows: every setting with its value and where it came from; secrets redacted.
    pub values: Vec<ShownValue>,
    /// What the user should know, e.g. a value that was clamped.
    pub notices: Vec<String>,
}

impl Settings {
    /// The container's name.
    pub fn container(&self) -> String {
        self.name.container()
    }

    /// The folder of persistent data.
    pub fn agent_mount(&self) -> PathBuf {
        self.dir.join(".agent-mount")
    }
}

/// Finds the project, reads every layer but flags, validates.
///
/// # Errors
/// A [`crate::failure::Failure`] with [`powerdev_protocol::ExitCode::Usage`]: file, line, the value, a suggestion.
pub fn load(project: Option<&Path>, env_file: Option<&Path>) -> anyhow::Result<Settings> {
    load_with(project, env_file, &Overrides::default())
}

/// Finds the project, reads every layer, validates.
///
/// # Errors
/// A [`crate::failure::Failure`] with [`powerdev_protocol::ExitCode::Usage`]: file, line, the value, a suggestion.
pub fn load_with(project: Option<&Path>, env_file: Option<&Path>, flags: &Overrides) -> anyhow::Result<Settings> {
    let mut settings = load::load(&project::folder(project)?, env_file, &|variable| std::env::var_os(variable), flags)?;
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    settings.notices.extend(variables::unknown(names));
    Ok(settings)
}

/// [`load`] without the environment of whoever runs the tests.
#[cfg(test)]
pub(crate) fn load_alone(dir: &Path) -> anyhow::Result<Settings> {
    load::load(dir, None, &|_| None, &Overrides::default())
}
