//! The house's arrows: which module may import which, and who alone may use what. A dependency that runs up, or one that
//! nobody has written down here, fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// The modules of `src/`, from the ground up, and what each of them may import. Whoever needs one more arrow writes it
/// down here, and in docs/architecture.md says why.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("failure", &[]),
    ("units", &[]),
    ("clock", &[]),
    ("reporter", &[]),
    ("interrupt", &["failure"]),
    ("logging", &["failure"]),
    ("files", &["failure", "units"]),
    ("spec", &["units"]),
    ("config", &["failure", "files", "spec", "units"]),
    ("host", &["config", "units"]),
    ("engine", &["failure", "files", "spec", "units"]),
    ("ui", &["failure", "reporter"]),
    ("state", &["clock", "config", "failure", "files", "units"]),
    ("trust", &["config", "failure", "state"]),
    ("agent_mount", &["config", "failure", "files", "units"]),
    ("repository", &["config", "files", "state"]),
    ("plan", &["config", "failure", "host", "spec", "units"]),
    ("site", &["engine", "failure", "host", "plan", "spec", "state"]),
    ("control", &["clock", "engine", "failure"]),
    ("environment", &["clock", "config", "control", "engine", "failure", "site", "spec", "state"]),
    ("ssh", &["clock", "config", "engine", "environment", "host", "state", "units"]),
    ("deployment", &["config", "engine", "environment", "host", "plan", "repository", "site"]),
    (
        "delivery",
        &[
            "agent_mount",
            "config",
            "deployment",
            "engine",
            "environment",
            "failure",
            "files",
            "plan",
            "site",
            "spec",
            "state",
            "units",
        ],
    ),
    (
        "image",
        &[
            "config",
            "delivery",
            "engine",
            "failure",
            "files",
            "host",
            "interrupt",
            "reporter",
            "site",
            "spec",
            "trust",
            "units",
        ],
    ),
    (
        "lifecycle",
        &[
            "agent_mount",
            "clock",
            "config",
            "control",
            "delivery",
            "deployment",
            "engine",
            "environment",
            "failure",
            "image",
            "interrupt",
            "plan",
            "reporter",
            "repository",
            "site",
            "spec",
            "state",
            "trust",
        ],
    ),
    ("execution", &["control", "engine", "environment", "failure", "reporter", "spec", "ssh", "ui"]),
    ("sessions", &["control", "environment", "failure", "ssh", "ui"]),
    ("backup", &["agent_mount", "config", "failure", "files", "state", "units"]),
    (
        "watch",
        &[
            "clock",
            "config",
            "control",
            "delivery",
            "engine",
            "environment",
            "failure",
            "files",
            "ssh",
            "state",
            "units",
        ],
    ),
    ("cleanup", &["config", "control", "delivery", "engine", "spec", "state"]),
    (
        "doctor",
        &[
            "config",
            "control",
            "delivery",
            "diagnostics",
            "engine",
            "environment",
            "failure",
            "host",
            "image",
            "plan",
            "repository",
            "site",
            "state",
            "trust",
            "units",
            "watch",
        ],
    ),
    ("fuzzing", &["backup", "clock", "config", "image"]),
    ("diagnostics", &["backup", "control", "engine", "failure", "files", "image"]),
    // They see everything; nothing below sees them.
    ("commands", &["*"]),
    ("cli", &["commands"]),
    ("completion", &["backup", "cli", "config", "control", "environment", "state"]),
    ("reference", &["cli", "config"]),
];

/// What commands ask of a place to run: what a second kind of place, such as a cluster, would have to answer. By subject,
/// in the words of `Engine`'s methods.
const PLACE: &[(&str, &[&str])] = &[
    ("facts", &["connect", "connect_to", "endpoint", "info", "ping"]),
    ("find", &["container", "containers_of", "environments"]),
    (
        "life",
        &[
            "create_container",
            "create_container_as",
            "pause_container",
            "remove_container",
            "rename_container",
            "restart_container",
            "start_container",
            "stop_container",
            "unpause_container",
        ],
    ),
    ("logs and events", &["events", "logs"]),
    ("commands inside", &["exec", "exec_exit_code", "exec_has_begun", "exec_resize"]),
    ("files", &["download", "read", "upload"]),
    (
        "networks and volumes",
        &["ensure_network", "has_network", "has_volume", "remove_network", "remove_volume", "volumes_of"],
    ),
    ("images", &["build", "image", "import", "pull", "remove_image", "tag_image"]),
    ("inventory", &["clear_build_cache", "everything", "inventory"]),
];

/// Crates that one module alone may use.
const ONLY_USER: &[(&str, &str)] =
    &[("bollard", "engine"), ("indicatif", "ui"), ("dialoguer", "ui"), ("nvml_wrapper", "host")];

#[test]
fn dependencies_run_down() {
    let mut found = Vec::new();
    for (path, module) in sources() {
        let text = std::fs::read_to_string(&path).expect("a source file");
        found.extend(trespasses(&module, &text).into_iter().map(|what| format!("{}: {what}", path.display())));
    }
    assert!(found.is_empty(), "{} arrows that aren't in tests/architecture.rs:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_module_is_written_down_and_none_imports_in_a_circle() {
    let modules: BTreeSet<String> = sources().into_iter().map(|(_, module)| module).collect();
    let known: BTreeSet<String> = MAY_IMPORT.iter().map(|(module, _)| (*module).to_owned()).collect();
    assert_eq!(modules, known, "src/ on the left, tests/architecture.rs on the right");
    for (place, (module, below)) in MAY_IMPORT.iter().enumerate() {
        let lower: Vec<&str> = MAY_IMPORT[..place].iter().map(|(module, _)| *module).collect();
        for other in below.iter().filter(|other| **other != "*" && !DIAGNOSED.contains(&(module, other))) {
            assert!(lower.contains(other), "{module} imports {other}, which doesn't stand before it");
        }
    }
}

/// Doctor reads errors as the renderer does, which knows every kind of error.
const DIAGNOSED: &[(&str, &str)] = &[("doctor", "diagnostics")];

#[test]
fn what_is_asked_of_a_place_is_one_list() {
    let files = sources().into_iter().filter(|(_, module)| module == "engine");
    let mut asked = BTreeSet::new();
    for (path, _) in files {
        let file = syn::parse_file(&std::fs::read_to_string(&path).expect("a source file")).expect("Rust");
        for item in file.items {
            let syn::Item::Impl(block) = item else { continue };
            let of_engine = matches!(&*block.self_ty, syn::Type::Path(path) if path.path.is_ident("Engine"));
            for item in block.items.iter().filter(|_| of_engine && block.trait_.is_none()) {
                if let syn::ImplItem::Fn(method) = item
                    && matches!(method.vis, syn::Visibility::Public(_))
                {
                    asked.insert(method.sig.ident.to_string());
                }
            }
        }
    }
    let listed: BTreeSet<String> = PLACE.iter().flat_map(|(_, methods)| *methods).map(ToString::to_string).collect();
    assert_eq!(asked, listed, "Engine's methods on the left, tests/architecture.rs on the right");
}

/// A module with parts of its own lies in the folder with them: nobody has to look for it beside.
#[test]
fn modules_with_parts_are_folders() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["src", "crates"].map(|folder| walkdir::WalkDir::new(root.join(folder)).into_iter());
    let files = files.into_iter().flatten().filter_map(Result::ok).map(walkdir::DirEntry::into_path);
    let is_code = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let beside = files.filter(|path| is_code(path) && path.with_extension("").is_dir());
    assert_eq!(beside.collect::<Vec<_>>(), Vec::<PathBuf>::new());
}

#[test]
fn an_arrow_that_runs_up_is_found_however_it_is_written() {
    for (module, planted) in [
        ("engine", "use crate::ui::Ui;"),
        ("engine", "use crate::{spec::Gpus, ui::{self, Ui}};"),
        ("engine", "fn f() { crate::ui::size(); }"),
        ("engine", "fn f(ui: &crate::ui::Ui) {}"),
        ("engine", "mod inner { fn f() { let x: Option<crate::ui::Ui> = None; } }"),
        ("engine", "#[derive(Debug)] struct S { #[allow(x)] ui: Box<dyn Fn(crate::ui::Ui)> }"),
        ("engine", "fn f() { println!(\"{}\", crate::ui::size()); }"),
        ("lifecycle", "fn f() -> bollard::Docker { todo!() }"),
        ("commands", "use indicatif::ProgressBar;"),
    ] {
        assert_eq!(trespasses(module, planted).len(), 1, "{module}: {planted}");
    }
    for (module, fine) in [
        ("engine", "use crate::spec::Gpus; use super::Engine; use self::x::Y;"),
        ("engine", "use bollard::Docker;"),
        ("commands", "use crate::ui::Ui; use crate::engine::Engine;"),
        ("engine", "#[cfg(test)] mod tests { use crate::ui::Ui; }"),
    ] {
        assert_eq!(trespasses(module, fine), Vec::<String>::new(), "{module}: {fine}");
    }
}

/// Every source file with the module of `src/` that it belongs to. The crate's root is nobody's: it sees all of them.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = walkdir::WalkDir::new(&root).sort_by_file_name().into_iter().map(|entry| entry.expect("readable"));
    let files = files.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "rs"));
    let tests = |path: &Path| path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"));
    files
        .map(|entry| entry.into_path())
        .filter(|path| !tests(path))
        .filter_map(|path| {
            let first = path.strip_prefix(&root).ok()?.components().next()?.as_os_str().to_str()?.to_owned();
            let module = first.trim_end_matches(".rs").to_owned();
            (!matches!(module.as_str(), "lib" | "main")).then_some((path, module))
        })
        .collect()
}

/// What a file of this module uses that it may not.
fn trespasses(module: &str, text: &str) -> Vec<String> {
    let file = syn::parse_file(text).expect("Rust");
    let mut uses = Uses::default();
    uses.visit_file(&file);
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let allowed = allowed.get(module).copied().unwrap_or_default();
    let modules: BTreeSet<&str> = MAY_IMPORT.iter().map(|(module, _)| *module).collect();
    let up = uses.modules.iter().filter(|other| {
        let other = other.as_str();
        other != module && modules.contains(other) && !allowed.contains(&other) && !allowed.contains(&"*")
    });
    let up = up.map(|other| format!("{module} imports {other}"));
    let foreign = ONLY_USER.iter().filter(|(name, user)| uses.crates.contains(*name) && *user != module);
    up.chain(foreign.map(|(name, user)| format!("{module} uses {name}, which is {user}'s alone"))).collect()
}

/// What a file names: modules of this crate, and other crates.
#[derive(Default)]
struct Uses {
    modules: BTreeSet<String>,
    crates: BTreeSet<String>,
}

impl Uses {
    fn path(&mut self, segments: &[String]) {
        match segments {
            [first, second, ..] if first == "crate" => drop(self.modules.insert(second.clone())),
            [first, _, ..] => drop(self.crates.insert(first.clone())),
            _ => {}
        }
    }

    fn tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.path(&with(&name.ident)),
            syn::UseTree::Rename(rename) => self.path(&with(&rename.ident)),
            syn::UseTree::Glob(_) => self.path(&[before, &["*".to_owned()]].concat()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(before, tree)),
        }
    }

    /// Macros hold words, not syntax: what looks like a path in them counts as one.
    fn words(&mut self, tokens: proc_macro2::TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Ident(word) if colons == 2 || path.is_empty() => {
                    path.push(word.to_string());
                    colons = 0;
                }
                proc_macro2::TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => colons += 1,
                other => {
                    self.path(&path);
                    (path, colons) = (Vec::new(), 0);
                    match other {
                        proc_macro2::TokenTree::Ident(word) => path.push(word.to_string()),
                        proc_macro2::TokenTree::Group(group) => self.words(group.stream()),
                        _ => {}
                    }
                }
            }
        }
        self.path(&path);
    }
}

impl<'ast> Visit<'ast> for Uses {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let test = module.attrs.iter().any(|attribute| {
            attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|word| word == "test")
        });
        if !test {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.path(&segments);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, macro_call: &'ast syn::Macro) {
        self.words(macro_call.tokens.clone());
        visit::visit_macro(self, macro_call);
    }
}
