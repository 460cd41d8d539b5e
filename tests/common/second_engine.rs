//! A second Engine, to be killed, emptied and otherwise treated as the first one must not be; or to be far away.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::project::run_dir;
use super::{engine, root, wait};

/// What becomes the Engine: with its own loopback, and blind for the folder that is named first, if it isn't empty.
const BEGIN: &str = "ip link set lo up && { [ -z \"$0\" ] || mount -t tmpfs none \"$0\"; } && exec dockerd \"$@\"";

/// An Engine of our own, with a network of its own, since a second one would take the first one's bridge away, and
/// with mounts of its own, so that none outlives it.
#[derive(Debug)]
pub struct SecondEngine {
    dir: TempDir,
    /// It doesn't see the tests' projects.
    elsewhere: bool,
    arguments: Vec<String>,
    variables: Vec<String>,
}

impl SecondEngine {
    /// Starts it, with nothing on it.
    pub fn start() -> Self {
        Self::begin(false, &[], &[])
    }

    /// One that is as good as on another machine: it sees neither projects nor homes nor state folders of these tests.
    /// [`SecondEngine::tcp`] reaches it. It has the tiny image.
    pub fn elsewhere() -> Self {
        let second = Self::begin(true, &[], &[]);
        let archive = second.dir.path().join("tiny.tar");
        let save = ["save", "-o", archive.to_str().expect("a plain path"), engine::tiny_image()];
        assert!(Command::new("docker").args(save).status().expect("the docker CLI is installed").success());
        let load = second.docker(&["load", "-i", archive.to_str().expect("a plain path")]);
        assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
        second
    }

    /// One with arguments and variables of its own.
    pub fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::begin(false, arguments, variables)
    }

    fn begin(elsewhere: bool, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        // Not in a project's folder: a socket's path must be short.
        let dir = tempfile::Builder::new().prefix("pd-engine").tempdir().expect("a temporary folder");
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let variables = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut engine = Self { dir, elsewhere, arguments, variables };
        engine.up();
        engine
    }

    /// What `DOCKER_HOST` must be to reach it.
    pub fn host(&self) -> String {
        format!("unix://{}/sock", self.dir.path().display())
    }

    /// What `DOCKER_HOST` must be to reach it as one reaches another machine: bytes are passed on for as long as the
    /// tests run.
    pub fn tcp(&self) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let socket = self.socket();
        std::thread::spawn(move || {
            for connection in listener.incoming().filter_map(Result::ok) {
                pass_on(connection, &socket);
            }
        });
        format!("tcp://{address}")
    }

    /// Its socket, which is on this machine all the same.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    /// Starts it again, and waits until it answers.
    pub fn up(&mut self) {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let stale = ["pid", "sock", "exec/containerd/containerd.pid", "exec/containerd/containerd.sock"];
        assert!(root::command("rm").arg("-f").args(stale.map(at)).status().expect("rm").success());
        let log = std::fs::File::create(self.dir.path().join("log")).expect("writable");
        let hidden = if self.elsewhere { run_dir().as_os_str() } else { "".as_ref() };
        // Not below sudo, which stops with what it runs, and stops its whole process group.
        let started = root::command("env")
            .args(&self.variables)
            .args(["setsid", "--fork", "unshare", "--net", "--mount", "sh", "-c", BEGIN])
            .arg(hidden)
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["-H", &self.host()])
            .args(&self.arguments)
            .stderr(log.try_clone().expect("a file can be shared"))
            .stdout(log)
            .stdin(Stdio::null())
            .status()
            .expect("setsid is installed");
        assert!(started.success(), "setsid: {started}");
        wait::until("the second Engine answers", Duration::from_secs(40), || {
            self.docker(&["version"]).status.success().then_some(())
        });
    }

    /// Its process, while there is one. A dead one may stay a zombie, where process 1 is a careless one.
    fn pid(&self) -> Option<String> {
        let pid = std::fs::read_to_string(self.dir.path().join("pid")).ok()?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).ok()?;
        let alive = status.contains("Name:\tdockerd\n") && !status.contains("State:\tZ");
        alive.then(|| pid.trim().to_owned())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        root::shell(&format!("kill -{} {}", signal.as_raw(), self.pid().expect("it runs")));
    }

    /// Ends it by a signal.
    pub fn kill(&mut self, signal: Signal) {
        self.signal(signal);
        wait::until("the second Engine ends", Duration::from_secs(40), || self.pid().is_none().then_some(()));
    }

    /// Runs the docker CLI against it.
    pub fn docker(&self, arguments: &[&str]) -> std::process::Output {
        Command::new("docker").arg("-H").arg(self.host()).args(arguments).output().expect("the docker CLI is installed")
    }

    /// An archive of a root with nothing but busybox in it.
    pub fn root_tar(&self) -> String {
        let root = self.dir.path().join("root");
        std::fs::create_dir_all(root.join("bin")).expect("writable");
        std::fs::copy("/bin/busybox", root.join("bin/sleep")).expect("busybox-static is installed");
        let tar = self.dir.path().join("root.tar");
        assert!(
            Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status().expect("tar").success()
        );
        tar.display().to_string()
    }

    /// A labelled container of an image that holds nothing but busybox.
    pub fn run(&self, name: &str) {
        let import = self.docker(&["import", &self.root_tar(), "watched:1"]);
        assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
        let label = format!("dev.powerdev.project={name}");
        let container = format!("powerdev-{name}");
        let arguments = ["run", "-d", "--network=none", "--label", &label, "--name", &container, "watched:1"];
        let run = self.docker(&[&arguments[..], &["/bin/sleep", "600"]].concat());
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    }

    /// Whether the environment's container runs.
    pub fn is_running(&self, name: &str) -> bool {
        let format = "{{.State.Running}}";
        self.docker(&["inspect", "-f", format, &format!("powerdev-{name}")]).stdout.starts_with(b"true")
    }
}

/// Both ways, each until its end. A connection that the Engine doesn't take is dropped.
fn pass_on(connection: TcpStream, socket: &Path) {
    let Ok(engine) = UnixStream::connect(socket) else { return };
    let (mut in_from, mut in_to) = (connection.try_clone().expect("shared"), engine.try_clone().expect("shared"));
    std::thread::spawn(move || {
        std::io::copy(&mut in_from, &mut in_to).ok(); // Whoever is gone needs no more.
        in_to.shutdown(std::net::Shutdown::Write).ok();
    });
    let (mut out_from, mut out_to) = (engine, connection);
    std::thread::spawn(move || {
        std::io::copy(&mut out_from, &mut out_to).ok(); // As above.
        out_to.shutdown(std::net::Shutdown::Both).ok();
    });
}

impl Drop for SecondEngine {
    fn drop(&mut self) {
        let all = self.docker(&["ps", "-aq"]).stdout;
        for id in String::from_utf8_lossy(&all).lines() {
            self.docker(&["rm", "-f", id]);
        }
        if self.pid().is_some() {
            self.kill(Signal::TERM);
        }
        root::command("rm").arg("-rf").arg(self.dir.path()).status().ok();
    }
}
