//! The log of what powerdev does: every call with its time, and no secret.

use crate::common::Project;

const CANARY: &str = "canary-77c1-log-me-not";

#[test]
fn twice_verbose_tells_each_call_with_its_time_and_no_secret() {
    let project = Project::new("idle:\n  command: exec sleep 1000000\n");
    project.env_file(&format!("CANARY_TOKEN={CANARY}\n"));
    let said = |output: crate::common::Output| output.out().to_owned() + &output.err();
    for arguments in [&["up", "-vv"][..], &["restart", "-vvv"], &["exec", "-vvv", "--", "true"]] {
        let said = said(project.powerdev(arguments).run().ok());
        assert!(!said.contains(CANARY), "{arguments:?} logs the secret:\n{said}");
    }

    let status = project.powerdev(["status", "-vv"]).run().ok();
    let lines: Vec<String> = status.err().lines().map(str::to_owned).collect();
    let timed = |call: &str| lines.iter().any(|line| line.contains(call) && line.contains(" took="));
    for call in [
        "engine: reach the Engine",
        &format!("engine: look at the container {}", project.container()),
        "engine: ask the Engine about itself",
        "agent: status",
    ] {
        assert!(timed(call), "{call} is missing:\n{}", lines.join("\n"));
    }

    let by_variable = project.powerdev(["status"]).env("POWERDEV_LOG", "debug").run().ok();
    assert!(by_variable.err().contains("engine: reach the Engine"), "{}", by_variable.err());
    let silent = project.powerdev(["status"]).run().ok();
    assert!(!silent.err().contains("engine:"), "{}", silent.err());
    let refused = project.powerdev(["status"]).env("POWERDEV_LOG", "powerdev=loud").run().code(2);
    assert!(refused.err().contains("POWERDEV_LOG=powerdev=loud"), "{}", refused.err());
}
