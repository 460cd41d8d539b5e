//! The keys that leave an attached terminal: Ctrl-P Ctrl-Q, as with `docker attach`.

const CTRL_P: u8 = 0x10;
const CTRL_Q: u8 = 0x11;

/// What to do with typed bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Typed {
    /// Pass these on.
    pub pass: Vec<u8>,
    /// The keys were complete: leave once those bytes are passed on.
    pub leave: bool,
}

/// Finds the keys in what is typed, however it is cut into reads.
#[derive(Debug, Default)]
pub struct DetachKeys {
    held: bool,
}

impl DetachKeys {
    /// Looks at what was typed. A Ctrl-P is held back until it is clear what follows it.
    pub fn feed(&mut self, typed: &[u8]) -> Typed {
        let mut pass = Vec::with_capacity(typed.len() + 1);
        for &byte in typed {
            if self.held && byte == CTRL_Q {
                self.held = false;
                return Typed { pass, leave: true };
            }
            if self.held {
                pass.push(CTRL_P);
            }
            self.held = byte == CTRL_P;
            if !self.held {
                pass.push(byte);
            }
        }
        Typed { pass, leave: false }
    }

    /// Whether a Ctrl-P is held back.
    pub fn holds(&self) -> bool {
        self.held
    }

    /// Nothing followed in time: the Ctrl-P was meant for the program.
    pub fn give_up(&mut self) -> &'static [u8] {
        if std::mem::take(&mut self.held) { &[CTRL_P] } else { &[] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(bytes: &[u8]) -> Typed {
        Typed { pass: bytes.into(), leave: false }
    }

    #[test]
    fn leaves_in_one_read_and_across_two() {
        assert_eq!(DetachKeys::default().feed(b"ab\x10\x11cd"), Typed { pass: b"ab".into(), leave: true });
        let mut keys = DetachKeys::default();
        assert_eq!(keys.feed(b"ab\x10"), pass(b"ab"));
        assert_eq!(keys.feed(b"\x11"), Typed { pass: Vec::new(), leave: true });
    }

    #[test]
    fn other_keys_pass_in_order() {
        let mut keys = DetachKeys::default();
        assert_eq!(keys.feed(b"\x11\x10x"), pass(b"\x11\x10x"));
        assert_eq!(keys.feed(b"\x10\x10"), pass(b"\x10"));
        assert!(keys.holds());
        assert_eq!(keys.give_up(), b"\x10");
        assert_eq!(keys.give_up(), b"");
        assert_eq!(keys.feed(b"\x11"), pass(b"\x11"));
    }
}
