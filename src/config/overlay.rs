//! Services: the built-in ones, and what a project's `powerdev.yaml` changes about them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use powerdev_protocol::{Service, ServiceSet};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_yaml::{Mapping, Value};

use super::forms::{Scalar, UniqueMap};
use super::outline::PathStep;
use super::suggest;
use super::types::{Name, Profile, SecurityProfile};
use super::yaml::{self, SCHEMA_HINT, YamlFile};
use crate::failure::Failure;

/// The key of a service's command.
const COMMAND: &str = "command";
/// The key of a service's variables.
const ENVIRONMENT: &str = "environment";
/// The key of a service's probe.
const READY: &str = "ready";

/// The built-in services, by profile.
const BUILT_IN: &str = include_str!("../../templates/services.yaml");

/// The built-in services of a profile. `full` has those of `core` too.
///
/// # Panics
/// When the embedded file is wrong, which a test would have found.
pub fn built_in(profile: Profile) -> BTreeMap<String, Service> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct BuiltIn {
        core: BTreeMap<String, Service>,
        #[serde(default)]
        full: BTreeMap<String, Service>,
    }
    let BuiltIn { mut core, full } = serde_yaml::from_str(BUILT_IN).expect("templates/services.yaml is valid");
    if profile == Profile::Full {
        core.extend(full);
    }
    core
}

/// What a project says about one service: what it doesn't say stays as it is built in, or at its default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overlay(Mapping);

impl<'de> Deserialize<'de> for Overlay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OverlayVisitor;
        impl<'de> Visitor<'de> for OverlayVisitor {
            type Value = Overlay;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a service: keys with values")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Overlay, E> {
                Ok(Overlay::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Overlay, A::Error> {
                let mut overlay = Mapping::new();
                while let Some(key) = map.next_key::<String>()? {
                    // Variables are text as written: a number would come back as another text.
                    let value = match key.as_str() {
                        ENVIRONMENT => map.next_value::<UniqueMap<String>>().map(texts)?,
                        _ => map.next_value()?,
                    };
                    if overlay.contains_key(&key) {
                        return Err(de::Error::custom(format_args!("duplicate field `{key}`")));
                    }
                    overlay.insert(key.into(), value);
                }
                Ok(Overlay(overlay))
            }
        }
        deserializer.deserialize_any(OverlayVisitor)
    }
}

fn texts(map: UniqueMap<String>) -> Value {
    Value::Mapping(map.0.into_iter().map(|(key, text)| (key.into(), text.into())).collect())
}

impl JsonSchema for Overlay {
    fn schema_name() -> Cow<'static, str> {
        "Service".into()
    }

    /// That of a service, of which nothing need be said: what isn't may be built in.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let variables = generator.subschema_for::<BTreeMap<String, Scalar>>().to_value();
        let mut schema = Service::json_schema(generator);
        schema.remove("required");
        let description =
            "Changes to the built-in service of this name, or a service of your own: that needs a command.";
        schema.insert("description".into(), description.into());
        let properties = schema.get_mut("properties").and_then(serde_json::Value::as_object_mut);
        if let Some(environment) = properties.and_then(|all| all.get_mut(ENVIRONMENT)?.as_object_mut()) {
            environment.extend(variables.as_object().cloned().unwrap_or_default());
        }
        schema
    }
}

/// Lays one value over another: maps are merged key by key, everything else is replaced. What is null says nothing.
fn merge(base: &mut Mapping, over: &Mapping) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (_, Value::Null) => {}
            // A probe is one of several kinds: half of one and half of another is none.
            (Some(Value::Mapping(base)), Value::Mapping(over)) if key != READY => merge(base, over),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// The services of a project: built-in ones with its own laid over them. In an image of the project's own the
/// built-in ones are off unless it enables them: their programs may not be there.
///
/// # Errors
/// A usage [`Failure`]: a new service without a command, an unknown key or dependency, a cycle, a senseless value.
pub fn services(
    name: &Name,
    profile: Profile,
    own_image: bool,
    security: SecurityProfile,
    yaml: &YamlFile,
) -> Result<BTreeMap<String, Service>, Failure> {
    let mut services = built_in(profile);
    if own_image {
        services.values_mut().for_each(|service| service.enabled = false);
    }
    for (key, overlay) in &yaml.content.services {
        let mut merged = services.get(key).map_or_else(without_command, as_mapping);
        merge(&mut merged, &overlay.0);
        let service = serde_path_to_error::deserialize(Value::Mapping(merged));
        let service = service.map_err(|error| unreadable(yaml, key, &error))?;
        if !services.contains_key(key) && !overlay.0.contains_key(COMMAND) {
            let place = yaml.place(&[PathStep::Key("services"), PathStep::Key(key)]);
            let hint = suggest::did_you_mean(key, services.keys().map(String::as_str));
            return Err(Failure::usage(format!("{place}: service `{key}` has no command"))
                .hint(hint.unwrap_or_else(|| format!("give it one; built in are {}", listed(&services)))));
        }
        services.insert(key.clone(), service);
    }
    for (key, service, hook) in yaml.content.hooks.all() {
        let place = yaml.place(&[PathStep::Key("hooks"), PathStep::Key(key)]);
        if hook.0.first().is_none_or(String::is_empty) {
            return Err(Failure::usage(format!("{place}: hook `{key}` has an empty command")).hint("give a command"));
        }
        if services.contains_key(service) {
            let message = format!("{place}: there is a service `{service}`, which is what this hook is called inside");
            return Err(Failure::usage(message).hint("rename the service"));
        }
    }
    services.extend(yaml.content.hooks.services(security));
    let set = ServiceSet { project: name.to_string(), environment: BTreeMap::new(), services };
    set.check().map_err(|error| refused(yaml, &set.services, &error))?;
    Ok(set.services)
}

/// What a new service is laid over, so that a key that nobody knows is told before the command that is missing.
fn without_command() -> Mapping {
    Mapping::from_iter([(COMMAND.into(), Value::Sequence(Vec::new()))])
}

fn as_mapping(service: &Service) -> Mapping {
    match serde_yaml::to_value(service) {
        Ok(Value::Mapping(mapping)) => mapping,
        other => unreachable!("a service is a map of plain data, not {other:?}"),
    }
}

/// Says what is wrong with a service's values, in the file's terms.
fn unreadable(yaml: &YamlFile, service: &str, error: &serde_path_to_error::Error<serde_yaml::Error>) -> Failure {
    let mut steps = vec![PathStep::Key("services"), PathStep::Key(service)];
    steps.extend(yaml::steps(error.path()));
    yaml.refusal(&steps, &error.inner().to_string())
}

fn listed(services: &BTreeMap<String, Service>) -> String {
    const MOST: usize = 10;
    let more = if services.len() > MOST { ", …" } else { "" };
    services.keys().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", ") + more
}

fn refused(yaml: &YamlFile, services: &BTreeMap<String, Service>, error: &powerdev_protocol::ServiceError) -> Failure {
    use powerdev_protocol::ServiceError as E;
    let named = |service: &str| yaml.content.services.contains_key(service).then(|| service.to_owned());
    let mut field = None;
    let (service, key, hint) = match error {
        E::Cycle { path } => {
            let first = path.iter().find_map(|service| named(service));
            (first, "depends_on", "take one of these dependencies away".to_owned())
        }
        E::UnknownDependency { service, unknown } => {
            let hint = match services.get(unknown) {
                Some(_) => format!("`{unknown}` is switched off: enable it, or switch `{service}` off too"),
                None => suggest::did_you_mean(unknown, services.keys().map(String::as_str))
                    .unwrap_or_else(|| format!("there are {}", listed(services))),
            };
            (named(service).or_else(|| named(unknown)), "depends_on", hint)
        }
        E::EmptyCommand { service } => (named(service), "command", "give the program and its arguments".to_owned()),
        E::BadName { service, .. } => (named(service), "", "rename it".to_owned()),
        E::BadValue { service, field: wrong, .. } => {
            field = Some(wrong);
            (named(service), "", SCHEMA_HINT.to_owned())
        }
    };
    let place = match &service {
        Some(service) => {
            let mut steps = vec![PathStep::Key("services"), PathStep::Key(service), PathStep::Key(key)];
            if let Some(field) = field {
                steps.truncate(2);
                steps.extend(field.keys.iter().map(|key| PathStep::Key(key)));
                steps.extend(field.item.map(PathStep::Item));
            }
            yaml.place(&steps)
        }
        None => yaml.path.display().to_string(),
    };
    Failure::usage(format!("{place}: {error}")).hint(hint)
}
