//! The CA certificates that this machine trusts beyond those that Debian ships: a proxy that re-signs HTTPS needs its
//! own in the image, or nothing can be fetched there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use crate::config::CaBundle;
use crate::failure::Failure;
use crate::files;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Where to look. A field of its own so that tests can look elsewhere.
#[derive(Debug)]
struct Places {
    /// What the administrator added.
    added: PathBuf,
    /// What Debian ships.
    shipped: PathBuf,
    /// What programs are told to trust.
    bundles: Vec<PathBuf>,
}

impl Places {
    fn of_this_machine() -> Self {
        let variables = ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
        let mut bundles: Vec<PathBuf> =
            vec!["/etc/ssl/certs/ca-certificates.crt".into(), "/etc/pki/tls/certs/ca-bundle.crt".into()];
        bundles.extend(variables.iter().filter_map(std::env::var_os).map(PathBuf::from));
        bundles.sort_unstable();
        bundles.dedup();
        Self {
            added: "/usr/local/share/ca-certificates".into(),
            shipped: "/usr/share/ca-certificates/mozilla".into(),
            bundles,
        }
    }
}

/// The certificates that go into the image: file name to PEM. In a stable order, each once.
///
/// # Errors
/// When a file that was named can't be read or holds no certificate. What is only looked for may be missing.
pub fn certificates(setting: &CaBundle) -> anyhow::Result<BTreeMap<String, String>> {
    let certificates = match setting {
        CaBundle::None => Vec::new(),
        CaBundle::File(path) => {
            let found = read_pem(&files::read(path).context("CA_BUNDLE")?);
            if found.is_empty() {
                return Err(Failure::usage(format!("CA_BUNDLE {} holds no certificate", path.display()))
                    .hint("give a PEM file: each certificate between BEGIN CERTIFICATE and END CERTIFICATE")
                    .into());
            }
            found
        }
        CaBundle::Auto => beyond_debian(&Places::of_this_machine()),
    };
    Ok(certificates
        .into_iter()
        .map(|der| (format!("{}.crt", &hex::encode(Sha256::digest(&der))[..16]), write_pem(&der)))
        .collect())
}

fn beyond_debian(places: &Places) -> Vec<Vec<u8>> {
    let mut extra: Vec<Vec<u8>> = files_of(&places.added).iter().flat_map(|file| read_file(file)).collect();
    let shipped: Vec<Vec<u8>> = files_of(&places.shipped).iter().flat_map(|file| read_file(file)).collect();
    // Where the distribution's own aren't kept apart, nobody can tell which ones were added.
    if !shipped.is_empty() {
        let trusted = places.bundles.iter().flat_map(|file| read_file(file));
        extra.extend(trusted.filter(|der| !shipped.contains(der)));
    }
    extra.sort_unstable();
    extra.dedup();
    extra
}

/// The `*.crt` files of a folder, also those in folders below.
fn files_of(folder: &Path) -> Vec<PathBuf> {
    walkdir::WalkDir::new(folder)
        .follow_links(true)
        .into_iter()
        .filter_map(Result::ok)
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.extension().is_some_and(|extension| extension == "crt"))
        .collect()
}

fn read_file(path: &Path) -> Vec<Vec<u8>> {
    files::read(path).map(|text| read_pem(&text)).unwrap_or_default()
}

/// The certificates of a PEM file, as DER. What isn't base64 is skipped.
fn read_pem(text: &[u8]) -> Vec<Vec<u8>> {
    let certificates = CertificateDer::pem_slice_iter(text).filter_map(Result::ok);
    certificates.map(|der| der.to_vec()).filter(|der| !der.is_empty()).collect()
}

fn write_pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut pem = format!("{BEGIN}\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str(END);
    pem.push('\n');
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_survives_a_round_trip() {
        let ders: Vec<Vec<u8>> = vec![vec![1; 200], vec![2; 48], vec![3]];
        let text =
            format!("Subject: x\n{}garbage\n{}{}", write_pem(&ders[0]), write_pem(&ders[1]), write_pem(&ders[2]));
        assert_eq!(read_pem(text.as_bytes()), ders);
        assert!(text.lines().all(|line| line.len() <= 64));
        assert!(read_pem(b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----").is_empty());
    }

    #[test]
    fn only_what_debian_lacks_is_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let places = Places {
            added: folder.path().join("added"),
            shipped: folder.path().join("shipped"),
            bundles: vec![folder.path().join("bundle.crt"), folder.path().join("missing.crt")],
        };
        let write = |path: &str, ders: &[u8]| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("below")).expect("made");
            std::fs::write(path, ders.iter().map(|n| write_pem(&[*n; 40])).collect::<String>()).expect("written");
        };
        write("shipped/a.crt", &[1]);
        write("shipped/b.crt", &[2]);
        write("added/deep/corp.crt", &[7]);
        write("added/ignored.txt", &[8]);
        write("bundle.crt", &[1, 2, 7, 9]);
        assert_eq!(beyond_debian(&places), [vec![7; 40], vec![9; 40]]);

        std::fs::remove_dir_all(&places.shipped).expect("removed");
        assert_eq!(beyond_debian(&places), [vec![7; 40]], "without a reference only what was added by hand counts");
    }

    #[test]
    fn a_file_that_was_named_must_hold_certificates() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        assert!(certificates(&CaBundle::File(path.clone())).is_err(), "it isn't there");
        for content in [&b"nothing"[..], b"\xff\xfe\x00binary"] {
            std::fs::write(&path, content).expect("written");
            let error = certificates(&CaBundle::File(path.clone())).expect_err("no certificate");
            assert!(error.to_string().contains("holds no certificate"), "{error}");
        }
        std::fs::write(&path, write_pem(&[5; 10]).repeat(2)).expect("written");
        assert_eq!(certificates(&CaBundle::File(path)).expect("valid").len(), 1);
        assert!(certificates(&CaBundle::None).expect("nothing to do").is_empty());
    }
}
