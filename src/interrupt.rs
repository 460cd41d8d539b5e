//! Ctrl-C calls off what is under way, with a word about it.
//!
//! Once a process has listened for it, Ctrl-C no longer ends that process by itself: whatever may take long after an
//! image was pulled or built has to be interruptible, too.

use powerdev_protocol::ExitCode;

use crate::failure::Failure;

/// Does the work unless Ctrl-C comes first: then the work is dropped, and with it its connections, so that the Engine
/// stops as well.
///
/// # Errors
/// The work's own; [`ExitCode::Interrupted`] with `what` was called off, and `hint` as to what is left.
pub async fn interruptible<T>(
    what: &str,
    hint: Option<&str>,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => {
            let hint = hint.map(str::to_owned);
            Err(Failure { hint, ..Failure::new(ExitCode::Interrupted, format!("{what} was called off")) }.into())
        }
    }
}
