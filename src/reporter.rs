//! What the core tells while it works, and to whom: a terminal, a test, or whatever else implements [`Reporter`]. Nothing
//! below the commands knows how any of it is shown.

use std::fmt::{self, Display};
use std::time::Duration;

use powerdev_protocol::ServiceState;

/// Who is told what happens.
pub trait Reporter: fmt::Debug {
    /// Tells what has just happened.
    fn report(&self, progress: Progress<'_>);
}

/// What happens, as it is told: names and words are whole, and nothing in them is a secret.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Progress<'a> {
    /// Something is being done, or was done.
    Status(&'a str),
    /// Something should be known, and stops nothing.
    Notice(&'a str),
    /// A task runs. The same one may be told again.
    Began {
        /// What it is called by until it ends.
        task: &'a str,
        /// What is done, in words.
        name: &'a str,
        /// What kind of work it is.
        work: Work,
    },
    /// What a task last wrote.
    Output {
        /// The task that wrote it.
        task: &'a str,
        /// Its last line, whole.
        line: &'a str,
    },
    /// How far a task is.
    Advanced {
        /// The task that goes on.
        task: &'a str,
        /// Bytes that are done.
        done: u64,
        /// Bytes in all; 0 where that isn't known.
        total: u64,
        /// What it is at, in words.
        doing: &'a str,
        /// What whoever sees no bar should be told of it.
        milestone: Option<&'a str>,
    },
    /// A task ended.
    Ended {
        /// The task that ended.
        task: &'a str,
        /// What was done, in words.
        name: &'a str,
        /// How it ended.
        outcome: Outcome,
    },
    /// A service is in this state now.
    Service {
        /// The service, by its name.
        name: &'a str,
        /// The state that it is in.
        state: ServiceState,
        /// Why it isn't well, in words, where that is known.
        why: Option<&'a str>,
    },
    /// Nobody waits for the services any more.
    ServicesLeft,
}

/// What kind of work a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// One of several steps, each of which is worth a line when it ends.
    Step,
    /// Waiting for something that has no steps to show.
    Wait,
    /// Moving bytes, of which it is known how many there are.
    Transfer,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Done, after so long.
    Done(Duration),
    /// Nothing was to be done.
    Cached,
    /// It failed, and says elsewhere why.
    Failed,
    /// Called off, or of no interest any more.
    Cancelled,
}

impl dyn Reporter + '_ {
    /// Tells what is being done or was done.
    pub fn status(&self, line: impl Display) {
        self.report(Progress::Status(&line.to_string()));
    }

    /// Tells something that should be known and that stops nothing.
    pub fn notice(&self, line: impl Display) {
        self.report(Progress::Notice(&line.to_string()));
    }

    /// Begins a task that ends when what is returned is dropped.
    pub fn task(&self, name: impl Into<String>, work: Work) -> Task<'_> {
        let name = name.into();
        self.report(Progress::Began { task: &name, name: &name, work });
        Task { reporter: self, name }
    }
}

/// A task that runs until this is dropped, however that comes about.
#[derive(Debug)]
pub struct Task<'a> {
    reporter: &'a dyn Reporter,
    name: String,
}

impl Task<'_> {
    /// Tells how far it is. See [`Progress::Advanced`].
    pub fn advanced(&self, done: u64, total: u64, doing: &str, milestone: Option<&str>) {
        self.reporter.report(Progress::Advanced { task: &self.name, done, total, doing, milestone });
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        self.reporter.report(Progress::Ended { task: &self.name, name: &self.name, outcome: Outcome::Cancelled });
    }
}
