//! `packages:`, what is added to the image by name. The names end up in commands that root runs in a build: each is held
//! to the form that its package manager has for names, so that none is an option, a path, an address or a command.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Packages that an image of the project's own has besides those of powerdev's, by who installs them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Packages {
    /// Debian's, such as redis-tools or redis-tools=5:8.0.2-3.
    pub apt: Vec<String>,
    /// Of npm, such as typescript, @scope/name or typescript@5.
    pub npm: Vec<String>,
    /// Of PyPI, such as httpie, httpie==3.2.4 or uvicorn[standard].
    pub pip: Vec<String>,
}

/// A list of packages: its key, what one may be, and whether a text is that.
type PackageList<'a> = (&'static str, &'a [String], &'static str, fn(&str) -> bool);

/// One that isn't a package's name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadPackage {
    /// The list's key.
    pub list: &'static str,
    /// Its place in the list.
    pub index: usize,
    /// What would do.
    pub expected: &'static str,
}

impl Packages {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.lists().iter().all(|(_, names, ..)| names.is_empty())
    }

    fn lists(&self) -> [PackageList<'_>; 3] {
        [
            ("apt", &self.apt, "a Debian package such as redis-tools, or redis-tools=5:8.0.2-3", is_apt),
            ("npm", &self.npm, "an npm package such as typescript, @scope/name, or typescript@5", is_npm),
            ("pip", &self.pip, "a package of PyPI such as httpie, httpie==3.2.4, or uvicorn[standard]", is_pip),
        ]
    }

    /// Every package with the key of its list.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.lists().into_iter().flat_map(|(list, names, ..)| names.iter().map(move |name| (list, name.as_str())))
    }

    /// The first that isn't a package's name.
    pub(super) fn check(&self) -> Result<(), BadPackage> {
        for (list, names, expected, is_one) in self.lists() {
            if let Some(index) = names.iter().position(|name| name.len() > 200 || !is_one(name)) {
                return Err(BadPackage { list, index, expected });
            }
        }
        Ok(())
    }
}

/// `name[:architecture][=version]`. A `-` at the end would be apt's wish to remove it.
fn is_apt(text: &str) -> bool {
    let (name, version) = text.split_once('=').map_or((text, None), |(name, version)| (name, Some(version)));
    let (name, architecture) = name.split_once(':').map_or((name, None), |(name, other)| (name, Some(other)));
    is_made_of(name, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c))
        && !name.ends_with('-')
        && architecture.is_none_or(|other| is_made_of(other, |c| c.is_ascii_lowercase() || c.is_ascii_digit()))
        && version.is_none_or(|version| is_made_of(version, |c| c.is_ascii_alphanumeric() || ".+-:~".contains(c)))
}

/// `[@scope/]name[@version]`. Anything with another `/` or a `:` would be an address.
fn is_npm(text: &str) -> bool {
    let part = |part: &str| is_made_of(part, |c| c.is_ascii_alphanumeric() || "._-".contains(c));
    let (scope, rest) = match text.strip_prefix('@') {
        Some(scoped) => match scoped.split_once('/') {
            Some((scope, rest)) => (Some(scope), rest),
            None => return false,
        },
        None => (None, text),
    };
    let (name, version) = rest.split_once('@').map_or((rest, None), |(name, version)| (name, Some(version)));
    let is_version = |text: &str| {
        let bare = text.trim_start_matches(['^', '~']);
        text.len() - bare.len() < 2 && is_made_of(bare, |c| c.is_ascii_alphanumeric() || "._+-".contains(c))
    };
    scope.is_none_or(part) && part(name) && version.is_none_or(is_version)
}

/// `name[[extra,…]][==version]`, or another of Python's comparisons.
fn is_pip(text: &str) -> bool {
    let at = text.find(['=', '<', '>', '~', '!']).unwrap_or(text.len());
    let (name, version) = text.split_at(at);
    let part = |part: &str| is_made_of(part, |c| c.is_ascii_alphanumeric() || "._-".contains(c));
    let (name, extras) = match name.split_once('[') {
        Some((name, extras)) => match extras.strip_suffix(']') {
            Some(extras) => (name, Some(extras)),
            None => return false,
        },
        None => (name, None),
    };
    let is_version = |text: &str| is_made_of(text, |c| c.is_ascii_alphanumeric() || ".+!*".contains(c));
    let compared = ["==", ">=", "<=", "~=", "!="].iter().find_map(|sign| version.strip_prefix(sign));
    part(name)
        && extras.is_none_or(|extras| extras.split(',').all(part))
        && compared.map_or(version.is_empty(), is_version)
}

/// Not empty, a letter or digit first, and nothing but these.
fn is_made_of(text: &str, fits: impl Fn(char) -> bool) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_pass() {
        for text in ["redis-tools", "g++", "libstdc++6", "redis-tools=5:8.0.2-3+deb13u1", "libc6:arm64", "7zip"] {
            assert!(is_apt(text), "{text}");
        }
        for text in ["typescript", "@openai/codex", "typescript@5", "typescript@^5.2.0", "@a/b@next", "7zip"] {
            assert!(is_npm(text), "{text}");
        }
        for text in ["httpie", "httpie==3.2.4", "uvicorn[standard]", "ruff>=0.5", "zope.interface~=6.0", "a[b,c]==1.*"]
        {
            assert!(is_pip(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let everywhere = [
            "",
            " ",
            "-y",
            "--help",
            "a b",
            "a;b",
            "a&&b",
            "$(id)",
            "`id`",
            "a'b",
            "a\"b",
            "a\\b",
            "a\nb",
            "../a",
            "./a",
            "/etc",
            "a/b/c",
            "https://x.example/a",
            "git+https://x.example/a",
            "~a",
            "ä",
            "a\0b",
            "a|b",
            "a>b<c",
        ];
        for text in everywhere {
            assert!(!is_apt(text) && !is_npm(text) && !is_pip(text), "{text:?}");
        }
        for text in ["redis-", "A", "a=", "a/testing", "a=1 b", "a:amd64:x"] {
            assert!(!is_apt(text), "{text}");
        }
        for text in ["a/b", "file:a", "@a", "@/a", "@a/", "a@", "a@npm:b", "a@file:b", "a@^~1", "a@1||2", "_a"] {
            assert!(!is_npm(text), "{text}");
        }
        for text in ["a==", "a=1", "a@b", "a[", "a[]", "a[b", "a;python_version>'3'", "a==1,<2", "a===1"] {
            assert!(!is_pip(text), "{text}");
        }
    }

    #[test]
    fn the_first_wrong_one_is_told() {
        let packages = Packages { npm: vec!["a".into(), "b/c".into()], ..Packages::default() };
        let bad = packages.check().expect_err("an address");
        assert_eq!((bad.list, bad.index), ("npm", 1));
        assert!(Packages::default().is_empty() && !packages.is_empty());
    }

    #[test]
    fn a_project_with_a_wrong_name_is_refused_with_its_line() {
        let dir = tempfile::tempdir().expect("a folder");
        let refusal = |yaml: &str| {
            std::fs::write(dir.path().join("powerdev.yaml"), yaml).expect("written");
            let error = crate::config::load_alone(dir.path()).expect_err("refused");
            error.to_string().replace(&format!("{}/", dir.path().display()), "")
        };
        let wrong = refusal("packages:\n  apt:\n    - jq\n    - jq; id\n");
        assert_eq!(wrong, "powerdev.yaml:4: a name in `packages.apt` is none");
        let twice = refusal("image: x\npackages: { apt: [jq] }\n");
        assert!(twice.starts_with("powerdev.yaml:2: `packages:` go into powerdev's own image"), "{twice}");
        let hook = refusal("hooks: { created: '' }\n");
        assert_eq!(hook, "powerdev.yaml:1: hook `created` has an empty command");
        let taken = refusal("hooks: { created: a }\nservices: { hook-created: { command: b } }\n");
        assert!(taken.starts_with("powerdev.yaml:1: there is a service `hook-created`"), "{taken}");
    }

    proptest::proptest! {
        /// In a shell, between single quotes, such a text is one word and no option.
        #[test]
        fn what_passes_needs_no_quoting(text in "[ -~]{0,12}") {
            for is_one in [is_apt, is_npm, is_pip] {
                let harmless = !text.contains(['\'', ' ', '$', '`', '\\', ';', '&', '|', '"', '(', '#']) && !text.starts_with('-');
                proptest::prop_assert!(!is_one(&text) || harmless, "{}", text);
            }
        }
    }
}
