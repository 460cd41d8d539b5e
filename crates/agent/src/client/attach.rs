//! `attach`: a service's terminal in this one, or its plain pipes in ours.
//!
//! The agent keeps the connection through the service's restarts; it ends with the agent, with the keys, or with
//! a signal. Nothing here waits for one side while the other has something to say: input that the agent doesn't
//! take is kept, so that the keys work even when the service reads nothing.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use powerdev_protocol::causes::chain;
use powerdev_protocol::frame::{self, Kind};
use powerdev_protocol::{Request, Response, paths};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::keys::DetachKeys;
use super::terminal::{self, RawMode, Signals};
use super::{ClientError, Connection, Words};
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

/// Why a session ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The agent hung up.
    Agent,
    /// The agent hung up, and said why.
    Dismissed(String),
    /// The user left.
    Left,
    /// This signal came.
    Signal(i32),
}

pub fn run(mut words: Words) -> Result<ExitCode, ClientError> {
    let stay = words.flag("--stay");
    let name = words.text("a service's name")?;
    words.end()?;
    let mut signals = Signals::collect(&[libc::SIGWINCH, libc::SIGTERM, libc::SIGHUP])
        .map_err(ClientError::io("can't listen for signals"))?;
    let end =
        if stay { keep_attached(&name, &mut signals)? } else { Session::open(&name, false)?.run(&mut signals)? };
    Ok(match end {
        End::Agent => ExitCode::SUCCESS,
        End::Dismissed(why) => return Err(ClientError::Refused(format!("left {name}: {why}"))),
        End::Left => {
            note(&format!("left {name}, which goes on"));
            ExitCode::SUCCESS
        }
        End::Signal(signal) => ExitCode::from(128 + signal as u8),
    })
}

/// For tmux's panes: no keys that leave, and a lost agent is waited for.
fn keep_attached(name: &str, signals: &mut Signals) -> Result<End, ClientError> {
    let mut told = false;
    loop {
        match Session::open(name, true) {
            Ok(session) => match session.run(signals)? {
                End::Agent => told = false,
                End::Dismissed(why) => {
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
            return Ok(End::Signal(signal));
        }
    }
}

/// A line for whoever looks at this terminal.
fn note(text: &str) {
    // Whoever can't see it doesn't miss it.
    write!(io::stderr(), "\r\n[powerdev: {text}]\r\n").ok();
}

/// One attached connection.
struct Session {
    socket: UnixStream,
    /// Frames on their way to the agent.
    outgoing: Vec<u8>,
    /// What came from the agent and isn't a whole frame yet.
    incoming: Vec<u8>,
    /// The keys that leave; None where they have no meaning.
    keys: Option<DetachKeys>,
    terminal: bool,
    /// Standard input still has something to say.
    input: bool,
    /// Why the agent hangs up, once it has said so.
    farewell: Option<String>,
    /// Put back when the session ends.
    _raw: Option<RawMode>,
}

impl Session {
    fn open(name: &str, stay: bool) -> Result<Self, ClientError> {
        let terminal = terminal::is_terminal();
        // A service with pipes gets its lines from a terminal that still edits and echoes them.
        let raw = terminal && has_terminal(name);
        let mut agent = Connection::open(DEADLINE)?;
        let request = Request::Attach {
            name: name.into(),
            size: if raw { terminal::size() } else { None },
            replay: if terminal { REPLAY } else { 0 },
        };
        if let Response::Error { message, absent } = agent.ask(&request)? {
            return Err(ClientError::of_answer(message, absent));
        }
        let (socket, incoming) = agent.into_parts();
        socket.set_nonblocking(true).map_err(ClientError::io("can't set up the connection"))?;
        let raw =
            if raw { Some(RawMode::enter().map_err(ClientError::io("can't set up the terminal"))?) } else { None };
        Ok(Self {
            socket,
            outgoing: Vec::new(),
            incoming,
            keys: (raw.is_some() && !stay).then(DetachKeys::default),
            terminal,
            input: true,
            farewell: None,
            _raw: raw,
        })
    }

    fn run(mut self, signals: &mut Signals) -> Result<End, ClientError> {
        loop {
            self.show()?;
            let ready = self.wait(signals)?;
            if let Some(end) = self.take_signals(signals) {
                return Ok(end);
            }
            if ready.input && self.read_input()? {
                return Ok(End::Left);
            }
            if !ready.input && ready.paused {
                let held = self.keys.as_mut().map(DetachKeys::give_up).unwrap_or_default();
                self.send(Kind::Data, held);
            }
            if self.write_socket().is_err() || (ready.socket && !self.read_socket()?) {
                self.show()?;
                return Ok(self.farewell.map_or(End::Agent, End::Dismissed));
            }
        }
    }

    fn wait(&self, signals: &Signals) -> Result<Ready, ClientError> {
        let out = if self.outgoing.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let stdin = rustix::stdio::stdin();
        let mut fds = vec![PollFd::new(&self.socket, PollFlags::IN | out), PollFd::new(signals, PollFlags::IN)];
        if self.input && self.outgoing.len() < BACKLOG {
            fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        }
        let holds = self.keys.as_ref().is_some_and(DetachKeys::holds);
        let paused = wait(&mut fds, holds.then_some(KEY_PAUSE))?;
        let came = |fd: &PollFd<'_>| fd.revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
        Ok(Ready { socket: came(&fds[0]), input: fds.get(2).is_some_and(came), paused })
    }

    fn take_signals(&mut self, signals: &mut Signals) -> Option<End> {
        while let Some(signal) = signals.next() {
            if signal != libc::SIGWINCH {
                return Some(End::Signal(signal));
            }
            let size = terminal::size().and_then(|size| serde_json::to_vec(&size).ok());
            if let Some(size) = size.filter(|_| self.terminal) {
                self.send(Kind::Resize, &size);
            }
        }
        None
    }

    /// Takes what was typed or piped in. True when the user wants to leave.
    fn read_input(&mut self) -> Result<bool, ClientError> {
        let mut buffer = [0; 16 * 1024];
        let length = match rustix::io::retry_on_intr(|| rustix::io::read(rustix::stdio::stdin(), &mut buffer)) {
            Ok(length) => length,
            // The terminal is gone.
            Err(rustix::io::Errno::IO) => 0,
            Err(error) => return Err(ClientError::io("can't read standard input")(error.into())),
        };
        if length == 0 {
            self.input = false;
            if !self.terminal {
                self.send(Kind::Eof, &[]);
            }
            return Ok(self.terminal);
        }
        match &mut self.keys {
            None => self.send(Kind::Data, &buffer[..length]),
            Some(keys) => {
                let typed = keys.feed(&buffer[..length]);
                self.send(Kind::Data, &typed.pass);
                return Ok(typed.leave);
            }
        }
        Ok(false)
    }

    /// Puts a frame in line; an empty piece of data is none.
    fn send(&mut self, kind: Kind, payload: &[u8]) {
        if kind != Kind::Data || !payload.is_empty() {
            self.outgoing.extend(frame::head(kind, payload.len()));
            self.outgoing.extend(payload);
        }
    }

    fn write_socket(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            match self.socket.write(&self.outgoing) {
                Ok(length) => drop(self.outgoing.drain(..length)),
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
            Ok(length) => {
                self.incoming.extend(&buffer[..length]);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(ClientError::io("can't read from the agent")(error)),
        }
    }

    /// Writes every whole frame of terminal data to standard output.
    fn show(&mut self) -> Result<(), ClientError> {
        let mut out = io::stdout().lock();
        while let Some((kind, payload)) = next_frame(&mut self.incoming)? {
            match kind {
                Kind::Data => out.write_all(&payload).map_err(ClientError::io("can't write to standard output"))?,
                Kind::Notice => self.farewell = Some(String::from_utf8_lossy(&payload).into_owned()),
                Kind::Resize | Kind::Eof => {}
            }
        }
        out.flush().map_err(ClientError::io("can't write to standard output"))
    }
}

struct Ready {
    socket: bool,
    input: bool,
    /// Nothing came within the pause after a Ctrl-P.
    paused: bool,
}

/// Cuts the first whole frame off what came in.
fn next_frame(incoming: &mut Vec<u8>) -> Result<Option<(Kind, Vec<u8>)>, ClientError> {
    let Some(head) = incoming.first_chunk::<{ frame::HEAD }>() else { return Ok(None) };
    let (kind, length) = frame::parse_head(*head)
        .ok_or_else(|| ClientError::Refused("the agent sent something that is no frame".into()))?;
    if incoming.len() < frame::HEAD + length {
        return Ok(None);
    }
    let payload = incoming[frame::HEAD..frame::HEAD + length].to_vec();
    incoming.drain(..frame::HEAD + length);
    Ok(Some((kind, payload)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_off_when_whole() {
        let mut incoming = Vec::new();
        incoming.extend(frame::head(Kind::Data, 3));
        incoming.extend(b"ab");
        assert_eq!(next_frame(&mut incoming).expect("fine"), None);
        incoming.extend(b"c");
        incoming.extend(frame::head(Kind::Eof, 0));
        assert_eq!(next_frame(&mut incoming).expect("fine"), Some((Kind::Data, b"abc".to_vec())));
        assert_eq!(next_frame(&mut incoming).expect("fine"), Some((Kind::Eof, Vec::new())));
        assert_eq!(next_frame(&mut incoming).expect("fine"), None);
        assert!(next_frame(&mut vec![9, 0, 0, 0, 0]).is_err());
    }
}
