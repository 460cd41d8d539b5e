//! What `dev` is there for works behind the wall: packages, debuggers of one's own processes, servers, ping.

use std::time::Duration;

use super::{environment, inside};
use crate::common::{Output, Project, core_image};

const LONG: Duration = Duration::from_secs(300);

/// Runs a line of shell as `dev` in the core image.
fn bash(project: &Project, script: &str) -> Output {
    project.powerdev(["exec", "--", "bash", "-lc", script]).deadline(LONG).run()
}

#[test]
fn servers_take_low_ports() {
    for security in ["dev", "strict", "trusted"] {
        let project = environment(security, "");
        let serve = "mkdir -p /tmp/www && echo served > /tmp/www/file && httpd -p 127.0.0.1:80 -h /tmp/www";
        inside(&project, "dev", serve).ok();
        assert_eq!(inside(&project, "dev", "wget -qO- http://127.0.0.1/file").ok().out(), "served\n", "{security}");
    }
}

/// A package with what packages have: a new user, a file that belongs to it, a program with a capability of its own.
const PACKAGE: &str = r#"
mkdir -p /tmp/p/DEBIAN /tmp/p/usr/bin && cd /tmp && cp /bin/true p/usr/bin/own-true && cp /bin/true p/usr/bin/own-bind
printf '%s\n' 'Package: own' 'Version: 1' 'Architecture: all' 'Maintainer: me <me@localhost>' 'Description: own' \
    > p/DEBIAN/control
cat > p/DEBIAN/postinst <<'END'
#!/usr/bin/python3
import os, pwd, subprocess
subprocess.run(["useradd", "--system", "own-user"], check=True)
os.chown("/usr/bin/own-true", pwd.getpwnam("own-user").pw_uid, 0)
os.chmod("/usr/bin/own-true", 0o4755)
os.setxattr("/usr/bin/own-bind", "security.capability", bytes.fromhex("0100000200040000" + 24 * "0"))
END
chmod 755 p/DEBIAN/postinst
dpkg-deb --root-owner-group -b p own.deb >/dev/null
sudo apt-get install -qy /tmp/own.deb >/tmp/said 2>&1 || { cat /tmp/said; exit 1; }
own-bind && stat -c '%U %a' /usr/bin/own-true
"#;

/// Attaches to each process of its arguments, as a debugger does, and says what came of it.
const ATTACH: &str = r#"
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
child = os.fork()
if child == 0:
    signal.pause()
for pid in [child] + [int(word) for word in sys.argv[1:]]:
    if libc.ptrace(16, pid, 0, 0) == 0:
        os.waitpid(pid, 0x40000000)
        libc.ptrace(17, pid, 0, 0)
        print("attached")
    else:
        print(os.strerror(ctypes.get_errno()))
os.kill(child, signal.SIGKILL)
"#;

#[test]
fn dev_installs_packages_and_debugs_its_own() {
    let project = Project::bare();
    core_image::build(&project);
    let off = "claude-flow: { enabled: false }, ruv-swarm: { enabled: false }, tmux: { enabled: false }";
    project.write("powerdev.yaml", format!("services: {{ {off}, idle: {{ command: exec sleep 1000000 }} }}\n"));
    project.powerdev(["up"]).deadline(LONG).run().ok();

    let quiet = bash(&project, "sudo id -u && sudo -u nobody id -un").ok();
    assert_eq!((quiet.out(), quiet.err().as_str()), ("0\nnobody\n", ""), "sudo has nothing to say of its own");
    assert_eq!(bash(&project, PACKAGE).ok().out(), "own-user 4755\n");

    let attach = |sudo: &str| {
        let script = format!("{sudo} python3 -c \"$ATTACH\" 1 $(pgrep -xo sleep)");
        let run = project.powerdev(["exec", "-e", &format!("ATTACH={ATTACH}"), "--", "bash", "-lc", &script]);
        run.run().ok().out().to_owned()
    };
    assert_eq!(attach(""), "attached\nOperation not permitted\nattached\n", "a child, PID 1, another of dev's");
    assert_eq!(attach("sudo"), "attached\nOperation not permitted\nOperation not permitted\n");

    // What ping asks for where it gets no raw socket.
    let echo = "from socket import *; s = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP); s.settimeout(5); \
                s.sendto(bytes([8, 0, 0, 0, 0, 0, 0, 0]), ('127.0.0.1', 0)); print(s.recv(64)[0])";
    assert_eq!(project.powerdev(["exec", "--", "python3", "-c", echo]).run().ok().out(), "0\n");

    // The rest is fetched, where this machine can.
    let update = "sudo apt-get -o Acquire::Retries=0 -o Acquire::http::Timeout=10 update -q --error-on=any";
    if bash(&project, update).code != 0 {
        return;
    }
    bash(&project, "sudo apt-get install -qy gdb strace iputils-ping").ok();
    let traced = bash(&project, "gdb -batch -ex 'break exit' -ex run -ex bt --args sleep 0.1 && strace -f true").ok();
    assert!(traced.out().contains("#0"), "{}", traced.out());
    assert!(traced.err().contains("exited with 0"), "{}", traced.err());
    bash(&project, "gdb -batch -p $(pgrep -xo sleep) -ex bt && ping -c 1 -w 5 127.0.0.1").ok();
}
