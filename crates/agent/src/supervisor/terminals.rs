//! The sessions that there are.

use std::collections::BTreeMap;

use powerdev_protocol::session::{DEFAULT_LIMIT, LIMIT_VARIABLE};
use powerdev_protocol::{ServiceSet, SessionName};

use super::owner::TerminalId;
use super::spawn::SpawnError;
use super::terminal::Terminal;

/// All of them, those that have ended and are still looked at among them.
#[derive(Debug, Default)]
pub struct Terminals {
    by_id: BTreeMap<TerminalId, Terminal>,
    next: u32,
}

impl Terminals {
    /// Takes in one more, which `make` makes for the ID that it gets.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn add(
        &mut self,
        make: impl FnOnce(TerminalId) -> Result<Terminal, SpawnError>,
    ) -> Result<&mut Terminal, SpawnError> {
        let id = TerminalId(self.next);
        self.next += 1;
        let terminal = make(id)?;
        Ok(self.by_id.entry(id).or_insert(terminal))
    }

    /// The ID that the next one gets.
    pub fn next_id(&self) -> TerminalId {
        TerminalId(self.next)
    }

    pub fn remove(&mut self, id: TerminalId) -> Option<Terminal> {
        self.by_id.remove(&id)
    }

    /// One, unless it has gone meanwhile.
    pub fn get_mut(&mut self, id: TerminalId) -> Option<&mut Terminal> {
        self.by_id.get_mut(&id)
    }

    /// The one of this name. What has ended has none any more.
    pub fn by_name(&mut self, name: &SessionName) -> Option<&mut Terminal> {
        self.by_id.values_mut().find(|terminal| terminal.is_open() && terminal.name == *name)
    }

    /// Those that are open.
    pub fn open(&self) -> impl Iterator<Item = &Terminal> + Clone {
        self.by_id.values().filter(|terminal| terminal.is_open())
    }

    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Terminal> {
        self.by_id.values_mut()
    }

    /// The first of which this holds.
    pub fn find(&self, wanted: impl Fn(&Terminal) -> bool) -> Option<TerminalId> {
        self.by_id.values().find(|terminal| wanted(terminal)).map(|terminal| terminal.id)
    }

    /// The IDs of all, for going through them while they change.
    pub fn ids(&self) -> Vec<TerminalId> {
        self.by_id.keys().copied().collect()
    }
}

/// How many there may be at a time.
pub fn limit(set: &ServiceSet) -> usize {
    set.environment.get(LIMIT_VARIABLE).and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT_LIMIT)
}
