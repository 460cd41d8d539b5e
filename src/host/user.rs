//! The user and group that the container's `dev` stands for, and what of theirs goes inside.

use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

/// Whom root's own container runs as: nobody's in particular, but never root.
const FALLBACK: (u32, u32) = (1000, 1000);

/// Whoever called sudo, where root runs powerdev that way: what is written in the project is theirs.
pub fn sudo_user() -> Option<(u32, u32)> {
    let id = |variable: &str| std::env::var(variable).ok()?.parse::<u32>().ok().filter(|id| *id != 0);
    let called = Option::zip(id("SUDO_UID"), id("SUDO_GID"));
    called.filter(|_| rustix::process::geteuid().is_root())
}

/// User and group of whoever runs powerdev. For root: whoever called sudo, so that the project's files stay theirs;
/// else 1000:1000.
pub fn container_user() -> (u32, u32) {
    chosen(rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw(), sudo_user())
}

fn chosen(uid: u32, gid: u32, sudo: Option<(u32, u32)>) -> (u32, u32) {
    match (uid, sudo) {
        (0, Some(caller)) => caller,
        (0, _) => FALLBACK,
        // A user in root's group keeps the user, not the group.
        (uid, _) => (uid, if gid == 0 { uid } else { gid }),
    }
}

/// `~/.ssh`, where there is one.
pub fn ssh_dir() -> Option<PathBuf> {
    let folder = std::env::home_dir()?.join(".ssh").canonicalize().ok()?;
    folder.is_dir().then_some(folder)
}

/// The SSH agent's socket, where there is one.
pub fn ssh_agent() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("SSH_AUTH_SOCK")?).canonicalize().ok()?;
    let is_socket = path.metadata().is_ok_and(|metadata| metadata.file_type().is_socket());
    is_socket.then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_root() {
        for (uid, gid, sudo, expected) in [
            (1001, 1002, None, (1001, 1002)),
            (1001, 0, None, (1001, 1001)),
            (1001, 1002, Some((5, 5)), (1001, 1002)),
            (0, 0, None, FALLBACK),
            (0, 0, Some((1001, 100)), (1001, 100)),
        ] {
            assert_eq!(chosen(uid, gid, sudo), expected, "{uid}:{gid} {sudo:?}");
        }
    }
}
