//! What a Git repository that is mounted runs on this machine: hooks, and commands that its configuration names.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{IDLE, inside};
use crate::common::{Project, engine};

/// A project that is a repository with a hook, all of it the container's user's. It runs.
fn repository(security: &str) -> Project {
    let project = Project::bare();
    project.yaml(&format!("{IDLE}security: {security}\n"));
    let git = Command::new("git").args(["init", "-q"]).current_dir(project.dir()).status().expect("git is installed");
    assert!(git.success());
    project.write(".git/hooks/pre-commit", "#!/bin/sh\nexit 0 # mine\n");
    let (uid, gid) = engine::dev_user();
    for entry in walkdir::WalkDir::new(project.dir()).into_iter().filter_map(Result::ok) {
        std::os::unix::fs::lchown(entry.path(), Some(uid), Some(gid)).expect("ours to give");
    }
    project.powerdev(["up"]).run().ok();
    project
}

/// Everything in the repository but its own configuration, with its content.
fn content(project: &Project) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = walkdir::WalkDir::new(project.dir().join(".git")).sort_by_file_name().into_iter();
    let read = |path: &Path| std::fs::read(path).unwrap_or_default();
    let entries = entries.filter_map(Result::ok).map(walkdir::DirEntry::into_path);
    entries.filter(|path| !path.ends_with("config")).map(|path| (path.clone(), read(&path))).collect()
}

fn git_check(project: &Project, flags: &[&str]) -> (String, String) {
    let document = project.powerdev([&["doctor", "--json"], flags].concat()).run().json();
    let checks = document["checks"].as_array().expect("a list");
    let check = checks.iter().find(|check| check["name"] == "git").expect("a check");
    let text = |name: &str| check[name].as_str().expect("text").to_owned();
    (text("verdict"), text("detail"))
}

#[test]
fn hooks_are_neither_written_nor_swapped() {
    for security in super::CLOSED {
        let project = repository(security);
        let before = content(&project);
        for user in ["root", "dev"] {
            for attack in [
                "echo planted > .git/hooks/pre-commit",
                "echo planted > .git/hooks/post-checkout",
                "rm -f .git/hooks/pre-commit",
                "mv .git/hooks .git/aside; mkdir .git/hooks; echo planted > .git/hooks/pre-commit",
                "mv .git aside; cp -r aside .git; echo planted > .git/hooks/pre-commit",
                "mount -o remount,rw,bind .git/hooks; echo planted > .git/hooks/pre-commit",
                "umount .git/hooks; echo planted > .git/hooks/pre-commit",
            ] {
                inside(&project, user, &format!("cd /workspace/ext && {attack}"));
                assert!(content(&project) == before, "{security}, as {user}: {attack}");
            }
        }
        // All else is there to be worked on, by renaming as git does it.
        inside(&project, "dev", "cd /workspace/ext/.git && cp config config.lock && mv config.lock config").ok();
        inside(&project, "dev", "cd /workspace/ext/.git && mkdir objects/aa && echo > objects/aa/bb").ok();
    }
}

#[test]
fn configuration_that_runs_programs_is_told() {
    let project = repository("dev");
    assert_eq!(git_check(&project, &[]).0, "ok");
    let write = |lines: &str| {
        let script = format!("printf '{lines}' >> /workspace/ext/.git/config");
        inside(&project, "dev", &script).ok();
    };
    write("[branch \"main\"]\\n\\tremote = origin\\n");
    assert_eq!(git_check(&project, &[]).0, "ok", "agents have changes to make");
    write("[core]\\n\\tfsmonitor = ./planted\\n[alias]\\n\\tst = !planted\\n");
    let (verdict, detail) = git_check(&project, &[]);
    assert_eq!(verdict, "warn", "{detail}");
    for told in ["core.fsmonitor = ./planted", "alias.st = !planted"] {
        assert!(detail.contains(told), "{detail}");
    }
    project.powerdev(["restart"]).run().ok();
    assert_eq!(git_check(&project, &[]).0, "warn", "a restart makes nothing known");
    assert_eq!(git_check(&project, &["--seen"]).0, "ok");
    assert_eq!(git_check(&project, &[]).0, "ok");
}

#[test]
fn a_hooks_folder_that_becomes_a_link_or_goes_is_not_followed() {
    let project = repository("dev");
    project.powerdev(["stop"]).run().ok();
    let hooks = project.dir().join(".git/hooks");
    std::fs::remove_dir_all(&hooks).expect("it is there");
    std::os::unix::fs::symlink("/etc", &hooks).expect("a link");
    let said = project.powerdev(["up"]).run().code(8).err();
    assert!(said.contains("leads through a link"), "{said}");
    std::fs::remove_file(&hooks).expect("it is there");
    let said = project.powerdev(["up"]).run().code(8).err();
    assert!(said.contains("isn't there any more") && said.contains("--recreate"), "{said}");
    project.powerdev(["up", "--recreate"]).run().ok();
}
