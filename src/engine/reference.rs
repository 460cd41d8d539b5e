//! An image's name, taken apart as the docker CLI does: which registry has it, what it is called there, which tag.

/// How the docker CLI files the login of Docker Hub.
const DOCKER_HUB_LOGIN: &str = "https://index.docker.io/v1/";
/// All the names that Docker Hub goes by.
const DOCKER_HUB: &[&str] = &["docker.io", "index.docker.io", "registry-1.docker.io"];

/// A registry: `docker.io`, `ghcr.io`, `localhost:5000`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Registry(String);

impl Registry {
    /// The registry that has this image.
    pub fn of(image: &str) -> Self {
        let first = image.split_once('/').map(|(first, _)| first);
        // `library/debian` is a name of Docker Hub; `Host/debian` can't be, its names are lower case.
        let is_host = |part: &&str| {
            part.contains(['.', ':']) || *part == "localhost" || part.chars().any(|letter| letter.is_ascii_uppercase())
        };
        Self::named(first.filter(is_host).unwrap_or(DOCKER_HUB[0]))
    }

    /// A registry by its host's name, with its port if it has one.
    pub fn named(host: &str) -> Self {
        if DOCKER_HUB.contains(&host) || host == DOCKER_HUB_LOGIN {
            return Self(DOCKER_HUB[0].into());
        }
        Self(host.into())
    }

    /// Its name in an image's name.
    pub fn host(&self) -> &str {
        &self.0
    }

    /// The server under which the docker CLI files its login, and asks credential helpers for it.
    pub(super) fn server(&self) -> &str {
        if self.is_docker_hub() { DOCKER_HUB_LOGIN } else { &self.0 }
    }

    /// Whether a key of `auths` or `credHelpers` means it: `ghcr.io`, `https://ghcr.io/v2/`.
    pub(super) fn is(&self, key: &str) -> bool {
        let host =
            key.trim_start_matches("https://").trim_start_matches("http://").split('/').next().unwrap_or_default();
        Self::named(host) == *self
    }

    /// What `docker login` must be given to log in there.
    pub(super) fn login_argument(&self) -> &str {
        if self.is_docker_hub() { "" } else { &self.0 }
    }

    /// Docker Hub, which nobody has to name.
    pub fn is_docker_hub(&self) -> bool {
        self.0 == DOCKER_HUB[0]
    }
}

impl std::fmt::Display for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// `host:5000/name:tag`; a digest counts as a tag.
pub(super) fn name_and_tag(image: &str) -> (&str, &str) {
    if let Some((name, digest)) = image.split_once('@') {
        return (name, digest);
    }
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags_are_told_apart() {
        for (image, expected) in [
            ("debian", ("debian", "latest")),
            ("debian:trixie-slim", ("debian", "trixie-slim")),
            ("host:5000/a/b", ("host:5000/a/b", "latest")),
            ("host:5000/a/b:1", ("host:5000/a/b", "1")),
            ("a@sha256:00", ("a", "sha256:00")),
        ] {
            assert_eq!(name_and_tag(image), expected);
        }
    }

    #[test]
    fn every_image_has_a_registry() {
        for (image, registry) in [
            ("debian", "docker.io"),
            ("debian:trixie", "docker.io"),
            ("team/x:1", "docker.io"),
            ("index.docker.io/team/x", "docker.io"),
            ("ghcr.io/team/x", "ghcr.io"),
            ("localhost/x", "localhost"),
            ("localhost:5000/x:1", "localhost:5000"),
            ("host:5000/a/b@sha256:00", "host:5000"),
        ] {
            assert_eq!(Registry::of(image).host(), registry, "{image}");
        }
    }

    #[test]
    fn logins_are_filed_under_many_names() {
        let ghcr = Registry::named("ghcr.io");
        assert!(["ghcr.io", "https://ghcr.io", "http://ghcr.io/v2/"].iter().all(|key| ghcr.is(key)));
        assert!(["ghcr.io:443", "other.io", "https://index.docker.io/v1/"].iter().all(|key| !ghcr.is(key)));
        let hub = Registry::of("debian");
        assert!(["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"].iter().all(|key| hub.is(key)));
        assert_eq!((hub.server(), hub.login_argument()), ("https://index.docker.io/v1/", ""));
        assert_eq!((ghcr.server(), ghcr.login_argument()), ("ghcr.io", "ghcr.io"));
    }
}
