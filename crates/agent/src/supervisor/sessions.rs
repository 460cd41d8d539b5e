//! What the supervisor does for sessions: makes them, shows them to their viewers, ends them.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use powerdev_protocol::paths::{self, SESSION_VARIABLE};
use powerdev_protocol::{
    EventKind, LastExit, OpenSession, Response, SessionName, SessionRequest, SessionStatus, frame,
};
use rustix::process::WaitStatus;

use super::control::Mode;
use super::owner::{Owner, TerminalId};
use super::poll::{Key, Timer};
use super::reload::read_secrets;
use super::spawn::{SpawnError, WorkingDirectory};
use super::terminal::{NextFrame, SessionSpec, Terminal};
use super::{Supervisor, exits, now_ms, sys, terminal, terminals};
use crate::environment;

/// How long the processes of a session that is told to end have.
const GRACE: Duration = Duration::from_secs(5);
/// An interactive shell ends at HUP only, most else at either. A stopped process can't act on a signal.
const HANG_UP: &[i32] = &[libc::SIGTERM, libc::SIGHUP, libc::SIGCONT];
/// What survives a KILL is killed again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a program has to see that its terminal has another size for a moment.
const MOMENT: Duration = Duration::from_millis(40);
/// Viewers of all sessions at a time.
const VIEWERS: usize = 1024;

impl Supervisor {
    /// None: the answer comes when it is done, or frames do.
    pub(super) fn session_request(&mut self, key: Key, request: SessionRequest) -> Option<Response> {
        let answer = match request {
            SessionRequest::Open(open) => self.open_session(key, open),
            SessionRequest::List => Ok(Some(self.sessions())),
            SessionRequest::Rename { name, to } => self.rename_session(&name, to).map(|()| Some(Response::Ok)),
            SessionRequest::Kill { name } => self.session_named(&name).map(|id| {
                self.control.set_mode(key, Mode::Ending(id));
                self.kill_session(id);
                None
            }),
            SessionRequest::Attach { name, size } => self.session_named(&name).and_then(|id| {
                if self.control.viewers() >= VIEWERS {
                    return Err(Response::refused(format!("{VIEWERS} terminals look at sessions already")));
                }
                self.control.set_mode(key, Mode::Attached(Owner::Terminal(id)));
                self.control.answer(key, &Response::Ok);
                self.show_session(id, key, size);
                Ok(None)
            }),
        };
        answer.unwrap_or_else(Some)
    }

    fn sessions(&self) -> Response {
        let mut sessions: Vec<SessionStatus> = self.terminals.open().map(Terminal::status).collect();
        sessions.sort_by(|one, other| one.name.cmp(&other.name));
        Response::Sessions { sessions, limit: terminals::limit(&self.units.set) }
    }

    /// A session; else the answer to whoever asked for it.
    fn session_named(&mut self, name: &SessionName) -> Result<TerminalId, Response> {
        let found = self.terminals.by_name(name).map(|terminal| terminal.id);
        found.ok_or_else(|| {
            let mut names: Vec<&str> = self.terminals.open().map(|terminal| terminal.name.as_str()).collect();
            names.sort_unstable();
            Response::absent(match names.as_slice() {
                [] => format!("no session `{name}` here; there is none"),
                names => format!("no session `{name}` here; there are: {}", names.join(", ")),
            })
        })
    }

    fn rename_session(&mut self, name: &SessionName, to: SessionName) -> Result<(), Response> {
        let id = self.session_named(name)?;
        if self.terminals.by_name(&to).is_some_and(|other| other.id != id) {
            return Err(taken(&to));
        }
        if let Some(terminal) = self.terminals.get_mut(id).filter(|_| *name != to) {
            terminal.name = to.clone();
            self.tell(EventKind::SessionRenamed { name: to, from: name.clone() });
        }
        Ok(())
    }

    /// Makes a session. Its maker is answered once its program runs, or can't.
    fn open_session(&mut self, key: Key, open: OpenSession) -> Result<Option<Response>, Response> {
        if self.shutdown.is_some() {
            return Err(Response::refused("the environment is stopping"));
        }
        let limit = terminals::limit(&self.units.set);
        if self.terminals.open().count() >= limit {
            return Err(Response::refused(format!(
                "there are {limit} sessions, as many as MAX_SESSIONS allows: `powerdev sessions kill NAME` ends one, \
                 a higher MAX_SESSIONS in .env allows more from the next `powerdev up` on"
            )));
        }
        if let Some(name) = open.name.as_ref().filter(|name| self.terminals.by_name(name).is_some()) {
            return Err(taken(name));
        }
        let secrets = read_secrets(&self.options.secrets).map_err(Response::refused)?;
        let mut environment = environment::compose(&self.units.set, &secrets, None);
        for (name, value) in &open.environment {
            environment::set(&mut environment, name, value);
        }
        let begin = environment::take(&mut environment, paths::BEGIN_VARIABLE);
        environment::set(&mut environment, SESSION_VARIABLE, &self.terminals.next_id().to_string());
        let home = environment::find(&environment, "HOME").unwrap_or(OsStr::new("/"));
        let opening = SessionSpec {
            place: place(open.directory, begin, home),
            command: if open.command.is_empty() { login_shell(&environment) } else { open.command },
            environment: &environment,
            size: open.size,
            name: SessionName::after("", |_| false),
        };
        let program = opening.command.first().cloned().unwrap_or_default();
        let is_taken = |name: &str| self.terminals.open().any(|terminal| terminal.name.as_str() == name);
        let opening =
            SessionSpec { name: open.name.unwrap_or_else(|| SessionName::after(&program, is_taken)), ..opening };
        let poll = self.io.poll.clone();
        let terminal = self.terminals.add(|id| Terminal::open(id, opening, &poll)).map_err(|error| refusal(&error))?;
        self.children.add(terminal.job.made());
        self.control.set_mode(key, Mode::Opening(terminal.id));
        Ok(None)
    }

    /// A session's process tells how far it has come on the way to its program.
    pub(super) fn session_launch(&mut self, id: TerminalId) {
        let Some(terminal) = self.terminals.get_mut(id) else { return };
        let result = terminal.job.look();
        self.children.add(terminal.job.made());
        match result {
            None => {}
            Some(Ok(())) => self.session_opened(id),
            Some(Err(error)) => {
                let Some(mut terminal) = self.terminals.remove(id) else { return };
                terminal.job.release();
                let refusal = refusal(&error);
                for key in self.control.in_mode(|mode| matches!(mode, Mode::Opening(of) | Mode::Ending(of) if of == id))
                {
                    self.answer_late(key, &refusal);
                }
                for key in terminal.viewers() {
                    self.control.last(key, frame::FrameKind::Notice, error.to_string().as_bytes());
                }
            }
        }
    }

    fn session_opened(&mut self, id: TerminalId) {
        let Some(terminal) = self.terminals.get_mut(id) else { return };
        let status = terminal.status();
        let name = status.name.clone();
        for key in self.control.in_mode(|mode| mode == Mode::Opening(id)) {
            self.answer_late(key, &Response::Session(status.clone()));
        }
        self.io.console.say(&format!("session {name}: opened"));
        self.tell(EventKind::SessionOpened { name });
    }

    fn answer_late(&mut self, key: Key, response: &Response) {
        self.control.set_mode(key, Mode::Asking);
        self.control.answer(key, response);
        self.control.queue(key);
    }

    /// Lets somebody look at a session.
    fn show_session(&mut self, id: TerminalId, key: Key, size: Option<powerdev_protocol::control::TerminalSize>) {
        let Some(terminal) = self.terminals.get_mut(id) else { return };
        terminal.add_viewer(key, size);
        if !terminal.fit() {
            self.redraw_session(id);
        }
        self.pump(id, key);
    }

    fn redraw_session(&mut self, id: TerminalId) {
        if self.terminals.get_mut(id).is_some_and(|terminal| terminal.redraw()) {
            self.io.timers.set(Timer::Redraw(id), Some(Instant::now() + MOMENT));
        }
    }

    /// Sends a viewer what it hasn't seen, as long as it takes it.
    pub(super) fn pump(&mut self, id: TerminalId, key: Key) {
        let Some(terminal) = self.terminals.get_mut(id) else { return };
        let mut skipped = false;
        while self.control.takes_more(key) {
            match terminal.next_for(key, &mut self.io.buffer) {
                NextFrame::Data(count) => self.control.send_data(key, &self.io.buffer[..count]),
                NextFrame::Frame(kind, payload) => {
                    skipped |= kind == frame::FrameKind::Notice;
                    self.control.send_frame(key, kind, &payload);
                }
                NextFrame::Last(kind, payload) => {
                    terminal.remove_viewer(key);
                    self.control.last(key, kind, &payload);
                }
                NextFrame::Nothing => break,
            }
        }
        if skipped {
            self.redraw_session(id);
        }
        self.hold_session(id);
    }

    /// Has a session's program wait for who looks at it, or go on.
    pub(super) fn hold_session(&mut self, id: TerminalId) {
        if self.terminals.get_mut(id).is_some_and(Terminal::hold) {
            self.io.timers.set(Timer::Hold(id), Some(Instant::now() + terminal::PATIENCE));
        }
    }

    /// A program has waited for a moment: it goes on unless its viewer takes what it is sent.
    pub(super) fn hold_again(&mut self, id: TerminalId) {
        self.hold_session(id);
        if self.terminals.get_mut(id).is_some_and(|terminal| terminal.is_held()) {
            self.io.timers.set(Timer::Hold(id), Some(Instant::now() + terminal::PATIENCE));
        }
    }

    fn pump_all(&mut self, id: TerminalId) {
        let viewers = self.terminals.get_mut(id).map(|terminal| terminal.viewers()).unwrap_or_default();
        viewers.into_iter().for_each(|key| self.pump(id, key));
    }

    /// A session's terminal can be read, or takes input again.
    pub(super) fn session_stream(&mut self, id: TerminalId, key: Key) {
        let Some(terminal) = self.terminals.get_mut(id) else { return };
        if terminal.is_output(key) {
            terminal.take(&mut self.io.buffer);
            return self.pump_all(id);
        }
        terminal.input.flush();
        if !terminal.input.is_full() {
            for client in terminal.viewers() {
                self.control.pause(client, false);
                self.control.queue(client);
            }
        }
    }

    /// A viewer says something.
    pub(super) fn session_frame(&mut self, id: TerminalId, key: Key, kind: frame::FrameKind, payload: &[u8]) {
        let Some(terminal) = self.terminals.get_mut(id) else { return };
        match kind {
            frame::FrameKind::Data => {
                terminal.input.write(payload);
                if terminal.input.is_full() {
                    self.control.pause(key, true);
                }
            }
            frame::FrameKind::Resize => match serde_json::from_slice(payload) {
                Ok(size) => {
                    terminal.resize_viewer(key, size);
                    terminal.fit();
                }
                Err(_) => self.control.hang_up(key),
            },
            frame::FrameKind::Eof => {} // A terminal has no such end.
            frame::FrameKind::Notice | frame::FrameKind::Exit | frame::FrameKind::Replayed | frame::FrameKind::Lead => {
                self.control.hang_up(key); // Not for a client to send.
            }
        }
    }

    /// Has all processes of a session end: asks, then kills.
    fn kill_session(&mut self, id: TerminalId) {
        let Some(terminal) = self.terminals.get_mut(id).filter(|terminal| terminal.is_open()) else { return };
        if terminal.kill_at.is_none() {
            let at = Instant::now() + GRACE;
            terminal.kill_at = Some(at);
            self.io.timers.set(Timer::Session(id), Some(at));
            self.signal_session(id, HANG_UP);
        }
    }

    /// The grace of a session that was told to end is over.
    pub(super) fn session_late(&mut self, id: TerminalId) {
        self.signal_session(id, &[libc::SIGKILL]);
        if let Some(terminal) = self.terminals.get_mut(id) {
            terminal.job.kill_launch();
            self.io.timers.set(Timer::Session(id), Some(Instant::now() + AGAIN));
        }
    }

    fn signal_session(&mut self, id: TerminalId, signals: &[i32]) {
        let tree = self.trees().remove(&Owner::Terminal(id)).unwrap_or_default();
        for (signal, pid) in signals.iter().flat_map(|signal| tree.iter().map(move |pid| (*signal, *pid))) {
            sys::kill(pid, signal).ok(); // Gone meanwhile is as good.
        }
    }

    /// A session's main process was reaped.
    pub(super) fn session_died(&mut self, id: TerminalId, status: WaitStatus) {
        let Some(terminal) = self.terminals.get_mut(id) else { return };
        if terminal.job.end_launch() {
            self.session_opened(id); // Had it failed, it would have said so before its end.
        }
        let oom = status.terminating_signal() == Some(libc::SIGKILL) && self.look_at_counters();
        let Some(terminal) = self.terminals.get_mut(id) else { return };
        while terminal.take(&mut self.io.buffer) {}
        terminal.job.ended();
        let exit = exits::of_status(status, oom, now_ms());
        if terminal.kill_at.is_none() {
            self.end_session(id, exit);
        } else {
            // What escaped from it is still to end, and what it made while it was told; settling looks for both.
            terminal.last_exit = Some(exit);
            self.signal_session(id, HANG_UP);
        }
    }

    /// Of a session that was told to end nothing is left.
    pub(super) fn session_gone(&mut self, id: TerminalId) {
        let exit = self.terminals.get_mut(id).and_then(|terminal| terminal.last_exit.take());
        if let Some(exit) = exit {
            self.end_session(id, exit);
        }
    }

    fn end_session(&mut self, id: TerminalId, exit: LastExit) {
        let Some(terminal) = self.terminals.get_mut(id) else { return };
        let name = terminal.name.clone();
        terminal.ended(exit.clone());
        self.io.timers.set(Timer::Session(id), None);
        self.io.timers.set(Timer::Redraw(id), None);
        self.io.timers.set(Timer::Hold(id), None);
        self.io.console.say(&format!("session {name}: {}", exit.reason));
        self.tell(EventKind::SessionEnded { name, exit });
        for key in self.control.in_mode(|mode| mode == Mode::Ending(id)) {
            self.answer_late(key, &Response::Ok);
        }
        self.pump_all(id);
    }

    /// After all that happened in a turn: who has left makes room, what has ended and isn't looked at is forgotten.
    pub(super) fn settle_sessions(&mut self) {
        let gone = self.control.gone();
        if gone.is_empty() {
            return self.forget_sessions();
        }
        for id in self.terminals.ids() {
            let Some(terminal) = self.terminals.get_mut(id) else { continue };
            let before = terminal.viewers().len();
            gone.iter().for_each(|key| terminal.remove_viewer(*key));
            if terminal.viewers().len() < before {
                terminal.fit();
                self.hold_session(id);
                self.pump_all(id); // Somebody else may lead now.
            }
        }
        self.forget_sessions();
    }

    fn forget_sessions(&mut self) {
        while let Some(id) = self.terminals.find(|terminal| !terminal.is_open() && terminal.is_unseen()) {
            self.terminals.remove(id);
        }
    }

    /// Lets go of those who take nothing of a session that has ended.
    pub(super) fn look_after_viewers(&mut self) {
        let late: Vec<Key> = self.terminals.iter_mut().flat_map(|terminal| terminal.late_viewers()).collect();
        late.into_iter().for_each(|key| self.control.hang_up(key));
    }
}

fn taken(name: &SessionName) -> Response {
    Response::refused(format!("there is a session `{name}` already: `powerdev attach {name}` enters it"))
}

fn refusal(error: &SpawnError) -> Response {
    Response::refused(error.to_string())
}

/// Where a session begins: where it is told to, else at `begin` if that can be entered, else in the image's working
/// directory, or home where that is the root.
fn place(directory: Option<String>, begin: Option<OsString>, home: &OsStr) -> WorkingDirectory {
    if let Some(directory) = directory {
        return WorkingDirectory { directory: directory.into(), otherwise: None };
    }
    let here = std::env::current_dir().ok().filter(|here| here.parent().is_some());
    let here = here.unwrap_or_else(|| PathBuf::from(home));
    match begin {
        Some(begin) => WorkingDirectory { directory: begin.into(), otherwise: Some(here) },
        None => WorkingDirectory { directory: here, otherwise: Some("/".into()) },
    }
}

fn login_shell(environment: &[(std::ffi::OsString, std::ffi::OsString)]) -> Vec<String> {
    let shell = environment::find(environment, "SHELL").and_then(OsStr::to_str).unwrap_or("/bin/sh");
    vec![shell.to_owned(), "-l".to_owned()]
}
