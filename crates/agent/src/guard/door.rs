//! Who comes in: a bounded number of clients, none of which keeps another one out by saying nothing. Taking a connection
//! never waits for a client.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::RecvFlags;

use super::relay;

/// Connections at a time: far more than one person's browser opens.
const CONNECTIONS: usize = 256;
/// How long a client that was turned away may go on sending: one that isn't heard out doesn't read its answer either.
const GOODBYE: Duration = Duration::from_secs(1);
/// Clients that are heard out at a time.
const LEAVING: usize = 64;
/// How long nobody is let in where the system is out of descriptors.
const REST: Duration = Duration::from_millis(100);

/// The clients that are in.
#[derive(Debug, Default)]
pub struct Door(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    count: usize,
    next: u64,
    /// Those that haven't said yet what they want, the oldest first.
    silent: BTreeMap<u64, TcpStream>,
}

/// One client's place inside, until this is dropped.
#[derive(Debug)]
pub struct Guest {
    door: Arc<Door>,
    number: u64,
}

impl Door {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one in. Where it is full, whoever has said nothing for longest has to go; None when all have.
    pub fn enter(self: &Arc<Self>, client: &TcpStream) -> Option<Guest> {
        let mut inside = self.inside();
        if inside.count >= CONNECTIONS {
            let oldest = *inside.silent.iter().find(|(_, client)| says_nothing(client))?.0;
            let oldest = inside.silent.remove(&oldest)?;
            oldest.shutdown(Shutdown::Both).ok(); // Its thread sees the end, and goes.
        }
        let number = inside.next;
        inside.next += 1;
        inside.count += 1;
        if let Ok(client) = client.try_clone() {
            inside.silent.insert(number, client);
        }
        drop(inside);
        Some(Guest { door: Arc::clone(self), number })
    }
}

impl Guest {
    /// It has said what it wants: it stays for as long as that takes.
    pub fn has_spoken(&self) {
        self.door.inside().silent.remove(&self.number);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut inside = self.door.inside();
        inside.silent.remove(&self.number);
        inside.count -= 1;
    }
}

/// Whether nothing of it waits to be read: who has asked, and whose thread hasn't had its turn yet, isn't silent.
fn says_nothing(client: &TcpStream) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    rustix::net::recv(client, &mut [0_u8; 1], flags).is_err_and(|error| error == rustix::io::Errno::WOULDBLOCK)
}

/// Takes connections for ever, and gives `admit` those that are let in.
pub fn accept(listener: &TcpListener, mut admit: impl FnMut(TcpStream, Guest)) {
    let door = Arc::new(Door::default());
    let mut leaving = Leaving::default();
    loop {
        wait(listener, &leaving);
        leaving.go_on();
        match listener.accept() {
            Ok((client, _)) => match door.enter(&client) {
                Some(guest) => admit(client, guest),
                None => leaving.add(client),
            },
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // Out of descriptors or memory, which is told again at once.
            Err(_) => std::thread::sleep(REST),
        }
    }
}

fn wait(listener: &TcpListener, leaving: &Leaving) {
    let mut watched = vec![PollFd::new(listener, PollFlags::IN)];
    watched.extend(leaving.0.iter().map(|(client, _)| PollFd::new(client, PollFlags::IN)));
    let left = leaving.0.front().map(|(_, until)| until.saturating_duration_since(Instant::now()));
    let timeout = left.and_then(|left| Timespec::try_from(left).ok());
    rustix::event::poll(&mut watched, timeout.as_ref()).ok(); // Whatever it says, all of them are looked at.
}

/// Those that were turned away and may go on sending for a moment.
#[derive(Debug, Default)]
struct Leaving(VecDeque<(TcpStream, Instant)>);

impl Leaving {
    /// Turns one away. Its answer fits whatever its socket takes: it is new.
    fn add(&mut self, mut client: TcpStream) {
        let answer = relay::answer_of("503 Service Unavailable", "too many connections at a time");
        let told = client.set_nonblocking(true).and_then(|()| client.write_all(answer.as_bytes()));
        if told.and_then(|()| client.shutdown(Shutdown::Write)).is_ok() {
            self.0.push_back((client, Instant::now() + GOODBYE));
        }
        if self.0.len() > LEAVING {
            self.0.pop_front();
        }
    }

    /// Lets go of those that are done, or whose time is over.
    fn go_on(&mut self) {
        let now = Instant::now();
        self.0.retain_mut(|(client, until)| {
            let ended = match client.read(&mut [0; 4096]) {
                Ok(count) => count == 0,
                Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
            };
            !ended && *until > now
        });
    }
}
