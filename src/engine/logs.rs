//! A container's log, as the Engine keeps it.

use bytes::Bytes;
use futures_util::{Stream as FutureStream, StreamExt, TryStreamExt};
use http_body_util::BodyDataStream;
use tokio::io::AsyncRead;

use super::{CALL, Engine, EngineError, Operation, Stream, demux, error};

/// Which part of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on with what comes, until the container ends.
    pub follow: bool,
    /// From this moment on, in nanoseconds since the Unix epoch.
    pub since_ns: Option<i64>,
    /// The last so many lines.
    pub tail: Option<u64>,
    /// Each line begins with its time (RFC 3339, nanoseconds, UTC) and a space. A line of more than 16 KiB comes in
    /// parts, each with a time.
    pub timestamps: bool,
}

/// A piece of a log. It needn't end where a line ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// Which output it came from.
    pub stream: Stream,
    /// What was written: not always whole lines.
    pub bytes: Bytes,
}

impl Engine {
    /// Reads a container's log. Containers with a terminal are not understood: powerdev makes none.
    pub fn logs(
        &self,
        container: &str,
        options: &LogOptions,
    ) -> impl FutureStream<Item = Result<LogChunk, EngineError>> + Send + use<> {
        let engine = self.clone();
        let operation = Operation::Logs(container.to_owned());
        let path = path(container, options);
        let opened = async move {
            let response = engine.call_within(CALL, operation.clone(), engine.transport.get(&path)).await?;
            let endpoint = engine.endpoint.clone();
            let chunks = demux::outputs(reader(response), true).map(move |piece| match piece {
                Ok((stream, bytes)) => Ok(LogChunk { stream, bytes }),
                Err(error) => Err(error::classify(&endpoint, operation.clone(), error.into())),
            });
            Ok::<_, EngineError>(chunks)
        };
        futures_util::stream::once(opened).try_flatten()
    }
}

fn path(container: &str, options: &LogOptions) -> String {
    let LogOptions { follow, since_ns, tail, timestamps } = options;
    let since = since_ns.map(|ns| format!("&since={}", seconds(ns))).unwrap_or_default();
    let tail = tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    format!(
        "/containers/{container}/logs?stdout=true&stderr=true&follow={follow}&timestamps={timestamps}&tail={tail}{since}"
    )
}

/// Nanoseconds as the Engine takes times: seconds with a fraction.
pub(super) fn seconds(nanoseconds: i64) -> String {
    let nanoseconds = nanoseconds.max(0);
    format!("{}.{:09}", nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000)
}

fn reader(response: hyper::Response<hyper::body::Incoming>) -> impl AsyncRead + Send + Unpin {
    let body = BodyDataStream::new(response.into_body());
    // Its error is turned into one of I/O here: the connection broke.
    Box::pin(tokio_util::io::StreamReader::new(body.map_err(std::io::Error::other)))
}
