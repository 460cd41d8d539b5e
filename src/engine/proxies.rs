//! Proxies that the docker CLI is told to give to what it builds and runs: `proxies` in `config.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::docker_config;
use super::endpoint::{Endpoint, EndpointError};

#[derive(Deserialize, Default)]
#[serde(default)]
struct ProxyConfig {
    proxies: Option<BTreeMap<String, ProxySettings>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ProxySettings {
    http_proxy: String,
    https_proxy: String,
    no_proxy: String,
    ftp_proxy: String,
    all_proxy: String,
}

/// The proxies for builds and containers of this Engine, by the variable's name in capitals. Their addresses may hold
/// passwords: they are secret.
///
/// # Errors
/// When the docker CLI's configuration can't be read or makes no sense.
pub fn container_proxies(endpoint: &Endpoint) -> Result<BTreeMap<String, String>, EndpointError> {
    docker_config::folder().map_or_else(|| Ok(BTreeMap::new()), |folder| in_folder(&folder, &endpoint.url))
}

/// Those of this Engine by its address, else those for all.
fn in_folder(folder: &Path, engine: &str) -> Result<BTreeMap<String, String>, EndpointError> {
    let config: ProxyConfig = docker_config::read(folder)?;
    let mut all = config.proxies.unwrap_or_default();
    let Some(proxies) = all.remove(engine).or_else(|| all.remove("default")) else { return Ok(BTreeMap::new()) };
    let named = [
        ("HTTP_PROXY", proxies.http_proxy),
        ("HTTPS_PROXY", proxies.https_proxy),
        ("NO_PROXY", proxies.no_proxy),
        ("FTP_PROXY", proxies.ftp_proxy),
        ("ALL_PROXY", proxies.all_proxy),
    ];
    Ok(named.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.into(), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engines_own_proxies_win() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = r#"{"proxies": {
            "default": {"httpProxy": "http://a", "httpsProxy": "http://b", "noProxy": "c"},
            "tcp://build:2376": {"allProxy": "socks5://d"}
        }}"#;
        std::fs::write(folder.path().join("config.json"), config).expect("a file");
        let found = |engine| in_folder(folder.path(), engine).expect("a configuration");
        assert_eq!(found("tcp://build:2376"), BTreeMap::from([("ALL_PROXY".into(), "socks5://d".into())]));
        let all = found("unix:///var/run/docker.sock");
        assert_eq!(all.keys().collect::<Vec<_>>(), ["HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"]);
        assert!(in_folder("/nowhere".as_ref(), "").expect("none").is_empty());
    }
}
