//! A project's `.agent-mount`: made, opened and looked at without following a link, and closed to the machine's other
//! users.
//!
//! The Engine follows whatever link lies where it is told to mount from, as root. Whoever can write in the project, or
//! made the repository that it was cloned from, could put one in the place of a folder here. So each of them is looked at
//! from the project's descriptor, before a container is made and before it starts.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::config::layout;
use crate::failure::Failure;
use crate::files::{Dir, permissions};
use crate::units::User;

/// Who may reach what lies in it: its owner alone. Containers see the folders in it by mounts of their own.
const CLOSED: u32 = 0o700;

/// Opens a project's `.agent-mount`, which is made for `owner` where there is none, and closes it to other users.
///
/// # Errors
/// A conflict when it is a link, a file, or somebody else's.
pub fn open(project: &Path, owner: User) -> Result<Dir, Failure> {
    let folder = Dir::open_resolved(project).map_err(|error| unusable(project, error))?;
    closed(&folder, layout::AGENT_MOUNT, owner, User::own())
}

/// Opens a folder that nobody but its owner may enter, which is made for `owner` where there is none. One that is there may
/// be `other`'s as well.
///
/// # Errors
/// As [`open`].
pub fn closed(parent: &Dir, name: &str, owner: User, other: User) -> Result<Dir, Failure> {
    let path = parent.path().join(name);
    let folder = parent.ensure_dir(name.as_ref(), CLOSED, owner).map_err(|error| unusable(&path, error))?;
    check_owner(&folder, &[owner, other])?;
    let stat = folder.stat_self().map_err(|error| unusable(&path, error))?;
    if permissions(&stat) != CLOSED {
        folder.set_mode(CLOSED).map_err(|error| unusable(&path, error))?;
    }
    Ok(folder)
}

/// Opens a project's `.agent-mount` if it is there; nothing is made and nothing changed.
///
/// # Errors
/// As [`open`].
pub fn look(project: &Path, owner: User) -> Result<Option<Dir>, Failure> {
    let folder = Dir::open_resolved(project).map_err(|error| unusable(project, error))?;
    let Some(mount) = existing(&folder, layout::AGENT_MOUNT)? else { return Ok(None) };
    check_owner(&mount, &[owner, User::own()])?;
    Ok(Some(mount))
}

/// Makes it with the folders in it for `owner`, the container's user. What is there stays as it is. Nothing is made
/// unless all that is there can be used.
///
/// # Errors
/// As [`open`], for each of the folders.
pub fn prepare(project: &Path, owner: User) -> Result<(), Failure> {
    check(project, owner)?;
    let mount = open(project, owner)?;
    for name in layout::FOLDER_NAMES {
        let made = mount.ensure_dir(name.as_ref(), 0o755, owner);
        made.map_err(|error| unusable(&mount.path().join(name), error))?;
    }
    Ok(())
}

/// Looks at those of its folders that are there, each as [`check_folder`].
///
/// # Errors
/// As [`open`].
pub fn check(project: &Path, owner: User) -> Result<(), Failure> {
    let Some(mount) = look(project, owner)? else { return Ok(()) };
    layout::FOLDER_NAMES.iter().try_for_each(|name| check_one(&mount, name, owner))
}

/// Looks at one of its folders, which is about to be mounted.
///
/// # Errors
/// As [`open`].
pub fn check_folder(project: &Path, name: &str, owner: User) -> Result<(), Failure> {
    look(project, owner)?.map_or(Ok(()), |mount| check_one(&mount, name, owner))
}

fn check_one(mount: &Dir, name: &str, owner: User) -> Result<(), Failure> {
    // Root inside may have given a folder to root.
    existing(mount, name)?.map_or(Ok(()), |folder| check_owner(&folder, &[owner, User::own(), User::ROOT]))
}

fn existing(parent: &Dir, name: &str) -> Result<Option<Dir>, Failure> {
    match parent.dir(OsStr::new(name)) {
        Ok(dir) => Ok(Some(dir)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(&parent.path().join(name), error)),
    }
}

fn check_owner(dir: &Dir, fine: &[User]) -> Result<(), Failure> {
    let owner = dir.owner().map_err(|error| unusable(dir.path(), error))?;
    if fine.iter().any(|user| user.uid == owner.uid) {
        return Ok(());
    }
    let path = dir.path().display();
    let failure = Failure::conflict(format!("{path} belongs to user {}, not to you", owner.uid));
    Err(failure.hint(format!("if it is yours, `sudo chown -R {} {path}`; else move it away", fine[0])))
}

/// What keeps a folder from being used, with what to do about it.
fn unusable(path: &Path, error: io::Error) -> Failure {
    let shown = path.display();
    let is_link = || path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
    let (what, hint) = match Errno::from_io_error(&error) {
        Some(Errno::LOOP | Errno::NOTDIR) if is_link() => (
            format!("{shown} is a link, and no link is followed there"),
            "put the folder itself there; one that lies elsewhere can be mounted there (`mount --bind`)".to_owned(),
        ),
        Some(Errno::LOOP | Errno::NOTDIR) => {
            (format!("{shown} isn't a folder"), "move it away: a folder is made in its place".to_owned())
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            (format!("{shown} can't be used"), format!("`ls -ld {shown}` shows whose it is: it must be yours"))
        }
        _ => (format!("{shown} can't be used"), "look at the folder and its disk".to_owned()),
    };
    Failure::conflict(what).hint(hint).source(error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn project() -> (tempfile::TempDir, std::path::PathBuf) {
        let temp = tempfile::tempdir().expect("a temporary folder");
        let path = temp.path().canonicalize().expect("there");
        (temp, path)
    }

    #[test]
    fn it_is_made_closed_and_closed_again() {
        let (_temp, project) = project();
        prepare(&project, User::own()).expect("made");
        let mode = |path: &str| project.join(path).metadata().expect("there").permissions().mode() & 0o7777;
        assert_eq!((mode(".agent-mount"), mode(".agent-mount/docker_data")), (0o700, 0o755));
        std::fs::set_permissions(project.join(".agent-mount"), PermissionsExt::from_mode(0o775)).expect("set");
        prepare(&project, User::own()).expect("there");
        assert_eq!(mode(".agent-mount"), 0o700);
    }

    #[test]
    fn a_link_or_a_file_in_its_place_is_refused_and_nothing_is_made() {
        for name in [".agent-mount", ".agent-mount/docker_data", ".agent-mount/ext"] {
            for link in [true, false] {
                let (_temp, project) = project();
                let place = project.join(name);
                std::fs::create_dir_all(place.parent().expect("below")).expect("made");
                if link { symlink("/etc", &place) } else { std::fs::write(&place, "") }.expect("made");
                let failure = prepare(&project, User::own()).expect_err(name);
                let said = if link { "is a link" } else { "isn't a folder" };
                assert!(failure.message.starts_with(&format!("{} {said}", place.display())), "{failure}");
                assert!(failure.hint.is_some());
                assert!(!project.join(".agent-mount/docker_workspace").exists(), "{name}: something was made");
            }
        }
    }

    #[test]
    fn what_belongs_to_somebody_else_is_refused() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (_temp, project) = project();
        let user = User { uid: 1000, gid: 1000 };
        prepare(&project, user).expect("made");
        let give = |uid| std::os::unix::fs::chown(project.join(".agent-mount/docker_data"), Some(uid), None);
        give(0).expect("root may");
        check(&project, user).expect("root inside may have taken it");
        give(4321).expect("root may");
        let failure = check(&project, user).expect_err("a stranger's");
        assert!(failure.message.contains("belongs to user 4321"), "{failure}");
        assert!(failure.hint.is_some_and(|hint| hint.contains("chown -R 1000:1000")));
    }
}
