//! Frames of an attached terminal: one byte of kind, four bytes of length (big endian), the payload.

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Bytes of the terminal, either way.
    Data = 0,
    /// Client to agent: [`crate::control::TerminalSize`] as JSON.
    Resize = 1,
    /// Client to agent: no more input (only of effect where the service has pipes instead of a terminal).
    Eof = 2,
    /// Agent to client: in words, why it hangs up now.
    Notice = 3,
}

/// Length of a frame's head, in bytes.
pub const HEAD: usize = 5;
/// The longest payload that is accepted, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// A frame's head: kind and payload's length.
///
/// # Panics
/// When `length` is over [`MAX_PAYLOAD`]: senders split.
pub fn head(kind: Kind, length: usize) -> [u8; HEAD] {
    assert!(length <= MAX_PAYLOAD, "a frame's payload is at most {MAX_PAYLOAD} bytes");
    let [a, b, c, d] = (length as u32).to_be_bytes();
    [kind as u8, a, b, c, d]
}

/// Reads a head. None when the kind is unknown or the length too large: the peer isn't speaking frames.
pub fn parse_head(head: [u8; HEAD]) -> Option<(Kind, usize)> {
    let kind = match head[0] {
        0 => Kind::Data,
        1 => Kind::Resize,
        2 => Kind::Eof,
        3 => Kind::Notice,
        _ => return None,
    };
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    (length <= MAX_PAYLOAD).then_some((kind, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_round_trips_and_refuses_nonsense() {
        assert_eq!(parse_head(head(Kind::Resize, 300)), Some((Kind::Resize, 300)));
        assert_eq!(parse_head([9, 0, 0, 0, 1]), None);
        assert_eq!(parse_head([0, 255, 0, 0, 0]), None);
    }
}
