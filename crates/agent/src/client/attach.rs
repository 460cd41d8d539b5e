//! `attach`: a session's or a service's terminal in this one, or a service's plain pipes in ours.
//!
//! The agent keeps the connection through a service's restarts; it ends with the agent, with the session, with the keys,
//! or with a signal. Nothing here waits for one side while the other has something to say: input that the agent doesn't
//! take is kept, so that the keys work even when the service reads nothing.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use powerdev_protocol::causes::chain;
use powerdev_protocol::{Request, Response, SessionName, SessionRequest, paths};
use powerdev_terminal::{Departure, RawMode, Viewer};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::signals::SignalQueue;
use super::{ClientError, Connection, Line};
use crate::environment;

const DEADLINE: Duration = Duration::from_secs(5);
/// How long a Ctrl-P waits for its Ctrl-Q.
const KEY_PAUSE: Duration = Duration::from_millis(500);
/// Between tries to reach the agent again, with `--stay`.
const RETRY: Duration = Duration::from_secs(1);
/// How much of what was shown before a terminal gets first, in bytes.
const REPLAY: u32 = 64 * 1024;
/// Input that waits for the agent, in bytes: more than this isn't read, so that a pipe's writer waits instead.
const BACKLOG: usize = 256 * 1024;

/// Why it is over.
#[derive(Debug, PartialEq, Eq)]
enum AttachEnd {
    /// The agent hung up.
    Agent,
    /// The user left, the session ended, or the agent said why it hangs up.
    Departed(Departure),
    /// This signal came.
    Signal(i32),
}

/// What is attached to.
enum AttachTarget {
    Service(String),
    Session(SessionName),
}

pub fn run(arguments: lexopt::Parser) -> Result<ExitCode, ClientError> {
    let mut line = Line::read(arguments, &["stay"])?;
    let stay = line.has("stay");
    let name = line.word("a session's or service's name")?;
    line.end()?;
    let mut signals = SignalQueue::collect(&[libc::SIGWINCH, libc::SIGTERM, libc::SIGHUP])
        .map_err(ClientError::io("can't listen for signals"))?;
    let end = if stay {
        keep_attached(&name, &mut signals)?
    } else {
        let target = find(&name)?;
        if matches!(target, AttachTarget::Session(_)) && !powerdev_terminal::has_terminal() {
            return Err(ClientError::Usage(format!("{name} is a session: attach needs a terminal")));
        }
        Attached::open(&target, false)?.run(&mut signals)?
    };
    Ok(match end {
        AttachEnd::Agent => ExitCode::SUCCESS,
        AttachEnd::Departed(Departure::Dismissed(why)) => {
            return Err(ClientError::Refused(format!("left {name}: {why}")));
        }
        AttachEnd::Departed(Departure::Left) => {
            note(&format!("left {name}, which goes on"));
            ExitCode::SUCCESS
        }
        AttachEnd::Departed(Departure::Ended(exit)) => ExitCode::from(exit.shell_code()),
        AttachEnd::Signal(signal) => ExitCode::from(128 + signal as u8),
    })
}

/// A session of this name, else a service.
fn find(name: &str) -> Result<AttachTarget, ClientError> {
    let Ok(session) = name.parse::<SessionName>() else { return Ok(AttachTarget::Service(name.into())) };
    // An agent of before sessions has none.
    let answer = Connection::open(DEADLINE)?.ask(&Request::Session(SessionRequest::List));
    Ok(match answer {
        Ok(Response::Sessions { sessions, .. }) if sessions.iter().any(|one| one.name == session) => {
            AttachTarget::Session(session)
        }
        _ => AttachTarget::Service(name.into()),
    })
}

/// For tmux's panes: no keys that leave, and a lost agent is waited for.
fn keep_attached(name: &str, signals: &mut SignalQueue) -> Result<AttachEnd, ClientError> {
    let mut told = false;
    loop {
        match Attached::open(&AttachTarget::Service(name.into()), true) {
            Ok(attached) => match attached.run(signals)? {
                AttachEnd::Agent => told = false,
                AttachEnd::Departed(Departure::Dismissed(why)) => {
                    told = false;
                    note(&why);
                }
                end => return Ok(end),
            },
            Err(error) if !told => {
                told = true;
                note(&format!("{}; trying again", chain(&error)));
            }
            Err(_) => {}
        }
        wait(&mut [PollFd::new(signals, PollFlags::IN)], Some(RETRY))?;
        if let Some(signal) = signals.next().filter(|signal| *signal != libc::SIGWINCH) {
            return Ok(AttachEnd::Signal(signal));
        }
    }
}

/// A line for whoever looks at this terminal.
fn note(text: &str) {
    // Whoever can't see it doesn't miss it.
    write!(io::stderr(), "\r\n[powerdev: {text}]\r\n").ok();
}

/// One attached connection.
struct Attached {
    socket: UnixStream,
    viewer: Viewer,
    terminal: bool,
    /// Standard input still has something to say.
    input: bool,
    /// Put back when it is over.
    _raw: Option<RawMode>,
}

impl Attached {
    fn open(target: &AttachTarget, stay: bool) -> Result<Self, ClientError> {
        let terminal = powerdev_terminal::has_terminal();
        // A service with pipes gets its lines from a terminal that still edits and echoes them.
        let raw = terminal
            && match target {
                AttachTarget::Service(name) => has_terminal(name),
                AttachTarget::Session(_) => true,
            };
        let mut agent = Connection::open(DEADLINE)?;
        let size = if raw { powerdev_terminal::size() } else { None };
        let (request, viewer) = match target {
            AttachTarget::Service(name) => {
                let replay = if terminal { REPLAY } else { 0 };
                let request = Request::Attach { name: name.clone(), size, replay };
                (request, Viewer::of_service(raw && !stay))
            }
            AttachTarget::Session(name) => {
                let request = SessionRequest::Attach { name: name.clone(), size };
                (Request::Session(request), Viewer::of_session())
            }
        };
        if let Response::Error { message, absent } = agent.ask(&request)? {
            return Err(ClientError::of_answer(message, absent));
        }
        let (socket, incoming) = agent.into_parts();
        socket.set_nonblocking(true).map_err(ClientError::io("can't set up the connection"))?;
        let raw =
            if raw { Some(RawMode::enter().map_err(ClientError::io("can't set up the terminal"))?) } else { None };
        let mut attached = Self { socket, viewer, terminal, input: true, _raw: raw };
        attached.receive(&incoming)?;
        Ok(attached)
    }

    fn run(mut self, signals: &mut SignalQueue) -> Result<AttachEnd, ClientError> {
        let end = self.view(signals);
        let farewell = self.viewer.farewell();
        self.viewer.screen().extend(farewell);
        self.show().and(end)
    }

    fn view(&mut self, signals: &mut SignalQueue) -> Result<AttachEnd, ClientError> {
        loop {
            self.show()?;
            if let Some(departure) = self.viewer.departure() {
                return Ok(AttachEnd::Departed(departure));
            }
            let ready = self.wait(signals)?;
            if let Some(end) = self.take_signals(signals) {
                return Ok(end);
            }
            if ready.input {
                self.read_input()?;
            } else if ready.paused {
                self.viewer.nothing_follows();
            }
            if self.write_socket().is_err() || (ready.socket && !self.read_socket()?) {
                self.show()?;
                return Ok(self.viewer.departure().map_or(AttachEnd::Agent, AttachEnd::Departed));
            }
        }
    }

    fn wait(&mut self, signals: &SignalQueue) -> Result<Ready, ClientError> {
        let waiting = self.viewer.outgoing().len();
        let out = if waiting == 0 { PollFlags::empty() } else { PollFlags::OUT };
        let stdin = rustix::stdio::stdin();
        let mut fds = vec![PollFd::new(&self.socket, PollFlags::IN | out), PollFd::new(signals, PollFlags::IN)];
        if self.input && waiting < BACKLOG {
            fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        }
        let paused = wait(&mut fds, self.viewer.holds_key().then_some(KEY_PAUSE))?;
        let came = |fd: &PollFd<'_>| fd.revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
        Ok(Ready { socket: came(&fds[0]), input: fds.get(2).is_some_and(came), paused })
    }

    fn take_signals(&mut self, signals: &mut SignalQueue) -> Option<AttachEnd> {
        while let Some(signal) = signals.next() {
            if signal != libc::SIGWINCH {
                return Some(AttachEnd::Signal(signal));
            }
            if let (Some(size), true) = (powerdev_terminal::size(), self.terminal) {
                self.viewer.resized(size);
            }
        }
        None
    }

    /// Takes what was typed or piped in.
    fn read_input(&mut self) -> Result<(), ClientError> {
        let mut buffer = [0; 16 * 1024];
        match rustix::io::retry_on_intr(|| rustix::io::read(rustix::stdio::stdin(), &mut buffer)) {
            // EIO: the terminal is gone.
            Ok(0) | Err(rustix::io::Errno::IO) => {
                self.input = false;
                self.viewer.input_ended(self.terminal);
            }
            Ok(length) => self.viewer.typed(&buffer[..length]),
            Err(error) => return Err(ClientError::io("can't read standard input")(error.into())),
        }
        Ok(())
    }

    fn write_socket(&mut self) -> io::Result<()> {
        let outgoing = self.viewer.outgoing();
        while !outgoing.is_empty() {
            match self.socket.write(outgoing) {
                Ok(length) => drop(outgoing.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes what the agent sent. False when it has hung up.
    fn read_socket(&mut self) -> Result<bool, ClientError> {
        let mut buffer = [0; 16 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(length) => self.receive(&buffer[..length]).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(ClientError::io("can't read from the agent")(error)),
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.viewer.received(bytes).map_err(|error| ClientError::Refused(error.to_string()))
    }

    /// Writes what came to standard output.
    fn show(&mut self) -> Result<(), ClientError> {
        let mut out = io::stdout().lock();
        let screen = std::mem::take(self.viewer.screen());
        let shown = out.write_all(&screen).and_then(|()| out.flush());
        shown.map_err(ClientError::io("can't write to standard output"))
    }
}

struct Ready {
    socket: bool,
    input: bool,
    /// Nothing came within the pause after a Ctrl-P.
    paused: bool,
}

/// Waits for any of these. True when the time passed first.
fn wait(fds: &mut [PollFd<'_>], pause: Option<Duration>) -> Result<bool, ClientError> {
    let pause = pause.map(|pause| Timespec { tv_sec: pause.as_secs() as i64, tv_nsec: pause.subsec_nanos().into() });
    match rustix::event::poll(fds, pause.as_ref()) {
        Ok(ready) => Ok(ready == 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(ClientError::io("can't wait for input")(error.into())),
    }
}

/// Whether the service has a terminal, as most have.
fn has_terminal(name: &str) -> bool {
    let services = environment::read_services(paths::SERVICES_FILE.as_ref());
    services.ok().and_then(|set| set.services.get(name).map(|service| service.tty)).unwrap_or(true)
}
