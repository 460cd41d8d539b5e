//! A container with nothing but the agent as its first process: what `powerdev` would start, made by hand, so that
//! each test can bend one thing.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use bollard::container::LogOutput;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{ContainerCreateBody, ExecConfig, HostConfig};
use bollard::query_parameters as query;
use futures_util::{Stream, StreamExt};
use powerdev::control::{AgentError, Client};
use powerdev_protocol::{Action, AgentStatus, Event, Health, ServiceState, ServiceStatus, paths};
use serde_json::{Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::common::{Project, engine, run_id, wait};

/// Long enough for a busy machine; nothing here takes more than seconds on an idle one.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A container to be.
pub struct Setup {
    image: String,
    services: String,
    secrets: BTreeMap<String, String>,
    host: HostConfig,
}

impl Setup {
    /// Runs these services: a map by name, as in `services.json`.
    pub fn new(services: Value) -> Self {
        let set = json!({"project": "cell", "environment": {"PLAIN": "seen"}, "services": services});
        Self::raw(set.to_string())
    }

    /// Finds this as its `services.json`, whatever it is.
    pub fn raw(services: impl Into<String>) -> Self {
        let host = HostConfig {
            network_mode: Some("none".into()),
            memory: Some(512 << 20),
            pids_limit: Some(4096),
            ..HostConfig::default()
        };
        Self { image: engine::tiny_image().to_owned(), services: services.into(), secrets: BTreeMap::new(), host }
    }

    /// In this image.
    pub fn image(mut self, image: &str) -> Self {
        self.image = image.to_owned();
        self
    }

    /// With this secret.
    pub fn secret(mut self, name: &str, value: &str) -> Self {
        self.secrets.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With what differs from the usual.
    pub fn host(mut self, change: impl FnOnce(&mut HostConfig)) -> Self {
        change(&mut self.host);
        self
    }

    /// Creates and starts it.
    pub fn start(self) -> Cell {
        let project = Project::bare();
        let cell = Cell { dir: project.dir(), name: project.container(), _project: project };
        cell.lay_out(&self);
        let (uid, gid) = engine::dev_user();
        let bind = |from: &str, to: &str, mode: &str| format!("{}:{to}:{mode}", cell.dir.join(from).display());
        let mut host = self.host;
        host.binds.get_or_insert_default().extend([
            bind("agent", paths::AGENT_DIR, "ro"),
            bind("run", paths::RUN_DIR, "rw"),
            bind("out", "/out", "rw"),
        ]);
        let body = ContainerCreateBody {
            image: Some(self.image),
            user: Some(format!("{uid}:{gid}")),
            entrypoint: Some(vec![paths::AGENT_BIN.into(), "init".into()]),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        };
        let options = query::CreateContainerOptionsBuilder::new().name(&cell.name).build();
        let docker = engine::docker();
        engine::block_on(async {
            docker.create_container(Some(options), body).await.expect("the Engine creates it");
            docker
                .start_container(&cell.name, None::<query::StartContainerOptions>)
                .await
                .expect("the Engine starts it");
        });
        cell
    }
}

/// A running container. Removed when dropped.
pub struct Cell {
    name: String,
    dir: PathBuf,
    _project: Project,
}

impl Cell {
    /// Runs these services in the tiny image.
    pub fn start(services: Value) -> Self {
        Setup::new(services).start()
    }

    fn lay_out(&self, setup: &Setup) {
        let owner = engine::dev_user();
        let config = self.dir.join("agent/config");
        for (folder, mode) in [("agent/bin", 0o755), ("agent/config", 0o755), ("run", 0o700), ("out", 0o777)] {
            let folder = self.dir.join(folder);
            std::fs::create_dir_all(&folder).expect("made");
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).expect("ours");
        }
        give(&self.dir.join("run"), owner);
        std::fs::hard_link(agent_binary(), self.dir.join("agent/bin/powerdev-agent")).expect("on the same file system");
        std::fs::write(config.join("services.json"), &setup.services).expect("written");
        let secrets = config.join("secrets.json");
        std::fs::write(&secrets, serde_json::to_vec(&setup.secrets).expect("text")).expect("written");
        std::fs::set_permissions(&secrets, std::fs::Permissions::from_mode(0o600)).expect("ours");
        give(&secrets, owner);
    }

    /// Writes other services, for the agent to read anew.
    pub fn rewrite(&self, services: &Value) {
        let set = json!({"project": "cell", "environment": {}, "services": services});
        std::fs::write(self.dir.join("agent/config/services.json"), set.to_string()).expect("written");
    }

    /// The container's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A file that the services left in `/out`; None while it isn't there.
    pub fn out(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(self.out_path(file)).ok()
    }

    /// Where such a file lies.
    pub fn out_path(&self, file: &str) -> PathBuf {
        self.dir.join("out").join(file)
    }

    /// Waits until the services have left this file in `/out`, and gives what it holds.
    pub fn wait_out(&self, file: &str) -> String {
        wait::until(&format!("{file} appears"), PATIENCE, || self.out(file))
    }

    fn client(&self) -> Client {
        wait::until(&format!("the agent in {} answers", self.name), PATIENCE, || {
            let client = engine::block_on(Client::connect(&self.dir.join("run"), PATIENCE));
            assert!(client.is_ok() || engine::is_running(&self.name), "it has ended:\n{}", engine::logs(&self.name));
            client.ok()
        })
    }

    /// What the agent says about itself.
    pub fn status(&self) -> AgentStatus {
        engine::block_on(self.client().status()).expect("the agent answers")
    }

    /// The environment's health.
    pub fn health(&self) -> Health {
        engine::block_on(self.client().health()).expect("the agent answers")
    }

    /// One service.
    pub fn service(&self, name: &str) -> ServiceStatus {
        let mut services = self.status().services.into_iter();
        services.find(|service| service.name == name).unwrap_or_else(|| panic!("no service {name}"))
    }

    /// Commands a service, and waits until that is done.
    pub fn command(&self, name: &str, action: Action) {
        engine::block_on(self.client().service(name, action, true)).expect("the agent obeys");
    }

    /// Sends a signal to what was registered under a token.
    pub fn send_signal(&self, token: &str, signal: i32) -> Result<(), AgentError> {
        engine::block_on(self.client().signal(token, signal))
    }

    /// Follows what happens from now on.
    pub fn events(&self) -> Happenings {
        let client = self.client();
        let stream = engine::block_on(client.events()).expect("the agent has events");
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            engine::block_on(async {
                let mut stream = std::pin::pin!(stream);
                while let Some(Ok(event)) = stream.next().await {
                    if tell.send(event).is_err() {
                        return;
                    }
                }
            });
        });
        Happenings(told)
    }

    /// Waits until the service is as wished, woken by the agent's events.
    pub fn wait(&self, name: &str, wished: impl Fn(&ServiceStatus) -> bool) -> ServiceStatus {
        let events = self.events();
        let end = Instant::now() + PATIENCE;
        loop {
            let now = self.service(name);
            if wished(&now) {
                return now;
            }
            let left = end.saturating_duration_since(Instant::now());
            if events.0.recv_timeout(left).is_err() {
                panic!("{name} never was as wished: {now:?}; the log:\n{}", engine::logs(&self.name));
            }
        }
    }

    /// Waits until the service is in this state.
    pub fn wait_state(&self, name: &str, state: ServiceState) -> ServiceStatus {
        self.wait(name, |service| service.state == state)
    }

    /// A signal to the agent, from outside.
    pub fn signal(&self, signal: i32) {
        engine::kill(&self.name, &signal.to_string());
    }

    /// Waits for the container's end; gives its exit code.
    pub fn wait_exit(&self) -> i64 {
        let end = async {
            let mut waits = std::pin::pin!(engine::docker().wait_container(&self.name, None));
            match waits.next().await.expect("the Engine answers") {
                Ok(ended) => ended.status_code,
                Err(bollard::errors::Error::DockerContainerWaitError { code, .. }) => code,
                Err(error) => panic!("waiting for {}: {error}", self.name),
            }
        };
        engine::block_on(async { tokio::time::timeout(PATIENCE, end).await })
            .unwrap_or_else(|_| panic!("{} goes on; its log:\n{}", self.name, engine::logs(&self.name)))
    }

    /// Runs a command in the container, past the agent's environment; gives its exit code and its output.
    pub fn engine_exec(&self, command: &[&str], input: &[u8]) -> (i64, String) {
        let mut shell = Shell::open(&self.name, command, false);
        // Beside the reading: what passes both ways must not wait for us.
        let mut pipe = shell.input.take().expect("its input is open");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // It may end without reading all.
            engine::block_on(async { pipe.write_all(&input).await.and(pipe.shutdown().await).ok() });
        });
        let ended = shell.finish();
        writer.join().expect("writing doesn't panic");
        ended
    }

    /// Runs a command as `powerdev exec` would.
    pub fn exec(&self, command: &[&str]) -> (i64, String) {
        let all: Vec<&str> = [paths::AGENT_BIN, "exec", "--"].iter().chain(command).copied().collect();
        self.engine_exec(&all, b"")
    }

    /// Opens a command on pipes.
    pub fn piped(&self, command: &[&str]) -> Shell {
        Shell::open(&self.name, command, false)
    }

    /// Opens a command on a terminal.
    pub fn terminal(&self, command: &[&str]) -> Shell {
        Shell::open(&self.name, command, true)
    }
}

/// As root we lay out for another user; as that user there is nothing to give.
fn give(path: &Path, (uid, gid): (u32, u32)) {
    chown(path, Some(uid), Some(gid)).expect("root may, and a user owns it already");
}

/// The embedded agent as a file, once a run.
fn agent_binary() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = crate::common::project::run_dir().join("powerdev-agent");
        std::fs::write(&path, powerdev::delivery::BINARY).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
        path
    })
}

/// An image that holds nothing but an empty folder: no shell, no libc.
pub fn empty_image() -> String {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    tar.append_data(&mut header, "empty", &[][..]).expect("memory doesn't fail");
    let body = bollard::body_full(tar.into_inner().expect("memory doesn't fail").into());
    let tag = run_id();
    let options = query::CreateImageOptionsBuilder::new().from_src("-").repo("powerdev-test/empty").tag(tag).build();
    let docker = engine::docker();
    engine::block_on(async {
        let mut answers = std::pin::pin!(docker.create_image(Some(options), Some(body), None));
        while let Some(answer) = answers.next().await {
            answer.expect("the Engine imports an image");
        }
    });
    format!("powerdev-test/empty:{tag}")
}

/// tmpfs mounts, by target.
pub fn tmpfs(mounts: &[(&str, &str)]) -> Option<HashMap<String, String>> {
    Some(mounts.iter().map(|(target, options)| (target.to_string(), options.to_string())).collect())
}

/// The agent's events.
pub struct Happenings(mpsc::Receiver<Event>);

impl Happenings {
    /// Waits for an event that `pick` takes.
    pub fn wait<T>(&self, what: &str, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let event = self.0.recv_timeout(left).unwrap_or_else(|_| panic!("it never happened: {what}"));
            if let Some(picked) = pick(event) {
                return picked;
            }
        }
    }

    /// Everything up to now.
    pub fn so_far(&self) -> Vec<Event> {
        self.0.try_iter().collect()
    }
}

/// An Engine exec.
pub struct Shell {
    id: String,
    input: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    output: Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>,
    screen: String,
    seen: usize,
}

impl Shell {
    fn open(container: &str, command: &[&str], tty: bool) -> Self {
        let config = ExecConfig {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(tty),
            // The Engine's own would leave the exec before the command sees its keys.
            detach_keys: Some("ctrl-^,ctrl-_,ctrl-^".into()),
            cmd: Some(command.iter().map(ToString::to_string).collect()),
            ..ExecConfig::default()
        };
        let docker = engine::docker();
        engine::block_on(async {
            let id = docker.create_exec(container, config).await.expect("the container runs").id;
            let options = StartExecOptions { tty, ..StartExecOptions::default() };
            match docker.start_exec(&id, Some(options)).await.expect("the Engine starts it") {
                StartExecResults::Attached { output, input } => {
                    Self { id, input: Some(input), output, screen: String::new(), seen: 0 }
                }
                StartExecResults::Detached => panic!("it was to be attached"),
            }
        })
    }

    /// Types.
    pub fn send(&mut self, keys: impl AsRef<[u8]>) {
        let input = self.input.as_mut().expect("its input is open");
        engine::block_on(async {
            input.write_all(keys.as_ref()).await.expect("it takes input");
            input.flush().await.expect("it takes input");
        });
    }

    /// No more input.
    pub fn end_input(&mut self) {
        let mut input = self.input.take().expect("its input is open");
        // It may have ended already.
        engine::block_on(async { input.shutdown().await.ok() });
    }

    /// Resizes its terminal.
    pub fn resize(&self, rows: i32, cols: i32) {
        let options = query::ResizeExecOptionsBuilder::new().h(rows).w(cols).build();
        engine::block_on(engine::docker().resize_exec(&self.id, options)).expect("it has a terminal");
    }

    /// All that it has written so far.
    pub fn screen(&self) -> &str {
        &self.screen
    }

    /// Reads what it writes within this time, which may be nothing.
    pub fn read_for(&mut self, time: Duration) {
        let chunk = async { tokio::time::timeout(time, self.output.next()).await };
        if let Ok(Some(Ok(chunk))) = engine::block_on(chunk) {
            self.screen.push_str(&String::from_utf8_lossy(&chunk.into_bytes()));
        }
    }

    /// Waits until it has written `text` since the last call.
    pub fn expect(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.screen[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(self.read(left), "it never wrote {text:?}; it wrote\n{}", self.screen);
        }
    }

    /// Waits for its end; gives its exit code and all that it wrote.
    pub fn finish(mut self) -> (i64, String) {
        let end = Instant::now() + PATIENCE;
        while self.read(end.saturating_duration_since(Instant::now())) {}
        let code = wait::until("it ends", PATIENCE, || {
            let exec = engine::block_on(engine::docker().inspect_exec(&self.id)).expect("the Engine knows it");
            exec.exit_code.filter(|_| exec.running == Some(false))
        });
        (code, self.screen)
    }

    /// Reads some more. False when there is nothing more to come.
    fn read(&mut self, patience: Duration) -> bool {
        match engine::block_on(async { tokio::time::timeout(patience, self.output.next()).await }) {
            Ok(Some(Ok(chunk))) => {
                self.screen.push_str(&String::from_utf8_lossy(&chunk.into_bytes()));
                true
            }
            Ok(_) => false,
            Err(_) => panic!("it neither wrote nor ended in time; it wrote\n{}", self.screen),
        }
    }
}
