//! Links in the places that the Engine mounts: it would follow them, as root.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::EVERY;
use crate::common::{Output, Project, engine};

const IDLE: &str = "services: { idle: { command: exec sleep 1000000 } }\n";
const CONFLICT: i32 = 8;

fn project(security: &str, rest: &str) -> Project {
    let project = Project::bare();
    project.yaml(&format!("security: {security}\nexternal_dir: none\n{rest}{IDLE}"));
    project
}

/// A folder of the host's that no container is to see.
fn outside(project: &Project) -> PathBuf {
    let folder = project.home().join("outside");
    fs::create_dir_all(&folder).expect("writable");
    fs::write(folder.join("key"), "of the host").expect("writable");
    folder
}

fn swap(place: &Path, target: &Path) {
    fs::rename(place, place.with_extension("away")).expect("it was there");
    symlink(target, place).expect("writable");
}

fn refused(output: &Output, place: &Path) {
    let said = output.err();
    assert!(said.contains(&place.display().to_string()) && said.contains("hint:"), "{said}");
}

#[test]
fn a_link_swapped_in_from_another_environment_is_mounted_by_no_start() {
    for security in EVERY {
        let victim = project(security, "");
        let outside = outside(&victim);
        victim.powerdev(["up"]).run().ok();
        let above = victim.dir().parent().expect("a folder").display().to_string();
        let attacker = project(security, &format!("mounts: [\"{above}:/above\"]\n"));
        attacker.powerdev(["up"]).run().ok();
        let swap =
            format!("cd /above/project/.agent-mount && mv docker_data away && ln -s {} docker_data", outside.display());
        attacker.powerdev(["exec", "--", "sh", "-c", &swap]).run().ok();
        let place = victim.dir().join(".agent-mount/docker_data");
        assert!(place.is_symlink(), "{security}: the attack itself went wrong");

        refused(&victim.powerdev(["restart"]).run().code(CONFLICT), &place);
        for way in [&["up"][..], &["up", "--recreate"], &["up", "--dry-run"], &["daemon"]] {
            refused(&victim.powerdev(way).run().code(CONFLICT), &place);
        }
        assert!(!engine::is_running(&victim.container()), "{security}");

        fs::remove_file(&place).and_then(|()| fs::rename(place.with_file_name("away"), &place)).expect("ours");
        victim.powerdev(["up"]).run().ok();
        let seen = victim.powerdev(["exec", "--", "sh", "-c", "ls ~/data; cat ~/data/key"]).run();
        assert!(!seen.out().contains("key"), "{security}: {}", seen.out());
    }
}

#[test]
fn the_watcher_starts_nothing_through_a_link() {
    for security in EVERY {
        let project = project(security, "");
        let outside = outside(&project);
        project.powerdev(["up"]).run().ok();
        let place = project.dir().join(".agent-mount/docker_logs");
        swap(&place, &outside);
        let mut watcher = project.powerdev(["watch", "--json", "--backoff", "0.01"]).spawn();
        watcher.wait_line("watching", |line| line.contains("\"watching\""));
        engine::kill(&project.container(), "KILL");
        let failed = watcher.wait_line("a start that failed", |line| line.contains("restart_failed"));
        assert!(failed.contains("is a link"), "{security}: {failed}");
        assert!(!engine::is_running(&project.container()), "{security}");
        watcher.signal(Signal::INT);
        watcher.wait(Duration::from_secs(30)).code(130);
    }
}

#[test]
fn what_a_clone_brings_along_is_refused_and_nothing_is_made() {
    for security in EVERY {
        for name in [".agent-mount", ".agent-mount/docker_data"] {
            for kind in ["link", "file", "stranger's"] {
                let project = project(security, "");
                let place = project.dir().join(name);
                fs::create_dir_all(place.parent().expect("below")).expect("writable");
                match kind {
                    "link" => symlink(outside(&project), &place).expect("writable"),
                    "file" => fs::write(&place, "").expect("writable"),
                    // Only root can make one.
                    _ if !rustix::process::geteuid().is_root() => continue,
                    _ => fs::create_dir(&place).and_then(|()| chown(&place, Some(4321), None)).expect("root may"),
                }
                refused(&project.powerdev(["up"]).run().code(CONFLICT), &place);
                assert!(engine::inspect(&project.container()).is_none(), "{security} {name} {kind}");
                assert!(!project.dir().join(".agent-mount/docker_workspace").exists(), "{security} {name} {kind}");
            }
        }
    }
}

#[test]
fn a_mount_that_turned_into_a_link_is_refused_until_it_is_made_anew() {
    for security in EVERY {
        let project = project(security, "mounts: [\"sub:/sub\"]\n");
        let outside = outside(&project);
        let place = project.dir().join("sub");
        fs::create_dir(&place).expect("writable");
        project.powerdev(["up"]).run().ok();
        swap(&place, &outside);
        // Where it leads now is more than was agreed to; and who agrees to it doesn't mean the container that is there.
        project.powerdev(["restart"]).run().code(2);
        project.untrusted(["trust", "--yes"]).run().ok();
        refused(&project.powerdev(["restart"]).run().code(CONFLICT), &place);
        assert!(!engine::is_running(&project.container()), "{security}");
    }
}

#[test]
fn agent_mount_is_out_of_reach_of_other_users() {
    use std::os::unix::fs::PermissionsExt;
    for security in EVERY {
        let project = project(security, "");
        project.powerdev(["up"]).run().ok();
        let plant = "cp /bin/busybox ~/data/su && chmod 6755 ~/data/su && ls -l ~/data/su";
        project.powerdev(["exec", "--", "sh", "-c", plant]).run().ok();
        let mode = |path: &str| fs::metadata(project.dir().join(path)).expect("there").permissions().mode() & 0o7777;
        assert_eq!(mode(".agent-mount"), 0o700, "{security}");
        assert_eq!(mode(".agent-mount/docker_data/su"), 0o6755, "{security}: the attack itself went wrong");
    }
}
