//! `powerdev.yaml`: its structure, how it is read, and its JSON Schema.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use schemars::JsonSchema;
use serde::Deserialize;

use super::entries::{MountEntry, PortEntry};
use super::forms;
use super::locate::{self, PathStep};
use super::overlay::Overlay;
use super::{suggest, text};
use crate::failure::Failure;

/// The file's name in the project's folder.
pub const FILE: &str = "powerdev.yaml";

const SCHEMA_HINT: &str = "`powerdev config --schema` prints what may be there";

/// What `powerdev.yaml` may say. Every key is optional.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "powerdev.yaml")]
pub struct YamlContent {
    /// What the environment is called; container and network are powerdev-<name>.
    pub name: Option<String>,
    /// Which stage of the Dockerfile: core or full.
    #[schemars(with = "Option<super::Profile>")]
    pub profile: Option<String>,
    /// Which security profile: dev or strict.
    #[schemars(with = "Option<super::SecurityProfile>")]
    pub security: Option<String>,
    /// An image of your own to run instead; the built-in services are off in it unless you enable them.
    pub image: Option<String>,
    /// What powerdev's own image is built on.
    pub base_image: Option<String>,
    /// Extra CA certificates for the image: auto, none, or a PEM file.
    pub ca_bundle: Option<String>,
    /// Which GPUs the container gets: auto, all, none, or ids.
    #[serde(deserialize_with = "forms::words_or_text")]
    #[schemars(with = "Option<forms::WordsOrText>")]
    pub gpu: Option<String>,
    /// CPUs that the container may use, or auto.
    #[schemars(with = "Option<forms::NumberOrText>")]
    pub cpus: Option<String>,
    /// Memory that the container may use, such as 16g, or auto.
    #[schemars(with = "Option<forms::NumberOrText>")]
    pub memory: Option<String>,
    /// Size of /dev/shm, such as 1g.
    #[schemars(with = "Option<forms::NumberOrText>")]
    pub shm: Option<String>,
    /// Processes and threads that the container may have at once.
    #[schemars(with = "Option<forms::NumberOrText>")]
    pub pids: Option<String>,
    /// Where published ports listen.
    pub bind_address: Option<String>,
    /// A folder of this machine that appears at /workspace/ext.
    pub external_dir: Option<String>,
    /// Ports published besides those of the services: 8080, "8081:80", or {container: 80, host: 8081}.
    pub ports: Vec<PortEntry>,
    /// Folders mounted besides those of powerdev: "source:target[:ro]", or {source, target, read_only}.
    pub mounts: Vec<MountEntry>,
    /// Plain variables of every service and shell. Anyone who may use Docker here can read them: secrets belong in
    /// .env.
    #[serde(deserialize_with = "forms::unique")]
    #[schemars(with = "BTreeMap<String, forms::Scalar>")]
    pub environment: BTreeMap<String, String>,
    /// Keys of .env that are meant as they are, though they look like a setting misspelt.
    pub secrets: Vec<String>,
    /// Services: changes to built-in ones, and your own.
    #[serde(deserialize_with = "forms::unique")]
    pub services: BTreeMap<String, Overlay>,
}

impl YamlContent {
    /// The value of a setting's key, as written.
    pub fn setting(&self, key: &str) -> Option<&str> {
        let value = match key {
            "name" => &self.name,
            "profile" => &self.profile,
            "security" => &self.security,
            "image" => &self.image,
            "base_image" => &self.base_image,
            "ca_bundle" => &self.ca_bundle,
            "gpu" => &self.gpu,
            "cpus" => &self.cpus,
            "memory" => &self.memory,
            "shm" => &self.shm,
            "pids" => &self.pids,
            "bind_address" => &self.bind_address,
            "external_dir" => &self.external_dir,
            _ => &None,
        };
        value.as_deref()
    }
}

/// `powerdev.yaml` as read: what it says, and its text to find lines in.
#[derive(Debug, Clone, Default)]
pub struct YamlFile {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub content: YamlContent,
    text: String,
}

impl YamlFile {
    /// Reads the project's `powerdev.yaml`; None where there is none.
    ///
    /// # Errors
    /// A usage [`Failure`] naming file, line and a suggestion; an I/O error naming the file.
    pub fn read(project: &Path) -> anyhow::Result<Option<Self>> {
        let path = project.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(Self::parse(&path, &bytes)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let other = project.join("powerdev.yml");
                if other.exists() {
                    let failure = Failure::usage(format!("{} isn't read", other.display()));
                    return Err(failure.hint(format!("rename it to {FILE}")).into());
                }
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
        }
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// A usage [`Failure`] naming file, line and a suggestion.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Failure> {
        let text = text::utf8(path, bytes)?;
        let content: Option<YamlContent> =
            serde_yaml::from_str(text).map_err(|error| unreadable(path, text, &error))?;
        Ok(Self { path: path.to_owned(), content: content.unwrap_or_default(), text: text.to_owned() })
    }

    /// A file of which only its name was read.
    pub(super) fn named(path: PathBuf, name: Option<String>) -> Self {
        Self { path, content: YamlContent { name, ..YamlContent::default() }, text: String::new() }
    }

    /// The line of what lies at these steps, from 1, where it can be told.
    pub fn line(&self, steps: &[PathStep<'_>]) -> Option<usize> {
        locate::line(&self.text, steps)
    }

    /// Says in the file's terms what serde found wrong with what lies at these steps.
    pub(super) fn refusal(&self, steps: &[PathStep<'_>], message: &str) -> Failure {
        let path = steps.iter().fold(String::new(), |path, step| match step {
            PathStep::Key(key) if path.is_empty() => (*key).to_owned(),
            PathStep::Key(key) => format!("{path}.{key}"),
            PathStep::Item(index) => format!("{path}[{index}]"),
        });
        match unknown_field(message) {
            Some((_, unknown, known)) => {
                unknown_key(&self.place(&[steps, &[PathStep::Key(&unknown)]].concat()), &unknown, &path, &known)
            }
            None => Failure::usage(format!("{}: {path}: {message}", self.place(steps))).hint(SCHEMA_HINT),
        }
    }

    /// `file:line` of what lies at these steps, for messages.
    pub fn place(&self, steps: &[PathStep<'_>]) -> String {
        place(&self.path, self.line(steps))
    }
}

/// `file:line`, or the file alone.
pub fn place(path: &Path, line: Option<usize>) -> String {
    match line {
        Some(line) => format!("{}:{line}", path.display()),
        None => path.display().to_string(),
    }
}

/// The JSON Schema of `powerdev.yaml`, for editors.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(YamlContent);
    schema.insert("$id".into(), "https://powerdev.dev/powerdev.schema.json".into());
    schema.to_value()
}

/// Says what serde found wrong in the file's terms: its message without its own position, and a suggestion.
fn unreadable(path: &Path, text: &str, error: &serde_yaml::Error) -> Failure {
    let message = error.to_string();
    let line = error.location().map(|location| location.line());
    let message = message.find(" at line ").map_or(message.as_str(), |end| &message[..end]);
    let Some((context, unknown, known)) = unknown_field(message) else {
        return Failure::usage(format!("{}: {message}", place(path, line))).hint(SCHEMA_HINT);
    };
    let line = match context.as_str() {
        "" => locate::line(text, &[PathStep::Key(&unknown)]),
        _ => locate::key_at_or_after(text, &unknown, line.unwrap_or(1)),
    };
    unknown_key(&place(path, line), &unknown, &context, &known)
}

/// The failure for a key that nobody knows, with what was meant or what would do.
fn unknown_key(place: &str, unknown: &str, context: &str, known: &[String]) -> Failure {
    let hint = suggest::did_you_mean(unknown, known.iter().map(String::as_str))
        .unwrap_or_else(|| format!("it may be one of {}", known.join(", ")));
    let context = if context.is_empty() { String::new() } else { format!(" in {context}") };
    Failure::usage(format!("{place}: unknown key `{unknown}`{context}")).hint(hint)
}

/// Takes serde's message on an unknown field apart: where, which, what would have done.
fn unknown_field(message: &str) -> Option<(String, String, Vec<String>)> {
    let at = message.find("unknown field `")?;
    let context = message[..at].trim_end_matches([':', ' ', '?', '.']).to_owned();
    let (unknown, rest) = message[at + "unknown field `".len()..].split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((context, unknown.to_owned(), known))
}
