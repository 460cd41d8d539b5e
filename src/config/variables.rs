//! Variables of the environment that look like settings and are none.

use super::setting::{PREFIX, Setting};
use super::settings;
use super::suggest::nearest;

/// With the prefix of settings, but for other things: the agent's and its services', the build's, the tests'.
const OTHERS: [&str; 9] = [
    "POWERDEV_AGENT",
    "POWERDEV_AGENT_SHA256",
    "POWERDEV_ALLOW_ORIGINS",
    "POWERDEV_BLESS",
    "POWERDEV_COMPLETE",
    "POWERDEV_LOG",
    "POWERDEV_PROJECT",
    "POWERDEV_SERVICE",
    "POWERDEV_SERVICES",
];
const TESTS: &str = "POWERDEV_TEST_";

/// A notice for each of these variables that was meant for powerdev and isn't known to it, in order of their names.
pub fn unknown(names: impl Iterator<Item = String>) -> Vec<String> {
    let known: Vec<String> = settings::all().map(Setting::variable).collect();
    let stray = |name: &String| {
        name.starts_with(PREFIX)
            && !name.starts_with(TESTS)
            && !OTHERS.contains(&name.as_str())
            && !known.contains(name)
    };
    let mut strays: Vec<String> = names.filter(stray).collect();
    strays.sort();
    strays.iter().map(|name| notice(name, &known)).collect()
}

/// The setting's variable that one with the prefix of settings was meant for.
pub fn meant(name: &str) -> Option<String> {
    let known: Vec<String> = settings::all().map(Setting::variable).collect();
    nearest_of(name, &known)
}

fn notice(name: &str, known: &[String]) -> String {
    match nearest_of(name, known) {
        Some(meant) => format!("{name} in the environment is no setting: did you mean {meant}?"),
        None => format!("{name} in the environment is no setting: it does nothing"),
    }
}

fn nearest_of(name: &str, known: &[String]) -> Option<String> {
    let near = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
    // POWERDEV_MEMORY is short for POWERDEV_DOCKER_MEMORY.
    let long = || {
        let short = |known: &&String| known.replacen("DOCKER_", "", 1);
        known.iter().find(|known| nearest(name, [short(known).as_str()]).is_some()).cloned()
    };
    near.or_else(long)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notices(names: &[&str]) -> Vec<String> {
        unknown(names.iter().map(ToString::to_string))
    }

    #[test]
    fn what_is_misspelt_is_told_with_what_was_meant() {
        let notices = notices(&["POWERDEV_PROFIEL", "POWERDEV_MEMROY", "POWERDEV_XYZZY"]);
        assert_eq!(
            notices,
            [
                "POWERDEV_MEMROY in the environment is no setting: did you mean POWERDEV_DOCKER_MEMORY?",
                "POWERDEV_PROFIEL in the environment is no setting: did you mean POWERDEV_PROFILE?",
                "POWERDEV_XYZZY in the environment is no setting: it does nothing",
            ]
        );
    }

    #[test]
    fn settings_and_what_is_for_others_are_no_strays() {
        assert!(
            notices(&["POWERDEV_GPU", "POWERDEV_NAME", "POWERDEV_AGENT", "POWERDEV_TEST_X", "PATH", "MEMROY"])
                .is_empty()
        );
    }
}
