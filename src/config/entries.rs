//! The entries of `ports:` and `mounts:`, in their short and their long form.

use std::fmt;

use powerdev_protocol::service::rules::{self, schema};
use schemars::JsonSchema;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Unexpected, Visitor, value::MapAccessDeserializer};

use super::types::Port;

/// A published port: `8080`, `"8081:80"` (host, then container, as docker writes it), or both by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortEntry(pub Port);

/// The long form of a port.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Port")]
struct PortForm {
    /// The port inside of the container.
    #[schemars(transform = schema::by(rules::PORT))]
    container: u16,
    /// On the host; the same if not given.
    #[schemars(transform = schema::by(rules::PORT))]
    host: Option<u16>,
}

/// The forms of a port.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is of use")]
enum PortForms {
    /// The same inside and on the host.
    Same(#[schemars(transform = schema::by(rules::PORT))] u16),
    /// `host:container`, as docker writes it.
    Short(String),
    /// Both ends by name.
    Long(PortForm),
}

const PORT: &str = "a port such as 8080, \"8081:80\" (host:container), or {container: 80, host: 8081}";

impl JsonSchema for PortEntry {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PortEntry".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        PortForms::json_schema(generator)
    }
}

impl<'de> Deserialize<'de> for PortEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PortVisitor;
        impl<'de> Visitor<'de> for PortVisitor {
            type Value = PortEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(PORT)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<PortEntry, E> {
                port(number, number)
                    .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &rules::PORT.to_string().as_str()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PortEntry, E> {
                short_port(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &PORT))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PortEntry, A::Error> {
                let form = PortForm::deserialize(MapAccessDeserializer::new(map))?;
                port(form.host.unwrap_or(form.container).into(), form.container.into())
                    .ok_or_else(|| de::Error::invalid_value(Unexpected::Unsigned(0), &rules::PORT.to_string().as_str()))
            }
        }
        deserializer.deserialize_any(PortVisitor)
    }
}

fn port(host: u64, container: u64) -> Option<PortEntry> {
    let number = |number: u64| u16::try_from(number).ok().filter(|number| rules::PORT.allow((*number).into()));
    Some(PortEntry(Port { container: number(container)?, host: number(host)? }))
}

fn short_port(text: &str) -> Option<PortEntry> {
    let (host, container) = text.split_once(':').unwrap_or((text, text));
    port(host.trim().parse().ok()?, container.trim().parse().ok()?)
}

/// A mount: `source:target`, `source:target:ro`, or by name. The source as written: it isn't looked at here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// A path on the host: absolute, from the project's folder, or from `~`.
    pub source: String,
    /// An absolute path inside.
    pub target: String,
    /// Not writable inside.
    pub read_only: bool,
}

/// The long form of a mount.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Mount")]
struct MountForm {
    /// A path on the host: absolute, from the project's folder, or from `~`.
    source: String,
    /// An absolute path inside.
    #[schemars(transform = schema::by(rules::FOLDER))]
    target: String,
    /// Not writable inside.
    #[serde(default)]
    read_only: bool,
}

/// The forms of a mount.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is of use")]
enum MountForms {
    /// `source:target[:ro]`, as docker writes it.
    Short(String),
    /// Both ends by name.
    Long(MountForm),
}

const MOUNT: &str = "a mount such as \"../data:/data\", \"../data:/data:ro\", or {source: ../data, target: /data}";

impl JsonSchema for MountEntry {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MountEntry".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        MountForms::json_schema(generator)
    }
}

impl<'de> Deserialize<'de> for MountEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MountVisitor;
        impl<'de> Visitor<'de> for MountVisitor {
            type Value = MountEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(MOUNT)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<MountEntry, E> {
                short_mount(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &MOUNT))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MountEntry, A::Error> {
                let MountForm { source, target, read_only } = MountForm::deserialize(MapAccessDeserializer::new(map))?;
                Ok(MountEntry { source, target, read_only })
            }
        }
        deserializer.deserialize_any(MountVisitor)
    }
}

fn short_mount(text: &str) -> Option<MountEntry> {
    let (rest, read_only) = match text.strip_suffix(":ro") {
        Some(rest) => (rest, true),
        None => (text.strip_suffix(":rw").unwrap_or(text), false),
    };
    let (source, target) = rest.split_once(':')?;
    let whole = !source.is_empty() && target.starts_with('/') && !target.contains(':');
    whole.then(|| MountEntry { source: source.into(), target: target.into(), read_only })
}
