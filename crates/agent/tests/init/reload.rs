//! Going over to other services and secrets while the agent runs.

use serde_json::{Value, json};

use crate::harness::{Agent, is_alive, pid_of, until};

fn write(agent: &Agent, services: &Value) {
    let set = json!({"project": "test", "environment": {}, "services": services});
    std::fs::write(agent.path("services.json"), set.to_string()).unwrap();
}

fn reload(agent: &Agent, services: &Value) -> Value {
    write(agent, services);
    agent.ask(json!({"op": "reload"}))
}

fn names(agent: &Agent) -> Vec<String> {
    let status = agent.status();
    status["services"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn new_ones_start_gone_ones_stop_changed_ones_restart_and_the_others_keep_their_process() {
    let idle = json!({"command": "exec sleep 1000"});
    let agent = Agent::start(json!({
        "changed": {"command": "echo first; exec sleep 1000"},
        "disabled": idle, "gone": idle, "kept": idle,
        "ports": {"command": "exec sleep 1000", "ports": [1]},
    }));
    let pid = |name: &str| pid_of(&agent.wait_state(name, "ready"));
    let (changed, disabled, gone, kept, ports) =
        (pid("changed"), pid("disabled"), pid("gone"), pid("kept"), pid("ports"));
    let answer = reload(
        &agent,
        &json!({
            "changed": {"command": "echo second; exec sleep 1000", "depends_on": {"new": "ready"}},
            "disabled": {"command": "exec sleep 1000", "enabled": false},
            "kept": idle,
            "new": {"command": "echo up; exec sleep 1000", "ready": {"log": "up"}},
            "ports": {"command": "exec sleep 1000", "ports": [2]},
        }),
    );
    assert_eq!(
        answer,
        json!({"answer": "reloaded", "started": ["new"], "stopped": ["disabled", "gone"],
               "restarted": ["changed"], "kept": ["kept", "ports"]})
    );
    agent.wait_log("changed", "second");
    assert_ne!(pid("changed"), changed);
    assert_eq!((pid("kept"), pid("ports")), (kept, ports));
    until("what is gone has ended", || (!is_alive(gone) && !is_alive(disabled)).then_some(()));
    until("only what is there is shown, in the order of its start", || {
        (names(&agent) == ["new", "changed", "kept", "ports"]).then_some(())
    });
    assert_eq!(agent.ask(json!({"op": "health"}))["state"], "healthy");
    let answer = agent.ask(json!({"op": "service", "name": "gone", "action": "start"}));
    assert_eq!(answer["message"], "no service `gone` here; there are: new, changed, kept, ports");
    let again = agent.ask(json!({"op": "reload"}));
    assert_eq!(again["kept"], json!(["new", "changed", "kept", "ports"]), "nothing has changed since: {again}");
}

#[test]
fn what_is_wrong_is_refused_as_a_whole() {
    let services = json!({"a": {"command": "exec sleep 1000"}});
    let agent = Agent::start(services.clone());
    let pid = pid_of(&agent.wait_state("a", "ready"));
    let new = json!({"command": "exec sleep 1000"});
    for (services, part) in [
        (json!({"b": new, "c": {"command": "x", "depends_on": {"d": "ready"}}}), "`d`, which is no service"),
        (json!({"b": {"command": "x", "depends_on": {"b": "ready"}}}), "b -> b"),
        (json!({"b": new, "c": {"command": "x", "bogus": 1}}), "bogus"),
        (json!("nonsense"), "invalid type"),
    ] {
        let answer = reload(&agent, &services);
        assert_eq!(answer["answer"], "error", "{services}");
        assert!(answer["message"].as_str().unwrap().contains(part), "{answer}");
    }
    std::fs::write(agent.path("secrets.json"), r#"{"TOKEN": "hush-hush"#).unwrap();
    let answer = reload(&agent, &json!({"b": new}));
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("the secrets in") && !message.contains("hush"), "{message}");
    let status = agent.status();
    assert_eq!((names(&agent), &status["services"][0]["pid"]), (vec!["a".to_owned()], &json!(pid)));
    assert_eq!((&status["health"]["state"], &status["notices"]), (&json!("healthy"), &json!([])));
    std::fs::write(agent.path("secrets.json"), "{}").unwrap();
    assert_eq!(reload(&agent, &services)["kept"], json!(["a"]));
}

#[test]
fn secrets_reach_what_starts_from_then_on() {
    let services = json!({"a": {"command": "echo \"<$TOKEN>\"; exec sleep 1000"}});
    let agent = Agent::start(services.clone());
    agent.wait_log("a", "<>");
    let pid = pid_of(&agent.wait_state("a", "ready"));
    std::fs::write(agent.path("secrets.json"), r#"{"TOKEN": "new"}"#).unwrap();
    assert_eq!(reload(&agent, &services)["kept"], json!(["a"]));
    assert_eq!(agent.service("a")["pid"], pid);
    agent.ask(json!({"op": "service", "name": "a", "action": "restart", "wait": true}));
    agent.wait_log("a", "<new>");
}

#[test]
fn what_depends_on_what_is_gone_goes_first() {
    let service = |name: &str| json!({"command": format!("trap 'sleep 0.1; echo {name} >> $T/order; exit' TERM; echo up; while :; do sleep 0.02; done"), "ready": {"log": "up"}});
    let with = |mut service: Value, dependency: &str| {
        service["depends_on"] = json!({dependency: "ready"});
        service
    };
    let agent = Agent::start(json!({
        "db": service("db"), "app": with(service("app"), "db"), "web": with(service("web"), "db"),
    }));
    agent.wait_state("web", "ready");
    agent.wait_state("app", "ready");
    // One goes as well, the other is to do without.
    let answer = reload(&agent, &json!({"web": service("web")}));
    assert_eq!((&answer["stopped"], &answer["restarted"]), (&json!(["db", "app"]), &json!(["web"])));
    until("all that is gone is gone", || (names(&agent) == ["web"]).then_some(()));
    let order = std::fs::read_to_string(agent.path("order")).unwrap();
    assert_eq!(order.lines().last(), Some("db"), "{order}");
    assert_eq!(order.lines().count(), 3, "{order}");
    agent.wait_state("web", "ready");
}

#[test]
fn one_that_comes_back_while_it_goes_is_started_again_once_it_has_gone() {
    let slow = json!({"command": "trap 'sleep 0.3; exit' TERM; echo up; while :; do sleep 0.02; done", "ready": {"log": "up"}});
    let agent = Agent::start(json!({"slow": slow}));
    let pid = pid_of(&agent.wait_state("slow", "ready"));
    assert_eq!(reload(&agent, &json!({}))["stopped"], json!(["slow"]));
    assert_eq!(agent.wait_state("slow", "stopping")["pid"], pid);
    assert_eq!(reload(&agent, &json!({"slow": slow}))["started"], json!(["slow"]));
    assert!(is_alive(pid), "its end is waited for");
    let again = agent.wait_state("slow", "ready");
    assert!(again["pid"] != pid && !is_alive(pid), "{again}");
    assert_eq!(again["restarts"], 0);
}

#[test]
fn what_somebody_stopped_stays_down_and_what_had_failed_gets_another_chance() {
    let agent = Agent::start(json!({
        "down": {"command": "echo old; exec sleep 1000"},
        "failed": {"command": "exit 3", "restart": {"policy": "never"}},
    }));
    agent.ask(json!({"op": "service", "name": "down", "action": "stop", "wait": true}));
    agent.wait_state("failed", "failed");
    let services = json!({
        "down": {"command": "echo new; exec sleep 1000"},
        "failed": {"command": "exec sleep 1000", "restart": {"policy": "never"}},
    });
    let answer = reload(&agent, &services);
    assert_eq!((&answer["kept"], &answer["restarted"]), (&json!(["down"]), &json!(["failed"])));
    agent.wait_state("failed", "ready");
    assert_eq!(agent.service("down")["state"], "stopped");
    agent.ask(json!({"op": "service", "name": "down", "action": "start", "wait": true}));
    agent.wait_log("down", "new");
}

#[test]
fn without_services_at_the_start_it_takes_those_that_come() {
    let agent = Agent::launch("nonsense", |_| {});
    assert_eq!(agent.ask(json!({"op": "health"}))["state"], "unhealthy");
    assert_eq!(reload(&agent, &json!({"a": {"command": "exec sleep 1000"}}))["started"], json!(["a"]));
    agent.wait_state("a", "ready");
    assert_eq!(agent.ask(json!({"op": "health"}))["state"], "healthy");
}

#[test]
fn who_is_attached_to_what_goes_is_told_and_nothing_of_it_is_left() {
    let agent = Agent::start(json!({"kept": {"command": "exec sleep 1000"}}));
    let kept = agent.wait_state("kept", "ready")["pid"].clone();
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().count();
    let before = descriptors();
    for round in 0..10 {
        let name = format!("one-{round}");
        let services =
            json!({"kept": {"command": "exec sleep 1000"}, &name: {"command": "echo here; exec sleep 1000"}});
        assert_eq!(reload(&agent, &services)["started"], json!([name]));
        agent.wait_log(&name, "here");
        let mut attached = agent.connect();
        assert_eq!(attached.ask(json!({"op": "attach", "name": name}))["answer"], "ok");
        let answer = reload(&agent, &json!({"kept": {"command": "exec sleep 1000"}}));
        assert_eq!((&answer["stopped"], &answer["kept"]), (&json!([name]), &json!(["kept"])));
        assert_eq!(attached.farewell(), format!("{name} is no service any more"));
        until("it is gone", || (names(&agent) == ["kept"]).then_some(()));
        until("nothing more is open than before", || (descriptors() <= before).then_some(()));
    }
    assert_eq!(agent.service("kept")["pid"], kept);
}
