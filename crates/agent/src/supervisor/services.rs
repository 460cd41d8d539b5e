//! What the supervisor does for its services: starts them as their dependencies allow, reaps and restarts them, hears
//! their probes and terminals, and tells what became of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use powerdev_protocol::signal::signal_number;
use powerdev_protocol::{Condition, EventKind, ServiceState};
use rustix::process::{WaitOptions, WaitStatus};

use super::children::Children;
use super::control::Mode;
use super::machine::{Effect, UnitEvent};
use super::owner::{Owner, TerminalId};
use super::poll::{Key, Timer};
use super::processes::KnownProcesses;
use super::readiness::ProbeVerdict;
use super::reload::read_secrets;
use super::spawn::SpawnError;
use super::terminal::Terminal;
use super::unit::{Unit, state_name};
use super::units::UnitId;
use super::{Supervisor, exits, health, now_ms, sys};
use crate::environment;

/// How often what is left of a service is looked for when no child's end tells of it.
const REMAINS: Duration = Duration::from_millis(50);
/// The processes are listed this often at most.
const SCAN: Duration = Duration::from_millis(5);

/// What the services that one depends on allow.
enum Dependencies {
    Met,
    Pending,
    Failed(String),
}

impl Supervisor {
    /// Gives a service's state machine what happened, and does what it says until it says nothing more.
    pub(super) fn feed(&mut self, id: UnitId, input: UnitEvent) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let chance = self.rng.f64();
            let machine = &mut self.units[id].machine;
            let action = machine.step(input, Instant::now(), chance);
            let state = machine.state();
            if action != Some(Effect::Spawn) && state != ServiceState::Waiting {
                self.publish(id);
            }
            next = match action {
                Some(Effect::Spawn) => self.spawn(id),
                Some(Effect::Terminate) => {
                    let signal = signal_number(&self.units[id].service.stop.signal).unwrap_or(libc::SIGTERM);
                    self.signal_tree(id, signal)
                }
                Some(Effect::Kill) => self.signal_tree(id, libc::SIGKILL),
                None => None,
            };
        }
        let unit = &mut self.units[id];
        if let (ServiceState::Stopping, Some(prober)) = (unit.machine.state(), &mut unit.prober) {
            prober.end();
        }
        self.io.timers.set(Timer::Service(id), unit.machine.wake_at());
        self.arm_probe(id);
    }

    fn arm_probe(&mut self, id: UnitId) {
        let at = self.units[id].prober.as_ref().and_then(|prober| prober.wake_at());
        self.io.timers.set(Timer::Probe(id), at);
    }

    /// Makes its process. What comes of it is told by [`Supervisor::launch_event`], unless there is none.
    fn spawn(&mut self, id: UnitId) -> Option<UnitEvent> {
        // Read anew for each process, and not kept.
        let secrets = read_secrets(&self.options.secrets).unwrap_or_else(|trouble| {
            self.notice(trouble);
            BTreeMap::new()
        });
        let unit = &self.units[id];
        let unusable = environment::unusable(&self.units.set, &secrets, Some(&unit.service));
        let environment = environment::compose(&self.units.set, &secrets, Some((&unit.name, &unit.service)));
        if !unusable.is_empty() {
            let names = unusable.join(", ");
            self.notice(format!("no process can have these variables, for a `=` or NUL in them: {names}"));
        }
        let unit = &mut self.units[id];
        match unit.spawn(environment, &self.options.run_dir) {
            Ok(()) => {
                self.children.add(unit.job.made());
                None
            }
            Err(error) => Some(self.not_launched(id, &error)),
        }
    }

    fn not_launched(&mut self, id: UnitId, error: &SpawnError) -> UnitEvent {
        let unit = &mut self.units[id];
        unit.ended();
        unit.job.release();
        let passing = error.is_passing();
        if passing {
            self.look_at_counters();
        }
        UnitEvent::SpawnFailed { exit: exits::of_failure(error, now_ms()), passing }
    }

    /// A service's process tells how far it has come on the way to its program.
    pub(super) fn launch_event(&mut self, id: UnitId) {
        let Some(unit) = self.units.get_mut(id) else { return };
        let result = unit.job.look();
        self.children.add(unit.job.made());
        match result {
            None => {}
            Some(Ok(())) => self.launched(id),
            Some(Err(error)) => {
                let input = self.not_launched(id, &error);
                self.feed(id, input);
                // Where it failed before there is no news to tell, but whoever waits for it has waited enough.
                self.answer_waiting(id);
            }
        }
    }

    fn launched(&mut self, id: UnitId) {
        if let Some(prober) = &mut self.units[id].prober {
            prober.ask(Instant::now());
        }
        self.feed(id, UnitEvent::Spawned);
    }

    /// The live processes of each service and session.
    pub(super) fn trees(&mut self) -> BTreeMap<Owner, Vec<i32>> {
        let terminals = self.terminals.open().map(Terminal::known);
        let known: Vec<KnownProcesses<'_, Owner>> = self.units.iter().map(Unit::known).chain(terminals).collect();
        self.children.trees(&known)
    }

    /// SignalQueue all of a service. Tells it when there was nothing left to signal.
    fn signal_tree(&mut self, id: UnitId, signal: i32) -> Option<UnitEvent> {
        let tree = self.trees().remove(&Owner::Unit(id)).unwrap_or_default();
        for pid in &tree {
            sys::kill(*pid, signal).ok(); // Gone meanwhile is as good.
            if signal != libc::SIGKILL {
                sys::kill(*pid, libc::SIGCONT).ok(); // A stopped process can't act on a signal.
            }
        }
        let job = &mut self.units[id].job;
        if signal == libc::SIGKILL {
            job.kill_launch(); // What leads its session is none of the tree, and may be all that there is.
        }
        let gone = tree.is_empty() && job.is_idle();
        gone.then(|| {
            job.release();
            UnitEvent::Gone
        })
    }

    /// Reaps every child that ended.
    pub(super) fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            self.children.reaped = true;
            self.reaped_one(pid.as_raw_nonzero().get(), status);
        }
    }

    fn reaped_one(&mut self, pid: i32, status: WaitStatus) {
        if let Some(unit) = self.units.iter_mut().find(|unit| unit.job.session() == Some(pid)) {
            unit.job.session_ended();
        }
        if let Some(terminal) = self.terminals.iter_mut().find(|terminal| terminal.job.session() == Some(pid)) {
            terminal.job.session_ended();
        }
        // It may be one that told of itself just before its end.
        for id in self.units.ids() {
            self.launch_event(id);
        }
        for id in self.terminals.ids() {
            self.session_launch(id);
        }
        self.children.remove(pid);
        if let Some(id) = self.units.find(|unit| unit.job.pid() == Some(pid)) {
            return self.main_ended(id, status);
        }
        if let Some(id) = self.terminals.find(|terminal| terminal.job.pid() == Some(pid)) {
            return self.session_died(id, status);
        }
        let now = Instant::now();
        for id in self.units.ids() {
            let Some(prober) = &mut self.units[id].prober else { continue };
            if let Some(verdict) = prober.exited(pid, status.exit_status(), now) {
                return self.verdict(id, verdict);
            }
        }
    }

    fn main_ended(&mut self, id: UnitId, status: WaitStatus) {
        if self.units[id].job.end_launch() {
            self.launched(id); // Had it failed, it would have said so before its end.
        }
        let oom = status.terminating_signal() == Some(libc::SIGKILL) && self.look_at_counters();
        // Its last lines come before the news of its end.
        for key in self.units[id].streams.outputs() {
            while self.take(id, key) {}
        }
        self.units[id].ended();
        let alone = self.trees().get(&Owner::Unit(id)).is_none_or(Vec::is_empty);
        if alone {
            self.units[id].job.release();
        }
        self.feed(id, UnitEvent::Died { exit: exits::of_status(status, oom, now_ms()), alone });
    }

    /// A service's terminal or pipe can be read, or takes input again.
    pub(super) fn stream(&mut self, id: UnitId, key: Key) {
        let Some(unit) = self.units.get_mut(id) else { return };
        if unit.streams.is_output(key) {
            self.take(id, key);
            return;
        }
        let input = unit.streams.input();
        input.flush();
        if !input.is_full() {
            for client in self.control.in_mode(|mode| mode == Mode::Attached(Owner::Unit(id))) {
                self.control.pause(client, false);
                self.control.queue(client);
            }
        }
    }

    /// Reads once from a service, for its log and for those who attached. Tells whether there may be more.
    fn take(&mut self, id: UnitId, key: Key) -> bool {
        let unit = &mut self.units[id];
        let taken = unit.take(key, &mut self.io.buffer, &mut self.io.console);
        if taken.raw > 0 {
            for client in self.control.in_mode(|mode| mode == Mode::Attached(Owner::Unit(id))) {
                self.control.send_data(client, &self.io.buffer[..taken.raw]);
            }
        }
        self.verdict(id, taken.verdict);
        taken.more
    }

    pub(super) fn probe_event(&mut self, id: UnitId, key: Key) {
        let Some(unit) = self.units.get_mut(id) else { return };
        let verdict = unit.prober.as_mut().and_then(|prober| prober.event(key, Instant::now()));
        self.verdict(id, verdict);
    }

    pub(super) fn probe_tick(&mut self, id: UnitId) {
        let Some(mut prober) = self.units.get_mut(id).and_then(|unit| unit.prober.take()) else { return };
        let (unit, set, path) = (&self.units[id], &self.units.set, &self.options.secrets);
        let surroundings = || {
            // What is wrong with the secrets was told when the service was started.
            let secrets = read_secrets(path).unwrap_or_default();
            let environment = environment::compose(set, &secrets, Some((&unit.name, &unit.service)));
            let place = unit.place(&environment);
            (environment, place)
        };
        let verdict = prober.tick(Instant::now(), &surroundings);
        self.children.add(prober.process());
        self.units[id].prober = Some(prober);
        self.verdict(id, verdict);
    }

    fn verdict(&mut self, id: UnitId, verdict: Option<ProbeVerdict>) {
        match verdict {
            Some(ProbeVerdict::Good) => self.feed(id, UnitEvent::Good),
            Some(ProbeVerdict::Bad) => self.feed(id, UnitEvent::Bad),
            None => self.arm_probe(id),
        }
    }

    /// After all that happened in a turn: goes on with what it made possible, and tells what became of it.
    pub(super) fn settle(&mut self) {
        self.look_for_remains();
        while self.start_what_can() || self.go_on_stopping() || self.retire() {}
        for id in self.units.ids() {
            self.publish(id);
        }
        self.publish_health();
        self.settle_sessions();
    }

    /// Looks whether anything is left of what is being stopped and has lost its main process.
    fn look_for_remains(&mut self) {
        let ending = |unit: &Unit| unit.job.is_idle() && unit.machine.state() == ServiceState::Stopping;
        let sessions: Vec<TerminalId> =
            self.terminals.open().filter(|terminal| terminal.last_exit.is_some()).map(|terminal| terminal.id).collect();
        if sessions.is_empty() && !self.units.iter().any(ending) {
            return;
        }
        let now = Instant::now();
        let Children { reaped, scanned, .. } = self.children;
        if !reaped || now < scanned + SCAN {
            let wait = if reaped { SCAN } else { REMAINS };
            return self.io.timers.set_if_unset(Timer::Remains, now + wait);
        }
        for (owner, _) in self.trees().into_iter().filter(|(_, tree)| tree.is_empty()) {
            match owner {
                Owner::Unit(id) if ending(&self.units[id]) => {
                    self.units[id].job.release();
                    self.feed(id, UnitEvent::Gone);
                }
                Owner::Terminal(id) if sessions.contains(&id) => self.session_gone(id),
                Owner::Unit(_) | Owner::Terminal(_) => {}
            }
        }
        self.io.timers.set(Timer::Remains, Some(now + REMAINS));
    }

    /// Starts each service that waits for nothing any more. Tells whether anything changed.
    fn start_what_can(&mut self) -> bool {
        if self.shutdown.is_some() {
            return false;
        }
        let mut changed = false;
        for id in self.units.ids() {
            self.renew(id);
            let Unit { machine, retired, .. } = &self.units[id];
            let waiting = machine.state() == ServiceState::Waiting;
            if *retired || !waiting && !machine.failed_by_dependency() {
                continue;
            }
            let input = match (self.dependencies(id), waiting) {
                (Dependencies::Met, true) => UnitEvent::DependenciesMet,
                (Dependencies::Failed(name), true) => {
                    UnitEvent::DependencyFailed(exits::of_dependency(&name, now_ms()))
                }
                (Dependencies::Met | Dependencies::Pending, false) => UnitEvent::DependencyBack,
                (Dependencies::Pending, true) | (Dependencies::Failed(_), false) => continue,
            };
            self.feed(id, input);
            changed = true;
        }
        changed
    }

    fn dependencies(&self, id: UnitId) -> Dependencies {
        let mut met = true;
        for (dependency, condition) in self.units.dependencies(&self.units[id].service) {
            let state = dependency.machine.state();
            if state == ServiceState::Failed {
                return Dependencies::Failed(dependency.name.clone());
            }
            met &= match condition {
                Condition::Completed => state == ServiceState::Completed,
                Condition::Ready => matches!(state, ServiceState::Ready | ServiceState::Completed),
                Condition::Started => {
                    let runs = state.is_running() && !dependency.machine.is_launching();
                    state == ServiceState::Completed || runs && state != ServiceState::Stopping
                }
            };
        }
        if met { Dependencies::Met } else { Dependencies::Pending }
    }

    /// Tells of a service if anything changed since it was last told of.
    pub(super) fn publish(&mut self, id: UnitId) {
        let unit = &mut self.units[id];
        let now = (unit.machine.state(), unit.job.pid(), unit.machine.restarts());
        let (from, told_pid, _) = unit.told;
        // On its way to its program there is nothing to tell yet; mostly that takes less than a millisecond.
        if now == unit.told || unit.machine.is_launching() {
            return;
        }
        unit.told = now;
        let (to, pid, restarts) = now;
        if from != to || pid.is_some() && pid != told_pid {
            unit.since_ms = now_ms();
        }
        let died = told_pid.is_some() && pid != told_pid || matches!(to, ServiceState::Backoff | ServiceState::Failed);
        let exit = unit.machine.last_exit().filter(|_| died).cloned();
        let probe = if to == ServiceState::Unhealthy { unit.probe() } else { None };
        let mut text = format!("{}: {}", unit.name, state_name(to));
        if let (Some(pid), true) = (pid, from != to) {
            text.push_str(&format!(" (pid {pid})"));
        }
        for part in exit.iter().map(|exit| &exit.reason).chain(&probe) {
            text.push_str(&format!(": {part}"));
        }
        self.io.console.say(&text);
        let name = unit.name.clone();
        self.tell(EventKind::Service { name, from, to, pid, restarts, exit, probe });
        self.answer_waiting(id);
        let unit = &self.units[id];
        if to == ServiceState::Failed && unit.service.essential && !unit.retired {
            self.essential_failed(id);
        }
    }

    fn publish_health(&mut self) {
        if self.shutdown.is_some() {
            return; // That it stops has been told; what becomes of the services now is no illness.
        }
        let units = self.units.iter().filter(|unit| !unit.retired);
        let units = units.map(|unit| (unit.machine.state(), || unit.complaint()));
        let health = health::of(self.units.broken.as_deref(), units);
        if health != self.vitals.health {
            if health.state != self.vitals.health.state {
                self.io.console.say(&health.state.to_string());
            }
            self.vitals.health = health.clone();
            self.tell(EventKind::Health(health));
        }
    }
}
