//! Images from elsewhere: a registry, or a root file system.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bollard::query_parameters::{CreateImageOptions, CreateImageOptionsBuilder};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::{Engine, EngineError, Operation, error};

/// How long a registry may be silent before it counts as out of reach. The Engine tells of every layer while it loads.
const SILENCE: Duration = Duration::from_secs(20);

/// How far a pull is: bytes so far, bytes in all of the layers that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulled {
    /// So far.
    pub current: u64,
    /// In all; grows while layers become known.
    pub total: u64,
}

impl Engine {
    /// Pulls an image.
    ///
    /// # Errors
    /// Among others: no registry can be reached, or it has no such image.
    pub async fn pull(&self, image: &str, mut progress: impl FnMut(Pulled)) -> Result<(), EngineError> {
        let operation = || Operation::PullImage(image.into());
        let (name, tag) = name_and_tag(image);
        let options = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
        let mut answers = std::pin::pin!(self.docker.create_image(Some(options), None, None));
        let mut layers: HashMap<String, Pulled> = HashMap::new();
        loop {
            let Ok(answer) = tokio::time::timeout(SILENCE, answers.next()).await else {
                return Err(EngineError::TimedOut {
                    operation: operation(),
                    url: self.endpoint.url.clone(),
                    after: SILENCE,
                });
            };
            let Some(answer) = answer else { return Ok(()) };
            let answer = answer.map_err(|error| error::classify(&self.endpoint, operation(), error))?;
            // A failed pull answers 200, with the error in the stream.
            if let Some(message) = answer.error_detail.and_then(|detail| detail.message) {
                let error = bollard::errors::Error::DockerStreamError { error: message };
                return Err(error::classify(&self.endpoint, operation(), error));
            }
            let (Some(id), Some(detail)) = (answer.id, answer.progress_detail) else { continue };
            if answer.status.as_deref() == Some("Downloading") {
                let bytes = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
                layers.insert(id, Pulled { current: bytes(detail.current), total: bytes(detail.total) });
                let sum = |part: fn(&Pulled) -> u64| layers.values().map(part).sum();
                progress(Pulled { current: sum(|layer| layer.current), total: sum(|layer| layer.total) });
            }
        }
    }

    /// Makes an image of a root file system: a tar stream.
    ///
    /// # Errors
    /// When the stream breaks or the Engine refuses.
    pub async fn import(
        &self,
        image: &str,
        root: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), EngineError> {
        let operation = || Operation::ImportImage(image.into());
        let (name, tag) = name_and_tag(image);
        let options = CreateImageOptions {
            from_src: Some("-".into()),
            repo: Some(name.into()),
            tag: Some(tag.into()),
            ..CreateImageOptions::default()
        };
        let mut answers =
            std::pin::pin!(self.docker.create_image(Some(options), Some(bollard::body_try_stream(root)), None));
        while let Some(answer) = answers.next().await {
            let answer = answer.map_err(|error| error::classify(&self.endpoint, operation(), error))?;
            if let Some(message) = answer.error_detail.and_then(|detail| detail.message) {
                let error = bollard::errors::Error::DockerStreamError { error: message };
                return Err(error::classify(&self.endpoint, operation(), error));
            }
        }
        Ok(())
    }
}

/// `host:5000/name:tag`; a digest counts as a tag.
fn name_and_tag(image: &str) -> (&str, &str) {
    if let Some((name, digest)) = image.split_once('@') {
        return (name, digest);
    }
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags_are_told_apart() {
        for (image, expected) in [
            ("debian", ("debian", "latest")),
            ("debian:trixie-slim", ("debian", "trixie-slim")),
            ("host:5000/a/b", ("host:5000/a/b", "latest")),
            ("host:5000/a/b:1", ("host:5000/a/b", "1")),
            ("a@sha256:00", ("a", "sha256:00")),
        ] {
            assert_eq!(name_and_tag(image), expected);
        }
    }
}
