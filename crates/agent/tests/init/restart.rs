use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Agent, is_alive, kill, pid_of, until};

#[test]
fn killed_it_is_back_within_a_fifth_of_a_second() {
    let mut times = Vec::new();
    // Of several, so that a machine that is busy with other tests doesn't decide; each is its first death.
    for _ in 0..5 {
        let agent = Agent::start(json!({"a": {"command": ["sleep", "1000"]}}));
        let pid = pid_of(&agent.wait_state("a", "ready"));
        let mut events = agent.events();
        let begin = Instant::now();
        kill(pid, libc::SIGKILL);
        let event = events.service_event("a", "backoff");
        assert_eq!(event["exit"]["signal"], 9);
        assert_eq!(event["exit"]["reason"], "killed by SIGKILL");
        let back = events.service_event("a", "ready");
        times.push(begin.elapsed());
        assert_ne!(back["pid"], pid);
        assert_eq!(back["restarts"], 1);
    }
    let best = times.iter().min().unwrap();
    assert!(*best < Duration::from_millis(200), "{times:?}");
}

#[test]
fn after_a_long_run_it_is_back_at_once_and_its_children_do_not_stand_in_the_way() {
    let agent = Agent::start(json!({
        "a": {"command": "sleep 1000 & sleep 1000 & wait", "restart": {"reset": 0.0, "backoff": 20}},
    }));
    let pid = pid_of(&agent.wait_state("a", "ready"));
    let mut events = agent.events();
    kill(pid, libc::SIGKILL);
    let begin = Instant::now();
    events.service_event("a", "ready");
    assert!(begin.elapsed() < Duration::from_secs(10), "no back-off of 20 s");
    until("its children are gone", || {
        let left = std::process::Command::new("ps").args(["-o", "pid=", "-g", &pid.to_string()]).output().unwrap();
        left.stdout.is_empty().then_some(())
    });
}

#[test]
fn a_crash_loop_is_slowed_down_and_given_up_on() {
    let agent = Agent::start(json!({
        "a": {"command": "echo try; exit 3", "restart": {"backoff": 0.05, "jitter": 0, "limit": 4}},
    }));
    let a = agent.wait_state("a", "failed");
    assert_eq!(a["restarts"], 3);
    assert_eq!(a["last_exit"]["code"], 3);
    assert_eq!(a["pid"], json!(null));
    let log = agent.log("a");
    assert_eq!(log.lines().count(), 4, "{log}");
    let health = agent.ask(json!({"op": "health"}));
    assert_eq!(health["detail"], "a: failed: exited with 3; its last line: try");
}

#[test]
fn each_back_off_is_told_with_its_length() {
    let agent = Agent::start(
        json!({"a": {"command": "exit 1", "restart": {"backoff": 100, "max_backoff": 200, "jitter": 0.2}}}),
    );
    let a = agent.wait_state("a", "backoff");
    let retry = a["retry_in_ms"].as_u64().unwrap();
    assert!((90_000..=120_000).contains(&retry), "{retry}");
    assert_eq!(agent.ask(json!({"op": "health"}))["state"], "unhealthy");
    std::fs::write(agent.path("x"), "").unwrap();
    assert_eq!(agent.ask(json!({"op": "service", "name": "a", "action": "stop", "wait": true}))["answer"], "ok");
    assert_eq!(agent.service("a")["state"], "stopped");
}

#[test]
fn what_cannot_be_run_is_told() {
    let agent = Agent::start(json!({
        "a": {"command": ["no-such-program"], "restart": {"policy": "never"}},
        "b": {"command": "true", "directory": "/no/such/folder", "restart": {"policy": "never"}},
    }));
    let a = agent.wait_state("a", "failed");
    assert_eq!(a["last_exit"]["code"], 127);
    assert_eq!(a["last_exit"]["reason"], "no program `no-such-program`: it is not in the PATH of its environment");
    let b = agent.wait_state("b", "failed");
    assert_eq!(b["last_exit"]["code"], 126);
    assert!(b["last_exit"]["reason"].as_str().unwrap().contains("/no/such/folder can't be entered"), "{b}");
}

#[test]
fn start_stop_and_restart_on_request() {
    let agent = Agent::start(
        json!({"a": {"command": "trap 'sleep 0.1; exit 0' TERM; echo up; while :; do sleep 0.02; done", "ready": {"log": "up"}}}),
    );
    let first = pid_of(&agent.wait_state("a", "ready"));
    let ask =
        |action: &str, wait: bool| agent.ask(json!({"op": "service", "name": "a", "action": action, "wait": wait}));
    assert_eq!(ask("restart", true)["answer"], "ok");
    let a = agent.service("a");
    assert_eq!(a["state"], "ready");
    assert_eq!(a["restarts"], 0, "on request doesn't count");
    assert_eq!(a["last_exit"]["reason"], "restarted on request");
    let second = pid_of(&a);
    assert_ne!(first, second);
    assert!(!is_alive(first));
    assert_eq!(ask("stop", true)["answer"], "ok");
    let a = agent.service("a");
    assert_eq!((&a["state"], &a["last_exit"]["reason"]), (&json!("stopped"), &json!("stopped on request")));
    assert!(!is_alive(second));
    assert_eq!(agent.ask(json!({"op": "health"}))["state"], "healthy", "stopped on request is no illness");
    assert_eq!(ask("start", false)["answer"], "ok");
    agent.wait_state("a", "ready");
}

#[test]
fn waiting_for_what_dies_ends_with_the_reason() {
    let agent =
        Agent::start(json!({"a": {"command": "exit 9", "ready": {"log": "never"}, "restart": {"policy": "never"}}}));
    agent.wait_state("a", "failed");
    let answer = agent.ask(json!({"op": "service", "name": "a", "action": "start", "wait": true}));
    assert_eq!(answer["message"], "a: failed: exited with 9");
}

#[test]
fn thousands_of_orphans_leave_no_zombie_and_no_status_is_lost() {
    let orphans = "i=0; while test $i -lt 1000; do (sleep 0 & sleep 0 & exit 0) & i=$((i+1)); done; wait; exit 5";
    let mut services = serde_json::Map::new();
    for name in ["a", "b", "c"] {
        services.insert(name.into(), json!({"command": orphans, "restart": {"policy": "never"}}));
    }
    services.insert("churn".into(), json!({"command": "exit 7", "restart": {"backoff": 0.001, "max_backoff": 0.01}}));
    let agent = Agent::start(services.into());
    for name in ["a", "b", "c"] {
        assert_eq!(agent.wait_state(name, "failed")["last_exit"]["code"], 5);
    }
    assert_eq!(agent.service("churn")["last_exit"]["code"], 7);
    let begin = Instant::now();
    until("no zombie", || {
        let children = std::process::Command::new("ps")
            .args(["-o", "stat=", "--ppid", &agent.pid().to_string()])
            .output()
            .unwrap();
        (!String::from_utf8_lossy(&children.stdout).contains('Z')).then_some(())
    });
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[test]
fn a_program_that_is_not_there_is_never_ready_and_said_by_name() {
    let agent = Agent::start(json!({
        "wait": {"command": "exec sleep 1000"},
        "shell": {"command": "no-such-program --port 80", "restart": {"policy": "never"}},
        "list": {"command": "true && no-such-program", "restart": {"policy": "never"}},
    }));
    let shell = agent.wait_state("shell", "failed");
    assert_eq!(shell["last_exit"]["code"], 127);
    let list = agent.wait_state("list", "failed");
    assert!(list["last_exit"]["reason"].as_str().unwrap().contains("a program that it runs isn't there"), "{list}");
    assert!(list["last_line"].as_str().unwrap().contains("no-such-program"), "{list}");
    // What a busybox has is known to it alone.
    if !std::fs::canonicalize("/bin/sh").unwrap().ends_with("busybox") {
        assert!(shell["last_exit"]["reason"].as_str().unwrap().starts_with("no program `no-such-program`"), "{shell}");
        let mut events = agent.events();
        // It fails as it had before, which is no news; who waits for it is told all the same.
        let start = json!({"op": "service", "name": "shell", "action": "start", "wait": true});
        let told = agent.ask(start)["message"].to_string();
        assert!(told.contains("shell: failed: no program `no-such-program`"), "{told}");
        agent.ask(json!({"op": "service", "name": "wait", "action": "restart", "wait": true}));
        let of_shell = |event: &serde_json::Value| event["name"] == "shell" && event["to"] == "ready";
        let next = events.event(|event| of_shell(event) || event["name"] == "wait" && event["to"] == "ready");
        assert_eq!(next["name"], "wait", "{next}");
    }
}

#[test]
fn why_it_is_not_well_ends_with_its_last_line() {
    let agent = Agent::start(json!({"a": {
        "command": "echo before; printf 'Error: \\033[31mno such\\033[0m module\\007\\n\\n'; exit 1",
        "restart": {"policy": "never"},
    }}));
    let a = agent.wait_state("a", "failed");
    assert_eq!(a["last_line"], "Error: no such module");
    let health = agent.ask(json!({"op": "health"}));
    assert_eq!(health["detail"], "a: failed: exited with 1; its last line: Error: no such module");
}

#[test]
fn variables_that_no_process_can_have_are_told() {
    let agent = Agent::start_with(json!({"a": {"command": "echo fine is $FINE; exec sleep 1000"}}), |command| {
        let file = command.get_args().skip_while(|a| *a != "--secrets").nth(1).unwrap();
        std::fs::write(file, r#"{"A=B": "x", "FINE": "y"}"#).unwrap();
    });
    agent.wait_log("a", "fine is y");
    let notices = agent.status()["notices"].to_string();
    assert!(notices.contains("no process can have these variables") && notices.contains("A=B"), "{notices}");
}

#[test]
fn an_environment_that_is_too_large_names_its_largest_variable() {
    // Each of them is short enough, and all of them together are more than any process takes.
    let mut environment: BTreeMap<String, String> = (0..60).map(|n| (format!("V{n}"), "x".repeat(120_000))).collect();
    environment.insert("MY_TOKEN".into(), "x".repeat(130_000));
    let restart = json!({"policy": "never"});
    let agent = Agent::start(json!({"a": {"command": "true", "environment": environment, "restart": restart}}));
    let reason = agent.wait_state("a", "failed")["last_exit"]["reason"].to_string();
    assert!(reason.contains("too large: MY_TOKEN, its largest variable, has 130010 of"), "{reason}");
}
