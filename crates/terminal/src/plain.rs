//! Text of others as it may be shown on a terminal: nothing in it moves the cursor, asks, copies, rings, begins a line of
//! its own, or turns around what stands beside it.

use super::scanner::{Opening, Piece, Scanner};

/// The text on one line, without sequences and controls; of a control sequence remains what `keep` makes of its body,
/// which is all of it but how it begins. Tabs stay.
pub fn plain(text: &str, mut keep: impl FnMut(&[u8]) -> Option<String>) -> String {
    let (mut shown, mut pending) = (String::with_capacity(text.len()), Vec::new());
    Scanner::default().feed(text.as_bytes(), &mut |piece| match piece {
        Piece::Text(bytes) => pending.extend_from_slice(bytes),
        Piece::Sequence(Opening::Csi, body, _) => {
            if let Some(kept) = keep(body) {
                settle(&mut pending, &mut shown);
                shown.push_str(&kept);
            }
        }
        Piece::Control(_) | Piece::Sequence(..) | Piece::More(_) => {}
    });
    settle(&mut pending, &mut shown);
    shown
}

/// Whether the body of a control sequence sets colours, or how letters look, and does nothing else.
pub fn is_style(body: &[u8]) -> bool {
    let parameters = body.strip_suffix(b"m");
    parameters.is_some_and(|all| all.iter().all(|byte| matches!(byte, b'0'..=b'9' | b';' | b':')))
}

fn settle(pending: &mut Vec<u8>, shown: &mut String) {
    shown.extend(String::from_utf8_lossy(pending).chars().filter_map(as_shown));
    pending.clear();
}

fn as_shown(character: char) -> Option<char> {
    match character {
        '\t' => Some('\t'),
        '\n' | '\r' | '\x0b' | '\x0c' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some(' '),
        other if other.is_control() || turns_text(other) => None,
        other => Some(other),
    }
}

/// Whether it changes the direction of what follows: a name may look like another one by that.
pub fn turns_text(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acts_and_every_letter_stays() {
        for (text, expected) in [
            ("plain\ttext, äöü 漢字 👩‍💻", "plain\ttext, äöü 漢字 👩‍💻"),
            ("a\x1b]52;c;aGk=\x07b", "ab"),
            ("a\x1b]52;c;aGk=\x1b\\b", "ab"),
            ("a\u{9d}52;c;aGk=\u{9c}b", "ab"),
            ("a\x1b[2Jb\x1b[31mc\u{9b}2Kd", "abcd"),
            ("ok\rforged\nline\u{85}three\u{2028}four\x0bfive", "ok forged line three four five"),
            ("a\x08\x08\x7f\x07\x05\x0e\x00b\u{8d}\u{84}", "ab"),
            ("user\u{202e}gpj.exe\u{202c}\u{2066}\u{2069}\u{200f}", "usergpj.exe"),
            ("half \x1b", "half "),
            ("half \x1b]0;never ends", "half "),
            ("a\x1bP+q544e\x1b\\b\x1b_Gi=1\x1b\\c\x1bXsos\x1b\\d\x1b^pm\x1b\\e", "abcde"),
            ("a\x1bcb\x1b(0c\x1b#8d", "abcd"),
        ] {
            assert_eq!(plain(text, |_| None), expected, "{text:?}");
        }
    }

    #[test]
    fn styles_are_told_from_what_ends_alike() {
        for (body, style) in
            [("m", true), ("1;31m", true), ("38:2::1:2:3m", true), (">4;2m", false), ("?4m", false), ("6n", false)]
        {
            assert_eq!(is_style(body.as_bytes()), style, "{body}");
        }
        let coloured = plain("a\x1b[31mb\x1b[2Jc", |body| is_style(body).then(|| "<red>".to_owned()));
        assert_eq!(coloured, "a<red>bc");
    }
}
