//! The supervisor as a real process: the agent's own binary, run as a subreaper in a temporary folder. What only
//! PID 1 of a container can show is tested end to end, with an Engine.

#![allow(clippy::unwrap_used, missing_docs)]

mod attach;
mod clients;
mod faults;
mod harness;
mod launch;
mod readiness;
mod reload;
mod restart;
mod sessions;
mod start;
mod stop;
