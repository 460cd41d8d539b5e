//! Long work on a thread of its own, watched and stopped from the outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use super::BackupError;

/// What long work is told by and tells.
#[derive(Clone)]
pub struct Job {
    progress: Arc<dyn Fn(u64) + Send + Sync>,
    cancelled: Arc<AtomicBool>,
}

impl Job {
    /// Calls `progress` at every step, with the bytes done since the last call: none where something is looked at, or
    /// copied once more.
    pub fn new(progress: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self { progress: Arc::new(progress), cancelled: Arc::default() }
    }

    /// Stops the work at the next block.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Runs `work` where it may block. Ctrl-C and TERM cancel it, and it still ends properly.
    ///
    /// # Errors
    /// Those of the work; [`BackupError::Cancelled`] when it was stopped.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
    ) -> anyhow::Result<T> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut work = tokio::task::spawn_blocking(work);
        loop {
            tokio::select! {
                done = &mut work => return done?.map_err(Into::into),
                _ = interrupt.recv() => self.cancel(),
                _ = terminate.recv() => self.cancel(),
            }
        }
    }

    pub(super) fn advance(&self, bytes: u64) -> Result<(), BackupError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(BackupError::Cancelled);
        }
        (self.progress)(bytes);
        Ok(())
    }
}

impl Default for Job {
    fn default() -> Self {
        Self::new(|_| ())
    }
}
