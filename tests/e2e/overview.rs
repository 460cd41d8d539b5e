//! `powerdev` alone: what a person sees who types nothing else, and a script that runs nothing else.

use std::time::{Duration, Instant};

use crate::common::{Invocation, Project};

const NOTHING: [&str; 0] = [];

/// The commands that come next, as a terminal shows them.
fn next(bare: Invocation) -> (Vec<String>, String) {
    let (code, screen) = bare.terminal(40, 160).wait();
    assert!(code == 0 && !screen.contains("Usage:"), "{code}: {screen}");
    assert!(screen.contains("`powerdev --help` lists all there is"), "{screen}");
    let steps = screen.lines().filter_map(|line| line.strip_prefix("  powerdev ")?.split(' ').next());
    (steps.map(str::to_owned).collect(), screen)
}

#[test]
fn an_empty_folder_is_told_how_to_begin() {
    let project = Project::bare();
    let (steps, screen) = next(project.untrusted(NOTHING));
    assert_eq!(steps, ["init", "up"], "{screen}");

    project.write("powerdev.yaml", "mounts: ['/etc:/conf']\n");
    assert_eq!(next(project.untrusted(NOTHING)).0, ["trust", "up"]);
    project.write("powerdev.yaml", "imaeg: x\n");
    let (steps, screen) = next(project.untrusted(NOTHING));
    assert!(screen.contains("notice:") && screen.contains("imaeg"), "{screen}");
    assert_eq!(steps, ["up"]);
    assert!(!project.state_home().join("powerdev").join(project.name()).exists(), "it only looks");
}

#[test]
fn an_engine_that_does_not_answer_is_told_in_a_line() {
    let project = Project::bare();
    let nowhere = project.home().join("no-such.sock");
    let silent = project.home().join("silent.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&silent).expect("the folder is ours");
    for socket in [nowhere, silent] {
        let begun = Instant::now();
        let bare = project.untrusted(NOTHING).env("DOCKER_HOST", format!("unix://{}", socket.display()));
        let (steps, screen) = next(bare);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        assert_eq!(screen.matches("notice:").count(), 1, "{screen}");
        assert!(!screen.contains("error:"), "{screen}");
        assert_eq!(steps, ["doctor"]);
    }
}

#[test]
fn a_project_is_told_what_comes_next_and_a_script_how_to_use_it() {
    let project = Project::new("idle: { command: exec sleep 1000000 }");
    assert_eq!(next(project.powerdev(NOTHING)).0, ["up"]);
    project.powerdev(["daemon"]).run().ok();
    let (steps, screen) = next(project.powerdev(NOTHING));
    let row = screen.lines().find(|line| line.starts_with(project.name())).expect("it is listed");
    assert!(screen.contains("NAME") && row.contains("running"), "{screen}");
    assert_eq!(steps, ["claude", "start", "status"]);
    project.powerdev(["sessions", "new", "mine"]).run().ok();
    assert_eq!(next(project.powerdev(NOTHING)).0, ["claude", "attach", "status"]);

    let refused = project.powerdev(NOTHING).run().code(2);
    assert!(refused.out().is_empty() && refused.err().contains("Usage: powerdev"), "{}", refused.err());

    project.powerdev(["stop"]).run().ok();
    assert_eq!(next(project.powerdev(NOTHING)).0, ["up"]);
}
