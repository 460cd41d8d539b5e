//! One try of a probe that must be asked: a connection, a page, a command.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};

use powerdev_protocol::service::{HttpProbe, Probe};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::poll::{Flags, Key, Poll, PolledFd, Source};
use super::readiness::SAYING;
use super::spawn::{self, Launch, LaunchPlan, LaunchProgress, WorkingDirectory};
use super::sys;
use super::units::UnitId;

/// Headers of an answer that are read; what an answer has more is no matter.
const HEADERS: usize = 64;

/// What a probe's command needs to run as the service would: environment and working directory. Asked for only if
/// there is a command to run.
pub type Surroundings<'a> = &'a dyn Fn() -> (Vec<(OsString, OsString)>, WorkingDirectory);

/// How far it has come.
#[derive(Debug)]
pub enum AttemptProgress {
    /// Not decided yet.
    Pending,
    /// Well, or what is wrong.
    Done(Result<(), String>),
}

/// A try under way.
#[derive(Debug)]
pub struct Attempt {
    fd: PolledFd<OwnedFd>,
    kind: AttemptKind,
    /// What came back so far.
    reply: Vec<u8>,
}

#[derive(Debug)]
enum AttemptKind {
    Connect { port: u16 },
    Http { port: u16, request: Vec<u8>, connected: bool },
    Process(Launch),
}

impl Attempt {
    /// Starts one. An error is the probe's failure, in words.
    pub fn start(probe: &Probe, service: UnitId, poll: &Poll, surroundings: Surroundings<'_>) -> Result<Self, String> {
        let source = Source::Probe(service);
        match probe {
            Probe::Tcp(port) => Self::connect(*port, AttemptKind::Connect { port: *port }, source, poll),
            Probe::Http(HttpProbe { port, path }) => {
                let request = format!(
                    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: powerdev\r\nAccept: */*\r\nConnection: close\r\n\r\n"
                );
                let kind = AttemptKind::Http { port: *port, request: request.into(), connected: false };
                Self::connect(*port, kind, source, poll)
            }
            Probe::Exec(command) => Self::command(command, source, poll, surroundings),
            Probe::Fd(_) | Probe::Notify(_) | Probe::Log(_) => Err("this probe isn't asked".into()),
        }
    }

    fn connect(port: u16, kind: AttemptKind, source: Source, poll: &Poll) -> Result<Self, String> {
        let failed = |error: Errno| unreachable(port, error);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).map_err(failed)?;
        match rustix::net::connect(&fd, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(failed(error)),
        }
        let fd = poll.watch(fd, Flags::OUT, source).map_err(|error| error.to_string())?;
        Ok(Self { fd, kind, reply: Vec::new() })
    }

    fn command(
        command: &[String],
        source: Source,
        poll: &Poll,
        surroundings: Surroundings<'_>,
    ) -> Result<Self, String> {
        let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let (fd, output) = pipe.map_err(|error| error.to_string())?;
        rustix::io::ioctl_fionbio(&fd, true).map_err(|error| error.to_string())?;
        let null = spawn::null().map_err(|error| error.to_string())?;
        let (environment, place) = surroundings();
        let plan = LaunchPlan {
            command,
            environment: &environment,
            place: &place,
            stdio: [null.as_fd(), output.as_fd(), output.as_fd()],
            terminal: false,
            extra: None,
        };
        let fd = poll.watch(fd, Flags::IN, source).map_err(|error| error.to_string())?;
        let launch = Launch::start(&plan).map_err(|error| error.to_string())?;
        Ok(Self { fd, kind: AttemptKind::Process(launch), reply: Vec::new() })
    }

    /// The probe's process, if it is one.
    pub fn process(&self) -> Option<i32> {
        match &self.kind {
            AttemptKind::Process(launch) => launch.process(),
            AttemptKind::Connect { .. } | AttemptKind::Http { .. } => None,
        }
    }

    /// Why the probe's process, which has ended, never came to run its program.
    pub fn failure(&mut self) -> Option<String> {
        match &mut self.kind {
            AttemptKind::Process(launch) => match launch.read() {
                LaunchProgress::Failed(error) => Some(error.to_string()),
                LaunchProgress::Running | LaunchProgress::Pending => None,
            },
            AttemptKind::Connect { .. } | AttemptKind::Http { .. } => None,
        }
    }

    /// Its descriptor can be read or written.
    pub fn event(&mut self, key: Key) -> AttemptProgress {
        if key != self.fd.key() {
            return AttemptProgress::Pending;
        }
        match &mut self.kind {
            AttemptKind::Connect { port } => {
                AttemptProgress::Done(match rustix::net::sockopt::socket_error(&self.fd) {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(error)) | Err(error) => Err(unreachable(*port, error)),
                })
            }
            AttemptKind::Http { port, request, connected } => {
                if !*connected {
                    if let Ok(Err(error)) | Err(error) = rustix::net::sockopt::socket_error(&self.fd) {
                        return AttemptProgress::Done(Err(unreachable(*port, error)));
                    }
                    *connected = true;
                }
                if !request.is_empty() {
                    return send(&self.fd, request);
                }
                let end = self.read();
                judge_http(&self.reply, end)
            }
            AttemptKind::Process(_) => {
                if self.read() {
                    // Its end comes as an exit status; until then there is nothing to wait for here.
                    self.fd.end();
                }
                AttemptProgress::Pending
            }
        }
    }

    /// Ends it, and returns what it said. `reaped`: its process is gone, and its number may soon be another's.
    pub fn abandon(mut self, reaped: bool) -> String {
        if self.process().is_some() {
            self.read();
        }
        if let AttemptKind::Process(launch) = &self.kind {
            if let Some(pid) = launch.process() {
                sys::kill(-pid, libc::SIGKILL).ok(); // Gone already is as good.
            }
            if !reaped {
                launch.kill(); // It may not lead its group yet.
            }
        }
        saying(&self.reply)
    }

    /// Reads what is there, keeping the first bytes. Tells whether the end was reached.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        for _ in 0..16 {
            match rustix::io::read(&self.fd, &mut buffer) {
                Ok(0) => return true,
                Ok(n) => {
                    let room = (2 * SAYING).saturating_sub(self.reply.len());
                    self.reply.extend_from_slice(&buffer[..n.min(room)]);
                }
                Err(Errno::AGAIN | Errno::INTR) => return false,
                Err(_) => return true,
            }
        }
        false
    }
}

fn unreachable(port: u16, error: Errno) -> String {
    format!("127.0.0.1:{port}: {error}")
}

fn send(fd: &PolledFd<OwnedFd>, request: &mut Vec<u8>) -> AttemptProgress {
    match rustix::net::send(fd, request, rustix::net::SendFlags::NOSIGNAL) {
        Ok(sent) => drop(request.drain(..sent)),
        Err(Errno::AGAIN | Errno::INTR) => {}
        Err(error) => return AttemptProgress::Done(Err(format!("the request could not be sent: {error}"))),
    }
    if request.is_empty() {
        fd.want(Flags::IN);
    }
    AttemptProgress::Pending
}

/// Judges by the status line; of a failure the start of the page is told as well.
fn judge_http(reply: &[u8], end: bool) -> AttemptProgress {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(reply);
    let Some(status) = response.code else {
        return match parsed {
            Ok(_) if !end => AttemptProgress::Pending,
            _ if reply.is_empty() => AttemptProgress::Done(Err("it closed the connection without an answer".into())),
            _ => AttemptProgress::Done(Err(format!("no HTTP: {}", saying(reply)))),
        };
    };
    if (200..400).contains(&status) {
        return AttemptProgress::Done(Ok(()));
    }
    if !end && reply.len() < SAYING {
        return AttemptProgress::Pending;
    }
    let body = match parsed {
        Ok(httparse::Status::Complete(head)) => &reply[head..],
        _ => &[],
    };
    let reason = response.reason.unwrap_or_default();
    let told = format!("HTTP {status} {reason}: {}", saying(body));
    AttemptProgress::Done(Err(told.trim_end_matches([' ', ':']).into()))
}

/// What was said, as one short line of printable text.
fn saying(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SAYING)]);
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(reply: &str, end: bool) -> Option<Result<(), String>> {
        match judge_http(reply.as_bytes(), end) {
            AttemptProgress::Pending => None,
            AttemptProgress::Done(result) => Some(result),
        }
    }

    #[test]
    fn http_is_judged_by_its_status_line() {
        assert_eq!(judge("HTTP/1.1 20", false), None);
        assert_eq!(judge("HTTP/1.1 204 No Content\r\n", false), Some(Ok(())));
        assert_eq!(judge("HTTP/1.0 302 Found\r\nLocation: /\r\n\r\n", true), Some(Ok(())));
        assert_eq!(judge("HTTP/1.1 503 Busy\r\n", false), None);
        let busy = "HTTP/1.1 503 Busy\r\nA: b\r\n\r\nwarming\r\n up";
        assert_eq!(judge(busy, true), Some(Err("HTTP 503 Busy: warming up".into())));
        assert_eq!(judge("HTTP/1.1 500\r\n\r\n", true), Some(Err("HTTP 500".into())));
        assert_eq!(judge("SSH-2.0-x\r\n", true), Some(Err("no HTTP: SSH-2.0-x".into())));
        assert_eq!(judge("", true), Some(Err("it closed the connection without an answer".into())));
    }
}
