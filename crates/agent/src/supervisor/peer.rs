//! One client of the control socket: what it does, what it has said that wasn't dealt with yet, what it has still to get.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use powerdev_protocol::control::MAX_LINE;
use powerdev_protocol::frame::{self, HEAD};
use powerdev_protocol::{Hello, Request};

use super::owner::{Owner, TerminalId};
use super::poll::{Flags, PolledFd};
use super::sys;
use super::units::UnitId;

/// Buffers that are no larger are kept when they are empty.
pub const SMALL: usize = 4096;
/// What is kept of a release's name, in characters.
const RELEASE: usize = 64;

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
    pub fn is_view(self) -> bool {
        matches!(self, Self::Attached(Owner::Terminal(_)))
    }

    /// Whether it takes part in a service's terminal.
    pub fn is_attached_to_service(self) -> bool {
        matches!(self, Self::Attached(Owner::Unit(_)))
    }

    /// Whether it waits for its answer.
    fn waits(self) -> bool {
        matches!(self, Self::Waiting { .. } | Self::Opening(_) | Self::Ending(_))
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

/// Who is to go first where there is no room for all: the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    /// It was told to go already.
    stays: bool,
    /// It comes from outside of the container: nothing inside can pretend that, and none of it is crowded out by it.
    outside: bool,
    /// It is to get something: an answer, the first one above all.
    expects: bool,
    /// When it last said something.
    last: u64,
}

/// A client.
#[derive(Debug)]
pub struct Peer {
    pub fd: PolledFd<OwnedFd>,
    pub mode: Mode,
    /// What it has said of itself.
    pub hello: Hello,
    pub input: Vec<u8>,
    /// So many bytes of the input were looked through for the end of a line.
    searched: usize,
    pub output: VecDeque<u8>,
    /// It isn't listened to until the service that it is attached to takes input again.
    pub paused: bool,
    /// It has said all that it will say.
    pub ended: bool,
    /// What it has said waits for its turn.
    pub queued: bool,
    /// It gets nothing new, and is hung up on once it has taken what waits for it: so many looks ago.
    pub dismissed: Option<u32>,
    /// It was answered.
    pub served: bool,
    /// When it last said something, by the clock of all clients.
    pub last: u64,
    outside: bool,
}

impl Peer {
    /// One that has just connected.
    pub fn new(fd: PolledFd<OwnedFd>, last: u64) -> Self {
        Self {
            outside: sys::peer(&fd).is_none(),
            fd,
            mode: Mode::Asking,
            hello: Hello::of_silent(),
            input: Vec::new(),
            searched: 0,
            output: VecDeque::new(),
            paused: false,
            ended: false,
            queued: false,
            dismissed: None,
            served: false,
            last,
        }
    }

    /// Whether it is read from now. What it has said is dealt with before it is heard again.
    pub fn is_heard(&self) -> bool {
        let listens = !self.ended && !self.paused && !self.queued && self.dismissed.is_none();
        listens && !self.mode.waits() && self.input.len() <= MAX_LINE
    }

    /// Remembers what it said of itself, as far as that is of any use.
    pub fn greeted(&mut self, hello: Hello) {
        self.hello = Hello { release: hello.release.chars().take(RELEASE).collect(), ..hello };
    }

    /// Takes what was read.
    pub fn said(&mut self, bytes: &[u8]) {
        if self.mode != Mode::Following {
            self.input.extend_from_slice(bytes);
        }
    }

    /// Whether it has said something whole that is wanted now.
    pub fn has_message(&mut self) -> bool {
        match self.mode {
            Mode::Asking => self.line_end().is_some() || self.input.len() > MAX_LINE,
            Mode::Attached(_) if self.paused => false,
            Mode::Attached(_) => self.frame_length().is_none_or(|length| self.input.len() >= length),
            Mode::Waiting { .. } | Mode::Opening(_) | Mode::Ending(_) | Mode::Following => false,
        }
    }

    /// The next thing that it said, if that is complete and wanted now.
    pub fn next_message(&mut self) -> Option<ClientMessage> {
        let message = match self.mode {
            Mode::Asking => self.next_request(),
            Mode::Attached(_) if self.paused => None,
            Mode::Attached(_) => self.next_frame(),
            Mode::Waiting { .. } | Mode::Opening(_) | Mode::Ending(_) | Mode::Following => None,
        };
        if self.input.is_empty() && self.input.capacity() > SMALL {
            self.input = Vec::new();
        }
        message
    }

    fn next_request(&mut self) -> Option<ClientMessage> {
        let Some(end) = self.line_end() else {
            return (self.input.len() > MAX_LINE).then_some(ClientMessage::Nonsense);
        };
        let request = serde_json::from_slice(&self.input[..end]).map_err(|error| format!("no request: {error}"));
        self.input.drain(..=end);
        self.searched = 0;
        Some(ClientMessage::Request(request))
    }

    /// Where the first line ends. What was looked through before isn't again: a line may come byte by byte.
    fn line_end(&mut self) -> Option<usize> {
        let found = self.input[self.searched..].iter().position(|byte| *byte == b'\n');
        let end = found.map(|at| self.searched + at);
        self.searched = end.unwrap_or(self.input.len());
        end
    }

    /// How long the next frame is. None: it is none.
    fn frame_length(&self) -> Option<usize> {
        let Some(head) = self.input.first_chunk::<HEAD>() else { return Some(HEAD) };
        frame::parse_head(*head).map(|(_, length)| HEAD + length)
    }

    fn next_frame(&mut self) -> Option<ClientMessage> {
        let head = self.input.first_chunk::<HEAD>()?;
        let Some((kind, length)) = frame::parse_head(*head) else { return Some(ClientMessage::Nonsense) };
        let payload = self.input.get(HEAD..HEAD + length)?.to_vec();
        self.input.drain(..HEAD + length);
        Some(ClientMessage::Frame(kind, payload))
    }

    /// Forgets what it has taken.
    pub fn taken(&mut self, count: usize) {
        self.output.drain(..count);
        if self.output.is_empty() && self.output.capacity() > SMALL {
            self.output = VecDeque::new();
        }
    }

    /// Whether it is done: it has nothing more to say and nothing to get. One who follows or waits may have closed its
    /// side and still listen; one who asked has not.
    pub fn is_done(&self) -> bool {
        let done = self.ended && !self.paused && self.output.is_empty();
        done && matches!(self.mode, Mode::Asking | Mode::Attached(_))
    }

    /// What it is waited on for.
    pub fn wanted(&self) -> Flags {
        let mut wanted = Flags::empty();
        wanted.set(Flags::IN, self.is_heard());
        wanted.set(Flags::OUT, !self.output.is_empty());
        wanted
    }

    /// The memory that its buffers take.
    pub fn held(&self) -> usize {
        self.input.capacity() + self.output.capacity()
    }

    /// See [`Standing`]. `old`: who connected before that and was never answered expects nothing any more.
    pub fn standing(&self, old: u64) -> Standing {
        let new = !self.served && self.last >= old;
        Standing {
            stays: self.dismissed.is_none(),
            outside: self.outside,
            expects: new || self.queued || self.mode.waits(),
            last: self.last,
        }
    }
}
