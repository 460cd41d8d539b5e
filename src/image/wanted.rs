//! The image that the configuration asks for, as far as that can be told without the Engine: how it is built, on what,
//! and what it is called.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::digests::Digests;
use super::recipe::Recipe;
use super::{ca, packages};
use crate::config::layout::AGENT_MOUNT;
use crate::config::{Choice, ImageReference, Settings};
use crate::delivery::cache_home;
use crate::failure::Failure;
use crate::host::HostFacts;

/// Raised when what powerdev passes to a build changes in a way that the hash doesn't see.
const EDITION: &[u8] = b"powerdev build 1";

/// An image to be found or built.
pub struct Wanted {
    /// How to build it.
    pub recipe: Recipe,
    /// The arguments that decide what comes out.
    pub arguments: BTreeMap<String, String>,
    /// SHA-256 over all that decides what comes out.
    pub hash: String,
    /// Its name without a tag.
    pub repository: String,
    /// Its name with the tag, which holds the hash.
    pub tag: String,
    /// powerdev's own image, where this one is built on that.
    pub under: Option<Box<Self>>,
}

impl Wanted {
    /// Looks at files only.
    pub fn find(settings: &Settings, host: &HostFacts) -> anyhow::Result<Self> {
        let certificates = ca::certificates(&settings.ca_bundle)?;
        let base = settings.base_image.as_ref().map(ImageReference::as_str);
        let core = || {
            let repository = format!("powerdev/{}", settings.profile.word());
            Self::of(Recipe::embedded(settings.profile, &certificates)?, host, base, repository)
        };
        let Some(mut recipe) = Recipe::of_project(&settings.dir, settings.profile, &certificates, &private(settings))?
        else {
            let core = core()?;
            if settings.packages.is_empty() {
                return Ok(core);
            }
            let recipe = packages::recipe(&settings.packages);
            return Self::of(recipe, host, Some(&core.tag.clone()), repository(settings)).map(|own| own.on(core));
        };
        if !settings.packages.is_empty() {
            let dockerfile = settings.dir.join(&recipe.path);
            let message = "`packages:` go into powerdev's own image, and this project has a Dockerfile";
            let hint = format!("install them in {}, or take `packages:` away", dockerfile.display());
            return Err(Failure::usage(message).hint(hint).into());
        }
        let mut core = recipe.is_on_powerdevs(settings.profile).then(core).transpose()?;
        if let Some(core) = &core {
            recipe.begin_with(settings.profile, &core.tag);
        }
        let own = Self::of(recipe, host, base, repository(settings))?;
        Ok(match core.take() {
            Some(core) => own.on(core),
            None => own,
        })
    }

    fn of(recipe: Recipe, host: &HostFacts, base: Option<&str>, repository: String) -> anyhow::Result<Self> {
        let arguments = arguments(&recipe, host);
        let hash = hash(&recipe, &arguments, base)?;
        let tag = format!("{repository}:{}", &hash[..12]);
        Ok(Self { recipe, arguments, hash, repository, tag, under: None })
    }

    fn on(self, under: Self) -> Self {
        Self { under: Some(Box::new(under)), ..self }
    }
}

/// What of a project no build sees unless its `.dockerignore` puts it back: what the environment writes, which would
/// make every build a new one, and the files with secrets, which a `COPY .` would keep in a layer.
fn private(settings: &Settings) -> Vec<String> {
    let inside = |path: &Path| Some(path.strip_prefix(&settings.dir).ok()?.to_str()?.to_owned());
    let file = settings.env_file.as_deref();
    let resolved = file.and_then(|path| path.canonicalize().ok());
    let files = file.and_then(inside).into_iter().chain(resolved.as_deref().and_then(inside));
    [AGENT_MOUNT, ".env"].map(str::to_owned).into_iter().chain(files).collect()
}

/// What a project's own images are called; powerdev's own image is shared by all projects.
fn repository(settings: &Settings) -> String {
    // The Engine takes no two separators in a row, and none at the end.
    let parts = settings.name.as_str().split(['-', '_', '.']).filter(|part| !part.is_empty());
    format!("powerdev/{}", parts.collect::<Vec<_>>().join("-"))
}

/// The arguments that the Dockerfile asks for and that decide what comes out.
fn arguments(recipe: &Recipe, host: &HostFacts) -> BTreeMap<String, String> {
    [("USER_UID", host.user.uid), ("USER_GID", host.user.gid)]
        .into_iter()
        .filter(|(name, _)| recipe.dockerfile.has_arg(name))
        .map(|(name, value)| (name.to_owned(), value.to_string()))
        .collect()
}

/// SHA-256 over all that decides what comes out, but for the base image's content.
fn hash(recipe: &Recipe, arguments: &BTreeMap<String, String>, base: Option<&str>) -> anyhow::Result<String> {
    let mut digests = match (&recipe.project, cache_home()) {
        (Some(dir), Ok(cache)) => Digests::load(&cache, dir),
        _ => Digests::default(),
    };
    let context = recipe.context.digest(&mut digests)?;
    // Failing to costs time at the next build, nothing else.
    digests.save().ok();
    let mut hash = Sha256::new();
    let described = serde_json::to_vec(&(&recipe.path, &recipe.target, arguments, base))?;
    for part in [EDITION, &context, &described] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    Ok(hex::encode(hash.finalize()))
}
