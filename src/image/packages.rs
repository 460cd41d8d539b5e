//! The image of a project's own that `packages:` ask for: powerdev's, and a step for each who installs.
//!
//! Packages bring programs that run when they are installed. These must not see the user's logins at registries, which
//! are there while npm and pip fetch: npm's scripts run in a step of their own, and pip takes no package that runs any.

use super::context::BuildContext;
use super::dockerfile::Dockerfile;
use super::recipe::Recipe;
use crate::config::Packages;

/// What messages call it.
const PATH: &str = "Dockerfile of packages:";

const HEAD: &str = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nUSER root\n";
const APT: &str = "RUN --mount=type=cache,id=powerdev-apt,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,id=powerdev-apt-lists,target=/var/lib/apt/lists,sharing=locked \
    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy";
const NPM: &str = "RUN --mount=type=cache,id=powerdev-npm,target=/root/.npm \
    --mount=type=secret,id=npmrc,target=/root/.npmrc \
    npm install --global --prefix /usr/local --cache /root/.npm --ignore-scripts --no-audit --no-fund";
const NPM_SCRIPTS: &str = "RUN npm rebuild --global --prefix /usr/local --cache /tmp/npm && rm -rf /tmp/npm\n";
const PIP: &str = "RUN --mount=type=cache,id=powerdev-pip,target=/root/.cache/pip \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip install -q --break-system-packages --root-user-action ignore --only-binary :all:";
const FOOT: &str = "USER dev\n";

/// How to build it on the image that it is given as its base.
pub fn recipe(packages: &Packages) -> Recipe {
    let text = dockerfile(packages);
    let mut context = BuildContext::default();
    context.put(PATH, 0o644, text.clone().into_bytes());
    Recipe { dockerfile: Dockerfile::parse(&text), path: PATH.into(), target: None, context, project: None, want: None }
}

fn dockerfile(packages: &Packages) -> String {
    let step = |command: &str, names: &[String]| match names {
        [] => String::new(),
        // Nothing that was checked has a quote in it.
        names => format!("{command} {}\n", names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(" ")),
    };
    let scripts = if packages.npm.is_empty() { "" } else { NPM_SCRIPTS };
    [HEAD, &step(APT, &packages.apt), &step(NPM, &packages.npm), scripts, &step(PIP, &packages.pip), FOOT].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_who_installs_has_a_step_and_scripts_see_no_login() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let packages = Packages { apt: names(&["a=1", "b"]), npm: names(&["@c/d@2"]), pip: names(&["e==3"]) };
        let text = dockerfile(&packages);
        assert!(text.contains("apt-get install -qy 'a=1' 'b'\n"), "{text}");
        let scripts: Vec<&str> = text.lines().filter(|line| !line.contains("--ignore-scripts")).collect();
        assert!(scripts.iter().all(|line| !line.contains("npmrc")), "{text}");
        assert!(
            scripts.iter().all(|line| !line.contains("pip.conf") || line.contains("--only-binary :all:")),
            "{text}"
        );
        assert!(text.ends_with("'e==3'\nUSER dev\n"), "{text}");
        let only = dockerfile(&Packages { pip: names(&["e"]), ..Packages::default() });
        assert!(!only.contains("apt") && !only.contains("npm"), "{only}");
    }
}
