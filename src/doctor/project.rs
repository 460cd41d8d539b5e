//! Checks of the project: its configuration, its ports, what its image needs.

use std::os::unix::fs::PermissionsExt;

use super::{Check, Facts, PATIENCE};
use crate::config::{Choice, Settings};
use crate::diagnostics::diagnose;
use crate::image;
use crate::plan;
use crate::repository;
use crate::trust::Standing;
use crate::units::ByteSize;
use crate::watch::{self, Quarantine};

/// Below this there is hardly room for an agent's work, in bytes.
const ROOM: u64 = 1 << 30;

pub(super) async fn checks(facts: &Facts) -> Vec<Check> {
    let settings = match (&facts.settings, &facts.conflict) {
        (Ok(settings), None) => settings,
        (Err(error), _) | (Ok(_), Some(error)) => {
            let failed = Check::fail("configuration", format!("{error:#}"));
            let failed = match diagnose(error).hint {
                Some(hint) => failed.fix(hint),
                None => failed,
            };
            let skipped = [
                "trust",
                "security",
                "git",
                "env-file",
                "project-disk",
                "ports",
                "ca-bundle",
                "registry",
                "image",
                "watcher",
            ];
            let skipped = skipped.into_iter().map(|name| Check::skip(name, "the configuration can't be used"));
            return std::iter::once(failed).chain(skipped).collect();
        }
    };
    let name = facts.identity.as_ref().map_or_else(|_| settings.name.to_string(), |(name, _)| name.to_string());
    vec![
        Check::ok("configuration", format!("{name} in {}", settings.dir.display())),
        trust(settings),
        security(settings, facts),
        git(settings, facts).await,
        env_file(settings),
        super::machine::disk(
            "project-disk",
            &settings.dir,
            ROOM,
            "make room there: nothing limits what is written inside",
        )
        .await,
        free_ports(settings, facts),
        ca_bundle(settings),
        super::registry::check(settings, facts).await,
        image(settings, facts).await,
        watcher(facts),
    ]
}

/// Whether the project's files ask for what nobody has agreed to.
fn trust(settings: &Settings) -> Check {
    let name = "trust";
    let standing = match image::want(settings).and_then(|more| Standing::of(settings, more)) {
        Ok(standing) => standing,
        Err(error) => return Check::skip(name, format!("{error:#}")),
    };
    let open: Vec<String> = standing.open().iter().map(|want| want.told(&settings.dir)).collect();
    if open.is_empty() {
        return Check::ok(name, "the project's files ask for nothing that you haven't agreed to");
    }
    Check::warn(name, format!("the project's files ask for what needs your word: {}", open.join("; ")))
        .fix("look at it; then `powerdev trust` agrees to it")
}

/// Whether root inside is kept inside: by the container that is there, else by the one that would be made.
fn security(settings: &Settings, facts: &Facts) -> Check {
    let name = "security";
    let there = facts.container.as_ref().and_then(|container| container.spec.as_ref());
    let told = match there {
        Some(spec) => plan::openness(&spec.confinement, settings.security),
        None => plan::openness(&plan::confinement(settings.security), settings.security),
    };
    match told {
        Some(told) => Check::warn(name, told).fix("SECURITY=dev, then `powerdev up --recreate`"),
        None => Check::ok(name, settings.security.explained()),
    }
}

/// What git would run on this machine that wasn't there before something inside could write it.
async fn git(settings: &Settings, facts: &Facts) -> Check {
    let name = "git";
    let folders = repository::mounted(settings);
    let shared = facts.site().is_some_and(|site| site.path(&settings.dir).is_some());
    let Some(environment) = facts.environment.as_ref().filter(|_| shared && !folders.is_empty()) else {
        return Check::skip(name, "no Git repository is mounted");
    };
    let found = super::patiently(move || repository::programs(&folders)).await;
    let programs = match found {
        Some(Ok(programs)) => programs,
        Some(Err(error)) => return Check::skip(name, format!("{error:#}")),
        None => return Check::skip(name, "the repository can't be looked at"),
    };
    if facts.seen {
        return match repository::remember(environment.state(), &programs) {
            Ok(()) => Check::ok(name, "what the repository runs is known from now on"),
            Err(error) => Check::fail(name, format!("{error:#}")).fix("make the state folder writable"),
        };
    }
    let Some(known) = repository::remembered(environment.state()) else {
        return Check::skip(name, "what the repository runs is remembered at the next `powerdev up`");
    };
    match programs.new_since(&known) {
        new if new.is_empty() => Check::ok(name, "nothing new that it runs on this machine"),
        new => Check::warn(name, format!("new, and git runs it on this machine or follows it: {}", new.join("; ")))
            .fix("read it in an editor before you call git there; `powerdev doctor --seen` takes it as known"),
    }
}

fn env_file(settings: &Settings) -> Check {
    let path = settings.dir.join(".env");
    let Ok(metadata) = std::fs::metadata(&path) else {
        return Check::ok("env-file", "none; `powerdev init` writes one");
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 && settings.secrets.keys().next().is_some() {
        return Check::warn("env-file", format!("{} holds secrets, and others may read it ({mode:o})", path.display()))
            .fix(format!("chmod 600 {}", path.display()));
    }
    Check::ok("env-file", format!("{} ({mode:o})", path.display()))
}

/// Busy ports are no failure, others stand in for them; the container's own are busy by right.
fn free_ports(settings: &Settings, facts: &Facts) -> Check {
    let Some(site) = facts.site() else { return Check::skip("ports", "no Engine to look at") };
    let own: Vec<u16> = facts.container.iter().flat_map(|container| &container.ports).map(|port| port.host).collect();
    let wished: Vec<u16> = plan::wished_ports(settings).into_values().collect();
    let others: Vec<u16> = wished.iter().copied().filter(|port| !own.contains(port)).collect();
    let Some(busy) = site.busy_ports(settings.bind_address, &others) else {
        return Check::skip("ports", "the Engine is on another machine");
    };
    let busy: Vec<String> = busy.iter().map(u16::to_string).collect();
    if busy.is_empty() {
        let wished: Vec<String> = wished.iter().map(u16::to_string).collect();
        return Check::ok("ports", if wished.is_empty() { "none to publish".to_owned() } else { wished.join(", ") });
    }
    Check::warn("ports", format!("busy: {}; others stand in for them", busy.join(", ")))
        .fix("stop what listens there to have them, or choose others with `ports:` in powerdev.yaml")
}

fn ca_bundle(settings: &Settings) -> Check {
    match image::extra_certificates(settings) {
        Ok(0) => Check::ok("ca-bundle", "no extra CA certificates"),
        Ok(count) => Check::ok("ca-bundle", format!("{count} extra CA certificates go into the image")),
        Err(error) => {
            Check::fail("ca-bundle", format!("{error:#}")).fix("point CA_BUNDLE at a PEM file, or leave it out")
        }
    }
}

/// Whether a watcher has given the environment up.
fn watcher(facts: &Facts) -> Check {
    let (Some(environment), Some(container)) = (&facts.environment, &facts.container) else {
        return Check::skip("watcher", "there is no environment to look at");
    };
    match watch::quarantine(environment.state(), container.started_at_ms) {
        Some(quarantine) => Check::warn("watcher", quarantine.to_string()).fix(Quarantine::REMEDY),
        None => Check::ok("watcher", "the environment isn't quarantined"),
    }
}

/// Whether the image is here, or what `up` is going to do about it.
async fn image(settings: &Settings, facts: &Facts) -> Check {
    let name = "image";
    let Ok((engine, _)) = &facts.engine else { return Check::skip(name, "no Engine to look at") };
    let tag = match image::tag(settings, &facts.host) {
        Ok(tag) => tag,
        Err(error) => return Check::fail(name, format!("{error:#}")),
    };
    match tokio::time::timeout(PATIENCE, engine.image(&tag)).await {
        Ok(Ok(Some(image))) => Check::ok(name, format!("{tag} ({})", ByteSize(image.size))),
        Ok(Ok(None)) if settings.image.is_some() => {
            Check::warn(name, format!("{tag} isn't here; `powerdev up` pulls it from its registry"))
        }
        Ok(Ok(None)) => Check::ok(name, format!("{tag} isn't built yet; `powerdev up` builds it")),
        Ok(Err(error)) => Check::fail(name, error.to_string()),
        Err(_) => Check::fail(name, "the Engine doesn't answer").fix("restart it: `sudo systemctl restart docker`"),
    }
}
