//! The watcher against a real Engine: what it undoes, what it leaves alone, and what it survives.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{Project, Running, SecondEngine, engine, root, wait};

const SLEEP: &[&str] = &["sleep", "600"];
/// Runs once; each later start ends at once with code 3.
const CRASHES: &[&str] = &["sh", "-c", "[ -e /again ] && { echo broken; exit 3; }; touch /again; exec sleep 600"];
const LONG: Duration = Duration::from_secs(30);

fn started(command: &[&str]) -> Project {
    let project = Project::bare();
    engine::start(&project.container(), project.name(), command);
    project
}

/// A watcher that has begun.
fn watching(project: &Project, arguments: &[&str]) -> Running {
    let arguments = [&["watch", "--json"], arguments].concat();
    let mut running = project.powerdev(arguments).deadline(LONG).spawn();
    event(&mut running, "watching");
    running
}

/// The next event of that name.
fn event(running: &mut Running, name: &str) -> Value {
    let line = running.wait_line(name, |line| {
        let document: Value = serde_json::from_str(line).expect("every line is JSON");
        assert_eq!(document["schema_version"], 1, "{line}");
        document["event"] == name
    });
    serde_json::from_str(&line).expect("JSON")
}

fn kill_pid(container: &str) {
    root::shell(&format!("kill -KILL {}", engine::pid(container)));
}

#[test]
fn a_container_killed_runs_again_within_a_second() {
    let project = started(SLEEP);
    let container = project.container();
    let mut watcher = watching(&project, &["--backoff", "0.01"]);
    let mut kill = || {
        let begun = Instant::now();
        kill_pid(&container);
        let down = event(&mut watcher, "down");
        assert_eq!((&down["cause"], &down["signal"]), (&"signal".into(), &9.into()));
        event(&mut watcher, "restarted");
        assert!(engine::is_running(&container));
        begun.elapsed()
    };
    // What takes the time is the Engine, and other tests keep it busy: the best of a few is what the promise is about.
    let promised = Duration::from_secs(1);
    assert!((0..4).any(|_| kill() < promised), "never running again within {promised:?}");

    engine::kill(&container, "KILL");
    event(&mut watcher, "restarted");
    watcher.signal(Signal::INT);
    watcher.wait(LONG).code(130);
    assert!(engine::is_running(&container), "the watcher's end is not the container's");
}

#[test]
fn what_somebody_stops_stays_stopped() {
    let project = started(&["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]);
    let mut watcher = watching(&project, &[]);
    for way in ["powerdev stop", "docker kill -s TERM"] {
        match way {
            "powerdev stop" => drop(project.powerdev(["stop"]).run().ok()),
            _ => engine::kill(&project.container(), "TERM"),
        }
        assert_eq!(event(&mut watcher, "stopped")["exit_code"], 0, "{way}");
        assert!(!engine::is_running(&project.container()), "{way}");
        engine::start_again(&project.container());
        event(&mut watcher, "started");
    }
    watcher.signal(Signal::TERM);
    let said = watcher.wait(LONG).code(0);
    assert!(said.json_lines().iter().all(|line| line["event"] != "down"), "{}", said.out());
}

#[test]
fn a_container_removed_behind_our_back_is_not_made_again() {
    let project = started(SLEEP);
    let mut watcher = watching(&project, &[]);
    engine::remove(&project.container());
    event(&mut watcher, "removed");
    project.powerdev(["watch", "--once"]).run().code(8);
    watcher.signal(Signal::TERM);
    watcher.wait(LONG).ok();
    assert!(engine::inspect(&project.container()).is_none());
    project.powerdev(["watch", "--once"]).run().code(4);
}

#[test]
fn a_crash_loop_is_quarantined_also_for_the_next_watcher() {
    let project = started(CRASHES);
    let container = project.container();
    let few = ["--max-restarts", "2", "--backoff", "0.1"];
    let mut watcher = watching(&project, &few);
    kill_pid(&container);
    event(&mut watcher, "restarted");
    let down = event(&mut watcher, "down");
    assert_eq!((&down["cause"], &down["code"], &down["restarts_left"]), (&"exit".into(), &3.into(), &0.into()));
    assert_eq!(event(&mut watcher, "quarantined")["restarts"], 2);
    watcher.signal(Signal::KILL);
    watcher.wait(LONG);

    project.powerdev(["watch", "--once"]).args(few).run().code(5);
    assert!(!engine::is_running(&container));
    // Started by hand it is watched again, with a whole budget, which the crashes use up again.
    let mut watcher = watching(&project, &few);
    engine::start_again(&container);
    event(&mut watcher, "started");
    assert_eq!(event(&mut watcher, "quarantined")["restarts"], 2);
    watcher.signal(Signal::TERM);
    watcher.wait(LONG).ok();
    let cleared = project.powerdev(["watch", "--once", "--clear", "--json"]).args(few).run().code(5);
    assert!(cleared.json_lines().iter().any(|line| line["event"] == "down"), "it was tried again: {}", cleared.out());
}

#[test]
fn what_is_heard_late_is_told_with_its_own_time() {
    let project = started(SLEEP);
    let mut watcher = watching(&project, &[]);
    watcher.signal(Signal::STOP);
    kill_pid(&project.container());
    wait::until("it is down", LONG, || (!engine::is_running(&project.container())).then_some(()));
    // The Engine tells of an end after it knows it: by the time that it has answered something else it has told.
    project.powerdev(["ps"]).run().ok();
    let known_by = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    watcher.signal(Signal::CONT);
    let down = event(&mut watcher, "down");
    assert!(u128::from(down["at_ms"].as_u64().expect("a time")) < known_by, "told as of now: {down}, {known_by}");
    watcher.signal(Signal::TERM);
    watcher.wait(LONG).ok();
}

#[test]
fn what_died_while_no_watcher_was_there_is_started() {
    let project = started(SLEEP);
    let watcher = watching(&project, &[]);
    watcher.signal(Signal::KILL);
    watcher.wait(LONG);
    kill_pid(&project.container());
    wait::until("it is down", LONG, || (!engine::is_running(&project.container())).then_some(()));
    project.powerdev(["watch", "--once"]).run().ok();
    assert!(engine::is_running(&project.container()));

    // Stopped meanwhile: somebody's wish, as the Engine still knows.
    project.powerdev(["stop", "--time", "1"]).run().ok();
    project.powerdev(["watch", "--once"]).run().code(4);
    assert!(!engine::is_running(&project.container()));

    // Started since by somebody, and gone by accident: the stop before is history.
    engine::start_again(&project.container());
    project.powerdev(["watch", "--once"]).run().ok();
    kill_pid(&project.container());
    wait::until("it is down", LONG, || (!engine::is_running(&project.container())).then_some(()));
    project.powerdev(["watch", "--once"]).run().ok();
    assert!(engine::is_running(&project.container()));
}

#[test]
fn bad_health_is_mended_within_the_budget_and_then_left_to_be_looked_into() {
    let project = Project::new(
        "web:
  command: exec sleep 600
  ready: { exec: [test, '!', -e, /home/dev/data/spoilt], interval: 0.1, liveness: 0.1, retries: 1 }
",
    );
    project.powerdev(["daemon"]).run().ok();
    let mut watcher = watching(&project, &["--unhealthy-after", "0.5", "--max-restarts", "1"]);
    project.write(".agent-mount/docker_data/spoilt", "");
    assert_eq!(event(&mut watcher, "service")["to"], "unhealthy");
    let unhealthy = event(&mut watcher, "unhealthy");
    assert!(unhealthy["detail"].as_str().is_some_and(|detail| detail.contains("web")), "{unhealthy}");
    assert_eq!(event(&mut watcher, "down")["cause"], "unhealthy");
    event(&mut watcher, "restarted");

    std::fs::remove_file(project.dir().join(".agent-mount/docker_data/spoilt")).expect("ours");
    event(&mut watcher, "healthy");
    project.write(".agent-mount/docker_data/spoilt", "");
    let quarantined = event(&mut watcher, "quarantined");
    assert!(quarantined["detail"].as_str().is_some_and(|detail| detail.contains("web")), "{quarantined}");
    assert!(engine::is_running(&project.container()), "it runs on for whoever looks into it");

    // Whoever restarts it takes the matter in hand.
    project.powerdev(["restart", "--no-wait"]).run().ok();
    event(&mut watcher, "started");
    watcher.signal(Signal::TERM);
    watcher.wait(LONG).ok();
}

#[test]
fn on_a_terminal_what_happens_scrolls_by_in_colour_above_a_live_head() {
    let project = started(SLEEP);
    let mut terminal = project.powerdev(["watch"]).terminal(24, 80);
    let head = format!("{}  running", project.name());
    terminal.expect(&head);
    // More than the old view kept: each is written out, and none is drawn over.
    for _ in 0..3 {
        kill_pid(&project.container());
        terminal.expect("\x1b[33m!  killed by SIGKILL");
        terminal.expect("\x1b[32m   runs again");
        terminal.expect(&head);
    }
    terminal.send(b"\x03");
    assert_eq!(terminal.wait().0, 130);
}

#[test]
fn the_night_can_be_read_in_the_morning() {
    let project = started(CRASHES);
    let few = ["--max-restarts", "1", "--backoff", "0.1"];
    assert_eq!(project.powerdev(["events", "--json"]).run().code(4).out().lines().count(), 1, "nobody has watched yet");
    let mut watcher = watching(&project, &few);
    kill_pid(&project.container());
    event(&mut watcher, "restarted");
    event(&mut watcher, "quarantined");
    watcher.signal(Signal::KILL);
    let told = watcher.wait(LONG).json_lines();

    let kept = project.powerdev(["events", "--json"]).run().ok().json_lines();
    assert_eq!(kept, told, "all that was told is kept, also past a kill");
    assert_eq!(project.powerdev(["events", "--json", "--since", "1h"]).run().ok().json_lines(), told);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() + 1;
    let none = project.powerdev(["events", "--since", &now.to_string()]).run().ok();
    assert_eq!(none.out(), "");
    let shown = project.powerdev(["events", project.name()]).run().ok();
    assert!(shown.out().contains("killed by SIGKILL") && shown.out().contains("!! quarantined after 1 restart in"));
    assert!(!shown.out().contains('\x1b'), "no colours but on a terminal: {}", shown.out());
    let forced = project.powerdev(["events"]).env("CLICOLOR_FORCE", "1").run().ok();
    assert!(forced.out().contains("\x1b[31m!! quarantined"), "{}", forced.out());

    // Whoever looks is told that it was given up, why, and how to go on.
    let status = project.powerdev(["status", "--json"]).run().code(4).json();
    assert_eq!((&status["quarantine"]["cause"], &status["quarantine"]["code"]), (&"exit".into(), &3.into()));
    let health = project.powerdev(["health", "--json"]).run().code(4).json();
    assert_eq!(health["quarantine"], status["quarantine"]);
    for command in ["status", "health", "ps", "doctor"] {
        let run = project.powerdev([command]).run();
        let said = format!("{}{}", run.out(), run.err());
        assert!(said.contains("quarantined by `powerdev watch` for"), "{command}: {said}");
        assert!(
            said.contains("exited with code 3") && said.contains("`powerdev restart` ends it"),
            "{command}: {said}"
        );
    }
    let ps = project.powerdev(["ps"]).run().ok();
    let row = ps.out().lines().find(|line| line.starts_with(project.name())).expect("it is listed").to_owned();
    assert!(row.contains(" quarantined "), "{row}");
    // Whoever starts it takes the matter in hand, also while no watcher is there to see it.
    engine::start_again(&project.container());
    assert_eq!(project.powerdev(["status", "--json"]).run().json()["quarantine"], Value::Null);
}

#[test]
fn what_happens_is_followed_by_who_looks() {
    let (project, other) = (started(SLEEP), Project::bare());
    let mut watcher = watching(&project, &[]);
    let mut follower = project.powerdev(["events", "--follow", "--json"]).deadline(LONG).spawn();
    event(&mut follower, "watching");
    engine::kill(&project.container(), "KILL");
    assert_eq!(event(&mut follower, "down")["cause"], "signal");
    event(&mut watcher, "restarted");
    event(&mut follower, "restarted");
    watcher.signal(Signal::TERM);
    watcher.wait(LONG).ok();
    let refused = project.powerdev(["events", other.name()]).run().code(4);
    assert!(refused.err().contains(other.name()), "{}", refused.err());
}

#[test]
fn all_environments_are_watched_and_each_by_one_watcher() {
    let (one, other) = (Project::bare(), Project::bare());
    // On an Engine of our own: the other one runs what isn't ours.
    let second = SecondEngine::start();
    second.run(one.name());
    second.run(other.name());
    let watch = |arguments: &[&str]| {
        one.powerdev(["watch", "--json"]).args(arguments).env("DOCKER_HOST", second.host()).deadline(LONG)
    };
    let mut all = watch(&["--all"]).spawn();
    let mut seen = vec![event(&mut all, "watching")["name"].clone(), event(&mut all, "watching")["name"].clone()];
    seen.sort_by_key(ToString::to_string);
    assert_eq!(seen, [one.name(), other.name()]);
    let refused = watch(&[]).run().code(8);
    assert!(refused.err().contains("watched already"), "{}", refused.err());
    second.docker(&["kill", &other.container()]);
    assert_eq!(event(&mut all, "restarted")["name"], other.name());
    all.signal(Signal::TERM);
    all.wait(LONG).ok();
}

#[test]
fn an_engine_that_dies_and_comes_back_is_survived() {
    let project = Project::bare();
    let mut second = SecondEngine::start();
    second.run(project.name());
    let watch = project.powerdev(["watch", "--json"]).env("DOCKER_HOST", second.host());
    let mut watcher = watch.deadline(Duration::from_secs(90)).spawn();
    event(&mut watcher, "watching");
    // Killed, and shut down in order: the second looks as if somebody stopped the container.
    for signal in [Signal::KILL, Signal::TERM] {
        second.kill(signal);
        event(&mut watcher, "engine_lost");
        second.up();
        let down = event(&mut watcher, "down");
        assert_eq!(down["cause"], "engine_restart", "{signal:?}: {down}");
        event(&mut watcher, "restarted");
        assert!(second.is_running(project.name()));
    }
    // One that hangs keeps its connections, and says nothing at all.
    second.signal(Signal::STOP);
    event(&mut watcher, "engine_lost");
    second.signal(Signal::CONT);
    assert_eq!(event(&mut watcher, "watching")["state"], "running");
    // `powerdev stop` means what it says, even if the Engine goes right after.
    project.powerdev(["stop"]).env("DOCKER_HOST", second.host()).run().ok();
    event(&mut watcher, "stopped");
    second.kill(Signal::TERM);
    event(&mut watcher, "engine_lost");
    second.up();
    assert_eq!(event(&mut watcher, "watching")["state"], "stopped");
    assert!(!second.is_running(project.name()));
    watcher.signal(Signal::TERM);
    watcher.wait(LONG).ok();
}
