//! What the tests share: projects in temporary folders, the real binary with a deadline, the real Engine.
//!
//! - [`Project`]: a folder with an environment's name that no other test has. Dropping it removes everything of that
//!   name: containers, networks, volumes, images, the folder.
//! - [`Invocation`]: one run of `powerdev`; [`Running`]: one that goes on; [`Terminal`]: one that has a terminal;
//!   [`Tmux`]: one that has a screen.
//! - [`engine`]: what the Engine says, past powerdev. A test fails, never skips, when no Engine answers.
//! - [`reaper`]: a second process that cleans up when the first one can't: Ctrl-C, a crash, `kill -9`.
//!
//! Nothing sleeps and hopes: wait for a line ([`Running::wait_line`]), for text on a terminal ([`Terminal::expect`]),
//! for an Engine's event ([`engine::Events`]), and where the world sends no event, [`wait::until`].

// Every test binary uses a part of this module.
#![allow(dead_code, unused_imports)]

pub mod core_image;
pub mod engine;
pub mod process;
pub mod project;
pub mod reaper;
pub mod registry;
pub mod relay;
pub mod root;
pub mod second_engine;
pub mod ssh;
pub mod terminal;
pub mod tmux;
pub mod wait;

pub use process::{Invocation, Output, Running};
pub use project::{Project, run_id};
pub use registry::Registry;
pub use relay::{Fault, Relay, Server};
pub use second_engine::SecondEngine;
pub use ssh::{SshAgent, SshServer};
pub use terminal::Terminal;
pub use tmux::Tmux;
