//! Stopping: the services in reverse order of their dependencies, then whatever else lives, then PID 1 itself, each
//! as soon as nothing is left of the one before.

use std::time::{Duration, Instant};

use powerdev_protocol::signal::signal_name;
use powerdev_protocol::{EventKind, ServiceState};

use super::machine::UnitEvent;
use super::poll::Timer;
use super::processes::Process;
use super::unit::Unit;
use super::units::UnitId;
use super::{Supervisor, exits, sys};

/// How long what is no service's (shells, orphans) has to end by itself.
const REST_GRACE: Duration = Duration::from_secs(2);
/// Killed processes that haven't gone by then never will (a dead disk or server): PID 1 ends without them.
const KILL_LIMIT: Duration = Duration::from_secs(3);
/// How often it is looked for: the end of what isn't our child (a shell of the Engine's) is told to others.
const LOOK: Duration = Duration::from_millis(20);

/// The state of stopping.
#[derive(Debug)]
pub struct Shutdown {
    code: u8,
    hurry: bool,
    rest: Option<Rest>,
    done: bool,
}

#[derive(Debug)]
struct Rest {
    kill_at: Instant,
    killed: bool,
}

impl Supervisor {
    /// A signal to stop. The second one kills what is left.
    pub(super) fn stop(&mut self, signal: i32) {
        if let Some(shutdown) = &self.shutdown {
            // Once is enough: what survives a KILL is killed again and again without being told to.
            if !shutdown.hurry {
                self.io.console.say(&format!("{} again: what is left is killed", signal_name(signal)));
                self.hurry();
            }
            return;
        }
        self.io.console.say(&format!("stopping ({})", signal_name(signal)));
        self.begin_shutdown(0);
        self.tell(EventKind::Stopping { signal });
    }

    /// An essential service failed for good: everything stops, with its exit code.
    pub(super) fn essential_failed(&mut self, id: UnitId) {
        if self.shutdown.is_some() {
            return;
        }
        let unit = &self.units[id];
        let code = exits::exit_code(unit.machine.last_exit());
        self.io.console.say(&format!("stopping with {code}: the essential service {} failed", unit.name));
        self.begin_shutdown(code);
        self.tell(EventKind::Stopping { signal: 0 });
    }

    fn begin_shutdown(&mut self, code: u8) {
        self.shutdown = Some(Shutdown { code, hurry: false, rest: None, done: false });
    }

    fn hurry(&mut self) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.hurry = true;
            if let Some(rest) = &mut shutdown.rest {
                rest.kill_at = Instant::now();
            }
        }
        for id in self.units.ids() {
            self.feed(id, UnitEvent::Stop);
            self.feed(id, UnitEvent::Hurry);
        }
    }

    /// The exit code, once everything is gone.
    pub(super) fn exit_code(&self) -> Option<u8> {
        self.shutdown.as_ref().filter(|shutdown| shutdown.done).map(|shutdown| shutdown.code)
    }

    /// Stops each service that nothing depends on any more. Tells whether anything changed.
    pub(super) fn go_on_stopping(&mut self) -> bool {
        let Some(shutdown) = &self.shutdown else { return false };
        let hurry = shutdown.hurry;
        let mut changed = false;
        for id in self.units.ids().into_iter().rev() {
            let unit = &self.units[id];
            let is_up = |other: &Unit| other.machine.state() != ServiceState::Stopped;
            let in_use = self.units.dependents(&unit.name).any(is_up);
            if matches!(unit.machine.state(), ServiceState::Stopped | ServiceState::Stopping) || in_use && !hurry {
                continue;
            }
            self.feed(id, UnitEvent::Stop);
            changed = true;
        }
        if self.units.iter().all(|unit| unit.machine.state() == ServiceState::Stopped) {
            self.stop_the_rest();
        }
        changed
    }

    /// Ends what is no service's.
    fn stop_the_rest(&mut self) {
        let others = self.children.all();
        let now = Instant::now();
        let Some(shutdown) = &mut self.shutdown else { return };
        if others.is_empty() {
            shutdown.done = true;
            return;
        }
        let grace = if shutdown.hurry { Duration::ZERO } else { REST_GRACE };
        let is_new = shutdown.rest.is_none();
        let rest = shutdown.rest.get_or_insert(Rest { kill_at: now + grace, killed: false });
        if is_new && !shutdown.hurry {
            others.iter().for_each(ask_to_end);
        }
        if rest.kill_at <= now {
            if rest.killed && rest.kill_at + KILL_LIMIT <= now {
                shutdown.done = true;
                return;
            }
            rest.killed = true;
            others.iter().for_each(|process| drop(sys::kill(process.pid, libc::SIGKILL)));
        }
        self.io.timers.set(Timer::Rest, Some(now + LOOK));
    }
}

/// TERM, and HUP where there is a terminal: an interactive shell ignores TERM.
fn ask_to_end(process: &Process) {
    let signals = [Some(libc::SIGTERM), process.terminal.then_some(libc::SIGHUP), Some(libc::SIGCONT)];
    for signal in signals.into_iter().flatten() {
        sys::kill(process.pid, signal).ok(); // Gone meanwhile is as good.
    }
}
