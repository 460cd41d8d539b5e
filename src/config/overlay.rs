//! Services: the built-in ones, and what a project's `powerdev.yaml` changes about them.

use std::collections::BTreeMap;

use powerdev_protocol::{Condition, Readiness, Restart, RestartPolicy, Service, ServiceSet, Stop};
use schemars::JsonSchema;
use serde::Deserialize;

use super::forms;
use super::locate::PathStep;
use super::types::Profile;
use super::yaml::YamlFile;
use super::{Name, suggest};
use crate::failure::Failure;

/// The built-in services, by profile.
const BUILT_IN: &str = include_str!("../../templates/services.yaml");

/// The built-in services of a profile. `full` has those of `core` too.
///
/// # Panics
/// When the embedded file is wrong, which a test would have found.
pub fn built_in(profile: Profile) -> BTreeMap<String, Service> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct BuiltIn {
        core: BTreeMap<String, Service>,
        #[serde(default)]
        full: BTreeMap<String, Service>,
    }
    let BuiltIn { mut core, full } = serde_yaml::from_str(BUILT_IN).expect("templates/services.yaml is valid");
    if profile == Profile::Full {
        core.extend(full);
    }
    core
}

/// What a project says about one service: what it doesn't say stays as it is built in, or at its default.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Overlay {
    /// Program and arguments. A plain string is run by `/bin/sh -c`.
    pub command: Option<Command>,
    /// Variables of this service alone, added to those that are built in.
    #[serde(deserialize_with = "forms::texts")]
    #[schemars(with = "BTreeMap<String, forms::Scalar>")]
    pub environment: BTreeMap<String, String>,
    /// Working directory; the home folder if not given.
    pub directory: Option<String>,
    /// Services that must have come so far before this one starts, added to those that are built in.
    #[serde(deserialize_with = "forms::unique")]
    pub depends_on: BTreeMap<String, Condition>,
    /// When it counts as ready. Without one it is ready as soon as it runs.
    pub ready: Option<Readiness>,
    /// What to do when it ends.
    pub restart: RestartOverlay,
    /// How to stop it.
    pub stop: StopOverlay,
    /// A terminal of its own (default), or plain pipes.
    pub tty: Option<bool>,
    /// When it fails for good the whole environment stops, with its exit code.
    pub essential: Option<bool>,
    /// Ports that it listens on and that the host publishes.
    pub ports: Option<Vec<u16>>,
    /// Whether it is run at all.
    pub enabled: Option<bool>,
}

/// A command: a list of words, or one string for the shell.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a command: a list of words, or one string for the shell")]
pub enum Command {
    /// Run by `/bin/sh -c`.
    Shell(String),
    /// Program and arguments.
    Words(Vec<String>),
}

impl Command {
    fn words(&self) -> Vec<String> {
        match self {
            Self::Shell(line) if line.trim().is_empty() => Vec::new(),
            Self::Shell(line) => vec!["/bin/sh".into(), "-c".into(), line.clone()],
            Self::Words(words) => words.clone(),
        }
    }
}

/// What a project says about a service's restarts.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestartOverlay {
    /// When to restart.
    pub policy: Option<RestartPolicy>,
    /// Seconds before the first restart after a failure.
    pub backoff: Option<f64>,
    /// The longest wait, in seconds: each failure doubles it up to here.
    pub max_backoff: Option<f64>,
    /// Random share added to each wait: 0.2 adds up to 20 %.
    pub jitter: Option<f64>,
    /// Seconds of being ready that make its past failures forgotten.
    pub reset: Option<f64>,
    /// Failures in a row after which it is given up on. 0: never.
    pub limit: Option<u32>,
}

/// What a project says about how to stop a service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StopOverlay {
    /// The signal to its whole tree, e.g. `TERM`, `INT`, `HUP`.
    pub signal: Option<String>,
    /// Seconds until what is left is killed.
    pub grace: Option<f64>,
}

impl Overlay {
    /// The service with this laid over it; None when there is nothing to lay it over and it names no command.
    fn over(&self, base: Option<Service>) -> Option<Service> {
        let command = match (&self.command, &base) {
            (Some(command), _) => command.words(),
            (None, Some(base)) => base.command.clone(),
            (None, None) => return None,
        };
        let mut service = base.unwrap_or_else(bare);
        service.command = command;
        service.environment.extend(self.environment.clone());
        service.depends_on.extend(self.depends_on.clone());
        self.restart.over(&mut service.restart);
        self.stop.over(&mut service.stop);
        if self.directory.is_some() {
            service.directory.clone_from(&self.directory);
        }
        if self.ready.is_some() {
            service.ready.clone_from(&self.ready);
        }
        if let Some(ports) = &self.ports {
            service.ports.clone_from(ports);
        }
        service.tty = self.tty.unwrap_or(service.tty);
        service.essential = self.essential.unwrap_or(service.essential);
        service.enabled = self.enabled.unwrap_or(service.enabled);
        Some(service)
    }
}

impl RestartOverlay {
    fn over(&self, base: &mut Restart) {
        base.policy = self.policy.unwrap_or(base.policy);
        base.backoff = self.backoff.unwrap_or(base.backoff);
        base.max_backoff = self.max_backoff.unwrap_or(base.max_backoff);
        base.jitter = self.jitter.unwrap_or(base.jitter);
        base.reset = self.reset.unwrap_or(base.reset);
        base.limit = self.limit.unwrap_or(base.limit);
    }
}

impl StopOverlay {
    fn over(&self, base: &mut Stop) {
        if let Some(signal) = &self.signal {
            base.signal.clone_from(signal);
        }
        base.grace = self.grace.unwrap_or(base.grace);
    }
}

fn bare() -> Service {
    Service {
        command: Vec::new(),
        environment: BTreeMap::new(),
        directory: None,
        depends_on: BTreeMap::new(),
        ready: None,
        restart: Restart::default(),
        stop: Stop::default(),
        tty: true,
        essential: false,
        ports: Vec::new(),
        enabled: true,
    }
}

/// The services of a project: built-in ones with its own laid over them. In an image of the project's own the
/// built-in ones are off unless it enables them: their programs may not be there.
///
/// # Errors
/// A usage [`Failure`]: a new service without a command, an unknown dependency, a cycle, a senseless value.
pub fn services(
    name: &Name,
    profile: Profile,
    own_image: bool,
    yaml: &YamlFile,
) -> Result<BTreeMap<String, Service>, Failure> {
    let mut services = built_in(profile);
    if own_image {
        services.values_mut().for_each(|service| service.enabled = false);
    }
    for (key, overlay) in &yaml.content.services {
        let Some(service) = overlay.over(services.get(key).cloned()) else {
            let place = yaml.place(&[PathStep::Key("services"), PathStep::Key(key)]);
            let hint = suggest::did_you_mean(key, services.keys().map(String::as_str));
            return Err(Failure::usage(format!("{place}: service `{key}` has no command"))
                .hint(hint.unwrap_or_else(|| format!("give it one; built in are {}", listed(&services)))));
        };
        services.insert(key.clone(), service);
    }
    let set = ServiceSet { project: name.to_string(), environment: BTreeMap::new(), services };
    set.check().map_err(|error| refused(yaml, &set.services, &error))?;
    Ok(set.services)
}

fn listed(services: &BTreeMap<String, Service>) -> String {
    services.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn refused(yaml: &YamlFile, services: &BTreeMap<String, Service>, error: &powerdev_protocol::ServiceError) -> Failure {
    use powerdev_protocol::ServiceError as E;
    let named = |service: &str| yaml.content.services.contains_key(service).then(|| service.to_owned());
    let (service, field, hint) = match error {
        E::Cycle { path } => {
            let first = path.iter().find_map(|service| named(service));
            (first, "depends_on", "take one of these dependencies away".to_owned())
        }
        E::UnknownDependency { service, unknown } => {
            let hint = match services.get(unknown) {
                Some(_) => format!("`{unknown}` is switched off: enable it, or switch `{service}` off too"),
                None => suggest::did_you_mean(unknown, services.keys().map(String::as_str))
                    .unwrap_or_else(|| format!("there are {}", listed(services))),
            };
            (named(service).or_else(|| named(unknown)), "depends_on", hint)
        }
        E::EmptyCommand { service } => (named(service), "command", "give the program and its arguments".to_owned()),
        E::BadName { service } => (named(service), "", "rename it".to_owned()),
        E::BadValue { service, field, .. } => (
            named(service),
            field.split('.').next().unwrap_or(""),
            "`powerdev config --schema` has the form".to_owned(),
        ),
    };
    let place = match &service {
        Some(service) => yaml.place(&[PathStep::Key("services"), PathStep::Key(service), PathStep::Key(field)]),
        None => yaml.path.display().to_string(),
    };
    Failure::usage(format!("{place}: {error}")).hint(hint)
}
