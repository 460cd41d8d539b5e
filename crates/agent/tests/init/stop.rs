use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Agent, is_alive, until};

#[test]
fn services_stop_before_what_they_depend_on_and_get_the_time_that_they_need() {
    let closing = |name: &str| {
        format!("trap 'sleep 0.2; echo {name} >>$T/order; exit 0' TERM; echo up; while :; do sleep 0.02; done")
    };
    let mut agent = Agent::start(json!({
        "app": {"command": closing("app"), "depends_on": {"db": "ready"}, "ready": {"log": "up"}},
        "db": {"command": closing("db"), "ready": {"log": "up"}},
    }));
    agent.wait_state("app", "ready");
    let mut events = agent.events();
    agent.signal(libc::SIGTERM);
    assert_eq!(events.event(|event| event["event"] == "stopping")["signal"], 15);
    assert_eq!(agent.exit_code(), 0);
    assert_eq!(std::fs::read_to_string(agent.path("order")).unwrap(), "app\ndb\n");
}

#[test]
fn children_in_its_group_and_escaped_ones_finish_then_it_ends_at_once() {
    let child = |name: &str| {
        format!(
            "trap \"sleep 0.3; echo {name} >>$T/done; exit 0\" TERM; echo $$ >$T/{name}; while :; do sleep 0.02; done"
        )
    };
    let script = format!(
        "(setsid sh -c '{}' &) ; sh -c '{}' & trap 'exit 0' TERM; wait",
        child("escaped").replace('\'', "'\\''"),
        child("grouped").replace('\'', "'\\''")
    );
    for tty in [true, false] {
        finish(&script, tty);
    }
}

fn finish(script: &str, tty: bool) {
    let mut agent = Agent::start(json!({"a": {"command": script, "tty": tty, "stop": {"grace": 60}}}));
    let pids: Vec<i32> = ["escaped", "grouped"]
        .iter()
        .map(|name| until(name, || std::fs::read_to_string(agent.path(name)).ok()?.trim().parse().ok()))
        .collect();
    let begin = Instant::now();
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.exit_code(), 0);
    assert!(begin.elapsed() < Duration::from_secs(10), "it doesn't wait for the grace to pass: {:?}", begin.elapsed());
    let done = std::fs::read_to_string(agent.path("done")).unwrap();
    let mut done: Vec<&str> = done.lines().collect();
    done.sort_unstable();
    assert_eq!(done, ["escaped", "grouped"], "both had the time to finish");
    assert!(!pids.into_iter().any(is_alive));
}

#[test]
fn what_ignores_term_is_killed_after_its_grace() {
    let mut agent = Agent::start(json!({
        "a": {"command": "trap '' TERM; echo up; while :; do sleep 0.02; done", "ready": {"log": "up"}, "stop": {"grace": 0.3}},
    }));
    agent.wait_state("a", "ready");
    let begin = Instant::now();
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.exit_code(), 0);
    assert!(begin.elapsed() >= Duration::from_millis(300), "{:?}", begin.elapsed());
}

#[test]
fn a_second_term_does_not_wait() {
    let mut agent = Agent::start(json!({
        "a": {"command": "trap '' TERM; echo up; while :; do sleep 0.02; done", "ready": {"log": "up"}, "stop": {"grace": 1000}},
        "b": {"command": "trap '' TERM; echo up; while :; do sleep 0.02; done", "ready": {"log": "up"}, "stop": {"grace": 1000}, "depends_on": {"a": "ready"}},
    }));
    agent.wait_state("b", "ready");
    let mut events = agent.events();
    agent.signal(libc::SIGTERM);
    events.service_event("b", "stopping");
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.exit_code(), 0);
}

#[test]
fn every_way_to_say_stop_and_nothing_else_ends_it() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGPWR, libc::SIGRTMIN() + 3] {
        let mut agent = Agent::start(json!({"a": {"command": "exec sleep 1000"}}));
        agent.signal(signal);
        assert_eq!(agent.exit_code(), 0, "{signal}");
    }
    let agent = Agent::start(json!({"a": {"command": "exec sleep 1000"}}));
    agent.wait_state("a", "ready");
    let ends =
        [libc::SIGKILL, libc::SIGSTOP, libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGPWR, libc::SIGRTMIN() + 3];
    for signal in (1..=64).filter(|signal| !ends.contains(signal)) {
        agent.signal(signal);
    }
    assert_eq!(agent.ask(json!({"op": "health"}))["state"], "healthy");
    assert_eq!(agent.service("a")["restarts"], 0);
}

#[test]
fn an_essential_service_that_fails_ends_it_with_its_code() {
    for (command, code) in [("exit 42", 42), ("kill -9 $$", 137), ("exec /no/such/program", 127)] {
        let mut agent = Agent::launch(
            &json!({"project": "", "environment": {}, "services": {
                "main": {"command": format!("sleep 0.1; {command}"), "essential": true, "restart": {"policy": "never"}},
                "other": {"command": "exec sleep 1000"},
            }})
            .to_string(),
            |_| {},
        );
        assert_eq!(agent.exit_code(), code, "{command}");
    }
}

#[test]
fn what_is_no_services_is_ended_too() {
    // A daemon that took its service's mark off.
    let script = "setsid env -i T=$T /bin/sh -c 'trap \"echo term >$T/ended; exit\" TERM; echo $$ >$T/daemon; while :; do sleep 0.02; done' & sleep 0.2";
    let mut agent = Agent::start(json!({"a": {"command": script, "restart": {"policy": "never"}}}));
    let daemon = until("the daemon", || std::fs::read_to_string(agent.path("daemon")).ok()?.trim().parse().ok());
    agent.wait_state("a", "completed");
    assert!(is_alive(daemon));
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.exit_code(), 0);
    assert_eq!(std::fs::read_to_string(agent.path("ended")).unwrap(), "term\n");
    assert!(!is_alive(daemon));
}
