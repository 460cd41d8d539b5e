//! Where the project's folders lie, and where they appear inside. Known to the plan, to `init`, to backups.

use std::path::Path;

use powerdev_protocol::paths;

/// The folder of persistent data in a project.
pub const AGENT_MOUNT: &str = ".agent-mount";

/// What is mounted from `.agent-mount` by default: the folder there, the target inside.
pub const FOLDERS: [(&str, &str); 5] = [
    ("docker_workspace", "/home/dev/workspace"),
    ("docker_data", "/home/dev/data"),
    ("docker_analysis", "/home/dev/analysis"),
    ("docker_logs", paths::LOG_DIR),
    ("docker_output", "/home/dev/output"),
];

/// The folder of `.agent-mount` that takes EXTERNAL_DIR's place where that is `none`.
pub const EXTERNAL: &str = "ext";

/// Where EXTERNAL_DIR appears inside.
pub const EXTERNAL_TARGET: &str = "/workspace/ext";

/// Where the caches lie inside: a volume of their own.
pub const CACHE: &str = "/home/dev/.cache";

/// Where `~/.ssh` appears inside.
pub const SSH: &str = "/home/dev/.ssh";

/// Where the folder of the SSH agent's socket appears inside.
pub const SSH_AGENT_DIR: &str = "/run/ssh";

/// The socket in it.
pub const SSH_SOCKET: &str = "agent.sock";

/// The folders of `.agent-mount` that must be there before the container is made: the Engine would make them root's.
pub const FOLDER_NAMES: [&str; 6] =
    ["docker_workspace", "docker_data", "docker_analysis", "docker_logs", "docker_output", EXTERNAL];

/// Links that images have: what is mounted at the one lands at the other.
const LINKS: [(&str, &str); 5] = [
    ("/var/run", "/run"),
    ("/var/lock", "/run/lock"),
    ("/bin", "/usr/bin"),
    ("/sbin", "/usr/sbin"),
    ("/lib", "/usr/lib"),
];

/// What every image needs as it is. Something in them can be mounted, such as `/etc/hosts`.
const SYSTEM: [&str; 6] = ["/etc", "/usr", "/usr/bin", "/usr/sbin", "/usr/lib", "/var"];

/// Why nothing else may be mounted at this absolute path inside; None: it may.
pub fn reserved(target: &str) -> Option<String> {
    let through =
        LINKS.iter().find_map(|(link, to)| Some(Path::new(to).join(Path::new(target).strip_prefix(link).ok()?)));
    let target = match &through {
        // What lies beneath the link itself has a `/` too much at its end.
        Some(path) => path.to_str().unwrap_or(target).trim_end_matches('/'),
        None => target,
    };
    if SYSTEM.contains(&target) {
        return Some("it would hide what the image is made of".to_owned());
    }
    let ours = FOLDERS.iter().map(|(_, target)| *target);
    let ours = ours.chain([EXTERNAL_TARGET, CACHE, SSH, SSH_AGENT_DIR, paths::HOME, paths::AGENT_DIR, paths::RUN_DIR]);
    for own in ours {
        if Path::new(own).starts_with(target) {
            return Some(if own == target {
                "powerdev mounts something there itself".to_owned()
            } else {
                format!("it would hide {own}, which powerdev needs")
            });
        }
    }
    let closed = [paths::AGENT_DIR, paths::RUN_DIR, SSH, SSH_AGENT_DIR, "/proc", "/sys", "/dev"];
    closed
        .into_iter()
        .find(|closed| Path::new(target).starts_with(closed))
        .map(|closed| format!("nothing can be mounted below {closed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mounted_folder_is_made() {
        assert!(FOLDERS.iter().map(|(name, _)| *name).chain([EXTERNAL]).eq(FOLDER_NAMES));
    }

    #[test]
    fn own_targets_their_parents_and_closed_folders_are_reserved() {
        for target in [
            "/",
            "/home",
            "/home/dev",
            "/home/dev/workspace",
            "/opt",
            "/run/powerdev/x",
            "/proc/1",
            "/dev",
            "/run",
            "/var/run",
            "/var/run/powerdev",
            "/usr",
            "/bin",
            "/etc",
        ] {
            assert!(reserved(target).is_some(), "{target}");
        }
        for target in [
            "/data",
            "/home/dev/workspace/repo",
            "/home/dev/models",
            "/opt/tools",
            "/workspace/two",
            "/etc/hosts",
            "/usr/local",
            "/var/lib/x",
            "/binary",
            "/run/x",
        ] {
            assert_eq!(reserved(target), None, "{target}");
        }
    }
}
