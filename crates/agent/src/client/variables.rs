//! `variables`: what a shell evaluates at its start to have the project's variables and secrets as they are now.
//!
//! A tmux server is older than its windows, and hands on what it was given itself. Where that is what it would be
//! given now, nothing is printed: what somebody set by hand stays.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use powerdev_protocol::paths;

use super::{ClientError, Line};
use crate::environment;

/// Whose words are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// sh, bash, zsh.
    Sh,
    Fish,
}

pub fn run(arguments: lexopt::Parser) -> Result<ExitCode, ClientError> {
    let mut line = Line::read(arguments, &[])?;
    let dialect = match line.word("`sh` or `fish`")?.as_str() {
        "sh" => Dialect::Sh,
        "fish" => Dialect::Fish,
        other => return Err(ClientError::Usage(format!("`{other}` is no shell that this knows: sh or fish"))),
    };
    line.end()?;
    let set = environment::read_services(Path::new(paths::SERVICES_FILE))?;
    let secrets = environment::read_secrets(Path::new(paths::SECRETS_FILE))?;
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let mut now = environment::of_project(&set, &secrets);
    let given = environment::given(&now);
    let had = variable(environment::GIVEN_VARIABLE);
    if had == given {
        return Ok(ExitCode::SUCCESS);
    }
    // A service's own variables win in its shells, too; and the path is made up by what a shell reads at its start.
    let service = set.services.get(&variable(paths::SERVICE_VARIABLE));
    let own: BTreeSet<&str> =
        service.iter().flat_map(|service| service.environment.keys()).map(String::as_str).collect();
    let mut had: BTreeSet<&str> = had.split(' ').skip(1).collect();
    for kept in own.into_iter().chain(["PATH"]) {
        now.remove(kept);
        had.remove(kept);
    }
    now.insert(environment::GIVEN_VARIABLE, &given);
    let written = std::io::stdout().write_all(script(dialect, &had, &now).as_bytes());
    written.map_err(ClientError::io("can't write the variables"))?;
    Ok(ExitCode::SUCCESS)
}

/// Sets what is there now, and takes away what was and is no more.
fn script(dialect: Dialect, had: &BTreeSet<&str>, now: &BTreeMap<&str, &str>) -> String {
    let mut text = String::new();
    for name in had.iter().filter(|name| is_name(name) && !now.contains_key(*name)) {
        text += &match dialect {
            Dialect::Sh => format!("unset {name}\n"),
            Dialect::Fish => format!("set -e {name}\n"),
        };
    }
    for (name, value) in now.iter().filter(|(name, _)| is_name(name)) {
        text += &match dialect {
            Dialect::Sh => format!("export {name}='{}'\n", value.replace('\'', r"'\''")),
            Dialect::Fish => format!("set -gx {name} '{}'\n", value.replace('\\', r"\\").replace('\'', r"\'")),
        };
    }
    text
}

/// Whether a shell can have a variable of this name.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "it's $HOME `x` \\ \"\n'; exit";

    /// What a shell makes of it, where it is there.
    fn evaluated(dialect: Dialect, shell: &str, print: &str) -> Option<String> {
        let had = BTreeSet::from(["GONE", "KEPT", "bad name;exit"]);
        let now = BTreeMap::from([("KEPT", VALUE), ("A-B", "x"), ("EMPTY", "")]);
        let script = script(dialect, &had, &now) + print;
        let mut command = std::process::Command::new(shell);
        let output = command.env("GONE", "still here").env("KEPT", "old").args(["-c", &script]).output().ok()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).expect("text"))
    }

    #[test]
    fn shells_take_values_as_they_are_and_run_nothing_of_them() {
        let print = "printf '%s|%s|%s' \"$KEPT\" \"${GONE-gone}\" \"${EMPTY-unset}\"";
        let expected = format!("{VALUE}|gone|");
        assert_eq!(evaluated(Dialect::Sh, "sh", print), Some(expected.clone()));
        for other in ["bash", "zsh"] {
            assert!(evaluated(Dialect::Sh, other, print).is_none_or(|printed| printed == expected), "{other}");
        }
        let print = "printf '%s|%s|%s' \"$KEPT\" (set -q GONE; and echo here; or echo gone) \"$EMPTY\"";
        assert!(evaluated(Dialect::Fish, "fish", print).is_none_or(|printed| printed == expected));
    }
}
