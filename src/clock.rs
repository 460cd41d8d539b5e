//! The time: what it is now, how people write a span of it, and when a wait is over.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;

/// The longest wait that can be asked for, a year: whoever asks for longer waits for as long as it takes.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Seconds as a flag takes them: `300`, `0.5`. More than the longest wait is that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seconds(f64);

impl Seconds {
    /// So many whole ones.
    pub const fn whole(seconds: u32) -> Self {
        Self(seconds as f64)
    }

    /// As a span of time.
    pub fn duration(self) -> Duration {
        Duration::try_from_secs_f64(self.0).unwrap_or(LONGEST)
    }

    /// In milliseconds.
    pub fn milliseconds(self) -> u64 {
        u64::try_from(self.duration().as_millis()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(seconds) if seconds >= 0.0 => Ok(Self(seconds.min(LONGEST.as_secs_f64()))),
            _ => Err("give seconds, 0 or more, such as 30 or 0.5".to_owned()),
        }
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When a wait is over. However long it may be, no clock overflows.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    pub fn after(patience: Duration) -> Self {
        Self(Instant::now() + patience.min(LONGEST))
    }

    /// The moment itself.
    pub fn at(self) -> Instant {
        self.0
    }

    /// Whether it is over.
    pub fn has_passed(self) -> bool {
        Instant::now() >= self.0
    }
}

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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn seconds_of_a_flag() {
        for (text, milliseconds) in [("0", 0), ("300", 300_000), ("0.5", 500), ("1e3", 1_000_000)] {
            assert_eq!(text.parse().map(Seconds::milliseconds), Ok(milliseconds), "{text}");
        }
        for text in ["9223372036854775807", "9223372036854775808", "18446744073709551616", "1e400", "inf"] {
            assert_eq!(text.parse().map(Seconds::duration), Ok(LONGEST), "{text}");
        }
        for text in ["", "-1", "-0.1", "nan", "5m", "-inf"] {
            assert!(text.parse::<Seconds>().is_err(), "{text}");
        }
        assert_eq!(Seconds::whole(300).to_string(), "300");
    }

    proptest! {
        #[test]
        fn no_wait_is_too_long_for_the_clock(text in "-?[0-9]{0,40}(\\.[0-9]{0,40})?(e-?[0-9]{1,4})?", any in any::<Duration>()) {
            if let Ok(seconds) = text.parse::<Seconds>() {
                seconds.milliseconds();
                Deadline::after(seconds.duration());
            }
            prop_assert!(Deadline::after(any).at() <= Instant::now() + LONGEST);
        }
    }

    #[test]
    fn spans_for_people() {
        for (milliseconds, text) in
            [(0, "0 s"), (119_000, "119 s"), (120_000, "2 min"), (19_200_000, "5 h 20 min"), (273_600_000, "3 d 4 h")]
        {
            assert_eq!(span(milliseconds), text);
        }
    }
}
