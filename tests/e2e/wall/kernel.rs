//! The kernel, which is everybody's: its settings, its memory, its cgroups and namespaces.
//!
//! What is written is what was read, or nothing: an attack that succeeds changes nothing of the machine's.

use super::{against_each, inside, refused};

/// Opens `$f` for writing, and writes what is there already.
const WRITE_BACK: &str =
    r#"text=$(cat "$f" 2>/dev/null); if [ -n "$text" ]; then echo "$text" > "$f"; else : >> "$f"; fi"#;

#[test]
fn kernel_settings_stay_as_they_are() {
    against_each(|project, security| {
        for file in [
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/modprobe",
            "/proc/sys/kernel/hostname",
            "/proc/sys/kernel/randomize_va_space",
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/sys/vm/overcommit_memory",
            "/proc/sys/fs/suid_dumpable",
            "/proc/sysrq-trigger",
            "/sys/kernel/mm/transparent_hugepage/enabled",
        ] {
            refused(project, security, &["root", "dev"], &format!("f={file}; {WRITE_BACK}"));
        }
        for user in ["root", "dev"] {
            let opened = "find /sys -maxdepth 4 -type f -perm -200 2>/dev/null | head -n 400 | \
                          while read -r f; do { : >> \"$f\"; } 2>/dev/null && echo \"$f\"; done; true";
            assert_eq!(inside(project, user, opened).ok().out(), "", "{security}, as {user}: opened for writing");
        }
        for user in ["root", "dev"] {
            let said = inside(project, user, "hostname \"$(hostname)\"; date -s \"@$(date +%s)\"").err();
            assert_eq!(said.matches("not permitted").count(), 2, "{security}, as {user}: {said}");
        }
    });
}

#[test]
fn kernel_memory_and_modules_are_out_of_reach() {
    against_each(|project, security| {
        for what in ["/proc/kcore", "/dev/mem", "/dev/kmem", "/dev/port", "/dev/kmsg", "/proc/keys", "/proc/timer_list"]
        {
            let read = format!("test -n \"$(head -c 16 {what} 2>/dev/null)\"");
            refused(project, security, &["root", "dev"], &read);
        }
        refused(project, security, &["root", "dev"], "dmesg");
        for user in ["root", "dev"] {
            // Refused for what it is, before anybody looks at the file.
            let said = inside(project, user, "echo nothing > /tmp/$$.ko; insmod /tmp/$$.ko").err();
            assert!(said.contains("Operation not permitted"), "{security}, as {user}: {said}");
        }
    });
}

/// Writes to the files of the cgroup's hierarchies, of version 1 and 2, and makes groups in them. The folder that those of
/// version 1 are mounted in is the container's own.
const WRITE_TO_CGROUPS: &str = r#"
r=1
for d in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ -e "$d/cgroup.procs" ] || continue
    for f in release_agent notify_on_release cgroup.procs tasks devices.allow memory.max memory.limit_in_bytes; do
        [ -e "$d/$f" ] && { echo $$ > "$d/$f"; } 2>/dev/null && r=0
    done
    mkdir "$d/new" 2>/dev/null && r=0
done
exit $r"#;

#[test]
fn cgroups_lead_nowhere() {
    against_each(|project, security| {
        let users = &["root", "dev"];
        refused(project, security, users, "mkdir -p /tmp/c; mount -t cgroup -o devices cgroup /tmp/c");
        refused(project, security, users, "mkdir -p /tmp/c; mount -t cgroup2 cgroup2 /tmp/c");
        refused(project, security, users, WRITE_TO_CGROUPS);
        // Nobody inside learns where in the host's tree it is.
        refused(project, security, users, "grep -v ':/$' /proc/self/cgroup");
    });
}

#[test]
fn no_namespace_gives_what_the_container_lacks() {
    against_each(|project, security| {
        for what in [
            "unshare -U true",
            "unshare -Ur true",
            "unshare -Urm mount -t tmpfs tmpfs /tmp",
            "unshare -m true",
            "unshare -n true",
            "unshare -p true",
            "nsenter -t 1 -m true",
            "nsenter -t $$ -m -u -n true",
            "chroot / true",
            "pivot_root / /tmp",
        ] {
            refused(project, security, &["root", "dev"], what);
        }
        for namespace in ["mnt", "pid", "net", "uts", "ipc"] {
            let outside = std::fs::read_link(format!("/proc/self/ns/{namespace}")).expect("it is there");
            let there = inside(project, "dev", &format!("readlink /proc/self/ns/{namespace}")).ok();
            assert_ne!(there.out().trim(), outside.to_string_lossy(), "{security}");
        }
    });
}
