//! Two lines that became one: `GPU=noneOPENAI_API_KEY=…`, where something was appended to a file whose last line had
//! no end. What stands there is a secret most likely, so it is never shown, and never taken for the value of the first
//! key.

use super::env_file::EnvEntry;
use super::settings::{self, SECRETS};
use crate::failure::Failure;

/// As long as this a name in capitals isn't there by chance in what encodes bytes as letters.
const TELLING: usize = 7;

/// Whether text has `KEY=` in it, so that what follows may be a secret.
pub fn looks_like_entry(text: &str) -> bool {
    names(text).any(|(_, name)| name.len() > 2)
}

/// Refuses an entry whose value has another one in it.
pub fn check(place: &str, entry: &EnvEntry) -> Result<(), Failure> {
    let is_setting = settings::named(&entry.key).is_some();
    let Some(joined) = joined(&entry.value, is_setting) else { return Ok(()) };
    let what = if joined.is_empty() { "another key".to_owned() } else { format!("`{joined}=`") };
    Err(Failure::usage(format!("{place}: the value of {} has {what} in it", entry.key))
        .hint("start a line of its own there; what is appended to a file joins a last line that has no end"))
}

/// The known key that is joined to what stands before it; empty where it isn't known.
fn joined(value: &str, is_setting: bool) -> Option<&'static str> {
    let known: Vec<&str> =
        settings::all().map(|setting| setting.name).chain(SECRETS.iter().map(|(key, _)| *key)).collect();
    for (at, name) in names(value) {
        let suits = |key: &&&str| name.ends_with(**key) && (is_setting || key.contains('_') || key.len() >= TELLING);
        let longest = known.iter().filter(suits).max_by_key(|key| key.len());
        let before = |length: usize| value[..at + name.len() - length].chars().next_back();
        let sticks = |length| before(length).is_some_and(|c| !c.is_whitespace() && !"=,:;\"'".contains(c));
        let follows = value[at + name.len() + 1..].starts_with(|c| c != '=');
        match longest {
            Some(key) if follows && sticks(key.len()) => return Some(key),
            None if is_setting && name.len() > 2 && before(name.len()).is_some_and(char::is_lowercase) => {
                return Some("");
            }
            _ => {}
        }
    }
    None
}

/// Each run of capitals, digits and `_` that ends at a `=`, and where it begins.
fn names(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let name = move |(end, _): (usize, &str)| {
        let begin = text[..end].trim_end_matches(is_part).len();
        (begin, &text[begin..end])
    };
    text.match_indices('=').map(name).filter(|(_, name)| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_entries_on_a_line_are_told_from_a_value() {
        for (key, value, expected) in [
            ("GPU", "noneOPENAI_API_KEY=sk-1", Some("OPENAI_API_KEY")),
            ("CLAUDE_CODE_FLAGS", "--continueMY_TOKEN=sk-1", Some("")),
            ("HF_TOKEN", "hf_AB12GITHUB_TOKEN=ghp", Some("GITHUB_TOKEN")),
            ("HF_TOKEN", "hf_xGPU=", None),
            ("HF_TOKEN", "QUJDGPU=0", None),
            ("CLAUDE_CODE_FLAGS", "--env DISPLAY=:1 --set=LOG_LEVEL=x", None),
            ("DATABASE_URL", "postgres://me@db/x?MODE=1", None),
        ] {
            assert_eq!(joined(value, settings::named(key).is_some()), expected, "{key}={value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_value_is_looked_at_without_panic(value in "[A-Z_=é a-z0-9]{0,60}", is_setting: bool) {
            joined(&value, is_setting);
            looks_like_entry(&value);
        }
    }
}
