//! An Engine on another machine: it sees no folder of this one, and is reached by TCP or ssh.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::common::process::Invocation;
use crate::common::{Project, Running, SecondEngine, SshServer, engine};

const CANARY: &str = "canary-7c02-4e1b-far-from-home";
const SOON: Duration = Duration::from_secs(30);
const SERVICES: &str = "
leaky:
  command: echo \"length ${#CANARY_TOKEN}\"; exec sleep 1000000
web:
  command: [httpd, -f, -p, \"3978\"]
  ready: { tcp: 3978 }
  ports: [3978]
";

/// A project whose Engine is elsewhere.
struct Remote {
    project: Project,
    engine: SecondEngine,
    host: String,
}

impl Remote {
    fn new() -> Self {
        let project = Project::new(SERVICES);
        project.env_file(&format!("CANARY_TOKEN={CANARY}\n"));
        let engine = SecondEngine::elsewhere();
        let host = engine.tcp();
        Self { project, engine, host }
    }

    fn powerdev(&self, arguments: &[&str]) -> Invocation {
        self.project.powerdev(arguments).env("DOCKER_HOST", &self.host)
    }

    fn exec(&self, script: &str) -> String {
        self.powerdev(&["exec", "--", "sh", "-c", script]).run().ok().out().trim().to_owned()
    }

    fn docker(&self, arguments: &[&str]) -> String {
        let output = self.engine.docker(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Ends of the names of the environment's volumes.
    fn volumes(&self) -> Vec<String> {
        let all = self.docker(&["volume", "ls", "-q"]);
        let prefix = format!("{}-", self.project.container());
        let mut names: Vec<_> = all.lines().filter_map(|name| Some(name.strip_prefix(&prefix)?.to_owned())).collect();
        names.sort();
        names
    }
}

fn event(running: &mut Running, name: &str) -> Value {
    let line = running.wait_line(name, |line| {
        let document: Value = serde_json::from_str(line).expect("every line is JSON");
        document["event"] == name
    });
    serde_json::from_str(&line).expect("JSON")
}

#[test]
fn an_environment_lives_and_dies_on_another_machine() {
    let remote = Remote::new();
    std::fs::create_dir(remote.project.home().join(".ssh")).expect("writable");
    let up = remote.powerdev(&["up", "--json"]).env("POWERDEV_SSH", "keys").run().ok().json();
    assert_eq!((&up["health"], &up["done"]), (&"healthy".into(), &"created".into()), "{up}");
    assert_eq!(up["tunnel"], "ssh -N -L 3978:127.0.0.1:3978 USER@MACHINE");
    let notices = up["notices"].to_string();
    assert!(notices.contains("left out, being on this machine: the project's folder, ~/.ssh"), "{notices}");
    let container = remote.project.container();
    let types = remote.docker(&["inspect", "-f", "{{range .Mounts}}{{.Type}} {{end}}", &container]);
    assert!(!types.contains("bind"), "{types}");
    assert!(!remote.project.dir().join(".agent-mount").exists(), "nothing of it is here");
    assert!(!remote.project.state_home().join("powerdev").join(remote.project.name()).join("agent").exists());

    let status = remote.powerdev(&["status", "--json"]).run().ok().json();
    assert_eq!((&status["state"], &status["health"]), (&"running".into(), &"healthy".into()));
    assert_eq!(status["drift"], Value::Array(Vec::new()), "{status}");
    assert!(status["services"].as_array().is_some_and(|all| all.iter().all(|service| service["ready"] == true)));
    assert!(status["usage"]["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{status}");
    assert_eq!((&status["agent"]["skew"], &status["disk"]), (&false.into(), &Value::Null));
    assert_eq!(remote.powerdev(&["health"]).run().ok().out(), "healthy\n");
    remote.powerdev(&["health", "--wait", "20"]).run().ok();
    let ps = remote.powerdev(&["ps", "--json"]).run().ok().json();
    assert_eq!(ps["environments"][0]["health"], "healthy", "{ps}");
    let restarted = remote.powerdev(&["services", "restart", "web", "--json"]).run().ok().json();
    assert_eq!(restarted["service"]["state"], "ready", "{restarted}");
    let logs = remote.powerdev(&["logs", "leaky", "--no-follow"]).run().ok();
    assert!(logs.out().contains(&format!("length {}", CANARY.len())), "{}", logs.out());
    let unknown = remote.powerdev(&["logs", "webb", "--no-follow"]).run().code(4);
    assert!(unknown.err().contains("web"), "{}", unknown.err());
    assert_eq!(remote.powerdev(&["up", "--json"]).run().ok().json()["done"], "adopted");

    remote.exec("echo precious > workspace/kept");
    let anew = remote.powerdev(&["up", "--recreate", "--json"]).run().ok().json();
    assert_eq!(anew["done"], "recreated");
    assert_eq!(remote.exec("cat workspace/kept; stat -c %u workspace"), format!("precious\n{}", engine::dev_user().0));

    remote.powerdev(&["stop"]).run().ok();
    assert_eq!(remote.powerdev(&["health"]).run().code(4).out(), "stopped\n");
    assert_eq!(remote.powerdev(&["daemon", "--json"]).run().ok().json()["done"], "started");
    remote.powerdev(&["rm", "--force"]).run().ok();
    let state = ["analysis", "cache", "data", "ext", "home", "logs", "output", "workspace"];
    assert_eq!(remote.volumes(), state, "the agent's are gone, and the secrets with them");
    let cleanup = |more: &[&str]| {
        let arguments = [&["cleanup", "--dry-run", "--json"], more].concat();
        let document = remote.powerdev(&arguments).run().ok().json();
        let volumes = document["items"].as_array().expect("a list").clone();
        volumes.iter().filter(|item| item["kind"] == "volume").count()
    };
    assert_eq!((cleanup(&[]), cleanup(&["--volumes"])), (1, state.len()), "only the cache, unless asked for");
    remote.powerdev(&["rm", "--volumes", "--yes"]).run().ok();
    assert!(remote.volumes().is_empty());
}

#[test]
fn commands_run_there_as_they_would_here() {
    let remote = Remote::new();
    remote.powerdev(&["up"]).run().ok();
    let both = remote.powerdev(&["exec", "--", "sh", "-c", "echo out; echo err >&2; exit 42"]).run().code(42);
    assert_eq!((both.out(), both.err().as_str()), ("out\n", "err\n"));
    let script =
        "trap 'echo got-usr1' USR1; trap 'echo got-term; exit 33' TERM; echo ready; while :; do sleep 0.05; done";
    let mut exec = remote.powerdev(&["exec", "--", "sh", "-c", script]).spawn();
    exec.wait_line("ready", |line| line == "ready");
    exec.signal(Signal::USR1);
    exec.wait_line("the first signal", |line| line == "got-usr1");
    exec.signal(Signal::TERM);
    assert_eq!(exec.wait(SOON).code(33).out().lines().last(), Some("got-term"));
    let input: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_le_bytes).collect();
    let output = remote.powerdev(&["exec", "--", "cat"]).stdin(input.clone()).run().ok();
    assert!(output.stdout == input, "{} of {} bytes came back", output.stdout.len(), input.len());
    // Whoever asked and went leaves nothing behind.
    let bridges =
        "n=0; while ps | grep '[p]owerdev-agent connect'; do n=$((n+1)); [ $n -lt 100 ] || exit 1; sleep 0.05; done";
    remote.exec(bridges);
}

#[test]
fn secrets_travel_there_and_nowhere_else() {
    let remote = Remote::new();
    let mut said = Vec::new();
    for arguments in [
        &["up", "--dry-run", "--json"][..],
        &["up", "--json"],
        &["status", "--json"],
        &["config", "--json"],
        &["services", "--json"],
        &["ps", "--json"],
        &["doctor", "--json"],
        &["logs", "--no-follow", "--json"],
    ] {
        let output = remote.powerdev(arguments).run();
        said.push((format!("{arguments:?}"), output.out().to_owned() + &output.err()));
    }
    let container = remote.project.container();
    said.push(("inspect".into(), remote.docker(&["inspect", &container])));
    said.push(("volumes".into(), remote.docker(&["volume", "inspect", &format!("{container}-agent")])));
    let logs = remote.docker(&["logs", &container]);
    assert!(logs.contains(&format!("length {}", CANARY.len())), "services have it: {logs}");
    said.push(("logs".into(), logs));
    let cmdlines = Command::new("sh").args(["-c", "ps auxww; cat /proc/[0-9]*/cmdline 2>/dev/null"]).output();
    said.push(("ps".into(), String::from_utf8_lossy(&cmdlines.expect("it runs").stdout).into_owned()));
    for (what, text) in &said {
        assert!(!text.contains(CANARY), "{what} tells the secret");
    }
    assert_eq!(remote.exec("echo ${#CANARY_TOKEN}"), CANARY.len().to_string());
    let file = "stat -c '%a %u' /opt/powerdev/config/secrets.json; stat -c '%a' /run/powerdev";
    assert_eq!(remote.exec(file), format!("600 {}\n700", engine::dev_user().0));
    remote.powerdev(&["exec", "-u", "0", "--", "touch", "/opt/powerdev/config/secrets.json"]).run().code(1);

    remote.docker(&["restart", &container]);
    remote.powerdev(&["health", "--wait", "30"]).run().ok();
    assert_eq!(remote.exec("echo ${#CANARY_TOKEN}"), CANARY.len().to_string(), "a restart without powerdev keeps it");

    remote.project.env_file("CANARY_TOKEN=four\n");
    let up = remote.powerdev(&["up", "--json"]).run().ok().json();
    assert_eq!((&up["pending"], &up["applied"]["secrets"]), (&serde_json::json!([]), &true.into()), "{up}");
    assert_eq!(remote.exec("echo ${#CANARY_TOKEN}"), "4", "applied while it runs");
    remote.project.services(&format!("{SERVICES}more: {{ command: sleep 1000000 }}\n"));
    remote.powerdev(&["restart"]).run().ok();
    assert_eq!(remote.exec("echo ${#CANARY_TOKEN}"), "4", "and after a restart");
    let services = remote.powerdev(&["services", "--json"]).run().ok().json();
    assert_eq!(services["services"].as_array().map(Vec::len), Some(3), "{services}");
    assert_eq!(remote.powerdev(&["up", "--json"]).run().ok().json()["pending"], serde_json::json!([]));
}

#[test]
fn the_watcher_hears_engine_and_agent() {
    let remote = Remote::new();
    remote.powerdev(&["up"]).run().ok();
    let mut watcher = remote.powerdev(&["watch", "--json"]).deadline(SOON).spawn();
    event(&mut watcher, "watching");
    remote.exec("killall -9 httpd");
    let service = event(&mut watcher, "service");
    assert_eq!(service["service"], "web", "{service}");
    remote.docker(&["kill", "-s", "KILL", &remote.project.container()]);
    assert_eq!(event(&mut watcher, "down")["signal"], 9);
    event(&mut watcher, "restarted");
    remote.powerdev(&["health", "--wait", "30"]).run().ok();
    watcher.signal(Signal::TERM);
    watcher.wait(SOON).ok();
}

#[test]
fn what_cannot_be_done_there_is_refused_before_anything_is_made() {
    let remote = Remote::new();
    for (command, instead) in [("persist", "-cf -"), ("restore", "-xf -")] {
        let refused = remote.powerdev(&[command]).run().code(2);
        assert!(refused.err().contains("DOCKER_HOST") && refused.err().contains(instead), "{}", refused.err());
    }
    assert!(!remote.project.dir().join(".agent-mount").exists());
    // A port that another one there has: its Engine says so, and another stands in for it.
    let taken = ["run", "-d", "--name", "taker", "-p", "127.0.0.1:3978:80", engine::tiny_image(), "sleep", "600"];
    remote.docker(&["network", "create", "taken"]);
    remote.docker(&[&taken[..2], &["--network", "taken"], &taken[2..]].concat());
    let up = remote.powerdev(&["up", "--json"]).run().ok().json();
    assert_eq!(up["ports"][0]["host"], 3988, "{up}");
}

#[test]
fn by_ssh_it_is_the_same() {
    let remote = Remote::new();
    let ssh = SshServer::start();
    let host = ssh.host(&remote.engine.socket());
    let powerdev = |arguments: &[&str]| remote.powerdev(arguments).env("DOCKER_HOST", &host).env("PATH", ssh.path());
    let up = powerdev(&["up", "--json"]).run().ok().json();
    assert_eq!(up["health"], "healthy");
    let tunnel = up["tunnel"].as_str().expect("there is one");
    assert!(tunnel.starts_with("ssh -N -L 3978:127.0.0.1:3978 -p ") && tunnel.ends_with(" 127.0.0.1"), "{tunnel}");
    assert_eq!(powerdev(&["status", "--json"]).run().ok().json()["health"], "healthy");
    assert_eq!(powerdev(&["exec", "--", "sh", "-c", "cat; exit 7"]).stdin("hello").run().code(7).out(), "hello");
    // Ctrl-C goes to every process of the terminal, and must not take the way to the Engine away from the command.
    let mut shell = powerdev(&[
        "exec",
        "-T",
        "--",
        "sh",
        "-c",
        "trap 'echo got-int; exit 5' INT; echo ready; while :; do sleep 0.05; done",
    ])
    .terminal(24, 80);
    shell.expect("ready");
    shell.send(b"\x03");
    shell.expect("got-int");
    assert_eq!(shell.wait().0, 5);
    powerdev(&["rm", "--force", "--volumes", "--yes"]).run().ok();
    assert!(remote.volumes().is_empty());
}
