//! One connection: its head is looked at, the rest is passed on unseen.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use powerdev_origin::Rules;

use super::STACK;
use super::door::Guest;
use super::head::{Head, LONGEST};

/// How long a client may take to send a head.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long, and how much, a client that was refused may go on sending.
const GOODBYE: Duration = Duration::from_secs(1);
const LONGEST_BODY: usize = 1 << 20;
/// How long the service may take to accept.
const CONNECT: Duration = Duration::from_secs(5);

/// Relays until both sides are done.
///
/// # Errors
/// Why it was refused, for the log. What merely fails is told the client alone.
pub fn relay(client: &TcpStream, target: u16, rules: &Rules, guest: &Guest) -> Result<(), String> {
    let Ok((head, bytes)) = read_head(client) else {
        answer(client, "400 Bad Request", "this is no request of HTTP/1");
        return Ok(());
    };
    let Some(head) = head else { return Ok(()) };
    guest.has_spoken();
    if let Some(why) = rules.refusal(&head.fetch) {
        answer(client, "403 Forbidden", &format!("{why}; POWERDEV_ALLOW_ORIGINS of the service allows more"));
        return Err(format!("refused a request: {why}"));
    }
    let service = SocketAddr::from((Ipv4Addr::LOCALHOST, target));
    match TcpStream::connect_timeout(&service, CONNECT).and_then(|service| pass(client, &service, &head, &bytes)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            answer(client, "502 Bad Gateway", "the service doesn't listen yet, or not any more");
        }
        Err(_) => drop(client.shutdown(Shutdown::Both)),
    }
    Ok(())
}

/// The head, and all that was read. None when the client went away before it said anything whole.
fn read_head(mut client: &TcpStream) -> io::Result<(Option<Head>, Vec<u8>)> {
    let deadline = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || bytes.len() > LONGEST {
            return Err(io::ErrorKind::TimedOut.into());
        }
        client.set_read_timeout(Some(left))?;
        let count = match client.read(&mut buffer) {
            Ok(0) => return Ok((None, bytes)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        bytes.extend_from_slice(&buffer[..count]);
        if let Some(head) = Head::parse(&bytes).map_err(|_| io::ErrorKind::InvalidData)? {
            client.set_read_timeout(None)?;
            return Ok((Some(head), bytes));
        }
    }
}

/// Passes on both ways; the end of one way is passed on, too, and the other goes on.
fn pass(client: &TcpStream, mut service: &TcpStream, head: &Head, bytes: &[u8]) -> io::Result<()> {
    client.set_nodelay(true)?;
    service.set_nodelay(true)?;
    service.write_all(&head.passed_on(bytes))?;
    service.write_all(&bytes[head.length..])?;
    let copy = |mut from: &TcpStream, mut to: &TcpStream| {
        // Whoever broke off, the other side must hear of it.
        io::copy(&mut from, &mut to).ok();
        to.shutdown(Shutdown::Write).ok();
    };
    thread::scope(|scope| {
        thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || copy(client, service))?;
        copy(service, client);
        // Nobody reads any more what the client may still send.
        client.shutdown(Shutdown::Both).ok();
        Ok(())
    })
}

/// What is said in the service's place.
pub fn answer_of(status: &str, why: &str) -> String {
    let body = format!("powerdev: {why}\n");
    let length = body.len();
    let head = "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nConnection: close";
    format!("HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// Answers in the service's place. A client that has gone needs no answer. One that still sends must be heard out, or it
/// wouldn't read it either: for a moment, however little it sends at a time.
fn answer(mut client: &TcpStream, status: &str, why: &str) {
    let deadline = Instant::now() + GOODBYE;
    let said =
        client.set_write_timeout(Some(GOODBYE)).and_then(|()| client.write_all(answer_of(status, why).as_bytes()));
    if said.and_then(|()| client.shutdown(Shutdown::Write)).is_err() {
        return;
    }
    let (mut heard, mut buffer) = (0, [0; 4096]);
    while heard < LONGEST_BODY {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || client.set_read_timeout(Some(left)).is_err() {
            return;
        }
        match client.read(&mut buffer) {
            Ok(count @ 1..) => heard += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => return,
        }
    }
}
