//! Pairs, medians, ratios.

use std::fmt;
use std::time::{Duration, Instant};

/// One side of a pair.
pub struct Side<'a> {
    /// What it is called in the table.
    pub label: &'a str,
    /// Does it once and tells how long that took.
    pub once: Box<dyn FnMut() -> Duration + 'a>,
}

impl<'a> Side<'a> {
    /// A side that tells its own time: for what starts and ends at events.
    pub fn told(label: &'a str, once: impl FnMut() -> Duration + 'a) -> Self {
        Self { label, once: Box::new(once) }
    }

    /// A side whose whole call is measured.
    pub fn timed(label: &'a str, mut once: impl FnMut() + 'a) -> Self {
        Self::told(label, move || {
            let start = Instant::now();
            once();
            start.elapsed()
        })
    }
}

/// Measures both in alternation: A B, B A, A B … after one round that doesn't count.
pub fn pair(name: &str, promise: &str, rounds: usize, mut ours: Side, mut theirs: Side) -> Row {
    (ours.once)();
    (theirs.once)();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            a.push((ours.once)());
            b.push((theirs.once)());
        } else {
            b.push((theirs.once)());
            a.push((ours.once)());
        }
    }
    let milliseconds = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1000.0
    };
    Row::new(name, promise, "ms", (ours.label, milliseconds(&mut a)), (theirs.label, milliseconds(&mut b)))
}

/// A line of the table.
pub struct Row {
    name: String,
    promise: String,
    unit: &'static str,
    ours: (String, f64),
    theirs: (String, f64),
}

impl Row {
    /// A pair of numbers, ours first.
    pub fn new(name: &str, promise: &str, unit: &'static str, ours: (&str, f64), theirs: (&str, f64)) -> Self {
        Self {
            name: name.to_owned(),
            promise: promise.to_owned(),
            unit,
            ours: (ours.0.to_owned(), ours.1),
            theirs: (theirs.0.to_owned(), theirs.1),
        }
    }

    /// What stands over the table.
    pub fn header() -> String {
        format!("{:<28} {:>11} {:>11} {:>7}  {:<13} {}", "", "powerdev", "other", "ratio", "promised", "compared")
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [ours, theirs] = [self.ours.1, self.theirs.1].map(|number| format!("{number:.1} {}", self.unit));
        let ratio = self.ours.1 / self.theirs.1;
        write!(f, "{:<28} {ours:>11} {theirs:>11} {ratio:>7.3}  {:<13} ", self.name, self.promise)?;
        write!(f, "{} / {}", self.ours.0, self.theirs.0)
    }
}
