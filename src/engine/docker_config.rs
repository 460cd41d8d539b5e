//! The docker CLI's own configuration, `~/.docker/config.json`: each reader takes the part that it needs.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::endpoint::EndpointError;
use crate::files;

/// The docker CLI's folder: `DOCKER_CONFIG`, else `~/.docker`.
pub(super) fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("DOCKER_CONFIG").filter(|dir| !dir.is_empty());
    named.map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".docker")))
}

/// Reads a part of `config.json` in this folder. A file that isn't there is an empty one.
///
/// # Errors
/// When it can't be read or isn't what the docker CLI writes.
pub(super) fn read<T: DeserializeOwned + Default>(folder: &Path) -> Result<T, EndpointError> {
    let file = folder.join("config.json");
    match files::read_if_there(&file)? {
        Some(text) => parse(&file, &text),
        None => Ok(T::default()),
    }
}

/// Parses a file of the docker CLI.
///
/// # Errors
/// Where it goes wrong, without a word of what is there: it may be a password.
pub(super) fn parse<T: DeserializeOwned>(file: &Path, text: &[u8]) -> Result<T, EndpointError> {
    serde_json::from_slice(text).map_err(|error| {
        let what = if error.is_data() { "not what docker writes there" } else { "no JSON" };
        let reason = format!("line {}, column {}: {what}", error.line(), error.column());
        EndpointError::Malformed { file: file.into(), reason }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_is_wrong_is_told_by_its_place_alone() {
        for text in [r#"{"auths": {"x": "c2VjcmV0"}}"#, r#"{"auths": c2VjcmV0"#] {
            let parsed =
                parse::<BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>>("f".as_ref(), text.as_bytes());
            let error = parsed.expect_err("no such thing").to_string();
            assert!(error.contains("f makes no sense: line 1, column") && !error.contains("c2Vj"), "{error}");
        }
    }
}
