//! What must hold for every file that a project's folder has for its image.

use super::dockerfile::Dockerfile;
use super::ignore::Ignore;

/// The first line is a path, the rest a `.dockerignore`: a folder that needn't be walked holds nothing that is put back,
/// and a list of paths leaves out just them.
pub fn dockerignore(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (path, rules) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(rules) = Ignore::parse(rules) {
        let below = [path, "a"].join("/");
        let walked = !rules.leaves_out(path) || rules.may_include_below(path);
        assert!(walked || rules.leaves_out(&below), "{below:?} would be missed");
    }
    let one = Ignore::of_paths(&[path.to_owned()]);
    assert!(one.leaves_out(path) && one.leaves_out(&[path, "below"].join("/")));
    assert!(!one.leaves_out(&format!("{path}x")));
}

/// The first line is a step's name, the rest a Dockerfile: what is found in it lies in it.
pub fn dockerfile(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (step, text) = text.split_once('\n').unwrap_or((text, ""));
    let file = Dockerfile::parse(text);
    if let Some(place) = file.place_of(step) {
        assert!(place.line >= 1 && place.line <= text.lines().count(), "{place:?}");
    }
    if let Some(image) = file.first_image() {
        assert!(!image.is_empty() && !image.contains(char::is_whitespace) && text.contains(image), "{image:?}");
    }
    file.has_stage(step);
    file.has_arg(step);
}
