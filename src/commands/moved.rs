//! A project whose folder was renamed or moved, and whose name was made up from its path: it would begin anew.

use super::Context;
use crate::config::{self, Settings};
use crate::failure::Failure;
use crate::state::StateDir;

/// How to keep the environment that this folder had by another path, where a new one would be made.
///
/// # Errors
/// When there is no place to keep state.
pub(super) fn notice(settings: &Settings) -> anyhow::Result<Option<String>> {
    let is_new = || anyhow::Ok(StateDir::of(&settings.name)?.project().is_none());
    if settings.name != config::made_up(&settings.dir) || !is_new()? {
        return Ok(None);
    }
    Ok(StateDir::before_move(&settings.dir).map(|(name, was)| {
        format!(
            "this folder was {}, whose environment is {name}; `name: {name}` in powerdev.yaml, then `powerdev up \
             --recreate`, keeps it with its home folder",
            was.display()
        )
    }))
}

/// Asks whether to begin anew, where somebody can be asked.
///
/// # Errors
/// A usage [`Failure`] when he'd rather not.
pub(super) fn ask(context: &Context<'_>) -> anyhow::Result<()> {
    let nobody = context.ui.json() || !context.ui.can_ask();
    if nobody || context.ui.confirm("Make a new environment all the same?", "`name:` in powerdev.yaml")? {
        return Ok(());
    }
    Err(Failure::usage("nothing was made").hint("put the old name into powerdev.yaml, as told above").into())
}
