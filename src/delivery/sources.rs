//! What a container mounts of this machine, looked at right before the Engine mounts it.
//!
//! The settings' paths are resolved when they are read. What has become a link since was put there by somebody else, say
//! from inside of a container that has the folder around it, and the Engine, which is root, would follow it. It takes paths
//! and no descriptors, so a moment stays between this look and its own.

use std::io::ErrorKind;
use std::path::Path;

use crate::agent_mount;
use crate::config::layout;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::files;
use crate::spec::{ContainerSpec, MountSource};

/// Looks at every folder of this machine that is mounted, but for those of the environment's state.
///
/// # Errors
/// A conflict that names the first that leads elsewhere, belongs to somebody else, or is gone.
pub fn check(environment: &Environment, spec: &ContainerSpec) -> Result<(), Failure> {
    let Some(site) = environment.site() else { return Ok(()) };
    let sources = spec.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Folder(source) => site.path(Path::new(source)),
        MountSource::Volume { .. } => None,
    });
    for source in sources.filter(|source| !source.starts_with(environment.state().root())) {
        match of_agent_mount(source) {
            Some((project, name)) => agent_mount::check_folder(project, name, spec.user)?,
            None if files::leads_astray(source) => {
                let message = format!("{} leads through a link that wasn't there before", source.display());
                let hint = "remove the link; or give `up` --recreate, which mounts what the settings now lead to";
                return Err(Failure::conflict(message).hint(hint));
            }
            None if source.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) => {
                let message = format!("{} is mounted, and isn't there any more", source.display());
                let hint = "put it back; or give `up` --recreate, which mounts what is there now";
                return Err(Failure::conflict(message).hint(hint));
            }
            None => {}
        }
    }
    Ok(())
}

/// The project and the name of a folder that lies in an `.agent-mount`.
fn of_agent_mount(source: &Path) -> Option<(&Path, &str)> {
    let parent = source.parent().filter(|parent| parent.file_name().is_some_and(|name| name == layout::AGENT_MOUNT))?;
    Some((parent.parent()?, source.file_name()?.to_str()?))
}
