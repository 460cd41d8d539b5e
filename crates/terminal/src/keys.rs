//! The keys that leave an attached terminal: Ctrl-P Ctrl-Q, as with `docker attach`. A program may have told the terminal
//! to send keys in a longer form (xterm's modifyOtherKeys, kitty's keyboard protocol): they are known in each.

/// What to do with typed bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Typed {
    /// Pass these on.
    pub pass: Vec<u8>,
    /// The keys were complete: leave once those bytes are passed on.
    pub leave: bool,
}

/// Finds the keys in what is typed. Ctrl-P is held back until it is clear what follows it: a shell would take up its last
/// command by it, for whoever comes back.
#[derive(Debug, Default)]
pub struct DetachKeys {
    held: Vec<u8>,
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stroke {
    CtrlP,
    CtrlQ,
    /// Of either, let go: told by kitty's protocol.
    Release,
}

impl DetachKeys {
    /// Looks at what was typed.
    pub fn feed(&mut self, typed: &[u8]) -> Typed {
        let mut pass = Vec::with_capacity(typed.len() + self.held.len());
        let mut rest = typed;
        while let Some(first) = rest.first() {
            let (stroke, length) = stroke(rest).map_or((None, 1), |(stroke, length)| (Some(stroke), length));
            let (key, after) = rest.split_at(length);
            rest = after;
            let holds = self.holds();
            match stroke {
                Some(Stroke::CtrlQ) if holds => {
                    self.held.clear();
                    return Typed { pass, leave: true };
                }
                Some(Stroke::Release) if holds => self.held.extend(key),
                Some(Stroke::CtrlP) => {
                    pass.append(&mut self.held);
                    self.held.extend(key);
                }
                Some(_) => pass.extend(key),
                None => {
                    pass.append(&mut self.held);
                    pass.push(*first);
                }
            }
        }
        Typed { pass, leave: false }
    }

    /// Whether a Ctrl-P is held back.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Nothing followed in time: the Ctrl-P was meant for the program.
    pub fn give_up(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

/// The key that these bytes begin with, and its length.
fn stroke(bytes: &[u8]) -> Option<(Stroke, usize)> {
    match bytes {
        [0x10, ..] => return Some((Stroke::CtrlP, 1)),
        [0x11, ..] => return Some((Stroke::CtrlQ, 1)),
        _ => {}
    }
    let forms = [
        (&b"\x1b[112;5u"[..], Stroke::CtrlP),
        (b"\x1b[112;5:1u", Stroke::CtrlP),
        (b"\x1b[27;5;112~", Stroke::CtrlP),
        (b"\x1b[113;5u", Stroke::CtrlQ),
        (b"\x1b[113;5:1u", Stroke::CtrlQ),
        (b"\x1b[27;5;113~", Stroke::CtrlQ),
        (b"\x1b[112;5:3u", Stroke::Release),
        (b"\x1b[113;5:3u", Stroke::Release),
    ];
    forms.into_iter().find(|(form, _)| bytes.starts_with(form)).map(|(form, stroke)| (stroke, form.len()))
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
    fn leaves_in_whatever_form_the_terminal_sends_keys() {
        for keys in
            ["\x1b[112;5u\x1b[113;5u", "\x1b[112;5:1u\x1b[112;5:3u\x1b[113;5:1u", "\x1b[27;5;112~\x1b[27;5;113~"]
        {
            assert!(DetachKeys::default().feed(keys.as_bytes()).leave, "{}", keys.escape_debug());
        }
        let others = b"\x1b[112;5u\x1b[114;5u\x1b[113;5u\x1b[A";
        assert_eq!(DetachKeys::default().feed(others), pass(others));
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
