//! The control socket: who is connected, what they say, and what still has to be sent to them. Bounded on all
//! sides: a client that doesn't take its answers is hung up on, never waited for, and none keeps another one waiting.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use powerdev_protocol::{Event, Hello, Response, frame};
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags, SocketType};

pub use super::peer::{ClientMessage, Mode};

use super::peer::{Peer, SMALL};
use super::poll::{Flags, Key, Poll, PolledFd, Source};
use super::{socket, sys};

/// Clients at a time, viewers of sessions not counted. One more, and the one that has been idle for the longest has to go.
const CLIENTS: usize = 256;
/// Of these, those that are attached to services: the others are left to whoever has a question.
const ATTACHED: usize = 192;
/// Connections that are taken at a time, so that those who came just before are dealt with in between.
const ACCEPTED: usize = 64;
/// Who said nothing while so many others did, and was never asked for anything, is idle like one who was answered.
const PATIENCE: u64 = 4 * CLIENTS as u64;
/// Bytes that wait for one client at most.
const OUTPUT: usize = 1 << 20;
/// Memory for what all clients have said and have to get. Beyond that, whoever takes most of it is hung up on.
const MEMORY: usize = 4 << 20;
/// What one who is attached is told when that isn't enough.
const TOO_SLOW: &str = "more than 1 MiB of output was waiting to be taken";

/// The socket and its clients.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    poll: Poll,
    /// The socket, and its file's inode.
    listener: Option<(PolledFd<OwnedFd>, u64)>,
    clients: BTreeMap<Key, Peer>,
    /// Whose turn is next.
    queue: VecDeque<Key>,
    /// Who was hung up on, or left, since it was asked last.
    gone: Vec<Key>,
    clock: u64,
}

impl Control {
    /// Not listening yet: [`Control::look_after`] does that.
    pub fn new(run_dir: &Path, poll: Poll) -> Self {
        let path = run_dir.join(powerdev_protocol::paths::SOCKET_NAME);
        Self {
            path,
            poll,
            listener: None,
            clients: BTreeMap::new(),
            queue: VecDeque::new(),
            gone: Vec::new(),
            clock: 0,
        }
    }

    /// Looks after those who were dismissed. Listens if it doesn't, or if somebody took the socket's file away. What lay
    /// in its place and could not be removed is called as is told, if anything.
    ///
    /// # Errors
    /// Why there is no socket, for people.
    pub fn look_after(&mut self) -> Result<Option<String>, String> {
        self.look_after_dismissed();
        let inode = rustix::fs::lstat(&self.path).map(|stat| stat.st_ino).ok();
        if self.listener.as_ref().is_some_and(|(_, bound)| inode == Some(*bound)) {
            return Ok(None);
        }
        self.listener = None;
        let told = |error: Errno| format!("the control socket {} can't be made: {error}", self.path.display());
        let bound = socket::bind(&self.path, SocketType::STREAM).map_err(told)?;
        rustix::net::listen(&bound.fd, 1024).map_err(told)?;
        self.listener = Some((self.poll.watch(bound.fd, Flags::IN, Source::Listener).map_err(told)?, bound.inode));
        Ok(bound.put_aside)
    }

    /// Takes a few connections. False: no descriptor is free; listening is suspended until [`Control::resume`].
    pub fn accept(&mut self) -> bool {
        for _ in 0..ACCEPTED {
            let Some((listener, _)) = &self.listener else { return true };
            match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(fd) => self.welcome(fd),
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    listener.want(Flags::empty());
                    return false;
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => break,
            }
        }
        true
    }

    fn welcome(&mut self, fd: OwnedFd) {
        self.clock += 1;
        let Ok(fd) = self.poll.watch(fd, Flags::IN, Source::Client) else { return };
        let newest = fd.key();
        self.clients.insert(newest, Peer::new(fd, self.clock));
        while self.clients.len() - self.viewers() > CLIENTS {
            let Some(key) = self.idlest(newest) else { break };
            self.hang_up(key);
        }
    }

    /// Who is to go, so that the newest can stay: one who is attached only where there are too many of those.
    fn idlest(&self, newest: Key) -> Option<Key> {
        let is_attached = |client: &Peer| client.mode.is_attached_to_service();
        let crowded = self.clients.values().filter(|client| is_attached(client)).count() > ATTACHED;
        let others = self.clients.iter().filter(|(key, client)| **key != newest && !client.mode.is_view());
        let old = self.clock.saturating_sub(PATIENCE);
        let candidates = others.filter(|(_, client)| is_attached(client) == crowded);
        candidates.min_by_key(|(_, client)| client.standing(old)).map(|(key, _)| *key)
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
            // Nothing is read now, but one who is gone must not be kept, nor be told of over and over. What it has said
            // before is dealt with all the same.
            if gone && !client.queued {
                self.hang_up(key);
            }
            return;
        }
        self.clock += 1;
        client.last = self.clock;
        match rustix::io::read(&client.fd, &mut *buffer) {
            Ok(0) => client.ended = true,
            Ok(n) => client.said(&buffer[..n]),
            Err(Errno::AGAIN | Errno::INTR) if !gone => {}
            Err(_) => return self.hang_up(key),
        }
        self.bound(key);
        self.queue(key);
    }

    /// Gives a client a turn if it has said something. Hangs up on one who has nothing more to say and nothing to get.
    pub fn queue(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        if client.queued {
            return;
        }
        if client.has_message() {
            client.queued = true;
            self.queue.push_back(key);
        } else if client.is_done() {
            return self.hang_up(key);
        }
        self.update(key);
    }

    /// Whose turn it is, if it is anybody's.
    pub fn turn(&mut self) -> Option<Key> {
        let key = self.queue.pop_front()?;
        if let Some(client) = self.clients.get_mut(&key) {
            client.queued = false;
        }
        Some(key)
    }

    /// Whether anybody waits for a turn.
    pub fn is_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The next thing that a client said, if it is complete and wanted now.
    pub fn next(&mut self, key: Key) -> Option<ClientMessage> {
        self.clients.get_mut(&key)?.next_message()
    }

    /// What a client is doing.
    pub fn mode(&self, key: Key) -> Option<Mode> {
        self.clients.get(&key).map(|client| client.mode)
    }

    /// Remembers what a client said of itself.
    pub fn greeted(&mut self, key: Key, hello: Hello) {
        if let Some(client) = self.clients.get_mut(&key) {
            client.greeted(hello);
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
        self.update(key);
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
        if let Some(client) = self.clients.get_mut(&key) {
            client.served = true;
        }
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
        self.bound(key);
    }

    /// Keeps the memory of all clients within its bound, now that one of them may have more.
    fn bound(&mut self, key: Key) {
        if self.clients.get(&key).is_none_or(|client| client.held() <= SMALL) {
            return;
        }
        while self.clients.values().map(Peer::held).sum::<usize>() > MEMORY {
            // Of several that hold as much, the one that has been silent for longest.
            let largest = self.clients.iter().max_by_key(|(_, client)| (client.held(), u64::MAX - client.last));
            let Some(key) = largest.map(|(key, _)| *key) else { return };
            self.hang_up(key);
        }
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
                Ok(sent) => client.taken(sent),
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
        let Some(client) = self.clients.get(&key) else { return };
        client.fd.want(client.wanted());
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
