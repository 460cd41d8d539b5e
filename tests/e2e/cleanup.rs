//! Cleaning up, on an Engine of its own: what goes is exactly what was listed, and nothing that somebody needs.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::common::{Project, SecondEngine};

fn done(engine: &SecondEngine, arguments: &[&str]) {
    let output = engine.docker(arguments);
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn names(document: &Value) -> Vec<&str> {
    let items = document["items"].as_array().expect("a list");
    let mut names: Vec<_> = items.iter().map(|item| item["name"].as_str().expect("a name")).collect();
    names.sort_unstable();
    names
}

/// What is on the Engine: names of networks and volumes, tags of images.
fn there(engine: &SecondEngine) -> String {
    let lists: [&[&str]; 3] = [
        &["network", "ls", "--format", "{{.Name}}"],
        &["volume", "ls", "--format", "{{.Name}}"],
        &["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"],
    ];
    let lists = lists.map(|list| String::from_utf8_lossy(&engine.docker(list).stdout).into_owned()).concat();
    // Images made within the same second come in any order.
    let mut lines: Vec<_> = lists.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// Two environments, one of them gone, a superseded image, and things that aren't powerdev's.
fn fill(engine: &SecondEngine, project: &Project) {
    engine.run(project.name());
    done(engine, &["stop", "-t", "0", &project.container()]);
    let ours = "dev.powerdev.project=gone";
    for (kind, volume) in [("state", "gone-home"), ("cache", "gone-cache")] {
        let kind = format!("dev.powerdev.kind={kind}");
        done(engine, &["volume", "create", "--label", ours, "--label", &kind, volume]);
    }
    done(engine, &["network", "create", "--label", ours, "gone-network"]);
    done(engine, &["volume", "create", "foreign"]);
    for tag in ["old", "new"] {
        let image = format!("powerdev/core:{tag}");
        let change = format!("LABEL dev.powerdev.build={tag}");
        let tar = engine.root_tar();
        done(engine, &["import", "--change", &change, &tar, &image]);
    }
    done(engine, &["tag", "powerdev/core:new", "powerdev/core:latest"]);
}

#[test]
fn what_goes_is_exactly_what_was_listed() {
    let project = Project::bare();
    let engine = SecondEngine::start();
    fill(&engine, &project);
    let stale = project.cache_home().join("powerdev/agent-0123456789abcdef");
    std::fs::create_dir_all(&stale).expect("writable");
    std::fs::write(stale.join("powerdev-agent"), "old").expect("writable");
    let forgotten = project.state_home().join("powerdev/forgotten");
    std::fs::create_dir_all(&forgotten).expect("writable");
    let ports = std::fs::File::create(forgotten.join("ports.json")).expect("writable");
    ports.set_modified(SystemTime::now() - Duration::from_secs(8 * 24 * 3600)).expect("ours");
    let cleanup = |arguments: &[&str]| {
        project.powerdev(["cleanup", "--json"]).args(arguments).env("DOCKER_HOST", engine.host()).run()
    };

    let before = there(&engine);
    let planned = cleanup(&["--dry-run"]).ok().json();
    let (stale, forgotten) = (stale.display().to_string(), forgotten.display().to_string());
    let mut expected = vec!["gone-cache", "gone-network", "powerdev/core:old", &stale, &forgotten];
    expected.sort_unstable();
    assert_eq!(names(&planned), expected);
    assert!(planned["items"].as_array().expect("a list").iter().all(|item| item["removed"] == false));
    assert!(planned["bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    assert_eq!(there(&engine), before, "a dry run removes nothing");

    let removed = cleanup(&[]).ok().json();
    assert_eq!(names(&removed), expected);
    let after = there(&engine);
    for gone in ["gone-cache", "gone-network", "powerdev/core:old"] {
        assert!(!after.contains(gone), "{after}");
    }
    for kept in ["gone-home", "foreign", "powerdev/core:latest", "watched:1"] {
        assert!(after.contains(kept), "{after}");
    }
    assert!(!std::path::Path::new(&stale).exists() && !std::path::Path::new(&forgotten).exists());
    assert_eq!(names(&cleanup(&[]).ok().json()), [""; 0]);

    // A tool's state goes only when that was asked for, twice.
    let asked = cleanup(&["--volumes"]).code(2);
    assert!(asked.err().contains("--yes"), "{}", asked.err());
    assert!(there(&engine).contains("gone-home"));
    assert_eq!(names(&cleanup(&["--volumes", "--yes"]).ok().json()), ["gone-home"]);
}

#[test]
fn engine_wide_takes_all_that_is_unused_and_asks() {
    let (project, running) = (Project::bare(), Project::bare());
    let engine = SecondEngine::start();
    fill(&engine, &project);
    engine.run(running.name());
    let cleanup = |arguments: &[&str]| {
        project.powerdev(["cleanup", "--all"]).args(arguments).env("DOCKER_HOST", engine.host()).run()
    };
    let table = cleanup(&["--dry-run"]).ok();
    for listed in [project.container().as_str(), "foreign", "powerdev/core:latest", "gone-network"] {
        assert!(table.out().contains(listed), "{}", table.out());
    }
    let asked = cleanup(&[]).code(2);
    assert!(asked.err().contains("--yes"), "{}", asked.err());
    assert!(there(&engine).contains("foreign"));
    cleanup(&["--yes"]).ok();
    let after = there(&engine);
    assert!(!after.contains("foreign") && !after.contains("powerdev/core"), "{after}");
    assert!(after.contains("gone-home"), "the tools' state stays without --volumes: {after}");
    assert!(engine.is_running(running.name()), "what runs is left alone");
    assert!(after.contains("watched:1"), "and so is its image");
}

#[test]
fn on_a_terminal_it_lists_and_asks_and_may_keep_to_one_project() {
    let (project, other) = (Project::bare(), Project::bare());
    let engine = SecondEngine::start();
    let make = |project: &Project| {
        let (name, label) = (project.container(), format!("dev.powerdev.project={}", project.name()));
        done(&engine, &["network", "create", "--label", &label, &name]);
    };
    make(&project);
    make(&other);
    let cleanup = |arguments: &[&str]| {
        let arguments = [&["cleanup"], arguments].concat();
        project.powerdev(arguments).env("DOCKER_HOST", engine.host())
    };
    let mut terminal = cleanup(&[]).terminal(24, 120);
    terminal.expect(&project.container());
    terminal.expect("Remove these 2? [y/N]");
    terminal.send("n");
    assert_eq!(terminal.wait().0, 130);
    assert!(there(&engine).contains(&project.container()));

    let listed = cleanup(&["-p", "--dry-run", "--json"]).run().ok().json();
    assert_eq!(names(&listed), [project.container()]);
    let by_name = cleanup(&["--dry-run", "--json", "--project"]).args([project.dir()]).run().ok().json();
    assert_eq!(names(&by_name), [project.container()]);
    let mut terminal = cleanup(&["-p"]).terminal(24, 120);
    terminal.expect("Remove this? [y/N]");
    terminal.send("y");
    assert_eq!(terminal.wait().0, 0);
    assert!(
        !there(&engine).contains(&project.container()) && there(&engine).contains(&other.container()),
        "{}",
        there(&engine)
    );
}
