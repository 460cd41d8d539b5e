//! What README.md says, done: its day one line by line in a real terminal, and every command that it names.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::common::{Invocation, Project, Tmux, core_image};

const README: &str = include_str!("../../README.md");
const SOON: Duration = Duration::from_secs(60);
const UP: Duration = Duration::from_secs(240);
/// An editor that types a key and saves.
const EDITOR: &str = "#!/bin/sh\nexec sed -i 's/^ANTHROPIC_API_KEY=.*/ANTHROPIC_API_KEY=sk-canary/' \"$1\"\n";

/// The lines of the block of commands below this heading, without their comments.
fn block(heading: &str) -> Vec<&'static str> {
    let (_, rest) = README.split_once(&format!("\n## {heading}\n")).expect("README.md has that heading");
    let (_, rest) = rest.split_once("```sh\n").expect("a block of commands follows");
    let (block, _) = rest.split_once("```").expect("a block ends");
    block.lines().map(|line| line.split(" #").next().unwrap_or(line).trim_end()).collect()
}

/// A shell of a person's own, with powerdev on its path.
fn shell(project: &Project, editor: &Path) -> Invocation {
    let bin = Path::new(env!("CARGO_BIN_EXE_powerdev")).parent().expect("it lies in a folder");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("there is a path"));
    Invocation::program("bash", &project.dir())
        .env("PATH", path)
        .env("HOME", project.home())
        .env("EDITOR", editor)
        .env("XDG_STATE_HOME", project.state_home())
        .env("XDG_CACHE_HOME", project.cache_home())
        .env("POWERDEV_NAME", project.name())
        .args(["--norc", "-i"])
}

#[test]
fn day_one_goes_as_the_readme_says() {
    let project = Project::bare();
    core_image::build(&project);
    let dir = project.dir().join("my-project");
    std::fs::create_dir(&dir).expect("the folder is ours");
    let editor = project.write("editor", EDITOR);
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&editor, executable).expect("the file is ours");

    let terminal = Tmux::start(&shell(&project, &editor), 120, 40);
    let ended = |number: usize, patience| {
        terminal.keys(&["-l", &format!("code=$?; clear; echo ended-$code-{number}")]);
        terminal.keys(&["Enter"]);
        terminal.expect_within(&format!("ended-0-{number}"), patience);
    };
    let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap_or_default();
    let asked = |arguments: &[&str]| -> Value {
        project.untrusted(arguments.iter().copied()).dir(&dir).deadline(SOON).run().ok().json()
    };
    for (number, line) in block("Day one").into_iter().enumerate() {
        terminal.keys(&["-l", line]);
        terminal.keys(&["Enter"]);
        match line {
            "cd my-project" => ended(number, SOON),
            "powerdev init" => {
                for question in ["image", "closed", "folder"] {
                    terminal.expect(question);
                    terminal.keys(&["Enter"]);
                }
                terminal.expect("then run `powerdev up`");
                ended(number, SOON);
                assert!(read(".env").lines().any(|line| line.starts_with("# ")), "it is commented");
                assert!(read("powerdev.yaml").lines().any(|line| line.starts_with("#services:")), "it is commented");
            }
            "$EDITOR .env" => {
                ended(number, SOON);
                assert!(read(".env").contains("\nANTHROPIC_API_KEY=sk-canary\n"));
            }
            "powerdev up" => {
                ended(number, UP);
                assert_eq!(asked(&["health", "--json"])["health"], "healthy");
                let key = project.untrusted(["exec", "--", "sh", "-c", "pwd; echo $ANTHROPIC_API_KEY; ls -a"]);
                let said = key.dir(&dir).run().ok().out().to_owned();
                assert!(said.starts_with("/workspace/ext\nsk-canary\n") && said.contains("powerdev.yaml"), "{said}");
            }
            "powerdev claude" => {
                terminal.expect_within("Claude Code", UP);
                terminal.keys(&["C-p", "C-q"]);
                ended(number, SOON);
                let sessions = asked(&["sessions", "--json"]);
                assert!(sessions.to_string().contains("\"claude\""), "it goes on: {sessions}");
            }
            other => panic!("`{other}`: say here what that line of README.md promises"),
        }
    }
}

#[test]
fn every_command_of_the_readme_is_one() {
    let project = Project::bare();
    let lines = ["Day one", "Day two"].into_iter().flat_map(block);
    let verbs: Vec<&str> = lines.filter_map(|line| line.strip_prefix("powerdev ")?.split(' ').next()).collect();
    assert!(verbs.len() > 8, "{verbs:?}");
    for verb in verbs {
        project.untrusted([verb, "--help"]).run().ok();
    }
    let makefile = include_str!("../../Makefile");
    for line in block("Two commands").into_iter().filter_map(|line| line.strip_prefix("make ")) {
        assert!(makefile.lines().any(|rule| rule.starts_with(&format!("{}:", line.trim()))), "make {line}");
    }
}
