//! The processes of this container, from the supervisor's side: which it made, which it inherited, whose each one is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::processes::{self, KnownProcesses, Process};

/// What is known of the children.
#[derive(Debug)]
pub struct Children {
    /// This process is the first of its PID namespace.
    pub is_pid_1: bool,
    /// Children that were made here and not reaped yet: main processes, their sessions' leaders, probes.
    made: BTreeSet<i32>,
    /// Children that were reaped and not made here: what services and shells left behind.
    orphans: u64,
    /// A child was reaped in this turn.
    pub reaped: bool,
    /// When the processes were listed last.
    pub scanned: Instant,
}

impl Children {
    pub fn new() -> Self {
        let is_pid_1 = std::process::id() == 1;
        Self { is_pid_1, made: BTreeSet::new(), orphans: 0, reaped: false, scanned: Instant::now() }
    }

    /// These were made here.
    pub fn add(&mut self, pids: impl IntoIterator<Item = i32>) {
        self.made.extend(pids);
    }

    /// One was reaped. To be told once all that were made here are known.
    pub fn remove(&mut self, pid: i32) {
        if !self.made.remove(&pid) {
            self.orphans += 1;
        }
    }

    /// Processes of nobody that were reaped.
    pub fn orphans(&self) -> u64 {
        self.orphans
    }

    /// The live processes of each of these.
    pub fn trees<O: Copy + Ord>(&mut self, known: &[KnownProcesses<'_, O>]) -> BTreeMap<O, Vec<i32>> {
        self.scanned = Instant::now();
        processes::by_owner(std::process::id() as i32, &processes::all(), known, processes::mark)
    }

    /// Every live process that isn't ourselves: of the PID namespace if we are its first, else of those below us.
    pub fn all(&self) -> Vec<Process> {
        let own = std::process::id() as i32;
        let all = processes::all();
        if self.is_pid_1 {
            return all.into_iter().filter(|process| process.pid != own && !process.zombie).collect();
        }
        processes::below(own, &all).into_iter().cloned().collect()
    }
}
