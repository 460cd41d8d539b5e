//! `powerdev services`: the services of a running environment, and one of them started, stopped or restarted.

use powerdev_protocol::{Action, ExitCode, ServiceState, ServiceStatus};
use serde::Serialize;

use super::Context;
use super::status::services_table;
use crate::clock::Seconds;
use crate::config;
use crate::control::Patience;
use crate::environment::Environment;
use crate::failure::Failure;

/// List the services, or start, stop or restart one
#[derive(Debug, clap::Args)]
pub struct ServicesArgs {
    #[command(subcommand)]
    verb: Option<ServicesVerb>,
}

#[derive(Debug, clap::Subcommand)]
enum ServicesVerb {
    /// List them with their state, restarts and last exit [default]
    List,
    /// Start one, and forget its failures
    Start(One),
    /// Stop one: it stays down until started
    Stop(One),
    /// Stop one, then start it
    Restart(One),
}

#[derive(Debug, clap::Args)]
struct One {
    /// The service's name
    #[arg(value_name = "SERVICE")]
    name: String,
    /// Don't wait until it is ready, or gone
    #[arg(long)]
    no_wait: bool,
    /// Give up waiting after SECS seconds
    #[arg(long, value_name = "SECS", default_value_t = Seconds::whole(120))]
    timeout: Seconds,
}

#[derive(Debug, Serialize)]
struct List<'a> {
    name: &'a str,
    services: &'a [ServiceStatus],
}

#[derive(Debug, Serialize)]
struct Commanded<'a> {
    name: &'a str,
    action: Action,
    service: &'a ServiceStatus,
}

/// Runs `powerdev services`.
///
/// # Errors
/// When the environment isn't running, there is no such service, or it doesn't do as told in time.
pub async fn run(args: ServicesArgs, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let environment = context.environment()?;
    match args.verb.unwrap_or(ServicesVerb::List) {
        ServicesVerb::List => list(&environment, context).await,
        ServicesVerb::Start(one) => command(&environment, Action::Start, &one, context).await,
        ServicesVerb::Stop(one) => command(&environment, Action::Stop, &one, context).await,
        ServicesVerb::Restart(one) => command(&environment, Action::Restart, &one, context).await,
    }
}

async fn list(environment: &Environment, context: &Context<'_>) -> anyhow::Result<ExitCode> {
    let services = services(environment).await?;
    if context.ui.json() {
        context.ui.document(&List { name: environment.name().as_str(), services: &services })?;
    } else if context.ui.quiet() {
        services.iter().try_for_each(|service| context.ui.print(&service.name))?;
    } else if services.is_empty() {
        context.ui.status("no services: name some under `services:` in powerdev.yaml");
    } else {
        context.ui.print_table(&services_table(&services))?;
    }
    Ok(ExitCode::Done)
}

async fn command(
    environment: &Environment,
    action: Action,
    one: &One,
    context: &Context<'_>,
) -> anyhow::Result<ExitCode> {
    named(&services(environment).await?, &one.name)?;
    let wait = !one.no_wait;
    let asked = async {
        let mut client = environment.agent(if wait { Patience::Unlimited } else { Patience::Answer }).await?;
        anyhow::Ok(client.service(&one.name, action, wait).await?)
    };
    tokio::time::timeout(one.timeout.duration(), asked).await.map_err(|_| late(one, action))??;
    let services = services(environment).await?;
    let service = named(&services, &one.name)?;
    if context.ui.json() {
        context.ui.document(&Commanded { name: environment.name().as_str(), action, service })?;
    } else {
        let pid = service.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
        context.ui.status(format_args!("{} is {}{pid}", service.name, service.state));
    }
    Ok(verdict(action, one, service))
}

/// Whether it came to what was asked for.
fn verdict(action: Action, one: &One, service: &ServiceStatus) -> ExitCode {
    let fine = match action {
        Action::Stop => !service.state.is_running(),
        Action::Start | Action::Restart => {
            service.ready || matches!(service.state, ServiceState::Waiting | ServiceState::Starting)
        }
    };
    if fine || one.no_wait { ExitCode::Done } else { ExitCode::Unhealthy }
}

fn late(one: &One, action: Action) -> Failure {
    let what = if action == Action::Stop { "gone" } else { "ready" };
    Failure::new(ExitCode::TimedOut, format!("{} isn't {what} after {} s", one.name, one.timeout))
        .hint(format!("`powerdev logs {}` shows what it says; --timeout gives it longer", one.name))
}

/// The service of this name.
fn named<'a>(services: &'a [ServiceStatus], wanted: &str) -> Result<&'a ServiceStatus, Failure> {
    services.iter().find(|service| service.name == wanted).ok_or_else(|| {
        let names = services.iter().map(|service| service.name.as_str());
        let hint = match config::suggest::nearest(wanted, names.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", names.collect::<Vec<_>>().join(", ")),
        };
        Failure::not_running(format!("there is no service `{wanted}`")).hint(hint)
    })
}

async fn services(environment: &Environment) -> anyhow::Result<Vec<ServiceStatus>> {
    Ok(environment.agent(Patience::Answer).await?.status().await?.services)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, state: ServiceState) -> ServiceStatus {
        let ready = matches!(state, ServiceState::Ready | ServiceState::Completed);
        let json = serde_json::json!({"name": name, "state": state, "ready": ready, "restarts": 0, "pid": null, "since_ms": 0});
        serde_json::from_value(json).expect("a service's status")
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_or_all() {
        let services = [service("claude-flow", ServiceState::Ready), service("tmux", ServiceState::Ready)];
        let hint = |wanted: &str| {
            let failure = named(&services, wanted).expect_err("unknown");
            assert_eq!(failure.code, ExitCode::NotRunning);
            failure.hint.expect("there is one")
        };
        assert_eq!(hint("claude-flwo"), "did you mean `claude-flow`?");
        assert_eq!(hint("postgresql"), "there are: claude-flow, tmux");
        assert!(named(&services, "tmux").is_ok());
    }

    #[test]
    fn the_exit_code_tells_whether_it_worked() {
        let one = One { name: "web".into(), no_wait: false, timeout: Seconds::whole(1) };
        for (action, state, code) in [
            (Action::Start, ServiceState::Ready, ExitCode::Done),
            (Action::Start, ServiceState::Waiting, ExitCode::Done),
            (Action::Restart, ServiceState::Backoff, ExitCode::Unhealthy),
            (Action::Restart, ServiceState::Failed, ExitCode::Unhealthy),
            (Action::Stop, ServiceState::Stopped, ExitCode::Done),
            (Action::Stop, ServiceState::Unhealthy, ExitCode::Unhealthy),
        ] {
            assert_eq!(verdict(action, &one, &service("web", state)), code, "{action:?} {state:?}");
        }
    }
}
