//! What is mounted where: the project's folders, the volumes, the agent, the user's own mounts.

use std::collections::BTreeMap;
use std::path::Path;

use powerdev_protocol::paths;

use super::{AgentShare, ImageFacts};
use crate::config::{Security, Settings, layout};
use crate::engine::spec::{MountSource, MountSpec, label};
use crate::host::HostFacts;

/// The volumes of the agent and of its control socket, by the end of their names, on an Engine elsewhere.
pub const DELIVERED: [&str; 2] = ["agent", "run"];

/// Every mount, in the order of their targets: a parent comes before what lies in it. What can't be mounted goes to
/// the notices.
pub(super) fn mounts(
    settings: &Settings,
    host: &HostFacts,
    image: &ImageFacts,
    notices: &mut Vec<String>,
) -> Vec<MountSpec> {
    // A folder of this machine means nothing to an Engine elsewhere: it gets a volume of the same use.
    let local = image.share.is_local();
    let folder = |path: &Path, target: &str, name: &str| {
        if local { bind(path, target, false) } else { volume(settings, name, target, "state") }
    };
    let root = settings.agent_mount();
    let mut all: Vec<MountSpec> =
        layout::FOLDERS.iter().map(|(name, target)| folder(&root.join(name), target, leaf(target))).collect();
    let external = settings.external_dir.clone().unwrap_or_else(|| root.join(layout::EXTERNAL));
    all.push(folder(&external, layout::EXTERNAL_TARGET, layout::EXTERNAL));
    all.push(volume(settings, "home", paths::HOME, "state"));
    all.push(volume(settings, "cache", layout::CACHE, "cache"));
    match &image.share {
        AgentShare::Folders { agent, run } => {
            all.push(bind(agent, paths::AGENT_DIR, true));
            all.push(bind(run, paths::RUN_DIR, false));
        }
        AgentShare::Volumes => {
            let [agent, run] = DELIVERED;
            all.push(MountSpec { read_only: true, ..volume(settings, agent, paths::AGENT_DIR, "cache") });
            all.push(volume(settings, run, paths::RUN_DIR, "cache"));
        }
    }
    if local {
        all.extend(host.ssh_dir.as_ref().map(|folder| bind(folder, layout::SSH, true)));
        all.extend(host.ssh_agent.as_ref().map(|socket| bind(socket, layout::SSH_AGENT, false)));
        all.extend(settings.mounts.iter().map(|mount| bind(&mount.source, &mount.target, mount.read_only)));
    }
    if !local {
        notices.extend(left_out(settings, host));
    }
    all.sort_by(|one, other| one.target.cmp(&other.target));
    all
}

/// What an Engine elsewhere can't mount, since it is on this machine.
fn left_out(settings: &Settings, host: &HostFacts) -> Option<String> {
    let asked = [
        ("EXTERNAL_DIR", settings.external_dir.is_some()),
        ("`mounts:`", !settings.mounts.is_empty()),
        ("~/.ssh", host.ssh_dir.is_some()),
        ("the SSH agent", host.ssh_agent.is_some()),
    ];
    let names: Vec<&str> = asked.into_iter().filter(|(_, asked)| *asked).map(|(name, _)| name).collect();
    (!names.is_empty())
        .then(|| format!("the Engine runs elsewhere: left out, being on this machine: {}", names.join(", ")))
}

/// What of a read-only root must be writable all the same.
pub(super) fn tmpfs(security: Security, host: &HostFacts) -> BTreeMap<String, String> {
    match security {
        Security::Dev => BTreeMap::new(),
        Security::Strict => {
            // Builds run what they have just put into /tmp.
            let open = "rw,exec,nosuid,nodev,mode=1777".to_owned();
            let own = format!("rw,noexec,nosuid,nodev,mode=0755,uid={},gid={}", host.uid, host.gid);
            BTreeMap::from([("/run".to_owned(), own), ("/tmp".to_owned(), open.clone()), ("/var/tmp".to_owned(), open)])
        }
    }
}

fn leaf(target: &str) -> &str {
    target.rsplit('/').next().unwrap_or(target)
}

fn bind(source: &Path, target: &str, read_only: bool) -> MountSpec {
    MountSpec { target: target.into(), source: MountSource::Bind(source.display().to_string()), read_only }
}

fn volume(settings: &Settings, name: &str, target: &str, kind: &str) -> MountSpec {
    let labels = BTreeMap::from([
        (label::PROJECT.to_owned(), settings.name.to_string()),
        (label::VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        (label::KIND.to_owned(), kind.to_owned()),
    ]);
    let name = format!("{}-{name}", settings.container());
    MountSpec { target: target.into(), source: MountSource::Volume { name, labels }, read_only: false }
}
