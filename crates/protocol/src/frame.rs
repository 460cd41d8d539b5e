//! Frames of an attached terminal: one byte of kind, four bytes of length (big endian), the payload.

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Bytes of the terminal, either way.
    Data = 0,
    /// Client to agent: [`crate::control::TerminalSize`] as JSON.
    Resize = 1,
    /// Client to agent: no more input (only of effect where the service has pipes instead of a terminal).
    Eof = 2,
    /// Agent to client: in words, why it hangs up now; to the viewer of a session, what it should know.
    Notice = 3,
    /// Agent to a session's viewer: [`crate::LastExit`] as JSON. The session has ended, and this is the last frame.
    Exit = 4,
    /// Agent to a session's viewer: all that was shown before has been sent; what follows is of now.
    Replayed = 5,
    /// Agent to a session's viewer: one byte, whether this viewer's terminal is the one that answers the program's
    /// questions (1) or keeps still (0).
    Lead = 6,
}

/// Length of a frame's head, in bytes.
pub const HEAD: usize = 5;
/// The longest payload that is accepted, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// A frame's head: kind and payload's length.
///
/// # Panics
/// When `length` is over [`MAX_PAYLOAD`]: senders split.
pub fn head(kind: FrameKind, length: usize) -> [u8; HEAD] {
    assert!(length <= MAX_PAYLOAD, "a frame's payload is at most {MAX_PAYLOAD} bytes");
    let [a, b, c, d] = (length as u32).to_be_bytes();
    [kind as u8, a, b, c, d]
}

/// Reads a head. None when the kind is unknown or the length too large: the peer isn't speaking frames.
pub fn parse_head(head: [u8; HEAD]) -> Option<(FrameKind, usize)> {
    let kind = match head[0] {
        0 => FrameKind::Data,
        1 => FrameKind::Resize,
        2 => FrameKind::Eof,
        3 => FrameKind::Notice,
        4 => FrameKind::Exit,
        5 => FrameKind::Replayed,
        6 => FrameKind::Lead,
        _ => return None,
    };
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    (length <= MAX_PAYLOAD).then_some((kind, length))
}

/// Cuts frames out of bytes as they come.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// Where the first frame that wasn't taken begins.
    at: usize,
}

/// The peer isn't speaking frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("something came that is no frame of an attached terminal")]
pub struct NoFrame;

impl Decoder {
    /// Takes in what came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.bytes.drain(..std::mem::take(&mut self.at));
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// When its head is none.
    #[expect(clippy::should_implement_trait, reason = "it lends out of itself, which no iterator can")]
    pub fn next(&mut self) -> Result<Option<(FrameKind, &[u8])>, NoFrame> {
        let Some(head) = self.bytes[self.at..].first_chunk::<HEAD>() else { return Ok(None) };
        let (kind, length) = parse_head(*head).ok_or(NoFrame)?;
        let start = self.at + HEAD;
        let Some(payload) = self.bytes.get(start..start + length) else { return Ok(None) };
        self.at = start + length;
        Ok(Some((kind, payload)))
    }
}

/// A whole frame.
///
/// # Panics
/// As [`head`].
pub fn encode(kind: FrameKind, payload: &[u8]) -> Vec<u8> {
    [&head(kind, payload.len())[..], payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_round_trips_and_refuses_nonsense() {
        assert_eq!(parse_head(head(FrameKind::Resize, 300)), Some((FrameKind::Resize, 300)));
        assert_eq!(parse_head([9, 0, 0, 0, 1]), None);
        assert_eq!(parse_head([0, 255, 0, 0, 0]), None);
    }

    #[test]
    fn frames_are_cut_out_however_they_come() {
        let bytes =
            [encode(FrameKind::Data, b"abc"), encode(FrameKind::Replayed, b""), encode(FrameKind::Data, b"d")].concat();
        for size in [1, 2, 7, bytes.len()] {
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for part in bytes.chunks(size) {
                decoder.push(part);
                while let Some((kind, payload)) = decoder.next().expect("they are frames") {
                    got.push((kind, payload.to_vec()));
                }
            }
            let expected =
                [(FrameKind::Data, b"abc".to_vec()), (FrameKind::Replayed, vec![]), (FrameKind::Data, b"d".to_vec())];
            assert_eq!(got, expected, "{size}");
        }
        let mut decoder = Decoder::default();
        decoder.push(&[9, 0, 0, 0, 0]);
        assert_eq!(decoder.next(), Err(NoFrame));
    }
}
