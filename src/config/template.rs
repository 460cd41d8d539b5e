//! What `init` writes: `env_template`, made from the table of settings, and the commented `powerdev.yaml`.

use super::settings::{self, SECRETS};

/// The commented `powerdev.yaml`: every key with an example, none of them in force.
pub const YAML: &str = include_str!("../../templates/powerdev.yaml");

const HEAD: &str = "\
# Settings and secrets of this project: powerdev reads this file as .env. Keep it out of version control.
# A commented setting shows its default. Quote a value that holds spaces, # or $ with single quotes.

# --- Secrets ---
# They reach services and shells, and nothing else: not the image, not `docker inspect`, not a log. An empty one takes
# its value from the environment that powerdev is called in. Any key that isn't a setting below is a secret as well.

";

/// Every setting with its default and one line of why, in the form of `.env`.
pub fn env_template() -> String {
    let mut text = HEAD.to_owned();
    for (secret, why) in SECRETS {
        text.push_str(&format!("# {why}.\n{secret}=\n"));
    }
    let mut group = "";
    for setting in settings::all() {
        if setting.group != group {
            group = setting.group;
            text.push_str(&format!("\n# --- {group} ---\n"));
        }
        let unset = if setting.default.is_empty() { format!(" Default: {}.", setting.unset) } else { String::new() };
        text.push_str(&format!("\n# {}{unset}\n#{}={}\n", setting.why, setting.name, setting.default));
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
        for text in [YAML.to_owned(), in_force(YAML)] {
            YamlFile::parse(Path::new("powerdev.yaml"), text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        }
        assert_eq!(YamlFile::parse(Path::new("x"), YAML.as_bytes()).expect("valid").content, Default::default());
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
