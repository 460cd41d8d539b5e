//! `--since`: how far back, or since when.

use jiff::{SignedDuration, Timestamp};

/// Gives nanoseconds since the Unix epoch.
///
/// # Errors
/// What would do, as a sentence.
pub fn parse(text: &str) -> Result<i64, String> {
    parse_at(text, Timestamp::now())
}

fn parse_at(text: &str, now: Timestamp) -> Result<i64, String> {
    let wrong = || "give 90s, 10m, 2h, 1d, a time such as 2026-11-21T08:00:00Z, or seconds since 1970".to_owned();
    let at = if let Some(ago) = span(text) {
        now.checked_sub(ago).map_err(|_| wrong())?
    } else if let Ok(seconds) = text.parse::<f64>() {
        Timestamp::from_duration(SignedDuration::try_from_secs_f64(seconds).map_err(|_| wrong())?)
            .map_err(|_| wrong())?
    } else {
        local_or_utc(text).ok_or_else(wrong)?
    };
    i64::try_from(at.as_nanosecond()).ok().filter(|ns| *ns >= 0).ok_or_else(wrong)
}

/// `10m`, `1h30m`, `1d`.
fn span(text: &str) -> Option<SignedDuration> {
    let mut total = SignedDuration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
        let number: i64 = rest[..digits].parse().ok()?;
        let seconds = match rest.as_bytes()[digits] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(SignedDuration::from_secs(number.checked_mul(seconds)?))?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then_some(total)
}

/// RFC 3339, or a date with or without a time in this machine's time zone.
fn local_or_utc(text: &str) -> Option<Timestamp> {
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    let local: jiff::civil::DateTime = text.parse().ok()?;
    Some(local.to_zoned(jiff::tz::TimeZone::system()).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_times_and_seconds() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().expect("a time");
        for (text, expected) in [
            ("10m", "2026-11-21T11:50:00Z"),
            ("1h30m", "2026-11-21T10:30:00Z"),
            ("2d", "2026-11-19T12:00:00Z"),
            ("2026-11-21T08:00:00+01:00", "2026-11-21T07:00:00Z"),
            ("1795219200", "2026-11-21T00:00:00Z"),
            ("1795219200.5", "2026-11-21T00:00:00.5Z"),
        ] {
            let expected: Timestamp = expected.parse().expect("a time");
            assert_eq!(parse_at(text, now).map(i128::from), Ok(expected.as_nanosecond()), "{text}");
        }
        for text in ["", "banana", "10", "m", "10x", "-5", "1h30", "9999999999999w", "nan"] {
            let seconds_are_fine = text == "10";
            assert_eq!(parse_at(text, now).is_err(), !seconds_are_fine, "{text}");
        }
    }
}
