//! A canary in `.env` is inside and nowhere else.

use std::process::Command;

use crate::common::{Project, engine};

const CANARY: &str = "canary-5f1d-0451-keep-me-to-yourself";

#[test]
fn a_secret_is_found_nowhere_but_inside() {
    let project = Project::new(
        "
idle:
  command: exec sleep 1000000
leaky:
  command: echo \"length ${#CANARY_TOKEN}\"; exec sleep 1000000
",
    );
    project.env_file(&format!("CANARY_TOKEN={CANARY}\nNODE_ENV=production\n"));
    let mut said = Vec::new();
    for arguments in [
        vec!["up", "--dry-run", "--json"],
        vec!["up", "--json"],
        vec!["status", "--json"],
        vec!["config", "--json"],
        vec!["services", "--json"],
        vec!["ps", "--json"],
        vec!["persist", "--json"],
        vec!["doctor", "--json"],
        vec!["logs", "--no-follow", "--json"],
    ] {
        let output = project.powerdev(&arguments).run();
        said.push((format!("{arguments:?}"), output.out().to_owned() + &output.err()));
    }
    let container = project.container();
    said.push(("inspect".into(), engine::inspect(&container).expect("it runs").to_string()));
    said.push(("logs".into(), engine::logs(&container)));
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    said.push(("ps".into(), run("ps", &["auxww"])));
    said.push(("cmdline".into(), run("sh", &["-c", "cat /proc/[0-9]*/cmdline 2>/dev/null"])));
    said.extend(told_by_a_build());
    for (what, text) in &said {
        assert!(!text.contains(CANARY), "{what} tells the secret");
    }
    assert!(engine::logs(&container).contains(&format!("length {}", CANARY.len())), "services have it");

    let length = |project: &Project| {
        let output = project.powerdev(["exec", "--", "sh", "-c", "echo ${#CANARY_TOKEN}"]).run().ok();
        output.out().trim().to_owned()
    };
    assert_eq!(length(&project), CANARY.len().to_string());

    engine::restart(&container);
    project.powerdev(["health", "--wait", "30"]).run().ok();
    assert_eq!(length(&project), CANARY.len().to_string(), "a restart without powerdev keeps it");
}

/// What a build says that is given the secret, and the history of what it makes. Its step fails without the secret.
fn told_by_a_build() -> [(String, String); 2] {
    let project = Project::bare();
    project.env_file(&format!("CANARY_TOKEN={CANARY}\n"));
    project.write("powerdev.yaml", format!("base_image: {}\n", engine::tiny_image()));
    let step = format!("test $(wc -c < /run/secrets/CANARY_TOKEN) -eq {}", CANARY.len());
    let recipe = format!("ARG BASE_IMAGE\nFROM $BASE_IMAGE AS core\nRUN --mount=type=secret,id=CANARY_TOKEN {step}\n");
    project.write("Dockerfile", recipe);
    let output = project.powerdev(["build", "--json"]).run().ok();
    let history = engine::history(output.json()["image"].as_str().expect("a tag"));
    assert!(history.contains(&step), "it is the history of that build: {history}");
    [("build".into(), output.out().to_owned() + &output.err()), ("history".into(), history)]
}

#[test]
fn the_host_files_are_for_the_container_s_user_alone() {
    use std::os::unix::fs::MetadataExt;
    let project = Project::new("idle:\n  command: exec sleep 1000000\n");
    project.env_file(&format!("CANARY_TOKEN={CANARY}\n"));
    project.powerdev(["up"]).run().ok();
    let state = project.state_home().join("powerdev").join(project.name());
    let secrets = std::fs::metadata(state.join("agent/config/secrets.json")).expect("it is there");
    assert_eq!(secrets.mode() & 0o777, 0o600);
    assert_eq!((secrets.uid(), secrets.gid()), engine::dev_user());
    assert_eq!(std::fs::metadata(&state).expect("there").mode() & 0o777, 0o700);
    assert_eq!(std::fs::metadata(state.join("run")).expect("there").mode() & 0o777, 0o700);
}

#[test]
fn a_key_without_a_value_takes_the_environment_s() {
    let project = Project::new("idle:\n  command: exec sleep 1000000\n");
    project.env_file("GIVEN_BY_SHELL=\n");
    project.powerdev(["up"]).env("GIVEN_BY_SHELL", CANARY).env("NOT_NAMED", CANARY).run().ok();
    let inside = project.powerdev(["exec", "--", "sh", "-c", "echo ${#GIVEN_BY_SHELL} ${#NOT_NAMED}"]).run().ok();
    assert_eq!(inside.out(), format!("{} 0\n", CANARY.len()));
}
