//! Files into and out of a container, as tar archives.
//!
//! Uploading fails on a read-only root, and into a tmpfs it silently writes the layer below: on an Engine of this
//! machine powerdev mounts folders instead, elsewhere it writes to volumes, through a container that never runs.

use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder};
use bytes::Bytes;
use futures_util::{Stream as FutureStream, TryStreamExt};

use super::{Engine, EngineError, Operation, SLOW_CALL, error};

impl Engine {
    /// Unpacks a tar archive (plain or gzip) into this folder of a container, which must be there.
    ///
    /// # Errors
    /// Among others: no such container or folder, or its root is read-only.
    pub async fn upload(&self, container: &str, path: &str, tar: Vec<u8>) -> Result<(), EngineError> {
        let options = UploadToContainerOptionsBuilder::new().path(path).build();
        let call = self.docker.upload_to_container(container, Some(options), bollard::body_full(tar.into()));
        self.call_within(SLOW_CALL, Operation::Upload(container.into()), call).await
    }

    /// The archive of a file or folder of a container, as far as it fits into `most` bytes; empty where there is none.
    ///
    /// # Errors
    /// As every call.
    pub async fn read(&self, container: &str, path: &str, most: usize) -> Result<Vec<u8>, EngineError> {
        let mut chunks = std::pin::pin!(self.download(container, path));
        let mut archive = Vec::new();
        loop {
            match chunks.try_next().await {
                Ok(Some(chunk)) if archive.len() < most => archive.extend_from_slice(&chunk),
                Ok(_) => return Ok(archive),
                Err(error) if error.is_not_found() => return Ok(Vec::new()),
                Err(error) => return Err(error),
            }
        }
    }

    /// A file or folder of a container as a tar archive.
    pub fn download(
        &self,
        container: &str,
        path: &str,
    ) -> impl FutureStream<Item = Result<Bytes, EngineError>> + Send + use<> {
        let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
        let endpoint = self.endpoint.clone();
        let operation = Operation::Download(container.into());
        tracing::debug!("engine: {operation}");
        let (docker, container) = (self.docker.clone(), container.to_owned());
        docker
            .download_from_container(&container, Some(options))
            .map_err(move |error| error::classify(&endpoint, operation.clone(), error))
    }
}
