//! Drift: how a container differs from what would be made now, in the user's words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use serde::Serialize;

use super::confinement;
use crate::config::settings::{DOCKER_CPUS, DOCKER_MEMORY, DOCKER_PIDS, DOCKER_SHM, GPU, SECURITY};
use crate::spec::{ContainerSpec, Gpus, MountSource, MountSpec, Published, ScratchSpec};
use crate::units::User;

/// One setting that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which, as the user would call it: `DOCKER_CPUS`, `port 3000`, `mount /data`.
    pub setting: String,
    /// What the container has.
    pub was: String,
    /// What it would have now.
    pub is: String,
}

/// What "not there" is called.
const NOTHING: &str = "none";

/// What differs between a container and the one that would be made now. Empty: no drift. powerdev's own release says
/// nothing about the configuration, and isn't drift.
pub fn differences(old: &ContainerSpec, new: &ContainerSpec) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut note = |setting: &str, was: String, is: String| {
        if was != is {
            found.push(Difference { setting: setting.to_owned(), was, is });
        }
    };
    note("image", old.image.clone(), new.image.clone());
    note("user", old.user.to_string(), new.user.to_string());
    note("host name", old.hostname.clone(), new.hostname.clone());
    note("entrypoint", old.entrypoint.join(" "), new.entrypoint.join(" "));
    note("network", network(old), network(new));
    note("host.docker.internal", yes(old.names_host), yes(new.names_host));
    note(DOCKER_CPUS.name, cpus(old), cpus(new));
    note(DOCKER_MEMORY.name, old.memory.to_string(), new.memory.to_string());
    note(DOCKER_SHM.name, old.shm.to_string(), new.shm.to_string());
    note(DOCKER_PIDS.name, old.pids.to_string(), new.pids.to_string());
    note(GPU.name, gpus(&old.gpus), gpus(&new.gpus));
    let (was, is) = (&old.confinement, &new.confinement);
    note(SECURITY.name, confinement::profile(was), confinement::profile(is));
    note("capabilities", words(&was.capabilities), words(&is.capabilities));
    note("seccomp and AppArmor", yes(!was.unconfined), yes(!is.unconfined));
    note("no new privileges", yes(was.no_new_privileges), yes(is.no_new_privileges));
    note("read-only root", yes(was.read_only_root), yes(is.read_only_root));
    note("health check", format!("{:?}", old.health), format!("{:?}", new.health));
    note("log rotation", rotation(old), rotation(new));
    note("stop timeout", format!("{} s", old.stop_timeout_s), format!("{} s", new.stop_timeout_s));
    by_key("port", &ports(old), &ports(new), &mut note);
    by_key("mount", &mounts(old), &mounts(new), &mut note);
    by_key("scratch folder", &scratch(old), &scratch(new), &mut note);
    by_key("variable", &old.environment, &new.environment, &mut note);
    found
}

fn by_key(
    kind: &str,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
    note: &mut impl FnMut(&str, String, String),
) {
    let value = |map: &BTreeMap<String, String>, key: &str| map.get(key).map_or(NOTHING, String::as_str).to_owned();
    for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        note(&format!("{kind} {key}"), value(old, key), value(new, key));
    }
}

fn mounts(spec: &ContainerSpec) -> BTreeMap<String, String> {
    spec.mounts.iter().map(|mount| (mount.target.clone(), mount_source(mount))).collect()
}

fn mount_source(mount: &MountSpec) -> String {
    let source = match &mount.source {
        MountSource::Folder(path) => path.clone(),
        MountSource::Volume { name, .. } => format!("volume {name}"),
    };
    if mount.read_only { format!("{source}, read-only") } else { source }
}

fn ports(spec: &ContainerSpec) -> BTreeMap<String, String> {
    let at = |port: &Published| (port.container.to_string(), format!("{}:{}", port.address, port.host));
    spec.ports.iter().map(at).collect()
}

fn network(spec: &ContainerSpec) -> String {
    spec.network.clone().unwrap_or_else(|| NOTHING.into())
}

fn scratch(spec: &ContainerSpec) -> BTreeMap<String, String> {
    let described = |folder: &ScratchSpec| {
        let owner = folder.owner.unwrap_or(User::ROOT);
        format!("{owner}, {:o}{}", folder.mode, if folder.exec { ", programs" } else { "" })
    };
    spec.scratch.iter().map(|folder| (folder.target.clone(), described(folder))).collect()
}

fn cpus(spec: &ContainerSpec) -> String {
    spec.cpus.map_or_else(|| "all".into(), |cpus| cpus.to_string())
}

fn gpus(gpus: &Gpus) -> String {
    match gpus {
        Gpus::None => NOTHING.into(),
        Gpus::All => "all".into(),
        Gpus::Ids(ids) => ids.join(","),
    }
}

fn words(list: &[impl Display]) -> String {
    let all: BTreeSet<String> = list.iter().map(ToString::to_string).collect();
    if all.is_empty() { NOTHING.into() } else { all.into_iter().collect::<Vec<_>>().join(", ") }
}

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.into()
}

fn rotation(spec: &ContainerSpec) -> String {
    format!("{} files of {}", spec.log.max_files, spec.log.max_size)
}
