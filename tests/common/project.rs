//! A project for one test: a temporary folder, a name of its own, and nothing left when it is dropped.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use super::process::Invocation;
use super::{engine, reaper};

/// What every name of this run starts with: `pt<pid>-<random>`. Whatever holds it in its name is ours to remove.
pub fn run_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        // The standard library's hasher is seeded at random: enough to tell two runs apart.
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), ());
        format!("pt{}-{:06x}", std::process::id(), random & 0xff_ffff)
    })
}

/// The folder of this run; the projects lie in it.
pub fn run_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let temp = std::env::temp_dir().canonicalize().expect("the temporary folder is there");
        let dir = temp.join(format!("powerdev-{}", run_id()));
        std::fs::create_dir_all(&dir).expect("the temporary folder is writable");
        dir
    })
}

/// The files by which a project can ask for something.
const WANTING: [&str; 4] = ["powerdev.yaml", ".env", ".powerdev/Dockerfile", "Dockerfile"];

/// A project in a temporary folder.
#[derive(Debug)]
pub struct Project {
    name: String,
    root: PathBuf,
    /// The files that powerdev was told to trust last.
    trusted: Mutex<Vec<Option<Vec<u8>>>>,
}

impl Project {
    /// A project that runs [`engine::tiny_image`] with these services (YAML, as under `services:`; may be empty).
    pub fn new(services: &str) -> Self {
        let project = Self::bare();
        project.services(services);
        project
    }

    /// An empty folder: no `powerdev.yaml`, no `.env`. Commands started through [`Self::powerdev`] still get the
    /// project's unique name, by `POWERDEV_NAME`.
    pub fn bare() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        reaper::start();
        // All of one length: no name is the beginning of another, and cleaning up goes by what holds the name.
        let name = format!("{}-{:03}", run_id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let root = run_dir().join(&name);
        let project = Self { name, root, trusted: Mutex::default() };
        for dir in [project.dir(), project.home(), project.state_home(), project.cache_home()] {
            std::fs::create_dir_all(dir).expect("the temporary folder is writable");
        }
        project
    }

    /// The environment's name, which no other test has.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The container's name, and the network's.
    pub fn container(&self) -> String {
        format!("powerdev-{}", self.name)
    }

    /// The project's folder.
    pub fn dir(&self) -> PathBuf {
        self.root.join("project")
    }

    /// `HOME` of what is run.
    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// `XDG_STATE_HOME` of what is run; powerdev's folder of this environment is `powerdev/<name>` in it.
    pub fn state_home(&self) -> PathBuf {
        self.root.join("state")
    }

    /// `XDG_CACHE_HOME` of what is run.
    pub fn cache_home(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Writes a file of the project, with the folders above it.
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir().join(path);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("the project's folder is writable");
        std::fs::write(&path, content).expect("the project's folder is writable");
        path
    }

    /// Reads a file of the project as text.
    pub fn read(&self, path: impl AsRef<Path>) -> String {
        let path = self.dir().join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Writes `powerdev.yaml`: name and tiny image, then what is given.
    pub fn yaml(&self, rest: &str) {
        let image = engine::tiny_image();
        self.write("powerdev.yaml", format!("name: {}\nimage: {image}\n{rest}", self.name));
    }

    /// Writes `powerdev.yaml` with these services, indented by nothing or more.
    pub fn services(&self, services: &str) {
        let mut yaml = String::from("services:\n");
        for line in services.lines() {
            yaml.push_str("  ");
            yaml.push_str(line);
            yaml.push('\n');
        }
        self.yaml(if services.trim().is_empty() { "" } else { &yaml });
    }

    /// Writes `.env`.
    pub fn env_file(&self, content: &str) {
        self.write(".env", content);
    }

    /// The real binary, in the project's folder, with an environment that holds nothing of the caller's but the way
    /// to the Engine and to the network. Standard input is empty. What the project's files ask for is agreed to, as they are
    /// now, by the word that a user has for it.
    pub fn powerdev<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Invocation {
        let files = WANTING.map(|file| self.dir().join(file));
        // Anything but a file is what a test is about: reading it may never end.
        let files = files.map(|file| file.is_file().then(|| std::fs::read(file).ok()).flatten()).to_vec();
        let mut trusted = self.trusted.lock().expect("no holder panics");
        if *trusted != files && files.iter().any(Option::is_some) {
            // Broken files are refused here as they are there.
            self.untrusted(["trust", "--yes", "--quiet"]).run();
            *trusted = files;
        }
        drop(trusted);
        self.untrusted(arguments)
    }

    /// As [`Self::powerdev`], for a project that nobody has looked at: what its files ask for is agreed to by nobody.
    pub fn untrusted<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Invocation {
        Invocation::powerdev(&self.dir(), &self.home())
            .env("XDG_STATE_HOME", self.state_home())
            .env("XDG_CACHE_HOME", self.cache_home())
            .env("POWERDEV_NAME", &self.name)
            .args(arguments)
    }

    /// Everything of this name is removed, as at drop.
    pub fn purge(&self) {
        engine::purge(&self.name);
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        self.purge();
        if !std::thread::panicking() {
            assert_eq!(engine::leftovers(&self.name), [], "left behind");
        }
        // What a container wrote as another user may be beyond us; the run's folder is in the temporary one anyway.
        std::fs::remove_dir_all(&self.root).ok();
    }
}
