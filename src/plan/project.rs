//! The project's folder inside: where it is seen, and what of it never is.

use std::path::{Path, PathBuf};

use super::mounts::folder;
use super::{AgentShare, PlaceFacts};
use crate::config::settings::EXTERNAL_DIR;
use crate::config::{ExternalDir, Settings, layout};
use crate::host::HostFacts;
use crate::spec::{MountSource, MountSpec, ScratchSpec};

/// Folders that hold more than a project, besides the user's home and what is above it.
const SHARED: [&str; 9] = ["/", "/boot", "/etc", "/home", "/opt", "/run", "/tmp", "/usr", "/var"];

/// The folder that is mounted at [`layout::EXTERNAL_TARGET`]. The project's own is, unless it holds what was never meant
/// to be given away: who really means it says so by name.
pub(super) fn external(
    settings: &Settings,
    host: &HostFacts,
    place: &PlaceFacts,
    notices: &mut Vec<String>,
) -> PathBuf {
    let empty = || settings.agent_mount().join(layout::EXTERNAL);
    match &settings.external_dir {
        ExternalDir::Folder(folder) => folder.clone(),
        ExternalDir::None => empty(),
        ExternalDir::Project if holds_more(&settings.dir, host, &place.share) => {
            notices.push(format!(
                "{} holds more than a project: it isn't mounted; {}=. mounts it all the same",
                settings.dir.display(),
                EXTERNAL_DIR.name
            ));
            empty()
        }
        ExternalDir::Project => {
            notices.extend(place.project_owner.map(|owner| {
                let (dir, user) = (settings.dir.display(), host.user);
                format!(
                    "{dir} belongs to user {owner}, and dev inside is {user}: it can't write to {}; \
                     `sudo chown -R {user} {dir}` gives it the folder",
                    layout::EXTERNAL_TARGET
                )
            }));
            settings.dir.clone()
        }
    }
}

fn holds_more(dir: &Path, host: &HostFacts, share: &AgentShare) -> bool {
    let AgentShare::Folders { agent, .. } = share else { return false };
    let inner = host.home.iter().chain([agent]);
    SHARED.iter().any(|shared| dir == Path::new(shared)) || inner.into_iter().any(|path| path.starts_with(dir))
}

/// Covers what no mount may show: `.agent-mount`, whose folders are mounted one by one and must not be swapped from
/// inside, and the files that secrets are in.
pub(super) fn mask(
    settings: &Settings,
    share: &AgentShare,
    mounts: &mut Vec<MountSpec>,
    scratch: &mut Vec<ScratchSpec>,
) {
    let AgentShare::Folders { empty, .. } = share else { return };
    let folders = uncovered(mounts, &settings.agent_mount()).into_iter();
    scratch.extend(folders.map(|target| ScratchSpec { target, mode: 0o555, owner: None, exec: false }));
    scratch.sort_by(|one, other| one.target.cmp(&other.target));
    let files = settings.hidden_files.iter().flat_map(|file| uncovered(mounts, file));
    let covers: Vec<MountSpec> = files.map(|target| folder(empty, &target, true)).collect();
    mounts.extend(covers);
    mounts.sort_by(|one, other| one.target.cmp(&other.target));
}

/// Lets nobody inside change or replace hooks: git runs them on the host, when its user works on the same repository. What
/// holds them is a mount, too, since a folder that nothing is mounted on can be renamed with all that is in it.
pub(super) fn guard_hooks(place: &PlaceFacts, mounts: &mut Vec<MountSpec>) {
    let AgentShare::Folders { .. } = place.share else { return };
    let mut guards = Vec::new();
    for (part, read_only) in [(".git", false), (".git/hooks", true)] {
        for path in place.repositories.iter().map(|repository| repository.join(part)) {
            let written: Vec<MountSpec> = mounts.iter().filter(|mount| !mount.read_only).cloned().collect();
            guards.extend(uncovered(&written, &path).iter().map(|target| folder(&path, target, read_only)));
        }
    }
    guards.retain(|guard| !mounts.iter().any(|mount| mount.target == guard.target));
    mounts.extend(guards);
    mounts.sort_by(|one, other| one.target.cmp(&other.target));
}

/// Where what lies at this path of the host is seen inside, through each mount of a folder above it; less the places that
/// have a mount of their own.
fn uncovered(mounts: &[MountSpec], path: &Path) -> Vec<String> {
    let below = |mount: &MountSpec| {
        let MountSource::Folder(source) = &mount.source else { return None };
        let rest = path.strip_prefix(source).ok().filter(|rest| !rest.as_os_str().is_empty())?;
        Some(Path::new(&mount.target).join(rest).display().to_string())
    };
    let seen = mounts.iter().filter_map(below);
    seen.filter(|target| !mounts.iter().any(|mount| mount.target == *target)).collect()
}
