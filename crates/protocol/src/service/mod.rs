//! Services as data: what to run, when it counts as ready, and what to do when it dies.
//!
//! The host reads them from YAML (defaults overlaid by the project's `powerdev.yaml`), the agent from JSON.
//! [`ServiceSet::check`] holds for both: a set that passes has known names, values that make sense and no cycle. What a
//! field may hold stands once, in [`rules`].

mod check;
mod command;
pub mod rules;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::check::{Field, RESERVED, ServiceError, bounds};
pub use self::command::CommandLine;
#[cfg(feature = "schema")]
use self::rules::schema;

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
    #[cfg_attr(feature = "schema", schemars(transform = schema::variables))]
    pub environment: BTreeMap<String, String>,
    /// Working directory; the home folder if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(transform = schema::by(rules::FOLDER)))]
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
    #[cfg_attr(feature = "schema", schemars(transform = schema::Each(rules::PORT)))]
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
#[serde(try_from = "ReadinessForm")]
#[cfg_attr(feature = "schema", schemars(!try_from, deny_unknown_fields))]
pub struct Readiness {
    /// What is looked at.
    #[serde(flatten)]
    pub probe: Probe,
    /// Seconds between probes while it starts.
    #[serde(default = "Readiness::interval")]
    #[cfg_attr(feature = "schema", schemars(transform = schema::by(rules::WAIT)))]
    pub interval: f64,
    /// Seconds that one probe may take.
    #[serde(default = "Readiness::timeout")]
    #[cfg_attr(feature = "schema", schemars(transform = schema::by(rules::WAIT)))]
    pub timeout: f64,
    /// Seconds that it may take to become ready, before it is killed and counts as failed.
    #[serde(default = "Readiness::deadline")]
    #[cfg_attr(feature = "schema", schemars(transform = schema::by(rules::WAIT)))]
    pub deadline: f64,
    /// Seconds between probes once it is ready (TCP, HTTP and exec only). 0: never.
    #[serde(default = "Readiness::liveness")]
    #[cfg_attr(feature = "schema", schemars(transform = schema::by(rules::PERIOD)))]
    pub liveness: f64,
    /// Failed probes in a row that make a ready service unhealthy.
    #[serde(default = "Readiness::retries")]
    #[cfg_attr(feature = "schema", schemars(transform = schema::by(rules::TIMES)))]
    pub retries: u32,
}

/// A [`Readiness`] as it is read: every key on its own, so that what is wrong is told with its key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadinessForm {
    fd: Option<i32>,
    notify: Option<Empty>,
    tcp: Option<u16>,
    http: Option<HttpProbe>,
    #[serde(default, deserialize_with = "command::optional::deserialize")]
    exec: Option<Vec<String>>,
    log: Option<String>,
    #[serde(default = "Readiness::interval")]
    interval: f64,
    #[serde(default = "Readiness::timeout")]
    timeout: f64,
    #[serde(default = "Readiness::deadline")]
    deadline: f64,
    #[serde(default = "Readiness::liveness")]
    liveness: f64,
    #[serde(default = "Readiness::retries")]
    retries: u32,
}

impl TryFrom<ReadinessForm> for Readiness {
    type Error = &'static str;

    fn try_from(form: ReadinessForm) -> Result<Self, Self::Error> {
        let ReadinessForm { fd, notify, tcp, http, exec, log, interval, timeout, deadline, liveness, retries } = form;
        let probes = [
            fd.map(Probe::Fd),
            notify.map(Probe::Notify),
            tcp.map(Probe::Tcp),
            http.map(Probe::Http),
            exec.map(Probe::Exec),
            log.map(Probe::Log),
        ];
        let mut given = probes.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(probe), None) => Ok(Self { probe, interval, timeout, deadline, liveness, retries }),
            _ => Err("give one of `fd`, `notify`, `tcp`, `http`, `exec` and `log`"),
        }
    }
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
    Fd(#[cfg_attr(feature = "schema", schemars(transform = schema::by(rules::DESCRIPTOR)))] i32),
    /// It sends `READY=1` to `$NOTIFY_SOCKET` (systemd's protocol).
    Notify(Empty),
    /// Something accepts connections on this port of 127.0.0.1.
    Tcp(#[cfg_attr(feature = "schema", schemars(transform = schema::by(rules::PORT)))] u16),
    /// A GET answers with 200 to 399.
    Http(HttpProbe),
    /// This command, run in the service's environment, ends with code 0.
    Exec(
        #[serde(with = "command")]
        #[cfg_attr(feature = "schema", schemars(with = "command::CommandForm"))]
        Vec<String>,
    ),
    /// A line of its output contains this text.
    Log(#[cfg_attr(feature = "schema", schemars(transform = schema::by(rules::SAYING)))] String),
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
    #[cfg_attr(feature = "schema", schemars(transform = schema::by(rules::PORT)))]
    pub port: u16,
    /// Path, `/` if not given.
    #[serde(default = "root")]
    #[cfg_attr(feature = "schema", schemars(transform = schema::by(rules::URL_PATH)))]
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
    #[cfg_attr(feature = "schema", schemars(transform = schema::by(rules::PAUSE)))]
    pub backoff: f64,
    /// The longest wait, in seconds: each failure doubles it up to here.
    #[cfg_attr(feature = "schema", schemars(transform = schema::by(rules::PAUSE)))]
    pub max_backoff: f64,
    /// Random share added to each wait: 0.2 adds up to 20 %.
    #[cfg_attr(feature = "schema", schemars(transform = schema::by(rules::SHARE)))]
    pub jitter: f64,
    /// Seconds of being ready that make its past failures forgotten.
    #[cfg_attr(feature = "schema", schemars(transform = schema::by(rules::PAUSE)))]
    pub reset: f64,
    /// Failures in a row after which it is given up on. 0: never.
    #[cfg_attr(feature = "schema", schemars(transform = schema::by(rules::LIMIT)))]
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
    #[cfg_attr(feature = "schema", schemars(transform = schema::signal))]
    pub signal: String,
    /// Seconds until what is left is killed.
    #[cfg_attr(feature = "schema", schemars(transform = schema::by(rules::PAUSE)))]
    pub grace: f64,
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: "TERM".into(), grace: 10.0 }
    }
}

impl ServiceSet {
    /// The services that are to be run.
    pub fn enabled(&self) -> impl Iterator<Item = (&String, &Service)> {
        self.services.iter().filter(|(_, service)| service.enabled)
    }

    /// Every enabled service after all that it depends on; by name where nothing else decides. Takes time in
    /// proportion to the services and their dependencies, and no stack.
    ///
    /// # Errors
    /// [`ServiceError::Cycle`] with the ring's path.
    pub fn start_order(&self) -> Result<Vec<&str>, ServiceError> {
        let dependencies = |name: &str| self.services.get(name).into_iter().flat_map(|s| s.depends_on.keys());
        let mut order = Vec::new();
        let mut placed: BTreeSet<&str> = BTreeSet::new();
        // The names on the way from the first to the one that is looked at, each with the dependencies that are left.
        let mut path = Vec::new();
        let mut on_path: BTreeSet<&str> = BTreeSet::new();
        for (first, _) in self.enabled() {
            let mut next = Some(first.as_str());
            loop {
                match next.filter(|name| !placed.contains(name)) {
                    Some(name) if !on_path.insert(name) => return Err(ring(path.iter().map(|(name, _)| *name), name)),
                    Some(name) => path.push((name, dependencies(name))),
                    None => {}
                }
                let Some((name, left)) = path.last_mut() else { break };
                next = left.next().map(String::as_str);
                if next.is_none() {
                    on_path.remove(*name);
                    placed.insert(*name);
                    order.push(*name);
                    path.pop();
                }
            }
        }
        Ok(order)
    }
}

/// The ring that a path closes with one of its own names.
fn ring<'a>(path: impl Iterator<Item = &'a str>, name: &'a str) -> ServiceError {
    let ring = path.skip_while(|other| *other != name).chain([name]).map(str::to_owned).collect();
    ServiceError::Cycle { path: ring }
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
}
