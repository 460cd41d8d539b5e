//! The real core image: built (from the cache after the first time), brought up, and used.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::common::{Output, Project, core_image, engine, wait};

const UP: Duration = Duration::from_secs(180);

const TOOLS: &[&str] = &[
    "bat",
    "claude",
    "claude-flow",
    "cc",
    "curl",
    "eza",
    "fd",
    "fish",
    "fzf",
    "gh",
    "git",
    "hadolint",
    "htop",
    "hyperfine",
    "jq",
    "make",
    "man",
    "nano",
    "node",
    "npm",
    "python3",
    "rg",
    "ruv-swarm",
    "screen",
    "shellcheck",
    "ssh",
    "sudo",
    "tmux",
    "tree",
    "uv",
    "uvx",
    "vim",
    "zsh",
];

fn inside(project: &Project, script: &str) -> Output {
    project.powerdev(["exec", "--", "bash", "-lc", script]).deadline(UP).run()
}

#[test]
fn the_core_image_works_and_keeps_its_state() {
    let project = Project::bare();
    core_image::build(&project);
    assert_eq!(project.powerdev(["build", "--json"]).run().ok().json()["up_to_date"], true);
    project.powerdev(["up"]).deadline(UP).run().ok();

    assert_eq!(inside(&project, "id -un; echo ~").ok().out(), "dev\n/home/dev\n");
    let missing = inside(
        &project,
        &format!("for tool in {}; do command -v $tool >/dev/null || echo $tool; done", TOOLS.join(" ")),
    );
    assert_eq!(missing.ok().out(), "", "tools that aren't there");
    assert!(inside(&project, "claude --version").ok().out().contains("Claude Code"));
    assert_eq!(inside(&project, "hadolint - <<< $'FROM scratch\\nRUN cd x' | grep -c DL3003").ok().out(), "1\n");
    // The image's own Dockerfile passes what is in the image.
    project.write(".agent-mount/docker_workspace/Dockerfile", include_str!("../../Dockerfile"));
    project.write(".agent-mount/docker_workspace/.hadolint.yaml", include_str!("../../.hadolint.yaml"));
    let said = inside(&project, "cd ~/workspace && hadolint --no-color Dockerfile");
    assert_eq!((said.code, said.out()), (0, ""));
    inside(&project, "python3 -m venv /tmp/venv && /tmp/venv/bin/pip --version").ok();
    assert!(inside(&project, "tmux list-sessions").ok().out().contains("claude-flow"));

    let port = console_answers(&project);
    only_its_own_pages_drive_it(&project, port);
    speaks_mcp(&project);

    inside(&project, "echo '{\"kept\": 1}' > ~/.claude.json && mkdir -p ~/.claude && touch ~/.claude/kept").ok();
    inside(&project, "test -s ~/.local/share/ruv-swarm/ruv-swarm.db").ok();
    project.powerdev(["rm", "--force", "--yes"]).run().ok();
    project.powerdev(["up"]).deadline(UP).run().ok();
    let kept = inside(
        &project,
        "cat ~/.claude.json && test -e ~/.claude/kept && test -s ~/.local/share/ruv-swarm/ruv-swarm.db",
    );
    assert_eq!(kept.ok().out(), "{\"kept\": 1}\n");
}

#[test]
fn a_service_is_seen_and_typed_to_in_its_tmux_session() {
    let project = Project::bare();
    core_image::build(&project);
    let talk = "command: [bash, -c, 'while read -r line; do echo \"got <$line>\"; done']";
    project.write("powerdev.yaml", format!("services: {{ claude-flow: {{ enabled: false }}, talk: {{ {talk} }} }}\n"));
    project.powerdev(["up"]).deadline(UP).run().ok();
    let pid = |service: &str| {
        // Whatever its health is.
        let status = project.powerdev(["status", "--json"]).run().json();
        let services = status["services"].as_array().expect("services").iter();
        services.filter(|found| found["name"] == service).find_map(|found| found["pid"].as_i64())
    };
    let talks = pid("talk").expect("it runs");
    let hear = |word: &str| {
        let mut terminal = project.powerdev(["exec", "--", "tmux", "attach", "-t", "talk"]).terminal(24, 100);
        terminal.expect("talk");
        terminal.send(format!("{word}\r"));
        terminal.expect(&format!("got <{word}>"));
        // As C-b d does, which tmux takes for pasted text when it comes as fast as a program types.
        inside(&project, "tmux detach-client -s talk").ok();
        terminal.expect("detached");
        assert_eq!(terminal.wait().0, 0);
    };
    hear("one");
    assert_eq!(pid("talk"), Some(talks), "who looks away ends nothing");

    // A viewer is all that it is: without it the service goes on, and a new one shows it again.
    let server = pid("tmux").expect("it runs");
    inside(&project, "kill -9 $(tmux display-message -p '#{pid}')").ok();
    wait::until("another tmux server is ready", UP, || {
        let another = pid("tmux").is_some_and(|pid| pid != server);
        (another && inside(&project, "tmux has-session -t talk").code == 0).then_some(())
    });
    hear("two");
    assert_eq!(pid("talk"), Some(talks));
}

#[test]
fn sessions_come_and_go_with_the_services_and_keys_leave_them() {
    let project = Project::bare();
    core_image::build(&project);
    let services = |more: &str| {
        let off = "claude-flow: { enabled: false }";
        let one = "one: { command: exec sleep 1000000 }";
        project.write("powerdev.yaml", format!("services: {{ {off}, {one}{more} }}\n"));
        project.powerdev(["up"]).deadline(UP).run().ok();
    };
    let sessions = |expected: &[&str]| {
        wait::until(&format!("the sessions are {expected:?}"), UP, || {
            let listed = inside(&project, "tmux list-sessions -F '#{session_name}'");
            let mut names: Vec<&str> = listed.out().lines().collect();
            names.sort_unstable();
            (names == expected).then_some(())
        });
    };
    services("");
    inside(&project, "tmux new-session -d -s own && tmux set -g assume-paste-time 0").ok();
    sessions(&["one", "own"]);
    services(", two: { command: exec cat }");
    sessions(&["one", "own", "two"]);

    let open = |command: &[&str]| {
        let words: Vec<&str> = ["exec", "--"].iter().chain(command).copied().collect();
        project.powerdev(words).terminal(24, 80)
    };
    let mut terminal = open(&["tmux", "attach", "-t", "two"]);
    terminal.expect("two");
    terminal.send("seen-in-tmux\r");
    terminal.expect("seen-in-tmux");
    terminal.send("\x02d");
    terminal.expect("detached (from session two)");
    assert_eq!(terminal.wait().0, 0);
    let mut terminal = open(&["powerdev-agent", "attach", "two"]);
    terminal.expect("seen-in-tmux");
    terminal.send("typed-$((1+1))\r");
    terminal.expect("typed-$((1+1))\r\ntyped-$((1+1))");
    terminal.send("\x10\x11");
    terminal.expect("left two, which goes on");
    assert_eq!(terminal.wait().0, 0);
    let status = project.powerdev(["status", "--json"]).run().ok().json();
    assert!(status["services"].as_array().expect("services").iter().all(|s| s["restarts"] == 0), "{status}");

    services("");
    sessions(&["one", "own"]);
    // A server that is killed takes the user's own sessions along; the services' are there again.
    inside(&project, "kill -9 $(tmux display-message -p '#{pid}')").ok();
    sessions(&["one"]);
}

/// From the host, on the port that `status` tells. Gives that port.
fn console_answers(project: &Project) -> u16 {
    let status = project.powerdev(["status", "--json"]).run().ok().json();
    let ports = status["ports"].as_array().expect("ports");
    let port = ports.iter().find(|port| port["container"] == 3000).expect("the UI's port");
    assert_eq!(port["address"], "127.0.0.1");
    let url = format!("http://127.0.0.1:{}/console", port["host"]);
    let code = std::process::Command::new("curl")
        .args(["-sL", "--noproxy", "*", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}", &url])
        .output()
        .expect("curl runs");
    assert_eq!(String::from_utf8_lossy(&code.stdout), "200", "{url}");
    port["host"].as_u64().and_then(|port| port.try_into().ok()).expect("a port")
}

/// A page of somebody else's, open in a browser on this machine, can reach the published port, and the container.
fn only_its_own_pages_drive_it(project: &Project, port: u16) {
    let handshake = |origin: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is published");
        stream.set_read_timeout(Some(UP)).expect("a socket");
        let head = [
            "GET /ws HTTP/1.1",
            &format!("Host: localhost:{port}"),
            &format!("Origin: {origin}"),
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ];
        write!(stream, "{}\r\n\r\n", head.join("\r\n")).expect("sent");
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).expect("an answer");
        answer
    };
    assert!(handshake(&format!("http://127.0.0.1:{port}")).starts_with("HTTP/1.1 101 "));
    assert!(handshake("https://evil.example").starts_with("HTTP/1.1 403 "));
    assert!(inside(project, "tail -n 5 ~/logs/claude-flow.log").ok().out().contains("https://evil.example"));

    let inspected = engine::inspect(&project.container()).expect("it runs");
    let networks = inspected["NetworkSettings"]["Networks"].as_object().expect("networks");
    let address = networks.values().find_map(|network| network["IPAddress"].as_str()).expect("an address");
    let address: IpAddr = address.parse().expect("an address");
    TcpStream::connect((address, 3000)).expect("past the published port there is the guard");
    let behind = TcpStream::connect((address, 3080)).expect_err("past the guard there is nothing");
    assert_eq!(behind.kind(), ErrorKind::ConnectionRefused);
}

/// A client of its own beside the service: `claude mcp add` starts one in the same way.
fn speaks_mcp(project: &Project) {
    let ask = |id: u32, method: &str, params: Value| {
        format!("{}\n", serde_json::json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
    };
    let hello = serde_json::json!({
        "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}
    });
    let input = ask(1, "initialize", hello) + &ask(2, "tools/list", serde_json::json!({}));
    // It exits when its input ends: the input stays open until both have been answered.
    let script = "coproc mcp { ruv-swarm mcp start 2>/dev/null; }; cat >&\"${mcp[1]}\"; n=0; \
                  while [ $n -lt 2 ] && read -r -t 60 line <&\"${mcp[0]}\"; do \
                  case $line in *'\"id\":'*) echo \"$line\"; n=$((n + 1));; esac; done";
    let output = project.powerdev(["exec", "--", "bash", "-c", script]).stdin(input).deadline(UP).run().ok();
    let answers: Vec<Value> = output.out().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let answer = |id: u32| answers.iter().find(|answer| answer["id"] == id).expect("an answer");
    assert_eq!(answer(1)["result"]["serverInfo"]["version"], "1.0.20");
    let tools = answer(2)["result"]["tools"].as_array().expect("tools");
    assert!(tools.iter().any(|tool| tool["name"] == "swarm_init"), "{tools:?}");
}
