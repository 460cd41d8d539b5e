//! `health`: what the Engine runs as the container's health check.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use powerdev_protocol::{Health, HealthState, Request, Response};

use super::connection::ConnectionError;
use super::{ClientError, Connection, Line};

/// The agent answers in well under a millisecond; one that takes this long is stuck.
const DEADLINE: Duration = Duration::from_secs(2);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Prints one line and ends with 0 when healthy, with 1 otherwise.
///
/// *Starting* ends with 1 as well: the Engine counts no failure within the start period, while a 0 would make it
/// call the container healthy at once. Services that still start when the period is over are a failure indeed.
pub fn run(arguments: lexopt::Parser) -> Result<ExitCode, ClientError> {
    Line::read(arguments, &[])?.end()?;
    let health = match ask()? {
        Response::Health(health) => health,
        Response::Error { message, absent } => return Err(ClientError::of_answer(message, absent)),
        other => return Err(ClientError::Refused(format!("the agent answered {other:?} to health"))),
    };
    writeln!(std::io::stdout(), "{}", line(&health)).map_err(ClientError::io("can't write the answer"))?;
    Ok(if health.state == HealthState::Healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks, and again where the agent hung up in a crowd of others.
fn ask() -> Result<Response, ConnectionError> {
    let until = Instant::now() + DEADLINE;
    loop {
        let asked = Connection::open(DEADLINE).and_then(|mut connection| connection.ask(&Request::Health));
        match asked {
            Err(ConnectionError::Broken { .. }) if Instant::now() < until => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
}

/// State and reason on one line.
fn line(health: &Health) -> String {
    let reasons: Vec<&str> = health.detail.lines().filter(|line| !line.trim().is_empty()).collect();
    if reasons.is_empty() { health.state.to_string() } else { format!("{}: {}", health.state, reasons.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_stays_on_the_line() {
        let health = |state, detail: &str| Health { state, detail: detail.into() };
        assert_eq!(line(&health(HealthState::Healthy, "")), "healthy");
        assert_eq!(line(&health(HealthState::Unhealthy, "web: 500\n\ndb: gone\n")), "unhealthy: web: 500; db: gone");
    }
}
