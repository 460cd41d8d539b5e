//! The host's devices, its network below the protocols, and its Engine.

use super::{against_each, environment, inside, refused};
use crate::common::{Project, root};

/// A disk of this machine, by its numbers.
fn disk() -> (u32, u32) {
    let partitions = std::fs::read_to_string("/proc/partitions").expect("a Linux machine");
    let numbers = partitions.lines().skip(2).filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    });
    numbers.last().expect("it has a disk")
}

/// Has root outside make a node for the disk where `dev` works, that everybody may read.
fn plant_node(project: &Project, (major, minor): (u32, u32)) {
    let node = project.dir().join(".agent-mount/docker_workspace/disk");
    root::shell(&format!("mknod -m 666 '{0}' b {major} {minor}", node.display()));
}

#[test]
fn no_device_of_the_host_opens() {
    let (major, minor) = disk();
    against_each(|project, security| {
        let users = &["root", "dev"];
        refused(project, security, users, &format!("mknod /tmp/disk b {major} {minor}"));
        refused(project, security, users, "mknod /tmp/mem c 1 1");
        plant_node(project, (major, minor));
        refused(project, security, users, "head -c 1 /home/dev/workspace/disk");
        refused(project, security, users, "mkdir -p /tmp/m; mount /home/dev/workspace/disk /tmp/m");
    });
}

/// A node can be made, and opens for nobody.
#[test]
fn trusted_makes_nodes_that_do_not_open() {
    let (major, minor) = disk();
    let project = environment("trusted", "");
    inside(&project, "root", &format!("mknod /tmp/disk b {major} {minor}")).ok();
    refused(&project, "trusted", &["root"], "head -c 1 /tmp/disk");
}

#[test]
fn no_packet_is_forged() {
    against_each(|project, security| {
        let gateway = "$(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p')";
        refused(project, security, &["root", "dev"], &format!("arping -c 1 -w 1 {gateway}"));
        refused(project, security, &["root", "dev"], "ip link add name other type dummy");
        refused(project, security, &["root", "dev"], "ip address add 10.9.8.7/32 dev eth0");
    });
}

#[test]
fn no_socket_of_the_host_is_inside() {
    against_each(|project, security| {
        let sockets = inside(project, "root", "find / -path /proc -prune -o -type s -print 2>/dev/null; true").ok();
        let foreign: Vec<&str> = sockets.out().lines().filter(|path| *path != "/run/powerdev/agent.sock").collect();
        assert_eq!(foreign, Vec::<&str>::new(), "{security}");
    });
}
