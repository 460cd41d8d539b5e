//! From layers to [`Settings`]: every value parsed, everything that can be wrong told with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use powerdev_protocol::Service;
use powerdev_protocol::service::rules;

use super::env_file::EnvFile;
use super::layers::SettingLayers;
use super::outline::PathStep;
use super::reach::Surroundings;
use super::setting::{PREFIX, Visibility};
use super::yaml::YamlFile;
use super::{
    Mount, Origin, Overrides, Packages, Port, Profile, Secrets, Settings, ShownValue, env_file, joined, layout,
    overlay, settings, suggest, variables, wants,
};
use crate::failure::Failure;

/// Bytes of a variable with its name, `=` and end.
const MAX_VARIABLE: usize = rules::ONE_PIECE + 1;
/// Bytes of all secrets: three quarters of what Linux gives a process in all.
const MAX_VARIABLES: usize = 3 << 19;
/// The project's file of settings and secrets.
const ENV_FILE: &str = ".env";

/// Reads and checks everything about the project in this folder.
pub(super) fn load(
    dir: &Path,
    env_file: Option<&Path>,
    environment: &dyn Fn(&str) -> Option<OsString>,
    flags: &Overrides,
) -> anyhow::Result<Settings> {
    let yaml = YamlFile::read(dir)?.unwrap_or_default();
    let file = match env_file {
        Some(path) => Some(EnvFile::read(path)?.ok_or_else(|| env_file::not_there(path))?),
        None => EnvFile::read(&dir.join(ENV_FILE))?,
    };
    let layers = SettingLayers::new(dir, &yaml, file.as_ref(), environment, flags);
    Loader { yaml: &yaml, layers, notices: Vec::new() }.settings()
}

struct Loader<'a> {
    yaml: &'a YamlFile,
    layers: SettingLayers<'a>,
    notices: Vec<String>,
}

impl Loader<'_> {
    fn settings(mut self) -> anyhow::Result<Settings> {
        if let Some(file) = self.layers.env_file {
            let place = |line: usize| format!("{}:{line}", file.path.display());
            file.entries.iter().try_for_each(|entry| joined::check(&place(entry.line), entry))?;
        }
        let read = Settings::read(&self.layers)?;
        let services = overlay::services(&read.name, read.profile, read.image.is_some(), read.security, self.yaml)?;
        let secrets = self.secrets()?;
        self.notice_open_ports(&read)?;
        let mounts = self.mounts()?;
        let wants = wants::Finder { layers: &self.layers, read: &read, mounts: &mounts }.find()?;
        Ok(Settings {
            dir: self.layers.paths.project.to_owned(),
            environment: self.plain(read.profile, &secrets)?,
            ports: self.ports(&services)?,
            mounts,
            wants,
            packages: self.packages(read.image.is_some())?,
            hooks: self.yaml.content.hooks.clone(),
            values: self.values(&read.name.to_string(), &services, &secrets)?,
            secrets: Secrets::new(secrets.into_iter().map(|(key, (value, _))| (key, value)).collect()),
            env_file: self.layers.env_file.map(|file| file.path.clone()),
            hidden_files: self.hidden_files(),
            services,
            notices: self.notices,
            ..read
        })
    }

    fn notice_open_ports(&mut self, read: &Settings) -> Result<(), Failure> {
        let address = read.bind_address;
        if !address.is_loopback() {
            let place = self.layers.resolve(&settings::BIND_ADDRESS)?.place();
            self.notices.push(format!("{place} is {address}: whoever reaches it reaches the environment's ports"));
        }
        Ok(())
    }

    /// The project's own `.env` is kept back though another file is read in its place.
    fn hidden_files(&self) -> Vec<PathBuf> {
        let own = self.layers.paths.project.join(ENV_FILE);
        let read = self.layers.env_file.map(|file| file.path.clone());
        let files = [Some(own), read].into_iter().flatten().filter_map(|path| path.canonicalize().ok());
        let files: BTreeSet<PathBuf> = files.filter(|path| path.is_file()).collect();
        files.into_iter().collect()
    }

    fn ports(&self, services: &BTreeMap<String, Service>) -> Result<Vec<Port>, Failure> {
        let mut container: BTreeMap<u16, String> = BTreeMap::new();
        let mut host: BTreeMap<u16, String> = BTreeMap::new();
        let entries: Vec<Port> = self.yaml.content.ports.iter().map(|entry| entry.0).collect();
        for (index, port) in entries.iter().enumerate() {
            let place = self.yaml.place(&[PathStep::Key("ports"), PathStep::Item(index)]);
            if let Some(other) = container.insert(port.container, place.clone()) {
                let message = format!("{place}: port {} of the container is published at {other} too", port.container);
                return Err(Failure::usage(message).hint("publish it once"));
            }
            if let Some(other) = host.insert(port.host, place.clone()) {
                let message = format!("{place}: port {} of the host is taken at {other}", port.host);
                return Err(Failure::usage(message).hint("give another one: \"8081:80\" is host 8081"));
            }
        }
        let mut owners: BTreeMap<u16, &str> = BTreeMap::new();
        for (name, service) in services.iter().filter(|(_, service)| service.enabled) {
            for port in &service.ports {
                let place =
                    || self.yaml.place(&[PathStep::Key("services"), PathStep::Key(name), PathStep::Key("ports")]);
                if let Some(other) = owners.insert(*port, name) {
                    let message = format!("{}: services `{other}` and `{name}` both have port {port}", place());
                    return Err(Failure::usage(message).hint("give one of them another port"));
                }
                let Some(other) = host.get(port).filter(|_| !container.contains_key(port)) else { continue };
                let message = format!("{other}: port {port} of the host is that of service `{name}`");
                let hint = format!("give another one, or move the service with \"OTHER:{port}\"");
                return Err(Failure::usage(message).hint(hint));
            }
        }
        Ok(entries)
    }

    fn packages(&self, own_image: bool) -> Result<Packages, Failure> {
        let packages = &self.yaml.content.packages;
        if let Err(bad) = packages.check() {
            let steps = [PathStep::Key("packages"), PathStep::Key(bad.list), PathStep::Item(bad.index)];
            let message = format!("{}: a name in `packages.{}` is none", self.yaml.place(&steps), bad.list);
            return Err(Failure::usage(message).hint(format!("give {}", bad.expected)));
        }
        if own_image && !packages.is_empty() {
            let place = self.yaml.place(&[PathStep::Key("packages")]);
            let message = format!("{place}: `packages:` go into powerdev's own image, and `image:` names another one");
            return Err(Failure::usage(message).hint("install them in that image, or take `image:` away"));
        }
        Ok(packages.clone())
    }

    fn mounts(&mut self) -> anyhow::Result<Vec<Mount>> {
        let near = Surroundings::new(self.layers.environment);
        let mut mounts: Vec<Mount> = Vec::new();
        for (index, entry) in self.yaml.content.mounts.iter().enumerate() {
            let place = self.yaml.place(&[PathStep::Key("mounts"), PathStep::Item(index)]);
            let target = normal(&entry.target).ok_or_else(|| {
                Failure::usage(format!(
                    "{place}: target `{}` isn't an absolute path without `..`",
                    entry.target.escape_debug()
                ))
                .hint("give the path inside in full")
            })?;
            if let Some(why) = layout::reserved(&target) {
                let failure = Failure::usage(format!("{place}: nothing can be mounted at {target}: {why}"));
                return Err(failure.hint("give another target, e.g. below /workspace").into());
            }
            if mounts.iter().any(|mount| mount.target == target) {
                let failure = Failure::usage(format!("{place}: {target} is a mount's target twice"));
                return Err(failure.hint("keep one of the two").into());
            }
            let source = self.layers.paths.resolve(&entry.source).canonicalize().map_err(|error| {
                Failure::usage(format!("{place}: can't mount {}", entry.source))
                    .hint("give a path that is there, or make it first")
                    .source(error)
            })?;
            let found = near.found_at(&source);
            if !found.is_empty() {
                self.notices.push(format!("{place}: the container gets {}", found.join(", ")));
            }
            mounts.push(Mount { source, target, read_only: entry.read_only });
        }
        Ok(mounts)
    }

    /// Every key of `.env` that is no setting, and where it stands. A key without a value takes that of powerdev's
    /// own environment.
    fn secrets(&self) -> Result<BTreeMap<String, (String, Origin)>, Failure> {
        let mut secrets = BTreeMap::new();
        let Some(file) = self.layers.env_file else { return Ok(secrets) };
        for entry in file.entries.iter().filter(|entry| settings::named(&entry.key).is_none()) {
            self.refuse_misspelt(file, &entry.key, entry.line)?;
            if entry.value.is_empty() {
                if let Some(value) = self.layers.variable(&entry.key)? {
                    secrets.insert(entry.key.clone(), (value, Origin::Environment { variable: entry.key.clone() }));
                }
            } else {
                let origin = Origin::EnvFile { file: file.path.clone(), line: entry.line };
                secrets.insert(entry.key.clone(), (entry.value.clone(), origin));
            }
        }
        check_sizes(&secrets)?;
        Ok(secrets)
    }

    fn refuse_misspelt(&self, file: &EnvFile, key: &str, line: usize) -> Result<(), Failure> {
        if settings::is_known_secret(key) || self.yaml.content.secrets.iter().any(|meant| meant == key) {
            return Ok(());
        }
        let place = format!("{}:{line}", file.path.display());
        let nearest = suggest::nearest(key, settings::all().map(|setting| setting.name));
        let prefixed = key.strip_prefix(PREFIX).filter(|rest| settings::named(rest).is_some());
        match (prefixed, nearest) {
            (Some(bare), _) => Err(Failure::usage(format!("{place}: {key} is how the environment spells a setting"))
                .hint(format!("in this file write {bare}"))),
            (None, _) if key.starts_with(PREFIX) => {
                let meant = variables::meant(key).map(|meant| meant.trim_start_matches(PREFIX).to_owned());
                let hint = meant.map_or_else(
                    || "rename it: these names are powerdev's own".to_owned(),
                    |meant| format!("did you mean `{meant}`?"),
                );
                Err(Failure::usage(format!("{place}: {key} is no setting")).hint(hint))
            }
            (None, Some(nearest)) => Err(Failure::usage(format!("{place}: unknown setting {key}")).hint(format!(
                "did you mean `{nearest}`? If it is a secret of yours, add `secrets: [{key}]` to powerdev.yaml"
            ))),
            (None, None) => Ok(()),
        }
    }

    /// The plain variables of services and shells: `environment:` and the settings that go inside.
    fn plain(
        &self,
        profile: Profile,
        secrets: &BTreeMap<String, (String, Origin)>,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let mut plain = BTreeMap::new();
        for (key, value) in &self.yaml.content.environment {
            self.check_variable(key, value)?;
            if !secrets.contains_key(key) {
                plain.insert(key.clone(), value.clone());
            }
        }
        for setting in settings::VARIABLES {
            let raw = self.layers.resolve(setting)?;
            (setting.syntax.check)(&raw)?;
            let wanted = match setting.visibility {
                Visibility::Host => false,
                Visibility::Container => true,
                Visibility::ProfileFull => profile == Profile::Full || raw.origin != Origin::Default,
            };
            if wanted {
                plain.insert(setting.name.to_owned(), raw.text);
            }
        }
        Ok(plain)
    }

    fn check_variable(&self, key: &str, value: &str) -> Result<(), Failure> {
        let place = self.yaml.place(&[PathStep::Key("environment"), PathStep::Key(key)]);
        if !rules::VARIABLE.allows(key) {
            let message = format!("{place}: `{}` can't be a variable's name", key.escape_debug());
            return Err(Failure::usage(message).hint(rules::VARIABLE.expected));
        }
        if !rules::VALUE.allows(value) {
            return Err(Failure::usage(format!("{place}: {key} won't do")).hint(rules::VALUE.expected));
        }
        if key.len() + value.len() + 2 > MAX_VARIABLE {
            return Err(Failure::usage(format!("{place}: {key} won't do")).hint(rules::TOO_LONG));
        }
        if settings::is_known_secret(key) {
            return Err(Failure::usage(format!("{place}: {key} is a secret, and what stands here is no secret"))
                .hint("move it to .env: `docker inspect` doesn't show it then"));
        }
        if let Some(top) = settings::named(key).and_then(|setting| setting.key) {
            return Err(Failure::usage(format!("{place}: {key} is a setting of powerdev"))
                .hint(format!("set `{top}:` at the top of the file")));
        }
        if key.starts_with(PREFIX) {
            return Err(Failure::usage(format!("{place}: names in {PREFIX}… are powerdev's own")).hint("rename it"));
        }
        Ok(())
    }

    /// What `powerdev config` shows.
    fn values(
        &self,
        name: &str,
        services: &BTreeMap<String, Service>,
        secrets: &BTreeMap<String, (String, Origin)>,
    ) -> Result<Vec<ShownValue>, Failure> {
        let mut values = Vec::new();
        for setting in settings::all() {
            let raw = self.layers.resolve(setting)?;
            let value = if setting.name == settings::POWERDEV_NAME.name { name.to_owned() } else { raw.text };
            values.push(ShownValue { name: setting.name.to_owned(), value, origin: raw.origin });
        }
        let yaml = |steps: &[PathStep<'_>]| {
            let line = self.yaml.line(steps);
            Origin::Yaml { file: self.yaml.path.clone(), line }
        };
        let content = &self.yaml.content;
        for (index, port) in content.ports.iter().enumerate() {
            let value = format!("{} on the host's {}", port.0.container, port.0.host);
            let origin = yaml(&[PathStep::Key("ports"), PathStep::Item(index)]);
            values.push(ShownValue { name: format!("ports[{index}]"), value, origin });
        }
        for (index, mount) in content.mounts.iter().enumerate() {
            let suffix = if mount.read_only { ", read-only" } else { "" };
            let value = format!("{} at {}{suffix}", mount.source, mount.target);
            let origin = yaml(&[PathStep::Key("mounts"), PathStep::Item(index)]);
            values.push(ShownValue { name: format!("mounts[{index}]"), value, origin });
        }
        for (list, name) in content.packages.all() {
            let origin = yaml(&[PathStep::Key("packages"), PathStep::Key(list)]);
            values.push(ShownValue { name: format!("packages.{list}"), value: name.to_owned(), origin });
        }
        for (key, _, hook) in content.hooks.all() {
            let origin = yaml(&[PathStep::Key("hooks"), PathStep::Key(key)]);
            values.push(ShownValue { name: format!("hooks.{key}"), value: hook.shown(), origin });
        }
        for (key, service) in services {
            let own = content.services.contains_key(key);
            let origin = if own { yaml(&[PathStep::Key("services"), PathStep::Key(key)]) } else { Origin::Default };
            let value = if service.enabled { "on" } else { "off" };
            values.push(ShownValue { name: format!("services.{key}"), value: value.into(), origin });
        }
        let plain: BTreeSet<&String> =
            content.environment.keys().filter(|key| settings::named(key).is_none()).collect();
        for key in plain.into_iter().filter(|key| !secrets.contains_key(*key)) {
            let origin = yaml(&[PathStep::Key("environment"), PathStep::Key(key)]);
            values.push(ShownValue {
                name: format!("environment.{key}"),
                value: content.environment[key].clone(),
                origin,
            });
        }
        for (key, (value, origin)) in secrets {
            let value = format!("<redacted, {} characters>", value.chars().count());
            values.push(ShownValue { name: key.clone(), value, origin: origin.clone() });
        }
        Ok(values)
    }
}

/// An absolute path without `.` and doubled slashes; None for a relative one, and one with `..` or what nobody sees.
fn normal(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    (path.starts_with('/') && !path.contains(char::is_control)).then(|| format!("/{}", parts.join("/")))
}

/// Refuses what no process could be given: its services would all fail, and none could say why.
fn check_sizes(secrets: &BTreeMap<String, (String, Origin)>) -> Result<(), Failure> {
    let bytes = |key: &str, value: &str| key.len() + value.len() + 2;
    let hint = "put it into a file below .agent-mount/docker_data, and the file's path here";
    for (key, (value, origin)) in secrets {
        if bytes(key, value) > MAX_VARIABLE {
            let place = match origin {
                Origin::EnvFile { file, line } => format!("{}:{line}: ", file.display()),
                _ => String::new(),
            };
            let most = MAX_VARIABLE - key.len() - 2;
            let message = format!("{place}the value of {key} has {} bytes: Linux gives a process {most}", value.len());
            return Err(Failure::usage(message).hint(hint));
        }
    }
    let all: usize = secrets.iter().map(|(key, (value, _))| bytes(key, value)).sum();
    if all > MAX_VARIABLES {
        let message =
            format!("the secrets have {all} bytes together: {MAX_VARIABLES} fit beside what else a process gets");
        return Err(Failure::usage(message).hint(hint));
    }
    Ok(())
}
