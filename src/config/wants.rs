//! What a project's own files ask for that reaches beyond its folder or weakens the wall around it. Whoever clones a
//! project is asked before any of it is done: see [`crate::trust`]. What the caller typed as a flag or exported
//! himself is nobody else's wish, and isn't among it.

use std::fmt::Display;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::layers::SettingLayers;
use super::outline::PathStep;
use super::reach::Surroundings;
use super::setting::Setting;
use super::{
    Choice, ExternalDir, GpuRequest, Mount, Origin, SecurityProfile, Settings, SshAccess, layout, settings, yaml,
};
use crate::failure::Failure;

/// What kind of thing is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WantKind {
    /// A path of this machine, mounted by `mounts:`.
    Mount,
    /// A folder outside of the project at /workspace/ext.
    ExternalDir,
    /// An image that isn't powerdev's.
    Image,
    /// What powerdev's image is built on.
    BaseImage,
    /// A Dockerfile of the project's own, by its content.
    Dockerfile,
    /// Packages of `packages:`, some of whose code runs as root in a build.
    Packages,
    /// A command of `hooks:`.
    Hook,
    /// Ports that others than this machine reach.
    BindAddress,
    /// The security profile in which root inside can reach the machine.
    Security,
    /// The keys in the caller's `~/.ssh`.
    Ssh,
    /// GPUs by name, where `auto` would do without.
    Gpu,
    /// A variable of the caller's environment.
    Variable,
    /// `.env` or powerdev.yaml is a link to outside of the project.
    Link,
    /// Folder or file of another user.
    Owner,
}

/// One thing that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Of what kind it is.
    pub kind: WantKind,
    /// What exactly, so that two are the same when kind and this are.
    pub value: String,
    /// What it means, in a line that a person understands.
    pub says: String,
    /// The file that asks for it.
    pub file: PathBuf,
    /// The line there, from 1, where it can be told.
    pub line: Option<usize>,
    /// It would have an effect now: a variable that isn't set has none.
    pub active: bool,
}

impl Want {
    /// One that has an effect, asked for by this file.
    pub fn new(kind: WantKind, value: impl Display, says: String, file: &Path, line: Option<usize>) -> Self {
        Self { kind, value: value.to_string(), says: shown(&says), file: file.to_owned(), line, active: true }
    }

    /// What it means, and where it stands, with files as seen from the project's folder.
    pub fn told(&self, project: &Path) -> String {
        let file = self.file.strip_prefix(project).unwrap_or(&self.file);
        if file.as_os_str().is_empty() {
            return self.says.clone();
        }
        format!("{} ({})", self.says, yaml::place(file, self.line))
    }
}

/// Finds them among the layers, from what was read of them already.
pub(super) struct Finder<'a> {
    pub layers: &'a SettingLayers<'a>,
    pub read: &'a Settings,
    pub mounts: &'a [Mount],
}

impl Finder<'_> {
    /// All of them, in the order of the settings.
    pub fn find(&self) -> Result<Vec<Want>, Failure> {
        let near = Surroundings::new(self.layers.environment);
        let mut wants = self.of_settings(&near)?;
        wants.extend(self.of_mounts(&near));
        wants.extend(self.of_additions());
        wants.extend(self.of_variables()?);
        wants.extend(self.links());
        wants.extend(self.owners());
        Ok(wants)
    }

    /// The settings that the project's files set, and that mean something beyond its folder.
    fn of_settings(&self, near: &Surroundings) -> Result<Vec<Want>, Failure> {
        let read = self.read;
        let image = read.image.as_ref().map(|image| (image.to_string(), format!("runs in the image {image}")));
        let base = read.base_image.as_ref().map(|base| (base.to_string(), format!("builds its image on {base}")));
        let named = if let ExternalDir::Folder(dir) = &read.external_dir { Some(dir) } else { None };
        let outside = named.filter(|dir| near.is_beyond(dir, self.layers.paths.project));
        let external = outside.map(|dir| {
            let says = format!("mounts {} at {}: {}writable", dir.display(), layout::EXTERNAL_TARGET, near.told(dir));
            (dir.display().to_string(), says)
        });
        let address = Some(read.bind_address).filter(|address| !address.is_loopback());
        let address = address.map(|address| {
            let says = format!("opens its ports to whoever reaches {address}, without a password");
            (address.to_string(), says)
        });
        let trusted = read.security == SecurityProfile::Trusted;
        let security = trusted.then(|| {
            let says = "runs under security: trusted, where root inside can reach this machine".to_owned();
            (read.security.word(), says)
        });
        let keys = (read.ssh == SshAccess::Keys).then(|| {
            let says = "mounts ~/.ssh: whatever runs inside can read your SSH keys".to_owned();
            (read.ssh.word(), says)
        });
        let gpus = match &read.gpu {
            GpuRequest::All => Some(("all".to_owned(), "takes all GPUs".to_owned())),
            GpuRequest::Ids(ids) => Some((ids.join(","), format!("takes the GPUs {}", ids.join(", ")))),
            GpuRequest::Auto | GpuRequest::None => None,
        };
        let mut wants = Vec::new();
        for (setting, kind, found) in [
            (&settings::IMAGE, WantKind::Image, image),
            (&settings::BASE_IMAGE, WantKind::BaseImage, base),
            (&settings::EXTERNAL_DIR, WantKind::ExternalDir, external),
            (&settings::BIND_ADDRESS, WantKind::BindAddress, address),
            (&settings::SECURITY, WantKind::Security, security),
            (&settings::SSH, WantKind::Ssh, keys),
            (&settings::GPU, WantKind::Gpu, gpus),
        ] {
            if let (Some((value, says)), Some((file, line))) = (found, self.place_in_project(setting)?) {
                wants.push(Want::new(kind, value, says, &file, line));
            }
        }
        Ok(wants)
    }

    /// Where the project's files set this. None: they don't, or somebody stronger does.
    fn place_in_project(&self, setting: &'static Setting) -> Result<Option<(PathBuf, Option<usize>)>, Failure> {
        Ok(match self.layers.resolve(setting)?.origin {
            Origin::Yaml { file, line } => Some((file, line)),
            Origin::EnvFile { file, line } if self.layers.owns_env_file() => Some((file, Some(line))),
            _ => None,
        })
    }

    fn of_mounts(&self, near: &Surroundings) -> Vec<Want> {
        let outside = self.mounts.iter().enumerate();
        let outside = outside.filter(|(_, mount)| near.is_beyond(&mount.source, self.layers.paths.project));
        let want = |(index, mount): (usize, &Mount)| {
            let (source, target) = (mount.source.display(), &mount.target);
            let writable = if mount.read_only { "read-only" } else { "writable" };
            let says = format!("mounts {source} at {target}: {}{writable}", near.told(&mount.source));
            let line = self.layers.yaml.line(&[PathStep::Key("mounts"), PathStep::Item(index)]);
            let value = format!("{source}:{target}:{writable}");
            Want::new(WantKind::Mount, value, says, &self.layers.yaml.path, line)
        };
        outside.map(want).collect()
    }

    /// What is added to the image, and the commands that are run without anybody calling them.
    fn of_additions(&self) -> Vec<Want> {
        let yaml = self.layers.yaml;
        let names: Vec<String> = yaml.content.packages.all().map(|(list, name)| format!("{list} {name}")).collect();
        let packages = (!names.is_empty()).then(|| {
            let says = format!(
                "adds packages to its image, whose installation runs as root in the build: {}",
                names.join(", ")
            );
            let line = yaml.line(&[PathStep::Key("packages")]);
            Want::new(WantKind::Packages, names.join(" "), says, &yaml.path, line)
        });
        let hooks = yaml.content.hooks.all().map(|(key, _, hook)| {
            let when = if key == "created" { "when its container is made" } else { "at each start" };
            let line = yaml.line(&[PathStep::Key("hooks"), PathStep::Key(key)]);
            let says = format!("runs inside {when}: {}", hook.shown());
            Want::new(WantKind::Hook, format!("{key} {:?}", hook.0), says, &yaml.path, line)
        });
        packages.into_iter().chain(hooks).collect()
    }

    /// The keys of `.env` that take their value from the caller's environment.
    fn of_variables(&self) -> Result<Vec<Want>, Failure> {
        let Some(file) = self.layers.env_file.filter(|_| self.layers.owns_env_file()) else { return Ok(Vec::new()) };
        let passed = |key: &str| settings::named(key).is_none();
        let mut wants = Vec::new();
        for entry in file.entries.iter().filter(|entry| entry.value.is_empty() && passed(&entry.key)) {
            let says = format!("takes {} from your environment", entry.key);
            let want = Want::new(WantKind::Variable, &entry.key, says, &file.path, Some(entry.line));
            wants.push(Want { active: self.layers.variable(&entry.key)?.is_some(), ..want });
        }
        Ok(wants)
    }

    /// The files that were read.
    fn files(&self) -> Vec<&Path> {
        let yaml = Some(self.layers.yaml.path.as_path()).filter(|path| !path.as_os_str().is_empty());
        let env = self.layers.env_file.filter(|_| self.layers.owns_env_file()).map(|file| file.path.as_path());
        yaml.into_iter().chain(env).collect()
    }

    fn links(&self) -> Vec<Want> {
        let project = self.layers.paths.project;
        let leads_out = |file: &&Path| Some(file.canonicalize().ok()?).filter(|target| !target.starts_with(project));
        let want = |file: &Path| {
            let target = leads_out(&file)?;
            let name = file.file_name().unwrap_or_default().display();
            let says = format!("reads {} as its {name}", target.display());
            Some(Want::new(WantKind::Link, format!("{name}:{}", target.display()), says, file, None))
        };
        self.files().into_iter().filter_map(want).collect()
    }

    /// Folder and files that belong to neither the caller nor whoever called sudo: another user may change them at
    /// will.
    fn owners(&self) -> Vec<Want> {
        let own = callers(self.layers.environment);
        let project = self.layers.paths.project;
        let want = |path: &Path| {
            let uid = path.metadata().ok()?.uid();
            let link = path.symlink_metadata().ok()?.uid();
            let other = [uid, link].into_iter().find(|uid| !own.contains(uid))?;
            let what = if path == project { "the project's folder" } else { "this file" };
            let says = format!("{what} belongs to user {other}, not to you");
            let name = path.strip_prefix(project).unwrap_or(path).display();
            Some(Want::new(WantKind::Owner, format!("{name}:{other}"), says, path, None))
        };
        [project].into_iter().chain(self.files()).filter_map(want).collect()
    }
}

/// What is asked for is written by whoever wrote the files: nothing of it moves the cursor or turns the text around.
fn shown(text: &str) -> String {
    let hides = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if hides(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// The users that the caller is: himself, and for root whoever called sudo.
pub fn callers(environment: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> Vec<u32> {
    let own = rustix::process::geteuid();
    let sudo = environment("SUDO_UID").filter(|_| own.is_root());
    let sudo = sudo.and_then(|uid| uid.to_str()?.parse().ok());
    [own.as_raw()].into_iter().chain(sudo).collect()
}
