//! Pure: (settings, host, image) -> the container to ask the Engine for. No I/O, no clock: snapshot-tested.

use crate::config::Settings;
use crate::engine::spec::ContainerSpec;
use crate::host::HostFacts;

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
    pub ports: std::collections::BTreeMap<u16, u16>,
    /// CPUs that the Engine has.
    pub engine_cpus: u32,
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

/// What came of planning.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Plan {
    /// The container.
    pub container: ContainerSpec,
    /// What the user should know: no GPU, a limit clamped.
    pub notices: Vec<String>,
}

/// Makes the plan.
///
/// # Errors
/// [`crate::failure::Failure`] with a usage code: GPUs demanded that aren't there.
pub fn plan(settings: &Settings, host: &HostFacts, image: &ImageFacts) -> anyhow::Result<Plan> {
    let _ = (settings, host, image);
    unimplemented!()
}
