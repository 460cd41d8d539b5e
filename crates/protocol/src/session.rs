//! Sessions: terminals of the environment's that belong to no service and outlive whoever looks at them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::control::TerminalSize;

/// The variable by which the services' environment says how many sessions there may be at a time.
pub const LIMIT_VARIABLE: &str = "MAX_SESSIONS";
/// How many there may be where it says nothing.
pub const DEFAULT_LIMIT: usize = 10;
/// Bytes of output that are kept for each.
pub const SCROLLBACK: u64 = 2 << 20;
/// The longest name, in bytes.
const LONGEST_NAME: usize = 63;

/// A session's name: letters, digits, `-`, `_` and `.`, the first of them a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionName(String);

/// What can't be a session's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` can't be a session's name: letters, digits, `-`, `_` and `.`, {LONGEST_NAME} at most, the first a letter or \
     digit",
    .0.escape_debug()
)]
pub struct BadSessionName(String);

impl SessionName {
    /// The name, as people type it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name after a program's, with a number from 2 on where that is taken.
    pub fn after(program: &str, is_taken: impl Fn(&str) -> bool) -> Self {
        let last = program.rsplit('/').next().unwrap_or_default();
        let fits: String = last.chars().filter(|c| is_fit(*c)).take(LONGEST_NAME - 6).collect();
        let stem = fits.trim_start_matches(['-', '_', '.']);
        let stem = if stem.is_empty() { "session" } else { stem };
        let numbered = (2..).map(|number: u32| format!("{stem}-{number}"));
        let free = std::iter::once(stem.to_owned()).chain(numbered).find(|name| !is_taken(name));
        Self(free.unwrap_or_else(|| stem.to_owned()))
    }
}

fn is_fit(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

impl TryFrom<String> for SessionName {
    type Error = BadSessionName;

    fn try_from(text: String) -> Result<Self, BadSessionName> {
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if begins && text.len() <= LONGEST_NAME && text.chars().all(is_fit) {
            Ok(Self(text))
        } else {
            Err(BadSessionName(text))
        }
    }
}

impl FromStr for SessionName {
    type Err = BadSessionName;

    fn from_str(text: &str) -> Result<Self, BadSessionName> {
        text.to_owned().try_into()
    }
}

impl From<SessionName> for String {
    fn from(name: SessionName) -> Self {
        name.0
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What is asked about sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum SessionRequest {
    /// Make one. [`crate::Response::Session`] once its program runs.
    Open(OpenSession),
    /// All of them: [`crate::Response::Sessions`].
    List,
    /// Give one another name: [`crate::Response::Ok`].
    Rename {
        /// The name that it has.
        name: SessionName,
        /// The name that it is to have.
        to: SessionName,
    },
    /// End one with all of its processes: HUP and TERM, grace, KILL. [`crate::Response::Ok`] when it is gone.
    Kill {
        /// The session's name.
        name: SessionName,
    },
    /// Look at one and type into it: [`crate::Response::Ok`], then [frames](crate::frame) both ways. What it showed
    /// before comes first, and then [`Replayed`](crate::frame::FrameKind::Replayed).
    Attach {
        /// The session's name.
        name: SessionName,
        /// The viewer's terminal. The session's gets the smallest of all viewers' sizes; None has no say in it.
        #[serde(default)]
        size: Option<TerminalSize>,
    },
}

/// A session to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSession {
    /// Its name; made from the command's if not given.
    #[serde(default)]
    pub name: Option<SessionName>,
    /// Program and arguments; empty: the user's login shell.
    #[serde(default)]
    pub command: Vec<String>,
    /// Variables besides those of the environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Its working directory; the image's, or home, if not given.
    #[serde(default)]
    pub directory: Option<String>,
    /// How large its terminal is until somebody attaches.
    #[serde(default)]
    pub size: Option<TerminalSize>,
}

/// One session, as `sessions` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// The name that it has now.
    pub name: SessionName,
    /// Program and arguments.
    pub command: Vec<String>,
    /// The folder that it was started in.
    pub directory: String,
    /// Its main process.
    pub pid: Option<i32>,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// How many look at it now.
    pub viewers: usize,
    /// The size of its terminal.
    pub size: TerminalSize,
    /// Bytes of output that are kept of it.
    pub scrollback_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_refused() {
        for name in ["a", "Claude-2", "0.1_x", &"x".repeat(63)] {
            assert_eq!(name.parse::<SessionName>().expect("fine").as_str(), name);
        }
        for name in ["", "-a", ".a", "a b", "a/b", "ä", "a\n", "a\x1b[m", "..", &"x".repeat(64)] {
            let error = name.parse::<SessionName>().expect_err(name).to_string();
            assert!(error.contains("can't be a session's name") && !error.contains('\x1b'), "{error}");
        }
        assert!(serde_json::from_str::<SessionName>("\"a b\"").is_err());
    }

    #[test]
    fn names_are_made_after_the_program() {
        let name = |program: &str, taken: &[&str]| SessionName::after(program, |name| taken.contains(&name)).0;
        assert_eq!(name("/usr/bin/zsh", &[]), "zsh");
        assert_eq!(name("zsh", &["zsh", "zsh-2"]), "zsh-3");
        assert_eq!(name("./-x y", &[]), "xy");
        assert_eq!(name("漢", &[]), "session");
        assert!(name(&"x".repeat(90), &[]).parse::<SessionName>().is_ok());
    }
}
