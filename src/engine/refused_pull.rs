//! Why a registry doesn't give an image: read from the Engine's words, which differ from release to release.

use super::EngineError;
use super::error::Refusal;
use super::login::login_command;
use super::redact::without_passwords;
use super::reference::Registry;

/// An image that wasn't pulled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {refusal}", self.summary())]
pub struct RefusedPull {
    /// The image, as it was asked for.
    pub image: String,
    /// Where it should have come from.
    pub registry: Registry,
    /// Why, by meaning.
    pub trouble: PullTrouble,
    refusal: Refusal,
}

/// What a pull failed of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullTrouble {
    /// The registry has no such image or tag.
    NoSuchImage,
    /// It isn't there, or one must be logged in to see it.
    NoSuchImageOrLogin,
    /// The registry wants a login, or another one.
    Login,
    /// The registry has one for other machines only.
    Platform,
    /// It answers with a certificate that the Engine doesn't trust.
    Certificate,
    /// It speaks plain HTTP.
    PlainHttp,
    /// Too many pulls.
    RateLimit,
    /// What came isn't what was asked for.
    Damaged,
    /// The download broke off again and again.
    BrokenOff,
    /// The Engine doesn't reach the registry.
    Unreachable,
    /// The Engine has no room for it.
    NoSpace,
    /// What no other kind names.
    Other,
}

/// In this order: the first whose words are found. All in lower case.
const WORDS: &[(PullTrouble, &[&str])] = &[
    (PullTrouble::NoSpace, &["no space left on device"]),
    (PullTrouble::RateLimit, &["toomanyrequests", "too many requests", "rate limit"]),
    (
        PullTrouble::Platform,
        &["no matching manifest for", "does not match the specified platform", "no match for platform"],
    ),
    (PullTrouble::PlainHttp, &["server gave http response to https client"]),
    (PullTrouble::Certificate, &["x509:", "certificate"]),
    (PullTrouble::Damaged, &["verification failed", "digest mismatch", "unexpected commit digest", "checksum"]),
    (
        PullTrouble::NoSuchImageOrLogin,
        &["may require 'docker login'", "may require authorization", "pull access denied"],
    ),
    (
        PullTrouble::Login,
        &[
            "no basic auth credentials",
            "unauthorized",
            "authentication required",
            "incorrect username or password",
            "denied",
            "forbidden",
            "invalid_grant",
        ],
    ),
    (PullTrouble::NoSuchImage, &["manifest unknown", "name unknown", "not found"]),
    (PullTrouble::BrokenOff, &["unexpected eof", "connection reset", "broken pipe", "failed to copy"]),
    (
        PullTrouble::Unreachable,
        &[
            "connection refused",
            "no such host",
            "timeout",
            "deadline exceeded",
            "network is unreachable",
            "no route to host",
            "dial tcp",
            "eof",
            "proxyconnect",
            "temporary failure",
            "server misbehaving",
        ],
    ),
];

impl RefusedPull {
    pub(super) fn of(image: &str, refusal: Refusal) -> Self {
        let message = refusal.message.to_ascii_lowercase();
        let said = |words: &&[&str]| words.iter().any(|word| message.contains(word));
        let trouble = WORDS.iter().find(|(_, words)| said(words)).map_or(PullTrouble::Other, |(trouble, _)| *trouble);
        let refusal = Refusal { message: without_passwords(&refusal.message), ..refusal };
        Self { image: image.into(), registry: Registry::of(image), trouble, refusal }
    }

    /// What it means, without the Engine's own words.
    pub fn summary(&self) -> String {
        let Self { image, registry, .. } = self;
        let reason = match self.trouble {
            PullTrouble::NoSuchImage => format!("{registry} has no such image or tag"),
            PullTrouble::NoSuchImageOrLogin => {
                format!("{registry} has no such image, or shows it only to those logged in")
            }
            PullTrouble::Login => format!("{registry} wants a login, or another one"),
            PullTrouble::Platform => format!("{registry} has it for other machines only, not for this Engine's"),
            PullTrouble::Certificate => format!("the Engine doesn't trust the certificate of {registry}"),
            PullTrouble::PlainHttp => format!("{registry} speaks plain HTTP, which the Engine doesn't take"),
            PullTrouble::RateLimit => format!("{registry} has counted too many pulls"),
            PullTrouble::Damaged => format!("what {registry} sent isn't what it announced"),
            PullTrouble::BrokenOff => format!("the download from {registry} broke off"),
            PullTrouble::Unreachable => format!("{registry} can't be reached by the Engine"),
            PullTrouble::NoSpace => "the Engine has no room for it".into(),
            PullTrouble::Other => return format!("can't pull the image {image}"),
        };
        format!("can't pull the image {image}: {reason}")
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        let registry = &self.registry;
        let login = login_command(registry);
        let host = if registry.is_docker_hub() { "registry-1.docker.io" } else { registry.host() };
        Some(match self.trouble {
            PullTrouble::NoSuchImage => "check the name and the tag".into(),
            PullTrouble::NoSuchImageOrLogin => format!("check the name and the tag; for a private image: {login}"),
            PullTrouble::Login => {
                format!("{login}, with an account that may pull it; `powerdev doctor` tells what is used")
            }
            PullTrouble::Platform => {
                "name an image for this machine's architecture, or an Engine that has the image's".into()
            }
            PullTrouble::Certificate => {
                format!("put its CA certificate at /etc/docker/certs.d/{host}/ca.crt on the Engine's machine")
            }
            PullTrouble::PlainHttp => {
                format!("give it a certificate, or list {host} under `insecure-registries` in /etc/docker/daemon.json")
            }
            PullTrouble::RateLimit => format!("wait, or {login}: accounts may pull more"),
            PullTrouble::Damaged => "try again; if it goes on, the registry or a proxy before it is broken".into(),
            PullTrouble::BrokenOff => "try again: layers that came whole are kept".into(),
            PullTrouble::Unreachable => {
                "check the name and the network; the Engine's own proxy settings count (`powerdev doctor` shows them)"
                    .into()
            }
            PullTrouble::NoSpace => {
                "make room: `powerdev cleanup --dry-run` shows what could go; `docker system df` what takes it".into()
            }
            PullTrouble::Other => return None,
        })
    }
}

impl From<RefusedPull> for EngineError {
    fn from(refused: RefusedPull) -> Self {
        Self::NotPulled(Box::new(refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(message: &str) -> RefusedPull {
        RefusedPull::of("ghcr.io/team/x:1", Refusal { status: 500, message: message.into() })
    }

    #[test]
    fn engines_words_are_read_by_meaning() {
        for (message, trouble) in [
            ("manifest for ghcr.io/team/x:1 not found: manifest unknown: manifest unknown", PullTrouble::NoSuchImage),
            ("manifest unknown", PullTrouble::NoSuchImage),
            (
                "pull access denied for team/x, repository does not exist or may require 'docker login': denied: \
                 requested access to the resource is denied",
                PullTrouble::NoSuchImageOrLogin,
            ),
            ("Head \"https://ghcr.io/v2/team/x/manifests/1\": no basic auth credentials", PullTrouble::Login),
            ("Head \"https://ghcr.io/v2/x/manifests/1\": unauthorized: authentication required", PullTrouble::Login),
            (
                "failed to authorize: failed to fetch anonymous token: unexpected status: 403 Forbidden",
                PullTrouble::Login,
            ),
            ("no matching manifest for linux/amd64 in the manifest list entries", PullTrouble::Platform),
            ("Get \"https://ghcr.io/v2/\": x509: certificate signed by unknown authority", PullTrouble::Certificate),
            ("Get \"https://r/v2/\": http: server gave HTTP response to HTTPS client", PullTrouble::PlainHttp),
            ("toomanyrequests: You have reached your pull rate limit", PullTrouble::RateLimit),
            ("filesystem layer verification failed for digest sha256:00", PullTrouble::Damaged),
            ("unexpected EOF", PullTrouble::BrokenOff),
            ("read tcp 127.0.0.1:2->127.0.0.1:1: read: connection reset by peer", PullTrouble::BrokenOff),
            ("Get \"http://r/v2/\": dial tcp 127.0.0.1:1: connect: connection refused", PullTrouble::Unreachable),
            ("Get \"https://r/v2/\": dial tcp: lookup r on 1.1.1.1:53: no such host", PullTrouble::Unreachable),
            ("Get \"https://r/v2/\": EOF", PullTrouble::Unreachable),
            ("write /var/lib/docker/tmp/x: no space left on device", PullTrouble::NoSpace),
            ("the moon is full", PullTrouble::Other),
        ] {
            assert_eq!(refused(message).trouble, trouble, "{message}");
        }
    }

    #[test]
    fn hints_name_the_registry_and_messages_no_password() {
        let private = refused("no basic auth credentials");
        assert!(private.hint().is_some_and(|hint| hint.starts_with("`docker login ghcr.io`")), "{:?}", private.hint());
        let hub = RefusedPull::of("team/x", Refusal { status: 404, message: "pull access denied".into() });
        assert!(hub.hint().is_some_and(|hint| hint.contains("`docker login`")), "{:?}", hub.hint());
        let proxied = refused("Get \"https://x/\": proxyconnect http://me:hush@proxy: no").to_string();
        assert!(proxied.contains("http://***@proxy") && !proxied.contains("hush"), "{proxied}");
    }
}
