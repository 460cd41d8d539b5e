//! Changed services and secrets, applied by `up` and `daemon` to an environment that runs.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::common::{Project, engine};

const FIRST: &str = "
kept: { command: exec sleep 1000000 }
changed: { command: exec sleep 1000000 }
gone: { command: exec sleep 1000000 }
";
const SECOND: &str = "
kept: { command: exec sleep 1000000 }
changed: { command: exec sleep 2000000 }
new: { command: exec sleep 1000000, depends_on: { changed: started } }
";

fn started_at(project: &Project) -> Value {
    engine::inspect(&project.container()).expect("it is there")["State"]["StartedAt"].clone()
}

fn pid(document: &Value, service: &str) -> Value {
    let services = document["services"].as_array().expect("a list");
    services.iter().find(|s| s["name"] == service).map_or(Value::Null, |s| s["pid"].clone())
}

fn config(project: &Project, file: &str) -> PathBuf {
    project.state_home().join("powerdev").join(project.name()).join("agent").join(file)
}

#[test]
fn changes_are_applied_while_it_runs() {
    let project = Project::new(FIRST);
    let before = project.powerdev(["up", "--json"]).run().ok().json();
    let since = started_at(&project);
    project.services(SECOND);
    project.env_file("CANARY=new\n");
    let plan = project.powerdev(["up", "--dry-run", "--json"]).run().ok().json();
    assert_eq!(plan["pending"], json!(["services", "secrets"]));
    let plan = project.powerdev(["up", "--dry-run"]).run().ok();
    assert!(plan.err().contains("would apply without a restart: services, secrets"), "{}", plan.err());
    let up = project.powerdev(["daemon", "--json"]).run().ok().json();
    assert_eq!((&up["done"], &up["pending"], &up["health"]), (&json!("adopted"), &json!([]), &json!("healthy")));
    assert_eq!(
        up["applied"],
        json!({"started": ["new"], "stopped": ["gone"], "restarted": ["changed"], "kept": ["kept"], "secrets": true})
    );
    assert_eq!(pid(&up, "kept"), pid(&before, "kept"));
    assert!(pid(&up, "new").is_number() && pid(&up, "changed") != pid(&before, "changed"), "{up}");
    assert_eq!(started_at(&project), since, "the container was not restarted");
    let canary = project.powerdev(["exec", "--", "sh", "-c", "echo $CANARY $POWERDEV_SERVICES"]).run().ok();
    assert_eq!(canary.out(), "new changed kept new\n");

    let again = project.powerdev(["up", "--json"]).run().ok().json();
    assert_eq!((&again["applied"], &again["pending"]), (&Value::Null, &json!([])), "there is nothing more to apply");
    project.services(FIRST);
    project.env_file("CANARY=newer\n");
    let told = project.powerdev(["up"]).run().ok();
    for part in ["Starting gone", "Stopping new", "Restarting changed", "the secrets have changed"] {
        assert!(told.err().contains(part), "{part}: {}", told.err());
    }
    // What a restart brings back is what was applied.
    project.powerdev(["restart"]).run().ok();
    let status = project.powerdev(["status", "--json"]).run().ok().json();
    assert!(pid(&status, "gone").is_number() && pid(&status, "new").is_null(), "{status}");
}

#[test]
fn what_takes_a_new_container_is_still_told() {
    let project = Project::new(FIRST);
    project.powerdev(["up"]).run().ok();
    project.services(&FIRST.replace("gone: { ", "gone: { ports: [4321], "));
    let up = project.powerdev(["up", "--json"]).run().ok().json();
    assert_eq!(up["applied"]["kept"], json!(["changed", "gone", "kept"]), "{up}");
    assert_eq!(up["drift"][0]["setting"], "port 4321", "{up}");
}

#[test]
fn bad_services_change_nothing() {
    let project = Project::new(FIRST);
    let before = project.powerdev(["up", "--json"]).run().ok().json();
    project.services("kept: { command: exec sleep 1, depends_on: { kept: ready } }");
    project.powerdev(["up"]).run().code(2);
    project.services(FIRST);
    let after = project.powerdev(["up", "--json"]).run().ok().json();
    assert_eq!((&after["applied"], pid(&after, "kept")), (&Value::Null, pid(&before, "kept")));
}

#[test]
fn what_the_agent_refuses_is_put_back() {
    let stubborn = "\nkept: { command: \"trap '' TERM; while :; do sleep 1; done\", stop: { grace: 60 } }\n";
    let project = Project::new(stubborn);
    project.powerdev(["up"]).run().ok();
    let read = || std::fs::read_to_string(config(&project, "config/services.json")).expect("it is there");
    let before = read();
    engine::kill(&project.container(), "TERM");
    crate::common::wait::until("it stops", std::time::Duration::from_secs(20), || {
        engine::logs(&project.container()).contains("stopping (SIGTERM)").then_some(())
    });
    project.services(&format!("{stubborn}new: {{ command: exec sleep 1000000 }}"));
    let refused = project.powerdev(["up"]).run().code(2);
    assert!(refused.err().contains("the environment is stopping"), "{}", refused.err());
    assert_eq!(read(), before);
    engine::kill(&project.container(), "KILL");
}

#[test]
fn an_agent_of_another_release_waits_for_a_restart() {
    let project = Project::new(FIRST);
    let before = project.powerdev(["up", "--json"]).run().ok().json();
    let agent = config(&project, "bin/powerdev-agent");
    let mut other = std::fs::read(&agent).expect("it is there");
    other.push(0);
    std::fs::remove_file(&agent).expect("ours");
    std::fs::write(&agent, other).expect("ours");
    project.services(SECOND);
    let up = project.powerdev(["up", "--json"]).run().ok().json();
    assert_eq!((&up["pending"], &up["applied"]), (&json!(["agent", "services"]), &Value::Null));
    assert_eq!(pid(&up, "changed"), pid(&before, "changed"));
    let told = project.powerdev(["up"]).run().ok();
    assert!(told.err().contains("`powerdev restart` applies it"), "{}", told.err());
    let restarted = project.powerdev(["restart", "--json"]).run().ok().json();
    assert!(pid(&restarted, "new").is_number(), "{restarted}");
}
