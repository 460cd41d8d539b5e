use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Agent, free_port};

/// A service that is ready once the file `go` is there, and how it shows it.
fn becomes_ready(service: Value, says_nothing_before: bool) {
    let agent = Agent::start(json!({"a": service}));
    agent.wait_state("a", "starting");
    if says_nothing_before {
        assert_eq!(agent.ask(json!({"op": "health"}))["state"], "starting");
    }
    std::fs::write(agent.path("go"), "").unwrap();
    agent.wait_state("a", "ready");
    assert_eq!(agent.ask(json!({"op": "health"}))["state"], "healthy");
}

const WAIT: &str = "while ! test -e $T/go; do sleep 0.02; done;";

#[test]
fn by_descriptor() {
    becomes_ready(json!({"command": format!("{WAIT} echo >&9; exec sleep 1000"), "ready": {"fd": 9}}), true);
}

#[test]
fn by_notification() {
    let send = "python3 -c 'import os,socket; s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); s.sendto(b\"STATUS=x\\nREADY=1\",os.environ[\"NOTIFY_SOCKET\"])'";
    becomes_ready(json!({"command": format!("{WAIT} {send}; exec sleep 1000"), "ready": {"notify": {}}}), true);
}

#[test]
fn by_a_line() {
    becomes_ready(
        json!({"command": format!("{WAIT} echo now it is up; exec sleep 1000"), "ready": {"log": "it is"}}),
        true,
    );
}

#[test]
fn by_a_command() {
    let ready = json!({"exec": "test $A = b && test -e $T/go", "interval": 0.05});
    becomes_ready(json!({"command": "exec sleep 1000", "environment": {"A": "b"}, "ready": ready}), true);
}

#[test]
fn by_a_port() {
    let port = free_port();
    let serve = format!("{WAIT} exec python3 -m http.server {port} --bind 127.0.0.1");
    becomes_ready(json!({"command": serve, "ready": {"tcp": port}}), true);
}

#[test]
fn by_a_page() {
    let port = free_port();
    let serve = format!("exec python3 -m http.server {port} --bind 127.0.0.1 --directory $T");
    let ready = json!({"http": {"port": port, "path": "/go"}, "interval": 0.05});
    becomes_ready(json!({"command": serve, "ready": ready}), true);
}

#[test]
fn a_failing_page_is_told() {
    let port = free_port();
    let serve = format!("exec python3 -m http.server {port} --bind 127.0.0.1");
    let agent = Agent::start(
        json!({"a": {"command": serve, "ready": {"http": {"port": port, "path": "/none"}, "interval": 0.05}}}),
    );
    let status =
        agent.wait("the refusal", |status| status["services"][0]["probe"].as_str().is_some_and(|p| p.contains("404")));
    assert!(status["services"][0]["probe"].as_str().unwrap().starts_with("HTTP 404 File not found"), "{status:#}");
}

#[test]
fn too_late_is_a_failure() {
    let agent = Agent::start(json!({
        "a": {"command": "exec sleep 1000", "ready": {"log": "never", "deadline": 0.2}, "restart": {"policy": "never"}},
    }));
    let a = agent.wait_state("a", "failed");
    assert_eq!(a["last_exit"]["reason"], "not ready within 0.2 s");
}

#[test]
fn what_fails_its_probe_later_is_unhealthy_until_it_is_well_again() {
    let ready = json!({"exec": "test -e $T/sick && { echo I am sick; exit 1; }; true", "interval": 0.02, "liveness": 0.05, "retries": 2});
    let agent = Agent::start(json!({"a": {"command": "exec sleep 1000", "ready": ready}}));
    agent.wait_state("a", "ready");
    let mut events = agent.events();
    std::fs::write(agent.path("sick"), "").unwrap();
    let event = events.service_event("a", "unhealthy");
    assert_eq!(event["probe"], "the probe exited with 1: I am sick");
    let event = events.event(|event| event["event"] == "health");
    assert_eq!(event["state"], "unhealthy");
    assert_eq!(event["detail"], "a: unhealthy: the probe exited with 1: I am sick");
    std::fs::remove_file(agent.path("sick")).unwrap();
    events.service_event("a", "ready");
    events.event(|event| event["event"] == "health" && event["state"] == "healthy");
    assert_eq!(agent.service("a")["restarts"], 0, "being unwell alone restarts nothing");
}

#[test]
fn a_probe_that_hangs_is_ended_with_all_that_it_started() {
    let ready = json!({"exec": "echo $$ >>$T/probes; sleep 1000 | sleep 1000", "interval": 0.02, "timeout": 0.1});
    let agent = Agent::start(json!({"a": {"command": "exec sleep 1000", "ready": ready}}));
    let begin = Instant::now();
    agent.wait("a probe that hangs", |status| {
        status["services"][0]["probe"].as_str().is_some_and(|said| said.starts_with("no answer within 0.1 s"))
    });
    assert!(begin.elapsed() < Duration::from_secs(10));
    let probe = std::fs::read_to_string(agent.path("probes")).unwrap();
    let group = probe.lines().next().unwrap().to_string();
    crate::harness::until("the probe's processes are gone", || {
        let output = std::process::Command::new("ps").args(["-o", "pid=,stat=", "-g", &group]).output().unwrap();
        let alive = String::from_utf8_lossy(&output.stdout).lines().filter(|l| !l.contains('Z')).count();
        (alive == 0).then_some(())
    });
}
