//! `powerdev logs`: one service or all, filtered, followed through a restart to the environment's end.

use std::time::Duration;

use crate::common::{Project, engine};

const SOON: Duration = Duration::from_secs(20);
const TALKERS: &str = "
counter:
  command: for n in 1 2 3 4 5; do echo count $n; done; exec sleep 1000000
  ready: { log: count 5 }
other:
  command: echo other-began; exec sleep 1000000
  ready: { log: other-began }
";

fn running() -> Project {
    let project = Project::new(TALKERS);
    project.powerdev(["up"]).run().ok();
    project
}

#[test]
fn what_is_there_filtered() {
    let project = running();
    let logs = |arguments: &[&str]| project.powerdev([&["logs", "--no-follow"], arguments].concat()).run();
    let all = logs(&[]).ok();
    assert!(all.out().contains("counter | count 1\n") && all.out().contains("other | other-began\n"), "{}", all.out());
    assert_eq!(logs(&["counter", "--tail", "2"]).ok().out(), "counter | count 4\ncounter | count 5\n");
    let both = logs(&["counter", "other"]).ok();
    assert!(both.out().contains("count 5") && both.out().contains("other-began"), "{}", both.out());
    assert!(!both.out().contains("powerdev |"), "neither is the supervisor: {}", both.out());
    assert_eq!(logs(&["--grep", "count [23]"]).ok().out(), "counter | count 2\ncounter | count 3\n");
    assert_eq!(logs(&["counter", "--since", "1w", "-n", "1"]).ok().out(), "counter | count 5\n");
    assert_eq!(logs(&["--since", "2100-01-01T00:00:00Z"]).ok().out(), "");
    let stamped = logs(&["other", "--timestamps"]).ok();
    let (at, rest) = stamped.out().split_once(' ').expect("a time");
    assert!(at.parse::<jiff::Timestamp>().is_ok() && rest == "other | other-began\n", "{}", stamped.out());

    let lines = logs(&["counter", "--json"]).ok().json_lines();
    assert_eq!(lines.len(), 5);
    assert_eq!((&lines[4]["service"], &lines[4]["line"]), (&"counter".into(), &"count 5".into()));
    assert!(lines[0]["at"].as_str().is_some_and(|at| at.parse::<jiff::Timestamp>().is_ok()));

    let unknown = logs(&["countre"]).code(4);
    assert!(unknown.err().contains("did you mean `counter`?"), "{}", unknown.err());
    logs(&["--since", "banana"]).code(2);
    logs(&["--grep", "("]).code(2);
}

#[test]
fn follows_through_a_restart_to_the_end() {
    let project = running();
    let mut logs = project.powerdev(["logs", "-f", "counter"]).spawn();
    logs.wait_line("the first run", |line| line == "counter | count 5");
    engine::restart(&project.container());
    logs.wait_line("the second run's beginning", |line| line == "counter | count 1");
    logs.wait_line("the second run", |line| line == "counter | count 5");
    project.powerdev(["stop"]).run().ok();
    project.powerdev(["daemon"]).run().ok();
    logs.wait_line("the third run", |line| line == "counter | count 5");
    project.powerdev(["rm", "--force"]).run().ok();
    let output = logs.wait(SOON).ok();
    assert_eq!(output.out().lines().count(), 15, "each line once: {}", output.out());
    project.powerdev(["logs"]).run().code(4);
}

#[test]
fn ends_when_nobody_reads() {
    let project = running();
    let output = crate::common::Invocation::program("sh", &project.dir())
        .env("HOME", project.home())
        .env("XDG_STATE_HOME", project.state_home())
        .env("POWERDEV_NAME", project.name())
        .args(["-c", "\"$0\" logs counter --no-follow | head -n 1", env!("CARGO_BIN_EXE_powerdev")])
        .run()
        .ok();
    assert_eq!(output.out(), "counter | count 1\n");
}
