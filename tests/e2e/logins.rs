//! Logins as the docker CLI keeps them, at a registry that wants one; and no word of them anywhere.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::common::registry::NATIVE;
use crate::common::{Output, Project, Registry, SecondEngine, Server, engine};

const USER: &str = "somebody";
/// In the usual alphabet its base64 has a `+` and a `/`, which Engines don't take.
const CANARY: &str = "canary-ÿ?~>ÿ?~>ÿ?~>-4d1f";

/// A private registry, and a project that runs an image of it.
fn private() -> (Registry, Project, String) {
    let registry = Registry::private(USER, CANARY);
    let project = Project::bare();
    let repository = format!("{}/image", project.name());
    registry.push(&repository, "1", NATIVE, 1);
    let image = format!("{}/{repository}:1", registry.address());
    project.write("powerdev.yaml", format!("image: {image}\nservices:\n  one:\n    command: exec sleep 1000000\n"));
    (registry, project, image)
}

fn docker_config(project: &Project, config: &Value) {
    let folder = project.home().join(".docker");
    std::fs::create_dir_all(&folder).expect("ours");
    std::fs::write(folder.join("config.json"), config.to_string()).expect("ours");
}

/// A credential helper, on the PATH of what is run with [`path`].
fn helper(project: &Project, name: &str, script: &str) {
    let program = project.dir().join("bin").join(format!("docker-credential-{name}"));
    // Written by another process: a file that is open for writing in any fork of this one can't be run.
    let write = "mkdir -p \"${0%/*}\" && printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\"";
    let wrote = Command::new("sh").args(["-c", write]).arg(&program).arg(script).status().expect("sh runs");
    assert!(wrote.success());
}

fn path(project: &Project) -> String {
    format!("{}:{}", project.dir().join("bin").display(), std::env::var("PATH").expect("there is one"))
}

/// Demands that no word of the login is told.
fn hushed(output: Output) -> Output {
    let told = format!("{}{}", output.err(), output.out());
    let encoded = STANDARD.encode(format!("{USER}:{CANARY}"));
    for secret in [CANARY, "4d1f", &encoded, USER] {
        assert!(!told.contains(secret), "{told}");
    }
    output
}

fn pull(project: &Project) -> Output {
    hushed(project.powerdev(["build", "--json"]).env("PATH", path(project)).run())
}

#[test]
fn without_a_login_or_with_a_wrong_one_it_says_how_to_log_in() {
    let (registry, project, image) = private();
    let login = format!("`docker login {}`", registry.address());
    let demand = |output: Output| {
        let document = output.code(4).json();
        let error = document["error"].as_str().expect("text");
        assert!(error.contains(&image) && error.contains("wants a login"), "{error}");
        assert!(document["hint"].as_str().expect("text").contains(&login), "{document}");
        assert_eq!(engine::leftovers(project.name()), [], "nothing half-made");
    };
    demand(pull(&project));
    let wrong = STANDARD.encode(format!("{USER}:{CANARY}x"));
    docker_config(&project, &json!({"auths": {registry.address(): {"auth": wrong}}}));
    demand(pull(&project));
}

#[test]
fn the_configurations_own_login_is_used() {
    let (registry, project, _) = private();
    let auth = STANDARD.encode(format!("{USER}:{CANARY}"));
    let config = json!({"auths": {registry.address(): {"auth": auth}}});
    docker_config(&project, &config);
    pull(&project).ok();
    hushed(project.powerdev(["daemon", "--json"]).run().ok());
    for command in ["config", "status", "doctor"] {
        hushed(project.powerdev([command, "--json"]).run().ok());
    }
    let inspected = engine::inspect(&project.container()).expect("it is there").to_string();
    assert!(!inspected.contains("4d1f"), "{inspected}");

    // And from where DOCKER_CONFIG says.
    let (registry, project, _) = private();
    let config =
        json!({"auths": {format!("http://{}/v2/", registry.address()): {"username": USER, "password": CANARY}}});
    project.write("elsewhere/config.json", config.to_string());
    let elsewhere = project.dir().join("elsewhere");
    hushed(project.powerdev(["build"]).env("DOCKER_CONFIG", elsewhere).run().ok());
}

#[test]
fn helpers_are_asked() {
    let answer = format!(r#"printf '{{"Username":"{USER}","Secret":"{CANARY}"}}'"#);
    let (registry, project, _) = private();
    let check = format!(r#"test "$1 $(cat)" = "get {}" || exit 3"#, registry.address());
    helper(&project, "one", &format!("{check}\n{answer}"));
    helper(&project, "all", "echo wrong; exit 1");
    docker_config(&project, &json!({"credsStore": "all", "credHelpers": {registry.address(): "one"}}));
    pull(&project).ok();

    let (_registry, project, _) = private();
    helper(&project, "all", &answer);
    docker_config(&project, &json!({"credsStore": "all"}));
    pull(&project).ok();
}

#[test]
fn a_helper_that_fails_is_told_and_doesnt_stop_what_needs_none() {
    let (_registry, project, image) = private();
    helper(&project, "broken", &format!("echo {CANARY}; echo {CANARY} >&2; exit 1"));
    docker_config(&project, &json!({"credsStore": "broken"}));
    let output = pull(&project).code(4);
    assert!(output.err().contains("docker-credential-broken can't tell the login"), "{}", output.err());
    let hint = output.json()["hint"].as_str().expect("text").to_owned();
    assert!(hint.contains("| docker-credential-broken get`"), "{hint}");
    assert_eq!(engine::image_id(&image), None);

    let open = Registry::open();
    open.push(&format!("{}/open", project.name()), "1", NATIVE, 1);
    project.write("powerdev.yaml", format!("image: {}/{}/open:1\n", open.address(), project.name()));
    docker_config(&project, &json!({"credsStore": "nowhere"}));
    let output = pull(&project).ok();
    assert!(output.err().contains("can't run docker-credential-nowhere"), "{}", output.err());
}

#[test]
fn an_identity_token_is_traded_in() {
    let tokens =
        Server::answering_posts("127.0.0.1", r#"{"access_token": "given", "token": "given", "expires_in": 300}"#);
    let registry = Registry::with_tokens(&format!("http://{}/token", tokens.address()));
    let project = Project::bare();
    let repository = format!("{}/image", project.name());
    registry.push(&repository, "1", NATIVE, 1);
    project.write("powerdev.yaml", format!("image: {}/{repository}:1\n", registry.address()));
    let auth = STANDARD.encode("00000000-0000-0000-0000-000000000000:");
    docker_config(&project, &json!({"auths": {registry.address(): {"auth": auth, "identitytoken": "refresh-4d1f"}}}));
    pull(&project).ok();
    let traded = |asked: &[String]| {
        let traded = |request: &String| {
            request.contains("grant_type=refresh_token") && request.contains("refresh_token=refresh-4d1f")
        };
        assert!(asked.iter().any(traded), "{asked:?}");
    };
    let by_the_engine = tokens.asked();
    traded(&by_the_engine);

    registry.push(&repository, "2", NATIVE, 1);
    project.write("powerdev.yaml", "");
    project.write("Dockerfile", format!("FROM {}/{repository}:2 AS core\nRUN wc -c /noise\n", registry.address()));
    pull(&project).ok();
    traded(&tokens.asked()[by_the_engine.len()..]);
}

#[test]
fn a_build_pulls_with_the_login() {
    let (registry, project, image) = private();
    project.write("powerdev.yaml", "");
    project.write("Dockerfile", format!("FROM {image} AS core\nRUN wc -c /noise\n"));
    let refused = hushed(project.powerdev(["build", "--json"]).run().code(7)).json();
    let hint = refused["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("docker login"), "{refused}");

    let auth = STANDARD.encode(format!("{USER}:{CANARY}"));
    docker_config(&project, &json!({"auths": {registry.address(): {"auth": auth}}}));
    let built = hushed(project.powerdev(["build", "--json"]).run().ok()).json();
    let history = engine::history(built["image"].as_str().expect("a tag"));
    assert!(!history.contains("4d1f"), "{history}");
}

#[test]
fn the_doctor_tells_which_registry_and_which_login() {
    let (registry, project, image) = private();
    let check = || {
        let document = hushed(project.powerdev(["doctor", "--json"]).env("PATH", path(&project)).run()).json();
        let checks = document["checks"].as_array().expect("a list").clone();
        checks.into_iter().find(|check| check["name"] == "registry").expect("it is looked at")
    };
    let said = |check: &Value| check["detail"].as_str().expect("text").to_owned();
    let found = check();
    assert!(said(&found).contains(&format!("{} for {image}; no login", registry.address())), "{found}");

    let auth = STANDARD.encode(format!("{USER}:{CANARY}"));
    docker_config(&project, &json!({"auths": {registry.address(): {"auth": auth}}}));
    let found = check();
    assert_eq!(found["verdict"], "ok");
    assert!(said(&found).contains("login in") && said(&found).contains("config.json"), "{found}");

    docker_config(&project, &json!({"credsStore": "nowhere"}));
    let found = check();
    assert_eq!(found["verdict"], "warn");
    assert!(found["fix"].as_str().is_some_and(|fix| fix.contains("credsStore")), "{found}");
    helper(&project, "nowhere", "exit 1");
    assert_eq!(check()["verdict"], "ok");
}

#[test]
fn the_doctor_tells_the_engines_mirrors_and_proxies_and_no_password() {
    let proxy = format!("http://{USER}:{CANARY}@proxy.invalid:3128");
    let engine = SecondEngine::start_with(&["--registry-mirror=https://mirror.invalid"], &[("HTTPS_PROXY", &proxy)]);
    let project = Project::bare();
    let doctor = |host: &str| {
        let run = project.powerdev(["doctor", "--json"]).env("DOCKER_HOST", host).env("HTTPS_PROXY", &proxy).run();
        let document = hushed(run).json();
        let checks = document["checks"].as_array().expect("a list").clone();
        checks.into_iter().find(|check| check["name"] == "registry").expect("it is looked at")
    };
    let found = doctor(&engine.host());
    let detail = found["detail"].as_str().expect("text");
    for part in ["docker.io for debian:trixie-slim", "mirrors: https://mirror.invalid/", "@proxy.invalid:3128"] {
        assert!(detail.contains(part), "{detail}");
    }
    assert_eq!(found["verdict"], "ok");

    // One that has no proxy where this machine needs one won't pull.
    let found = doctor(&SecondEngine::start().host());
    assert_eq!(found["verdict"], "warn", "{found}");
    assert!(found["fix"].as_str().is_some_and(|fix| fix.contains("daemon.json")), "{found}");
}
