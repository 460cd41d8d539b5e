//! Terminal escapes, forged lines and names that are turned around, by every way out of an environment: the services' logs,
//! the names of files, and an agent that whoever is `dev` has put in the place of ours.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::{CLOSED, environment};
use crate::common::{Output, Project, engine, wait};

/// Copies to the clipboard, clears the screen, in seven bits and in eight; turns text around; forges a line; rings.
const EVIL: &str = "evil\x1b]52;c;aGk=\x07\x1b[2J\u{9b}2J\u{9d}0;x\u{9c}\u{202e}turned\r\nerror: forged\n\x1b[32mgreen\x1b[0m\x08\x7f\u{85}error: forged too";
const SOON: Duration = Duration::from_secs(30);

/// An agent in the place of ours, which tells lies. Ours stands still, or it would take its place back.
struct Impostor {
    place: PathBuf,
    pid: i32,
}

impl Impostor {
    fn of(project: &Project) -> Self {
        let place = project.state_home().join("powerdev").join(project.name()).join("run/agent.sock");
        let pid = engine::pid(&project.container());
        signal(pid, rustix::process::Signal::STOP);
        std::fs::remove_file(&place).expect("it was there");
        let listener = UnixListener::bind(&place).expect("the folder is the environment's");
        let (uid, gid) = engine::dev_user();
        std::os::unix::fs::lchown(&place, Some(uid), Some(gid)).expect("ours to give");
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || lie(&stream));
            }
        });
        Self { place, pid }
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        std::fs::remove_file(&self.place).ok(); // Gone with the environment is as good.
        signal(self.pid, rustix::process::Signal::CONT);
    }
}

fn signal(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).expect("it runs"), signal).ok();
}

/// Answers one client until it goes away.
fn lie(stream: &UnixStream) {
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let request: Value = serde_json::from_str(&line).unwrap_or_default();
        for answer in answers(request["op"].as_str().unwrap_or_default()) {
            if writeln!(&mut &*stream, "{answer}").is_err() {
                return;
            }
        }
    }
}

fn answers(op: &str) -> Vec<Value> {
    let health = json!({"state": "unhealthy", "detail": format!("{EVIL}\n{EVIL}")});
    let exit = json!({"code": 1, "at_ms": 0, "reason": EVIL});
    let service = json!({"name": EVIL, "state": "failed", "ready": false, "restarts": 1, "pid": null, "since_ms": 0,
                         "last_exit": exit, "probe": EVIL, "output": [EVIL]});
    let usage = json!({"cpu_usec": 0, "cpu_percent": null, "cpu_limit": null, "memory_bytes": 0, "memory_limit_bytes": null,
                       "pids": 0, "pids_limit": null, "pids_refused": 0, "oom_kills": 0, "network_rx_bytes": 0,
                       "network_tx_bytes": 0});
    let idle = json!({"name": "idle", "state": "ready", "ready": true, "restarts": 0, "pid": 7, "since_ms": 0});
    let with = |tag: &str, value: &str, mut object: Value| {
        object[tag] = value.into();
        object
    };
    match op {
        "hello" => vec![json!({"answer": "hello", "protocol": 2, "oldest": 1, "release": EVIL})],
        "health" => vec![with("answer", "health", health)],
        "status" => vec![json!({"answer": "status", "version": EVIL, "sha256": EVIL, "protocol": 2, "pid": 1,
            "started_ms": 0, "health": health, "services": [service, idle], "sessions": 0, "usage": usage,
            "dropped_lines": 0, "notices": [EVIL]})],
        "events" => vec![
            json!({"answer": "ok"}),
            json!({"event": "service", "at_ms": 0, "name": EVIL, "from": "ready", "to": "failed", "pid": null,
                   "restarts": 9, "exit": exit, "probe": EVIL}),
        ],
        _ => vec![json!({"answer": "error", "message": EVIL})],
    }
}

/// Nothing in it acts on a terminal, and none of its lines is somebody else's.
fn assert_harmless(what: &str, output: &Output) {
    for (stream, bytes) in [("out", &output.stdout), ("err", &output.stderr)] {
        let text = String::from_utf8_lossy(bytes);
        let acts = |character: char| {
            character.is_control() && !matches!(character, '\n' | '\t')
                || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!text.contains(acts), "{what}, {stream}: {text:?}");
        assert!(!text.lines().any(|line| line.starts_with("error: forged")), "{what}, {stream}: {text}");
    }
}

#[test]
fn what_an_agent_says_acts_on_no_terminal() {
    for security in CLOSED {
        let project = environment(security, "");
        let impostor = Impostor::of(&project);
        let mut told = 0;
        for command in [
            &["health"][..],
            &["status"],
            &["services"],
            &["services", "restart", "idle"],
            &["services", "stop", "nobody"],
            &["sessions"],
            &["sessions", "kill", "nobody"],
            &["attach", "nobody"],
            &["ps"],
            &["doctor"],
            &["up", "--timeout", "5"],
            &["logs", "nobody", "--no-follow"],
            &["cleanup", "--dry-run"],
        ] {
            for json in [&[][..], &["--json"]] {
                let output = project.powerdev([command, json].concat()).run();
                assert_harmless(&format!("{security}: {command:?} {json:?}"), &output);
                told += usize::from((output.err() + output.out()).contains("evil"));
            }
        }
        assert!(told >= 10, "{security}: the lies were told {told} times");
        drop(impostor);
    }
}

#[test]
fn on_a_terminal_only_our_own_colours_are_shown() {
    let project = environment("dev", "");
    let impostor = Impostor::of(&project);
    let (_, screen) = project.powerdev(["status"]).terminal(40, 200).wait();
    assert!(screen.contains("evil") && screen.contains("\x1b[31munhealthy\x1b[0m"), "{screen:?}");
    assert!(!screen.contains("\x1b[32m"), "its green isn't shown: {screen:?}");
    let others = screen.replace("\x1b[31m", "").replace("\x1b[33m", "").replace("\x1b[36m", "").replace("\x1b[0m", "");
    assert!(!others.contains(['\x1b', '\x07', '\x08', '\u{9b}', '\u{202e}']), "{screen:?}");
    drop(impostor);
}

#[test]
fn logs_have_colours_and_nothing_else() {
    for security in CLOSED {
        let project = environment(security, "");
        project.write(
            "powerdev.yaml",
            project.read("powerdev.yaml").replace(
                "exec sleep 1000000",
                "\"printf 'evil\\\\033]52;c;aGk=\\\\007\\\\033[2J\\\\302\\\\2332J\\\\342\\\\200\\\\256\\\\033[31mred\\\\bx\\\\n'; exec sleep 1000000\"",
            ),
        );
        project.powerdev(["up"]).run().ok();
        let logs = |more: &[&str]| {
            wait::until("it is logged", SOON, || {
                let output = project.powerdev([&["logs", "idle", "--no-follow"], more].concat()).run().ok();
                output.out().contains("evil").then_some(output)
            })
        };
        assert_eq!(logs(&[]).out(), "idle | evil\x1b[31mredx\x1b[0m\n", "{security}");
        assert_harmless("logs --json", &logs(&["--json"]));
        assert!(logs(&["--raw"]).out().contains("\x1b]52;c;aGk=\x07\x1b[2J"), "{security}");
    }
}

#[test]
fn names_of_files_act_on_no_terminal() {
    let project = environment("dev", "");
    let name = EVIL.replace('/', "_");
    let place = project.dir().join(".agent-mount/docker_workspace");
    // What can't be kept is told by its name.
    let made = std::process::Command::new("mkfifo").arg(place.join(&name)).status().expect("mkfifo is there");
    assert!(made.success());
    std::fs::create_dir(place.join(format!("dir {name}"))).expect("a folder");
    for command in [&["persist"][..], &["backups", "--verify"], &["restore", "--yes"]] {
        for json in [&[][..], &["--json"]] {
            assert_harmless(&format!("{command:?}"), &project.powerdev([command, json].concat()).run());
        }
    }
}
