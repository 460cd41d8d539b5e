//! `tmux`: becomes a tmux server in the foreground, with one session a service, each a viewer of that service's
//! terminal. Killing the server kills no service.
//!
//! It listens on tmux's default socket, so that `tmux attach -t claude-flow` works in any shell of the same user.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use powerdev_protocol::{ServiceSet, paths};

use super::{ClientError, Words};
use crate::environment;

/// Returns only when tmux can't be run.
pub fn run(words: Words) -> Result<ExitCode, ClientError> {
    words.end()?;
    let services = environment::read_services(Path::new(paths::SERVICES_FILE))?;
    let own_name = std::env::var(paths::SERVICE_VARIABLE).unwrap_or_default();
    let agent = std::env::current_exe().unwrap_or_else(|_| paths::AGENT_BIN.into());
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
    let agent = quote(&agent.display().to_string());
    for (name, _) in services.enabled().filter(|(name, _)| *name != own_name) {
        text.push_str(&format!(
            "new-session -d -s {name} -n {name} {agent} attach --stay {name}\n\
             set -w -t ={name}: remain-on-exit on\n\
             set-hook -t ={name}: pane-died respawn-pane\n",
        ));
    }
    text
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
        let sessions: Vec<&str> = text.lines().filter(|line| line.starts_with("new-session")).collect();
        assert_eq!(sessions, [r"new-session -d -s web -n web '/opt/it'\''s/agent' attach --stay web"]);
    }
}
