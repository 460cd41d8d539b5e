//! The command line, without an Engine: help, usage errors, exit codes, JSON documents.
//!
//! The commands are asked of clap itself, so a new one is tested from its first day.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use clap::CommandFactory;

use common::{Invocation, Output, Project};

/// What each command is given at least, and its exit code where no Engine answers. `None`: its own business.
const COMMANDS: &[(&str, &[&str], Option<i32>)] = &[
    ("up", &[], Some(3)),
    ("build", &[], Some(3)),
    ("start", &[], Some(3)),
    ("daemon", &[], Some(3)),
    ("exec", &["--", "true"], Some(3)),
    ("claude", &[], Some(2)),
    ("attach", &[], Some(2)),
    ("sessions", &[], Some(3)),
    ("logs", &["--no-follow"], Some(3)),
    ("stop", &[], Some(3)),
    ("rm", &[], Some(3)),
    ("down", &[], Some(3)),
    ("trust", &[], None),
    ("restart", &[], Some(3)),
    ("status", &[], Some(3)),
    ("health", &[], Some(3)),
    ("watch", &[], None),
    ("events", &[], Some(4)),
    ("persist", &[], None),
    ("backups", &[], Some(0)),
    ("restore", &["20260101T000000Z"], Some(4)),
    ("cleanup", &[], Some(3)),
    ("services", &[], None),
    ("ps", &[], Some(3)),
    ("init", &[], Some(0)),
    ("trust", &[], Some(0)),
    ("config", &[], Some(0)),
    ("doctor", &[], None),
    ("completions", &["bash"], Some(0)),
    ("man", &[], Some(0)),
];

/// A run of `powerdev` with no Engine to be found.
fn without_engine(project: &Project, arguments: &[&str]) -> Invocation {
    let nowhere = project.home().join("no-such.sock");
    project
        .powerdev(arguments)
        .env("DOCKER_HOST", format!("unix://{}", nowhere.display()))
        .deadline(Duration::from_secs(30))
}

fn commands() -> Vec<clap::Command> {
    powerdev::cli::Cli::command().get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect()
}

/// No line of what a person reads is wider than a terminal that nobody widened.
#[track_caller]
fn assert_fits_80_columns(what: &str, text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{what}: wider than 80 columns: {line}");
    }
}

#[test]
fn every_command_stands_in_the_table() {
    let known: BTreeSet<&str> = COMMANDS.iter().map(|(name, ..)| *name).collect();
    let all = commands();
    let missing: Vec<&str> = all.iter().map(clap::Command::get_name).filter(|name| !known.contains(name)).collect();
    assert!(missing.is_empty(), "add them to COMMANDS: {missing:?}");
}

#[test]
fn help_of_every_command_says_something_and_fits_80_columns() {
    let project = Project::bare();
    let help = |arguments: &[&str]| {
        let output = project.powerdev(arguments).env("COLUMNS", "80").run().ok();
        assert!(output.err().is_empty(), "{arguments:?}: help belongs on standard output");
        assert_fits_80_columns(&format!("{arguments:?}"), output.out());
        output.out().to_owned()
    };
    let all = help(&["--help"]);
    for command in commands() {
        let name = command.get_name();
        assert!(all.contains(&format!("  {name} ")), "`powerdev --help` doesn't list {name}");
        let short = help(&[name, "-h"]);
        let long = help(&[name, "--help"]);
        assert!(short.contains("--json") && long.contains("--project"), "{name}: {long}");
        assert!(
            command.get_about().is_some_and(|about| !about.to_string().ends_with('.')),
            "{name}: one line, no stop"
        );
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{name}: {} has no help", argument.get_id());
        }
    }
}

#[test]
fn version_is_the_packages() {
    let output = Project::bare().powerdev(["--version"]).run().ok();
    assert_eq!(output.out().trim(), concat!("powerdev ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn what_docker_users_type_is_understood_or_told() {
    let project = Project::bare();
    let said = |line: &str| project.powerdev(line.split(' ')).run();
    assert_eq!(said("version").ok().stdout, said("--version").ok().stdout);
    assert_eq!(said("help").ok().stdout, said("--help").ok().stdout);
    assert_eq!(said("help services stop").ok().stdout, said("services stop --help").ok().stdout);
    for (word, instead) in [
        ("top", "`powerdev status`"),
        ("cp", ".agent-mount/docker_workspace"),
        ("run", "`powerdev exec -- COMMAND`"),
        ("images", "`powerdev cleanup --dry-run`"),
        ("compose", "`docker` itself"),
    ] {
        let told = said(word).code(2);
        assert!(told.err().contains(&format!("no command `{word}`")) && told.err().contains(instead), "{}", told.err());
    }
    let document = said("--json stats").code(2).json();
    assert!(document["hint"].as_str().is_some_and(|hint| hint.contains("`powerdev status`")), "{document}");
}

#[test]
fn completions_are_installed_where_the_shell_looks() {
    let project = Project::bare();
    for (shell, file) in [
        ("bash", ".local/share/bash-completion/completions/powerdev"),
        ("zsh", ".zfunc/_powerdev"),
        ("fish", ".config/fish/completions/powerdev.fish"),
    ] {
        let path = project.home().join(file);
        assert!(!path.exists());
        // Of the shell that one has, and of one that is named.
        let own = project.powerdev(["completions", "--install"]).env("SHELL", format!("/usr/bin/{shell}")).run().ok();
        assert!(own.err().contains(&path.display().to_string()), "{}", own.err());
        let printed = project.powerdev(["completions", shell]).run().ok();
        assert_eq!(std::fs::read_to_string(&path).expect("written").trim_end(), printed.out().trim_end());
        let named = project.powerdev(["completions", shell, "--install", "--json"]).run().ok().json();
        assert_eq!(named["installed"], path.display().to_string());
    }
    let refused = project.powerdev(["completions", "--install"]).env("SHELL", "/bin/tcsh").run().code(2);
    assert!(refused.err().contains("bash, zsh, fish"), "{}", refused.err());
    project.powerdev(["completions"]).run().code(2);
}

#[test]
fn an_unknown_flag_or_command_is_refused_with_a_suggestion() {
    let project = Project::bare();
    // What follows `exec` is a command of the user's.
    for command in commands().iter().filter(|command| command.get_name() != "exec") {
        let output = project.powerdev([command.get_name(), "--no-such-flag"]).run().code(2);
        assert!(output.out().is_empty() && output.err().contains("--no-such-flag"), "{}", output.err());
    }
    let output = project.powerdev(["statsu"]).run().code(2);
    assert!(output.err().contains("status"), "{}", output.err());
    let output = project.powerdev(["status", "--jsno"]).run().code(2);
    assert!(output.err().contains("--json"), "{}", output.err());
}

#[test]
fn a_refused_command_line_is_a_document_too() {
    let output = Project::bare().powerdev(["status", "--json", "--no-such-flag"]).run().code(2);
    let document = output.json();
    assert_eq!(document["code"], 2);
    assert!(document["error"].as_str().is_some_and(|error| error.contains("--no-such-flag")), "{document}");
}

/// A document has all that the prose has: which argument, what it may be, what was meant.
#[test]
fn a_refused_command_line_loses_nothing_in_its_document() {
    let project = Project::bare();
    for (arguments, error, hint) in [
        (&["services", "start"] as &[&str], "<SERVICE>", "--help"),
        (&["status", "--jsno"], "'--jsno'", "'--json'"),
        (&["statsu"], "'statsu'", "'status'"),
        (&["up", "--timeout", "soon"], "'soon' for '--timeout <SECS>': give seconds", "--help"),
        (&["up", "--security", "strikt"], "[possible values: dev, strict, trusted]", "'strict'"),
    ] {
        let document = project.powerdev([arguments, &["--json"]].concat()).run().code(2).json();
        let said = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
        assert!(said("error").contains(error) && !said("error").contains("Usage"), "{arguments:?}: {document}");
        assert!(said("hint").contains(hint), "{arguments:?}: {document}");
    }
}

/// What can't be an image's name is told before anybody is asked for it.
#[test]
fn an_image_by_no_name_is_refused_at_once() {
    let project = Project::bare();
    for flag in ["--image", "--base"] {
        for (image, hint) in [("", "such as"), ("a b", "such as"), ("debian:", "such as"), ("Debian", "`debian`")] {
            let output = without_engine(&project, &["up", flag, image]).run().code(2);
            let told = output.err();
            assert!(told.contains(&format!("{flag} is `{image}`")) && told.contains(hint), "{flag} {image}: {told}");
        }
    }
}

/// Without an Engine: the documented code, told on standard error with a hint, the same as one JSON document.
#[test]
fn without_an_engine_every_command_says_so_once_and_as_json() {
    for (name, arguments, code) in COMMANDS.iter().filter(|(name, ..)| commands().iter().any(|c| c.get_name() == *name))
    {
        let project = Project::bare();
        // An image of one's own: nothing is to be built.
        project.write("powerdev.yaml", "image: example.invalid/none:1\n");
        let command = [&[*name], *arguments].concat();
        let prose = without_engine(&project, &command).run();
        check_prose(&command, &prose, *code);
        let flags = [&[*name, "--json"], *arguments].concat();
        let output = without_engine(&project, &flags).run();
        assert_eq!(output.code, prose.code, "{command:?}: --json changes the exit code\n{}", output.err());
        if matches!(*name, "watch" | "logs") {
            assert!(!output.json_lines().is_empty(), "{command:?}");
        } else if *name == "completions" || *name == "man" {
            // What they print is a file, not an answer; with --json it comes inside a document.
            output.json();
        } else {
            let document = output.json();
            if output.code == 3 {
                assert_eq!(document["code"], 3, "{command:?}: {document}");
                assert!(document["hint"].is_string(), "{command:?}: {document}");
            }
        }
    }
}

#[track_caller]
fn check_prose(command: &[&str], output: &Output, code: Option<i32>) {
    if let Some(code) = code {
        assert_eq!(output.code, code, "{command:?}\n--- stdout\n{}\n--- stderr\n{}", output.out(), output.err());
    }
    let told = output.err();
    assert!(!told.contains("panicked"), "{command:?}: {told}");
    if output.code == 3 {
        assert_eq!(told.matches("error:").count(), 1, "{command:?}: {told}");
        assert!(told.contains("no Docker Engine answers") && told.contains("hint:"), "{command:?}: {told}");
        assert!(told.contains("DOCKER_HOST"), "{command:?} doesn't say where it looked: {told}");
    }
}

#[test]
fn quiet_leaves_errors_only() {
    let project = Project::bare();
    let output = without_engine(&project, &["ps", "--quiet"]).run().code(3);
    assert!(output.err().starts_with("error:"), "{}", output.err());
}

#[test]
fn nothing_is_coloured_where_nobody_sees_it() {
    let project = Project::bare();
    let output = without_engine(&project, &["ps"]).env("TERM", "xterm-256color").run().code(3);
    assert!(!output.err().contains('\x1b'), "{}", output.err());
    let output = without_engine(&project, &["ps"]).env("NO_COLOR", "1").terminal(24, 80).wait();
    assert!(!output.1.contains("\x1b[3"), "{}", output.1);
}

#[test]
fn each_stream_is_coloured_by_what_it_is() {
    let project = Project::bare();
    // On a terminal, but for one stream that goes into a file.
    let doctor = |redirected: &str| {
        let script = format!("\"$0\" doctor {redirected}file");
        let nowhere = format!("unix://{}", project.home().join("no-such.sock").display());
        let run = Invocation::program("sh", &project.dir())
            .args(["-c", &script, env!("CARGO_BIN_EXE_powerdev")])
            .env("HOME", project.home())
            .env("DOCKER_HOST", nowhere);
        let (_, screen) = run.terminal(24, 80).wait();
        (screen, std::fs::read_to_string(project.dir().join("file")).expect("written"))
    };
    let (screen, file) = doctor("2>");
    assert!(screen.contains("\x1b[31mFAIL\x1b[0m") && !file.contains('\x1b'), "{screen}\n{file}");
    let (_, file) = doctor(">");
    assert!(file.contains("FAIL  engine") && !file.contains('\x1b'), "{file}");
}

#[test]
fn a_project_that_is_not_there_is_a_usage_error() {
    let project = Project::bare();
    let output = project.powerdev(["config", "--project", "/no/such/folder"]).run().code(2);
    assert!(output.err().contains("/no/such/folder"), "{}", output.err());
    let output = project.powerdev(["config", "--env-file", "/no/such/file"]).run().code(2);
    assert!(output.err().contains("/no/such/file"), "{}", output.err());
}
