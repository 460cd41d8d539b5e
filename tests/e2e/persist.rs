//! Backups: made, listed, verified, restored, and what a crash, a full disk or a missing Engine do to them.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::{Project, engine, root, wait};

/// A port where nobody listens.
const NO_ENGINE: &str = "unix:///nowhere.sock";

fn folder(project: &Project, name: &str) -> PathBuf {
    let path = project.dir().join(".agent-mount").join(name);
    fs::create_dir_all(&path).expect("the project's folder is writable");
    path
}

fn project_with_data() -> Project {
    let project = Project::bare();
    let data = folder(&project, "docker_data");
    fs::create_dir_all(data.join("deep/empty")).expect("writable");
    fs::write(data.join("deep/model"), vec![42; 100_000]).expect("writable");
    fs::write(data.join(std::ffi::OsStr::from_bytes(b"odd\xff")), "odd").expect("writable");
    fs::set_permissions(data.join("deep/model"), fs::Permissions::from_mode(0o640)).expect("ours");
    symlink("deep/model", data.join("latest")).expect("writable");
    fs::write(folder(&project, "docker_analysis").join("report"), "42").expect("writable");
    project
}

fn backups(project: &Project) -> PathBuf {
    project.dir().join(".agent-mount/backups")
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("there").map(|entry| entry.expect("readable").file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().expect("plain names")).collect();
    names.sort();
    names
}

#[test]
fn persist_backups_and_restore_go_round() {
    let project = project_with_data();
    engine::start(&project.container(), project.name(), &["sh", "-c", "echo said by the container; exec sleep 600"]);
    wait::until("the container speaks", Duration::from_secs(10), || {
        engine::logs(&project.container()).contains("said by").then_some(())
    });

    let made = project.powerdev(["persist", "--verify", "--json"]).run().ok().json();
    let name = made["name"].as_str().expect("a name").to_owned();
    assert_eq!((&made["log"], &made["verified"], &made["complete"]), (&true.into(), &true.into(), &true.into()));
    let backup = backups(&project).join(&name);
    assert!(fs::read_to_string(backup.join("container.log")).expect("there").contains("said by the container"));
    let state: serde_json::Value =
        serde_json::from_slice(&fs::read(backup.join("state.json")).expect("there")).expect("JSON");
    assert_eq!(state["container"]["state"], "running");
    assert_eq!(fs::read_link(backup.join("tree/data/latest")).expect("a link"), Path::new("deep/model"));
    assert!(backup.join("tree/data/deep/empty").is_dir());
    assert!(backup.join("tree/data").join(std::ffi::OsStr::from_bytes(b"odd\xff")).is_file());
    let mode = fs::metadata(backup.join("tree/data/deep/model")).expect("there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);

    let listed = project.powerdev(["backups", "--json"]).run().ok().json();
    assert_eq!(listed["backups"][0]["name"], name.as_str());
    assert!(listed["backups"][0]["verified_ms"].is_u64());
    let table = project.powerdev(["backups"]).run().ok();
    assert!(table.out().contains(&name) && table.out().contains("verified"), "{}", table.out());

    // While the environment runs, its mounts would stay on the old folders.
    let refused = project.powerdev(["restore", "--yes"]).run().code(8);
    assert!(refused.err().contains("powerdev stop"), "{}", refused.err());
    engine::remove(&project.container());

    let data = project.dir().join(".agent-mount/docker_data");
    fs::write(data.join("deep/model"), "overwritten").expect("writable");
    fs::write(data.join("new"), "since").expect("writable");
    let asked = project.powerdev(["restore"]).run().code(2);
    assert!(asked.err().contains("--yes"), "{}", asked.err());
    assert_eq!(fs::read(data.join("new")).expect("untouched"), b"since");

    let restored = project.powerdev(["restore", "latest", "--only", "data", "--yes", "--json"]).run().ok().json();
    assert_eq!(fs::read(data.join("deep/model")).expect("back"), vec![42; 100_000]);
    assert!(!data.join("new").exists());
    let saved = restored["saved_as"].as_str().expect("what was there is saved");
    assert_eq!(fs::read(backups(&project).join(saved).join("tree/data/new")).expect("saved"), b"since");
    project.powerdev(["restore", saved, "--yes"]).run().ok();
    assert_eq!(fs::read(data.join("new")).expect("back again"), b"since");
}

#[test]
fn a_damaged_backup_is_told_and_never_restored() {
    let project = project_with_data();
    let name = project.powerdev(["persist"]).run().ok();
    let name = name.out().trim().rsplit('/').next().expect("a path").to_owned();
    project.powerdev(["backups", "--verify"]).run().ok();
    fs::write(backups(&project).join(&name).join("tree/data/deep/model"), vec![43; 100_000]).expect("ours");
    let listed = project.powerdev(["backups", "--verify", "--json"]).run().code(9).json();
    assert_eq!(listed["backups"][0]["damage"][0]["path"], "tree/data/deep/model");
    let refused = project.powerdev(["restore", &name, "--yes"]).run().code(9);
    assert!(refused.err().contains("tree/data/deep/model: its content differs"), "{}", refused.err());
    assert_eq!(names(&backups(&project)).len(), 2, "nothing was saved, nothing changed");
}

#[test]
fn without_an_engine_the_folders_are_still_backed_up() {
    let project = project_with_data();
    let made = project.powerdev(["persist", "--json"]).env("DOCKER_HOST", NO_ENGINE).run().ok();
    assert!(made.err().contains("no container log"), "{}", made.err());
    assert_eq!(made.json()["log"], false);
    // Whether it runs can't be told then: the operator must say so.
    let refused = project.powerdev(["restore", "--yes"]).env("DOCKER_HOST", NO_ENGINE).run().code(3);
    assert!(refused.err().contains("--running"), "{}", refused.err());
    project.powerdev(["restore", "--yes", "--running"]).env("DOCKER_HOST", NO_ENGINE).run().ok();
}

#[test]
fn keep_retires_the_oldest() {
    let project = project_with_data();
    for _ in 0..3 {
        project.powerdev(["persist", "--keep", "2"]).env("DOCKER_HOST", NO_ENGINE).run().ok();
    }
    assert_eq!(names(&backups(&project)).len(), 3, "the lock and two backups");
    project.powerdev(["persist", "--keep", "0"]).run().code(2);
    project.powerdev(["backups", "no-such"]).run().code(4);
    let nothing = Project::bare();
    nothing.powerdev(["persist"]).run().code(4);
    nothing.powerdev(["restore", "--yes"]).run().code(4);
    assert!(!nothing.dir().join(".agent-mount").exists(), "looking makes nothing");
}

#[test]
fn killed_at_any_moment_every_backup_is_whole() {
    let project = Project::bare();
    let data = folder(&project, "docker_data");
    for number in 0..300 {
        let dir = data.join(format!("d{}", number % 10));
        fs::create_dir_all(&dir).expect("writable");
        fs::write(dir.join(number.to_string()), vec![number as u8; 20_000]).expect("writable");
    }
    let persist = || project.powerdev(["persist"]).env("DOCKER_HOST", NO_ENGINE);
    let begun = Instant::now();
    persist().run().ok();
    let whole = begun.elapsed();
    for round in 0..20u32 {
        let running = persist().spawn();
        // Spread over the time of a whole run, and a little beyond: there is no event to wait for, on purpose.
        std::thread::sleep(whole * round / 18);
        running.signal(Signal::KILL);
        running.wait(Duration::from_secs(10));
    }
    project.powerdev(["backups", "--verify"]).run().ok();
    persist().run().ok();
    let left = names(&backups(&project));
    assert!(left.iter().all(|name| name == ".lock" || !name.starts_with('.')), "{left:?}");
    project.powerdev(["backups", "--verify"]).run().ok();
}

#[test]
fn interrupted_it_ends_clean() {
    let project = Project::bare();
    let data = folder(&project, "docker_data");
    // Without a hole: those are copied at once.
    let large = fs::File::create(data.join("large")).expect("writable");
    rustix::fs::fallocate(&large, rustix::fs::FallocateFlags::empty(), 0, 2 << 30).expect("there is room");
    let running = project.powerdev(["persist"]).env("DOCKER_HOST", NO_ENGINE).spawn();
    wait::until("copying began", Duration::from_secs(20), || {
        (backups(&project).is_dir() && names(&backups(&project)).iter().any(|name| name.starts_with(".partial")))
            .then_some(())
    });
    let second = project.powerdev(["persist"]).env("DOCKER_HOST", NO_ENGINE).run().code(8);
    assert!(second.err().contains("another powerdev"), "{}", second.err());
    running.signal(Signal::INT);
    running.wait(Duration::from_secs(10)).code(130);
    assert_eq!(names(&backups(&project)), [".lock"]);
}

#[test]
fn a_full_disk_tells_how_much_is_missing_and_leaves_nothing() {
    let project = Project::bare();
    let mount = folder(&project, "");
    let mounted = Mounted::tmpfs(&mount, "4m");
    let data = folder(&project, "docker_data");
    fs::write(data.join("half"), vec![1; 3 << 20]).expect("fits");
    let full = project.powerdev(["persist"]).env("DOCKER_HOST", NO_ENGINE).run().code(1);
    assert!(full.err().contains("not enough space") && full.err().contains("MiB more"), "{}", full.err());
    assert_eq!(names(&backups(&project)), [".lock"]);
    fs::remove_file(data.join("half")).expect("ours");
    project.powerdev(["persist"]).env("DOCKER_HOST", NO_ENGINE).run().ok();
    drop(mounted);
}

struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(at: &Path, size: &str) -> Self {
        let made = root::command("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(at)
            .status()
            .expect("mount runs");
        assert!(made.success(), "a tmpfs can be mounted");
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        root::command("umount").arg("-l").arg(&self.0).status().ok();
    }
}
