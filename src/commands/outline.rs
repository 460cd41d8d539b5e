//! A plan as people read it: what would be made, line by line.

use std::fmt::Write as _;

use powerdev_protocol::Service;

use crate::config::{Choice, Settings};
use crate::lifecycle::report;
use crate::plan::Plan;
use crate::spec::{ContainerSpec, Gpus, MountSource};

/// What would be made, from these settings.
pub fn outline(settings: &Settings, plan: &Plan) -> String {
    let spec = plan.environment();
    let mut text = String::new();
    let mut line = |what: &str, value: &str| {
        // Writing to a string succeeds.
        writeln!(text, "{what:<10}{value}").ok();
    };
    line("image", &spec.image);
    line("project", &spec.project_dir);
    line("user", &spec.user.to_string());
    line("limits", &limits(spec));
    line("gpus", &gpus(&spec.gpus));
    line("security", &settings.security.explained());
    many(&mut line, "mounts", mounts(spec));
    many(&mut line, "ports", ports(settings, spec));
    many(&mut line, "services", settings.services.iter().filter(|(_, service)| service.enabled).map(service).collect());
    let secrets: Vec<&str> = settings.secrets.keys().collect();
    let secrets = if secrets.is_empty() { "no secrets".to_owned() } else { format!("secrets: {}", secrets.join(", ")) };
    line("variables", &format!("{} plain, {secrets}", spec.environment.len()));
    text
}

/// A line each, under one heading.
fn many(line: &mut impl FnMut(&str, &str), what: &str, values: Vec<String>) {
    if values.is_empty() {
        line(what, "none");
    }
    for (place, value) in values.iter().enumerate() {
        line(if place == 0 { what } else { "" }, value);
    }
}

fn limits(spec: &ContainerSpec) -> String {
    let cpus = spec.cpus.map_or_else(|| "all CPUs".to_owned(), |cpus| format!("{cpus} CPUs"));
    format!("{cpus}, {} of memory, {} tasks, {} of /dev/shm", spec.memory, spec.pids, spec.shm)
}

fn gpus(gpus: &Gpus) -> String {
    match gpus {
        Gpus::None => "none".to_owned(),
        Gpus::All => "all".to_owned(),
        Gpus::Ids(ids) => ids.join(", "),
    }
}

fn mounts(spec: &ContainerSpec) -> Vec<String> {
    let width = spec.mounts.iter().map(|mount| mount.target.len()).max().unwrap_or(0);
    let shown = spec.mounts.iter().map(|mount| {
        let source = match &mount.source {
            MountSource::Folder(path) => path.clone(),
            MountSource::Volume { name, .. } => format!("volume {name}"),
        };
        let read_only = if mount.read_only { ", read-only" } else { "" };
        format!("{:width$}  {source}{read_only}", mount.target)
    });
    shown.collect()
}

fn ports(settings: &Settings, spec: &ContainerSpec) -> Vec<String> {
    let ports = report::published(&spec.ports, &report::services_by_port(settings));
    let shown = ports.iter().map(|port| {
        let of = port.service.as_deref().map(|service| format!(" ({service})")).unwrap_or_default();
        format!("{}:{} -> {}{of}", port.address, port.host, port.container)
    });
    shown.collect()
}

fn service((name, service): (&String, &Service)) -> String {
    let after: Vec<&str> = service.depends_on.keys().map(String::as_str).collect();
    let after = if after.is_empty() { String::new() } else { format!("  (after {})", after.join(", ")) };
    let command = service.command.join(" ");
    let command = console::truncate_str(&command, 60, "…");
    format!("{name}: {command}{after}")
}
