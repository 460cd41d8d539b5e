//! `tmux`: becomes a tmux server in the foreground, with one session a service, each a viewer of that service's
//! terminal. Killing the server kills no service.
//!
//! Services come and go while the agent runs: the server runs a follower, `tmux --follow`, that gives new ones a session
//! and takes away those of services that are gone.
//!
//! It listens on tmux's default socket, so that `tmux attach -t claude-flow` works in any shell of the same user.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use powerdev_protocol::{Event, EventKind, Request, ServiceSet, ServiceState, paths};

use super::{ClientError, Connection, ConnectionError, Line};
use crate::environment;

/// How long the agent may take to answer the follower.
const DEADLINE: Duration = Duration::from_secs(5);
/// Between the follower's tries to reach the agent.
const RETRY: Duration = Duration::from_secs(1);
/// The option that marks a session as a service's, and not the user's own.
const MARK: &str = "@powerdev";

/// Returns only when tmux can't be run, or when the server that is followed for has ended.
pub fn run(arguments: lexopt::Parser) -> Result<ExitCode, ClientError> {
    let line = Line::read(arguments, &["follow"])?;
    let follows = line.has("follow");
    line.end()?;
    let own_name = std::env::var(paths::SERVICE_VARIABLE).unwrap_or_default();
    let agent = std::env::current_exe().unwrap_or_else(|_| paths::AGENT_BIN.into());
    if follows {
        return follow(&own_name, &agent);
    }
    let services = environment::read_services(Path::new(paths::SERVICES_FILE))?;
    let file = save(&render(&services, &own_name, &agent))?;
    let arguments: [OsString; 3] = ["-D".into(), "-f".into(), file.into()];
    // tmux would take these for a wish to nest.
    let error = Command::new("tmux").args(arguments).env_remove("TMUX").env_remove("TMUX_PANE").exec();
    let missing = error.kind() == io::ErrorKind::NotFound;
    Err(ClientError::NotRun {
        program: "tmux".into(),
        reason: if missing { "the image doesn't have it".into() } else { error.to_string() },
        code: if missing { 127 } else { 126 },
    })
}

/// Saves the configuration where it can be: tmux reads it once, at its start.
fn save(text: &str) -> Result<PathBuf, ClientError> {
    let mut last = io::ErrorKind::NotFound.into();
    for folder in [PathBuf::from(paths::RUN_DIR), std::env::temp_dir(), PathBuf::from("/dev/shm")] {
        let file = folder.join("powerdev-tmux.conf");
        // A new file each time: nothing that lies there is written into or followed.
        let written = remove(&file)
            .and_then(|()| std::fs::File::create_new(&file))
            .and_then(|mut created| created.write_all(text.as_bytes()));
        match written {
            Ok(()) => return Ok(file),
            Err(error) => last = error,
        }
    }
    Err(ClientError::io("can't save tmux's configuration")(last))
}

fn remove(file: &Path) -> io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The configuration: the user's own first, then what keeps the viewers alive, then a session a service.
fn render(services: &ServiceSet, own_name: &str, agent: &Path) -> String {
    let mut text = String::from(
        "# Made by powerdev-agent at every start of its tmux server: changes are lost.\n\
         set -g default-terminal screen-256color\n\
         set -g history-limit 10000\n\
         set -g mouse on\n\
         source-file -q /etc/tmux.conf\n\
         source-file -q ~/.tmux.conf\n\
         source-file -q ~/.config/tmux/tmux.conf\n\
         set -g exit-empty off\n",
    );
    for name in viewed(services, own_name) {
        for command in session(name, agent) {
            let words: Vec<String> = command.iter().map(|word| quote(word)).collect();
            text.push_str(&format!("{}\n", words.join(" ")));
        }
    }
    let follower = format!("exec {} tmux --follow >/dev/null 2>&1", quote(&agent.display().to_string()));
    text.push_str(&format!("run-shell -b {}\n", quote(&follower)));
    text
}

/// The services that have a session.
fn viewed<'a>(services: &'a ServiceSet, own_name: &str) -> impl Iterator<Item = &'a str> {
    services.enabled().map(|(name, _)| name.as_str()).filter(move |name| *name != own_name)
}

/// The commands that make a service's session.
fn session(name: &str, agent: &Path) -> [Vec<String>; 4] {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mut create = words(&format!("new-session -d -s {name} -n {name}"));
    create.extend([agent.display().to_string(), "attach".into(), "--stay".into(), name.into()]);
    [
        create,
        words(&format!("set -w -t ={name}: remain-on-exit on")),
        words(&format!("set-hook -t ={name}: pane-died respawn-pane")),
        words(&format!("set -t ={name}: {MARK} {name}")),
    ]
}

/// Keeps the sessions those of the services until the server ends.
fn follow(own_name: &str, agent: &Path) -> Result<ExitCode, ClientError> {
    while let Some(mut shown) = update(own_name, agent) {
        let heard: Result<(), ConnectionError> = Connection::open(DEADLINE).and_then(|mut connection| {
            connection.ask(&Request::Events)?;
            connection.be_patient()?;
            // What came between looking and listening.
            shown = update(own_name, agent).unwrap_or_default();
            while let Some(event) = connection.next::<Event>()? {
                let EventKind::Service { name, to, .. } = event.kind else { continue };
                if to == ServiceState::Stopped || name != own_name && !shown.contains(&name) {
                    shown = update(own_name, agent).unwrap_or_default();
                }
            }
            Ok(())
        });
        // Either way the agent is gone, which ends all this, or too busy: it is asked again after a while.
        heard.ok();
        std::thread::sleep(RETRY);
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the sessions that are missing, and ends those of services that aren't there any more. Gives the services that
/// have one now; None when the server can't be asked.
fn update(own_name: &str, agent: &Path) -> Option<BTreeSet<String>> {
    let listed = Command::new("tmux").args(["list-sessions", "-F", &format!("#{{session_name}} #{{{MARK}}}")]).output();
    let listed = listed.ok().filter(|listed| listed.status.success())?.stdout;
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let sessions: BTreeSet<&str> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
    let marked = listed.lines().filter_map(|line| line.split_once(' ')).filter(|(name, mark)| name == mark);
    // Services that can't be read now change nothing.
    let Ok(services) = environment::read_services(Path::new(paths::SERVICES_FILE)) else {
        return Some(BTreeSet::new());
    };
    let wanted: BTreeSet<&str> = viewed(&services, own_name).collect();
    for (gone, _) in marked.filter(|(name, _)| !wanted.contains(name)) {
        Command::new("tmux").args(["kill-session", "-t", &format!("={gone}")]).status().ok(); // As below.
    }
    for name in wanted.difference(&sessions) {
        let commands = session(name, agent);
        let words = commands.join(&";".to_owned());
        Command::new("tmux").args(words).status().ok(); // Otherwise the next look tries again.
    }
    Some(wanted.into_iter().map(Into::into).collect())
}

/// A word for tmux's parser.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_session_a_service_but_not_for_itself() {
        let services = serde_json::from_str(
            r#"{"web":{"command":"x"},"tmux":{"command":"y"},"off":{"command":"z","enabled":false}}"#,
        )
        .expect("services");
        let set = ServiceSet { services, ..ServiceSet::default() };
        let text = render(&set, "tmux", Path::new("/opt/it's/agent"));
        let sessions: Vec<&str> = text.lines().filter(|line| line.starts_with("'new-session'")).collect();
        assert_eq!(
            sessions,
            [r"'new-session' '-d' '-s' 'web' '-n' 'web' '/opt/it'\''s/agent' 'attach' '--stay' 'web'"]
        );
    }
}
