//! The contract for machines: with `--json`, one document with `schema_version` on standard output, whatever happens.

use crate::common::Project;

/// Every command, as it is called by a script, in an order in which it makes sense.
const COMMANDS: &[&[&str]] = &[
    &["status"],
    &["health"],
    &["up", "--dry-run"],
    &["init", "--yes"],
    &["config"],
    &["up"],
    &["daemon"],
    &["start"],
    &["status"],
    &["health"],
    &["ps"],
    &["services"],
    &["services", "restart", "one"],
    &["services", "restart", "nonsense"],
    &["exec", "--", "echo", "hello"],
    &["sessions"],
    &["sessions", "new", "one", "--", "sleep", "1000000"],
    &["sessions", "list"],
    &["sessions", "rename", "one", "two"],
    &["sessions", "kill", "two"],
    &["sessions", "kill", "two"],
    &["attach"],
    &["claude"],
    &["exec", "--", "false"],
    &["doctor"],
    &["persist"],
    &["backups"],
    &["restore", "--yes"],
    &["cleanup", "--dry-run"],
    &["completions", "bash"],
    &["man"],
    &["restart"],
    &["stop"],
    &["rm"],
    &["rm"],
    &["build", "--profile", "nonsense"],
    &["exec", "--", "true"],
    &["logs", "--no-follow", "--since", "nonsense"],
];

#[test]
fn every_command_prints_one_document() {
    let project = Project::new("one:\n  command: exec sleep 1000000\n");
    for command in COMMANDS {
        let mut arguments = command.to_vec();
        let at = arguments.iter().position(|word| *word == "--").unwrap_or(arguments.len());
        arguments.insert(at, "--json");
        let output = project.powerdev(&arguments).run();
        let lines: Vec<&str> = output.out().lines().collect();
        assert_eq!(lines.len(), 1, "{command:?}: {}\n{}", output.out(), output.err());
        assert_eq!(output.json()["schema_version"], 1, "{command:?}");
    }
}
