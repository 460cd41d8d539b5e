//! What runs as PID 1, and the folder of its socket: whatever a container did to them ends with it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use super::EVERY;
use crate::common::{Project, root};

const IDLE: &str = "idle: { command: exec sleep 1000000 }";

fn project(security: &str) -> Project {
    let project = Project::bare();
    project.yaml(&format!("security: {security}\nexternal_dir: none\nservices: {{ {IDLE} }}\n"));
    project
}

fn agent(project: &Project) -> PathBuf {
    project.state_home().join("powerdev").join(project.name()).join("agent/bin/powerdev-agent")
}

/// As who has found a way to write to the file: in place, of the same length and mode.
fn poison(project: &Project) {
    let path = agent(project);
    let mut bytes = fs::read(&path).expect("there");
    let end = bytes.len() - 16;
    bytes[end..].copy_from_slice(b"#poisoned inode#");
    let mode = fs::metadata(&path).expect("there").permissions();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("ours");
    // A program that runs can't be written to; one that is removed while it runs can be replaced.
    fs::remove_file(&path).and_then(|()| fs::write(&path, bytes)).expect("ours");
    fs::set_permissions(&path, mode).expect("ours");
}

#[test]
fn a_poisoned_agent_reaches_neither_a_start_nor_another_environment() {
    for security in EVERY {
        let (one, other) = (project(security), project(security));
        // One cache for both, as a user has it.
        let powerdev = |project: &Project, way: &[&str]| {
            project.powerdev(way).env("XDG_CACHE_HOME", one.cache_home()).run().ok();
        };
        powerdev(&one, &["up"]);
        powerdev(&other, &["up"]);
        let whole = fs::read(agent(&one)).expect("there");
        let (mine, others) = (fs::metadata(agent(&one)).expect("there"), fs::metadata(agent(&other)).expect("there"));
        assert_ne!(mine.ino(), others.ino(), "{security}: one file for two environments");
        assert_eq!((mine.nlink(), mine.mode() & 0o7777), (1, 0o555), "{security}");
        for way in [&["restart"][..], &["up"], &["up", "--recreate"]] {
            if way == ["up"] {
                powerdev(&one, &["stop"]);
            }
            poison(&one);
            powerdev(&one, way);
            assert!(fs::read(agent(&one)).expect("there") == whole, "{security}: {way:?} ran a poisoned agent");
        }
        assert!(fs::read(agent(&other)).expect("there") == whole, "{security}");
    }
}

#[test]
fn nothing_left_in_the_socket_folder_survives_a_start() {
    for security in EVERY {
        let project = project(security);
        project.powerdev(["up"]).run().ok();
        let block = "cd /run/powerdev && rm -f agent.sock && mkdir -p agent.sock/deep && touch agent.sock/deep/file && mkfifo pipe";
        project.powerdev(["exec", "--", "sh", "-c", block]).run().ok();
        project.powerdev(["restart"]).run().ok();
        project.powerdev(["health"]).run().ok();

        // What root inside makes, only root can remove.
        project.powerdev(["exec", "--", "sh", "-c", "rm -f /run/powerdev/agent.sock"]).run().ok();
        let run = project.state_home().join("powerdev").join(project.name()).join("run");
        root::shell(&format!("mkdir -p -m 700 {0}/agent.sock/x && chown -R 0:0 {0} && chmod 0 {0}", run.display()));
        project.powerdev(["restart"]).run().ok();
        project.powerdev(["health"]).run().ok();
    }
}

#[test]
fn secrets_go_with_the_container() {
    let project = project("dev");
    project.env_file("TOKEN=canary\n");
    project.powerdev(["up"]).run().ok();
    let secrets = agent(&project).with_file_name("../config/secrets.json");
    assert!(secrets.exists());
    project.powerdev(["rm", "--force"]).run().ok();
    assert!(!secrets.exists(), "the secrets stay where nothing runs");
}
