//! Agent, services and secrets on their way to a container: into a folder of this machine that it mounts, or into
//! volumes on an Engine elsewhere.

mod bundle;
mod folder;
mod git;
mod placeholders;
mod sources;
mod volumes;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;

use anyhow::Context as _;
use powerdev_protocol::paths;

use crate::agent_mount;
use crate::config::{SshAccess, layout};
use crate::deployment::Deployment;
use crate::engine::{Container, container_proxies};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::plan;
use crate::site::Site;
use crate::spec::{ContainerSpec, Gpus};
use crate::units::User;

pub use bundle::{Bundle, Installed};
pub use folder::{cache_home, withdraw as withdraw_secrets};
pub use placeholders::Placeholders;
pub use sources::check as check_sources;
pub use volumes::{prepare, withdraw};

/// The agent's executable, built by `build.rs`: static, for Linux.
pub static BINARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/powerdev-agent"));
/// SHA-256 of [`BINARY`], in hex.
pub const SHA256: &str = env!("POWERDEV_AGENT_SHA256");

/// Where agent, services and secrets of one container are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    /// Into the folder of this machine that it mounts.
    Folder,
    /// Into its volume.
    Volume,
    /// Into a folder of the Engine's machine, which isn't this one.
    OutOfReach,
}

impl Means {
    /// Those of a container that was made from `spec`; None: of one that is to be made, or of which nobody knows.
    fn of(deployment: &Deployment, spec: Option<&ContainerSpec>) -> Self {
        let folder = spec.map(|spec| spec.volume_at(paths::AGENT_DIR).is_none());
        match (deployment.site(), folder) {
            (_, Some(false)) | (Site::Elsewhere, None) => Self::Volume,
            (Site::Here, _) => Self::Folder,
            (Site::Elsewhere, Some(true)) => Self::OutOfReach,
        }
    }
}

impl Deployment {
    /// What the agent is to find, `user`'s. Only a container that mounts folders of this machine can reach its SSH agent.
    fn bundle(&self, means: Means, gpus: &Gpus, user: User) -> anyhow::Result<Bundle> {
        let ssh_relay = means == Means::Folder && self.site().ssh_relay(self.environment.state()).is_some();
        let mut services = plan::service_set(&self.settings, &self.host, ssh_relay, gpus);
        let (name, value) = git::variable();
        services.environment.entry(name).or_insert(value);
        Ok(Bundle::new(&services, &secrets(self), user)?)
    }
}

/// Makes what must be there before a container is made: the project's folders and the agent's, where it mounts them.
/// Gives what is to go into its volumes otherwise.
///
/// # Errors
/// When something can't be written.
pub fn before_making(deployment: &Deployment, gpus: &Gpus) -> anyhow::Result<Option<Bundle>> {
    meant_to_run(deployment)?;
    let means = Means::of(deployment, None);
    let bundle = deployment.bundle(means, gpus, deployment.host.user)?.with_git(git::config());
    if means == Means::Volume {
        return Ok(Some(bundle));
    }
    agent_mount::prepare(&deployment.settings.dir, deployment.host.user)?;
    folder::install(deployment.environment.state(), &bundle)?;
    place_for_ssh(deployment, None)?;
    Ok(None)
}

/// Brings agent, services and secrets up to date for the next start of a container that is there, or for the agent of
/// one that runs to read anew.
///
/// # Errors
/// When they can't be written; a conflict when the container mounts folders of the Engine's machine, which isn't this.
pub async fn refresh(deployment: &Deployment, container: &Container, gpus: &Gpus) -> anyhow::Result<()> {
    meant_to_run(deployment)?;
    let means = Means::of(deployment, container.spec.as_ref());
    let bundle = deployment.bundle(means, gpus, user_of(deployment, container))?.with_git(git::config());
    install(deployment, container, &bundle).await
}

/// Brings what Git inside is told up to date in a container that runs and mounts folders of this machine.
///
/// # Errors
/// When it can't be written.
pub fn refresh_git(deployment: &Deployment, container: &Container) -> anyhow::Result<()> {
    match Means::of(deployment, container.spec.as_ref()) {
        Means::Folder => folder::install_git(deployment.environment.state(), &git::config()),
        Means::Volume | Means::OutOfReach => Ok(()),
    }
}

/// The last look before the Engine starts a container on this machine, made from `spec`: nothing that it mounts leads
/// elsewhere than it did when it was made, the agent is this release's byte for byte, and the folder of its control socket
/// holds nothing that was left there. What this gives is to be kept until the container has started.
///
/// # Errors
/// A conflict that names the mount; when the agent can't be written.
pub fn before_start(environment: &Environment, spec: Option<&ContainerSpec>) -> anyhow::Result<Placeholders> {
    // What a release made that wrote it down otherwise is brought up to date by `up` and `restart`.
    let state = environment.state();
    let run = state.run_dir();
    let (Some(spec), Some(run)) = (spec, environment.site().and_then(|site| site.path(&run))) else {
        return Ok(Placeholders::default());
    };
    check_sources(environment, spec)?;
    if spec.folder_at(paths::RUN_DIR) == Some(run) {
        folder::renew(state, spec.user)?;
    }
    Ok(Placeholders::make(spec, &state.empty_file()))
}

/// What of a running container waits for its next restart: `agent`, `services`, `secrets`.
///
/// # Errors
/// What the Engine says.
pub async fn pending(deployment: &Deployment, container: &Container, gpus: &Gpus) -> anyhow::Result<Vec<&'static str>> {
    let means = Means::of(deployment, container.spec.as_ref());
    match installed(deployment, container).await {
        Ok(installed) => Ok(deployment.bundle(means, gpus, deployment.host.user)?.pending(&installed)),
        // What was taken away isn't waiting.
        Err(_) if means == Means::Folder => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Services and secrets as the agent of a container finds them, to be restored.
///
/// # Errors
/// When they can't be read.
pub async fn current(deployment: &Deployment, container: &Container) -> anyhow::Result<Bundle> {
    Ok(Bundle::again(&installed(deployment, container).await?, user_of(deployment, container)))
}

/// Puts a bundle where a container that is there finds it.
///
/// # Errors
/// As [`refresh`].
pub async fn install(deployment: &Deployment, container: &Container, bundle: &Bundle) -> anyhow::Result<()> {
    match (Means::of(deployment, container.spec.as_ref()), &container.spec) {
        (Means::Volume, Some(spec)) => Ok(volumes::deliver(&deployment.engine, spec, bundle).await?),
        (Means::Folder, _) => {
            agent_mount::prepare(&deployment.settings.dir, user_of(deployment, container))?;
            folder::install(deployment.environment.state(), bundle)?;
            place_for_ssh(deployment, container.spec.as_ref())
        }
        (Means::Volume, None) | (Means::OutOfReach, _) => {
            let message =
                format!("{} mounts folders of the Engine's own machine, which this one can't write", container.name);
            let hint = "start it there, or give `up` --recreate: then it gets volumes; what is in /home/dev stays";
            Err(Failure::conflict(message).hint(hint).into())
        }
    }
}

async fn installed(deployment: &Deployment, container: &Container) -> anyhow::Result<Installed> {
    match Means::of(deployment, container.spec.as_ref()) {
        Means::Folder => folder::installed(deployment.environment.state()),
        Means::Volume | Means::OutOfReach => Ok(volumes::installed(&deployment.engine, &container.name).await?),
    }
}

/// The user of a container that is there. Another one could be asked for by now; this one reads what is delivered.
fn user_of(deployment: &Deployment, container: &Container) -> User {
    container.spec.as_ref().map_or(deployment.host.user, |spec| spec.user)
}

/// Remembers the project's folder, and that it isn't meant to be down any more.
fn meant_to_run(deployment: &Deployment) -> anyhow::Result<()> {
    deployment.environment.state().create()?;
    deployment.environment.state().set_stop_requested(false)?;
    deployment.environment.state().remember_project(&deployment.settings.dir)
}

/// Makes the folder of the SSH agent's relay, which is the sign that there may be one; or takes it away, but from a
/// container that was made with it.
fn place_for_ssh(deployment: &Deployment, spec: Option<&ContainerSpec>) -> anyhow::Result<()> {
    let folder = deployment.environment.state().ssh_dir();
    let is_mounted = spec.is_some_and(|spec| spec.folder_at(layout::SSH_AGENT_DIR).is_some());
    let done = if is_mounted || deployment.settings.ssh != SshAccess::None {
        // Whoever is in the container passes through it; on this machine the folder above keeps others out.
        fs::create_dir_all(&folder).and_then(|()| fs::set_permissions(&folder, Permissions::from_mode(0o755)))
    } else {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    };
    done.with_context(|| format!("can't bring {} up to date", folder.display()))
}

/// What services and shells get besides plain variables, and nobody else sees: the project's secrets, and as with the
/// docker CLI the proxies of its configuration, whose addresses may hold passwords.
fn secrets(deployment: &Deployment) -> BTreeMap<String, String> {
    let mut secrets = deployment.settings.secrets.reveal().clone();
    // One that makes no sense is told where it is needed: to connect, to pull, by the doctor.
    for (name, value) in container_proxies(deployment.engine.endpoint()).unwrap_or_default() {
        let spellings = [name.to_ascii_lowercase(), name];
        let is_set = |name: &String| secrets.contains_key(name) || deployment.settings.environment.contains_key(name);
        if !spellings.iter().any(is_set) {
            secrets.extend(spellings.map(|name| (name, value.clone())));
        }
    }
    secrets
}
