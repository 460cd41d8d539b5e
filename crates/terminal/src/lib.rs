//! The user's terminal while a program inside has it, the same for the host and for the agent's own commands: raw mode
//! and size, the keys that leave, and what a viewer of a session does with what it gets ([`Viewer`]). Nothing here waits
//! for anything: whoever drives it does, in its own way.

mod filter;
mod keys;
mod modes;
mod plain;
mod scanner;
mod tty;
mod viewer;

pub use filter::{Filter, Hearing};
pub use keys::{DetachKeys, Typed};
pub use modes::Modes;
pub use plain::{is_style, plain, turns_text};
pub use tty::{RawMode, has_terminal, size};
pub use viewer::{Departure, Viewer};
