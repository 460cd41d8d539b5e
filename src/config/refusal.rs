//! What serde says about a value that it can't read, in the words of whoever wrote the file: no type of Rust's, what
//! stands there, and what would do.

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A key that nobody knows.
    UnknownKey {
        /// The key.
        key: String,
        /// Those that would have done.
        known: Vec<String>,
    },
    /// A key that must be there isn't.
    MissingKey(String),
    /// The value is another one than it may be.
    Unfit {
        /// What stands there, as text; None where it can't be told in a word.
        found: Option<String>,
        /// What to give, such as `give text`.
        expected: String,
        /// The words that it may be, if it is one of a few.
        words: Vec<String>,
    },
    /// Told by ourselves.
    Said(String),
}

/// The longest value that is shown.
const SHOWN: usize = 60;

impl Refusal {
    /// Takes serde's message apart, without a position or a path around it.
    pub fn of(message: &str) -> Self {
        if let Some((key, known)) = quoted_after(message, "unknown field `") {
            return Self::UnknownKey { key, known };
        }
        if let Some((key, _)) = quoted_after(message, "missing field `") {
            return Self::MissingKey(key);
        }
        if let Some((word, words)) = quoted_after(message, "unknown variant `") {
            let expected = if words.is_empty() { "nothing can stand there".into() } else { one_of(&words) };
            return Self::Unfit { found: Some(format!("`{}`", shown(&word))), expected, words };
        }
        for lead in ["invalid type: ", "invalid value: ", "invalid length "] {
            if let Some((found, expected)) = message.strip_prefix(lead).and_then(|rest| rest.rsplit_once(", expected "))
            {
                let length = lead == "invalid length ";
                let found = if length { None } else { found_in_words(found) };
                return Self::Unfit { found, expected: expected_in_words(expected), words: Vec::new() };
            }
        }
        if message.starts_with("give ") {
            return Self::Unfit { found: None, expected: message.to_owned(), words: Vec::new() };
        }
        match SAYINGS.iter().find(|(theirs, _)| message.starts_with(theirs)) {
            Some((_, ours)) => Self::Said((*ours).to_owned()),
            None => Self::Said(message.to_owned()),
        }
    }
}

/// What serde_yaml says of YAML that it reads and doesn't take, and what we say instead.
const SAYINGS: &[(&str, &str)] = &[
    ("did not find expected key", "this is no YAML: no key is where one should be"),
    ("did not find expected '-' indicator", "this is no YAML: no `-` is where a list's next entry should be"),
    ("did not find expected", "this is no YAML: a bracket, a comma or a line's end is missing"),
    ("mapping values are not allowed", "this is no YAML: a second `: ` in one value"),
    ("found character that cannot start any token", "this is no YAML: a tab, or a character that begins no value"),
    ("could not find expected ':'", "this is no YAML: no `:` after a key"),
    ("found unexpected end of stream", "this is no YAML: it ends within a value"),
    ("block sequence entries are not allowed", "this is no YAML: no list can begin here"),
    ("recursion limit exceeded", "it is nested too deep"),
    ("repetition limit exceeded", "aliases make it far larger than it is"),
    ("unknown anchor", "an alias `*…` of something that has no anchor `&…`"),
    ("EOF while parsing", "it ends too early"),
    ("deserializing from YAML containing more", "it is more than one document"),
    ("empty YAML tag", "a tag `!` without a name can't stand here"),
    ("failed to parse YAML number", "a number that can't be read"),
    ("data did not match any variant", "it has none of the forms that it may have"),
];

/// The word between backticks that follows, and those after it: of a word with backticks in it, parts of that are not
/// taken for them.
fn quoted_after(message: &str, lead: &str) -> Option<(String, Vec<String>)> {
    let (word, rest) = message.strip_prefix(lead)?.split_once('`')?;
    let is_ours =
        |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    Some((word.to_owned(), rest.split('`').skip(1).step_by(2).filter(is_ours).map(str::to_owned).collect()))
}

/// `give a, b or c`.
pub fn one_of(words: &[String]) -> String {
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("give {} or {last}", rest.join(", ")),
        Some((last, _)) => format!("give {last}"),
        None => String::new(),
    }
}

/// Text on one line, not too long of it. What reads `KEY=…` may be a secret that slipped onto another's line.
pub fn shown(text: &str) -> String {
    if text.contains('=') {
        return "…".to_owned();
    }
    cut(&text.escape_debug().to_string())
}

fn cut(text: &str) -> String {
    let more = if text.chars().nth(SHOWN).is_some() { "…" } else { "" };
    text.chars().take(SHOWN).collect::<String>() + more
}

/// What serde found: `string "x"`, ``integer `5` ``, `map`.
fn found_in_words(found: &str) -> Option<String> {
    if let Some(text) = found.strip_prefix("string ") {
        let text = text.trim_matches('"');
        return Some(format!("`{}`", if text.contains('=') { "…".to_owned() } else { cut(text) }));
    }
    Some(match found {
        "map" | "Option value" | "newtype struct" | "enum" => "a map of keys".to_owned(),
        "sequence" => "a list".to_owned(),
        "unit value" | "null" => "empty".to_owned(),
        _ => format!("`{}`", shown(found.split('`').nth(1)?)),
    })
}

fn expected_in_words(expected: &str) -> String {
    let expected = expected.trim_start_matches("a nonzero ");
    let words = match expected {
        "a boolean" => "true or false",
        "a string" | "a character" | "str" | "string" => "text",
        "f64" | "f32" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "unit" | "unit value" | "unit variant" => "nothing",
        _ if expected.starts_with("a sequence") || expected.starts_with("an array") => "a list",
        _ if ["a map", "struct ", "enum ", "tuple ", "variant ", "field "]
            .iter()
            .any(|rust| expected.starts_with(rust)) =>
        {
            "keys with values"
        }
        _ => expected,
    };
    if words.starts_with("give ") { words.to_owned() } else { format!("give {words}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serdes_messages_in_our_words() {
        let unfit = |found: Option<&str>, expected: &str| Refusal::Unfit {
            found: found.map(str::to_owned),
            expected: expected.to_owned(),
            words: Vec::new(),
        };
        for (message, expected) in [
            ("invalid type: string \"long\", expected f64", unfit(Some("`long`"), "give a number")),
            ("invalid value: integer `70000`, expected u16", unfit(Some("`70000`"), "give a whole number, 0 or more")),
            ("invalid type: unit value, expected a sequence", unfit(Some("empty"), "give a list")),
            ("invalid type: map, expected a string", unfit(Some("a map of keys"), "give text")),
            ("invalid type: string \"A=b\", expected a boolean", unfit(Some("`…`"), "give true or false")),
            ("invalid type: sequence, expected struct Overlay", unfit(Some("a list"), "give keys with values")),
            ("give text", unfit(None, "give text")),
            ("missing field `port`", Refusal::MissingKey("port".into())),
            ("odd", Refusal::Said("odd".into())),
        ] {
            assert_eq!(Refusal::of(message), expected, "{message}");
        }
        let unknown = Refusal::of("unknown field `x`, expected one of `a`, `b`");
        assert_eq!(unknown, Refusal::UnknownKey { key: "x".into(), known: vec!["a".into(), "b".into()] });
        let Refusal::Unfit { expected, .. } = Refusal::of("unknown variant `x`, expected one of `a`, `b`, `c`") else {
            panic!("a word that won't do");
        };
        assert_eq!(expected, "give a, b or c");
    }
}
