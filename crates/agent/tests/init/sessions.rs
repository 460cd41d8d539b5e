use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Agent, Connection, is_alive, kill, pid_of, until};

const DATA: u8 = 0;
const RESIZE: u8 = 1;
const NOTICE: u8 = 3;
const EXIT: u8 = 4;
const REPLAYED: u8 = 5;
const LEAD: u8 = 6;

fn start(limit: usize) -> Agent {
    let services = json!({"project": "test", "environment": {"MAX_SESSIONS": limit.to_string()}, "services": {}});
    let agent = Agent::launch(&services.to_string(), |_| {});
    agent.connect();
    agent
}

fn greeted(agent: &Agent) -> Connection {
    let mut connection = agent.connect();
    connection.ask(json!({"op": "hello", "protocol": 2, "oldest": 1, "release": "test"}));
    connection
}

fn try_open(agent: &Agent, name: &str, command: &[&str]) -> Value {
    greeted(agent).ask(json!({"op": "session", "verb": "open", "name": name, "command": command, "directory": "/"}))
}

fn open(agent: &Agent, name: &str, script: &str) -> Value {
    let answer = try_open(agent, name, &["sh", "-c", script]);
    assert_eq!(answer["answer"], "session", "{answer}");
    answer
}

fn list(agent: &Agent) -> Vec<Value> {
    let answer = greeted(agent).ask(json!({"op": "session", "verb": "list"}));
    answer["sessions"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
}

/// A viewer, who keeps what was shown.
struct Viewer {
    connection: Connection,
    shown: Vec<u8>,
    /// Frames that were no data.
    told: Vec<(u8, Vec<u8>)>,
}

impl Viewer {
    fn attach(agent: &Agent, name: &str, size: Option<(u16, u16)>) -> Self {
        let mut connection = greeted(agent);
        let size = size.map(|(rows, cols)| json!({"rows": rows, "cols": cols}));
        let answer = connection.ask(json!({"op": "session", "verb": "attach", "name": name, "size": size}));
        assert_eq!(answer["answer"], "ok", "{answer}");
        Self { connection, shown: Vec::new(), told: Vec::new() }
    }

    /// Takes one frame. None when the agent has hung up.
    fn step(&mut self) -> Option<u8> {
        let (kind, payload) = self.connection.next_frame()?;
        match kind {
            DATA => self.shown.extend(payload),
            _ => self.told.push((kind, payload)),
        }
        Some(kind)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }

    fn until(&mut self, text: &str) -> &mut Self {
        while !self.text().contains(text) {
            assert!(self.step().is_some(), "{text:?} has not come: {:?}", self.text());
        }
        self
    }

    fn until_told(&mut self, wanted: u8) -> Vec<u8> {
        loop {
            if let Some((_, payload)) = self.told.iter().find(|(kind, _)| *kind == wanted) {
                return payload.clone();
            }
            assert!(self.step().is_some(), "hung up before {wanted}: {:?}", self.text());
        }
    }

    fn type_in(&mut self, text: &str) {
        self.connection.frame(DATA, text.as_bytes());
    }
}

#[test]
fn a_session_outlives_its_viewers_and_is_replayed_without_a_gap() {
    let agent = start(10);
    open(&agent, "count", "stty -echo; echo ready; n=0; while read line; do n=$((n+1)); echo \"<$n $line>\"; done");
    let mut one = Viewer::attach(&agent, "count", Some((24, 80)));
    one.until("ready").until_told(LEAD);
    one.type_in("a\n");
    one.until("<1 a>\r\n");
    drop(one);
    until("nobody looks", || (list(&agent)[0]["viewers"] == 0).then_some(()));
    let mut two = Viewer::attach(&agent, "count", None);
    two.type_in("b\n");
    two.until("<2 b>\r\n");
    let mut three = Viewer::attach(&agent, "count", None);
    two.type_in("c\n");
    for viewer in [&mut two, &mut three] {
        viewer.until("<3 c>\r\n");
        assert_eq!(viewer.text(), "ready\r\n<1 a>\r\n<2 b>\r\n<3 c>\r\n", "each byte once");
    }
    assert_eq!((two.until_told(LEAD), three.told.iter().any(|(kind, _)| *kind == LEAD)), (vec![1], false));
    drop(two);
    assert_eq!(three.until_told(LEAD), [1], "somebody answers the program's questions");
}

#[test]
fn the_end_is_told_with_its_code_to_all_and_to_whoever_follows() {
    let agent = start(10);
    let mut events = greeted(&agent);
    assert_eq!(events.ask(json!({"op": "events"}))["answer"], "ok");
    let mut old = agent.events();
    open(&agent, "short", "read line; echo bye; exit 7");
    assert_eq!(events.event(|event| event["event"] == "session_opened")["name"], "short");
    let mut viewers = [Viewer::attach(&agent, "short", None), Viewer::attach(&agent, "short", None)];
    viewers[1].type_in("x\n");
    for viewer in &mut viewers {
        let exit: Value = serde_json::from_slice(&viewer.until_told(EXIT)).unwrap();
        assert_eq!((exit["code"].as_i64(), exit["reason"].as_str()), (Some(7), Some("exited with 7")));
        assert!(viewer.text().ends_with("bye\r\n"));
        assert_eq!(viewer.step(), None, "it hangs up then");
    }
    let ended = events.event(|event| event["event"] == "session_ended");
    assert_eq!((ended["name"].as_str(), ended["exit"]["code"].as_i64()), (Some("short"), Some(7)));
    assert!(list(&agent).is_empty());
    agent.signal(libc::SIGTERM);
    let last = old.event(|event| event["event"] != "health");
    assert_eq!(last["event"], "stopping", "one who doesn't know sessions isn't told of them");
}

#[test]
fn the_terminal_is_as_small_as_its_smallest_viewer() {
    let agent = start(10);
    open(&agent, "size", "stty -echo; trap 'echo size=$(stty size)' WINCH; echo ready; while :; do sleep 0.05; done");
    Viewer::attach(&agent, "size", None).until("ready");
    let mut large = Viewer::attach(&agent, "size", Some((50, 200)));
    large.until("size=50 200");
    let mut small = Viewer::attach(&agent, "size", Some((20, 100)));
    large.until("size=20 100");
    small.connection.frame(RESIZE, br#"{"rows":60,"cols":90}"#);
    large.until("size=50 90");
    drop(small);
    large.until("size=50 200");
    let mut same = Viewer::attach(&agent, "size", Some((50, 200)));
    same.until_told(REPLAYED);
    let seen = same.shown.len();
    while same.shown.len() <= seen {
        same.step().expect("the program is told to draw, though nothing has changed");
    }
    assert_eq!(String::from_utf8_lossy(&same.shown[seen..]).trim(), "size=50 200");
}

#[test]
fn who_is_slow_misses_some_is_told_and_holds_nobody_up() {
    let agent = start(10);
    open(&agent, "loud", "stty -echo -onlcr; echo ready; read go; seq 1 1000000; echo; echo end; read line");
    let mut slow = Viewer::attach(&agent, "loud", None);
    let mut fast = Viewer::attach(&agent, "loud", None);
    fast.until("ready\n").type_in("go\n");
    fast.until_told(REPLAYED);
    while !fast.shown.ends_with(b"\nend\n") {
        fast.step().expect("it goes on");
    }
    let expected: String = (1..=1_000_000).map(|number| format!("{number}\n")).collect();
    assert!(fast.text() == format!("ready\n{expected}\nend\n"), "each byte once: {:?}", fast.told);
    assert_eq!(agent.ask(json!({"op": "health"}))["state"], "healthy");
    let notice = String::from_utf8(slow.until_told(NOTICE)).unwrap();
    assert!(notice.ends_with("bytes of output were skipped: they weren't taken in time"), "{notice}");
    // Who comes now gets the last 2 MiB, from the beginning of a line on.
    let mut late = Viewer::attach(&agent, "loud", None);
    late.until_told(REPLAYED);
    assert!(late.shown.len() > (2 << 20) - 1024 && late.shown.len() <= 2 << 20, "{}", late.shown.len());
    assert!(format!("\n{expected}\nend\n").ends_with(&format!("\n{}", late.text())));
}

#[test]
fn killing_one_takes_all_that_it_left_anywhere() {
    let agent = start(10);
    let script = "trap '' HUP TERM; setsid sh -c 'trap \"\" TERM HUP; echo $$ > $T/far; exec sleep 1000' & \
                  (env -i setsid sleep 1001 & echo $! > $T/bare); exec sleep 1002";
    open(&agent, "tree", script);
    let pid = |name: &str| until(name, || std::fs::read_to_string(agent.path(name)).ok()?.trim().parse::<i32>().ok());
    let far = pid("far");
    let main = pid_of(&list(&agent)[0]);
    let begun = Instant::now();
    assert_eq!(greeted(&agent).ask(json!({"op": "session", "verb": "kill", "name": "tree"}))["answer"], "ok");
    assert!(begun.elapsed() > Duration::from_secs(4), "they had their grace");
    assert!(!is_alive(main) && !is_alive(far));
    assert!(list(&agent).is_empty());
    kill(pid("bare"), libc::SIGKILL);
    // One that listens goes at once.
    open(&agent, "tame", "sleep 1000");
    let begun = Instant::now();
    assert_eq!(greeted(&agent).ask(json!({"op": "session", "verb": "kill", "name": "tame"}))["answer"], "ok");
    assert!(begun.elapsed() < Duration::from_secs(3));
    let gone = greeted(&agent).ask(json!({"op": "session", "verb": "kill", "name": "tame"}));
    assert_eq!(gone["absent"], true);
}

#[test]
fn stopping_ends_them_soon_and_tells_who_looks() {
    let mut agent = start(10);
    for number in 0..5 {
        open(&agent, &format!("s{number}"), "echo ready; read line");
    }
    let shell = greeted(&agent).ask(json!({"op": "session", "verb": "open", "name": "shell"}));
    assert_eq!(shell["answer"], "session", "{shell}");
    let mut viewer = Viewer::attach(&agent, "s0", None);
    viewer.until("ready");
    let begun = Instant::now();
    agent.signal(libc::SIGTERM);
    let exit: Value = serde_json::from_slice(&viewer.until_told(EXIT)).unwrap();
    assert!(exit["signal"].is_i64(), "{exit}");
    assert_eq!(agent.exit_code(), 0);
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}

#[test]
fn names_are_checked_given_and_changed() {
    let agent = start(10);
    for name in ["a b", "", "../x", "-n", "a\u{1b}[m"] {
        let answer = try_open(&agent, name, &["sleep", "1000"]);
        assert!(answer["message"].as_str().unwrap().contains("can't be a session's name"), "{answer}");
    }
    open(&agent, "one", "sleep 1000");
    let taken = try_open(&agent, "one", &["sleep", "1000"]);
    assert!(taken["message"].as_str().unwrap().contains("`powerdev attach one` enters it"), "{taken}");
    let given: Vec<Value> = (0..2)
        .map(|_| greeted(&agent).ask(json!({"op": "session", "verb": "open", "command": ["sleep", "1000"]})))
        .map(|answer| answer["name"].clone())
        .collect();
    assert_eq!(given, ["sleep", "sleep-2"]);
    let rename =
        |name: &str, to: &str| greeted(&agent).ask(json!({"op": "session", "verb": "rename", "name": name, "to": to}));
    assert_eq!(rename("one", "sleep")["answer"], "error");
    assert_eq!(rename("one", "two")["answer"], "ok");
    assert_eq!(rename("one", "three")["message"], "no session `one` here; there are: sleep, sleep-2, two");
    let names: Vec<Value> = list(&agent).iter().map(|session| session["name"].clone()).collect();
    assert_eq!(names, ["sleep", "sleep-2", "two"]);
    assert_eq!(agent.status()["sessions"], 3);
}

#[test]
fn what_cannot_be_run_is_refused_and_too_many_are() {
    let agent = start(2);
    let missing = try_open(&agent, "x", &["no-such-program"]);
    assert!(missing["message"].as_str().unwrap().contains("no program `no-such-program`"), "{missing}");
    assert!(list(&agent).is_empty());
    open(&agent, "a", "sleep 1000");
    open(&agent, "b", "sleep 1000");
    let full = try_open(&agent, "c", &["sleep", "1000"]);
    assert!(full["message"].as_str().unwrap().starts_with("there are 2 sessions, as many as MAX_SESSIONS"), "{full}");
    greeted(&agent).ask(json!({"op": "session", "verb": "kill", "name": "a"}));
    open(&agent, "c", "sleep 1000");
}

#[test]
fn a_session_has_the_environment_of_a_shell_and_its_own() {
    let agent = Agent::launch(
        &json!({"project": "test", "environment": {"PLAIN": "seen"}, "services": {}}).to_string(),
        |_| {},
    );
    std::fs::write(agent.path("secrets.json"), r#"{"SECRET":"hush"}"#).unwrap();
    let open = json!({"op": "session", "verb": "open", "name": "env", "directory": "/usr",
        "environment": {"TERM": "xterm-kitty", "PLAIN": "own"}, "size": {"rows": 11, "cols": 22},
        "command": ["sh", "-c", "echo $PLAIN ${#SECRET} $TERM $(pwd) $(stty size); read line"]});
    assert_eq!(greeted(&agent).ask(open)["answer"], "session");
    Viewer::attach(&agent, "env", None).until("own 4 xterm-kitty /usr 11 22\r\n");
    let mut shell = greeted(&agent);
    let answer = shell.ask(json!({"op": "session", "verb": "open"}));
    assert_eq!(answer["command"][1], "-l", "{answer}");
}

#[test]
#[expect(clippy::print_stderr, reason = "the numbers are worth a look")]
fn two_hundred_at_once_cost_little_and_all_answer() {
    let agent = start(200);
    let memory = |agent: &Agent| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let latency = |agent: &Agent| {
        let mut connection = agent.connect();
        let mut times: Vec<_> = (0..200)
            .map(|_| {
                let begin = Instant::now();
                connection.ask(json!({"op": "health"}));
                begin.elapsed()
            })
            .collect();
        times.sort_unstable();
        times[100]
    };
    let before = (memory(&agent), latency(&agent));
    for number in 0..200 {
        open(&agent, &format!("s{number}"), "stty -echo; echo ready; while read line; do echo \"<$line>\"; done");
    }
    let mut viewers: Vec<_> = (0..200).map(|number| Viewer::attach(&agent, &format!("s{number}"), None)).collect();
    for (number, viewer) in viewers.iter_mut().enumerate() {
        viewer.until("ready");
        viewer.type_in(&format!("{number}\n"));
    }
    for (number, viewer) in viewers.iter_mut().enumerate() {
        viewer.until(&format!("<{number}>"));
    }
    let after = (memory(&agent), latency(&agent));
    // Shown by `--nocapture`.
    eprintln!("PID 1: {} kB, health {:?}; with 200 sessions: {} kB, health {:?}", before.0, before.1, after.0, after.1);
    assert!(after.0 < before.0 + 2048, "resident kB before and after: {before:?} {after:?}");
    assert_eq!(agent.status()["sessions"], 200);
    assert_eq!(agent.ask(json!({"op": "health"}))["state"], "healthy");
}
