//! The log of what powerdev does, on standard error, where somebody asks for it: `-v`, `-vv`, or `POWERDEV_LOG`.
//!
//! It tells which question was asked of whom and how long the answer took, never what was sent: no secret gets here.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::failure::Failure;

/// What asks for the log without a flag: a level (`debug`), or levels by module (`powerdev::engine=trace`).
pub const VARIABLE: &str = "POWERDEV_LOG";

/// Starts the log. `verbosity` counts the `-v`s: one tells what is decided, two each question asked of the Engine or
/// an agent with its time, three what libraries say, too. Without any, [`VARIABLE`] says how much.
///
/// # Errors
/// A usage [`Failure`] when the variable makes no sense.
pub fn start(verbosity: u8, color: bool) -> Result<(), Failure> {
    let ours = |level: LevelFilter| Targets::new().with_target("powerdev", level);
    let filter = match (verbosity, std::env::var(VARIABLE).ok().filter(|value| !value.is_empty())) {
        (0, None) => return Ok(()),
        (0, Some(value)) => parse(&value)?,
        (1, _) => ours(LevelFilter::INFO),
        (2, _) => ours(LevelFilter::DEBUG),
        (_, _) => ours(LevelFilter::TRACE).with_default(LevelFilter::DEBUG),
    };
    let lines =
        fmt::layer().with_writer(io::stderr).with_ansi(color).with_target(false).with_timer(fmt::time::uptime());
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(())
}

/// A level alone is powerdev's own: what libraries say has to be asked for by their names.
fn parse(value: &str) -> Result<Targets, Failure> {
    if let Ok(level) = value.parse::<LevelFilter>() {
        return Ok(Targets::new().with_target("powerdev", level));
    }
    value.parse().map_err(|error| {
        Failure::usage(format!("{VARIABLE}={value}: {error}")).hint(
            "give a level (error, warn, info, debug, trace), or levels by module: powerdev::engine=trace,hyper=debug",
        )
    })
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_level_alone_is_powerdevs_own() {
        let filter = parse("debug").expect("a level");
        assert!(filter.would_enable("powerdev::engine", &Level::DEBUG));
        assert!(!filter.would_enable("powerdev::engine", &Level::TRACE));
        assert!(!filter.would_enable("hyper", &Level::ERROR));
        let filter = parse("hyper=debug,powerdev::engine=trace").expect("levels by module");
        assert!(filter.would_enable("hyper::proto", &Level::DEBUG));
        assert!(!filter.would_enable("powerdev::agent", &Level::ERROR));
        assert!(parse("powerdev=loud").is_err());
    }
}
