//! What of a session's output reaches a viewer's terminal. Replayed output must not act a second time: a terminal would
//! answer old questions into the program's input, ring, set the clipboard. And of several viewers' terminals only one may
//! answer what the program asks now. All else passes byte by byte.

use super::scanner::{Opening, Piece, Scanner};

/// What a viewer's terminal may do with what it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// Only show it: it is of before.
    Replay,
    /// Do it, but leave the answers to another terminal.
    Silent,
    /// Do it, and answer.
    Full,
}

/// What a piece does beside being shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SideEffect {
    None,
    /// Something outside of the screen: it rings, prints, copies, notifies.
    Outside,
    /// The terminal answers.
    Question,
}

/// See the module.
#[derive(Debug)]
pub struct Filter {
    scanner: Scanner,
    hearing: Hearing,
    /// The long string under way passes.
    passing: bool,
}

impl Filter {
    /// With this to begin with.
    pub fn new(hearing: Hearing) -> Self {
        Self { scanner: Scanner::default(), hearing, passing: true }
    }

    /// From here on.
    pub fn set(&mut self, hearing: Hearing) {
        self.hearing = hearing;
    }

    /// Appends what passes.
    pub fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let (hearing, passing) = (self.hearing, &mut self.passing);
        let passes = |effect| match hearing {
            Hearing::Full => true,
            Hearing::Silent => effect != SideEffect::Question,
            Hearing::Replay => effect == SideEffect::None,
        };
        self.scanner.feed(bytes, &mut |piece| match piece {
            Piece::Text(text) => out.extend_from_slice(text),
            Piece::Control(byte) => {
                if passes(of_control(byte)) {
                    out.push(byte);
                }
            }
            Piece::Sequence(opening, body, raw) => {
                *passing = passes(of_sequence(opening, body));
                if *passing {
                    out.extend_from_slice(raw);
                }
            }
            Piece::More(more) => {
                if *passing {
                    out.extend_from_slice(more);
                }
            }
        });
    }
}

fn of_control(byte: u8) -> SideEffect {
    match byte {
        0x05 => SideEffect::Question,
        0x07 => SideEffect::Outside,
        _ => SideEffect::None,
    }
}

fn of_sequence(opening: Opening, body: &[u8]) -> SideEffect {
    match opening {
        // DECID
        Opening::Escape if body == b"Z" => SideEffect::Question,
        Opening::Escape | Opening::Ignored => SideEffect::None,
        Opening::Csi => of_csi(body),
        Opening::Osc => of_osc(body),
        Opening::Dcs => of_dcs(body),
        // Kitty's graphics are acknowledged.
        Opening::Apc if body.first() == Some(&b'G') => SideEffect::Question,
        Opening::Apc => SideEffect::None,
    }
}

/// Control sequences: by their private mark, what stands before the last byte, and that.
fn of_csi(body: &[u8]) -> SideEffect {
    let Some((last, rest)) = body.split_last() else { return SideEffect::None };
    let private = rest.first().copied().filter(|byte| (0x3c..=0x3f).contains(byte));
    let intermediate = rest.iter().rposition(|byte| !(0x20..=0x2f).contains(byte)).map_or(rest, |at| &rest[at + 1..]);
    match (private, intermediate, last) {
        // Device attributes; `?` is the Linux console's cursor.
        (None | Some(b'>' | b'='), b"", b'c') => SideEffect::Question,
        // Device status, cursor position; `>` switches modifyOtherKeys off.
        (None | Some(b'?'), b"", b'n') => SideEffect::Question,
        // DECRQM, XTVERSION, DECREQTPARM, DECRQPSR, DECRQCRA, DECRQLP, DECRQUPSS, XTREPORTSGR.
        (None | Some(b'?'), b"$", b'p') | (Some(b'>'), b"", b'q') | (None, b"", b'x') => SideEffect::Question,
        (None, b"$", b'w') | (None, b"*", b'y') | (None, b"'", b'|') | (None, b"&", b'u') => SideEffect::Question,
        (None, b"#", b'|') => SideEffect::Question,
        // Kitty's keyboard, XTSMGRAPHICS, XTQMODKEYS.
        (Some(b'?'), b"", b'u' | b'S' | b'm') => SideEffect::Question,
        (None, b"", b't') => of_window(rest),
        // Printing.
        (None | Some(b'?'), b"", b'i') => SideEffect::Outside,
        _ => SideEffect::None,
    }
}

/// Window operations: reports, titles kept and brought back, moves.
fn of_window(parameters: &[u8]) -> SideEffect {
    let number = parameters.split(|byte| *byte == b';').next().and_then(|first| std::str::from_utf8(first).ok());
    match number.and_then(|text| text.parse::<u32>().ok()) {
        Some(11..=21) => SideEffect::Question,
        Some(22 | 23) => SideEffect::None,
        _ => SideEffect::Outside,
    }
}

fn of_osc(body: &[u8]) -> SideEffect {
    let (number, rest) = match body.iter().position(|byte| *byte == b';') {
        Some(at) => (&body[..at], &body[at + 1..]),
        None => (body, &b""[..]),
    };
    let asks = rest.contains(&b'?');
    match std::str::from_utf8(number).ok().and_then(|text| text.parse::<u32>().ok()) {
        // Colours, font, clipboard.
        Some(4 | 5 | 10..=19 | 21 | 50 | 52 | 60 | 61) if asks => SideEffect::Question,
        Some(1337) if rest.starts_with(b"Report") || rest.starts_with(b"Request") => SideEffect::Question,
        Some(99) if asks => SideEffect::Question,
        // Clipboard, notifications, iTerm's files and more.
        Some(9 | 52 | 99 | 777 | 1337) => SideEffect::Outside,
        _ => SideEffect::None,
    }
}

fn of_dcs(body: &[u8]) -> SideEffect {
    let end = body.iter().position(|byte| (0x40..=0x7e).contains(byte)).unwrap_or(body.len());
    let (head, last) = (&body[..end], body.get(end));
    match last {
        // DECRQSS, XTGETTCAP.
        Some(b'q') if head.ends_with(b"$") || head.ends_with(b"+") => SideEffect::Question,
        // What tmux passes on to the terminal around it may hold anything.
        Some(b't') if body.starts_with(b"tmux;") => SideEffect::Question,
        _ => SideEffect::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(hearing: Hearing, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Filter::new(hearing).pass(bytes, &mut out);
        out
    }

    const QUESTIONS: &[&[u8]] = &[
        b"\x1b[c",
        b"\x1b[0c",
        b"\x1b[>c",
        b"\x1b[=c",
        b"\x1bZ",
        b"\xc2\x9bc",
        b"\xc2\x9a",
        b"\x05",
        b"\x1b[5n",
        b"\x1b[6n",
        b"\x1b[?6n",
        b"\x1b[?996n",
        b"\x1b[>q",
        b"\x1b[>0q",
        b"\x1b[?2026$p",
        b"\x1b[4$p",
        b"\x1b[x",
        b"\x1b[1$w",
        b"\x1b[1;1;1;1;1;1*y",
        b"\x1b[?u",
        b"\x1b[?1;1;0S",
        b"\x1b[14t",
        b"\x1b[18t",
        b"\x1b[21t",
        b"\x1b]10;?\x07",
        b"\x1b]11;?\x1b\\",
        b"\x1b]4;1;?\x07",
        b"\x1b]52;c;?\x07",
        b"\x1bP$qm\x1b\\",
        b"\x1bP+q544e\x1b\\",
        b"\x1b_Gi=1,a=q;AAAA\x1b\\",
        b"\x1bPtmux;x\x1b\\",
    ];
    const OUTSIDE: &[&[u8]] = &[
        b"\x07",
        b"\x1b]52;c;aGk=\x07",
        b"\x1b]52;c;aGk=\x1b\\",
        b"\x1b]9;done\x07",
        b"\x1b]777;notify;a;b\x07",
        b"\x1b]1337;File=:AA\x07",
        b"\x1b[5i",
        b"\x1b[8;24;80t",
        b"\x1b[3;0;0t",
    ];
    const SHOWN: &[&[u8]] = &[
        b"plain \xe2\x82\xac text\r\n\t\x08",
        b"\x1b[?1049h\x1b[?2004h\x1b[?1000h\x1b[?1006h\x1b[?1h\x1b=\x1b>",
        b"\x1b[31;1mred\x1b[m",
        b"\x1b[2J\x1b[H\x1b[10;20H\x1b[K",
        b"\x1b]0;title\x07\x1b]2;title\x1b\\",
        b"\x1b]8;;http://a?b\x1b\\link\x1b]8;;\x1b\\",
        b"\x1b[2 q",
        b"\x1b]4;1;rgb:ff/00/00\x07\x1b]104\x07",
        b"\x1b]11;#102030\x07",
        b"\x1bPq#0;2;0;0;0~~\x1b\\",
        b"\x1b(0lqk\x1b(B\x0e\x0f",
        b"\x1b[22;0t\x1b[23;0t",
        b"\x1b[!p\x1bc",
        b"\x1b[>4;2m\x1b[>1u\x1b[<u",
        b"\x1b[>4n",
        b"\x1b[?25l",
        b"\x1b7\x1b8\x1bM",
        b"\x1b[?2026h..\x1b[?2026l",
    ];

    #[test]
    fn a_replay_neither_asks_nor_acts() {
        for sequence in QUESTIONS.iter().chain(OUTSIDE) {
            let text = [b"a", *sequence, b"b"].concat();
            let got = passed(Hearing::Replay, &text);
            assert_eq!(got, b"ab", "{}", sequence.escape_ascii());
        }
    }

    #[test]
    fn one_terminal_of_several_answers_and_all_act() {
        for sequence in QUESTIONS {
            assert_eq!(passed(Hearing::Silent, sequence), b"", "{}", sequence.escape_ascii());
            assert_eq!(passed(Hearing::Full, sequence), *sequence);
        }
        for sequence in OUTSIDE {
            assert_eq!(passed(Hearing::Silent, sequence), *sequence, "{}", sequence.escape_ascii());
        }
    }

    #[test]
    fn what_is_shown_passes_byte_by_byte_however_it_is_cut() {
        let all = SHOWN.concat();
        for size in 1..all.len() {
            let mut filter = Filter::new(Hearing::Replay);
            let mut out = Vec::new();
            all.chunks(size).for_each(|part| filter.pass(part, &mut out));
            assert_eq!(out.escape_ascii().to_string(), all.escape_ascii().to_string(), "{size}");
        }
    }

    #[test]
    fn a_long_clipboard_is_dropped_to_its_end() {
        let text = [&b"a\x1b]52;c;"[..], &[b'x'; 20_000], b"\x07b"].concat();
        assert_eq!(passed(Hearing::Replay, &text), b"ab");
    }
}
