//! A container that takes another's place: whatever goes wrong, and whenever, the old one is not lost.

use std::time::Duration;

use rustix::process::Signal;

use crate::common::engine::{self, Events, Leftover};
use crate::common::{Project, wait};

const LONG: Duration = Duration::from_secs(60);
const ONE: &str = "one:\n  command: exec sleep 1000000\n";

fn id(container: &str) -> String {
    engine::inspect(container).expect("it is there")["Id"].as_str().expect("an ID").to_owned()
}

/// The names of all containers of the project.
fn containers(project: &Project) -> Vec<String> {
    let all = engine::leftovers(project.name()).into_iter();
    all.filter_map(|found| if let Leftover::Container(name) = found { Some(name) } else { None }).collect()
}

#[test]
fn one_that_the_engine_refuses_to_make_costs_nothing() {
    let project = Project::new(ONE);
    project.powerdev(["up"]).run().ok();
    let (old, pid) = (id(&project.container()), engine::pid(&project.container()));
    // Somebody else's, under the very name that the new one is made by.
    let foreign = format!("{}.NEW", project.container());
    engine::foreign_container(&foreign);
    project.services(&ONE.replace("one", "two"));
    let refused = project.powerdev(["up", "--recreate"]).run().code(8);
    assert!(refused.err().contains("which goes on as it was"), "{}", refused.err());
    assert_eq!((id(&project.container()), engine::pid(&project.container())), (old, pid), "it never stopped");
    assert!(engine::inspect(&foreign).is_some(), "what isn't powerdev's is left alone");
    engine::restart(&project.container());
    project.powerdev(["health", "--wait", "30"]).run().ok();
    let status = project.powerdev(["status", "--json"]).run().ok().json();
    assert_eq!(status["services"][0]["name"], "one", "its services are what they were: {status}");
}

#[test]
fn one_that_the_engine_refuses_to_start_gives_its_place_back() {
    let project = Project::new(ONE);
    project.powerdev(["up"]).run().ok();
    let old = id(&project.container());
    // An address that no machine has: the Engine makes the container, and can't start it.
    project.yaml("bind_address: 192.0.2.1\nports: ['39641:3000']\nservices:\n  two: { command: exec sleep 1000000 }\n");
    let refused = project.powerdev(["up", "--recreate", "--trust"]).run();
    assert!(refused.code != 0 && refused.err().contains("which goes on as it was"), "{}", refused.err());
    assert_eq!((id(&project.container()), containers(&project).len()), (old, 1));
    project.powerdev(["health", "--wait", "30"]).run().ok();
    let status = project.powerdev(["status", "--json"]).run().ok().json();
    assert_eq!(status["services"][0]["name"], "one", "its services are what they were: {status}");
}

#[test]
fn a_first_start_that_fails_leaves_no_volume() {
    let project = Project::bare();
    project.yaml("bind_address: 192.0.2.1\nports: ['39641:3000']\n");
    assert_eq!(project.powerdev(["up", "--trust"]).run().code, 1);
    assert_eq!(engine::leftovers(project.name()), []);
}

#[test]
fn ctrl_c_while_the_old_one_stops_brings_it_back() {
    let project = Project::new("slow:\n  command: trap 'sleep 2; exit' TERM; while :; do sleep 0.1; done\n");
    project.powerdev(["up"]).run().ok();
    let old = id(&project.container());
    let mut events = Events::of(&project.container());
    let recreating = project.powerdev(["up", "--recreate"]).spawn();
    events.wait("kill", LONG);
    recreating.signal(Signal::INT);
    recreating.wait(LONG).code(130);
    assert_eq!((id(&project.container()), containers(&project).len()), (old, 1));
    project.powerdev(["health", "--wait", "30"]).run().ok();
}

#[test]
fn killed_at_any_moment_it_leaves_an_environment_that_the_next_up_brings_up() {
    let project = Project::new(ONE);
    project.powerdev(["up"]).run().ok();
    project.powerdev(["exec", "--", "sh", "-c", "echo kept > ~/note"]).run().ok();
    for moment in ["create", "kill", "die", "stop", "rename", "start", "destroy"] {
        let mut events = Events::of_environment(project.name());
        let recreating = project.powerdev(["up", "--recreate"]).spawn();
        events.wait(moment, LONG);
        recreating.signal(Signal::KILL);
        recreating.wait(LONG);
        // What the Engine was told last may come after whoever looks first.
        wait::until(&format!("it is found after {moment}"), LONG, || {
            let status = project.powerdev(["status", "--json"]).run().json();
            (status["state"] != "absent" && engine::inspect(&project.container()).is_some()).then_some(())
        });
        project.powerdev(["up"]).run().ok();
        assert_eq!(containers(&project), [project.container()], "after {moment}");
        assert_eq!(project.powerdev(["exec", "--", "sh", "-c", "cat ~/note"]).run().ok().out(), "kept\n");
    }
}

#[test]
fn one_that_was_left_between_two_names_is_found_and_gets_its_own_back() {
    let project = Project::new(ONE);
    project.powerdev(["up"]).run().ok();
    let (old, aside) = (id(&project.container()), format!("{}.OLD", project.container()));
    project.powerdev(["stop"]).run().ok();
    engine::rename(&project.container(), &aside);
    let ps = project.powerdev(["ps", "--json"]).run().ok().json();
    let listed = ps["environments"].as_array().expect("a list").iter().filter(|row| row["name"] == project.name());
    assert_eq!(listed.count(), 1, "{ps}");
    project.powerdev(["status"]).run().code(4);
    assert_eq!(id(&project.container()), old);
    // And one that had run already has the place.
    project.powerdev(["up", "--recreate"]).run().ok();
    let new = id(&project.container());
    wait::until("the old one is gone", LONG, || (containers(&project).len() == 1).then_some(()));
    assert_ne!(new, old);
}
