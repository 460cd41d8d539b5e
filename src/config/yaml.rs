//! `powerdev.yaml`: its structure, how it is read, and its JSON Schema.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use powerdev_protocol::service::bounds;
use powerdev_protocol::service::rules::{self, Bounds, schema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_path_to_error::Segment;

use super::entries::{MountEntry, PortEntry};
use super::forms::{JoinedText, Scalar, UniqueMap};
use super::hooks::Hooks;
use super::outline::{Flaw, Outline, PathStep};
use super::overlay::Overlay;
use super::packages::Packages;
use super::refusal::{Refusal, one_of, shown};
use super::setting::Setting;
use super::settings::{self, SETTINGS};
use super::{suggest, text};
use crate::failure::Failure;
use crate::files;

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
    /// Packages that are added to powerdev's image, in an image of this project's own.
    pub packages: Packages,
    /// Commands that are run inside when the container was made, and at each start.
    pub hooks: Hooks,
    /// Services: changes to built-in ones, and your own.
    #[schemars(transform = schema::services)]
    pub services: BTreeMap<String, Overlay>,
}

/// The keys of [`YamlContent`] that are no settings.
const STRUCTURES: [&str; 7] = ["ports", "mounts", "environment", "secrets", "packages", "hooks", "services"];

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
            "packages" => self.packages = map.next_value::<Option<Packages>>()?.unwrap_or_default(),
            "hooks" => self.hooks = map.next_value::<Option<Hooks>>()?.unwrap_or_default(),
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

/// `powerdev.yaml` as read: what it says, and where.
#[derive(Debug, Clone, Default)]
pub struct YamlFile {
    /// The file that was read, for messages.
    pub path: PathBuf,
    /// What it says, not yet checked against anything else.
    pub content: YamlContent,
    outline: Outline,
}

impl YamlFile {
    /// Reads the project's `powerdev.yaml`; None where there is none.
    ///
    /// # Errors
    /// A usage [`Failure`] naming file, line and a suggestion; a [`FileError`](files::FileError) naming the
    /// file.
    pub fn read(project: &Path) -> anyhow::Result<Option<Self>> {
        let path = project.join(FILE);
        if let Some(bytes) = files::read_if_there(&path)? {
            return Ok(Some(Self::parse(&path, &bytes)?));
        }
        let other = project.join("powerdev.yml");
        if other.exists() {
            let failure = Failure::usage(format!("{} isn't read", other.display()));
            return Err(failure.hint(format!("rename it to {FILE}")).into());
        }
        Ok(None)
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// A usage [`Failure`] naming file, line and a suggestion.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Failure> {
        let text = text::utf8(path, bytes)?;
        let outline = Outline::read(text).map_err(|flaw| flawed(path, flaw))?;
        let mut file = Self { path: path.to_owned(), content: YamlContent::default(), outline };
        let reader = serde_yaml::Deserializer::from_str(text);
        let content = serde_path_to_error::deserialize::<_, Option<YamlContent>>(reader);
        file.content = content.map_err(|error| file.unreadable(&error))?.unwrap_or_default();
        Ok(file)
    }

    /// A file of which only its name was read.
    pub(super) fn named(path: PathBuf, name: Option<String>) -> Self {
        let key = settings::POWERDEV_NAME.key.unwrap_or_default();
        let settings = name.into_iter().map(|name| (key.to_owned(), name)).collect();
        Self { path, content: YamlContent { settings, ..YamlContent::default() }, outline: Outline::default() }
    }

    /// The line of what lies at these steps, from 1, where it can be told.
    pub fn line(&self, steps: &[PathStep<'_>]) -> Option<usize> {
        self.outline.line(steps)
    }

    /// Says in the file's terms what serde found wrong with its text.
    fn unreadable(&self, error: &serde_path_to_error::Error<serde_yaml::Error>) -> Failure {
        let steps = steps(error.path());
        let message = error.inner().to_string();
        let bare = bare(&message, &steps, error.inner());
        match Refusal::of(bare) {
            Refusal::Said(said) if steps.is_empty() || said != bare || bare.contains(", while ") => {
                let noticed = error.inner().location().map_or(1, |at| at.line());
                let syntax = Syntax::of(&message, (said != bare).then_some(said), noticed);
                let place = place(&self.path, Some(syntax.line));
                Failure::usage(format!("{place}: {}", syntax.problem)).hint(syntax.hint)
            }
            _ => self.refusal(&steps, bare),
        }
    }

    /// Says in the file's terms what serde found wrong with what lies at these steps.
    pub(super) fn refusal(&self, mut steps: &[PathStep<'_>], message: &str) -> Failure {
        let refusal = Refusal::of(message);
        if let (Refusal::UnknownKey { key, .. }, Some((PathStep::Key(last), above))) = (&refusal, steps.split_last())
            && key == last
        {
            steps = above;
        }
        let path = path(steps);
        let place = if steps.is_empty() { place(&self.path, Some(1)) } else { self.place(steps) };
        let subject = if path.is_empty() { "the file".to_owned() } else { path.clone() };
        match refusal {
            Refusal::UnknownKey { key, known } => {
                unknown_key(&self.place(&[steps, &[PathStep::Key(&key)]].concat()), &key, &path, &known)
            }
            Refusal::MissingKey(key) => Failure::usage(format!("{place}: {subject} has no `{key}`")).hint(SCHEMA_HINT),
            Refusal::Unfit { found, expected, words } => {
                let is = found.map_or_else(|| "won't do".to_owned(), |found| format!("is {found}"));
                let given = is.split('`').nth(1).unwrap_or_default();
                let meant = suggest::did_you_mean(given, words.iter().map(String::as_str));
                let expected =
                    number_at(steps).map(|bounds| bounds.to_string()).or(setting_at(steps)).unwrap_or(expected);
                Failure::usage(format!("{place}: {subject} {is}")).hint(meant.unwrap_or(expected))
            }
            Refusal::Said(what) => Failure::usage(format!("{place}: {subject}: {what}")).hint(SCHEMA_HINT),
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

fn flawed(path: &Path, flaw: Flaw) -> Failure {
    Failure::usage(format!("{}: {}", place(path, Some(flaw.line)), flaw.message)).hint(flaw.hint)
}

/// What is wrong with text that isn't YAML.
struct Syntax {
    problem: String,
    hint: &'static str,
    /// Where it begins, or else where it was noticed.
    line: usize,
}

impl Syntax {
    /// From a message such as `did not find … at line 3 column 1, while parsing … at line 2 column 3`, and what we say
    /// instead, if we do.
    fn of(message: &str, said: Option<String>, noticed: usize) -> Self {
        let (problem, context) = message.split_once(", while ").unwrap_or((message, ""));
        let (problem, begun) = (without_place(problem).0, without_place(context).1);
        if context.starts_with("scanning a quoted scalar") && problem.contains("end of stream") {
            let problem = "a quote opens here and is never closed".to_owned();
            return Self { problem, hint: "close it", line: begun.unwrap_or(noticed) };
        }
        let hint = match problem {
            _ if problem.starts_with("mapping values are not allowed") => "put a value with `: ` in it between quotes",
            _ if problem.starts_with("found character that cannot start") => {
                "indent with spaces, and put such a value between quotes"
            }
            _ => "look at the line above, too: brackets, quotes and indentation must fit",
        };
        let problem = said.unwrap_or_else(|| format!("this is no YAML: {problem}"));
        Self { problem, hint, line: noticed }
    }
}

/// A message without the place at its end, and the line there.
fn without_place(message: &str) -> (&str, Option<usize>) {
    match message.rsplit_once(" at line ") {
        Some((what, place)) => (what, place.split(' ').next().and_then(|line| line.parse().ok())),
        None => (message, None),
    }
}

/// serde_yaml's message without its own path and place.
fn bare<'a>(message: &'a str, steps: &[PathStep<'_>], error: &serde_yaml::Error) -> &'a str {
    let mark = error.location().map(|at| format!(" at line {} column {}", at.line(), at.column())).unwrap_or_default();
    let message = message.strip_suffix(mark.as_str()).unwrap_or(message);
    let paths = (0..=steps.len()).rev().map(|count| joined(&steps[..count], str::to_owned));
    paths.filter(|path| !path.is_empty()).find_map(|path| message.strip_prefix(&format!("{path}: "))).unwrap_or(message)
}

/// The steps of a path that serde went.
pub(super) fn steps(path: &serde_path_to_error::Path) -> Vec<PathStep<'_>> {
    let step = |segment| match segment {
        &Segment::Map { ref key } | &Segment::Enum { variant: ref key } => Some(PathStep::Key(key)),
        Segment::Seq { index } => Some(PathStep::Item(*index)),
        Segment::Unknown => None,
    };
    path.iter().filter_map(step).collect()
}

/// Steps as they are shown: `services.web.ports[0]`.
fn path(steps: &[PathStep<'_>]) -> String {
    joined(steps, |key| key.escape_debug().to_string())
}

fn joined(steps: &[PathStep<'_>], written: impl Fn(&str) -> String) -> String {
    steps.iter().fold(String::new(), |path, step| match step {
        PathStep::Key(key) if path.is_empty() => written(key),
        PathStep::Key(key) => format!("{path}.{}", written(key)),
        PathStep::Item(index) => format!("{path}[{index}]"),
    })
}

/// What the setting at these steps takes, if they lead to one.
fn setting_at(steps: &[PathStep<'_>]) -> Option<String> {
    let [PathStep::Key(key), ..] = steps else { return None };
    settings::keyed(key).map(|setting| format!("give {}", (setting.syntax.takes)()))
}

/// The numbers that may stand at these steps, if they lead to one.
fn number_at(steps: &[PathStep<'_>]) -> Option<Bounds> {
    let below = match steps {
        [PathStep::Key("ports"), PathStep::Item(_), PathStep::Key("container" | "host")] => return Some(rules::PORT),
        [PathStep::Key("services"), PathStep::Key(_), below @ ..] => below,
        _ => return None,
    };
    let keys: Vec<&str> =
        below.iter().filter_map(|step| if let PathStep::Key(key) = step { Some(*key) } else { None }).collect();
    bounds(&keys).filter(|_| keys != ["ports"] || keys.len() < below.len())
}

/// The failure for a key that nobody knows, with what was meant or what would do.
fn unknown_key(place: &str, unknown: &str, context: &str, known: &[String]) -> Failure {
    let hint = suggest::did_you_mean(unknown, known.iter().map(String::as_str))
        .unwrap_or_else(|| if known.is_empty() { "nothing may stand there".to_owned() } else { one_of(known) });
    let context = if context.is_empty() { String::new() } else { format!(" in {context}") };
    Failure::usage(format!("{place}: unknown key `{}`{context}", shown(unknown))).hint(hint)
}
