//! The command line, as clap sees it. No logic here.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands;

/// A GPU-ready, hardened container in which AI coding agents work for days.
#[derive(Debug, Parser)]
#[command(name = "powerdev", version, disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Print one JSON document on standard output (watch, events and logs: one a line)
    #[arg(long, global = true)]
    pub json: bool,
    /// Print what was asked for and errors only: no progress, no notices; lists as bare names
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Log on standard error what is done (-vv: each call with its time); POWERDEV_LOG does it, too
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// The project's folder, or an environment's name [default: the nearest above with a powerdev.yaml or
    /// .agent-mount, else this one]
    #[arg(long, global = true, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// The file of settings and secrets [default: .env in the project's folder]
    #[arg(long, global = true, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
}

/// The commands, in the order of a user's day. What each does stands with its `Args`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "clap shows the text that stands with each command's Args")]
pub enum Command {
    // One line a command, in the order of a user's day; each is `Verb(commands::verb::VerbArgs)`.
    Up(commands::up::UpArgs),
    Build(commands::build::BuildArgs),
    Start(commands::start::StartArgs),
    Daemon(commands::daemon::DaemonArgs),
    Exec(commands::exec::ExecArgs),
    Claude(commands::claude::ClaudeArgs),
    Attach(commands::attach::AttachArgs),
    Sessions(commands::sessions::SessionsArgs),
    Logs(commands::logs::LogsArgs),
    Stop(commands::stop::StopArgs),
    Rm(commands::rm::RmArgs),
    Down(commands::down::DownArgs),
    Restart(commands::restart::RestartArgs),
    Status(commands::status::StatusArgs),
    Health(commands::health::HealthArgs),
    Watch(commands::watch::WatchArgs),
    Events(commands::events::EventsArgs),
    Persist(commands::persist::PersistArgs),
    Backups(commands::backups::BackupsArgs),
    Restore(commands::restore::RestoreArgs),
    Cleanup(commands::cleanup::CleanupArgs),
    Services(commands::services::ServicesArgs),
    Ps(commands::ps::PsArgs),
    Init(commands::init::InitArgs),
    Trust(commands::trust::TrustArgs),
    Config(commands::config::ConfigArgs),
    Doctor(commands::doctor::DoctorArgs),
    Completions(commands::completions::CompletionsArgs),
    Man(commands::man::ManArgs),
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;

    use clap::builder::ValueParser;
    use clap::{Command, CommandFactory};
    use proptest::prelude::*;

    use super::Cli;
    use crate::clock::Seconds;

    /// Every command with its subcommands' own, each with the words that lead to it.
    fn commands(command: &Command, path: &[String]) -> Vec<(Vec<String>, Command)> {
        let here = (path.to_vec(), command.clone());
        let below =
            command.get_subcommands().flat_map(|one| commands(one, &[path, &[one.get_name().to_owned()]].concat()));
        std::iter::once(here).chain(below).collect()
    }

    #[test]
    fn whatever_takes_seconds_takes_any_number_of_them() {
        let any: ValueParser = clap::value_parser!(Seconds).into();
        let is_seconds = |parser: &ValueParser| parser.type_id() == any.type_id();
        let mut counted = 0;
        for (path, command) in commands(&Cli::command(), &[]) {
            for argument in command.get_arguments() {
                let named = argument.get_value_names().is_some_and(|names| names.iter().any(|name| name == "SECS"));
                assert_eq!(named, is_seconds(argument.get_value_parser()), "{path:?} {}", argument.get_id());
                counted += usize::from(named);
            }
        }
        assert!(counted >= 11, "{counted} of them");
        assert!(any.type_id() == TypeId::of::<Seconds>());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_value_of_a_flag_panics(value in "-?[0-9]{1,30}(\\.[0-9]{1,20})?(e[0-9]{1,4})?|\\PC{0,20}") {
            for (path, command) in commands(&Cli::command(), &[]) {
                for flag in command.get_opts().filter_map(clap::Arg::get_long) {
                    let words = ["powerdev".to_owned()].into_iter().chain(path.clone());
                    command.clone().try_get_matches_from(words.take(1).chain([format!("--{flag}={value}")])).ok();
                }
            }
        }
    }
}
