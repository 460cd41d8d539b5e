//! One command, one file: its `Args` and its `run`. Here: the dispatch, and what commands share.

mod agree;
pub mod attach;
pub mod backups;
pub mod build;
pub mod claude;
pub mod cleanup;
pub mod completions;
pub mod config;
pub mod daemon;
pub mod doctor;
pub mod down;
pub mod events;
pub mod exec;
pub mod flags;
pub mod health;
pub mod init;
pub mod logs;
pub mod man;
mod moved;
mod outline;
pub mod overview;
pub mod persist;
pub mod ps;
pub mod reflex;
pub mod restart;
pub mod restore;
pub mod rm;
pub mod services;
pub mod sessions;
pub mod start;
pub mod status;
pub mod stop;
mod tell;
pub mod trust;
pub mod up;
pub mod watch;

use std::path::PathBuf;

use powerdev_protocol::ExitCode;

use crate::cli::{Cli, Command, Global};
use crate::config::{Name, Overrides, Settings};
use crate::engine::{Endpoint, Engine};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::site::Site;
use crate::state::StateDir;
use crate::ui::Ui;

/// What a command gets to work with. Settings and Engine are made when asked for: `health` needs no Engine, and
/// `completions` needs neither.
pub struct Context<'a> {
    /// The flags of every command.
    pub global: Global,
    /// Standard output, standard error, prompts and progress.
    pub ui: &'a Ui,
}

impl Context<'_> {
    /// The folder that `--project` means.
    pub fn project(&self) -> Option<PathBuf> {
        self.global.project.as_deref().map(StateDir::resolve)
    }

    /// The project's settings, validated.
    ///
    /// # Errors
    /// A [`crate::failure::Failure`] with [`ExitCode::Usage`] that names file, line, value and a suggestion.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        crate::config::load(self.project().as_deref(), self.global.env_file.as_deref())
    }

    /// The project's settings, validated, with flags of the command over them.
    ///
    /// # Errors
    /// As [`Context::settings`].
    pub fn settings_with(&self, flags: &Overrides) -> anyhow::Result<Settings> {
        crate::config::load_with(self.project().as_deref(), self.global.env_file.as_deref(), flags)
    }

    /// The environment's name and the project's folder.
    ///
    /// # Errors
    /// A [`crate::failure::Failure`] with [`ExitCode::Usage`] when the name can't be told.
    pub fn identity(&self) -> anyhow::Result<(Name, PathBuf)> {
        crate::config::identity_with(self.project().as_deref(), self.global.env_file.as_deref())
    }

    /// For commands that work on the folders of `.agent-mount`: refuses where the environment has volumes on another
    /// machine in their place. `instead` is what the user can do.
    ///
    /// # Errors
    /// A [`Failure`] with [`ExitCode::Usage`].
    pub fn refuse_elsewhere(&self, what: &str, instead: &str) -> Result<(), Failure> {
        // An Engine that can't be told is the business of who needs one.
        Endpoint::find().map_or(Ok(()), |endpoint| Site::refuse_without_folders(&endpoint, what, instead))
    }

    /// The environment: all that commands need that only look, stop or run something.
    ///
    /// # Errors
    /// As [`Context::identity`].
    pub fn environment(&self) -> anyhow::Result<Environment> {
        let (name, dir) = self.identity()?;
        Environment::new(name, &dir)
    }

    /// A connection to the Engine that the docker CLI would use.
    ///
    /// # Errors
    /// [`ExitCode::EngineUnreachable`] when none answers.
    pub async fn engine(&self) -> anyhow::Result<Engine> {
        Engine::connect().await.map_err(Into::into)
    }
}

/// Runs the command; gives the process's exit code.
///
/// # Errors
/// Whatever the command fails with; [`Ui::failed`] renders it.
pub async fn run(cli: Cli, ui: &Ui) -> anyhow::Result<std::process::ExitCode> {
    let context = Context { global: cli.global, ui };
    let ended: anyhow::Result<ExitCode> = match cli.command {
        Command::Up(args) => up::run(args, &context).await,
        Command::Build(args) => build::run(args, &context).await,
        Command::Start(args) => return start::run(args, &context).await,
        Command::Daemon(args) => daemon::run(args, &context).await,
        // The code is that of the command that was run, or looked at.
        Command::Exec(args) => return exec::run(args, &context).await,
        Command::Attach(args) => return attach::run(args, &context).await,
        Command::Claude(args) => return claude::run(args, &context).await,
        Command::Sessions(args) => return sessions::run(args, &context).await,
        Command::Logs(args) => logs::run(args, &context).await,
        Command::Stop(args) => stop::run(args, &context).await,
        Command::Rm(args) => rm::run(args, &context).await,
        Command::Down(args) => down::run(args, &context).await,
        Command::Restart(args) => restart::run(args, &context).await,
        Command::Status(args) => status::run(args, &context).await,
        Command::Health(args) => health::run(args, &context).await,
        Command::Watch(args) => watch::run(args, &context).await,
        Command::Events(args) => events::run(args, &context).await,
        Command::Persist(args) => persist::run(args, &context).await,
        Command::Backups(args) => backups::run(args, &context).await,
        Command::Restore(args) => restore::run(args, &context).await,
        Command::Cleanup(args) => cleanup::run(args, &context).await,
        Command::Services(args) => services::run(args, &context).await,
        Command::Ps(args) => ps::run(args, &context).await,
        Command::Init(args) => init::run(args, &context).await,
        Command::Trust(args) => trust::run(args, &context).await,
        Command::Config(args) => config::run(args, &context).await,
        Command::Doctor(args) => doctor::run(args, &context).await,
        Command::Completions(args) => completions::run(args, &context).await,
        Command::Man(args) => man::run(args, &context).await,
    };
    ended.map(Into::into)
}
