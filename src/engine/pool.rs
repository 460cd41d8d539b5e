//! Connections that are kept for the next request, where making one costs more than a request: over ssh it is a log-in.
//!
//! hyper-util's client has a pool, too. It would cost as much code, since it wants a connector, absolute addresses and
//! the body's type, and it hides why dialling failed, which is what tells "not running" from "not allowed".

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bollard::BollardRequest;
use hyper::Request;
use hyper::client::conn::http1::SendRequest;

/// How long one may be idle: what lies between may forget about it, and nobody would tell.
const IDLE: Duration = Duration::from_secs(15);

/// What a request's body is; bollard names only the whole.
pub(super) trait Whole {
    /// The type of the request's body.
    type Body;
}
impl<B> Whole for Request<B> {
    type Body = B;
}
/// One HTTP/1.1 connection.
pub(super) type PooledConnection = SendRequest<<BollardRequest as Whole>::Body>;

/// Cheap to clone: clones share the connections.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Vec<(Instant, PooledConnection)>>>);

impl Pool {
    /// One whose last answer has been read to its end.
    pub(super) fn take(&self) -> Option<PooledConnection> {
        let mut kept = self.0.lock().ok()?;
        kept.retain(|(since, connection)| {
            !connection.is_closed() && (since.elapsed() < IDLE || !connection.is_ready())
        });
        let ready = kept.iter().position(|(_, connection)| connection.is_ready())?;
        Some(kept.swap_remove(ready).1)
    }

    /// Keeps one that has answered, though perhaps not to the end.
    pub(super) fn keep(&self, connection: PooledConnection) {
        if let Ok(mut kept) = self.0.lock() {
            kept.push((Instant::now(), connection));
        }
    }
}
