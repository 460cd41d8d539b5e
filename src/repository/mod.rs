//! What of a Git repository runs programs on this machine, once its user calls git in it: hooks, and configuration that
//! names commands. Whoever works on the repository inside can write both.
//!
//! Hooks are mounted read-only (see [`crate::plan`]). Configuration isn't: git replaces that file whenever it changes it,
//! and agents have changes to make. So what it runs is remembered when an environment first comes up, and what has come
//! since is told.

mod harmless;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::{ExternalDir, Settings};
use crate::files::{self, Dir};
use crate::state::{self, StateDir};

/// The most that is read of a file, in bytes.
const MOST: u64 = 1 << 20;
/// Folders that are looked into at most: submodules lie in one another.
const FOLDERS: usize = 512;
/// How much is shown of a value, in characters.
const SHOWN: usize = 80;

/// What runs programs, in words such as `/work/.git/config: core.fsmonitor = ./watch`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Programs(BTreeMap<String, Vec<String>>);

impl Programs {
    /// What is in these that isn't in `known`, one line each.
    pub fn new_since(&self, known: &Self) -> Vec<String> {
        let fresh = self.0.iter().flat_map(|(place, values)| {
            let known = known.0.get(place).map_or(&[][..], Vec::as_slice);
            values.iter().filter(|value| !known.contains(value)).map(move |value| (place, value))
        });
        fresh.map(|(place, value)| format!("{place} = {}", value.chars().take(SHOWN).collect::<String>())).collect()
    }

    fn add(&mut self, place: String, value: String) {
        self.0.entry(place).or_default().push(value);
    }
}

/// The folders that an environment with these settings writes to in which a repository is.
pub fn mounted(settings: &Settings) -> Vec<PathBuf> {
    let external = match &settings.external_dir {
        ExternalDir::Project => Some(&settings.dir),
        ExternalDir::Folder(folder) => Some(folder),
        ExternalDir::None => None,
    };
    let written = settings.mounts.iter().filter(|mount| !mount.read_only).map(|mount| &mount.source);
    let folders: BTreeSet<&PathBuf> = external.into_iter().chain(written).collect();
    folders.into_iter().filter(|folder| folder.join(".git").symlink_metadata().is_ok()).cloned().collect()
}

/// Those of these folders in which a repository has a folder of hooks; no link on the way to it.
pub fn with_hooks(mut folders: Vec<PathBuf>) -> Vec<PathBuf> {
    folders.retain(|folder| Dir::open(folder).and_then(|dir| dir.beneath(Path::new(".git/hooks"))).is_ok());
    folders
}

/// What the repositories in these folders run.
///
/// # Errors
/// When there is something to read, and git isn't installed.
pub fn programs(folders: &[PathBuf]) -> anyhow::Result<Programs> {
    let mut found = Programs::default();
    for folder in folders {
        let Ok(dir) = Dir::open(folder) else { continue };
        match dir.dir(OsStr::new(".git")) {
            Ok(git) => Search { found: &mut found, left: FOLDERS }.repository(&git)?,
            // It says where the repository is.
            Err(_) => found.add(format!("{}/.git", folder.display()), text(&dir, ".git").unwrap_or_default()),
        }
    }
    Ok(found)
}

/// What was remembered. None: nothing was yet.
pub fn remembered(state: &StateDir) -> Option<Programs> {
    serde_json::from_slice(&files::read(&state.programs_file()).ok()?).ok()
}

/// Remembers these as known.
///
/// # Errors
/// When that can't be written.
pub fn remember(state: &StateDir, programs: &Programs) -> anyhow::Result<()> {
    state.create()?;
    state::replace(&state.programs_file(), &serde_json::to_vec(programs)?, 0o600, None)
}

/// One repository, and the submodules in it.
struct Search<'a> {
    found: &'a mut Programs,
    left: usize,
}

impl Search<'_> {
    fn repository(&mut self, git: &Dir) -> anyhow::Result<()> {
        self.left = self.left.saturating_sub(1);
        let is_submodule = git.path().components().any(|part| part.as_os_str() == "modules");
        for name in ["config", "config.worktree"] {
            let Some(text) = text(git, name) else { continue };
            let is_harmless = |key: &str, value: &str| {
                // Beside the repository of a submodule there is nothing to work on.
                harmless::is(key, value) || is_submodule && key == "core.worktree" && value.starts_with("../")
            };
            for (key, value) in entries(&text)?.into_iter().filter(|(key, value)| !is_harmless(key, value)) {
                self.found.add(format!("{}: {key}", git.path().join(name).display()), value);
            }
        }
        // Where the configuration is, if it isn't here.
        if let Some(elsewhere) = text(git, "commondir").filter(|place| place.trim() != "../..") {
            self.found.add(git.path().join("commondir").display().to_string(), elsewhere.trim().to_owned());
        }
        self.hooks(git);
        for folder in ["modules", "worktrees"] {
            self.below(git, folder)?;
        }
        Ok(())
    }

    /// Submodules have names like paths: what has a configuration is one.
    fn below(&mut self, parent: &Dir, name: &str) -> anyhow::Result<()> {
        let Ok(folder) = parent.dir(OsStr::new(name)) else { return Ok(()) };
        for name in folder.names().unwrap_or_default() {
            let Ok(inner) = folder.dir(&name) else { continue };
            let is_repository = ["config", "commondir"].iter().any(|file| inner.stat(OsStr::new(file)).is_ok());
            match name.to_str() {
                _ if self.left == 0 => {
                    self.found.add(folder.path().display().to_string(), "too many repositories".to_owned());
                    return Ok(());
                }
                _ if is_repository => self.repository(&inner)?,
                Some(name) => {
                    self.left -= 1;
                    self.below(&folder, name)?;
                }
                None => {}
            }
        }
        Ok(())
    }

    fn hooks(&mut self, git: &Dir) {
        let Ok(hooks) = git.dir(OsStr::new("hooks")) else { return };
        let names = hooks.names().unwrap_or_default();
        for name in names.iter().filter_map(|name| name.to_str()).filter(|name| !name.ends_with(".sample")) {
            let content = text(&hooks, name).unwrap_or_default();
            let digest = hex::encode(Sha256::digest(content));
            self.found.add(hooks.path().join(name).display().to_string(), format!("SHA-256 {}", &digest[..16]));
        }
    }
}

/// The beginning of a plain file. None: there is no such thing.
fn text(dir: &Dir, name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    dir.file(OsStr::new(name)).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Every setting of a configuration, as git itself reads it. Nothing that it includes is read, and nothing is run. What git
/// can't read is one setting, with a name that says so.
fn entries(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut git = Command::new("git")
        .args(["config", "--file", "-", "--null", "--list", "--no-includes"])
        .current_dir("/")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("can't run git, which reads its configuration")?;
    let (input, text, digest) = (git.stdin.take(), text.to_owned(), hex::encode(Sha256::digest(text)));
    // Beside the reading: neither waits for the other to finish.
    let writer = std::thread::spawn(move || match input.map(|mut input| input.write_all(text.as_bytes())) {
        Some(Err(error)) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    });
    let output = git.wait_with_output().context("git can't be waited for")?;
    writer.join().unwrap_or(Ok(())).context("git can't be written to")?;
    if !output.status.success() {
        return Ok(vec![("(what git can't read)".to_owned(), format!("SHA-256 {}", &digest[..16]))]);
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let entry = |entry: &str| match entry.split_once('\n') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (entry.to_owned(), "true".to_owned()),
    };
    Ok(text.split_terminator('\0').map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: PathBuf, text: &str) {
        std::fs::create_dir_all(path.parent().expect("below the root")).expect("a folder");
        std::fs::write(path, text).expect("written");
    }

    fn look(folder: &Path) -> Programs {
        programs(&[folder.to_owned()]).expect("git is here")
    }

    #[test]
    fn what_runs_programs_is_found_wherever_git_looks_for_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let git = folder.path().join(".git");
        write(git.join("config"), "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = https://host.example/a\n");
        write(git.join("hooks/pre-commit.sample"), "exit 0\n");
        write(git.join("modules/lib/a/config"), "[core]\n\tworktree = ../../../../lib/a\n");
        let known = look(folder.path());
        assert_eq!(known, Programs::default());
        write(git.join("config"), "[core]\n\tfsmonitor = ./run\n[alias]\n\tst = !run\n[include]\n\tpath = ../own\n");
        write(git.join("config.worktree"), "[filter \"x\"]\n\tclean\n\tsmudge = a\n\tsmudge = b\n");
        write(git.join("modules/lib/a/config"), "[core]\n\tsshCommand = run\n");
        write(git.join("modules/lib/a/hooks/post-checkout"), "run\n");
        write(git.join("worktrees/w/commondir"), "/elsewhere\n");
        let told = look(folder.path()).new_since(&known).join("\n");
        let lines = [
            "config: core.fsmonitor = ./run",
            "config: alias.st = !run",
            "config: include.path = ../own",
            "config.worktree: filter.x.clean = true",
            "config.worktree: filter.x.smudge = b",
            "modules/lib/a/config: core.sshcommand = run",
            "modules/lib/a/hooks/post-checkout = SHA-256 ",
            "worktrees/w/commondir = /elsewhere",
        ];
        for line in lines {
            assert!(told.contains(&format!("{}/{line}", git.display())), "{line} is missing: {told}");
        }
        assert_eq!(told.lines().count(), lines.len() + 1, "{told}");
        assert_eq!(look(folder.path()).new_since(&look(folder.path())), Vec::<String>::new());
    }

    #[test]
    fn links_pipes_and_nonsense_are_no_way_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let git = folder.path().join(".git");
        write(git.join("config"), "[broken");
        std::os::unix::fs::symlink("/etc/passwd", git.join("config.worktree")).expect("a link");
        std::os::unix::fs::symlink("/etc", git.join("hooks")).expect("a link");
        files::make_pipe(&git.join("commondir"));
        assert_eq!(look(folder.path()).new_since(&Programs::default()).len(), 1, "git can't read it");
        assert_eq!(with_hooks(vec![folder.path().to_owned()]), Vec::<PathBuf>::new());
        std::fs::remove_file(git.join("hooks")).expect("it is a link");
        std::fs::create_dir(git.join("hooks")).expect("a folder");
        assert_eq!(with_hooks(vec![folder.path().to_owned()]), [folder.path()]);
        std::fs::remove_dir_all(&git).expect("a folder");
        write(git, "gitdir: /elsewhere\n");
        assert_eq!(look(folder.path()).new_since(&Programs::default()).len(), 1, "another place");
    }
}
