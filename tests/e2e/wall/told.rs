//! Whoever runs an environment without a wall is told so, whether it was chosen or comes from an older release.

use super::{environment, inside};

const OPEN: &str = "root inside, which whoever is `dev` can be by `sudo`, is close to root outside";
const FORMER: &str = "older releases called `dev`";

#[test]
fn what_trusted_means_is_told() {
    let project = environment("trusted", "");
    let security = |document: serde_json::Value| {
        let checks = document["checks"].as_array().expect("a list").clone();
        checks.into_iter().find(|check| check["name"] == "security").expect("a check")
    };
    let told = |command: &str| project.powerdev([command]).run().ok().err();
    for command in ["up", "status"] {
        let said = told(command);
        assert_eq!(said.matches(OPEN).count(), 1, "{command}: {said}");
        assert!(said.contains("SECURITY=trusted: ") && !said.contains(FORMER), "{command}: {said}");
        let document = project.powerdev([command, "--json"]).run().ok().json();
        assert!(document["notices"].to_string().contains(OPEN), "{command}: {document}");
    }
    let check = security(project.powerdev(["doctor", "--json"]).run().ok().json());
    assert_eq!(check["verdict"], "warn", "{check}");

    // As one that an older release has made: open, though the configuration asks for nothing but the default.
    project.services("idle: {command: exec sleep 1000000}\n");
    for command in ["up", "status"] {
        let said = told(command);
        assert!(said.contains(FORMER) && said.contains("SECURITY=trusted keeps it as it is"), "{command}: {said}");
        assert!(said.contains("SECURITY: trusted -> dev"), "{command}: {said}");
    }
    let check = security(project.powerdev(["doctor", "--json"]).run().ok().json());
    assert!(check["detail"].as_str().is_some_and(|detail| detail.contains(FORMER)), "{check}");

    let said = project.powerdev(["up", "--recreate"]).run().ok().err() + &told("status");
    assert!(!said.contains(OPEN), "{said}");
    inside(&project, "root", "mount -o remount,rw,bind /opt/powerdev").code(1);
    let check = security(project.powerdev(["doctor", "--json"]).run().ok().json());
    assert_eq!(check["verdict"], "ok", "{check}");
}
