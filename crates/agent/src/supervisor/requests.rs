//! What the control socket's clients ask for.

use std::time::Instant;

use powerdev_protocol::control::TerminalSize;
use powerdev_protocol::{
    Action, AgentStatus, Event, EventKind, Health, HealthState, PROTOCOL_VERSION, Request, Response, ServiceState,
    frame,
};

use super::control::{Message, Mode};
use super::machine::Input;
use super::poll::Key;
use super::unit::{Unit, state_name};
use super::{Supervisor, now_ms, processes, sys};

/// Processes that `exec` may have registered at a time.
const REGISTERED: usize = 1024;
/// The longest token, in bytes.
const TOKEN: usize = 256;

impl Supervisor {
    /// Deals with all that a client has said so far.
    pub(super) fn hear(&mut self, key: Key) {
        while let Some(message) = self.control.next(key) {
            match message {
                Message::Request(Ok(request)) => self.request(key, request),
                Message::Request(Err(message)) => self.answer(key, &Response::refused(message)),
                Message::Frame(kind, payload) => self.frame(key, kind, &payload),
                Message::Nonsense => return self.control.hang_up(key, &mut self.poll),
            }
        }
        self.control.dealt_with(key, &mut self.poll);
    }

    fn answer(&mut self, key: Key, response: &Response) {
        self.control.answer(key, response, &mut self.poll);
    }

    fn request(&mut self, key: Key, request: Request) {
        let response = match request {
            Request::Health => Response::Health(self.current_health()),
            Request::Status => Response::Status(Box::new(self.status())),
            Request::Service { name, action, wait } => match self.service_request(key, &name, action, wait) {
                Some(response) => response,
                None => return,
            },
            Request::Reload => match self.reload() {
                Ok(reloaded) => Response::Reloaded(reloaded),
                Err(message) => Response::refused(message),
            },
            Request::Events => return self.follow(key),
            Request::Attach { name, size, replay } => match self.index(&name) {
                Ok(index) => return self.attach(key, index, size, replay),
                Err(absent) => absent,
            },
            Request::Register { token } => match self.register(key, token) {
                Ok(()) => Response::Ok,
                Err(message) => Response::refused(message),
            },
            Request::Signal { token, signal } => match self.signal_registered(&token, signal) {
                Ok(()) => Response::Ok,
                Err(message) => Response::refused(message),
            },
        };
        self.answer(key, &response);
    }

    fn current_health(&self) -> Health {
        match self.shutdown {
            Some(_) => Health { state: HealthState::Unhealthy, detail: "the environment is stopping".into() },
            None => self.health.clone(),
        }
    }

    fn status(&mut self) -> AgentStatus {
        self.look_at_counters();
        let now = Instant::now();
        let logs = || self.units.iter().map(|unit| &unit.log);
        let troubles = logs().filter_map(|log| log.trouble().map(Into::into));
        let of_units = self.units.iter().filter_map(|unit| unit.notice.clone());
        AgentStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            protocol: PROTOCOL_VERSION,
            pid: std::process::id() as i32,
            started_ms: self.started_ms,
            health: self.current_health(),
            services: self.shown().map(|unit| unit.status(now)).collect(),
            usage: self.counters.clone(),
            orphans: self.orphans,
            dropped_lines: self.console.dropped() + logs().map(|log| log.dropped()).sum::<u64>(),
            notices: self.notices.iter().cloned().chain(troubles).chain(of_units).collect(),
            sha256: self.sha256.get_or_insert_with(own_sha256).clone(),
        }
    }

    /// A service's place; else the answer to whoever asked for it.
    fn index(&self, name: &str) -> Result<usize, Response> {
        self.units.iter().position(|unit| unit.name == name && !unit.retired).ok_or_else(|| {
            let known: Vec<&str> = self.order.iter().map(|index| self.units[*index].name.as_str()).collect();
            Response::absent(format!("no service `{name}` here; there are: {}", known.join(", ")))
        })
    }

    /// The services in the order of their start, then what was taken out and hasn't gone yet.
    fn shown(&self) -> impl Iterator<Item = &Unit> {
        let going = self.units.iter().filter(|unit| unit.retired && !unit.is_free());
        self.order.iter().map(|index| &self.units[*index]).chain(going)
    }

    /// None: the answer comes when it is done.
    fn service_request(&mut self, key: Key, name: &str, action: Action, wait: bool) -> Option<Response> {
        let index = match self.index(name) {
            Ok(index) => index,
            Err(absent) => return Some(absent),
        };
        if self.shutdown.is_some() && action != Action::Stop {
            return Some(Response::refused("the environment is stopping"));
        }
        let (input, ready) = match action {
            Action::Start => (Input::Start, true),
            Action::Stop => (Input::Stop, false),
            Action::Restart => (Input::Restart, true),
        };
        if wait {
            self.control.set_mode(key, Mode::Waiting { service: index, ready });
        }
        self.feed(index, input);
        if !wait {
            return Some(Response::Ok);
        }
        self.answer_waiting(index);
        None
    }

    /// Answers those who wait for a service, if it is where they want it, or won't get there.
    pub(super) fn answer_waiting(&mut self, index: usize) {
        let state = self.units[index].machine.state();
        let ready = match state {
            ServiceState::Ready | ServiceState::Completed => Some(Response::Ok),
            ServiceState::Failed | ServiceState::Backoff | ServiceState::Stopped => {
                Some(Response::refused(self.units[index].complaint()))
            }
            ServiceState::Waiting | ServiceState::Starting | ServiceState::Unhealthy | ServiceState::Stopping => None,
        };
        let gone = match state {
            ServiceState::Stopped => Some(Response::Ok),
            ServiceState::Stopping => None,
            _ => {
                let name = &self.units[index].name;
                Some(Response::refused(format!("{name} was started meanwhile: {}", state_name(state))))
            }
        };
        for (goal, response) in [(true, ready), (false, gone)] {
            let Some(response) = response else { continue };
            for key in self.control.in_mode(|mode| mode == Mode::Waiting { service: index, ready: goal }) {
                self.control.set_mode(key, Mode::Asking);
                self.answer(key, &response);
            }
        }
    }

    fn follow(&mut self, key: Key) {
        self.control.set_mode(key, Mode::Following);
        self.answer(key, &Response::Ok);
        let event = Event { at_ms: now_ms(), kind: EventKind::Health(self.current_health()) };
        self.control.tell_one(key, &event, &mut self.poll);
    }

    fn attach(&mut self, key: Key, index: usize, size: Option<TerminalSize>, replay: u32) {
        self.control.set_mode(key, Mode::Attached(index));
        self.answer(key, &Response::Ok);
        let before = self.units[index].replay.last(replay as usize);
        self.control.send_data(key, &before, &mut self.poll);
        if let Some(size) = size {
            self.units[index].resize(size);
        }
    }

    fn frame(&mut self, key: Key, kind: frame::Kind, payload: &[u8]) {
        let Some(Mode::Attached(index)) = self.control.mode(key) else { return };
        let unit = &mut self.units[index];
        match kind {
            frame::Kind::Data => {
                unit.streams.write(payload, index, &mut self.poll);
                if unit.streams.is_full() {
                    self.control.pause(key, true, &mut self.poll);
                }
            }
            frame::Kind::Resize => match serde_json::from_slice(payload) {
                Ok(size) => unit.resize(size),
                Err(_) => self.control.hang_up(key, &mut self.poll),
            },
            frame::Kind::Notice => self.control.hang_up(key, &mut self.poll), // Not for a client to send.
            frame::Kind::Eof => unit.streams.finish_input(index, &mut self.poll),
        }
    }

    fn register(&mut self, key: Key, token: String) -> Result<(), String> {
        if token.is_empty() || token.len() > TOKEN {
            return Err(format!("a token has 1 to {TOKEN} bytes"));
        }
        let pid = self.control.peer(key).ok_or("only a process of this container can register itself")?;
        let started = processes::start_time(pid).ok_or("the process is gone already")?;
        if self.registered.len() >= REGISTERED {
            self.registered.retain(|_, (pid, started)| processes::start_time(*pid) == Some(*started));
        }
        if self.registered.len() >= REGISTERED {
            return Err(format!("{REGISTERED} processes are registered already"));
        }
        self.registered.insert(token, (pid, started));
        Ok(())
    }

    /// Signals what was registered: its process group where it leads one, as a terminal would.
    fn signal_registered(&mut self, token: &str, signal: i32) -> Result<(), String> {
        let (pid, started) = *self.registered.get(token).ok_or("no process is registered under this token")?;
        if processes::start_time(pid) != Some(started) {
            self.registered.remove(token);
            return Err("the process has ended".into());
        }
        if !(1..=sys::LAST_SIGNAL).contains(&signal) {
            return Err(format!("{signal} is no signal"));
        }
        let group = sys::kill(-pid, signal);
        group.or_else(|_| sys::kill(pid, signal)).map_err(|error| format!("it can't be signalled: {error}"))
    }
}

/// SHA-256 of this executable, in hex; empty if it can't be read.
fn own_sha256() -> String {
    use sha2::{Digest, Sha256};
    use std::io::Read;
    let mut digest = Sha256::new();
    let Ok(mut file) = std::fs::File::open("/proc/self/exe") else { return String::new() };
    let mut buffer = [0; 16 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
            Ok(n) => digest.update(&buffer[..n]),
            Err(_) => break String::new(),
        }
    }
}
