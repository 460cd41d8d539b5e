//! What must hold for every manifest, whoever wrote it.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::manifest::{Manifest, summary};

/// A manifest that is whole is so for a list of backups, too. One with the right seal is tried as well, since nobody
/// guesses a checksum.
pub fn manifest(input: &[u8]) {
    check(input);
    let mut lines: Vec<u8> = input.to_vec();
    if !lines.ends_with(b"\n") {
        lines.push(b'\n');
    }
    let entries = lines.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1);
    let sha256 = hex::encode(Sha256::digest(&lines));
    let end = json!({"end": {"entries": entries, "files": 0, "bytes": 0, "skipped": [], "sha256": sha256}});
    lines.extend_from_slice(end.to_string().as_bytes());
    lines.push(b'\n');
    check(&lines);
}

fn check(bytes: &[u8]) {
    let (Ok(whole), listed) = (Manifest::read(opened(bytes)), summary(opened(bytes))) else { return };
    assert_eq!(whole.end.entries, whole.entries.len() as u64);
    let (_, totals) = listed.expect("what can be restored can be listed");
    assert_eq!(totals, whole.end);
    assert!(whole.entries.iter().all(|(path, entry)| *path == entry.path.0));
}

fn opened(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("it can be written");
    file.seek(SeekFrom::Start(0)).expect("it can be read again");
    file
}
