//! What powerdev remembers on the host about one environment: `~/.local/state/powerdev/<name>/`.
//!
//! ```text
//! lock            held while something changes the environment: two `up` at once take turns
//! ports.json      host ports that were found once: the same after `rm` and `start`
//! project         the project's folder, whose the name is: `--project NAME` and completions find it by this
//! folder          by what that folder is known again when it was renamed or moved
//! watch.json      the watcher's budget
//! events.jsonl    what watchers have told; what is older is in events.1.jsonl
//! git.json        what the project's Git repository runs, as far as that is known to its user
//! stopped         there while `powerdev stop` had the last word: the watcher leaves it down
//! agent/          mounted read-only at /opt/powerdev: bin/powerdev-agent, config/{services,secrets}.json
//! empty           mounted read-only over the files of secrets that a mount would show
//! ssh/            mounted read-only at /run/ssh: the socket of the SSH agent's relay; ssh-… beside it are the relay's
//! run/            mounted at /run/powerdev: the control socket
//! ```
//!
//! The folder itself is the user's alone (0700): what lies below is out of reach of the machine's other users.

mod moved;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use powerdev_protocol::ExitCode;

use crate::clock::Deadline;
use crate::config::Name;
use crate::failure::Failure;
use crate::files::{self, give};
use crate::units::User;

/// How often a lock that somebody else holds is tried again: `flock` can't wait with a deadline.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// The folder of one environment.
#[derive(Debug, Clone)]
pub struct StateDir {
    root: PathBuf,
}

/// A locked file: released when dropped, and by the kernel when the process dies.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Locks the file at this path, which is made where there is none, for the user alone. None: somebody else holds it.
    ///
    /// # Errors
    /// When it can't be opened or locked.
    pub fn at(path: &Path) -> io::Result<Option<Self>> {
        Self::exclusive(OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?)
    }

    /// Locks an open file. None: somebody else holds it, shared or not.
    ///
    /// # Errors
    /// When the file system can't lock.
    pub fn exclusive(file: File) -> io::Result<Option<Self>> {
        Self::tried(file.try_lock(), file)
    }

    /// Locks an open file together with others who share it. None: somebody holds it for himself.
    ///
    /// # Errors
    /// When the file system can't lock.
    pub fn shared(file: File) -> io::Result<Option<Self>> {
        Self::tried(file.try_lock_shared(), file)
    }

    fn tried(locked: Result<(), TryLockError>, file: File) -> io::Result<Option<Self>> {
        match locked {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would leave it with a child that is just being started, for as long as that shares the file.
        self.0.unlock().ok();
    }
}

impl StateDir {
    /// The environment's folder. Nothing is made yet.
    ///
    /// # Errors
    /// When neither `XDG_STATE_HOME` nor `HOME` says where.
    pub fn of(name: &Name) -> anyhow::Result<Self> {
        Ok(Self { root: state_home()?.join(name.as_str()) })
    }

    /// That of an environment `demo` somewhere else: for tests.
    #[cfg(test)]
    pub fn below(folder: &Path) -> Self {
        Self { root: folder.join("demo") }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What is mounted read-only at [`powerdev_protocol::paths::AGENT_DIR`].
    pub fn agent_dir(&self) -> PathBuf {
        self.root.join("agent")
    }

    /// What is mounted at [`powerdev_protocol::paths::RUN_DIR`]. The container can write here: trust nothing in it.
    pub fn run_dir(&self) -> PathBuf {
        self.root.join("run")
    }

    /// What is mounted over a file that nobody inside may read.
    pub fn empty_file(&self) -> PathBuf {
        self.root.join("empty")
    }

    /// What the project's Git repository was known to run.
    pub fn programs_file(&self) -> PathBuf {
        self.root.join("git.json")
    }

    /// The folder in which the relay of the user's SSH agent listens: mounted read-only at
    /// [`crate::config::layout::SSH_AGENT_DIR`].
    pub fn ssh_dir(&self) -> PathBuf {
        self.root.join("ssh")
    }

    /// The file that names the socket of the user's own SSH agent.
    pub fn ssh_target(&self) -> PathBuf {
        self.root.join("ssh-target")
    }

    /// Locked by the relay as long as it runs.
    pub fn ssh_lock(&self) -> PathBuf {
        self.root.join("ssh-relay.lock")
    }

    /// The watcher's memory.
    pub fn watch_file(&self) -> PathBuf {
        self.root.join("watch.json")
    }

    /// Makes the folder, for the user alone.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn create(&self) -> anyhow::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .map_err(|error| unusable(&self.root, error))?;
        // One that was left by a backup program, or by hand.
        let mode = fs::metadata(&self.root).map_err(|error| unusable(&self.root, error))?.permissions().mode();
        if mode & 0o7777 != 0o700 {
            let closed = fs::set_permissions(&self.root, Permissions::from_mode(0o700));
            closed.map_err(|error| unusable(&self.root, error))?;
        }
        Ok(())
    }

    /// Remembers the project's folder.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn remember_project(&self, folder: &Path) -> anyhow::Result<()> {
        self.remember_mark(folder)?;
        if self.remembered().as_deref() == Some(folder) {
            return Ok(());
        }
        replace(&self.root.join("project"), folder.as_os_str().as_bytes(), 0o600, None)
    }

    /// Forgets it: the name is free for another one.
    ///
    /// # Errors
    /// When that can't be written.
    pub fn forget_project(&self) -> anyhow::Result<()> {
        self.forget_mark()?;
        remove(&self.root.join("project"))
    }

    /// The project's folder, as it was when the environment was last made or started, if it is still there.
    pub fn project(&self) -> Option<PathBuf> {
        self.remembered().filter(|folder| folder.is_dir())
    }

    /// The project's folder, as it was, there or not.
    fn remembered(&self) -> Option<PathBuf> {
        Some(PathBuf::from(OsString::from_vec(files::read(&self.root.join("project")).ok()?)))
    }

    /// What `--project` means: a folder that is there, else that of the environment of this name, else what was given.
    pub fn resolve(given: &Path) -> PathBuf {
        let Some(name) = given.to_str().filter(|_| !given.is_dir()) else { return given.to_owned() };
        let exactly = name.parse().ok().and_then(|name| Self::of(&name).ok()?.project());
        exactly.or_else(|| Self::only_called(name)).unwrap_or_else(|| given.to_owned())
    }

    /// The project's folder of the one environment whose name was made up from this: `shop` for `shop-29ef2c`.
    fn only_called(slug: &str) -> Option<PathBuf> {
        let hash = |name: &str| name.strip_prefix(slug)?.strip_prefix('-').map(str::to_owned);
        let is_hash = |hash: &String| hash.len() == 6 && hash.chars().all(|c| c.is_ascii_hexdigit());
        let all = Self::all();
        let mut found = all.iter().filter(|(name, _)| hash(name.as_str()).as_ref().is_some_and(is_hash));
        let (_, folder) = found.next()?;
        found.next().is_none().then(|| folder.clone())
    }

    /// Every environment that has a folder here and whose project is still there, by name.
    pub fn all() -> BTreeMap<Name, PathBuf> {
        let entries = state_home().ok().and_then(|home| fs::read_dir(home).ok());
        let names = entries.into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        names.filter_map(|name| Some((Self::of(&name).ok()?.project()?, name))).map(|(dir, name)| (name, dir)).collect()
    }

    /// Since when `powerdev stop` has had the last word, if it has.
    pub fn stop_requested_at(&self) -> Option<SystemTime> {
        fs::metadata(self.root.join("stopped")).ok()?.modified().ok()
    }

    /// Notes whether the environment is meant to be down from now on.
    ///
    /// # Errors
    /// When that can't be written.
    pub fn set_stop_requested(&self, down: bool) -> anyhow::Result<()> {
        let note = self.root.join("stopped");
        if down {
            return replace(&note, b"", 0o600, None);
        }
        remove(&note)
    }

    /// Takes the environment's lock, waiting up to `patience` for another powerdev to finish.
    ///
    /// # Errors
    /// A [`Failure`] with [`powerdev_protocol::ExitCode::Conflict`] when it is still held then.
    pub async fn lock(&self, patience: Duration) -> anyhow::Result<Lock> {
        let path = self.root.join("lock");
        let deadline = Deadline::after(patience);
        loop {
            // Whoever held it may have removed the folder with all that is in it.
            self.create()?;
            if let Some(lock) = Lock::at(&path).map_err(|error| unusable(&path, error))? {
                return Ok(lock);
            }
            if deadline.has_passed() {
                let message = format!("another powerdev has been at work here for {} s", patience.as_secs());
                return Err(Failure::conflict(message).hint("wait for it, or stop it, and try again").into());
            }
            tokio::time::sleep(LOCK_RETRY).await;
        }
    }

    /// Host ports by container port, as they were found last. Empty when nothing, or nothing readable, is there.
    pub fn ports(&self) -> BTreeMap<u16, LastPort> {
        let read = files::read(&self.root.join("ports.json")).ok();
        read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Remembers the host ports.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn remember_ports(&self, ports: &BTreeMap<u16, LastPort>) -> anyhow::Result<()> {
        replace(&self.root.join("ports.json"), &serde_json::to_vec(ports)?, 0o600, None)
    }
}

/// A host port that was found for a container's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LastPort {
    /// What was wanted.
    pub wanted: u16,
    /// What it was: another one where that was busy.
    pub host: u16,
}

/// Removes a file. One that is gone is fine.
fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unusable(path, error).into()),
        _ => Ok(()),
    }
}

/// One of the user's base folders: what the variable says, else that folder of the home folder. A path that isn't
/// absolute counts as none, as <https://specifications.freedesktop.org/basedir-spec/latest/> has it.
pub fn base_folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |variable: &str| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)))
}

/// The folder that holds every environment's.
///
/// # Errors
/// When neither `XDG_STATE_HOME` nor `HOME` says where.
pub fn state_home() -> anyhow::Result<PathBuf> {
    let home = base_folder("XDG_STATE_HOME", ".local/state").ok_or_else(|| {
        Failure::usage("can't tell where to keep state: neither HOME nor XDG_STATE_HOME is set")
            .hint("set HOME to your home folder")
    })?;
    Ok(home.join("powerdev"))
}

/// Writes a file beside its place and renames it there: readers see the old one or the new one, and a link that
/// lies there is replaced, never followed.
///
/// # Errors
/// When the folder can't be written, or the file can't be given to `owner`.
pub fn replace(path: &Path, content: &[u8], mode: u32, owner: Option<User>) -> anyhow::Result<()> {
    let written = || -> io::Result<()> {
        let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
        if let Some(owner) = owner {
            give(file.as_file(), owner)?;
        }
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    written().map_err(|error| unusable(path, error).into())
}

/// What keeps a file or folder of the user's own from being used, with what to do about it.
pub fn unusable(path: &Path, error: io::Error) -> Failure {
    let shown = path.display();
    let hint = match error.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists | io::ErrorKind::IsADirectory => {
            format!("something else is in the way of {shown}: move it away")
        }
        io::ErrorKind::PermissionDenied => format!("it must be yours to write: `ls -ld {shown}` shows whose it is"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space there".to_owned(),
        _ => "it must be on a disk that can be written; XDG_STATE_HOME names another place for state".to_owned(),
    };
    Failure::new(ExitCode::Failed, format!("can't write {shown}")).hint(hint).source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(folder: &Path) -> StateDir {
        StateDir { root: folder.join("state/demo") }
    }

    #[tokio::test]
    async fn the_second_waits_for_the_first_then_gives_up() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let state = state(folder.path());
        let first = state.lock(Duration::ZERO).await.expect("nobody holds it");
        let refused = state.lock(Duration::from_millis(50)).await.expect_err("the first holds it");
        assert!(refused.downcast_ref::<Failure>().is_some_and(|f| f.code == powerdev_protocol::ExitCode::Conflict));
        drop(first);
        state.lock(Duration::ZERO).await.expect("the first let go");
        let mode = fs::metadata(state.root()).expect("it was made").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_lock_is_shared_or_held_alone_and_let_go_by_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("lock");
        let open = || File::options().create(true).append(true).open(&path).expect("writable");
        let shared = [open(), open()].map(|file| Lock::shared(file).expect("locks").expect("both share it"));
        assert!(Lock::at(&path).expect("locks").is_none(), "others share it");
        drop(shared);
        let alone = Lock::at(&path).expect("locks").expect("nobody holds it");
        assert!(Lock::shared(open()).expect("locks").is_none(), "one holds it alone");
        // As a child has it between its fork and its exec.
        let _child = alone.0.try_clone().expect("descriptors are left");
        drop(alone);
        assert!(Lock::at(&path).expect("locks").is_some(), "let go, though somebody still has the file open");
    }

    #[test]
    fn replacing_never_follows_a_link() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (precious, link) = (folder.path().join("precious"), folder.path().join("link"));
        fs::write(&precious, "mine").expect("writable");
        std::os::unix::fs::symlink(&precious, &link).expect("a link");
        replace(&link, b"new", 0o600, None).expect("replaced");
        assert_eq!(fs::read(&precious).expect("still there"), b"mine");
        assert_eq!(fs::read(&link).expect("written"), b"new");
        assert!(fs::symlink_metadata(&link).expect("there").is_file());
    }

    #[test]
    fn the_wish_to_be_down_is_remembered() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let state = state(folder.path());
        state.create().expect("made");
        state.set_stop_requested(false).expect("nothing is noted");
        assert_eq!(state.stop_requested_at(), None);
        state.set_stop_requested(true).expect("noted");
        assert!(state.stop_requested_at().is_some_and(|since| since <= SystemTime::now()));
        state.set_stop_requested(false).expect("taken back");
        assert_eq!(state.stop_requested_at(), None);
    }

    #[test]
    fn ports_are_remembered() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let state = state(folder.path());
        assert!(state.ports().is_empty());
        state.create().expect("made");
        let ports = BTreeMap::from([(3000, LastPort { wanted: 3000, host: 3017 })]);
        state.remember_ports(&ports).expect("written");
        assert_eq!(state.ports(), ports);
    }
}
