//! Check of the way to a registry, as far as it can be told without the network.

use super::{Check, Facts, PATIENCE};
use crate::config::Settings;
use crate::engine::{EngineInfo, LoginSource, Logins, Registry};
use crate::failure::{self, Diagnostic as _};
use crate::image;
use crate::site::Site;

const NAME: &str = "registry";
/// Which registry would be asked, as whom, and how the Engine gets there.
pub(super) async fn check(settings: &Settings, facts: &Facts) -> Check {
    let image = image::pulled_image(settings);
    let registry = Registry::of(&image);
    let logins = match Logins::find() {
        Ok(logins) => logins,
        Err(error) => return Check::warn(NAME, failure::chain(&error)).fix(error.hint().unwrap_or_default()),
    };
    let mut detail = vec![format!("{registry} for {image}")];
    let mut trouble = None;
    match logins.source(&registry) {
        LoginSource::None => detail.push("no login".into()),
        LoginSource::File(file) => detail.push(format!("login in {}", file.display())),
        LoginSource::Helper { program, installed: true, .. } => detail.push(format!("{program} asked for a login")),
        LoginSource::Helper { program, installed: false, file } => {
            detail.push(format!("{program}, which should know a login, isn't installed"));
            let fix = format!("install it, or take it out of `credsStore` and `credHelpers` in {}", file.display());
            trouble = Some(fix);
        }
    }
    if let Ok((engine, info)) = &facts.engine {
        detail.extend(way(&registry, info));
        let look = tokio::time::timeout(PATIENCE, image::has_pulled_image(engine, settings));
        let here = look.await.is_ok_and(|found| found.unwrap_or(false));
        let proxied = Site::of(engine.endpoint()).proxy_variable().filter(|_| info.proxies.is_empty());
        if let (None, false, Some(name)) = (&trouble, here, proxied) {
            detail.push(format!("{name} is set here, and the Engine, which does the pulling, has no proxy"));
            let fix = "give the Engine one: `proxies` in /etc/docker/daemon.json, or HTTPS_PROXY in its service's \
                       environment; restart it";
            trouble = Some(fix.to_owned());
        }
    }
    let detail = detail.join("; ");
    match trouble {
        Some(fix) => Check::warn(NAME, detail).fix(fix),
        None => Check::ok(NAME, detail),
    }
}

/// What the Engine has between itself and the registry.
fn way(registry: &Registry, info: &EngineInfo) -> Vec<String> {
    let mut way = Vec::new();
    if registry.is_docker_hub() && !info.mirrors.is_empty() {
        way.push(format!("mirrors: {}", info.mirrors.join(", ")));
    }
    if info.proxies.is_empty() {
        way.push("the Engine uses no proxy".into());
    } else {
        let proxies: Vec<String> = info.proxies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        way.push(format!("the Engine uses {}", proxies.join(" ")));
    }
    way
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_docker_hubs() {
        let info = EngineInfo {
            mirrors: vec!["https://mirror.corp/".into()],
            proxies: [("HTTPS_PROXY".to_owned(), "http://***@proxy:3128".to_owned())].into(),
            ..EngineInfo::default()
        };
        let proxy = "the Engine uses HTTPS_PROXY=http://***@proxy:3128";
        assert_eq!(way(&Registry::of("debian"), &info), ["mirrors: https://mirror.corp/", proxy]);
        assert_eq!(way(&Registry::of("ghcr.io/team/x"), &info), [proxy]);
        assert_eq!(way(&Registry::of("ghcr.io/team/x"), &EngineInfo::default()), ["the Engine uses no proxy"]);
    }
}
