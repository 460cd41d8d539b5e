use std::ffi::OsStr;

use super::*;

fn header() -> Header {
    Header { format: FORMAT, project: "demo".into(), reason: Reason::Persist, created_ms: 1, version: "0.1.0".into() }
}

fn file(path: &[u8]) -> ManifestEntry {
    ManifestEntry {
        path: Bytes(OsStr::from_bytes(path).to_owned()),
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        mtime: (-5, 7),
        kind: EntryKind::File { size: 3, sha256: hex::encode([0xab; 32]), sparse: false, changing: false },
    }
}

fn written(entries: &[ManifestEntry]) -> Vec<u8> {
    let temp = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut writer = Writer::new(temp.reopen().expect("opens"), &header()).expect("writes");
    for entry in entries {
        writer.entry(entry).expect("writes");
    }
    writer.skip("tree/data/socket".into(), "a socket", false);
    writer.finish().expect("writes");
    std::fs::read(temp.path()).expect("reads")
}

fn opened(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("writes");
    file.seek(SeekFrom::Start(0)).expect("seeks");
    file
}

#[test]
fn round_trips_with_names_that_are_not_utf8() {
    let entries = [file(b"tree/data/\xff\xfe\nx"), file("tree/data/ä \"b\"".as_bytes())];
    let bytes = written(&entries);
    let manifest = Manifest::read(opened(&bytes)).expect("whole");
    assert_eq!(manifest.entries.values().cloned().collect::<Vec<_>>().len(), 2);
    assert!(entries.iter().all(|entry| manifest.entries.get(&entry.path.0) == Some(entry)));
    assert_eq!((manifest.end.files, manifest.end.bytes, manifest.end.complete()), (2, 6, true));
    assert_eq!(summary(opened(&bytes)).expect("whole").1, manifest.end);
}

#[test]
fn every_cut_and_every_flipped_byte_is_noticed() {
    let bytes = written(&[file(b"tree/data/a"), file(b"tree/data/b")]);
    for length in 0..bytes.len() - 1 {
        assert!(Manifest::read(opened(&bytes[..length])).is_err(), "cut at {length}");
    }
    let end = bytes.windows(7).position(|window| window == b"{\"end\":").expect("a last line");
    for at in 0..end {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        assert!(Manifest::read(opened(&altered)).is_err(), "flipped at {at}");
    }
}

#[test]
fn bytes_after_the_last_line_are_noticed_by_every_reader() {
    let whole = written(&[file(b"tree/data/a")]);
    for more in [&b"x"[..], b"\n", b"{}\n", b"{\"end\":{}}\n"] {
        let bytes = [&whole, more].concat();
        assert!(Manifest::read(opened(&bytes)).is_err() && summary(opened(&bytes)).is_err(), "{more:?}");
    }
}

#[test]
fn what_is_longer_than_any_manifest_is_not_read() {
    let huge = tempfile::tempfile().expect("a temporary file");
    huge.set_len(6 << 30).expect("a hole");
    let copy = || huge.try_clone().expect("descriptors are left");
    assert!(matches!(Manifest::read(copy()), Err(ManifestError::TooLong)));
    assert!(matches!(summary(copy()), Err(ManifestError::TooLong)));
    huge.set_len(MOST).expect("a hole");
    assert!(matches!(Manifest::read(copy()), Err(ManifestError::Altered)), "a line that never ends");
}

#[test]
fn very_much_that_is_left_out_is_told_together() {
    let temp = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut writer = Writer::new(temp.reopen().expect("opens"), &header()).expect("writes");
    for number in 0..300_000 {
        writer.skip(format!("tree/data/socket-{number}").into(), "a socket", false);
    }
    assert!(writer.end.complete());
    writer.skip("tree/data/unreadable".into(), "permission denied", true);
    writer.finish().expect("writes");
    let (_, end) = summary(temp.reopen().expect("opens")).expect("whole");
    assert!(end.skipped.len() < 300_000 && !end.complete());
}

#[test]
fn a_long_last_line_is_still_found() {
    let temp = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut writer = Writer::new(temp.reopen().expect("opens"), &header()).expect("writes");
    for number in 0..500 {
        writer.skip(format!("tree/data/unreadable-{number}").into(), "permission denied", true);
    }
    writer.finish().expect("writes");
    let (_, end) = summary(temp.reopen().expect("opens")).expect("whole");
    assert_eq!((end.skipped.len(), end.complete()), (500, false));
}
