//! What lies between an Engine and a registry: connections that break or stall, servers of a few lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a relay does to the answers that pass it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Breaks each connection after so many bytes.
    Cut(usize),
    /// Breaks one connection after so many bytes, then none any more.
    CutOnce(usize),
    /// Passes so many bytes on each connection, then none, and keeps it open.
    Stall(usize),
}

/// Passes connections on to another address. Runs until the process ends.
#[derive(Debug)]
pub struct Relay {
    address: String,
}

impl Relay {
    /// A relay to this address.
    pub fn to(target: &str, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("bound").to_string();
        let (target, fault) = (target.to_owned(), Arc::new(Mutex::new(fault)));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&target) else { continue };
                let (mut from, mut to) =
                    (client.try_clone().expect("a descriptor"), server.try_clone().expect("a descriptor"));
                std::thread::spawn(move || {
                    std::io::copy(&mut from, &mut to).ok();
                    to.shutdown(Shutdown::Write).ok();
                });
                let fault = fault.clone();
                std::thread::spawn(move || pass(server, client, &fault));
            }
        });
        Self { address }
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> &str {
        &self.address
    }
}

fn pass(mut server: TcpStream, mut client: TcpStream, fault: &Mutex<Fault>) {
    let (mut passed, mut buffer) = (0, [0; 16 << 10]);
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        if client.write_all(&buffer[..count]).is_err() {
            break;
        }
        passed += count;
        let mut fault = fault.lock().expect("nobody panics");
        match *fault {
            Fault::Cut(after) if passed >= after => break,
            Fault::CutOnce(after) if passed >= after => {
                *fault = Fault::None;
                break;
            }
            Fault::Stall(after) if passed >= after => {
                drop(fault);
                // The client going away is what ends it.
                while let Ok(1..) = client.read(&mut buffer) {}
                break;
            }
            _ => {}
        }
    }
    for stream in [&server, &client] {
        stream.shutdown(Shutdown::Both).ok();
    }
}

/// An HTTP server that answers everything with the same, and remembers what it was asked. Runs until the process ends.
#[derive(Debug)]
pub struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Listens at this host's address.
    pub fn answering(host: &str, answer: &str) -> Self {
        Self::start(host, "", answer)
    }

    /// Listens at this host's address, and answers nothing but POST.
    pub fn answering_posts(host: &str, answer: &str) -> Self {
        Self::start(host, "POST ", answer)
    }

    fn start(host: &str, wanted: &'static str, answer: &str) -> Self {
        let listener = TcpListener::bind((host, 0)).expect("a port is free");
        let address = listener.local_addr().expect("bound").to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (remembered, answer) = (asked.clone(), answer.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Some(request) = read(&client) else { continue };
                let status = if request.starts_with(wanted) { "200 OK" } else { "401 Unauthorized" };
                remembered.lock().expect("nobody panics").push(request);
                let head =
                    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
                // Whoever went away needs no answer.
                (&client).write_all(format!("{head}{answer}").as_bytes()).ok();
            }
        });
        Self { address, asked }
    }

    /// `<host>:<port>`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Every request so far, head and body.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panics").clone()
    }
}

/// One request.
fn read(client: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(client);
    let mut request = String::new();
    while reader.read_line(&mut request).ok()? > 2 {}
    let length = request.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<u64>().ok())?
    });
    reader.take(length.unwrap_or(0)).read_to_string(&mut request).ok()?;
    Some(request)
}
