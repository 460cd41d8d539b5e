//! Pulling from a real registry: what comes, what is told while it comes, and what is left when it doesn't.

use std::time::Duration;

use rustix::process::Signal;

use crate::common::registry::{FOREIGN, NATIVE};
use crate::common::{Fault, Project, Registry, Relay, engine, wait};

const MEGABYTE: usize = 1 << 20;
/// What an Engine takes to give up a download: it waits 5, 10, 15 and 20 s between its tries.
const GIVES_UP: Duration = Duration::from_secs(180);

/// A name that no other test's image has, for this project's purge to find.
fn repository(project: &Project) -> String {
    format!("{}/image", project.name())
}

/// A project that runs this image of a registry, as it is.
fn project_of(address: &str, tag: &str) -> (Project, String) {
    let project = Project::bare();
    let image = format!("{address}/{}:{tag}", repository(&project));
    project.write("powerdev.yaml", format!("image: {image}\nservices:\n  one:\n    command: exec sleep 1000000\n"));
    (project, image)
}

#[test]
fn a_projects_image_is_pulled_and_runs() {
    let registry = Registry::open();
    let (project, image) = project_of(registry.address(), "1");
    registry.push(&repository(&project), "1", NATIVE, MEGABYTE);
    let said = project.powerdev(["daemon"]).run().ok().err();
    for part in [format!("pulling {image}"), "2 of 2 layers".into(), format!("pulled {image} (")] {
        assert!(said.contains(&part), "no `{part}` in:\n{said}");
    }
    assert!(!said.contains('\u{1b}'), "no control codes in a pipe:\n{said}");
    let size = project.powerdev(["exec", "--", "wc", "-c", "/noise"]).run().ok().out().to_owned();
    assert!(size.starts_with("1048576"), "{size}");
    let said = project.powerdev(["build"]).run().ok().err();
    assert!(said.contains("is up to date") && !said.contains("pulling"), "{said}");
}

#[test]
fn pull_gets_the_newer_one() {
    let registry = Registry::open();
    let (project, image) = project_of(registry.address(), "latest");
    registry.push(&repository(&project), "latest", NATIVE, 1);
    let build = |flags: &[&str]| project.powerdev([&["build", "--json"], flags].concat()).run().ok();
    let first = build(&[]).json();
    assert_eq!((&first["image"], &first["up_to_date"]), (&image.as_str().into(), &false.into()));
    let same = build(&["--pull"]);
    assert_eq!((&same.json()["id"], &same.json()["up_to_date"]), (&first["id"], &true.into()));
    assert!(same.err().contains("is the newest already"), "{}", same.err());

    registry.push(&repository(&project), "latest", NATIVE, 1);
    assert_eq!(build(&[]).json()["id"], first["id"], "what is here is good enough");
    let newer = build(&["--pull"]).json();
    assert_ne!(newer["id"], first["id"]);
    assert_eq!(newer["up_to_date"], false);
    engine::Leftover::Image(first["id"].as_str().expect("an ID").to_owned()).remove();
}

#[test]
fn a_base_image_is_pulled_and_a_newer_one_builds_anew() {
    let registry = Registry::open();
    let project = Project::bare();
    let base = format!("{}/{}:1", registry.address(), repository(&project));
    registry.push(&repository(&project), "1", NATIVE, 1);
    project.write("Dockerfile", "ARG BASE_IMAGE\nFROM ${BASE_IMAGE} AS core\nRUN wc -c /noise\n");
    let build = |flags: &[&str]| project.powerdev([&["build", "--json", "--base", &base], flags].concat()).run();
    let first = build(&[]).ok();
    assert!(first.err().contains(&format!("pulled {base}")), "{}", first.err());
    assert_eq!(build(&[]).ok().json()["up_to_date"], true);
    let old = engine::image_id(&base).expect("pulled");
    registry.push(&repository(&project), "1", NATIVE, 1);
    let newer = build(&["--pull"]).ok().json();
    assert_ne!(newer["id"], first.json()["id"]);
    project.purge();
    for id in [old, first.json()["id"].as_str().expect("an ID").to_owned()] {
        engine::Leftover::Image(id).remove();
    }
}

#[test]
fn progress_is_live_on_a_terminal() {
    let registry = Registry::open();
    let (project, image) = project_of(registry.address(), "1");
    registry.push(&repository(&project), "1", NATIVE, 20 * MEGABYTE);
    let mut terminal = project.powerdev(["build"]).terminal(24, 160);
    terminal.expect(&format!("pulling {image}"));
    terminal.expect("of 2 layers");
    terminal.expect(&format!("pulled {image}"));
    assert_eq!(terminal.wait().0, 0);
}

/// Demands that this project's image can't be had, with these words, and that nothing of it is there.
fn refused(project: &Project, image: &str, parts: &[&str]) {
    let output = project.powerdev(["daemon", "--json"]).deadline(GIVES_UP).run().code(4);
    let document = output.json();
    let (error, hint) = (document["error"].as_str().expect("text"), document["hint"].as_str().expect("text"));
    let told = format!("{error}\n{hint}");
    assert!(error.contains(image), "{told}");
    for part in parts {
        assert!(told.contains(part), "no `{part}` in:\n{told}");
    }
    assert_eq!(error.matches("can't pull").count(), 1, "told once: {error}");
    assert_eq!(engine::leftovers(project.name()), [], "nothing half-made");
}

#[test]
fn what_a_registry_hasnt_got_is_told() {
    let registry = Registry::open();
    let (project, image) = project_of(registry.address(), "nope");
    refused(&project, &image, &["has no such image or tag", "check the name and the tag", "take `image:` out of"]);
    registry.push(&repository(&project), "1", NATIVE, 1);
    refused(&project, &image, &["has no such image or tag"]);

    let (elsewhere, image) = project_of("127.0.0.1:1", "1");
    refused(&elsewhere, &image, &["127.0.0.1:1 can't be reached by the Engine", "connection refused", "proxy"]);
}

#[test]
fn a_registry_that_says_nothing_is_given_up_on() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let (project, image) = project_of(&silent.local_addr().expect("bound").to_string(), "1");
    refused(&project, &image, &["can't be reached by the Engine", "nothing was heard of it for 20 s"]);
}

#[test]
fn an_image_for_other_machines_is_refused() {
    let registry = Registry::open();
    let (project, image) = project_of(registry.address(), "list");
    let pushed = registry.push(&repository(&project), "single", FOREIGN, 1);
    registry.push_list(&repository(&project), "list", &pushed, FOREIGN);
    refused(&project, &image, &["for other machines only", "architecture"]);

    // One without a list comes all the same, and goes again.
    let (project, image) = project_of(registry.address(), "single");
    registry.push(&repository(&project), "single", FOREIGN, 1);
    let output = project.powerdev(["daemon", "--json"]).run().code(4).json();
    let error = output["error"].as_str().expect("text");
    assert!(error.contains(&format!("the image {image} is for {FOREIGN}")), "{error}");
    assert_eq!(engine::leftovers(project.name()), []);
}

#[test]
fn a_newer_image_that_cant_run_doesnt_replace_the_one_here() {
    let registry = Registry::open();
    let (project, image) = project_of(registry.address(), "1");
    registry.push(&repository(&project), "1", NATIVE, 1);
    project.powerdev(["build"]).run().ok();
    let before = engine::image_id(&image);
    registry.push(&repository(&project), "1", FOREIGN, 1);
    project.powerdev(["build", "--pull"]).run().code(4);
    assert_eq!(engine::image_id(&image), before);
}

#[test]
fn a_damaged_layer_is_told() {
    let registry = Registry::open();
    let (project, image) = project_of(registry.address(), "1");
    let pushed = registry.push(&repository(&project), "1", NATIVE, MEGABYTE);
    registry.damage(&pushed.layer);
    refused(&project, &image, &["isn't what it announced", "try again"]);
}

#[test]
fn a_download_that_breaks_off_goes_on() {
    let registry = Registry::open();
    let relay = Relay::to(registry.address(), Fault::CutOnce(4 * MEGABYTE));
    let (project, image) = project_of(relay.address(), "1");
    registry.push(&repository(&project), "1", NATIVE, 8 * MEGABYTE);
    let said = project.powerdev(["build"]).run().ok().err();
    assert!(said.contains("the download broke off; the Engine tries again"), "{said}");
    assert!(said.contains(&format!("pulled {image}")), "{said}");
}

#[test]
fn a_download_that_always_breaks_off_is_given_up() {
    let registry = Registry::open();
    let relay = Relay::to(registry.address(), Fault::Cut(64 << 10));
    let (project, image) = project_of(relay.address(), "1");
    registry.push(&repository(&project), "1", NATIVE, 8 * MEGABYTE);
    refused(&project, &image, &["broke off", "try again"]);
}

#[test]
fn ctrl_c_calls_a_pull_off() {
    let registry = Registry::open();
    let relay = Relay::to(registry.address(), Fault::Stall(MEGABYTE));
    let (project, _) = project_of(relay.address(), "1");
    registry.push(&repository(&project), "1", NATIVE, 8 * MEGABYTE);
    let mut terminal = project.powerdev(["up"]).terminal(24, 160);
    terminal.expect("of 2 layers");
    terminal.signal(Signal::INT);
    terminal.expect("the pull was called off");
    assert_eq!(terminal.wait().0, 130);
    wait::until("nothing is left", Duration::from_secs(20), || {
        engine::leftovers(project.name()).is_empty().then_some(())
    });
}

#[test]
fn ctrl_c_after_a_pull_ends_the_waiting_and_leaves_the_environment() {
    let registry = Registry::open();
    let (project, _) = project_of(registry.address(), "1");
    registry.push(&repository(&project), "1", NATIVE, 1);
    let yaml = project.read("powerdev.yaml") + "    ready: { log: never said }\n";
    project.write("powerdev.yaml", yaml);
    let mut terminal = project.powerdev(["up"]).terminal(24, 160);
    terminal.expect("Created and started");
    terminal.expect("one");
    terminal.signal(Signal::INT);
    terminal.expect("waiting was called off");
    assert_eq!(terminal.wait().0, 130);
    assert!(engine::is_running(&project.container()));
}
