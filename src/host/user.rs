//! The user and group that the container's `dev` stands for, and what of theirs goes inside.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::config::layout::AGENT_MOUNT;
use crate::units::User;

/// Whom root's own container runs as where the project is root's, too: nobody's in particular, but never root.
const FALLBACK: User = User { uid: 1000, gid: 1000 };

/// Whoever called sudo, where root runs powerdev that way: what is written in the project is theirs.
pub fn sudo_user() -> Option<User> {
    let id = |variable: &str| std::env::var(variable).ok()?.parse::<u32>().ok().filter(|id| *id != 0);
    let caller = Option::zip(id("SUDO_UID"), id("SUDO_GID")).map(|(uid, gid)| User { uid, gid });
    caller.filter(|_| rustix::process::geteuid().is_root())
}

/// User and group of whoever runs powerdev. For root: whoever called sudo, else the owner of `project`, so that the
/// project's files stay theirs; 1000:1000 where that is root. None: its folder is on another machine, or there is none.
pub fn container_user(project: Option<&Path>) -> User {
    chosen(User::own(), sudo_user(), || owner(project?))
}

fn chosen(own: User, sudo: Option<User>, owner: impl FnOnce() -> Option<User>) -> User {
    let user = if own.uid == 0 { sudo.or_else(owner).unwrap_or(FALLBACK) } else { own };
    match user {
        User { uid: 0, .. } => FALLBACK,
        // A user in root's group keeps the user, not the group.
        User { uid, gid: 0 } => User { uid, gid: uid },
        user => user,
    }
}

/// The owner of a project's folder. What root made there for [`FALLBACK`], whoever owned the project, stays that one's: its
/// home folder is, too.
fn owner(project: &Path) -> Option<User> {
    let of = |path: &Path| path.symlink_metadata().ok().map(|found| User { uid: found.uid(), gid: found.gid() });
    of(&project.join(AGENT_MOUNT)).filter(|owner| owner.uid == FALLBACK.uid).or_else(|| of(project))
}

/// The owner of a folder that root has mounted and that `user` can't write to, being another. None: it can, or whoever
/// calls isn't root and knows whose folder it is.
pub fn foreign_owner(folder: &Path, user: User) -> Option<u32> {
    let found = folder.metadata().ok().filter(|_| rustix::process::geteuid().is_root())?;
    let is_open = found.mode() & 0o002 != 0 || found.gid() == user.gid && found.mode() & 0o020 != 0;
    (found.uid() != user.uid && !is_open).then(|| found.uid())
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
        for (own, sudo, owner, expected) in [
            (user(1001, 1002), None, None, user(1001, 1002)),
            (user(1001, 0), None, None, user(1001, 1001)),
            (user(1001, 1002), Some(user(5, 5)), Some(user(6, 6)), user(1001, 1002)),
            (User::ROOT, None, None, FALLBACK),
            (User::ROOT, None, Some(User::ROOT), FALLBACK),
            (User::ROOT, None, Some(user(0, 7)), FALLBACK),
            (User::ROOT, None, Some(user(1234, 0)), user(1234, 1234)),
            (User::ROOT, None, Some(user(1234, 100)), user(1234, 100)),
            (User::ROOT, Some(user(1001, 100)), Some(user(1234, 100)), user(1001, 100)),
        ] {
            assert_eq!(chosen(own, sudo, || owner), expected, "{own} {sudo:?} {owner:?}");
        }
    }

    #[test]
    fn the_owner_is_the_projects_or_whom_it_was_made_for() {
        if User::own().uid != 0 {
            return;
        }
        let project = tempfile::tempdir().expect("a temporary folder");
        let give = |path: &Path, uid| std::os::unix::fs::chown(path, Some(uid), Some(uid)).expect("root may");
        give(project.path(), 1234);
        assert_eq!(owner(project.path()), Some(User { uid: 1234, gid: 1234 }));
        let folders = project.path().join(AGENT_MOUNT);
        std::fs::create_dir(&folders).expect("made");
        for (of_folders, expected) in [(0, 1234), (4321, 1234), (1000, 1000)] {
            give(&folders, of_folders);
            assert_eq!(owner(project.path()).map(|user| user.uid), Some(expected), "{of_folders}");
        }
        let told = |uid| foreign_owner(project.path(), User { uid, gid: uid });
        assert_eq!((told(1234), told(1000)), (None, Some(1234)));
        std::fs::set_permissions(project.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("ours");
        assert_eq!(told(1000), None);
    }
}
