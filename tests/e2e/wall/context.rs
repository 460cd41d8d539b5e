//! A build's context, swapped under the hands of who reads it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::common::{Project, engine};

const KEY: &str = "-of-the-host-alone-";
/// As many as show the attack without the mend nearly for certain: every third got through.
const BUILDS: usize = 12;

/// A Dockerfile that tells whether the key is in its context.
fn project() -> Project {
    let project = Project::bare();
    project.write("powerdev.yaml", format!("base_image: {}\n", engine::tiny_image()));
    let look =
        "RUN if grep -rq -e \"$(printf '%s%s' -of-the-host -alone-)\" /context; then echo the-key-'is'-in; exit 3; fi";
    project.write("Dockerfile", format!("ARG BASE_IMAGE\nFROM ${{BASE_IMAGE}} AS core\nCOPY . /context\n{look}\n"));
    project
}

#[test]
fn a_folder_swapped_for_a_link_brings_no_key_into_a_layer() {
    let project = project();
    let outside = project.home().join("outside");
    fs::create_dir(&outside).expect("writable");
    let sub = project.dir().join("sub");
    // Enough to be looked at that a swap falls in between.
    for number in 0..200 {
        project.write(format!("sub/{number:03}"), vec![b'x'; KEY.len()]);
        fs::write(outside.join(format!("{number:03}")), KEY).expect("writable");
        let closed = fs::set_permissions(outside.join(format!("{number:03}")), PermissionsExt::from_mode(0o600));
        closed.expect("ours");
    }
    let link = project.home().join("link");
    symlink(&outside, &link).expect("writable");
    let stop = Arc::new(AtomicBool::new(false));
    let swapping = {
        let (stop, sub) = (stop.clone(), sub.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, &sub, CWD, &link, RenameFlags::EXCHANGE).expect("both are there");
                // As long as a folder's walk takes, or each swap would be undone before it is seen.
                std::thread::sleep(Duration::from_micros(300));
            }
        })
    };
    let built: Vec<_> = (0..BUILDS)
        .map(|number| {
            project.write("number", number.to_string());
            let output = project.powerdev(["build", "--force"]).run();
            (output.code, format!("{}{}", output.out(), output.err()))
        })
        .collect();
    stop.store(true, Ordering::Relaxed);
    swapping.join().expect("swaps until told");
    for (code, said) in built {
        assert!(!said.contains("the-key-is-in"), "{code}: {said}");
    }
}

#[test]
fn a_dockerfile_that_leads_out_of_the_project_is_refused() {
    for name in ["Dockerfile", ".powerdev/Dockerfile", ".dockerignore"] {
        let project = project();
        let outside = project.home().join("outside");
        fs::write(&outside, format!("ARG BASE_IMAGE\nFROM ${{BASE_IMAGE}} AS core\nENV A={KEY}\n")).expect("writable");
        let place = project.dir().join(name);
        fs::create_dir_all(place.parent().expect("below")).expect("writable");
        fs::remove_file(&place).ok();
        symlink(&outside, &place).expect("writable");
        let said = project.powerdev(["build"]).run().code(2).err();
        assert!(said.contains("leads out of the project") && said.contains("hint:"), "{name}: {said}");

        fs::remove_file(&place).expect("ours");
        fs::copy(&outside, project.dir().join("Real")).expect("writable");
        if name == "Dockerfile" {
            symlink("Real", &place).expect("writable");
            project.untrusted(["trust", "--yes"]).run().ok();
            project.powerdev(["build"]).run().ok();
        }
    }
}
