//! `powerdev exec`: pipes byte for byte, terminals, exit codes, signals.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::{Project, engine};

const IDLE: &str = "idle:\n  command: exec sleep 1000000\n";
const SOON: Duration = Duration::from_secs(20);

fn running() -> Project {
    let project = Project::new(IDLE);
    project.powerdev(["up"]).run().ok();
    project
}

#[test]
fn streams_codes_and_folders() {
    let project = running();
    let exec = |arguments: &[&str]| project.powerdev([&["exec"], arguments].concat());
    let both = exec(&["--", "sh", "-c", "echo out; echo err >&2; exit 42"]).run().code(42);
    assert_eq!((both.out(), both.err().as_str()), ("out\n", "err\n"));
    assert_eq!(exec(&["-w", "/tmp", "pwd"]).run().ok().out(), "/tmp\n");
    assert_eq!(exec(&["-e", "A=b c", "sh", "-c", "echo $A; tty"]).run().code(1).out(), "b c\nnot a tty\n");
    exec(&["no-such-command"]).run().code(127);
    exec(&["/etc/passwd"]).run().code(126);
    exec(&["sh", "-c", "kill -9 $$"]).run().code(137);
    // Without a command: the login shell, fed from standard input.
    assert_eq!(exec(&[]).stdin("echo hello from $USER\nexit 3\n").run().code(3).out(), "hello from dev\n");
    assert_eq!(exec(&["-u", "0", "id", "-u"]).run().ok().out(), "0\n");
}

#[test]
fn commands_begin_in_the_folder_that_matches_the_callers() {
    let project = Project::new(IDLE);
    project.write("src/deep/file", "");
    project.powerdev(["up"]).run().ok();
    let from = |dir: &str, arguments: &[&str]| {
        let dir = project.dir().join(dir);
        project.powerdev([&["exec"], arguments].concat()).dir(dir).run().ok().out().trim().to_owned()
    };
    assert_eq!(from("", &["pwd"]), "/workspace/ext");
    assert_eq!(from("src/deep", &["pwd"]), "/workspace/ext/src/deep");
    assert_eq!(from("src/deep", &["-w", "/tmp", "pwd"]), "/tmp");
    assert_eq!(from(".agent-mount/docker_data", &["pwd"]), "/workspace/ext");
    let name = project.name();
    assert_eq!(from("..", &["--project", name, "--", "pwd"]), "/workspace/ext", "outside of it");
    assert_eq!(
        from("src", &["--", "sh", "-c", "env | grep -c BEGIN; true"]),
        "0",
        "it is no variable of the program's"
    );
    std::fs::set_permissions(project.dir().join("src"), PermissionsExt::from_mode(0o700)).expect("ours");
    assert_eq!(from("src", &["-u", "4711", "pwd"]), "/home/dev", "what it may not enter doesn't keep it from running");
    project.powerdev(["sessions", "new", "here", "--", "sleep", "1000000"]).dir(project.dir().join("src")).run().ok();
    let sessions = project.powerdev(["sessions", "--json"]).run().ok().json();
    assert_eq!(sessions["sessions"][0]["directory"], "/workspace/ext/src");
    project.powerdev(["up", "--recreate"]).env("EXTERNAL_DIR", "none").run().ok();
    assert_eq!(from("src", &["pwd"]), "/home/dev");
    let other = project.home().join("other");
    std::fs::create_dir_all(other.join("sub")).expect("writable");
    project.powerdev(["up", "--recreate"]).env("EXTERNAL_DIR", &other).run().ok();
    assert_eq!(from("src", &["pwd"]), "/workspace/ext", "the folder that is mounted in its place");
    assert_eq!(from("../home/other/sub", &["--project", name, "--", "pwd"]), "/workspace/ext/sub");
}

#[test]
fn another_user_goes_without_the_secrets_it_cannot_read() {
    let project = Project::new(IDLE);
    project.env_file("TOKEN=hush\nSECURITY=strict\n");
    project.powerdev(["up"]).run().ok();
    let length = |user: &[&str]| project.powerdev(["exec"]).args(user).args(["--", "sh", "-c", "echo ${#TOKEN}"]).run();
    assert_eq!(length(&[]).ok().out(), "4\n");
    // Root, but without the capability to read what isn't its own.
    let root = length(&["-u", "0"]).ok();
    assert_eq!(root.out(), "0\n");
    assert!(root.err().contains("can't read the project's secrets: going on without them"), "{}", root.err());
}

#[test]
fn twenty_megabytes_both_ways() {
    let project = running();
    let input: Vec<u8> = (0..20u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let output = project.powerdev(["exec", "--", "sh", "-c", "cat; echo end >&2"]).stdin(input.clone()).run().ok();
    assert!(output.stdout == input, "{} of {} bytes came back", output.stdout.len(), input.len());
    assert_eq!(output.err(), "end\n");
}

#[test]
fn what_the_engine_refuses_is_an_error_document() {
    let project = running();
    let refused = project.powerdev(["exec", "-u", "nosuch", "--json", "--", "true"]).run().code(2);
    let document = refused.json();
    assert!(document["error"].as_str().is_some_and(|error| error.contains("nosuch")), "{document}");
    assert_eq!(document["code"], 2);
    let own = project.powerdev(["exec", "--json", "--", "sh", "-c", "echo mine; exit 126"]).run().code(126).json();
    assert_eq!((&own["exit_code"], &own["stdout"]), (&126.into(), &"mine\n".into()), "a command may say so, too");
}

#[test]
fn one_document_with_json() {
    let project = running();
    let script = "echo out; printf 'err\\377' >&2; exit 7";
    let document = project.powerdev(["exec", "--json", "--", "sh", "-c", script]).run().code(7).json();
    assert_eq!(document["exit_code"], 7);
    assert_eq!(document["stdout"], "out\n");
    assert_eq!(document["stderr"], "err\u{fffd}");
    assert_eq!(document["truncated"], false);
    assert_eq!(document["command"][0], "sh");
    let refused = project.powerdev(["exec", "--json"]).run().code(2).json();
    assert!(refused["error"].as_str().is_some_and(|error| error.contains("login shell")), "{refused}");
}

#[test]
fn what_does_not_run_says_so() {
    let project = Project::new(IDLE);
    let absent = project.powerdev(["exec", "true"]).run().code(4);
    assert!(absent.err().contains("powerdev up"), "{}", absent.err());
    project.powerdev(["up"]).run().ok();
    project.powerdev(["stop"]).run().ok();
    let stopped = project.powerdev(["exec", "--json", "true"]).run().code(4).json();
    assert!(stopped["error"].as_str().is_some_and(|error| error.contains("not running")), "{stopped}");
    let nobody = project.powerdev(["exec", "true"]).env("DOCKER_HOST", "unix:///nowhere.sock").run().code(3);
    assert!(nobody.err().contains("unix:///nowhere.sock (DOCKER_HOST)"), "{}", nobody.err());
}

#[test]
fn signals_reach_the_command() {
    let project = running();
    let script =
        "trap 'echo got-usr1' USR1; trap 'echo got-term; exit 33' TERM; echo ready; while :; do sleep 0.05; done";
    let mut exec = project.powerdev(["exec", "--", "sh", "-c", script]).spawn();
    exec.wait_line("ready", |line| line == "ready");
    exec.signal(Signal::USR1);
    exec.wait_line("the first signal", |line| line == "got-usr1");
    exec.signal(Signal::TERM);
    assert_eq!(exec.wait(SOON).code(33).out().lines().last(), Some("got-term"));
}

#[test]
fn a_reader_that_leaves_ends_the_command() {
    let project = running();
    let line = "\"$0\" exec -- sh -c 'echo $$ > /tmp/pid; exec yes' | head -n 1; echo ended";
    let output = crate::common::Invocation::program("sh", &project.dir())
        .env("HOME", project.home())
        .env("XDG_STATE_HOME", project.state_home())
        .env("XDG_CACHE_HOME", project.cache_home())
        .env("POWERDEV_NAME", project.name())
        .args(["-c", line, env!("CARGO_BIN_EXE_powerdev")])
        .run()
        .ok();
    assert_eq!(output.out(), "y\nended\n");
    let gone =
        "n=0; while kill -0 $(cat /tmp/pid) 2>/dev/null; do n=$((n+1)); [ $n -lt 100 ] || exit 1; sleep 0.05; done";
    project.powerdev(["exec", "--", "sh", "-c", gone]).run().ok();
}

#[test]
fn a_terminal_inside_where_there_is_one_outside() {
    let project = running();
    let mut shell = project.powerdev(["exec"]).terminal(31, 97);
    shell.send("tty; sleep 0.2; stty size; echo term=$TERM\r");
    shell.expect("/dev/pts/");
    shell.expect("31 97");
    shell.expect("term=xterm-256color");
    shell.resize(40, 120);
    // The size arrives when it arrives; the program inside is told by SIGWINCH.
    shell.send(
        "n=0; until [ \"$(stty size)\" = '40 120' ] || [ $n = 100 ]; do n=$((n+1)); sleep 0.05; done; stty size\r",
    );
    shell.expect("\r\n40 120");
    // Ctrl-C is the program's, not powerdev's. A child of the shell that was just forked may let it pass: hence the loop.
    shell.send("sh -c 'trap \"echo got-int; exit\" INT; echo begun-$((1+1)); while sleep 0.1; do :; done'; echo next-$((2+2))\r");
    shell.expect("begun-2");
    shell.send("\x03");
    shell.expect("got-int");
    shell.expect("next-4");
    shell.send("exit 9\r");
    assert_eq!(shell.wait().0, 9);
}

#[test]
fn no_terminal_where_none_is_wanted() {
    let project = running();
    let (code, said) = project.powerdev(["exec", "-T", "tty"]).terminal(24, 80).wait();
    assert_eq!(code, 1);
    assert!(said.contains("not a tty"), "{said}");
}

#[test]
fn a_terminal_that_hangs_up_takes_its_shell_along() {
    let project = running();
    let mut shell =
        project.powerdev(["exec", "--", "sh", "-c", "echo $$ > /tmp/shell; echo ready; sleep 1000"]).terminal(24, 80);
    shell.expect("ready");
    shell.signal(Signal::TERM);
    assert_eq!(shell.wait().0, 128 + 15);
    let gone =
        "n=0; while kill -0 $(cat /tmp/shell) 2>/dev/null; do n=$((n+1)); [ $n -lt 100 ] || exit 1; sleep 0.05; done";
    project.powerdev(["exec", "--", "sh", "-c", gone]).run().ok();
}

#[test]
fn the_terminal_is_put_back_however_it_ends() {
    let project = running();
    let powerdev = env!("CARGO_BIN_EXE_powerdev");
    for (what, ending) in [("by itself", "exit 5"), ("the container dies", "echo waiting; sleep 1000")] {
        let script = format!(
            "stty -g > before; \"{powerdev}\" exec -- sh -c '{ending}'; echo code=$?; stty -g > after; cmp before after && echo put-back"
        );
        let mut outer = crate::common::Invocation::program("sh", &project.dir())
            .env("HOME", project.home())
            .env("XDG_STATE_HOME", project.state_home())
            .env("XDG_CACHE_HOME", project.cache_home())
            .env("POWERDEV_NAME", project.name())
            .args(["-c", &script])
            .terminal(24, 80);
        if ending.starts_with("echo") {
            outer.expect("waiting");
            engine::kill(&project.container(), "SIGKILL");
        }
        let (_, said) = outer.wait();
        // Killed from outside: its own end, where the Engine still tells it; else that the environment is gone.
        let codes: &[&str] = if ending == "exit 5" { &["code=5"] } else { &["code=137", "code=4"] };
        assert!(codes.iter().any(|code| said.contains(code)) && said.contains("put-back"), "{what}: {said}");
    }
}

#[test]
fn the_folder_of_the_agent_may_be_gone() {
    let project = running();
    std::fs::remove_dir_all(project.state_home().join("powerdev").join(project.name()).join("agent"))
        .expect("it is there");
    let output = project.powerdev(["exec", "--", "echo", "all the same"]).run().ok();
    assert_eq!(output.out(), "all the same\n");
    assert!(output.err().contains("without the environment's variables"), "{}", output.err());
}

#[test]
fn input_goes_on_while_output_does() {
    let project = running();
    let mut exec = project.powerdev(["exec", "--", "cat"]).spawn();
    let mut stdin = exec.stdin.take().expect("piped");
    for line in ["one", "two", "three"] {
        writeln!(stdin, "{line}").expect("it reads");
        exec.wait_line(line, |said| said == line);
    }
    drop(stdin);
    exec.wait(SOON).ok();
}
