//! Completions: the shell calls powerdev itself, so that services, sessions and environments are those of this moment.
//! Only cheap local files are read, and for sessions an agent on this machine is asked; no Engine is.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Command, CommandFactory};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};
use clap_complete::{ArgValueCandidates, ArgValueCompleter, CompleteEnv, CompletionCandidate, PathCompleter};
use powerdev_protocol::SessionStatus;

use crate::backup::Store;
use crate::cli::Cli;
use crate::config::{self, Name};
use crate::control::Patience;
use crate::environment::Environment;
use crate::state::StateDir;

/// Set by the shells' scripts when they want candidates.
const VARIABLE: &str = "POWERDEV_COMPLETE";
const PROGRAM: &str = "powerdev";

/// A shell that can be completed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// GNU Bash, 4.2 or newer.
    Bash,
    /// The Z shell.
    Zsh,
    /// The friendly interactive shell.
    Fish,
}

impl Shell {
    /// Those that there are completions for.
    pub const ALL: [Self; 3] = [Self::Bash, Self::Zsh, Self::Fish];

    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        self.completer().name()
    }

    /// What the script's file is called where the shell looks for it.
    pub fn file(self) -> &'static str {
        match self {
            Self::Bash => "powerdev.bash",
            Self::Zsh => "_powerdev",
            Self::Fish => "powerdev.fish",
        }
    }

    /// The script that makes the shell ask powerdev.
    ///
    /// # Errors
    /// Never in practice: it is written to memory.
    pub fn script(self) -> std::io::Result<String> {
        let mut script = Vec::new();
        self.completer().write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)?;
        let mut script = String::from_utf8_lossy(&script).into_owned();
        if self == Self::Zsh {
            // Loaded from $fpath the file is the function's body at its first call: it must complete at once, too.
            script.push_str("[ \"${funcstack[1]}\" != _powerdev ] || _clap_dynamic_completer_powerdev \"$@\"\n");
        }
        Ok(script)
    }

    fn completer(self) -> &'static dyn EnvCompleter {
        match self {
            Self::Bash => &Bash,
            Self::Zsh => &Zsh,
            Self::Fish => &Fish,
        }
    }
}

/// Answers a shell that asks for candidates, and ends the process; returns where none asks.
pub fn answer() {
    CompleteEnv::with_factory(command).var(VARIABLE).bin(PROGRAM).complete();
}

/// The command line, with candidates for what clap can't know: whatever is called SERVICE takes a service's name,
/// and so do SESSION and ENVIRONMENT.
fn command() -> Command {
    with_names(Cli::command())
        .mut_arg("project", |arg| arg.add(ArgValueCompleter::new(projects)))
        .mut_subcommand("restore", |restore| restore.mut_arg("name", |arg| arg.add(ArgValueCandidates::new(backups))))
}

fn with_names(command: Command) -> Command {
    let is_called = |arg: &clap::Arg, wanted: &str| {
        let named = arg.get_value_names().is_some_and(|names| names.iter().any(|name| name.as_str() == wanted));
        arg.is_positional() && (named || arg.get_id().as_str().eq_ignore_ascii_case(wanted))
    };
    command
        .mut_args(|arg| {
            if arg.get_id() == "gpu" {
                arg.add(ArgValueCandidates::new(gpus))
            } else if is_called(&arg, "SERVICE") {
                arg.add(ArgValueCandidates::new(services))
            } else if is_called(&arg, "ENVIRONMENT") {
                arg.add(ArgValueCandidates::new(environments))
            } else if is_called(&arg, "SESSION") {
                arg.add(ArgValueCandidates::new(sessions))
            } else {
                arg
            }
        })
        .mut_subcommands(with_names)
}

/// The project and the file that the line names.
fn given() -> (Option<PathBuf>, Option<PathBuf>) {
    let project = option(std::env::args_os(), "--project").map(|given| StateDir::resolve(&PathBuf::from(given)));
    (project, option(std::env::args_os(), "--env-file").map(PathBuf::from))
}

/// The services of the project that the line is about. A configuration that can't be read has none.
fn services() -> Vec<CompletionCandidate> {
    let (project, env_file) = given();
    let Ok(settings) = config::load(project.as_deref(), env_file.as_deref()) else { return Vec::new() };
    let enabled = settings.services.iter().filter(|(_, service)| service.enabled);
    enabled.map(|(name, service)| CompletionCandidate::new(name).help(Some(service.command.join(" ").into()))).collect()
}

/// The sessions of the environment that the line is about, if its agent answers at once.
fn sessions() -> Vec<CompletionCandidate> {
    let (project, env_file) = given();
    let ask = async {
        let (name, dir) = config::identity_with(project.as_deref(), env_file.as_deref()).ok()?;
        let mut agent = Environment::new(name, &dir).ok()?.agent_nearby(Patience::Brief).await?.ok()?;
        Some(agent.sessions().await.ok()?.0)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let sessions = runtime.ok().and_then(|runtime| runtime.block_on(ask)).unwrap_or_default();
    let candidate = |session: SessionStatus| {
        CompletionCandidate::new(session.name.as_str()).help(Some(session.command.join(" ").into()))
    };
    sessions.into_iter().map(candidate).collect()
}

/// The backups of that project that can be restored, newest first, after the word for the newest.
fn backups() -> Vec<CompletionCandidate> {
    let (project, env_file) = given();
    let found = config::identity_with(project.as_deref(), env_file.as_deref()).ok();
    let store = found.and_then(|(_, dir)| Store::look(&dir).ok().flatten());
    let all = store.and_then(|store| store.list().ok()).unwrap_or_default();
    let names = all.into_iter().rev().filter(|backup| backup.complete()).map(|backup| backup.name);
    let candidates = ["latest".to_owned()].into_iter().chain(names).enumerate();
    candidates.map(|(order, name)| CompletionCandidate::new(name).display_order(Some(order))).collect()
}

/// The words for GPUs. Which there are is asked of a driver that may take its time.
fn gpus() -> Vec<CompletionCandidate> {
    let words = [("auto", "all that machine and Engine offer"), ("all", "all, or no start"), ("none", "none")];
    words.into_iter().map(|(word, help)| CompletionCandidate::new(word).help(Some(help.into()))).collect()
}

/// Environments by name.
fn environments() -> Vec<CompletionCandidate> {
    let candidate = |(name, dir): (Name, PathBuf)| {
        CompletionCandidate::new(name.as_str()).help(Some(dir.display().to_string().into())).display_order(Some(0))
    };
    StateDir::all().into_iter().map(candidate).collect()
}

/// Environments by name, and folders.
fn projects(current: &OsStr) -> Vec<CompletionCandidate> {
    let typed = current.to_string_lossy();
    let names = environments().into_iter().filter(|known| known.get_value().to_string_lossy().starts_with(&*typed));
    let folders = clap_complete::engine::ValueCompleter::complete(&PathCompleter::dir(), current);
    names.chain(folders).collect()
}

/// The value of an option on the line that is being completed.
fn option(line: impl Iterator<Item = OsString>, name: &str) -> Option<OsString> {
    let words: Vec<OsString> = line.collect();
    let next = words.iter().zip(words.iter().skip(1)).find(|(word, _)| *word == name).map(|(_, value)| value.clone());
    let joined = || words.iter().find_map(|word| Some(word.to_str()?.strip_prefix(name)?.strip_prefix('=')?.into()));
    next.or_else(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_in_both_forms() {
        let line = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>().into_iter();
        assert_eq!(option(line("powerdev --project a logs"), "--project"), Some("a".into()));
        assert_eq!(option(line("powerdev logs --project=b"), "--project"), Some("b".into()));
        assert_eq!(option(line("powerdev logs --project"), "--project"), None);
    }
}
