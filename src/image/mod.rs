//! The image of an environment: built when what goes into it has changed, else found by one look.
//!
//! A label of the image holds a hash of all that went in: Dockerfile, context, arguments, CA certificates, profile.
//! The base image's ID is a label of its own, so that a base that was updated builds anew, and one that was removed
//! doesn't.

mod base;
mod ca;
mod context;
mod digests;
mod dockerfile;
mod embedded;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod ignore;
mod mirrors;
mod packages;
mod progress;
mod proxies;
mod pull;
mod recipe;
mod wanted;

use std::time::Instant;

use futures_util::StreamExt;
use powerdev_protocol::ExitCode;

use crate::config::{ImageReference, Settings, Want};
use crate::engine::{
    BuildEvent, BuildRequest, BuildSecrets, Engine, EngineError, Hidden, Image, Logins, container_proxies,
};
use crate::failure::Failure;
use crate::host::HostFacts;
use crate::interrupt::interruptible;
use crate::reporter::Reporter;
use crate::spec::label;
use crate::trust::Standing;
use base::Base;
use mirrors::Mirrors;
use progress::BuildProgress;
use proxies::ProxyArguments;
use recipe::{BASE_IMAGE, Recipe};
use wanted::Wanted;

pub use pull::PullError;

/// What a build is asked to do beyond its settings.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// Even if nothing has changed.
    pub force: bool,
    /// Take nothing from the build cache.
    pub no_cache: bool,
    /// Look for a newer base image, or a newer one of those that were named, even if one is here.
    pub pull: bool,
}

/// An image that is there.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Built {
    /// Its name with its tag, which holds the hash of what went in.
    #[serde(rename = "image")]
    pub tag: String,
    /// Its digest, `sha256:…`.
    pub id: String,
    /// Nothing was to be done.
    pub up_to_date: bool,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Its size with all its layers, in bytes.
    pub size: u64,
}

/// How many CA certificates of this machine go into the image.
///
/// # Errors
/// When a file that was named can't be read or holds no certificate.
pub fn extra_certificates(settings: &Settings) -> anyhow::Result<usize> {
    Ok(ca::certificates(&settings.ca_bundle)?.len())
}

/// The image that a registry would be asked for, if it isn't here.
pub fn pulled_image(settings: &Settings) -> String {
    let own = || recipe::own_base(&settings.dir, settings.profile);
    let image = settings.image.as_ref().map(ToString::to_string).or_else(own);
    let image = image.or_else(|| settings.base_image.as_ref().map(ToString::to_string));
    image.unwrap_or_else(|| base::DEBIAN.to_owned())
}

/// Whether that one is here, or one that does in its place.
///
/// # Errors
/// When the Engine can't be asked.
pub async fn has_pulled_image(engine: &Engine, settings: &Settings) -> Result<bool, EngineError> {
    match pulled_image(settings) {
        image if image == base::DEBIAN => Ok(base::local(engine, None).await?.is_some()),
        image => Ok(engine.image(&image).await?.is_some()),
    }
}

/// The tag that [`ensure`] would build or find. Looks at files only.
///
/// # Errors
/// As [`ensure`], for what is wrong before the Engine is asked.
pub fn tag(settings: &Settings, host: &HostFacts) -> anyhow::Result<String> {
    match &settings.image {
        Some(image) => Ok(image.to_string()),
        None => Ok(Wanted::find(settings, host)?.tag),
    }
}

/// What the image of this project asks its user for, besides what its settings do: the project's own Dockerfile.
///
/// # Errors
/// When it can't be read.
pub fn want(settings: &Settings) -> anyhow::Result<Option<Want>> {
    if settings.image.is_some() { Ok(None) } else { recipe::own_want(&settings.dir, settings.profile) }
}

/// Makes sure that the environment's image is there and up to date.
///
/// # Errors
/// A [`Failure`] with [`ExitCode::BuildFailed`] that tells the failing step, its last lines and its line in the
/// Dockerfile; [`ExitCode::Interrupted`] on Ctrl-C.
pub async fn ensure(
    engine: &Engine,
    settings: &Settings,
    host: &HostFacts,
    reporter: &dyn Reporter,
    options: BuildOptions,
) -> anyhow::Result<Built> {
    let since = Instant::now();
    if let Some(tag) = &settings.image {
        Standing::of(settings, None)?.require()?;
        return given(engine, tag.as_str(), reporter, &options, since).await;
    }
    let mut wanted = Wanted::find(settings, host)?;
    Standing::of(settings, wanted.recipe.want.clone())?.require()?;
    let order = Order { engine, settings, reporter, options, since };
    let Some(under) = wanted.under.take() else { return order.make(wanted, None).await };
    let (found, below) = tokio::try_join!(engine.image(&wanted.tag), engine.image(&under.tag))?;
    // What it was built on may have been cleaned up since: nothing needs that any more.
    if let (Some(image), None) = (found, below)
        && !order.insists()
        && is_current(&image, &wanted.hash, None)
    {
        return Ok(built(wanted.tag, image, true, since));
    }
    let under = order.make(*under, None).await?;
    order.make(wanted, Some(Base { tag: under.tag, id: under.id })).await
}

/// What is asked for, of whom, how, and who hears of it.
struct Order<'a> {
    engine: &'a Engine,
    settings: &'a Settings,
    reporter: &'a dyn Reporter,
    options: BuildOptions,
    since: Instant,
}

impl Order<'_> {
    /// Whether to build even what is as it should be.
    fn insists(&self) -> bool {
        self.options.force || self.options.no_cache || self.options.pull
    }

    /// Finds the image, or builds it: on the image that is given, else on the base image that the settings ask for.
    async fn make(&self, wanted: Wanted, under: Option<Base>) -> anyhow::Result<Built> {
        let Self { engine, settings, reporter, .. } = *self;
        let Wanted { recipe, arguments, hash, repository, tag, .. } = wanted;
        let asked = settings.base_image.as_ref().map(ImageReference::as_str);
        // A Dockerfile that doesn't ask for it names its own, which BuildKit pulls.
        let takes_base = under.is_none() && recipe.dockerfile.has_arg(BASE_IMAGE);
        let local = async { if takes_base { base::local(engine, asked).await } else { Ok(None) } };
        let (found, local) = tokio::try_join!(engine.image(&tag), local)?;
        if let Some(image) = found
            && !self.insists()
            && is_current(&image, &hash, under.as_ref().or(local.as_ref()))
        {
            return Ok(built(tag, image, true, self.since));
        }
        let pull = self.options.pull && !takes_base && under.is_none();
        let base = match local {
            _ if !takes_base => under,
            Some(base) if !self.options.pull => Some(base),
            here => Some(interruptible("the pull", None, base::fetch(engine, asked, here.as_ref(), reporter)).await?),
        };
        match (&recipe.project, &base) {
            (Some(dir), _) => reporter.status(format_args!("building {tag} from {}", dir.join(&recipe.path).display())),
            (None, base) => {
                reporter.status(format_args!("building {tag} on {}", base.as_ref().map_or("", |base| &base.tag)))
            }
        }
        // As with the docker CLI: what it can't be asked for, most builds don't need.
        let configured = container_proxies(engine.endpoint()).unwrap_or_default();
        let ProxyArguments { arguments: proxies, hidden } =
            ProxyArguments::find(settings.secrets.reveal(), &configured, &recipe.dockerfile, reporter);
        let mirrors = mirrors(&recipe, settings);
        let base_label = base.iter().map(|base| (label::BASE.to_owned(), base.id.clone()));
        let base_argument = base.iter().filter(|_| recipe.dockerfile.has_arg(BASE_IMAGE));
        let base_argument = base_argument.map(|base| (BASE_IMAGE.to_owned(), base.tag.clone()));
        let request = BuildRequest {
            dockerfile: recipe.path.clone(),
            target: recipe.target.clone(),
            tags: vec![tag.clone(), format!("{repository}:latest")],
            labels: base_label.chain([(label::BUILD.to_owned(), hash)]).collect(),
            arguments: arguments.into_iter().chain(proxies).chain(base_argument).collect(),
            no_cache: self.options.no_cache,
            pull,
            secrets: BuildSecrets(mirrors.secrets.into_iter().chain(settings.secrets.reveal().clone()).collect()),
            logins: Logins::find().unwrap_or_default(),
        };
        interruptible("the build", None, run(engine, request, recipe, hidden.and(mirrors.hidden), reporter)).await?;
        let image = engine.image(&tag).await?;
        let image =
            image.ok_or_else(|| Failure::new(ExitCode::BuildFailed, format!("{tag} was built and is gone again")))?;
        let built = built(tag, image, false, self.since);
        reporter.status(format_args!("built {} in {:.1} s", built.tag, built.seconds));
        Ok(built)
    }
}

/// The user's registries, for powerdev's own Dockerfile alone: another one could keep the logins there, or send them on.
fn mirrors(recipe: &Recipe, settings: &Settings) -> Mirrors {
    if recipe.project.is_some() { Mirrors::default() } else { Mirrors::find(settings.secrets.reveal()) }
}

fn built(tag: String, image: Image, up_to_date: bool, since: Instant) -> Built {
    Built { tag, id: image.id, up_to_date, seconds: since.elapsed().as_secs_f64(), size: image.size }
}

/// An image that the user named: pulled if it isn't here.
async fn given(
    engine: &Engine,
    tag: &str,
    reporter: &dyn Reporter,
    options: &BuildOptions,
    since: Instant,
) -> anyhow::Result<Built> {
    let found = engine.image(tag).await?;
    let else_do = "take `image:` out of powerdev.yaml to use powerdev's own";
    let failed = |error: PullError| error.or(ExitCode::NotRunning, else_do);
    if let Some(image) = found.clone().filter(|_| !options.pull) {
        pull::check_platform(engine, tag, &image).await.map_err(failed)?;
        return Ok(built(tag.to_owned(), image, true, since));
    }
    let pulled = async { Ok(pull::pull(engine, tag, reporter).await.map_err(failed)?) };
    let image = interruptible("the pull", None, pulled).await?;
    let up_to_date = found.is_some_and(|found| found.id == image.id);
    Ok(built(tag.to_owned(), image, up_to_date, since))
}

/// Whether all that went into this image is as it is now.
fn is_current(image: &Image, hash: &str, base: Option<&Base>) -> bool {
    let is = |label: &str, value: &str| image.labels.get(label).is_some_and(|found| found == value);
    is(label::BUILD, hash) && base.is_none_or(|base| is(label::BASE, &base.id))
}

async fn run(
    engine: &Engine,
    request: BuildRequest,
    recipe: Recipe,
    hidden: Hidden,
    reporter: &dyn Reporter,
) -> anyhow::Result<()> {
    let Recipe { dockerfile, path, context, .. } = recipe;
    let mut events = engine.build(request, context.into_tar()).await?;
    let mut progress = BuildProgress::new(reporter, hidden);
    while let Some(event) = events.next().await {
        let event = event?;
        if let BuildEvent::Failed(why) = &event {
            return Err(progress.failure(why, &dockerfile, &path).into());
        }
        progress.take(&event);
    }
    if progress.cached() > 0 {
        reporter.status(format_args!("taken from the build cache: {} steps", progress.cached()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_current_when_all_that_went_in_is_the_same() {
        let labels = [(label::BUILD.to_owned(), "h".to_owned()), (label::BASE.to_owned(), "b".to_owned())];
        let image = Image { labels: labels.into(), ..Image::default() };
        let base = |id: &str| Base { tag: "debian".into(), id: id.into() };
        assert!(is_current(&image, "h", Some(&base("b"))));
        assert!(is_current(&image, "h", None), "a base that was removed since changes nothing");
        assert!(!is_current(&image, "h", Some(&base("other"))));
        assert!(!is_current(&image, "other", Some(&base("b"))));
        assert!(!is_current(&Image::default(), "h", None));
    }
}
