//! What Git inside is told besides what the home folder and the repositories say: who commits, as on the user's own machine.
//!
//! It stands for the system's configuration, the weakest there is, so that all else wins over it; the image's own is
//! included.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use powerdev_protocol::paths;

use crate::config::layout;

/// The file, below [`paths::AGENT_DIR`]'s `config`.
pub const FILE: &str = "gitconfig";
/// More than this is no name, in bytes.
const MOST: usize = 1024;

/// The configuration for Git inside. What Git here doesn't say is left out, all of it where it isn't installed.
pub fn config() -> Vec<u8> {
    written(&identity().unwrap_or_default()).into_bytes()
}

/// The variable that names the file inside.
pub fn variable() -> (String, String) {
    ("GIT_CONFIG_SYSTEM".to_owned(), format!("{}/config/{FILE}", paths::AGENT_DIR))
}

/// `user.name` and `user.email` as the user's own configuration has them: no repository's, and no variable's.
fn identity() -> Option<Vec<(String, String)>> {
    let inherited = ["HOME", "PATH", "XDG_CONFIG_HOME"].into_iter();
    let output = Command::new("git")
        .args(["config", "--global", "--includes", "--null", "--get-regexp", r"^user\.(name|email)$"])
        .current_dir("/")
        .env_clear()
        .envs(inherited.filter_map(|name| Some((name, std::env::var_os(name)?))))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let entries = text.split_terminator('\0').filter_map(|entry| entry.split_once('\n'));
    Some(entries.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

/// Of a key's values Git takes the last.
fn written(identity: &[(String, String)]) -> String {
    let mut text = "[init]\n\tdefaultBranch = main\n".to_owned();
    // Its owner may be another than `dev`.
    let _ = write!(text, "[safe]\n\tdirectory = {0}\n\tdirectory = {0}/*\n", layout::EXTERNAL_TARGET);
    for (key, value) in identity.iter().filter(|(_, value)| !value.is_empty() && value.len() <= MOST) {
        let _ = write!(text, "[user]\n\t{} = {}\n", key.trim_start_matches("user."), quoted(value));
    }
    text.push_str("[include]\n\tpath = /etc/gitconfig\n");
    text
}

/// In quotes, where only these two and the end of a line mean something.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Git reads of it, and how often the key is there.
    fn read(identity: &[(&str, &str)], key: &str) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("gitconfig");
        let identity: Vec<_> = identity.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        std::fs::write(&file, written(&identity)).expect("written");
        let output = Command::new("git")
            .args(["config", "--file"])
            .arg(&file)
            .args(["--null", "--no-includes", "--get-all", key])
            .output()
            .expect("git is installed");
        let text = String::from_utf8(output.stdout).expect("text");
        text.split_terminator('\0').map(str::to_owned).collect()
    }

    #[test]
    fn a_name_is_read_back_as_it_is_and_says_nothing_else() {
        for name in [
            "Ada Lovelace",
            "  Ada \"the # ; first\" \\ Łovelace\t",
            "Ada\n[core]\n\tsshCommand = run",
            "Ada\"\n\tsshCommand = run\n[core]\n\tfsmonitor = run #",
            "Ada\\",
            "Ada\r\n[core]\r\n\tsshCommand = run",
        ] {
            let identity = [("user.name", name), ("user.email", "ada@host.example")];
            assert_eq!(read(&identity, "user.name"), [name]);
            assert_eq!(read(&identity, "user.email"), ["ada@host.example"], "{name}");
            for key in ["core.sshcommand", "core.fsmonitor", "user.sshcommand"] {
                assert_eq!(read(&identity, key), Vec::<String>::new(), "{name}");
            }
            assert_eq!(read(&identity, "include.path"), ["/etc/gitconfig"], "{name}");
        }
    }

    #[test]
    fn what_is_unknown_is_left_to_git() {
        assert_eq!(read(&[], "user.name"), Vec::<String>::new());
        assert_eq!(
            read(&[("user.name", ""), ("user.email", &"x".repeat(MOST + 1))], "user.email"),
            Vec::<String>::new()
        );
        assert_eq!(read(&[], "init.defaultbranch"), ["main"]);
        assert_eq!(read(&[], "safe.directory"), ["/workspace/ext", "/workspace/ext/*"]);
    }
}
