//! `.dockerignore`, with the Docker CLI's semantics.
//!
//! Patterns are those of Go's `filepath.Match` (`*`, `?`, `[a-z]`, `\` to escape) plus `**` for any number of
//! folders; the last pattern that matches a path, or a folder above it, decides, and `!` makes it an exception.
//!
//! Translated into regular expressions, as Docker does itself, since the crates for globs speak another language:
//! `globset` takes `{` for a choice and `[!a]` for a negation, lets `?` match a single byte of an `ä`, and knows no
//! `**` within a name. Each difference would leave out a file that is needed, or let a secret in.

use regex::Regex;

/// What a `.dockerignore` leaves out.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    /// Starts with `!`: puts back in.
    exception: bool,
    /// Matches the path itself, or a folder above it.
    matcher: Regex,
    /// The folders that a literal pattern goes through; None from the first wildcard on.
    literal_prefix: Vec<String>,
    /// No wildcard at all.
    literal: bool,
}

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: `{pattern}` is no valid pattern: {problem}")]
pub struct PatternError {
    /// The line of the file, from 1.
    pub line: usize,
    /// The pattern as it is written there.
    pub pattern: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Ignore {
    /// Reads a `.dockerignore`.
    ///
    /// # Errors
    /// The first pattern that makes no sense, with its line.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut patterns = Vec::new();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let error = |problem| PatternError { line: index + 1, pattern: line.trim().into(), problem };
            let line = line.trim();
            let (exception, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            if pattern.is_empty() {
                return Err(error("nothing follows the `!`"));
            }
            let pattern = clean(pattern);
            if pattern == "." {
                // Docker's own reading: the context itself can't be left out.
                continue;
            }
            patterns.push(Pattern::new(exception, &pattern).map_err(error)?);
        }
        Ok(Self { patterns })
    }

    /// Leaves out these paths and what lies below them, whatever characters they hold.
    pub fn of_paths(paths: &[String]) -> Self {
        let pattern = |path: &String| Pattern {
            exception: false,
            matcher: Regex::new(&format!("(?s)^{}(?:/.*)?$", regex::escape(path))).expect("an escaped path is valid"),
            literal_prefix: path.split('/').map(str::to_owned).collect(),
            literal: true,
        };
        Self { patterns: paths.iter().map(pattern).collect() }
    }

    /// These rules, and then those, which win.
    pub fn then(mut self, other: Self) -> Self {
        self.patterns.extend(other.patterns);
        self
    }

    /// Whether this path, relative to the context with `/` between its parts, is left out.
    pub fn leaves_out(&self, path: &str) -> bool {
        self.patterns.iter().rfind(|pattern| pattern.matcher.is_match(path)).is_some_and(|pattern| !pattern.exception)
    }

    /// Whether something below this folder, itself left out, may be put back in, so that it must be walked.
    pub fn may_include_below(&self, folder: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.exception && pattern.may_match_below(folder))
    }
}

impl Pattern {
    fn new(exception: bool, pattern: &str) -> Result<Self, &'static str> {
        let wild = |part: &&str| part.contains(['*', '?', '[', '\\']);
        let parts: Vec<&str> = pattern.split('/').collect();
        let literal_prefix: Vec<String> =
            parts.iter().take_while(|part| !wild(part)).map(ToString::to_string).collect();
        let literal = literal_prefix.len() == parts.len();
        let matcher = Regex::new(&regex_of(pattern)?).map_err(|_| "a range in brackets is out of order")?;
        Ok(Self { exception, matcher, literal_prefix, literal })
    }

    fn may_match_below(&self, folder: &str) -> bool {
        let mut wanted = self.literal_prefix.iter();
        for part in folder.split('/') {
            match wanted.next() {
                Some(prefix) if prefix == part => {}
                Some(_) => return false,
                // The literal part is used up: a wildcard may match anything further down.
                None => return !self.literal || self.matcher.is_match(folder),
            }
        }
        true
    }
}

/// As Go's `filepath.Clean` on a path below `/`, without that `/`.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".into() } else { parts.join("/") }
}

/// A regular expression that matches the pattern's paths and all below them.
fn regex_of(pattern: &str) -> Result<String, &'static str> {
    let mut regex = String::from("(?s)^");
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                if chars.peek().is_none() {
                    regex.push_str(".*");
                } else {
                    // `**/`: the slash counts as part of it, so that `**/x` matches `x`, too.
                    chars.next_if_eq(&'/');
                    regex.push_str("(.*/)?");
                }
            }
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            '[' => class(&mut chars, &mut regex)?,
            '\\' => {
                let escaped = chars.next().ok_or("it ends with a lone `\\`")?;
                regex.push_str(&regex::escape(escaped.encode_utf8(&mut [0; 4])));
            }
            c => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push_str("(/.*)?$");
    Ok(regex)
}

/// `[a-z]`, `[^a-z]`, after its opening bracket.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, regex: &mut String) -> Result<(), &'static str> {
    regex.push('[');
    if chars.next_if_eq(&'^').is_some() {
        regex.push_str("^/");
    }
    let mut empty = true;
    loop {
        let c = match chars.next().ok_or("a `[` isn't closed")? {
            ']' if empty => return Err("a `[` isn't closed"),
            ']' => break,
            '-' if !empty => {
                regex.push('-');
                continue;
            }
            '\\' => chars.next().ok_or("it ends with a lone `\\`")?,
            c => c,
        };
        empty = false;
        regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    }
    regex.push(']');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(rules: &str, path: &str) -> bool {
        Ignore::parse(rules).expect(rules).leaves_out(path)
    }

    #[test]
    fn paths_are_left_out_unless_a_later_rule_puts_them_back() {
        let paths = [".env".to_owned(), "se[cret".to_owned()];
        let rules = |text: &str| Ignore::of_paths(&paths).then(Ignore::parse(text).expect("valid"));
        for left_out in [".env", "se[cret", "se[cret/below"] {
            assert!(rules("").leaves_out(left_out), "{left_out}");
        }
        for kept in ["x.env", ".env.example", "sub/.env", "secret"] {
            assert!(!rules("").leaves_out(kept), "{kept}");
        }
        assert!(!rules("!.env").leaves_out(".env"));
        assert!(!rules("*\n!.e*").leaves_out(".env"));
    }

    #[test]
    fn patterns_match_as_docker_matches_them() {
        for (rules, path, expected) in [
            ("target", "target", true),
            ("target", "target/debug/x", true),
            ("target", "src/target", false),
            ("**/target", "target", true),
            ("**/target", "a/b/target/c", true),
            ("/target/", "target/x", true),
            ("./a/../b", "b/c", true),
            ("*.md", "README.md", true),
            ("*.md", "docs/README.md", false),
            ("**/*.md", "docs/a/README.md", true),
            ("*/temp*", "somedir/temporary.txt", true),
            ("*/temp*", "a/b/temporary.txt", false),
            ("temp?", "tempa", true),
            ("temp?", "temp", false),
            ("file[0-9]", "file7", true),
            ("file[^0-9]", "file7", false),
            ("file[^0-9]", "filex", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            ("a.b", "axb", false),
            ("# a comment\n\na", "a", true),
            ("a/**", "a/b/c", true),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("**", "anything/at/all", true),
            ("*", ".git/config", true),
            (".", "a", false),
            ("/", "a", false),
            ("\u{feff}a", "a", true),
            ("  a  ", "a", true),
            ("ä*", "äöü", true),
        ] {
            assert_eq!(left_out(rules, path), expected, "{rules:?} on {path:?}");
        }
    }

    #[test]
    fn the_last_match_decides() {
        assert!(!left_out("*\n!src", "src/main.rs"));
        assert!(left_out("*\n!src", "target/x"));
        assert!(left_out("*\n!src\nsrc/gen", "src/gen/x.rs"));
        assert!(!left_out("*.md\n!README*.md", "README-2.md"));
        assert!(left_out("*.md\n!README*.md\nREADME-secret.md", "README-secret.md"));
        assert!(left_out("!a\na", "a"));
        assert!(!left_out("docs\n!docs/keep/**", "docs/keep/x"));
        assert!(left_out("docs\n!docs/keep/**", "docs/x"));
    }

    #[test]
    fn a_folder_left_out_is_walked_only_for_exceptions() {
        let rules = Ignore::parse("*\n!src/build\n!docs/**/*.md").expect("valid");
        for (folder, walked) in
            [("src", true), ("src/build", true), ("src/other", false), ("target", false), ("docs/a/b", true)]
        {
            assert_eq!(rules.may_include_below(folder), walked, "{folder}");
        }
        assert!(Ignore::parse("*\n!**/keep").expect("valid").may_include_below("any/where"));
    }

    #[test]
    fn what_makes_no_sense_is_told_with_its_line() {
        for (rules, line, part) in [
            ("a\nb[", 2, "isn't closed"),
            ("!", 1, "nothing follows"),
            ("a\\", 1, "lone"),
            ("[z-a]", 1, "out of order"),
        ] {
            let error = Ignore::parse(rules).expect_err(rules);
            assert_eq!(error.line, line, "{rules:?}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_literals_match_themselves(text in "\\PC{0,40}", path in "[a-z]{1,5}(/[a-z]{1,5}){0,3}") {
            if let Ok(rules) = Ignore::parse(&text) {
                rules.leaves_out(&path);
                rules.may_include_below(&path);
            }
            proptest::prop_assert!(left_out(&path, &path));
            let below = format!("{path}/below");
            proptest::prop_assert!(left_out(&path, &below));
        }
    }
}
