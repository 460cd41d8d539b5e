//! The services that there are: which, and in which order they start.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use powerdev_protocol::{Service, ServiceSet};

use super::unit::Unit;

/// Names a service for as long as anything of it is left. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnitId(u32);

#[cfg(test)]
impl UnitId {
    pub fn new(number: u32) -> Self {
        Self(number)
    }
}

/// All services: those that are to run, and those that were taken out and haven't gone yet.
#[derive(Debug, Default)]
pub struct Units {
    /// What the host wrote.
    pub set: ServiceSet,
    /// Why there are no services, if that is so.
    pub broken: Option<String>,
    /// Those that are to run, in the order of their start.
    pub order: Vec<UnitId>,
    by_id: BTreeMap<UnitId, Unit>,
    next: u32,
}

impl Units {
    /// Takes in one more, which `make` makes for the name that it gets.
    pub fn add(&mut self, make: impl FnOnce(UnitId) -> Unit) -> UnitId {
        let id = UnitId(self.next);
        self.next += 1;
        self.by_id.insert(id, make(id));
        id
    }

    /// Forgets one that has gone.
    pub fn remove(&mut self, id: UnitId) -> Option<Unit> {
        self.by_id.remove(&id)
    }

    /// The one of this name that is to run, or is there yet.
    pub fn by_name(&self, name: &str) -> Option<UnitId> {
        self.find(|unit| unit.name == name)
    }

    /// The first of which this holds.
    pub fn find(&self, wanted: impl Fn(&Unit) -> bool) -> Option<UnitId> {
        self.iter().find(|unit| wanted(unit)).map(|unit| unit.id)
    }

    /// One, unless it has gone meanwhile.
    pub fn get_mut(&mut self, id: UnitId) -> Option<&mut Unit> {
        self.by_id.get_mut(&id)
    }

    /// The names of all, for going through them while they change.
    pub fn ids(&self) -> Vec<UnitId> {
        self.by_id.keys().copied().collect()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Unit> + Clone {
        self.by_id.values()
    }

    /// All of them, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Unit> {
        self.by_id.values_mut()
    }

    /// In the order of their start, then what was taken out and hasn't gone yet.
    pub fn shown(&self) -> impl Iterator<Item = &Unit> {
        let going = self.iter().filter(|unit| unit.retired);
        self.order.iter().map(|id| &self[*id]).chain(going)
    }

    /// The services that one depends on and that are there.
    pub fn dependencies<'a>(
        &'a self,
        service: &'a Service,
    ) -> impl Iterator<Item = (&'a Unit, powerdev_protocol::Condition)> {
        service
            .depends_on
            .iter()
            .filter_map(|(name, condition)| Some((self.iter().find(|unit| unit.name == *name)?, *condition)))
    }

    /// Those that depend on this one.
    pub fn dependents<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Unit> {
        self.iter().filter(move |unit| unit.service.depends_on.contains_key(name))
    }
}

impl Index<UnitId> for Units {
    type Output = Unit;

    fn index(&self, id: UnitId) -> &Unit {
        &self.by_id[&id]
    }
}

impl IndexMut<UnitId> for Units {
    fn index_mut(&mut self, id: UnitId) -> &mut Unit {
        self.by_id.get_mut(&id).expect("an ID is used for as long as its service is there")
    }
}
