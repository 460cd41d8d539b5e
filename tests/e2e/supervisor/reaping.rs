//! Every child is reaped at once, and no exit status is lost.

use powerdev_protocol::{Action, EventKind, ServiceState};
use serde_json::json;

use super::cell::Cell;
use crate::common::wait;

/// Makes 2,500 orphans: each subshell starts another and ends, so that the other is PID 1's to reap.
const STORM: &str = "i=0; while [ $i -lt 2500 ]; do ( (exit 3) & ); i=$((i+1)); done; echo > /out/$POWERDEV_SERVICE";
/// Dies again and again with a code of its own; each life leaves a line.
const CHURN: &str = "echo >> /out/$POWERDEV_SERVICE; exit 7";
/// Lists zombies 100 ms after the last storm, and those of them that are still there after another 50 ms.
const ZOMBIES: &str = "
    zombies() { for p in /proc/[0-9]*; do
        read -r line < $p/stat && case $line in *') Z '*) echo $line;; esac
    done 2>/dev/null; }
    until [ -e /out/storm1 -a -e /out/storm2 -a -e /out/storm3 -a -e /out/storm4 ]; do sleep 0.01; done
    sleep 0.1; first=$(zombies); sleep 0.05; second=$(zombies)
    echo \"$first\" | while read -r pid rest; do
        case \"$second\" in *\"$pid (\"*) [ -n \"$pid\" ] && echo \"zombie $pid $rest\";; esac
    done; echo looked";

#[test]
fn ten_thousand_orphans_leave_no_zombie_and_no_exit_status_is_lost() {
    let storm = json!({"command": STORM, "restart": {"policy": "never"}});
    let churn = json!({"command": CHURN, "restart": {"backoff": 0.01, "max_backoff": 0.01, "jitter": 0}});
    let idle = json!({"command": "exec sleep 1000"});
    let cell = Cell::start(json!({
        "idle": idle, "churn1": churn, "churn2": churn, "churn3": churn,
        "storm1": storm, "storm2": storm, "storm3": storm, "storm4": storm,
    }));
    let idle_pid = cell.service("idle").pid;
    let (code, said) = cell.engine_exec(&["/bin/sh", "-c", ZOMBIES], b"");
    assert_eq!((code, said.as_str()), (0, "looked\n"));
    for storm in ["storm1", "storm2", "storm3", "storm4"] {
        cell.wait_state(storm, ServiceState::Completed);
    }
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
