//! The whole way from files to settings.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::settings::{DOCKER_MEMORY, GPU};
use super::*;
use crate::failure::Failure;
use crate::units::{ByteSize, Cpus};

/// A project's folder with these files.
fn project(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (file, text) in files {
        std::fs::write(dir.path().join(file), text).expect("written");
    }
    dir
}

fn load_with_environment(dir: &Path, variables: &[(&str, &str)], flags: &Overrides) -> anyhow::Result<Settings> {
    let environment =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
    load::load(dir, None, &environment, flags)
}

fn settings(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Settings {
    let dir = project(files);
    load_with_environment(dir.path(), variables, &Overrides::default()).expect("these settings are right")
}

/// The message without the folder, and the hint.
fn refusal(files: &[(&str, &str)]) -> (String, String) {
    let dir = project(files);
    let error = load_with_environment(dir.path(), &[], &Overrides::default())
        .err()
        .unwrap_or_else(|| panic!("{files:?} was taken"));
    let failure = error.downcast_ref::<Failure>().unwrap_or_else(|| panic!("no Failure: {error:#}"));
    assert_eq!(failure.code, powerdev_protocol::ExitCode::Usage, "{failure}");
    let folder = format!("{}/", dir.path().display());
    (failure.message.replace(&folder, ""), failure.hint.clone().unwrap_or_default().replace(&folder, ""))
}

fn origin<'a>(settings: &'a Settings, name: &str) -> &'a Origin {
    &settings.values.iter().find(|value| value.name == name).expect("the setting is shown").origin
}

#[test]
fn nothing_set_gives_the_defaults() {
    let settings = settings(&[], &[]);
    assert_eq!((settings.profile, settings.security), (Profile::Core, SecurityProfile::Dev));
    assert_eq!((settings.cpus, settings.memory, settings.pids), (None, None, 4096));
    assert_eq!(settings.bind_address, IpAddr::V4(Ipv4Addr::LOCALHOST));
    assert_eq!(settings.environment.get("LOG_LEVEL").map(String::as_str), Some("info"));
    assert!(!settings.environment.contains_key("DISPLAY"), "Blender's variables are for the profile full");
    assert!(settings.notices.is_empty(), "{:?}", settings.notices);
    assert_eq!(origin(&settings, "GPU"), &Origin::Default);
}

#[test]
fn later_layers_win_and_every_value_knows_its_own() {
    let files = [
        ("powerdev.yaml", "name: mine\ncpus: 1.50\npids: 100\nshm: 64m\nmemory: 1g\nenvironment:\n  NODE_ENV: test\n"),
        (".env", "DOCKER_PIDS=200\nDOCKER_SHM=128m\nDOCKER_MEMORY=2g\nGPU=\n"),
    ];
    let variables =
        [("DOCKER_SHM", "256m"), ("POWERDEV_DOCKER_MEMORY", "3g"), ("DOCKER_MEMORY", "2500m"), ("NODE_ENV", "no")];
    let dir = project(&files);
    let flags = Overrides::default().with(&DOCKER_MEMORY, Some("4g")).with(&GPU, None::<&str>);
    let settings = load_with_environment(dir.path(), &variables, &flags).expect("right");
    assert_eq!(settings.cpus, Some(Cpus(1500)));
    assert_eq!(settings.pids, 200);
    assert_eq!(settings.shm, ByteSize(256 << 20));
    assert_eq!(settings.memory, Some(ByteSize(4 << 30)));
    assert_eq!(settings.gpu, GpuRequest::Auto, "an empty value is none");
    assert_eq!(settings.environment["NODE_ENV"], "test", "NODE_ENV of the host means something else");
    let (yaml, env) = (dir.path().join("powerdev.yaml"), dir.path().join(".env"));
    assert_eq!(origin(&settings, "DOCKER_CPUS"), &Origin::Yaml { file: yaml.clone(), line: Some(2) });
    assert_eq!(origin(&settings, "NODE_ENV"), &Origin::Yaml { file: yaml, line: Some(7) });
    assert_eq!(origin(&settings, "DOCKER_PIDS"), &Origin::EnvFile { file: env, line: 1 });
    assert_eq!(origin(&settings, "DOCKER_SHM"), &Origin::Environment { variable: "DOCKER_SHM".into() });
    assert_eq!(origin(&settings, "DOCKER_MEMORY"), &Origin::Flag { flag: "--memory".into() });
}

#[test]
fn what_is_no_setting_is_a_secret_and_shows_redacted() {
    let env = "ANTHROPIC_API_KEY=sk-canary\nOPENAI_API_KEY=\nHF_TOKEN=\nMY_THING='a b'\n";
    let settings = settings(&[(".env", env)], &[("OPENAI_API_KEY", "from-outside"), ("GITHUB_TOKEN", "unasked")]);
    let keys: Vec<&str> = settings.secrets.keys().collect();
    assert_eq!(keys, ["ANTHROPIC_API_KEY", "MY_THING", "OPENAI_API_KEY"]);
    assert_eq!(settings.secrets.reveal()["OPENAI_API_KEY"], "from-outside");
    let shown = serde_json::to_string(&settings.values).expect("serializable");
    assert!(shown.contains("<redacted, 9 characters>") && !shown.contains("canary"), "{shown}");
    assert!(!format!("{settings:?}").contains("canary"));
    assert!(!settings.environment.contains_key("MY_THING"));
}

#[test]
fn text_stays_as_it_was_written() {
    let yaml = "environment: {VERSION: 1.10, ON: true, NOTHING: , ZERO: 007}\ngpu: [0, GPU-abc]\n";
    let settings = settings(&[("powerdev.yaml", yaml)], &[]);
    for (key, value) in [("VERSION", "1.10"), ("ON", "true"), ("ZERO", "007")] {
        assert_eq!(settings.environment[key], value, "{key}");
    }
    assert_eq!(settings.gpu, GpuRequest::Ids(vec!["0".into(), "GPU-abc".into()]));
}

#[test]
fn services_are_laid_over_built_in_ones() {
    let yaml = "services:
  claude-flow:
    environment: {EXTRA: 1.10}
    stop: {grace: 3}
    restart:
    tty: ~
  docs:
    command: python3 -m http.server 8000
    depends_on: {claude-flow: started}
    ready: {tcp: 8000}
    ports: [8000]
";
    let settings = settings(&[("powerdev.yaml", yaml)], &[]);
    let (flow, docs) = (&settings.services["claude-flow"], &settings.services["docs"]);
    let built_in = &overlay::built_in(Profile::Core)["claude-flow"];
    assert_eq!((&flow.command, &flow.ready), (&built_in.command, &built_in.ready));
    assert_eq!(flow.environment["EXTRA"], "1.10", "text as written");
    assert_eq!((&flow.restart, flow.tty), (&built_in.restart, built_in.tty), "null says nothing");
    assert_eq!((flow.stop.grace, flow.stop.signal.as_str()), (3.0, built_in.stop.signal.as_str()));
    assert_eq!(docs.command, ["/bin/sh", "-c", "python3 -m http.server 8000"]);
    assert!(docs.enabled && docs.tty);
}

#[test]
fn a_probe_takes_the_place_of_the_built_in_one() {
    let settings = settings(&[("powerdev.yaml", "services: {claude-flow: {ready: {tcp: 3000}}}\n")], &[]);
    let ready = settings.services["claude-flow"].ready.as_ref().expect("it has one");
    assert_eq!(ready.probe, powerdev_protocol::service::Probe::Tcp(3000));
}

#[test]
fn an_image_of_ones_own_runs_no_built_in_service_unless_asked() {
    let own = settings(&[("powerdev.yaml", "image: mine:1\nservices: {a: {command: x}}\n")], &[]);
    let on: Vec<&String> = own.services.iter().filter(|(_, service)| service.enabled).map(|(name, _)| name).collect();
    assert_eq!(on, ["a"]);
    let asked = settings(&[("powerdev.yaml", "image: mine:1\nservices: {claude-flow: {enabled: true}}\n")], &[]);
    assert!(asked.services["claude-flow"].enabled);
}

#[test]
fn every_mistake_names_file_line_value_and_a_way_out() {
    for (file, text, message, hint) in [
        (
            ".env",
            "A=1\nDOCKER_CPU=4\n",
            ".env:2: unknown setting DOCKER_CPU",
            "did you mean `DOCKER_CPUS`? If it is a secret of yours, add `secrets: [DOCKER_CPU]`",
        ),
        (".env", "docker_memory=1g\n", ".env:1: unknown setting docker_memory", "`DOCKER_MEMORY`"),
        (".env", "POWERDEV_MEMORY=1g\n", ".env:1: POWERDEV_MEMORY is no setting", "`DOCKER_MEMORY`"),
        (".env", "POWERDEV_GPU=all\n", ".env:1: POWERDEV_GPU is how the environment spells a setting", "write GPU"),
        (".env", "\nDOCKER_MEMORY=banana\n", ".env:2: DOCKER_MEMORY is `banana`", "16g"),
        (
            ".env",
            "DOCKER_MEMORY=16\n",
            ".env:1: DOCKER_MEMORY is `16`",
            "at least 64 MiB; a number without a unit is bytes",
        ),
        (".env", "DOCKER_CPUS=-1\n", ".env:1: DOCKER_CPUS is `-1`", "4 or 1.5"),
        (".env", "DOCKER_PIDS=3\n", ".env:1: DOCKER_PIDS is `3`", "from 16 to 4194304"),
        (".env", "EXTERNAL_DIR=/nowhere/at/all\n", ".env:1: EXTERNAL_DIR is `/nowhere/at/all`", "make it first"),
        (".env", "A=\"open\n", ".env:1: a quote opens here", "close it"),
        (".env", "GPU=many\n", ".env:1: GPU is `many`", "auto, all, none"),
        (".env", "BIND_ADDRESS=everywhere\n", ".env:1: BIND_ADDRESS is `everywhere`", "127.0.0.1"),
        (".env", "PROFILE=ful\n", ".env:1: PROFILE is `ful`", "did you mean `full`? give core or full"),
        (".env", "IMAGE='my image'\n", ".env:1: IMAGE is `my image`", "debian:trixie"),
        (".env", "CA_BUNDLE=/nowhere.pem\n", ".env:1: CA_BUNDLE is `/nowhere.pem`", "PEM file that is there"),
        ("powerdev.yaml", "name: x\ncpuz: 4\n", "powerdev.yaml:2: unknown key `cpuz`", "did you mean `cpus`?"),
        (
            "powerdev.yaml",
            "services:\n  a:\n    command: x\ncommand: y\n",
            "powerdev.yaml:4: unknown key `command`",
            "give name, profile",
        ),
        ("powerdev.yaml", "name: My Project\n", "powerdev.yaml:1: name is `My Project`", "use a-z"),
        ("powerdev.yaml", "\nmemory: banana\n", "powerdev.yaml:2: memory is `banana`", "16g"),
        ("powerdev.yaml", "cpus: [4]\n", "powerdev.yaml:1: cpus is a list", "give a number"),
        ("powerdev.yaml", "name: a\nname: b\n", "powerdev.yaml:2: `name` stands in line 1 already", "keep one"),
        (
            "powerdev.yaml",
            "environment:\n  A: 1\n  A: 2\n",
            "powerdev.yaml:3: `A` stands in line 2 already",
            "keep one",
        ),
        (
            "powerdev.yaml",
            "services:\n  a: {command: x}\n  a: {command: y}\n",
            "powerdev.yaml:3: `a` stands in line 2 already",
            "keep one",
        ),
        (
            "powerdev.yaml",
            "name: x
  bad: [
",
            "powerdev.yaml:2: this is no YAML: a second `: ` in one value",
            "between quotes",
        ),
        ("powerdev.yaml", "- a\n", "powerdev.yaml:1: the file is a list", "keys with values"),
        (
            "powerdev.yaml",
            "ports:\n  - 8080\n  - \"81:8080\"\n",
            "powerdev.yaml:3: port 8080 of the container is published at",
            "once",
        ),
        (
            "powerdev.yaml",
            "ports: [\"81:1\", \"81:2\"]\n",
            "powerdev.yaml:1: port 81 of the host is taken at powerdev.yaml:1",
            "another one",
        ),
        (
            "powerdev.yaml",
            "ports:\n- 80\n- \"3000:81\"\n",
            "powerdev.yaml:3: port 3000 of the host is that of service `claude-flow`",
            "OTHER:3000",
        ),
        (
            "powerdev.yaml",
            "ports:\n  - 80:90:100\n",
            "powerdev.yaml:2: ports[0] is `80:90:100`",
            "give a port such as 8080",
        ),
        ("powerdev.yaml", "ports: [70000]\n", "ports[0] is `70000`", "from 1 to 65535"),
        (
            "powerdev.yaml",
            "services:\n  web:\n    command: x\n    ports: [3000]\n",
            "powerdev.yaml:4: services `claude-flow` and `web` both have port 3000",
            "another port",
        ),
        (
            "powerdev.yaml",
            "services:\n  a:\n    command: x\n    depends_on: {b: ready}\n  b:\n    command: x\n    depends_on: {a: ready}\n",
            "powerdev.yaml:4: services wait for each other: a -> b -> a",
            "take one",
        ),
        (
            "powerdev.yaml",
            "services:\n  a:\n    command: x\n    depends_on:\n      claude-flo: ready\n",
            "powerdev.yaml:4: service `a` depends on `claude-flo`",
            "did you mean `claude-flow`?",
        ),
        (
            "powerdev.yaml",
            "services:\n  claude-flw:\n    tty: false\n",
            "powerdev.yaml:2: service `claude-flw` has no command",
            "did you mean `claude-flow`?",
        ),
        (
            "powerdev.yaml",
            "services:\n  a:\n    comand: x\n",
            "powerdev.yaml:3: unknown key `comand` in services.a",
            "did you mean `command`?",
        ),
        (
            "powerdev.yaml",
            "services:\n  a:\n    command: x\n    stop:\n      grace: -1\n",
            "powerdev.yaml:5: service `a`: stop.grace is -1",
            "--schema",
        ),
        (
            "powerdev.yaml",
            "services:\n  a:\n    command: x\n    ready: {tpc: 80}\n",
            "powerdev.yaml:4: unknown key `tpc` in services.a.ready",
            "did you mean `tcp`?",
        ),
        (
            "powerdev.yaml",
            "services:\n  a:\n    command: x\n    environment:\n      polcy: x\n    restart:\n      polcy: never\n",
            "powerdev.yaml:7: unknown key `polcy` in services.a.restart",
            "did you mean `policy`?",
        ),
        (
            "powerdev.yaml",
            "services:\n  a:\n    command: x\n    stop:\n      grace: long\n",
            "powerdev.yaml:5: services.a.stop.grace is `long`",
            "give 0, or seconds from 0.001",
        ),
        (
            "powerdev.yaml",
            "mounts:\n  - /tmp:/home/dev\n",
            "powerdev.yaml:2: nothing can be mounted at /home/dev",
            "/workspace",
        ),
        (
            "powerdev.yaml",
            "mounts:\n  - /tmp:/a\n  - {source: /tmp, target: /a/}\n",
            "powerdev.yaml:3: /a is a mount's target twice",
            "",
        ),
        (
            "powerdev.yaml",
            "mounts: [\"/tmp:/a/../opt\"]\n",
            "powerdev.yaml:1: target `/a/../opt` isn't an absolute path",
            "",
        ),
        (
            "powerdev.yaml",
            "mounts: [\"nothing/here:/a\"]\n",
            "powerdev.yaml:1: can't mount nothing/here",
            "make it first",
        ),
        ("powerdev.yaml", "environment:\n  HF_TOKEN: x\n", "powerdev.yaml:2: HF_TOKEN is a secret", "move it to .env"),
        ("powerdev.yaml", "environment:\n  GPU: x\n", "powerdev.yaml:2: GPU is a setting", "`gpu:`"),
        ("powerdev.yaml", "environment: {\"a b\": x}\n", "powerdev.yaml:1: `a b` can't be a variable's name", ""),
        ("powerdev.yml", "name: x\n", "powerdev.yml isn't read", "rename it"),
    ] {
        let (said, advised) = refusal(&[(file, text)]);
        assert!(said.contains(message), "{text}\nsaid     {said}\nexpected {message}");
        assert!(advised.contains(hint), "{text}\nadvised  {advised}\nexpected {hint}");
    }
}

#[test]
fn a_key_like_a_setting_passes_when_it_is_meant() {
    let files = [("powerdev.yaml", "secrets: [DOCKER_CPU]\n"), (".env", "DOCKER_CPU=mine\n")];
    assert_eq!(settings(&files, &[]).secrets.reveal()["DOCKER_CPU"], "mine");
}

#[test]
fn a_variable_that_no_process_can_have_is_named() {
    let long = "x".repeat(128 << 10);
    let (said, _) = refusal(&[("powerdev.yaml", &format!("environment:\n  LONG: {long}\n"))]);
    assert!(said.contains("powerdev.yaml:2: LONG won't do") && !said.contains("xxx"), "{said}");
    let (said, _) = refusal(&[("powerdev.yaml", &format!("services: {{a: {{command: [x, {long}]}}}}\n"))]);
    assert!(said.contains("service `a`: command[1] won't do: no process takes more than 128 KiB"), "{said}");
}

#[test]
fn bytes_that_are_no_text_are_named_in_yaml_too() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("powerdev.yaml"), b"name: x\nimage: \xfe\n").expect("written");
    let error = load_with_environment(dir.path(), &[], &Overrides::default()).expect_err("0xfe is never UTF-8");
    assert!(error.to_string().ends_with("powerdev.yaml:2: not UTF-8: byte 0xfe in column 8"), "{error}");
}

#[test]
fn flags_and_variables_are_named_in_messages() {
    let dir = project(&[]);
    let flags = Overrides::default().with(&DOCKER_MEMORY, Some("banana"));
    let error = load_with_environment(dir.path(), &[], &flags).expect_err("no size");
    assert_eq!(error.to_string(), "--memory is `banana`");
    let error = load_with_environment(dir.path(), &[("POWERDEV_GPU", "x")], &Overrides::default()).expect_err("no GPU");
    assert_eq!(error.to_string(), "the variable POWERDEV_GPU is `x`");
}

#[test]
fn opening_ports_to_the_network_is_noticed() {
    let settings = settings(&[(".env", "BIND_ADDRESS=0.0.0.0\n")], &[]);
    assert!(settings.notices.iter().any(|notice| notice.contains("0.0.0.0")), "{:?}", settings.notices);
}

#[test]
fn paths_start_at_the_project_or_at_home() {
    let dir = project(&[("powerdev.yaml", "mounts: [\"sub:/one:ro\", \"~/two:/two\"]\nexternal_dir: sub\n")]);
    let home = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(dir.path().join("sub")).expect("made");
    std::fs::create_dir(home.path().join("two")).expect("made");
    let home_text = home.path().to_str().expect("a path of ASCII").to_owned();
    let settings =
        load_with_environment(dir.path(), &[("HOME", &home_text)], &Overrides::default()).expect("both are there");
    let canonical = |path: &Path| path.canonicalize().expect("there");
    assert_eq!(settings.mounts[0].source, canonical(&dir.path().join("sub")));
    assert!(settings.mounts[0].read_only && !settings.mounts[1].read_only);
    assert_eq!(settings.mounts[1].source, canonical(&home.path().join("two")));
    assert_eq!(settings.external_dir, ExternalDir::Folder(canonical(&dir.path().join("sub"))));
}

proptest! {
    #[test]
    fn any_yaml_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        yaml::YamlFile::parse(Path::new("powerdev.yaml"), &bytes).ok();
    }

    #[test]
    fn any_yaml_like_text_is_read_or_refused(
        text in "((name|cpus|ports|mounts|services|environment|gpu|a|command|ready|http)?:? ?[-\\[\\]{}:,\"'&*!|>#a1 ]{0,6}\n? {0,4}){0,14}"
    ) {
        yaml::YamlFile::parse(Path::new("powerdev.yaml"), text.as_bytes()).ok();
    }

    #[test]
    fn sizes_are_read_or_refused_and_come_back(text in "\\PC{0,12}", bytes in any::<u32>()) {
        text.parse::<ByteSize>().ok();
        text.parse::<Cpus>().ok();
        text.parse::<GpuRequest>().ok();
        text.parse::<Name>().ok();
        prop_assert_eq!(bytes.to_string().parse(), Ok(ByteSize(bytes.into())));
        prop_assert_eq!(format!("{bytes}k").parse(), Ok(ByteSize(u64::from(bytes) << 10)));
    }
}

#[test]
fn what_no_process_could_be_given_is_refused() {
    let line = |name: &str, bytes: usize| format!("{name}={}\n", "x".repeat(bytes));
    let (said, hint) = refusal(&[(".env", &format!("A_TOKEN=1\n{}", line("B_TOKEN", 140_000)))]);
    assert!(said.contains(".env:2: the value of B_TOKEN has 140000 bytes: Linux gives a process 131063"), "{said}");
    assert!(hint.contains("into a file") && !said.contains("xxx"), "{hint}");
    let many: String = (0..16).map(|number| line(&format!("TOKEN_{number}"), 110_000)).collect();
    assert!(refusal(&[(".env", &many)]).0.contains("together"));
    settings(&[(".env", &line("B_TOKEN", 131_000))], &[]);
}
