//! Sessions: terminals inside that outlive whoever looks at them.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::Value;

use crate::common::{Project, SecondEngine, Tmux, engine, wait};

const IDLE: &str = "idle:\n  command: exec sleep 1000000\n";
const LEAVE: [u8; 2] = [0x10, 0x11];
const SOON: std::time::Duration = std::time::Duration::from_secs(30);

fn running() -> Project {
    let project = Project::new(IDLE);
    project.powerdev(["up"]).run().ok();
    project
}

fn list(project: &Project) -> Vec<Value> {
    let document = project.powerdev(["sessions", "--json"]).run().ok().json();
    document["sessions"].as_array().expect("a list").clone()
}

#[test]
fn three_look_at_one_and_it_is_as_small_as_the_smallest() {
    let project = running();
    project.powerdev(["sessions", "new", "shared", "--", "sh"]).run().ok();
    let attach = |rows, cols| project.powerdev(["attach", "shared"]).terminal(rows, cols);
    let mut terminals = [attach(40, 120), attach(30, 100), attach(24, 110)];
    wait::until("all look at it", SOON, || (list(&project)[0]["viewers"] == 3).then_some(()));
    terminals[0].send("echo all-$((40+2)) $(stty size)\r");
    for terminal in &mut terminals {
        terminal.expect("all-42 24 100");
    }
    let [mut one, two, mut three] = terminals;
    three.send(LEAVE);
    let (code, screen) = three.wait();
    assert_eq!(code, 0);
    assert!(screen.contains("`powerdev attach shared` enters it again"), "{screen}");
    two.signal(Signal::HUP);
    assert_eq!(two.wait().0, 129);
    one.resize(20, 60);
    wait::until("it has the last one's size", SOON, || (list(&project)[0]["size"]["cols"] == 60).then_some(()));
    one.send("echo alone-$((40+2)) $(stty size); exit 5\r");
    one.expect("alone-42 20 60");
    assert_eq!(one.wait().0, 5, "the code is the program's");
    assert!(list(&project).is_empty());
}

#[test]
fn nothing_is_lost_when_powerdev_is_killed() {
    let project = running();
    let script = "stty -echo; n=0; while [ $n -lt 2000 ]; do n=$((n+1)); echo \"<$n>\"; usleep 500; done; read line";
    let open = ["sessions", "new", "count", "--", "sh", "-c", script];
    project.powerdev(open).run().ok();
    let mut first = project.powerdev(["attach"]).terminal(24, 80);
    first.expect("<100>");
    first.signal(Signal::KILL);
    assert_eq!(first.wait().0, 137);
    let mut second = project.powerdev(["attach", "count"]).terminal(24, 80);
    second.expect("<2000>");
    second.send("\r");
    let (code, screen) = second.wait();
    assert_eq!(code, 0);
    let numbers: Vec<u32> =
        screen.lines().filter_map(|l| l.trim().strip_prefix('<')?.strip_suffix('>')?.parse().ok()).collect();
    assert_eq!(numbers, (1..=2000).collect::<Vec<_>>(), "every line, once, in order");
}

#[test]
fn starts_shell_goes_on_without_its_terminal() {
    let project = Project::new(IDLE);
    let mut terminal = project.powerdev(["start"]).terminal(24, 80);
    terminal.expect("healthy");
    terminal.send("echo inside-$((40+2)); KEPT=yes\r");
    terminal.expect("inside-42");
    terminal.send(LEAVE);
    let (code, screen) = terminal.wait();
    assert_eq!(code, 0);
    assert!(screen.contains("`powerdev attach sh` enters its shell again"), "{screen}");
    let status = project.powerdev(["status"]).run().ok();
    assert!(status.out().contains("sessions  1"), "{}", status.out());
    let rows = project.powerdev(["ps", "--json"]).run().ok().json();
    let mine = |row: &&Value| row["name"] == project.name();
    assert_eq!(rows["environments"].as_array().expect("a list").iter().find(mine).expect("it runs")["sessions"], 1);

    let mut terminal = project.powerdev(["attach"]).terminal(24, 80);
    terminal.expect("inside-42");
    terminal.send("echo $KEPT-again; exit\r");
    terminal.expect("yes-again");
    assert_eq!(terminal.wait().0, 0);
    assert!(engine::is_running(&project.container()), "who left it left the environment running, too");
}

#[test]
fn starts_end_leaves_what_others_use() {
    let project = Project::new(IDLE);
    let mut terminal = project.powerdev(["start"]).terminal(24, 80);
    terminal.expect("healthy");
    terminal.send("echo inside-$((40+2))\r");
    terminal.expect("inside-42");
    project.powerdev(["sessions", "new", "other", "--", "sleep", "1000000"]).run().ok();
    terminal.send("exit\r");
    assert_eq!(terminal.wait().0, 0);
    assert!(engine::is_running(&project.container()));
}

#[test]
fn claude_is_one_session_with_its_flags_in_the_projects_folder() {
    let project = Project::new(IDLE);
    project.env_file("CLAUDE_CODE_FLAGS=\"--model 'a b'\"\nANTHROPIC_API_KEY=hush\n");
    project.powerdev(["up"]).run().ok();
    let mut first = project.powerdev(["claude", "--", "--resume", "x y"]).terminal(24, 100);
    first.expect("claude [--model] [a b] [--resume] [x y] in /workspace/ext, a key of 4");
    first.send(LEAVE);
    assert!(first.wait().1.contains("`powerdev attach claude`"));
    let mut second = project.powerdev(["claude"]).terminal(24, 100);
    second.expect("in /workspace/ext");
    let sessions = list(&project);
    assert_eq!((sessions.len(), sessions[0]["name"].as_str()), (1, Some("claude")));
    second.send("bye\r");
    second.expect("heard bye");
    assert_eq!(second.wait().0, 3);
    project.powerdev(["claude"]).run().code(2);
}

#[test]
fn a_full_screen_program_is_drawn_anew_and_leaves_the_terminal_as_it_was() {
    let project = running();
    project.write(".agent-mount/docker_workspace/file", "first line\nsecond line\n");
    project.powerdev(["sessions", "new", "editor", "--", "vi", "/home/dev/workspace/file"]).run().ok();
    let screen = Tmux::start(&project.powerdev(["attach", "editor"]), 80, 24);
    screen.expect("second line");
    screen.keys(&["o", "third line", "Escape"]);
    screen.expect("third line");
    screen.keys(&["C-p", "C-q"]);
    let left = screen.expect("enters it again");
    assert!(left.contains("before") && !left.contains("third line"), "the shell's screen is back:\n{left}");
    screen.run(&project.powerdev(["attach", "editor"]));
    screen.expect("third line");
    project.powerdev(["sessions", "kill", "editor"]).run().ok();
    screen.expect("has ended");
}

#[test]
fn what_is_wrong_is_said_in_words() {
    let project = Project::new(IDLE);
    project.env_file("MAX_SESSIONS=2\n");
    let absent = project.powerdev(["sessions"]).run().code(4);
    assert!(absent.err().contains("powerdev up"), "{}", absent.err());
    project.powerdev(["up"]).run().ok();
    let none = project.powerdev(["attach"]).terminal(24, 80).wait();
    assert!(none.0 == 4 && none.1.contains("there are no sessions"), "{none:?}");
    let no_terminal = project.powerdev(["attach", "x"]).run().code(2);
    assert!(no_terminal.err().contains("needs a terminal"), "{}", no_terminal.err());
    project.powerdev(["attach", "--json"]).run().code(2);
    let odd = project.powerdev(["sessions", "new", "a b"]).run().code(2);
    assert!(odd.err().contains("can't be a session's name"), "{}", odd.err());
    let names: BTreeSet<String> = (0..2)
        .map(|_| project.powerdev(["sessions", "new", "--", "sleep", "1000000"]).run().ok().out().trim().to_owned())
        .collect();
    assert_eq!(names, ["sleep", "sleep-2"].map(String::from).into());
    let full = project.powerdev(["sessions", "new", "--json"]).run().code(1).json();
    assert!(full["error"].as_str().is_some_and(|error| error.contains("MAX_SESSIONS")), "{full}");
    let renamed = project.powerdev(["sessions", "rename", "sleep", "nap", "--json"]).run().ok().json();
    assert_eq!((renamed["session"].as_str(), renamed["to"].as_str()), (Some("sleep"), Some("nap")));
    let unknown = project.powerdev(["sessions", "kill", "sleep"]).run().code(4);
    assert!(unknown.err().contains("there are: nap, sleep-2"), "{}", unknown.err());
    project.powerdev(["sessions", "kill", "nap"]).run().ok();
    let missing = project.powerdev(["sessions", "new", "--", "no-such-program"]).run().code(1);
    assert!(missing.err().contains("no program `no-such-program`"), "{}", missing.err());
    let completed = project.powerdev(["--", "powerdev", "attach", ""]).env("POWERDEV_COMPLETE", "fish").run().ok();
    assert!(completed.out().lines().any(|line| line.starts_with("sleep-2")), "{}", completed.out());
    // Inside, the agent's own command reaches them, too.
    let mut inside = project.powerdev(["exec", "--", "powerdev-agent", "attach", "sleep-2"]).terminal(24, 80);
    wait::until("it looks", SOON, || (list(&project)[0]["viewers"] == 1).then_some(()));
    inside.send(LEAVE);
    inside.expect("left sleep-2, which goes on");
    assert_eq!(inside.wait().0, 0);
}

#[test]
fn an_engine_elsewhere_has_them_too() {
    let project = Project::new(IDLE);
    let second = SecondEngine::elsewhere();
    let host = second.tcp();
    let powerdev = |arguments: &[&str]| project.powerdev(arguments).env("DOCKER_HOST", &host);
    powerdev(&["up"]).run().ok();
    powerdev(&["sessions", "new", "far", "--", "sh"]).run().ok();
    let mut first = powerdev(&["attach", "far"]).terminal(24, 80);
    first.send("echo far-$((40+2))\r");
    first.expect("far-42");
    first.signal(Signal::KILL);
    first.wait();
    let mut second = powerdev(&["attach", "far"]).terminal(24, 80);
    second.expect("far-42");
    second.send("echo again-$((40+2)); exit 6\r");
    second.expect("again-42");
    assert_eq!(second.wait().0, 6);
    powerdev(&["rm", "--force", "--volumes", "--yes"]).run().ok();
}
