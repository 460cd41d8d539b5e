//! Programs with the set-user-ID bit, left where this machine sees them.

use super::{environment, inside};

/// A program of root's, with the bit, in the folder that everybody works in.
const PLANT: &str = "cp /bin/busybox /home/dev/workspace/planted && chown 0:0 /home/dev/workspace/planted && \
                     chmod 4755 /home/dev/workspace/planted";

fn planted(security: &str, user: &str) -> bool {
    use std::os::unix::fs::MetadataExt;

    let project = environment(security, "");
    inside(&project, user, PLANT);
    let planted = project.dir().join(".agent-mount/docker_workspace/planted");
    std::fs::metadata(planted).is_ok_and(|file| file.uid() == 0 && file.mode() & 0o4000 != 0)
}

#[test]
fn strict_leaves_no_program_of_roots() {
    for user in ["dev", "root"] {
        assert!(!planted("strict", user), "as {user}");
    }
}

/// Root inside is this machine's root to a file system: not defended, and said so.
#[test]
fn root_inside_leaves_programs_of_roots() {
    assert!(planted("dev", "root"), "the documentation says so");
    assert!(!planted("dev", "dev"));
}
