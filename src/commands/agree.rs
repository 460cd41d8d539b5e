//! Asks whoever sits at the terminal for his word on what a project's files ask for, before anything comes of it.

use super::Context;
use crate::config::Settings;
use crate::failure::Failure;
use crate::image;
use crate::trust::Standing;

/// What the project asks for, and what of it was agreed to.
///
/// # Errors
/// When its Dockerfile can't be read, or there is no place to keep state.
pub(super) fn standing(settings: &Settings) -> anyhow::Result<Standing> {
    Standing::of(settings, image::want(settings)?)
}

/// Sees to it that all the project asks for is agreed to: it was before, `--trust` was `given`, or the user says so
/// now.
///
/// # Errors
/// A usage [`Failure`] when he doesn't, or nobody can be asked.
pub(super) fn to_wants(settings: &Settings, given: bool, context: &Context<'_>) -> anyhow::Result<()> {
    let standing = standing(settings)?;
    if standing.open().is_empty() {
        return Ok(());
    }
    if !given && (context.ui.json() || !context.ui.can_ask()) {
        return Ok(standing.require()?);
    }
    show(&standing, settings, context);
    if given { standing.agree() } else { ask(&standing, context) }
}

/// Asks for his word on what was shown, and remembers it.
///
/// # Errors
/// As [`to_wants`].
pub(super) fn ask(standing: &Standing, context: &Context<'_>) -> anyhow::Result<()> {
    if context.ui.confirm("Do you agree?", "--trust")? {
        return standing.agree();
    }
    Err(Failure::usage("you don't agree, so nothing was done")
        .hint("change the project's files, or look at them again with `powerdev trust`")
        .into())
}

/// Shows what is open.
fn show(standing: &Standing, settings: &Settings, context: &Context<'_>) {
    let what = if standing.was_agreed() { "asks for more than you agreed to" } else { "asks for what needs your word" };
    context.ui.notice(format_args!("{} {what}:", settings.dir.display()));
    for want in standing.open() {
        context.ui.status(format_args!("  {}", want.told(&settings.dir)));
    }
}
