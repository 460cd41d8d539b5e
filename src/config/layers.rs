//! The layers of settings: default < `powerdev.yaml` < `.env` < environment < flag.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::PossibleValue;

use super::env_file::EnvFile;
use super::outline::PathStep;
use super::setting::Setting;
use super::yaml::{self, YamlFile};
use super::{Origin, joined, suggest};
use crate::failure::Failure;

/// Settings given by flags of the command: the strongest layer.
#[derive(Debug, Clone, Default)]
pub struct Overrides(Vec<(&'static Setting, String)>);

impl Overrides {
    /// Adds what a setting's flag says, where it is given: `.with(&settings::GPU, args.gpu.as_deref())`.
    pub fn with(mut self, setting: &'static Setting, value: Option<impl Display>) -> Self {
        self.0.extend(value.map(|value| (setting, value.to_string())));
        self
    }

    fn get(&self, setting: &Setting) -> Option<&str> {
        self.0.iter().rev().find(|(own, _)| own.name == setting.name).map(|(_, value)| value.as_str())
    }
}

/// A setting's value as written, and where.
#[derive(Debug, Clone)]
pub struct RawValue<'a> {
    /// What it is the value of.
    pub setting: &'static Setting,
    /// The value; empty where there is none.
    pub text: String,
    /// Where it stands.
    pub origin: Origin,
    /// What a path in it is relative to.
    pub paths: &'a PathBase<'a>,
}

impl RawValue<'_> {
    /// The value, parsed.
    ///
    /// # Errors
    /// A usage [`Failure`] naming place and value, with what would do.
    pub fn parse<T: FromStr<Err: Display>>(&self) -> Result<T, Failure> {
        self.text.parse().map_err(|error: T::Err| self.wrong(error))
    }

    /// The failure for a value that won't do.
    pub fn wrong(&self, expected: impl Display) -> Failure {
        if joined::looks_like_entry(&self.text) {
            return Failure::usage(format!("{} has another `KEY=` in its value, which isn't shown", self.place()))
                .hint("put each key on a line of its own");
        }
        let message = format!("{} is `{}`", self.place(), self.text);
        let choices = (self.setting.syntax.choices)();
        let words = choices.iter().map(PossibleValue::get_name);
        Failure::usage(message).hint(match suggest::did_you_mean(&self.text, words) {
            Some(suggestion) => format!("{suggestion} {expected}"),
            None => expected.to_string(),
        })
    }

    /// Where the value stands, and under what name: `/p/.env:3: GPU`.
    pub fn place(&self) -> String {
        let name = self.setting.name;
        match &self.origin {
            Origin::Default | Origin::Detected => format!("the default of {name}"),
            Origin::Yaml { file, line } => {
                format!("{}: {}", yaml::place(file, *line), self.setting.key.unwrap_or(name))
            }
            Origin::EnvFile { file, line } => format!("{}:{line}: {name}", file.display()),
            Origin::Environment { variable } => format!("the variable {variable}"),
            Origin::Flag { flag } => flag.clone(),
        }
    }
}

/// What the paths in a file of settings start at.
#[derive(Debug, Clone)]
pub struct PathBase<'a> {
    /// The project's folder.
    pub project: &'a Path,
    /// The user's, which `~` stands for.
    pub home: Option<PathBuf>,
}

impl PathBase<'_> {
    /// A path of this machine as a file of settings means it: from the project's folder, or from `~`.
    pub fn resolve(&self, text: &str) -> PathBuf {
        let below_home = if text == "~" { Some("") } else { text.strip_prefix("~/") };
        match (below_home, &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => self.project.join(text),
        }
    }
}

/// What there is to take settings from.
pub struct SettingLayers<'a> {
    /// What paths start at.
    pub paths: PathBase<'a>,
    /// `powerdev.yaml`; one that says nothing where there is none.
    pub yaml: &'a YamlFile,
    /// `.env`, where there is one.
    pub env_file: Option<&'a EnvFile>,
    /// powerdev's own environment.
    pub environment: &'a dyn Fn(&str) -> Option<OsString>,
    /// The flags of the command.
    pub flags: &'a Overrides,
}

impl<'a> SettingLayers<'a> {
    /// The layers of the project in this folder.
    pub fn new(
        dir: &'a Path,
        yaml: &'a YamlFile,
        env_file: Option<&'a EnvFile>,
        environment: &'a dyn Fn(&str) -> Option<OsString>,
        flags: &'a Overrides,
    ) -> Self {
        let home = environment("HOME").map(PathBuf::from).or_else(std::env::home_dir);
        Self { paths: PathBase { project: dir, home }, yaml, env_file, environment, flags }
    }

    /// The strongest layer's value. An empty one in `.env` or the environment counts as none.
    ///
    /// # Errors
    /// A usage [`Failure`] when a variable isn't UTF-8.
    pub fn resolve(&self, setting: &'static Setting) -> Result<RawValue<'_>, Failure> {
        let raw = |text: &str, origin| RawValue { setting, text: text.to_owned(), origin, paths: &self.paths };
        if let Some(value) = self.flags.get(setting) {
            let flag = format!("--{}", setting.flag.unwrap_or(setting.name));
            return Ok(raw(value, Origin::Flag { flag }));
        }
        let bare = setting.ambient.then(|| setting.name.to_owned());
        for variable in [Some(setting.variable()), bare].into_iter().flatten() {
            if let Some(value) = self.variable(&variable)? {
                return Ok(raw(&value, Origin::Environment { variable }));
            }
        }
        let entry = self.env_file.and_then(|file| Some((file, file.get(setting.name)?)));
        if let Some((file, entry)) = entry.filter(|(_, entry)| !entry.value.is_empty()) {
            return Ok(raw(&entry.value, Origin::EnvFile { file: file.path.clone(), line: entry.line }));
        }
        let content = &self.yaml.content;
        let (value, steps) = match setting.key {
            Some(key) => (content.settings.get(key), vec![PathStep::Key(key)]),
            None => {
                let steps = vec![PathStep::Key("environment"), PathStep::Key(setting.name)];
                (content.environment.get(setting.name), steps)
            }
        };
        if let Some(value) = value {
            let origin = Origin::Yaml { file: self.yaml.path.clone(), line: self.yaml.line(&steps) };
            return Ok(raw(value, origin));
        }
        Ok(raw(setting.default, Origin::Default))
    }

    /// Whether the file of secrets is the project's: one elsewhere, named by `--env-file`, is the caller's own word.
    pub fn owns_env_file(&self) -> bool {
        let project = self.paths.project;
        let paths = |path: &PathBuf| [std::path::absolute(path), path.canonicalize()];
        let mut paths = self.env_file.into_iter().flat_map(|file| paths(&file.path));
        paths.any(|path| path.is_ok_and(|path| path.starts_with(project)))
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
