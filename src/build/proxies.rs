//! The proxies that a build gets: BuildKit keeps these arguments out of history and cache key.
//!
//! Their addresses may hold passwords: they are secret, and nothing of them is shown.

use std::collections::BTreeMap;

use super::dockerfile::Dockerfile;
use crate::engine::Hidden;
use crate::ui::Ui;

/// The variables, in capitals; programs read both spellings, each its own.
const NAMES: &[&str] = &["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Build arguments, and what of them must not be shown.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// By name, in both spellings.
    pub arguments: BTreeMap<String, String>,
    /// Users and passwords in them.
    pub hidden: Hidden,
}

impl Proxies {
    /// Those of this process's environment, else `configured`: those of the docker CLI, by name in capitals.
    ///
    /// An argument that the Dockerfile declares would end up in the image's history: one with a password is left out,
    /// with a notice.
    pub fn find(configured: &BTreeMap<String, String>, dockerfile: &Dockerfile, ui: &Ui) -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let mut arguments = both_spellings(set, configured);
        let hidden = Hidden::of(arguments.values());
        arguments.retain(|name, value| {
            let told = dockerfile.has_arg(name) && hidden.redact(value) != *value;
            if told {
                ui.notice(format_args!(
                    "the Dockerfile declares ARG {name}, so that the password in it would show in the image's history: \
                     not passed. Without that line builds get it all the same, and keep it secret"
                ));
            }
            !told
        });
        Self { arguments, hidden }
    }
}

/// Each variable as it is spelled, else as its other spelling says, else as is configured.
fn both_spellings(
    set: impl Fn(&str) -> Option<String>,
    configured: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut arguments = BTreeMap::new();
    for name in NAMES {
        let small = name.to_ascii_lowercase();
        let (capital_value, small_value) = (set(name), set(&small));
        let either = capital_value.clone().or_else(|| small_value.clone()).or_else(|| configured.get(*name).cloned());
        let Some(either) = either else { continue };
        arguments.insert((*name).to_owned(), capital_value.unwrap_or_else(|| either.clone()));
        arguments.insert(small, small_value.unwrap_or(either));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_passed_and_the_environment_wins() {
        let environment = BTreeMap::from([("HTTP_PROXY", "http://here"), ("no_proxy", "b"), ("NO_PROXY", "a")]);
        let configured =
            [("HTTP_PROXY", "http://conf"), ("HTTPS_PROXY", "http://conf")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let set = |name: &str| environment.get(name).map(ToString::to_string);
        let found = both_spellings(set, &configured.into());
        let expected = [
            ("HTTPS_PROXY", "http://conf"),
            ("HTTP_PROXY", "http://here"),
            ("NO_PROXY", "a"),
            ("http_proxy", "http://here"),
            ("https_proxy", "http://conf"),
            ("no_proxy", "b"),
        ];
        assert_eq!(found.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
    }
}
