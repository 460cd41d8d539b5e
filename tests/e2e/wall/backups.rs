//! What agents leave behind for the one who backs it up, and puts it back, as root perhaps.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::time::Duration;

use super::{EVERY, environment, inside};
use crate::common::Project;

const SOON: Duration = Duration::from_secs(60);

fn data(project: &Project) -> PathBuf {
    project.dir().join(".agent-mount/docker_data")
}

fn persisted(project: &Project) -> PathBuf {
    let made = project.powerdev(["persist", "--json"]).deadline(SOON).run().ok().json();
    made["path"].as_str().expect("a path").into()
}

#[test]
fn no_program_in_a_backup_or_put_back_lends_its_owners_rights() {
    for (project, security) in EVERY.map(|security| (environment(security, ""), security)) {
        let plant = "cp /bin/busybox ~dev/data/su && chmod 6755 ~dev/data/su";
        inside(&project, "dev", plant).ok();
        if security != "strict" {
            inside(&project, "root", "chown 0:0 ~dev/data/su && chmod 6755 ~dev/data/su").ok();
        }
        let planted = fs::metadata(data(&project).join("su")).expect("there");
        assert_eq!(planted.mode() & 0o6000, 0o6000, "{security}: the attack itself went wrong");
        let backup = persisted(&project);
        let copy = fs::metadata(backup.join("tree/data/su")).expect("copied");
        assert_eq!(copy.mode() & 0o7777, 0o755, "{security}");
        assert_eq!(fs::metadata(backup.parent().expect("the folder of backups")).expect("there").mode() & 0o777, 0o700);

        project.powerdev(["stop"]).run().ok();
        fs::remove_file(data(&project).join("su")).expect("ours, or we are root");
        project.powerdev(["restore", "--yes"]).deadline(SOON).run().ok();
        let restored = fs::metadata(data(&project).join("su")).expect("put back");
        let user = fs::metadata(data(&project)).expect("there").uid();
        assert_eq!((restored.mode() & 0o7777, restored.uid()), (0o755, user), "{security}");
        assert_ne!(user, 0, "{security}: root's own");
    }
}

#[test]
fn half_a_terabyte_of_nothing_is_backed_up_checked_and_put_back_at_once() {
    for (project, security) in EVERY.map(|security| (environment(security, ""), security)) {
        inside(&project, "dev", "cd ~dev/data && truncate -s 500G huge && echo end >> huge").ok();
        let backup = persisted(&project);
        project.powerdev(["backups", "--verify"]).deadline(SOON).run().ok();
        project.powerdev(["stop"]).run().ok();
        project.powerdev(["restore", "--yes"]).deadline(SOON).run().ok();
        for file in [backup.join("tree/data/huge"), data(&project).join("huge")] {
            let found = fs::metadata(&file).expect("there");
            assert_eq!(found.len(), (500 << 30) + 4, "{security}: {}", file.display());
            assert!(found.blocks() * 512 < 1 << 20, "{security}: {} takes room", file.display());
        }
    }
}

#[test]
fn a_manifest_that_nobody_wrote_is_damage_to_every_command() {
    let project = environment("strict", "");
    inside(&project, "dev", "echo work > ~dev/data/file").ok();
    project.powerdev(["stop"]).run().ok();
    let backup = persisted(&project);
    let manifest = backup.join("manifest.jsonl");
    let name = backup.file_name().expect("a name").to_str().expect("plain").to_owned();
    let whole = fs::read(&manifest).expect("there");
    let harms: [(&str, &dyn Fn()); 2] = [
        ("bytes after its end", &|| fs::write(&manifest, [&whole, &b"x\n"[..]].concat()).expect("ours")),
        ("six gigabytes", &|| fs::File::create(&manifest).and_then(|file| file.set_len(6 << 30)).expect("ours")),
    ];
    for (harm, carry_out) in harms {
        carry_out();
        let listed = project.powerdev(["backups", "--json"]).deadline(SOON).run().ok().json();
        assert!(listed["backups"][0]["problem"].is_string(), "{harm}: {listed}");
        project.powerdev(["backups", "--verify"]).deadline(SOON).run().code(9);
        project.powerdev(["restore", &name, "--yes"]).deadline(SOON).run().code(9);
        fs::write(&manifest, &whole).expect("ours");
    }
    project.powerdev(["restore", &name, "--yes"]).deadline(SOON).run().ok();
}

#[test]
fn a_folder_of_backups_that_leads_elsewhere_or_is_anothers_is_refused() {
    for security in EVERY {
        let project = environment(security, "");
        let (place, outside) = (project.dir().join(".agent-mount/backups"), project.home().join("outside"));
        fs::create_dir(&outside).expect("writable");
        symlink(&outside, &place).expect("writable");
        let refused = || {
            let said = project.powerdev(["persist"]).run().code(8).err();
            assert!(said.contains(&place.display().to_string()) && said.contains("hint:"), "{security}: {said}");
        };
        refused();
        assert_eq!(fs::read_dir(&outside).expect("there").count(), 0, "{security}: something was written there");
        fs::remove_file(&place).expect("ours");
        if rustix::process::geteuid().is_root() {
            fs::create_dir(&place).and_then(|()| chown(&place, Some(4321), None)).expect("root may");
            refused();
            chown(&place, Some(0), None).expect("root may");
            fs::set_permissions(&place, PermissionsExt::from_mode(0o777)).expect("ours");
            persisted(&project);
            assert_eq!(fs::metadata(&place).expect("there").mode() & 0o777, 0o700, "{security}");
        }
    }
}
