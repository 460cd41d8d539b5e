//! PID 1: starts the services, reaps every child, restarts what dies, answers for it all, and stops in order.
//!
//! One thread, one loop. SignalQueue, child exits, times, clients, terminals and probes all become turns of it, one after
//! the other; nothing in it blocks. Whatever breaks (no valid services, a full disk, a log that nobody reads, no
//! descriptors, no processes to be had) is told through the control socket, and the loop goes on.
//!
//! SignalQueue: TERM, INT, QUIT, PWR and RTMIN+3 stop everything in order, a second one without grace. HUP opens the log
//! files anew, and reads the services again if they could not be read before. All others do nothing.

mod attempt;
mod child;
mod children;
mod console;
mod control;
mod exits;
mod health;
mod input;
mod job;
mod lines;
mod logfile;
mod machine;
mod options;
mod owner;
mod peer;
mod poll;
mod processes;
mod pty;
mod readiness;
mod registry;
mod reload;
mod requests;
mod ring;
mod services;
mod sessions;
mod shell;
mod shutdown;
mod socket;
mod spawn;
mod streams;
mod sys;
mod terminal;
mod terminals;
mod unit;
mod units;
mod vitals;

use std::any::Any;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use powerdev_protocol::{Event, EventKind};

use children::Children;
use console::Console;
use control::{Control, Mode};
use options::InitOptions;
use owner::Owner;
use poll::{Flags, Key, Poll, PolledFd, Source, Timer, Timers};
use registry::ExecRegistry;
use shutdown::Shutdown;
use terminals::Terminals;
use units::Units;
use vitals::Vitals;

/// Read from a terminal, pipe or client at a time, in bytes.
const BUFFER: usize = 32 * 1024;
/// How often the cgroup's counters are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// How long the container's log may take its last lines.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// A turn that panicked is followed by a rest, so that one that always does costs no CPU.
const AFTER_PANIC: Duration = Duration::from_millis(100);
/// SignalQueue that are dealt with in one turn: somebody who sends one after the other keeps nothing else waiting.
const SIGNALS: usize = 64;

/// `init`: runs until told to stop.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    sys::close_to_debuggers();
    spawn::fill_stdio();
    sys::keep_descriptors();
    sys::give_memory_back();
    let (options, complaints) = InitOptions::parse(arguments);
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

/// PID 1: what it is made of. Each part looks after its own; what happens between them is here.
struct Supervisor {
    options: InitOptions,
    io: Io,
    control: Control,
    units: Units,
    terminals: Terminals,
    children: Children,
    vitals: Vitals,
    registry: ExecRegistry,
    shutdown: Option<Shutdown>,
    /// For the jitter of back-offs.
    rng: fastrand::Rng,
}

/// What the loop waits for, and where it writes to.
struct Io {
    poll: Poll,
    timers: Timers,
    signals: PolledFd<OwnedFd>,
    console: Console,
    /// What was read last.
    buffer: Vec<u8>,
}

impl Io {
    fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let signals = poll.watch(sys::take_signals()?, Flags::IN, Source::Signals)?;
        let console = Console::stdout(poll.clone());
        Ok(Self { poll, timers: Timers::default(), signals, console, buffer: vec![0; BUFFER] })
    }
}

impl Supervisor {
    fn new(options: InitOptions) -> io::Result<Self> {
        let children = Children::new();
        if !children.is_pid_1 {
            sys::become_subreaper()?;
        }
        let io = Io::new()?;
        Ok(Self {
            control: Control::new(&options.run_dir, io.poll.clone()),
            io,
            options,
            units: Units::default(),
            terminals: Terminals::default(),
            children,
            vitals: Vitals::new(),
            registry: ExecRegistry::default(),
            shutdown: None,
            rng: fastrand::Rng::new(),
        })
    }

    fn begin(&mut self, complaints: Vec<String>) {
        for complaint in complaints {
            self.notice(complaint);
        }
        self.io.timers.set(Timer::Housekeeping, Some(Instant::now() + HOUSEKEEPING));
        self.look_after_control();
        self.load();
        self.settle();
        self.io.console.flush();
    }

    /// Waits for something and deals with it. Some: it is over, with this exit code.
    fn turn(&mut self) -> Option<u8> {
        let timeout = match self.control.is_queued() {
            true => Some(Duration::ZERO),
            false => self.io.timers.next(Instant::now()),
        };
        self.children.reaped = false;
        for (key, flags) in self.io.poll.wait(timeout) {
            // One that was removed earlier in this turn is nobody's any more.
            if let Some(source) = self.io.poll.source(key) {
                self.event(source, key, flags);
            }
        }
        self.serve();
        while let Some(timer) = self.io.timers.due(Instant::now()) {
            self.timer(timer);
        }
        self.settle();
        self.io.console.flush();
        self.exit_code().inspect(|_| self.last_words())
    }

    fn event(&mut self, source: Source, key: Key, flags: Flags) {
        match source {
            Source::Signals => {
                for _ in 0..SIGNALS {
                    let Some(signal) = sys::next_signal(&self.io.signals) else { break };
                    self.signal(signal);
                }
            }
            Source::Listener => {
                if !self.control.accept() {
                    self.io.timers.set(Timer::Listen, Some(Instant::now() + AFTER_PANIC));
                }
            }
            Source::Client => {
                self.control.event(key, flags, &mut self.io.buffer);
                if let Some(Mode::Attached(Owner::Terminal(id))) = self.control.mode(key) {
                    self.pump(id, key);
                }
            }
            Source::Console => {} // Each turn ends with writing to it.
            Source::Stream(Owner::Unit(id)) => self.stream(id, key),
            Source::Stream(Owner::Terminal(id)) => self.session_stream(id, key),
            Source::Probe(id) => self.probe_event(id, key),
            Source::Launch(Owner::Unit(id)) => self.launch_event(id),
            Source::Launch(Owner::Terminal(id)) => self.session_launch(id),
        }
    }

    fn signal(&mut self, signal: i32) {
        match signal {
            libc::SIGCHLD => self.reap(),
            libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGPWR => self.stop(signal),
            signal if signal == libc::SIGRTMIN() + 3 => self.stop(signal),
            libc::SIGHUP => {
                self.units.iter_mut().for_each(|unit| unit.log.reopen());
                if self.units.broken.is_some() && self.shutdown.is_none() {
                    self.load();
                }
            }
            _ => {}
        }
    }

    fn timer(&mut self, timer: Timer) {
        match timer {
            Timer::Service(id) => self.feed(id, machine::UnitEvent::Tick),
            Timer::Probe(id) => self.probe_tick(id),
            Timer::Remains => self.children.reaped = true, // Settling looks again.
            Timer::Housekeeping => {
                self.look_at_counters();
                self.look_after_control();
                self.look_after_viewers();
                self.io.timers.set(Timer::Housekeeping, Some(Instant::now() + HOUSEKEEPING));
            }
            Timer::Listen => self.control.resume(),
            Timer::Session(id) => self.session_late(id),
            Timer::Hold(id) => self.hold_again(id),
            Timer::Redraw(id) => {
                if let Some(terminal) = self.terminals.get_mut(id) {
                    terminal.redrawn();
                }
            }
            Timer::Rest => {} // Settling goes on with it.
        }
    }

    fn look_after_control(&mut self) {
        match self.control.look_after() {
            Ok(None) => {}
            Ok(Some(aside)) => {
                self.notice("a folder lay in the control socket's place: it was put aside".into());
                self.io.console.say(&format!("that folder is called {aside} now"));
            }
            Err(trouble) => self.notice(trouble),
        }
    }

    /// Takes a sample; tells of what the kernel killed or refused since the last. Returns whether it killed.
    fn look_at_counters(&mut self) -> bool {
        let news = self.vitals.look();
        if let Some(kills) = news.oom_kills {
            self.tell(EventKind::Oom { kills });
            self.io.console.say("the kernel killed a process here for want of memory");
        }
        if let Some(refused) = news.pids_refused {
            self.tell(EventKind::PidsLimit { refused });
            self.io.console.say("the limit of tasks refused a process");
        }
        news.oom_kills.is_some()
    }

    fn tell(&mut self, kind: EventKind) {
        self.control.tell(&Event { at_ms: now_ms(), kind });
    }

    /// Remembers something that the operator should see.
    fn notice(&mut self, text: String) {
        if self.vitals.notice(&text) {
            self.io.console.say(&text);
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
        while !self.io.console.is_done() && Instant::now() < end {
            self.io.poll.wait(Some(end.saturating_duration_since(Instant::now())));
            self.io.console.flush();
        }
    }
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
