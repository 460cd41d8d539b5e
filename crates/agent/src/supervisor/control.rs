//! The control socket: who is connected, what they say, and what still has to be sent to them. Bounded on all
//! sides: a client that doesn't take its answers is hung up on, never waited for.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use powerdev_protocol::control::MAX_LINE;
use powerdev_protocol::frame::{self, HEAD};
use powerdev_protocol::{Event, Hello, Request, Response};
use rustix::fs::{AtFlags, Mode as Permissions, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use super::owner::{Owner, TerminalId};
use super::poll::{Flags, Key, Poll, PolledFd, Source};
use super::sys;
use super::units::UnitId;

/// Clients at a time, viewers of sessions not counted. One more, and the one that has been idle for the longest has to go.
const CLIENTS: usize = 64;
/// Bytes that wait for one client at most.
const OUTPUT: usize = 1 << 20;
/// What one who is attached is told when that isn't enough.
const TOO_SLOW: &str = "more than 1 MiB of output was waiting to be taken";

/// What a client is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Asks; the next line is a request.
    Asking,
    /// Waits until a service is where it was asked to go; it is not listened to meanwhile.
    Waiting {
        service: UnitId,
        /// Until it is ready; otherwise until it is gone.
        ready: bool,
    },
    /// Follows the events.
    Following,
    /// Takes part in a terminal.
    Attached(Owner),
    /// Waits until the session that it made runs.
    Opening(TerminalId),
    /// Waits until a session is gone.
    Ending(TerminalId),
}

impl Mode {
    /// Whether it looks at a session.
    fn is_view(self) -> bool {
        matches!(self, Self::Attached(Owner::Terminal(_)))
    }
}

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// A request, or what is wrong with it.
    Request(Result<Request, String>),
    /// A frame of one who is attached.
    Frame(frame::FrameKind, Vec<u8>),
    /// It doesn't speak our language: hang up.
    Nonsense,
}

#[derive(Debug)]
struct Peer {
    fd: PolledFd<OwnedFd>,
    mode: Mode,
    /// What it has said of itself.
    hello: Hello,
    input: Vec<u8>,
    output: VecDeque<u8>,
    /// It isn't listened to until the service that it is attached to takes input again.
    paused: bool,
    /// It has said all that it will say.
    ended: bool,
    /// It gets nothing new, and is hung up on once it has taken what waits for it: so many looks ago.
    dismissed: Option<u32>,
    last: u64,
}

/// The socket and its clients.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    poll: Poll,
    /// The socket, and its file's inode.
    listener: Option<(PolledFd<OwnedFd>, u64)>,
    clients: BTreeMap<Key, Peer>,
    /// Who was hung up on, or left, since it was asked last.
    gone: Vec<Key>,
    clock: u64,
}

impl Control {
    /// Not listening yet: [`Control::look_after`] does that.
    pub fn new(run_dir: &Path, poll: Poll) -> Self {
        let path = run_dir.join(powerdev_protocol::paths::SOCKET_NAME);
        Self { path, poll, listener: None, clients: BTreeMap::new(), gone: Vec::new(), clock: 0 }
    }

    /// Looks after those who were dismissed. Listens if it doesn't, or if somebody took the socket's file away.
    pub fn look_after(&mut self) -> Result<(), String> {
        self.look_after_dismissed();
        let inode = rustix::fs::lstat(&self.path).map(|stat| stat.st_ino).ok();
        if self.listener.as_ref().is_some_and(|(_, bound)| inode == Some(*bound)) {
            return Ok(());
        }
        self.listener = None;
        let told = |error: Errno| format!("the control socket {} can't be made: {error}", self.path.display());
        self.listener = Some(listen(&self.path, &self.poll).map_err(told)?);
        Ok(())
    }

    /// Takes a connection. False: no descriptor is free; listening is suspended until [`Control::resume`].
    pub fn accept(&mut self) -> bool {
        let Some((listener, _)) = &self.listener else { return true };
        loop {
            match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(fd) => {
                    self.clock += 1;
                    if let Ok(fd) = self.poll.watch(fd, Flags::IN, Source::Client) {
                        self.clients.insert(fd.key(), Peer::new(fd, self.clock));
                    }
                }
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    listener.want(Flags::empty());
                    return false;
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => break,
            }
        }
        while self.clients.len() - self.viewers() > CLIENTS {
            let idle = self
                .clients
                .iter()
                .filter(|(_, client)| !client.mode.is_view())
                .min_by_key(|(_, client)| (client.dismissed.is_none(), client.mode != Mode::Asking, client.last));
            let Some(key) = idle.map(|(key, _)| *key) else { break };
            self.hang_up(key);
        }
        true
    }

    /// Listens again after descriptors ran out.
    pub fn resume(&mut self) {
        if let Some((listener, _)) = &self.listener {
            listener.want(Flags::IN);
        }
    }

    /// Something can be read from or written to a client.
    pub fn event(&mut self, key: Key, flags: Flags, buffer: &mut [u8]) {
        if flags.contains(Flags::OUT) {
            self.flush(key);
        }
        let Some(client) = self.clients.get_mut(&key) else { return };
        let gone = flags.intersects(Flags::HUP | Flags::ERR);
        if !client.is_heard() {
            // Nothing is read now, but one who is gone must not be kept, nor be told of over and over.
            if gone {
                self.hang_up(key);
            }
            return;
        }
        self.clock += 1;
        client.last = self.clock;
        match rustix::io::read(&client.fd, &mut *buffer) {
            Ok(0) => client.ended = true,
            Ok(n) => client.input.extend_from_slice(&buffer[..n]),
            Err(Errno::AGAIN | Errno::INTR) if !gone => {}
            Err(_) => return self.hang_up(key),
        }
        self.update(key);
    }

    /// The next thing that a client said, if it is complete and wanted now.
    pub fn next(&mut self, key: Key) -> Option<ClientMessage> {
        let client = self.clients.get_mut(&key)?;
        match client.mode {
            Mode::Asking => client.next_request(),
            Mode::Attached(_) if client.paused => None,
            Mode::Attached(_) => client.next_frame(),
            Mode::Waiting { .. } | Mode::Opening(_) | Mode::Ending(_) => None,
            Mode::Following => {
                client.input.clear();
                None
            }
        }
    }

    /// To be called when all that [`Control::next`] gives was dealt with: hangs up on one who has nothing more to
    /// say and nothing to get.
    pub fn dealt_with(&mut self, key: Key) {
        let Some(client) = self.clients.get(&key) else { return };
        // One who follows or waits may have closed its side and still listen; one who asked is done.
        let done = client.ended && !client.paused && client.output.is_empty();
        if done && matches!(client.mode, Mode::Asking | Mode::Attached(_)) {
            self.hang_up(key);
        } else {
            self.update(key);
        }
    }

    /// What a client is doing.
    pub fn mode(&self, key: Key) -> Option<Mode> {
        self.clients.get(&key).map(|client| client.mode)
    }

    /// Remembers what a client said of itself.
    pub fn greeted(&mut self, key: Key, hello: Hello) {
        if let Some(client) = self.clients.get_mut(&key) {
            client.hello = hello;
        }
    }

    /// What a client said of itself.
    pub fn hello(&self, key: Key) -> Option<&Hello> {
        self.clients.get(&key).map(|client| &client.hello)
    }

    /// Sets what a client is doing.
    pub fn set_mode(&mut self, key: Key, mode: Mode) {
        if let Some(client) = self.clients.get_mut(&key) {
            client.mode = mode;
        }
    }

    /// Every client of which this holds.
    pub fn in_mode(&self, wanted: impl Fn(Mode) -> bool) -> Vec<Key> {
        self.clients.iter().filter(|(_, client)| wanted(client.mode)).map(|(key, _)| *key).collect()
    }

    /// The process at the other end, as this PID namespace numbers it.
    pub fn peer(&self, key: Key) -> Option<i32> {
        sys::peer(&self.clients.get(&key)?.fd)
    }

    /// Stops or goes on listening to one who is attached.
    pub fn pause(&mut self, key: Key, paused: bool) {
        if let Some(client) = self.clients.get_mut(&key) {
            client.paused = paused;
            self.update(key);
        }
    }

    pub fn answer(&mut self, key: Key, response: &Response) {
        let mut line = serde_json::to_vec(response).unwrap_or_else(|error| {
            format!(r#"{{"answer":"error","message":"the answer can't be told: {error}"}}"#).into_bytes()
        });
        line.push(b'\n');
        self.send(key, &[&line]);
    }

    /// Tells all who follow and know of such events.
    pub fn tell(&mut self, event: &Event) {
        let since = event.kind.since();
        let following = self.clients.iter().filter(|(_, client)| client.mode == Mode::Following);
        let told: Vec<Key> =
            following.filter(|(_, client)| client.hello.protocol >= since).map(|(key, _)| *key).collect();
        for key in told {
            self.tell_one(key, event);
        }
    }

    /// Tells one who follows.
    pub fn tell_one(&mut self, key: Key, event: &Event) {
        let Ok(mut line) = serde_json::to_vec(event) else { return };
        line.push(b'\n');
        self.send(key, &[&line]);
    }

    /// Sends terminal data to one who is attached.
    pub fn send_data(&mut self, key: Key, bytes: &[u8]) {
        for part in bytes.chunks(frame::MAX_PAYLOAD) {
            self.send_frame(key, frame::FrameKind::Data, part);
        }
    }

    /// Sends a frame to one who is attached.
    pub fn send_frame(&mut self, key: Key, kind: frame::FrameKind, payload: &[u8]) {
        self.send(key, &[&frame::head(kind, payload.len()), payload]);
    }

    /// Whether nothing waits for a client: it would take more.
    pub fn takes_more(&self, key: Key) -> bool {
        self.clients.get(&key).is_some_and(|client| client.output.is_empty() && client.dismissed.is_none())
    }

    /// How many look at sessions.
    pub fn viewers(&self) -> usize {
        self.clients.values().filter(|client| client.mode.is_view()).count()
    }

    /// Viewers who are there no more, since this was asked last.
    pub fn gone(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.gone)
    }

    fn send(&mut self, key: Key, parts: &[&[u8]]) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        if client.dismissed.is_some() {
            return;
        }
        if client.output.len() + parts.iter().map(|part| part.len()).sum::<usize>() > OUTPUT {
            return match client.mode {
                Mode::Attached(_) => self.dismiss(key, TOO_SLOW),
                _ => self.hang_up(key),
            };
        }
        parts.iter().for_each(|part| client.output.extend(*part));
        self.flush(key);
    }

    /// Tells one who is attached, after all that waits for it, why it is hung up on then.
    pub fn dismiss(&mut self, key: Key, reason: &str) {
        self.last(key, frame::FrameKind::Notice, reason.as_bytes());
    }

    /// Sends a frame after all that waits for a client, and hangs up then.
    pub fn last(&mut self, key: Key, kind: frame::FrameKind, payload: &[u8]) {
        let Some(client) = self.clients.get_mut(&key).filter(|client| client.dismissed.is_none()) else { return };
        client.dismissed = Some(0);
        client.output.extend(frame::head(kind, payload.len()));
        client.output.extend(payload);
        self.flush(key);
    }

    /// Hangs up on who was dismissed and hasn't taken what waits for it from one look to the next but one.
    fn look_after_dismissed(&mut self) {
        let mut late = Vec::new();
        for (key, client) in &mut self.clients {
            match &mut client.dismissed {
                Some(looks) if *looks > 0 => late.push(*key),
                Some(looks) => *looks += 1,
                None => {}
            }
        }
        late.into_iter().for_each(|key| self.hang_up(key));
    }

    fn flush(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        while !client.output.is_empty() {
            let bytes = client.output.as_slices().0;
            match rustix::net::send(&client.fd, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => drop(client.output.drain(..sent)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return self.hang_up(key),
            }
        }
        if client.dismissed.is_some() && client.output.is_empty() {
            return self.hang_up(key);
        }
        self.update(key);
    }

    /// Tells the poll what the client is waited on for.
    fn update(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let mut wanted = Flags::empty();
        wanted.set(Flags::IN, client.is_heard());
        wanted.set(Flags::OUT, !client.output.is_empty());
        client.fd.want(wanted);
    }

    pub fn hang_up(&mut self, key: Key) {
        if self.clients.remove(&key).is_some_and(|client| client.mode.is_view()) {
            self.gone.push(key);
        }
    }

    /// Takes the socket's file away.
    pub fn close(&mut self) {
        if self.listener.take().is_some() {
            std::fs::remove_file(&self.path).ok(); // The next start does it otherwise.
        }
    }
}

impl Peer {
    fn new(fd: PolledFd<OwnedFd>, last: u64) -> Self {
        let (input, output) = (Vec::new(), VecDeque::new());
        Self {
            fd,
            mode: Mode::Asking,
            hello: Hello::of_silent(),
            input,
            output,
            paused: false,
            ended: false,
            dismissed: None,
            last,
        }
    }

    /// Whether it is read from now.
    fn is_heard(&self) -> bool {
        !self.ended && !self.paused && self.dismissed.is_none() && self.input.len() <= MAX_LINE
    }

    fn next_request(&mut self) -> Option<ClientMessage> {
        let Some(end) = self.input.iter().position(|byte| *byte == b'\n') else {
            return (self.input.len() > MAX_LINE).then_some(ClientMessage::Nonsense);
        };
        let request = serde_json::from_slice(&self.input[..end]).map_err(|error| format!("no request: {error}"));
        self.input.drain(..=end);
        Some(ClientMessage::Request(request))
    }

    fn next_frame(&mut self) -> Option<ClientMessage> {
        let head = self.input.first_chunk::<HEAD>()?;
        let Some((kind, length)) = frame::parse_head(*head) else { return Some(ClientMessage::Nonsense) };
        let payload = self.input.get(HEAD..HEAD + length)?.to_vec();
        self.input.drain(..HEAD + length);
        Some(ClientMessage::Frame(kind, payload))
    }
}

/// Binds and listens. The folder is opened first and the socket bound below it, since a socket's address has room
/// for 107 bytes only.
fn listen(path: &Path, poll: &Poll) -> Result<(PolledFd<OwnedFd>, u64), Errno> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
    std::fs::create_dir_all(folder).ok(); // Opening it tells why not.
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Permissions::empty())?;
    match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    let mask = rustix::process::umask(Permissions::from_raw_mode(0o177));
    let bound = rustix::net::bind(socket.as_fd(), &SocketAddrUnix::new(&short)?);
    rustix::process::umask(mask);
    bound?;
    rustix::net::listen(&socket, 128)?;
    let inode = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?.st_ino;
    Ok((poll.watch(socket, Flags::IN, Source::Listener)?, inode))
}
