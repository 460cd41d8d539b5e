//! What is mounted read-only stays so, and nothing of the host's is mounted besides.

use super::{CLOSED, against_each, environment, inside, refused};
use crate::common::Project;

/// Everything that could make `$t` writable, or put something else in its place, with a write after each.
const OVERWRITE: &str = r#"
for attack in true "mount -o remount,rw,bind" "mount -o remount,rw" umount "umount -l" "mount --bind /tmp"; do
    $attack "$t" 2>/dev/null
    echo planted 2>/dev/null > "$t/$f" && exit 0
done
exit 1"#;

/// A project with keys in its home, and a folder mounted read-only.
fn with_read_only_folders(security: &str) -> Project {
    let project = Project::bare();
    let ssh = project.home().join(".ssh");
    std::fs::create_dir_all(&ssh).expect("it can be made");
    std::fs::write(ssh.join("authorized_keys"), "mine\n").expect("it can be written");
    project.write("kept/file", "mine\n");
    project.yaml(&format!(
        "{}security: {security}\nmounts: [{{source: ./kept, target: /kept, read_only: true}}]\n",
        super::IDLE
    ));
    project.powerdev(["up"]).run().ok();
    project
}

fn overwrite(target: &str, file: &str) -> String {
    format!("t={target}; f={file}\n{OVERWRITE}")
}

#[test]
fn read_only_mounts_stay_read_only() {
    for security in CLOSED {
        let project = with_read_only_folders(security);
        let agent = project.state_home().join("powerdev").join(project.name()).join("agent");
        for (target, file, outside) in [
            ("/opt/powerdev", "config/services.json", agent.join("config/services.json")),
            ("/opt/powerdev", "bin/powerdev-agent", agent.join("bin/powerdev-agent")),
            ("/kept", "file", project.dir().join("kept/file")),
            ("/home/dev/.ssh", "authorized_keys", project.home().join(".ssh/authorized_keys")),
        ] {
            let before = std::fs::read(&outside).expect("it is there");
            for user in ["root", "dev"] {
                // ~/.ssh may be a folder of the container's own, which may be written to.
                inside(&project, user, &overwrite(target, file));
            }
            let after = std::fs::read(&outside).expect("it is there");
            assert!(before == after, "{security}: {} was changed through {target}", outside.display());
        }
        refused(&project, security, &["root", "dev"], &overwrite("/opt/powerdev", "planted"));
        refused(&project, security, &["root", "dev"], &overwrite("/kept", "planted"));
    }
}

#[test]
fn nothing_is_mounted_from_inside() {
    against_each(|project, security| {
        for what in [
            "-t proc proc",
            "-t sysfs sysfs",
            "-t tmpfs tmpfs",
            "-t devtmpfs devtmpfs",
            "-t cgroup -o memory cgroup",
            "-t cgroup2 cgroup2",
            "--bind /etc",
            "--rbind /proc",
            "-t overlay -o lowerdir=/etc:/usr overlay",
        ] {
            refused(project, security, &["root", "dev"], &format!("mkdir -p /tmp/m; mount {what} /tmp/m"));
        }
        refused(project, security, &["root", "dev"], "umount /proc/kcore || umount -l /proc/sys");
        refused(project, security, &["root", "dev"], "mount -o remount,rw /proc/sys || mount -o remount,rw /sys");
    });
}

/// Not defended, and said so.
#[test]
fn trusted_remounts() {
    let project = environment("trusted", "");
    inside(&project, "root", "mount -o remount,rw,bind /opt/powerdev && touch /opt/powerdev/planted").ok();
    let agent = project.state_home().join("powerdev").join(project.name()).join("agent");
    assert!(agent.join("planted").exists(), "it leads out");
}
