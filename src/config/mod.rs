//! Settings: default < `powerdev.yaml` < `.env` < environment < flag. Parsed once, here, into types; each value
//! knows where it came from.

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod layout;
pub mod setting;
pub mod settings;
pub mod suggest;
pub mod template;
pub mod yaml;

mod entries;
mod env_file;
mod forms;
mod hooks;
mod image_reference;
mod joined;
mod layers;
mod load;
mod outline;
mod overlay;
mod packages;
mod project;
mod reach;
mod refusal;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;
mod text;
mod types;
mod values;
mod variables;
mod wants;
#[cfg(test)]
mod wording_tests;

use std::path::Path;

pub use hooks::Hooks;
pub use image_reference::ImageReference;
pub use layers::Overrides;
pub use packages::Packages;
pub use project::{identity_with, made_up, refuse_below_data};
pub use settings::Settings;
pub use suggest::did_you_mean;
pub use types::{
    CaBundle, Choice, ExternalDir, GpuRequest, Mount, Name, Origin, Port, Profile, Secrets, SecurityProfile,
    ShownValue, SshAccess,
};
pub use wants::{Want, WantKind};

/// Finds the project, reads every layer but flags, validates.
///
/// # Errors
/// A [`crate::failure::Failure`] with [`powerdev_protocol::ExitCode::Usage`]: file, line, the value, a suggestion.
pub fn load(project: Option<&Path>, env_file: Option<&Path>) -> anyhow::Result<Settings> {
    load_with(project, env_file, &Overrides::default())
}

/// Finds the project, reads every layer, validates.
///
/// # Errors
/// A [`crate::failure::Failure`] with [`powerdev_protocol::ExitCode::Usage`]: file, line, the value, a suggestion.
pub fn load_with(project: Option<&Path>, env_file: Option<&Path>, flags: &Overrides) -> anyhow::Result<Settings> {
    let mut settings = load::load(&project::folder(project)?, env_file, &|variable| std::env::var_os(variable), flags)?;
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    settings.notices.extend(variables::unknown(names));
    Ok(settings)
}

/// [`load`] without the environment of whoever runs the tests.
#[cfg(test)]
pub(crate) fn load_alone(dir: &Path) -> anyhow::Result<Settings> {
    load::load(dir, None, &|_| None, &Overrides::default())
}
