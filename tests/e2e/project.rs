//! The project's folder inside: whose it is, and what Git finds in it.

use std::os::unix::fs::{MetadataExt, chown};

use crate::common::{Output, Project};

const IDLE: &str = "services: { idle: { command: exec sleep 1000000 } }\n";

fn inside(project: &Project, script: &str) -> Output {
    project.powerdev(["exec", "--", "sh", "-c", script]).run()
}

#[test]
fn roots_container_works_as_the_projects_owner() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let project = Project::bare();
    project.yaml(IDLE);
    let said = project.powerdev(["up"]).run().ok().err();
    assert!(
        said.contains("belongs to user 0, and dev inside is 1000:1000: it can't write to /workspace/ext"),
        "{said}"
    );
    // What was made for another stays that one's, and goes on.
    chown(project.dir(), Some(1234), Some(1234)).expect("root may");
    project.powerdev(["trust", "--yes"]).run().ok();
    project.powerdev(["restart"]).run().ok();
    let said = project.powerdev(["up"]).run().ok().err();
    assert!(said.contains("belongs to user 1234, and dev inside is 1000:1000"), "{said}");
    assert!(!said.contains("--recreate"), "nothing has drifted: {said}");
    assert_eq!(inside(&project, "id -u").ok().out(), "1000\n");
    project.powerdev(["down", "--volumes", "--yes"]).run().ok();
    std::fs::remove_dir_all(project.dir().join(".agent-mount")).expect("root may");

    let said = project.powerdev(["up"]).run().ok().err();
    assert!(!said.contains("can't write"), "{said}");
    assert_eq!(inside(&project, "id -u; echo > /workspace/ext/made; echo > ~/data/made").ok().out(), "1234\n");
    for made in ["made", ".agent-mount/docker_data/made"] {
        assert_eq!(project.dir().join(made).metadata().expect("it is there").uid(), 1234, "{made}");
    }
    project.powerdev(["restart"]).run().ok();
    assert_eq!(inside(&project, "id -u").ok().out(), "1234\n");
}
