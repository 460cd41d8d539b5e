//! `powerdev build`, with Dockerfiles that take a second.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{Output, Project, engine, wait};

const SOON: Duration = Duration::from_secs(20);

/// A project with a Dockerfile of its own, on the tiny image.
fn project(instructions: &str) -> Project {
    let project = Project::bare();
    project.write("powerdev.yaml", format!("base_image: {}\n", engine::tiny_image()));
    project.write("Dockerfile", format!("ARG BASE_IMAGE\nFROM ${{BASE_IMAGE}} AS core\n{instructions}"));
    project
}

fn build(project: &Project, flags: &[&str]) -> Output {
    project.powerdev([&["build", "--json"], flags].concat()).run()
}

/// What this command prints in an image, on a container that is gone afterwards.
fn in_image(project: &Project, image: &str, command: &str) -> String {
    let name = format!("powerdev-{}-look", project.name());
    let output = std::process::Command::new("docker")
        .args(["run", "--rm", "--network", "none", "--name", &name, image, "sh", "-c", command])
        .output()
        .expect("the docker CLI runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn an_unchanged_build_answers_at_once_and_a_change_builds() {
    let project = project("COPY . /context\nRUN find /context | sort > /list\n");
    project.write(".dockerignore", "target\n!target/keep\n");
    project.write("target/huge", "no");
    project.write("target/keep", "yes");
    project.env_file("TOKEN=hush\n");
    let first = build(&project, &[]).ok().json();
    assert_eq!(first["up_to_date"], false);
    let image = first["image"].as_str().expect("a tag").to_owned();
    let list = in_image(&project, &image, "cat /list");
    assert!(list.contains("/context/target/keep\n"), "{list}");
    assert!(!list.contains("huge") && !list.contains(".env") && !list.contains(".crt"), "{list}");

    let again = build(&project, &[]).ok().json();
    assert_eq!((&again["up_to_date"], &again["id"]), (&true.into(), &first["id"]));
    project.write("target/huge", "still no");
    assert_eq!(build(&project, &[]).ok().json()["up_to_date"], true, "what is left out changes nothing");
    assert_eq!(build(&project, &["--force"]).ok().json()["up_to_date"], false);

    project.write("target/keep", "changed");
    let changed = build(&project, &[]).ok().json();
    assert_eq!(changed["up_to_date"], false);
    assert_ne!(changed["image"], first["image"]);
}

#[test]
fn what_is_private_is_in_no_build_unless_put_back() {
    let project = project("COPY . /context\nRUN cd /context && find . -type f | sort > /list\n");
    project.env_file("TOKEN=hush\n");
    project.write("other.env", "TOKEN=hush\n");
    project.write(".agent-mount/docker_logs/idle.log", "one\n");
    let with = |arguments: &[&str]| project.powerdev([&["build", "--json"], arguments].concat()).run().ok().json();
    let list = |built: &Value| in_image(&project, built["image"].as_str().expect("a tag"), "cat /list");
    let built = with(&[]);
    assert_eq!(list(&built), "./Dockerfile\n./other.env\n./powerdev.yaml\n");
    project.write(".agent-mount/docker_logs/idle.log", "one\ntwo\n");
    assert_eq!(with(&[])["up_to_date"], true, "what the environment writes changes nothing");
    assert_eq!(list(&with(&["--env-file", "other.env"])), "./Dockerfile\n./powerdev.yaml\n");
    project.write(".dockerignore", "!.env\n");
    assert!(list(&with(&[])).contains("./.env\n"));
}

#[test]
fn a_failure_tells_step_line_and_last_words() {
    let project = project("ENV A=b\nRUN echo first && \\\n  for n in 1 2 3; do echo line $n; done && \\\n  exit 3\n");
    let output = project.powerdev(["build"]).run().code(7);
    let said = output.err();
    for part in ["exit code: 3", "Dockerfile:4: RUN echo first &&", "  | line 1", "  | line 3"] {
        assert!(said.contains(part), "no `{part}` in:\n{said}");
    }
    let document = build(&project, &[]).code(7).json();
    assert_eq!(document["code"], 7);
    assert!(document["error"].as_str().is_some_and(|error| error.contains("| line 3")), "{document}");
}

#[test]
fn a_secret_reaches_the_build_and_nothing_else() {
    let canary = "canary-5f2c9e1b";
    let project = project(
        "RUN --mount=type=secret,id=GITHUB_TOKEN wc -c < /run/secrets/GITHUB_TOKEN > /length\n\
         RUN test ! -e /run/secrets/GITHUB_TOKEN\n",
    );
    project.env_file(&format!("GITHUB_TOKEN={canary}\n"));
    let output = build(&project, &[]).ok();
    let document = output.json();
    let image = document["image"].as_str().expect("a tag");
    assert_eq!(in_image(&project, image, "cat /length").trim(), canary.len().to_string());
    for arguments in [["history", "--no-trunc", image], ["inspect", "--type=image", image]] {
        let told = std::process::Command::new("docker").args(arguments).output().expect("the docker CLI runs");
        assert!(told.status.success());
        assert!(!String::from_utf8_lossy(&told.stdout).contains(canary));
    }
    assert!(!output.out().contains(canary) && !output.err().contains(canary));
}

/// Whoever wrote it could keep the logins in a layer, or send them somewhere.
#[test]
fn a_projects_dockerfile_gets_no_logins_of_the_user() {
    let canary = "canary-7b1d44e0";
    let project =
        project("RUN --mount=type=secret,id=npmrc --mount=type=secret,id=PIP_INDEX_URL ls /run/secrets > /list\n");
    let login = format!("registry=http://127.0.0.1:1/\n//127.0.0.1:1/:_authToken={canary}\n");
    std::fs::write(project.home().join(".npmrc"), login).expect("written");
    project.env_file("PIP_INDEX_URL=http://127.0.0.1:1/simple\n");
    let built = build(&project, &[]).ok().json();
    assert_eq!(in_image(&project, built["image"].as_str().expect("a tag"), "cat /list"), "PIP_INDEX_URL\n");
}

#[test]
fn progress_is_plain_in_a_pipe_and_live_on_a_terminal() {
    let steps = "RUN echo one\nRUN echo two\n";
    let piped = project(steps);
    let said = piped.powerdev(["build", "--no-cache"]).run().ok().err();
    assert!(said.contains("done [2/3] RUN echo one"), "{said}");
    assert!(!said.contains('\u{1b}'), "no control codes in a pipe:\n{said}");

    let live = project(steps);
    let mut terminal = live.powerdev(["build", "--no-cache"]).terminal(24, 100);
    terminal.expect("RUN echo one");
    terminal.expect("is ready");
    assert_eq!(terminal.wait().0, 0);
}

#[test]
fn ctrl_c_calls_the_build_off() {
    let project = project("");
    let marker = format!("sleep {}", 1_000_000 + std::process::id());
    project.write("Dockerfile", format!("ARG BASE_IMAGE\nFROM $BASE_IMAGE AS core\nRUN {marker} && true\n"));
    let mut terminal = project.powerdev(["build"]).terminal(24, 100);
    terminal.expect(&marker);
    wait::until("the step runs", SOON, || runs(&marker).then_some(()));
    terminal.signal(Signal::INT);
    terminal.expect("called off");
    assert_eq!(terminal.wait().0, 130);
    wait::until("the Engine ends the step", SOON, || (!runs(&marker)).then_some(()));
}

/// Whether any process of this machine has this in its command line. The Engine's builds run here.
fn runs(command: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("a Linux machine").filter_map(Result::ok);
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).any(|line| line.starts_with(command))
}

#[test]
fn what_cannot_be_built_is_told() {
    let full = Project::bare();
    let said = full.powerdev(["build", "--profile", "full"]).run().code(2).err();
    assert!(said.contains("`full` is not in this release"), "{said}");

    let nowhere = Project::bare();
    let said = nowhere.powerdev(["build", "--base", "localhost:1/nowhere:1"]).run().code(7).err();
    assert!(said.contains("can't pull the image localhost:1/nowhere:1"), "{said}");

    let broken = project("NOSUCH instruction\n");
    let said = broken.powerdev(["build"]).run().code(7).err();
    assert!(said.to_lowercase().contains("unknown instruction: nosuch"), "{said}");
}
