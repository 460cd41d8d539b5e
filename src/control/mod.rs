//! The client of an agent's control socket: over the socket itself, or through an Engine exec.

pub mod client;
mod exec;
mod patience;

pub use client::{AgentError, Client, listens};
pub use exec::connect_through;
pub use patience::Patience;
