//! Agent, services and secrets on their way to a container: into a folder of this machine that it mounts, or into
//! volumes on an Engine elsewhere.

use std::collections::BTreeMap;

use powerdev_protocol::paths;

use super::{Environment, volumes};
use crate::agent::inject;
use crate::agent::link::Link;
use crate::agent::parcel::Parcel;
use crate::config::layout;
use crate::engine::spec::{ContainerSpec, Gpus};
use crate::engine::{Container, container_proxies};
use crate::failure::Failure;
use crate::plan::{self, AgentShare};
use crate::state::make_folder;

impl Environment {
    /// How the agent gets into a container that is to be made.
    pub(super) fn share(&self) -> AgentShare {
        if self.engine.endpoint().local {
            AgentShare::Folders { agent: self.state.agent_dir(), run: self.state.run_dir() }
        } else {
            AgentShare::Volumes
        }
    }

    /// The way to the agent of a container that was made from `spec`.
    pub fn link(&self, spec: Option<&ContainerSpec>) -> Link {
        Link::to(&self.engine, &self.settings.container(), spec, &self.state)
    }

    /// Who owns what the container's user may write.
    fn owner(&self) -> (u32, u32) {
        (self.host.uid, self.host.gid)
    }

    /// For a container that is made with volumes: what is to be put there before it starts.
    fn parcel(&self, gpus: &Gpus) -> anyhow::Result<Parcel> {
        let services = plan::service_set(&self.settings, &self.host, gpus, &AgentShare::Volumes);
        Ok(Parcel::new(&services, &secrets(self), self.owner())?)
    }
}

/// Whether the agent of a container lies in a volume. By its engine, where nobody knows what it was made from.
fn in_volume(env: &Environment, spec: Option<&ContainerSpec>) -> bool {
    let local = env.engine.endpoint().local;
    spec.map_or(!local, |spec| spec.volume_at(paths::AGENT_DIR).is_some())
}

/// Makes what must be there before a container is made: the project's folders and the agent's, where it mounts them.
/// Gives what is to go into its volumes otherwise.
///
/// # Errors
/// When something can't be written.
pub fn before_making(env: &Environment, gpus: &Gpus) -> anyhow::Result<Option<Parcel>> {
    meant_to_run(env)?;
    if env.engine.endpoint().local {
        make_folders(env)?;
        write(env, gpus)?;
        return Ok(None);
    }
    env.parcel(gpus).map(Some)
}

/// Brings agent, services and secrets up to date for the next start of a container that is there, or for the agent of
/// one that runs to read anew.
///
/// # Errors
/// When they can't be written; a conflict when the container mounts folders of the Engine's machine, which isn't this.
pub async fn refresh(env: &Environment, container: &Container, gpus: &Gpus) -> anyhow::Result<()> {
    meant_to_run(env)?;
    match &container.spec {
        Some(spec) if in_volume(env, Some(spec)) => Ok(volumes::deliver(&env.engine, spec, &env.parcel(gpus)?).await?),
        _ if env.engine.endpoint().local => {
            make_folders(env)?;
            write(env, gpus)
        }
        _ => {
            let message =
                format!("{} mounts folders of the Engine's own machine, which this one can't write", container.name);
            let hint = "start it there, or give `up` --recreate: then it gets volumes; what is in /home/dev stays";
            Err(Failure::conflict(message).hint(hint).into())
        }
    }
}

/// What of a running container waits for its next restart: `agent`, `services`, `secrets`.
///
/// # Errors
/// What the Engine says.
pub async fn pending(env: &Environment, container: &Container, gpus: &Gpus) -> anyhow::Result<Vec<&'static str>> {
    if in_volume(env, container.spec.as_ref()) {
        let delivered = volumes::delivered(&env.engine, &container.name).await?;
        return Ok(env.parcel(gpus)?.pending(&delivered));
    }
    let services = plan::service_set(&env.settings, &env.host, gpus, &env.share());
    Ok(inject::pending(&env.state, &services, &secrets(env)))
}

/// What the agent of a container finds, to be put back.
#[derive(Debug)]
pub enum Earlier {
    /// In the folder that it mounts.
    Folder(inject::Config),
    /// In its volume.
    Volume(Parcel),
}

impl Earlier {
    /// Reads services and secrets as they lie there.
    ///
    /// # Errors
    /// When they can't be read.
    pub async fn of(env: &Environment, container: &Container) -> anyhow::Result<Self> {
        if in_volume(env, container.spec.as_ref()) {
            let delivered = volumes::delivered(&env.engine, &container.name).await?;
            return Ok(Self::Volume(Parcel::again(&delivered, env.owner())));
        }
        inject::Config::read(&env.state).map(Self::Folder)
    }

    /// Puts them back.
    ///
    /// # Errors
    /// When they can't be written.
    pub async fn put_back(&self, env: &Environment, container: &Container) -> anyhow::Result<()> {
        match (self, &container.spec) {
            (Self::Folder(config), _) => config.write(&env.state, env.owner()),
            (Self::Volume(parcel), Some(spec)) => Ok(volumes::deliver(&env.engine, spec, parcel).await?),
            (Self::Volume(_), None) => Ok(()),
        }
    }
}

/// Remembers the project's folder, and that it isn't meant to be down any more.
fn meant_to_run(env: &Environment) -> anyhow::Result<()> {
    env.state.create()?;
    env.state.mean_down(false)?;
    env.state.remember_project(&env.settings.dir)
}

/// Writes agent, services and secrets into the folder that the container mounts.
fn write(env: &Environment, gpus: &Gpus) -> anyhow::Result<()> {
    let services = plan::service_set(&env.settings, &env.host, gpus, &env.share());
    inject::inject(&env.state, &services, &secrets(env), env.owner()).map(drop)
}

/// Makes `.agent-mount` and what is in it, for the container's user. What is there already stays as it is.
fn make_folders(env: &Environment) -> anyhow::Result<()> {
    let owner = env.owner();
    make_folder(&env.settings.agent_mount(), 0o755, owner)?;
    layout::folders(&env.settings.dir).iter().try_for_each(|folder| make_folder(folder, 0o755, owner))
}

/// What services and shells get besides plain variables, and nobody else sees: the project's secrets, and as with the
/// docker CLI the proxies of its configuration, whose addresses may hold passwords.
fn secrets(env: &Environment) -> BTreeMap<String, String> {
    let mut secrets = env.settings.secrets.reveal().clone();
    // One that makes no sense is told where it is needed: to connect, to pull, by the doctor.
    for (name, value) in container_proxies(env.engine.endpoint()).unwrap_or_default() {
        let spellings = [name.to_ascii_lowercase(), name];
        let is_set = |name: &String| secrets.contains_key(name) || env.settings.environment.contains_key(name);
        if !spellings.iter().any(is_set) {
            secrets.extend(spellings.map(|name| (name, value.clone())));
        }
    }
    secrets
}
