//! Going over to other services without a restart: what is new starts, what is gone stops, what has changed restarts,
//! and what hasn't keeps its process.
//!
//! An index names a service for as long as anything may still speak of it. One that was taken out keeps its place
//! until nothing of it is left; then the place is free for another.

use std::collections::BTreeMap;
use std::path::Path;

use powerdev_protocol::control::Reloaded;
use powerdev_protocol::{Service, ServiceSet, ServiceState};

use super::control::Mode;
use super::machine::Input;
use super::unit::Unit;
use super::{Supervisor, now_ms};

impl Supervisor {
    /// Reads the services at the start. What can't be run leaves none, and the reason in the health.
    pub(super) fn load(&mut self) {
        self.broken = None;
        match read_services(&self.options.services) {
            Ok((set, order)) => drop(self.go_over_to(set, &order)),
            Err(reason) => {
                self.console.say(&reason);
                self.broken = Some(reason);
            }
        }
    }

    /// Reads services and secrets anew. What is wrong with either is refused, and nothing changes.
    pub(super) fn reload(&mut self) -> Result<Reloaded, String> {
        if self.shutdown.is_some() {
            return Err("the environment is stopping".into());
        }
        let (set, order) = read_services(&self.options.services)?;
        // They are read where a process is made, and not kept; here it is only seen that they can be.
        read_secrets(&self.options.secrets)?;
        self.broken = None;
        let reloaded = self.go_over_to(set, &order);
        let told = [("new", &reloaded.started), ("gone", &reloaded.stopped), ("changed", &reloaded.restarted)];
        for (what, names) in told.into_iter().filter(|(_, names)| !names.is_empty()) {
            self.console.say(&format!("reloaded: {what}: {}", names.join(", ")));
        }
        Ok(reloaded)
    }

    fn go_over_to(&mut self, set: ServiceSet, order: &[String]) -> Reloaded {
        let mut reloaded = Reloaded::default();
        for unit in self.units.iter_mut().filter(|unit| !unit.retired && !order.contains(&unit.name)) {
            unit.retired = true;
            reloaded.stopped.push(unit.name.clone());
        }
        self.order.clear();
        for name in order {
            let service = &set.services[name];
            let index = match self.units.iter().position(|unit| unit.name == *name) {
                Some(index) => {
                    self.change(index, service, &mut reloaded);
                    index
                }
                None => {
                    reloaded.started.push(name.clone());
                    self.add(name, service)
                }
            };
            self.order.push(index);
        }
        self.set = set;
        reloaded
    }

    /// Puts a new service in a free place.
    fn add(&mut self, name: &str, service: &Service) -> usize {
        let free = self.units.iter().position(Unit::is_free);
        let index = free.unwrap_or(self.units.len());
        let unit = Unit::new(name, index, service, &self.options.log_dir, now_ms());
        match free {
            Some(index) => self.units[index] = unit,
            None => self.units.push(unit),
        }
        index
    }

    /// One that is there: it goes on if it is to be as it was, else it is restarted, unless somebody stopped it.
    fn change(&mut self, index: usize, service: &Service, reloaded: &mut Reloaded) {
        let unit = &mut self.units[index];
        let name = unit.name.clone();
        let was_retired = std::mem::take(&mut unit.retired);
        let state = unit.machine.state();
        let differs = !runs_alike(unit.replacement.as_ref().unwrap_or(&unit.service), service);
        if differs {
            unit.replacement = Some(service.clone());
        }
        let stays_down = state == ServiceState::Stopped && !was_retired;
        let is_going = was_retired && state == ServiceState::Stopping;
        match (was_retired, differs) {
            (true, _) => reloaded.started.push(name),
            (false, true) if !stays_down => reloaded.restarted.push(name),
            (false, _) => reloaded.kept.push(name),
        }
        if is_going || differs && !stays_down {
            self.feed(index, Input::Restart);
        }
    }

    /// Gives a service its new configuration as soon as nothing of it runs by the old one.
    pub(super) fn renew(&mut self, index: usize) {
        let unit = &mut self.units[index];
        if !unit.machine.state().is_running() && unit.is_idle() {
            unit.renew();
        }
    }

    /// Stops what was taken out, after what depends on it, and clears the places of what is gone. Tells whether
    /// anything changed.
    pub(super) fn retire(&mut self) -> bool {
        let mut changed = false;
        for index in 0..self.units.len() {
            let unit = &self.units[index];
            if !unit.retired || unit.is_free() {
                continue;
            }
            match unit.machine.state() {
                ServiceState::Stopped => self.clear(index),
                ServiceState::Stopping => {}
                _ if self.is_needed(index) => {}
                _ => {
                    self.feed(index, Input::Stop);
                    changed = true;
                }
            }
        }
        changed
    }

    /// Whether something runs that depends on it.
    fn is_needed(&self, index: usize) -> bool {
        let name = &self.units[index].name;
        self.units.iter().any(|other| other.machine.state().is_running() && other.service.depends_on.contains_key(name))
    }

    fn clear(&mut self, index: usize) {
        self.publish(index);
        let farewell = format!("{} is no service any more", self.units[index].name);
        for client in self.control.in_mode(|mode| mode == Mode::Attached(index)) {
            self.control.dismiss(client, &farewell, &mut self.poll);
        }
        self.units[index].clear(&mut self.poll);
    }
}

/// Whether a process of the one is as good as one of the other. Ports are the host's to publish.
fn runs_alike(one: &Service, other: &Service) -> bool {
    let without_ports = |service: &Service| Service { ports: Vec::new(), ..service.clone() };
    without_ports(one) == without_ports(other)
}

/// The services of the file and the order to start them in, or why they can't be run.
fn read_services(path: &Path) -> Result<(ServiceSet, Vec<String>), String> {
    let told = |error: &dyn std::fmt::Display| format!("no services: {}: {error}", path.display());
    let text = std::fs::read(path).map_err(|error| told(&error))?;
    let set: ServiceSet = serde_json::from_slice(&text).map_err(|error| told(&error))?;
    set.check().map_err(|error| told(&error))?;
    let order = set.start_order().map_err(|error| told(&error))?;
    let is_enabled = |name: &&str| set.services.get(*name).is_some_and(|service| service.enabled);
    let order = order.into_iter().filter(is_enabled).map(Into::into).collect();
    Ok((set, order))
}

/// The secrets as they are now. No file is no secrets.
pub(super) fn read_secrets(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let told = |trouble: String| format!("the secrets in {} can't be read: {trouble}", path.display());
    match std::fs::read(path) {
        // The error's own text could hold a part of a secret.
        Ok(text) => serde_json::from_slice(&text).map_err(|error| {
            told(format!("no JSON object of strings (line {}, column {})", error.line(), error.column()))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(told(error.to_string())),
    }
}
