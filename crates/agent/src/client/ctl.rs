//! `ctl`: asks the agent, and commands its services. For people in a shell of the container, and for a host that
//! can't reach the socket.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use powerdev_protocol::{
    Action, AgentStatus, Event, EventKind, Health, Reloaded, Request, Response, SCHEMA_VERSION, ServiceStatus,
};
use serde::Serialize;

use super::{ClientError, Connection, Line};

const DEADLINE: Duration = Duration::from_secs(5);

/// Where the answers go: standard output, as prose or JSON.
struct Out {
    json: bool,
}

pub fn run(arguments: lexopt::Parser) -> Result<ExitCode, ClientError> {
    let mut line = Line::read(arguments, &["json", "wait"])?;
    let out = Out { json: line.has("json") };
    let verb = line.word("status, services, events, reload, start, stop or restart")?;
    let action = match verb.as_str() {
        "start" => Action::Start,
        "stop" => Action::Stop,
        "restart" => Action::Restart,
        "status" | "services" | "events" | "reload" => return look(&verb, &out, line),
        other => return Err(ClientError::Usage(format!("ctl doesn't know {other}"))),
    };
    let wait = line.has("wait");
    let name = line.word("a service's name")?;
    line.end()?;
    command(action, name, wait, &out)
}

/// The verbs that take nothing but `--json`.
fn look(verb: &str, out: &Out, line: Line) -> Result<ExitCode, ClientError> {
    if line.has("wait") {
        return Err(ClientError::Usage(format!("{verb} takes no --wait")));
    }
    line.end()?;
    match verb {
        "events" => events(out),
        "reload" => reload(out),
        verb => status(out, verb == "services"),
    }
}

fn status(out: &Out, services_only: bool) -> Result<ExitCode, ClientError> {
    let status = match Connection::open(DEADLINE)?.ask(&Request::Status)? {
        Response::Status(status) => status,
        Response::Error { message, absent } => return Err(ClientError::of_answer(message, absent)),
        other => return Err(ClientError::Refused(format!("the agent answered {other:?} to status"))),
    };
    #[derive(Serialize)]
    struct Services<'a> {
        services: &'a [ServiceStatus],
    }
    match (out.json, services_only) {
        (true, true) => out.document(&Services { services: &status.services })?,
        (true, false) => out.document(&status)?,
        (false, true) => out.lines(&table(&status.services))?,
        (false, false) => {
            out.lines(&summary(&status))?;
            out.lines(&table(&status.services))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn events(out: &Out) -> Result<ExitCode, ClientError> {
    let mut agent = Connection::open(DEADLINE)?;
    match agent.ask(&Request::Events)? {
        Response::Error { message, absent } => return Err(ClientError::of_answer(message, absent)),
        _ => agent.be_patient()?,
    }
    while let Some(event) = agent.next::<Event>()? {
        if out.json {
            out.document(&event)?;
        } else {
            out.lines(&[told(&event.kind)])?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn reload(out: &Out) -> Result<ExitCode, ClientError> {
    let reloaded = match Connection::open(DEADLINE)?.ask(&Request::Reload)? {
        Response::Reloaded(reloaded) => reloaded,
        Response::Error { message, absent } => return Err(ClientError::of_answer(message, absent)),
        other => return Err(ClientError::Refused(format!("the agent answered {other:?} to reload"))),
    };
    if out.json {
        out.document(&reloaded)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Reloaded { started, stopped, restarted, kept } = reloaded;
    let told = [("started", started), ("stopped", stopped), ("restarted", restarted), ("kept", kept)];
    let lines: Vec<String> = told
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what:9} {}", names.join(", ")))
        .collect();
    out.lines(&lines)?;
    Ok(ExitCode::SUCCESS)
}

fn command(action: Action, name: String, wait: bool, out: &Out) -> Result<ExitCode, ClientError> {
    let mut agent = Connection::open(DEADLINE)?;
    if wait {
        agent.be_patient()?;
    }
    let answer = agent.ask(&Request::Service { name: name.clone(), action, wait })?;
    #[derive(Serialize)]
    struct CommandOutcome<'a> {
        service: &'a str,
        action: Action,
        ok: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    }
    let error = match answer {
        Response::Error { message, absent } => Some(ClientError::of_answer(message, absent)),
        _ => None,
    };
    if out.json {
        let told = error.as_ref().map(ToString::to_string);
        out.document(&CommandOutcome { service: &name, action, ok: error.is_none(), error: told.as_deref() })?;
        return Ok(error.map_or(ExitCode::SUCCESS, |error| error.exit_code()));
    }
    error.map_or(Ok(ExitCode::SUCCESS), Err)
}

impl Out {
    fn document(&self, document: &impl Serialize) -> Result<(), ClientError> {
        #[derive(Serialize)]
        struct CtlDocument<'a, T> {
            schema_version: u32,
            #[serde(flatten)]
            document: &'a T,
        }
        let line = serde_json::to_string(&CtlDocument { schema_version: SCHEMA_VERSION, document })
            .map_err(|error| ClientError::Io { what: "can't write JSON".into(), source: error.into() })?;
        self.lines(&[line])
    }

    fn lines(&self, lines: &[String]) -> Result<(), ClientError> {
        let mut out = std::io::stdout().lock();
        let written = lines.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
        written.map_err(ClientError::io("can't write the answer"))
    }
}

fn summary(status: &AgentStatus) -> Vec<String> {
    let usage = &status.usage;
    let mut lines = vec![format!("health  {}", one_line(&status.health))];
    let mut memory = format!("memory  {} MiB", usage.memory_bytes >> 20);
    if let Some(limit) = usage.memory_limit_bytes {
        memory.push_str(&format!(" of {}", limit >> 20));
    }
    lines.push(memory);
    if let Some(percent) = usage.cpu_percent {
        lines.push(format!("cpu     {percent:.0} %"));
    }
    let limit = usage.pids_limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
    lines.push(format!("tasks   {}{limit}", usage.pids));
    lines.push(format!("shells  {} sessions", status.sessions));
    lines.extend(status.notices.iter().map(|notice| format!("notice  {notice}")));
    lines.push(format!("agent   {}, process {}", status.version, status.pid));
    lines
}

fn table(services: &[ServiceStatus]) -> Vec<String> {
    let width = services.iter().map(|service| service.name.len()).max().unwrap_or(0);
    let row = |service: &ServiceStatus| {
        let state = format!("{:?}", service.state).to_lowercase();
        let pid = service.pid.map(|pid| format!("pid {pid}")).unwrap_or_default();
        let exit = service.last_exit.as_ref().map(|exit| exit.reason.as_str()).unwrap_or_default();
        let row = format!("{:width$}  {state:9}  {pid:10}  {} restarts  {exit}", service.name, service.restarts);
        row.trim_end().to_owned()
    };
    services.iter().map(row).collect()
}

fn one_line(health: &Health) -> String {
    format!("{} {}", health.state, health.detail.replace('\n', "; ")).trim_end().to_owned()
}

fn told(event: &EventKind) -> String {
    match event {
        EventKind::Service { name, from, to, exit, .. } => {
            let why = exit.as_ref().map(|exit| format!(": {}", exit.reason)).unwrap_or_default();
            format!("{name}: {from:?} -> {to:?}{why}").to_lowercase()
        }
        EventKind::Health(health) => one_line(health),
        EventKind::Oom { kills } => format!("out of memory: {kills} killed since start"),
        EventKind::PidsLimit { refused } => format!("limit of tasks reached: {refused} refused since start"),
        EventKind::Stopping { signal } => {
            format!("stopping, told by {}", powerdev_protocol::signal::signal_name(*signal))
        }
        EventKind::SessionOpened { name } => format!("session {name}: opened"),
        EventKind::SessionEnded { name, exit } => format!("session {name}: {}", exit.reason),
        EventKind::SessionRenamed { name, from } => format!("session {from}: now {name}"),
    }
}

#[cfg(test)]
mod tests {
    use powerdev_protocol::{HealthState, LastExit, ServiceState};

    use super::*;

    fn service(name: &str, state: ServiceState, pid: Option<i32>) -> ServiceStatus {
        ServiceStatus {
            name: name.into(),
            state,
            ready: state == ServiceState::Ready,
            restarts: 2,
            pid,
            since_ms: 0,
            retry_in_ms: None,
            last_exit: None,
            probe: None,
            last_line: None,
            essential: false,
        }
    }

    #[test]
    fn the_table_lines_up() {
        let mut crashed = service("db", ServiceState::Backoff, None);
        crashed.last_exit =
            Some(LastExit { code: Some(3), signal: None, oom: false, at_ms: 0, reason: "exited with 3".into() });
        let rows = table(&[service("claude-flow", ServiceState::Ready, Some(42)), crashed]);
        assert_eq!(
            rows,
            [
                "claude-flow  ready      pid 42      2 restarts",
                "db           backoff                2 restarts  exited with 3",
            ]
        );
    }

    #[test]
    fn events_are_told_in_a_line() {
        let health = Health { state: HealthState::Unhealthy, detail: "web: 500\ndb: gone".into() };
        assert_eq!(told(&EventKind::Health(health)), "unhealthy web: 500; db: gone");
        assert_eq!(told(&EventKind::Stopping { signal: 15 }), "stopping, told by SIGTERM");
    }
}
