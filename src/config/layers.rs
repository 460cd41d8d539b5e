//! The layers of settings: default < `powerdev.yaml` < `.env` < environment < flag.

use std::ffi::OsString;
use std::fmt::Display;
use std::str::FromStr;

use super::env_file::EnvFile;
use super::locate::PathStep;
use super::table::{Kind, Setting};
use super::yaml::{self, YamlFile};
use super::{Origin, suggest};
use crate::failure::Failure;

/// Settings given by flags of the command: the strongest layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides(Vec<Override>);

/// One setting given by a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Override {
    setting: &'static str,
    value: String,
    flag: &'static str,
}

impl Overrides {
    /// Adds a flag's value, where the flag is given: `.with("GPU", args.gpu.as_deref(), "--gpu")`.
    ///
    /// # Panics
    /// When the table has no such setting: a slip in the command's code.
    pub fn with(mut self, setting: &'static str, value: Option<impl Display>, flag: &'static str) -> Self {
        assert!(super::table::find(setting).is_some(), "{setting} is no setting");
        if let Some(value) = value {
            self.0.push(Override { setting, value: value.to_string(), flag });
        }
        self
    }
}

/// A setting's value as written, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// The setting.
    pub setting: &'static str,
    /// The value.
    pub text: String,
    /// Where it stands.
    pub origin: Origin,
    kind: Kind,
}

impl Raw {
    /// The value, parsed.
    ///
    /// # Errors
    /// A usage [`Failure`] naming place and value, with what would do.
    pub fn parse<T: FromStr<Err: Display>>(&self) -> Result<T, Failure> {
        self.text.parse().map_err(|error: T::Err| self.wrong(error))
    }

    /// The value, parsed; None where it is `auto`.
    ///
    /// # Errors
    /// A usage [`Failure`] naming place and value, with what would do.
    pub fn parse_or_auto<T: FromStr<Err: Display>>(&self) -> Result<Option<T>, Failure> {
        if self.text.trim().eq_ignore_ascii_case("auto") { Ok(None) } else { self.parse().map(Some) }
    }

    /// The value, if there is one.
    pub fn given(&self) -> Option<String> {
        (!self.text.is_empty()).then(|| self.text.clone())
    }

    /// The failure for a value that won't do.
    pub fn wrong(&self, expected: impl Display) -> Failure {
        let message = format!("{} is `{}`", self.place(), self.text);
        let suggestion = match self.kind {
            Kind::Choice(words) => suggest::did_you_mean(&self.text, words.iter().copied()),
            _ => None,
        };
        Failure::usage(message).hint(match suggestion {
            Some(suggestion) => format!("{suggestion} {expected}"),
            None => expected.to_string(),
        })
    }

    /// Where the value stands, and under what name: `/p/.env:3: GPU`.
    pub fn place(&self) -> String {
        match &self.origin {
            Origin::Default | Origin::Detected => format!("the default of {}", self.setting),
            Origin::Yaml { file, line } => {
                let key = super::table::find(self.setting).and_then(|setting| setting.yaml);
                format!("{}: {}", yaml::place(file, *line), key.unwrap_or(self.setting))
            }
            Origin::EnvFile { file, line } => format!("{}:{line}: {}", file.display(), self.setting),
            Origin::Environment { variable } => format!("the variable {variable}"),
            Origin::Flag { flag } => flag.clone(),
        }
    }
}

/// What there is to take settings from.
pub struct SettingLayers<'a> {
    /// `powerdev.yaml`.
    pub yaml: &'a YamlFile,
    /// `.env`, where there is one.
    pub env_file: Option<&'a EnvFile>,
    /// powerdev's own environment.
    pub environment: &'a dyn Fn(&str) -> Option<OsString>,
    /// The flags of the command.
    pub flags: &'a Overrides,
}

impl SettingLayers<'_> {
    /// The strongest layer's value. An empty one in `.env` or the environment counts as none.
    ///
    /// # Errors
    /// A usage [`Failure`] when a variable isn't UTF-8.
    pub fn resolve(&self, setting: &'static Setting) -> Result<Raw, Failure> {
        let raw = |text: String, origin| Raw { setting: setting.name, text, origin, kind: setting.kind };
        if let Some(flag) = self.flags.0.iter().rev().find(|flag| flag.setting == setting.name) {
            return Ok(raw(flag.value.clone(), Origin::Flag { flag: flag.flag.to_owned() }));
        }
        let bare = setting.ambient.then(|| setting.name.to_owned());
        for variable in [Some(setting.variable()), bare].into_iter().flatten() {
            if let Some(value) = self.variable(&variable)? {
                return Ok(raw(value, Origin::Environment { variable }));
            }
        }
        let entry = self.env_file.and_then(|file| Some((file, file.get(setting.name)?)));
        if let Some((file, entry)) = entry.filter(|(_, entry)| !entry.value.is_empty()) {
            return Ok(raw(entry.value.clone(), Origin::EnvFile { file: file.path.clone(), line: entry.line }));
        }
        let (value, steps) = match setting.yaml {
            Some(key) => (self.yaml.content.setting(key), vec![PathStep::Key(key)]),
            None => (
                self.yaml.content.environment.get(setting.name).map(String::as_str),
                vec![PathStep::Key("environment"), PathStep::Key(setting.name)],
            ),
        };
        if let Some(value) = value {
            let origin = Origin::Yaml { file: self.yaml.path.clone(), line: self.yaml.line(&steps) };
            return Ok(raw(value.to_owned(), origin));
        }
        Ok(raw(setting.default.to_owned(), Origin::Default))
    }

    /// A variable of powerdev's own environment, if it is set to something.
    ///
    /// # Errors
    /// A usage [`Failure`] when it isn't UTF-8.
    pub fn variable(&self, name: &str) -> Result<Option<String>, Failure> {
        let Some(value) = (self.environment)(name).filter(|value| !value.is_empty()) else { return Ok(None) };
        value
            .into_string()
            .map(Some)
            .map_err(|_| Failure::usage(format!("the variable {name} isn't UTF-8")).hint("set it anew, or unset it"))
    }
}
