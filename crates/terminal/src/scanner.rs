//! Cuts a terminal's output into text, controls and sequences (ECMA-48), wherever the reads fall. Every byte comes out
//! once and in order, so that what is passed on is what was written.

/// A string (OSC, DCS, …) that is longer is given in pieces.
const LONGEST: usize = 4096;
/// A control sequence that is longer means nothing to anybody; it is given as text.
const LONGEST_CSI: usize = 1024;

const ESC: u8 = 0x1b;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
const BEL: u8 = 0x07;

/// How a sequence begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// `ESC x`.
    Escape,
    /// `ESC [`: a control sequence.
    Csi,
    /// `ESC ]`: an operating system's command.
    Osc,
    /// `ESC P`: a device's control string.
    Dcs,
    /// `ESC _`: an application's command.
    Apc,
    /// `ESC X` and `ESC ^`: strings that terminals ignore.
    Ignored,
}

/// A piece of output.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// What is shown, line ends and tabs included.
    Text(&'a [u8]),
    /// A control that does something else: BEL, ENQ, SO, SI.
    Control(u8),
    /// A sequence: its beginning, what is in it, all of its bytes. A long string's goes on in [`Piece::More`].
    Sequence(Opening, &'a [u8], &'a [u8]),
    /// More of a long string.
    More(&'a [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum ScannerState {
    #[default]
    Ground,
    /// After 0xC2, which begins a control of eight bits in UTF-8.
    Eight,
    Escape,
    Csi,
    Text(Opening),
    TextEscape(Opening),
    Long(Opening),
    LongEscape(Opening),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Scanner {
    state: ScannerState,
    held: Vec<u8>,
    /// How long the opening in `held` is.
    opening: usize,
}

impl Scanner {
    /// Takes bytes, and gives the pieces that they complete.
    pub fn feed(&mut self, bytes: &[u8], each: &mut impl FnMut(Piece<'_>)) {
        let mut rest = bytes;
        while let Some(&byte) = rest.first() {
            if self.state == ScannerState::Ground {
                let end = rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len());
                if end > 0 {
                    each(Piece::Text(&rest[..end]));
                    rest = &rest[end..];
                    continue;
                }
            }
            if let ScannerState::Long(opening) = self.state {
                let end = rest.iter().position(|byte| ends_string(*byte, opening)).unwrap_or(rest.len());
                if end > 0 {
                    each(Piece::More(&rest[..end]));
                    rest = &rest[end..];
                    continue;
                }
            }
            if self.step(byte, each) {
                rest = &rest[1..];
            }
        }
    }

    /// Takes one byte. False: it is to be looked at again in the new state.
    fn step(&mut self, byte: u8, each: &mut impl FnMut(Piece<'_>)) -> bool {
        match self.state {
            ScannerState::Ground => match byte {
                ESC => self.begin(ScannerState::Escape, byte),
                0xc2 => self.begin(ScannerState::Eight, byte),
                control => each(Piece::Control(control)),
            },
            ScannerState::Eight => return self.eight(byte, each),
            ScannerState::Escape => return self.escape(byte, each),
            ScannerState::Csi => return self.csi(byte, each),
            ScannerState::Text(opening) => return self.string(byte, opening, each),
            ScannerState::TextEscape(opening) if byte == b'\\' => {
                self.held.extend([ESC, byte]);
                self.complete(opening, 2, each);
            }
            ScannerState::TextEscape(opening) => {
                self.complete(opening, 0, each);
                self.begin(ScannerState::Escape, ESC);
                return false;
            }
            ScannerState::Long(opening) => match byte {
                ESC => self.state = ScannerState::LongEscape(opening),
                end => {
                    each(Piece::More(&[end]));
                    self.state = ScannerState::Ground;
                }
            },
            ScannerState::LongEscape(_) if byte == b'\\' => {
                each(Piece::More(&[ESC, byte]));
                self.state = ScannerState::Ground;
            }
            ScannerState::LongEscape(_) => {
                self.begin(ScannerState::Escape, ESC);
                return false;
            }
        }
        true
    }

    fn begin(&mut self, state: ScannerState, byte: u8) {
        self.held.clear();
        self.held.push(byte);
        self.state = state;
    }

    fn eight(&mut self, byte: u8, each: &mut impl FnMut(Piece<'_>)) -> bool {
        // Only these mean more than what is shown.
        if !matches!(byte, 0x90 | 0x98 | 0x9a | 0x9b | 0x9d..=0x9f) {
            each(Piece::Text(&self.held));
            self.state = ScannerState::Ground;
            // The other half of a letter is text like all else.
            if (0x80..0xc0).contains(&byte) {
                each(Piece::Text(&[byte]));
                return true;
            }
            return false;
        }
        self.held.push(byte);
        self.open(byte - 0x40, each);
        true
    }

    /// After ESC, or what means the same.
    fn open(&mut self, byte: u8, each: &mut impl FnMut(Piece<'_>)) {
        self.opening = self.held.len();
        self.state = match byte {
            b'[' => ScannerState::Csi,
            b']' => ScannerState::Text(Opening::Osc),
            b'P' => ScannerState::Text(Opening::Dcs),
            b'_' => ScannerState::Text(Opening::Apc),
            b'X' | b'^' => ScannerState::Text(Opening::Ignored),
            other => {
                let at = self.held.len() - 1;
                let intermediates = if self.held[0] == ESC { &self.held[1..at] } else { &[] };
                let body = [intermediates, &[other]].concat();
                each(Piece::Sequence(Opening::Escape, &body, &self.held));
                ScannerState::Ground
            }
        };
    }

    fn escape(&mut self, byte: u8, each: &mut impl FnMut(Piece<'_>)) -> bool {
        match byte {
            0x30..=0x7e => {
                let plain = self.held.len() == 1;
                self.held.push(byte);
                if plain {
                    self.open(byte, each);
                } else {
                    each(Piece::Sequence(Opening::Escape, &self.held[1..], &self.held));
                    self.state = ScannerState::Ground;
                }
            }
            0x20..=0x2f if self.held.len() < 8 => self.held.push(byte),
            _ => return self.give_up(each),
        }
        true
    }

    fn csi(&mut self, byte: u8, each: &mut impl FnMut(Piece<'_>)) -> bool {
        match byte {
            0x40..=0x7e => {
                self.held.push(byte);
                self.complete(Opening::Csi, 0, each);
            }
            0x20..=0x3f if self.held.len() < LONGEST_CSI => self.held.push(byte),
            // Done at once, in the middle of the sequence.
            BEL | 0x05 | 0x0e | 0x0f => each(Piece::Control(byte)),
            0x00..=0x17 | 0x19 | 0x1c..=0x1f | 0x7f => each(Piece::Text(&[byte])),
            _ => return self.give_up(each),
        }
        true
    }

    fn string(&mut self, byte: u8, opening: Opening, each: &mut impl FnMut(Piece<'_>)) -> bool {
        match byte {
            ESC => self.state = ScannerState::TextEscape(opening),
            end if ends_string(end, opening) && end != 0x9c => {
                self.held.push(end);
                self.complete(opening, 1, each);
            }
            0x9c if self.held.last() == Some(&0xc2) => {
                self.held.push(byte);
                self.complete(opening, 2, each);
            }
            other => {
                self.held.push(other);
                if self.held.len() >= LONGEST {
                    each(Piece::Sequence(opening, &self.held[self.opening..], &self.held));
                    self.state = ScannerState::Long(opening);
                }
            }
        }
        true
    }

    /// A sequence ends; its terminator has so many bytes.
    fn complete(&mut self, opening: Opening, terminator: usize, each: &mut impl FnMut(Piece<'_>)) {
        let end = self.held.len() - terminator;
        each(Piece::Sequence(opening, &self.held[self.opening..end], &self.held));
        self.state = ScannerState::Ground;
    }

    /// What is held is no sequence: a terminal forgets it, too.
    fn give_up(&mut self, each: &mut impl FnMut(Piece<'_>)) -> bool {
        // Without its ESC it could be shown, with it nothing else comes of it: the next byte isn't its end.
        each(Piece::Sequence(Opening::Ignored, &[], &self.held));
        self.state = ScannerState::Ground;
        false
    }
}

/// Whether something else than text begins here.
fn is_special(byte: u8) -> bool {
    matches!(byte, ESC | 0x05 | BEL | 0x0e | 0x0f | 0xc2)
}

fn ends_string(byte: u8, opening: Opening) -> bool {
    match byte {
        ESC | CAN | SUB => true,
        BEL => opening == Opening::Osc,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(bytes: &[u8], size: usize) -> (Vec<String>, Vec<u8>) {
        let mut scanner = Scanner::default();
        let (mut told, mut all) = (Vec::new(), Vec::new());
        for part in bytes.chunks(size) {
            scanner.feed(part, &mut |piece| match piece {
                Piece::Text(text) => all.extend(text),
                Piece::Control(byte) => {
                    told.push(format!("control {byte}"));
                    all.push(byte);
                }
                Piece::Sequence(opening, body, raw) => {
                    told.push(format!("{opening:?} {}", body.escape_ascii()));
                    all.extend(raw);
                }
                Piece::More(more) => all.extend(more),
            });
        }
        (told, all)
    }

    #[test]
    fn sequences_are_found_wherever_the_reads_fall_and_no_byte_is_lost() {
        let bytes = b"a\x1b[?1049h\xc3\xa4\x1b]0;title\x07b\x1b]8;;x\x1b\\\x1bP$qm\x1b\\\x07\x1b(B\x1bc\x1b_Gi=1\x1b\\\xc2\x9b6n\xc2\xa0\x1b[0\x1b[1m end";
        for size in 1..bytes.len() {
            let (told, all) = pieces(bytes, size);
            let expected = [
                "Csi ?1049h",
                "Osc 0;title",
                "Osc 8;;x",
                "Dcs $qm",
                "control 7",
                "Escape (B",
                "Escape c",
                "Apc Gi=1",
                "Csi 6n",
                "Ignored ",
                "Csi 1m",
            ];
            assert_eq!(told, expected, "{size}");
            assert_eq!(all, bytes, "{size}");
        }
    }

    #[test]
    fn long_strings_are_given_in_pieces() {
        let mut bytes = b"\x1bPq".to_vec();
        bytes.extend([b'#'; 3 * LONGEST]);
        bytes.extend(b"\x1b\\after\x1b[m");
        for size in [1, 1000, bytes.len()] {
            let (told, all) = pieces(&bytes, size);
            assert_eq!(told.len(), 2, "{size}: the string and the colour");
            assert!(told[0].starts_with("Dcs q##"));
            assert_eq!(all, bytes, "{size}");
        }
    }
}
