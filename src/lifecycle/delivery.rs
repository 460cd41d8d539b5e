//! Agent, services and secrets on their way to a container: into a folder of this machine that it mounts, or into
//! volumes on an Engine elsewhere.

use std::collections::BTreeMap;

use powerdev_protocol::{ServiceSet, paths};

use super::{Deployment, volumes};
use crate::agent::inject;
use crate::agent::parcel::Parcel;
use crate::config::layout;
use crate::engine::{Container, EngineInfo, container_proxies};
use crate::failure::Failure;
use crate::plan;
use crate::site::Site;
use crate::spec::{ContainerSpec, Gpus};
use crate::state::make_folder;

/// Where agent, services and secrets of one container are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    /// Into the folder of this machine that it mounts.
    Folder,
    /// Into its volume.
    Volume,
}

impl Means {
    /// Those of a container that was made from `spec`; None: of one that is to be made, or of which nobody knows.
    fn of(deployment: &Deployment, spec: Option<&ContainerSpec>) -> Self {
        let volume = match (deployment.site(), spec) {
            (_, Some(spec)) => spec.volume_at(paths::AGENT_DIR).is_some(),
            (site, None) => site == Site::Elsewhere,
        };
        if volume { Self::Volume } else { Self::Folder }
    }
}

impl Deployment {
    /// What the agent is to run. `means`: what the container was made with, which tells what it was given.
    fn services(&self, means: Means, gpus: &Gpus) -> ServiceSet {
        let site = if means == Means::Folder { Site::Here } else { Site::Elsewhere };
        let place = site.facts(&self.host, &EngineInfo::default(), self.environment.state());
        plan::service_set(&self.settings, &self.host, &place, gpus)
    }

    /// For a container that is made with volumes: what is to be put there before it starts.
    fn parcel(&self, gpus: &Gpus) -> anyhow::Result<Parcel> {
        Ok(Parcel::new(&self.services(Means::Volume, gpus), &secrets(self), self.host.user)?)
    }
}

/// Makes what must be there before a container is made: the project's folders and the agent's, where it mounts them.
/// Gives what is to go into its volumes otherwise.
///
/// # Errors
/// When something can't be written.
pub fn before_making(deployment: &Deployment, gpus: &Gpus) -> anyhow::Result<Option<Parcel>> {
    meant_to_run(deployment)?;
    match Means::of(deployment, None) {
        Means::Folder => {
            make_folders(deployment)?;
            write(deployment, gpus)?;
            Ok(None)
        }
        Means::Volume => deployment.parcel(gpus).map(Some),
    }
}

/// Brings agent, services and secrets up to date for the next start of a container that is there, or for the agent of
/// one that runs to read anew.
///
/// # Errors
/// When they can't be written; a conflict when the container mounts folders of the Engine's machine, which isn't this.
pub async fn refresh(deployment: &Deployment, container: &Container, gpus: &Gpus) -> anyhow::Result<()> {
    meant_to_run(deployment)?;
    match (Means::of(deployment, container.spec.as_ref()), &container.spec) {
        (Means::Volume, Some(spec)) => Ok(volumes::deliver(&deployment.engine, spec, &deployment.parcel(gpus)?).await?),
        (Means::Folder, _) if deployment.site() == Site::Here => {
            make_folders(deployment)?;
            write(deployment, gpus)
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
pub async fn pending(deployment: &Deployment, container: &Container, gpus: &Gpus) -> anyhow::Result<Vec<&'static str>> {
    if Means::of(deployment, container.spec.as_ref()) == Means::Volume {
        let delivered = volumes::delivered(&deployment.engine, &container.name).await?;
        return Ok(deployment.parcel(gpus)?.pending(&delivered));
    }
    let services = deployment.services(Means::Folder, gpus);
    Ok(inject::pending(deployment.environment.state(), &services, &secrets(deployment)))
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
    pub async fn of(deployment: &Deployment, container: &Container) -> anyhow::Result<Self> {
        if Means::of(deployment, container.spec.as_ref()) == Means::Volume {
            let delivered = volumes::delivered(&deployment.engine, &container.name).await?;
            return Ok(Self::Volume(Parcel::again(&delivered, deployment.host.user)));
        }
        inject::Config::read(deployment.environment.state()).map(Self::Folder)
    }

    /// Puts them back.
    ///
    /// # Errors
    /// When they can't be written.
    pub async fn put_back(&self, deployment: &Deployment, container: &Container) -> anyhow::Result<()> {
        match (self, &container.spec) {
            (Self::Folder(config), _) => config.write(deployment.environment.state(), deployment.host.user),
            (Self::Volume(parcel), Some(spec)) => Ok(volumes::deliver(&deployment.engine, spec, parcel).await?),
            (Self::Volume(_), None) => Ok(()),
        }
    }
}

/// Remembers the project's folder, and that it isn't meant to be down any more.
fn meant_to_run(deployment: &Deployment) -> anyhow::Result<()> {
    deployment.environment.state().create()?;
    deployment.environment.state().set_stop_requested(false)?;
    deployment.environment.state().remember_project(&deployment.settings.dir)
}

/// Writes agent, services and secrets into the folder that the container mounts.
fn write(deployment: &Deployment, gpus: &Gpus) -> anyhow::Result<()> {
    let services = deployment.services(Means::Folder, gpus);
    inject::inject(deployment.environment.state(), &services, &secrets(deployment), deployment.host.user).map(drop)
}

/// Makes `.agent-mount` and what is in it, for the container's user. What is there already stays as it is.
fn make_folders(deployment: &Deployment) -> anyhow::Result<()> {
    let owner = deployment.host.user;
    make_folder(&deployment.settings.agent_mount(), 0o755, owner)?;
    layout::folders(&deployment.settings.dir).iter().try_for_each(|folder| make_folder(folder, 0o755, owner))
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
