//! Published ports: on 127.0.0.1 alone, replaced when busy, the same after a restart.

use std::net::TcpListener;

use serde_json::Value;

use crate::common::{Project, engine};

fn services(port: u16) -> String {
    format!("web:\n  command: [httpd, -f, -p, \"{port}\"]\n  ready: {{ tcp: {port} }}\n  ports: [{port}]\n")
}

fn host_port(up: &Value) -> u16 {
    let port = &up["ports"][0];
    assert_eq!(port["address"], "127.0.0.1");
    u16::try_from(port["host"].as_u64().expect("a number")).expect("a port")
}

/// Addresses that listen on this port, as the kernel's table has them: local address in hex, IPv4 and IPv6.
fn listeners(port: u16) -> Vec<String> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let Some((address, hex)) = fields[1].split_once(':')
                && fields[3] == "0A"
                && u16::from_str_radix(hex, 16) == Ok(port)
            {
                found.push(address.to_owned());
            }
        }
    }
    found
}

/// A listener on a port that the kernel gives to nobody who asks for any: in a container one of those may be taken
/// already, by the Engine's name server.
fn busy_port() -> (TcpListener, u16) {
    let first = 20_000 + u16::try_from(std::process::id() % 5_000).expect("small");
    let bound = |port| TcpListener::bind(("127.0.0.1", port)).ok().map(|listener| (listener, port));
    (first..first + 5_000).find_map(bound).expect("a free port")
}

#[test]
fn five_projects_at_once_listen_on_the_loopback_alone() {
    let projects: Vec<Project> = (0..5).map(|_| Project::new(&services(3977))).collect();
    let runs: Vec<_> = projects.iter().map(|project| project.powerdev(["up", "--json"]).spawn()).collect();
    let mut ports: Vec<u16> =
        runs.into_iter().map(|run| host_port(&run.wait(std::time::Duration::from_secs(120)).ok().json())).collect();
    for port in &ports {
        assert_eq!(listeners(*port), ["0100007F"], "port {port} is on 127.0.0.1 alone");
    }
    ports.sort();
    ports.dedup();
    assert_eq!(ports.len(), 5, "each has a port of its own");
}

#[test]
fn a_busy_port_is_replaced_told_and_kept() {
    let (busy, port) = busy_port();
    let project = Project::new(&services(port));
    let first = project.powerdev(["up", "--json"]).run().ok();
    assert!(first.err().contains(&format!("port {port} is busy")), "{}", first.err());
    let host = host_port(&first.json());
    assert_ne!(host, port);
    drop(busy);
    project.powerdev(["restart"]).run().ok();
    assert_eq!(host_port(&project.powerdev(["status", "--json"]).run().ok().json()), host);
    engine::restart(&project.container());
    project.powerdev(["health", "--wait", "30"]).run().ok();
    assert_eq!(host_port(&project.powerdev(["status", "--json"]).run().ok().json()), host);
    project.powerdev(["rm", "--force"]).run().ok();
    assert_eq!(host_port(&project.powerdev(["up", "--json"]).run().ok().json()), host, "remembered past rm");
}

#[test]
fn another_port_that_is_wanted_is_told_and_taken_by_a_new_container() {
    let project = Project::new(&services(3957));
    let host = host_port(&project.powerdev(["up", "--json"]).run().ok().json());
    let (free, other) = busy_port();
    drop(free);
    project.yaml(&format!("services:\n  web: {{ command: 'httpd -f -p 3957' }}\nports: ['{other}:3957']\n"));
    let status = project.powerdev(["status", "--json"]).run().ok().json();
    assert!(status["drift"].to_string().contains(&other.to_string()), "{status}");
    let up = project.powerdev(["up", "--recreate", "--json"]).run().ok().json();
    assert_eq!(host_port(&up), other, "and not {host} again");
}

#[test]
fn a_stopped_container_whose_port_was_taken_says_so() {
    let project = Project::new(&services(3967));
    let host = host_port(&project.powerdev(["up", "--json"]).run().ok().json());
    project.powerdev(["stop"]).run().ok();
    let thief = TcpListener::bind(("127.0.0.1", host)).expect("it is free now");
    let refused = project.powerdev(["up"]).run().code(8);
    assert!(refused.err().contains("--recreate"), "{}", refused.err());
    let up = project.powerdev(["up", "--recreate", "--json"]).run().ok().json();
    assert_ne!(host_port(&up), host);
    drop(thief);
}

#[test]
fn what_is_told_are_the_ports_that_are_open() {
    let project = Project::new(&services(3957));
    let first = project.powerdev(["up", "--json"]).run().ok().json();
    project.write("powerdev.yaml", project.read("powerdev.yaml") + "ports: ['39571:3958']\n");
    let up = project.powerdev(["up", "--json"]).run().ok().json();
    assert_eq!(up["ports"], first["ports"], "the new one isn't published yet");
    let told = project.powerdev(["up"]).run().ok().err();
    let (open, drift) = told.split_once("port 3958: none -> 127.0.0.1:39571").expect("the new one is told as drift");
    assert!(!format!("{open}{drift}").contains("http://127.0.0.1:39571"), "{told}");
    assert!(told.contains("`powerdev up --recreate` applies it"), "{told}");
    let up = project.powerdev(["up", "--recreate", "--json"]).run().ok().json();
    assert_eq!(up["ports"].as_array().map(Vec::len), Some(2));
}
