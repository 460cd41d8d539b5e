//! One environment: what it is called, what this machine remembers of it, the Engine that it runs on, and the one way to
//! its agent. Commands get one from [`crate::commands::Context`] and ask it alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use powerdev_protocol::{ExitCode, paths};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::clock::Deadline;
use crate::config::{Name, layout};
use crate::control::{self, AgentError, Client, Patience};
use crate::engine::{Container, Engine, EngineError, RunState, Volume};
use crate::failure::Failure;
use crate::site::Site;
use crate::spec::{ContainerSpec, label, swap};
use crate::state::StateDir;

/// First wait between tries to reach an agent that is just starting; it doubles up to [`SLOWEST_RETRY`]. A socket
/// that isn't there yet can't be waited for otherwise.
const FIRST_RETRY: Duration = Duration::from_millis(1);
const SLOWEST_RETRY: Duration = Duration::from_millis(50);
/// How often meanwhile the Engine is asked whether the container still runs.
const CHECK_CONTAINER: Duration = Duration::from_millis(500);
/// After how long a container that runs must have its control socket: somebody may have removed it, or the state folder.
const SOCKET_ASTRAY: Duration = Duration::from_secs(10);

/// One environment. The Engine is connected to when it is asked first: many questions the agent answers alone.
#[derive(Debug, Clone)]
pub struct Environment {
    name: Name,
    /// The project's folder. None: whatever is called so is meant.
    dir: Option<PathBuf>,
    state: StateDir,
    engine: OnceCell<Engine>,
}

impl Environment {
    /// The environment of this name whose project lies in `dir`, on the Engine that the docker CLI would use.
    ///
    /// # Errors
    /// When there is no place to keep state; a conflict when this machine remembers the name as another folder's: nothing
    /// of that one's is looked at, told, or taken.
    pub fn new(name: Name, dir: &Path) -> anyhow::Result<Self> {
        let state = StateDir::of(&name)?;
        if let Some(other) = state.project().filter(|other| other != dir) {
            return Err(taken(&name, &other).into());
        }
        Ok(Self { name, dir: Some(dir.to_owned()), state, engine: OnceCell::new() })
    }

    /// Whatever environment is called so on this Engine, wherever its project lies.
    ///
    /// # Errors
    /// As [`Environment::new`].
    pub fn named(name: Name, engine: Engine) -> anyhow::Result<Self> {
        let state = StateDir::of(&name)?;
        Ok(Self { name, dir: None, state, engine: OnceCell::new_with(Some(engine)) })
    }

    /// The same environment on an Engine that is connected already.
    pub fn on(self, engine: Engine) -> Self {
        Self { engine: OnceCell::new_with(Some(engine)), ..self }
    }

    /// What it is called.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What this machine remembers of it.
    pub fn state(&self) -> &StateDir {
        &self.state
    }

    /// The Engine, connected to now if it wasn't before.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`] when none answers.
    pub async fn engine(&self) -> Result<&Engine, EngineError> {
        self.engine.get_or_try_init(Engine::connect).await
    }

    /// Its container, if there is one. One whose replacement was broken off between two names gets its own back.
    ///
    /// # Errors
    /// A conflict when a container of that name isn't powerdev's, or is another project's: it is left alone.
    pub async fn find(&self) -> anyhow::Result<Option<Container>> {
        let container_name = self.name.container();
        let mut found = self.engine().await?.container(&container_name).await?;
        if found.is_none() {
            found = self.put_aside().await?;
        }
        let Some(container) = found else { return Ok(None) };
        if container.project() != Some(self.name.as_str()) {
            let message = format!("there is a container named {container_name} that isn't powerdev's");
            let hint = "it is left alone: rename it, or give this project another name (POWERDEV_NAME, or `name:` in powerdev.yaml)";
            return Err(Failure::conflict(message).hint(hint).into());
        }
        self.refuse_another(container.labels.get(label::DIR).map(Path::new))?;
        Ok(Some(container))
    }

    /// The volumes that carry its name. Those of releases before volumes knew their folder are whose the name is.
    ///
    /// # Errors
    /// A conflict when one is another project's: what is kept there, logins among it, is that one's alone.
    pub async fn volumes(&self) -> anyhow::Result<Vec<Volume>> {
        let volumes = self.engine().await?.volumes_of(self.name.as_str()).await?;
        volumes.iter().try_for_each(|volume| self.refuse_another(volume.dir.as_deref()))?;
        Ok(volumes)
    }

    /// Refuses what was made for the project in another folder. One that was moved takes all along: its old folder is gone.
    fn refuse_another(&self, home: Option<&Path>) -> Result<(), Failure> {
        let Some((home, dir)) = home.zip(self.dir.as_deref()) else { return Ok(()) };
        // Where it can't be looked, in another user's home, it may be.
        let is_there = home.try_exists().unwrap_or(true);
        if home != dir && is_there { Err(taken(&self.name, home)) } else { Ok(()) }
    }

    /// The container that was to be replaced, where none has its name. While somebody is at it, it is left as it is.
    async fn put_aside(&self) -> anyhow::Result<Option<Container>> {
        let (engine, name) = (self.engine().await?, self.name.container());
        let aside = engine.container(&swap::outgoing(&name)).await?;
        if aside.is_none() {
            return Ok(None);
        }
        if let Ok(_lock) = self.state.lock(Duration::ZERO).await {
            self.settle().await?;
            return Ok(engine.container(&name).await?);
        }
        Ok(aside)
    }

    /// Puts right what a replacement left that was broken off: the container that was to be replaced has its name
    /// again, unless the new one has run; what else was made for it goes. For whoever holds the lock.
    ///
    /// # Errors
    /// What the Engine says.
    pub async fn settle(&self) -> Result<(), EngineError> {
        let (engine, name) = (self.engine().await?, self.name.container());
        let all = engine.containers_of(self.name.as_str()).await?;
        let called = |wanted: &str| all.iter().find(|container| container.name == wanted);
        if let Some(old) = called(&swap::outgoing(&name)) {
            match called(&name) {
                Some(current) if current.state != RunState::Created => engine.remove_container(&old.id, true).await?,
                current => {
                    if let Some(never_ran) = current {
                        engine.remove_container(&never_ran.id, true).await?;
                    }
                    engine.rename_container(&old.id, &name).await?;
                }
            }
        }
        match called(&swap::incoming(&name)) {
            Some(half) => engine.remove_container(&half.id, true).await,
            None => Ok(()),
        }
    }

    /// Its container, which must be there.
    ///
    /// # Errors
    /// As [`Environment::find`]; not there is a failure that says how to make it.
    pub async fn require(&self) -> anyhow::Result<Container> {
        self.find().await?.ok_or_else(|| self.absent())
    }

    /// Its container, which must run.
    ///
    /// # Errors
    /// As [`Environment::require`]; a [`Failure`] with [`powerdev_protocol::ExitCode::NotRunning`] when it doesn't run.
    pub async fn running(&self) -> anyhow::Result<Container> {
        let container = self.require().await?;
        let state = match container.state {
            RunState::Running => return Ok(container),
            RunState::Paused => "paused",
            RunState::Restarting => "restarting",
            RunState::Removing => "being removed",
            RunState::Created | RunState::Exited | RunState::Dead => "not running",
        };
        let failure = Failure::not_running(format!("the environment `{}` is {state}", self.name));
        Err(if container.state == RunState::Paused {
            failure.hint(format!("`docker unpause {}` lets it go on", container.name)).into()
        } else {
            failure.hint("`powerdev start` or `powerdev daemon` starts it").into()
        })
    }

    /// The state folder that a container was started from, where that is another one than this user's: of another home
    /// folder (sudo, cron, a colleague). What lies there can't be brought up to date from here.
    pub fn started_from(&self, container: &Container) -> Option<PathBuf> {
        let mounted = self.site()?.path(container.spec.as_ref()?.folder_at(paths::AGENT_DIR)?)?;
        let own = self.state.agent_dir();
        let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let other = canonical(mounted) != canonical(&own);
        mounted.parent().filter(|_| other).map(Path::to_owned)
    }

    /// Refuses to start a container anew that was started from another home folder: what it would find is as old as
    /// that.
    ///
    /// # Errors
    /// A conflict that says what to do.
    pub fn refuse_of_another_home(&self, container: &Container) -> Result<(), Failure> {
        let Some(folder) = self.started_from(container) else { return Ok(()) };
        let home = folder.ancestors().nth(2).unwrap_or(&folder).display();
        let message = format!(
            "{} was started from another home folder, which has its state in {}",
            container.name,
            folder.display()
        );
        let hint = format!(
            "do it as the user whose folder that is, or with XDG_STATE_HOME={home}; `powerdev up --recreate` makes it anew \
             from here, and what is in /home/dev and .agent-mount stays"
        );
        Err(Failure::conflict(message).hint(hint))
    }

    /// The failure that says that there is no such environment.
    pub fn absent(&self) -> anyhow::Error {
        Failure::not_running(format!("there is no environment {} on this Engine", self.name))
            .hint(self.instead())
            .into()
    }

    /// The folder inside that matches the one that powerdev was called in; outside of what is mounted, and in
    /// `.agent-mount`, the project's own. None: nothing of the user's is mounted, or the Engine doesn't know.
    pub async fn begin_in(&self) -> Option<String> {
        let container = self.find().await.ok().flatten()?;
        begin_in(container.spec.as_ref()?, std::env::current_dir().ok().as_deref())
    }

    /// What to do where it isn't: make it, or mean one that is remembered here.
    fn instead(&self) -> String {
        let all = StateDir::all();
        let others = all.iter().filter(|(name, _)| **name != self.name);
        let named: Vec<String> = others.take(5).map(|(name, dir)| format!("{name} ({})", dir.display())).collect();
        if named.is_empty() {
            return "`powerdev up` makes it".to_owned();
        }
        format!("`powerdev up` makes it; --project takes one of these: {}", named.join(", "))
    }

    /// Connects to its agent, the one way there is: by the socket that this machine shares with the container, in a
    /// millisecond and past the Engine; through the Engine where none is shared, where it is another user's, or gone.
    ///
    /// # Errors
    /// When it doesn't run, or its agent doesn't answer; what the Engine says, where it had to be asked.
    pub async fn agent(&self, patience: Patience) -> anyhow::Result<Client> {
        self.reach(None, patience).await
    }

    /// Waits until the agent of a container that was just started, made from `spec`, listens.
    ///
    /// # Errors
    /// When the container dies meanwhile; when the deadline passes.
    pub async fn agent_up(&self, spec: Option<&ContainerSpec>, deadline: Deadline) -> anyhow::Result<Client> {
        let container = self.name.container();
        let mut retry = FIRST_RETRY;
        let mut check = Instant::now() + CHECK_CONTAINER;
        let astray = Instant::now() + SOCKET_ASTRAY;
        loop {
            let error = match self.reach(spec, Patience::Answer).await {
                Ok(client) => return Ok(client),
                Err(error) => error,
            };
            if Instant::now() >= check {
                self.still_running(&container).await?;
                if Instant::now() >= astray {
                    self.socket_is_there(spec)?;
                }
                check = Instant::now() + CHECK_CONTAINER;
            }
            if deadline.has_passed() {
                return Err(Failure::new(ExitCode::TimedOut, format!("the agent in {container} doesn't answer"))
                    .hint("`powerdev logs --no-follow` shows what it said")
                    .source(error)
                    .into());
            }
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(SLOWEST_RETRY);
        }
    }

    /// Fails when a container that was made from `spec` shares a socket with this machine that isn't there any more.
    fn socket_is_there(&self, spec: Option<&ContainerSpec>) -> Result<(), Failure> {
        let folder = self.site().and_then(|site| site.socket_folder(&self.state));
        let shares = |folder: &PathBuf| spec.is_some_and(|spec| spec.folder_at(paths::RUN_DIR) == Some(folder));
        match folder.filter(shares).map(|folder| folder.join(paths::SOCKET_NAME)) {
            Some(socket) if !socket.exists() => {
                let message = format!("{} was removed: the agent can't be asked any more", socket.display());
                Err(Failure::new(ExitCode::Unhealthy, message).hint("`powerdev restart` makes it anew"))
            }
            _ => Ok(()),
        }
    }

    /// Its agent past the Engine. None: nobody is there to be asked in this way; the Engine may know of another.
    pub async fn agent_nearby(&self, patience: Patience) -> Option<Result<Client, AgentError>> {
        self.nearby(None, patience).await.filter(|connected| !connected.as_ref().is_err_and(AgentError::is_absence))
    }

    /// Its agent through the Engine: for whoever has seen its container run, and nobody nearby.
    ///
    /// # Errors
    /// When no agent answers there; what the Engine says.
    pub async fn agent_through(&self, patience: Patience) -> anyhow::Result<Client> {
        Ok(control::connect_through(self.engine().await?, &self.name.container(), patience).await?)
    }

    /// By the socket that this machine shares with the container. None: it shares none.
    async fn nearby(&self, spec: Option<&ContainerSpec>, patience: Patience) -> Option<Result<Client, AgentError>> {
        let shared = self.site().and_then(|site| site.socket_folder(&self.state));
        let mounts = |folder: &PathBuf| spec.is_none_or(|spec| spec.folder_at(paths::RUN_DIR) == Some(folder));
        Some(Client::connect(&shared.filter(mounts)?, patience.limit()).await)
    }

    /// By the socket or through the Engine: by what its container was made from, where that is known. Otherwise both, in
    /// this order.
    async fn reach(&self, spec: Option<&ContainerSpec>, patience: Patience) -> anyhow::Result<Client> {
        let nearby = match spec {
            Some(_) => self.nearby(spec, patience).await,
            None => self.agent_nearby(patience).await,
        };
        if let Some(connected) = nearby {
            return Ok(connected?);
        }
        if spec.is_none() {
            self.running().await?;
        }
        self.agent_through(patience).await
    }

    /// Where its Engine runs. None: that can't be told, and is told when it has to be asked.
    pub fn site(&self) -> Option<Site> {
        self.engine.get().map_or_else(Site::find, |engine| Some(Site::of(engine.endpoint())))
    }

    /// Fails when the container has ended.
    async fn still_running(&self, container: &str) -> anyhow::Result<()> {
        let ended = match self.engine().await?.container(container).await? {
            None => format!("{container} was removed while it started"),
            Some(found) if matches!(found.state, RunState::Exited | RunState::Dead) => {
                let why = if found.ended_for_want_of_memory() { " (out of memory)" } else { "" };
                format!("{container} ended with code {} as soon as it started{why}", found.exit_code)
            }
            Some(_) => return Ok(()),
        };
        Err(Failure::new(ExitCode::Failed, ended).hint("`powerdev logs --no-follow` shows what it said").into())
    }
}

/// As [`Environment::begin_in`], in a container that was made from `spec`.
pub fn begin_in(spec: &ContainerSpec, here: Option<&Path>) -> Option<String> {
    let project = Path::new(&spec.project_dir);
    let data = project.join(layout::AGENT_MOUNT);
    let external = || spec.folder_at(layout::EXTERNAL_TARGET).filter(|folder| !folder.starts_with(&data));
    here.filter(|here| !here.starts_with(&data))
        .and_then(|here| spec.seen_at(here))
        .or_else(|| spec.seen_at(project))
        .or_else(|| external().map(|_| layout::EXTERNAL_TARGET.to_owned()))
}

/// The name is that of the project in another folder.
fn taken(name: &Name, home: &Path) -> Failure {
    Failure::conflict(format!("the environment {name} belongs to the project in {}", home.display())).hint(format!(
        "give this project another name (POWERDEV_NAME, or `name:` in powerdev.yaml); `POWERDEV_NAME={name} powerdev rm \
         --volumes --project {}` frees this one",
        home.display()
    ))
}
