//! From nothing to running and back: up, daemon, start, stop, restart, rm, status, health, ps.

use std::time::Duration;

use serde_json::json;

use crate::common::engine::{self, Events};
use crate::common::{Project, wait};

/// One service that is ready at once, and one that says when it is.
const TWO: &str = "
steady:
  command: exec sleep 1000000
late:
  command: echo now-ready; exec sleep 1000000
  ready: { log: now-ready }
  depends_on: { steady: started }
";

/// What a wait longer than any clock counts comes to: as long as it takes.
#[test]
fn no_wait_is_too_long() {
    let project = Project::new(TWO);
    for endless in ["9223372036854775807", "9223372036854775808", "18446744073709551615", "1e300"] {
        project.powerdev(["up", "--timeout", endless]).run().ok();
        project.powerdev(["health", "--wait", endless]).run().ok();
        project.powerdev(["services", "restart", "steady", "--timeout", endless]).run().ok();
    }
    project.powerdev(["restart", "--timeout", "18446744073709551615"]).run().ok();
    project.powerdev(["stop", "--time", "18446744073709551615"]).run().ok();
    let refused = project.powerdev(["up", "--timeout=-1"]).run().code(2);
    assert!(refused.err().contains("--timeout"), "{}", refused.err());
}

#[test]
fn daemon_creates_starts_adopts_and_rm_keeps_the_data() {
    let project = Project::new(TWO);
    let up = project.powerdev(["daemon", "--json"]).run().ok().json();
    assert_eq!(up["done"], "created");
    assert_eq!(up["health"], "healthy");
    assert_eq!(up["services"].as_array().map(Vec::len), Some(2));
    assert!(project.dir().join(".agent-mount/docker_workspace").is_dir());

    let again = project.powerdev(["daemon", "--json"]).run().ok().json();
    assert_eq!(again["done"], "adopted");
    assert_eq!(again["drift"], json!([]));

    let stopped = project.powerdev(["stop", "--json"]).run().ok().json();
    assert_eq!(stopped["was_running"], true);
    assert_eq!(engine::inspect(&project.container()).expect("it is there")["State"]["ExitCode"], 0);
    let stopped = project.powerdev(["stop", "--json"]).run().ok().json();
    assert_eq!(stopped["was_running"], false);

    let started = project.powerdev(["daemon", "--json"]).run().ok().json();
    assert_eq!(started["done"], "started");

    project.powerdev(["exec", "--", "sh", "-c", "echo kept > ~/note; echo kept > ~/data/note"]).run().ok();
    // Every chown leaves its mark here, also one that changes nothing: a home of 100,000 files must not be walked.
    let changed = || project.powerdev(["exec", "--", "stat", "-c", "%z", "/home/dev/note"]).run().ok().out().to_owned();
    let last_change = changed();
    project.powerdev(["rm"]).run().code(8);
    let network = engine::network_id(&project.container());
    project.powerdev(["rm", "--force"]).run().ok();
    assert!(engine::inspect(&project.container()).is_none());
    assert_eq!(project.read(".agent-mount/docker_data/note"), "kept\n");

    project.powerdev(["up"]).run().ok();
    assert_eq!(engine::network_id(&project.container()), network, "it outlives rm");
    let note = project.powerdev(["exec", "--", "sh", "-c", "cat ~/note"]).run().ok();
    assert_eq!(note.out(), "kept\n");
    assert_eq!(changed(), last_change, "starting touches nothing in the home folder");
    project.powerdev(["rm", "-f", "--volumes", "--yes"]).run().ok();
    assert_eq!(engine::network_id(&project.container()), None);
    project.powerdev(["up"]).run().ok();
    project.powerdev(["exec", "--", "test", "-e", "/home/dev/note"]).run().code(1);
}

#[test]
fn status_and_health_say_what_is() {
    let project = Project::new(TWO);
    let absent = project.powerdev(["status", "--json"]).run().code(4).json();
    assert_eq!(absent["state"], "absent");
    project.powerdev(["health"]).run().code(4);

    project.powerdev(["up"]).run().ok();
    let status = project.powerdev(["status", "--json"]).run().ok().json();
    assert_eq!(status["name"], project.name());
    assert_eq!(status["state"], "running");
    assert_eq!(status["health"], "healthy");
    assert!(status["usage"]["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    let services = status["services"].as_array().expect("a list");
    for service in services {
        assert_eq!(service["state"], "ready", "{service}");
        assert_eq!(service["ready"], true);
        assert_eq!(service["restarts"], 0);
        assert!(service["pid"].as_i64().is_some_and(|pid| pid > 1), "{service}");
    }
    assert_eq!(status["agent"]["skew"], false);
    let health = project.powerdev(["health"]).run().ok();
    assert_eq!(health.out(), "healthy\n");
    let shown = project.powerdev(["status"]).run().ok();
    assert!(shown.out().lines().all(|line| line.chars().count() <= 80), "{}", shown.out());

    engine::kill(&project.container(), "KILL");
    wait::until("the container is dead", Duration::from_secs(10), || {
        (!engine::is_running(&project.container())).then_some(())
    });
    let health = project.powerdev(["health", "--json"]).run().code(4).json();
    assert_eq!(health["health"], "stopped");
    let status = project.powerdev(["status", "--json"]).run().code(4).json();
    assert_eq!(status["state"], "exited");
    assert_eq!(status["exit_code"], 137);
}

#[test]
fn an_unhealthy_environment_is_told_with_the_reason() {
    let project = Project::new(
        "
bad:
  command: echo broken on purpose; exit 3
  ready: { log: never said }
  restart: { policy: on-failure, backoff: 0.05, max_backoff: 0.05, limit: 3 }
",
    );
    let failed = project.powerdev(["up"]).run().code(5);
    assert!(failed.err().contains("bad") && failed.err().contains("exited with 3"), "{}", failed.err());
    assert!(failed.err().contains("its last line: broken on purpose"), "{}", failed.err());
    let shown = failed.err().lines().filter(|line| line.contains("waiting to restart")).count();
    assert_eq!(shown, 1, "what goes round and round is told once: {}", failed.err());
    let health = project.powerdev(["health", "--json"]).run().code(5).json();
    assert_eq!(health["health"], "unhealthy");
    assert!(health["detail"].as_str().is_some_and(|detail| detail.contains("bad")), "{health}");
    let said = project.powerdev(["health"]).run().code(5).err();
    assert!(said.contains("bad: failed: exited with 3") && said.contains("its last line: broken on purpose"), "{said}");
    let again = project.powerdev(["restart"]).run().code(5).err();
    assert!(again.contains("its last line: broken on purpose"), "{again}");
}

#[test]
fn an_end_long_after_a_kill_for_want_of_memory_is_none_of_it() {
    // The kernel kills one process that takes too much; the environment goes on, and is stopped later.
    let project = Project::new("idle:\n  command: exec sleep 1000000\n");
    let yaml = project.read("powerdev.yaml") + "memory: 64m\n";
    project.write("powerdev.yaml", yaml);
    project.powerdev(["up"]).run().ok();
    let glutton = "x=x; while :; do x=$x$x; done";
    project.powerdev(["exec", "--", "sh", "-c", glutton]).run();
    project.powerdev(["stop"]).run().ok();
    let status = project.powerdev(["status", "--json"]).run().code(4).json();
    assert_eq!((&status["oom_killed"], &status["exit_code"]), (&true.into(), &0.into()), "the Engine remembers");
    for command in ["health", "status"] {
        let output = project.powerdev([command]).run().code(4);
        let said = output.err() + output.out();
        assert!(said.contains("ended with code 0") && !said.contains("out of memory"), "{said}");
    }
}

#[test]
fn what_starts_counts_its_time_and_says_what_is_missing() {
    let project = Project::new(
        "
slow:
  command: exec sleep 1000000
  ready:
    exec: [sh, -c, 'test -e /home/dev/data/go || { echo no file yet; exit 1; }']
    interval: 0.1
",
    );
    let mut up = project.powerdev(["up"]).terminal(24, 100);
    up.expect("starting (2s): the probe exited with 1: no file yet");
    project.write(".agent-mount/docker_data/go", "");
    up.expect("healthy");
    assert_eq!(up.wait().0, 0);
}

#[test]
fn stop_says_whom_it_waits_for() {
    let project = Project::new(
        "
quick: { command: exec sleep 1000000 }
slow:
  command: trap 'sleep 6; exit 0' TERM; echo up; while :; do sleep 0.1; done
  ready: { log: up }
  stop: { grace: 20 }
",
    );
    project.powerdev(["up"]).run().ok();
    let said = project.powerdev(["stop"]).run().ok().err();
    assert!(said.contains("waiting for slow\n"), "{said}");
}

#[test]
fn health_waits_for_an_environment_that_is_on_its_way() {
    let project = Project::new(
        "
slow:
  command: while [ ! -e /home/dev/data/go ]; do sleep 0.05; done; echo here-we-go; exec sleep 1000000
  ready: { log: here-we-go }
",
    );
    project.powerdev(["daemon", "--no-wait"]).run().ok();
    project.powerdev(["health"]).run().code(5);
    let waiting = project.powerdev(["health", "--wait", "30"]).spawn();
    project.write(".agent-mount/docker_data/go", "");
    assert_eq!(waiting.wait(Duration::from_secs(30)).ok().out(), "healthy\n");
    project.powerdev(["stop"]).run().ok();
    std::fs::remove_file(project.dir().join(".agent-mount/docker_data/go")).expect("it was written");
    project.powerdev(["daemon", "--no-wait"]).run().ok();
    let late = project.powerdev(["health", "--wait", "1"]).run().code(6);
    assert_eq!(late.out(), "starting\n");
}

#[test]
fn restart_applies_changed_services_and_secrets() {
    let project = Project::new("one:\n  command: exec sleep 1000000\n");
    project.powerdev(["up"]).run().ok();
    project.services("two:\n  command: exec sleep 1000000\n");
    project.env_file("CANARY=new\n");
    let restarted = project.powerdev(["restart", "--json"]).run().ok().json();
    assert_eq!(restarted["services"][0]["name"], "two");
    let canary = project.powerdev(["exec", "--", "sh", "-c", "echo $CANARY"]).run().ok();
    assert_eq!(canary.out(), "new\n");
}

#[test]
fn the_keys_folder_is_the_users_own_however_often_it_was_mounted() {
    let project = Project::new("one:\n  command: exec sleep 1000000\n");
    let ssh = project.home().join(".ssh");
    let owner = |project: &Project| {
        let stat = project.powerdev(["exec", "--", "sh", "-c", "stat -c '%u:%g %a' ~/.ssh; id -u; id -g"]).run().ok();
        stat.out().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let check = |project: &Project| {
        let [folder, user, group] = owner(project).try_into().expect("three lines");
        assert_eq!(folder, format!("{user}:{group} 700"));
    };
    std::fs::create_dir(&ssh).expect("ours");
    project.powerdev(["up"]).run().ok();
    std::fs::remove_dir(&ssh).expect("ours");
    project.powerdev(["up", "--recreate"]).run().ok();
    check(&project);
    // And where the home folder was there first.
    let project = Project::new("one:\n  command: exec sleep 1000000\n");
    let ssh = project.home().join(".ssh");
    project.powerdev(["up"]).run().ok();
    std::fs::create_dir(&ssh).expect("ours");
    project.powerdev(["up", "--recreate"]).run().ok();
    std::fs::remove_dir(&ssh).expect("ours");
    project.powerdev(["up", "--recreate"]).run().ok();
    check(&project);
}

#[test]
fn drift_is_told_by_setting_and_recreate_applies_it() {
    let project = Project::new("one:\n  command: exec sleep 1000000\n");
    project.env_file("");
    project.powerdev(["up"]).run().ok();
    project.env_file("DOCKER_MEMORY=123m\n");
    let up = project.powerdev(["up", "--json"]).run().ok().json();
    assert_eq!(up["done"], "adopted");
    assert!(up["drift"].to_string().to_lowercase().contains("memory"), "{}", up["drift"]);
    let status = project.powerdev(["status", "--json"]).run().ok().json();
    assert_eq!(status["drift"], up["drift"]);
    let plan = project.powerdev(["up", "--recreate", "--dry-run", "--json"]).run().ok().json();
    assert_eq!(plan["done"], "recreated");
    assert_eq!(engine::inspect(&project.container()).expect("still there")["HostConfig"]["Memory"], plan_memory(&up));
    let up = project.powerdev(["up", "--recreate", "--json"]).run().ok().json();
    assert_eq!(up["done"], "recreated");
    assert_eq!(engine::inspect(&project.container()).expect("there")["HostConfig"]["Memory"], 123 << 20);
}

/// What the memory limit was before, as the drift tells it.
fn plan_memory(up: &serde_json::Value) -> serde_json::Value {
    let drift = up["drift"].as_array().expect("a list");
    assert_eq!(drift.len(), 1, "only the memory differs: {drift:?}");
    let container = up["container"].as_str().expect("a name");
    engine::inspect(container).expect("there")["HostConfig"]["Memory"].clone()
}

#[test]
fn dry_run_touches_nothing() {
    let project = Project::new(TWO);
    let plan = project.powerdev(["up", "--dry-run", "--json"]).run().ok().json();
    assert_eq!(plan["dry_run"], true);
    assert_eq!(plan["plan"]["container"]["name"], project.container());
    assert!(engine::leftovers(project.name()).is_empty(), "nothing was made");
    assert!(!project.dir().join(".agent-mount").exists());
    assert!(!project.state_home().join("powerdev").join(project.name()).exists());
}

#[test]
fn a_dry_run_reads_as_people_read_and_ends_with_what_differs() {
    let project = Project::new(TWO);
    project.env_file("SECRET_KEY=sk-canary\n");
    project.powerdev(["up"]).run().ok();
    project.env_file("SECRET_KEY=sk-canary\nDOCKER_MEMORY=123m\n");
    let plan = project.powerdev(["up", "--dry-run"]).run().ok();
    let (out, err) = (plan.out(), plan.err());
    for part in
        ["image     ", "123 MiB of memory", "security  dev: ", "/home/dev", "services  late: ", "(after steady)"]
    {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(out.contains("secrets: SECRET_KEY") && !out.contains("sk-canary"), "{out}");
    assert!(!out.contains('{'), "no JSON for people: {out}");
    let last = err.lines().last().expect("it says what it would do");
    assert!(last.contains("DOCKER_MEMORY"), "what differs comes last: {err}");
    assert!(!err.contains("GPU"), "nobody asked for one: {err}");
}

#[test]
fn down_stops_and_removes_and_keeps_what_is_ones_own() {
    let project = Project::new(TWO);
    project.powerdev(["up", "-d"]).run().ok();
    project.powerdev(["exec", "-it", "sh", "-c", "echo kept > ~/note"]).run().ok();
    assert!(project.powerdev(["ps", "-a"]).run().ok().out().contains(project.name()));
    let names = project.powerdev(["ps", "-q"]).run().ok();
    assert!(names.out().lines().any(|line| line == project.name()), "{}", names.out());
    assert_eq!(project.powerdev(["services", "-q"]).run().ok().out(), "steady\nlate\n");
    let down = project.powerdev(["down"]).run().ok();
    assert!(down.err().contains("home folder stay"), "{}", down.err());
    assert!(engine::inspect(&project.container()).is_none());
    project.powerdev(["up", "--force-recreate"]).run().ok();
    assert_eq!(project.powerdev(["exec", "-i", "cat", "/home/dev/note"]).run().ok().out(), "kept\n");
    project.powerdev(["down", "--volumes", "--yes"]).run().ok();
    assert!(!engine::has_volume(&format!("{}-home", project.container())));
}

#[test]
fn two_at_once_make_one_environment() {
    let project = Project::new(TWO);
    let both = [project.powerdev(["up", "--json"]).spawn(), project.powerdev(["up", "--json"]).spawn()];
    let mut done: Vec<String> = both
        .into_iter()
        .map(|run| run.wait(Duration::from_secs(60)).ok().json()["done"].as_str().expect("a word").to_owned())
        .collect();
    done.sort();
    assert_eq!(done, ["adopted", "created"]);
}

#[test]
fn foreign_volumes_and_networks_of_our_names_are_left_alone() {
    let project = Project::new(TWO);
    let volume = format!("{}-home", project.container());
    engine::foreign_volume(&volume);
    let refused = project.powerdev(["daemon"]).run().code(8);
    assert!(
        refused.err().contains(&format!("a volume named {volume} is there and isn't powerdev's")),
        "{}",
        refused.err()
    );
    assert!(engine::inspect(&project.container()).is_none(), "nothing half-made is left");
    assert_eq!(engine::network_id(&project.container()), None, "nothing half-made is left");

    engine::foreign_network(&project.container());
    let network = engine::network_id(&project.container());
    project.powerdev(["rm", "--force", "--volumes", "--yes"]).run().code(8);
    assert!(network.is_some() && engine::network_id(&project.container()) == network);
    assert!(engine::has_volume(&volume));
}

#[test]
fn a_foreign_container_of_our_name_is_left_alone() {
    let project = Project::new(TWO);
    engine::foreign_container(&project.container());
    for command in [vec!["up"], vec!["daemon", "--recreate"], vec!["stop"], vec!["rm", "--force"], vec!["status"]] {
        let refused = project.powerdev(&command).run().code(8);
        assert!(refused.err().contains("isn't powerdev's"), "{command:?}: {}", refused.err());
    }
    assert!(engine::inspect(&project.container()).is_some(), "it is still there");
}

#[test]
fn a_container_removed_behind_our_back_is_made_again() {
    let project = Project::new(TWO);
    project.powerdev(["up"]).run().ok();
    let mut events = Events::of(&project.container());
    engine::remove(&project.container());
    events.wait("destroy", Duration::from_secs(20));
    project.powerdev(["health"]).run().code(4);
    project.powerdev(["exec", "true"]).run().code(4);
    let up = project.powerdev(["up", "--json"]).run().ok().json();
    assert_eq!(up["done"], "created");
}

#[test]
fn what_cannot_start_leaves_nothing() {
    let project = Project::new(TWO);
    project.env_file("GPU=all\n");
    let refused = project.powerdev(["up"]).run();
    assert!(refused.code != 0 && !refused.err().is_empty(), "no GPU here: {}", refused.err());
    assert!(engine::leftovers(project.name()).is_empty(), "nothing is left of the try");
}

/// Sudo, cron, a colleague: another home folder, and the same Engine.
#[test]
fn from_another_home_folder_it_is_told_and_never_half_mended() {
    let project = Project::new(TWO);
    project.powerdev(["up"]).run().ok();
    let since = engine::inspect(&project.container()).expect("it runs")["State"]["StartedAt"].clone();
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let there = |arguments: &[&str]| project.powerdev(arguments).env("XDG_STATE_HOME", elsewhere.path());
    let state = project.state_home().join("powerdev").join(project.name()).display().to_string();
    project.env_file("CANARY=new\n");
    there(&["trust", "--yes"]).run().ok();
    for command in [&["health"][..], &["status"], &["up", "--timeout", "20"]] {
        let run = there(command).run().ok();
        assert!(run.err().contains(&state), "{command:?}: {}", run.err());
    }
    assert_eq!(there(&["health", "--json"]).run().ok().json()["started_from"], state.as_str());
    assert_eq!(project.powerdev(["health", "--json"]).run().ok().json()["started_from"], json!(null));
    let refused = there(&["restart"]).run().code(8);
    assert!(refused.err().contains(&state) && refused.err().contains("XDG_STATE_HOME="), "{}", refused.err());
    assert_eq!(engine::inspect(&project.container()).expect("it runs")["State"]["StartedAt"], since, "left alone");
    there(&["stop"]).run().ok();
    let refused = there(&["up"]).run().code(8);
    assert!(refused.err().contains("--recreate"), "{}", refused.err());
    there(&["up", "--recreate"]).run().ok();
    assert!(project.powerdev(["status"]).run().ok().err().contains(&elsewhere.path().display().to_string()));
}

#[test]
fn ps_lists_every_environment() {
    let (one, other) = (Project::new(TWO), Project::new(TWO));
    one.powerdev(["daemon"]).run().ok();
    other.powerdev(["daemon"]).run().ok();
    other.powerdev(["stop"]).run().ok();
    let ps = one.powerdev(["ps", "--json"]).run().ok().json();
    let row = |name: &str| {
        let rows = ps["environments"].as_array().expect("a list");
        rows.iter().find(|row| row["name"] == name).cloned().expect("it is listed")
    };
    assert_eq!(row(one.name())["state"], "running");
    assert_eq!(row(one.name())["health"], "healthy");
    assert_eq!(row(other.name())["state"], "exited");
}

#[test]
fn start_opens_a_shell_and_stops_what_it_began() {
    let project = Project::new("one:\n  command: exec sleep 1000000\n");
    let mut events = Events::of(&project.container());
    let mut terminal = project.powerdev(["start"]).terminal(24, 80);
    terminal.expect("healthy");
    terminal.send("echo inside-$((40+2)); exit\r");
    terminal.expect("inside-42");
    assert_eq!(terminal.wait().0, 0);
    events.wait("die", Duration::from_secs(20));

    project.powerdev(["daemon"]).run().ok();
    let mut terminal = project.powerdev(["start"]).terminal(24, 80);
    terminal.send("echo again-$((40+2)); exit\r");
    terminal.expect("again-42");
    assert_eq!(terminal.wait().0, 0);
    assert!(engine::is_running(&project.container()), "daemon began it: leaving the shell leaves it");
}

#[test]
fn start_detaches_and_leaves_it_running() {
    let project = Project::new("one:\n  command: exec sleep 1000000\n");
    let mut terminal = project.powerdev(["start"]).terminal(24, 80);
    terminal.expect("healthy");
    terminal.send("echo inside-$((40+2))\r");
    terminal.expect("inside-42");
    terminal.send([0x10, 0x11]);
    assert_eq!(terminal.wait().0, 0);
    assert!(engine::is_running(&project.container()));
}

#[test]
fn a_state_folder_that_is_partly_gone_is_mended_and_one_that_cant_be_used_is_told() {
    let project = Project::new("one:\n  command: exec sleep 1000000\n");
    let state = project.state_home().join("powerdev").join(project.name());
    project.powerdev(["up"]).run().ok();
    std::fs::remove_dir_all(state.join("run")).expect("ours");
    let said = project.powerdev(["up"]).deadline(Duration::from_secs(60)).run().code(5).err();
    assert!(said.contains("was removed") && said.contains("powerdev restart"), "{said}");
    project.powerdev(["restart"]).run().ok();
    project.powerdev(["stop"]).run().ok();
    for part in ["agent", "run", "ports.json"] {
        std::fs::remove_dir_all(state.join(part)).or_else(|_| std::fs::remove_file(state.join(part))).expect("ours");
    }
    project.powerdev(["up"]).run().ok();
    project.powerdev(["rm", "--force"]).run().ok();

    std::fs::remove_dir_all(&state).and_then(|()| std::fs::write(&state, "")).expect("ours");
    let said = project.powerdev(["up"]).deadline(Duration::from_secs(30)).run().code(1).err();
    assert!(said.contains(&state.display().to_string()) && said.contains("hint:"), "{said}");
    assert!(engine::inspect(&project.container()).is_none());
    std::fs::remove_file(&state).expect("ours");
}
