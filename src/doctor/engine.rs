//! Checks of the Engine.

use super::{Check, Facts};
use crate::diagnostics::diagnose;
use crate::site::Site;

/// The oldest API that powerdev speaks.
const OLDEST_API: (u32, u32) = (1, 41);
/// What an image and its build take, in bytes: below, a build is likely to fail.
const ROOM: u64 = 10 << 30;

pub(super) async fn checks(facts: &Facts) -> Vec<Check> {
    let (engine, info) = match &facts.engine {
        Ok(found) => found,
        Err(error) => {
            let fix = diagnose(error).hint.unwrap_or_else(|| "restart it: `sudo systemctl restart docker`".to_owned());
            let failed = Check::fail("engine", format!("{error:#}")).fix(fix);
            let skipped = ["api-version", "engine-disk", "cgroups", "seccomp"];
            let skipped = skipped.into_iter().map(|name| Check::skip(name, "no Engine to look at"));
            return std::iter::once(failed).chain(skipped).collect();
        }
    };
    let endpoint = engine.endpoint();
    let kind = if info.rootless { ", rootless" } else { "" };
    let reached = format!("{} at {} ({}){kind}", info.version, endpoint.url, endpoint.origin);
    vec![
        Check::ok("engine", reached),
        api_version(&info.api_version),
        disk(&info.root_dir, Site::of(endpoint)).await,
        cgroups(info),
        seccomp(info),
    ]
}

fn api_version(version: &str) -> Check {
    let parsed = version.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    match parsed {
        Some(found) if found >= OLDEST_API => Check::ok("api-version", version),
        _ => Check::fail("api-version", format!("{version}: powerdev needs {}.{}", OLDEST_API.0, OLDEST_API.1))
            .fix("update Docker Engine to 20.10 or newer"),
    }
}

async fn disk(root_dir: &str, site: Site) -> Check {
    let name = "engine-disk";
    let Some(path) = site.path(root_dir.as_ref()) else {
        return Check::skip(name, "the Engine is on another machine");
    };
    super::machine::disk(name, path, ROOM, "make room: `powerdev cleanup --dry-run` shows what could go").await
}

fn cgroups(info: &crate::engine::EngineInfo) -> Check {
    let limits = info.warnings.iter().filter(|warning| warning.contains("limit support"));
    let mut missing: Vec<&str> = limits.map(|warning| warning.trim_start_matches("WARNING: ")).collect();
    // Not every Engine warns of these.
    missing.extend((!info.limits_cpus).then_some("CPUs can't be limited"));
    missing.extend((!info.limits_memory).then_some("memory can't be limited"));
    let version = format!("version {}", info.cgroup_version);
    if missing.iter().any(|warning| !warning.contains("swap")) {
        return Check::warn("cgroups", format!("{version}; {}", missing.join(", ")))
            .fix("enable the controllers on the kernel's command line, or delegate them to a rootless Engine");
    }
    Check::ok("cgroups", version)
}

fn seccomp(info: &crate::engine::EngineInfo) -> Check {
    let has = |wanted: &str| info.security_options.iter().any(|option| option.contains(wanted));
    match (has("seccomp"), has("apparmor")) {
        (true, true) => Check::ok("seccomp", "seccomp and AppArmor"),
        (true, false) => Check::ok("seccomp", "seccomp, no AppArmor"),
        (false, _) => {
            Check::warn("seccomp", "the Engine has no seccomp: containers are confined less than docs/security.md says")
                .fix("use a kernel and an Engine with seccomp")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::CheckStatus;
    use super::*;

    #[test]
    fn old_and_unreadable_apis_fail() {
        assert_eq!(api_version("1.41").verdict, CheckStatus::Ok);
        assert_eq!(api_version("1.51").verdict, CheckStatus::Ok);
        assert_eq!(api_version("2.0").verdict, CheckStatus::Ok);
        for version in ["1.40", "1.9", "", "new"] {
            assert_eq!(api_version(version).verdict, CheckStatus::Fail, "{version}");
        }
    }
}
