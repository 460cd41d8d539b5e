//! The proxies that a build gets: BuildKit keeps these arguments out of history and cache key.
//!
//! Their addresses may hold passwords: they are secret, and nothing of them is shown.

use std::collections::BTreeMap;

use super::dockerfile::Dockerfile;
use crate::engine::Hidden;
use crate::reporter::Reporter;

/// The variables, in capitals; programs read both spellings, each its own.
const NAMES: &[&str] = &["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Build arguments, and what of them must not be shown.
#[derive(Debug, Clone, Default)]
pub struct ProxyArguments {
    /// By name, in both spellings.
    pub arguments: BTreeMap<String, String>,
    /// Users and passwords in them.
    pub hidden: Hidden,
}

impl ProxyArguments {
    /// Those of this process's environment, else of `.env` (`secrets`), else `configured`: those of the docker CLI, by
    /// name in capitals.
    ///
    /// An argument that the Dockerfile declares would end up in the image's history: one with a password is left out,
    /// with a notice.
    pub fn find(
        secrets: &BTreeMap<String, String>,
        configured: &BTreeMap<String, String>,
        dockerfile: &Dockerfile,
        reporter: &dyn Reporter,
    ) -> Self {
        let arguments = NAMES.iter().flat_map(|name| [(*name).to_owned(), name.to_ascii_lowercase()]);
        let set = |name: String| Some((name.clone(), std::env::var(name).ok().filter(|value| !value.is_empty())?));
        let environment = arguments.filter_map(set).collect();
        let mut arguments = both_spellings(&[&environment, secrets, configured]);
        let hidden = Hidden::of(arguments.values());
        arguments.retain(|name, value| {
            let told = dockerfile.has_arg(name) && hidden.redact(value) != *value;
            if told {
                reporter.notice(format_args!(
                    "the Dockerfile declares ARG {name}, so that the password in it would show in the image's history: \
                     not passed. Without that line builds get it all the same, and keep it secret"
                ));
            }
            !told
        });
        Self { arguments, hidden }
    }
}

/// Each variable from the first layer that has it: as it is spelled there, else as its other spelling says.
fn both_spellings(layers: &[&BTreeMap<String, String>]) -> BTreeMap<String, String> {
    let mut arguments = BTreeMap::new();
    for name in NAMES {
        let small = name.to_ascii_lowercase();
        let found = layers.iter().map(|layer| (layer.get(*name), layer.get(&small))).find_map(|pair| match pair {
            (Some(capital), small) => Some((capital, small.unwrap_or(capital))),
            (None, Some(small)) => Some((small, small)),
            (None, None) => None,
        });
        if let Some((capital_value, small_value)) = found {
            arguments.insert((*name).to_owned(), capital_value.clone());
            arguments.insert(small, small_value.clone());
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_passed_and_the_first_layer_wins() {
        let layer = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect::<BTreeMap<_, _>>()
        };
        let environment = layer(&[("HTTP_PROXY", "http://here"), ("no_proxy", "b"), ("NO_PROXY", "a")]);
        let configured = layer(&[("http_proxy", "http://conf"), ("HTTPS_PROXY", "http://conf")]);
        let expected = layer(&[
            ("HTTP_PROXY", "http://here"),
            ("http_proxy", "http://here"),
            ("HTTPS_PROXY", "http://conf"),
            ("https_proxy", "http://conf"),
            ("NO_PROXY", "a"),
            ("no_proxy", "b"),
        ]);
        assert_eq!(both_spellings(&[&environment, &configured]), expected);
    }
}
