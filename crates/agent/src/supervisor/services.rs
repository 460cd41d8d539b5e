//! What the supervisor does for its services: starts them as their dependencies allow, reaps and restarts them, hears
//! their probes and terminals, and tells what became of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use powerdev_protocol::service::signal_number;
use powerdev_protocol::{Condition, EventKind, ServiceState};
use rustix::process::{WaitOptions, WaitStatus};

use super::control::Mode;
use super::machine::{Action, Input};
use super::poll::{Key, Timer};
use super::processes::Known;
use super::readiness::Verdict;
use super::reload::read_secrets;
use super::spawn::SpawnError;
use super::unit::{Unit, state_name};
use super::{Supervisor, exits, health, now_ms, processes, sys};
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
    pub(super) fn feed(&mut self, index: usize, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let chance = self.chance();
            let action = self.units[index].machine.step(input, Instant::now(), chance);
            let state = self.units[index].machine.state();
            if action != Some(Action::Spawn) && state != ServiceState::Waiting {
                self.publish(index);
            }
            next = match action {
                Some(Action::Spawn) => self.spawn(index),
                Some(Action::Terminate) => {
                    let signal = signal_number(&self.units[index].service.stop.signal).unwrap_or(libc::SIGTERM);
                    self.signal_tree(index, signal)
                }
                Some(Action::Kill) => self.signal_tree(index, libc::SIGKILL),
                None => None,
            };
        }
        let unit = &mut self.units[index];
        if let (ServiceState::Stopping, Some(prober)) = (unit.machine.state(), &mut unit.prober) {
            prober.end(&mut self.poll);
        }
        self.timers.set(Timer::Service(index), unit.machine.wake_at());
        self.arm_probe(index);
    }

    fn arm_probe(&mut self, index: usize) {
        let at = self.units[index].prober.as_ref().and_then(|prober| prober.wake_at());
        self.timers.set(Timer::Probe(index), at);
    }

    /// Makes its process. What comes of it is told by [`Supervisor::launch_event`], unless there is none.
    fn spawn(&mut self, index: usize) -> Option<Input> {
        // Read anew for each process, and not kept.
        let secrets = read_secrets(&self.options.secrets).unwrap_or_else(|trouble| {
            self.notice(trouble);
            BTreeMap::new()
        });
        let unit = &mut self.units[index];
        let environment = environment::compose(&self.set, &secrets, Some((&unit.name, &unit.service)));
        match unit.spawn(environment, &self.options.run_dir, &mut self.poll) {
            Ok(()) => {
                self.made.extend(unit.pid.into_iter().chain(unit.session));
                None
            }
            Err(error) => Some(self.not_launched(index, &error)),
        }
    }

    fn not_launched(&mut self, index: usize, error: &SpawnError) -> Input {
        let unit = &mut self.units[index];
        unit.ended(&mut self.poll);
        unit.release();
        let passing = error.is_passing();
        if passing {
            self.look_at_counters();
        }
        Input::SpawnFailed { exit: exits::of_failure(error, now_ms()), passing }
    }

    /// A service's process tells how far it has come on the way to its program.
    pub(super) fn launch_event(&mut self, index: usize) {
        let unit = &mut self.units[index];
        if unit.launch.is_none() {
            return;
        }
        let result = unit.look_at_launch(&mut self.poll);
        self.made.extend(unit.pid);
        match result {
            None => {}
            Some(Ok(())) => self.launched(index),
            Some(Err(error)) => {
                let input = self.not_launched(index, &error);
                self.feed(index, input);
            }
        }
    }

    fn launched(&mut self, index: usize) {
        if let Some(prober) = &mut self.units[index].prober {
            prober.ask(Instant::now());
        }
        self.feed(index, Input::Spawned);
    }

    /// The live processes of each service.
    pub(super) fn trees(&mut self) -> Vec<Vec<i32>> {
        self.scanned = Instant::now();
        let known: Vec<Known<'_>> = self.units.iter().map(Unit::known).collect();
        processes::by_service(std::process::id() as i32, &processes::all(), &known, processes::mark)
    }

    /// Signals all of a service. Tells it when there was nothing left to signal.
    fn signal_tree(&mut self, index: usize, signal: i32) -> Option<Input> {
        let tree = std::mem::take(&mut self.trees()[index]);
        for pid in &tree {
            sys::kill(*pid, signal).ok(); // Gone meanwhile is as good.
            if signal != libc::SIGKILL {
                sys::kill(*pid, libc::SIGCONT).ok(); // A stopped process can't act on a signal.
            }
        }
        let unit = &self.units[index];
        if let (Some((launch, _)), libc::SIGKILL) = (&unit.launch, signal) {
            launch.kill(); // What leads its session is none of the tree, and may be all that there is.
        }
        let gone = tree.is_empty() && unit.is_idle();
        gone.then(|| {
            self.units[index].release();
            Input::Gone
        })
    }

    /// Reaps every child that ended.
    pub(super) fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            self.reaped = true;
            self.reaped_one(pid.as_raw_nonzero().get(), status);
        }
    }

    fn reaped_one(&mut self, pid: i32, status: WaitStatus) {
        if let Some(unit) = self.units.iter_mut().find(|unit| unit.session == Some(pid)) {
            unit.session_ended();
        }
        // It may be one that told of itself just before its end.
        for index in 0..self.units.len() {
            self.launch_event(index);
        }
        if !self.made.remove(&pid) {
            self.orphans += 1;
        }
        if let Some(index) = self.units.iter().position(|unit| unit.pid == Some(pid)) {
            return self.main_ended(index, status);
        }
        let now = Instant::now();
        for index in 0..self.units.len() {
            let Some(prober) = &mut self.units[index].prober else { continue };
            if let Some(verdict) = prober.exited(pid, status.exit_status(), now, &mut self.poll) {
                return self.verdict(index, verdict);
            }
        }
    }

    fn main_ended(&mut self, index: usize, status: WaitStatus) {
        if self.units[index].end_launch(&mut self.poll) {
            self.launched(index); // Had it failed, it would have said so before its end.
        }
        let oom = status.terminating_signal() == Some(libc::SIGKILL) && self.look_at_counters();
        // Its last lines come before the news of its end.
        for key in self.units[index].streams.outputs() {
            while self.take(index, key) {}
        }
        self.units[index].ended(&mut self.poll);
        let alone = self.trees()[index].is_empty();
        if alone {
            self.units[index].release();
        }
        self.feed(index, Input::Died { exit: exits::of_status(status, oom, now_ms()), alone });
    }

    /// A service's terminal or pipe can be read, or takes input again.
    pub(super) fn stream(&mut self, index: usize, key: Key) {
        if self.units[index].streams.is_output(key) {
            self.take(index, key);
            return;
        }
        let unit = &mut self.units[index];
        unit.streams.flush(index, &mut self.poll);
        if !unit.streams.is_full() {
            for client in self.control.in_mode(|mode| mode == Mode::Attached(index)) {
                self.control.pause(client, false, &mut self.poll);
                self.hear(client);
            }
        }
    }

    /// Reads once from a service, for its log and for those who attached. Tells whether there may be more.
    fn take(&mut self, index: usize, key: Key) -> bool {
        let unit = &mut self.units[index];
        let taken = unit.take(key, &mut self.buffer, &mut self.poll, &mut self.console);
        if taken.raw > 0 {
            for client in self.control.in_mode(|mode| mode == Mode::Attached(index)) {
                self.control.send_data(client, &self.buffer[..taken.raw], &mut self.poll);
            }
        }
        self.verdict(index, taken.verdict);
        taken.more
    }

    pub(super) fn probe_event(&mut self, index: usize, key: Key) {
        let prober = self.units[index].prober.as_mut();
        let verdict = prober.and_then(|prober| prober.event(key, Instant::now(), &mut self.poll));
        self.verdict(index, verdict);
    }

    pub(super) fn probe_tick(&mut self, index: usize) {
        let unit = &mut self.units[index];
        let Some(mut prober) = unit.prober.take() else { return };
        let (set, path) = (&self.set, &self.options.secrets);
        let surroundings = || {
            // What is wrong with the secrets was told when the service was started.
            let secrets = read_secrets(path).unwrap_or_default();
            let environment = environment::compose(set, &secrets, Some((&unit.name, &unit.service)));
            let place = unit.place(&environment);
            (environment, place)
        };
        let verdict = prober.tick(Instant::now(), &mut self.poll, &surroundings);
        self.made.extend(prober.process());
        unit.prober = Some(prober);
        self.verdict(index, verdict);
    }

    fn verdict(&mut self, index: usize, verdict: Option<Verdict>) {
        match verdict {
            Some(Verdict::Good) => self.feed(index, Input::Good),
            Some(Verdict::Bad) => self.feed(index, Input::Bad),
            None => self.arm_probe(index),
        }
    }

    /// After all that happened in a turn: goes on with what it made possible, and tells what became of it.
    pub(super) fn settle(&mut self) {
        self.look_for_remains();
        while self.start_what_can() || self.go_on_stopping() || self.retire() {}
        for index in 0..self.units.len() {
            self.publish(index);
        }
        self.publish_health();
    }

    /// Looks whether anything is left of the services that have lost their main process.
    fn look_for_remains(&mut self) {
        let ending = |unit: &Unit| unit.is_idle() && unit.machine.state() == ServiceState::Stopping;
        if !self.units.iter().any(ending) {
            return;
        }
        let now = Instant::now();
        if !self.reaped || now < self.scanned + SCAN {
            let wait = if self.reaped { SCAN } else { REMAINS };
            return self.timers.set_if_unset(Timer::Remains, now + wait);
        }
        let trees = self.trees();
        for (index, tree) in trees.iter().enumerate() {
            if tree.is_empty() && ending(&self.units[index]) {
                self.units[index].release();
                self.feed(index, Input::Gone);
            }
        }
        self.timers.set(Timer::Remains, Some(now + REMAINS));
    }

    /// Starts each service that waits for nothing any more. Tells whether anything changed.
    fn start_what_can(&mut self) -> bool {
        if self.shutdown.is_some() {
            return false;
        }
        let mut changed = false;
        for index in 0..self.units.len() {
            self.renew(index);
            let Unit { machine, retired, .. } = &self.units[index];
            let waiting = machine.state() == ServiceState::Waiting;
            if *retired || !waiting && !machine.failed_by_dependency() {
                continue;
            }
            let input = match (self.dependencies(index), waiting) {
                (Dependencies::Met, true) => Input::DependenciesMet,
                (Dependencies::Failed(name), true) => Input::DependencyFailed(exits::of_dependency(&name, now_ms())),
                (Dependencies::Met | Dependencies::Pending, false) => Input::DependencyBack,
                (Dependencies::Pending, true) | (Dependencies::Failed(_), false) => continue,
            };
            self.feed(index, input);
            changed = true;
        }
        changed
    }

    fn dependencies(&self, index: usize) -> Dependencies {
        let mut met = true;
        for (name, condition) in &self.units[index].service.depends_on {
            let Some(dependency) = self.units.iter().find(|unit| unit.name == *name) else { continue };
            let state = dependency.machine.state();
            if state == ServiceState::Failed {
                return Dependencies::Failed(name.clone());
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
    pub(super) fn publish(&mut self, index: usize) {
        let unit = &mut self.units[index];
        let now = (unit.machine.state(), unit.pid, unit.machine.restarts());
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
        self.console.say(&text);
        let name = unit.name.clone();
        self.tell(EventKind::Service { name, from, to, pid, restarts, exit, probe });
        self.answer_waiting(index);
        let unit = &self.units[index];
        if to == ServiceState::Failed && unit.service.essential && !unit.retired {
            self.essential_failed(index);
        }
    }

    fn publish_health(&mut self) {
        if self.shutdown.is_some() {
            return; // That it stops has been told; what becomes of the services now is no illness.
        }
        let units = self.units.iter().filter(|unit| !unit.retired);
        let units = units.map(|unit| (unit.machine.state(), || unit.complaint()));
        let health = health::of(self.broken.as_deref(), units);
        if health != self.health {
            if health.state != self.health.state {
                self.console.say(&health.state.to_string());
            }
            self.health = health.clone();
            self.tell(EventKind::Health(health));
        }
    }
}
