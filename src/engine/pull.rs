//! Images from elsewhere: a registry, or a root file system.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptions;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use hyper::Request;
use hyper::header::HeaderValue;

use super::error::{self, Refusal};
use super::login::Login;
use super::reference::{Registry, name_and_tag};
use super::refused_pull::RefusedPull;
use super::transport::{escape, json_lines};
use super::{Engine, EngineError, Operation};

/// How long a registry may take for its first word.
const FIRST_WORD: Duration = Duration::from_secs(20);
/// How long nothing may happen afterwards. The Engine tells of every layer while it loads, but not while it checks one.
const SILENCE: Duration = Duration::from_secs(180);

/// How far a pull is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pulled {
    /// Bytes so far.
    pub current: u64,
    /// Bytes in all of the layers that are known; grows while layers become known.
    pub total: u64,
    /// Layers that are there.
    pub done: usize,
    /// Layers in all.
    pub layers: usize,
    /// A download broke off, and the Engine waits before it tries again.
    pub retrying: bool,
}

impl Engine {
    /// Pulls an image. Dropping the future calls the pull off; an image that was here before stays as it was.
    ///
    /// # Errors
    /// [`EngineError::NotPulled`], with why as far as the Engine's words tell.
    pub async fn pull(
        &self,
        image: &str,
        login: Option<&Login>,
        mut progress: impl FnMut(Pulled),
    ) -> Result<(), EngineError> {
        let failed = |error| self.not_pulled(image, error);
        let (name, tag) = name_and_tag(image);
        let path = format!("/images/create?fromImage={}&tag={}", escape(name), escape(tag));
        tracing::debug!("engine: {}", Operation::PullImage(image.into()));
        let mut request = Request::post(path);
        if let Some(login) = login {
            let mut header = HeaderValue::from_str(&login.header(&Registry::of(image))).expect("base64 is plain text");
            header.set_sensitive(true);
            request = request.header("X-Registry-Auth", header);
        }
        let request = request.body(bollard::body_full(Bytes::new())).map_err(|error| failed(error.into()))?;
        let silent = |after| self.silent(image, after);
        let answer = tokio::time::timeout(FIRST_WORD, self.transport.answer(request));
        let answer = answer.await.map_err(|_| silent(FIRST_WORD))?.map_err(failed)?;
        let mut documents = std::pin::pin!(json_lines::<CreateImageInfo>(answer));
        let (mut layers, mut patience) = (Layers::default(), FIRST_WORD);
        loop {
            let document = tokio::time::timeout(patience, documents.next()).await.map_err(|_| silent(patience))?;
            let Some(document) = document else { return Ok(()) };
            let document = document.map_err(|error| failed(error.into()))?;
            // A failed pull answers 200, with the error in the stream.
            if let Some(message) = document.error_detail.as_ref().and_then(|detail| detail.message.clone()) {
                return Err(failed(bollard::errors::Error::DockerStreamError { error: message }));
            }
            patience = SILENCE;
            if layers.take(document) {
                progress(layers.sum());
            }
        }
    }

    fn not_pulled(&self, image: &str, error: bollard::errors::Error) -> EngineError {
        match error::classify(&self.endpoint, Operation::PullImage(image.into()), error) {
            EngineError::Refused { source, .. } => RefusedPull::of(image, source).into(),
            other => other,
        }
    }

    fn silent(&self, image: &str, after: Duration) -> EngineError {
        let message = format!("timeout: nothing was heard of it for {} s", after.as_secs());
        RefusedPull::of(image, Refusal { status: 0, message }).into()
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
        tracing::debug!("engine: {}", operation());
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

/// What is known of the layers, by ID.
#[derive(Debug, Default)]
struct Layers(HashMap<String, Layer>);

#[derive(Debug, Default)]
struct Layer {
    current: u64,
    total: u64,
    done: bool,
    retrying: bool,
}

impl Layers {
    /// Takes in what the Engine says; whether that changes anything.
    fn take(&mut self, told: CreateImageInfo) -> bool {
        let (Some(id), Some(status)) = (told.id, told.status.as_deref()) else { return false };
        // The tag is told like a layer.
        if status.starts_with("Pulling from") {
            return false;
        }
        let layer = self.0.entry(id).or_default();
        layer.retrying = status.starts_with("Retrying");
        let bytes = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
        match (status, told.progress_detail) {
            ("Downloading", Some(detail)) => {
                layer.total = bytes(detail.total).max(bytes(detail.current));
                layer.current = bytes(detail.current);
            }
            ("Verifying Checksum" | "Download complete" | "Extracting", _) => layer.current = layer.total,
            ("Pull complete" | "Already exists", _) => (layer.done, layer.current) = (true, layer.total),
            _ => {}
        }
        true
    }

    fn sum(&self) -> Pulled {
        self.0.values().fold(Pulled::default(), |sum, layer| Pulled {
            current: sum.current + layer.current,
            total: sum.total + layer.total,
            done: sum.done + usize::from(layer.done),
            layers: sum.layers + 1,
            retrying: sum.retrying || layer.retrying,
        })
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    #[test]
    fn layers_add_up() {
        let mut layers = Layers::default();
        let mut take = |id: &str, status: &str, progress: Option<(i64, i64)>| {
            let progress_detail =
                progress.map(|(current, total)| ProgressDetail { current: Some(current), total: Some(total) });
            let (id, status) = (Some(id.to_owned()), Some(status.to_owned()));
            layers.take(CreateImageInfo { id, status, progress_detail, ..CreateImageInfo::default() });
            layers.sum()
        };
        assert_eq!(take("latest", "Pulling from library/debian", None).layers, 0);
        assert_eq!(take("a", "Pulling fs layer", None).layers, 1);
        take("b", "Downloading", Some((5, 20)));
        let sum = take("a", "Downloading", Some((3, 10)));
        assert_eq!(sum, Pulled { current: 8, total: 30, done: 0, layers: 2, retrying: false });
        assert!(take("b", "Retrying in 5 seconds", None).retrying);
        let sum = take("b", "Download complete", None);
        assert_eq!((sum.current, sum.retrying), (23, false));
        let sum = take("a", "Pull complete", None);
        assert_eq!((sum.current, sum.done), (30, 1));
    }
}
