//! Completions, in the shells: each one is started on a terminal, loads the committed script the way its users do, and
//! gets keys.

mod common;

use std::path::Path;
use std::time::Duration;

use common::terminal::Terminal;
use common::{Invocation, Project};

const SHELLS: [(&str, &[&str]); 3] =
    [("bash", &["--norc", "--noprofile", "-i"]), ("zsh", &["-f", "-i"]), ("fish", &["--no-config", "-i"])];

/// A project with two services, known to powerdev by name.
fn project() -> Project {
    let project = Project::bare();
    let yaml = "image: example.invalid/none:1\nservices:\n  alpha-web: {command: x}\n  beta-db: {command: x}\n";
    project.write("powerdev.yaml", yaml);
    let state = project.state_home().join("powerdev").join(project.name());
    std::fs::create_dir_all(&state).expect("the temporary folder is writable");
    std::fs::write(state.join("project"), project.dir().as_os_str().as_encoded_bytes()).expect("writable");
    project
}

/// The shell, ready for keys, with the committed script loaded.
fn shell(project: &Project, name: &str, arguments: &[&str]) -> Terminal {
    let binary = Path::new(env!("CARGO_BIN_EXE_powerdev")).parent().expect("a file has a folder");
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/completions");
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", binary.display());
    let mut terminal = Invocation::program(name, &project.dir())
        .args(arguments)
        .env("PATH", path)
        .env("HOME", project.home())
        .env("XDG_STATE_HOME", project.state_home())
        .env("TERM", "xterm")
        .deadline(Duration::from_secs(60))
        .terminal(24, 200);
    let load = match name {
        "bash" => format!("source {scripts}/powerdev.bash; bind 'set show-all-if-ambiguous on'"),
        "zsh" => format!("fpath=({scripts} $fpath); autoload -Uz compinit; compinit -D -u"),
        _ => format!("source {scripts}/powerdev.fish"),
    };
    // The quotes keep the echo of what is typed from being taken for the answer.
    terminal.send(format!("{load}; echo rea''dy\n"));
    terminal.expect("ready");
    terminal
}

/// What the line has become once Tab was pressed after `typed`.
fn completed(terminal: &mut Terminal, typed: &str) -> String {
    // To the front of the line, which is then printed in place of being run.
    terminal.send(format!("{typed}\t\x01echo lin''e: \x05 :end\n"));
    terminal.expect("line: ");
    let line = terminal.expect(":end");
    line.trim_end_matches(":end").trim().to_owned()
}

#[test]
fn commands_services_and_environments_are_completed_in_every_shell() {
    let project = project();
    let name = project.name();
    project.write(".agent-mount/docker_data/note", "kept");
    let backup = project.powerdev(["persist", "--json"]).env("DOCKER_HOST", "unix:///nowhere").run().ok().json();
    let backup = backup["name"].as_str().expect("it has a name");
    for (shell_name, arguments) in SHELLS {
        let mut terminal = shell(&project, shell_name, arguments);
        for (typed, expected) in [
            ("powerdev heal", "powerdev health".to_owned()),
            ("powerdev logs alph", "powerdev logs alpha-web".to_owned()),
            ("powerdev services restart beta", "powerdev services restart beta-db".to_owned()),
            ("powerdev status --js", "powerdev status --json".to_owned()),
            (&format!("powerdev --project {}", &name[..name.len() - 1]), format!("powerdev --project {name}")),
            ("powerdev restore 20", format!("powerdev restore {backup}")),
            ("powerdev restore la", "powerdev restore latest".to_owned()),
            ("powerdev up --profile f", "powerdev up --profile full".to_owned()),
            ("powerdev up --gpu n", "powerdev up --gpu none".to_owned()),
            ("powerdev completions z", "powerdev completions zsh".to_owned()),
        ] {
            assert_eq!(completed(&mut terminal, typed), expected, "{shell_name}: {typed}");
        }
    }
}

#[test]
fn services_are_those_of_the_project_that_the_line_names() {
    let (project, elsewhere) = (project(), Project::bare());
    for (shell_name, arguments) in SHELLS {
        let mut terminal = shell(&project, shell_name, arguments);
        terminal.send(format!("cd {}; echo th''ere\n", elsewhere.dir().display()));
        terminal.expect("there");
        let typed = format!("powerdev --project {} logs alph", project.name());
        let expected = format!("powerdev --project {} logs alpha-web", project.name());
        assert_eq!(completed(&mut terminal, &typed), expected, "{shell_name}");
    }
}

#[test]
fn a_broken_configuration_completes_nothing_and_says_nothing() {
    let project = project();
    project.write("powerdev.yaml", "services: [\n");
    let mut terminal = shell(&project, "bash", SHELLS[0].1);
    assert_eq!(completed(&mut terminal, "powerdev logs alph"), "powerdev logs alph");
}
