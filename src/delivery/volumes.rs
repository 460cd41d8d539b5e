//! What lies in volumes before a container runs: folders of the container's user, and on an Engine elsewhere the agent
//! with its services and secrets.
//!
//! The Engine gives a new volume the owner of the image's folder at its place, and root where the image has none.
//! Rather than chown at every start, the folders are handed over once, when the home volume is made. All of it goes in
//! as one archive, through a container that is never started.

use std::collections::BTreeSet;

use powerdev_protocol::paths;

use super::bundle::{self, Bundle, Installed};
use crate::config::layout;
use crate::engine::{Engine, EngineError};
use crate::spec::{Confinement, ContainerSpec, Gpus, MountSource, MountSpec, Role};
use crate::units::User;

/// The most that is read of what a volume holds, in bytes: services and secrets are text of some kilobytes.
const MOST: usize = 16 << 20;

/// Makes the spec's volumes, with the mount points inside of them, for the container's user, where the home volume
/// isn't there yet. With a bundle, in any case, and delivers it.
///
/// # Errors
/// What the Engine says. The helper container is removed in any case.
pub async fn prepare(engine: &Engine, spec: &ContainerSpec, bundle: Option<&Bundle>) -> Result<(), EngineError> {
    let Some(home) = spec.volume_at(paths::HOME) else { return Ok(()) };
    let new = !engine.has_volume(home).await?;
    if bundle.is_none() && !new {
        return Ok(());
    }
    if bundle.is_some() {
        // Secrets go into no volume that is somebody else's: that is an error.
        for volume in delivered_to(spec) {
            engine.has_volume(volume).await?;
        }
    }
    let mut tar = tar::Builder::new(Vec::new());
    folders(&mut tar, spec, new);
    if let Some(bundle) = bundle {
        bundle.pack(&mut tar, &Installed::default());
    }
    write(engine, spec, tar).await
}

/// Delivers what of the bundle isn't in the volume of a container that is there and doesn't run.
///
/// # Errors
/// As [`prepare`].
pub async fn deliver(engine: &Engine, spec: &ContainerSpec, bundle: &Bundle) -> Result<(), EngineError> {
    let installed = installed(engine, &spec.name).await?;
    let mut tar = tar::Builder::new(Vec::new());
    if bundle.pack(&mut tar, &installed) {
        write(engine, spec, tar).await?;
    }
    Ok(())
}

/// Removes what was delivered, with its volumes: no secret stays where nothing runs.
///
/// # Errors
/// What the Engine says.
pub async fn withdraw(engine: &Engine, spec: &ContainerSpec) -> Result<(), EngineError> {
    for volume in delivered_to(spec) {
        if engine.has_volume(volume).await? {
            engine.remove_volume(volume).await?;
        }
    }
    Ok(())
}

fn delivered_to(spec: &ContainerSpec) -> impl Iterator<Item = &str> {
    [paths::AGENT_DIR, paths::RUN_DIR].into_iter().filter_map(|target| spec.volume_at(target))
}

/// What the volume of this container holds.
///
/// # Errors
/// What the Engine says.
pub async fn installed(engine: &Engine, container: &str) -> Result<Installed, EngineError> {
    Ok(Installed::read(&engine.read(container, Installed::FOLDER, MOST).await?))
}

/// Unpacks an archive of the root folder into the spec's volumes.
async fn write(engine: &Engine, spec: &ContainerSpec, tar: tar::Builder<Vec<u8>>) -> Result<(), EngineError> {
    let volumes = spec.mounts.iter().filter(|mount| matches!(mount.source, MountSource::Volume { .. }));
    let helper = ContainerSpec {
        name: format!("{}-volumes", spec.name),
        role: Role::Helper,
        mounts: volumes.map(|mount| MountSpec { read_only: false, ..mount.clone() }).collect(),
        ports: Vec::new(),
        network: None,
        confinement: Confinement { read_only_root: false, ..spec.confinement.clone() },
        scratch: Vec::new(),
        gpus: Gpus::None,
        ..spec.clone()
    };
    engine.remove_container(&helper.name, true).await?;
    engine.create_container(&helper).await?;
    let tar = tar.into_inner().expect("writing to memory doesn't fail");
    let handed_over = engine.upload(&helper.name, "/", tar).await;
    engine.remove_container(&helper.name, true).await?;
    handed_over
}

/// Nothing but folders: each volume's root, and each mount point inside of a volume. What the user may have changed
/// meanwhile only where it is `new`.
fn folders(tar: &mut tar::Builder<Vec<u8>>, spec: &ContainerSpec, new: bool) {
    let user = spec.user;
    let volumes = spec.mounts.iter().filter(|mount| matches!(mount.source, MountSource::Volume { .. }));
    let roots: Vec<&str> = volumes.map(|mount| mount.target.as_str()).collect();
    let inside = |target: &str| roots.iter().any(|root| target == *root || target.starts_with(&format!("{root}/")));
    let mut targets: BTreeSet<&str> = spec.mounts.iter().map(|mount| mount.target.as_str()).collect();
    // The user's keys may come and go with the host's: the Engine would make their mount point then, for root.
    targets.insert(layout::SSH);
    for target in targets.into_iter().filter(|target| inside(target)) {
        let (mode, owner) = match target {
            paths::AGENT_DIR => (0o755, User::ROOT),
            paths::RUN_DIR => (0o700, user),
            layout::SSH if new => (0o700, user),
            _ if new => (0o755, user),
            _ => continue,
        };
        bundle::folder(tar, target.trim_start_matches('/'), mode, owner);
    }
}
