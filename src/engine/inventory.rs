//! What powerdev made on this Engine, with sizes and users; or, for the Engine-wide cleanup, all that is on it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use bollard::errors::Error;
use bollard::models::{ContainerSummary, ImageSummary, Network};
use bollard::query_parameters as query;
use http_body_util::BodyExt;
use serde::Deserialize;

use super::{ApiVersion, Engine, EngineError, Operation, SLOW_CALL};
use crate::spec::label;

/// What is on this Engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Containers, with the size of what they wrote.
    pub containers: Vec<Item>,
    /// Images, with the size of all their layers: images that share layers share size.
    pub images: Vec<Item>,
    /// Networks, but for those that the Engine makes itself.
    pub networks: Vec<Item>,
    /// Named and anonymous volumes.
    pub volumes: Vec<Item>,
    /// Build cache that nothing uses at this moment, in bytes. Nobody's label is on it.
    pub build_cache: u64,
}

impl Inventory {
    /// Leaves what belongs to one environment. Images and build cache may be many's.
    pub fn retain_project(&mut self, name: &str) {
        for items in [&mut self.containers, &mut self.networks, &mut self.volumes] {
            items.retain(|item| item.project.as_deref() == Some(name));
        }
        self.images.clear();
        self.build_cache = 0;
    }
}

/// One thing on the Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What to remove it by: an image's ID, else the name.
    pub id: String,
    /// What the user knows it by; an image's first tag, or its ID.
    pub name: String,
    /// An image's tags.
    pub tags: Vec<String>,
    /// The environment that it belongs to, if one: images belong to many.
    pub project: Option<String>,
    /// [`label::KIND`]: `state` or `cache`, on volumes.
    pub kind: Option<String>,
    /// Size, in bytes, where the Engine tells.
    pub size: Option<u64>,
    /// A container: it runs. Anything else: a container has it, running or not.
    pub in_use: bool,
    /// The containers that have it, powerdev's or not.
    pub used_by: Vec<String>,
    /// All its labels.
    pub labels: BTreeMap<String, String>,
}

/// The part of `/system/df` that no list tells. bollard only reads what API 1.52 and up answer.
#[derive(Deserialize, Default)]
struct DiskUsage {
    #[serde(rename = "Volumes", default)]
    volumes: Option<Vec<VolumeSize>>,
    #[serde(rename = "VolumeUsage", default)]
    usage: Option<VolumeUsage>,
    #[serde(rename = "BuildCache", default)]
    build_cache: Option<Vec<CacheRecord>>,
}

#[derive(Deserialize)]
struct CacheRecord {
    #[serde(rename = "InUse", default)]
    in_use: bool,
    #[serde(rename = "Shared", default)]
    shared: bool,
    #[serde(rename = "Size", default)]
    size: u64,
}

#[derive(Deserialize)]
struct VolumeUsage {
    #[serde(rename = "Items", default)]
    items: Option<Vec<VolumeSize>>,
}

#[derive(Deserialize)]
struct VolumeSize {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Labels", default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(rename = "UsageData", default)]
    usage: Option<VolumeBytes>,
}

#[derive(Deserialize)]
struct VolumeBytes {
    #[serde(rename = "Size")]
    size: i64,
}

/// What the containers of the whole Engine have: object -> containers' names.
#[derive(Default)]
struct Users {
    images: HashMap<String, Vec<String>>,
    networks: HashMap<String, Vec<String>>,
    volumes: HashMap<String, Vec<String>>,
}

/// A volume of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// The project's folder that it was made for. None: made by a release that didn't say.
    pub dir: Option<PathBuf>,
}

impl Engine {
    /// Everything that carries powerdev's labels on this Engine. The Engine measures its volumes for it: that takes
    /// as long as walking through them.
    ///
    /// # Errors
    /// As every call.
    pub async fn inventory(&self) -> Result<Inventory, EngineError> {
        let mut inventory = self.everything().await?;
        inventory.images.retain(|image| image.labels.contains_key(label::BUILD));
        for items in [&mut inventory.containers, &mut inventory.networks, &mut inventory.volumes] {
            items.retain(|item| item.project.is_some());
        }
        inventory.build_cache = 0;
        Ok(inventory)
    }

    /// Everything on this Engine, whoever made it, but for the networks that it makes itself.
    ///
    /// # Errors
    /// As every call.
    pub async fn everything(&self) -> Result<Inventory, EngineError> {
        let images = self.docker.list_images(Some(query::ListImagesOptionsBuilder::new().build()));
        let networks = self.docker.list_networks(None::<query::ListNetworksOptions>);
        let (containers, images, networks, usage) = tokio::try_join!(
            self.all_containers(),
            self.call(Operation::Inventory, images),
            self.call(Operation::Inventory, networks),
            self.disk_usage()
        )?;
        let users = Users::of(&containers);
        let cache = usage.build_cache.unwrap_or_default();
        let volumes = usage.volumes.or(usage.usage.and_then(|usage| usage.items)).unwrap_or_default();
        Ok(Inventory {
            containers: sorted(containers.into_iter().map(container_item)),
            images: sorted(images.into_iter().map(|image| image_item(image, &users))),
            networks: sorted(networks.into_iter().filter_map(|network| network_item(network, &users))),
            volumes: sorted(volumes.into_iter().map(|volume| volume_item(volume, &users))),
            build_cache: cache.iter().filter(|record| !record.in_use && !record.shared).map(|record| record.size).sum(),
        })
    }

    /// Removes the build cache that nothing uses.
    ///
    /// # Errors
    /// As every call.
    pub async fn clear_build_cache(&self) -> Result<(), EngineError> {
        let options = query::PruneBuildOptionsBuilder::new().all(true).build();
        self.call_within(SLOW_CALL, Operation::Prune, self.docker.prune_build(Some(options))).await.map(drop)
    }

    /// Whether there is a volume of this name.
    ///
    /// # Errors
    /// Among others: one that isn't ours has the name ([`EngineError::Foreign`]).
    pub async fn has_volume(&self, name: &str) -> Result<bool, EngineError> {
        match self.call(Operation::InspectVolume(name.into()), self.docker.inspect_volume(name)).await {
            Ok(volume) if volume.labels.contains_key(label::PROJECT) => Ok(true),
            Ok(_) => Err(EngineError::Foreign { what: "a volume", name: name.into() }),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The volumes that belong to an environment.
    ///
    /// # Errors
    /// As every call.
    pub async fn volumes_of(&self, project: &str) -> Result<Vec<Volume>, EngineError> {
        let label = format!("{}={project}", label::PROJECT);
        let filters = HashMap::from([("label", vec![label.as_str()])]);
        let options = query::ListVolumesOptionsBuilder::new().filters(&filters).build();
        let found = self.call(Operation::Inventory, self.docker.list_volumes(Some(options))).await?;
        let volume = |mut volume: bollard::models::Volume| Volume {
            dir: volume.labels.remove(label::DIR).map(PathBuf::from),
            name: volume.name,
        };
        Ok(found.volumes.unwrap_or_default().into_iter().map(volume).collect())
    }

    /// Removes a volume. One that is gone already is fine.
    ///
    /// # Errors
    /// Among others: a container has it.
    pub async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let call = self.docker.remove_volume(name, None::<query::RemoveVolumeOptions>);
        match self.call_within(SLOW_CALL, Operation::RemoveVolume(name.into()), call).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    async fn all_containers(&self) -> Result<Vec<ContainerSummary>, EngineError> {
        let options = query::ListContainersOptionsBuilder::new().all(true).size(true).build();
        self.call_within(SLOW_CALL, Operation::Inventory, self.docker.list_containers(Some(options))).await
    }

    async fn disk_usage(&self) -> Result<DiskUsage, EngineError> {
        // Older Engines don't know the parameters and measure everything.
        let newer = self.api_version >= ApiVersion(1, 42);
        let path = if newer { "/system/df?type=volume&type=build-cache" } else { "/system/df" };
        let usage = async {
            let body = self.transport.get(path).await?.into_body().collect().await?.to_bytes();
            Ok::<DiskUsage, Error>(serde_json::from_slice(&body)?)
        };
        self.call_within(SLOW_CALL, Operation::Inventory, usage).await
    }
}

impl Users {
    fn of(containers: &[ContainerSummary]) -> Self {
        let mut users = Self::default();
        for container in containers {
            let name = name_of(container);
            if let Some(image) = &container.image_id {
                users.images.entry(image.clone()).or_default().push(name.clone());
            }
            for network in container.network_settings.iter().flat_map(|s| &s.networks).flat_map(HashMap::keys) {
                users.networks.entry(network.clone()).or_default().push(name.clone());
            }
            for volume in container.mounts.iter().flatten().filter_map(|mount| mount.name.as_ref()) {
                users.volumes.entry(volume.clone()).or_default().push(name.clone());
            }
        }
        users
    }
}

fn name_of(container: &ContainerSummary) -> String {
    container.names.iter().flatten().next().map_or("", |name| name.trim_start_matches('/')).to_owned()
}

fn container_item(container: ContainerSummary) -> Item {
    let name = name_of(&container);
    let labels: BTreeMap<_, _> = container.labels.unwrap_or_default().into_iter().collect();
    let state = container.state.map(|state| state.to_string()).unwrap_or_default();
    let in_use = matches!(state.as_str(), "running" | "paused" | "restarting");
    Item { in_use, ..item(name.clone(), name, labels, container.size_rw, Vec::new()) }
}

fn image_item(image: ImageSummary, users: &Users) -> Item {
    let tags: Vec<_> = image.repo_tags.into_iter().filter(|tag| tag != "<none>:<none>").collect();
    let name = tags.first().cloned().unwrap_or_else(|| image.id.clone());
    let used_by = users.images.get(&image.id).cloned().unwrap_or_default();
    Item { tags, ..item(image.id, name, image.labels.into_iter().collect(), Some(image.size), used_by) }
}

fn network_item(network: Network, users: &Users) -> Option<Item> {
    let name = network.name.filter(|name| !["bridge", "host", "none"].contains(&name.as_str()))?;
    let used_by = users.networks.get(&name).cloned().unwrap_or_default();
    Some(item(name.clone(), name, network.labels.unwrap_or_default().into_iter().collect(), None, used_by))
}

fn volume_item(volume: VolumeSize, users: &Users) -> Item {
    let labels = volume.labels.unwrap_or_default();
    let used_by = users.volumes.get(&volume.name).cloned().unwrap_or_default();
    item(volume.name.clone(), volume.name, labels, volume.usage.map(|usage| usage.size), used_by)
}

fn item(id: String, name: String, labels: BTreeMap<String, String>, size: Option<i64>, used_by: Vec<String>) -> Item {
    Item {
        id,
        name,
        tags: Vec::new(),
        project: labels.get(label::PROJECT).cloned(),
        kind: labels.get(label::KIND).cloned(),
        // The Engine says -1 for what it doesn't know.
        size: size.and_then(|bytes| u64::try_from(bytes).ok()),
        in_use: !used_by.is_empty(),
        used_by,
        labels,
    }
}

fn sorted(items: impl Iterator<Item = Item>) -> Vec<Item> {
    let mut items: Vec<_> = items.collect();
    items.sort_by(|a, b| a.name.cmp(&b.name));
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_sizes_are_read_from_old_and_new_engines() {
        let volume = r#"{"Name":"v","Labels":{"dev.powerdev.project":"p"},"UsageData":{"Size":7,"RefCount":0}}"#;
        for answer in [format!(r#"{{"Volumes":[{volume}]}}"#), format!(r#"{{"VolumeUsage":{{"Items":[{volume}]}}}}"#)] {
            let usage: DiskUsage = serde_json::from_str(&answer).expect("an answer");
            let volumes = usage.volumes.or(usage.usage.and_then(|usage| usage.items)).unwrap_or_default();
            let item = volumes.into_iter().map(|v| volume_item(v, &Users::default())).next().expect("one");
            assert_eq!((item.name.as_str(), item.size, item.in_use), ("v", Some(7), false));
        }
    }
}
