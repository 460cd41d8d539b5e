//! `powerdev build`: the environment's image.

use powerdev_protocol::ExitCode;

use super::{Context, agree};
use crate::config::settings::{BASE_IMAGE, PROFILE};
use crate::config::{Choice, Overrides, Profile};
use crate::host::HostFacts;
use crate::image::{self, BuildOptions};
use crate::site::Site;
use crate::units::ByteSize;

/// Build the image; an unchanged one answers at once.
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// Build even if nothing has changed
    #[arg(long)]
    pub force: bool,
    /// Which stage of the Dockerfile
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
    /// The image to build on
    #[arg(long, value_name = "IMAGE")]
    pub base: Option<String>,
    /// Agree to what the project's files ask for beyond its folder: `powerdev trust` shows it
    #[arg(long)]
    pub trust: bool,
    /// Take nothing from the build cache
    #[arg(long)]
    pub no_cache: bool,
    /// Look for a newer image: the base image, or the one that `image:` names
    #[arg(long)]
    pub pull: bool,
}

/// Builds.
///
/// # Errors
/// [`ExitCode::BuildFailed`] with the failing step, its last lines and the Dockerfile's line.
pub async fn run(args: BuildArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let profile = args.profile.as_ref().map(Choice::word);
    let flags = Overrides::default().with(&PROFILE, profile).with(&BASE_IMAGE, args.base.as_deref());
    let settings = context.settings_with(&flags)?;
    for notice in &settings.notices {
        context.ui.notice(notice);
    }
    agree::to_wants(&settings, args.trust, context)?;
    let engine = context.engine().await?;
    let host = HostFacts::detect(Site::of(engine.endpoint()).path(&settings.dir));
    let options = BuildOptions { force: args.force, no_cache: args.no_cache, pull: args.pull };
    let built = image::ensure(&engine, &settings, &host, context.ui, options).await?;
    if context.ui.json() {
        context.ui.document(&built)?;
    } else if built.up_to_date {
        context.ui.status(format_args!("{} is up to date ({})", built.tag, ByteSize(built.size)));
    } else {
        context.ui.status(format_args!("{} is ready ({})", built.tag, ByteSize(built.size)));
    }
    Ok(ExitCode::Done)
}
