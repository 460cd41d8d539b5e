//! Everything that people are shown passes here: names, reasons and messages may be made by what runs inside, and must not
//! act on the terminal, forge a line, or wear our colours.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use anstyle::AnsiColor;
use powerdev_terminal::{is_style, plain, turns_text};

/// What our own colours begin with until they are shown, so that nobody else's are taken for ours. As parameters of a
/// colour's sequence, which takes no columns in a table.
static MARK: LazyLock<String> = LazyLock::new(|| {
    let number = RandomState::new().hash_one(std::process::id());
    [0, 16, 32, 48].map(|shift| format!("{:04};", (number >> shift) % 10_000)).concat()
});

/// Text in one of our colours, for [`line`].
pub(super) fn painted(color: AnsiColor, text: &str) -> String {
    let mark = MARK.as_str();
    // As a terminal counts them, from black to white.
    let number = 30 + (color as u8) % 8;
    format!("\x1b[{mark}{number}m{}\x1b[{mark}0m", line(text))
}

/// One line, in our colours where it has any.
pub(super) fn line(text: &str) -> String {
    plain(text, |body| {
        let ours = std::str::from_utf8(body).ok()?.strip_prefix(MARK.as_str())?;
        Some(format!("\x1b[{ours}"))
    })
}

/// What is painted stays so: for what is put together before it is shown.
pub(super) fn cell(text: &str) -> String {
    let kept = plain(text, |body| {
        let body = std::str::from_utf8(body).ok()?;
        body.starts_with(MARK.as_str()).then(|| format!("\x1b[{body}"))
    });
    kept.replace('\t', " ")
}

/// Several lines, as they were laid out.
pub(super) fn lines(text: &str) -> String {
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// A message: what it has beyond one line is indented, so that none of it looks like a message of its own.
pub(super) fn message(text: &str) -> String {
    text.lines().map(line).collect::<Vec<_>>().join("\n  ")
}

/// A line of somebody's log: it may have colours, which end with it.
pub(super) fn logged(text: &str) -> String {
    let mut styled = false;
    let shown = plain(text, |body| {
        let style = is_style(body).then(|| String::from_utf8_lossy(body).into_owned())?;
        styled = true;
        Some(format!("\x1b[{style}"))
    });
    if styled { shown + "\x1b[0m" } else { shown }
}

/// A document, in which terminals find nothing to act on either: the same one for whoever parses it.
pub(super) fn document(json: String) -> String {
    let acts = |character: char| character.is_control() || turns_text(character);
    if !json.contains(acts) {
        return json;
    }
    // Outside of strings there is none of these.
    let escaped = json.chars().map(|character| match acts(character) {
        true => format!("\\u{:04x}", character as u32),
        false => character.to_string(),
    });
    escaped.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_colours_are_shown_and_those_of_others_are_not() {
        let red = painted(AnsiColor::Red, "fail\x1b[32med");
        assert_eq!(line(&red), "\x1b[31mfailed\x1b[0m");
        assert_eq!(line(&cell(&red)), "\x1b[31mfailed\x1b[0m", "what is put together keeps them");
        assert_eq!(line("\x1b[32mhealthy\x1b[0m"), "healthy");
        assert_eq!(line("\x1b[1234;1234;1234;1234;32mhealthy"), "healthy", "nobody else knows the mark");
        assert_eq!(console::measure_text_width(&red), 6);
    }

    #[test]
    fn messages_forge_no_lines() {
        assert_eq!(line("a\nerror: forged"), "a error: forged");
        assert_eq!(message("a\nerror: forged\r\n\x1b]0;x\x07b"), "a\n  error: forged\n  b");
        assert_eq!(lines("a  b\n\tc\x1b[2J"), "a  b\n\tc");
    }

    #[test]
    fn logs_have_colours_that_end_with_their_line() {
        assert_eq!(logged("\x1b[1;31mred\x1b[2J\x1b]52;c;x\x07"), "\x1b[1;31mred\x1b[0m");
        assert_eq!(logged("plain"), "plain");
        assert_eq!(logged("\x1b[>4;2mkeys\x1b[6n"), "keys");
    }

    #[test]
    fn documents_mean_the_same() {
        let value = serde_json::json!({"a": "\x1b[31m\u{9b}2J\u{202e}ä\x7f"});
        let text = document(value.to_string());
        assert!(!text.contains(|character: char| character.is_control() || turns_text(character)), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("JSON"), value);
    }
}
