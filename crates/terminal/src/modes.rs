//! The modes that a program has put its terminal into: to bring a viewer's terminal there when what did so is no longer
//! kept, and to put it back when the viewer leaves.

use std::collections::BTreeSet;

use super::scanner::{Opening, Piece, Scanner};

/// Private modes that are followed, and which are off unless a program sets them: cursor keys, reverse video, origin,
/// mouse, focus, paste, updates at once, notices of colours and sizes.
const OFF: &[u16] = &[1, 5, 6, 9, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1015, 1016, 2004, 2026, 2031, 2048];
/// Those that are on unless a program resets them: wrapping, the cursor.
const ON: &[u16] = &[7, 25];
/// Levels of kitty's keyboard that are remembered.
const KEYBOARD_LEVELS: usize = 8;
/// The alternate screen.
const SCREENS: &[u16] = &[47, 1047, 1049];

/// See the module.
#[derive(Debug, Default)]
pub struct Modes {
    scanner: Scanner,
    changed: Changed,
}

#[derive(Debug, Default)]
struct Changed {
    /// Private modes that aren't as they are at first.
    private: BTreeSet<u16>,
    keypad: bool,
    insert: bool,
    margins: bool,
    cursor: Option<Vec<u8>>,
    charset: bool,
    shifted: bool,
    /// Default colours, the cursor's colour, the palette: by OSC.
    colours: bool,
    /// Levels of kitty's keyboard.
    keyboard: Vec<Vec<u8>>,
    modified: bool,
    /// Anything was shown at all.
    shown: bool,
}

impl Modes {
    /// Follows what is shown.
    pub fn follow(&mut self, bytes: &[u8]) {
        let changed = &mut self.changed;
        self.scanner.feed(bytes, &mut |piece| {
            changed.shown = true;
            match piece {
                Piece::Control(byte @ (0x0e | 0x0f)) => changed.shifted = byte == 0x0e,
                Piece::Sequence(Opening::Csi, body, _) => changed.csi(body),
                Piece::Sequence(Opening::Escape, body, _) => changed.escape(body),
                Piece::Sequence(Opening::Osc, body, _) => changed.osc(body),
                _ => {}
            }
        });
    }

    /// What brings a terminal from its first state to this one.
    pub fn restored(&self) -> Vec<u8> {
        let Changed { private, keypad, insert, cursor, keyboard, .. } = &self.changed;
        let mut out = Vec::new();
        let screens_first = SCREENS.iter().chain(OFF).chain(ON);
        for mode in screens_first.filter(|mode| private.contains(mode)) {
            let letter = if ON.contains(mode) { 'l' } else { 'h' };
            out.extend(format!("\x1b[?{mode}{letter}").bytes());
        }
        out.extend(if *keypad { &b"\x1b="[..] } else { b"" });
        out.extend(if *insert { &b"\x1b[4h"[..] } else { b"" });
        for sequence in cursor.iter().chain(keyboard) {
            out.extend(b"\x1b[");
            out.extend(sequence);
        }
        out
    }

    /// What brings a terminal from this state back to its first one, for the shell that it is given back to.
    pub fn undone(&self) -> Vec<u8> {
        let changed = &self.changed;
        let mut out = Vec::new();
        if !changed.shown {
            return out;
        }
        for mode in changed.private.iter().filter(|mode| OFF.contains(mode)) {
            out.extend(format!("\x1b[?{mode}l").bytes());
        }
        for _ in &changed.keyboard {
            out.extend(b"\x1b[<u");
        }
        let parts: [(bool, &[u8]); 8] = [
            (changed.modified, b"\x1b[>4m"),
            (changed.keypad, b"\x1b>"),
            (changed.insert, b"\x1b[4l"),
            (changed.margins, b"\x1b7\x1b[r\x1b8"),
            (changed.charset, b"\x1b(B"),
            (changed.shifted, b"\x0f"),
            (changed.colours, b"\x1b]104\x07\x1b]110\x07\x1b]111\x07\x1b]112\x07"),
            (changed.cursor.is_some(), b"\x1b[0 q"),
        ];
        for (is_changed, sequence) in parts {
            out.extend(if is_changed { sequence } else { b"" });
        }
        for mode in SCREENS.iter().filter(|mode| changed.private.contains(mode)) {
            out.extend(format!("\x1b[?{mode}l").bytes());
        }
        for mode in ON.iter().filter(|mode| changed.private.contains(mode)) {
            out.extend(format!("\x1b[?{mode}h").bytes());
        }
        out.extend(b"\x1b[0m");
        out
    }
}

impl Changed {
    fn csi(&mut self, body: &[u8]) {
        let Some((last, rest)) = body.split_last() else { return };
        match (rest.first(), last) {
            (Some(b'?'), b'h' | b'l') => {
                for mode in rest[1..].split(|byte| *byte == b';').filter_map(number) {
                    self.private_mode(mode, *last == b'h');
                }
            }
            (_, b'h' | b'l') if rest == b"4" => self.insert = *last == b'h',
            (_, b'r') => self.margins = !rest.is_empty(),
            (_, b'q') if rest.ends_with(b" ") => self.cursor = Some(body.to_vec()),
            (_, b'p') if rest == b"!" => self.soft_reset(),
            (Some(b'>'), b'u') => self.keyboard.push(body.to_vec()),
            (Some(b'<'), b'u') => {
                let levels = number(&rest[1..]).unwrap_or(1).into();
                self.keyboard.truncate(self.keyboard.len().saturating_sub(levels));
            }
            (Some(b'>'), b'm') => self.modified = rest.contains(&b';'),
            _ => {}
        }
        self.keyboard.truncate(KEYBOARD_LEVELS);
    }

    fn private_mode(&mut self, mode: u16, set: bool) {
        let is_followed = OFF.contains(&mode) || SCREENS.contains(&mode) || ON.contains(&mode);
        if is_followed && set != ON.contains(&mode) {
            self.private.insert(mode);
        } else {
            self.private.remove(&mode);
        }
        // One way out of the alternate screen is as good as the other.
        if SCREENS.contains(&mode) && !set {
            self.private.retain(|mode| !SCREENS.contains(mode));
        }
    }

    fn soft_reset(&mut self) {
        self.private.retain(|mode| ![1, 6, 7, 25].contains(mode));
        (self.keypad, self.insert, self.margins, self.charset, self.shifted) = (false, false, false, false, false);
    }

    fn escape(&mut self, body: &[u8]) {
        match body {
            b"=" => self.keypad = true,
            b">" => self.keypad = false,
            b"c" => *self = Self { shown: true, ..Self::default() },
            [b'(', charset] => self.charset = *charset != b'B',
            _ => {}
        }
    }

    fn osc(&mut self, body: &[u8]) {
        let is_colour = ["4;", "10;", "11;", "12;"].iter().any(|number| body.starts_with(number.as_bytes()));
        self.colours |= is_colour && !body.contains(&b'?');
    }
}

fn number(digits: &[u8]) -> Option<u16> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(bytes: &[u8]) -> Modes {
        let mut modes = Modes::default();
        modes.follow(bytes);
        modes
    }

    #[test]
    fn a_full_screen_programs_modes_are_brought_back_and_undone() {
        let modes = after(b"\x1b[?1049h\x1b[?1;2004;1006h\x1b[?1002h\x1b[?25l\x1b=\x1b[2 q\x1b[>1u\x1b[1;20r");
        assert_eq!(
            modes.restored().escape_ascii().to_string(),
            r"\x1b[?1049h\x1b[?1h\x1b[?1002h\x1b[?1006h\x1b[?2004h\x1b[?25l\x1b=\x1b[2 q\x1b[>1u"
        );
        assert_eq!(
            modes.undone().escape_ascii().to_string(),
            r"\x1b[?1l\x1b[?1002l\x1b[?1006l\x1b[?2004l\x1b[<u\x1b>\x1b7\x1b[r\x1b8\x1b[0 q\x1b[?1049l\x1b[?25h\x1b[0m"
        );
        // What the undoing leaves needs no more undoing.
        let mut back = modes;
        let undone = back.undone();
        back.follow(&undone);
        assert_eq!(back.restored().escape_ascii().to_string(), r"\x1b[0 q");
    }

    #[test]
    fn what_was_put_back_already_is_left_alone() {
        assert_eq!(after(b"").undone(), b"");
        assert_eq!(after(b"\x1b[?1049h\x1b[?25l\x1b[?25h\x1b[?1049l").undone(), b"\x1b[0m");
        assert_eq!(after(b"\x1b[?2004h\x1b=\x1bc").undone(), b"\x1b[0m");
        assert_eq!(after(b"\x1b[?47h\x1b[?1049l").restored(), b"");
        assert_eq!(after(b"\x1b]11;?\x07\x1b[31mred").undone(), b"\x1b[0m");
    }
}
