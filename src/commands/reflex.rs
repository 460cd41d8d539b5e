//! What the fingers type that know docker: understood where it means something here, else told what does it.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::Failure;

/// docker's commands that powerdev has under another name, or not at all, and what to do instead.
const INSTEAD: &[(&[&str], &str)] = &[
    (&["top", "stats"], "`powerdev status` shows usage and services, `powerdev exec -- top` the processes inside"),
    (
        &["cp"],
        "~/workspace inside is .agent-mount/docker_workspace here, for `cp` itself; for other places: \
         `powerdev exec -- cat FILE >FILE`, `powerdev exec -- sh -c 'cat >FILE' <FILE`",
    ),
    (&["run"], "`powerdev up` starts the environment, `powerdev exec -- COMMAND` runs a command in it"),
    (&["create"], "`powerdev up` makes the environment and starts it"),
    (&["kill"], "`powerdev stop --time 0` ends it at once"),
    (
        &["pause", "unpause"],
        "`docker pause` and `docker unpause` do that; `powerdev status` says so, and shows its container",
    ),
    (&["inspect"], "`powerdev status --json` shows what is, `powerdev up --dry-run --json` what would be made"),
    (
        &["sh", "bash", "shell", "ssh", "enter"],
        "`powerdev exec` opens a shell inside, `powerdev start` one that goes on",
    ),
    (&["ls", "list"], "`powerdev ps` lists the environments, `powerdev sessions` the sessions"),
    (&["log"], "`powerdev logs` shows what the services write"),
    (&["port"], "`powerdev status` shows the ports"),
    (&["pull"], "`powerdev build --pull` looks for a newer image"),
    (
        &["image", "images", "rmi", "prune", "system", "volume", "network"],
        "`powerdev cleanup --dry-run` lists what powerdev made and nothing uses",
    ),
    (&["scale", "push", "commit", "save", "load", "login", "logout", "rename", "compose"], "`docker` itself does that"),
];

/// `help COMMAND` and `version`, as clap takes them.
pub fn translated(line: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = line.collect();
    match words.get(1).and_then(|word| word.to_str()) {
        Some("help") => {
            words.remove(1);
            words.push("--help".into());
        }
        Some("version") => words[1] = "--version".into(),
        _ => {}
    }
    words
}

/// What was meant by a command of docker's that powerdev doesn't have.
pub fn meant(error: &clap::Error) -> Option<Failure> {
    let (ErrorKind::InvalidSubcommand, Some(ContextValue::String(word))) =
        (error.kind(), error.get(ContextKind::InvalidSubcommand))
    else {
        return None;
    };
    let (_, instead) = INSTEAD.iter().find(|(words, _)| words.contains(&word.as_str()))?;
    Some(Failure::usage(format!("powerdev has no command `{word}`")).hint(*instead))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn none_stands_for_a_command_that_there_is() {
        let commands = Cli::command();
        let words = INSTEAD.iter().flat_map(|(words, _)| *words);
        let there: Vec<_> = words.filter(|word| commands.find_subcommand(word).is_some()).collect();
        assert_eq!(there, [&""; 0]);
    }
}
