//! What of a mounted project nobody inside gets to see or to swap.

use std::time::Duration;

use rustix::process::Signal;

use super::EVERY;
use crate::common::{Project, engine, wait};

const IDLE: &str = "services: { idle: { command: exec sleep 1000000 } }\n";
const CANARY: &str = "canary-in-the-project";

/// A project that belongs to the container's user, with secrets in it.
fn project(security: &str, rest: &str) -> Project {
    let project = Project::bare();
    project.yaml(&format!("security: {security}\n{rest}{IDLE}"));
    project.env_file(&format!("TOKEN={CANARY}\n"));
    project.write("src/main.c", "int main;\n");
    give(&project);
    project
}

fn give(project: &Project) {
    let (uid, gid) = engine::dev_user();
    for path in [project.dir(), project.dir().join("src")] {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("ours to give");
    }
}

fn inside(project: &Project, script: &str) -> String {
    let output = project.powerdev(["exec", "--", "sh", "-c", script]).run();
    format!("{}{}", output.out(), output.err())
}

#[test]
fn the_project_is_inside_without_its_secrets_and_its_data_folders() {
    for security in ["dev", "strict"] {
        let project = project(security, "mounts: [\"..:/above\"]\n");
        project.powerdev(["up"]).run().ok();
        assert_eq!(
            inside(&project, "cat /workspace/ext/src/main.c /above/project/src/main.c"),
            "int main;\n".repeat(2)
        );
        inside(&project, "echo new > /workspace/ext/src/new");
        assert_eq!(project.read("src/new"), "new\n", "{security}: it can be worked on");
        let read = "grep -r -s canary /workspace/ext /above/project 2> /dev/null; wc -c < /workspace/ext/.env";
        let swap = "
            for folder in /workspace/ext /above/project; do
                umount -l $folder/.env $folder/.agent-mount 2> /dev/null
                mount -t tmpfs none $folder/.env 2> /dev/null
                ls -A $folder/.agent-mount 2> /dev/null
                { ln -s /etc $folder/.agent-mount/docker_data; mv $folder/.agent-mount $folder/away; rm -rf $folder/.agent-mount
                  echo TOKEN= > $folder/.env; rm -f $folder/.env; mv $folder/src/main.c $folder/.env; } 2>/dev/null
            done";
        for user in ["dev", "root"] {
            assert_eq!(super::inside(&project, user, read).out(), "0\n", "{security}, {user}");
            let swapped = super::inside(&project, user, swap);
            assert_eq!(swapped.out(), "", "{security}, {user}: the folders aren't there to be swapped");
            assert_eq!(super::inside(&project, user, read).out(), "0\n", "{security}, {user}: after that");
            assert!(project.dir().join(".agent-mount/docker_data").symlink_metadata().expect("there").is_dir());
            assert!(!project.dir().join("away").exists(), "{security}, {user}");
            assert_eq!(project.read(".env"), format!("TOKEN={CANARY}\n"), "{security}, {user}");
        }
        assert_eq!(inside(&project, "echo ${#TOKEN}").trim(), CANARY.len().to_string(), "{security}: it is a variable");
    }
}

#[test]
fn a_file_of_secrets_elsewhere_in_the_project_is_covered_too() {
    let project = project("dev", "");
    project.write("deploy/prod.env", format!("OTHER={CANARY}\n"));
    project.powerdev(["up", "--env-file", "deploy/prod.env"]).run().ok();
    assert_eq!(
        inside(&project, "cat /workspace/ext/.env /workspace/ext/deploy/prod.env; ls /workspace/ext/deploy"),
        "prod.env\n"
    );
}

#[test]
fn no_env_file_is_made_where_there_was_none() {
    let project = project("dev", "");
    std::fs::remove_file(project.dir().join(".env")).expect("it was there");
    project.powerdev(["up"]).run().ok();
    project.powerdev(["restart"]).run().ok();
    assert!(!project.dir().join(".env").exists());
    assert_eq!(inside(&project, "ls -A /workspace/ext"), ".agent-mount\npowerdev.yaml\nsrc\n");
}

#[test]
fn an_env_file_that_was_deleted_is_made_by_no_start() {
    for security in EVERY {
        let project = project(security, "mounts: [\"..:/above\"]\n");
        project.write("deploy/prod.env", format!("OTHER={CANARY}\n"));
        project.powerdev(["up", "--env-file", "deploy/prod.env"]).run().ok();
        std::fs::remove_file(project.dir().join(".env")).expect("it was there");
        std::fs::remove_dir_all(project.dir().join("deploy")).expect("it was there");
        let nothing_is_made = |how: &str| {
            let there = |name| project.dir().join(name).symlink_metadata().is_ok();
            assert!(!there(".env") && !there("deploy"), "{security}, by {how}");
            assert_eq!(
                inside(&project, "ls -A /workspace/ext"),
                ".agent-mount\npowerdev.yaml\nsrc\n",
                "{security}, {how}"
            );
        };
        project.powerdev(["restart"]).run().ok();
        nothing_is_made("restart");
        project.powerdev(["stop"]).run().ok();
        project.powerdev(["up"]).run().ok();
        nothing_is_made("up");
        let mut watcher = project.powerdev(["watch", "--json", "--backoff", "0.01"]).spawn();
        watcher.wait_line("watching", |line| line.contains("\"watching\""));
        engine::kill(&project.container(), "KILL");
        watcher.wait_line("a start", |line| line.contains("\"restarted\""));
        // The Engine tells of a start a moment before it answers the one who asked for it.
        let is_gone = || (!project.dir().join(".env").exists()).then_some(());
        wait::until("the file goes", Duration::from_secs(20), is_gone);
        nothing_is_made("watch");
        watcher.signal(Signal::INT);
        watcher.wait(Duration::from_secs(30)).code(130);

        project.env_file(&format!("TOKEN={CANARY}\n"));
        project.powerdev(["restart"]).run().ok();
        let seen = inside(&project, "cat /workspace/ext/.env /above/project/.env; ls -A /workspace/ext");
        assert_eq!(seen, ".agent-mount\n.env\npowerdev.yaml\nsrc\n", "{security}: it is covered again");
        assert_eq!(project.read(".env"), format!("TOKEN={CANARY}\n"), "{security}");
    }
}
