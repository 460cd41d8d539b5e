//! `hooks:` of a project: once when its container was made, and at each start.

use serde_json::Value;

use crate::common::{Project, wait};

const HOOKS: &str = "
hooks:
  created: echo created in $PWD >> told; sleep 1; echo done >> told
  started: [sh, -c, 'echo started $POWERDEV_SERVICE >> told; echo said']
";

/// Whoever runs the tests, the container's user writes to it.
fn open_to_all(project: &Project) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(project.dir(), mode).expect("the project's folder is ours");
}

fn service(status: &Value, name: &str) -> Value {
    let services = status["services"].as_array().expect("services");
    services.iter().find(|service| service["name"] == name).cloned().unwrap_or_default()
}

#[test]
fn created_runs_once_a_container_and_started_at_each_start() {
    let project = Project::bare();
    project.yaml(HOOKS);
    open_to_all(&project);
    let said = project.untrusted(["up"]).run().code(2);
    assert!(said.err().contains("runs inside at each start: sh -c echo started"), "{}", said.err());
    project.powerdev(["up"]).run().ok();
    let once = "created in /workspace/ext\ndone\nstarted hook-started\n";
    assert_eq!(project.read("told"), once, "`up` waits for both");
    let status = project.powerdev(["status", "--json"]).run().ok().json();
    assert_eq!(service(&status, "hook-created")["state"], "completed", "{status}");
    let logged = project.powerdev(["logs", "hook-started", "--no-follow"]).run().ok();
    assert!(logged.out().contains("said"), "{}", logged.out());

    project.powerdev(["restart"]).run().ok();
    assert_eq!(project.read("told"), format!("{once}started hook-started\n"));
    project.powerdev(["up", "--recreate"]).run().ok();
    assert_eq!(project.read("told"), format!("{once}started hook-started\n{once}"));
}

#[test]
fn a_failed_hook_is_told_and_tried_again() {
    let project = Project::bare();
    project.yaml("hooks: { created: 'echo it broke; test -e mended' }\nservices: { after: { command: sleep 1000000, depends_on: { hook-created: completed } } }\n");
    let said = project.powerdev(["up"]).run().code(5);
    assert!(said.err().contains("hook-created"), "{}", said.err());
    let status = project.powerdev(["status", "--json"]).run().json();
    assert_eq!(service(&status, "hook-created")["state"], "failed", "{status}");
    assert_eq!(service(&status, "after")["state"], "failed", "{status}");
    project.write("mended", "");
    project.powerdev(["restart"]).run().ok();
    let settled = wait::until("it is done", std::time::Duration::from_secs(20), || {
        let status = project.powerdev(["status", "--json"]).run().json();
        (service(&status, "hook-created")["state"] == "completed").then_some(status)
    });
    assert_eq!(service(&settled, "after")["state"], "ready", "{settled}");
}

#[test]
fn on_a_read_only_root_created_runs_once_a_home() {
    let project = Project::bare();
    project.yaml(&format!("security: strict\n{HOOKS}"));
    open_to_all(&project);
    project.powerdev(["up"]).run().ok();
    project.powerdev(["up", "--recreate"]).run().ok();
    let told = project.read("told");
    assert_eq!(told.matches("created in").count(), 1, "{told}");
    assert_eq!(told.matches("started hook-started").count(), 2, "{told}");
}
