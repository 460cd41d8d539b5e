//! End to end: the real binary, a real Engine, real processes. One module a subject; see `tests/common` for the means.

#[path = "../common/mod.rs"]
mod common;

// One line a subject, in the order of the alphabet.
mod build;
mod cleanup;
mod core_image;
mod doctor;
mod engine;
mod exec;
mod first_day;
mod harness;
mod hooks;
mod inside;
mod json;
mod lifecycle;
mod logging;
mod logins;
mod logs;
mod overview;
mod packages;
mod persist;
mod ports;
mod project;
mod proxies;
mod recreate;
mod registry;
mod reload;
mod remote;
mod secrets;
mod services;
mod sessions;
mod supervisor;
mod wall;
mod watch;
