//! Nothing limits what is written inside, so a disk that fills up is told.

use std::path::PathBuf;

use crate::common::{Project, root};

/// A file system in memory, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(place: PathBuf) -> Self {
        root::shell(&format!("mount -t tmpfs -o size=16m,mode=777 small '{}'", place.display()));
        Self(place)
    }

    /// Leaves this many bytes.
    fn leave(&self, bytes: u64) {
        let fill = std::fs::File::create(self.0.join("fill")).expect("it can be written");
        rustix::fs::fallocate(&fill, rustix::fs::FallocateFlags::empty(), 0, (16 << 20) - bytes)
            .expect("there is room");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        root::shell(&format!("umount -l '{}'", self.0.display()));
    }
}

#[test]
fn a_disk_that_fills_up_is_told() {
    let project = Project::bare();
    let disk = SmallDisk::at(project.dir());
    project.services("");
    let told = || {
        let status = project.powerdev(["status", "--json"]).run().json();
        let doctor = project.powerdev(["doctor", "--json"]).run().json();
        let check = doctor["checks"].as_array().expect("a list").iter().find(|check| check["name"] == "project-disk");
        let detail = check.expect("a check")["detail"].as_str().expect("text").to_owned();
        (status["notices"].to_string().contains(&format!("{} is 9", project.dir().display())), detail)
    };
    disk.leave(8 << 20);
    let (status, doctor) = told();
    assert!(!status && doctor.contains("% used"), "{doctor}");
    disk.leave(1 << 20);
    let (status, doctor) = told();
    assert!(status && doctor.contains(", 94 % used"), "{doctor}");
}
