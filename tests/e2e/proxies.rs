//! A proxy reaches builds and what runs inside, and its password nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::common::{Output, Project, Server, engine, run_id};

const CANARY: &str = "canary-77e0c2";

/// A proxy that containers reach, and its address with a password.
fn proxy() -> (Server, String) {
    let proxy = Server::answering(&engine::gateway(), "came through the proxy");
    let url = format!("http://me:{CANARY}@{}", proxy.address());
    (proxy, url)
}

/// A project with a Dockerfile of its own, on the tiny image.
fn project(instructions: &str) -> Project {
    let project = Project::bare();
    project.write("powerdev.yaml", format!("base_image: {}\n", engine::tiny_image()));
    project.write("Dockerfile", format!("ARG BASE_IMAGE\nFROM ${{BASE_IMAGE}} AS core\n{instructions}"));
    project
}

fn docker_config(project: &Project, config: &serde_json::Value) {
    let folder = project.home().join(".docker");
    std::fs::create_dir_all(&folder).expect("ours");
    std::fs::write(folder.join("config.json"), config.to_string()).expect("ours");
}

/// A step that fetches through the proxy: whoever answers for that name is it. BuildKit runs steps that are alike once,
/// whoever builds: `what` tells them apart.
fn fetch(what: &str) -> String {
    let url = format!("http://only.behind.the.proxy.invalid/{}-{what}", run_id());
    format!("RUN wget -O /fetched {url} && grep came /fetched\n")
}

fn build(project: &Project, flags: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut run = project.powerdev([&["build", "--json"], flags].concat());
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"] {
        run = run.env_remove(name);
    }
    for (name, value) in variables {
        run = run.env(name, value);
    }
    hushed(run.run())
}

/// Demands that the password isn't told.
fn hushed(output: Output) -> Output {
    let told = format!("{}{}", output.err(), output.out());
    assert!(!told.contains(CANARY), "{told}");
    output
}

#[test]
fn a_build_fetches_through_the_proxy_and_leaves_no_trace_of_it() {
    let look = "RUN env | grep -ci 'proxy=' > /seen; env | grep -i proxy; test $(cat /seen) -ge 4\n";
    let (proxy, url) = proxy();
    let project = project(&format!("{}{look}", fetch("one")));
    let variables = [("HTTP_PROXY", url.as_str()), ("NO_PROXY", "localhost")];
    let built = build(&project, &["--no-cache"], &variables).ok().json();
    let asked = proxy.asked().join("\n");
    assert!(asked.contains("GET http://only.behind.the.proxy.invalid/"), "{asked}");
    let sent = format!("Proxy-Authorization: Basic {}", STANDARD.encode(format!("me:{CANARY}")));
    assert!(asked.contains(&sent), "{asked}");
    let image = built["image"].as_str().expect("a tag");
    for told in [engine::history(image), inspect(image)] {
        assert!(!told.contains(CANARY) && !told.contains(proxy.address()), "{told}");
    }
    // Another proxy, or none, is the same image: it comes from the hash, and from BuildKit's cache.
    let variables = [("https_proxy", "http://other:3128")];
    assert_eq!(build(&project, &[], &variables).ok().json()["up_to_date"], true);
    let forced = build(&project, &["--force"], &variables).ok();
    assert!(forced.err().contains("taken from the build cache"), "{}", forced.err());
    assert_eq!(proxy.asked().len(), 1, "nothing was fetched again");
}

fn inspect(image: &str) -> String {
    let output = std::process::Command::new("docker").args(["inspect", image]).output().expect("the docker CLI runs");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_step_that_prints_the_proxy_shows_no_password() {
    let (_, url) = proxy();
    let project = project("RUN echo to $http_proxy; exit 3\n");
    let output = build(&project, &["--no-cache"], &[("http_proxy", &url)]).code(7);
    assert!(output.err().contains("| to http://***@"), "{}", output.err());
}

#[test]
fn a_declared_argument_gets_no_password() {
    let (proxy, url) = proxy();
    let project = project("ARG HTTP_PROXY\nRUN echo \"<$HTTP_PROXY>\" > /seen\n");
    let output = build(&project, &[], &[("HTTP_PROXY", &url)]).ok();
    assert!(output.err().contains("declares ARG HTTP_PROXY"), "{}", output.err());
    let history = engine::history(output.json()["image"].as_str().expect("a tag"));
    assert!(!history.contains(CANARY) && !history.contains(proxy.address()), "{history}");
}

#[test]
fn the_docker_clis_proxies_reach_builds_and_what_runs_inside() {
    let (proxy, url) = proxy();
    let fetched = project(&fetch("two"));
    let config = json!({"proxies": {"default": {"httpProxy": url, "noProxy": "localhost,.corp"}}});
    docker_config(&fetched, &config);
    let built = build(&fetched, &["--no-cache"], &[]).ok().json();
    assert_eq!(proxy.asked().len(), 1);
    assert!(!engine::history(built["image"].as_str().expect("a tag")).contains(CANARY));

    // The project's own file says it closer.
    let own = project(&fetch("three"));
    docker_config(&own, &json!({"proxies": {"default": {"httpProxy": "http://nowhere.invalid:1"}}}));
    own.env_file(&format!("http_proxy={url}\n"));
    build(&own, &["--no-cache"], &[]).ok();
    assert_eq!(proxy.asked().len(), 2);

    let runs = Project::new("one:\n  command: exec sleep 1000000\n");
    docker_config(&runs, &config);
    hushed(runs.powerdev(["daemon", "--json"]).run().ok());
    for (name, value) in [("HTTP_PROXY", url.as_str()), ("http_proxy", &url), ("no_proxy", "localhost,.corp")] {
        assert_eq!(runs.powerdev(["exec", "--", "sh", "-c", &format!("echo ${name}")]).run().ok().out().trim(), value);
    }
    let inspected = engine::inspect(&runs.container()).expect("it is there").to_string();
    assert!(!inspected.contains(CANARY) && !inspected.contains("HTTP_PROXY"), "{inspected}");
    for command in ["config", "status", "doctor"] {
        hushed(runs.powerdev([command, "--json"]).run().ok());
    }
}
