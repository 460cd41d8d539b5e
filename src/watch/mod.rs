//! Watching environments: what ends by accident is started again, within a budget; what somebody stops stays stopped.
//!
//! ```text
//! driver   the Engine's events, the agents' events, timers, signals -> one loop
//! terms    what the policy hears and orders
//! policy   pure: (what happened, when) -> (what to do, what to tell); tested with a clock of its own
//! history  what was told, on disk and bounded: `powerdev events` shows it
//! memory   watch.json: the budget and the quarantine outlive the watcher; a lock keeps a second one out
//! report   what happened, for machines and for people
//! ```
//!
//! What the Engine tells of an end (measured on 20.10): a stop on request is `kill` with TERM, `die`, and then
//! `stop`; `docker kill`, a crash and a kill from outside have no TERM before their `die`; out of memory is `oom`
//! before `die`. An Engine that shuts down stops its containers exactly as a user would, and hangs up after: so a stop
//! that is followed by the Engine's going is its doing, and is undone when it is back.

mod driver;
mod history;
mod memory;
mod policy;
mod report;
mod sources;
mod terms;

pub use driver::{Audience, Ended, Glance, WatchOptions, watch};
pub use history::{HistoryReader, at_ms};
pub use memory::{Quarantine, quarantine};
#[cfg(test)]
pub use report::{Cause, What};
pub use report::{Report, Weight};
pub use sources::WatchScope;
pub use terms::RestartLimits;
