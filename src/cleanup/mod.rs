//! What can go to free space: found first, shown, and then exactly that removed.
//!
//! By default only what powerdev made, nothing uses, and can be made again: superseded images, networks without a
//! container, caches, agents of other releases, what is remembered of environments that are gone. Never a container,
//! never a tool's state (volumes of kind `state`, unless asked for), never `.agent-mount`. Engine-wide it is what
//! `docker system prune --all --volumes` would take, but for powerdev's state volumes.

mod host;
mod remove;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use crate::engine::{Inventory, Item};
use crate::spec::label;

pub use host::{remembered, stale_agents};
pub use remove::remove;

/// What goes, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Target {
    /// A container that doesn't run.
    Container,
    /// An image, by its tags; by its ID where it has none.
    Image {
        /// All tags that it has: it goes with its last one.
        tags: Vec<String>,
        /// Its digest, by which one without tags goes.
        id: String,
    },
    /// A network that no container is on.
    Network,
    /// A volume that no container has.
    Volume,
    /// The Engine's build cache.
    BuildCache,
    /// A folder on this machine.
    Folder {
        /// Where it lies, absolute.
        path: PathBuf,
    },
}

/// One thing that can go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// What the user knows it by.
    pub name: String,
    /// What kind of thing it is, and how it is removed.
    #[serde(flatten)]
    pub target: Target,
    /// Its size, in bytes, where it is known. Images that share layers share size.
    pub size: Option<u64>,
    /// Why it can go.
    pub why: &'static str,
}

/// How much to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupScope {
    /// Whatever is unused on the Engine, whoever made it.
    pub all: bool,
    /// The tools' state, too.
    pub volumes: bool,
}

/// What of an Engine can go. In the order of removal: what uses something goes before it.
pub fn plan(inventory: &Inventory, scope: CleanupScope) -> Vec<Removal> {
    let mut plan = Vec::new();
    let mut going = BTreeSet::new();
    if scope.all {
        for container in inventory.containers.iter().filter(|container| !container.in_use) {
            going.insert(container.name.as_str());
            plan.push(removal(container, Target::Container, "it doesn't run"));
        }
    }
    let unused = |item: &&Item| item.used_by.iter().all(|user| going.contains(user.as_str()));
    for network in inventory.networks.iter().filter(unused) {
        plan.push(removal(network, Target::Network, "no container is on it"));
    }
    for volume in inventory.volumes.iter().filter(unused) {
        let goes = match volume.kind.as_deref() {
            Some("state") => scope.volumes,
            Some("cache") => true,
            _ => scope.all,
        };
        if goes {
            plan.push(removal(volume, Target::Volume, "no container has it"));
        }
    }
    for image in inventory.images.iter().filter(unused) {
        let ours = image.labels.contains_key(label::BUILD);
        let current = image.tags.iter().any(|tag| tag.ends_with(":latest"));
        let target = Target::Image { tags: image.tags.clone(), id: image.id.clone() };
        if scope.all {
            plan.push(removal(image, target, "no container has it"));
        } else if ours && !current {
            plan.push(removal(image, target, "a newer build took its place"));
        }
    }
    if scope.all && inventory.build_cache > 0 {
        let (name, size) = ("build cache".to_owned(), Some(inventory.build_cache));
        plan.push(Removal { name, target: Target::BuildCache, size, why: "no build uses it" });
    }
    plan
}

fn removal(item: &Item, target: Target, why: &'static str) -> Removal {
    Removal { name: item.name.clone(), target, size: item.size, why }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn item(name: &str, kind: Option<&str>, used_by: &[&str]) -> Item {
        Item {
            id: name.into(),
            name: name.into(),
            tags: Vec::new(),
            project: Some("demo".into()),
            kind: kind.map(Into::into),
            size: Some(1),
            in_use: !used_by.is_empty(),
            used_by: used_by.iter().map(ToString::to_string).collect(),
            labels: BTreeMap::new(),
        }
    }

    fn image(tags: &[&str], ours: bool, used_by: &[&str]) -> Item {
        let label = (label::BUILD.to_owned(), "hash".to_owned());
        let tags = tags.iter().map(ToString::to_string).collect::<Vec<_>>();
        let name = tags.first().cloned().unwrap_or_else(|| "sha256:1".into());
        Item { tags, labels: ours.then_some(label).into_iter().collect(), ..item(&name, None, used_by) }
    }

    fn engine() -> Inventory {
        let running = Item { in_use: true, ..item("runs", None, &[]) };
        Inventory {
            containers: vec![running, item("stopped", None, &[])],
            images: vec![
                image(&["powerdev/core:new", "powerdev/core:latest"], true, &[]),
                image(&["powerdev/core:old"], true, &[]),
                image(&["powerdev/core:kept"], true, &["stopped"]),
                image(&[], true, &[]),
                image(&["debian:13"], false, &[]),
            ],
            networks: vec![item("orphan", None, &[]), item("of-stopped", None, &["stopped"])],
            volumes: vec![
                item("home", Some("state"), &[]),
                item("cache", Some("cache"), &[]),
                item("cache-in-use", Some("cache"), &["runs"]),
                item("foreign", None, &[]),
            ],
            build_cache: 5,
        }
    }

    fn names(scope: CleanupScope) -> Vec<String> {
        plan(&engine(), scope).into_iter().map(|removal| removal.name).collect()
    }

    #[test]
    fn by_default_only_what_can_be_made_again_goes() {
        let scope = CleanupScope { all: false, volumes: false };
        assert_eq!(names(scope), ["orphan", "cache", "powerdev/core:old", "sha256:1"]);
        let scope = CleanupScope { all: false, volumes: true };
        assert_eq!(names(scope), ["orphan", "home", "cache", "powerdev/core:old", "sha256:1"]);
    }

    #[test]
    fn engine_wide_everything_unused_goes_but_the_tools_state() {
        let everything = names(CleanupScope { all: true, volumes: false });
        let expected =
            ["stopped", "orphan", "of-stopped", "cache", "foreign", "powerdev/core:new", "powerdev/core:old"];
        assert_eq!(everything[..7], expected);
        assert_eq!(everything[7..], ["powerdev/core:kept", "sha256:1", "debian:13", "build cache"]);
        assert!(names(CleanupScope { all: true, volumes: true }).contains(&"home".to_owned()));
    }
}
