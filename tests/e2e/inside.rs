//! The core image as a person inside finds it: shells, claude with its flags, MCP servers, claude-flow's page.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;

use crate::common::{Output, Project, core_image, wait};

const UP: Duration = Duration::from_secs(180);
/// A claude of the user's own that tells what it was given, and ends at once or after a line.
const TELLS: &str = "mkdir -p ~/.local/bin && cat > ~/.local/bin/claude && chmod +x ~/.local/bin/claude";
const PRINTS: &str = "#!/bin/sh\nprintf '<%s>' \"$@\"\necho\ncase \"$*\" in *stay) read -r line ;; esac\n";
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

fn run(project: &Project, command: &[&str]) -> Output {
    project.powerdev([&["exec", "--"], command].concat()).deadline(UP).run()
}

fn inside(project: &Project, script: &str) -> String {
    run(project, &["bash", "-lc", script]).ok().out().to_owned()
}

/// An environment of the core image without its services but tmux.
fn quiet(project: &Project) {
    core_image::build(project);
    project.write("powerdev.yaml", "services: { claude-flow: { enabled: false } }\n");
    project.powerdev(["up"]).deadline(UP).run().ok();
}

/// What this line, typed into a new window of the tmux server, writes to the file that `$OUT` stands for.
fn typed_in_tmux(project: &Project, shell: &str, line: &str) -> String {
    let line = line.replace("$OUT", "/tmp/typed");
    let window =
        format!("rm -f /tmp/typed; tmux new-session -d -s typed {shell} && tmux send-keys -t typed \"$1\" Enter");
    run(project, &["bash", "-c", &window, "bash", &line]).ok();
    let text = wait::until(&format!("{shell} has run {line}"), UP, || {
        let output = run(project, &["cat", "/tmp/typed"]);
        (output.code == 0 && output.out().ends_with('\n')).then(|| output.out().to_owned())
    });
    run(project, &["tmux", "kill-session", "-t", "typed"]).ok();
    text
}

#[test]
fn claude_gets_its_flags_however_it_is_typed() {
    let project = Project::bare();
    project.env_file("CLAUDE_CODE_FLAGS='--dangerously-skip-permissions --append-system-prompt \"two words\"'\n");
    quiet(&project);
    let flags = "<--dangerously-skip-permissions><--append-system-prompt><two words>";
    // The real one, which takes them twice and before a command, too.
    assert!(run(&project, &["claude", "--version"]).ok().out().contains("Claude Code"));
    let script = "claude $(xargs -n1 <<< \"$CLAUDE_CODE_FLAGS\" | head -1) --version";
    assert!(inside(&project, script).contains("Claude Code"));
    assert!(inside(&project, "claude mcp list").contains("ruv-swarm"));
    run(&project, &["claude", "doctor"]).ok();

    project.powerdev(["exec", "--", "bash", "-c", TELLS]).stdin(PRINTS).run().ok();
    let with_flags = format!("{flags}<hi>\n");
    assert_eq!(run(&project, &["claude", "hi"]).ok().out(), with_flags);
    for shell in SHELLS {
        for options in ["-c", "-lc", "-ic", "-lic"] {
            let said = run(&project, &[shell, options, "claude hi"]).ok();
            assert_eq!(said.out(), with_flags, "{shell} {options}");
        }
        assert_eq!(typed_in_tmux(&project, shell, "claude hi > $OUT"), with_flags, "{shell} in tmux");
    }
    assert_eq!(run(&project, &["claude", "mcp", "list"]).ok().out(), "<mcp><list>\n", "a command takes none");
    assert!(run(&project, &["/usr/local/bin/claude", "--version"]).ok().out().contains("Claude Code"), "by its path");
    let mut session = project.powerdev(["claude", "--", "stay"]).terminal(24, 200);
    session.expect(&format!("{flags}<stay>"));
    session.send("\r");
    assert_eq!(session.wait().0, 0, "and not twice");
    let root = project.powerdev(["exec", "-u", "root", "--", "claude", "hi"]).run().ok();
    assert_eq!(root.out(), "<--append-system-prompt><two words><hi>\n");
    assert!(root.err().contains("refuses as root"), "{}", root.err());

    let with = |flags: &str| {
        let flags = format!("CLAUDE_CODE_FLAGS={flags}");
        run(&project, &["env", &flags, "claude", "hi"])
    };
    assert_eq!(with("$(touch /tmp/ran) * ~ `id`").ok().out(), "<$(touch></tmp/ran)><*><~><`id`><hi>\n");
    assert_eq!(run(&project, &["ls", "/tmp/ran"]).code, 2, "nothing of them is run");
    assert_eq!(with("").ok().out(), "<hi>\n");
    let broken = with("a 'b");
    assert!(broken.code == 2 && broken.err().contains("is each quote closed?"), "{}", broken.err());
}

#[test]
fn a_new_window_of_an_old_tmux_server_has_new_variables() {
    let project = Project::bare();
    project.env_file("CANARY='it''s old'\nGONE=1\n");
    quiet(&project);
    let tell = "echo \"$CANARY\" \"$GONE\" $MINE > $OUT";
    assert_eq!(typed_in_tmux(&project, "bash -l", tell), "its old 1\n");
    project.env_file("CANARY='new $HOME \\ \"x\"'\nADDED=1\n");
    project.powerdev(["up"]).deadline(UP).run().ok();
    let new = "new $HOME \\ \"x\" \n";
    for shell in ["bash -l", "bash", "zsh", "zsh -l", "fish", "fish -l"] {
        assert_eq!(typed_in_tmux(&project, shell, tell), new, "{shell}");
        let path = typed_in_tmux(&project, shell, "command -v powerdev-agent > $OUT");
        assert_eq!(path, "/opt/powerdev/bin/powerdev-agent\n", "{shell}");
    }
    // What somebody has set by hand stays where nothing has changed since.
    let by_hand = "CANARY=mine bash -lc 'echo $CANARY'";
    assert_eq!(inside(&project, by_hand), "mine\n");
}

#[test]
fn git_commits_by_the_users_own_name() {
    let project = Project::bare();
    let outside = |name: &str| {
        let config = format!("[user]\n\tname = {name}\n\temail = ada@host.example\n[core]\n\tpager = outside\n");
        std::fs::write(project.home().join(".gitconfig"), config).expect("the home folder is writable");
    };
    outside("Ada \\\"A\\\" Lovelace");
    // Whoever owns it.
    std::fs::set_permissions(project.dir(), std::fs::Permissions::from_mode(0o777)).expect("ours");
    quiet(&project);
    let commit = |more: &str| {
        let script =
            format!("{more}cd /workspace/ext && git commit -q --allow-empty -m x && git log -1 --format='%an %ae'");
        inside(&project, &script)
    };
    let begin = "git init -q /workspace/ext && git -C /workspace/ext branch --show-current; ";
    assert_eq!(commit(begin), "main\nAda \"A\" Lovelace ada@host.example\n");
    assert_eq!(run(&project, &["git", "config", "core.pager"]).code, 1, "nothing else of it");
    outside("Grace");
    project.powerdev(["up"]).deadline(UP).run().ok();
    assert_eq!(commit(""), "Grace ada@host.example\n");
    assert_eq!(commit("git config --global user.email home@host.example; "), "Grace home@host.example\n");
    assert_eq!(commit("git -C /workspace/ext config user.name Own; "), "Own home@host.example\n");
    inside(&project, "printf '[user]\\n\\tname = Image\\n' | sudo tee /etc/gitconfig");
    assert_eq!(commit("git -C /workspace/ext config --unset user.name; "), "Image home@host.example\n");
}

#[test]
fn manuals_and_tools_are_there_and_end() {
    let project = Project::bare();
    quiet(&project);
    let script = "man -w ls git bash tmux >/dev/null && fd --version && tree --version && uv --version && gh --version";
    assert!(inside(&project, script).contains("gh version"));
    for arguments in ["--version", "version", "--help", "status", "features"] {
        let script = format!("timeout 60 ruv-swarm {arguments} >/dev/null");
        assert_eq!(run(&project, &["bash", "-c", &script]).code, 0, "{arguments}");
    }
    let host = run(&project, &["getent", "hosts", "host.docker.internal"]).ok();
    assert!(host.out().contains("host.docker.internal"), "{}", host.out());
    let terminal = project.powerdev(["exec", "--", "sh", "-c", "echo \"<$COLORTERM>\""]);
    let mut terminal = terminal.env("COLORTERM", "truecolor").terminal(24, 80);
    terminal.expect("<truecolor>");
}

#[test]
fn claude_has_its_servers_and_the_page_asks_where_it_came_from() {
    let project = Project::bare();
    core_image::build(&project);
    project.powerdev(["up"]).deadline(UP).run().ok();
    let listed = inside(&project, "claude mcp list");
    for server in ["claude-flow", "ruv-swarm"] {
        let line = listed.lines().find(|line| line.starts_with(&format!("{server}:"))).expect("it is listed");
        assert!(line.contains("Connected"), "{listed}");
    }
    inside(&project, "claude mcp remove ruv-swarm && claude mcp add mine -- true");
    project.powerdev(["rm", "--force", "--yes"]).run().ok();
    project.powerdev(["up"]).deadline(UP).run().ok();
    let servers: Value = serde_json::from_str(&inside(&project, "jq -c .mcpServers ~/.claude.json")).expect("JSON");
    assert!(servers["ruv-swarm"].is_null() && servers["claude-flow"].is_object(), "what the user did stays: {servers}");

    let script = "curl -s http://127.0.0.1:3000/console/js/settings.js > /tmp/settings.mjs && cat > /tmp/ask.mjs && \
                  node /tmp/ask.mjs";
    let ask = "globalThis.location = new URL('http://box:4321/console');\n\
               globalThis.localStorage = { getItem: () => null };\n\
               globalThis.document = { addEventListener() {} };\n\
               globalThis.window = globalThis;\n\
               globalThis.addEventListener ??= () => {};\n\
               const { SettingsManager } = await import('/tmp/settings.mjs');\n\
               console.log(new SettingsManager().get('serverUrl'));\n";
    let asked = project.powerdev(["exec", "--", "bash", "-c", script]).stdin(ask).deadline(UP).run().ok();
    assert_eq!(asked.out(), "ws://box:4321/ws\n");
}
