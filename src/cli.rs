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
    /// Print one JSON document on standard output (watch and logs: one a line)
    #[arg(long, global = true)]
    pub json: bool,
    /// Print errors only
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
    Restart(commands::restart::RestartArgs),
    Status(commands::status::StatusArgs),
    Health(commands::health::HealthArgs),
    Watch(commands::watch::WatchArgs),
    Persist(commands::persist::PersistArgs),
    Backups(commands::backups::BackupsArgs),
    Restore(commands::restore::RestoreArgs),
    Cleanup(commands::cleanup::CleanupArgs),
    Services(commands::services::ServicesArgs),
    Ps(commands::ps::PsArgs),
    Init(commands::init::InitArgs),
    Config(commands::config::ConfigArgs),
    Doctor(commands::doctor::DoctorArgs),
    Completions(commands::completions::CompletionsArgs),
    Man(commands::man::ManArgs),
}
