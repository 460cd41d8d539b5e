//! Builds the agent (`crates/agent`) as one static Linux executable and hands it to the crate to embed.
//!
//! Cargo can't yet depend on another package's binary in stable Rust, so this calls cargo itself: with a profile
//! and a target folder of the agent's own, shared by debug and release builds, so that an edit of the host part
//! never rebuilds the agent. `POWERDEV_AGENT=path` embeds a ready-made agent instead (cross builds, macOS).

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for input in ["crates/agent", "crates/origin", "crates/protocol", "crates/terminal", "Cargo.lock", "Cargo.toml"] {
        println!("cargo:rerun-if-changed={input}");
    }
    for variable in ["POWERDEV_AGENT", "RA_RUSTC_WRAPPER", "DOCS_RS"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let embedded = out.join("powerdev-agent");
    if env::var_os("RA_RUSTC_WRAPPER").is_some() || env::var_os("DOCS_RS").is_some() {
        // An editor or a documentation build looks at types only: nothing is going to be injected.
        fs::write(&embedded, b"")?;
    } else if let Some(ready) = env::var_os("POWERDEV_AGENT") {
        let ready = PathBuf::from(ready);
        println!("cargo:rerun-if-changed={}", ready.display());
        fs::copy(&ready, &embedded).map_err(|error| format!("POWERDEV_AGENT={}: {error}", ready.display()))?;
    } else {
        fs::copy(build_agent(&root, &out)?, &embedded)?;
    }
    let digest = hex::encode(Sha256::digest(fs::read(&embedded)?));
    println!("cargo:rustc-env=POWERDEV_AGENT_SHA256={digest}");
    Ok(())
}

/// Builds the agent and returns where it lies.
fn build_agent(root: &Path, out: &Path) -> Result<PathBuf, Failed> {
    let target = agent_target()?;
    let folder = target_root(out).join("agent");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .args(["build", "--package", "powerdev-agent", "--profile", "agent", "--target", &target])
        .arg("--target-dir")
        .arg(&folder)
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    // Set by the outer cargo for this package; the inner one must find its own.
    for variable in ["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_ENCODED_RUSTFLAGS"] {
        cargo.env_remove(variable);
    }
    let output = cargo.output().map_err(|error| format!("can't run cargo for the agent: {error}"))?;
    if !output.status.success() {
        return Err(format!("the agent doesn't build:\n{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(folder.join(target).join("agent/powerdev-agent"))
}

/// The agent runs where the Engine's containers do: always on Linux, by default on this build's architecture.
fn agent_target() -> Result<String, Failed> {
    let target = env::var("TARGET")?;
    if target.contains("-linux-") {
        return Ok(target);
    }
    Err(format!(
        "the agent is a Linux program and can't be built along with a {target} one: build crates/agent for Linux \
         elsewhere and set POWERDEV_AGENT to it (.github/workflows/release.yml shows how)"
    )
    .into())
}

/// Cargo's target folder: the one above us that it tagged as its cache.
fn target_root(out: &Path) -> &Path {
    out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists()).unwrap_or(out)
}
