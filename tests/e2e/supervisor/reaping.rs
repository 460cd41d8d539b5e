//! Every child is reaped at once, and no exit status is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use powerdev_protocol::{Event, EventKind, ServiceState};
use serde_json::json;

use super::cell::Cell;
use super::zombies::LookOut;
use crate::common::{engine, wait};

/// Makes 2,500 orphans: each subshell starts another and ends, so that the other is PID 1's to reap.
const ORPHANS: &str = "until [ -e /out/go ]; do sleep 0.01; done; \
    i=0; while [ $i -lt 2500 ]; do ( (exit 3) & ); i=$((i+1)); done; echo > /out/$POWERDEV_SERVICE";
/// Dies again and again, each time with a code that tells which life it was, until there is calm.
const NUMBERED: &str = "n=0; [ -e /out/$POWERDEV_SERVICE ] && read -r n < /out/$POWERDEV_SERVICE; n=$((n+1)); \
    [ -e /out/calm ] && exec sleep 1000; echo $n > /out/$POWERDEV_SERVICE; exit $((n % 200 + 1))";
/// Dies again and again with one code; each life leaves a line.
const CHURN: &str = "echo >> /out/$POWERDEV_SERVICE; exit 7";
/// Twenty thousand processes take their time where two processors are shared with other tests.
const STORM: Duration = Duration::from_secs(180);
/// How long a zombie may be one.
const LIMIT: Duration = Duration::from_millis(100);

#[test]
fn ten_thousand_orphans_leave_no_zombie_and_no_exit_status_is_lost() {
    let storms = ["storm1", "storm2", "storm3", "storm4"];
    let churns = ["churn1", "churn2", "churn3"];
    let mut services = json!({"idle": {"command": "exec sleep 1000"}});
    for name in storms {
        services[name] = json!({"command": ORPHANS, "restart": {"policy": "never"}});
    }
    for (name, tty) in churns.into_iter().zip([true, false, true]) {
        let restart = json!({"backoff": 0.01, "max_backoff": 0.01, "jitter": 0});
        services[name] = json!({"command": NUMBERED, "tty": tty, "restart": restart});
    }
    let cell = Cell::start(services);
    let idle = cell.wait_state("idle", ServiceState::Ready);
    let look_out = LookOut::on(engine::pid(cell.name()), LIMIT);
    let events = cell.events();
    // What has been told of before is not in the events.
    let before = churns.map(|name| cell.service(name).restarts);
    std::fs::write(cell.out_path("go"), "").expect("written");
    wait::until("every orphan has been reaped", STORM, || (cell.status().orphans >= 10_000).then_some(()));
    for storm in storms {
        cell.wait_state(storm, ServiceState::Completed);
    }
    assert_eq!(cell.status().orphans, 10_000, "each of them once, and nobody else");
    {
        let report = look_out.report();
        assert!(report.looks > 20, "{report:?}");
        assert!(report.overdue.is_empty(), "zombies for longer than {LIMIT:?}: {report:?}");
    }
    std::fs::write(cell.out_path("calm"), "").expect("written");
    let lives = churns.map(|name| {
        cell.wait(name, |service| {
            let lives = cell.out(name).and_then(|lives| lives.trim().parse().ok()).unwrap_or(0);
            service.state == ServiceState::Ready && service.restarts == lives
        })
        .restarts
    });
    let mut told = Vec::new();
    let mut calm = BTreeSet::new();
    events.wait("each churn's last life is told", |event| {
        if let EventKind::Service { name, to: ServiceState::Ready, restarts, .. } = &event.kind {
            let index = churns.iter().position(|churn| churn == name);
            calm.extend(index.filter(|index| lives[*index] == *restarts));
        }
        told.push(event);
        (calm.len() == churns.len()).then_some(())
    });
    let exits = exits(&told);
    for ((name, lives), before) in churns.into_iter().zip(lives).zip(before) {
        assert!(lives > before + 20, "{name} churned: {before} and {lives} lives");
        let told = exits.get(name).map(Vec::as_slice).unwrap_or_default();
        let codes: Vec<i32> = (1..=lives).map(|life| i32::try_from(life % 200 + 1).expect("it fits")).collect();
        assert!(codes.ends_with(told), "{name}: each life's own code, in their order: {told:?}");
        assert!(told.len() + 1 >= (lives - before) as usize, "{name}: {} of {} exits", told.len(), lives - before);
    }
    let idle_now = cell.service("idle");
    assert_eq!((idle_now.pid, idle_now.restarts), (idle.pid, 0), "what had no part in it goes on");
}

/// Every exit code that the events tell, by service.
fn exits(events: &[Event]) -> BTreeMap<String, Vec<i32>> {
    let mut exits = BTreeMap::<String, Vec<i32>>::new();
    for event in events {
        if let EventKind::Service { name, exit: Some(exit), .. } = &event.kind {
            exits.entry(name.clone()).or_default().extend(exit.code);
        }
    }
    exits
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
    let exits = exits(&events.so_far());
    for name in ["one", "two", "three"] {
        assert_eq!(exits.get(name), Some(&vec![7; 40]), "{name}");
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
