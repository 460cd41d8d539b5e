//! Whether services can be run at all: the host asks before it makes anything, the agent whenever it reads them.

use std::collections::BTreeSet;
use std::fmt;

use super::rules::{self, Bounds, Text};
use super::{Probe, Readiness, Service, ServiceSet};
use crate::signal::signal_number;

/// What no service may be called: the supervisor speaks under it in the log.
pub const RESERVED: &[&str] = &["powerdev"];

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
    #[error("services wait for each other: {}", shown_ring(.path))]
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
    #[error("`{}` can't be a service's name: {expected}", shown(.service))]
    BadName {
        /// The service that is named.
        service: String,
        /// What would do.
        expected: &'static str,
    },
    /// A value that makes no sense, e.g. a negative time.
    #[error("service `{service}`: {field} {}{expected}", is(.value))]
    BadValue {
        /// The service that is wrong.
        service: String,
        /// Which setting.
        field: Field,
        /// The value as it was given; None where it may hold what nobody should see.
        value: Option<String>,
        /// What would do.
        expected: String,
    },
}

/// Where in a service something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The keys that lead there.
    pub keys: Vec<String>,
    /// Which entry of the list there, from 0.
    pub item: Option<usize>,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> = self.keys.iter().map(|key| shown(key)).collect();
        f.write_str(&keys.join("."))?;
        self.item.map_or(Ok(()), |item| write!(f, "[{item}]"))
    }
}

fn is(value: &Option<String>) -> String {
    value.as_ref().map_or_else(|| "won't do: ".to_owned(), |value| format!("is {}: ", shown(value)))
}

/// Text on one line, not too long of it.
fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let cut = if text.chars().nth(MOST).is_some() { "…" } else { "" };
    text.chars().take(MOST).flat_map(char::escape_debug).collect::<String>() + cut
}

/// The names of a ring; of a long one its ends.
fn shown_ring(path: &[String]) -> String {
    const MOST: usize = 10;
    match path.len() {
        0..=MOST => path.join(" -> "),
        length => {
            format!(
                "{} -> … ({} more) -> {}",
                path[..MOST - 2].join(" -> "),
                length - MOST,
                path[length - 2..].join(" -> ")
            )
        }
    }
}

/// A number of a service: where it stands, what it may be, what it is.
type Number = (&'static [&'static str], Bounds, fn(&Service) -> Option<f64>);

/// Every number of a service that stands alone.
const NUMBERS: &[Number] = &[
    (&["restart", "backoff"], rules::PAUSE, |service| Some(service.restart.backoff)),
    (&["restart", "max_backoff"], rules::PAUSE, |service| Some(service.restart.max_backoff)),
    (&["restart", "jitter"], rules::SHARE, |service| Some(service.restart.jitter)),
    (&["restart", "reset"], rules::PAUSE, |service| Some(service.restart.reset)),
    (&["restart", "limit"], rules::LIMIT, |service| Some(service.restart.limit.into())),
    (&["stop", "grace"], rules::PAUSE, |service| Some(service.stop.grace)),
    (&["ready", "interval"], rules::WAIT, |service| ready(service, |ready| ready.interval)),
    (&["ready", "timeout"], rules::WAIT, |service| ready(service, |ready| ready.timeout)),
    (&["ready", "deadline"], rules::WAIT, |service| ready(service, |ready| ready.deadline)),
    (&["ready", "liveness"], rules::PERIOD, |service| ready(service, |ready| ready.liveness)),
    (&["ready", "retries"], rules::TIMES, |service| ready(service, |ready| ready.retries.into())),
    (&["ready", "fd"], rules::DESCRIPTOR, |service| match &service.ready.as_ref()?.probe {
        Probe::Fd(number) => Some((*number).into()),
        _ => None,
    }),
    (&["ready", "tcp"], rules::PORT, |service| match &service.ready.as_ref()?.probe {
        Probe::Tcp(port) => Some((*port).into()),
        _ => None,
    }),
    (&["ready", "http", "port"], rules::PORT, |service| match &service.ready.as_ref()?.probe {
        Probe::Http(page) => Some(page.port.into()),
        _ => None,
    }),
];

fn ready(service: &Service, number: impl Fn(&Readiness) -> f64) -> Option<f64> {
    service.ready.as_ref().map(number)
}

/// The numbers that a service may have at these keys, for messages on what isn't even a number of the kind.
pub fn bounds(keys: &[&str]) -> Option<Bounds> {
    let alone = NUMBERS.iter().find(|(place, ..)| *place == keys).map(|(_, bounds, _)| *bounds);
    alone.or((keys == ["ports"]).then_some(rules::PORT))
}

impl ServiceSet {
    /// Refuses what can't be run.
    ///
    /// # Errors
    /// The first of: a bad name, an empty command, a senseless value, an unknown dependency, a cycle.
    pub fn check(&self) -> Result<(), ServiceError> {
        for (name, service) in &self.services {
            Checked { name, service }.check()?;
            for dependency in service.depends_on.keys() {
                if !self.services.get(dependency).is_some_and(|s| s.enabled || !service.enabled) {
                    return Err(ServiceError::UnknownDependency { service: name.clone(), unknown: dependency.clone() });
                }
            }
        }
        self.start_order().map(drop)
    }
}

/// The service that is looked at.
struct Checked<'a> {
    name: &'a str,
    service: &'a Service,
}

impl Checked<'_> {
    fn check(&self) -> Result<(), ServiceError> {
        self.name()?;
        self.command(&["command"], &self.service.command)?;
        for (keys, bounds, number) in NUMBERS {
            if let Some(number) = number(self.service).filter(|number| !bounds.allow(*number)) {
                return Err(self.wrong(keys, None, Some(&number.to_string()), bounds));
            }
        }
        self.ports()?;
        self.probe()?;
        if let Some(directory) = &self.service.directory {
            self.text(&["directory"], directory, &rules::FOLDER)?;
        }
        for (name, value) in &self.service.environment {
            if !rules::VARIABLE.allows(name) {
                return Err(self.wrong(&["environment", name], None, None, &rules::VARIABLE.expected));
            }
            if !rules::VALUE.allows(value) {
                return Err(self.wrong(&["environment", name], None, None, &rules::VALUE.expected));
            }
            if name.len() + value.len() + 1 > rules::ONE_PIECE {
                return Err(self.wrong(&["environment", name], None, None, &rules::TOO_LONG));
            }
        }
        if signal_number(&self.service.stop.signal).is_none() {
            let expected = "give a signal's name, such as TERM, INT, HUP, QUIT, USR1, USR2 or KILL";
            return Err(self.wrong(&["stop", "signal"], None, Some(&self.service.stop.signal), &expected));
        }
        Ok(())
    }

    fn name(&self) -> Result<(), ServiceError> {
        let expected = match (rules::NAME.allows(self.name), RESERVED.contains(&self.name)) {
            (false, _) => rules::NAME.expected,
            (true, true) => "the supervisor speaks under it",
            (true, false) => return Ok(()),
        };
        Err(ServiceError::BadName { service: self.name.into(), expected })
    }

    fn command(&self, keys: &[&str], words: &[String]) -> Result<(), ServiceError> {
        let Some((program, arguments)) = words.split_first().filter(|(program, _)| !program.is_empty()) else {
            if keys == ["command"] {
                return Err(ServiceError::EmptyCommand { service: self.name.into() });
            }
            return Err(self.wrong(keys, None, Some("empty"), &"give a command"));
        };
        if !rules::PROGRAM.allows(program) {
            return Err(self.wrong(keys, Some(0), Some(program), &rules::PROGRAM.expected));
        }
        if let Some(at) = words.iter().position(|word| word.len() > rules::ONE_PIECE) {
            return Err(self.wrong(keys, Some(at), None, &rules::TOO_LONG));
        }
        match arguments.iter().position(|argument| !rules::VALUE.allows(argument)) {
            Some(at) => Err(self.wrong(keys, Some(at + 1), None, &rules::VALUE.expected)),
            None => Ok(()),
        }
    }

    fn ports(&self) -> Result<(), ServiceError> {
        let mut seen = BTreeSet::new();
        for (index, port) in self.service.ports.iter().enumerate() {
            if !rules::PORT.allow((*port).into()) {
                return Err(self.wrong(&["ports"], Some(index), Some(&port.to_string()), &rules::PORT));
            }
            if !seen.insert(port) {
                return Err(self.wrong(&["ports"], Some(index), Some(&port.to_string()), &"it is listed already"));
            }
        }
        Ok(())
    }

    fn probe(&self) -> Result<(), ServiceError> {
        match self.service.ready.as_ref().map(|ready| &ready.probe) {
            Some(Probe::Http(page)) => self.text(&["ready", "http", "path"], &page.path, &rules::URL_PATH),
            Some(Probe::Exec(words)) => self.command(&["ready", "exec"], words),
            Some(Probe::Log(text)) => self.text(&["ready", "log"], text, &rules::SAYING),
            Some(Probe::Fd(_) | Probe::Notify(_) | Probe::Tcp(_)) | None => Ok(()),
        }
    }

    fn text(&self, keys: &[&str], text: &str, rule: &Text) -> Result<(), ServiceError> {
        if rule.allows(text) { Ok(()) } else { Err(self.wrong(keys, None, Some(&format!("`{text}`")), &rule.expected)) }
    }

    fn wrong(
        &self,
        keys: &[&str],
        item: Option<usize>,
        value: Option<&str>,
        expected: &dyn fmt::Display,
    ) -> ServiceError {
        ServiceError::BadValue {
            service: self.name.into(),
            field: Field { keys: keys.iter().map(ToString::to_string).collect(), item },
            value: value.map(str::to_owned),
            expected: expected.to_string(),
        }
    }
}
