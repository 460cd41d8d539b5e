//! What a project's own files ask for beyond its folder comes about only once its user has agreed to it.

use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::common::{Project, engine, root};

const IDLE: &str = "services:\n  idle: { command: sleep infinity }\n";

/// A project as it comes from somebody else: nobody has agreed to anything.
fn cloned(yaml: &str) -> Project {
    let project = Project::bare();
    project.write("powerdev.yaml", format!("name: {}\n{yaml}{IDLE}", project.name()));
    project
}

/// The lines of `powerdev trust --json` that nobody has agreed to.
fn open(project: &Project) -> Vec<String> {
    let document = project.untrusted(["trust", "--json"]).run().json();
    let wants = document["wants"].as_array().expect("a list").iter();
    let open = wants.filter(|want| want["agreed"] == false && want["active"] == true);
    let open: Vec<String> = open.map(|want| want["says"].as_str().expect("text").to_owned()).collect();
    assert_eq!(document["trusted"], open.is_empty(), "{document}");
    open
}

/// What `doctor` says of it.
fn doctors(project: &Project) -> Value {
    let mut document = project.untrusted(["doctor", "--json"]).run().json();
    let checks = document["checks"].as_array_mut().expect("a list").iter_mut();
    checks.map(Value::take).find(|check| check["name"] == "trust").expect("a check")
}

#[test]
fn a_mount_of_everything_is_shown_and_made_by_nobody() {
    for security in ["dev", "strict"] {
        let image = engine::tiny_image();
        let project = cloned(&format!("security: {security}\nimage: {image}\nmounts: ['/:/host:ro', '/etc:/conf']\n"));
        for command in [&["up"][..], &["daemon"], &["start"], &["build"], &["up", "--json"]] {
            let refused = project.untrusted(command).run().code(2);
            let said = refused.err();
            assert!(
                said.contains("mounts / at /host: everything on this machine, read-only (powerdev.yaml:4)"),
                "{said}"
            );
            assert!(said.contains("mounts /etc at /conf: files of this machine's system, writable"), "{said}");
            assert!(said.contains(&format!("runs in the image {image} (powerdev.yaml:3)")), "{said}");
            assert!(said.contains("`powerdev trust`"), "{said}");
        }
        assert_eq!(engine::leftovers(project.name()), [], "nothing was made");
        project.untrusted(["up", "--dry-run"]).run().ok();
        // Who looks or takes down needs no word of anybody.
        project.untrusted(["health"]).run().code(4);
        project.untrusted(["rm", "--force"]).run();
    }
}

#[test]
fn a_terminal_is_asked_once_and_again_for_what_is_new() {
    let project = cloned(&format!("image: {}\nmounts: ['/usr:/host:ro']\n", engine::tiny_image()));
    let mut terminal = project.untrusted(["daemon"]).terminal(40, 160);
    let shown = terminal.expect("Do you agree?");
    assert!(
        shown.contains("mounts /usr at /host: files of this machine's system, read-only (powerdev.yaml:3)"),
        "{shown}"
    );
    terminal.send("n");
    assert_eq!(terminal.wait().0, 2);
    assert_eq!(engine::leftovers(project.name()), [], "nothing was made");

    let mut terminal = project.untrusted(["daemon"]).terminal(40, 160);
    terminal.expect("Do you agree?");
    terminal.send("y");
    let (code, screen) = terminal.wait();
    assert_eq!(code, 0, "{screen}");
    // From here on nobody is asked: not without a terminal, and not after other edits.
    project.untrusted(["restart"]).run().ok();
    project.write("powerdev.yaml", project.read("powerdev.yaml") + "environment: { A: b }\n");
    project.untrusted(["up"]).run().ok();

    project.write("powerdev.yaml", project.read("powerdev.yaml").replace("'/usr:/host:ro'", "'/usr:/host'"));
    for command in [&["up", "--recreate"][..], &["restart"], &["start"]] {
        let refused = project.untrusted(command).run().code(2);
        assert!(refused.err().contains("asks for more than you agreed to: mounts /usr at /host"), "{}", refused.err());
        assert!(!refused.err().contains("runs in the image"), "only what is new: {}", refused.err());
    }
    let mut terminal = project.untrusted(["up"]).terminal(40, 160);
    let shown = terminal.expect("Do you agree?");
    assert!(shown.contains("asks for more than you agreed to") && !shown.contains("runs in"), "{shown}");
    terminal.send("y");
    assert_eq!(terminal.wait().0, 0);

    project.untrusted(["trust", "--revoke"]).run().ok();
    project.untrusted(["up"]).run().code(2);
    project.untrusted(["up", "--trust"]).run().ok();
    project.untrusted(["up"]).run().ok();
}

#[test]
fn what_the_agent_writes_into_the_project_is_asked_for() {
    let project = cloned(&format!("image: {}\nexternal_dir: .\n", engine::tiny_image()));
    project.untrusted(["trust", "--yes"]).run().ok();
    assert_eq!(doctors(&project)["verdict"], "ok");
    project.untrusted(["daemon"]).run().ok();
    let planted = "printf 'mounts: [\"/:/host\"]\\nbind_address: 0.0.0.0\\n' >> /workspace/ext/powerdev.yaml; \
                   echo 'HOME=' > /workspace/ext/.env";
    project.untrusted(["exec", "--user", "root", "--", "sh", "-c", planted]).run().ok();
    let wants = [
        "mounts / at /host: everything on this machine, writable",
        "opens its ports to whoever reaches 0.0.0.0, without a password",
        "takes HOME from your environment",
    ];
    for command in [&["up", "--recreate"][..], &["restart"]] {
        let said = project.untrusted(command).run().code(2).err();
        for part in ["asks for more than you agreed to"].iter().chain(&wants) {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    let told = doctors(&project);
    assert!(told["verdict"] == "warn" && wants.iter().all(|want| told["detail"].to_string().contains(want)), "{told}");
    assert!(told["fix"].to_string().contains("`powerdev trust`"), "{told}");
    assert!(engine::is_running(&project.container()), "what ran runs on");
}

#[test]
fn a_dockerfile_is_agreed_to_by_its_content() {
    let project = cloned(&format!("base_image: {}\n", engine::tiny_image()));
    project.untrusted(["trust", "--yes"]).run().ok();
    project.write("Dockerfile", "ARG BASE_IMAGE\nFROM ${BASE_IMAGE} AS core\nRUN echo one > /one\n");
    let says = "builds its image by its own Dockerfile, whose commands run as root in the build";
    for command in [["build"], ["up"]] {
        let refused = project.untrusted(command).run().code(2);
        assert!(refused.err().contains(says), "{}", refused.err());
    }
    assert_eq!(open(&project), [says]);
    project.untrusted(["build", "--trust"]).run().ok();
    project.write("other", "what it may copy changes all day long");
    project.untrusted(["build"]).run().ok();
    project.write("Dockerfile", project.read("Dockerfile") + "RUN echo two > /two\n");
    project.untrusted(["build"]).run().code(2);
}

#[test]
fn what_comes_from_outside_of_the_project_is_asked_for_and_what_the_caller_says_is_not() {
    let project = Project::bare();
    project.write("powerdev.yaml", format!("name: {}\n{IDLE}", project.name()));
    assert_eq!(open(&project), Vec::<String>::new(), "services alone ask for nothing");
    project.write("powerdev.yaml", format!("name: {}\nsecurity: trusted\n{IDLE}", project.name()));
    assert_eq!(open(&project), ["runs under security: trusted, where root inside can reach this machine"]);
    project.write("powerdev.yaml", format!("name: {}\n{IDLE}", project.name()));
    let image = engine::tiny_image();
    let said = project.untrusted(["build", "--base", image]).env("POWERDEV_BIND_ADDRESS", "0.0.0.0").run();
    assert!(!said.err().contains("needs your word"), "{}", said.err());

    let other = project.home().join("other.env");
    std::fs::write(&other, "TOKEN=hush\nEMPTY=\n").expect("written");
    symlink(&other, project.dir().join(".env")).expect("linked");
    let link = format!("reads {} as its .env", other.display());
    assert_eq!(open(&project), [link.as_str()], "a variable that isn't set has no effect");
    let said = project.untrusted(["up"]).env("EMPTY", "mine").run().code(2).err();
    assert!(said.contains(&link) && said.contains("takes EMPTY from your environment (.env:2)"), "{said}");
    let flag = ["trust", "--json", "--env-file", other.to_str().expect("text")];
    let named = project.untrusted(flag).env("EMPTY", "mine").run().json();
    assert_eq!(named["wants"], Value::Array(Vec::new()), "who names a file knows it");
    project.untrusted(["trust", "--yes"]).run().ok();
    assert_eq!(open(&project), Vec::<String>::new());
}

#[test]
fn what_init_writes_is_trusted_and_what_was_there_is_not() {
    let project = Project::bare();
    project.env_file("TOKEN=\n");
    project.untrusted(["init", "--yes"]).run().ok();
    let document = project.untrusted(["trust", "--json"]).env("TOKEN", "mine").run().json();
    assert_eq!((document["trusted"].as_bool(), document["wants"][0]["agreed"].as_bool()), (Some(false), Some(false)));

    let project = Project::bare();
    project.untrusted(["init", "--yes", "--external-dir", "/usr"]).run().ok();
    let exported = project.untrusted(["trust", "--json"]).env("OPENAI_API_KEY", "mine").run().ok().json();
    assert_eq!(exported["trusted"], true, "{exported}");
    assert!(exported.to_string().contains("mounts /usr at /workspace/ext"), "{exported}");
}

#[test]
fn another_users_project_is_not_found_by_walking_up_and_asked_for_by_name() {
    let project = cloned("");
    let inner = project.dir().join("mine/deep");
    std::fs::create_dir_all(&inner).expect("made");
    // As the environment does it that must not be found: a file in a parent that everybody may write.
    let yaml = project.dir().join("powerdev.yaml");
    root::shell(&format!("chown 12345 {}", yaml.display()));
    let found = project.untrusted(["config", "--json"]).env_remove("POWERDEV_NAME").dir(&inner).run().ok().json();
    assert_eq!(found["dir"], inner.display().to_string(), "another user's file is passed over");
    let says = "this file belongs to user 12345, not to you";
    assert_eq!(open(&project), [says]);
    let said = project.untrusted(["up"]).run().code(2).err();
    assert!(said.contains(says), "{said}");
    root::shell(&format!("chown 12345 {} && chown 0 {}", project.dir().display(), yaml.display()));
    let found = project.untrusted(["config", "--json"]).env_remove("POWERDEV_NAME").dir(&inner).run().ok().json();
    assert_eq!(found["dir"], inner.display().to_string(), "and so is his folder");
    root::shell(&format!("chown {} {}", rustix::process::geteuid().as_raw(), project.dir().display()));
}

#[test]
fn what_an_environment_writes_is_no_project() {
    let project = cloned("");
    let planted = ".agent-mount/docker_workspace/repo";
    project.write(format!("{planted}/powerdev.yaml"), "mounts: ['/:/host']\n");
    let dir = project.dir().join(planted);
    let refused = format!("the environment of {} writes there", project.dir().display());
    for command in [&["up"][..], &["health"], &["init", "--yes"], &["trust"]] {
        let said = project.untrusted(command).dir(&dir).run().code(2).err();
        assert!(said.contains(&refused), "{said}");
        let named = [command, &["--project", dir.to_str().expect("text")]].concat();
        assert!(project.untrusted(named).run().code(2).err().contains(&refused));
    }
    // Without a project of its own a folder there is the project's that it belongs to.
    std::fs::remove_file(dir.join("powerdev.yaml")).expect("removed");
    let found = project.untrusted(["config", "--json"]).dir(&dir).run().ok().json();
    assert_eq!(found["dir"], project.dir().display().to_string());
}
