//! A look-out for zombies that were left lying, from outside of the container. It measures their age, not their luck: a
//! zombie ages only by the time in which its parent could have reaped it. What the parent spent waiting for a CPU, on
//! a machine that is busy with other things, is the machine's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(10);

/// A process for good: its ID, and when it was started, in clock ticks since boot.
type Identity = (i32, u64);

/// What came of looking.
#[derive(Debug, Default)]
pub struct Report {
    /// How often was looked.
    pub looks: u64,
    /// Different zombies that were seen.
    pub zombies: u64,
    /// Those that were there for longer than allowed: process ID and at least how long.
    pub overdue: BTreeMap<i32, Duration>,
}

/// Looks on until it is dropped.
pub struct LookOut {
    report: Arc<Mutex<Report>>,
    /// Dropped first: that ends the looking.
    stop: Option<mpsc::Sender<()>>,
    looking: Option<JoinHandle<()>>,
}

impl LookOut {
    /// Looks for children of `parent` that stay zombies for longer than `limit`.
    pub fn on(parent: i32, limit: Duration) -> Self {
        let (stop, stopped) = mpsc::channel();
        let report = Arc::new(Mutex::new(Report::default()));
        let shared = report.clone();
        let looking = std::thread::spawn(move || {
            let mut known = BTreeMap::new();
            while stopped.recv_timeout(INTERVAL) == Err(mpsc::RecvTimeoutError::Timeout) {
                look(parent, limit, &mut known, &mut shared.lock().expect("looking doesn't panic"));
            }
        });
        Self { report, stop: Some(stop), looking: Some(looking) }
    }

    /// What came of it so far.
    pub fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().expect("looking doesn't panic")
    }
}

impl Drop for LookOut {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.looking.take().map(JoinHandle::join);
    }
}

/// What the kernel has noted of a process's time since it was started.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// On a CPU.
    ran: Duration,
    /// Waiting for one. A wait that isn't over yet isn't in it.
    queued: Duration,
}

fn look(parent: i32, limit: Duration, known: &mut BTreeMap<Identity, (Instant, Times)>, report: &mut Report) {
    // The order makes each age a lower bound, however late this thread itself gets its turn.
    let before = times(parent);
    let begin = Instant::now();
    let asleep = stat(parent).is_some_and(|fields| fields[0] == "S");
    let zombies = zombies_of(parent);
    let (end, after) = (Instant::now(), times(parent));
    known.retain(|identity, _| zombies.contains(identity));
    for ((pid, _), (since, times)) in known.iter() {
        // Asleep it has no wait that isn't noted; awake it has had at least the time that it ran.
        let queued = after.queued.saturating_sub(times.queued);
        let asleep = asleep.then(|| begin.saturating_duration_since(*since).saturating_sub(queued));
        let age = asleep.unwrap_or(before.ran.saturating_sub(times.ran));
        if age > limit {
            report.overdue.insert(*pid, age);
        }
    }
    for identity in zombies {
        known.entry(identity).or_insert_with(|| {
            report.zombies += 1;
            (end, Times { ran: after.ran, queued: before.queued })
        });
    }
    report.looks += 1;
}

fn times(pid: i32) -> Times {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let mut nanoseconds = text.split_whitespace().map(|word| Duration::from_nanos(word.parse().unwrap_or(0)));
    Times { ran: nanoseconds.next().unwrap_or_default(), queued: nanoseconds.next().unwrap_or_default() }
}

/// The fields of a process's `stat` that follow its name.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.split(' ').map(Into::into).collect())
}

/// The zombies among a process's children.
fn zombies_of(parent: i32) -> Vec<Identity> {
    let threads = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let children = children.collect::<Vec<_>>().concat();
    let zombie = |pid: i32| {
        let fields = stat(pid)?;
        (fields[0] == "Z").then_some((pid, fields.get(19)?.parse().ok()?))
    };
    children.split_whitespace().filter_map(|pid| zombie(pid.parse().ok()?)).collect()
}

#[test]
fn the_look_out_sees_what_is_left_lying_and_not_what_is_reaped() {
    let own = i32::try_from(std::process::id()).expect("a process ID fits");
    let look_out = LookOut::on(own, Duration::from_millis(100));
    let mut left = std::process::Command::new("true").spawn().expect("it runs");
    let pid = i32::try_from(left.id()).expect("a process ID fits");
    let age = crate::common::wait::until("it has lain there for too long", super::cell::PATIENCE, || {
        std::process::Command::new("true").status().expect("it is reaped as soon as it has ended");
        look_out.report().overdue.get(&pid).copied()
    });
    assert!(age > Duration::from_millis(100));
    assert_eq!(look_out.report().overdue.len(), 1, "{:?}", look_out.report());
    left.wait().expect("it is ours");
}
