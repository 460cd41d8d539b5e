//! What is compared with what.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal};

use crate::common::{Invocation, Project, engine, wait};
use crate::measure::{Row, Side, pair};

/// Measures one thing; gives its lines of the table.
type Subject = fn() -> Vec<Row>;

/// The subjects by name.
pub const ALL: &[(&str, Subject)] = &[
    ("health", health),
    ("status", status),
    ("build", build),
    ("daemon", daemon),
    ("service-death", service_death),
    ("container-death", container_death),
    ("memory", memory),
];

/// A minute is far beyond everything measured here: what takes longer is broken.
const DEADLINE: Duration = Duration::from_secs(60);

const IDLE: &str = "idle: { command: [sleep, infinity] }";

fn docker(project: &Project, arguments: &[&str]) -> Invocation {
    Invocation::program("docker", &project.dir()).args(arguments)
}

fn running() -> Project {
    let project = Project::new(IDLE);
    project.powerdev(["daemon"]).run().ok();
    project
}

fn health() -> Vec<Row> {
    let project = running();
    let container = project.container();
    let inspect = ["inspect", "--format", "{{.State.Health.Status}}", &container];
    vec![pair(
        "health",
        "at most 0.25",
        30,
        Side::timed("powerdev health", || drop(project.powerdev(["health"]).run().ok())),
        Side::timed("docker inspect", || drop(docker(&project, &inspect).run().ok())),
    )]
}

fn status() -> Vec<Row> {
    let project = running();
    let container = project.container();
    vec![pair(
        "status",
        "at most 0.05",
        5,
        Side::timed("powerdev status", || drop(project.powerdev(["status"]).run().ok())),
        Side::timed("docker stats + inspect", || {
            docker(&project, &["stats", "--no-stream", &container]).run().ok();
            docker(&project, &["inspect", &container]).run().ok();
        }),
    )]
}

fn build() -> Vec<Row> {
    let project = Project::bare();
    let steps: String = (0..8).map(|step| format!("RUN echo {step} > /tmp/step{step}\n")).collect();
    let image = engine::tiny_image();
    project.write("Dockerfile", format!("FROM {image} AS core\n{steps}"));
    project.write("powerdev.yaml", format!("base_image: {image}\n"));
    let tag = format!("powerdev-test/build:{}", project.name());
    project.powerdev(["build"]).run().ok();
    vec![pair(
        "unchanged build",
        "at most 0.25",
        10,
        Side::timed("powerdev build", || drop(project.powerdev(["build"]).run().ok())),
        Side::timed("docker build", || drop(docker(&project, &["build", "-q", "-t", &tag, "."]).run().ok())),
    )]
}

fn daemon() -> Vec<Row> {
    let project = Project::new(IDLE);
    let ours = |before: &'static [&str]| {
        let project = &project;
        Side::told("powerdev daemon", move || {
            project.powerdev(before).run();
            let start = Instant::now();
            project.powerdev(["daemon"]).run().ok();
            start.elapsed()
        })
    };
    let (again, first) = (&["rm", "--force"], &["rm", "--force", "--volumes", "--yes"]);
    let other = format!("{}-run", project.container());
    let network = format!("{}-net", project.container());
    let run = |network: String| {
        let arguments =
            ["run", "-d", "--name", &other, "--network", &network, engine::tiny_image(), "sleep", "infinity"];
        docker(&project, &arguments).run().ok();
    };
    let own = Side::told("docker network create, run -d", || {
        engine::remove(&other);
        engine::Leftover::Network(network.clone()).remove();
        let start = Instant::now();
        docker(&project, &["network", "create", &network]).run().ok();
        run(network.clone());
        start.elapsed()
    });
    let with_first = pair("daemon to healthy, first", "", 10, ours(first), own);
    let on = |label, network: &str| {
        let (run, other, network) = (&run, &other, network.to_owned());
        Side::told(label, move || {
            engine::remove(other);
            let start = Instant::now();
            run(network.clone());
            start.elapsed()
        })
    };
    vec![
        with_first,
        // Both networks are there: like with like.
        pair("daemon to healthy", "at most 1.1", 10, ours(again), on("docker run -d --network OWN", &network)),
        // On the bridge that all share a container starts faster, and reaches every other one's ports.
        pair("the same, shared bridge", "", 10, ours(again), on("docker run -d", "bridge")),
    ]
}

/// A pipe with a name that a service writes a line to whenever it starts.
struct Bell {
    path: PathBuf,
    file: RefCell<fs::File>,
    rung: Cell<Instant>,
}

impl Bell {
    fn hang(dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("the project's folder is writable");
        let path = dir.join("bell");
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe can be made");
        // Past the umask: the service is another user.
        rustix::fs::chmod(&path, mode).expect("the pipe is ours");
        // Open for both, so that writers never wait and the end never comes.
        let file = fs::OpenOptions::new().read(true).write(true).custom_flags(0).open(&path).expect("the pipe is ours");
        Self { path, file: RefCell::new(file), rung: Cell::new(Instant::now()) }
    }

    /// Waits for a line.
    fn wait(&self) {
        let mut file = self.file.borrow_mut();
        let timeout = Timespec { tv_sec: DEADLINE.as_secs().cast_signed(), tv_nsec: 0 };
        let ready = rustix::event::poll(&mut [PollFd::new(&*file, PollFlags::IN)], Some(&timeout)).expect("a pipe");
        assert_ne!(ready, 0, "nothing started within {DEADLINE:?}");
        let mut line = [0; 64];
        let count = file.read(&mut line).expect("a pipe can be read");
        assert_eq!(line[..count].iter().filter(|byte| **byte == b'\n').count(), 1, "one start, one line");
        self.rung.set(Instant::now());
    }

    /// Lets what it rang for last run for so long: whoever restarts takes deaths in a row for a crash loop, and waits
    /// longer from one to the next.
    fn rest(&self, age: Duration) -> &Self {
        std::thread::sleep(age.saturating_sub(self.rung.get().elapsed()));
        self
    }

    /// The shell command of a service that rings it, seen at `dir` inside, and then idles.
    fn service(dir: &str) -> String {
        format!("echo up > {dir}/bell; exec sleep 1000000")
    }
}

/// The time from `kill -9` of a process to the bell.
fn kill_to_bell(pid: i32, bell: &Bell) -> Duration {
    let start = Instant::now();
    rustix::process::kill_process(Pid::from_raw(pid).expect("it runs"), Signal::KILL).expect("it is there");
    bell.wait();
    start.elapsed()
}

/// The process, in the host's count, whose command line is `sleep 1000000` below `parent`.
fn sleeper(parent: i32) -> i32 {
    wait::until("the service idles", DEADLINE, || {
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid: &i32| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep\x001000000"))
        })
    })
}

/// A container that the Engine itself restarts: what one would use without powerdev.
fn restarted_by_engine(project: &Project, bell: &Bell) -> String {
    let name = format!("{}-always", project.container());
    let dir = bell.path.parent().expect("a file has a folder").display();
    let (mount, command) = (format!("{dir}:/bell"), Bell::service("/bell"));
    let image = engine::tiny_image();
    docker(project, &["run", "-d", "--restart=always", "--name", &name, "-v", &mount, image, "sh", "-c", &command])
        .run()
        .ok();
    bell.wait();
    name
}

fn with_bell() -> (Project, Bell) {
    let command = Bell::service("/home/dev/output");
    let project = Project::new(&format!("idle: {{ command: \"{command}\", restart: {{ reset: 0.2 }} }}"));
    let bell = Bell::hang(&project.dir().join(".agent-mount/docker_output"));
    project.powerdev(["daemon"]).run().ok();
    bell.wait();
    (project, bell)
}

/// supervisord on this machine, with one program that rings.
struct Supervisord {
    child: std::process::Child,
    bell: Bell,
}

impl Supervisord {
    fn start(project: &Project) -> Option<Self> {
        let dir = project.dir().join("supervisord");
        let bell = Bell::hang(&dir);
        let config = format!(
            "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={0}/pid\n\
             [program:idle]\ncommand=/bin/sh -c \"{1}\"\n",
            dir.display(),
            Bell::service(&dir.display().to_string())
        );
        fs::write(dir.join("conf"), config).expect("the project's folder is writable");
        let child = std::process::Command::new("supervisord")
            .arg("-c")
            .arg(dir.join("conf"))
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .ok()?;
        bell.wait();
        Some(Self { child, bell })
    }

    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }
}

impl Drop for Supervisord {
    fn drop(&mut self) {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM).ok();
        self.child.wait().ok();
    }
}

fn service_death() -> Vec<Row> {
    let (project, bell) = with_bell();
    let ours = || Side::told("agent", || kill_to_bell(sleeper(engine::pid(&project.container())), bell.rest(AGENT)));
    let mut rows = Vec::new();
    if let Some(daemon) = Supervisord::start(&project) {
        let theirs = Side::told("supervisord", || kill_to_bell(sleeper(daemon.pid()), daemon.bell.rest(SUPERVISORD)));
        rows.push(pair("service killed, started", "0.2 s", 8, ours(), theirs));
    }
    let other = Bell::hang(&project.dir().join("always"));
    let name = restarted_by_engine(&project, &other);
    let theirs = Side::told("docker --restart=always", || kill_to_bell(engine::pid(&name), other.rest(ENGINE)));
    rows.push(pair("service killed, started", "0.2 s", 5, ours(), theirs));
    rows
}

/// How long each has to have run for a death to be its first.
const AGENT: Duration = Duration::from_millis(300);
const SUPERVISORD: Duration = Duration::from_millis(1200);
const ENGINE: Duration = Duration::from_secs(11);

fn container_death() -> Vec<Row> {
    let (project, bell) = with_bell();
    let other = Bell::hang(&project.dir().join("always"));
    let name = restarted_by_engine(&project, &other);
    // Deaths further apart than the window are each the first.
    let mut watch = project.powerdev(["watch", "--json", "--window", "5"]).deadline(DEADLINE).spawn();
    watch.wait_line("that it watches", |_| true);
    vec![pair(
        "container killed, up again",
        "1 s",
        5,
        Side::told("powerdev watch", || kill_to_bell(engine::pid(&project.container()), bell.rest(ENGINE))),
        Side::told("docker --restart=always", || kill_to_bell(engine::pid(&name), other.rest(ENGINE))),
    )]
}

/// Resident memory of a process, in KiB.
fn resident(pid: i32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("every process has one");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn size(path: &str) -> Option<f64> {
    fs::metadata(path).ok().map(|file| file.len() as f64 / 1024.0)
}

fn memory() -> Vec<Row> {
    let project = running();
    let agent = resident(engine::pid(&project.container()));
    let agent_size = powerdev::delivery::BINARY.len() as f64 / 1024.0;
    let tini = format!("{}-tini", project.container());
    docker(&project, &["run", "-d", "--init", "--name", &tini, engine::tiny_image(), "sleep", "infinity"]).run().ok();
    let tini = resident(engine::pid(&tini));
    let mut rows = vec![Row::new("memory at rest", "at most 3 MB", "KiB", ("agent", agent), ("tini", tini))];
    if let Some(size) = ["/usr/bin/tini-static", "/usr/bin/docker-init"].iter().find_map(|path| size(path)) {
        rows.push(Row::new("size on disk", "", "KiB", ("agent", agent_size), ("tini, static", size)));
    }
    if let Some(supervisord) = Supervisord::start(&project) {
        let theirs = ("supervisord", resident(supervisord.pid()));
        rows.push(Row::new("memory at rest", "at most 3 MB", "KiB", ("agent", agent), theirs));
    }
    rows
}
