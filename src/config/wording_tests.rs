//! What is said of everything that can be wrong: in our words, with the line, in time that grows with the file.

use std::path::Path;

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::overlay;
use super::schema_tests::{places, pool, service};
use super::types::{Name, Profile};
use super::yaml::YamlFile;
use crate::failure::Failure;

/// Words of Rust, serde and the YAML library, which nobody who writes YAML should have to know.
const THEIRS: &[&str] = &[
    "struct",
    "enum ",
    "variant",
    "f64",
    "u16",
    "u32",
    "u64",
    "i32",
    "usize",
    "unit value",
    "newtype",
    "flatten",
    "Option",
    "None",
    "Some(",
    "expected",
    "invalid type",
    "invalid value",
    "deserializ",
    "sequence",
    "serde",
    "untagged",
    "boolean",
    "floating",
    "visitor",
    "EOF",
    "block mapping",
    "scalar",
    "Overlay",
    "YamlContent",
    "trait",
    "panicked",
];

fn read(text: &str) -> Result<(), Failure> {
    let yaml = YamlFile::parse(Path::new("powerdev.yaml"), text.as_bytes())?;
    let name: Name = "demo".parse().expect("a name");
    overlay::services(&name, Profile::Core, false, super::SecurityProfile::Dev, &yaml).map(drop)
}

/// What is wrong with what is said of this text.
fn flaw(text: &str, failure: &Failure) -> Option<String> {
    let hint = failure.hint.as_deref().unwrap_or_default();
    let said = format!("{} / {hint}", failure.message);
    // The file's own words may be any.
    let ours: String = said.split('`').step_by(2).collect();
    let theirs: Vec<&&str> = THEIRS.iter().filter(|word| ours.contains(**word)).collect();
    let after_name = failure.message.strip_prefix("powerdev.yaml:").unwrap_or_default();
    let flaws = [
        (!theirs.is_empty(), format!("{theirs:?}")),
        (!after_name.starts_with(|c: char| c.is_ascii_digit()), "no line".to_owned()),
        (hint.len() < 5 || hint.ends_with("one of "), "no hint".to_owned()),
        (said.contains(['\n', '\0']) || said.len() > 700, "not one short line".to_owned()),
    ];
    let flaws: Vec<String> = flaws.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect();
    (!flaws.is_empty()).then(|| format!("{text}\n  {said}\n  {}", flaws.join(", ")))
}

#[test]
fn no_refusal_speaks_the_languages_below() {
    let mut documents: Vec<Value> = Vec::new();
    for value in pool().into_iter().chain([Value::Null]) {
        documents.extend(places().iter().map(|keys| json!({"services": {"web": service(keys, &value)}})));
        for key in ["name", "cpus", "gpu", "pids", "ports", "mounts", "environment", "secrets", "services", "nonsense"]
        {
            documents.push(json!({key: value}));
            documents.push(json!({key: [value]}));
        }
        documents.push(json!({"services": {"web": value}}));
        documents.push(json!({"ports": [{"container": value, "host": 1}]}));
        documents.push(json!({"ports": [{"container": 80, "nonsense": value}]}));
        documents.push(json!({"mounts": [{"source": "a", "target": "/a", "read_only": value}]}));
        documents.push(value);
    }
    let texts = documents.iter().map(Value::to_string);
    let refused: Vec<(String, Failure)> =
        texts.filter_map(|text| read(&text).err().map(|failure| (text, failure))).collect();
    assert!(refused.len() > 2000, "{}", refused.len());
    let flaws: Vec<String> = refused.iter().filter_map(|(text, failure)| flaw(text, failure)).collect();
    assert!(flaws.is_empty(), "{}:\n{}", flaws.len(), flaws[..flaws.len().min(20)].join("\n"));
}

#[test]
fn what_is_no_yaml_is_told_with_the_line_where_it_begins() {
    for (text, line, part) in [
        ("name: x\ncpus: \"2\ngpu: none\npids: 5\n", 2, "a quote opens here and is never closed"),
        ("name: x\ncpus: 'it\n\n\n", 2, "a quote opens here"),
        ("name: x\nname: y\n", 2, "`name` stands in line 1 already"),
        ("services:\n  a:\n    command: x\n    tty: true\n    command: y\n", 5, "`command` stands in line 3 already"),
        ("name: x\n---\nname: y\n", 2, "a second document"),
        ("name: x\ncpus: \u{1}\n", 2, "U+0001"),
        ("name: x\n\tcpus: 2\n", 2, "no YAML"),
        ("name: x\ncpus: a: b\n", 2, "no YAML"),
        ("services:\n  a:\n    command: x\n   tty: true\n", 4, "no YAML"),
        ("name: *none\n", 1, "anchor"),
        ("- name\n", 1, "the file is a list"),
        ("just text\n", 1, "the file is `just text`"),
        (
            "services:\n  a:\n    command: x\n    ready:\n      http: {path: /}\n",
            5,
            "services.a.ready.http has no `port`",
        ),
        ("services:\n  a:\n    command: x\n    ready:\n      notify: {now: 1}\n", 5, "unknown key `now`"),
        ("services:\n  a:\n    command: x\n    restart:\n      policy: allways\n", 5, "`allways`"),
        ("services:\n  a:\n    command: x\n    ports:\n      - 80\n      - 0\n", 6, "ports[1] is 0"),
        ("services:\n  a:\n    command: x\n    ports:\n      - 80\n      - 70000\n", 6, "ports[1] is `70000`"),
    ] {
        let failure = read(text).expect_err(text);
        assert_eq!(flaw(text, &failure), None);
        assert!(failure.message.starts_with(&format!("powerdev.yaml:{line}:")), "{text}\n{failure}");
        assert!(failure.message.contains(part), "{text}\n{failure}");
    }
    let deep = format!("services: {}1{}\n", "[".repeat(300), "]".repeat(300));
    assert_eq!(flaw(&deep, &read(&deep).expect_err("too deep")), None);
}

/// Seconds that this thread has computed.
fn computed() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[test]
fn reading_takes_time_in_proportion_to_the_file() {
    let seconds = |count: usize| {
        let chained = |index: usize| format!("  s{index}: {{command: x, depends_on: {{s{}: started}}}}\n", index + 1);
        let text = format!("services:\n{}  s{count}: {{command: x}}\n", (0..count).map(chained).collect::<String>());
        let since = computed();
        read(&text).expect("a long chain is fine");
        computed() - since
    };
    let (short, long) = (seconds(2_000), seconds(16_000));
    assert!(long < 8.0 * 3.0 * short.max(0.01), "{short} s for 2,000 services, {long} s for 16,000");
}
