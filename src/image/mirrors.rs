//! Where npm and pip fetch from, as the user has it configured: registries and indexes of a company, and the logins there.
//!
//! A build gets them as the files that npm and pip read, mounted as secrets: they are in no layer, no history and no
//! cache key. Only what tells where to fetch from is passed on; the rest is about this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::engine::Hidden;
use crate::files;

/// The secrets' names, as the Dockerfile asks for them.
const NPM: &str = "npmrc";
const PIP: &str = "pip.conf";

/// Options of pip that tell where to fetch from.
const PIP_OPTIONS: &[&str] = &["index-url", "extra-index-url", "trusted-host"];

/// Secrets for a build, and what of them must not be shown.
#[derive(Default)]
pub struct Mirrors {
    /// Files by name; none where nothing is configured.
    pub secrets: BTreeMap<String, String>,
    /// Users and passwords in their addresses.
    pub hidden: Hidden,
}

impl Mirrors {
    /// What the user's files say, the environment above them, and `project`, the variables of `.env`, above both.
    pub fn find(project: &BTreeMap<String, String>) -> Self {
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let given = |name: &str| project.get(name).filter(|value| !value.is_empty()).cloned();
        let variable = |name: &str| given(name).or_else(|| environment(name));
        // Which files of this machine are read is no business of a project's.
        let read = |path: PathBuf| files::text(&path).unwrap_or_default();
        let home = std::env::home_dir().unwrap_or_default();
        let npm_file = environment("NPM_CONFIG_USERCONFIG").map_or_else(|| home.join(".npmrc"), PathBuf::from);
        let files: Vec<String> = pip_files(&home, &environment).into_iter().map(read).collect();
        Self::of(&npm_settings(&read(npm_file), &variable), &pip_settings(&files, &variable))
    }

    fn of(npm: &[(String, String)], pip: &BTreeMap<&'static str, Vec<String>>) -> Self {
        let mut secrets = BTreeMap::new();
        if !npm.is_empty() {
            secrets.insert(NPM.to_owned(), npm.iter().map(|(name, value)| format!("{name}={value}\n")).collect());
        }
        if !pip.is_empty() {
            let lines = pip.iter().map(|(name, values)| format!("{name} = {}\n", values.join("\n  ")));
            secrets.insert(PIP.to_owned(), format!("[global]\n{}", lines.collect::<String>()));
        }
        let addresses = npm.iter().map(|(_, value)| value).chain(pip.values().flatten());
        Self { hidden: Hidden::of(addresses), secrets }
    }
}

/// Registries and logins of an `.npmrc`, with the variables in it filled in, as npm does before it sends anything.
fn npm_settings(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let tells_where = |name: &str| {
        let login = name.starts_with("//") && !name.ends_with(":certfile") && !name.ends_with(":keyfile");
        login || name == "registry" || name == "strict-ssl" || (name.starts_with('@') && name.ends_with(":registry"))
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let pairs = lines.filter_map(|line| line.split_once('=')).map(|(name, value)| (name.trim(), value.trim()));
    let mut settings: Vec<(String, String)> = pairs
        .filter(|(name, _)| tells_where(name))
        .map(|(name, value)| (name.to_owned(), filled_in(value, variable)))
        .collect();
    // Of two lines npm takes the last.
    if let Some(registry) = ["npm_config_registry", "NPM_CONFIG_REGISTRY"].into_iter().find_map(variable) {
        settings.push(("registry".into(), registry));
    }
    settings
}

/// `value` with what `${NAME}` stands for; left as it is where that isn't set.
fn filled_in(value: &str, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let mut filled = String::new();
    let mut rest = value;
    while let Some((before, (name, after))) =
        rest.split_once("${").and_then(|(before, after)| Some((before, after.split_once('}')?)))
    {
        filled += before;
        filled += &variable(name.trim_end_matches('?')).unwrap_or_else(|| format!("${{{name}}}"));
        rest = after;
    }
    filled + rest
}

/// The files that pip reads, each of more weight than those before it.
fn pip_files(home: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let named = variable("PIP_CONFIG_FILE").map(PathBuf::from);
    // As pip has it: this turns all of them off.
    if named.as_deref() == Some("/dev/null".as_ref()) {
        return Vec::new();
    }
    let own = match variable("XDG_CONFIG_HOME") {
        Some(folder) => PathBuf::from(folder),
        None if cfg!(target_os = "macos") => home.join("Library/Application Support"),
        None => home.join(".config"),
    };
    let usual = ["/etc/pip.conf".into(), home.join(".pip/pip.conf"), own.join("pip/pip.conf")];
    usual.into_iter().chain(named).collect()
}

/// Indexes of pip's files and variables. What is said for `install` weighs more than what is said for all commands.
fn pip_settings(files: &[String], variable: &dyn Fn(&str) -> Option<String>) -> BTreeMap<&'static str, Vec<String>> {
    let mut settings = BTreeMap::new();
    for section in ["global", "install"] {
        for text in files {
            for (_, name, values) in options(text).into_iter().filter(|(found, ..)| found == section) {
                if let Some(known) = PIP_OPTIONS.iter().find(|known| **known == name.replace('_', "-")) {
                    settings.insert(*known, values);
                }
            }
        }
    }
    for name in PIP_OPTIONS {
        if let Some(value) = variable(&format!("PIP_{}", name.replace('-', "_").to_uppercase())) {
            settings.insert(name, value.split_whitespace().map(str::to_owned).collect());
        }
    }
    settings.retain(|_, values| !values.is_empty());
    settings
}

/// Sections, names and values of a file as Python's `configparser` reads it: a value goes on where a line is indented.
fn options(text: &str) -> Vec<(String, String, Vec<String>)> {
    let mut found: Vec<(String, String, Vec<String>)> = Vec::new();
    let mut section = String::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        if line.starts_with(char::is_whitespace) {
            if let Some((_, _, values)) = found.last_mut() {
                values.extend(words(line));
            }
        } else if let Some(name) = line.trim_end().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((name, value)) = line.split_once(['=', ':']) {
            found.push((section.clone(), name.trim().to_lowercase(), words(value)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn what_tells_npm_where_to_fetch_is_passed_on_and_nothing_else() {
        let text = "# mine\nregistry = https://npm.example/\n@team:registry=https://team.example/\n\
                    //npm.example/:_authToken=${TOKEN}\n//npm.example/:certfile=/home/me/cert\ncafile=/etc/my.pem\n\
                    //team.example/:_password=${UNSET?}x\nprefix=/home/me/.npm\n";
        let variable = |name: &str| (name == "TOKEN").then(|| "hush".to_owned());
        let mirrors = Mirrors::of(&npm_settings(text, &variable), &BTreeMap::new());
        assert_eq!(
            mirrors.secrets[NPM],
            "registry=https://npm.example/\n@team:registry=https://team.example/\n//npm.example/:_authToken=hush\n\
             //team.example/:_password=${UNSET?}x\n"
        );
        assert!(!mirrors.secrets.contains_key(PIP));
    }

    #[test]
    fn npms_variable_comes_last_and_so_wins() {
        let variable = |name: &str| (name == "npm_config_registry").then(|| "https://here.example/".to_owned());
        let settings = npm_settings("registry=https://there.example/\n", &variable);
        assert_eq!(settings.last(), Some(&("registry".into(), "https://here.example/".into())));
    }

    #[test]
    fn pips_files_and_variables_weigh_as_pip_weighs_them() {
        let files = [
            "[global]\nindex-url = https://one.example/simple\ntimeout = 60\ncert = /etc/my.pem\n".to_owned(),
            "[install]\nindex_url: https://me:hush@two.example/simple\n[global]\nindex-url = https://three.example\n\
             extra-index-url =\n    https://four.example\n    https://five.example\n"
                .to_owned(),
        ];
        let variable = |name: &str| (name == "PIP_TRUSTED_HOST").then(|| "two.example four.example".to_owned());
        let mirrors = Mirrors::of(&[], &pip_settings(&files, &variable));
        assert_eq!(
            mirrors.secrets[PIP],
            "[global]\nextra-index-url = https://four.example\n  https://five.example\n\
             index-url = https://me:hush@two.example/simple\ntrusted-host = two.example\n  four.example\n"
        );
        assert_eq!(mirrors.hidden.redact("from https://me:hush@two.example"), "from https://***@two.example");
    }

    #[test]
    fn nothing_configured_is_no_secret() {
        assert!(Mirrors::of(&npm_settings("fund=false\n", &none), &pip_settings(&[], &none)).secrets.is_empty());
        let off = |name: &str| (name == "PIP_CONFIG_FILE").then(|| "/dev/null".to_owned());
        assert!(pip_files(Path::new("/home/me"), &off).is_empty());
    }
}
