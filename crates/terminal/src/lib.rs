//! The user's terminal while a program inside has it, the same for the host and for the agent's own commands: what it
//! may be shown again, and in which modes that leaves it. Nothing here waits for anything: whoever drives it does, in its
//! own way.

mod filter;
mod modes;
mod scanner;

pub use filter::{Filter, Hearing};
pub use modes::Modes;
