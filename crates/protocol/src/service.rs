//! Services as data: what to run, when it counts as ready, and what to do when it dies.
//!
//! The host reads them from YAML (defaults overlaid by the project's `powerdev.yaml`), the agent from JSON.
//! [`ServiceSet::check`] holds for both: a set that passes has known names and no cycle.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything that the agent needs to know at its start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceSet {
    /// The environment's name, e.g. for the shell's prompt.
    pub project: String,
    /// Variables of every service and shell. Secrets are not among them: they have a file of their own.
    pub environment: BTreeMap<String, String>,
    /// The services by name.
    pub services: BTreeMap<String, Service>,
}

/// One service: a command that the agent runs, and how it is looked after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Program and arguments. A plain string is run by `/bin/sh -c`.
    #[serde(with = "command")]
    #[cfg_attr(feature = "schema", schemars(with = "command::CommandForm"))]
    pub command: Vec<String>,
    /// Variables of this service alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Working directory; the home folder if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Services that must have come so far before this one starts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub depends_on: BTreeMap<String, Condition>,
    /// When it counts as ready. Without one it is ready as soon as it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Readiness>,
    /// What to do when it ends.
    #[serde(default)]
    pub restart: Restart,
    /// How to stop it.
    #[serde(default)]
    pub stop: Stop,
    /// A terminal of its own (default), or plain pipes: its input then stays open, and its output is passed on byte
    /// for byte to who attaches.
    #[serde(default = "yes")]
    pub tty: bool,
    /// When it fails for good the whole environment stops, with its exit code.
    #[serde(default)]
    pub essential: bool,
    /// Ports that it listens on and that the host publishes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// Whether it is run at all.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn yes() -> bool {
    true
}

/// How far a dependency must have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Its process runs.
    Started,
    /// It is ready.
    #[default]
    Ready,
    /// It ended with code 0.
    Completed,
}

/// How a service shows that it is ready, and afterwards that it still is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Readiness {
    /// What is looked at.
    #[serde(flatten)]
    pub probe: Probe,
    /// Seconds between probes while it starts.
    #[serde(default = "Readiness::interval")]
    pub interval: f64,
    /// Seconds that one probe may take.
    #[serde(default = "Readiness::timeout")]
    pub timeout: f64,
    /// Seconds that it may take to become ready, before it is killed and counts as failed.
    #[serde(default = "Readiness::deadline")]
    pub deadline: f64,
    /// Seconds between probes once it is ready (TCP, HTTP and exec only). 0: never.
    #[serde(default = "Readiness::liveness")]
    pub liveness: f64,
    /// Failed probes in a row that make a ready service unhealthy.
    #[serde(default = "Readiness::retries")]
    pub retries: u32,
}

impl Readiness {
    fn interval() -> f64 {
        0.25
    }
    fn timeout() -> f64 {
        2.0
    }
    fn deadline() -> f64 {
        120.0
    }
    fn liveness() -> f64 {
        10.0
    }
    fn retries() -> u32 {
        3
    }
}

/// The kinds of probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// It writes a newline to this file descriptor (s6's protocol).
    Fd(i32),
    /// It sends `READY=1` to `$NOTIFY_SOCKET` (systemd's protocol).
    Notify(Empty),
    /// Something accepts connections on this port of 127.0.0.1.
    Tcp(u16),
    /// A GET answers with 200 to 399.
    Http(HttpProbe),
    /// This command, run in the service's environment, ends with code 0.
    Exec(
        #[serde(with = "command")]
        #[cfg_attr(feature = "schema", schemars(with = "command::CommandForm"))]
        Vec<String>,
    ),
    /// A line of its output contains this text.
    Log(String),
}

/// `{}`: a probe without settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// Where to ask over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HttpProbe {
    /// Port on 127.0.0.1.
    pub port: u16,
    /// Path, `/` if not given.
    #[serde(default = "root")]
    pub path: String,
}

fn root() -> String {
    "/".into()
}

/// What to do when a service ends by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Restart {
    /// When to restart.
    pub policy: RestartPolicy,
    /// Seconds before the first restart after a failure. A first death after a long run restarts at once.
    pub backoff: f64,
    /// The longest wait, in seconds: each failure doubles it up to here.
    pub max_backoff: f64,
    /// Random share added to each wait: 0.2 adds up to 20 %.
    pub jitter: f64,
    /// Seconds of being ready that make its past failures forgotten.
    pub reset: f64,
    /// Failures in a row after which it is given up on. 0: never.
    pub limit: u32,
}

impl Default for Restart {
    fn default() -> Self {
        Self { policy: RestartPolicy::Always, backoff: 0.1, max_backoff: 30.0, jitter: 0.2, reset: 10.0, limit: 0 }
    }
}

/// When a service is restarted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Whenever it ends.
    #[default]
    Always,
    /// When it ends with a code other than 0, or by a signal.
    OnFailure,
    /// Never: it stays down however it ends.
    Never,
}

/// How to stop a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Stop {
    /// The signal to its whole tree, e.g. `TERM`, `INT`, `HUP`.
    pub signal: String,
    /// Seconds until what is left is killed.
    pub grace: f64,
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: "TERM".into(), grace: 10.0 }
    }
}

/// Why a [`ServiceSet`] is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// `depends_on` names a service that isn't there.
    #[error("service `{service}` depends on `{unknown}`, which is no service here")]
    UnknownDependency {
        /// The service that depends.
        service: String,
        /// The name that isn't there.
        unknown: String,
    },
    /// Services wait for each other in a ring.
    #[error("services wait for each other: {}", .path.join(" -> "))]
    Cycle {
        /// The ring: its first name stands again at its end.
        path: Vec<String>,
    },
    /// A service without a command.
    #[error("service `{service}` has an empty command")]
    EmptyCommand {
        /// The service that is wrong.
        service: String,
    },
    /// A name that can't be a file's or a session's.
    #[error("`{service}` can't be a service's name: use a-z, 0-9, `-` and `_`, a letter or digit first, 63 at most")]
    BadName {
        /// The service that is named.
        service: String,
    },
    /// A number that makes no sense, e.g. a negative time.
    #[error("service `{service}`: {field} is {value}: {expected}")]
    BadValue {
        /// The service that is wrong.
        service: String,
        /// Which setting, dotted.
        field: &'static str,
        /// The value as it was given.
        value: String,
        /// What would do.
        expected: &'static str,
    },
}

impl ServiceSet {
    /// The services that are to be run.
    pub fn enabled(&self) -> impl Iterator<Item = (&String, &Service)> {
        self.services.iter().filter(|(_, service)| service.enabled)
    }

    /// Refuses what can't be run.
    ///
    /// # Errors
    /// The first of: a bad name, an empty command, a senseless number, an unknown dependency, a cycle.
    pub fn check(&self) -> Result<(), ServiceError> {
        for (name, service) in &self.services {
            check_service(name, service)?;
            for dependency in service.depends_on.keys() {
                if !self.services.get(dependency).is_some_and(|s| s.enabled || !service.enabled) {
                    return Err(ServiceError::UnknownDependency { service: name.clone(), unknown: dependency.clone() });
                }
            }
        }
        self.start_order().map(drop)
    }

    /// Every enabled service after all that it depends on; by name where nothing else decides.
    ///
    /// # Errors
    /// [`ServiceError::Cycle`] with the ring's path.
    pub fn start_order(&self) -> Result<Vec<&str>, ServiceError> {
        let mut order = Vec::new();
        let mut path = Vec::new();
        for (name, _) in self.enabled() {
            self.visit(name, &mut order, &mut path)?;
        }
        Ok(order)
    }

    fn visit<'a>(
        &'a self,
        name: &'a str,
        order: &mut Vec<&'a str>,
        path: &mut Vec<&'a str>,
    ) -> Result<(), ServiceError> {
        if order.contains(&name) {
            return Ok(());
        }
        if let Some(start) = path.iter().position(|n| *n == name) {
            let ring = path[start..].iter().chain([&name]).map(ToString::to_string).collect();
            return Err(ServiceError::Cycle { path: ring });
        }
        path.push(name);
        for dependency in self.services.get(name).into_iter().flat_map(|s| s.depends_on.keys()) {
            self.visit(dependency, order, path)?;
        }
        path.pop();
        order.push(name);
        Ok(())
    }
}

fn check_service(name: &str, service: &Service) -> Result<(), ServiceError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.len() > 63 || !name.chars().all(fits) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(ServiceError::BadName { service: name.into() });
    }
    if service.command.first().is_none_or(String::is_empty) {
        return Err(ServiceError::EmptyCommand { service: name.into() });
    }
    let not_negative = "give seconds, 0 or more";
    let mut times = vec![
        ("restart.backoff", service.restart.backoff),
        ("restart.max_backoff", service.restart.max_backoff),
        ("restart.jitter", service.restart.jitter),
        ("restart.reset", service.restart.reset),
        ("stop.grace", service.stop.grace),
    ];
    if let Some(ready) = &service.ready {
        times.extend([
            ("ready.interval", ready.interval),
            ("ready.timeout", ready.timeout),
            ("ready.deadline", ready.deadline),
            ("ready.liveness", ready.liveness),
        ]);
    }
    for (field, value) in times {
        if !value.is_finite() || !(0.0..=1e9).contains(&value) {
            return Err(ServiceError::BadValue {
                service: name.into(),
                field,
                value: value.to_string(),
                expected: not_negative,
            });
        }
    }
    if signal_number(&service.stop.signal).is_none() {
        return Err(ServiceError::BadValue {
            service: name.into(),
            field: "stop.signal",
            value: service.stop.signal.clone(),
            expected: "give a signal's name, such as TERM, INT, HUP, QUIT, USR1, USR2 or KILL",
        });
    }
    Ok(())
}

/// Linux's number of a signal's name, with or without `SIG`.
pub fn signal_number(name: &str) -> Option<i32> {
    let name = name.strip_prefix("SIG").unwrap_or(name);
    SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// A signal's name with `SIG`, or its bare number.
pub fn signal_name(number: i32) -> String {
    match SIGNALS.iter().find(|(_, n)| *n == number) {
        Some((name, _)) => format!("SIG{name}"),
        None => format!("signal {number}"),
    }
}

/// Linux on x86-64 and arm64, which agree.
const SIGNALS: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// A command: a list of words, or one string for the shell.
mod command {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
    #[serde(untagged, expecting = "a command: a list of words, or one string for the shell")]
    pub(super) enum CommandForm {
        /// Run by `/bin/sh -c`.
        Shell(String),
        /// Program and arguments.
        Words(Vec<String>),
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
        Ok(match CommandForm::deserialize(deserializer)? {
            CommandForm::Shell(line) if line.trim().is_empty() => Vec::new(),
            CommandForm::Shell(line) => vec!["/bin/sh".into(), "-c".into(), line],
            CommandForm::Words(words) => words,
        })
    }

    pub(super) fn serialize<S: Serializer>(command: &[String], serializer: S) -> Result<S::Ok, S::Error> {
        command.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(json: &str) -> ServiceSet {
        let services = serde_json::from_str(json).expect("the test's JSON is a map of services");
        ServiceSet { services, ..ServiceSet::default() }
    }

    #[test]
    fn order_puts_dependencies_first() {
        let set = set(
            r#"{"a":{"command":"x","depends_on":{"c":"ready"}},"b":{"command":"x"},"c":{"command":"x","depends_on":{"b":"started"}}}"#,
        );
        assert_eq!(set.start_order(), Ok(vec!["b", "c", "a"]));
        assert_eq!(set.check(), Ok(()));
    }

    #[test]
    fn a_cycle_is_refused_with_its_path() {
        let set = set(
            r#"{"a":{"command":"x","depends_on":{"b":"ready"}},"b":{"command":"x","depends_on":{"c":"ready"}},"c":{"command":"x","depends_on":{"b":"ready"}}}"#,
        );
        let error = set.check().expect_err("b and c wait for each other");
        assert_eq!(error.to_string(), "services wait for each other: b -> c -> b");
    }

    #[test]
    fn unknown_dependency_bad_name_and_bad_numbers_are_refused() {
        for (json, part) in [
            (r#"{"a":{"command":"x","depends_on":{"zz":"ready"}}}"#, "`zz`, which is no service"),
            (r#"{"A b":{"command":"x"}}"#, "can't be a service's name"),
            (r#"{"a":{"command":""}}"#, "empty command"),
            (r#"{"a":{"command":[]}}"#, "empty command"),
            (r#"{"a":{"command":"x","stop":{"grace":-1}}}"#, "stop.grace is -1"),
            (r#"{"a":{"command":"x","stop":{"signal":"BYE"}}}"#, "stop.signal is BYE"),
        ] {
            let error = set(json).check().expect_err(json).to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
    }

    #[test]
    fn probes_read_as_one_key() {
        let json = r#"{"http":{"port":3000,"path":"/api/health"},"deadline":30}"#;
        let ready: Readiness = serde_json::from_str(json).expect("valid");
        assert_eq!(ready.probe, Probe::Http(HttpProbe { port: 3000, path: "/api/health".into() }));
        assert_eq!(ready.deadline, 30.0);
        assert_eq!(ready.retries, 3);
    }

    #[test]
    fn signals_by_name() {
        assert_eq!(signal_number("SIGTERM"), Some(15));
        assert_eq!(signal_number("KILL"), Some(9));
        assert_eq!(signal_name(9), "SIGKILL");
        assert_eq!(signal_name(40), "signal 40");
    }
}
