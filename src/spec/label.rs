//! Labels that powerdev puts on what it makes. What has none of them is never touched.

/// On everything: the environment's name.
pub const PROJECT: &str = "dev.powerdev.project";
/// On containers: [`super::Role`]. Older releases put none on, and made environments alone.
pub const ROLE: &str = "dev.powerdev.role";
/// On containers and volumes: the project's folder on the host.
pub const DIR: &str = "dev.powerdev.dir";
/// On everything: the release that made it.
pub const VERSION: &str = "dev.powerdev.version";
/// On containers: SHA-256 of the [`super::ContainerSpec`], what drift is noticed by.
pub const CONFIG: &str = "dev.powerdev.config";
/// On containers: the [`super::ContainerSpec`] itself as JSON, what drift is told by. Holds no secret.
pub const SPEC: &str = "dev.powerdev.spec";
/// On images: hash of everything that went into the build.
pub const BUILD: &str = "dev.powerdev.build";
/// On images: ID of the image that they were built on.
pub const BASE: &str = "dev.powerdev.base";
/// On volumes: [`super::VolumeKind`].
pub const KIND: &str = "dev.powerdev.kind";
