//! A machine's ssh, on a port of its own, with keys of its own, and agents that hold keys, for who runs the tests. The
//! machine's own ssh and its user's configuration are left alone.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::wait;

/// What becomes the server: the folder that it insists on is made where nobody else sees it.
const BEGIN: &str = "mount -t tmpfs none /run && mkdir /run/sshd && exec \"$0\" \"$@\"";

/// An ssh server. Killed when dropped.
#[derive(Debug)]
pub struct SshServer {
    server: Child,
    dir: TempDir,
    port: u16,
}

impl SshServer {
    /// Starts it, and waits until it listens.
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("pd-ssh").tempdir().expect("a temporary folder");
        for key in ["host", "user"] {
            let file = dir.path().join(key);
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file).status();
            assert!(made.expect("openssh-client is installed").success());
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        write_configuration(dir.path(), port);
        let log = std::fs::File::create(dir.path().join("log")).expect("writable");
        let server = Command::new("unshare")
            .args(["--mount", "sh", "-c", BEGIN, "/usr/sbin/sshd", "-D", "-e", "-f"])
            .arg(dir.path().join("sshd_config"))
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare is installed");
        let server = Self { server, dir, port };
        wait::until("the ssh server listens", Duration::from_secs(20), || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
        });
        server
    }

    /// What `DOCKER_HOST` must be to reach the Engine at this socket by ssh.
    pub fn host(&self, socket: &Path) -> String {
        format!("ssh://127.0.0.1:{}{}", self.port, socket.display())
    }

    /// A search path on which `ssh` knows the keys.
    pub fn path(&self) -> OsString {
        let mut path = self.dir.path().join("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").expect("there is one"));
        path
    }
}

fn write_configuration(dir: &Path, port: u16) {
    let at = |name: &str| dir.join(name).display().to_string();
    let write = |name: &str, text: String| std::fs::write(dir.join(name), text).expect("writable");
    let server = [
        format!("Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none", at("host")),
        format!("AuthorizedKeysFile {}\nStrictModes no\nPermitRootLogin prohibit-password", at("user.pub")),
        "UsePAM no\nPasswordAuthentication no\nMaxStartups 100\n".to_owned(),
    ];
    write("sshd_config", server.join("\n"));
    let key = std::fs::read_to_string(dir.join("host.pub")).expect("it was just made");
    write("known", format!("[127.0.0.1]:{port} {key}"));
    let client = format!("IdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\n", at("user"), at("known"));
    write("ssh_config", client);
    std::fs::create_dir(dir.join("bin")).expect("writable");
    write("bin/ssh", format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", at("ssh_config")));
    std::fs::set_permissions(dir.join("bin/ssh"), std::fs::Permissions::from_mode(0o755)).expect("ours");
}

impl Drop for SshServer {
    fn drop(&mut self) {
        self.server.kill().ok(); // It may have ended by itself.
        self.server.wait().ok();
    }
}

/// An SSH agent that holds one key. Killed when dropped.
#[derive(Debug)]
pub struct SshAgent {
    agent: Child,
    dir: TempDir,
}

impl SshAgent {
    /// Starts it at a path of its own, with a new key.
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("pd-agent").tempdir().expect("a temporary folder");
        let mut agent = Command::new("ssh-agent");
        agent.arg("-D").arg("-a").arg(dir.path().join("socket"));
        let agent = agent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("openssh-client is installed");
        let this = Self { agent, dir };
        wait::until("the SSH agent listens", Duration::from_secs(20), || this.socket().exists().then_some(()));
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(this.key()).status();
        assert!(made.expect("it runs").success());
        let added = this.ssh_add(&[this.key().to_str().expect("ASCII")]);
        assert!(added.contains("Identity added"), "{added}");
        this
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// The file of its key.
    pub fn key(&self) -> PathBuf {
        self.dir.path().join("key")
    }

    /// What tells its key from others, as `ssh-add -l` writes it.
    pub fn fingerprint(&self) -> String {
        let listed = self.ssh_add(&["-l"]);
        listed.split_whitespace().nth(1).expect("a key").to_owned()
    }

    /// What `ssh-add` says to it on this machine.
    pub fn ssh_add(&self, arguments: &[&str]) -> String {
        let output =
            Command::new("ssh-add").args(arguments).env("SSH_AUTH_SOCK", self.socket()).output().expect("runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        self.agent.kill().ok(); // It may have ended by itself.
        self.agent.wait().ok();
    }
}
