//! Trust per project, as direnv has it: what a project's own files ask for beyond its folder (see
//! [`crate::config::Want`]) is done only once its user has agreed to it.
//!
//! What was agreed to is remembered in the state folder, by the project's path, one by one: other edits ask nothing
//! again, and what comes new is asked for by itself. The project's files can't reach that folder, and neither can a
//! container.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::{Settings, Want, WantKind};
use crate::failure::Failure;
use crate::state;

/// Beside the environments' folders in the state folder; no environment can have this name.
const FOLDER: &str = ".trust";

/// What a project asks for, and what of it its user has agreed to.
#[derive(Debug)]
pub struct Standing {
    dir: PathBuf,
    wants: Vec<Want>,
    agreed: BTreeSet<(WantKind, String)>,
}

/// What is kept about one project.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Ledger {
    /// The project's folder: for people, and against two paths of one hash.
    dir: PathBuf,
    agreed: Vec<Agreed>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Agreed {
    kind: WantKind,
    value: String,
}

impl Standing {
    /// That of the project with these settings; `more` is what it asks for besides, by files that aren't settings.
    ///
    /// # Errors
    /// When there is no place to keep state.
    pub fn of(settings: &Settings, more: impl IntoIterator<Item = Want>) -> anyhow::Result<Self> {
        let dir = settings.dir.clone();
        let agreed = read(&ledger(&dir)?, &dir);
        Ok(Self { wants: settings.wants.iter().cloned().chain(more).collect(), agreed, dir })
    }

    /// All that it asks for.
    pub fn wants(&self) -> &[Want] {
        &self.wants
    }

    /// Whether this was agreed to.
    pub fn is_agreed(&self, want: &Want) -> bool {
        self.agreed.contains(&key(want))
    }

    /// What has an effect now and nobody has agreed to.
    pub fn open(&self) -> Vec<&Want> {
        self.wants.iter().filter(|want| want.active && !self.is_agreed(want)).collect()
    }

    /// Something else was agreed to before: what is open is new.
    pub fn was_agreed(&self) -> bool {
        !self.agreed.is_empty()
    }

    /// Remembers that all of it is agreed to, and nothing else any more.
    ///
    /// # Errors
    /// When that can't be written.
    pub fn agree(&self) -> anyhow::Result<()> {
        write(&self.dir, self.wants.iter().map(key).collect())
    }

    /// Remembers that those of these files are agreed to, besides what was.
    ///
    /// # Errors
    /// When that can't be written.
    pub fn agree_to_files(&self, files: &[PathBuf]) -> anyhow::Result<()> {
        let theirs = self.wants.iter().filter(|want| files.contains(&want.file)).map(key);
        let agreed: BTreeSet<_> = self.agreed.iter().cloned().chain(theirs).collect();
        if agreed.is_empty() { Ok(()) } else { write(&self.dir, agreed) }
    }

    /// Refuses as long as anything is open: asked right before something is made from these settings.
    ///
    /// # Errors
    /// A usage [`Failure`] that tells what is open, and how to agree to it.
    pub fn require(&self) -> Result<(), Failure> {
        let open = self.open();
        if open.is_empty() {
            return Ok(());
        }
        let told: Vec<String> = open.iter().map(|want| want.told(&self.dir)).collect();
        let what = if self.was_agreed() { "asks for more than you agreed to" } else { "asks for what needs your word" };
        Err(Failure::usage(format!("{} {what}: {}", self.dir.display(), told.join("; ")))
            .hint("look at it; then `powerdev trust` agrees to it (--yes without asking), or give `up` --trust"))
    }
}

/// Forgets what was agreed to for the project in this folder; whether anything was.
///
/// # Errors
/// When it can't be removed.
pub fn revoke(dir: &Path) -> anyhow::Result<bool> {
    let path = ledger(dir)?;
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("can't remove {}", path.display())),
    }
}

fn key(want: &Want) -> (WantKind, String) {
    (want.kind, want.value.clone())
}

fn ledger(dir: &Path) -> anyhow::Result<PathBuf> {
    let name = hex::encode(Sha256::digest(dir.as_os_str().as_encoded_bytes()));
    Ok(state::state_home()?.join(FOLDER).join(format!("{}.json", &name[..32])))
}

/// What was agreed to; what can't be read was agreed to by nobody.
fn read(path: &Path, dir: &Path) -> BTreeSet<(WantKind, String)> {
    let ledger: Option<Ledger> = fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let ledger = ledger.filter(|ledger| ledger.dir == dir).unwrap_or_default();
    ledger.agreed.into_iter().map(|agreed| (agreed.kind, agreed.value)).collect()
}

fn write(dir: &Path, agreed: BTreeSet<(WantKind, String)>) -> anyhow::Result<()> {
    let path = ledger(dir)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("can't make {}", folder.display()))?;
    let agreed = agreed.into_iter().map(|(kind, value)| Agreed { kind, value }).collect();
    let content = serde_json::to_vec_pretty(&Ledger { dir: dir.to_owned(), agreed })?;
    state::replace(&path, &content, 0o600, None)
}
