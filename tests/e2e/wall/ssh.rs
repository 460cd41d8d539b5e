//! Your SSH inside: the agent lists keys and signs and takes no orders, keys stay outside, and nothing of it keeps an
//! environment from starting.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{CLOSED, IDLE, inside, refused};
use crate::common::{Project, SshAgent, wait};

/// This machine's `ssh-add`, with the libraries that it wants, where they cover nothing of the image's own.
const SSH_ADD: &str = "\
mounts:
  - {source: /usr/bin/ssh-add, target: /host/bin/ssh-add, read_only: true}
  - {source: /usr/lib, target: /host/lib, read_only: true}
";
const SOON: Duration = Duration::from_secs(20);

fn project(yaml: &str) -> Project {
    let project = Project::bare();
    let ssh = project.home().join(".ssh");
    std::fs::create_dir_all(&ssh).expect("it can be made");
    for (name, content) in [("id_ed25519", "canary-key\n"), ("known_hosts", "git.example ssh-ed25519 AAAA\n")] {
        std::fs::write(ssh.join(name), content).expect("it can be written");
        std::fs::set_permissions(ssh.join(name), PermissionsExt::from_mode(0o600)).expect("ours");
    }
    project.yaml(&format!("{IDLE}{yaml}"));
    project
}

/// Runs a command of powerdev's as somebody whose agent listens there.
fn with_agent(project: &Project, socket: &Path, arguments: &[&str]) -> crate::common::Output {
    project.powerdev(arguments).env("SSH_AUTH_SOCK", socket).run()
}

/// The line of shell that runs it inside, which has a loader of its own or none.
fn ssh_add(arguments: &str) -> String {
    let libraries = format!("/host/lib/{}-linux-gnu", std::env::consts::ARCH);
    format!("{libraries}/ld-linux-*.so.* --library-path {libraries} /host/bin/ssh-add {arguments}")
}

fn listed(project: &Project) -> String {
    inside(project, "dev", &ssh_add("-l")).out().to_owned()
}

/// The command lines of this project's relays.
fn relays(project: &Project) -> Vec<String> {
    let lines = std::fs::read_dir("/proc").expect("Linux").filter_map(|entry| {
        let line = std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok()?;
        Some(line.replace('\0', " "))
    });
    lines.filter(|line| line.contains("ssh-relay") && line.contains(project.name())).collect()
}

/// What the relay answers to these bytes before it hangs up, or is hung up on.
fn said_to(project: &Project, bytes: &[u8]) -> Vec<u8> {
    let folder = project.state_home().join("powerdev").join(project.name()).join("ssh");
    let folder = std::fs::File::open(folder).expect("it is there");
    // The path itself is longer than a socket's may be.
    let socket = format!("/proc/self/fd/{}/agent.sock", folder.as_raw_fd());
    let mut stream = UnixStream::connect(socket).expect("it listens");
    stream.write_all(bytes).expect("it reads");
    stream.shutdown(std::net::Shutdown::Write).expect("connected");
    let mut said = Vec::new();
    stream.read_to_end(&mut said).ok(); // What it didn't read makes its end an error.
    said
}

fn no_relay_is_left(project: &Project) {
    wait::until("the relay ends", SOON, || relays(project).is_empty().then_some(()));
}

#[test]
fn the_agent_signs_and_takes_no_orders() {
    for security in CLOSED {
        let (project, agent) = (project(&format!("security: {security}\n{SSH_ADD}")), SshAgent::start());
        with_agent(&project, &agent.socket(), &["up"]).ok();
        assert!(listed(&project).contains(&agent.fingerprint()), "{security}: {}", listed(&project));
        // `-T` signs with a key and checks the signature.
        project.write("key.pub", std::fs::read(agent.key().with_extension("pub")).expect("there"));
        let copied = "cp /workspace/ext/key.pub /tmp/key.pub && chmod 600 /tmp/key.pub";
        inside(&project, "dev", &format!("{copied} && {}", ssh_add("-T /tmp/key.pub"))).ok();
        project.write("key", std::fs::read(agent.key()).expect("there"));
        inside(&project, "dev", "cp /workspace/ext/key /tmp/k && chmod 600 /tmp/k").ok();
        for order in ["-D", "-d /tmp/key.pub", "/tmp/k"] {
            refused(&project, security, &["dev"], &ssh_add(order));
        }
        assert!(agent.ssh_add(&["-l"]).contains(&agent.fingerprint()), "{security}: it has its key still");
        refused(&project, security, &["dev", "root"], "rm -f /run/ssh/agent.sock || touch /run/ssh/mine");
        refused(&project, security, &["4711"], &ssh_add("-l"));
        for nonsense in [&b"\xff\xff\xff\xff\x0b"[..], &[0; 4], &[0, 4, 0, 1, 13]] {
            assert!(said_to(&project, nonsense).is_empty(), "{security}: hung up on {nonsense:?}");
        }
        assert_eq!(said_to(&project, &[0, 0, 0, 1, 19]), [0u8, 0, 0, 1, 5], "{security}: it doesn't remove all keys");
        assert!(listed(&project).contains(&agent.fingerprint()), "{security}: it goes on");
        project.powerdev(["rm", "--force"]).run().ok();
        no_relay_is_left(&project);
    }
}

#[test]
fn keys_stay_outside_unless_they_are_asked_for() {
    for security in CLOSED {
        let project = project(&format!("security: {security}\n"));
        let find = "grep -rs canary-key /home /root /run /opt /etc /workspace; echo done";
        project.powerdev(["up"]).run().ok();
        assert_eq!(inside(&project, "root", find).ok().out(), "done\n", "{security}");
        assert_eq!(
            inside(&project, "dev", "cat /opt/powerdev/config/known_hosts").ok().out(),
            "git.example ssh-ed25519 AAAA\n"
        );
        inside(&project, "dev", "mkdir -p ~/.ssh && echo mine > ~/.ssh/known_hosts").ok();
        refused(&project, security, &["dev", "root"], "echo x >> /opt/powerdev/config/known_hosts");

        project.powerdev(["up", "--recreate"]).env("POWERDEV_SSH", "none").run().ok();
        assert_eq!(inside(&project, "dev", "ls -d /run/ssh 2>/dev/null; echo \"<$SSH_AUTH_SOCK>\"").ok().out(), "<>\n");

        project.powerdev(["up", "--recreate"]).env("POWERDEV_SSH", "keys").run().ok();
        let own = project.home().join(".ssh/authorized_keys");
        refused(
            &project,
            security,
            &["dev", "root"],
            "mount -o remount,rw,bind ~/.ssh; echo mine >> /home/dev/.ssh/authorized_keys",
        );
        assert!(!own.exists(), "{security}");
    }
}

#[test]
fn a_clone_does_not_get_keys_by_asking_for_them() {
    let project = project("");
    project.write("powerdev.yaml", format!("name: {}\nssh: keys\n{IDLE}", project.name()));
    let refused = project.untrusted(["up"]).run().code(2);
    let told = "mounts ~/.ssh: whatever runs inside can read your SSH keys (powerdev.yaml:2)";
    assert!(refused.err().contains(told), "{}", refused.err());
}

#[test]
fn an_agent_that_is_gone_keeps_nothing_from_starting() {
    let project = project(SSH_ADD);
    let first = SshAgent::start();
    let gone = first.socket();
    with_agent(&project, &gone, &["up"]).ok();
    assert!(listed(&project).contains(&first.fingerprint()));
    drop(first);
    let restarted = with_agent(&project, &gone, &["restart"]).ok();
    assert!(restarted.err().contains("the SSH agent at") && restarted.err().contains("is gone"), "{}", restarted.err());
    project.powerdev(["restart"]).run().ok();
    refused(&project, "dev", &["dev"], &ssh_add("-l"));
    project.powerdev(["stop"]).run().ok();
    no_relay_is_left(&project);
    let up = project.powerdev(["up", "--json"]).run().ok().json();
    assert_eq!(up["drift"], serde_json::json!([]), "a new log-in is no drift");

    let second = SshAgent::start();
    let by_exec = ["exec", "--", "sh", "-c", &ssh_add("-l")];
    let said = with_agent(&project, &second.socket(), &by_exec).ok();
    assert!(said.out().contains(&second.fingerprint()), "{}", said.out());
    let third = SshAgent::start();
    with_agent(&project, &third.socket(), &["up"]).ok();
    assert!(listed(&project).contains(&third.fingerprint()), "the one of who called last");
    assert_eq!(relays(&project).len(), 1);
    project.powerdev(["restart"]).run().ok();
    assert!(listed(&project).contains(&third.fingerprint()), "also by somebody who has none");
    project.powerdev(["rm", "--force"]).run().ok();
    no_relay_is_left(&project);
}

#[test]
fn the_relay_keeps_nothing_of_who_started_it() {
    let (project, agent) = (project(SSH_ADD), SshAgent::start());
    let lock = project.home().join("lock");
    // As from cron: powerdev under a lock, with a secret in its environment.
    let powerdev = project.powerdev(["up"]).env("SSH_AUTH_SOCK", agent.socket()).env("MY_TOKEN", "canary").shell_line();
    let line = format!("exec 9>{0} && flock 9 && {powerdev} && flock -n {0} true", lock.display());
    crate::common::Invocation::program("sh", &project.dir())
        .args(["-c", &format!("({line}) 9>&-; flock -n {} true", lock.display())])
        .run()
        .ok();
    let relay = std::fs::read_dir("/proc").expect("Linux").filter_map(Result::ok).find(|entry| {
        std::fs::read_to_string(entry.path().join("cmdline"))
            .is_ok_and(|line| line.contains("ssh-relay") && line.contains(project.name()))
    });
    let relay = relay.expect("it runs").path();
    assert!(!std::fs::read_to_string(relay.join("environ")).expect("ours").contains("canary"));
    assert_eq!(std::fs::read_link(relay.join("cwd")).expect("ours"), Path::new("/"));
}
