//! The time: what it is now, and how people write a span of it.

/// A span of time for people: `3 s`, `12 min`, `5 h 20 min`, `3 d 4 h`.
pub fn span(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_for_people() {
        for (milliseconds, text) in
            [(0, "0 s"), (119_000, "119 s"), (120_000, "2 min"), (19_200_000, "5 h 20 min"), (273_600_000, "3 d 4 h")]
        {
            assert_eq!(span(milliseconds), text);
        }
    }
}
