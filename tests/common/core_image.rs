//! The real core image, which takes minutes to build on a machine that has never had it.

use std::sync::OnceLock;
use std::time::Duration;

use super::{Project, engine, reaper};

/// The first build makes a base, fetches and compiles.
const BUILD: Duration = Duration::from_secs(1800);
/// Set to leave what was built on the Engine, so that the next run finds it.
const KEEP: &str = "POWERDEV_TEST_KEEP_IMAGES";
/// What powerdev calls a base that it had to make itself.
const BASE: &str = "powerdev-base:trixie";
const LATEST: &str = "powerdev/core:latest";

/// Builds it, once a run. What wasn't there before the run isn't there after it either.
pub fn build(project: &Project) {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        if std::env::var_os(KEEP).is_none() {
            let plan = project.powerdev(["up", "--dry-run", "--json"]).run().ok().json();
            let image = plan["plan"]["container"]["image"].as_str().expect("the plan names the image").to_owned();
            // Told beforehand: a build that is broken off leaves nothing either.
            for tag in [image.as_str(), LATEST, BASE] {
                reaper::restore_image(tag, engine::image_id(tag).as_deref());
            }
        }
        project.powerdev(["build"]).deadline(BUILD).run().ok();
    });
}
