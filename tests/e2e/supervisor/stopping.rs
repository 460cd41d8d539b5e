//! Told to stop, the agent lets everything finish, and is gone as soon as everything has.

use std::time::Instant;

use powerdev_protocol::{Action, EventKind, ServiceState};
use serde_json::json;

use super::cell::{Cell, Setup};
use crate::common::{engine, wait};

/// Stopped by TERM, as the Engine does: what the container's exit code says.
const TERM: i32 = 15;

/// A service that cleans up for a second, with a child in its group and one that escaped by setsid, which do, too.
const CLEANERS: &str = "
    cleaner() { trap \"sleep 1; echo > /out/$1; exit 0\" TERM; echo > /out/$1-up; while :; do sleep 0.05; done; }
    if [ \"$1\" ]; then cleaner $1; fi
    /bin/sh $0 group & setsid /bin/sh $0 escaped & cleaner main";

fn cleaners() -> Cell {
    // The script lies in a file so that its children can run it again.
    let command = format!("cat > /tmp/cleaners <<'END'\n{CLEANERS}\nEND\nexec /bin/sh /tmp/cleaners");
    Cell::start(json!({"web": {"command": command, "stop": {"grace": 30}}}))
}

#[test]
fn children_in_the_group_and_escaped_ones_finish_then_it_ends_at_once() {
    let cell = cleaners();
    for up in ["main-up", "group-up", "escaped-up"] {
        cell.wait_out(up);
    }
    let started = Instant::now();
    cell.signal(TERM);
    let code = cell.wait_exit();
    let took = started.elapsed();
    for done in ["main", "group", "escaped"] {
        assert!(cell.out(done).is_some(), "{done} was not let finish");
    }
    assert_eq!(code, 0, "{}", engine::logs(cell.name()));
    assert!(took.as_secs_f64() < 5.0, "30 s of grace are no reason to wait {took:?} for 1 s of cleanup");
}

#[test]
fn stopping_one_service_takes_its_whole_tree_and_nothing_else() {
    let cell = cleaners();
    for up in ["main-up", "group-up", "escaped-up"] {
        cell.wait_out(up);
    }
    cell.command("web", Action::Stop);
    let stopped = cell.service("web");
    assert_eq!((stopped.state, stopped.pid), (ServiceState::Stopped, None));
    for done in ["main", "group", "escaped"] {
        assert!(cell.out(done).is_some(), "{done} was not let finish before the answer");
    }
    let (_, left) = cell.engine_exec(&["/bin/sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"], b"");
    assert!(!left.contains("cleaners"), "{left}");
    assert!(engine::is_running(cell.name()));
}

#[test]
fn dependents_go_before_what_they_depend_on() {
    let service = "trap 'echo $POWERDEV_SERVICE >> /out/order; exit 0' TERM; echo > /out/$POWERDEV_SERVICE; \
                   while :; do sleep 0.05; done";
    let cell = Cell::start(json!({
        "db": {"command": service},
        "api": {"command": service, "depends_on": {"db": "ready"}},
        "web": {"command": service, "depends_on": {"api": "ready"}},
    }));
    for name in ["db", "api", "web"] {
        cell.wait_out(name);
    }
    cell.signal(TERM);
    assert_eq!(cell.wait_exit(), 0);
    assert_eq!(cell.out("order").as_deref(), Some("web\napi\ndb\n"));
}

#[test]
fn what_ignores_the_signal_is_killed_when_its_grace_is_over() {
    let deaf = "trap '' TERM; echo > /out/up; while :; do sleep 1000; done";
    let cell = Cell::start(json!({"deaf": {"command": deaf, "stop": {"grace": 1}}}));
    cell.wait_out("up");
    let started = Instant::now();
    cell.signal(TERM);
    cell.wait_exit();
    let took = started.elapsed().as_secs_f64();
    assert!((0.9..5.0).contains(&took), "1 s of grace took {took} s");
}

#[test]
fn a_second_term_is_impatience() {
    let deaf = "trap '' TERM; echo > /out/up; while :; do sleep 1000; done";
    let cell = Cell::start(json!({"deaf": {"command": deaf, "stop": {"grace": 600}}}));
    cell.wait_out("up");
    let events = cell.events();
    cell.signal(TERM);
    events.wait("it stops", |event| matches!(event.kind, EventKind::Stopping { signal: TERM }).then_some(()));
    let started = Instant::now();
    cell.signal(TERM);
    cell.wait_exit();
    assert!(started.elapsed().as_secs() < 5, "the second TERM ends the grace");
}

#[test]
fn no_other_signal_ends_or_disturbs_it() {
    // INT, QUIT, TERM, PWR and systemd's RTMIN+3 are how containers are told to stop; KILL and STOP are the kernel's own.
    let stops = [2, 3, TERM, 30, 37, 9, 19];
    let cell = Cell::start(json!({"web": {"command": "exec sleep 1000"}}));
    let before = cell.wait_state("web", ServiceState::Ready);
    for signal in (1..=64).filter(|signal| !stops.contains(signal) && !(32..=33).contains(signal)) {
        cell.signal(signal);
        assert_eq!(cell.service("web"), before, "after signal {signal}");
    }
    assert_eq!(cell.status().pid, 1);
}

#[test]
fn int_and_quit_stop_it_as_well() {
    for signal in [2, 3] {
        let cell = Cell::start(json!({"web": {"command": "exec sleep 1000"}}));
        cell.wait_state("web", ServiceState::Ready);
        cell.signal(signal);
        assert_eq!(cell.wait_exit(), 0, "signal {signal}");
    }
}

#[test]
fn a_signal_before_anything_is_up_is_not_lost() {
    let cell = Cell::start(json!({"web": {"command": "exec sleep 1000"}}));
    cell.signal(TERM);
    cell.wait_exit();
}

#[test]
fn an_essential_service_takes_the_container_along_with_its_code() {
    let cell = Cell::start(json!({
        "job": {"command": "until [ -e /out/go ]; do sleep 0.02; done; exit 41", "essential": true,
                "restart": {"policy": "never"}},
        "web": {"command": "trap 'echo > /out/cleaned; exit 0' TERM; echo > /out/up; while :; do sleep 0.05; done"},
    }));
    cell.wait_out("up");
    cell.engine_exec(&["/bin/touch", "/out/go"], b"");
    assert_eq!(cell.wait_exit(), 41);
    assert!(cell.out("cleaned").is_some(), "the other service was let finish");
}

#[test]
fn with_an_init_of_the_engines_it_does_the_same_as_a_subreaper() {
    let orphan = "( sleep 0.3; echo > /out/orphan ) & exit 0";
    let cell = Setup::new(json!({
        "mother": {"command": orphan, "restart": {"policy": "never"}},
        "web": {"command": "trap 'echo > /out/cleaned; exit 0' TERM; echo > /out/up; while :; do sleep 0.05; done"},
    }))
    .host(|host| host.init = Some(true))
    .start();
    cell.wait_out("up");
    assert_ne!(cell.status().pid, 1, "the Engine's init is PID 1");
    cell.wait_out("orphan");
    let count = "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l";
    wait::until("the orphan is reaped", super::cell::PATIENCE, || {
        (cell.engine_exec(&["/bin/sh", "-c", count], b"").1.trim() == "0").then_some(())
    });
    cell.signal(TERM);
    assert_eq!(cell.wait_exit(), 0);
    assert!(cell.out("cleaned").is_some());
}
