//! Carrying out a plan.

use anyhow::Context as _;

use super::{Removal, Target};
use crate::engine::Engine;

/// Removes one thing. What came into use since it was found stays, and is an error; what is gone already is fine.
///
/// # Errors
/// What the Engine or the file system says.
pub async fn remove(engine: &Engine, removal: &Removal) -> anyhow::Result<()> {
    match &removal.target {
        Target::Container => engine.remove_container(&removal.name, false).await?,
        Target::Network => engine.remove_network(&removal.name).await?,
        Target::Volume => engine.remove_volume(&removal.name).await?,
        Target::BuildCache => engine.clear_build_cache().await?,
        Target::Image { tags, id } if tags.is_empty() => engine.remove_image(id).await?,
        // Tag by tag: the image goes with its last one, and one that somebody tagged meanwhile stays.
        Target::Image { tags, .. } => {
            for tag in tags {
                engine.remove_image(tag).await?;
            }
        }
        Target::Folder { path } => {
            let gone = std::fs::remove_dir_all(path);
            gone.with_context(|| format!("can't remove {}", path.display()))?;
        }
    }
    Ok(())
}
