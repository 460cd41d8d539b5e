//! The JSON Schema and what powerdev does agree: what an editor marks is refused, and what it doesn't isn't. Tried with
//! a pool of values in every place that the schema describes.

use std::path::Path;

use serde_json::{Value, json};

use super::overlay;
use super::types::{Name, Profile};
use super::yaml::{self, YamlFile};

/// Every value that is tried everywhere: at the edges of every rule, and of every type.
pub(super) fn pool() -> Vec<Value> {
    let mut pool = vec![json!(true), json!([]), json!({}), json!(5e-324), json!(1e308), json!(-0.5)];
    pool.extend([-1, 0, 1, 2, 3, 10, 11, 1023, 1024, 65_535, 65_536, 1_000_000, 1_000_001].map(|number| json!(number)));
    pool.extend([31_536_000, 31_536_001, 2_147_483_648, i64::MIN, i64::MAX].map(|number| json!(number)));
    pool.extend([0.0009, 0.001, 0.0099, 0.01, 0.5, 80.5].map(|number| json!(number)));
    let texts = [
        "", " ", "\n", "\0", "a", "a\0", " a", "a b", "a\nb", "/", "/a b", "/a", "A=B", "1A", "TERM", "SIGKILL", "BYE",
    ];
    pool.extend(texts.map(|text| json!(text)));
    pool.extend(["always", "on-failure", "ready", "powerdev"].map(|text| json!(text)));
    let entries: Vec<Value> = pool.iter().filter(|value| !value.is_object()).cloned().collect();
    pool.extend(entries.iter().map(|entry| json!([entry])));
    pool.extend(entries.iter().map(|entry| json!(["a", entry])));
    for key in ["", " ", "A", "A=B", "A B", "1A", "A\0", "a.b-c"] {
        pool.push(json!({key: "value"}));
        pool.push(json!({key: "\0"}));
        pool.push(json!({key: "ready"}));
    }
    pool
}

/// Every place of a service.
pub(super) fn places() -> Vec<Vec<&'static str>> {
    let numbers = ["interval", "timeout", "deadline", "liveness", "retries"].map(|key| vec!["ready", key]);
    let probes = ["fd", "tcp", "exec", "log", "notify"].map(|key| vec!["ready", key]);
    let restart = ["policy", "backoff", "max_backoff", "jitter", "reset", "limit"].map(|key| vec!["restart", key]);
    let mut places = [numbers.to_vec(), probes.to_vec(), restart.to_vec()].concat();
    places.extend([vec!["stop", "grace"], vec!["stop", "signal"], vec!["ready", "http", "port"]]);
    places.extend([vec!["ready", "http", "path"], vec!["ready", "http"], vec!["ready"], vec!["restart"], vec!["stop"]]);
    places.extend(
        ["command", "directory", "tty", "essential", "ports", "enabled", "environment", "other"].map(|key| vec![key]),
    );
    places
}

/// A service with this value at these keys, and with what it needs else.
pub(super) fn service(keys: &[&str], value: &Value) -> Value {
    let mut service = json!({"command": ["x"]});
    if keys[0] == "ready" && !["fd", "notify", "tcp", "http", "exec", "log"].contains(keys.get(1).unwrap_or(&"fd")) {
        service["ready"] = json!({"tcp": 80});
    }
    if keys.ends_with(&["http", "path"]) {
        service["ready"] = json!({"http": {"port": 80}});
    }
    let mut place = &mut service;
    for key in keys {
        place = &mut place[*key];
    }
    *place = value.clone();
    service
}

/// What powerdev says against it.
fn refusal(document: &Value) -> Option<String> {
    let text = document.to_string();
    let yaml = match YamlFile::parse(Path::new("powerdev.yaml"), text.as_bytes()) {
        Ok(yaml) => yaml,
        Err(failure) => return Some(failure.to_string()),
    };
    let name: Name = "demo".parse().expect("a name");
    overlay::services(&name, Profile::Core, false, super::SecurityProfile::Dev, &yaml)
        .err()
        .map(|failure| failure.to_string())
}

/// Where the two differ on these documents.
#[track_caller]
fn assert_agreed(documents: Vec<Value>) {
    let schema = jsonschema::validator_for(&yaml::schema()).expect("the schema is one");
    let marked = |document: &Value| schema.iter_errors(document).next().map(|error| error.to_string());
    let both = |document: Value| (refusal(&document), marked(&document), document);
    let differ: Vec<String> = documents
        .into_iter()
        .map(both)
        .filter(|(refused, marked, _)| refused.is_some() != marked.is_some())
        .map(|(refused, marked, document)| format!("{document}\n  powerdev: {refused:?}\n  schema: {marked:?}"))
        .collect();
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ[..differ.len().min(20)].join("\n"));
}

#[test]
fn schema_and_validator_agree_on_services() {
    let mut documents = Vec::new();
    for keys in &places() {
        for value in pool() {
            documents.push(json!({"services": {"web": service(keys, &value)}}));
        }
    }
    for name in ["", "web", "0", "-a", "A", "a b", "a\0", "powerdev", &"a".repeat(63), &"a".repeat(64)] {
        documents.push(json!({"services": {name: {"command": "x"}}}));
    }
    for ready in [json!({"tcp": 80, "log": "x"}), json!({"tcp": 80, "interval": 1}), json!({"interval": 1}), json!({})]
    {
        documents.push(json!({"services": {"web": {"command": "x", "ready": ready}}}));
    }
    assert_agreed(documents);
}

#[test]
fn schema_and_validator_agree_on_ports() {
    let mut documents = Vec::new();
    for value in pool().into_iter().filter(|value| !value.is_string() && !value.is_array()) {
        for port in [value.clone(), json!({"container": value}), json!({"container": 80, "host": value})] {
            documents.push(json!({"ports": [port]}));
        }
    }
    assert_agreed(documents);
}
