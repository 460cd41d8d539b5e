//! The user and group that the container's `dev` stands for, and what of theirs goes inside.

use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use crate::units::User;

/// Whom root's own container runs as: nobody's in particular, but never root.
const FALLBACK: User = User { uid: 1000, gid: 1000 };

/// Whoever called sudo, where root runs powerdev that way: what is written in the project is theirs.
pub fn sudo_user() -> Option<User> {
    let id = |variable: &str| std::env::var(variable).ok()?.parse::<u32>().ok().filter(|id| *id != 0);
    let caller = Option::zip(id("SUDO_UID"), id("SUDO_GID")).map(|(uid, gid)| User { uid, gid });
    caller.filter(|_| rustix::process::geteuid().is_root())
}

/// User and group of whoever runs powerdev. For root: whoever called sudo, so that the project's files stay theirs;
/// else 1000:1000.
pub fn container_user() -> User {
    chosen(User::own(), sudo_user())
}

fn chosen(own: User, sudo: Option<User>) -> User {
    match own {
        User { uid: 0, .. } => sudo.unwrap_or(FALLBACK),
        // A user in root's group keeps the user, not the group.
        User { uid, gid: 0 } => User { uid, gid: uid },
        user => user,
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
        let user = |uid, gid| User { uid, gid };
        for (own, sudo, expected) in [
            (user(1001, 1002), None, user(1001, 1002)),
            (user(1001, 0), None, user(1001, 1001)),
            (user(1001, 1002), Some(user(5, 5)), user(1001, 1002)),
            (User::ROOT, None, FALLBACK),
            (User::ROOT, Some(user(1001, 100)), user(1001, 100)),
        ] {
            assert_eq!(chosen(own, sudo), expected, "{own} {sudo:?}");
        }
    }
}
