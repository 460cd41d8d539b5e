//! New volumes belong to the container's user from the start.
//!
//! The Engine gives a new volume the owner of the image's folder at its place, and root where the image has none.
//! Rather than chown at every start, the folders are handed over once, when the home volume is made: through a
//! container that is never started.

use crate::engine::spec::{ContainerSpec, MountSource};
use crate::engine::{Engine, EngineError};

/// Makes the spec's volumes, with the mount points inside of them, for the container's user, where the home volume
/// isn't there yet.
///
/// # Errors
/// What the Engine says. The helper container is removed in any case.
pub async fn prepare(engine: &Engine, spec: &ContainerSpec) -> Result<(), EngineError> {
    let Some(home) = volume_at(spec, powerdev_protocol::paths::HOME) else { return Ok(()) };
    if engine.has_volume(home).await? {
        return Ok(());
    }
    let helper = ContainerSpec {
        name: format!("{}-volumes", spec.name),
        mounts: spec
            .mounts
            .iter()
            .filter(|mount| matches!(mount.source, MountSource::Volume { .. }))
            .cloned()
            .collect(),
        ports: Vec::new(),
        network: "none".into(),
        read_only_root: false,
        tmpfs: Default::default(),
        gpus: Default::default(),
        ..spec.clone()
    };
    engine.remove_container(&helper.name, true).await?;
    engine.create_container(&helper).await?;
    let handed_over = engine.upload(&helper.name, "/", folders(spec)).await;
    engine.remove_container(&helper.name, true).await?;
    handed_over
}

fn volume_at<'a>(spec: &'a ContainerSpec, target: &str) -> Option<&'a str> {
    spec.mounts.iter().find(|mount| mount.target == target).and_then(|mount| match &mount.source {
        MountSource::Volume { name, .. } => Some(name.as_str()),
        MountSource::Bind(_) => None,
    })
}

/// A tar of nothing but folders: each volume's root, and each mount point inside of a volume.
fn folders(spec: &ContainerSpec) -> Vec<u8> {
    let (uid, gid) = spec.user.split_once(':').unwrap_or((&spec.user, "0"));
    let (uid, gid) = (uid.parse().unwrap_or(0), gid.parse().unwrap_or(0));
    let roots: Vec<&str> =
        spec.mounts.iter().filter(|m| !matches!(m.source, MountSource::Bind(_))).map(|m| m.target.as_str()).collect();
    let inside = |target: &str| roots.iter().any(|root| target == *root || target.starts_with(&format!("{root}/")));
    let mut tar = tar::Builder::new(Vec::new());
    for mount in spec.mounts.iter().filter(|mount| inside(&mount.target)) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_size(0);
        let path = format!("{}/", mount.target.trim_start_matches('/'));
        tar.append_data(&mut header, path, std::io::empty()).expect("writing to memory doesn't fail");
    }
    tar.into_inner().expect("writing to memory doesn't fail")
}
