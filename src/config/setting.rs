//! What a setting is: its names, its default, what it is for, and how its value is written.

use std::ops::RangeInclusive;

use clap::builder::PossibleValue;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::Origin;
use super::layers::RawValue;
use crate::failure::Failure;

/// What the names of powerdev's own variables start with.
pub const PREFIX: &str = "POWERDEV_";

/// One setting, as it is declared in [`super::settings`].
#[derive(Debug)]
pub struct Setting {
    /// Its name in `.env`.
    pub name: &'static str,
    /// Its key in `powerdev.yaml`; None: a key of `environment` there.
    pub key: Option<&'static str>,
    /// Its flag, without dashes, of `up`, `start` and `daemon`.
    pub flag: Option<&'static str>,
    /// Its default; empty: what [`Setting::unset`] says.
    pub default: &'static str,
    /// What happens when it isn't set and has no default.
    pub unset: &'static str,
    /// What a commented `powerdev.yaml` shows where there is no default.
    pub example: &'static str,
    /// The numbers that it may be; bytes for a size.
    pub range: RangeInclusive<u64>,
    /// What it is for.
    pub why: &'static str,
    /// How its value is written and checked.
    pub syntax: Syntax,
    /// A variable of its bare name in powerdev's own environment sets it too. Not so where the name commonly means
    /// something else there.
    pub ambient: bool,
    /// Who sees it.
    pub visibility: Visibility,
    /// The heading that it stands under.
    pub group: &'static str,
}

/// Who gets to see a setting's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// powerdev alone: what it acts on.
    Host,
    /// Every service and shell.
    Container,
    /// Every service and shell of the profile `full`; of other profiles only where it is set.
    ProfileFull,
}

impl Setting {
    /// The variable of powerdev's own environment that always sets it.
    pub fn variable(&self) -> String {
        if self.name.starts_with(PREFIX) { self.name.to_owned() } else { format!("{PREFIX}{}", self.name) }
    }

    /// The default in words.
    pub fn default_text(&self) -> &'static str {
        if self.default.is_empty() { self.unset } else { self.default }
    }
}

/// How a setting's value is written, whoever writes it: for the reference, the flags, the schema and the check.
#[derive(Debug, Clone, Copy)]
pub struct Syntax {
    /// What may be given, in words; what can be typed as it stands is between backticks.
    pub takes: fn() -> String,
    /// What a flag's value is called in the help.
    pub placeholder: &'static str,
    /// The words and what they mean, where it is one of a few.
    pub choices: fn() -> Vec<PossibleValue>,
    /// Whether YAML may have a list in place of words with commas between them.
    pub is_list: bool,
    /// What YAML may have, as JSON Schema.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Whether the value can be read.
    pub check: fn(&RawValue<'_>) -> Result<(), Failure>,
}

impl Syntax {
    /// That of the values of this type.
    pub const fn of<T: SettingValue>() -> Self {
        Self {
            takes: T::takes,
            placeholder: T::PLACEHOLDER,
            choices: T::choices,
            is_list: T::IS_LIST,
            schema: |generator| generator.subschema_for::<Option<T::Yaml>>(),
            check: |raw| T::read(raw).map(drop),
        }
    }
}

/// A type that the value of a setting is read into, once, when the settings are loaded.
pub trait SettingValue: Sized {
    /// What it may be in YAML.
    type Yaml: JsonSchema;
    /// What a flag's value is called in the help.
    const PLACEHOLDER: &'static str = "VALUE";
    /// The word for none, where the setting may have none: `auto` in `Option<Cpus>`.
    const NONE: &'static str = "";
    /// Whether YAML may have a list in place of words with commas between them.
    const IS_LIST: bool = false;

    /// What may be given, in words; what can be typed as it stands is between backticks.
    fn takes() -> String;

    /// The words and what they mean, where it is one of a few.
    fn choices() -> Vec<PossibleValue> {
        Vec::new()
    }

    /// Reads the value, checked as far as this machine's files can tell.
    ///
    /// # Errors
    /// A usage [`Failure`] naming place and value, with what would do.
    fn read(raw: &RawValue<'_>) -> Result<Self, Failure>;
}

impl<T: SettingValue> SettingValue for Option<T> {
    type Yaml = T::Yaml;
    const PLACEHOLDER: &'static str = T::PLACEHOLDER;
    const IS_LIST: bool = T::IS_LIST;

    fn takes() -> String {
        if T::NONE.is_empty() { T::takes() } else { format!("{}, or `{}`", T::takes(), T::NONE) }
    }

    fn choices() -> Vec<PossibleValue> {
        T::choices()
    }

    fn read(raw: &RawValue<'_>) -> Result<Self, Failure> {
        // Elsewhere nothing at all says nothing; whoever types a flag with it means something.
        let says_nothing = T::NONE.is_empty() && matches!(raw.origin, Origin::Flag { .. });
        if !says_nothing && raw.text.trim().eq_ignore_ascii_case(T::NONE) { Ok(None) } else { T::read(raw).map(Some) }
    }
}
