//! A viewer of a session, or of a service's terminal, without its input and output: what it is given in, what is to be
//! written where out.

use powerdev_protocol::LastExit;
use powerdev_protocol::control::TerminalSize;
use powerdev_protocol::frame::{self, Decoder, FrameKind, NoFrame};

use super::filter::{Filter, Hearing};
use super::keys::DetachKeys;
use super::modes::Modes;

/// Why a viewer is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Departure {
    /// The user typed the keys that leave.
    Left,
    /// The session has ended.
    Ended(LastExit),
    /// The agent hangs up, for this reason.
    Dismissed(String),
}

/// See the module.
#[derive(Debug)]
pub struct Viewer {
    decoder: Decoder,
    filter: Filter,
    modes: Modes,
    /// None where no keys leave.
    keys: Option<DetachKeys>,
    /// A notice doesn't end it.
    of_session: bool,
    outgoing: Vec<u8>,
    screen: Vec<u8>,
    departure: Option<Departure>,
}

impl Viewer {
    /// Of a session.
    pub fn of_session() -> Self {
        Self::new(Hearing::Replay, true, true)
    }

    /// Of a service's terminal; `leaves`: by the keys.
    pub fn of_service(leaves: bool) -> Self {
        Self::new(Hearing::Full, leaves, false)
    }

    fn new(hearing: Hearing, leaves: bool, of_session: bool) -> Self {
        Self {
            decoder: Decoder::default(),
            filter: Filter::new(hearing),
            modes: Modes::default(),
            keys: leaves.then(DetachKeys::default),
            of_session,
            outgoing: Vec::new(),
            screen: Vec::new(),
            departure: None,
        }
    }

    /// Bytes came from the agent.
    ///
    /// # Errors
    /// When they are no frames.
    pub fn received(&mut self, bytes: &[u8]) -> Result<(), NoFrame> {
        self.decoder.push(bytes);
        let shown = self.screen.len();
        while let Some((kind, payload)) = self.decoder.next()? {
            match kind {
                FrameKind::Data => self.filter.pass(payload, &mut self.screen),
                FrameKind::Replayed => self.filter.set(Hearing::Silent),
                FrameKind::Lead => {
                    self.filter.set(if payload == [1] { Hearing::Full } else { Hearing::Silent });
                }
                FrameKind::Notice if self.of_session => {
                    let text = String::from_utf8_lossy(payload);
                    self.screen.extend(format!("\r\n[powerdev: {text}]\r\n").bytes());
                }
                FrameKind::Notice => {
                    self.departure = Some(Departure::Dismissed(String::from_utf8_lossy(payload).into_owned()));
                }
                FrameKind::Exit => self.departure = serde_json::from_slice(payload).ok().map(Departure::Ended),
                FrameKind::Resize | FrameKind::Eof => {}
            }
        }
        self.modes.follow(&self.screen[shown..]);
        Ok(())
    }

    /// Something was typed, or came from a pipe.
    pub fn typed(&mut self, bytes: &[u8]) {
        let pass = match &mut self.keys {
            Some(keys) => {
                let typed = keys.feed(bytes);
                if typed.leave {
                    self.departure = Some(Departure::Left);
                }
                typed.pass
            }
            None => bytes.to_vec(),
        };
        self.send_data(&pass);
    }

    /// Nothing more comes from there: of a terminal, it has hung up.
    pub fn input_ended(&mut self, is_terminal: bool) {
        if is_terminal {
            self.departure = Some(Departure::Left);
        } else {
            self.outgoing.extend(frame::encode(FrameKind::Eof, &[]));
        }
    }

    /// A key is held back until it is clear what follows it: [`Viewer::nothing_follows`] after a moment.
    pub fn holds_key(&self) -> bool {
        self.keys.as_ref().is_some_and(DetachKeys::holds)
    }

    /// Nothing was typed for a moment.
    pub fn nothing_follows(&mut self) {
        let held = self.keys.as_mut().map(DetachKeys::give_up).unwrap_or_default();
        self.send_data(&held);
    }

    /// The user's terminal has this size now.
    pub fn resized(&mut self, size: TerminalSize) {
        if let Ok(size) = serde_json::to_vec(&size) {
            self.outgoing.extend(frame::encode(FrameKind::Resize, &size));
        }
    }

    /// What is to be sent to the agent. Whoever does takes it out.
    pub fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.outgoing
    }

    /// What is to be shown. Whoever does takes it out.
    pub fn screen(&mut self) -> &mut Vec<u8> {
        &mut self.screen
    }

    /// Why it is done, if it is, after all that is to be shown.
    pub fn departure(&mut self) -> Option<Departure> {
        self.departure.take()
    }

    /// What puts the user's terminal back, once all was shown.
    pub fn farewell(&self) -> Vec<u8> {
        self.modes.undone()
    }

    fn send_data(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(frame::MAX_PAYLOAD) {
            self.outgoing.extend(frame::encode(FrameKind::Data, part));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_is_filtered_and_what_follows_is_not() {
        let mut viewer = Viewer::of_session();
        let frames = [
            frame::encode(FrameKind::Data, b"before\x07\x1b[c"),
            frame::encode(FrameKind::Replayed, b""),
            frame::encode(FrameKind::Data, b"\x07\x1b[c"),
            frame::encode(FrameKind::Lead, &[1]),
            frame::encode(FrameKind::Data, b"\x1b[c\x1b[?1049h"),
        ];
        viewer.received(&frames.concat()).expect("frames");
        assert_eq!(viewer.screen().escape_ascii().to_string(), r"before\x07\x1b[c\x1b[?1049h");
        assert_eq!(viewer.farewell(), b"\x1b[?1049l\x1b[0m");
        assert_eq!(viewer.departure(), None);
    }

    #[test]
    fn the_keys_leave_and_the_rest_is_sent() {
        let mut viewer = Viewer::of_session();
        viewer.typed(b"ls\x10");
        assert!(viewer.holds_key());
        viewer.nothing_follows();
        viewer.typed(b"\x10\x11never");
        assert_eq!(viewer.departure(), Some(Departure::Left));
        let expected = [frame::encode(FrameKind::Data, b"ls"), frame::encode(FrameKind::Data, b"\x10")].concat();
        assert_eq!(*viewer.outgoing(), expected);
    }

    #[test]
    fn the_end_is_told_after_the_last_words() {
        let exit = LastExit { code: Some(3), signal: None, oom: false, at_ms: 0, reason: "exited with 3".into() };
        let mut viewer = Viewer::of_session();
        let json = serde_json::to_vec(&exit).expect("plain data");
        let frames = [frame::encode(FrameKind::Data, b"bye"), frame::encode(FrameKind::Exit, &json)].concat();
        viewer.received(&frames).expect("frames");
        assert_eq!(viewer.departure(), Some(Departure::Ended(exit)));
        assert_eq!(*viewer.screen(), b"bye");
    }
}
