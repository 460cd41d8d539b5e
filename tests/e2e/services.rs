//! `powerdev services`: listed, stopped, started, restarted; a name that isn't there; the way around the socket.

use crate::common::{Project, engine};

fn state(project: &Project, service: &str) -> (String, i64) {
    let listed = project.powerdev(["services", "--json"]).run().ok().json();
    let services = listed["services"].as_array().expect("a list").clone();
    let found = services.iter().find(|s| s["name"] == service).expect("the service is listed");
    (found["state"].as_str().expect("text").to_owned(), found["pid"].as_i64().unwrap_or(0))
}

#[test]
fn one_service_is_commanded_and_the_others_go_on() {
    let project = Project::new("web: {command: exec sleep 1000}\nother: {command: exec sleep 1000}");
    project.powerdev(["daemon"]).run().ok();
    let (_, web) = state(&project, "web");
    let other = state(&project, "other");
    let stopped = project.powerdev(["services", "stop", "web", "--json"]).run().ok().json();
    assert_eq!((&stopped["action"], &stopped["service"]["state"]), (&"stop".into(), &"stopped".into()));
    assert_eq!(state(&project, "web"), ("stopped".to_owned(), 0));
    project.powerdev(["services", "start", "web"]).run().ok();
    let (again, second) = state(&project, "web");
    assert_eq!(again, "ready");
    project.powerdev(["services", "restart", "web"]).run().ok();
    let (_, third) = state(&project, "web");
    assert!(web != second && second != third, "{web} {second} {third}");
    assert_eq!(state(&project, "other"), other);

    let unknown = project.powerdev(["services", "restart", "wbe"]).run().code(4);
    assert!(unknown.err().contains("no service `wbe`") && unknown.err().contains("did you mean `web`?"));
}

#[test]
fn where_the_socket_is_out_of_reach_the_engine_carries_the_questions() {
    let project = Project::new("web: {command: exec sleep 1000}");
    project.powerdev(["daemon"]).run().ok();
    // The container's mount is the folder itself, wherever it is moved.
    let run = project.state_home().join("powerdev").join(project.name()).join("run");
    std::fs::rename(&run, run.with_file_name("elsewhere")).expect("ours");
    let (before, first) = state(&project, "web");
    assert_eq!(before, "ready");
    project.powerdev(["services", "restart", "web"]).run().ok();
    let (after, second) = state(&project, "web");
    assert!(after == "ready" && first != second, "{after} {first} {second}");
    project.powerdev(["services", "stop", "wbe"]).run().code(4);
}

#[test]
fn another_home_folder_is_no_hindrance() {
    let project = Project::new("web: {command: exec sleep 1000}");
    project.powerdev(["daemon"]).run().ok();
    let elsewhere = project.home().join("another");
    for command in [&["health"][..], &["services", "restart", "web"], &["status"]] {
        let output = project.powerdev(command).env("XDG_STATE_HOME", &elsewhere).run().ok();
        assert!(!output.out().contains("unhealthy"), "{command:?}: {}", output.out());
    }
}

#[test]
fn what_does_not_run_says_so() {
    let project = Project::new("web: {command: exec sleep 1000}");
    let absent = project.powerdev(["services"]).run().code(4);
    assert!(absent.err().contains("powerdev up"), "{}", absent.err());
    project.powerdev(["daemon"]).run().ok();
    engine::kill(&project.container(), "KILL");
    let dead = project.powerdev(["services", "stop", "web", "--json"]).run().code(4);
    assert_eq!(dead.json()["code"], 4);
}
