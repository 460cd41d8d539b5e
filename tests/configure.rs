//! `config`, `init` and `man`, as the real binary.

mod common;

use std::os::unix::fs::PermissionsExt;

use common::Project;
use serde_json::Value;

fn mode(project: &Project, file: &str) -> u32 {
    let path = project.dir().join(file);
    path.metadata().unwrap_or_else(|error| panic!("{file}: {error}")).permissions().mode() & 0o777
}

fn setting<'a>(document: &'a Value, name: &str) -> &'a Value {
    let settings = document["settings"].as_array().expect("settings are a list");
    settings.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name} in {document}"))
}

#[test]
fn config_shows_each_value_with_its_origin_and_no_secret() {
    let project = Project::bare();
    project.write("powerdev.yaml", "image: example.invalid/none:1\npids: 500\n");
    project.env_file("DOCKER_SHM=2g\nMY_KEY=canary-canary\n");
    let run = || project.powerdev(["config", "--json"]).env("POWERDEV_GPU", "none");
    let document = run().run().ok().json();
    assert_eq!(document["name"], project.name());
    assert_eq!(setting(&document, "DOCKER_PIDS")["origin"]["from"], "yaml");
    assert_eq!(setting(&document, "DOCKER_PIDS")["origin"]["line"], 2);
    assert_eq!(setting(&document, "DOCKER_SHM")["origin"]["line"], 1);
    assert_eq!(setting(&document, "GPU")["origin"]["variable"], "POWERDEV_GPU");
    assert_eq!(setting(&document, "DOCKER_CPUS")["origin"]["from"], "detected");
    assert_eq!(setting(&document, "MY_KEY")["value"], "<redacted, 13 characters>");
    let table = project.powerdev(["config"]).run().ok();
    assert!(table.out().contains("powerdev.yaml:2") && table.out().contains(".env:1"), "{}", table.out());
    assert!(!document.to_string().contains("canary") && !table.out().contains("canary"));
}

#[test]
fn wrong_settings_end_with_code_2_before_anything_is_made() {
    let project = Project::bare();
    project.env_file("DOCKER_CPU=4\n");
    // No Engine is asked: none is there to be asked.
    let nowhere = format!("unix://{}/none.sock", project.home().display());
    for command in ["config", "up", "start", "daemon", "build"] {
        let output = project.powerdev([command]).env("DOCKER_HOST", &nowhere).run().code(2);
        let told = output.err();
        assert!(
            told.contains(".env:1: unknown setting DOCKER_CPU") && told.contains("DOCKER_CPUS"),
            "{command}: {told}"
        );
    }
    assert!(!project.dir().join(".agent-mount").exists());
    let document = project.powerdev(["config", "--json"]).run().code(2).json();
    assert_eq!(document["code"], 2);
}

#[test]
fn the_schema_describes_what_init_writes() {
    let project = Project::bare();
    let schema: Value = serde_json::from_str(project.powerdev(["config", "--schema"]).run().ok().out()).expect("JSON");
    project.powerdev(["init"]).run().ok();
    let known = schema["properties"].as_object().expect("an object has properties");
    let template = project.read("powerdev.yaml");
    for key in known.keys() {
        assert!(template.contains(&format!("\n#{key}:")), "{key} isn't in the template");
    }
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn init_writes_once_and_keeps_secrets_to_the_owner() {
    let project = Project::bare();
    std::fs::create_dir(project.dir().join(".git")).expect("writable");
    project.write(".gitignore", "target");
    let first = project.powerdev(["init", "--json"]).run().ok().json();
    assert_eq!(first["written"], serde_json::json!([".env", "powerdev.yaml", ".gitignore"]));
    assert_eq!(mode(&project, ".env"), 0o600);
    assert_eq!(project.read(".gitignore"), "target\n/.env\n/.agent-mount\n");
    assert!(project.dir().join(".agent-mount/docker_workspace").is_dir());
    project.powerdev(["config"]).run().ok();

    project.env_file("MINE=1\n");
    let second = project.powerdev(["init", "--json"]).run().ok().json();
    assert_eq!(second["kept"], serde_json::json!([".env", "powerdev.yaml"]));
    assert_eq!(project.read(".env"), "MINE=1\n");
    assert_eq!(project.read(".gitignore"), "target\n/.env\n/.agent-mount\n");

    project.powerdev(["init", "--force", "--security", "strict"]).run().ok();
    assert!(project.read(".env").contains("ANTHROPIC_API_KEY="));
    let document = project.powerdev(["config", "--json"]).run().ok().json();
    assert_eq!(setting(&document, "SECURITY")["value"], "strict");
}

#[test]
fn init_asks_on_a_terminal() {
    let project = Project::bare();
    let outside = project.home().join("it's here");
    let folder = project.home().join("here");
    std::fs::create_dir(&outside).expect("writable");
    std::fs::create_dir(&folder).expect("writable");
    let mut terminal = project.powerdev(["init"]).env("TERM", "xterm").terminal(24, 100);
    terminal.expect("Which image?");
    terminal.send("\x1b[B\r");
    terminal.expect("How closed");
    terminal.send("\r");
    terminal.expect("/workspace/ext");
    terminal.send(format!("{}\r", folder.display()));
    let (code, screen) = terminal.wait();
    assert_eq!(code, 0, "{screen}");
    let document = project.powerdev(["config", "--json"]).run().ok().json();
    assert_eq!(setting(&document, "PROFILE")["value"], "full");
    assert_eq!(setting(&document, "SECURITY")["value"], "dev");
    assert_eq!(setting(&document, "EXTERNAL_DIR")["value"], folder.to_str().expect("ASCII"));
    let refused = project.powerdev(["init", "--force", "--external-dir", "../home/it's here"]).run().code(2);
    assert!(refused.err().contains("quote"), "{}", refused.err());
}

#[test]
fn the_manual_has_commands_settings_and_exit_codes() {
    let project = Project::bare();
    let page = project.powerdev(["man"]).run().ok();
    for part in [".TH POWERDEV 1", "EXIT STATUS", "SETTINGS", "DOCKER_MEMORY", "FILES"] {
        assert!(page.out().contains(part), "{part}");
    }
    let one = project.powerdev(["man", "init"]).run().ok();
    assert!(one.out().contains(".TH POWERDEV-INIT 1") && one.out().contains("EXIT STATUS"), "{}", one.out());
    let wrong = project.powerdev(["man", "confg"]).run().code(2);
    assert!(wrong.err().contains("did you mean `config`?"), "{}", wrong.err());
}

/// Makes something of that kind at a path, in the place of a file.
fn plant(kind: &str, path: &std::path::Path) {
    std::fs::remove_file(path).ok();
    let link = |target: &str| std::os::unix::fs::symlink(target, path).expect("writable");
    match kind {
        "folder" => std::fs::create_dir(path).expect("writable"),
        "pipe" => assert!(std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success()),
        "device" => link("/dev/zero"),
        "link to nothing" => link("nowhere"),
        "circle" => link(path.file_name().and_then(|name| name.to_str()).expect("plain")),
        _ => std::fs::File::create(path).and_then(|file| file.set_len(50 << 20)).expect("writable"),
    }
}

#[test]
fn what_is_no_file_of_sensible_size_is_told_and_never_waited_for() {
    const SOON: std::time::Duration = std::time::Duration::from_secs(20);
    for kind in ["folder", "pipe", "device", "link to nothing", "circle", "50 MB"] {
        for file in ["powerdev.yaml", ".env", "other.env", ".docker/config.json"] {
            let project = Project::bare();
            let at = if file.starts_with(".docker") { project.home() } else { project.dir() }.join(file);
            std::fs::create_dir_all(at.parent().expect("below")).expect("writable");
            plant(kind, &at);
            let mut command = vec!["config"];
            match file {
                "other.env" => command.extend(["--env-file", "other.env"]),
                ".docker/config.json" => command = vec!["status"],
                _ => {}
            }
            let run = project.untrusted(command).env_remove("DOCKER_HOST").deadline(SOON).run().code(2);
            let said = run.err();
            assert!(said.contains("can't read ") && said.contains(file), "{file}, a {kind}: {said}");
            assert!(said.contains("hint:"), "{file}, a {kind}: {said}");
        }
    }
}

#[test]
fn a_secret_that_was_joined_to_another_line_is_never_shown() {
    for line in [
        "GPU=noneOPENAI_API_KEY=sk-hush",
        "NODE_ENV=developmentMY_KEY=sk-hush",
        "NODE_ENV=MY_KEY=sk-hush",
        "DOCKER_MEMORY=16gHF_TOKEN=sk-hush",
        "CLAUDE_CODE_FLAGS=--continueHF_TOKEN=sk-hush",
        "HF_TOKEN=hf_aGITHUB_TOKEN=sk-hush",
        "POWERDEV_MEMORY=sk-hush",
        "MY-KEY=sk-hush",
    ] {
        let project = Project::bare();
        project.env_file(line);
        for command in [&["config"][..], &["config", "--json"], &["up"], &["trust", "--json"]] {
            let refused = project.powerdev(command).run().code(2);
            let said = format!("{}{}", refused.out(), refused.err());
            assert!(said.contains(".env:1: ") && !said.contains("hush"), "{line}: {said}");
        }
    }
}

#[test]
fn a_name_that_cannot_be_made_out_is_told_and_never_guessed() {
    let project = Project::bare();
    let run = |command: &[&str]| project.untrusted(command).env_remove("POWERDEV_NAME").run();
    project.env_file("POWERDEV_NAME=mine\nB=\"open\n");
    for command in [&["stop"][..], &["rm", "--force"], &["health"], &["exec", "--", "true"], &["status"]] {
        let said = run(command).code(2).err();
        assert!(said.contains(".env:2: a quote opens here and is never closed"), "{said}");
        let named = [&["--env-file", "missing.env"], command].concat();
        assert!(run(&named).code(2).err().contains("there is no missing.env"));
    }
    for file in [".env", "powerdev.yaml"] {
        let project = Project::bare();
        std::os::unix::fs::symlink("nowhere", project.dir().join(file)).expect("linked");
        let said = project.untrusted(["up"]).run().code(2).err();
        assert!(said.contains(file) && said.contains("link"), "{said}");
    }
}

#[test]
fn init_keeps_what_it_writes_anew_and_writes_through_no_link() {
    let project = Project::bare();
    std::fs::create_dir(project.dir().join(".git")).expect("made");
    project.env_file("HF_TOKEN=hf_mine\n");
    let precious = project.home().join("precious");
    std::fs::write(&precious, "mine\n").expect("written");
    std::os::unix::fs::symlink(&precious, project.dir().join(".gitignore")).expect("linked");
    std::os::unix::fs::symlink(&precious, project.dir().join("powerdev.yaml")).expect("linked");
    let kept = project.untrusted(["init", "--yes"]).run().ok();
    assert!(kept.err().contains(".gitignore is no plain file"), "{}", kept.err());
    assert_eq!(project.read(".env"), "HF_TOKEN=hf_mine\n");

    let report = project.untrusted(["init", "--force", "--yes", "--json"]).run().ok().json();
    let copies = report["copies"].as_array().expect("a list");
    let copy = copies.iter().filter_map(Value::as_str).find(|copy| copy.contains(".env.")).expect("one of .env");
    assert_eq!((project.read(copy), mode(&project, copy)), ("HF_TOKEN=hf_mine\n".to_owned(), 0o600));
    assert!(copy.starts_with(".agent-mount/"), "no build and no container sees it: {copy}");
    assert_eq!(std::fs::read_to_string(&precious).expect("there"), "mine\n", "nothing was written through a link");
}

#[test]
fn an_environment_is_found_by_the_folders_name_and_told_in_the_wrong_folder() {
    let project = Project::bare();
    let remember = |name: &str| {
        let state = project.state_home().join("powerdev").join(name);
        std::fs::create_dir_all(&state).expect("made");
        std::fs::write(state.join("project"), project.dir().display().to_string()).expect("written");
    };
    remember("shop-29ef2c");
    let elsewhere = project.home();
    let run = |command: &[&str]| project.untrusted(command).env_remove("POWERDEV_NAME").dir(&elsewhere).run();
    let found = run(&["config", "--json", "--project", "shop"]).ok().json();
    assert_eq!(found["dir"], project.dir().display().to_string());
    let told = run(&["health"]).code(4).err();
    assert!(told.contains(&format!("shop-29ef2c ({})", project.dir().display())), "{told}");
    remember("shop-29ef2d");
    run(&["config", "--project", "shop"]).code(2);
}
