//! The policy against the event sequences that an Engine sends (recorded on 20.10), on a clock of our own.

use powerdev_protocol::{Event, EventKind, Health, HealthState};

use super::*;
use crate::engine::EngineEventKind as Kind;

const MINUTE: u64 = 60_000;

struct World {
    policy: Policy,
    now: u64,
}

impl World {
    fn new(memory: Memory) -> Self {
        let limits = RestartLimits {
            restarts: 3,
            window_ms: 10 * MINUTE,
            backoff_ms: 1000,
            max_backoff_ms: MINUTE,
            unhealthy_ms: 30_000,
            jitter: || 0.5,
        };
        Self { policy: Policy::new(limits, memory), now: 1_000_000 }
    }

    /// One that runs and is watched.
    fn running() -> Self {
        let mut world = Self::new(Memory::default());
        assert_eq!(names(&world.look(true)), ["watching"]);
        world
    }

    fn seen(&self, up: bool) -> ContainerSnapshot {
        ContainerSnapshot { up, paused: false, started_ms: self.now - 500, exit_code: 137, oom: false, health: None }
    }

    fn look(&mut self, up: bool) -> Vec<Decision> {
        let seen = self.seen(up);
        self.feed(Observation::Connected(Some(seen)))
    }

    fn feed(&mut self, input: Observation) -> Vec<Decision> {
        self.now += 10;
        self.policy.handle(self.now, input)
    }

    fn engine(&mut self, kind: Kind) -> Vec<Decision> {
        let at = ms_to_ns(self.now + 10);
        self.feed(Observation::Engine(at, kind))
    }

    /// The time of the next deadline comes.
    fn wait(&mut self) -> (u64, Vec<Decision>) {
        let deadline = self.policy.deadline().expect("something is to come");
        let waited = deadline.saturating_sub(self.now);
        self.now = self.now.max(deadline);
        (waited, self.policy.handle(self.now, Observation::Tick))
    }

    fn agent(&mut self, kind: EventKind) -> Vec<Decision> {
        self.feed(Observation::Agent(Event { at_ms: self.now, kind }))
    }

    fn health(&mut self, state: HealthState, detail: &str) -> Vec<Decision> {
        self.agent(EventKind::Health(Health { state, detail: detail.into() }))
    }
}

/// Actions in short: `start`, `restart`, or the name of what is told.
fn names(actions: &[Decision]) -> Vec<String> {
    let short = |action: &Decision| match action {
        Decision::Start => "start".to_owned(),
        Decision::Restart => "restart".to_owned(),
        Decision::Tell(what) => serde_json::to_value(what).expect("JSON")["event"].as_str().expect("a name").to_owned(),
    };
    actions.iter().map(short).collect()
}

fn cause(actions: &[Decision]) -> Cause {
    let cause = actions.iter().find_map(|action| match action {
        Decision::Tell(What::Down { cause, .. } | What::Quarantined { cause, .. }) => Some(cause.clone()),
        _ => None,
    });
    cause.expect("a cause is names")
}

const DIED: Kind = Kind::Die { exit_code: 137 };

#[test]
fn a_kill_is_undone_at_once() {
    for by_the_engine in [true, false] {
        let mut world = World::running();
        if by_the_engine {
            assert_eq!(world.engine(Kind::Kill { signal: 9 }), []);
        }
        let actions = world.engine(DIED);
        assert_eq!(
            (names(&actions), cause(&actions)),
            (vec!["down".into(), "start".into()], Cause::Signal { signal: 9 })
        );
        assert_eq!(names(&world.engine(Kind::Start)), ["restarted"]);
        assert_eq!(world.policy.state(), "running");
        assert!(world.policy.settles() > Some(world.now), "it must run for a moment first");
    }
}

#[test]
fn a_stop_is_somebodys_wish() {
    // `docker stop`, one that had to kill, and `docker kill -s TERM`.
    let sequences: [&[Kind]; 3] = [
        &[Kind::Kill { signal: 15 }, Kind::Die { exit_code: 0 }, Kind::Stop],
        &[Kind::Kill { signal: 15 }, Kind::Kill { signal: 9 }, DIED, Kind::Stop],
        &[Kind::Kill { signal: 15 }, Kind::Die { exit_code: 7 }],
    ];
    for sequence in sequences {
        let mut world = World::running();
        let actions: Vec<_> = sequence.iter().flat_map(|kind| world.engine(kind.clone())).collect();
        assert_eq!(names(&actions), ["stopped"], "{sequence:?}");
        assert!(!world.policy.memory().running);
        assert_eq!(names(&world.engine(Kind::Start)), ["started"], "and watched again once it is started");
    }
}

#[test]
fn docker_restart_is_left_alone() {
    let mut world = World::running();
    let sequence = [Kind::Kill { signal: 15 }, DIED, Kind::Stop, Kind::Start, Kind::Restart];
    let actions: Vec<_> = sequence.into_iter().flat_map(|kind| world.engine(kind)).collect();
    assert_eq!(names(&actions), ["stopped", "started"]);
}

#[test]
fn causes_are_told_apart() {
    let mut world = World::running();
    world.engine(Kind::Oom);
    assert_eq!(cause(&world.engine(DIED)), Cause::Oom);
    let mut world = World::running();
    assert_eq!(cause(&world.engine(Kind::Die { exit_code: 3 })), Cause::Exit { code: 3 });
    let mut world = World::running();
    assert_eq!(cause(&world.engine(Kind::Die { exit_code: 139 })), Cause::Signal { signal: 11 });
    // A process was killed for want of memory, but the end came much later and otherwise.
    let mut world = World::running();
    world.agent(EventKind::Oom { kills: 1 });
    world.now += MINUTE;
    assert_eq!(cause(&world.engine(DIED)), Cause::Signal { signal: 9 });
}

#[test]
fn waits_double_and_the_budget_ends_in_quarantine() {
    let mut world = World::running();
    let mut waits = Vec::new();
    for round in 0..3 {
        let mut actions = world.engine(DIED);
        if round > 0 {
            let (waited, more) = world.wait();
            waits.push(waited);
            actions.extend(more);
        }
        assert_eq!(names(&actions), ["down", "start"]);
        world.engine(Kind::Start);
    }
    // With half of the jitter: a tenth more.
    assert_eq!(waits, [1100, 2200]);
    assert_eq!(world.policy.restarts_left(world.now), 0);
    assert_eq!(names(&world.engine(DIED)), ["quarantined"]);
    assert_eq!((world.policy.deadline(), world.policy.settles()), (None, Some(0)));
    // Only somebody else ends it, and gives it a whole budget again.
    assert_eq!(names(&world.engine(Kind::Start)), ["started"]);
    assert_eq!(world.policy.restarts_left(world.now), 3);
}

#[test]
fn the_budget_and_the_quarantine_outlive_the_watcher() {
    let mut first = World::running();
    for _ in 0..3 {
        first.engine(DIED);
        if first.policy.deadline().is_some() {
            first.wait();
        }
        first.engine(Kind::Start);
    }
    let stored = serde_json::to_vec(first.policy.memory()).expect("JSON");
    let mut second = World::new(serde_json::from_slice(&stored).expect("JSON"));
    second.now = first.now;
    second.look(true);
    assert_eq!(names(&second.engine(DIED)), ["quarantined"]);
    let mut third = World::new(second.policy.memory().clone());
    third.now = second.now + MINUTE;
    let mut seen = third.seen(false);
    seen.started_ms = first.now;
    assert_eq!(names(&third.feed(Observation::Connected(Some(seen)))), ["watching"]);
    assert_eq!(third.policy.state(), "quarantined");
    // Started while nobody watched: forgiven.
    let mut fourth = World::new(third.policy.memory().clone());
    fourth.now = third.now + MINUTE;
    fourth.look(true);
    assert_eq!((fourth.policy.state(), fourth.policy.restarts_left(fourth.now)), ("running", 3));
}

#[test]
fn old_restarts_leave_the_window() {
    let mut world = World::running();
    world.engine(DIED);
    world.engine(Kind::Start);
    world.now += 11 * MINUTE;
    let actions = world.engine(DIED);
    assert_eq!(names(&actions), ["down", "start"], "without a wait");
    assert_eq!(world.policy.restarts_left(world.now), 2);
}

#[test]
fn unhealthy_for_too_long_is_restarted_and_soon_well_is_not() {
    let mut world = World::running();
    assert_eq!(names(&world.health(HealthState::Unhealthy, "web: probe failed")), ["unhealthy"]);
    assert_eq!(names(&world.health(HealthState::Healthy, "")), ["healthy"]);
    assert_eq!(world.policy.deadline(), None);
    world.health(HealthState::Unhealthy, "web: probe failed");
    let (waited, actions) = world.wait();
    assert_eq!((waited, names(&actions)), (30_000, vec!["down".into(), "restart".into()]));
    assert!(matches!(&actions[0], Decision::Tell(What::Down { detail, .. }) if detail == "web: probe failed"));
    // What the Engine tells of our own restart is no wish of anybody.
    let sequence = [Kind::Kill { signal: 15 }, DIED, Kind::Stop, Kind::Start, Kind::Restart];
    let actions: Vec<_> = sequence.into_iter().flat_map(|kind| world.engine(kind)).collect();
    assert_eq!(names(&actions), ["restarted"]);
}

#[test]
fn a_refused_task_explains_bad_health() {
    let mut world = World::running();
    world.agent(EventKind::PidsLimit { refused: 4 });
    world.health(HealthState::Unhealthy, "web: can't fork");
    assert_eq!(cause(&world.wait().1), Cause::PidsLimit);
}

#[test]
fn an_engine_that_dies_takes_nothing_down_for_good() {
    let mut world = World::running();
    assert_eq!(names(&world.feed(Observation::Lost("gone".into()))), ["engine_lost"]);
    assert_eq!(names(&world.feed(Observation::Lost("still".into()))), [""; 0]);
    // Killed with -9, it tells nothing of what became of its containers.
    let actions = world.look(false);
    assert_eq!((names(&actions), cause(&actions)), (vec!["down".into(), "start".into()], Cause::EngineRestart));
    assert_eq!(world.policy.restarts_left(world.now), 3, "the Engine's fault costs nothing");
    // It stopped what still ran when it came back, as a user would: that is told only now.
    let at = ms_to_ns(world.now - 20);
    for kind in [Kind::Kill { signal: 15 }, Kind::Kill { signal: 9 }, DIED, Kind::Stop] {
        assert_eq!(world.feed(Observation::Engine(at, kind)), []);
    }
    assert_eq!(names(&world.engine(Kind::Start)), ["restarted"]);
}

#[test]
fn a_refused_start_after_the_engines_own_is_told_as_one() {
    let mut world = World::running();
    world.feed(Observation::Lost("gone".into()));
    assert_eq!(names(&world.look(false)), ["down", "start"]);
    let actions = world.feed(Observation::RefusedRestart { error: "port is taken".into(), gone: false });
    assert_eq!((names(&actions)[0].as_str(), cause(&actions)), ("restart_failed", Cause::RestartRefused));
    assert_eq!(world.policy.restarts_left(world.now), 2, "from here on it counts");
}

#[test]
fn what_happened_keeps_its_time() {
    let engine = Observation::Engine(7_000_000, Kind::Start);
    let agent = Observation::Agent(Event { at_ms: 8, kind: EventKind::Oom { kills: 1 } });
    assert_eq!([engine.at_ms(), agent.at_ms(), Observation::Tick.at_ms()], [Some(7), Some(8), None]);
}

#[test]
fn an_engine_that_shuts_down_stops_like_a_user_and_is_told_apart() {
    let mut world = World::running();
    for kind in [Kind::Kill { signal: 15 }, Kind::Die { exit_code: 0 }, Kind::Stop] {
        world.engine(kind);
    }
    world.now += 10_000;
    world.feed(Observation::Lost("unexpected end of file".into()));
    assert_eq!(cause(&world.look(false)), Cause::EngineRestart);
    // Stopped long before: that was somebody's wish.
    let mut world = World::running();
    for kind in [Kind::Kill { signal: 15 }, Kind::Die { exit_code: 0 }, Kind::Stop] {
        world.engine(kind);
    }
    world.now += MINUTE;
    world.feed(Observation::Lost("unexpected end of file".into()));
    assert_eq!(names(&world.look(false)), ["watching"]);
    assert_eq!(world.policy.state(), "stopped");
}

#[test]
fn what_happened_while_nobody_watched_is_made_good_unless_it_was_a_wish() {
    let memory = Memory { running: true, ..Memory::default() };
    let mut world = World::new(memory.clone());
    world.look(false);
    assert_eq!(cause(&world.wait().1), Cause::Signal { signal: 9 });
    // The Engine still knows that somebody asked.
    let mut world = World::new(memory);
    let at = ms_to_ns(world.now - 100);
    world.look(false);
    for kind in [Kind::Kill { signal: 15 }, Kind::Die { exit_code: 0 }] {
        world.feed(Observation::Engine(at, kind));
    }
    assert_eq!(world.policy.state(), "stopped");
    // What was never meant to run stays down.
    let mut world = World::new(Memory::default());
    world.look(false);
    assert_eq!((world.policy.state(), world.policy.deadline()), ("stopped", None));
}

#[test]
fn history_of_an_earlier_run_changes_nothing() {
    let mut world = World::running();
    let before = ms_to_ns(world.now - 10_000);
    for kind in [Kind::Start, DIED, Kind::Destroy] {
        assert_eq!(world.feed(Observation::Engine(before, kind)), []);
    }
    assert_eq!(world.policy.state(), "running");
}

#[test]
fn removed_behind_our_back_is_told_and_not_made_again() {
    // `docker rm -f`: a kill, and the Engine refuses our start.
    let mut world = World::running();
    world.engine(Kind::Kill { signal: 9 });
    assert_eq!(names(&world.engine(DIED)), ["down", "start"]);
    assert_eq!(
        names(&world.feed(Observation::RefusedRestart { error: "removal in progress".into(), gone: true })),
        ["removed"]
    );
    assert_eq!(world.engine(Kind::Destroy), []);
    assert_eq!((world.policy.state(), world.policy.deadline()), ("absent", None));
    // Made again by somebody else, it is watched again.
    world.engine(Kind::Create);
    assert_eq!(names(&world.engine(Kind::Start)), ["started"]);
    // Gone while the Engine was away.
    world.feed(Observation::Lost("gone".into()));
    assert_eq!(names(&world.feed(Observation::Connected(None))), ["removed"]);
}

#[test]
fn a_start_that_fails_is_tried_again_until_the_budget_is_used_up() {
    let mut world = World::running();
    let mut actions = world.engine(DIED);
    for _ in 0..3 {
        actions.extend(world.feed(Observation::RefusedRestart { error: "port is taken".into(), gone: false }));
        if world.policy.deadline().is_some() {
            actions.extend(world.wait().1);
        }
    }
    assert_eq!(names(&actions).iter().filter(|action| *action == "start").count(), 3);
    assert_eq!(names(&actions).last().map(String::as_str), Some("quarantined"));
    let memory = world.policy.memory().quarantine.clone().expect("quarantined");
    assert_eq!(memory.detail, "port is taken");
}

#[test]
fn a_paused_container_is_not_restarted_for_being_silent() {
    let mut world = World::running();
    world.health(HealthState::Unhealthy, "web");
    assert_eq!(names(&world.engine(Kind::Pause)), ["paused"]);
    assert_eq!((world.policy.deadline(), world.policy.state()), (None, "paused"));
}

#[test]
fn a_shutdown_stops_what_nobody_meant_to_stop() {
    // `docker stop` and a shutdown look alike; what comes next tells them apart. `powerdev stop` is never a shutdown.
    for (meant, then_lost) in [(false, true), (false, false), (true, true), (true, false)] {
        let mut world = World::running();
        world.policy.set_stop_requested(meant);
        for kind in [Kind::Kill { signal: 15 }, Kind::Die { exit_code: 0 }, Kind::Stop] {
            world.engine(kind);
        }
        assert_eq!(world.policy.state(), "stopped");
        if then_lost {
            world.feed(Observation::Lost("gone".into()));
        } else {
            world.policy.blame_shutdown(world.now);
        }
        assert_eq!(world.policy.memory().running, !meant, "lost: {then_lost}");
    }
    let mut world = World::running();
    for kind in [Kind::Kill { signal: 15 }, Kind::Die { exit_code: 0 }, Kind::Stop] {
        world.engine(kind);
    }
    world.now += SHUTDOWN_MS;
    world.policy.blame_shutdown(world.now);
    assert!(!world.policy.memory().running, "long before: somebody's wish");
}

#[test]
fn what_was_stopped_through_powerdev_while_nobody_watched_stays_down() {
    let mut world = World::new(Memory { running: true, ..Memory::default() });
    world.policy.set_stop_requested(true);
    assert_eq!(names(&world.look(false)), ["watching"]);
    assert_eq!((world.policy.state(), world.policy.memory().running), ("stopped", false));
}
