//! Processes of others: PID 1, which runs as `dev` does, and those of another user.

use super::{against_each, inside, refused};

#[test]
fn nobody_gets_into_pid_1() {
    against_each(|project, security| {
        for what in [
            // The kernel asks the same before it lets a debugger attach.
            "exec 3<>/proc/1/mem",
            "cat /proc/1/environ",
            "cat /proc/1/maps",
            "readlink /proc/1/fd/1",
            "cat < /proc/1/fd/0",
            "ls /proc/1/root/",
            "ls /proc/1/cwd/",
            "readlink /proc/1/exe",
            "readlink /proc/1/ns/mnt",
        ] {
            refused(project, security, &["root", "dev"], what);
        }
        // What dev runs is dev's to look at: only PID 1 is closed.
        inside(project, "dev", "exec 3<>/proc/$(pidof sleep)/mem && tr '\\0' '\\n' < /proc/$(pidof sleep)/environ")
            .ok();
        project.powerdev(["health"]).run().ok();
    });
}

#[test]
fn processes_of_another_user_are_closed() {
    against_each(|project, security| {
        // Root inside can be `dev`, where it can be another at all; as root it can't get into what `dev` runs.
        refused(project, security, &["root"], "exec 3<>/proc/$(pidof sleep)/mem");
        refused(project, security, &["root"], "ls /proc/$(pidof sleep)/root/");
        inside(project, "root", "setsid sleep 2000000 & echo $! > /tmp/root.pid").ok();
        refused(project, security, &["dev"], "exec 3<>/proc/$(cat /tmp/root.pid)/mem");
        refused(project, security, &["dev"], "kill $(cat /tmp/root.pid)");
    });
}

#[test]
fn pid_1_outlives_every_signal_that_ends_at_once() {
    against_each(|project, security| {
        for user in ["root", "dev"] {
            inside(project, user, "for signal in KILL STOP SEGV ABRT BUS; do kill -$signal 1; done");
        }
        let health = project.powerdev(["health"]).run();
        assert_eq!(health.code, 0, "{security}: {}", health.err());
    });
}
