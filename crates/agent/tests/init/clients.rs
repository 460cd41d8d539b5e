//! Clients of the control socket that do what no client should.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Agent, Connection, until};

const REQUEST: &[u8] = b"{\"op\":\"status\"}\n";

fn agent() -> Agent {
    Agent::start(json!({"a": {"command": "exec sleep 1000"}}))
}

fn stream(agent: &Agent) -> UnixStream {
    UnixStream::connect(agent.path("run/agent.sock")).unwrap()
}

/// Whoever looks after the environment is answered, as soon as the Engine's health check wants it.
fn answers_soon(agent: &Agent) {
    let begun = Instant::now();
    assert_eq!(agent.ask(json!({"op": "health"}))["answer"], "health");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// Resident memory in KiB.
fn memory(agent: &Agent) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn descriptors(agent: &Agent) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().count()
}

#[test]
fn idle_followers_keep_nobody_out() {
    let agent = agent();
    let mut followers: Vec<Connection> = (0..300).map(|_| agent.events()).collect();
    answers_soon(&agent);
    // The newest are still told what happens; the oldest made room.
    agent.ask(json!({"op": "service", "name": "a", "action": "restart"}));
    followers.last_mut().unwrap().service_event("a", "ready");
    while !followers[0].is_closed() {}
}

#[test]
fn those_who_attach_keep_nobody_out() {
    let agent = agent();
    let attached: Vec<Connection> = (0..300)
        .map(|_| {
            let mut connection = agent.connect();
            assert_eq!(connection.ask(json!({"op": "attach", "name": "a"}))["answer"], "ok");
            connection
        })
        .collect();
    (0..10).for_each(|_| answers_soon(&agent));
    drop(attached);
}

#[test]
fn who_attaches_stays_while_idle_ones_come() {
    let agent = Agent::start(json!({"echo": {"command": "exec cat"}}));
    let mut attached = agent.connect();
    assert_eq!(attached.ask(json!({"op": "attach", "name": "echo"}))["answer"], "ok");
    let idle: Vec<Connection> = (0..600).map(|_| agent.connect()).collect();
    answers_soon(&agent);
    attached.frame(0, b"still here\n");
    attached.data_until("still here");
    drop(idle);
}

/// Two hundred clients that wait for nothing.
fn crowd(agent: &Agent) -> Vec<UnixStream> {
    let clients: Vec<UnixStream> = (0..200).map(|_| stream(agent)).collect();
    clients.iter().for_each(|client| client.set_nonblocking(true).unwrap());
    clients
}

#[test]
fn those_who_ask_without_end_keep_nobody_waiting() {
    let agent = agent();
    let flood = REQUEST.repeat(1000);
    let clients = crowd(&agent);
    let end = Instant::now() + Duration::from_secs(4);
    let mut answer = vec![0; 1 << 16];
    let mut served = vec![0; clients.len()];
    while Instant::now() < end {
        for (mut client, served) in clients.iter().zip(&mut served) {
            client.write_all(&flood).ok(); // As much as it takes.
            *served += client.read(&mut answer).unwrap_or_default();
        }
        answers_soon(&agent);
    }
    assert!(served.iter().all(|bytes| *bytes > 0), "each has its turn");
    assert_eq!(agent.service("a")["restarts"], 0);
}

#[test]
fn lines_without_end_take_a_bounded_amount_of_memory() {
    let agent = agent();
    let before = memory(&agent);
    let clients: Vec<UnixStream> = (0..64).map(|_| stream(&agent)).collect();
    let piece = vec![b' '; 1000 << 10];
    for mut client in &clients {
        client.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        client.write_all(&piece).ok(); // It may be hung up on.
        assert!(memory(&agent) < before + (12 << 10), "{} KiB", memory(&agent));
    }
    answers_soon(&agent);
    drop(clients);
    until("the memory is given back", || (memory(&agent) < before + 1024).then_some(()));
}

#[test]
fn answers_that_nobody_takes_are_bounded_too() {
    let agent = agent();
    let before = memory(&agent);
    let clients = crowd(&agent);
    for _ in 0..40 {
        for mut client in &clients {
            client.write_all(&REQUEST.repeat(100)).ok(); // It may be hung up on.
        }
        answers_soon(&agent);
        assert!(memory(&agent) < before + (12 << 10), "{} KiB", memory(&agent));
    }
}

#[test]
fn who_goes_away_leaves_nothing_behind() {
    let agent = agent();
    answers_soon(&agent);
    let before = (descriptors(&agent), memory(&agent));
    for round in 0..2000 {
        let mut client = stream(&agent);
        match round % 5 {
            0 => {}
            1 => client.write_all(b"{\"op\":\"sta").unwrap(),
            2 => client.write_all(&REQUEST.repeat(10)).unwrap(),
            3 => client.write_all(b"{\"op\":\"attach\",\"name\":\"a\"}\n\x00\x00\x00\x10\x00half a fra").unwrap(),
            _ => client.write_all(b"{\"op\":\"events\"}\n").unwrap(),
        }
    }
    answers_soon(&agent);
    until("every connection is closed", || (descriptors(&agent) <= before.0 + 1).then_some(()));
    assert!(memory(&agent) < before.1 + 1024, "{} KiB after {} KiB", memory(&agent), before.1);
}

#[test]
fn a_greeting_without_end_is_not_kept() {
    let agent = agent();
    answers_soon(&agent);
    let before = memory(&agent);
    let hello = json!({"op": "hello", "protocol": 2, "oldest": 1, "release": "x".repeat(900_000)});
    let _clients: Vec<Connection> = (0..30)
        .map(|_| {
            let mut client = agent.connect();
            assert_eq!(client.ask(hello.clone())["answer"], "hello");
            client
        })
        .collect();
    assert!(memory(&agent) < before + 2048, "{} KiB after {before} KiB", memory(&agent));
}

#[test]
fn a_line_that_comes_byte_by_byte_is_cheap() {
    let agent = agent();
    let (mut client, begun) = (stream(&agent), Instant::now());
    client.write_all(&vec![b' '; 900 << 10]).unwrap();
    for _ in 0..2000 {
        client.write_all(b" ").unwrap();
    }
    client.write_all(REQUEST).unwrap();
    assert!(client.read(&mut [0; 64]).unwrap() > 0);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
