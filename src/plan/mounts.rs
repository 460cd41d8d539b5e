//! What is mounted where: the project's folders, the volumes, the agent, the user's own mounts.

use std::path::Path;

use powerdev_protocol::paths;

use super::{AgentShare, PlaceFacts, project};
use crate::config::settings::EXTERNAL_DIR;
use crate::config::{ExternalDir, SecurityProfile, Settings, SshAccess, layout};
use crate::host::HostFacts;
use crate::spec::{MountSource, MountSpec, ScratchSpec, VolumeKind};
use crate::units::User;

/// The volumes of the agent and of its control socket, by the end of their names, on an Engine elsewhere.
pub const DELIVERED: [&str; 2] = ["agent", "run"];

/// Every mount, in the order of their targets: a parent comes before what lies in it. What can't be mounted goes to
/// the notices.
pub(super) fn mounts(
    settings: &Settings,
    host: &HostFacts,
    place: &PlaceFacts,
    notices: &mut Vec<String>,
) -> Vec<MountSpec> {
    let root = settings.agent_mount();
    let external = project::external(settings, host, place, notices);
    let project = layout::FOLDERS.iter().map(|(name, target)| (root.join(name), *target, leaf(target)));
    let project = project.chain([(external, layout::EXTERNAL_TARGET, layout::EXTERNAL)]);
    let mut all = vec![
        volume(settings, "home", paths::HOME, VolumeKind::State),
        volume(settings, "cache", layout::CACHE, VolumeKind::Cache),
    ];
    match &place.share {
        AgentShare::Folders { agent, run, .. } => {
            all.extend(project.map(|(path, target, _)| folder(&path, target, false)));
            all.push(folder(agent, paths::AGENT_DIR, true));
            all.push(folder(run, paths::RUN_DIR, false));
            let keys = host.ssh_dir.as_ref().filter(|_| settings.ssh == SshAccess::Keys);
            all.extend(keys.map(|path| folder(path, layout::SSH, true)));
            let relay = place.ssh_relay.as_ref().filter(|_| settings.ssh != SshAccess::None);
            all.extend(relay.map(|path| folder(path, layout::SSH_AGENT_DIR, true)));
            all.extend(settings.mounts.iter().map(|mount| folder(&mount.source, &mount.target, mount.read_only)));
        }
        // A folder of this machine means nothing there: it gets a volume of the same use.
        AgentShare::Volumes => {
            all.extend(project.map(|(_, target, name)| volume(settings, name, target, VolumeKind::State)));
            let [agent, run] = DELIVERED;
            let agent = volume(settings, agent, paths::AGENT_DIR, VolumeKind::Cache);
            all.push(MountSpec { read_only: true, ..agent });
            all.push(volume(settings, run, paths::RUN_DIR, VolumeKind::Cache));
            notices.extend(left_out(settings, host));
        }
    }
    all.sort_by(|one, other| one.target.cmp(&other.target));
    all
}

/// What an Engine elsewhere can't mount, since it is on this machine.
fn left_out(settings: &Settings, host: &HostFacts) -> Option<String> {
    let asked = [
        ("the project's folder", settings.external_dir == ExternalDir::Project),
        (EXTERNAL_DIR.name, matches!(settings.external_dir, ExternalDir::Folder(_))),
        ("`mounts:`", !settings.mounts.is_empty()),
        ("~/.ssh", host.ssh_dir.is_some() && settings.ssh == SshAccess::Keys),
        ("the SSH agent", host.ssh_agent.is_some() && settings.ssh != SshAccess::None),
    ];
    let names: Vec<&str> = asked.into_iter().filter(|(_, asked)| *asked).map(|(name, _)| name).collect();
    (!names.is_empty())
        .then(|| format!("the Engine runs elsewhere: left out, being on this machine: {}", names.join(", ")))
}

/// What of a read-only root must be writable all the same.
pub(super) fn scratch(security: SecurityProfile, user: User) -> Vec<ScratchSpec> {
    if security != SecurityProfile::Strict {
        return Vec::new();
    }
    let own = ScratchSpec { target: "/run".into(), mode: 0o755, owner: Some(user), exec: false };
    // Builds run what they have just put into /tmp.
    let open = |target: &str| ScratchSpec { target: target.into(), mode: 0o1777, owner: None, exec: true };
    vec![own, open("/tmp"), open("/var/tmp")]
}

fn leaf(target: &str) -> &str {
    target.rsplit('/').next().unwrap_or(target)
}

pub(super) fn folder(source: &Path, target: &str, read_only: bool) -> MountSpec {
    MountSpec { target: target.into(), source: MountSource::Folder(source.display().to_string()), read_only }
}

fn volume(settings: &Settings, name: &str, target: &str, kind: VolumeKind) -> MountSpec {
    let name = format!("{}-{name}", settings.container());
    MountSpec { target: target.into(), source: MountSource::Volume { name, kind }, read_only: false }
}
