//! The whole way round on real file systems: copy, verify, restore, and what may go wrong on it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::manifest::{EntryKind, Reason};
use super::*;
use crate::files;
use crate::units::User;

struct Place {
    temp: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let temp = tempfile::tempdir().expect("a temporary folder");
        for folder in Folder::ALL {
            fs::create_dir_all(temp.path().join(".agent-mount").join(folder.mount())).expect("folders");
        }
        Self { temp }
    }

    fn data(&self) -> PathBuf {
        self.temp.path().join(".agent-mount/docker_data")
    }

    fn persist(&self) -> Result<Made, BackupError> {
        self.persist_while(|_| ())
    }

    /// `meanwhile` is called between any two blocks that are copied.
    fn persist_while(&self, meanwhile: impl Fn(u64) + Send + Sync + 'static) -> Result<Made, BackupError> {
        let store = Arc::new(Store::open(self.temp.path(), User::own())?);
        let mut draft = Draft::begin(&store, "demo", Reason::Persist)?;
        draft.add(STATE, b"{}", &Job::default())?;
        let total = draft.measure(&Folder::ALL, &Job::default())?;
        draft.copy(&Folder::ALL, total, &Job::new(meanwhile))?;
        draft.commit()
    }

    fn backup(&self, name: &str) -> PathBuf {
        self.temp.path().join(".agent-mount/backups").join(name)
    }

    fn store(&self) -> Arc<Store> {
        Arc::new(Store::open(self.temp.path(), User::own()).expect("opens"))
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.backup("")).expect("reads");
        entries.map(|entry| entry.expect("reads").file_name().to_string_lossy().into_owned()).collect()
    }
}

/// A tree with everything that is hard to keep.
fn fill(data: &Path) {
    fs::create_dir_all(data.join("deep/er/empty")).expect("folders");
    fs::write(data.join("plain"), "content").expect("file");
    fs::write(data.join(OsStr::from_bytes(b"not\xffutf8\n")), "odd name").expect("file");
    fs::write(data.join("deep/program"), "#!/bin/sh\n").expect("file");
    fs::set_permissions(data.join("deep/program"), fs::Permissions::from_mode(0o1751)).expect("mode");
    symlink("/etc/shadow", data.join("link")).expect("link");
    symlink(OsStr::from_bytes(b"dangling\xfe"), data.join("deep/dangling")).expect("link");
    let sparse = fs::File::create(data.join("sparse")).expect("file");
    sparse.set_len(4 << 20).expect("length");
    fs::set_permissions(data.join("deep/er"), fs::Permissions::from_mode(0o1750)).expect("mode");
    let old = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 5_000);
    fs::File::open(data.join("plain")).expect("opens").set_modified(old).expect("time");
}

/// Everything about a tree that must come back.
fn picture(root: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().map(|entry| entry.expect("reads"));
    let line = |entry: walkdir::DirEntry| {
        let metadata = fs::symlink_metadata(entry.path()).expect("reads");
        let path = entry.path().strip_prefix(root).expect("below the root").to_owned();
        let content = match metadata.file_type() {
            kind if kind.is_file() => fs::read(entry.path()).expect("reads").len().to_string(),
            kind if kind.is_symlink() => format!("{:?}", fs::read_link(entry.path()).expect("reads")),
            _ => "folder".to_owned(),
        };
        let time = (metadata.mtime(), metadata.mtime_nsec());
        format!("{path:?} {:o} {}:{} {time:?} {content}", metadata.mode(), metadata.uid(), metadata.gid())
    };
    entries.map(line).collect()
}

#[test]
fn everything_comes_back_as_it_was() {
    let place = Place::new();
    fill(&place.data());
    let before = picture(&place.data());
    let made = place.persist().expect("backs up");
    assert!(made.complete && made.changing.is_empty() && made.skipped.is_empty(), "{made:?}");
    assert_eq!(picture(&place.backup(&made.name).join("tree/data")), before);
    let sparse = fs::metadata(place.backup(&made.name).join("tree/data/sparse")).expect("there");
    assert!(sparse.blocks() * 512 < 1 << 18, "the hole takes {} bytes", sparse.blocks() * 512);

    fs::remove_dir_all(place.data()).expect("removes");
    fs::create_dir(place.data()).expect("folder");
    fs::write(place.data().join("new"), "made since").expect("file");
    let store = place.store();
    store.verify(&made.name, &Job::default()).expect("whole");
    let restored = restore::restore(&store, &made.name, &[Folder::Data], "demo", &Job::default()).expect("restores");
    assert_eq!(picture(&place.data()), before);
    let saved = restored.saved_as.expect("what was there is saved");
    assert_eq!(fs::read(place.backup(&saved).join("tree/data/new")).expect("saved"), b"made since");
    assert_eq!(store.find(None).expect("found").name, made.name, "what restore saved isn't the latest");
    assert_eq!(store.list().expect("lists").len(), 2);
}

#[test]
fn nobody_gains_rights_by_a_backup_or_what_is_put_back() {
    let place = Place::new();
    let program = place.data().join("program");
    fs::write(&program, "#!/bin/sh").expect("file");
    fs::create_dir(place.data().join("shared")).expect("folder");
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode");
    set(&program, 0o6755);
    set(&place.data().join("shared"), 0o3775);
    let made = place.persist().expect("backs up");
    let mode = |path: PathBuf| fs::symlink_metadata(path).expect("there").mode() & 0o7777;
    let copy = place.backup(&made.name).join("tree/data");
    assert_eq!((mode(copy.join("program")), mode(copy.join("shared"))), (0o755, 0o1775));
    assert_eq!(mode(place.backup("")), 0o700);

    // A manifest that was written by hand, whole by its own checksum, with another's program in it.
    forge(&place.backup(&made.name).join("manifest.jsonl"));
    let store = place.store();
    store.verify(&made.name, &Job::default()).expect("whole, as far as anybody can tell");
    restore::restore(&store, &made.name, &[Folder::Data], "demo", &Job::default()).expect("restores");
    assert_eq!((mode(program.clone()), mode(place.data().join("shared"))), (0o755, 0o1775));
    assert_eq!(fs::metadata(&program).expect("there").uid(), User::own().uid);
}

/// Lets everything be another's and set-user-ID, and seals that.
fn forge(manifest: &Path) {
    use sha2::Digest as _;
    let text = fs::read_to_string(manifest).expect("reads");
    let mut lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let mut end = lines.pop().expect("a last line");
    for line in lines.iter_mut().filter(|line| line.get("mode").is_some()) {
        line["mode"] = (line["mode"].as_u64().expect("a mode") | 0o6000).into();
        (line["uid"], line["gid"]) = (4321.into(), 4321.into());
    }
    let before: String = lines.iter().map(|line| format!("{line}\n")).collect();
    end["end"]["sha256"] = hex::encode(sha2::Sha256::digest(&before)).into();
    fs::write(manifest, format!("{before}{end}\n")).expect("writes");
}

#[test]
fn damage_of_every_kind_is_found() {
    let place = Place::new();
    fill(&place.data());
    type Harm = fn(&Path);
    let harms: &[(&str, Harm)] = &[
        ("its content differs", |data| fs::write(data.join("plain"), "CONTENT").expect("writes")),
        ("bytes long", |data| fs::write(data.join("plain"), "cont").expect("writes")),
        ("missing", |data| fs::remove_file(data.join("plain")).expect("removes")),
        ("not in the manifest", |data| fs::write(data.join("more"), "").expect("writes")),
        ("points elsewhere", |data| {
            fs::remove_file(data.join("link")).expect("removes");
            symlink("/etc/passwd", data.join("link")).expect("link");
        }),
        ("of another kind", |data| {
            fs::remove_file(data.join("plain")).expect("removes");
            symlink("/etc/passwd", data.join("plain")).expect("link");
        }),
        ("cut short", |data| {
            let manifest = data.join("../../manifest.jsonl");
            let text = fs::read_to_string(&manifest).expect("reads");
            let last = text.trim_end().rfind('\n').expect("more than a line");
            fs::write(manifest, &text[..=last]).expect("writes");
        }),
    ];
    for (problem, harm) in harms {
        let made = place.persist().expect("backs up");
        harm(&place.backup(&made.name).join("tree/data"));
        let store = place.store();
        let error = store.verify(&made.name, &Job::default()).expect_err(problem).to_string();
        assert!(error.contains(problem), "{problem}: {error}");
    }
}

#[test]
fn sockets_and_pipes_are_skipped_and_unreadable_depths_are_told() {
    let place = Place::new();
    let _socket = std::os::unix::net::UnixListener::bind(place.data().join("socket")).expect("binds");
    files::make_pipe(&place.data().join("pipe"));
    let made = place.persist().expect("backs up");
    let why: Vec<_> = made.skipped.iter().map(|skipped| skipped.why.as_str()).collect();
    assert_eq!((why, made.complete), (vec!["a pipe", "a socket"], true));

    let deep: PathBuf = std::iter::repeat_n("d", files::MAX_DEPTH + 5).collect();
    fs::create_dir_all(place.data().join(&deep)).expect("folders");
    let made = place.persist().expect("backs up");
    assert!(!made.complete);
    let store = place.store();
    let error = restore::restore(&store, &made.name, &[Folder::Data], "demo", &Job::default()).expect_err("too deep");
    assert!(matches!(error, BackupError::Unsaved(_)), "{error}");
    assert!(place.data().join(&deep).exists(), "nothing was changed");
}

#[test]
fn a_folder_that_turns_into_a_link_and_back_never_leads_outside() {
    let place = Place::new();
    let outside = place.temp.path().join("outside");
    fs::create_dir(&outside).expect("folder");
    fs::write(outside.join("secret"), "of the host").expect("file");
    fs::create_dir(place.data().join("a")).expect("folder");
    fs::write(place.data().join("a/secret"), "of the container").expect("file");
    let stop = Arc::new(AtomicBool::new(false));
    let swapping = {
        let (stop, data) = (stop.clone(), place.data());
        symlink(&outside, data.join("b")).expect("link");
        std::thread::spawn(move || {
            let dir = files::Dir::open(&data).expect("opens");
            while !stop.load(Ordering::Relaxed) {
                dir.exchange(OsStr::new("a"), OsStr::new("b")).expect("swaps");
            }
        })
    };
    for _ in 0..200 {
        let made = place.persist().expect("backs up");
        for name in ["a", "b"] {
            let copy = place.backup(&made.name).join("tree/data").join(name);
            if fs::symlink_metadata(&copy).is_ok_and(|metadata| metadata.is_dir()) {
                assert_eq!(fs::read(copy.join("secret")).expect("reads"), b"of the container");
            }
        }
        place.store().retire(1).expect("retires");
    }
    stop.store(true, Ordering::Relaxed);
    swapping.join().expect("swaps until told");
}

#[test]
fn a_file_that_never_holds_still_is_told_and_still_verifies() {
    let place = Place::new();
    fs::write(place.data().join("log"), vec![7; 8 << 20]).expect("file");
    let log = fs::OpenOptions::new().append(true).open(place.data().join("log")).expect("opens");
    let made = place.persist_while(move |_| std::io::Write::write_all(&mut &log, b"line\n").expect("writes"));
    let made = made.expect("backs up");
    assert_eq!(made.changing.len(), 1, "{made:?}");
    let manifest = place.store().verify(&made.name, &Job::default()).expect("what was copied is what is kept");
    let entry = &manifest.entries[OsStr::new("tree/data/log")];
    assert!(matches!(entry.kind, EntryKind::File { changing: true, .. }));
}

#[test]
fn retiring_keeps_the_newest_and_what_is_not_ours() {
    let place = Place::new();
    let made: Vec<_> = (0..4).map(|_| place.persist().expect("backs up").name).collect();
    fs::create_dir(place.backup("precious")).expect("folder");
    let gone = place.store().retire(2).expect("retires");
    assert_eq!(gone, made[..2]);
    let mut names = place.names();
    names.sort();
    assert_eq!(names, [".lock", &made[2], &made[3], "precious"]);
}

#[test]
fn a_stopped_run_leaves_nothing() {
    let place = Place::new();
    fs::write(place.data().join("file"), "x").expect("file");
    let store = place.store();
    let mut draft = Draft::begin(&store, "demo", Reason::Persist).expect("begins");
    let job = Job::default();
    job.cancel();
    assert!(matches!(draft.copy(&Folder::ALL, 1, &job), Err(BackupError::Cancelled)));
    drop(draft);
    assert_eq!(place.names(), [".lock"]);
}

#[test]
fn a_mark_of_another_backup_proves_nothing() {
    let place = Place::new();
    let one = place.persist().expect("backs up").name;
    fs::write(place.data().join("file"), "x").expect("file");
    let other = place.persist().expect("backs up").name;
    let store = place.store();
    store.verify(&one, &Job::default()).expect("whole");
    fs::copy(place.backup(&one).join("verified.json"), place.backup(&other).join("verified.json")).expect("copies");
    let marks: Vec<_> = store.list().expect("lists").iter().map(|b| b.verified_ms.is_some()).collect();
    assert_eq!(marks, [true, false]);
}
