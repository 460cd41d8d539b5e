//! The one place that polls: for what sends no event, with a deadline.

use std::time::{Duration, Instant};

/// Asks `look` again and again until it gives something.
///
/// # Panics
/// With `what`, when `deadline` has passed.
pub fn until<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {deadline:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
