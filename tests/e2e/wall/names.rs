//! A name belongs to the project that took it first: what another folder's powerdev.yaml calls itself takes nothing of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Output, Project, engine};

/// Every command that looks at an environment, runs something in it, or takes it down.
const COMMANDS: [&[&str]; 16] = [
    &["up"],
    &["up", "--dry-run"],
    &["daemon"],
    &["start"],
    &["restart"],
    &["health"],
    &["status"],
    &["services"],
    &["services", "restart", "idle"],
    &["exec", "--", "cat", "/home/dev/.login"],
    &["sessions"],
    &["logs", "--no-follow"],
    &["watch", "--once"],
    &["persist"],
    &["stop"],
    &["rm", "--force", "--volumes", "--yes"],
];

/// A project that runs, and keeps a log-in in its home folder; and another folder with the same files.
fn two() -> (Project, PathBuf) {
    let project = Project::new("idle: { command: exec sleep 1000000 }");
    project.powerdev(["daemon"]).run().ok();
    project.powerdev(["exec", "--", "sh", "-c", "echo hush > ~/.login"]).run().ok();
    let other = project.dir().with_file_name("other");
    std::fs::create_dir(&other).expect("made");
    std::fs::copy(project.dir().join("powerdev.yaml"), other.join("powerdev.yaml")).expect("copied");
    project.untrusted(["trust", "--yes"]).dir(&other).run().ok();
    (project, other)
}

fn refused(project: &Project, dir: &Path, command: &[&str]) -> Output {
    let refused = project.untrusted(command).dir(dir).run().code(8);
    let says = format!("belongs to the project in {}", project.dir().display());
    assert!(refused.err().contains(&says) && !refused.out().contains("hush"), "{command:?}: {}", refused.err());
    refused
}

#[test]
fn another_folder_of_the_same_name_gets_nothing() {
    let (project, other) = two();
    let pid = engine::pid(&project.container());
    for command in COMMANDS {
        refused(&project, &other, command);
    }
    assert_eq!(engine::pid(&project.container()), pid, "nobody touched it");

    // The container is gone, its home folder isn't.
    project.powerdev(["rm", "--force"]).run().ok();
    for command in COMMANDS {
        refused(&project, &other, command);
    }
    // Another user of the same Engine remembers nothing of the name: the volumes say whose they are.
    let elsewhere = project.home().join("elsewhere");
    let run = |command: &[&str]| project.untrusted(command).dir(&other).env("XDG_STATE_HOME", &elsewhere).run();
    run(&["trust", "--yes"]).ok();
    for command in [&["up"][..], &["rm", "--volumes", "--yes"]] {
        let refused = run(command).code(8).err();
        assert!(refused.contains(&format!("belongs to the project in {}", project.dir().display())), "{refused}");
    }
    assert!(engine::inspect(&project.container()).is_none(), "nothing was made");
    project.powerdev(["daemon"]).run().ok();
    project.powerdev(["exec", "--", "grep", "hush", "/home/dev/.login"]).run().ok();

    project.powerdev(["rm", "--force", "--volumes", "--yes"]).run().ok();
    project.untrusted(["daemon"]).dir(&other).run().ok();
    project.untrusted(["exec", "--", "test", "-e", "/home/dev/.login"]).dir(&other).run().code(1);
}

#[test]
fn a_project_that_was_moved_takes_its_environment_along() {
    let (project, other) = two();
    std::fs::remove_dir_all(&other).expect("removed");
    std::fs::rename(project.dir(), &other).expect("moved");
    project.untrusted(["health"]).dir(&other).run().ok();
    project.untrusted(["trust", "--yes"]).dir(&other).run().ok();
    project.untrusted(["up", "--recreate"]).dir(&other).run().ok();
    project.untrusted(["exec", "--", "grep", "hush", "/home/dev/.login"]).dir(&other).run().ok();
}

/// Its name is made up from its path.
#[test]
fn a_project_without_a_name_that_was_moved_is_offered_its_old_environment() {
    let project = Project::bare();
    let folder = |suffix: &str| project.dir().with_file_name(format!("{}{suffix}", project.name()));
    let (was, is) = (folder(""), folder("-moved"));
    let yaml = format!("image: {}\nservices:\n  idle: {{ command: exec sleep 1000000 }}\n", engine::tiny_image());
    std::fs::create_dir(&was).expect("made");
    std::fs::write(was.join("powerdev.yaml"), &yaml).expect("written");
    let run = |dir: &Path, command: &[&str]| project.untrusted(command).dir(dir).env_remove("POWERDEV_NAME");
    run(&was, &["trust", "--yes"]).run().ok();
    let made = run(&was, &["up", "--json"]).run().ok();
    assert!(!made.json()["notices"].to_string().contains("whose environment is"), "it is where it was: {}", made.out());
    let name = made.json()["name"].as_str().expect("text").to_owned();
    run(&was, &["exec", "--", "sh", "-c", "echo hush > ~/.login"]).run().ok();

    // As long as it is there, another folder is another project.
    std::fs::create_dir(&is).expect("made");
    std::fs::copy(was.join("powerdev.yaml"), is.join("powerdev.yaml")).expect("copied");
    let offer = format!("whose environment is {name}; `name: {name}` in powerdev.yaml");
    let offered = |output: Output| output.err().contains(&offer);
    assert!(!offered(run(&is, &["up", "--dry-run"]).run().ok()));
    std::fs::remove_dir_all(&is).expect("removed");
    std::fs::rename(&was, &is).expect("moved");
    std::fs::create_dir(folder("-new")).expect("made");
    assert!(!offered(run(&folder("-new"), &["up", "--dry-run"]).run().ok()));
    run(&is, &["trust", "--yes"]).run().ok();
    assert!(offered(run(&is, &["up", "--dry-run"]).run().ok()));
    let mut terminal = run(&is, &["up"]).terminal(40, 160);
    terminal.expect(&offer);
    terminal.expect("Make a new environment all the same?");
    terminal.send("n");
    let (code, screen) = terminal.wait();
    assert!(code == 2 && screen.contains("nothing was made"), "{code}: {screen}");
    assert!(offered(run(&is, &["daemon"]).run().ok()), "nobody can be asked");
    run(&is, &["exec", "--", "test", "-e", "/home/dev/.login"]).run().code(1);
    assert!(!offered(run(&is, &["daemon"]).run().ok()), "it has one");

    std::fs::write(is.join("powerdev.yaml"), format!("name: {name}\n{yaml}")).expect("written");
    run(&is, &["up", "--recreate"]).run().ok();
    run(&is, &["exec", "--", "grep", "hush", "/home/dev/.login"]).run().ok();
}

/// Releases before wrote no folder on volumes.
#[test]
fn volumes_that_say_no_folder_are_whose_the_name_is() {
    let project = Project::new("idle: { command: exec sleep 1000000 }");
    let volume = format!("{}-home", project.container());
    let label = format!("dev.powerdev.project={}", project.name());
    let made = Command::new("docker").args(["volume", "create", "--label", &label, &volume]).output().expect("docker");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    project.powerdev(["daemon"]).run().ok();
}
