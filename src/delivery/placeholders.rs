//! What is there, during a start, in the place of a file of secrets that is gone.
//!
//! An empty file lies inside over each that was there when the container was made, and the Engine makes what it is to
//! lie over: an empty `.env`, root's, in a project whose `.env` was deleted since. So one is made here first, which can
//! be told from anybody else's, and taken away once the container has started. The kernel takes the cover off with it.

use std::ffi::OsString;
use std::io;
use std::path::{Component, Path};

use rustix::fs::{self, AtFlags, FileType, Stat};

use crate::files::{Dir, kind};
use crate::spec::{ContainerSpec, MountSource};

/// Files, and folders on the way to them, that are there only while a container starts. Dropping takes them away.
#[derive(Debug, Default)]
#[must_use = "the Engine makes them itself if they are gone before it has started the container"]
pub struct Placeholders(Vec<Placeholder>);

#[derive(Debug)]
struct Placeholder {
    folder: Dir,
    name: OsString,
    made: Stat,
}

impl Placeholders {
    /// Makes one for each place that `empty` is mounted over and where nothing is. What can't be made is left to the
    /// Engine: no start fails for it.
    pub(super) fn make(spec: &ContainerSpec, empty: &Path) -> Self {
        let mut made = Self::default();
        let covers = |source: &MountSource| matches!(source, MountSource::Folder(file) if Path::new(file) == empty);
        for cover in spec.mounts.iter().filter(|mount| covers(&mount.source)) {
            if let Some((folder, below)) = shown_by(spec, Path::new(&cover.target)) {
                made.fill(folder, below).ok();
            }
        }
        made
    }

    fn fill(&mut self, folder: &Path, below: &Path) -> io::Result<()> {
        let is_plain = below.components().all(|name| matches!(name, Component::Normal(_)));
        let (true, Some(way), Some(name)) = (is_plain, below.parent(), below.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut folder = Dir::open_resolved(folder)?;
        for name in way {
            folder = match folder.dir(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let inner = folder.make_dir(name)?;
                    let made = inner.stat_self()?;
                    self.0.push(Placeholder { folder, name: name.to_owned(), made });
                    inner
                }
                there => there?,
            };
        }
        let made = fs::fstat(folder.create(name)?)?;
        self.0.push(Placeholder { folder, name: name.to_owned(), made });
        Ok(())
    }
}

impl Drop for Placeholders {
    fn drop(&mut self) {
        for placeholder in self.0.iter().rev() {
            placeholder.remove().ok(); // What stays is empty.
        }
    }
}

impl Placeholder {
    /// Whatever somebody put in its place, or into it, stays.
    fn remove(&self) -> io::Result<()> {
        let now = self.folder.stat(&self.name)?;
        let flags = match kind(&now) {
            _ if (now.st_dev, now.st_ino) != (self.made.st_dev, self.made.st_ino) => return Ok(()),
            FileType::RegularFile if now.st_size == 0 => AtFlags::empty(),
            FileType::Directory => AtFlags::REMOVEDIR,
            _ => return Ok(()),
        };
        Ok(fs::unlinkat(&self.folder, &*self.name, flags)?)
    }
}

/// The host's folder through whose mount a path inside is seen, and the rest of the path below it.
fn shown_by<'a>(spec: &'a ContainerSpec, target: &'a Path) -> Option<(&'a Path, &'a Path)> {
    let above = spec.mounts.iter().filter_map(|mount| {
        let below = target.strip_prefix(&mount.target).ok().filter(|below| !below.as_os_str().is_empty())?;
        Some((mount, below))
    });
    // The nearest: it hides what those above it show there.
    let (mount, below) = above.min_by_key(|(_, below)| below.components().count())?;
    match &mount.source {
        MountSource::Folder(folder) => Some((Path::new(folder), below)),
        MountSource::Volume { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_somebody_else_put_there_stays_and_no_link_is_followed() {
        let (temp, outside) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let root = temp.path().canonicalize().expect("there");
        fs::write(root.join("there"), "").expect("writable");
        symlink(outside.path(), root.join("link")).expect("writable");
        let mut placeholders = Placeholders::default();
        for name in [".env", "deploy/eu/prod.env", "written", "replaced", "shared/env"] {
            placeholders.fill(&root, Path::new(name)).expect(name);
            assert!(root.join(name).is_file(), "{name}");
        }
        for name in ["there", "link/env", "../env"] {
            placeholders.fill(&root, Path::new(name)).expect_err(name);
        }
        fs::write(root.join("written"), "KEY=1").expect("writable");
        fs::write(root.join("new"), "").expect("writable");
        fs::rename(root.join("new"), root.join("replaced")).expect("ours");
        fs::write(root.join("shared/other"), "").expect("writable");
        drop(placeholders);
        let left = Dir::open(&root).expect("there").names().expect("ours");
        assert_eq!(left, ["link", "replaced", "shared", "there", "written"]);
        assert!(!root.join("shared/env").exists() && root.join("shared/other").exists());
        assert_eq!(outside.path().read_dir().expect("there").count(), 0);
    }
}
