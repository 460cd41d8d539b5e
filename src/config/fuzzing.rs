//! What must hold for every file of settings, whoever wrote it.

use std::collections::BTreeMap;
use std::path::Path;

use powerdev_protocol::ServiceSet;

use super::env_file::EnvFile;
use super::image_reference::ImageReference;
use super::overlay;
use super::types::{GpuRequest, Name, Profile, SecurityProfile};
use super::yaml::{FILE, YamlFile};
use crate::failure::Failure;
use crate::units::{ByteSize, Cpus};

/// A refusal is one short line with a place and a hint. What is accepted is fine for the agent as well, and means the
/// same when it is written down again.
pub fn powerdev_yaml(input: &[u8]) {
    let yaml = match YamlFile::parse(Path::new(FILE), input) {
        Ok(yaml) => yaml,
        Err(failure) => return assert_told(&failure),
    };
    let name: Name = "demo".parse().expect("a name");
    let services = match overlay::services(&name, Profile::Core, false, SecurityProfile::Dev, &yaml) {
        Ok(services) => services,
        Err(failure) => return assert_told(&failure),
    };
    let set = ServiceSet { services, ..ServiceSet::default() };
    let sent = serde_json::to_vec(&set).expect("plain data");
    let received: ServiceSet = serde_json::from_slice(&sent).expect("the agent reads what the host writes");
    assert_eq!(received, set);
    assert_eq!(received.check(), Ok(()), "the host accepts what the agent refuses");
    let again = serde_yaml::to_string(&BTreeMap::from([("services", &set.services)])).expect("plain data");
    let again =
        YamlFile::parse(Path::new(FILE), again.as_bytes()).unwrap_or_else(|failure| panic!("{failure}: {again}"));
    let again = overlay::services(&name, Profile::Core, false, SecurityProfile::Dev, &again).expect("what was fine is");
    assert_eq!(again, set.services);
}

fn assert_told(failure: &Failure) {
    let said = format!("{} / {}", failure.message, failure.hint.as_deref().unwrap_or_default());
    assert!(failure.message.starts_with(FILE) && failure.hint.is_some(), "{said}");
    assert!(said.len() < 2000 && !said.contains('\n'), "{said:?}");
}

/// A refusal shows no value. What is read has each key once, in the order of its lines, and is read alike when it is
/// written down again.
pub fn env_file(input: &[u8]) {
    let path = Path::new(".env");
    let file = match EnvFile::parse(path, input) {
        Ok(file) => file,
        Err(failure) => return assert_no_value(&failure, input),
    };
    let lines = String::from_utf8_lossy(input).lines().count();
    let mut before = 0;
    let mut again = String::new();
    for entry in &file.entries {
        assert!(entry.line > before && entry.line <= lines, "line {} of {lines}", entry.line);
        before = entry.line;
        assert!(!entry.value.contains('\0'));
        // A backslash before the quote that closes keeps it from closing.
        if !entry.value.contains(['\'', '\\', '\n', '\r']) {
            again.push_str(&format!("{}='{}'\n", entry.key, entry.value));
        }
    }
    let again = EnvFile::parse(path, again.as_bytes()).unwrap_or_else(|failure| panic!("{failure}: {again:?}"));
    for entry in &again.entries {
        assert!(file.get(&entry.key).is_some_and(|first| first.value == entry.value), "{} changed", entry.key);
    }
}

/// No word that stands after a `=` in the text, and nowhere before one, is in what is said of it. What has spaces may be
/// an input's copy of the refusal itself: libFuzzer finds those.
fn assert_no_value(failure: &Failure, input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let keys: Vec<&str> = text.lines().filter_map(|line| line.split('=').next()).collect();
    for value in text.lines().filter_map(|line| Some(line.split_once('=')?.1.trim())) {
        let is_secret =
            value.len() >= 12 && !value.contains(char::is_whitespace) && !keys.iter().any(|key| key.contains(value));
        assert!(!is_secret || !failure.message.contains(value), "a value is shown: {}", failure.message);
    }
}

/// Values of settings: what is read is read alike when it is written as it is shown.
pub fn values(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(image) = text.parse::<ImageReference>() {
        assert_eq!(image.to_string().parse(), Ok(image));
    }
    if let Ok(cpus) = text.parse::<Cpus>() {
        assert_eq!(cpus.to_string().parse(), Ok(cpus));
    }
    if let Ok(size) = text.parse::<ByteSize>() {
        // Shown with one decimal, the largest is rounded to more than can be read.
        assert!(size.0 > ByteSize::MAX / 2 || size.to_string().parse::<ByteSize>().is_ok(), "{size}");
    }
    if let Ok(name) = text.parse::<Name>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(GpuRequest::Ids(ids)) = text.parse::<GpuRequest>() {
        assert!(ids.iter().all(|id| !id.contains([' ', ','])), "{ids:?}");
    }
}
