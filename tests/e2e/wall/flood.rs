//! An agent that never stops telling: whoever is inside can put a socket of his own in the agent's place.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use powerdev_protocol::hello::Hello;
use powerdev_protocol::{Event, EventKind, Response, ServiceState};

use super::CLOSED;
use crate::common::{Invocation, Project};

/// What the real agent says to `status`, as a line.
fn status(socket: &Path) -> String {
    let mut stream = UnixStream::connect(socket).expect("the agent listens");
    stream.write_all(b"{\"op\":\"status\"}\n").expect("it reads");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("it answers");
    line
}

/// Answers as the agent does, and tells for ever of services that nobody has heard of.
fn serve(stream: UnixStream, status: &str) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let json = |response: &Response| serde_json::to_string(response).expect("plain data") + "\n";
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line.contains("\"hello\"") {
            out.write_all(json(&Response::Hello(Hello::ours())).as_bytes())?;
        } else if line.contains("\"status\"") {
            out.write_all(status.as_bytes())?;
        } else if line.contains("\"events\"") {
            out.write_all(json(&Response::Ok).as_bytes())?;
            for number in 0u64.. {
                let told: String = (number * 1000..(number + 1) * 1000).map(unheard_of).collect();
                out.write_all(told.as_bytes())?;
            }
        } else {
            out.write_all(json(&Response::refused("no")).as_bytes())?;
        }
    }
    Ok(())
}

fn unheard_of(number: u64) -> String {
    let (from, to) = (ServiceState::Starting, ServiceState::Waiting);
    let name = format!("service-{number}");
    let kind = EventKind::Service { name, from, to, pid: None, restarts: 0, exit: None, probe: None };
    serde_json::to_string(&Event { at_ms: 0, kind }).expect("plain data") + "\n"
}

fn a_flood_ends_with_the_deadline(security: &str) {
    let project = Project::bare();
    let never = "services: {never: {command: exec sleep 1000000, ready: {log: never-said}}}";
    project.yaml(&format!("security: {security}\n{never}\n"));
    project.powerdev(["up", "--no-wait"]).run().ok();
    let socket = project.state_home().join("powerdev").join(project.name()).join("run/agent.sock");
    let said = status(&socket);
    std::fs::remove_file(&socket).expect("the folder is the container's, too");
    let listener = UnixListener::bind(&socket).expect("the place is free");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let said = said.clone();
            // Whoever hung up has had enough.
            std::thread::spawn(move || serve(stream, &said).ok());
        }
    });
    for arguments in ["up --timeout 2", "health --wait 2"] {
        // In as much memory as powerdev needs, and no more.
        let line = format!("ulimit -v 1000000; exec '{}' {arguments}", env!("CARGO_BIN_EXE_powerdev"));
        let begun = Instant::now();
        let run = Invocation::program("sh", &project.dir())
            .env("HOME", project.home())
            .env("XDG_STATE_HOME", project.state_home())
            .env("XDG_CACHE_HOME", project.cache_home())
            .args(["-c", &line])
            .run()
            .code(6);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(20), "{arguments} under {security} took {took:?}: {}", run.err());
        assert!(run.stderr.len() < 64 << 10, "what is told inside isn't shown without end");
    }
}

#[test]
fn events_hold_no_deadline_up() {
    CLOSED.into_iter().chain(["trusted"]).for_each(a_flood_ends_with_the_deadline);
}
