//! The types that settings are parsed into, once, at the edge.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Serialize;

/// Where a value came from; later ones win.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// The declaration's own.
    Default,
    /// What this machine makes of `auto`.
    Detected,
    /// A line of `powerdev.yaml`.
    Yaml {
        /// The file, absolute.
        file: PathBuf,
        /// Line, from 1, where it can be told.
        line: Option<usize>,
    },
    /// A line of `.env`, or of the file in its place.
    EnvFile {
        /// The file as it was named.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment {
        /// Its name, with the prefix if it was set by that.
        variable: String,
    },
    /// A flag of the command.
    Flag {
        /// Its name, with dashes.
        flag: String,
    },
}

/// One setting, as `powerdev config` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct ShownValue {
    /// The setting's name, as in `.env`.
    pub name: String,
    /// Its value; `<redacted, 40 characters>` for a secret.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// An environment's name: `a-z`, `0-9`, `-`, `_`, `.`; a letter or digit first; 48 characters at most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// The longest name, so that container, network and volume names stay within what every Engine takes.
    pub const MAX: usize = 48;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the container, the network, and the start of the volumes' names.
    pub fn container(&self) -> String {
        format!("powerdev-{self}")
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
        let first = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if first && text.len() <= Self::MAX && text.chars().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("use a-z, 0-9, `-`, `_` and `.`, a letter or digit first, {} at most", Self::MAX))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value that is one of a few words. clap derives the words from the variants' names, and what they mean from their
/// docs: they are written nowhere else.
pub trait Choice: clap::ValueEnum + schemars::JsonSchema {
    /// What a flag's value is called in the help.
    const PLACEHOLDER: &'static str;

    /// The word for it.
    fn word(&self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The word for it, and what it means.
    fn explained(&self) -> String {
        let help = self.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        [Some(self.word()), help].into_iter().flatten().collect::<Vec<_>>().join(": ")
    }
}

/// What the image has: a stage of the Dockerfile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, clap::ValueEnum, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Agents, shells and build tools.
    #[default]
    Core,
    /// CUDA, machine learning and Blender too.
    Full,
}

impl Choice for Profile {
    const PLACEHOLDER: &'static str = "PROFILE";
}

/// How closed the container is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, clap::ValueEnum, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecurityProfile {
    /// Root by `sudo`, packages, debuggers of your own processes, with nothing that leads out of the container.
    #[default]
    Dev,
    /// No capability, no `sudo`, a read-only root.
    Strict,
    /// Mounts, foreign processes, nested containers, no seccomp: root inside is close to root outside.
    Trusted,
}

impl Choice for SecurityProfile {
    const PLACEHOLDER: &'static str = "PROFILE";
}

/// What of the user's SSH is usable inside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, clap::ValueEnum, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SshAccess {
    /// Nothing of it.
    None,
    /// The SSH agent, to list keys and to sign with them, and the hosts that you know; the keys stay outside.
    #[default]
    Agent,
    /// That, and ~/.ssh itself, read-only: whatever runs inside can read the keys.
    Keys,
}

impl Choice for SshAccess {
    const PLACEHOLDER: &'static str = "ACCESS";
}

/// A setting that is one word: letters, digits, `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Word(String);

impl FromStr for Word {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.is_empty() || text.len() > 64 || !text.chars().all(fits) {
            return Err("give one word: letters, digits, `.`, `_` and `-`");
        }
        Ok(Self(text.to_owned()))
    }
}

/// Which GPUs the container gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GpuRequest {
    /// All that machine and Engine offer, none where they don't.
    #[default]
    Auto,
    /// All; a failure where there is none.
    All,
    /// No GPU, whatever there is.
    None,
    /// These, by index or UUID.
    Ids(Vec<String>),
}

impl FromStr for GpuRequest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text.trim() {
            "auto" => Self::Auto,
            "all" => Self::All,
            "none" => Self::None,
            "" => return Err("give auto, all, none, or ids such as 0,1".to_owned()),
            ids => {
                let ids: Vec<String> = ids.split(',').map(|id| id.trim().to_owned()).collect();
                let is_uuid = |id: &str| {
                    let rest = id.strip_prefix("GPU-").or_else(|| id.strip_prefix("MIG-")).unwrap_or_default();
                    !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '/'))
                };
                let is_index = |id: &str| !id.is_empty() && id.chars().all(|c| c.is_ascii_digit());
                let fits = |id: &String| is_index(id) || is_uuid(id);
                if !ids.iter().all(fits) {
                    return Err("give auto, all, none, or ids such as 0,1".to_owned());
                }
                Self::Ids(ids)
            }
        })
    }
}

/// The folder that appears at [`super::layout::EXTERNAL_TARGET`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExternalDir {
    /// The project's.
    #[default]
    Project,
    /// None of the user's: one in `.agent-mount`.
    None,
    /// This one of this machine, absolute and without links.
    Folder(PathBuf),
}

/// Which extra CA certificates go into the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CaBundle {
    /// Those that the host trusts and Debian doesn't ship.
    #[default]
    Auto,
    /// No certificate but Debian's own.
    None,
    /// Those of this PEM file.
    File(PathBuf),
}

/// A published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Port {
    /// The port inside of the container.
    pub container: u16,
    /// On the host, if it can be had; another one is found where it is busy.
    pub host: u16,
}

/// A bind mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: String,
    /// Not writable inside.
    pub read_only: bool,
}

/// Keys and values that never show: `Debug` is without the values, and there is no `Serialize`, on purpose.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, String>);

impl Secrets {
    /// Keeps these from being shown.
    pub fn new(secrets: BTreeMap<String, String>) -> Self {
        Self(secrets)
    }

    /// The values, for the agent's file and a build's secrets alone.
    pub fn reveal(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// The keys, which are no secret.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_every_engine() {
        assert!("my-project.2".parse::<Name>().is_ok());
        for text in ["", "-a", "A", "a b", "a/b", &"a".repeat(49)] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_show_keys_only() {
        let secrets = Secrets::new(BTreeMap::from([("TOKEN".to_owned(), "hush".to_owned())]));
        assert_eq!(format!("{secrets:?}"), r#"{"TOKEN"}"#);
    }
}
