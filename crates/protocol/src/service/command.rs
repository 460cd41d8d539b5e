//! A command: a list of words, or one string for the shell.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[cfg(feature = "schema")]
use super::rules::{self, schema};

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "give a list of words, or one string for the shell")]
pub(super) enum CommandForm {
    /// Run by `/bin/sh -c`.
    Shell(#[cfg_attr(feature = "schema", schemars(transform = schema::by(rules::LINE)))] String),
    /// Program and arguments.
    Words(#[cfg_attr(feature = "schema", schemars(transform = schema::words))] Vec<String>),
}

/// A command that stands by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct CommandLine(
    /// Program and arguments. A plain string is run by `/bin/sh -c`.
    #[serde(deserialize_with = "deserialize", serialize_with = "serialize")]
    #[cfg_attr(feature = "schema", schemars(with = "CommandForm"))]
    pub Vec<String>,
);

impl CommandLine {
    /// As it was written: the shell's line alone, or the words with spaces between.
    pub fn shown(&self) -> String {
        match self.0.as_slice() {
            [shell, option, line] if shell == "/bin/sh" && option == "-c" => line.clone(),
            words => words.join(" "),
        }
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    CommandForm::deserialize(deserializer).map(words)
}

fn words(form: CommandForm) -> Vec<String> {
    match form {
        CommandForm::Shell(line) if line.trim().is_empty() => Vec::new(),
        CommandForm::Shell(line) => vec!["/bin/sh".into(), "-c".into(), line],
        CommandForm::Words(words) => words,
    }
}

/// A command that need not be there.
pub(super) mod optional {
    use serde::{Deserialize, Deserializer};

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<String>>, D::Error> {
        Ok(Option::<super::CommandForm>::deserialize(deserializer)?.map(super::words))
    }
}

pub(super) fn serialize<S: Serializer>(command: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    command.serialize(serializer)
}
