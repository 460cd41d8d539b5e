//! Reading a backup again, whole, and comparing it with its manifest.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::FileType;
use serde::Serialize;

use super::content::{ContentReader, Sum};
use super::manifest::{self, Bytes, EntryKind, Manifest, ManifestEntry};
use super::store::{VERIFIED, VerifiedFile};
use super::{BackupError, Job, Store};
use crate::files::{self, Dir};

/// The mark while it is being written.
const MARKING: &str = ".verified-";

/// What differs between a backup and its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Where; the manifest's own name when it is the manifest itself.
    pub path: Bytes,
    /// How, e.g. `missing`, `its content differs`.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.0.display(), self.problem)
    }
}

impl Store {
    /// Reads a backup's manifest.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] when it isn't whole.
    pub fn manifest(&self, name: &str) -> Result<(Dir, Manifest), BackupError> {
        let dir = self.root.dir(OsStr::new(name)).map_err(|_| BackupError::NotFound(name.to_owned()))?;
        match dir.file(OsStr::new(manifest::FILE)).map_err(Into::into).and_then(Manifest::read) {
            Ok(manifest) => Ok((dir, manifest)),
            Err(error) => {
                let path = Bytes(manifest::FILE.into());
                let findings = vec![Finding { path, problem: error.to_string() }];
                Err(BackupError::Damaged { name: name.to_owned(), findings })
            }
        }
    }

    /// Reads every file of a backup and compares. A backup that is right is marked as verified now.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] with all that differs.
    pub fn verify(&self, name: &str, job: &Job) -> Result<Manifest, BackupError> {
        let (dir, manifest) = self.manifest(name)?;
        let mut check = Verification {
            entries: &manifest.entries,
            seen: BTreeSet::new(),
            findings: Vec::new(),
            contents: ContentReader::new(job),
        };
        check.level(&dir, OsStr::new(""))?;
        let mut findings = check.findings;
        let missing = manifest.entries.keys().filter(|path| !check.seen.contains(path.as_os_str()));
        findings.extend(missing.map(|path| Finding { path: Bytes(path.clone()), problem: "missing".into() }));
        if !findings.is_empty() {
            return Err(BackupError::Damaged { name: name.to_owned(), findings });
        }
        // The mark is a convenience: a backup on a read-only disk is as right without it.
        mark(&dir, &manifest.end.sha256).ok();
        Ok(manifest)
    }
}

struct Verification<'a> {
    entries: &'a std::collections::BTreeMap<OsString, ManifestEntry>,
    seen: BTreeSet<&'a OsStr>,
    findings: Vec<Finding>,
    contents: ContentReader<'a>,
}

impl Verification<'_> {
    fn level(&mut self, dir: &Dir, path: &OsStr) -> Result<(), BackupError> {
        let names = match dir.names() {
            Ok(names) => names,
            Err(error) => {
                self.found(path, error.to_string());
                return Ok(());
            }
        };
        for name in names {
            if !(path.is_empty() && beside_the_manifest(&name)) {
                self.one(dir, &name, &files::join(path, &name))?;
            }
        }
        Ok(())
    }

    fn one(&mut self, dir: &Dir, name: &OsStr, path: &OsStr) -> Result<(), BackupError> {
        self.contents.look_up()?;
        let Some((key, entry)) = self.entries.get_key_value(path) else {
            self.found(path, "not in the manifest");
            return Ok(());
        };
        self.seen.insert(key);
        let stat = match dir.stat(name) {
            Ok(stat) => stat,
            Err(error) => {
                self.found(path, error.to_string());
                return Ok(());
            }
        };
        match (&entry.kind, files::kind(&stat)) {
            (EntryKind::Dir, FileType::Directory) => match dir.dir(name) {
                Ok(below) => self.level(&below, path)?,
                Err(error) => self.found(path, error.to_string()),
            },
            (EntryKind::Link { target }, FileType::Symlink) => {
                if dir.read_link(name).ok().as_ref() != Some(&target.0) {
                    self.found(path, "points elsewhere");
                }
            }
            (EntryKind::File { size, .. }, FileType::RegularFile) if stat.st_size as u64 != *size => {
                self.found(path, format!("is {} bytes long, not {size}", stat.st_size));
            }
            (EntryKind::File { size, sha256, sparse, .. }, FileType::RegularFile) => match dir.file(name) {
                Ok(file) => match self.contents.sum(&file, &dir.path().join(name), (*size, *sparse)) {
                    Ok(sum) if sum == (Sum { size: *size, sha256: sha256.clone() }) => {}
                    Ok(_) => self.found(path, "its content differs"),
                    Err(BackupError::Io { source, .. }) => self.found(path, source.to_string()),
                    Err(error) => return Err(error),
                },
                Err(error) => self.found(path, error.to_string()),
            },
            _ => self.found(path, "is of another kind"),
        }
        Ok(())
    }

    fn found(&mut self, path: &OsStr, problem: impl Into<String>) {
        self.findings.push(Finding { path: Bytes(path.to_owned()), problem: problem.into() });
    }
}

/// The manifest itself and the mark of `verify`, finished or not.
fn beside_the_manifest(name: &OsStr) -> bool {
    name == manifest::FILE || name == VERIFIED || name.as_bytes().starts_with(MARKING.as_bytes())
}

fn mark(dir: &Dir, manifest: &str) -> std::io::Result<()> {
    let at_ms = jiff::Timestamp::now().as_millisecond().unsigned_abs();
    let temporary = OsString::from(format!("{MARKING}{}", std::process::id()));
    let mut file = dir.create(&temporary)?;
    let line = serde_json::to_vec(&VerifiedFile { at_ms, manifest: manifest.to_owned() })?;
    file.write_all(&line).and_then(|()| file.sync_all())?;
    dir.replace(&temporary, OsStr::new(VERIFIED))
}
