//! Files that are made from the code are what the code makes. `POWERDEV_BLESS=1 cargo test --test generated` writes
//! them anew.

use std::path::Path;

use powerdev::completion::Shell;
use powerdev::config::{template, yaml};

/// Compares a committed file with what it should be, or writes it when blessed.
#[track_caller]
fn check(path: &str, content: &str) {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("POWERDEV_BLESS").is_some() {
        std::fs::create_dir_all(full.parent().expect("a file has a folder")).expect("the repository is writable");
        std::fs::write(&full, content).expect("the repository is writable");
        return;
    }
    let committed = std::fs::read_to_string(&full).unwrap_or_default();
    let differs = committed.lines().zip(content.lines()).position(|(old, new)| old != new);
    let line = differs.unwrap_or_else(|| committed.lines().count().min(content.lines().count())) + 1;
    assert!(
        committed == content,
        "{path} is stale from line {line}: POWERDEV_BLESS=1 cargo test --test generated writes it anew"
    );
}

#[test]
fn the_reference_is_that_of_this_command_line() {
    check("docs/reference.md", &powerdev::reference::markdown());
}

#[test]
fn the_schema_is_that_of_the_structures() {
    let schema = serde_json::to_string_pretty(&yaml::schema()).expect("JSON");
    check("docs/powerdev.schema.json", &format!("{schema}\n"));
}

#[test]
fn the_env_template_is_that_of_the_settings() {
    check("env_template", &template::env_template());
}

#[test]
fn the_completions_are_those_that_powerdev_prints() {
    for shell in Shell::ALL {
        let script = shell.script().expect("written to memory");
        check(&format!("completions/{}", shell.file()), &format!("{}\n", script.trim_end()));
    }
}
