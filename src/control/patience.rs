//! How long an agent may take for an answer: a few spans, each for a reason.

use std::time::Duration;

/// How long an agent may take for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// 0.5 s: somebody waits for what comes after the answer.
    Brief,
    /// 2 s: there is somebody else to ask, or it is asked again soon.
    Glance,
    /// 5 s: the answer is what was asked for.
    Answer,
    /// As long as it takes: whoever asks has a deadline of his own.
    Unlimited,
}

impl Patience {
    /// As a span of time.
    pub fn limit(self) -> Duration {
        match self {
            Self::Brief => Duration::from_millis(500),
            Self::Glance => Duration::from_secs(2),
            Self::Answer => Duration::from_secs(5),
            Self::Unlimited => Duration::from_secs(365 * 24 * 3600),
        }
    }
}
