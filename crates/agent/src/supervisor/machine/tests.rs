//! Every path through a service's life, without a process and without waiting.

use super::*;

fn machine(json: &str) -> Machine {
    Machine::new(&serde_json::from_str(json).expect("the test's JSON is a service"))
}

fn exit(code: i32) -> LastExit {
    LastExit { code: Some(code), signal: None, oom: false, at_ms: 0, reason: format!("exited with {code}") }
}

fn died(code: i32) -> UnitEvent {
    UnitEvent::Died { exit: exit(code), alone: true }
}

/// A machine and its clock.
struct Run {
    machine: Machine,
    now: Instant,
}

impl Run {
    fn new(json: &str) -> Self {
        Self { machine: machine(json), now: Instant::now() }
    }

    /// As `new`, and its process runs.
    fn started(json: &str) -> Self {
        let mut run = Self::new(json);
        assert_eq!(run.give(UnitEvent::DependenciesMet), Some(Effect::Spawn));
        assert_eq!(run.give(UnitEvent::Spawned), None);
        run
    }

    fn give(&mut self, input: UnitEvent) -> Option<Effect> {
        self.machine.step(input, self.now, 0.5)
    }

    fn pass(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
    }

    /// Dies at once, and tells how long it has to wait for the next try, which is then made.
    fn die_and_return(&mut self) -> f64 {
        assert_eq!(self.give(died(1)), None);
        assert_eq!(self.state(), ServiceState::Backoff);
        let until = self.machine.wake_at().expect("a back-off ends");
        let wait = until.saturating_duration_since(self.now);
        self.now = until;
        self.give(UnitEvent::Tick);
        assert_eq!(self.give(UnitEvent::DependenciesMet), Some(Effect::Spawn));
        self.give(UnitEvent::Spawned);
        wait.as_secs_f64()
    }

    fn state(&self) -> ServiceState {
        self.machine.state()
    }
}

#[test]
fn it_is_ready_when_it_runs_or_when_its_probe_says_so() {
    let mut run = Run::started(r#"{"command":"x"}"#);
    assert_eq!(run.state(), ServiceState::Ready);
    run = Run::started(r#"{"command":"x","ready":{"tcp":1}}"#);
    assert_eq!(run.state(), ServiceState::Starting);
    run.give(UnitEvent::Good);
    assert_eq!(run.state(), ServiceState::Ready);
    run.give(UnitEvent::Bad);
    assert_eq!(run.state(), ServiceState::Unhealthy);
    run.give(UnitEvent::Good);
    assert_eq!(run.state(), ServiceState::Ready);
    assert_eq!(run.machine.wake_at(), None);
}

#[test]
fn what_is_not_ready_in_time_is_ended_and_counts_as_failed() {
    let mut run = Run::started(r#"{"command":"x","ready":{"tcp":1,"deadline":5},"restart":{"policy":"never"}}"#);
    run.pass(4.9);
    assert_eq!(run.give(UnitEvent::Tick), None);
    run.pass(0.2);
    assert_eq!(run.give(UnitEvent::Tick), Some(Effect::Terminate));
    // Even if it ends well now.
    run.give(died(0));
    assert_eq!(run.state(), ServiceState::Failed);
    assert_eq!(run.machine.last_exit().map(|exit| exit.reason.as_str()), Some("not ready within 5 s"));
}

#[test]
fn back_off_doubles_up_to_its_cap_with_jitter() {
    let mut run =
        Run::started(r#"{"command":"x","restart":{"backoff":0.1,"max_backoff":0.5,"jitter":0.2,"reset":10}}"#);
    let waits: Vec<f64> = (0..5).map(|_| run.die_and_return()).collect();
    let expected = [0.11, 0.22, 0.44, 0.55, 0.55];
    for (wait, expected) in waits.iter().zip(expected) {
        assert!((wait - expected).abs() < 1e-6, "{waits:?}");
    }
    assert_eq!(run.machine.restarts(), 5);
}

#[test]
fn the_first_death_after_a_long_run_is_answered_at_once_and_forgets_the_past() {
    let mut run = Run::started(r#"{"command":"x","restart":{"backoff":1,"jitter":0,"reset":10,"limit":3}}"#);
    assert_eq!(run.die_and_return(), 1.0);
    assert_eq!(run.die_and_return(), 2.0);
    run.pass(10.0);
    assert_eq!(run.die_and_return(), 0.0);
    assert_eq!(run.die_and_return(), 2.0);
    run.give(died(7));
    assert_eq!(run.state(), ServiceState::Failed, "the third in a row");
}

#[test]
fn a_long_run_counts_even_if_it_was_unhealthy_at_its_end() {
    let mut run = Run::started(r#"{"command":"x","ready":{"tcp":1},"restart":{"backoff":1}}"#);
    run.give(UnitEvent::Good);
    run.pass(11.0);
    run.give(UnitEvent::Bad);
    assert_eq!(run.die_and_return(), 0.0);
}

#[test]
fn policies() {
    for (policy, code, expected) in [
        ("always", 0, ServiceState::Backoff),
        ("always", 1, ServiceState::Backoff),
        ("on-failure", 0, ServiceState::Completed),
        ("on-failure", 1, ServiceState::Backoff),
        ("never", 0, ServiceState::Completed),
        ("never", 1, ServiceState::Failed),
    ] {
        let mut run = Run::started(&format!(r#"{{"command":"x","restart":{{"policy":"{policy}"}}}}"#));
        run.give(died(code));
        assert_eq!(run.state(), expected, "{policy} {code}");
    }
}

#[test]
fn what_it_leaves_behind_is_ended_before_the_next_try() {
    let mut run = Run::started(r#"{"command":"x","stop":{"grace":60}}"#);
    assert_eq!(run.give(UnitEvent::Died { exit: exit(1), alone: false }), Some(Effect::Terminate));
    assert_eq!(run.state(), ServiceState::Stopping);
    run.pass(LEFTOVER_GRACE.as_secs_f64());
    assert_eq!(run.give(UnitEvent::Tick), Some(Effect::Kill));
    run.pass(KILL_AGAIN.as_secs_f64());
    assert_eq!(run.give(UnitEvent::Tick), Some(Effect::Kill));
    run.give(UnitEvent::Gone);
    assert_eq!(run.state(), ServiceState::Backoff);
}

#[test]
fn what_completes_may_leave_a_daemon_until_it_is_stopped() {
    let mut run = Run::started(r#"{"command":"x","restart":{"policy":"never"}}"#);
    assert_eq!(run.give(UnitEvent::Died { exit: exit(0), alone: false }), None);
    assert_eq!(run.state(), ServiceState::Completed);
    assert_eq!(run.give(UnitEvent::Stop), Some(Effect::Terminate));
    run.give(UnitEvent::Gone);
    assert_eq!(run.state(), ServiceState::Stopped);
}

#[test]
fn stopping_waits_for_the_whole_tree_then_kills() {
    let mut run = Run::started(r#"{"command":"x","stop":{"grace":3}}"#);
    assert_eq!(run.give(UnitEvent::Stop), Some(Effect::Terminate));
    assert_eq!(run.give(UnitEvent::Died { exit: exit(0), alone: false }), None);
    assert_eq!(run.state(), ServiceState::Stopping);
    run.pass(2.9);
    assert_eq!(run.give(UnitEvent::Tick), None);
    run.pass(0.2);
    assert_eq!(run.give(UnitEvent::Tick), Some(Effect::Kill));
    run.give(UnitEvent::Gone);
    assert_eq!(run.state(), ServiceState::Stopped);
    assert_eq!(run.machine.last_exit().map(|exit| exit.reason.as_str()), Some("stopped on request"));
}

#[test]
fn a_second_wish_to_stop_kills_at_once() {
    let mut run = Run::started(r#"{"command":"x"}"#);
    assert_eq!(run.give(UnitEvent::Hurry), None);
    run.give(UnitEvent::Stop);
    assert_eq!(run.give(UnitEvent::Stop), None);
    assert_eq!(run.give(UnitEvent::Hurry), Some(Effect::Kill));
}

#[test]
fn requests_in_every_state() {
    let mut run = Run::new(r#"{"command":"x","restart":{"policy":"never"}}"#);
    run.give(UnitEvent::Stop);
    assert_eq!(run.state(), ServiceState::Stopped, "while it waited");
    run.give(UnitEvent::Restart);
    assert_eq!(run.state(), ServiceState::Waiting);
    run.give(UnitEvent::DependenciesMet);
    run.give(UnitEvent::Spawned);
    assert_eq!(run.give(UnitEvent::Start), None);
    assert_eq!(run.state(), ServiceState::Ready, "it runs already");
    assert_eq!(run.give(UnitEvent::Restart), Some(Effect::Terminate));
    run.give(UnitEvent::Stop);
    run.give(UnitEvent::Start);
    run.give(died(0));
    assert_eq!(run.state(), ServiceState::Waiting, "the last wish counts");
    assert_eq!(run.machine.restarts(), 0, "restarts on request don't count");
    run.give(UnitEvent::DependenciesMet);
    run.give(UnitEvent::Spawned);
    run.give(died(1));
    assert_eq!(run.state(), ServiceState::Failed);
    run.give(UnitEvent::Start);
    assert_eq!(run.state(), ServiceState::Waiting);
}

#[test]
fn a_start_on_request_forgets_back_off_and_failures() {
    let mut run = Run::started(r#"{"command":"x","restart":{"backoff":1,"jitter":0}}"#);
    assert_eq!(run.die_and_return(), 1.0);
    run.give(died(1));
    run.give(UnitEvent::Start);
    assert_eq!(run.give(UnitEvent::DependenciesMet), Some(Effect::Spawn));
    run.give(UnitEvent::Spawned);
    assert_eq!(run.die_and_return(), 1.0);
}

#[test]
fn lack_of_processes_is_waited_out_whatever_the_policy() {
    let mut run = Run::new(r#"{"command":"x","restart":{"policy":"never","limit":1}}"#);
    for _ in 0..5 {
        assert_eq!(run.give(UnitEvent::DependenciesMet), Some(Effect::Spawn));
        run.give(UnitEvent::SpawnFailed { exit: exit(126), passing: true });
        assert_eq!(run.state(), ServiceState::Backoff);
        run.now = run.machine.wake_at().expect("a back-off ends");
        run.give(UnitEvent::Tick);
    }
    run.give(UnitEvent::DependenciesMet);
    run.give(UnitEvent::SpawnFailed { exit: exit(127), passing: false });
    assert_eq!(run.state(), ServiceState::Failed);
}

#[test]
fn a_failed_dependency_fails_it_until_that_is_back() {
    let mut run = Run::new(r#"{"command":"x"}"#);
    run.give(UnitEvent::DependencyFailed(exit(1)));
    assert_eq!(run.state(), ServiceState::Failed);
    assert!(run.machine.failed_by_dependency());
    run.give(UnitEvent::DependencyBack);
    assert_eq!(run.state(), ServiceState::Waiting);
}

#[test]
fn no_order_of_inputs_starts_two_processes_or_panics() {
    let inputs = [
        UnitEvent::DependenciesMet,
        UnitEvent::DependencyFailed(exit(1)),
        UnitEvent::DependencyBack,
        UnitEvent::Good,
        UnitEvent::Bad,
        UnitEvent::Tick,
        UnitEvent::Start,
        UnitEvent::Stop,
        UnitEvent::Restart,
        UnitEvent::Hurry,
        died(0),
        UnitEvent::Died { exit: exit(1), alone: false },
        UnitEvent::Gone,
    ];
    let mut seed = 1u64;
    for policy in ["always", "on-failure", "never"] {
        let json = format!(r#"{{"command":"x","ready":{{"tcp":1}},"restart":{{"policy":"{policy}","limit":4}}}}"#);
        let mut run = Run::new(&json);
        let mut main = false;
        for _ in 0..100_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let input = inputs[(seed >> 33) as usize % inputs.len()].clone();
            match &input {
                UnitEvent::Died { .. } if !main => continue,
                UnitEvent::Died { .. } => main = false,
                UnitEvent::Gone if main => continue,
                _ => {}
            }
            run.pass(0.05);
            if run.give(input) == Some(Effect::Spawn) {
                assert!(!main, "a second process");
                main = true;
                run.give(UnitEvent::Spawned);
            }
            let running = matches!(run.state(), ServiceState::Starting | ServiceState::Ready | ServiceState::Unhealthy);
            assert!(!running || main, "{:?} without a process", run.state());
            assert!(!main || run.state().is_running(), "a process in {:?}", run.state());
        }
    }
}

#[test]
fn a_program_that_does_not_begin_is_ended_and_tried_again() {
    let mut run = Run::new(r#"{"command":"x","restart":{"jitter":0}}"#);
    run.give(UnitEvent::DependenciesMet);
    assert_eq!(run.state(), ServiceState::Starting);
    assert_eq!(run.machine.wake_at(), Some(run.now + LAUNCH_LIMIT));
    run.pass(10.0);
    assert_eq!(run.give(UnitEvent::Tick), Some(Effect::Terminate));
    assert_eq!(run.give(died(1)), None);
    assert_eq!(run.state(), ServiceState::Backoff);
    let reason = run.machine.last_exit().expect("it ended").reason.clone();
    assert!(reason.starts_with("its program did not begin within 10 s"), "{reason}");
    let mut run = Run::new(r#"{"command":"x","ready":{"tcp":1,"deadline":2}}"#);
    run.give(UnitEvent::DependenciesMet);
    assert_eq!(run.machine.wake_at(), Some(run.now + Duration::from_secs(2)));
}

#[test]
fn told_to_stop_before_its_program_began_it_is_told_again_once_it_can_hear() {
    let mut run = Run::new(r#"{"command":"x"}"#);
    run.give(UnitEvent::DependenciesMet);
    assert_eq!(run.give(UnitEvent::Stop), Some(Effect::Terminate));
    assert_eq!(run.give(UnitEvent::Spawned), Some(Effect::Terminate));
    assert_eq!(run.state(), ServiceState::Stopping);
    assert_eq!(run.give(died(1)), None);
    assert_eq!(run.state(), ServiceState::Stopped);
    // And if it can't be run at all, there is nobody to be told.
    let mut run = Run::new(r#"{"command":"x"}"#);
    run.give(UnitEvent::DependenciesMet);
    run.give(UnitEvent::Stop);
    assert_eq!(run.give(UnitEvent::SpawnFailed { exit: exit(127), passing: false }), None);
    assert_eq!(run.state(), ServiceState::Stopped);
}

#[test]
fn what_is_ready_before_it_is_known_to_run_runs() {
    let mut run = Run::new(r#"{"command":"x","ready":{"log":"up"}}"#);
    run.give(UnitEvent::DependenciesMet);
    run.give(UnitEvent::Good);
    assert_eq!(run.state(), ServiceState::Ready);
    assert_eq!(run.give(UnitEvent::Spawned), None);
    assert_eq!(run.state(), ServiceState::Ready);
}
