//! An environment's life: made, started, waited for, stopped, removed. What the commands of that name share.

mod make;
pub mod ports;
pub mod ready;
pub mod reload;
pub mod report;
mod restart;
mod start;
mod stop;
mod up;

use std::time::Duration;

pub use reload::Applied;
pub use restart::restart;
pub use start::start;
pub use stop::{Stopped, remove, stop};
pub use up::{BringUp, Build, Done, Up, bring_up, drift, dry_run};

/// How long a command waits for another powerdev that changes the same environment: as long as a start may take.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(300);
