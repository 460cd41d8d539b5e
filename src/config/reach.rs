//! What a path of this machine holds that a container shouldn't get unnoticed: judged by where the path leads and by
//! what lies there, never by its name.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

const ENGINE: &str = "the Engine's socket: with it the container controls this machine";
const EVERYTHING: &str = "everything on this machine";
const HOME: &str = "your home folder, with all keys and log-ins in it";
const KEYS: &str = "keys or log-ins of yours";
const STATE: &str = "what powerdev keeps about its environments, with their secrets";
const SYSTEM: &str = "files of this machine's system";

/// Sockets of container engines, where their packages put them.
const SOCKETS: [&str; 4] =
    ["/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock", "/run/crio/crio.sock"];
/// The same, below the folder of the user's session.
const SESSION_SOCKETS: [&str; 2] = ["docker.sock", "podman/podman.sock"];
/// What holds keys and log-ins, below the home folder.
const LOGINS: [&str; 21] = [
    ".ssh",
    ".gnupg",
    ".docker",
    ".kube",
    ".aws",
    ".azure",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    ".password-store",
    ".claude",
    ".claude.json",
    ".codex",
    ".cargo/credentials.toml",
    ".config/gcloud",
    ".config/gh",
    ".config/git",
    ".config/op",
    ".local/share/keyrings",
    ".mozilla",
];
/// Folders of the system: whoever writes there owns the machine, and some of them can be read by root alone.
const SYSTEMS: [&str; 11] =
    ["/etc", "/boot", "/dev", "/proc", "/sys", "/run", "/root", "/usr", "/lib", "/var/lib", "/var/spool"];

/// Where this user's things lie, as powerdev's environment tells it.
#[derive(Debug, Default)]
pub struct Surroundings {
    home: Option<PathBuf>,
    state: Option<PathBuf>,
    sockets: Vec<PathBuf>,
}

impl Surroundings {
    /// Those that these variables tell.
    pub fn new(environment: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let folder = |name: &str| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = folder("HOME").or_else(std::env::home_dir);
        let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
        let state = folder("XDG_STATE_HOME").or_else(|| below_home(".local/state"));
        let named = environment("DOCKER_HOST").and_then(|host| host.into_string().ok());
        let named = named.as_deref().and_then(|host| host.strip_prefix("unix://")).map(PathBuf::from);
        let session = folder("XDG_RUNTIME_DIR").into_iter();
        let session = session.flat_map(|runtime| SESSION_SOCKETS.map(|socket| runtime.join(socket)));
        let sockets = SOCKETS.map(PathBuf::from).into_iter().chain(session).chain(named);
        let sockets = sockets.chain(below_home(".docker/run/docker.sock"));
        Self { state: resolved(state.map(|state| state.join("powerdev"))), sockets: sockets.collect(), home }
    }

    /// What a container gets with this path, which is absolute and without links: nothing, or what is worth a word.
    pub fn found_at(&self, path: &Path) -> Vec<&'static str> {
        if path == Path::new("/") {
            return vec![EVERYTHING];
        }
        let home = resolved(self.home.clone());
        let below_home = |name: &&str| resolved(home.as_ref().map(|home| home.join(name)));
        let mut logins = LOGINS.iter().filter_map(below_home);
        let is_home = home.as_ref().is_some_and(|home| home.starts_with(path));
        let system = SYSTEMS.iter().any(|folder| touches(path, Path::new(folder)));
        // A home folder among them (root's) is told as that.
        let within_home = home.as_ref().is_some_and(|home| path.starts_with(home));
        [
            (self.sockets.iter().any(|socket| is_or_holds(path, socket)), ENGINE),
            (is_home, HOME),
            (!is_home && (logins.any(|login| touches(path, &login)) || is_private_key(path)), KEYS),
            (!is_home && self.state.as_ref().is_some_and(|state| touches(path, state)), STATE),
            (system && !within_home, SYSTEM),
        ]
        .into_iter()
        .filter_map(|(found, what)| found.then_some(what))
        .collect()
    }

    /// Whether a container that gets this path reaches beyond a project in `project`. A project may lie anywhere; one that
    /// holds the home folder is more than a project.
    pub fn is_beyond(&self, path: &Path, project: &Path) -> bool {
        !path.starts_with(project) || self.found_at(path).iter().any(|what| *what != SYSTEM)
    }

    /// [`Surroundings::found_at`] as words that follow the path's name; empty where there is nothing to say.
    pub fn told(&self, path: &Path) -> String {
        let found = self.found_at(path);
        if found.is_empty() { String::new() } else { format!("{}, ", found.join(", ")) }
    }
}

fn resolved(path: Option<PathBuf>) -> Option<PathBuf> {
    path?.canonicalize().ok()
}

/// Whether one lies in the other.
fn touches(path: &Path, other: &Path) -> bool {
    path.starts_with(other) || other.starts_with(path)
}

/// Whether this is that socket, under whatever name, or the folder that it lies in.
fn is_or_holds(path: &Path, socket: &Path) -> bool {
    let Ok(socket) = socket.canonicalize() else { return false };
    let (Ok(one), Ok(other)) = (path.metadata(), socket.metadata()) else { return false };
    let same = one.file_type().is_socket() && (one.dev(), one.ino()) == (other.dev(), other.ino());
    same || socket.starts_with(path)
}

/// Whether this file begins as private keys do.
fn is_private_key(path: &Path) -> bool {
    // Anything but a file could keep whoever opens it waiting.
    if !path.metadata().is_ok_and(|found| found.is_file()) {
        return false;
    }
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(64).read_to_end(&mut start));
    read.is_ok() && start.starts_with(b"-----BEGIN ") && String::from_utf8_lossy(&start).contains("PRIVATE KEY")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let root = tempfile::tempdir().expect("a temporary folder");
            for folder in ["home/me/.ssh", "home/me/work", "home/me/.local/state/powerdev/demo", "session"] {
                std::fs::create_dir_all(root.path().join(folder)).expect("made");
            }
            Self(root)
        }

        fn path(&self, path: &str) -> PathBuf {
            self.0.path().canonicalize().expect("there").join(path)
        }

        fn found(&self, path: &Path) -> Vec<&'static str> {
            let environment = |name: &str| match name {
                "HOME" => Some(self.path("home/me").into_os_string()),
                "DOCKER_HOST" => Some(format!("unix://{}", self.path("session/any.sock").display()).into()),
                _ => None,
            };
            Surroundings::new(&environment).found_at(path)
        }
    }

    #[test]
    fn a_path_is_judged_by_what_lies_there() {
        let machine = Machine::new();
        let _engine = UnixListener::bind(machine.path("session/any.sock")).expect("bound");
        std::fs::hard_link(machine.path("session/any.sock"), machine.path("home/me/work/harmless")).expect("linked");
        let key = machine.path("home/me/work/notes.txt");
        std::fs::write(&key, "-----BEGIN OPENSSH PRIVATE KEY-----\n").expect("written");
        for (path, what) in [
            (PathBuf::from("/"), EVERYTHING),
            (PathBuf::from("/usr/bin"), SYSTEM),
            (PathBuf::from("/etc/ssl"), SYSTEM),
            (machine.path("home"), HOME),
            (machine.path("home/me"), HOME),
            (machine.path("home/me/.ssh"), KEYS),
            (machine.path("home/me/.local/state"), STATE),
            (machine.path("home/me/.local/state/powerdev/demo"), STATE),
            (machine.path("session"), ENGINE),
            (machine.path("session/any.sock"), ENGINE),
            (machine.path("home/me/work/harmless"), ENGINE),
            (key, KEYS),
        ] {
            assert_eq!(machine.found(&path), [what], "{}", path.display());
        }
        assert_eq!(machine.found(&machine.path("home/me/work")), Vec::<&str>::new());
    }
}
