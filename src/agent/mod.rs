//! The agent on its way into the container, and the client of its control socket.

pub mod client;
pub mod inject;
pub mod parcel;
pub mod route;

/// The agent's executable, built by `build.rs`: static, for Linux.
pub static BINARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/powerdev-agent"));
/// SHA-256 of [`BINARY`], in hex.
pub const SHA256: &str = env!("POWERDEV_AGENT_SHA256");
