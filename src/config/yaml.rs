//! `powerdev.yaml`: its structure, how it is read, and its JSON Schema.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use powerdev_protocol::service::rules::schema;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::entries::{MountEntry, PortEntry};
use super::forms::{JoinedText, Scalar, UniqueMap};
use super::locate::{self, PathStep};
use super::overlay::Overlay;
use super::setting::Setting;
use super::settings::{self, SETTINGS};
use super::{suggest, text};
use crate::failure::Failure;

/// The file's name in the project's folder.
pub const FILE: &str = "powerdev.yaml";

/// What to do about a value of another form.
pub(super) const SCHEMA_HINT: &str = "`powerdev config --schema` prints what may be there";

/// What `powerdev.yaml` may say. Every key is optional.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(title = "powerdev.yaml", deny_unknown_fields, default)]
pub struct YamlContent {
    /// The values of settings as written, by their keys. Their schema is that of their declarations.
    #[schemars(skip)]
    pub settings: BTreeMap<String, String>,
    /// Ports published besides those of the services: 8080, "8081:80", or {container: 80, host: 8081}.
    pub ports: Vec<PortEntry>,
    /// Folders mounted besides those of powerdev: "source:target[:ro]", or {source, target, read_only}.
    pub mounts: Vec<MountEntry>,
    /// Plain variables of every service and shell. Anyone who may use Docker here can read them: secrets belong in
    /// .env.
    #[schemars(with = "BTreeMap<String, Scalar>", transform = schema::variables)]
    pub environment: BTreeMap<String, String>,
    /// Keys of .env that are meant as they are, though they look like a setting misspelt.
    pub secrets: Vec<String>,
    /// Services: changes to built-in ones, and your own.
    #[schemars(transform = schema::services)]
    pub services: BTreeMap<String, Overlay>,
}

/// The keys of [`YamlContent`] that are no settings.
const STRUCTURES: [&str; 5] = ["ports", "mounts", "environment", "secrets", "services"];

impl<'de> Deserialize<'de> for YamlContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct YamlContentVisitor;
        impl<'de> Visitor<'de> for YamlContentVisitor {
            type Value = YamlContent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys with values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<YamlContent, A::Error> {
                let mut content = YamlContent::default();
                let mut seen = BTreeSet::new();
                while let Some(key) = map.next_key::<String>()? {
                    if !seen.insert(key.clone()) {
                        return Err(de::Error::custom(format_args!("duplicate field `{key}`")));
                    }
                    content.read(&key, &mut map)?;
                }
                Ok(content)
            }
        }
        deserializer.deserialize_map(YamlContentVisitor)
    }
}

impl YamlContent {
    /// Reads the value of a key.
    fn read<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "ports" => self.ports = map.next_value()?,
            "mounts" => self.mounts = map.next_value()?,
            "environment" => self.environment = map.next_value::<UniqueMap<String>>()?.0,
            "secrets" => self.secrets = map.next_value()?,
            "services" => self.services = map.next_value::<UniqueMap<Overlay>>()?.0,
            _ => {
                let value = match settings::keyed(key) {
                    Some(setting) if setting.syntax.is_list => map.next_value::<JoinedText>()?.0,
                    Some(_) => map.next_value::<Option<String>>()?,
                    None => {
                        let known: Vec<String> = keys().map(|key| format!("`{key}`")).collect();
                        let known = known.join(", ");
                        return Err(de::Error::custom(format_args!("unknown field `{key}`, expected one of {known}")));
                    }
                };
                self.settings.extend(value.map(|value| (key.to_owned(), value)));
            }
        }
        Ok(())
    }
}

/// The keys that `powerdev.yaml` may have.
fn keys() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().filter_map(|setting| setting.key).chain(STRUCTURES)
}

/// `powerdev.yaml` as read: what it says, and its text to find lines in.
#[derive(Debug, Clone, Default)]
pub struct YamlFile {
    /// The file that was read, for messages.
    pub path: PathBuf,
    /// What it says, not yet checked against anything else.
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
        let key = settings::POWERDEV_NAME.key.unwrap_or_default();
        let settings = name.into_iter().map(|name| (key.to_owned(), name)).collect();
        Self { path, content: YamlContent { settings, ..YamlContent::default() }, text: String::new() }
    }

    /// The line of what lies at these steps, from 1, where it can be told.
    pub fn line(&self, steps: &[PathStep<'_>]) -> Option<usize> {
        locate::line(&self.text, steps)
    }

    /// Says in the file's terms what serde found wrong with what lies at these steps.
    pub(super) fn refusal(&self, mut steps: &[PathStep<'_>], message: &str) -> Failure {
        let unknown = unknown_field(message);
        if let (Some((_, unknown, _)), Some((PathStep::Key(last), above))) = (&unknown, steps.split_last())
            && unknown == last
        {
            steps = above;
        }
        let path = steps.iter().fold(String::new(), |path, step| match step {
            PathStep::Key(key) if path.is_empty() => (*key).to_owned(),
            PathStep::Key(key) => format!("{path}.{key}"),
            PathStep::Item(index) => format!("{path}[{index}]"),
        });
        match unknown {
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
    let mut generator = SchemaGenerator::default();
    let property = |setting: &&Setting| Some((setting.key?.to_owned(), property(setting, &mut generator).to_value()));
    let declared: Vec<_> = SETTINGS.iter().filter_map(property).collect();
    let mut schema = generator.into_root_schema_for::<YamlContent>();
    schema.insert("$id".into(), "https://powerdev.dev/powerdev.schema.json".into());
    if let Some(properties) = schema.get_mut("properties").and_then(serde_json::Value::as_object_mut) {
        properties.extend(declared);
    }
    schema.to_value()
}

/// The schema of a setting's key.
fn property(setting: &Setting, generator: &mut SchemaGenerator) -> Schema {
    let mut schema = (setting.syntax.schema)(generator);
    schema.insert("description".into(), setting.why.into());
    schema.insert("default".into(), serde_json::Value::Null);
    schema
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
