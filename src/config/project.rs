//! Which folder is the project, and what its environment is called.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};

use super::env_file::EnvFile;
use super::layers::SettingLayers;
use super::setting::SettingValue;
use super::settings::POWERDEV_NAME;
use super::wants::callers;
use super::yaml::{self, YamlFile};
use super::{Name, Origin, Overrides, env_file, layout, text};
use crate::failure::Failure;
use crate::files;

/// The nearest folder from `start` upwards that holds a `powerdev.yaml` or an `.agent-mount`, else `start` itself.
/// What another user put above it (into /tmp, say) is passed over.
fn find_project(start: &Path, callers: &[u32]) -> PathBuf {
    let owner = |path: &Path| path.symlink_metadata().map(|found| found.uid());
    let mut near = callers.to_vec();
    // Root may put files anywhere as it is, and in somebody's folder that one's project is meant.
    near.extend([0].into_iter().chain(owner(start).ok()));
    let ours = |path: &Path| owner(path).is_ok_and(|uid| near.contains(&uid));
    // A link that leads nowhere is told when it is read.
    let marks = |folder: &Path| {
        let (yaml, data) = (folder.join(yaml::FILE), folder.join(layout::AGENT_MOUNT));
        let yaml = (yaml.is_file() || yaml.is_symlink()) && ours(&yaml);
        yaml || (data.is_dir() && ours(&data))
    };
    start.ancestors().find(|folder| ours(folder) && marks(folder)).unwrap_or(start).to_owned()
}

/// Refuses a folder that an environment writes: what lies there may be an agent's work.
///
/// # Errors
/// A usage [`Failure`] that names the project whose it is.
pub fn refuse_below_data(dir: &Path) -> Result<(), Failure> {
    let Some(data) = dir.ancestors().filter(|folder| folder.ends_with(layout::AGENT_MOUNT)).last() else {
        return Ok(());
    };
    let project = data.parent().unwrap_or(data).display();
    Err(Failure::usage(format!("{} can't be a project: the environment of {project} writes there", dir.display()))
        .hint(format!("`--project {project}` is the project; to have another, move this folder out of .agent-mount")))
}

/// The project's folder, absolute and without links: the one given, or the one found from the current folder.
///
/// # Errors
/// A usage [`Failure`] when the one given isn't a folder, or lies where another project's environment writes; an I/O
/// error when the current one is gone.
pub fn folder(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let folder = named_or_found(given)?;
    refuse_below_data(&folder)?;
    Ok(folder)
}

fn named_or_found(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let Some(given) = given else {
        let here = std::env::current_dir().context("the current folder can't be read; was it removed?")?;
        let here = here.canonicalize().with_context(|| format!("can't resolve {}", here.display()))?;
        return Ok(find_project(&here, &callers(&|variable| std::env::var_os(variable))));
    };
    match given.canonicalize() {
        Ok(folder) if folder.is_dir() => Ok(folder),
        Ok(_) => {
            Err(Failure::usage(format!("{} isn't a folder", given.display())).hint("--project takes a folder").into())
        }
        Err(error) => Err(Failure::usage(format!("can't open the project's folder {}", given.display()))
            .hint("--project takes a folder that is there")
            .source(error)
            .into()),
    }
}

/// The name and folder of an environment, without reading the rest of its settings: they may be wrong, and it must
/// still be possible to look at what runs and to stop it. `env_file`: another file than `.env`.
///
/// # Errors
/// A usage [`Failure`] when the name itself can't be told.
pub fn identity_with(project: Option<&Path>, env_file: Option<&Path>) -> anyhow::Result<(Name, PathBuf)> {
    let dir = folder(project)?;
    let environment = |variable: &str| std::env::var_os(variable);
    Ok((name_only(&dir, env_file, &environment)?, dir))
}

fn name_only(
    dir: &Path,
    env_file: Option<&Path>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> anyhow::Result<Name> {
    let yaml = yaml_name(dir)?;
    let flags = Overrides::default();
    let without_file = SettingLayers::new(dir, &yaml, None, environment, &flags);
    let exported = without_file.resolve(&POWERDEV_NAME)?;
    if matches!(exported.origin, Origin::Environment { .. }) {
        return Ok(Name::read(&exported)?);
    }
    let env_file = env_with_name(dir, env_file)?;
    let layers = SettingLayers::new(dir, &yaml, env_file.as_ref(), environment, &flags);
    Ok(Name::read(&layers.resolve(&POWERDEV_NAME)?)?)
}

/// The file of settings, as far as it can say a name. One that is broken elsewhere says none: commands that create
/// something read it in full and complain. Where it may say one that can't be made out, a guess could stop or remove
/// another environment.
fn env_with_name(dir: &Path, given: Option<&Path>) -> anyhow::Result<Option<EnvFile>> {
    let path = given.map_or_else(|| dir.join(".env"), Path::to_owned);
    match EnvFile::read(&path) {
        Ok(None) if given.is_some() => Err(env_file::not_there(&path).into()),
        Err(error) => {
            let may_name = || files::text(&path).map_or(true, |text| text.contains(POWERDEV_NAME.name));
            if given.is_some() || may_name() { Err(error) } else { Ok(None) }
        }
        read => read,
    }
}

/// `powerdev.yaml` with nothing but its name.
fn yaml_name(dir: &Path) -> anyhow::Result<YamlFile> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct NameOnly {
        name: Option<String>,
    }
    let path = dir.join(yaml::FILE);
    let Some(bytes) = files::read_if_there(&path)? else { return Ok(YamlFile::default()) };
    match serde_yaml::from_str::<Option<NameOnly>>(text::utf8(&path, &bytes)?) {
        Ok(only) => {
            let name = only.unwrap_or_default().name;
            Ok(YamlFile::named(path, name))
        }
        // It isn't even YAML: say it as a whole read says it.
        Err(_) => YamlFile::parse(&path, &bytes).map_err(Into::into),
    }
}

/// A name that no other folder has and that tells which folder it is: its own name, and a hash of its path.
pub fn made_up(dir: &Path) -> Name {
    let mut slug = String::new();
    for c in dir.file_name().unwrap_or_default().to_string_lossy().to_lowercase().chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(Name::MAX - 7);
    let slug = slug.trim_end_matches('-');
    let mut name = if slug.is_empty() { "project".to_owned() } else { slug.to_owned() };
    name.push('-');
    name.push_str(&hex::encode(&Sha256::digest(dir.as_os_str().as_encoded_bytes())[..3]));
    name.parse().expect("a slug and six hex digits make a name")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_nearest_marked_folder_above_is_the_project() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let deep = root.path().join("a/b/c");
        std::fs::create_dir_all(&deep).expect("made");
        let own = root.path().metadata().expect("there").uid();
        let find_project = |start: &Path| super::find_project(start, &[own]);
        assert_eq!(find_project(&deep), deep);
        std::fs::create_dir(root.path().join("a/.agent-mount")).expect("made");
        assert_eq!(find_project(&deep), root.path().join("a"));
        std::fs::write(root.path().join("a/b/powerdev.yaml"), "").expect("written");
        assert_eq!(find_project(&deep), root.path().join("a/b"));
    }

    #[test]
    fn what_an_environment_writes_is_no_project() {
        for (dir, project) in [("/p/.agent-mount", "/p"), ("/p/.agent-mount/ext/x/.agent-mount/y", "/p")] {
            let failure = refuse_below_data(Path::new(dir)).expect_err(dir);
            assert!(failure.message.ends_with(&format!("the environment of {project} writes there")), "{failure}");
        }
        assert!(refuse_below_data(Path::new("/p/agent-mount/x")).is_ok());
    }

    #[test]
    fn a_broken_configuration_still_has_a_name() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let nothing = |_: &str| None;
        std::fs::write(root.path().join("powerdev.yaml"), "name: mine\nnonsense: 1\n").expect("written");
        std::fs::write(root.path().join(".env"), "A=\"open\n").expect("written");
        assert_eq!(name_only(root.path(), None, &nothing).expect("named").as_str(), "mine");
        let exported = |variable: &str| (variable == "POWERDEV_NAME").then(|| "other".into());
        assert_eq!(name_only(root.path(), None, &exported).expect("named").as_str(), "other");
        std::fs::write(root.path().join(".env"), "A=\"open\nPOWERDEV_NAME=third\n").expect("written");
        assert!(name_only(root.path(), None, &nothing).is_err(), "which of the two can't be told");
        assert_eq!(name_only(root.path(), None, &exported).expect("named").as_str(), "other");
        let missing = root.path().join("missing.env");
        assert!(name_only(root.path(), Some(&missing), &nothing).is_err());
        std::fs::remove_file(root.path().join(".env")).expect("removed");
        std::os::unix::fs::symlink("nowhere", root.path().join(".env")).expect("linked");
        assert!(name_only(root.path(), None, &nothing).is_err(), "what the link led to may have said it");
        std::fs::remove_file(root.path().join(".env")).expect("removed");
        std::fs::write(root.path().join("powerdev.yaml"), "name: [\n").expect("written");
        assert!(name_only(root.path(), None, &nothing).is_err());
    }

    #[test]
    fn names_tell_the_folder_and_differ_by_path() {
        let one = made_up(Path::new("/home/me/My Project"));
        assert!(one.as_str().starts_with("my-project-") && one.as_str().len() == "my-project-".len() + 6, "{one}");
        assert_ne!(one, made_up(Path::new("/home/you/My Project")));
        assert!(made_up(Path::new("/")).as_str().starts_with("project-"));
    }

    proptest! {
        #[test]
        fn any_folder_has_a_name(folder in "[^/\0]{0,80}") {
            let name = made_up(&Path::new("/home").join(folder));
            prop_assert!(name.as_str().parse::<Name>().is_ok());
        }
    }
}
