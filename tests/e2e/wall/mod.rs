//! The wall around an environment: each attack that docs/security.md speaks of, carried out from inside. Root inside is
//! asked for by `exec -u root`, which is what `sudo` gives, and more than `strict` gives to anybody inside.

mod agent;
mod agent_copy;
mod allowed;
mod backups;
mod context;
mod devices;
mod disk;
mod escapes;
mod flood;
mod git;
mod kernel;
mod links;
mod masks;
mod mounts;
mod names;
mod processes;
mod setuid;
mod ssh;
mod told;
mod trust;

use crate::common::{Output, Project};

/// The profiles that are to hold.
const CLOSED: [&str; 2] = ["dev", "strict"];
/// All there are: what the host does of itself holds in each.
const EVERY: [&str; 3] = ["dev", "strict", "trusted"];

const IDLE: &str = "services: {idle: {command: exec sleep 1000000}}\n";

/// An environment of the tiny image under this profile, with more lines of `powerdev.yaml`. It runs.
fn environment(security: &str, yaml: &str) -> Project {
    let project = Project::bare();
    project.yaml(&format!("{IDLE}security: {security}\n{yaml}"));
    project.powerdev(["up"]).run().ok();
    project
}

/// Carries an attack out against an environment of each profile that is to hold.
fn against_each(attack: impl Fn(&Project, &str)) {
    for security in CLOSED {
        attack(&environment(security, ""), security);
    }
}

/// Runs a line of shell inside, as root or as `dev`.
fn inside(project: &Project, user: &str, script: &str) -> Output {
    project.powerdev(["exec", "-u", user, "--", "sh", "-c", script]).run()
}

/// Runs a line of shell inside that must fail by itself, as whoever may be tried.
fn refused(project: &Project, security: &str, users: &[&str], script: &str) {
    for user in users {
        let output = inside(project, user, &format!("echo begun; {script}"));
        let said = format!("{security}, as {user}: {script}\n{}{}", output.out(), output.err());
        assert!(output.code != 0 && output.out().starts_with("begun\n"), "{said}");
    }
}
