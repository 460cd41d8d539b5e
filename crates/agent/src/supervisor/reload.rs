//! Going over to other services without a restart: what is new starts, what is gone stops, what has changed restarts,
//! and what hasn't keeps its process. One that was taken out stays until nothing of it is left.

use std::collections::BTreeMap;
use std::path::Path;

use powerdev_protocol::control::Reloaded;
use powerdev_protocol::{Service, ServiceSet, ServiceState};

use super::Supervisor;
use super::control::Mode;
use super::machine::UnitEvent;
use super::owner::Owner;
use super::poll::Timer;
use super::unit::Unit;
use super::units::UnitId;

impl Supervisor {
    /// Reads the services at the start. What can't be run leaves none, and the reason in the health.
    pub(super) fn load(&mut self) {
        self.units.broken = None;
        match read_services(&self.options.services) {
            Ok((set, order)) => drop(self.go_over_to(set, &order)),
            Err(reason) => {
                self.io.console.say(&reason);
                self.units.broken = Some(reason);
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
        self.units.broken = None;
        let reloaded = self.go_over_to(set, &order);
        let told = [("new", &reloaded.started), ("gone", &reloaded.stopped), ("changed", &reloaded.restarted)];
        for (what, names) in told.into_iter().filter(|(_, names)| !names.is_empty()) {
            self.io.console.say(&format!("reloaded: {what}: {}", names.join(", ")));
        }
        Ok(reloaded)
    }

    fn go_over_to(&mut self, set: ServiceSet, order: &[String]) -> Reloaded {
        let mut reloaded = Reloaded::default();
        for unit in self.units.iter_mut().filter(|unit| !unit.retired && !order.contains(&unit.name)) {
            unit.retired = true;
            reloaded.stopped.push(unit.name.clone());
        }
        self.units.order.clear();
        for name in order {
            let service = &set.services[name];
            let id = match self.units.by_name(name) {
                Some(id) => {
                    self.change(id, service, &mut reloaded);
                    id
                }
                None => {
                    reloaded.started.push(name.clone());
                    let (log_dir, poll) = (&self.options.log_dir, &self.io.poll);
                    self.units.add(|id| Unit::new(id, name, service, log_dir, poll))
                }
            };
            self.units.order.push(id);
        }
        self.units.set = set;
        reloaded
    }

    /// One that is there: it goes on if it is to be as it was, else it is restarted, unless somebody stopped it.
    fn change(&mut self, id: UnitId, service: &Service, reloaded: &mut Reloaded) {
        let unit = &mut self.units[id];
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
            self.feed(id, UnitEvent::Restart);
        }
    }

    /// Gives a service its new configuration as soon as nothing of it runs by the old one.
    pub(super) fn renew(&mut self, id: UnitId) {
        let unit = &mut self.units[id];
        if !unit.machine.state().is_running() && unit.job.is_idle() {
            unit.renew();
        }
    }

    /// Stops what was taken out, after what depends on it, and forgets what is gone. Tells whether
    /// anything changed.
    pub(super) fn retire(&mut self) -> bool {
        let mut changed = false;
        for id in self.units.ids() {
            let unit = &self.units[id];
            if !unit.retired {
                continue;
            }
            match unit.machine.state() {
                ServiceState::Stopped => self.clear(id),
                ServiceState::Stopping => {}
                _ if self.is_needed(id) => {}
                _ => {
                    self.feed(id, UnitEvent::Stop);
                    changed = true;
                }
            }
        }
        changed
    }

    /// Whether something runs that depends on it.
    fn is_needed(&self, id: UnitId) -> bool {
        self.units.dependents(&self.units[id].name).any(|other| other.machine.state().is_running())
    }

    fn clear(&mut self, id: UnitId) {
        self.publish(id);
        let Some(unit) = self.units.remove(id) else { return };
        self.io.timers.set(Timer::Service(id), None);
        self.io.timers.set(Timer::Probe(id), None);
        let farewell = format!("{} is no service any more", unit.name);
        for client in self.control.in_mode(|mode| mode == Mode::Attached(Owner::Unit(id))) {
            self.control.dismiss(client, &farewell);
        }
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
