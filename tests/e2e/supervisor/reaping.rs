//! Every child is reaped at once, and no exit status is lost.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use powerdev_protocol::{Action, EventKind, ServiceState};
use serde_json::json;

use super::cell::Cell;
use crate::common::{engine, wait};

/// Twenty thousand processes take their time where two processors are shared with other tests.
const STORM_PATIENCE: Duration = Duration::from_secs(180);

/// Makes 2,500 orphans: each subshell starts another and ends, so that the other is PID 1's to reap. Each leaves a byte.
const STORM: &str = "i=0; while [ $i -lt 2500 ]; do ( (printf x >> /out/orphans; exit 3) & ); i=$((i+1)); done";
const STORMS: [&str; 4] = ["storm1", "storm2", "storm3", "storm4"];
const ORPHANS: usize = 10_000;
/// Dies again and again with a code of its own; each life leaves a line.
const CHURN: &str = "echo >> /out/$POWERDEV_SERVICE; exit 7";
/// How long a child of PID 1 may be a zombie, less what PID 1 waited for a processor.
const ZOMBIE: Duration = Duration::from_millis(100);

/// Looks at PID 1's children, from outside.
struct Coroner {
    /// In the host's count.
    pid: i32,
    /// Each zombie, by process ID and start, with when it was first seen and how long PID 1 had waited until then.
    seen: HashMap<(i32, String), (Instant, Duration)>,
}

impl Coroner {
    fn new(cell: &Cell) -> Self {
        Self { pid: engine::pid(cell.name()), seen: HashMap::new() }
    }

    /// Gives the number of zombies.
    fn look(&mut self) -> usize {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid)).expect("PID 1 runs");
        let zombies = children.split_whitespace().filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
            (fields.next()? == "Z").then_some((pid.parse().ok()?, fields.nth(18)?.to_owned()))
        });
        let (now, waited) = (Instant::now(), self.waited());
        let mut found = HashMap::new();
        for zombie in zombies {
            let (since, waited_then) = self.seen.get(&zombie).copied().unwrap_or((now, waited));
            let age = now.duration_since(since).saturating_sub(waited - waited_then);
            assert!(age < ZOMBIE, "{} has been a zombie for {age:?}", zombie.0);
            found.insert(zombie, (since, waited_then));
        }
        self.seen = found;
        self.seen.len()
    }

    /// How long PID 1 could have run and had no processor: that is the machine's doing, not its own.
    fn waited(&self) -> Duration {
        let schedule = fs::read_to_string(format!("/proc/{}/schedstat", self.pid)).expect("PID 1 runs");
        let waited = schedule.split_whitespace().nth(1).and_then(|field| field.parse().ok());
        Duration::from_nanos(waited.expect("nanoseconds"))
    }
}

#[test]
fn ten_thousand_orphans_leave_no_zombie_and_no_exit_status_is_lost() {
    let storm = json!({"command": format!("until [ -e /out/go ]; do sleep 0.02; done; {STORM}"), "restart": {"policy": "never"}});
    let churn = json!({"command": CHURN, "restart": {"backoff": 0.01, "max_backoff": 0.01, "jitter": 0}});
    let mut services =
        json!({"idle": {"command": "exec sleep 1000"}, "churn1": churn, "churn2": churn, "churn3": churn});
    for name in STORMS {
        services[name] = storm.clone();
    }
    let cell = Cell::start(services);
    let idle_pid = cell.service("idle").pid;
    let mut coroner = Coroner::new(&cell);
    cell.engine_exec(&["/bin/touch", "/out/go"], b"");
    let orphans = || fs::metadata(cell.out_path("orphans")).map_or(0, |file| file.len() as usize);
    wait::until("every orphan has lived, and every one is reaped", STORM_PATIENCE, || {
        let zombies = coroner.look();
        (orphans() == ORPHANS && zombies == 0).then_some(())
    });
    for storm in STORMS {
        cell.wait_state(storm, ServiceState::Completed);
    }
    assert_eq!(orphans(), ORPHANS);
    for churn in ["churn1", "churn2", "churn3"] {
        // Stopped between two lives, so that the last one counts as any other.
        wait::until("the service is stopped in its back-off", super::cell::PATIENCE, || {
            cell.wait_state(churn, ServiceState::Backoff);
            cell.command(churn, Action::Stop);
            let stopped = cell.service(churn);
            let own_end =
                stopped.last_exit.as_ref().is_some_and(|exit| exit.code == Some(7) && exit.reason.contains('7'));
            if !own_end {
                cell.command(churn, Action::Start);
            }
            own_end.then_some(())
        });
    }
    assert_eq!(cell.service("idle").pid, idle_pid, "what had no part in it goes on");
    assert_eq!(cell.service("idle").restarts, 0);
}

#[test]
fn every_life_is_counted_and_every_exit_told() {
    let churn = json!({"command": CHURN, "restart": {"backoff": 0.05, "max_backoff": 0.05, "jitter": 0, "limit": 40}});
    let gate = json!({"command": "until [ -e /out/open ]; do sleep 0.02; done", "restart": {"policy": "never"}});
    let mut services = json!({"gate": gate});
    for name in ["one", "two", "three"] {
        services[name] = churn.clone();
        services[name]["depends_on"] = json!({"gate": "completed"});
    }
    let cell = Cell::start(services);
    let events = cell.events();
    cell.engine_exec(&["/bin/touch", "/out/open"], b"");
    for name in ["one", "two", "three"] {
        let failed = cell.wait_state(name, ServiceState::Failed);
        assert_eq!(failed.restarts, 39, "{name}: 40 lives are 39 restarts");
        assert_eq!(cell.out(name).map(|lives| lives.lines().count()), Some(40), "{name}");
    }
    let mut exits = std::collections::BTreeMap::<String, Vec<Option<i32>>>::new();
    for event in events.so_far() {
        if let EventKind::Service { name, exit: Some(exit), .. } = event.kind {
            exits.entry(name).or_default().push(exit.code);
        }
    }
    for name in ["one", "two", "three"] {
        assert_eq!(exits.get(name), Some(&vec![Some(7); 40]), "{name}");
    }
}

#[test]
fn exit_codes_and_signals_are_told_apart() {
    let never = json!({"policy": "never"});
    let cell = Cell::start(json!({
        "zero": {"command": "exit 0", "restart": never},
        "three": {"command": "exit 3", "restart": never},
        "many": {"command": "exit 255", "restart": never},
        "killed": {"command": "kill -9 $$", "restart": never},
        "aborted": {"command": "kill -ABRT $$", "restart": never},
        "hangup": {"command": "kill -HUP $$", "restart": never},
        "missing": {"command": ["/no/such/program"], "restart": never},
        "folder": {"command": ["/etc"], "restart": never},
    }));
    for (name, state, code, signal, reason) in [
        ("zero", ServiceState::Completed, Some(0), None, "0"),
        ("three", ServiceState::Failed, Some(3), None, "3"),
        ("many", ServiceState::Failed, Some(255), None, "255"),
        ("killed", ServiceState::Failed, None, Some(9), "SIGKILL"),
        ("aborted", ServiceState::Failed, None, Some(6), "SIGABRT"),
        ("hangup", ServiceState::Failed, None, Some(1), "SIGHUP"),
        ("missing", ServiceState::Failed, Some(127), None, "/no/such/program"),
        ("folder", ServiceState::Failed, Some(126), None, "/etc"),
    ] {
        let ended = cell.wait(name, |service| service.last_exit.is_some() && !service.state.is_running());
        let exit = ended.last_exit.expect("waited for");
        assert_eq!((ended.state, exit.code, exit.signal), (state, code, signal), "{name}: {}", exit.reason);
        assert!(exit.reason.contains(reason), "{name}: {}", exit.reason);
        assert!(!exit.oom, "{name}");
    }
}
