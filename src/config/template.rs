//! What `init` writes: `.env` and `powerdev.yaml`, both commented, made from the settings' declarations.

use super::setting::Setting;
use super::settings::{self, SECRETS, SETTINGS};

/// What is no setting of one value in the commented `powerdev.yaml`: ports, mounts, services.
const YAML_STRUCTURES: &str = include_str!("../../templates/powerdev.yaml");

const YAML_HEAD: &str = "\
# What powerdev should do for this project. Every line is optional; secrets belong in .env, not here.
# `powerdev config` shows every setting with its value and where it came from; `powerdev config --schema` prints this
# file's JSON Schema, which editors use to complete and check it.
";

const ENV_HEAD: &str = "\
# Settings and secrets of this project: powerdev reads this file as .env. Keep it out of version control.
# A commented setting shows its default. Quote a value that holds spaces, # or $ with single quotes.

# --- Secrets ---
# They reach services and shells, and nothing else: not the image, not `docker inspect`, not a log. An empty one takes
# its value from the environment that powerdev is called in. Any key that isn't a setting below is a secret as well.

";

/// Every setting with its default and one line of why, in the form of `.env`.
pub fn env_template() -> String {
    let mut text = ENV_HEAD.to_owned();
    for (secret, why) in SECRETS {
        text.push_str(&format!("# {why}.\n{secret}=\n"));
    }
    let line = |setting: &'static Setting| (setting, format!("#{}={}\n", setting.name, setting.default));
    text + &commented(settings::all().map(line))
}

/// The commented `powerdev.yaml`: every key with its default or an example, none of them in force.
pub fn yaml_template() -> String {
    let line = |setting: &&'static Setting| {
        let value = if setting.default.is_empty() { setting.example } else { setting.default };
        Some((*setting, format!("#{}: {value}\n", setting.key?)))
    };
    format!("{YAML_HEAD}{}\n{YAML_STRUCTURES}", commented(SETTINGS.iter().filter_map(line)))
}

/// The settings' lines, each after a comment with what it is for, under the headings of their groups.
fn commented(lines: impl Iterator<Item = (&'static Setting, String)>) -> String {
    let mut text = String::new();
    let mut group = "";
    for (setting, line) in lines {
        if setting.group != group {
            group = setting.group;
            text.push_str(&format!("\n# --- {group} ---\n"));
        }
        let unset = if setting.default.is_empty() { format!(" Default: {}.", setting.unset) } else { String::new() };
        text.push_str(&format!("\n# {}{unset}\n{line}", setting.why));
    }
    text
}

/// `text` with a commented `key` brought into force: `#key=…` or `#key: …` becomes `assignment`.
pub fn put(text: &str, key: &str, assignment: &str) -> String {
    let commented = |line: &str| {
        line.strip_prefix('#').and_then(|rest| rest.strip_prefix(key)).is_some_and(|rest| rest.starts_with(['=', ':']))
    };
    let mut lines: Vec<&str> = text.lines().collect();
    match lines.iter().position(|line| commented(line)) {
        Some(at) => lines[at] = assignment,
        None => lines.push(assignment),
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::env_file::EnvFile;
    use super::super::yaml::YamlFile;
    use super::*;

    /// A template with its comments of the form `#key` taken away.
    fn in_force(text: &str) -> String {
        let uncommented = text.lines().map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') || rest.starts_with("  ") => rest,
            _ => line,
        });
        uncommented.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn both_templates_are_valid_as_they_are_and_in_force() {
        for text in [yaml_template(), in_force(&yaml_template())] {
            YamlFile::parse(Path::new("powerdev.yaml"), text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        }
        assert_eq!(
            YamlFile::parse(Path::new("x"), yaml_template().as_bytes()).expect("valid").content,
            Default::default()
        );
        for text in [env_template(), in_force(&env_template())] {
            EnvFile::parse(Path::new(".env"), text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn the_env_template_has_every_setting_with_its_reason() {
        let text = env_template();
        for setting in settings::all() {
            assert!(text.contains(&format!("\n#{}={}\n", setting.name, setting.default)), "{}", setting.name);
            assert!(text.contains(setting.why), "{}", setting.name);
        }
    }

    #[test]
    fn a_commented_key_is_brought_into_force() {
        assert_eq!(put("# a\n#gpu: auto\n", "gpu", "gpu: none"), "# a\ngpu: none\n");
        assert_eq!(put("#GPU=auto\n", "GPU", "GPU=none"), "GPU=none\n");
        assert_eq!(put("# a\n", "GPU", "GPU=none"), "# a\nGPU=none\n");
    }
}
