//! PID 1: starts the services, reaps every child, restarts what dies, answers for it all, and stops in order.
//!
//! One thread, one loop. Signals, child exits, times, clients, terminals and probes all become turns of it, one after
//! the other; nothing in it blocks. Whatever breaks (no valid services, a full disk, a log that nobody reads, no
//! descriptors, no processes to be had) is told through the control socket, and the loop goes on.
//!
//! Signals: TERM, INT, QUIT, PWR and RTMIN+3 stop everything in order, a second one without grace. HUP opens the log
//! files anew, and reads the services again if they could not be read before. All others do nothing.

mod attempt;
mod child;
mod console;
mod control;
mod exits;
mod health;
mod lines;
mod logfile;
mod machine;
mod options;
mod poll;
mod processes;
mod pty;
mod readiness;
mod reload;
mod requests;
mod services;
mod shutdown;
mod spawn;
mod streams;
mod sys;
mod unit;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use powerdev_protocol::{Event, EventKind, Health, HealthState, ServiceSet, Usage};

use crate::usage::Sampler;
use console::Console;
use control::Control;
use options::Options;
use poll::{Flags, Key, Poll, Source, Timer, Timers};
use shutdown::Shutdown;
use unit::Unit;

/// Read from a terminal, pipe or client at a time, in bytes.
const BUFFER: usize = 32 * 1024;
/// How often the cgroup's counters are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// How long the container's log may take its last lines.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// A turn that panicked is followed by a rest, so that one that always does costs no CPU.
const AFTER_PANIC: Duration = Duration::from_millis(100);
/// Signals that are dealt with in one turn: somebody who sends one after the other keeps nothing else waiting.
const SIGNALS: usize = 64;
/// Notices that are kept.
const NOTICES: usize = 16;

/// `init`: runs until told to stop.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    spawn::fill_stdio();
    sys::keep_descriptors();
    let (options, complaints) = Options::parse(arguments);
    // PID 1 must not end for want of a descriptor or a bit of memory: what is needed is tried for until it is there.
    let mut supervisor = loop {
        match Supervisor::new(options.clone()) {
            Ok(supervisor) => break supervisor,
            Err(error) => {
                let message = format!("powerdev | the supervisor can't start yet: {error}\n");
                rustix::io::write(rustix::stdio::stderr(), message.as_bytes()).ok(); // Nobody may read it.
                std::thread::sleep(AFTER_PANIC);
            }
        }
    };
    panic::set_hook(Box::new(|_| {})); // The turn's guard tells of it, where it can't block.
    supervisor.begin(complaints);
    loop {
        match panic::catch_unwind(AssertUnwindSafe(|| supervisor.turn())) {
            Ok(None) => {}
            Ok(Some(code)) => return ExitCode::from(code),
            Err(cause) => supervisor.survive(&*cause),
        }
    }
}

/// All of PID 1's state.
struct Supervisor {
    options: Options,
    poll: Poll,
    timers: Timers,
    signals: OwnedFd,
    console: Console,
    control: Control,
    set: ServiceSet,
    /// Why there are no services, if that is so.
    broken: Option<String>,
    units: Vec<Unit>,
    /// The services' places in `units`, in the order of their start.
    order: Vec<usize>,
    sampler: Sampler,
    counters: Usage,
    health: Health,
    /// Processes that `exec` registered: token to process ID and start time.
    registered: BTreeMap<String, (i32, u64)>,
    shutdown: Option<Shutdown>,
    notices: BTreeSet<String>,
    buffer: Vec<u8>,
    random: u64,
    started_ms: u64,
    sha256: Option<String>,
    is_pid_1: bool,
    /// Children that were made here and not reaped yet: the services' processes, their sessions' leaders, probes.
    made: BTreeSet<i32>,
    /// Children that were reaped and not made here: what services and shells left behind.
    orphans: u64,
    /// A child was reaped in this turn.
    reaped: bool,
    scanned: Instant,
}

impl Supervisor {
    fn new(options: Options) -> io::Result<Self> {
        let is_pid_1 = std::process::id() == 1;
        if !is_pid_1 {
            sys::become_subreaper()?;
        }
        let signals = sys::take_signals()?;
        let mut poll = Poll::new()?;
        poll.add(&signals, Flags::IN, Source::Signals)?;
        Ok(Self {
            poll,
            timers: Timers::default(),
            signals,
            console: Console::stdout(),
            control: Control::new(&options.run_dir),
            options,
            set: ServiceSet::default(),
            broken: None,
            units: Vec::new(),
            order: Vec::new(),
            sampler: Sampler::new(),
            counters: Usage::default(),
            health: Health { state: HealthState::Starting, detail: String::new() },
            registered: BTreeMap::new(),
            shutdown: None,
            notices: BTreeSet::new(),
            buffer: vec![0; BUFFER],
            random: now_ms() | 1,
            started_ms: now_ms(),
            sha256: None,
            is_pid_1,
            made: BTreeSet::new(),
            orphans: 0,
            reaped: false,
            scanned: Instant::now(),
        })
    }

    fn begin(&mut self, complaints: Vec<String>) {
        for complaint in complaints {
            self.notice(complaint);
        }
        self.counters = self.sampler.sample();
        self.timers.set(Timer::Housekeeping, Some(Instant::now() + HOUSEKEEPING));
        self.look_after_control();
        self.load();
        self.settle();
        self.console.flush(&mut self.poll);
    }

    /// Waits for something and deals with it. Some: it is over, with this exit code.
    fn turn(&mut self) -> Option<u8> {
        let timeout = self.timers.next(Instant::now());
        self.reaped = false;
        for (key, flags) in self.poll.wait(timeout) {
            // One that was removed earlier in this turn is nobody's any more.
            if let Some(source) = self.poll.source(key) {
                self.event(source, key, flags);
            }
        }
        while let Some(timer) = self.timers.due(Instant::now()) {
            self.timer(timer);
        }
        self.settle();
        self.console.flush(&mut self.poll);
        self.exit_code().inspect(|_| self.last_words())
    }

    fn event(&mut self, source: Source, key: Key, flags: Flags) {
        match source {
            Source::Signals => {
                for _ in 0..SIGNALS {
                    let Some(signal) = sys::next_signal(&self.signals) else { break };
                    self.signal(signal);
                }
            }
            Source::Listener => {
                if !self.control.accept(&mut self.poll) {
                    self.timers.set(Timer::Listen, Some(Instant::now() + AFTER_PANIC));
                }
            }
            Source::Client => {
                self.control.event(key, flags, &mut self.buffer, &mut self.poll);
                self.hear(key);
            }
            Source::Console => {} // Each turn ends with writing to it.
            Source::Stream(index) => self.stream(index, key),
            Source::Probe(index) => self.probe_event(index, key),
            Source::Launch(index) => self.launch_event(index),
        }
    }

    fn signal(&mut self, signal: i32) {
        match signal {
            libc::SIGCHLD => self.reap(),
            libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGPWR => self.stop(signal),
            signal if signal == libc::SIGRTMIN() + 3 => self.stop(signal),
            libc::SIGHUP => {
                self.units.iter_mut().for_each(|unit| unit.log.reopen());
                if self.broken.is_some() && self.shutdown.is_none() {
                    self.load();
                }
            }
            _ => {}
        }
    }

    fn timer(&mut self, timer: Timer) {
        match timer {
            Timer::Service(index) => self.feed(index, machine::Input::Tick),
            Timer::Probe(index) => self.probe_tick(index),
            Timer::Remains => self.reaped = true, // Settling looks again.
            Timer::Housekeeping => {
                self.look_at_counters();
                self.look_after_control();
                self.timers.set(Timer::Housekeeping, Some(Instant::now() + HOUSEKEEPING));
            }
            Timer::Listen => self.control.resume(&mut self.poll),
            Timer::Rest => {} // Settling goes on with it.
        }
    }

    fn look_after_control(&mut self) {
        if let Err(trouble) = self.control.look_after(&mut self.poll) {
            self.notice(trouble);
        }
    }

    /// Takes a sample; tells of what the kernel killed or refused since the last. Returns whether it killed.
    fn look_at_counters(&mut self) -> bool {
        let usage = self.sampler.sample();
        let oom = usage.oom_kills > self.counters.oom_kills;
        if oom {
            self.tell(EventKind::Oom { kills: usage.oom_kills });
            self.console.say("the kernel killed a process here for want of memory");
        }
        if usage.pids_refused > self.counters.pids_refused {
            self.tell(EventKind::PidsLimit { refused: usage.pids_refused });
            self.console.say("the limit of tasks refused a process");
        }
        self.counters = usage;
        oom
    }

    fn tell(&mut self, kind: EventKind) {
        self.control.tell(&Event { at_ms: now_ms(), kind }, &mut self.poll);
    }

    /// Remembers something that the operator should see.
    fn notice(&mut self, text: String) {
        if self.notices.len() < NOTICES && !self.notices.contains(&text) {
            self.console.say(&text);
            self.notices.insert(text);
        }
    }

    /// After a turn that panicked.
    fn survive(&mut self, cause: &(dyn Any + Send)) {
        let text = cause.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("no message");
        self.notice(format!("a turn of the supervisor's loop failed, please report it: {text}"));
        std::thread::sleep(AFTER_PANIC);
    }

    /// Gives the container's log the time to take what waits for it.
    fn last_words(&mut self) {
        self.control.close();
        let end = Instant::now() + LAST_WORDS;
        while !self.console.is_done() && Instant::now() < end {
            self.poll.wait(Some(end.saturating_duration_since(Instant::now())));
            self.console.flush(&mut self.poll);
        }
    }

    /// A random number from 0 to 1 (xorshift64), for the jitter of back-offs.
    fn chance(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
