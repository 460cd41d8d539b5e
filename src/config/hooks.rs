//! `hooks:`, commands of the project that are run at turning points of its environment. Inside they are services that
//! run once: they have a log, a state and an exit code as all others have.

use std::collections::BTreeMap;

use powerdev_protocol::service::{Empty, Probe};
use powerdev_protocol::{CommandLine, Condition, Readiness, Restart, RestartPolicy, Service, Stop, paths};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::layout;
use super::types::SecurityProfile;

/// The services that hooks are inside.
const CREATED: &str = "hook-created";
const STARTED: &str = "hook-started";

/// Seconds that one may take.
const DEADLINE: f64 = 1800.0;

/// Runs its words, unless a file called `$0` is in one of these folders, and makes it in the first where it can when they
/// have ended well.
fn once_script(folders: &[&str]) -> String {
    let folders = folders.join(" ");
    format!(
        "for dir in {folders}; do [ ! -e \"$dir/$0\" ] || exit 0; done\n\
         \"$@\" || exit\n\
         for dir in {folders}; do {{ mkdir -p \"$dir\" && : > \"$dir/$0\"; }} 2>/dev/null && exit 0; done\n\
         echo \"nothing can be written to {folders}: this will be run again at the next start\" >&2"
    )
}

/// Commands run as `dev` in the folder /workspace/ext: a list of words, or a line for the shell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hooks {
    /// Once in the life of a container, and again when it was changed: to install, to prepare. `up` waits for its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<CommandLine>,
    /// At each start, after `created`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<CommandLine>,
}

impl Hooks {
    /// Each that is there, with its key and the name of its service.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, &CommandLine)> {
        let all = [("created", CREATED, &self.created), ("started", STARTED, &self.started)];
        all.into_iter().filter_map(|(key, service, hook)| Some((key, service, hook.as_ref()?)))
    }

    /// As services.
    pub(super) fn services(&self, security: SecurityProfile) -> BTreeMap<String, Service> {
        self.all()
            .map(|(_, name, hook)| {
                let (command, depends_on) = match name {
                    CREATED => (once(&hook.0, security), BTreeMap::new()),
                    _ => {
                        let created = self.created.iter().map(|_| (CREATED.to_owned(), Condition::Completed));
                        (hook.0.clone(), created.collect())
                    }
                };
                (name.to_owned(), service(command, depends_on))
            })
            .collect()
    }
}

fn service(command: Vec<String>, depends_on: BTreeMap<String, Condition>) -> Service {
    // Nobody says that it is ready: it is when it has ended, and until then whoever waits for readiness waits.
    let ready = Readiness {
        probe: Probe::Notify(Empty {}),
        interval: 1.0,
        timeout: 1.0,
        deadline: DEADLINE,
        liveness: 0.0,
        retries: 1,
    };
    Service {
        command,
        environment: BTreeMap::new(),
        directory: Some(layout::EXTERNAL_TARGET.into()),
        depends_on,
        ready: Some(ready),
        restart: Restart { policy: RestartPolicy::Never, ..Restart::default() },
        stop: Stop::default(),
        tty: false,
        essential: false,
        ports: Vec::new(),
        enabled: true,
    }
}

/// Once in a container's life: what marks that lies where the container's own files do. On a read-only root there are
/// none, and all that a hook can change is in the home folder: the mark is there, too.
fn once(command: &[String], security: SecurityProfile) -> Vec<String> {
    let mut digest = Sha256::new();
    command.iter().for_each(|word| digest.update([word.as_bytes(), &[0]].concat()));
    let name = format!("powerdev-created-{}", &hex::encode(digest.finalize())[..16]);
    let home = format!("{}/.local/state", paths::HOME);
    let script = match security {
        SecurityProfile::Strict => once_script(&[&home]),
        _ => once_script(&["/var/tmp", "/tmp"]),
    };
    ["/bin/sh", "-c", &script, &name].into_iter().map(str::to_owned).chain(command.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(words: &[&str]) -> Option<CommandLine> {
        Some(CommandLine(words.iter().map(|word| (*word).to_owned()).collect()))
    }

    #[test]
    fn started_comes_after_created_and_neither_comes_again() {
        let both = Hooks { created: hook(&["make"]), started: hook(&["date"]) };
        let services = both.services(SecurityProfile::Dev);
        assert_eq!(services[STARTED].depends_on, BTreeMap::from([(CREATED.to_owned(), Condition::Completed)]));
        assert!(services.values().all(|service| service.restart.policy == RestartPolicy::Never));
        let alone = Hooks { created: None, ..both };
        assert!(alone.services(SecurityProfile::Dev)[STARTED].depends_on.is_empty());
        assert!(Hooks::default().services(SecurityProfile::Dev).is_empty());
    }

    #[test]
    fn created_runs_once_unless_it_failed_or_was_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("out").display().to_string();
        let mine = folder.path().join("state").display().to_string();
        let script = once_script(&["/proc/no-such-folder", &mine]);
        let run = |word: &str, code: &str| {
            let line = format!("echo \"$1\" >> \"$0\"; exit {code}");
            let words = ["-c", &script, "mark", "sh", "-c", &line, &out, word];
            std::process::Command::new("sh").args(words).status().expect("there is a shell").code()
        };
        assert_eq!(run("a b", "3"), Some(3));
        assert_eq!(run("a b", "0"), Some(0));
        assert_eq!(run("c", "0"), Some(0));
        assert_eq!(std::fs::read_to_string(&out).expect("written"), "a b\na b\n");
        let of = |words: &[&str], security| once(&hook(words).expect("one").0, security);
        let dev = SecurityProfile::Dev;
        assert_ne!(of(&["ab"], dev)[3], of(&["a", "b"], dev)[3], "another command is another hook");
        assert_ne!(of(&["a"], dev)[2], of(&["a"], SecurityProfile::Strict)[2]);
    }
}
