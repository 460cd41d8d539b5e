//! Images.

use std::collections::BTreeMap;

use bollard::query_parameters::{RemoveImageOptionsBuilder, TagImageOptionsBuilder};

use super::reference::name_and_tag;
use super::{Engine, EngineError, Operation, SLOW_CALL};

/// An image, as one look at it shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// Its ID, `sha256:…`.
    pub id: String,
    /// Its tags, `name:tag`.
    pub tags: Vec<String>,
    /// All its labels, those of its base among them.
    pub labels: BTreeMap<String, String>,
    /// The user that its processes run as if nothing else is said; empty is root.
    pub user: String,
    /// Its variables, `NAME=value`.
    pub environment: Vec<String>,
    /// The architecture that it is for, in the Engine's words: `amd64`, `arm64`.
    pub arch: String,
    /// Its size with all its layers, in bytes.
    pub size: u64,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at_ms: Option<u64>,
}

impl Engine {
    /// Looks at an image, by tag or ID. None when it isn't there.
    ///
    /// # Errors
    /// As every call.
    pub async fn image(&self, tag: &str) -> Result<Option<Image>, EngineError> {
        let answer = match self.call(Operation::InspectImage(tag.into()), self.docker.inspect_image(tag)).await {
            Ok(answer) => answer,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let config = answer.config.unwrap_or_default();
        Ok(Some(Image {
            id: answer.id.unwrap_or_default(),
            tags: answer.repo_tags.unwrap_or_default(),
            labels: config.labels.unwrap_or_default().into_iter().collect(),
            user: config.user.unwrap_or_default(),
            environment: config.env.unwrap_or_default(),
            arch: answer.architecture.unwrap_or_default(),
            size: answer.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
            created_at_ms: answer.created.and_then(|at| u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()),
        }))
    }

    /// Gives an image another tag; whichever image had it loses it.
    ///
    /// # Errors
    /// As every call.
    pub async fn tag_image(&self, id: &str, tag: &str) -> Result<(), EngineError> {
        let (name, version) = name_and_tag(tag);
        let options = TagImageOptionsBuilder::new().repo(name).tag(version).build();
        self.call(Operation::TagImage(tag.into()), self.docker.tag_image(id, Some(options))).await
    }

    /// Removes an image, by tag or ID, and the parents that only it uses. One that is gone already is fine.
    ///
    /// # Errors
    /// Among others: a container uses it.
    pub async fn remove_image(&self, name: &str) -> Result<(), EngineError> {
        let options = RemoveImageOptionsBuilder::new().build();
        let call = self.docker.remove_image(name, Some(options), None);
        match self.call_within(SLOW_CALL, Operation::RemoveImage(name.into()), call).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }
}
