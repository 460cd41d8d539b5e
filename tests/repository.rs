//! The repository itself: scripts, the image's recipe, links and names in the documentation.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below `dir` whose name ends so.
fn files(dir: &str, ending: &str) -> Vec<PathBuf> {
    walkdir::WalkDir::new(root().join(dir))
        .into_iter()
        .filter_map(Result::ok)
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.is_file() && path.to_string_lossy().ends_with(ending))
        .collect()
}

#[test]
fn shell_scripts_pass_shellcheck() {
    let scripts = files("scripts", ".sh");
    assert!(scripts.len() >= 2, "{scripts:?}");
    let output = Command::new("shellcheck")
        .args(&scripts)
        .arg(root().join(".ci/run"))
        .output()
        .expect("shellcheck is installed by `make test`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// A small tree with one of everything that is counted, and with what must not be.
#[test]
fn the_structure_is_measured() {
    let tree = tempfile::tempdir().expect("a folder");
    let write = |path: &str, text: &str| {
        let path = tree.path().join(path);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("it can be made");
        fs::write(path, text).expect("it can be written");
    };
    write("Cargo.toml", "[dependencies]\nregex = \"1\"\nserde.workspace = true\n[dev-dependencies]\ninsta = \"1\"\n");
    write(
        "src/agent/mod.rs",
        "//! struct Line;\npub struct AgentError;\npub struct Client;\nimpl Client {\n    pub fn connect() {}\n}\n",
    );
    write(
        "src/status.rs",
        "struct Line;\n// a comment\nfn here(engine: &Engine) -> bool {\n    engine.endpoint().local\n}\n\
         fn ask(engine: &Engine) {\n    if here(engine) { Client::connect() } // \"\n    let text = \"} fn no() {\";\n}\n\
         #[cfg(test)]\nmod tests { fn more() { if engine.local { Client::connect() } } struct Line; struct Line; }\n",
    );
    write("crates/agent/src/main.rs", "pub enum Line { One }\nconst NAME: &str = \"BIND_ADDRESS\";\n");
    write("src/tests.rs", "struct Line;\n");
    let output = Command::new(root().join("scripts/measure-structure"))
        .args(["--places".as_ref(), tree.path()])
        .output()
        .expect("python3 is installed by `make test`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8(output.stdout).expect("text");
    let (table, places) = told.split_once("\n\n").expect("a table, and places");
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.trim().splitn(2, "  ").map(str::trim).collect()).collect();
    let value = |name: &str| rows.iter().find(|row| row[0].starts_with(name)).expect(name)[1];
    for (name, expected) in [
        ("files", "3"),
        ("lines a function", "3 / 4 / 4"),
        ("types", "4"),
        ("type names used twice", "2 (0)"),
        ("forks", "2 (1)"),
        ("ways to the agent", "1"),
        ("files that name one setting", "1"),
        ("direct dependencies", "2 (1)"),
        ("blocks of 6", "0"),
    ] {
        assert_eq!(value(name), expected, "{name}\n{told}");
    }
    assert!(places.contains("src/status.rs:7  ask"), "{told}");
}

/// Whoever is behind a mirror fetches from there: what fetches asks for the user's configuration, and names no registry.
#[test]
fn the_image_names_no_registry() {
    let hosts = regex::Regex::new(r"(npmjs|pypi|pythonhosted|nodejs|nodesource|github)\.(org|com)").expect("a pattern");
    let mut recipe = vec![root().join("Dockerfile")];
    recipe.extend(files("templates/image", ""));
    for path in recipe {
        let text = fs::read_to_string(&path).expect("it is there");
        // A lock file names who made a package, which may be reached anywhere.
        let found = match path.ends_with("package-lock.json") {
            true => text.contains("\"resolved\"").then_some("resolved"),
            false => hosts.find(&text).map(|found| found.as_str()),
        };
        assert_eq!(found, None, "{}", path.display());
    }
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).expect("it is there").replace("\\\n", " ");
    for (command, secret) in [("pip install", "id=pip.conf,"), ("npm-cli.js install", "id=npmrc,")] {
        let steps: Vec<&str> = dockerfile.lines().filter(|line| line.contains(command)).collect();
        assert_eq!(steps.len(), 1, "{command}");
        assert!(steps[0].contains(secret), "{}", steps[0]);
    }
}

#[test]
fn ci_is_one_line_that_calls_make_test() {
    let script = fs::read_to_string(root().join(".ci/run")).expect("it is there");
    let lines: Vec<&str> = script.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), 1, "{script}");
    assert!(lines[0].contains("make") && lines[0].ends_with("test"), "{script}");
}

#[test]
fn every_target_of_make_is_explained() {
    let makefile = fs::read_to_string(root().join("Makefile")).expect("it is there");
    for line in makefile.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains(':'))
    {
        assert!(line.contains(" ## "), "{line}");
    }
}

#[test]
fn workflows_are_yaml_with_jobs() {
    let workflows = files(".github/workflows", ".yml");
    assert_eq!(workflows.len(), 2, "{workflows:?}");
    let pinned = regex::Regex::new(r"uses: [\w/-]+@[0-9a-f]{40} # v[0-9.]+$").expect("a pattern");
    for path in workflows {
        let text = fs::read_to_string(&path).expect("it is there");
        let yaml: serde_yaml::Value =
            serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(yaml.get("jobs").is_some(), "{}", path.display());
        // A tag can be moved to other code, a commit can't.
        let moving = text.lines().find(|line| line.contains("uses:") && !pinned.is_match(line));
        assert_eq!(moving, None, "{}", path.display());
    }
}

/// Every relative link, and every path in backquotes that starts with a folder of ours, leads somewhere.
#[test]
fn documentation_leads_somewhere() {
    let mut pages = files("docs", ".md");
    pages.extend(
        ["README.md", "CONTRIBUTING.md"].map(|name| root().join(name)).into_iter().filter(|page| page.exists()),
    );
    let link = regex::Regex::new(r"\]\(([^)#]+)(?:#[^)]*)?\)|(?:src|href)=.([^'#]+?).[ >/]").expect("a pattern");
    let path = regex::Regex::new(r"`((?:src|crates|tests|benches|scripts|docs|templates|completions)/[\w./-]*)`")
        .expect("a pattern");
    for page in pages {
        let text = fs::read_to_string(&page).expect("it is there");
        let folder = page.parent().expect("a file has a folder");
        for found in link.captures_iter(&text) {
            let target = found.get(1).or(found.get(2)).expect("one of them").as_str().trim_matches('"');
            let outside = target.contains("://") || target.starts_with("mailto:");
            assert!(outside || folder.join(target).exists(), "{}: {target} leads nowhere", page.display());
        }
        for found in path.captures_iter(&text) {
            assert!(root().join(&found[1]).exists(), "{}: there is no {}", page.display(), &found[1]);
        }
    }
}

/// What docs/security.md says is held, a test carries out.
#[test]
fn every_attack_that_is_held_names_its_test() {
    let text = fs::read_to_string(root().join("docs/security.md")).expect("it is there");
    let (_, section) = text.split_once("\n## Attacks\n").expect("a section on attacks");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.len() >= 2, "{section}");
    let named = regex::Regex::new(r"`((?:\w+::)+)(\w+)`").expect("a pattern");
    for row in rows {
        let [attack, cells @ ..] = row.as_slice() else { panic!("an empty row") };
        assert_eq!(cells.len(), 3, "{attack}: dev, strict, trusted");
        for cell in cells {
            let held = cell.starts_with("held");
            assert!(held || cell.starts_with("open"), "{attack}: {cell}");
            // What a profile has no part in is carried out once, in the first.
            let told = if cell.starts_with("held likewise") { cells[0] } else { cell };
            assert!(!held || named.is_match(told), "{attack}: {cell} names no test");
            for test in named.captures_iter(cell) {
                let module = test[1].trim_end_matches("::").replace("::", "/");
                let file = root().join("tests/e2e").join(&module).with_extension("rs");
                let code = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                let begin = format!("#[test]\nfn {}()", &test[2]);
                assert!(code.contains(&begin), "{attack}: {} has no test {}", file.display(), &test[2]);
            }
        }
    }
}
