//! What the control socket's clients ask for.

use std::time::{Duration, Instant};

use powerdev_protocol::control::TerminalSize;
use powerdev_protocol::{
    Action, AgentStatus, Event, EventKind, Health, HealthState, Hello, PROTOCOL_VERSION, Request, Response,
    ServiceState, frame,
};

use super::control::{ClientMessage, Mode};
use super::machine::UnitEvent;
use super::owner::Owner;
use super::poll::Key;
use super::unit::state_name;
use super::units::UnitId;
use super::{Supervisor, now_ms};

/// How long requests are dealt with before all else has its turn.
const SERVING: Duration = Duration::from_millis(10);
/// Frames of one client that are dealt with in one turn.
const FRAMES: usize = 64;

impl Supervisor {
    /// Deals with what clients have said, one after the other, for as long as the rest can wait: none of them is dealt
    /// with again before all others were.
    pub(super) fn serve(&mut self) {
        let until = Instant::now() + SERVING;
        while let Some(key) = self.control.turn() {
            self.serve_one(key);
            if Instant::now() >= until {
                break;
            }
        }
    }

    /// One request, or what was typed.
    fn serve_one(&mut self, key: Key) {
        for _ in 0..FRAMES {
            match self.control.next(key) {
                Some(ClientMessage::Request(Ok(request))) => self.request(key, request),
                Some(ClientMessage::Request(Err(message))) => self.answer(key, &Response::refused(message)),
                Some(ClientMessage::Frame(kind, payload)) => self.frame(key, kind, &payload),
                Some(ClientMessage::Nonsense) => return self.control.hang_up(key),
                None => break,
            }
            if !matches!(self.control.mode(key), Some(Mode::Attached(_))) {
                break;
            }
        }
        self.control.queue(key);
    }

    fn answer(&mut self, key: Key, response: &Response) {
        self.control.answer(key, response);
    }

    fn request(&mut self, key: Key, request: Request) {
        if let Some(Err(other)) = self.control.hello(key).map(|client| client.check(&Hello::ours())) {
            let message = format!("{other}: {}", other.remedy());
            return self.answer(key, &Response::refused(message));
        }
        let response = match request {
            Request::Hello(hello) => {
                self.control.greeted(key, hello);
                Response::Hello(Hello::ours())
            }
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
            Request::Attach { name, size, replay } => match self.unit_named(&name) {
                Ok(id) => return self.attach(key, id, size, replay),
                Err(absent) => absent,
            },
            Request::Session(request) => match self.session_request(key, request) {
                Some(response) => response,
                None => return,
            },
            Request::Register { token } => match self.registry.add(token, self.control.peer(key)) {
                Ok(()) => Response::Ok,
                Err(message) => Response::refused(message),
            },
            Request::Signal { token, signal } => match self.registry.signal(&token, signal) {
                Ok(()) => Response::Ok,
                Err(message) => Response::refused(message),
            },
        };
        self.answer(key, &response);
    }

    fn current_health(&self) -> Health {
        match self.shutdown {
            Some(_) => Health { state: HealthState::Unhealthy, detail: "the environment is stopping".into() },
            None => self.vitals.health.clone(),
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
            started_ms: self.vitals.started_ms,
            health: self.current_health(),
            services: self.units.shown().map(|unit| unit.status(now)).collect(),
            sessions: self.terminals.open().count(),
            usage: self.vitals.usage().clone(),
            orphans: self.children.orphans(),
            dropped_lines: self.io.console.dropped() + logs().map(|log| log.dropped()).sum::<u64>(),
            notices: self.vitals.notices().cloned().chain(troubles).chain(of_units).collect(),
            sha256: self.vitals.sha256().to_owned(),
        }
    }

    /// A service; else the answer to whoever asked for it.
    fn unit_named(&self, name: &str) -> Result<UnitId, Response> {
        self.units.find(|unit| unit.name == name && !unit.retired).ok_or_else(|| {
            let known: Vec<&str> = self.units.order.iter().map(|id| self.units[*id].name.as_str()).collect();
            Response::absent(format!("no service `{name}` here; there are: {}", known.join(", ")))
        })
    }

    /// None: the answer comes when it is done.
    fn service_request(&mut self, key: Key, name: &str, action: Action, wait: bool) -> Option<Response> {
        let id = match self.unit_named(name) {
            Ok(id) => id,
            Err(absent) => return Some(absent),
        };
        if self.shutdown.is_some() && action != Action::Stop {
            return Some(Response::refused("the environment is stopping"));
        }
        let (input, ready) = match action {
            Action::Start => (UnitEvent::Start, true),
            Action::Stop => (UnitEvent::Stop, false),
            Action::Restart => (UnitEvent::Restart, true),
        };
        if wait {
            self.control.set_mode(key, Mode::Waiting { service: id, ready });
        }
        self.feed(id, input);
        if !wait {
            return Some(Response::Ok);
        }
        self.answer_waiting(id);
        None
    }

    /// Answers those who wait for a service, if it is where they want it, or won't get there.
    pub(super) fn answer_waiting(&mut self, id: UnitId) {
        let state = self.units[id].machine.state();
        let ready = match state {
            ServiceState::Ready | ServiceState::Completed => Some(Response::Ok),
            ServiceState::Failed | ServiceState::Backoff | ServiceState::Stopped => {
                Some(Response::refused(self.units[id].complaint()))
            }
            ServiceState::Waiting | ServiceState::Starting | ServiceState::Unhealthy | ServiceState::Stopping => None,
        };
        let gone = match state {
            ServiceState::Stopped => Some(Response::Ok),
            ServiceState::Stopping => None,
            _ => {
                let name = &self.units[id].name;
                Some(Response::refused(format!("{name} was started meanwhile: {}", state_name(state))))
            }
        };
        for (goal, response) in [(true, ready), (false, gone)] {
            let Some(response) = response else { continue };
            for key in self.control.in_mode(|mode| mode == Mode::Waiting { service: id, ready: goal }) {
                self.control.set_mode(key, Mode::Asking);
                self.answer(key, &response);
            }
        }
    }

    fn follow(&mut self, key: Key) {
        self.control.set_mode(key, Mode::Following);
        self.answer(key, &Response::Ok);
        let event = Event { at_ms: now_ms(), kind: EventKind::Health(self.current_health()) };
        self.control.tell_one(key, &event);
    }

    fn attach(&mut self, key: Key, id: UnitId, size: Option<TerminalSize>, replay: u32) {
        self.control.set_mode(key, Mode::Attached(Owner::Unit(id)));
        self.answer(key, &Response::Ok);
        let before = self.units[id].replay.last(replay as usize);
        self.control.send_data(key, &before);
        if let Some(size) = size {
            self.units[id].resize(size);
        }
    }

    fn frame(&mut self, key: Key, kind: frame::FrameKind, payload: &[u8]) {
        let id = match self.control.mode(key) {
            Some(Mode::Attached(Owner::Unit(id))) => id,
            Some(Mode::Attached(Owner::Terminal(id))) => return self.session_frame(id, key, kind, payload),
            _ => return,
        };
        let Some(unit) = self.units.get_mut(id) else { return };
        match kind {
            frame::FrameKind::Data => {
                unit.streams.input().write(payload);
                if unit.streams.input().is_full() {
                    self.control.pause(key, true);
                }
            }
            frame::FrameKind::Resize => match serde_json::from_slice(payload) {
                Ok(size) => unit.resize(size),
                Err(_) => self.control.hang_up(key),
            },
            // Not for a client to send.
            frame::FrameKind::Notice | frame::FrameKind::Exit | frame::FrameKind::Replayed | frame::FrameKind::Lead => {
                self.control.hang_up(key);
            }
            frame::FrameKind::Eof => unit.streams.input().finish(),
        }
    }
}
