//! The doctor finds what is wrong, and never needs an Engine to say so.

use serde_json::Value;

use crate::common::{Project, engine};

fn check<'a>(document: &'a Value, name: &str) -> &'a Value {
    let checks = document["checks"].as_array().expect("a list");
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no check {name}: {document}"))
}

#[test]
fn a_sound_machine_passes() {
    let project = Project::new("one:\n  command: exec sleep 1000000\n");
    let document = project.powerdev(["doctor", "--json"]).run().ok().json();
    assert_eq!(document["ok"], true);
    for name in ["engine", "api-version", "memory", "user", "state-folder", "agent", "configuration", "image"] {
        assert_eq!(check(&document, name)["verdict"], "ok", "{}", check(&document, name));
    }
    assert_eq!(check(&document, "running-agent")["verdict"], "skip");
    project.powerdev(["daemon"]).run().ok();
    let document = project.powerdev(["doctor", "--json"]).run().ok().json();
    assert_eq!(check(&document, "running-agent")["verdict"], "ok");
    // By its name, from anywhere, as every other command takes it.
    let named = project.powerdev(["doctor", "--json", "--project", project.name()]).dir(project.home());
    assert_eq!(check(&named.run().ok().json(), "running-agent")["verdict"], "ok");
    // Frozen, it can't answer, and the doctor doesn't wait for ever.
    let pid = rustix::process::Pid::from_raw(engine::pid(&project.container())).expect("it runs");
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("ours");
    let document = project.powerdev(["doctor", "--json"]).run().code(1).json();
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("ours");
    assert_eq!(check(&document, "running-agent")["verdict"], "fail");
}

#[test]
fn an_engine_that_says_nothing_is_given_up_on() {
    let project = Project::new("one:\n  command: exec sleep 1000000\n");
    let socket = project.dir().join("silent.sock");
    let _listens = std::os::unix::net::UnixListener::bind(&socket).expect("a short path");
    let host = format!("unix://{}", socket.display());
    let document = project.powerdev(["doctor", "--json"]).env("DOCKER_HOST", host).run().code(1).json();
    let detail = check(&document, "engine")["detail"].as_str().expect("text").to_owned();
    assert!(detail.contains("answered"), "{detail}");
}

#[test]
fn a_dead_engine_is_one_failure_with_a_fix() {
    let project = Project::new("one:\n  command: exec sleep 1000000\n");
    let run = project.powerdev(["doctor", "--json"]).env("DOCKER_HOST", "unix:///nowhere/docker.sock").run().code(1);
    let document = run.json();
    assert_eq!(check(&document, "engine")["verdict"], "fail");
    assert!(check(&document, "engine")["fix"].as_str().is_some_and(|fix| !fix.is_empty()));
    assert_eq!(check(&document, "api-version")["verdict"], "skip");
    assert_eq!(check(&document, "configuration")["verdict"], "ok");
    let failures = document["checks"].as_array().expect("a list").iter().filter(|check| check["verdict"] == "fail");
    assert_eq!(failures.count(), 1, "one cause, one failure: {document}");
}

#[test]
fn what_is_wrong_with_the_project_is_told() {
    let project = Project::new("one:\n  command: exec sleep 1000000\n");
    project.env_file("DOCKER_MEMORY=banana\n");
    let document = project.powerdev(["doctor", "--json"]).run().code(1).json();
    assert!(check(&document, "configuration")["detail"].as_str().is_some_and(|text| text.contains("banana")));

    project.env_file("TOKEN=x\nGPU=all\n");
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(project.dir().join(".env"), readable).expect("it is ours");
    let busy = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = busy.local_addr().expect("bound").port();
    project.services(&format!("one:\n  command: exec sleep 1000000\n  ports: [{port}]\n"));
    let document = project.powerdev(["doctor", "--json"]).run().json();
    assert_eq!(check(&document, "env-file")["verdict"], "warn");
    assert!(check(&document, "env-file")["fix"].as_str().is_some_and(|fix| fix.starts_with("chmod 600")));
    assert_eq!(check(&document, "ports")["verdict"], "warn");
    assert!(check(&document, "ports")["detail"].as_str().is_some_and(|text| text.contains(&port.to_string())));
}
