//! The name of an image, by the grammar that every Engine and registry reads it by.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use regex::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

/// The longest name, without tag and digest.
const LONGEST: usize = 255;
/// A registry with its port, a path in lower case, a tag, a digest: the grammar of `distribution/reference`.
const GRAMMAR: &str = concat!(
    r"^((?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*",
    r"|\[[A-Fa-f0-9:]+\])(?::[0-9]+)?/)?",
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*",
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?",
    r"(?:@[A-Za-z][A-Za-z0-9]*(?:[+._-][A-Za-z][A-Za-z0-9]*)*:[0-9A-Fa-f]{32,512})?$",
);

/// The name of an image, as an Engine takes it: `debian:trixie`, `registry.example/team/dev:1`. Whether there is one of
/// this name, only the Engine can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ImageReference(String);

impl ImageReference {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ImageReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        static SHAPE: LazyLock<Regex> = LazyLock::new(|| Regex::new(GRAMMAR).expect("the grammar is a pattern"));
        let text = text.trim();
        let name = text.split('@').next().unwrap_or_default();
        if SHAPE.is_match(text) && name.len() <= LONGEST {
            return Ok(Self(text.to_owned()));
        }
        let lower = text.to_lowercase();
        Err(match SHAPE.is_match(&lower) && lower.len() <= LONGEST {
            true => format!("an image's name is in lower case: did you mean `{lower}`?"),
            false => "give an image, such as debian:trixie or registry.example/team/dev:1".to_owned(),
        })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for ImageReference {
    fn schema_name() -> Cow<'static, str> {
        "ImageReference".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({"type": "string", "pattern": GRAMMAR})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_every_engine_takes() {
        let digest = format!("a@sha256:{}", "0".repeat(64));
        for text in
            ["debian", "debian:trixie", "a/b/c:1", "host:5000/a", "Host.example/a__b-c.d:T_1", &digest, "[::1]:5000/a"]
        {
            assert_eq!(text.parse::<ImageReference>().map(|image| image.to_string()), Ok(text.to_owned()));
        }
        for text in [
            "",
            " ",
            "a b",
            "a:",
            ":1",
            "a@",
            "a@sha256:00",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a:b:c",
            "https://a/b",
            "a:é",
            "a\0",
        ] {
            assert!(text.parse::<ImageReference>().is_err_and(|why| why.contains("such as")), "{text}");
        }
        assert!("a".repeat(256).parse::<ImageReference>().is_err());
        let why = "Debian:trixie".parse::<ImageReference>().expect_err("a name of Docker Hub");
        assert!(why.contains("`debian:trixie`"), "{why}");
    }
}
