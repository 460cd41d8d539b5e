//! Which releases talk to each other. A client says [`Hello`] before its first request, in one go with it, so that this
//! costs no round trip; an agent answers each in turn. One of before that refuses the greeting and is known by it.

use serde::{Deserialize, Serialize};

use crate::{Request, Response};

/// The protocol of this release. Raised when requests, answers or events are added or changed.
pub const PROTOCOL_VERSION: u32 = 2;
/// The oldest protocol that this release still talks.
pub const OLDEST_PROTOCOL: u32 = 1;

/// What each side says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The newest protocol that it talks.
    pub protocol: u32,
    /// The oldest protocol that it still talks.
    pub oldest: u32,
    /// Its release, for people. Empty of one that doesn't greet.
    pub release: String,
}

impl Hello {
    /// What this release says of itself.
    pub fn ours() -> Self {
        Self { protocol: PROTOCOL_VERSION, oldest: OLDEST_PROTOCOL, release: env!("CARGO_PKG_VERSION").into() }
    }

    /// That of a peer which knows of no greeting.
    pub fn of_silent() -> Self {
        Self { protocol: 1, oldest: 1, release: String::new() }
    }

    /// What an agent's answer to the greeting says of it.
    pub fn of_answer(answer: &Response) -> Self {
        match answer {
            Response::Hello(hello) => hello.clone(),
            _ => Self::of_silent(),
        }
    }

    /// Whether there is a protocol that both talk.
    ///
    /// # Errors
    /// When there is none: with both releases, for people.
    pub fn check(&self, agent: &Self) -> Result<(), OtherRelease> {
        if self.protocol >= agent.oldest && agent.protocol >= self.oldest {
            return Ok(());
        }
        Err(self.refused_by(agent))
    }

    /// Whether an agent that said this understands the request.
    ///
    /// # Errors
    /// When it doesn't: with both releases, for people.
    pub fn knows(&self, request: &Request) -> Result<(), OtherRelease> {
        if request.since() <= self.protocol { Ok(()) } else { Err(Self::ours().refused_by(self)) }
    }

    fn refused_by(&self, agent: &Self) -> OtherRelease {
        OtherRelease { client: self.clone(), agent: agent.clone() }
    }
}

impl std::fmt::Display for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.release.as_str() {
            "" => write!(f, "an early release (protocol {})", self.protocol),
            release => write!(f, "release {release} (protocol {})", self.protocol),
        }
    }
}

/// Client and agent are of releases too far apart for what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the agent is of {agent}, and this is {client}")]
pub struct OtherRelease {
    client: Hello,
    agent: Hello,
}

impl OtherRelease {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        if self.agent.protocol > self.client.protocol {
            "install the newer powerdev"
        } else {
            "`powerdev restart` brings the agent up to date"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(oldest: u32, protocol: u32) -> Hello {
        Hello { protocol, oldest, release: format!("{protocol}.0") }
    }

    #[test]
    fn ranges_that_overlap_talk() {
        assert_eq!(hello(1, 2).check(&hello(2, 4)), Ok(()));
        assert_eq!(hello(2, 4).check(&hello(1, 2)), Ok(()));
        let newer = hello(1, 2).check(&hello(3, 4)).expect_err("nothing in common");
        let words = "the agent is of release 4.0 (protocol 4), and this is release 2.0 (protocol 2)";
        assert_eq!((newer.to_string().as_str(), newer.remedy()), (words, "install the newer powerdev"));
        let older = hello(3, 4).check(&Hello::of_silent()).expect_err("nothing in common");
        assert!(older.to_string().contains("an early release (protocol 1)"), "{older}");
        assert!(older.remedy().contains("`powerdev restart`"));
    }

    #[test]
    fn a_request_is_known_from_its_protocol_on() {
        assert_eq!(Hello::of_silent().knows(&Request::Health), Ok(()));
        assert!(Hello::of_silent().knows(&Request::Reload).is_err());
        assert_eq!(Hello::ours().knows(&Request::Reload), Ok(()));
    }
}
