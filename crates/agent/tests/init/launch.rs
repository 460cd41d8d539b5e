//! A program that hangs in its exec, as one on a dead server does, holds nobody else up.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Agent, is_alive, kill, pid_of, until};

/// A program that can't be opened, by exec or otherwise, until this is dropped: a lease on the file makes the kernel
/// hold up everybody else, for 45 seconds at most.
struct Held(#[allow(dead_code)] File);

impl Held {
    fn program(folder: &Path) -> (PathBuf, Self) {
        let path = folder.join("held");
        std::fs::copy("/bin/sleep", &path).unwrap();
        let file = File::open(&path).unwrap();
        // A test beside this one may hold a copy of the descriptor for as long as it needs from fork to exec.
        until("the lease", || {
            // SAFETY: fcntl with integers.
            let taken = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
            (taken == 0).then_some(())
        });
        const F_SETSIG: i32 = 10;
        // SAFETY: as above. Being asked to give it back must not end this process.
        assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) }, 0);
        (path, Self(file))
    }
}

/// What a process runs.
fn program(pid: i32) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default()
}

/// Every child of the agent that still runs the agent's own program, and waits for something.
fn launching(agent: &Agent) -> Vec<i32> {
    let own = program(agent.pid());
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().unwrap_or_default().split(' ').nth(1);
        parent == Some(&agent.pid().to_string()) && program(*pid) == own && !stat.contains("(terminal)")
    })
    .collect()
}

#[test]
fn a_program_that_hangs_holds_nobody_up_and_runs_once_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let (path, held) = Held::program(folder.path());
    let slow = json!([path, "1000"]);
    let agent = Agent::start(json!({
        "a": {"command": "exec sleep 1000", "restart": {"backoff": 0.01, "reset": 0}},
        "after": {"command": "exec sleep 1000", "depends_on": {"tty": "started"}},
        "pipe": {"command": slow, "tty": false},
        "tty": {"command": slow},
        "found": {"command": ["held", "1000"], "environment": {"PATH": folder.path()}},
        "probed": {"command": "exec sleep 1000", "ready": {"exec": slow, "interval": 0.05, "timeout": 0.3}},
    }));
    until("the probe has hung for too long", || {
        agent.service("probed")["probe"].as_str().filter(|said| said.contains("no answer within 0.3 s")).map(drop)
    });
    until("the rest hangs", || (launching(&agent).len() >= 3).then_some(()));
    for name in ["pipe", "tty", "found"] {
        assert_eq!(agent.service(name)["state"], "starting", "{name}");
    }
    assert_eq!(agent.service("after")["state"], "waiting");
    let a = pid_of(&agent.wait_state("a", "ready"));
    kill(a, libc::SIGKILL);
    // Each of them is made anew, and hangs again: no answer waits for that.
    let mut slowest = Duration::ZERO;
    for name in ["pipe", "tty", "found"] {
        let before = agent.service(name)["pid"].clone();
        assert_eq!(agent.ask(json!({"op": "service", "name": name, "action": "restart"}))["answer"], "ok");
        until("it hangs anew", || {
            let begin = Instant::now();
            let service = agent.service(name);
            slowest = slowest.max(begin.elapsed());
            (service["state"] == "starting" && service["pid"] != before && !service["pid"].is_null()).then_some(())
        });
    }
    assert!(slowest < Duration::from_secs(1), "an answer took {slowest:?}");
    assert_ne!(agent.wait_state("a", "ready")["pid"], a, "it is back");
    assert!(launching(&agent).len() >= 3, "they hang still");
    drop(held);
    for name in ["pipe", "tty", "found", "after"] {
        let service = agent.wait_state(name, "ready");
        assert_eq!(service["restarts"], 0, "{name}");
        let expected = if name == "after" { program(pid_of(&service)) } else { path.clone() };
        assert_eq!(program(pid_of(&service)), expected, "{name}");
    }
}

#[test]
fn a_program_that_does_not_begin_in_time_is_ended_and_that_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _held) = Held::program(folder.path());
    let ready = json!({"log": "never said", "deadline": 0.3});
    let never = json!({"policy": "never"});
    let agent = Agent::start(json!({
        "pipe": {"command": [path], "tty": false, "ready": ready, "restart": never},
        "tty": {"command": [path], "ready": ready, "restart": never},
    }));
    for name in ["pipe", "tty"] {
        let failed = agent.wait_state(name, "failed");
        let reason = failed["last_exit"]["reason"].as_str().unwrap();
        assert!(reason.starts_with("its program did not begin within 1 s"), "{reason}");
        assert_eq!(failed["pid"], json!(null));
    }
    assert_eq!(launching(&agent), [] as [i32; 0]);
}

#[test]
fn what_hangs_can_be_stopped_and_does_not_keep_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _held) = Held::program(folder.path());
    let mut agent = Agent::start(json!({
        "pipe": {"command": [path], "tty": false},
        "tty": {"command": [path]},
        "other": {"command": [path]},
    }));
    let pids = until("they hang", || Some(launching(&agent)).filter(|pids| pids.len() == 3));
    for name in ["pipe", "tty"] {
        let stopped = agent.ask(json!({"op": "service", "name": name, "action": "stop", "wait": true}));
        assert_eq!(stopped["answer"], "ok");
        assert_eq!(agent.service(name)["last_exit"]["reason"], "stopped on request");
    }
    assert_eq!(launching(&agent).len(), 1);
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.exit_code(), 0);
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn an_agent_that_is_killed_leaves_no_terminal_behind() {
    let mut agent = Agent::start(json!({"a": {"command": "exec sleep 1000"}}));
    let service = pid_of(&agent.wait_state("a", "ready"));
    let stat = std::fs::read_to_string(format!("/proc/{service}/stat")).unwrap();
    let session = stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap().parse().unwrap();
    assert!(is_alive(session) && session != service);
    agent.signal(libc::SIGKILL);
    agent.child.wait().unwrap();
    until("what leads its terminal's session is gone", || (!is_alive(session)).then_some(()));
    kill(service, libc::SIGKILL);
}

#[test]
fn one_stopped_before_it_has_told_of_itself_leaves_nothing() {
    // Whoever stops at once meets a launch at every stage of it, sooner or later.
    let agent = Agent::start(json!({"a": {"command": "exec sleep 1000", "stop": {"grace": 1000}}}));
    let mut connection = agent.connect();
    for _ in 0..50 {
        assert_eq!(connection.ask(json!({"op": "service", "name": "a", "action": "start"}))["answer"], "ok");
        let stopped = connection.ask(json!({"op": "service", "name": "a", "action": "stop", "wait": true}));
        assert_eq!(stopped["answer"], "ok");
        assert_eq!(agent.service("a")["pid"], json!(null));
    }
    let below = |parent: i32| {
        let children = std::process::Command::new("ps").args(["--ppid", &parent.to_string(), "-o", "pid="]).output();
        String::from_utf8(children.unwrap().stdout).unwrap().trim().to_owned()
    };
    until("nothing is left", || below(agent.pid()).is_empty().then_some(()));
}
