//! Whose something is: a service's or a session's.

use super::units::UnitId;

/// Names a session's terminal for as long as anything of it is left. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TerminalId(pub u32);

impl std::fmt::Display for TerminalId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A service or a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    Unit(UnitId),
    Terminal(TerminalId),
}

/// What a process carries in its environment, so that it is found however far it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// A service's, with its name.
    Service(String),
    /// A session's, with its number.
    Session(String),
}
